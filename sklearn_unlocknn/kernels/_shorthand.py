"""Translate strings to kernel objects."""

import re

import numpy as np
from sklearn.gaussian_process import kernels as gpk

from ._on_features import OnFeatures, find_columns
from ._tfp import TFPKernel, is_tfp

_MATERN_NU = {"matern12": 0.5, "matern32": 1.5, "matern52": 2.5}
KERNEL_NAMES = ("rbf", *_MATERN_NU, "rational_quadratic", "linear")
_ARD = "_ard"
_LENGTH_BOUNDS = (1e-2, 1e4)
_VARIANCE_BOUNDS = (1e-5, 1e4)
DEFAULT_KERNEL = "matern52_ard + matern32_ard + linear"


def make_kernel(kernel, n_features, blocks=None):
    r"""Return a scikit-learn kernel for a shorthand string, a kernel or None.

    Parameters
    ----------
    kernel : str, sklearn.gaussian_process.kernels.Kernel, TFP kernel or None
        A string joins the names "rbf", "matern12", "matern32", "matern52",
        "rational_quadratic" and "linear" by "+" and "*" ("*" binds tighter).
        "rbf" and the Materns take the suffix "_ard" for one length scale per
        feature. Columns in brackets, by position or name, make it a kernel on these
        features alone: "rbf_ard[0:96] + linear[density, volume]" (see
        :class:`OnFeatures`). Every summand gets a variance of its own
        (:class:`~sklearn.gaussian_process.kernels.ConstantKernel`). None is
        "matern52_ard + matern32_ard + linear". A kernel object is returned as it is,
        one of TFP as a :class:`TFPKernel`.
    n_features : int
        Number of features: it sets the number of length scales of "_ard" and the
        initial length scale of the first summand, :math:`\sqrt{d}` (the typical
        distance of standardised samples is :math:`\sqrt{2 d}`), which is halved for
        each further summand on features of earlier ones.
    blocks : dict of str to slice, default=None
        Columns by name.

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
    if not isinstance(kernel, str):
        return _kernel_object(kernel)
    total, before = None, []
    for term in kernel.split("+"):
        product = variance = gpk.ConstantKernel(1.0, _VARIANCE_BOUNDS)
        used = set()
        for name in map(str.strip, term.split("*")):
            columns, some = None, range(n_features)
            if "[" in name or "]" in name:
                name, columns = _split(name, kernel)
                columns = find_columns(columns, n_features, blocks)
                some = np.arange(n_features)[columns].tolist()
            # Summands before this one that share a feature with it
            earlier = len(before) - sum(map(set(some).isdisjoint, before))
            length = np.sqrt(len(some)) / 2**earlier
            factor = _factor(name, kernel, len(some), length)
            if name == "linear":  # it grows with the number of features
                variance.constant_value = 0.5 / len(some)
            if columns is not None:
                factor = OnFeatures(factor, columns)
            product = product * factor
            used.update(some)
        total = product if total is None else total + product
        before.append(used)
    return total


def _kernel_object(kernel):
    """Return a kernel object, one of TFP as one of scikit-learn."""
    if isinstance(kernel, gpk.Kernel):
        return kernel
    if is_tfp(kernel):
        return TFPKernel(kernel)
    raise TypeError(
        f"Got kernel={kernel!r} of type {type(kernel).__name__}, expected an object of "
        "sklearn.gaussian_process.kernels or tfp.math.psd_kernels, a string such as "
        "'matern52_ard + linear', or None."
    )


def _split(name, spec):
    """Split "rbf[0:96, density]" into the name and its columns, None without any."""
    match = re.fullmatch(r"([^\[\]]*)(?:\[([^\[\]]*)\])?", name)
    if match is None:
        raise ValueError(
            f"Got {name!r} in kernel={spec!r}, expected columns in one pair of "
            "brackets, such as 'rbf[0:96]'."
        )
    name, columns = match.groups()
    if columns is None:
        return name, None
    found = []
    for item in map(str.strip, columns.split(",")):
        if re.fullmatch(r"\d*:\d*", item):
            found.append(slice(*(int(end) if end else None for end in item.split(":"))))
        else:
            found.append(int(item) if item.isdecimal() else item)
    return name.strip(), found


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
