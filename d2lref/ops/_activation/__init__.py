"""Activations: one function of a real number, entry by entry (d2l 5.1.2). Each has a chapter of its own."""

from d2lref.ops._activation.elu import elu as elu
from d2lref.ops._activation.gelu import gelu as gelu
from d2lref.ops._activation.piecewise import hardsigmoid as hardsigmoid
from d2lref.ops._activation.piecewise import hardswish as hardswish
from d2lref.ops._activation.piecewise import leaky_relu as leaky_relu
from d2lref.ops._activation.piecewise import relu6 as relu6
from d2lref.ops._activation.prelu import prelu as prelu
from d2lref.ops._activation.sigmoid import sigmoid as sigmoid
from d2lref.ops._activation.silu import silu as silu
from d2lref.ops._activation.softplus import softplus as softplus
from d2lref.ops._activation.tanh import tanh as tanh
