"""Losses: what it costs that an answer is not the one wanted, a room in reading order.

reduction: from the losses to the answer, and back · regression: functions of a distance, their laws and mistakes.
"""

from d2lref.ops._loss.regression_ops import l1 as l1_loss
from d2lref.ops._loss.regression_ops import mse as mse_loss
from d2lref.ops._loss.regression_ops import smooth_l1 as smooth_l1_loss

__all__ = ["l1_loss", "mse_loss", "smooth_l1_loss"]
