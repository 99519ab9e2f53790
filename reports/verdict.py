"""What the numbers say: who is slower, and the one sentence that the report begins with."""

from collections import Counter
from collections.abc import Iterable, Sequence

from reports.records import Json

FLOOR = 0.02  # intervals of one process are too narrow by about so much (benchmarks.pairing.NOISE)
KINDS = {"ok": "ok", "broken": "broken", "undecided": "undecided", "nothing": "undecided"}


def floor(noise: Iterable[float]) -> float:
    """Return by how much a ratio must differ from 1 to count: 2 %, or the noise floor where that is larger."""
    return max([FLOOR, *noise])


def speed(ratio: Json, flags: Sequence[str], limit: float) -> str:
    """Return "slower", "faster", "same" or "unsure" for a ratio with its interval.

    Slower: the whole interval lies above 1 + limit; faster: below 1 / (1 + limit); same: within twice the limit of 1.
    Everything else, and everything in doubt, is unsure.
    """
    if flags:
        return "unsure"
    if ratio["lo"] > 1 + limit:
        return "slower"
    if ratio["hi"] < 1 / (1 + limit):
        return "faster"
    near = 1 + 2 * limit
    return "same" if ratio["lo"] >= 1 / near and ratio["hi"] <= near else "unsure"


def sentence(results: Json) -> str:
    """Return the verdict in one sentence: who agrees with the mathematics, how many are slower, the noise floor."""
    untimed = sum(row["outcome"] in UNTIMED for row in results["untimed"])
    parts = [agreement(results["conformance"]), timing(results["benchmarks"], untimed), noise(results["runs"])]
    return "; ".join(part for part in parts if part) + "."


def agreement(rows: Sequence[Json]) -> str:
    """Return who agrees with the mathematics, and who does not."""
    judged = [row for row in rows if row["status"] not in ("absent", "not run")]
    if not judged:
        return "Nothing was judged"
    groups: dict[str, list[Json]] = {}
    for row in judged:
        groups.setdefault(_who(row["target"]), []).append(row)
    agree = [who for who, each in groups.items() if all(row["status"] == "ok" for row in each)]
    parts = [f"{_and(agree)} agree{'' if _many(agree) else 's'} with the mathematics"] if agree else []
    parts += [_disagreement(who, each) for who, each in groups.items() if who not in agree]
    parts[0] += f" ({_evidence([row for who in agree for row in groups[who]] or judged)})"
    text = "; ".join(parts)
    return text[0].upper() + text[1:] if text.startswith("the ") else text


def _evidence(rows: Sequence[Json]) -> str:
    """Return how many claims were executed, on how many ops, in which formats."""
    claims, ops = sum(row["executed"] or 0 for row in rows), len({row["subject"] for row in rows})
    storages = sorted({row["storage"] for row in rows})
    return f"{claims:,} claims on {ops} {_plural('op', ops)} in {_and(storages)}"


def _disagreement(who: str, rows: Sequence[Json]) -> str:
    """Return where somebody does not agree."""
    count = Counter(KINDS.get(row["status"], "unjudged") for row in rows)
    broken = sorted({row["subject"] for row in rows if row["status"] == "broken"})
    words = [f"breaks a law of {_and(broken)}" if broken else "breaks no law"]
    words += [f"could not be judged in {count['unjudged']} of {len(rows)} pairs"] if count["unjudged"] else []
    words += [f"is undecided in {count['undecided']} of {len(rows)} pairs"] if count["undecided"] else []
    return f"{who} {_and(words)}"


UNTIMED = ("not run", "failed")
"""What became of a benchmark that should have been timed and was not (a skipped one has no device or library)."""


def timing(rows: Sequence[Json], untimed: int = 0) -> str:
    """Return how many contenders are slower than their baseline, and how many benchmarks gave nothing."""
    missing = f"{untimed} {_plural('benchmark', untimed)} {'was' if untimed == 1 else 'were'} not timed"
    if not rows:
        return f"nothing was timed{f', {missing}' if untimed else ''}"
    count = Counter(row["verdict"] for row in rows)
    baseline = _and(sorted({row["baseline"] for row in rows}))
    words = [f"{count['slower']} of {len(rows)} timed contenders {_are(count['slower'])} slower than {baseline}"]
    words += [f"{count[kind]} {word}" for kind, word in OTHERS.items() if count[kind]]
    words += [missing] if untimed else []
    return ", ".join(words)


OTHERS = {"faster": "faster", "same": "as fast", "unsure": "unsure"}


def noise(runs: Sequence[Json]) -> str:
    """Return by how much equal things differed."""
    worst = [value for run in runs for value in run["noise"].values()]
    return f"noise floor ±{100 * max(worst):.2g} %" if worst else ""


def _who(target: str) -> str:
    """Return whom a target belongs to, in words."""
    return "the reference with its variants" if target.startswith("d2lref:") else owner(target)


def owner(target: str) -> str:
    """Return the framework, module or file of a target."""
    return target if target.startswith("torch") else target.rpartition(":")[0] or target


def _many(names: Sequence[str]) -> bool:
    return len(names) > 1


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"


def _and(names: Sequence[str]) -> str:
    """Return "a", "a and b", "a, b and c"."""
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1] if names else "") if part)
