"""What held-out standardised residuals say about the shape of the errors."""

import math
import warnings
from typing import NamedTuple

import numpy as np
from scipy import stats
from scipy.optimize import minimize
from scipy.special import log_ndtr, ndtri, ndtri_exp

METHODS = ("std", "isotonic", "conformal")

_MAX_DOF = 200.0  # beyond, a Student t is a normal in all but name
_HALVINGS = 64  # of a bracket, until its ends are neighbouring floats


class Scores(NamedTuple):
    """Standardised residuals (y - mean) / std of rows that one model did not see.

    Attributes
    ----------
    z : ndarray of shape (n,)
        Dimensionless.
    weights : ndarray of shape (n,)
        Positive; 2 is the row twice.
    """

    z: np.ndarray
    weights: np.ndarray


def standardised(y, mean, std):
    """Return (y - mean) / std, an exact hit of a zero std being 0.

    Raises
    ------
    ValueError
        When a std is negative, or zero with an error that is not.
    """
    residual = y - mean
    hopeless = (std < 0) | ((std == 0) & (residual != 0))
    if hopeless.any():
        raise ValueError(
            f"Got a std of zero or less with a wrong prediction in {hopeless.sum()} of "
            f"{len(y)} held-out rows, expected positive ones: no factor makes them "
            "right. Give the estimator a noise term, such as a WhiteKernel."
        )
    return residual / np.where(std == 0, 1.0, std)


def calibrate(method, folds):
    """Fit the calibrator of one output.

    Parameters
    ----------
    method : {"std", "isotonic", "conformal"}
        Which.
    folds : list of Scores
        One of each model that predicted held-out rows.

    Returns
    -------
    calibrator : Scaled, Isotonic or Conformal
        With `shift` and `factor`: the recalibrated mean is ``mean + shift * std``,
        the recalibrated std ``factor * std``.
    """
    pooled = Scores(*(np.concatenate(part) for part in zip(*folds, strict=True)))
    if method == "std":
        return Scaled.of(pooled)
    if method == "isotonic":
        return Isotonic.of(pooled)
    return Conformal.of(folds, rms(pooled))


def rms(scores):
    """Return the factor of the std that minimises the Gaussian NLL."""
    return float(np.sqrt(np.average(scores.z**2, weights=scores.weights)))


class Scaled(NamedTuple):
    """One factor for the std; intervals of a normal or a Student t.

    Attributes
    ----------
    factor : float
        Root mean square of the scores.
    scale : float
        Of the distribution of the scores; `factor` where that is normal.
    dof : float
        Its degrees of freedom, infinity for the normal.
    """

    factor: float
    scale: float
    dof: float
    shift: float = 0.0

    @classmethod
    def of(cls, scores):
        """Fit to scores by maximum likelihood."""
        factor = rms(scores)
        normal = cls(factor, factor, np.inf)
        if factor == 0:
            return normal
        z, weights = scores.z / factor, scores.weights

        def loss(parameters):
            scale, dof = np.exp(parameters)
            return -weights @ stats.t.logpdf(z, dof, scale=scale)

        fitted = minimize(
            loss,
            [-0.5, np.log(4.0)],
            method="Nelder-Mead",
            bounds=[(-8.0, 1.0), (0.0, np.log(_MAX_DOF))],
        )
        # Schwarz's criterion: a chance outlier among few rows makes no heavy tail.
        gain = -weights @ stats.norm.logpdf(z) - fitted.fun
        if gain <= 0.5 * np.log(max(weights.sum(), 1.0)):
            return normal
        scale, dof = np.exp(fitted.x)
        return cls(factor, float(scale) * factor, float(dof))

    def quantiles(self, q):
        """Return quantiles of the scores."""
        shape = ndtri(q) if np.isinf(self.dof) else stats.t.ppf(q, self.dof)
        return self.scale * shape


class Isotonic(NamedTuple):
    """The distribution of the scores, as it was observed.

    Attributes
    ----------
    z : ndarray of shape (n_distinct,)
        Scores in units of `unit`, increasing.
    levels : ndarray of shape (n_distinct,)
        Their levels in (0, 1), increasing.
    unit : float
        Root mean square of the scores, the std whose tails lie beyond the last one.
    shift, factor : float
        Mean and standard deviation of the distribution.
    """

    z: np.ndarray
    levels: np.ndarray
    unit: float
    shift: float
    factor: float

    @classmethod
    def of(cls, scores):
        """Fit to scores: isotonic regression of frequencies is their own curve."""
        unit = rms(scores)
        z, group = np.unique(scores.z / (unit or 1.0), return_inverse=True)
        weights = np.bincount(group.ravel(), weights=scores.weights)
        # (i - 1/2) / n, averaged over ties: beyond the last score as much as it weighs.
        levels = (np.cumsum(weights) - weights / 2) / weights.sum()
        mean, square = _moments(z, levels)
        return cls(z, levels, unit, unit * mean, unit * np.sqrt(square - mean**2))

    def quantiles(self, q):
        """Return quantiles of the scores: straight lines, and a normal's tails."""
        q = np.asarray(q, dtype=float)
        first, last = self.levels[0], self.levels[-1]
        values = np.interp(q, self.levels, self.z)
        below, above = q < first, q > last
        # In logarithms: a score of 40 has no tail left in floats.
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
    # The tails: a normal beyond a has mean r and mean square 1 + a r.
    for edge, mass, sign in ((-z[0], levels[0], -1), (z[-1], 1 - levels[-1], 1)):
        mills = np.exp(stats.norm.logpdf(edge) - log_ndtr(-edge))
        mean += mass * sign * mills
        square += mass * (1 + edge * mills)
    return mean, square


class Conformal(NamedTuple):
    """Sizes of the scores, by the model that did not see their rows.

    Attributes
    ----------
    sizes : list of ndarray
        Absolute scores of each model, increasing.
    counts : list of ndarray
        Rows, counted by weight, of no larger score, after a 0 for none.
    factor : float
        Root mean square of the scores.
    """

    sizes: list
    counts: list
    factor: float
    shift: float = 0.0

    @classmethod
    def of(cls, folds, factor):
        """Sort the scores."""
        sizes, counts = [], []
        for z, weights in folds:
            order = np.argsort(np.abs(z))
            sizes.append(np.abs(z)[order])
            counts.append(np.append(0.0, np.cumsum(weights[order])))
        return cls(sizes, counts, factor)

    @property
    def n_rows(self):
        """Calibration rows, counted by weight."""
        return sum(float(count[-1]) for count in self.counts)

    def bounds(self, mean, means, stds, coverage):
        """Return lower and upper ends of CV+ intervals.

        Parameters
        ----------
        mean : ndarray of shape (n,)
            What `predict` gives, held by every interval.
        means, stds : list of ndarray of shape (n,)
            Predictions of each model.
        coverage : float
            In [0, 1).

        Returns
        -------
        lower, upper : ndarray of shape (n,)
        """
        rank = self._rank(coverage)
        upper = self._upper(means, stds, rank)
        lower = -self._upper([-one for one in means], stds, rank)
        return np.minimum(lower, mean), np.maximum(upper, mean)

    def _rank(self, coverage):
        """Return how many rows an interval holds; warn where that is too many."""
        rank = math.ceil(coverage * (self.n_rows + 1.0) - 1e-9)
        if rank > self.n_rows:
            least = math.ceil(coverage / (1.0 - coverage) - 1e-9)
            warnings.warn(
                f"Got coverage {coverage:g} with {self.n_rows:g} calibration rows, "
                f"which guarantee it by infinite intervals only: it takes {least} "
                "rows, (n + 1) (1 - coverage) >= 1. Calibrate on more rows or ask for "
                "less.",
                UserWarning,
                stacklevel=6,
            )
        return rank

    def _upper(self, means, stds, rank):
        """Find the smallest y not below mean_i + std_i * size_i for `rank` rows i."""
        if rank > self.n_rows:
            return np.where(np.isnan(means[0]), np.nan, np.inf)
        if len(means) == 1:
            place = np.searchsorted(self.counts[0][1:], rank)
            size = self.sizes[0][place] if rank > 0 else 0.0
            return means[0] + size * stds[0]
        low = np.min(means, axis=0)
        high = np.max(
            [
                mean + size[-1] * std
                for mean, std, size in zip(means, stds, self.sizes, strict=True)
            ],
            axis=0,
        )
        for _ in range(_HALVINGS):
            middle = 0.5 * (low + high)
            enough = self._held(middle, means, stds) >= rank
            low, high = np.where(enough, low, middle), np.where(enough, middle, high)
        return high

    def _held(self, y, means, stds):
        """Count rows whose own end of the interval is at most y."""
        total = np.zeros(len(y))
        for mean, std, sizes, counts in zip(
            means, stds, self.sizes, self.counts, strict=True
        ):
            gap = y - mean
            # A zero std is a point mass: below it no row, from there on all.
            point = np.where(gap < 0, -np.inf, np.inf)
            z = np.where(std == 0, point, gap / np.where(std == 0, 1.0, std))
            total += counts[np.searchsorted(sizes, z, side="right")]
        return total
