"""Estimate the noise variance again, on all samples.

The hyperparameters come from a subset and an exact GP: all samples, and the error of
the inducing points, can need another noise (bulk modulus: NLL -0.69 from -0.11).
"""

import operator

import numpy as np
from scipy.linalg.blas import dtrsm

from .leave_out import sparse_leave_one_out
from .posterior import exact_posterior
from .samples import LOG_2PI

# Samples of a sparse model that, left out one by one, determine its noise and errors.
LEFT_OUT_SAMPLES = 2000
# The logarithm of the noise is found to this difference.
_CLOSE = 0.05
# Share of a falling slope, from which on it is taken to fall down to the lower bound.
_ENDLESS = 2.0 / 3.0
# Most steps of Newton's method.
_MOST_STEPS = 10
# Random vectors that estimate traces, and up to how many samples unit vectors do.
_PROBES, _FEW = 32, 256


class _Search:
    """Posteriors by the shift of the logarithmic noise variance.

    Parameters
    ----------
    posterior_at, posterior, report
        As in `refit_noise`.
    judge : callable
        ``judge(posterior)``: its score, and where these are used two derivatives.

    Attributes
    ----------
    best : ExactPosterior or SparsePosterior
        That of the highest score so far.
    lower, upper : float
        Bounds of the shift; 0 where the noise is fixed.
    values : dict of float to float
        Score of each shift.
    """

    def __init__(self, posterior_at, posterior, report, judge):
        self.posterior_at, self.report, self.judge = posterior_at, report, judge
        self.best, self.theta = posterior, posterior.theta
        self.index, self.lower, self.upper = posterior.kernel.noise_index, 0.0, 0.0
        if self.index:
            bounds = posterior.kernel.bounds[self.index]
            lower, upper = (bounds - self.theta[self.index, None]).T
            self.lower, self.upper = float(lower.max()), float(upper.min())
        self.values = {}

    def at(self, shift):
        """Judge the posterior at a shift within the bounds; return derivatives."""
        posterior = self.best
        if shift:
            moved = self.theta.copy()
            moved[self.index] += shift
            posterior = self.posterior_at(moved)
        self.values[shift], *slopes = self.judge(posterior)
        if self.values[shift] == max(self.values.values()):
            self.best = posterior
        if shift:
            count = len(self.values) - 1
            self.report("noise on all samples", count, max(self.values.values()))
        return slopes


def refit_noise(posterior_at, posterior, report, score=None):
    """Return the posterior at the noise variance with the highest score.

    One factorisation a step: the optimum is bracketed in steps that double, then
    parabolas are fitted through the score of the logarithmic noise.

    Parameters
    ----------
    posterior_at : callable
        Posterior as a function of theta, of which only the noise differs.
    posterior : ExactPosterior or SparsePosterior
        Initial posterior.
    report : callable
        ``report(stage, iteration, value)``.
    score : callable, default=None
        ``score(posterior)``, in nats; None: its ``elbo``.
    """
    score = score or operator.attrgetter("elbo")
    if not posterior.kernel.noise_index:
        return posterior
    search = _Search(posterior_at, posterior, report, lambda one: (score(one),))
    search.at(0.0)
    values = search.values

    def evaluate(shift):
        shift = float(np.clip(shift, search.lower, search.upper))
        if shift not in values:
            search.at(shift)

    for step in (0.5, -0.5):
        while True:
            before = max(values, key=values.get)
            evaluate(before + step)
            if max(values, key=values.get) == before:
                break
            step *= 2.0
    for _ in range(2):
        shifts = np.array(sorted(values))
        heights = np.array(list(map(values.get, shifts)))
        top = int(np.argmax(heights))
        if top in (0, len(shifts) - 1):
            break
        around = slice(top - 1, top + 2)
        curve, slope, _ = np.polyfit(shifts[around], heights[around], 2)
        vertex = -slope / (2.0 * curve)
        if np.abs(vertex - shifts).min() < _CLOSE:
            break
        evaluate(vertex)
    return search.best


def refit_noise_by_slopes(posterior_at, posterior, report, judge):
    """Return the posterior at the noise variance of the highest score.

    By Newton's method within a bracket, on the logarithmic noise: two to four
    factorisations, where values alone take four to thirteen.

    Parameters
    ----------
    posterior_at, posterior, report
        As in `refit_noise`.
    judge : callable
        ``judge(posterior)``: score, slope and curvature by the logarithmic noise.
    """
    search = _Search(posterior_at, posterior, report, judge)
    shift, low, high, last = 0.0, search.lower, search.upper, None
    while len(search.values) <= _MOST_STEPS and low < high:
        slope, curvature = search.at(shift)
        if slope > 0.0:
            low = shift
        else:
            high = shift
        if last is not None and abs(shift - last[0]) < 1.0:
            secant = (slope - last[1]) / (shift - last[0])
            curvature = secant if secant < 0.0 else curvature
        # Where samples repeat exactly, it hardly changes down to the lower bound.
        endless = last is not None and slope < _ENDLESS * last[1] < 0.0
        ratio, last = abs(slope / (curvature or 1.0)), (shift, slope)
        if (curvature >= 0.0 or ratio > 1.0) and not endless:
            ratio = np.log1p(ratio)  # the slope is exponential far below the optimum
        target = float(np.clip(shift + np.copysign(ratio, slope), low, high))
        if target in search.values:  # an end of the bracket
            target = 0.5 * (low + high)
        if abs(target - shift) < _CLOSE:
            break
        shift = target
    return search.best


def exact_at_best_noise(kernel, theta, groups, report):
    """Return the exact posterior at the noise variance of the highest likelihood.

    Parameters
    ----------
    kernel, theta, groups
        As in `exact_posterior`; of ``theta`` only the noise changes.
    report : callable
        ``report(stage, iteration, value)``.
    """
    K = kernel.lower(theta, groups.X)

    def posterior_at(theta):
        return exact_posterior(kernel, theta, groups, K)

    return refit_noise_by_slopes(
        posterior_at, posterior_at(theta), report,
        lambda posterior: likelihood_slopes(posterior, groups),
    )  # fmt: skip


def likelihood_slopes(posterior, groups):
    """Return the log marginal likelihood and two derivatives by the log noise.

    With C = K + N, N = s2 D and alpha = C^-1 (t - h' beta), of each output

        dF / ds2 = (alpha' D alpha - tr C^-1 D) / 2,
        d2F / ds2^2 = -alpha' D C^-1 D alpha + tr (C^-1 D)^2 / 2,

    beside the terms of observations within a group. Traces are means over random signs
    (Hutchinson 1990), always the same ones; the second derivative leaves out that of
    beta.

    Parameters
    ----------
    posterior : ExactPosterior
        The posterior.
    groups : GroupedSamples
        Its samples.

    Returns
    -------
    value, slope, curvature : float
        Derivatives are by the logarithm of the free noise.
    """
    kernel, noise, k = posterior.kernel, posterior.noise, groups.n_outputs
    L, n = posterior.factor(), len(groups.weights)
    if n > _FEW:
        signs = np.random.RandomState(0).randint(2, size=(n, _PROBES))
        probes = (2.0 * signs - 1.0) / np.sqrt(_PROBES)
    else:
        probes = np.eye(n)
    root = np.sqrt(1.0 / groups.weights)[:, None]
    # D^1/2 C^-1 D^1/2 times the probes
    half = dtrsm(1.0, L, root * probes, lower=1)
    times = root * dtrsm(1.0, L, half, lower=1, trans_a=1)
    alpha = root * posterior.alpha
    carried = dtrsm(1.0, L, root * alpha, lower=1)
    residual = np.vstack([np.eye(k), -posterior.beta])
    within = np.einsum("pk,pq,qk->", residual, groups.within, residual) / noise**2
    _, noise_slope = groups.log_noise(noise)

    by_noise = np.sum(alpha**2) - k * np.sum(half**2) - k * noise_slope + within
    twice = k * np.sum(times**2) - 2.0 * np.sum(carried**2)
    twice += k * noise_slope / noise - 2.0 * within / noise
    free = kernel.noise_gradient(posterior.theta)[kernel.noise_index].sum()
    slope = 0.5 * free * by_noise
    return posterior.elbo, slope, slope + 0.5 * free**2 * twice


def left_out_slopes(posterior, samples):
    """Return the leave-one-out log density of samples as a function of the posterior.

    Neither the bound nor the likelihood of a sparse model shows the noise that
    predictions need: both take the variance that the points do not explain for noise,
    which predictions add to it (kin8nm with 2000 points: noise 0.36 for 0.16).

    Parameters
    ----------
    posterior : SparsePosterior
        Its kernel and points do not depend on the noise.
    samples : Samples
        Some of the training samples.

    Returns
    -------
    judge : callable
        ``judge(posterior)``: the log density in nats, its slope and (minus the Fisher
        information) its curvature by the logarithm of the free noise.
    """
    predict, k = sparse_leave_one_out(posterior, samples), samples.n_outputs

    def judge(posterior):
        kernel, noise, some = posterior.kernel, posterior.noise, samples
        counts = some.weights if some.counts is None else some.counts
        some = some.at(noise)
        found = predict(posterior, some.weights, slopes=True)
        residual, variance, residual_slope, variance_slope = found
        own = counts / some.weights
        total, slope = variance + noise * own, variance_slope + own
        square = np.einsum("nk,nk->n", residual, residual)
        density = -0.5 * (k * (LOG_2PI + np.log(total)) + square / total)
        relative = slope / total
        change = 0.5 * relative * (square / total - k)
        change -= np.einsum("nk,nk->n", residual, residual_slope) / total
        free = kernel.noise_gradient(posterior.theta)[kernel.noise_index].sum()
        curvature = -0.5 * k * free**2 * (counts @ relative**2)
        return float(counts @ density), free * (counts @ change), curvature

    return judge
