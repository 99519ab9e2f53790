"""Normalisation with the statistics of an example itself: layer, group, instance and root-mean-square.

Reading order: view (what they have in common) · laws · mistakes · layer_norm · group_norm · instance_norm · rms_norm.
"""

from d2lref.ops._norm.group_norm import group_norm as group_norm
from d2lref.ops._norm.instance_norm import instance_norm as instance_norm
from d2lref.ops._norm.layer_norm import layer_norm as layer_norm
from d2lref.ops._norm.rms_norm import rms_norm as rms_norm
