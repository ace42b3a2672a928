"""Checks of parameters, targets and weights that the regressors share."""

import numbers

import numpy as np
from sklearn.utils import check_array

_INITS = ("greedy", "kmeans", "random")
_SOLVERS = ("auto", "collapsed", "minibatch")


def check_parameters(estimator, means):
    """Raise on parameters that no data could make right."""
    count = estimator.n_inducing_points
    whole = isinstance(count, numbers.Integral) and not isinstance(count, bool)
    share = isinstance(count, numbers.Real) and not isinstance(count, bool)
    if not ((whole and count >= 1) or (share and not whole and 0 < count <= 1)):
        raise ValueError(
            f"Got n_inducing_points={count!r}, expected an int of at least 1 or a "
            "float in (0, 1], a share of the rows."
        )
    init = estimator.inducing_init
    if isinstance(init, str) and init not in _INITS:
        raise ValueError(
            f"Got inducing_init={init!r}, expected one of {list(_INITS)} or an "
            "array of shape (m, n_features)."
        )
    for name, allowed in (("mean", means), ("solver", _SOLVERS)):
        value = getattr(estimator, name)
        if not (isinstance(value, str) and value in allowed):
            raise ValueError(f"Got {name}={value!r}, expected one of {list(allowed)}.")
    counts = ("max_iter", 0, ""), ("batch_size", 1, ""), ("n_hyper_samples", 2, "auto")
    for name, least, word in counts:
        value = getattr(estimator, name)
        if word and isinstance(value, str) and value == word:
            continue
        if not (isinstance(value, numbers.Integral) and value >= least):
            other = f" or {word!r}" if word else ""
            raise ValueError(
                f"Got {name}={value!r}, expected an int of at least {least}{other}."
            )
    if not (isinstance(estimator.tol, numbers.Real) and estimator.tol >= 0):
        raise ValueError(f"Got tol={estimator.tol!r}, expected a number of at least 0.")


def check_weights(sample_weight, features):
    """Return float64 weights with at least one positive."""
    n = len(features)
    if sample_weight is None:
        return np.ones(n)
    weights = check_array(
        sample_weight, ensure_2d=False, dtype=np.float64, input_name="sample_weight"
    )
    if weights.shape != (n,):
        raise ValueError(
            f"Got sample_weight of shape {weights.shape}, expected ({n},), one weight "
            "a row."
        )
    if np.any(weights < 0):
        raise ValueError(
            f"Got sample_weight with {weights.min()} in it, expected none negative."
        )
    if not np.any(weights):
        raise ValueError("Got a sample_weight of zero for all rows: nothing to fit.")
    return weights


def check_targets(y):
    """Return y as finite float64 of shape (n,) or (n, k)."""
    if y is None:
        raise ValueError(
            "This regressor requires y to be passed, but the target y is None."
        )
    y = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y")
    if y.ndim == 0 or not y.size:
        raise ValueError(
            f"Got y of shape {y.shape}, expected (n_samples,) or "
            "(n_samples, n_outputs)."
        )
    return y


def matching(output, y):
    """Return the network's output where it has one column a target."""
    if output.shape[1] != y.shape[1]:
        raise ValueError(
            f'Got mean="network" with a network of {output.shape[1]} outputs for y of '
            f"{y.shape[1]}, expected as many. Pass a network that predicts y, or "
            'mean="constant".'
        )
    return output
