"""Choose what to measure next, by any estimator with an uncertainty.

Scores of single samples are functions of mean and standard deviation: the higher, the
sooner a sample should be measured. `select_batch` chooses several samples at a time.
"""

import numbers

import numpy as np
from scipy.special import ndtr
from scipy.stats import norm
from sklearn.utils import _safe_indexing

from ._prediction import predict_mean_std, unwrap

__all__ = [
    "expected_improvement",
    "probability_of_exceeding",
    "select_batch",
    "upper_confidence_bound",
]

_NAMES = (
    "expected_improvement",
    "probability_of_exceeding",
    "upper_confidence_bound",
    "variance",
)


def expected_improvement(y_mean, y_std, best, *, maximize=True):
    r"""Compute the expected improvement on the best target so far.

    Parameters
    ----------
    y_mean, y_std : array-like of shape (n_samples,)
        Predicted means and standard deviations, in target units.
    best : float
        Best target so far, in target units.
    maximize : bool, default=True
        Whether high targets are good; False: low ones.

    Returns
    -------
    score : ndarray of shape (n_samples,)
        In target units, not negative.

    Raises
    ------
    ValueError
        If shapes differ, or a standard deviation is negative.

    See Also
    --------
    select_batch : Several samples at a time.

    Notes
    -----
    With :math:`z = (\mu - y_\text{best}) / \sigma` [1]_

    .. math:: E[\max(y - y_\text{best}, 0)] = \sigma (z \Phi(z) + \varphi(z)).

    References
    ----------
    .. [1] D. Jones, M. Schonlau, W. Welch, "Efficient global optimization of expensive
       black-box functions", J. Global Optim. 13, 455 (1998),
       doi:10.1023/A:1008306431147.

    Examples
    --------
    >>> from sklearn_unlocknn.acquisition import expected_improvement
    >>> expected_improvement([1.0, 1.0, 2.0], [0.0, 1.0, 0.0], best=1.5).round(3)
    array([0.   , 0.198, 0.5  ])
    """
    mean, std, sign = _checked(y_mean, y_std, maximize)
    gain = mean - sign * best
    z = np.divide(gain, std, out=np.zeros_like(gain), where=std > 0)
    score = gain * ndtr(z) + std * norm.pdf(z)
    return np.maximum(np.where(std > 0, score, gain), 0.0)


def upper_confidence_bound(y_mean, y_std, kappa=2.0, *, maximize=True):
    """Compute an optimistic bound of the target.

    Parameters
    ----------
    y_mean, y_std : array-like of shape (n_samples,)
        Predicted means and standard deviations, in target units.
    kappa : float, default=2.0
        Number of standard deviations beyond the mean.
    maximize : bool, default=True
        Whether high targets are good; False: low ones.

    Returns
    -------
    score : ndarray of shape (n_samples,)
        ``y_mean + kappa * y_std``, in target units; ``kappa * y_std - y_mean`` where
        low targets are good, so that a higher score is better.

    Raises
    ------
    ValueError
        If shapes differ, or a standard deviation is negative.

    See Also
    --------
    select_batch : Several samples at a time.

    References
    ----------
    .. [1] N. Srinivas et al., "Gaussian process optimization in the bandit setting: no
       regret and experimental design", ICML 2010, arXiv:0912.3995.

    Examples
    --------
    >>> from sklearn_unlocknn.acquisition import upper_confidence_bound
    >>> upper_confidence_bound([1.0, 2.0], [1.0, 0.1]).tolist()
    [3.0, 2.2]
    >>> upper_confidence_bound([1.0, 2.0], [1.0, 0.1], maximize=False).tolist()
    [1.0, -1.8]
    """
    mean, std, _ = _checked(y_mean, y_std, maximize)
    return mean + kappa * std


def probability_of_exceeding(y_mean, y_std, threshold, *, maximize=True):
    """Compute the probability that the target lies above a threshold.

    Parameters
    ----------
    y_mean, y_std : array-like of shape (n_samples,)
        Predicted means and standard deviations, in target units, of a normal
        distribution.
    threshold : float
        In target units.
    maximize : bool, default=True
        Whether high targets are good; False: the probability that the target lies
        below.

    Returns
    -------
    score : ndarray of shape (n_samples,)
        In [0, 1].

    Raises
    ------
    ValueError
        If shapes differ, or a standard deviation is negative.

    See Also
    --------
    select_batch : Several samples at a time.

    Examples
    --------
    >>> from sklearn_unlocknn.acquisition import probability_of_exceeding
    >>> probability_of_exceeding([1.0, 2.0], [1.0, 0.5], threshold=2.0).round(2)
    array([0.16, 0.5 ])
    """
    mean, std, sign = _checked(y_mean, y_std, maximize)
    gain = mean - sign * threshold
    z = np.divide(gain, std, out=np.zeros_like(gain), where=std > 0)
    return np.where(std > 0, ndtr(z), gain > 0)


def _checked(y_mean, y_std, maximize):
    """Return means for which high is good, stds, and the sign of the target."""
    mean, std = np.asarray(y_mean, dtype=float), np.asarray(y_std, dtype=float)
    if mean.ndim != 1 or mean.shape != std.shape:
        raise ValueError(
            f"Got y_mean and y_std of shapes {mean.shape} and {std.shape}, expected "
            "(n_samples,) of both. Choose one target."
        )
    if np.any(std < 0):
        raise ValueError(f"Got y_std down to {std.min()}, expected none below 0.")
    sign = 1.0 if maximize else -1.0
    return sign * mean, std, sign


def select_batch(
    estimator,
    X,
    n,
    acquisition="expected_improvement",
    *,
    best=None,
    threshold=None,
    kappa=2.0,
    maximize=True,
    costs=None,
    n_candidates=2000,
):
    """Choose several samples to measure next, without a fit in between.

    Samples are chosen one by one. After each the covariance of the others is what it
    will be when its target is known, so that the next is not a neighbour of it,
    of which little is to be learned.

    Parameters
    ----------
    estimator : estimator
        Fitted, with ``predict(X, return_cov=True)`` for one target, such as this
        package's regressors and scikit-learn's ``GaussianProcessRegressor``, bare, in a
        Pipeline or in a search.
    X : array-like of shape (n_samples, n_features), or what `estimator` takes
        Pool of samples to choose from.
    n : int
        Number of samples to choose.
    acquisition : str, default="expected_improvement"
        What is worth measuring: "expected_improvement" on `best`,
        "upper_confidence_bound" with `kappa`, "probability_of_exceeding" the
        `threshold`, or "variance", for a model that predicts the whole pool well.
    best : float, default=None
        Best target so far, for "expected_improvement".
    threshold : float, default=None
        For "probability_of_exceeding".
    kappa : float, default=2.0
        For "upper_confidence_bound".
    maximize : bool, default=True
        Whether high targets are good; False: low ones.
    costs : array-like of shape (n_samples,), default=None
        Cost of each measurement, positive: scores are divided by them. Not with
        "upper_confidence_bound", which is no gain.
    n_candidates : int, default=2000
        The batch is chosen among so many samples of the highest score by itself, whose
        covariance is computed.

    Returns
    -------
    index : ndarray of shape (n,), int
        Positions in X, the first choice first. Samples without a prediction
        (``on_error="nan"``) are not chosen.

    Raises
    ------
    TypeError
        If the estimator has no ``return_cov``.
    ValueError
        If an argument is not valid, or there are fewer than n samples with a
        prediction, or several targets.

    See Also
    --------
    expected_improvement, upper_confidence_bound, probability_of_exceeding : Scores of
        single samples.

    Notes
    -----
    With the covariance C of the function at the pool and the noise variance
    :math:`s_j^2`, choosing sample j leaves

    .. math:: C - C_{:j} C_{j:} / (C_{jj} + s_j^2),

    the covariance given any value of its target; the mean stays [1]_, which stands for
    a target as predicted [2]_, and "expected_improvement" takes it for `best` if it is
    better. The noise is known for this package's regressors, whose scores then use the
    standard deviation of the function; for others it is part of the covariance.

    References
    ----------
    .. [1] T. Desautels, A. Krause, J. Burdick, "Parallelizing exploration-exploitation
       tradeoffs in Gaussian process bandit optimization", JMLR 2014, arXiv:1206.6402.
    .. [2] D. Ginsbourger, R. Le Riche, L. Carraro, "Kriging is well-suited to
       parallelize optimization", in "Computational intelligence in expensive
       optimization problems", Springer 2010, doi:10.1007/978-3-642-10701-6_6.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_unlocknn import VGPRegressor
    >>> from sklearn_unlocknn.acquisition import select_batch
    >>> pool = np.linspace(0, 6, 61)[:, None]
    >>> done = [3, 20, 40, 58]
    >>> y = np.sin(pool[:, 0])
    >>> model = VGPRegressor("rbf", random_state=0).fit(pool[done], y[done])
    >>> batch = select_batch(model, pool, 3, best=y[done].max())
    >>> len(set(batch))
    3
    """
    n = _check_count("n", n)
    n_candidates = _check_count("n_candidates", n_candidates)
    if acquisition not in _NAMES:
        raise ValueError(f"Got acquisition={acquisition!r}, expected one of {_NAMES}.")
    for name, value, needed in (
        ("best", best, "expected_improvement"),
        ("threshold", threshold, "probability_of_exceeding"),
    ):
        if acquisition == needed and not isinstance(value, numbers.Real):
            raise ValueError(f"Got {name}={value!r}, which {needed!r} needs: a number.")
    mean, std = map(np.asarray, predict_mean_std(estimator, X))
    if mean.ndim != 1:
        raise ValueError(
            f"Got an estimator with {mean.shape[1]} targets, expected one. Fit it to "
            "the target that is to be optimised."
        )
    costs = _check_costs(costs, len(mean), acquisition)

    def score(mean, std, best):
        if acquisition == "expected_improvement":
            return expected_improvement(mean, std, best, maximize=maximize)
        if acquisition == "upper_confidence_bound":
            return upper_confidence_bound(mean, std, kappa, maximize=maximize)
        if acquisition == "variance":
            return std**2
        return probability_of_exceeding(mean, std, threshold, maximize=maximize)

    valid = np.flatnonzero(np.isfinite(mean + std))
    if len(valid) < n:
        raise ValueError(
            f"Got n={n} for a pool of {len(valid)} samples with a prediction, expected "
            "at most their number."
        )
    single = score(mean[valid], std[valid], best) / costs[valid]
    order = np.argsort(-single, kind="stable")[: max(n, n_candidates)]
    pool = np.sort(valid[order])
    mean, covariance, noise = _joint(estimator, _safe_indexing(X, pool))

    chosen, costs, better = [], costs[pool], max if maximize else min
    free = np.ones(len(pool), dtype=bool)
    for _ in range(n):
        std = np.sqrt(np.maximum(np.diag(covariance), 0.0))
        scores = np.where(free, score(mean, std, best) / costs, -np.inf)
        j = int(np.argmax(scores))
        chosen.append(j)
        free[j] = False
        column, variance = covariance[:, j].copy(), covariance[j, j] + noise[j]
        if variance > 0:
            covariance -= np.outer(column / variance, column)
        if acquisition == "expected_improvement":
            best = better(best, mean[j])
    return pool[chosen]


def _joint(estimator, X):
    """Return mean, covariance of the function, and noise variance of a pool."""
    estimator, X = unwrap(estimator, X)
    try:
        mean, covariance = estimator.predict(X, return_cov=True)
    except TypeError as error:
        if "return_cov" not in str(error):
            raise
        raise TypeError(
            f"Got {type(estimator).__name__}, whose predict has no return_cov; "
            "expected a regressor of this package, a GaussianProcessRegressor, or one "
            "of these as the last step of a Pipeline or inside a fitted search."
        ) from error
    covariance, noise = np.array(covariance, dtype=float), np.zeros(len(mean))
    if hasattr(estimator, "predict_components"):
        noise = estimator.predict_components(X)[2] ** 2
        covariance[np.diag_indices_from(covariance)] -= noise
    return np.asarray(mean, dtype=float), covariance, noise


def _check_count(name, value):
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not whole or value < 1:
        raise ValueError(f"Got {name}={value!r}, expected an int of at least 1.")
    return int(value)


def _check_costs(costs, n_samples, acquisition):
    """Return costs as an array; 1 for None."""
    if costs is None:
        return np.ones(n_samples)
    costs = np.asarray(costs, dtype=float)
    if costs.shape != (n_samples,) or not (np.isfinite(costs) & (costs > 0)).all():
        raise ValueError(
            f"Got costs of shape {costs.shape}, expected {n_samples} positive numbers, "
            "one for each sample of the pool."
        )
    if acquisition == "upper_confidence_bound":
        raise ValueError(
            "Got costs with 'upper_confidence_bound', which is a bound of the target "
            "and no gain that a cost could divide. Use 'expected_improvement'."
        )
    return costs
