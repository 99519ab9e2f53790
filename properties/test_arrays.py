"""The gaps of the array API that arrays.py fills: what each function returns, on every library, in any memory order."""

from collections.abc import Callable
from importlib.util import find_spec
from itertools import product
from math import prod
from typing import Any

import array_api_strict
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from d2lref.arrays import (
    KEPT,
    blocks,
    dilate,
    namespace,
    overlap_add,
    pad,
    per_axis,
    remembered,
    sliding,
    to_numpy,
    windows,
    zeros,
)
from d2lref.spec import Shape

LIBRARIES: dict[str, Callable[[np.ndarray], Any]] = {"array_api_strict": array_api_strict.asarray, "numpy": np.asarray}
if find_spec("torch"):
    import torch

    LIBRARIES["torch"] = torch.from_numpy
DTYPES = ("float32", "float64", "int64")
ORDERS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "C": np.ascontiguousarray,
    "Fortran": np.asfortranarray,
    "spaced": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
}
every_library = pytest.mark.parametrize("library", LIBRARIES)


@st.composite
def arrays(draw: Callable[..., Any], *lows: int) -> np.ndarray:
    """An array of distinct integers with at most two leading axes of at least 0 and one axis of at least each low."""
    lead = draw(st.lists(st.integers(0, 2), max_size=2))
    shape = (*lead, *(low + draw(st.integers(0, 4)) for low in lows))
    values = np.arange(1, prod(shape) + 1).reshape(shape).astype(draw(st.sampled_from(DTYPES)))
    return ORDERS[draw(st.sampled_from(tuple(ORDERS)))](values)


def asked(library: str, function: Callable[..., Any], x: np.ndarray, *arguments: Any) -> np.ndarray:
    """Return the function of x in a library as NumPy's; it must keep library and dtype, and leave x alone."""
    given_ = LIBRARIES[library](x)
    before = x.copy()
    result = function(given_, *arguments)
    assert namespace(result) is namespace(given_)
    assert result.dtype == given_.dtype
    np.testing.assert_array_equal(x, before)
    return to_numpy(result)


@every_library
@given(data=st.data())
def test_pad_puts_entries_before_and_after_each_of_the_last_axes(library: str, data: st.DataObject) -> None:
    axes = data.draw(st.integers(0, 3))
    x = data.draw(arrays(*(0,) * axes))
    widths = tuple(data.draw(st.tuples(st.integers(0, 3), st.integers(0, 3))) for _ in range(axes))
    value = data.draw(st.sampled_from((0, -7)))
    around = ((0, 0),) * (x.ndim - axes) + widths
    expected = np.pad(x, around, constant_values=value) if x.ndim else x
    np.testing.assert_array_equal(asked(library, pad, x, widths, value), expected)


@every_library
@given(data=st.data())
def test_dilate_puts_zeros_between_neighbours_and_a_stride_takes_them_out(library: str, data: st.DataObject) -> None:
    axes = data.draw(st.integers(1, 3))
    x = data.draw(arrays(*(1,) * axes))
    factors = tuple(data.draw(st.integers(1, 4)) for _ in range(axes))
    result: Any = asked(library, dilate, x, factors)
    assert result.shape[x.ndim - axes :] == tuple(
        (n - 1) * f + 1 for n, f in zip(x.shape[-axes:], factors, strict=True)
    )
    np.testing.assert_array_equal(result[(..., *(slice(None, None, f) for f in factors))], x)
    assert np.count_nonzero(result) == x.size


@st.composite
def scans(draw: Callable[..., Any]) -> tuple[np.ndarray, Shape, Shape, Shape]:
    """An array with window, stride and dilation, so that at least one window fits along each axis."""
    axes = draw(st.integers(1, 3))
    window, stride, dilation = (tuple(draw(st.integers(1, 3)) for _ in range(axes)) for _ in range(3))
    return draw(arrays(*(d * (k - 1) + 1 for k, d in zip(window, dilation, strict=True)))), window, stride, dilation


@every_library
@given(scan=scans())
def test_windows_read_at_stride_times_place_plus_dilation_times_tap(library: str, scan: tuple[Any, ...]) -> None:
    x, window, stride, dilation = scan
    axes = len(window)
    result = asked(library, windows, x, window, stride, dilation)
    out = result.shape[x.ndim - axes : x.ndim]
    spans = [n - d * (k - 1) for n, k, d in zip(x.shape[-axes:], window, dilation, strict=True)]
    assert out == tuple(-(-span // s) for span, s in zip(spans, stride, strict=True))
    assert result.shape == (*x.shape[: x.ndim - axes], *out, *window)
    for place, tap in product(np.ndindex(*out), np.ndindex(*window)):
        source = [i * s + u * d for i, s, u, d in zip(place, stride, tap, dilation, strict=True)]
        np.testing.assert_array_equal(result[(..., *place, *tap)], x[(..., *source)])


@given(scan=scans())
def test_sliding_shows_the_windows_and_shares_memory(scan: tuple[Any, ...]) -> None:
    x, *geometry = scan
    view = sliding(x, *geometry)
    np.testing.assert_array_equal(view, windows(x, *geometry))
    assert np.shares_memory(view, x) or not x.size or not x.flags.c_contiguous
    assert not np.shares_memory(windows(x, *geometry), x)


@every_library
@given(scan=scans(), seed=st.integers(0, 2**32))
def test_overlap_add_is_the_adjoint_of_windows(library: str, scan: tuple[Any, ...], seed: int) -> None:
    """<windows(x), p> = <x, overlap_add(p)> in integers."""
    x, *geometry = scan
    axes = len(geometry[0])
    read = asked(library, windows, x, *geometry)
    patches = np.random.default_rng(seed).integers(-9, 10, read.shape).astype(x.dtype)
    back = asked(library, overlap_add, patches, x.shape[x.ndim - axes :], *geometry[1:])
    assert back.shape == x.shape
    assert np.sum(read * patches) == np.sum(x * back)


@every_library
@given(data=st.data())
def test_blocks_are_consecutive_and_joined_give_the_array(library: str, data: st.DataObject) -> None:
    x = data.draw(arrays(1, 1))
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    sizes: list[int] = []
    left = x.shape[axis]
    while left:
        sizes.append(data.draw(st.integers(0, left)) if len(sizes) < 3 else left)
        left -= sizes[-1]
    parts = [asked(library, lambda a, i=i: blocks(a, tuple(sizes), axis)[i], x) for i in range(len(sizes))]
    assert [part.shape[axis] for part in parts] == sizes
    assert len(blocks(x, tuple(sizes), axis)) == len(sizes)
    if parts:
        np.testing.assert_array_equal(np.concatenate(parts, axis), x)


@every_library
@pytest.mark.parametrize("dtype", DTYPES)
def test_zeros_are_like_an_array_in_all_but_shape(library: str, dtype: str) -> None:
    result = asked(library, zeros, np.ones((2, 3), dtype), (0, 4))
    assert result.shape == (0, 4)
    np.testing.assert_array_equal(asked(library, zeros, np.ones(2, dtype), (1, 2)), [[0, 0]])


@every_library
@pytest.mark.parametrize("dtype", [*DTYPES, "bool"])
def test_to_numpy_keeps_values_shape_and_dtype(library: str, dtype: str) -> None:
    values = np.arange(6).reshape(2, 3).astype(dtype)
    result = to_numpy(LIBRARIES[library](values))
    assert type(result) is np.ndarray
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, values)


def test_to_numpy_reads_what_requires_a_gradient_and_what_speaks_dlpack() -> None:
    class Capsule:
        """An array known by DLPack alone."""

        def __init__(self, array: np.ndarray) -> None:
            self.array = array

        def __dlpack__(self, **options: Any) -> Any:
            return self.array.__dlpack__(**options)

        def __dlpack_device__(self) -> Any:
            return self.array.__dlpack_device__()

    values = np.arange(3.0)
    np.testing.assert_array_equal(to_numpy(Capsule(values)), values)
    if "torch" in LIBRARIES:
        np.testing.assert_array_equal(to_numpy(torch.from_numpy(values).requires_grad_()), values)


def test_arrays_share_one_namespace_or_none() -> None:
    strict, plain = array_api_strict.ones(2), np.ones(2)
    assert namespace(strict, None, strict) is namespace(strict)
    for wrong in ((strict, plain), (), (None,)):
        with pytest.raises(TypeError):
            namespace(*wrong)


@pytest.mark.parametrize(
    ("value", "expected"), [(2, (2, 2, 2)), ((1, 2, 3), (1, 2, 3)), ([4, 5], (4, 5)), (0, (0, 0, 0))]
)
def test_per_axis_repeats_a_number_and_keeps_a_tuple(value: Any, expected: Shape) -> None:
    assert per_axis(value, 3) == expected


def test_what_is_remembered_is_answered_once_for_arguments_of_the_same_types() -> None:
    asked_for: list[Any] = []

    @remembered
    def answer(*arguments: Any, **options: Any) -> Any:
        asked_for.append((arguments, options))
        return arguments, options

    different: list[Any] = [
        1,
        1.0,
        True,
        (1, 2),
        [1, 2],
        (1.0, 2),
        (1, 2.0),
        (True, 2),
        np.int64(1),
        np.float32(1),
        "1",
    ]
    for value in different * 2:
        assert answer("x", size=value) == (("x",), {"size": value})
    assert len(asked_for) == len(different)
    assert [type(options["size"]) for _, options in asked_for] == [type(value) for value in different]


def test_what_cannot_be_remembered_is_answered_anew() -> None:
    calls: list[Any] = []

    @remembered
    def answer(value: Any) -> str:
        calls.append(value)
        if value is None:
            raise ValueError("no value")
        return "found"

    nameless = lambda: None  # noqa: E731 - a function without a place of its own cannot be pickled
    assert [answer(nameless), answer(nameless), len(calls)] == ["found", "found", 2]
    for _ in range(2):
        with pytest.raises(ValueError, match="no value"):
            answer(None)
    assert len(calls) == 4
    for number in range(KEPT + 2):
        answer(number)
    answer(KEPT + 1)
    answer(0)
    assert len(calls) == 4 + KEPT + 3
