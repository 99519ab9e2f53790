"""Hypothesis as a source of cases: it climbs towards large ratios of error to bound."""

from collections.abc import Callable

from hypothesis import HealthCheck, Phase, given, settings, target
from hypothesis import seed as seeded_with
from hypothesis import strategies as st

from d2lref.oracle.sources import Choices

CEILING = 1e6  # a ratio to climb on must be finite; a failure is far below


def climb(judged: Callable[[Choices, int], float | None], examples: int, seed: int) -> None:
    """Call judged(choices, seed of the values) on `examples` cases.

    What it returns is climbed on, None is passed over.

    Hypothesis only draws and climbs here: failures are kept by the caller and shrunk by `shrink`, which simplifies
    values too.
    """

    @seeded_with(seed)
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.target),
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def search(data: st.DataObject) -> None:
        choices = Choices(lambda count: data.draw(st.integers(0, count - 1)) if count > 1 else 0)
        ratio = judged(choices, data.draw(st.integers(0, 2**32 - 1)))
        if ratio is not None:
            target(min(ratio, CEILING), label="error / bound")

    search()
