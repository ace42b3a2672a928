"""Map from the transformed target to target units, of points and distributions."""

import warnings
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri

from .._prediction import with_finite_ends

N_NODES = 128
_REACH = 12.0  # standard deviations that the quadrature covers on each side
# Levels Phi(s) of other shapes that the quadrature covers: the central 99.9 %.
_CENTRAL = ndtri(0.9995)
_BLOCK = 2**20  # values that the inverse is evaluated at in one call
_DOUBLINGS = 40
_HALVINGS = 60
_ROUNDING = 1e-12
_STEP = 1e-5  # of differences, relative to the range of the transformed targets


class InverseMap(NamedTuple):
    """Map of k columns from transformed to target units.

    `inverse` maps (m, k) to (m, k). An affine map has `slope` and `offset` of shape
    (k,), others None. `increasing` is whether each column keeps the order. `low` and
    `high` are the ends of the interval about the training targets on which the map is
    defined and monotone. `step` is that of differences, small beside the targets.
    """

    inverse: object
    slope: np.ndarray | None
    offset: np.ndarray | None
    increasing: np.ndarray
    low: np.ndarray
    high: np.ndarray
    step: np.ndarray | float = _STEP  # files of older versions lack it

    @classmethod
    def of(cls, transformer, t):
        """Build the map of a fitted transformer and transformed targets (n, k).

        Raises ValueError when the inverse mixes columns, or is not monotone between the
        targets.
        """
        inverse = Inverse(transformer)
        first, last = t.min(axis=0), t.max(axis=0)
        span = np.where(last > first, last - first, 1.0)
        _check_columns(inverse, first, span)

        slope, offset = _affine(inverse, 0.5 * (first + last), 1000.0 * span)
        if slope is not None:
            ends = np.full_like(span, np.inf)
            return cls(inverse, slope, offset, slope >= 0, -ends, ends, _STEP * span)
        increasing = _direction(inverse, first, last)
        low = _edge(inverse, first, -span, increasing)
        high = _edge(inverse, last, span, increasing)
        return cls(inverse, None, None, increasing, low, high, _STEP * span)

    def points(self, t):
        """Map points of shape (..., k); NaN stays, infinity becomes the limit."""
        if self.slope is not None:
            with np.errstate(invalid="ignore"):
                return np.where(self.slope == 0, 0.0, self.slope * t) + self.offset
        # 1e300 in place of infinity, which transformers do not accept.
        inside = np.nan_to_num(np.clip(t, self.low, self.high), posinf=1e300)
        inside = np.clip(inside, -1e300, 1e300)
        y = self.inverse(inside.reshape(-1, t.shape[-1])).reshape(t.shape)
        return np.where(np.isnan(t), np.nan, y)

    def log_slope(self, t, y):
        """Return the log of the size of the slope at t, of shape (n, k).

        It is infinite, a density of zero, where the map is flat or does not return y.
        """
        if self.slope is not None:
            with np.errstate(divide="ignore"):
                return np.broadcast_to(np.log(np.abs(self.slope)), t.shape)
        low = np.clip(t - self.step, self.low, self.high)
        high = np.clip(t + self.step, self.low, self.high)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            size = np.abs((self.points(high) - self.points(low)) / (high - low))
            reached = (self.low <= t) & (t <= self.high) & (size > 0)
            reached &= np.isclose(self.points(t), y)
            return np.where(reached, np.log(size), np.inf)

    def moments(self, mean, std):
        """Return the mean and std of mapped Gaussians, and the probability left out.

        `mean` and `std` of shape (n, k) are those of the transformed target; NaN stays.
        The probability left out is that outside the domain of the map.
        """
        if self.slope is not None:
            return self.points(mean), np.abs(self.slope) * std, np.zeros_like(mean)
        result = np.full((3, *mean.shape), np.nan)
        rows = np.flatnonzero(~np.isnan(mean + std).any(axis=1))
        for part in _blocks(len(rows), mean.shape[1]):
            some = rows[part]
            result[:, some] = self._moments(mean[some], std[some])
        return result

    def moments_of_shape(self, quantiles):
        """Return what `moments` returns, of predictions of any shape.

        `quantiles(q)` of shape (n, len(q), k) are those of the transformed target.
        """
        x, w = np.polynomial.legendre.leggauss(N_NODES)
        s = _CENTRAL * x
        weights = w * np.exp(-0.5 * s**2)
        weights /= weights.sum()
        with warnings.catch_warnings():  # that conformal ones are infinite far out
            warnings.simplefilter("ignore", UserWarning)
            t = with_finite_ends(quantiles(ndtr(s)))
        result = np.empty((3, len(t), t.shape[2]))
        for some in _blocks(len(t), t.shape[2]):
            beyond = (t[some] < self.low) | (t[some] > self.high)
            outside = np.einsum("q,nqk->nk", weights, beyond)
            result[:, some] = *_weighted(weights, self.points(t[some])), outside
        return result

    def _moments(self, mean, std):
        """Integrate by Gauss-Legendre over the part of the Gaussian in the domain."""
        scale = np.where(std > 0, std, 1.0)
        left = np.where(std > 0, (self.low - mean) / scale, -np.inf)
        right = np.where(std > 0, (self.high - mean) / scale, np.inf)
        outside = ndtr(left) + ndtr(-right)
        # The tail of a Gaussian far outside is integrated from the edge of the domain.
        start = np.maximum(left, np.minimum(-_REACH, right - _REACH))
        stop = np.minimum(right, np.maximum(_REACH, left + _REACH))

        x, w = np.polynomial.legendre.leggauss(N_NODES)
        half, middle = (stop - start) / 2, (stop + start) / 2
        z = middle[:, None] + half[:, None] * x[:, None]
        density = -0.5 * z**2
        weights = w[:, None] * np.exp(density - density.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)

        y = self.points(mean[:, None] + std[:, None] * z)
        moved_mean, moved_std = _weighted(weights, y)
        return moved_mean, np.where(std > 0, moved_std, 0.0), outside


def _blocks(n, k):
    """Return slices of n samples of k outputs whose nodes fit into one call."""
    block = max(1, _BLOCK // (N_NODES * k))
    return [slice(start, start + block) for start in range(0, n, block)]


def _weighted(weights, y):
    """Return mean and std of y of shape (n, n_nodes, k); weights sum to 1."""
    weights = weights.reshape(-1, 1) if weights.ndim == 1 else weights
    with np.errstate(invalid="ignore", over="ignore"):
        mean = np.sum(weights * y, axis=1)
        square = np.sum(weights * (y - mean[:, None]) ** 2, axis=1)
    # About an infinite mean the std is infinite.
    return mean, np.where(np.isinf(mean), np.inf, np.sqrt(square))


class Inverse:
    """Inverse of a fitted transformer, without warnings where it is not defined."""

    def __init__(self, transformer):
        self.transformer = transformer

    def __call__(self, t):
        """Map an array of shape (m, k)."""
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PowerTransformer warns of every NaN
            y = np.asarray(self.transformer.inverse_transform(t), dtype=np.float64)
        return y.reshape(t.shape)


def _check_columns(inverse, point, span):
    """Raise if a column of the target depends on another transformed column."""
    moved = point + np.diag(span)
    same = inverse(moved) == inverse(np.tile(point, (len(point), 1)))
    if not (same | np.eye(len(point), dtype=bool)).all():
        raise ValueError(
            "Got a transformer that mixes the columns of y, expected one that maps "
            "each on its own: the std of a mixture needs covariances, not only the "
            "std of each column. Use one regressor a column, or transform y outside."
        )


def _affine(inverse, centre, reach):
    """Return slope and offset of an affine map, else None and None."""
    steps = np.linspace(-1, 1, 33)[:, None]
    t = centre + reach * steps
    y = inverse(t)
    with np.errstate(invalid="ignore", over="ignore"):
        slope = (y[-1] - y[0]) / (t[-1] - t[0])
        offset = inverse(centre[None])[0] - slope * centre
        error = np.abs(y - (slope * t + offset)).max(axis=0)
        straight = error <= _ROUNDING * np.abs(y).max(axis=0)
    return (slope, offset) if straight.all() else (None, None)


def _direction(inverse, first, last):
    """Return whether each column increases between the ends of the targets."""
    y = inverse(np.linspace(first, last, 65))
    steps = np.diff(y, axis=0)
    slack = _ROUNDING * np.abs(y).max(axis=0)
    rises, falls = (steps >= -slack).all(axis=0), (steps <= slack).all(axis=0)
    if not (rises | falls).all():
        raise ValueError(
            "Got an inverse that is not monotone, or not defined, between the smallest "
            "and the largest transformed target, expected one that keeps or reverses "
            "the order. Check func and inverse_func."
        )
    return rises


def _edge(inverse, start, span, increasing):
    """Return the end, from `start` on, of where the map is defined and monotone."""
    # Small, to find a turning point to many digits; large, against rounding.
    step = 1e-6 * np.abs(span)
    sign = np.where(increasing, 1.0, -1.0)
    beyond = np.sign(span)
    edge = sign * inverse(start[None])[0]

    def sound(t):
        below, above = (sign * inverse(point[None])[0] for point in (t, t + step))
        with np.errstate(invalid="ignore"):
            close = np.abs(above - below) <= _ROUNDING * np.abs(below)
        # Beyond a pole a map may be monotone again, on the wrong side.
        return ((above >= below) | close) & (beyond * below >= beyond * edge)

    inside, outside = start.copy(), np.full_like(start, np.nan)
    for power in range(_DOUBLINGS):
        ahead = start + span * 2.0**power
        good = sound(ahead)
        open_end = np.isnan(outside)
        inside = np.where(open_end & good, ahead, inside)
        outside = np.where(open_end & ~good, ahead, outside)
    open_end = np.isnan(outside)
    for _ in range(_HALVINGS):
        middle = np.where(open_end, inside, 0.5 * (inside + outside))
        good = sound(middle)
        inside = np.where(good, middle, inside)
        outside = np.where(good, outside, middle)
    return np.where(open_end, beyond * np.inf, inside)
