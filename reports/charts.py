"""The plots, as Vega-Lite specifications whose colours are variables of the page's style sheet.

A forest plot shows one area. Below the name of each layer stands a line for each contender: its ratio, with the
interval. One more plot shows how many of the known mistakes are found in how many seconds.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from reports.records import Json

STEP = 19  # pixels of a line
HEIGHT = 180  # pixels of a plot without lines of its own
LABELS = 128  # pixels left of every plot, so that the axes of all stand below one another
LOOKS = {  # verdict -> shape and colour: who sees no colours has the shape
    "slower": ("triangle-right", "var(--slower)"),
    "faster": ("triangle-left", "var(--faster)"),
    "same": ("diamond", "var(--same)"),
    "unsure": ("circle", "var(--unsure)"),
}
MANY = 4  # decades beyond which 2 and 5 between the powers of ten would touch on a narrow screen


# What stands where


def areas(rows: Sequence[Json]) -> Iterator[tuple[str, list[Json]]]:
    """Yield (area, rows): the layers by their fastest contender, the contenders of a layer by their ratio."""
    for area in dict.fromkeys(row["area"] for row in rows):
        layers: dict[str, list[Json]] = {}
        for row in rows:
            if row["area"] == area:
                layers.setdefault(layer(row), []).append(row)
        ordered = [sorted(each, key=_by_ratio) for each in layers.values()]
        yield area, [row for each in sorted(ordered, key=lambda each: _by_ratio(each[0])) for row in each]


def _by_ratio(row: Json) -> tuple[float, str]:
    return row["ratio"]["value"], row["id"]


def layer(row: Json) -> str:
    """Return the name of what was timed, and its clock where that is not the host's."""
    return row["name"] if row["clock"] == "host" else f"{row['name']}, {row['clock']}"


def span(rows: Iterable[Json]) -> tuple[float, float]:
    """Return the ends of an axis that holds every interval and 1, with a little room."""
    ends = [1.0, *(end for row in rows for end in (row["ratio"]["lo"], row["ratio"]["hi"]))]
    return min(ends) / 1.15, max(ends) * 1.15


def ticks(ends: tuple[float, float]) -> list[float]:
    """Return 1, 2 and 5 times the powers of ten between the ends; the powers alone where those are many."""
    low, high = (math.log10(end) for end in ends)
    steps = (1, 2, 5) if high - low < MANY else (1,)
    every = (float(f"{step}e{decade}") for decade in range(math.floor(low), math.ceil(high)) for step in steps)
    return [tick for tick in every if ends[0] <= tick <= ends[1]]


# The plot


def forest(rows: Sequence[Json], ends: tuple[float, float]) -> Json:
    """Return the plot of one area, the rows in the order of `areas`."""
    import altair as alt

    heads, lines = _lines(rows)
    order = sorted(line["y"] for line in (*heads, *lines))
    y = alt.Y("y:N").scale(domain=order).title(None)
    y = y.axis(labelExpr="split(datum.value, '|')[1]", labelLimit=LABELS - 8, minExtent=LABELS, maxExtent=LABELS)
    plot = alt.layer(*_marks(alt, heads, lines, _ratio_axis(alt, ends), y))
    spec = plot.properties(width="container", height=STEP * len(order), autosize=alt.AutoSizeParams(type="fit-x"))
    found: Json = spec.configure(**STYLE).to_dict()
    return found


def _ratio_axis(alt: Any, ends: tuple[float, float]) -> Any:
    """Return the horizontal axis, for the ratio itself."""
    axis = alt.Axis(values=ticks(ends), labelExpr="format(datum.value, '~r') + '×'", orient="top")
    return alt.X("value:Q", scale=alt.Scale(type="log", domain=ends, nice=False), axis=axis, title=None)


def _lines(rows: Sequence[Json]) -> tuple[list[Json], list[Json]]:
    """Return the heads and the contenders; `y` is unique and in order, and only what follows its bar is shown."""
    heads: list[Json] = []
    lines: list[Json] = []
    for name, group in groupby(rows, key=layer):
        heads.append({"y": f"{len(heads) + len(lines):04}|", "layer": name})
        for row in group:
            lines.append({"y": f"{len(heads) + len(lines):04}|{row['arm']}", **_told(name, row)})
    return heads, lines


def _told(name: str, row: Json) -> Json:
    """Return what a mark shows, and what it tells when a mouse points at it."""
    ratio = row["ratio"]
    return {
        **{key: ratio[key] for key in ("value", "lo", "hi", "kind")},
        "verdict": row["verdict"],
        "contender": f"{row['arm']}: {name}",
        "interval": f"{ratio['lo']:g} to {ratio['hi']:g}",
        "evidence": f"{ratio['kind']}, {ratio['pairs']} of {ratio['of']} pairs",
        "doubts": ", ".join(row["flags"]) or "none",
    }


TOLD = ("contender", "value", "interval", "verdict", "evidence", "doubts")


def _marks(alt: Any, heads: list[Json], lines: list[Json], x: Any, y: Any) -> Iterator[Any]:
    """Yield the layers of the plot: the line of equal times, the names, the intervals, the ratios."""
    one = alt.Chart(alt.Data(values=[{"value": 1}]))
    yield one.mark_rule(color="var(--ink)", strokeDash=[3, 3], aria=False).encode(x=x)
    names = alt.Chart(alt.Data(values=heads)).encode(y=y, text="layer:N", x=alt.value(4))
    text = {"align": "left", "fontWeight": "bold", "limit": alt.expr("width - 8")}
    yield names.mark_text(**text, fill="var(--paper)", stroke="var(--paper)", strokeWidth=5, aria=False)  # off the grid
    yield names.mark_text(**text, fill="var(--ink)")
    colours = alt.Scale(domain=list(LOOKS), range=[colour for _, colour in LOOKS.values()])
    shapes = alt.Scale(domain=list(LOOKS), range=[shape for shape, _ in LOOKS.values()])
    told = [alt.Tooltip(f"{name}:{'Q' if name == 'value' else 'N'}") for name in TOLD]
    timed = alt.Chart(alt.Data(values=lines)).encode(
        y=y, color=alt.Color("verdict:N", scale=colours, legend=None), tooltip=told
    )
    yield timed.mark_rule(strokeWidth=2).encode(x=alt.X("lo:Q", title=None), x2="hi:Q")
    points = timed.encode(x=x, shape=alt.Shape("verdict:N", scale=shapes, legend=None))
    quiet = points.transform_filter("datum.kind == 'quiet'")
    yield quiet.mark_point(size=70, filled=True, opacity=1)
    others = points.transform_filter("datum.kind != 'quiet'")
    yield others.mark_point(size=60, strokeWidth=1.5, opacity=1, fill="var(--paper)")


# How soon mistakes are found


def searched(rows: Sequence[Json]) -> Json:
    """Return the plot of the share of mistakes that were found within a time, as a stair."""
    import altair as alt

    times = sorted(row["seconds"] for row in rows if row["found"])
    stair = [{"seconds": each, "share": (place + 1) / len(rows)} for place, each in enumerate(times)]
    start = [{"seconds": times[0], "share": 0.0}] if times else []
    x = alt.X("seconds:Q").scale(type="log", nice=False).title("CPU seconds of one core")
    y = alt.Y("share:Q").scale(domain=[0, 1]).title(None).axis(format="%")
    line = alt.Chart(alt.Data(values=[*start, *stair])).mark_line(interpolate="step-after", color="var(--same)")
    one = alt.Chart(alt.Data(values=[{"seconds": 1.0}])).mark_rule(color="var(--ink)", strokeDash=[3, 3], aria=False)
    plot = alt.layer(one.encode(x=x), line.encode(x=x, y=y))
    spec = plot.properties(width="container", height=HEIGHT, autosize=alt.AutoSizeParams(type="fit-x"))
    found: Json = spec.configure(**STYLE).to_dict()
    return found


STYLE: Json = {
    "background": "transparent",
    "font": "system-ui, sans-serif",
    "padding": 0,
    "view": {"stroke": None},
    "axis": {
        "labelColor": "var(--ink)",
        "titleColor": "var(--ink)",
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "domainColor": "var(--line)",
        "tickColor": "var(--line)",
    },
    "axisX": {"gridColor": "var(--line)", "labelOverlap": True},
    "axisY": {"grid": False, "ticks": False, "domain": False, "labelPadding": 6},
    "text": {"fontSize": 12},
}
