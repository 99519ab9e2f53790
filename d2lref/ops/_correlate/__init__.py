"""Correlation and convolution of two arrays, without channels: the book's corr2d, and the convolution of mathematics."""

from d2lref.ops._correlate.corr import corr1d as corr1d
from d2lref.ops._correlate.corr import corr2d as corr2d
from d2lref.ops._correlate.corr import corr3d as corr3d
