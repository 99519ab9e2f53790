"""Activations: one function of a real number, entry by entry (d2l 5.1.2). Each has a chapter of its own."""

from d2lref.ops._activation.elu import elu as elu
from d2lref.ops._activation.gelu import gelu as gelu
from d2lref.ops._activation.sigmoid import sigmoid as sigmoid
from d2lref.ops._activation.silu import silu as silu
from d2lref.ops._activation.softplus import softplus as softplus
from d2lref.ops._activation.tanh import tanh as tanh
