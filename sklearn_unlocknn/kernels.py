"""Translate strings to :mod:`sklearn.gaussian_process.kernels` objects."""

import numpy as np
from sklearn.gaussian_process import kernels as gpk

__all__ = ["KERNEL_NAMES", "make_kernel"]

_MATERN_NU = {"matern12": 0.5, "matern32": 1.5, "matern52": 2.5}
KERNEL_NAMES = ("rbf", *_MATERN_NU, "rational_quadratic", "linear")
_ARD = "_ard"
_LENGTH_BOUNDS = (1e-2, 1e4)
_VARIANCE_BOUNDS = (1e-5, 1e4)
DEFAULT_KERNEL = "matern52_ard + matern32_ard + linear"


def make_kernel(kernel, n_features):
    r"""Return a scikit-learn kernel for a shorthand string, a kernel or None.

    Parameters
    ----------
    kernel : str, sklearn.gaussian_process.kernels.Kernel or None
        A string joins the names "rbf", "matern12", "matern32", "matern52",
        "rational_quadratic" and "linear" by "+" and "*" ("*" binds tighter).
        "rbf" and the Materns take the suffix "_ard" for one length scale per
        feature. Every summand gets a variance of its own
        (:class:`~sklearn.gaussian_process.kernels.ConstantKernel`). None is
        "matern52_ard + matern32_ard + linear". A kernel object is returned as it is.
    n_features : int
        Number of features: it sets the number of length scales of "_ard" and the
        initial length scale of the first summand, :math:`\sqrt{d}` (the typical
        distance of standardised samples is :math:`\sqrt{2 d}`), which is halved for
        each further summand.

    Returns
    -------
    kernel : sklearn.gaussian_process.kernels.Kernel
        Length scales in units of the standardised features, variances in units of
        the standardised target squared.

    Raises
    ------
    TypeError
        If ``kernel`` is neither a string, nor a kernel object, nor None.
    ValueError
        If the string names an unknown kernel.

    Examples
    --------
    >>> from sklearn_unlocknn.kernels import make_kernel
    >>> make_kernel("rbf + linear", n_features=4)
    1**2 * RBF(length_scale=2) + 0.354**2 * DotProduct(sigma_0=1)
    """
    if kernel is None:
        kernel = DEFAULT_KERNEL
    if isinstance(kernel, gpk.Kernel):
        return kernel
    if not isinstance(kernel, str):
        raise TypeError(
            f"Got kernel={kernel!r} of type {type(kernel).__name__}, expected an "
            "object of sklearn.gaussian_process.kernels, a string such as "
            "'matern52_ard + linear', or None."
        )
    total = None
    for place, term in enumerate(kernel.split("+")):
        names = list(map(str.strip, term.split("*")))
        # A linear term grows with n_features: start it at a share of the variance.
        variance = 0.5 / n_features if "linear" in names else 1.0
        product = gpk.ConstantKernel(variance, _VARIANCE_BOUNDS)
        for name in names:
            length = np.sqrt(n_features) / 2**place
            product = product * _factor(name, kernel, n_features, length)
        total = product if total is None else total + product
    return total


def _factor(name, spec, n_features, length):
    """Translate one name."""
    base = name.removesuffix(_ARD)
    ard = base != name
    if base not in KERNEL_NAMES or (ard and base in ("rational_quadratic", "linear")):
        raise ValueError(
            f"Got the kernel name {name!r} in kernel={spec!r}, expected names from "
            f"{list(KERNEL_NAMES)} (the suffix '{_ARD}' on 'rbf' and the Materns) "
            "joined by '+' and '*', or a kernel object of "
            "sklearn.gaussian_process.kernels."
        )
    if ard:
        length = np.full(n_features, length)
    if base == "rbf":
        return gpk.RBF(length, _LENGTH_BOUNDS)
    if base == "rational_quadratic":
        return gpk.RationalQuadratic(length, 1.0, _LENGTH_BOUNDS, (1e-2, 1e3))
    if base == "linear":
        return gpk.DotProduct(1.0, "fixed")
    return gpk.Matern(length, _LENGTH_BOUNDS, nu=_MATERN_NU[base])
