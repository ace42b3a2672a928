"""Kernels of blocks of features and of TFP, and strings for kernel objects."""

from ._on_features import OnFeatures
from ._shorthand import KERNEL_NAMES, make_kernel
from ._tfp import TFPKernel

__all__ = ["KERNEL_NAMES", "OnFeatures", "TFPKernel", "make_kernel"]
