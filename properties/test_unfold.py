"""unfold and fold are each other's adjoints, and fold counts the windows that unfold reads."""

import numpy as np

from d2lref.ops import fold, unfold
from d2lref.oracle.sources import seeded
from properties.worlds import some_cases


def test_each_is_the_gradient_of_the_other() -> None:
    for drawn in some_cases(fold, 50):
        (columns,), (images,), options = drawn.case.arrays, drawn.case.cotangents, dict(drawn.case.options)
        whole = np.sign(columns)  # signs add up exactly, in any order
        folded, read = fold.definition(whole, **options), fold.vjp(images, columns, **options)[0]
        del options["output_size"]
        np.testing.assert_array_equal(read, unfold.definition(images, **options))
        np.testing.assert_array_equal(folded, unfold.vjp(whole, images, **options)[0])


def test_folding_unfolded_ones_counts_the_windows_that_read_a_pixel() -> None:
    for number in range(50):
        form, rng = unfold.cases(seeded(number)), np.random.default_rng(number)
        size = (form.shapes[0] or ())[2:]
        place = (0, 0, *(int(rng.integers(n)) for n in size))
        ones, lone = np.ones((1, 1, *size)), np.zeros((1, 1, *size))
        lone[place] = 1.0
        windows = unfold.definition(ones, **form.options)
        counts = fold.definition(windows, output_size=size, **form.options)
        assert counts[place] == unfold.definition(lone, **form.options).sum()
