"""Correlation and convolution of two arrays, without channels: the book's corr2d, and the convolution of mathematics."""

from d2lref.ops._correlate.corr import corr1d as corr1d
from d2lref.ops._correlate.corr import corr2d as corr2d
from d2lref.ops._correlate.corr import corr3d as corr3d
from d2lref.ops._correlate.convolve import convolve1d as convolve1d
from d2lref.ops._correlate.convolve import convolve2d as convolve2d
from d2lref.ops._correlate.convolve import convolve3d as convolve3d
