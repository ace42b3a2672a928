"""Distributions of held-out standardised residuals, the scores."""

import math
from typing import NamedTuple

import numpy as np
from scipy import special
from scipy.optimize import minimize_scalar

from .._gp.likelihood import AS_THE_GP, Shape, StdGrowth
from .._prediction import Prediction
from .._validation import warn_user

METHODS = ("std", "isotonic", "conformal")
BY = (None, "domain")
# Penalty of a knot of `Isotonic`, in log(n): half of Schwarz's. With all of it 1100
# bulk moduli have one knot and an area of intervals of .031 for .025; 350 normal errors
# lose .008 nats by the half. And least samples between two knots.
_PENALTY, _LEAST_SHARE = 0.25, 8
# Least probability between two knots of `Isotonic`: a smaller one has few digits.
_LEAST = 1e-12


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


def calibrate(method, by, y, z, weights, std, dof=np.inf):
    """Fit the calibrators of all outputs to held-out samples.

    A calibrator has ``quantiles(q)`` and ``log_density(z)`` of the scores; ``shift``
    and ``factor``, their mean and std; and ``growth``, by which standard deviations
    are multiplied before that.

    Parameters
    ----------
    method, by : str or None
        As in `CalibratedProbRegressor`.
    y, z, std : ndarray of shape (n, k)
        Targets, standardised residuals and predicted standard deviations.
    weights : ndarray of shape (n,)
        Weights, positive.
    dof : float, default=np.inf
        Degrees of freedom of the predicted distributions.

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
        found.append(kind.of(scores, dof)._replace(growth=growth))
    return found


def recalibrated(calibrators, mean, std):
    """Return the `Prediction` of means and standard deviations of shape (n, k)."""
    columns = zip(calibrators, std.T, strict=True)
    std = np.column_stack([one.growth.factors(own) * own for one, own in columns])
    shift = np.array([one.shift for one in calibrators])
    factor = np.array([one.factor for one in calibrators])

    def quantiles(q):
        z = np.column_stack([one.quantiles(q) for one in calibrators])
        # A point mass has no infinite end: 0 * inf is 0 here.
        return mean[:, None] + np.where(std[:, None] == 0, 0.0, z) * std[:, None]

    def log_density(y):
        residual, point = np.reshape(y, mean.shape) - mean, factor * std == 0
        unit = np.where(point, 1.0, std)
        with np.errstate(divide="ignore", invalid="ignore"):
            columns = zip(calibrators, (residual / unit).T, strict=True)
            logs = np.column_stack([one.log_density(z) for one, z in columns])
        logs = logs - np.log(unit)
        logs = np.where(point, np.where(residual == 0, np.inf, -np.inf), logs)
        return logs.reshape(np.shape(y))

    return Prediction(mean + shift * std, factor * std, quantiles, log_density)


def _shape(scores, dof):
    """Fit a Student t of `dof`, or of another where Schwarz's criterion prefers it."""
    z, weights = scores.z, scores.weights
    shape = Shape.gaussian(z, weights)
    rms = shape.scale
    if rms == 0.0:
        return shape
    if np.isfinite(dof):

        def loss(factor):
            return -weights @ Shape(factor * rms, dof).log_density(z)

        found = minimize_scalar(loss, bounds=(1e-4, 2.0), method="bounded")
        shape = Shape(float(found.x) * rms, dof)
    free = Shape.fit(z, weights)
    # A chance outlier of few samples is no heavy tail.
    gain = weights @ (free.log_density(z) - shape.log_density(z))
    return free if gain > 0.5 * np.log(max(weights.sum(), 1.0)) else shape


class Scaled(NamedTuple):
    """One factor for the std: the scores are Gaussian or have a Student t.

    `scale` and `dof` are those of their distribution, and `factor` is its std; a
    Gaussian has ``scale=factor`` and infinite `dof`.
    """

    factor: float
    scale: float
    dof: float
    shift: float = 0.0
    growth: StdGrowth = AS_THE_GP

    @classmethod
    def of(cls, scores, dof):
        """Fit to scores by maximum likelihood."""
        shape = _shape(scores, dof)
        return cls(float(shape.factor), *shape)

    def quantiles(self, q):
        """Return quantiles of the scores."""
        return Shape(self.scale, self.dof).quantiles(q)

    def log_density(self, z):
        """Return the log density of scores."""
        return Shape(self.scale, self.dof).log_density(z)


class Isotonic(NamedTuple):
    """Distribution of the scores by a monotone map of that of `Scaled`.

    With F the distribution function of `Scaled`, of scale `unit` and degrees of freedom
    `dof`, that of the scores is R(F(z)), with R linear between (0, 0), the knots
    (F(unit * z), levels) and (1, 1). So the density is that of `Scaled` times the slope
    of R. `shift` and `factor` are mean and std.
    """

    z: np.ndarray
    levels: np.ndarray
    unit: float
    shift: float
    factor: float
    growth: StdGrowth = AS_THE_GP
    dof: float = np.inf

    @classmethod
    def of(cls, scores, dof):
        """Fit to scores: isotonic regression of frequencies is their own curve."""
        unit, dof = _shape(scores, dof)
        z, group = np.unique(scores.z / (unit or 1.0), return_inverse=True)
        weights = np.bincount(group.ravel(), weights=scores.weights)
        n = weights.sum()
        # (i - 1/2) / n, averaged over ties.
        frequencies = (np.cumsum(weights) - weights / 2) / n
        parts = 2 ** max(int(np.log2(n / _LEAST_SHARE)), 0)
        levels = np.arange(1.0, parts) / parts
        z = np.interp(levels, frequencies, z)
        below = np.concatenate([[0.0], _integrals(z, dof)[0], [1.0]])
        knots = np.array(_knots(below.tolist(), n), dtype=int) - 1
        found = cls(z[knots], levels[knots], unit, 0.0, unit, dof=dof)
        mean, square = found._slopes() @ np.diff(_integrals(found._ends, dof)[1:]).T
        std = np.sqrt(square - mean**2)
        return found._replace(shift=unit * float(mean), factor=unit * float(std))

    def quantiles(self, q):
        """Return quantiles of the scores."""
        below = np.interp(q, *self._curve())
        return Shape(self.unit, self.dof).quantiles(below)

    def log_density(self, z):
        """Return the log density of scores."""
        slopes = np.log(self._slopes())[np.searchsorted(self.z, z / self.unit)]
        return Shape(self.unit, self.dof).log_density(z) + slopes

    @property
    def _ends(self):
        """The ends of the pieces of R, in units of `unit`."""
        return np.concatenate([[-np.inf], self.z, [np.inf]])

    def _curve(self):
        """Return levels from 0 to 1, and F there."""
        levels = np.concatenate([[0.0], self.levels, [1.0]])
        return levels, _integrals(self._ends, self.dof)[0]

    def _slopes(self):
        """Return the slopes of R between its knots."""
        levels, below = map(np.diff, self._curve())
        return levels / below


def _knots(below, n):
    """Return the equal shares of n scores between which the slope of R changes.

    Of all trees of halves of halves it is the one of the highest likelihood less a
    penalty: without a knot where the scores are as `Scaled` has them. ``below`` is F at
    the ends of the shares, of which there are a power of 2.
    """
    penalty, each = _PENALTY * math.log(max(n, 1.0)), n / (len(below) - 1)

    def best(first, last):
        middle = (first + last) // 2
        left, right = below[middle] - below[first], below[last] - below[middle]
        if middle == first or min(left, right) < _LEAST:
            return 0.0, []
        gain = -0.5 * each * (last - first)
        gain *= math.log(4.0 * left * right / (left + right) ** 2)
        parts = best(first, middle), best(middle, last)
        gain += parts[0][0] + parts[1][0] - penalty
        return (gain, [*parts[0][1], middle, *parts[1][1]]) if gain > 0 else (0.0, [])

    return best(0, len(below) - 1)[1]


def _integrals(z, dof):
    """Integrate 1, t and t^2 over a Gaussian or a Student t of scale 1, up to z."""
    finite = np.isfinite(z)
    t = np.where(finite, z, 0.0)
    edge = np.where(finite, np.exp(Shape(1.0, dof).log_density(t)), 0.0)
    if np.isinf(dof):
        below = special.ndtr(z)
        return np.stack([below, -edge, below - t * edge])
    below, ratio = special.stdtr(dof, z), (dof - 2.0) / dof
    # t^2 = dof ((1 + t^2 / dof) - 1), whose first part is a t of dof - 2.
    inner = special.stdtr(dof - 2.0, z * np.sqrt(ratio))
    square = (dof - 1.0) / ratio * inner - dof * below
    return np.stack([below, -edge * (dof + t**2) / (dof - 1.0), square])


class Conformal(NamedTuple):
    """Absolute scores `sizes`, increasing, and the total weight `counts` up to each.

    `factor` and `dof` are those of `Scaled`, for the density.
    """

    sizes: np.ndarray
    counts: np.ndarray
    factor: float
    shift: float = 0.0
    growth: StdGrowth = AS_THE_GP
    dof: float = np.inf

    @classmethod
    def of(cls, scores, dof):
        """Sort the scores."""
        sizes, shape = np.abs(scores.z), _shape(scores, dof)
        order = np.argsort(sizes)
        counts = np.cumsum(scores.weights[order])
        return cls(sizes[order], counts, float(shape.factor), dof=shape.dof)

    def log_density(self, z):
        """Return the log density of scores: ranks have none, it is that of `Scaled`."""
        scale = self.factor * np.sqrt(1.0 - 2.0 / self.dof)
        return Shape(scale, self.dof).log_density(z)

    def quantiles(self, q):
        """Return ends of intervals; those of coverage c have levels (1 -+ c) / 2."""
        n = float(self.counts[-1])
        # Rounding, since 2 q - 1 is not exact.
        coverage = np.round(np.abs(2.0 * np.asarray(q) - 1.0), 12)
        rank = np.ceil(coverage * (n + 1.0) - 1e-9)
        if np.any(rank > n):
            most = coverage.max()
            least = math.ceil(most / (1.0 - most) - 1e-9)
            warn_user(
                f"Got coverage {most:g} with {n:g} calibration samples, which "
                f"guarantee it by infinite intervals only: it takes {least} samples, "
                "(n + 1) (1 - coverage) >= 1. Calibrate on more samples or lower the "
                "coverage."
            )
        size = np.append(self.sizes, np.inf)[np.searchsorted(self.counts, rank)]
        return np.copysign(np.where(rank > 0, size, 0.0), 2.0 * np.asarray(q) - 1.0)
