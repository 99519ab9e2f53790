"""Mutants of the chapters that are no mistakes: changes of the text that change no answer, argued one by one.

The key is what `d2lref audit` prints: the function, the line as it is and as it would be.
"""

from collections.abc import Mapping

_ZERO = "At 0 the function is 0 either way; the sign of a zero is free."
_SUBGRADIENT = "At 0 every number between 0 and gy is a subgradient."
_ABSENT = "The gradient of an absent array is nobody's; callers read the gradients of arrays that are there."

EQUIVALENT: Mapping[str, str] = {}
