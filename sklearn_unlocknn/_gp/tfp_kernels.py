"""Translate scikit-learn kernels to :mod:`tfp.math.psd_kernels`."""

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from sklearn.gaussian_process import kernels as gpk

from ..kernels import OnFeatures, TFPKernel

tfpk = tfp.math.psd_kernels

_MATERN = {
    0.5: tfpk.MaternOneHalf,
    1.5: tfpk.MaternThreeHalves,
    2.5: tfpk.MaternFiveHalves,
    np.inf: tfpk.ExponentiatedQuadratic,
}


class OnColumns(tfpk.FeatureTransformed):
    """A kernel on some columns of its inputs."""

    def __init__(self, kernel, columns):
        def gather(x, feature_ndims, example_ndims):
            if isinstance(columns, slice):
                return x[..., columns]
            return tf.gather(x, columns, axis=-1)

        super().__init__(kernel, gather)

    # TFP does not know that the transformation keeps the batch of the kernel.
    def _batch_shape(self):
        return self.kernel.batch_shape

    def _batch_shape_tensor(self):
        return self.kernel.batch_shape_tensor()


def translate(kernel):
    """Return the TFP kernel that equals a scikit-learn kernel less its white noise.

    Parameters
    ----------
    kernel : sklearn.gaussian_process.kernels.Kernel
        One that :class:`~sklearn_unlocknn._gp.covariance.Covariance` takes.

    Returns
    -------
    kernel : tfp.math.psd_kernels.PositiveSemidefiniteKernel or None
        In float64; None where the kernel is white noise alone.
    """
    if isinstance(kernel, gpk.KernelOperator):
        left, right = translate(kernel.k1), translate(kernel.k2)
        if isinstance(kernel, gpk.Sum):
            if left is None or right is None:
                return right if left is None else left
            return left + right
        return None if left is None or right is None else left * right
    if isinstance(kernel, gpk.Exponentiation):
        base = translate(kernel.kernel)
        power = base
        for _ in range(int(kernel.exponent) - 1):
            power = None if base is None else power * base
        return power
    if isinstance(kernel, OnFeatures):
        base = translate(kernel.kernel)
        return None if base is None else OnColumns(base, kernel.columns)
    if isinstance(kernel, TFPKernel):
        return kernel.kernel
    return _leaf(kernel)


def _leaf(kernel):
    """Translate an elementary kernel; every formula is scikit-learn's."""
    if isinstance(kernel, gpk.WhiteKernel):
        return None
    if isinstance(kernel, gpk.ConstantKernel):
        return tfpk.Constant(_tensor(kernel.constant_value))
    if isinstance(kernel, gpk.DotProduct):
        return tfpk.Linear(
            bias_amplitude=_tensor(kernel.sigma_0), slope_amplitude=_tensor(1.0)
        )
    length_scale = _tensor(kernel.length_scale)
    if isinstance(kernel, gpk.ExpSineSquared):
        return tfpk.ExpSinSquared(
            length_scale=length_scale, period=_tensor(kernel.periodicity)
        )
    if isinstance(kernel, gpk.RationalQuadratic):
        return tfpk.RationalQuadratic(
            length_scale=length_scale, scale_mixture_rate=_tensor(kernel.alpha)
        )
    nu = kernel.nu if isinstance(kernel, gpk.Matern) else np.inf
    return tfpk.FeatureScaled(_MATERN[nu](), tf.reshape(length_scale, [-1]))


def _tensor(value):
    return tf.constant(value, tf.float64)
