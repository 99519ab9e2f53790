"""Losses: what it costs that an answer is not the one wanted, a room in reading order.

reduction: from the losses to the answer, and back · regression: functions of a distance · binary: of an event and its
log-odds; each with its laws, its mistakes, and the ops bound to their names.
"""

from d2lref.ops._loss.binary_ops import binary_cross_entropy_with_logits as binary_cross_entropy_with_logits
from d2lref.ops._loss.class_ops import cross_entropy as cross_entropy
from d2lref.ops._loss.class_ops import nll_loss as nll_loss
from d2lref.ops._loss.regression_ops import l1_loss as l1_loss
from d2lref.ops._loss.regression_ops import mse_loss as mse_loss
from d2lref.ops._loss.regression_ops import smooth_l1_loss as smooth_l1_loss
