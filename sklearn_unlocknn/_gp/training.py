"""Fit the hyperparameters.

They maximise the marginal likelihood of a subset of the samples, with priors on vector
length scales and, for kernels given by name, on all scales.
"""

import threading

import joblib
import numpy as np
from scipy.linalg import lapack, norm
from scipy.linalg.blas import dsyrk, dtrsm
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning

from .._validation import warn_user
from .encoded import blocks
from .linalg import JITTERS, cholesky, product
from .posterior import exact_posterior, log_marginal, mean_coefficients

# Initial noise variances, of the standardised target.
NOISE_STARTS = (0.01, 0.1, 0.5)
# Standard deviation of ln(length scale) about the mean of its kernel, if each feature
# has one. Without a prior, a hundred of them overfit a thousand samples (bulk modulus:
# NLL 1.5 against -0.27).
ARD_STD = 0.5
# Mean and standard deviation of the prior of ln(noise variance), of a standardised
# target, where the kernel has no noise of its own: a few samples that happen to repeat
# or to be fitted well do not show that there is none (40 samples of UCI concrete: NLL
# 252 without it, .76 with it).
NOISE_PRIOR = -2.5, 1.5
# There, too: mean of the exponential prior of the standard deviation of each summand
# over the features, of which the mean variance is then 1, and standard deviation of the
# prior of ln(length scale), averaged over features. As densities of logarithms they
# keep a few samples from removing all summands but the linear one (10 samples of
# diabetes: 90 % intervals held 8 % in one draw).
AMPLITUDE_PRIOR, LENGTH_PRIOR = 0.5**0.5, 3.0
# L-BFGS stops where an iteration improves the objective by less, relative to its value.
TOLERANCE = 1e-4
# A fit takes up to MOST_TIMES ``max_iter`` iterations while the last LAST_FEW gain, in
# the mean, as many nats per observation of an output and per hyperparameter: 20 are
# enough for a hundred features of a network, of which more would fit the noise, but not
# for 32 of a smooth function (10,000 samples: RMSE .360, of 52 iterations .321) or for
# 8 with a target of little noise (energy: .297, .254).
MOST_TIMES, LAST_FEW = 5, 5
GAIN_PER_OBSERVATION, GAIN_PER_HYPERPARAMETER = 0.0015, 0.02
# Length of the first step of L-BFGS. Its own first step is the whole gradient: 30 in
# log hyperparameters, so that three of four values at the start were thrown away, and
# the optima were worse (kin8nm: NLL -1.231 for -1.279).
FIRST_STEP = 1.0
# The "auto" size of the subset for the hyperparameters: a share of the samples, within
# bounds.
SUBSET_SHARE, LEAST_SUBSET, MOST_SUBSET = 0.2, 800, 2000
# A variance up to this share of the target's is negligible: a smaller one fits the
# same.
_NEGLIGIBLE = 0.01
# Optima of the last problems of this Python process, by their digest: candidates of a
# search that differ in their inducing points alone share one.
_OPTIMA, _MAX_OPTIMA, _LOCK = {}, 128, threading.Lock()


def fit_hyperparameters(kernel, groups, max_iter, report, start=None, goes_on=True):
    """Maximise the marginal likelihood of some samples by L-BFGS.

    Parameters
    ----------
    kernel : Covariance
        The kernel with its initial hyperparameters.
    groups : GroupedSamples
        The samples.
    max_iter : int
        Number of iterations; 0 keeps the initial hyperparameters.
    report : callable
        ``report(stage, iteration, value)``, called after each iteration.
    start : ndarray of shape (n_theta,), default=None
        Log hyperparameters to start at. None: those of the kernel.
    goes_on : bool, default=True
        Whether there are more iterations than ``max_iter`` while they gain much.

    Returns
    -------
    theta : ndarray of shape (n_theta,)
        Log hyperparameters.
    curve : ndarray of shape (n_iter + 1,)
        Log marginal likelihood plus log prior, from the start on.
    """
    if len(groups.X) == 1 and groups.counts[0] <= 1.0:
        # One observation of one point does not determine scales: keep the initial ones.
        max_iter = 0
    data = tuple(vars(groups).values())
    prior, key = (kernel.has_noise, kernel.scale_priors), None
    if kernel.translated:  # a hash identifies a user's class by its name alone
        settings = kernel.template, prior, max_iter, start, goes_on
        key = joblib.hash((*settings, *data))
    with _LOCK:
        if key in _OPTIMA:
            theta, curve = _OPTIMA[key]
            return theta.copy(), curve.copy()  # as the user may change the curve

    def objective(theta):
        value, gradient = log_marginal_likelihood(kernel, theta, groups)
        prior, prior_gradient = log_prior(kernel, theta)
        return value + prior, gradient + prior_gradient

    given = start is not None
    start = start if given else kernel.theta
    if max_iter and len(start):
        start = np.clip(start, *kernel.bounds.T)
    if not kernel.has_noise and max_iter and not given:
        # Without a noise level in the kernel the most likely of several is the start.
        # L-BFGS from a far lower one may stop at optima that explain the noise by a
        # short length scale (diabetes, "rbf": test NLL 5.71 from 0.01, 5.46 from 0.1).
        highest, initial = -np.inf, start
        K = kernel.lower(initial, groups.X)
        for level in NOISE_STARTS:
            theta = initial.copy()
            theta[kernel.noise_index] = np.log(level)
            value = exact_posterior(kernel, theta, groups, K).elbo
            value += log_prior(kernel, theta)[0]
            if value > highest:
                start, highest = theta, value
    least_gain = np.inf
    if goes_on:
        n_observations = groups.counts.sum() * groups.n_outputs
        least_gain = max(
            GAIN_PER_OBSERVATION * n_observations, GAIN_PER_HYPERPARAMETER * len(start)
        )
    theta, curve = maximise(
        objective, start, kernel.bounds, max_iter, report, "hyperparameters",
        least_gain,
    )  # fmt: skip
    if key is not None:
        with _LOCK:
            while len(_OPTIMA) >= _MAX_OPTIMA:
                del _OPTIMA[next(iter(_OPTIMA))]
            _OPTIMA[key] = theta.copy(), curve.copy()
    return theta, curve


def hyperparameter_subset(samples, n_subset, rng):
    """Choose samples, half of them at random and half the nearest neighbours of those.

    Random samples alone lie far apart: where function ends and noise begins is then
    undetermined (UCI protein: NLL 441). A choice by X alone keeps the likelihood valid.

    Parameters
    ----------
    samples : Samples or RawSamples
        All samples, read in blocks.
    n_subset : int
        Number of samples to choose.
    rng : numpy.random.RandomState
        Source of randomness.

    Returns
    -------
    order : ndarray of shape (min(n, n_subset),)
        Distinct indices.
    """
    shuffled = rng.permutation(len(samples.weights))
    if len(samples.weights) <= n_subset:
        return shuffled
    anchors = shuffled[: n_subset // 2]
    pairs = np.column_stack([anchors, _neighbours(samples, anchors)]).ravel()
    candidates = np.concatenate([pairs, shuffled])
    _, first = np.unique(candidates, return_index=True)
    return candidates[np.sort(first)][:n_subset]


def _neighbours(samples, anchors):
    """Return the nearest other sample of each anchor."""
    from sklearn.neighbors import NearestNeighbors  # not needed to predict

    X = samples.take(anchors).X
    distances, found = [], []
    for part in blocks(len(samples.weights), X.shape[1]):
        near = samples.take(part).X
        search = NearestNeighbors(n_neighbors=min(2, len(near)), algorithm="brute")
        distance, index = search.fit(near).kneighbors(X)
        distances.append(distance)
        found.append(index + part.start)
    distances, found = np.hstack(distances), np.hstack(found)
    nearest = np.argsort(distances, axis=1, kind="stable")[:, :2]
    found = np.take_along_axis(found, nearest, axis=1)
    # A sample's nearest is itself, unless another repeats it.
    return np.where(found[:, 0] == anchors, found[:, 1], found[:, 0])


def log_marginal_likelihood(kernel, theta, groups):
    """Return the log marginal likelihood of an exact GP and its gradient.

    Parameters
    ----------
    kernel : Covariance
        The kernel.
    theta : ndarray of shape (n_theta,)
        Log hyperparameters.
    groups : GroupedSamples
        The data.

    Returns
    -------
    value : float
        In nats, summed over outputs; the prior mean's coefficients are at their
        optimum.
    gradient : ndarray of shape (n_theta,)
        By ``theta``.
    """
    k, noise = groups.n_outputs, kernel.noise(theta)
    K, pull_back = kernel.lower_vjp(theta, groups.X)
    L, _ = cholesky(K, (0.0, *JITTERS), diagonal=groups.variances(noise))
    c = dtrsm(1.0, L, groups.T, lower=1)
    Q = product(c.T, c) + groups.within / noise
    _, residual = mean_coefficients(Q, k)
    log_noise, noise_slope = groups.log_noise(noise)
    value = log_marginal(L, Q, residual, log_noise)

    # dF/dC = (alpha alpha' - k C^-1) / 2 with C = K + N
    alpha = dtrsm(1.0, L, c @ residual, lower=1, trans_a=1)
    inverse, _ = lapack.dpotri(L, lower=1, overwrite_c=1)
    # The adjoint's lower triangle, doubled off the diagonal: K is symmetric.
    adjoint = dsyrk(1.0, alpha, beta=-float(k), c=inverse, lower=1, overwrite_c=1)
    diagonal = 0.5 * np.diag(adjoint)
    adjoint[np.diag_indices_from(adjoint)] = diagonal

    noise_gradient = diagonal @ (1.0 / groups.weights) - 0.5 * k * noise_slope
    noise_gradient += (
        0.5 * np.einsum("pk,pq,qk->", residual, groups.within, residual) / noise**2
    )
    gradient = pull_back(adjoint)
    return value, gradient + noise_gradient * kernel.noise_gradient(theta)


def log_prior(kernel, theta):
    """Return the log prior density of theta (less a constant) and its gradient.

    A Gaussian on each ln(length scale) about their mean: all features are equally
    relevant a priori. Where ``kernel.scale_priors`` is set, Gaussians on ln(noise) and
    on the mean ln(length scale), and an exponential distribution of the standard
    deviation of each summand (Simpson et al. 2017, doi:10.1214/16-STS576).
    """
    value, gradient = 0.0, np.zeros_like(theta)
    if kernel.scale_priors:
        mean, std = NOISE_PRIOR
        deviation = (theta[kernel.noise_index] - mean) / std
        value -= 0.5 * deviation @ deviation
        gradient[kernel.noise_index] -= deviation / std
        for i, std in kernel.amplitudes.items():
            rate = std * np.exp(0.5 * theta[i]) / AMPLITUDE_PRIOR
            value += np.log(rate) - rate
            gradient[i] += 0.5 * (1.0 - rate)
        for part in kernel.lengths:
            deviation = theta[part].mean() / LENGTH_PRIOR
            value -= 0.5 * deviation**2
            gradient[part] -= deviation / (LENGTH_PRIOR * (part.stop - part.start))
    for part in kernel.vectors:
        deviation = (theta[part] - theta[part].mean()) / ARD_STD
        value -= 0.5 * deviation @ deviation
        gradient[part] -= deviation / ARD_STD
    return value, gradient


def effective_parameters(kernel, theta, n_basis):
    """Return the number of parameters that the data determine.

    Of a prior N(0, s^2) about a mean and a likelihood of information H the mode has
    E[mode^2] = s^2 H / (H + 1 / s^2): its squared distance from the mean, in units of
    s, estimates the share that the data determine (MacKay 1992's number of well
    determined parameters). Each coefficient of the prior mean counts as one.
    """
    count = float(n_basis)
    for part in kernel.vectors:
        deviation = (theta[part] - theta[part].mean()) / ARD_STD
        count += deviation @ deviation
    return float(count)


def maximise(objective, start, bounds, max_iter, report, stage, least_gain=np.inf):
    """Maximise by L-BFGS-B.

    Parameters
    ----------
    objective : callable
        Value and gradient, as a function of a vector.
    start : ndarray of shape (n,)
        Initial vector.
    bounds : ndarray of shape (n, 2)
        Lower and upper bounds.
    max_iter : int
        Largest number of iterations, except as in ``least_gain``.
    report : callable
        ``report(stage, iteration, value)``.
    stage : str
        Name of the stage, for ``report``.
    least_gain : float, default=np.inf
        The fit goes on after ``max_iter`` iterations, to ``MOST_TIMES`` as many, while
        the mean gain of the last ``LAST_FEW`` is at least this.

    Returns
    -------
    argument : ndarray of shape (n,)
    curve : ndarray of shape (n_iter + 1,)
        Values from the start on.
    """
    if not start.size or max_iter == 0:
        return start, np.array([objective(start)[0]])
    first = value, gradient = objective(start)
    if not (np.isfinite(value) and np.all(np.isfinite(gradient))):
        raise ValueError(
            f"The objective of the {stage} or its gradient is not finite at the start. "
            "Pass a kernel with other values, such as a noise level above 0."
        )
    curve = [value]
    # Units of the vector in which the first gradient is a step of that length
    unit = np.sqrt(FIRST_STEP / (norm(gradient) or 1.0))  # BLAS's does not overflow

    def negated(vector):
        nonlocal first
        try:
            value, gradient = first or objective(unit * vector)
            finite = np.isfinite(value) and np.all(np.isfinite(gradient))
        except np.linalg.LinAlgError:
            finite = False
        first = None
        if not finite:
            # The step is too long: a finite wall makes the line search shorten it.
            wall = abs(curve[0]) + 1e3 * (1.0 + abs(curve[-1]))
            return wall, np.zeros_like(vector)
        return -value, -unit * gradient

    def after(intermediate_result):
        curve.append(-float(intermediate_result.fun))
        report(stage, len(curve) - 1, curve[-1])
        gains = np.diff(curve[-LAST_FEW - 1 :])
        much = len(gains) == LAST_FEW and gains.mean() >= least_gain
        if len(curve) > max_iter and not much:
            raise StopIteration

    result = minimize(
        negated, start / unit, jac=True, method="L-BFGS-B", bounds=bounds / unit,
        callback=after,
        options={"maxiter": MOST_TIMES * max_iter, "ftol": TOLERANCE, "maxcor": 20},
    )  # fmt: skip
    return np.clip(unit * result.x, *bounds.T), np.array(curve)


def warn_of_bounds(posterior, params, target_variance):
    """Warn of hyperparameters at bounds that may limit the fit.

    Bounds of a kernel object are the user's: all of them are named, as
    ``GaussianProcessRegressor`` does. Those of a kernel name, and of the noise that is
    added to a kernel without one, are wide: a term vanishes at small variances and at
    long and short length scales, and at a variance of 1e4 more of it changes little. So
    only the noise is named, at its upper bound, or at a lower one that is not small
    beside the variance of the target.

    Parameters
    ----------
    posterior : ExactPosterior, SparsePosterior or LocalPosterior
        Posterior at the fitted hyperparameters.
    params : object
        The regressor, or another object with its parameters.
    target_variance : float
        Variance of the target in the units of the kernel.
    """
    covariance = posterior.kernel
    fitted = covariance.template.clone_with_theta(posterior.theta)
    parts = [(fitted, not isinstance(params.kernel, str | type(None)))]
    if not covariance.has_noise:
        parts = [(fitted.k1, parts[0][1]), (fitted.k2, False)]
    found, of_names = [], False
    for part, own in parts:
        for name, n, side, bound in _at_bounds(part):
            if not own:
                small = bound <= _NEGLIGIBLE * target_variance
                noise = name.endswith("noise_level")
                if not noise or (side == "lower" and small):
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
