"""Fit a Gaussian process: hyperparameters, errors, inducing points and posterior."""

import numbers

import numpy as np
from sklearn.utils import check_array, check_random_state

from . import cost
from .covariance import Covariance
from .errors import PLAIN, Errors, LeftOut, fit_errors, without_auto
from .inducing import select
from .leave_out import leave_one_out
from .neighbours import fit_local
from .noise_level import (
    LEFT_OUT_SAMPLES,
    exact_at_best_noise,
    left_out_slopes,
    refit_noise,
    refit_noise_by_slopes,
)
from .posterior import (
    exact_posterior,
    optimal_posterior,
    warn_about_jitter,
)
from .samples import GroupedSamples, distinct_rows
from .training import (
    LEAST_SUBSET,
    MOST_SUBSET,
    SUBSET_SHARE,
    effective_parameters,
    fit_hyperparameters,
    hyperparameter_subset,
)

# L-BFGS iterations on the subset where inducing points move afterwards: ``max_iter``
# then counts the iterations of that stage.
FIRST_ITERATIONS = 20


def fit_posterior(samples, kernel, params, choice, report):
    """Fit hyperparameters, errors, inducing points and posterior.

    Parameters
    ----------
    samples : RawSamples
        Training samples.
    kernel : sklearn.gaussian_process.kernels.Kernel
        Initial kernel.
    params : object
        As in `Head.fit`.
    choice : tuple of str
        As in `Head.fit`.
    report : callable
        ``report(stage, iteration, value)``.

    Returns
    -------
    posterior : ExactPosterior or SparsePosterior
    local : LocalPosterior or None
        That of nearest samples, which predicts in place of the other.
    errors : Errors
    weights : ndarray of shape (n,)
        Those of the posterior.
    curve : ndarray of shape (n_iter + 1,)
        Objective of the first fit, or of inducing points that move.
    """
    n, d = len(samples.weights), samples.features.shape[1]
    rng = check_random_state(params.random_state)
    kernel = Covariance(kernel, d)
    named = isinstance(params.kernel, str | type(None))
    kernel.scale_priors = named and params.normalize_y and not kernel.has_noise
    if not kernel.noise(kernel.theta) > 0.0:
        raise ValueError(
            f"Got kernel={params.kernel!r} with a noise of 0, expected some noise. "
            "Give its WhiteKernel a small level, such as 1e-10."
        )
    m, Z = params.n_inducing_points, params.inducing_init
    auto = isinstance(m, str)
    if auto:
        m = cost.POINTS
    m = min(n, m if isinstance(m, numbers.Integral) else int(np.ceil(m * n)))
    n_subset = params.hyper_subset_size
    if isinstance(n_subset, str):
        n_subset = int(np.clip(SUBSET_SHARE * n, LEAST_SUBSET, MOST_SUBSET))
    few = n <= 4 * m
    candidates = GroupedSamples.of(samples) if few else samples
    distinct = len(candidates.weights)
    exact = m >= distinct or (auto and cost.exact_pays(distinct, n))
    exact = few and exact and isinstance(Z, str)
    moves = params.optimize_inducing_points and not exact

    max_iter, local = params.max_iter, None
    first = min(max_iter, 1) * FIRST_ITERATIONS if moves else max_iter
    subset = np.sort(hyperparameter_subset(samples, n_subset, rng))
    some = samples.take(subset)
    given = samples
    plain, curve = fit_hyperparameters(
        kernel, GroupedSamples.of(some), first, report, goes_on=not moves
    )
    if not (max_iter and len(plain)):  # nothing is fitted
        choice = without_auto(choice)
    errors, theta, of_some, precisions = fit_errors(
        kernel, plain, some, choice, max_iter, rng, report
    )
    if precisions is not None and n > len(subset):
        if m < len(subset):  # whose square is the cost of a sample's variance
            points, _ = distinct_rows(some.X)
            spread = np.unique(np.linspace(0, len(points) - 1, m).astype(int))
            points, weighted = points[spread], errors.weigh(some, precisions)
            of_some = optimal_posterior(kernel, theta, points, weighted)(theta)
        of_all = errors.precisions(of_some, samples, params.n_jobs)
        of_all[subset] = precisions
        precisions = of_all
    if not errors.plain:
        samples = errors.weigh(samples, precisions)
        candidates = GroupedSamples.of(samples) if few else samples
    if exact and max_iter:
        posterior = exact_at_best_noise(kernel, theta, candidates, report)
    elif exact:
        posterior = exact_posterior(kernel, theta, candidates)
    if exact:
        judged = np.arange(n)
    else:
        if isinstance(Z, str):
            m = min(m, len(candidates.weights))
            Z = select(kernel, theta, candidates, m, Z, rng)
        else:
            Z = _given_points(Z, samples.scaling, d)
        if moves:
            from .moving import move_points

            fixed = samples.at(kernel.noise(theta))
            theta, Z, curve = move_points(
                kernel, theta, Z, fixed, max_iter, rng, report, params.n_jobs
            )
        posterior_at = optimal_posterior(kernel, theta, Z, samples, params.n_jobs)
        posterior = posterior_at(theta)
        warn_about_jitter(posterior.jitter, kernel.diagonal(theta, Z))
        judged = np.sort(rng.permutation(n)[:LEFT_OUT_SAMPLES])
        if max_iter or choice != PLAIN:
            some = samples.with_copies(judged)
        if max_iter:
            judge = left_out_slopes(posterior, some)
            if samples.known is None:
                posterior = refit_noise_by_slopes(
                    posterior_at, posterior, report, judge
                )
            else:  # the weights of the statistics depend on the noise
                posterior = refit_noise(
                    posterior_at, posterior, report, lambda one: judge(one)[0]
                )
        ours = auto and max_iter and isinstance(params.inducing_init, str)
        # Fine-tuning moves the features of the samples.
        ours = ours and getattr(params, "fine_tuning", None) is None
        if ours and not moves and samples.known is None:
            residual, variance = leave_one_out(posterior, some)
            variance = variance + posterior.noise / some.weights * given.weights[judged]
            local = fit_local(
                posterior, plain, given, judged, (residual, variance),
                choice[0] != "gaussian", report,
            )  # fmt: skip
    if local is not None:
        samples, errors, judged = given, Errors(), subset
    if choice != PLAIN:
        if exact or local is not None:  # a sparse model has some, with their copies
            some = samples.take(judged)
        left_out = LeftOut.of(local or posterior, given.take(judged), some, judged)
        again = not exact or n > len(subset)  # other samples or points than before
        errors, _ = Errors.fit(
            left_out, choice if again else errors.choice, rng, errors
        )
        if choice[0] == "auto":
            errors = errors.grown(left_out)
        if named and max_iter:
            count = effective_parameters(kernel, posterior.theta, len(posterior.beta))
            total = left_out.samples.weights.sum()
            errors = errors.inflated(total, count, tails=choice[0] == "auto")
    return posterior, local, errors, samples.at(posterior.noise).weights, curve


def _given_points(Z, scaling, d):
    """Return ``inducing_init``, an array of points, checked and standardised."""
    Z = check_array(Z, dtype=np.float64, input_name="inducing_init")
    if Z.shape[1] != d:
        raise ValueError(
            f"Got inducing_init of shape {Z.shape}, expected (m, {d}): points in units "
            "of the features."
        )
    return np.unique(scaling.features(Z), axis=0)
