"""Noise that varies with x: a GP on its logarithm, fitted to leave-one-out residuals.

The residual r of a sample that is left out has the variance ``c^2 (v + s2 exp g(x))``:
v is that of the latent function, s2 the constant noise, c and the degrees of freedom
those of the `Shape`. The prior of g is a Gaussian process at some inducing points
(Nystroem). Its covariance is a power of the fitted correlations of the function itself,
or the mean of that and one of predicted values, as noise often depends on the size of
what is measured, times one factor. Its mode is found by Fisher scoring; power, factor
and which of the two by Laplace's approximation of the evidence
(Goldberg et al. 1998 for the model, Rasmussen and Williams 2006, section 3.4, for the
approximation).
"""

import dataclasses
from typing import NamedTuple

import numpy as np
from scipy.linalg import cho_solve, solve_triangular
from scipy.linalg.blas import dsyrk

from .encoded import blocks
from .linalg import JITTERS, cholesky, product
from .posterior import CHUNK
from .samples import distinct_rows

# Inducing points of the noise, a third of the samples: it varies more slowly than the
# function.
MAX_POINTS = 200
# Variances of g and powers of its correlations, of which those with the largest
# evidence are taken, and the variance of its mean.
_VARIANCES = (3.0, 0.3, 1.0, 10.0)
_POWERS = (1, 2, 4)
_MEAN_VARIANCE = 4.0
# Variance of the residuals of `Level`, relative to that of its values
_LEVEL_PENALTY = 1e-3
# Fisher scoring ends at a step whose squared length, by the information, is below the
# tolerance: half of that is a gain in nats.
_MAX_STEPS, _TOLERANCE, _LONGEST_STEP, _DAMPING = 20, 0.1, 3.0, 0.7
# Least Fisher information of a sample, of one whose function value is not determined
_LEAST_INFORMATION = 1e-6


@dataclasses.dataclass
class VaryingNoise:
    """Noise variance relative to a constant, as a function of x.

    Parameters
    ----------
    kernel : Covariance
        Covariance of the function.
    theta : ndarray of shape (n_theta,)
        Its log hyperparameters.
    Z : ndarray of shape (m, d)
        Inducing points.
    power : int
        Power of the correlations: the larger, the shorter the length scales.
    prior : float
        Prior variance of g.
    coefficients : ndarray of shape (m,)
        ``g(x) = offset + R(x, Z) coefficients``, with R the power of correlations.
    offset : float
        As above.
    bounds : tuple of float
        Range of g over the training samples; beyond it g is not extrapolated.
    n_parameters : float
        Effective number of parameters.
    level : Level, default=None
        Predicted values, if g depends on them.
    """

    kernel: object
    theta: np.ndarray
    Z: np.ndarray
    power: int
    prior: float
    coefficients: np.ndarray
    offset: float
    bounds: tuple
    n_parameters: float
    level: "Level | None" = None

    def ratio(self, X):
        """Return the noise variance at X in units of the constant one."""
        parts = []
        for rows in blocks(len(X), len(self.Z), *CHUNK):
            R = _correlation(self.kernel, self.theta, X[rows], self.Z)
            K = _covariance(R, self.power, self.level)
            parts.append(self.offset + K @ self.coefficients)
        return np.exp(np.clip(np.concatenate(parts), *self.bounds))


class Level(NamedTuple):
    """Predicted values, in units of their standard deviation.

    Attributes
    ----------
    coefficients : ndarray of shape (m,)
        ``level(x) = R(x, Z) coefficients``.
    at_Z : ndarray of shape (m,)
        Values at the inducing points.
    """

    coefficients: np.ndarray
    at_Z: np.ndarray

    @classmethod
    def fit(cls, mean, at_Z, at_X, counts):
        """Fit to left-out means (n,), given correlations at Z (m, m) and X (n, m).

        Least squares with the covariance of Z as the penalty, a thousandth of the
        variance of the means.
        """
        mean = mean - np.average(mean, weights=counts)
        mean = mean / (np.sqrt(np.average(mean**2, weights=counts)) or 1.0)
        weighted = counts[:, None] * at_X
        A = product(at_X.T, weighted) + _LEVEL_PENALTY * at_Z
        L, _ = cholesky(A, JITTERS)
        coefficients = cho_solve((L, True), weighted.T @ mean)
        return cls(coefficients, at_Z @ coefficients)

    def correlation(self, R):
        """Return the correlations (n, m) by values, given those of the function."""
        distance = (R @ self.coefficients)[:, None] - self.at_Z
        return np.exp(-0.5 * distance**2)


def fit_noise(kernel, theta, left_out, shape, rng, before=None):
    """Fit the noise to leave-one-out residuals.

    Parameters
    ----------
    kernel : Covariance
        Covariance of the function.
    theta : ndarray of shape (n_theta,)
        Its log hyperparameters.
    left_out : LeftOut
        The residuals.
    shape : Shape
        Shape of the residuals.
    rng : numpy.random.RandomState
        Chooses inducing points.
    before : VaryingNoise, default=None
        An earlier fit, whose covariance is kept.

    Returns
    -------
    noise : VaryingNoise or None
        None where the function is constant.
    ratio : ndarray of shape (n,)
        The ratio at each sample, predicted from the other samples.
    """
    _, samples, _, mean, residual, variance, counts = left_out
    X = samples.X
    distinct, _ = distinct_rows(X)
    m = min(len(distinct) // 3 + 1, MAX_POINTS)
    Z = distinct[np.sort(rng.permutation(len(distinct))[:m])]
    if not kernel.diagonal(theta, Z).min() > 0.0:
        return None, np.ones(len(X))
    at_Z, at_X = (_correlation(kernel, theta, one, Z) for one in (Z, X))
    scale, s2 = shape.scale**2, kernel.noise(theta)
    target = _LogScale(residual**2 / scale, variance, s2, counts, shape.dof)
    levels = Level.fit(mean.mean(axis=1), at_Z, at_X, counts)
    roots, found, g = {}, {}, np.zeros(len(X))

    def mode(power, level, prior):
        nonlocal g
        form = power, level is None
        if form not in roots:
            K_Z, K_X = (_covariance(R, power, level) for R in (at_Z, at_X))
            L, _ = cholesky(K_Z, JITTERS)
            roots[form] = L, solve_triangular(L, K_X.T, lower=True)
        if (form, prior) not in found:
            features = np.empty((m + 1, len(X)))
            np.multiply(np.sqrt(prior), roots[form][1], out=features[:-1])
            features[-1] = np.sqrt(_MEAN_VARIANCE)
            found[form, prior] = target.maximise(features, g)
        one = found[form, prior]
        g = one.g
        return one.evidence

    if before is None:
        prior = _VARIANCES[0]
        power = max(_POWERS, key=lambda power: mode(power, None, prior))
        level = max((None, levels), key=lambda level: mode(power, level, prior))
        prior = max(_VARIANCES, key=lambda prior: mode(power, level, prior))
    else:
        power, prior = before.power, before.prior
        level = None if before.level is None else levels
        mode(power, level, prior)
    form = power, level is None
    best, L = found[form, prior], roots[form][0]
    coefficients = np.sqrt(prior) * solve_triangular(
        L, best.weights[:-1], lower=True, trans="T"
    )
    offset = np.sqrt(_MEAN_VARIANCE) * best.weights[-1]
    bounds = float(best.g.min()), float(best.g.max())
    noise = VaryingNoise(
        kernel, theta, Z, power, prior, coefficients, float(offset), bounds,
        best.n_parameters, level,
    )  # fmt: skip
    return noise, np.exp(np.clip(best.left_out, *bounds))


def _correlation(kernel, theta, X, Z):
    """Return the correlations of the function at X and at Z."""
    K = kernel.matrix(theta, X, Z)
    K /= np.sqrt(kernel.diagonal(theta, X))[:, None]
    K /= np.sqrt(kernel.diagonal(theta, Z))
    return K


def _covariance(R, power, level):
    """Return the covariance of g in units of its factor, given correlations (n, m)."""
    K = R
    for _ in range(power.bit_length() - 1):  # a power of 2
        K = K * K
    return K if level is None else 0.5 * (K + level.correlation(R))


@dataclasses.dataclass
class _Mode:
    """Mode of the posterior of g, its log evidence and its leave-one-out values.

    ``n_parameters`` is the trace of the smoother, that of the leverages.
    """

    g: np.ndarray
    weights: np.ndarray
    evidence: float
    left_out: np.ndarray
    n_parameters: float


@dataclasses.dataclass
class _LogScale:
    """Likelihood of g, given squared residuals of shape (n, k) in units of the scale.

    A Student t of infinite ``dof`` is a Gaussian.
    """

    square: np.ndarray
    variance: np.ndarray
    s2: float
    counts: np.ndarray
    dof: float

    def value(self, g):
        """Return the log likelihood, less a constant."""
        total = self.variance + self.s2 * np.exp(g)
        q = self.square / total[:, None]
        k = q.shape[1]
        if np.isinf(self.dof):
            tail = 0.5 * q.sum(axis=1)
        else:
            tail = 0.5 * (self.dof + 1.0) * np.log1p(q / self.dof).sum(axis=1)
        return -self.counts @ (tail + 0.5 * k * np.log(total))

    def score(self, g):
        """Return the derivative of each sample's likelihood and its information."""
        noise = self.s2 * np.exp(g)
        total = self.variance + noise
        share = noise / total
        q = self.square / total[:, None]
        information = 0.5 * q.shape[1] * share**2
        if not np.isinf(self.dof):
            q = (self.dof + 1.0) * q / (self.dof + q)
            information *= self.dof / (self.dof + 3.0)
        slope = 0.5 * share * (q - 1.0).sum(axis=1)
        information = np.maximum(information, _LEAST_INFORMATION)
        return self.counts * slope, self.counts * information

    def maximise(self, features, g):
        """Return the `_Mode` of ``g = features' w`` with w standard normal a priori."""
        for _ in range(_MAX_STEPS):
            slope, information = self.score(g)
            step = np.clip(slope / information, -_LONGEST_STEP, _LONGEST_STEP)
            working = g + step
            root = features * np.sqrt(information)
            B = dsyrk(1.0, root.T, trans=1, lower=1)  # in order, without a copy
            B[np.diag_indices_from(B)] += 1.0
            L, _ = cholesky(B, (0.0, *JITTERS))
            weights = cho_solve((L, True), features @ (information * working))
            new = features.T @ weights
            change = information @ (new - g) ** 2
            if change < _TOLERANCE:
                break
            g = g + _DAMPING * (new - g)
        g = new
        evidence = self.value(g) - 0.5 * weights @ weights
        evidence -= np.log(np.diag(L)).sum()
        half = solve_triangular(L, features, lower=True)
        leverage = information * np.einsum("ij,ij->j", half, half)
        left_out = working - (working - new) / np.maximum(1.0 - leverage, 0.05)
        return _Mode(g, weights, float(evidence), left_out, float(leverage.sum()))
