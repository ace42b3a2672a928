"""Warn of hyperparameters that a fit leaves at a bound."""

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import kernels as gpk

from .._validation import warn_user

# A variance up to this share of the target's is negligible: a smaller one fits the
# same.
_NEGLIGIBLE = 0.01


def warn_of_bounds(posterior, params, target_variance):
    """Warn of hyperparameters at bounds that may limit the fit.

    Bounds of a kernel object are the user's: all of them are named, as
    ``GaussianProcessRegressor`` does. Those of a kernel name, and of the noise that is
    added to a kernel without one, are wide: a term vanishes at small variances and at
    long and short length scales, so only an upper bound of a variance limits the fit,
    and a lower one that is not small beside the variance of the target.

    Parameters
    ----------
    posterior : ExactPosterior or SparsePosterior
        Posterior at the fitted hyperparameters.
    params : object
        The regressor, or another object with its parameters.
    target_variance : float
        Variance of the target in the units of the kernel.
    """
    covariance = posterior.kernel
    fitted = covariance.template.clone_with_theta(posterior.theta)
    parts = [(fitted, isinstance(params.kernel, gpk.Kernel))]
    if not covariance.has_noise:
        parts = [(fitted.k1, parts[0][1]), (fitted.k2, False)]
    found, of_names = [], False
    for part, own in parts:
        for name, n, side, bound in _at_bounds(part):
            if not own:
                variance = name.endswith(("constant_value", "noise_level"))
                small = bound <= _NEGLIGIBLE * target_variance
                if not variance or (side == "lower" and small):
                    continue
                of_names = True
            found.append(f"the {side} bound {bound} of {name}{n}")
    if not found:
        return
    if not of_names:
        remedy = 'Pass a kernel with wider bounds, or with "fixed" as the bounds.'
    elif params.normalize_y:
        remedy = "Pass a kernel object with wider bounds, with a WhiteKernel for noise."
    else:
        remedy = "Set normalize_y=True, for which the bounds of names are made."
    warn_user(
        f"The fit ended at {', '.join(found)} in the kernel {fitted}; beyond it the "
        f"likelihood may be higher. {remedy}",
        ConvergenceWarning,
    )


def _at_bounds(kernel):
    """Yield the name, number of elements, side and bound of hyperparameters there."""
    start = 0
    for hyper in kernel.hyperparameters:
        if hyper.fixed:
            continue
        part = slice(start, start := start + hyper.n_elements)
        close = np.isclose(kernel.bounds[part], kernel.theta[part, None])
        for side, at, bounds in zip(
            ("lower", "upper"), close.T, hyper.bounds.T, strict=True
        ):
            n = f" ({at.sum()} of {len(at)})" if len(at) > 1 else ""
            if at.any():
                yield hyper.name, n, side, bounds[np.argmax(at) % len(bounds)]
