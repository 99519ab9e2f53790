"""Winograd's algorithms: their matrices are exact, and their bound holds in every arithmetic and is not idle."""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, target
from hypothesis import strategies as st

from d2lref.algorithms import unfold, winograd
from d2lref.algorithms.winograd import POINTS, TAPS, Rows, matrices, tiled, transposed
from d2lref.arrays import overlap_add, pad, windows
from d2lref.rounding import FORMATS, Precision, outward, spelled
from properties.exact import (
    DECLARED,
    ORDERS,
    Demon,
    Overflowed,
    in_accumulator,
    in_storage,
    nearest,
    numbers,
    operand,
    ratio,
    rational,
    scaled,
    seeded,
)

TILES = (2, 4)

# 1 Matrices

fractions = st.fractions(-9, 9, max_denominator=9)


@st.composite
def algorithms(draw: Callable[..., Any]) -> tuple[int, int, tuple[Fraction, ...]]:
    """A number of answers, one of taps, and distinct points. Shrinks towards F(1, 1)."""
    m, r = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    count = m + r - 2
    return m, r, tuple(draw(st.lists(fractions, min_size=count, max_size=count, unique=True)))


def applied(rows: Rows, entries: list[Fraction]) -> list[Fraction]:
    """Return the matrix times a vector."""
    return [sum((c * e for c, e in zip(row, entries, strict=True)), Fraction(0)) for row in rows]


@given(algorithms(), st.data())
def test_the_matrices_filter_exactly_whatever_the_points(
    algorithm: tuple[int, int, tuple[Fraction, ...]], data: st.DataObject
) -> None:
    m, r, points = algorithm
    answer, filters, image = matrices(m, r, points)
    x, w = (data.draw(st.lists(fractions, min_size=size, max_size=size)) for size in (m + r - 1, r))
    products = [a * b for a, b in zip(applied(filters, w), applied(image, x), strict=True)]
    assert applied(answer, products) == [sum(w[u] * x[i + u] for u in range(r)) for i in range(m)]


@given(algorithms(), st.data())
def test_transposed_they_multiply_polynomials(
    algorithm: tuple[int, int, tuple[Fraction, ...]], data: st.DataObject
) -> None:
    m, r, points = algorithm
    answer, filters, image = matrices(m, r, points)
    a, b = (data.draw(st.lists(fractions, min_size=size, max_size=size)) for size in (m, r))
    products = [s * t for s, t in zip(applied(transposed(answer), a), applied(filters, b), strict=True)]
    expected = [Fraction(0)] * (m + r - 1)
    for i, s in enumerate(a):
        for j, t in enumerate(b):
            expected[i + j] += s * t
    assert applied(transposed(image), products) == expected


def test_two_answers_of_three_taps_have_the_matrices_of_the_books() -> None:
    """Lavin and Gray 2016, equation 6, with the last point's sign in the other matrix."""
    answer, filters, image = (np.array(rows, float) for rows in matrices(2, 3))
    assert (answer == [[1, 1, 1, 0], [0, 1, -1, 1]]).all()
    assert (filters == [[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]]).all()
    assert (image == [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, -1, 0, 1]]).all()


def test_four_answers_of_three_taps_have_them_but_for_signs() -> None:
    """Lavin and Gray 2016, section 4.3."""
    answer, filters, image = (np.array(rows, float) for rows in matrices(4, 3))
    signs = np.array([1, -1, -1, 1, 1, 1])[:, None]
    assert (answer == [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]).all()
    thirds = [[1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6]]
    assert (filters * signs == [*thirds, [1 / 24, 1 / 12, 1 / 6], [1 / 24, -1 / 12, 1 / 6], [0, 0, 1]]).all()
    first = [[4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0]]
    assert (image * signs == [*first, [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1]]).all()


@pytest.mark.parametrize(("m", "counts"), [(2, (6, 8, 8)), (4, (18, 14, 22)), (6, (38, 20, 44))])
def test_the_matrices_are_as_full_as_they_must_be(m: int, counts: tuple[int, ...]) -> None:
    """A finite point that is not 0 fills its row; 0 and infinity leave one entry in A and G, and every other in B."""
    assert tuple(sum(c != 0 for row in rows for c in row) for rows in matrices(m, 3)) == counts


@pytest.mark.parametrize("points", [POINTS[:3], (*POINTS[:3], POINTS[0])])
def test_points_must_be_enough_and_distinct(points: tuple[Fraction, ...]) -> None:
    with pytest.raises(ValueError, match=r"^F\(3, 3\): ") as caught:
        matrices(3, 3, points)
    assert str(caught.value) == f"F(3, 3): points {tuple(map(str, points))}, expected 4 distinct ones"


# 2 The bound holds of a machine that rounds as it pleases


class Machine:
    """F(m, 3) as an implementation of a precision computes it, in fractions, its sums in orders that a seed chooses."""

    def __init__(self, p: Precision, seed: int) -> None:
        """Precision and seed."""
        self.p, self.rng = p, seeded(seed)

    def rounded(self, q: Fraction) -> Fraction:
        """Return the result of an operation."""
        return in_accumulator(q, self.p)

    def dot(self, terms: list[tuple[Fraction, Fraction]]) -> Fraction:
        """Return a sum of products, with or without fused multiply-add."""
        fused = self.rng.random() < 1 / 2
        leaves = [a * b if fused else self.rounded(a * b) for a, b in terms if a and b]
        order = self.rng.choice(ORDERS)
        return self.rounded(order(leaves, lambda a, b: self.rounded(a + b), self.rng)) if leaves else Fraction(0)

    def transformed(self, rows: Rows, a: Any, axes: int) -> Any:
        """Return the array with the matrix, rounded, applied along each of its last axes."""
        known = [[self.rounded(c) for c in row] for row in rows]
        for _ in range(axes):
            a = np.moveaxis(a, a.ndim - axes, -1)
            columns = a.reshape(-1, a.shape[-1])
            found = [[self.dot(list(zip(row, column, strict=True))) for row in known] for column in columns]
            a = rational(np.array(found, dtype=object)).reshape(*a.shape[:-1], len(rows))
        return a

    def read(self, a: np.ndarray) -> Any:
        """Return an input; subnormal numbers are zero where they are flushed."""
        small = Fraction(2) ** self.p.stored.emin
        flush = self.p.flushed
        return np.frompyfunc(lambda q: Fraction(0) if flush and abs(q) < small else q, 1, 1)(rational(a))

    def tile(self, m: int, x: np.ndarray, w: np.ndarray, b: float) -> Any:
        """Return one tile of answers, (C, n, ...) and (C, 3, ...) to (m, ...): b is added at the end or among them."""
        answer, filters, image = matrices(m, TAPS)
        axes = x.ndim - 1
        left, right = (self.transformed(rows, self.read(a), axes) for rows, a in ((filters, w), (image, x)))
        inside, bias = self.rng.random() < 1 / 2, self.read(np.array([b]))[0]
        products = np.empty(left.shape[1:], dtype=object)
        for k in np.ndindex(*products.shape):
            pairs = [(operand(u, self.p), operand(v, self.p)) for u, v in zip(left[:, *k], right[:, *k], strict=True)]
            terms = [
                (a, c) for many, more in pairs for i, a in enumerate(many) for j, c in enumerate(more) if i + j < 2
            ]
            # the answers of a polynomial that is b everywhere are b: its value at 1 is, and A has ones for that point
            products[k] = self.dot([*terms, *([(bias, Fraction(1))] if inside and set(k) == {1} else [])])
        y = self.transformed(answer, products, axes)
        add = np.frompyfunc(lambda q: in_storage(q if inside else self.rounded(q + bias), self.p), 1, 1)
        return add(y)


def exact_tile(x: np.ndarray, w: np.ndarray, b: float) -> Any:
    """Return the exact answers of a tile."""
    axes, (left, right) = x.ndim - 1, (rational(x), rational(w))
    out = tuple(n - TAPS + 1 for n in x.shape[1:])
    y = np.full(out, Fraction(b), dtype=object)
    for c, *u in np.ndindex(*w.shape):
        y = y + right[c, *u] * left[(c, *(slice(a, a + o) for a, o in zip(u, out, strict=True)))]
    assert y.ndim == axes
    return y


def tile_bound(m: int, x: np.ndarray, w: np.ndarray, b: float, y: Any, p: Precision) -> np.ndarray:
    """Return the bound of the answers of a tile."""
    answers = np.frompyfunc(nearest, 1, 1)(y).astype(float)[None, None, None]
    found = winograd.bound(x[None, None], w[None, None], np.array([[b]]), m, answers, p)
    return outward(found[0, 0, 0])


def worst_of(m: int, x: np.ndarray, w: np.ndarray, b: float, p: Precision, seed: int) -> float:
    """Return the largest ratio of error to bound in a tile; infinite where it overflows and the bound is finite."""
    exact = exact_tile(x, w, b)
    try:
        computed = Machine(p, seed).tile(m, x, w, b)
    except Overflowed:
        return 0.0 if np.isinf(tile_bound(m, x, w, b, exact, p)).any() else math.inf
    ones = (1,) * (x.ndim - 1)
    reference = rational(unfold.by_taps(x[None, None], w[None, None], ones, ones)[0, 0, 0] + b)
    ratios = (
        ratio(d, e)
        for y in (exact, computed)
        for other in (exact, reference)
        for d, e in zip((computed - other).ravel(), tile_bound(m, x, w, b, y, p).ravel(), strict=True)
    )
    return max(ratios)


@st.composite
def tiles(draw: Callable[..., Any], axes: int, m: int, p: Precision) -> tuple[np.ndarray, np.ndarray, float]:
    """A tile of one or two channels, its filter and a bias, around 1 or an end of the formats. Shrinks to integers."""
    form, width = p.stored, p.accumulator.p + 3
    ends = sorted({0, p.accumulator.emin, form.emin, form.emax // 2, form.emin + form.p}, key=abs)
    middle, reach = draw(st.sampled_from((0, 0, *ends))), draw(st.integers(0, width))
    at = draw(st.sampled_from((0, middle // 2)))
    rng, channels = np.random.default_rng(draw(st.integers(0, 2**32))), draw(st.integers(1, 2))

    def some(shape: tuple[int, ...], center: int) -> np.ndarray:
        few = np.array(draw(st.lists(numbers(form, center - reach // 2, center + reach // 2), min_size=1, max_size=6)))
        return np.where(rng.random(shape) < draw(st.sampled_from((0.0, 0.5))), 0.0, rng.choice(few, shape))

    x, w = some((channels, *(m + TAPS - 1,) * axes), at), some((channels, *(TAPS,) * axes), middle - at)
    return x, w, float(draw(st.sampled_from((0.0, *some((2,), middle)))))


@pytest.mark.parametrize("p", DECLARED, ids=spelled)
@pytest.mark.parametrize("m", TILES)
@given(data=st.data())
def test_a_tile_in_any_arithmetic_and_order_stays_within_its_bound(m: int, p: Precision, data: st.DataObject) -> None:
    axes = data.draw(st.sampled_from((1, 1, 1, 2)))
    found = worst_of(m, *data.draw(tiles(axes, m, p)), p, data.draw(st.integers(0, 99)))
    target(min(found, 2.0))
    assert found <= 1


# 3 It is not idle, and a smaller one is noticed


class Tile:
    """F(m, 3) with every rounding error chosen by a demon, for many choices at once."""

    def __init__(self, demon: Demon) -> None:
        """Who chooses."""
        self.demon = demon

    def dot(self, row: tuple[Fraction, ...], entries: list[Any]) -> Any:
        """Return a sum of multiples: the coefficients are rounded, the products, and the sums."""
        total: Any = None
        for c, entry in zip(row, entries, strict=True):
            if not c:
                continue
            binary = c.denominator & (c.denominator - 1) == 0
            plain = binary and abs(c.numerator) & (abs(c.numerator) - 1) == 0
            known = float(c) if binary else self.demon(float(c))
            term = known * entry if plain else self.demon(known * entry)
            total = term if total is None else self.demon(total + term)
        return total

    def transformed(self, rows: Rows, a: Any, axes: int) -> Any:
        """Return the array of arrays of choices with the matrix applied along each of its last axes."""
        for _ in range(axes):
            a = np.moveaxis(a, a.ndim - axes, -1)
            found = np.empty((*a.shape[:-1], len(rows)), dtype=object)
            for place in np.ndindex(*a.shape[:-1]):
                for k, row in enumerate(rows):
                    found[(*place, k)] = self.dot(row, list(a[place]))
            a = found
        return a

    def answers(self, m: int, x: np.ndarray, w: np.ndarray) -> np.ndarray:
        """Return the answers of a tile of several channels, shape (answers, choices)."""
        answer, filters, image = matrices(m, TAPS)
        axes = x.ndim - 1
        left, right = (self.transformed(rows, a.astype(object), axes) for rows, a in ((filters, w), (image, x)))
        products = np.empty(left.shape[1:], dtype=object)
        for k in np.ndindex(*products.shape):
            parts = [self.demon(u * v) for u, v in zip(left[:, *k], right[:, *k], strict=True)]
            products[k] = parts[0]
            for part in parts[1:]:
                products[k] = self.demon(products[k] + part)
        return np.array([np.atleast_1d(y) for y in self.transformed(answer, products, axes).ravel()])


def spot(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Return which of the places one is."""
    return np.asarray(rng.permutation(math.prod(shape)).reshape(shape) == 0)


def demonic(m: int, axes: int, channels: int, u: float, seed: int = 0) -> float:
    """Return the largest ratio of an error to its bound that the demon reaches where a pixel and a tap are large."""
    rng, p = np.random.default_rng(seed), Precision()
    x, w = (
        np.where(spot(rng, (n,) * axes), 1.0, 2.0**-20 * rng.standard_normal((channels, *(n,) * axes)))
        for n in (m + TAPS - 1, TAPS)
    )
    count = Demon()
    exact, step = Tile(count).answers(m, x, w), 2.0**-20
    moved = Tile(Demon(step * np.eye(count.operations))).answers(m, x, w)
    signs = np.sign(moved - exact)
    worst = np.abs(np.diagonal(Tile(Demon(u * signs)).answers(m, x, w) - exact))
    bound = tile_bound(m, x, w, 0.0, exact[:, 0].reshape((m,) * axes), p)
    return float(np.max(worst / bound.ravel()))


@pytest.mark.once
@pytest.mark.parametrize(("m", "axes", "least"), [(2, 1, 0.8), (2, 2, 0.4), (4, 1, 0.75), (4, 2, 0.3)])
def test_the_bound_holds_against_the_demon_and_is_not_idle(m: int, axes: int, least: float) -> None:
    found = [demonic(m, axes, channels, Precision().u, seed) for channels in (1, 2) for seed in range(20 // axes**2)]
    assert least < max(found) < 1


@pytest.mark.once
@pytest.mark.parametrize("m", TILES)
def test_a_smaller_bound_is_noticed(m: int) -> None:
    def worst() -> float:
        return max(demonic(m, 1, 1, Precision().u, seed) for seed in range(20))

    roundings, reach = winograd._roundings, winograd.reach  # noqa: SLF001 - the mutants' place
    with patch.object(winograd, "_roundings", lambda rows: roundings(rows) / 2):
        assert worst() > 1
    with patch.object(winograd, "reach", lambda m, either: np.array(reach(m, either=either), float) / 2):
        assert worst() > 1


def test_what_underflows_counts() -> None:
    x, w, p = np.ones((1, 6)), np.full((1, 3), FORMATS["float32"].eta), Precision()
    assert 0 < worst_of(4, x, w, 0.0, p, 0) <= 1
    with patch.object(Precision, "tiny", scaled("tiny", 0)):
        assert worst_of(4, x, w, 0.0, p, 0) > 1


@given(st.integers(1, 2), st.integers(1, 13), st.integers(0, 2**32))
def test_small_integers_are_exact_by_two(axes: int, bits: int, seed: int) -> None:
    """Half of a sum of halves has two bits more than the filter: small integers leave room for them."""
    rng, p = np.random.default_rng(seed), Precision()
    x, w = (rng.integers(-(2**bits), 2**bits + 1, (1, *(n,) * axes)).astype(float) for n in (4, 3))
    exact = exact_tile(x, w, 1.0)
    bound = tile_bound(2, x, w, 1.0, exact, p)
    computed = Machine(p, seed).tile(2, x, w, 1.0)
    assert all(c == e for c, e, b in zip(computed.ravel(), exact.ravel(), bound.ravel(), strict=True) if b == 0)
    assert (bound == 0).all() or bits > 8


def test_what_overflows_or_is_rounded_away_has_no_bound() -> None:
    x, w, y = np.ones((1, 4)), np.ones((1, 3)), np.zeros(2)
    assert np.isinf(tile_bound(2, 2.0**127 * x, w, 0.0, y, Precision())).all()
    assert np.isinf(tile_bound(2, 2.0**64 * x, 2.0**63 * w, 0.0, y, Precision())).all()
    assert np.isinf(tile_bound(2, 2.0**15 * x, w, 0.0, y, Precision(operands="float16"))).all()
    assert np.isfinite(tile_bound(2, 2.0**15 * x, w, 0.0, y, Precision(operands="tf32"))).all()


@pytest.mark.parametrize("answer", [np.nan, np.inf, 3e38])
def test_a_wrong_answer_does_not_buy_a_larger_bound(answer: float) -> None:
    x, w, p = np.ones((1, 6)), np.full((1, 3), -2.0), Precision("float16")
    wrong, right = (tile_bound(4, x, w, 1.0, np.full(4, y), p) for y in (answer, 1e9))
    assert np.isfinite(wrong).all()
    assert (wrong <= right).all()


# 4 Gradients, by the same algorithm or as its adjoint


def cotangent_tiles(m: int, gy: np.ndarray, axes: int) -> np.ndarray:
    """Return A gy for tiles of m answers, zeros in the last."""
    filled = pad(gy, tuple((0, -o % m) for o in gy.shape[3:]))
    tiles_ = windows(filled, (m,) * axes, (m,) * axes, (1,) * axes)
    return np.asarray(winograd.transformed(transposed(matrices(m, TAPS).answer), tiles_, axes))


def image_by_adjoint(m: int, gy: np.ndarray, w: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Return the gradient of the image: what tiles read is sent back and added."""
    axes, (_, filters, image) = w.ndim - 3, matrices(m, TAPS)
    taps = winograd.transformed(filters, w, axes).swapaxes(1, 2)
    patches = winograd.multiplied(taps, cotangent_tiles(m, gy, axes), axes)
    patches = winograd.transformed(transposed(image), patches, axes)
    whole = tuple(m * t + TAPS - 1 for t in patches.shape[3 : 3 + axes])
    return np.asarray(overlap_add(patches, whole, (m,) * axes, (1,) * axes)[(..., *map(slice, size))])


def filters_by_adjoint(m: int, gy: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return the gradient of the filters: G^T of sums over images and tiles."""
    axes, (_, filters, image) = x.ndim - 3, matrices(m, TAPS)
    left, right = cotangent_tiles(m, gy, axes), winograd.transformed(image, winograd.cut(x, m, axes), axes)
    points = right.shape[3 + axes :]
    left, right = (a.reshape(*a.shape[:3], -1, math.prod(points)) for a in (left, right))
    summed = np.einsum("ngktp,ngctp->gkcp", left, right).astype(x.dtype)
    return np.asarray(winograd.transformed(transposed(filters), summed.reshape(*summed.shape[:3], *points), axes))


def image_by_tiles(m: int, gy: np.ndarray, w: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Return the gradient of the image, by F(m, 3) with the flipped filters."""
    ones = (1,) * len(size)
    return np.asarray(unfold.image_gradient(gy, w, size, ones, ones, tiled(m)))


def some_arrays(axes: int, dtype: str, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return an image, filters and a cotangent in groups, with magnitudes of several binades."""
    rng = np.random.default_rng(seed)
    n, g, c, k = rng.integers(1, 3, 4)
    size = tuple(rng.integers(3, 9, axes))
    shapes = ((n, g, c, *size), (g, k, c, *(TAPS,) * axes), (n, g, k, *(s - TAPS + 1 for s in size)))
    spread = int(rng.integers(1, 6))
    x, w, gy = (np.ldexp(rng.standard_normal(s) / 4, -rng.integers(0, spread, s)).astype(dtype) for s in shapes)
    return x, w, gy


NATIVE = {
    "float16": Precision("float16", accumulate="float16"),
    "float32": Precision(),
    "float64": Precision("float64"),
}


@pytest.mark.parametrize("dtype", NATIVE)
@pytest.mark.parametrize("m", TILES)
@given(st.integers(1, 2), st.integers(0, 2**32))
def test_answers_and_gradients_stay_within_their_bounds(m: int, dtype: str, axes: int, seed: int) -> None:
    x, w, gy = some_arrays(axes, dtype, seed)
    p, ones, size = NATIVE[dtype], (1,) * axes, x.shape[3:]
    wide_x, wide_w, wide_gy = (a.astype(np.longdouble) for a in (x, w, gy))
    y = unfold.by_taps(wide_x, wide_w, ones, ones)
    gx = unfold.image_gradient(wide_gy, wide_w, size, ones, ones, unfold.by_taps)
    gw = unfold.filter_gradient(wide_gy, wide_x, (TAPS,) * axes, ones, ones)
    x64, w64, gy64 = (a.astype(float) for a in (x, w, gy))
    of_x = outward(winograd.image_gradient_bound(gy64, w64, m, gx.astype(float), p))
    of_w = outward(winograd.filter_gradient_bound(gy64, x64, m, gw.astype(float), p))
    found = (
        (tiled(m)(x, w, ones, ones), y, outward(winograd.bound(x64, w64, None, m, y.astype(float), p))),
        (image_by_tiles(m, gy, w, size), gx, of_x),
        (image_by_adjoint(m, gy, w, size), gx, of_x),
        (filters_by_adjoint(m, gy, x), gw, of_w),
    )
    for computed, exact, bound in found:
        assert computed.dtype == dtype
        assert np.isfinite(bound).all()
        assert (np.abs(computed - exact) <= bound).all()
