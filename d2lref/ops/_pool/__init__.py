"""Pooling (d2l, section 7.5): the largest or the mean entry of each window. `grid` says where windows lie, and comes first."""

from d2lref.ops._pool.avg_pool import avg_pool1d as avg_pool1d
from d2lref.ops._pool.avg_pool import avg_pool2d as avg_pool2d
from d2lref.ops._pool.avg_pool import avg_pool3d as avg_pool3d
from d2lref.ops._pool.max_pool import max_pool1d as max_pool1d
from d2lref.ops._pool.max_pool import max_pool2d as max_pool2d
from d2lref.ops._pool.max_pool import max_pool3d as max_pool3d
