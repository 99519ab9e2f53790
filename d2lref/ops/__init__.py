"""The book: one chapter per op or family of one idea. This file is the index."""

from d2lref.ops._batch_norm import batch_norm as batch_norm
from d2lref.ops._conv import conv1d as conv1d
from d2lref.ops._conv import conv2d as conv2d
from d2lref.ops._conv import conv3d as conv3d
from d2lref.ops._conv_transpose import conv_transpose1d as conv_transpose1d
from d2lref.ops._conv_transpose import conv_transpose2d as conv_transpose2d
from d2lref.ops._conv_transpose import conv_transpose3d as conv_transpose3d
from d2lref.ops._correlate import convolve1d as convolve1d
from d2lref.ops._correlate import convolve2d as convolve2d
from d2lref.ops._correlate import convolve3d as convolve3d
from d2lref.ops._correlate import corr1d as corr1d
from d2lref.ops._correlate import corr2d as corr2d
from d2lref.ops._correlate import corr3d as corr3d
from d2lref.ops._linear import linear as linear
from d2lref.ops._loss import l1_loss as l1_loss
from d2lref.ops._loss import mse_loss as mse_loss
from d2lref.ops._loss import smooth_l1_loss as smooth_l1_loss
from d2lref.ops._pad import pad as pad
from d2lref.ops._pool import avg_pool1d as avg_pool1d
from d2lref.ops._pool import avg_pool2d as avg_pool2d
from d2lref.ops._pool import avg_pool3d as avg_pool3d
from d2lref.ops._pool import max_pool1d as max_pool1d
from d2lref.ops._pool import max_pool2d as max_pool2d
from d2lref.ops._pool import max_pool3d as max_pool3d
from d2lref.ops._relu import relu as relu
