"""An implementation as pytest items, one per law. Nothing here is loaded unless `conforms` is used."""

import functools
from collections.abc import Callable

from d2lref.oracle.draw_laws import held
from d2lref.oracle.judge import Status
from d2lref.oracle.report import Report
from d2lref.spec import Subject


def items(op: Subject, judged: Callable[[], Report]) -> Callable[..., None]:
    """Return a test function parametrised by the laws of the op; `judged` runs once, when the first item does.

    An item passes when its law was executed and held, is skipped when the law is absent or nothing drawn was supported,
    and fails with the finding otherwise.
    """
    import pytest

    once = functools.cache(judged)

    @pytest.mark.parametrize("law", [law.says for law in held(op)])
    def test(law: str) -> None:
        report = once()
        record = next(v for v in report.verdicts if v.law == law)
        if record.status in {Status.ABSENT, Status.UNSUPPORTED}:
            pytest.skip(f"{op.name}: {law}: {record.status}")
        if record.status not in {Status.PASS, Status.SUSPECT}:
            found = next((f for f in report.findings if f.law == law), None)
            pytest.fail(str(found or f"{op.name}: {law}: {record.status}"), pytrace=False)

    test.__name__ = f"test_{op.name}"
    return test
