"""Sliding sums of products by Winograd's algorithms, and how wrong they may be. Notation and shapes are `unfold`'s.

F(m, r) gives m neighbouring answers of a filter with r taps for n = m + r - 1 products: y = A^T [(G w) * (B^T x)].
Here x is a tile of n pixels, * multiplies entry by entry, and the matrices are those of Toom and Cook. Along several
axes each matrix is applied to one axis after the other. Sources:
  Winograd 1980, Arithmetic complexity of computations, chapter IV;
  Lavin and Gray 2016, Fast algorithms for convolutional neural networks, CVPR (arXiv 1509.09308);
  Barabasz, Anderson, Soodhalter and Gregg 2018, Error analysis and improving the accuracy of Winograd convolution for
    deep neural networks (arXiv 1803.10986).
"""

import math
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

import array_api_compat
import numpy as np

from d2lref.algorithms import unfold
from d2lref.arrays import namespace, pad, windows
from d2lref.rounding import HOST, Precision, bilinear_bound, lattice_unit, transform_loss
from d2lref.spec import Array, Shape

TAPS = 3  # of the filters along every axis
Rows = tuple[tuple[Fraction, ...], ...]

# 1 Matrices

POINTS = tuple(Fraction(p) for p in ("0", "1", "-1", "2", "-2", "1/2", "-1/2"))
"""Where polynomials are evaluated, besides at infinity; an algorithm takes the first of them (Lavin and Gray 2016)."""


class Matrices(NamedTuple):
    """The matrices of F(m, r): answer is A^T (m, n), filters is G (n, r), image is B^T (n, n)."""

    answer: Rows
    filters: Rows
    image: Rows


@lru_cache
def matrices(m: int, r: int, points: tuple[Fraction, ...] = POINTS) -> Matrices:
    """Return A^T, G and B^T of F(m, r) from the first m + r - 2 of the points and infinity, in exact fractions.

    Polynomials a of m and b of r coefficients are evaluated at the points, multiplied there, and a b is interpolated
    (Toom 1963, Cook 1966): s = C [(V_m a) * (V_r b)]. Filtering is the transpose of that in a: A = V_m and B = C. The
    denominators of Lagrange's polynomials are taken from C into G, so that A and B have integers for integer points;
    their signs stay. Raises ValueError for points that are too few or not distinct.
    """
    chosen = points[: m + r - 2]
    if len(set(chosen)) < m + r - 2:
        raise ValueError(f"F({m}, {r}): points {tuple(map(str, points))}, expected {m + r - 2} distinct ones")
    scales = [math.prod((p - q for q in chosen if q != p), start=Fraction(1)) for p in chosen]
    signs = [Fraction(1 if scale > 0 else -1) for scale in scales]
    others = [_with_roots([q for q in chosen if q != p], sign) for p, sign in zip(chosen, signs, strict=True)]
    image = (*((*row, Fraction(0)) for row in others), _with_roots(list(chosen), Fraction(1)))
    lengths = (*map(abs, scales), Fraction(1))
    filters = tuple(tuple(v / s for v in row) for row, s in zip(_evaluation(chosen, r), lengths, strict=True))
    return Matrices(transposed(_evaluation(chosen, m)), filters, image)


def _evaluation(points: tuple[Fraction, ...], count: int) -> Rows:
    """Return the matrix that evaluates a polynomial of so many coefficients at the points, and at infinity."""
    leading = (*[Fraction(0)] * (count - 1), Fraction(1))
    return (*(tuple(p**power for power in range(count)) for p in points), leading)


def _with_roots(roots: list[Fraction], scale: Fraction) -> tuple[Fraction, ...]:
    """Return the coefficients, the constant first, of scale times the product of all z - root."""
    coefficients = [scale]
    for root in roots:
        shifted, scaled = [Fraction(0), *coefficients], [*(root * c for c in coefficients), Fraction(0)]
        coefficients = [a - b for a, b in zip(shifted, scaled, strict=True)]
    return tuple(coefficients)


def transposed(rows: Rows) -> Rows:
    """Return the transpose."""
    return tuple(zip(*rows, strict=True))


# 2 The way


def tiled(m: int) -> unfold.Way:
    """Return the way to take sums by F(m, 3) along every axis."""

    def by_tiles(x: Array, w: Array, _stride: Shape, _dilation: Shape) -> Array:
        """y = A^T [sum over c of (G w) * (B^T x)] for each tile of the image: fewer products, with larger errors.

        Filters of 3 taps along every axis, stride 1, dilation 1; no other is asked for here. Tiles begin at the first
        pixel, every m-th; zeros fill the last, and answers that they alone have are cut off. Returns (N, G, K, *out) in
        the dtype of x.
        """
        axes = w.ndim - 3
        answer, filters, image = matrices(m, TAPS)
        products = multiplied(transformed(filters, w, axes), transformed(image, cut(x, m, axes), axes), axes)
        return joined(transformed(answer, products, axes), tuple(size - TAPS + 1 for size in x.shape[3:]))

    return by_tiles


def cut(x: Array, m: int, axes: int) -> Array:
    """Return the tiles of m + 2 pixels along every axis, one every m, shape (N, G, C, *t, *n); zeros fill the last."""
    filled = pad(x, tuple((0, (TAPS - 1 - size) % m) for size in x.shape[3:]))
    return windows(filled, (m + TAPS - 1,) * axes, (m,) * axes, (1,) * axes)


def transformed(matrix: Rows, a: Array, axes: int) -> Array:
    """Return the array with the matrix applied along each of its last axes, in the array's dtype."""
    xp = namespace(a)
    rows = xp.asarray(np.asarray(matrix, np.float64), dtype=a.dtype, device=array_api_compat.device(a))
    for _ in range(axes):  # the first of these axes goes away and comes back as the last
        a = xp.tensordot(a, rows, axes=((a.ndim - axes,), (1,)))
    return a


def multiplied(w: Array, x: Array, axes: int) -> Array:
    """Return the sum over c of w[g, k, c, p] x[n, g, c, t, p], shape (N, G, K, *t, *p): a matrix product for each p."""
    xp = namespace(w, x)
    (n, g, c), tiles, points = x.shape[:3], x.shape[3 : 3 + axes], x.shape[3 + axes :]
    left = xp.permute_dims(w, (*range(3, 3 + axes), 0, 1, 2))
    right = xp.permute_dims(x, (*range(3 + axes, 3 + 2 * axes), 1, 2, 0, *range(3, 3 + axes)))
    product = xp.matmul(left, xp.reshape(right, (*points, g, c, n * math.prod(tiles))))
    product = xp.reshape(product, (*points, g, w.shape[1], n, *tiles))
    return xp.permute_dims(product, (axes + 2, axes, axes + 1, *range(axes + 3, 2 * axes + 3), *range(axes)))


def joined(y: Array, out: Shape) -> Array:
    """Return tiles of answers (N, G, K, *t, *m) side by side, without what lies beyond `out`: (N, G, K, *out)."""
    xp, axes = namespace(y), len(out)
    places = (place for axis in range(3, 3 + axes) for place in (axis, axis + axes))
    sizes = (t * m for t, m in zip(y.shape[3 : 3 + axes], y.shape[3 + axes :], strict=True))
    whole = xp.reshape(xp.permute_dims(y, (0, 1, 2, *places)), (*y.shape[:3], *sizes))
    return whole[(..., *map(slice, out))]


# 3 How wrong it may be


@lru_cache
def reach(m: int, *, either: bool = False) -> Rows:
    """E[d, u]: the largest sum over k of |A^T[i, k]| |G[k, u]| |B^T[k, i + d]| over the places i < m of an answer.

    So much can come of the tap u and the pixel that lies d behind the answer's place, 1 - m < d <= m; the first row is
    that of the lowest d. The largest, because tiles may begin anywhere. Along several axes these numbers multiply.
    either: the larger of E[d, u] and E[2 - d, 2 - u], which is what the adjoint makes of the flipped filter.
    """
    answer, filters, image = (tuple(tuple(map(abs, row)) for row in rows) for rows in matrices(m, TAPS))
    size = len(image)

    def passed(i: int, j: int, u: int) -> Fraction:
        return sum((answer[i][k] * filters[k][u] * image[k][j] for k in range(size)), Fraction(0))

    def most(d: int, u: int) -> Fraction:
        return max(passed(i, i + d, u) for i in range(m) if 0 <= i + d < size)

    rows = tuple(tuple(most(d, u) for u in range(TAPS)) for d in range(2 - m, m + 1))
    turned = tuple(row[::-1] for row in rows[::-1])
    return tuple(tuple(map(max, *two)) for two in zip(rows, turned, strict=True)) if either else rows


def around(x: Array, m: int, axes: int) -> Array:
    """Return the image with zeros around it, so that the rows of `reach` fit wherever 3 taps fit."""
    return pad(x, ((m - 2, m - 2),) * axes)


class Steps(NamedTuple):
    """The matrices that are applied to two factors and to the sum of their products; additions where tiles overlap."""

    first: Rows
    second: Rows
    last: Rows
    overlaps: int = 0

    def roundings(self, axes: int, terms: int, p: Precision) -> int:
        """Return how many roundings lie between the entries of the factors and an answer.

        Those of the three matrices along every axis; the product and the additions, of three times as many products
        for "3xtf32"; where tiles overlap as many additions more, and one of a bias.
        """
        return axes * sum(map(_roundings, self[:3])) + terms * p.products + self.overlaps + 1


def _roundings(rows: Rows) -> int:
    """Return the roundings of the longest sum of entries times a row's coefficients.

    One for every addition; one for a product unless all coefficients are powers of two; one for a coefficient that is
    no binary number.
    """

    def of(row: tuple[Fraction, ...]) -> int:
        used = [c for c in row if c]
        binary = all(_is_power_of_two(c.denominator) for c in used)
        plain = binary and all(_is_power_of_two(abs(c.numerator)) for c in used)
        return len(used) - 1 + (0 if plain else 1 if binary else 2)

    return max(map(of, rows))


def _is_power_of_two(n: int) -> bool:
    return n & (n - 1) == 0


def bound(x: Array, w: Array, b: Array | None, m: int, y: Array, p: Precision, *, either: bool = False) -> np.ndarray:
    """rounding.bilinear_bound with S = |A^T| [sum over c of (|G| |w|) * (|B^T| |x|)], the tiles anywhere.

    S is itself a sliding sum: of |x| under filters of 2m - 1 taps, `reach` times |w|. Shape of y, (N, G, K, *out). x, w
    and y (the exact value or the answer) are float64 NumPy arrays; b is an addend for each filter, (G, K), or absent.
    either: also where answers are taken as the adjoint of F(m, 3), which sends back what it would read.
    """
    axes, rows = w.ndim - 3, reach(m, either=either)
    answer, filters, image = matrices(m, TAPS)

    def evaluate(pixels: Array, taps: Array) -> Array:
        return unfold.by_taps(around(pixels, m, axes), transformed(rows, taps, axes), (1,) * axes, (1,) * axes)

    addend = np.zeros(()) if b is None else np.abs(b)[(..., *(None,) * axes)]
    units = (*_units(m, axes, x, w), lattice_unit(b))
    adjoint = Steps(transposed(answer), filters, transposed(image), 2**axes - 1)
    ways = (Steps(image, filters, answer), *((adjoint,) if either else ()))
    return _error(evaluate, (x, w), ways, x.shape[2], addend, units, y, p)


def image_gradient_bound(gy: Array, w: Array, m: int, gx: Array, p: Precision) -> np.ndarray:
    """`bound` of unfold.image_gradient, by F(m, 3) with the flipped filters or as its adjoint; shape of gx."""
    ones = (1,) * (w.ndim - 3)

    def way(cotangent: Array, flipped: Array, *_: Shape) -> Array:
        return bound(cotangent, flipped, None, m, gx, p, either=True)

    return unfold.image_gradient(gy, w, gx.shape[3:], ones, ones, way)


def filter_gradient_bound(gy: Array, x: Array, m: int, gw: Array, p: Precision) -> np.ndarray:
    """`bound` of unfold.filter_gradient, G^T [sum over tiles of (A gy) * (B^T x)]; shape of gw.

    That is the adjoint of F(m, 3), and F(3, m) summed over tiles, whose matrices are the same but for a scale of each
    row, and the scales cancel (Lavin and Gray 2016, section 4).
    """
    axes, back = x.ndim - 3, transposed(reach(m))
    answer, filters, image = matrices(m, TAPS)
    ones, window = (1,) * axes, (len(back[0]),) * axes

    def evaluate(cotangent: Array, pixels: Array) -> Array:
        slides = unfold.filter_gradient(cotangent, around(pixels, m, axes), window, ones, ones)
        return transformed(back, slides, axes)

    tiles = gy.shape[0] * math.prod(-(-(o + m - 1) // m) for o in gy.shape[3:])
    ways = (Steps(transposed(answer), image, transposed(filters)),)
    units = (*_units(m, axes, x, gy), math.inf)
    return _error(evaluate, (gy, x), ways, tiles, np.zeros(()), units, gw, p)


def _units(m: int, axes: int, x: Array, w: Array) -> tuple[float, float]:
    """Return the powers of two of which all that becomes of x and w are multiples; 0 where G has other denominators."""
    denominator = math.lcm(*(c.denominator for row in matrices(m, TAPS).filters for c in row)) ** axes
    return lattice_unit(x), lattice_unit(w) / denominator if _is_power_of_two(denominator) else 0.0


def _error(
    evaluate: Callable[[Array, Array], Array],
    factors: tuple[Array, Array],
    ways: tuple[Steps, ...],
    terms: int,
    addend: Array,
    units: tuple[float, float, float],
    y: Array,
    p: Precision,
) -> np.ndarray:
    """Return rounding.bilinear_bound of evaluate(*factors), sums of so many terms, taken in any of the ways."""
    axes, sizes = y.ndim - 3, [np.abs(factor) for factor in factors]
    ahead = [[way.first for way in ways], [way.second for way in ways]]
    first, second = sizes
    few, fewer = (_lost_ahead(rows, size, axes, p) for rows, size in zip(ahead, sizes, strict=True))
    with np.errstate(over="ignore", invalid="ignore"):
        lost = evaluate(few, second) + evaluate(first + few, fewer) + p.tiny
        lost = lost + max(_lost(way.last, axes, p) + 2 * terms * p.tiny * _sum(way.last) ** axes for way in ways)
        grown = (max(map(_sum, rows)) ** axes * np.max(a, initial=0.0) for rows, a in zip(ahead, sizes, strict=True))
        size = evaluate(first, second) * (1 + terms * (2 * len(ways[0].last[0])) ** axes * HOST.u)
    steps = max(way.roundings(axes, terms, p) for way in ways)
    plain = terms * min(len(ways[0].first[0]), len(ways[0].second[0])) ** axes
    return bilinear_bound(size, addend, steps, plain, y, p, lost=lost, widest=float(max(grown)), units=units)


def _lost_ahead(matrices_: list[Rows], size: Array, axes: int, p: Precision) -> Array:
    """Return what each entry loses before it is transformed, or as if it did: what is flushed, underflows and rounds.

    A loss of the transformed entries is no more than that of all entries before it, where coefficients are at least 1,
    as in A and B, or no entry is missing and a row's sum is what counts, as in G.
    """
    each = ((_lost(rows, axes, p) + transform_loss(p)) / min(1.0, *map(_size, rows)) ** axes for rows in matrices_)
    return max(each) + np.where((size < p.stored.nmin) & p.flushed, size, 0.0)


def _lost(rows: Rows, axes: int, p: Precision) -> float:
    """Return what underflow costs an entry that is transformed along all axes.

    A product loses tiny, but nothing where the coefficient is an integer and subnormals are kept; a sum loses tiny
    where they are flushed. The axes that follow multiply that by a row's sum each.
    """
    whole = all(c.denominator == 1 for row in rows for c in row)
    each = len(rows[0]) * p.tiny * (2 if p.flushed else 0 if whole else 1)
    return each * axes * max(_sum(rows), 1.0) ** (axes - 1)


def _sum(rows: Rows) -> float:
    """Return the largest size of a row."""
    return max(map(_size, rows))


def _size(row: tuple[Fraction, ...]) -> float:
    """Return the sum of a row's magnitudes."""
    return float(sum(map(abs, row)))
