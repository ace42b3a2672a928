"""Distributions of held-out standardised residuals, the scores."""

import math
import warnings
from typing import NamedTuple

import numpy as np
from scipy import stats
from scipy.special import log_ndtr, ndtri_exp

from .._gp.likelihood import AS_THE_GP, Shape, StdGrowth

METHODS = ("std", "isotonic", "conformal")
BY = (None, "domain")


class Scores(NamedTuple):
    """Standardised residuals (y - mean) / std of held-out samples, and their weights.

    All are of shape (n,); weights are positive, and 2 equals the sample twice.
    """

    z: np.ndarray
    weights: np.ndarray
    std: np.ndarray

    def grown(self, growth):
        """Return the scores for standard deviations that grow."""
        factors = growth.factors(self.std)
        z = np.divide(self.z, factors, out=np.zeros_like(self.z), where=self.z != 0)
        return Scores(z, self.weights, self.std * factors)


def check_method(method, by):
    """Check the parameters of a calibration."""
    if not (isinstance(method, str) and method in METHODS):
        raise ValueError(f"Got method={method!r}, expected one of {list(METHODS)}.")
    if not (by is None or (isinstance(by, str) and by in BY)):
        raise ValueError(f"Got by={by!r}, expected one of {list(BY)}.")


def standardised(y, mean, std):
    """Return (y - mean) / std, with 0 / 0 = 0.

    Raises ValueError when a std is negative, or zero with a wrong prediction.
    """
    residual = y - mean
    invalid = (std < 0) | ((std == 0) & (residual != 0))
    if invalid.any():
        raise ValueError(
            f"Got a std of zero or less with a wrong prediction in {invalid.sum()} of "
            f"{len(y)} held-out samples, expected positive ones: no factor corrects "
            "them. Give the estimator a noise term, such as a WhiteKernel."
        )
    return residual / np.where(std == 0, 1.0, std)


def calibrate(method, by, y, z, weights, std):
    """Fit the calibrators of all outputs to held-out samples.

    With s the predicted std times ``growth.factors(std)``, the recalibrated mean is
    ``mean + shift * s``, the recalibrated std ``factor * s``, with `growth`, `shift`
    and `factor` of the calibrator.

    Parameters
    ----------
    method, by : str or None
        As in `CalibratedProbRegressor`.
    y, z, std : ndarray of shape (n, k)
        Targets, standardised residuals and predicted standard deviations.
    weights : ndarray of shape (n,)
        Weights, positive.

    Returns
    -------
    calibrators : list of length k
    """
    kind = {"std": Scaled, "isotonic": Isotonic, "conformal": Conformal}[method]
    found = []
    for column, own, targets in zip(z.T, std.T, y.T, strict=True):
        scores, growth = Scores(column, weights, own), AS_THE_GP
        certain = own > 0
        if by == "domain" and column[certain].any():
            mean = np.average(targets, weights=weights)
            most = np.sqrt(np.average((targets - mean) ** 2, weights=weights))
            growth, _, _ = StdGrowth.fit(
                column[certain], own[certain], weights[certain], True, most
            )
            scores = scores.grown(growth)
        found.append(kind.of(scores)._replace(growth=growth))
    return found


def grown_std(calibrators, std):
    """Return standard deviations of shape (n, k) with the growth of calibrators."""
    columns = zip(calibrators, std.T, strict=True)
    return np.column_stack([one.growth.factors(own) * own for one, own in columns])


def rms(scores):
    """Return the factor of the std that minimises the Gaussian NLL."""
    return float(np.sqrt(np.average(scores.z**2, weights=scores.weights)))


class Scaled(NamedTuple):
    """One factor for the std; quantiles of a Gaussian or a Student t.

    `factor` is the root mean square of the scores, `scale` and `dof` are those of their
    distribution; a Gaussian has ``scale=factor`` and infinite `dof`.
    """

    factor: float
    scale: float
    dof: float
    shift: float = 0.0
    growth: StdGrowth = AS_THE_GP

    @classmethod
    def of(cls, scores):
        """Fit to scores by maximum likelihood."""
        factor = rms(scores)
        normal = cls(factor, factor, np.inf)
        if factor == 0:
            return normal
        heavy = Shape.fit(scores.z, scores.weights, least_dof=1.0)
        # Schwarz's criterion: a chance outlier of few samples is no heavy tail.
        plain = Shape(factor).log_density(scores.z)
        gain = scores.weights @ (heavy.log_density(scores.z) - plain)
        if gain <= 0.5 * np.log(max(scores.weights.sum(), 1.0)):
            return normal
        return cls(factor, *heavy)

    def quantiles(self, q):
        """Return quantiles of the scores."""
        return Shape(self.scale, self.dof).quantiles(q)


class Isotonic(NamedTuple):
    """Empirical distribution of the scores.

    `z` are distinct scores, increasing, in units of `unit`, and `levels` theirs in
    (0, 1). `unit` is the root mean square of the scores, the std of the Gaussian tails
    beyond the ends. `shift` and `factor` are mean and std of the distribution.
    """

    z: np.ndarray
    levels: np.ndarray
    unit: float
    shift: float
    factor: float
    growth: StdGrowth = AS_THE_GP

    @classmethod
    def of(cls, scores):
        """Fit to scores: isotonic regression of frequencies is their own curve."""
        unit = rms(scores)
        z, group = np.unique(scores.z / (unit or 1.0), return_inverse=True)
        weights = np.bincount(group.ravel(), weights=scores.weights)
        # (i - 1/2) / n, averaged over ties.
        levels = (np.cumsum(weights) - weights / 2) / weights.sum()
        mean, square = _moments(z, levels)
        return cls(z, levels, unit, unit * mean, unit * np.sqrt(square - mean**2))

    def quantiles(self, q):
        """Return quantiles of the scores: straight lines with Gaussian tails."""
        q = np.asarray(q, dtype=float)
        first, last = self.levels[0], self.levels[-1]
        values = np.interp(q, self.levels, self.z)
        below, above = q < first, q > last
        # In logarithms: the tail beyond a score of 40 underflows.
        tail = log_ndtr(self.z[0]) + np.log(q[below] / first)
        values[below] = ndtri_exp(tail)
        tail = log_ndtr(-self.z[-1]) + np.log((1 - q[above]) / (1 - last))
        values[above] = -ndtri_exp(tail)
        return self.unit * values


def _moments(z, levels):
    """Integrate the quantile function of `Isotonic` and its square over (0, 1)."""
    left, right, mass = z[:-1], z[1:], np.diff(levels)
    mean = mass @ (left + right) / 2
    square = mass @ (left**2 + left * right + right**2) / 3
    # The tails: a Gaussian beyond a has mean r and mean square 1 + a r.
    for edge, mass, sign in ((-z[0], levels[0], -1), (z[-1], 1 - levels[-1], 1)):
        mills = np.exp(stats.norm.logpdf(edge) - log_ndtr(-edge))
        mean += mass * sign * mills
        square += mass * (1 + edge * mills)
    return mean, square


class Conformal(NamedTuple):
    """Absolute scores `sizes`, increasing, and the total weight `counts` up to each.

    `factor` is the root mean square of the scores.
    """

    sizes: np.ndarray
    counts: np.ndarray
    factor: float
    shift: float = 0.0
    growth: StdGrowth = AS_THE_GP

    @classmethod
    def of(cls, scores):
        """Sort the scores."""
        sizes = np.abs(scores.z)
        order = np.argsort(sizes)
        return cls(sizes[order], np.cumsum(scores.weights[order]), rms(scores))

    def quantiles(self, q):
        """Return ends of intervals; those of coverage c have levels (1 -+ c) / 2."""
        n = float(self.counts[-1])
        # Rounding, since 2 q - 1 is not exact.
        coverage = np.round(np.abs(2.0 * np.asarray(q) - 1.0), 12)
        rank = np.ceil(coverage * (n + 1.0) - 1e-9)
        if np.any(rank > n):
            most = coverage.max()
            least = math.ceil(most / (1.0 - most) - 1e-9)
            warnings.warn(
                f"Got coverage {most:g} with {n:g} calibration samples, which "
                f"guarantee it by infinite intervals only: it takes {least} samples, "
                "(n + 1) (1 - coverage) >= 1. Calibrate on more samples or lower the "
                "coverage.",
                UserWarning,
                stacklevel=5,
            )
        size = np.append(self.sizes, np.inf)[np.searchsorted(self.counts, rank)]
        return np.copysign(np.where(rank > 0, size, 0.0), 2.0 * np.asarray(q) - 1.0)
