"""Tell which scikit-learn kernels the package can use, and why not the others."""

import numpy as np
from sklearn.gaussian_process import kernels as gpk

_KNOWN = (
    gpk.ConstantKernel,
    gpk.WhiteKernel,
    gpk.RBF,
    gpk.Matern,
    gpk.RationalQuadratic,
    gpk.ExpSineSquared,
    gpk.DotProduct,
)
_MATERN_NU = (0.5, 1.5, 2.5, np.inf)


def contains(kernel, leaf):
    """Tell whether a kernel of type ``leaf`` is inside."""
    if isinstance(kernel, gpk.KernelOperator):
        return contains(kernel.k1, leaf) or contains(kernel.k2, leaf)
    if isinstance(kernel, gpk.Exponentiation):
        return contains(kernel.kernel, leaf)
    return isinstance(kernel, leaf)


def check(kernel, n_features):
    """Raise a ValueError that names what cannot be translated."""
    if isinstance(kernel, gpk.KernelOperator):
        check(kernel.k1, n_features)
        check(kernel.k2, n_features)
        pairs = ((kernel.k1, kernel.k2), (kernel.k2, kernel.k1))
        if isinstance(kernel, gpk.Product) and any(
            contains(one, gpk.WhiteKernel) and contains(other, gpk.DotProduct)
            for one, other in pairs
        ):
            raise ValueError(
                f"Got kernel {kernel}: a WhiteKernel times a DotProduct is noise that "
                "varies with x, expected one noise level. Add the WhiteKernel instead."
            )
        return
    if isinstance(kernel, gpk.Exponentiation):
        check(kernel.kernel, n_features)
        if kernel.exponent < 1 or kernel.exponent != int(kernel.exponent):
            raise ValueError(
                f"Got kernel {kernel} with exponent {kernel.exponent}, expected a "
                "positive integer: other powers of a kernel need not be positive "
                "semi-definite."
            )
        if contains(kernel.kernel, gpk.WhiteKernel) and contains(
            kernel.kernel, gpk.DotProduct
        ):
            raise ValueError(
                f"Got kernel {kernel}: a power of a WhiteKernel plus a DotProduct is "
                "noise that varies with x, expected one noise level. Add the "
                "WhiteKernel outside the power."
            )
        return
    # By exact type: a subclass may compute something else.
    if type(kernel) not in _KNOWN:
        raise ValueError(
            f"Got kernel {kernel} of type {type(kernel).__name__}, which has no "
            "translation to tfp.math.psd_kernels. Expected sums, products and integer "
            f"powers of {[known.__name__ for known in _KNOWN]}."
        )
    if isinstance(kernel, gpk.Matern) and kernel.nu not in _MATERN_NU:
        raise ValueError(
            f"Got kernel {kernel} with nu={kernel.nu}, expected nu in "
            f"{list(_MATERN_NU)}, the values with a closed form."
        )
    if isinstance(kernel, gpk.ExpSineSquared) and n_features > 1:
        raise ValueError(
            f"Got kernel {kernel} for {n_features} features: periodic in the "
            "Euclidean distance, it is positive semi-definite for one feature only. "
            "Use it on one column, or another kernel."
        )
    if isinstance(kernel, gpk.RBF) and np.ndim(kernel.length_scale) == 1:
        count = len(kernel.length_scale)
        if count not in (1, n_features):
            raise ValueError(
                f"Got kernel {kernel} with {count} length scales for {n_features} "
                "features, expected a single one or one per feature."
            )
