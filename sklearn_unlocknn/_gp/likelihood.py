"""The shape of the predictive distribution: Gaussian, or a Student t."""

from typing import NamedTuple

import numpy as np
from scipy import special
from scipy.optimize import minimize, minimize_scalar

from .samples import LOG_2PI

# Bounds of the degrees of freedom. Up to 2 there is no standard deviation, and near 2
# it is that of the farthest tails (bulk moduli: CRPS of mean and standard deviation
# .049 from 2.05 on, .035 from 3); beyond the upper one it is practically a Gaussian.
LEAST_DOF, MOST_DOF = 3.0, 200.0
# Upper bound of the power of `StdGrowth`: bulk moduli have .8 to 1.6, concrete .3 to
# .7, kin8nm 0.
MOST_POWER = 2.0
# Least ratio of the variances of outlying and other residuals.
_LEAST_RATIO = 4.0
# Least variance of most residuals, relative to the largest square.
_LEAST_SHARE = 1e-12


class Shape(NamedTuple):
    """A symmetric distribution of residuals in units of the GP's standard deviation.

    Attributes
    ----------
    scale : float
        Scale parameter: that of the residuals divided by the standard deviation of the
        GP, noise included.
    dof : float
        Degrees of freedom of a Student t; infinite for a Gaussian.
    """

    scale: float = 1.0
    dof: float = np.inf

    @classmethod
    def fit(cls, z, weights):
        """Fit a Student t to residuals z of shape (n,) by maximum likelihood."""
        unit = float(np.sqrt(np.average(z**2, weights=weights)))
        if unit == 0.0:
            return cls(0.0)
        z = z / unit

        def loss(parameters):
            return -weights @ cls(*np.exp(parameters)).log_density(z)

        bounds = [(-8.0, 1.0), np.log((LEAST_DOF, MOST_DOF))]
        start = [-0.5, np.log(4.0)]
        fitted = minimize(loss, start, method="Nelder-Mead", bounds=bounds)
        scale, dof = np.exp(fitted.x)
        return cls(float(scale) * unit, float(dof))

    @classmethod
    def gaussian(cls, z, weights):
        """Fit a Gaussian to residuals z of shape (n,) by maximum likelihood."""
        return cls(float(np.sqrt(np.average(z**2, weights=weights))))

    @property
    def factor(self):
        """Standard deviation in units of that of the GP."""
        return self.scale / np.sqrt(1.0 - 2.0 / self.dof)

    def log_density(self, z):
        """Return the log density of residuals z."""
        z = z / self.scale
        if np.isinf(self.dof):
            return -0.5 * (LOG_2PI + z**2) - np.log(self.scale)
        dof = self.dof
        constant = special.gammaln((dof + 1) / 2) - special.gammaln(dof / 2)
        constant -= 0.5 * np.log(dof * np.pi) + np.log(self.scale)
        return constant - (dof + 1) / 2 * np.log1p(z**2 / dof)

    def quantiles(self, q):
        """Return quantiles of the residuals at levels in (0, 1)."""
        if np.isinf(self.dof):
            return self.scale * special.ndtri(q)
        return self.scale * special.stdtrit(self.dof, q)

    def sample(self, rng, size):
        """Draw factors of Gaussian residuals that turn them into these."""
        if np.isinf(self.dof):
            return np.full(size, self.scale)
        return self.scale * np.sqrt(self.dof / rng.chisquare(self.dof, size))


GAUSSIAN = Shape()


class StdGrowth(NamedTuple):
    """The standard deviation of residuals as a power of that of the GP.

    Where the variance of the posterior is large, far from the training samples, it
    depends most on the kernel, and misses most if the kernel is wrong.

    Attributes
    ----------
    power : float
        Power of the GP's standard deviation by which residuals exceed it, 0 or more.
    unit : float
        Standard deviation at which they do not.
    most : float
        Standard deviation of the targets, beyond which it does not grow.
    """

    power: float = 0.0
    unit: float = 1.0
    most: float = np.inf

    def factors(self, std):
        """Return by how much residuals exceed the GP's standard deviations."""
        if self.power == 0.0:
            return np.ones_like(std)
        std = np.maximum(std, np.finfo(float).tiny)
        grown = std * (std / self.unit) ** self.power
        return np.minimum(grown, np.maximum(std, self.most)) / std

    @classmethod
    def fit(cls, z, std, weights, heavy, most):
        """Fit to residuals by maximum likelihood, together with their shape.

        Parameters
        ----------
        z, std : ndarray of shape (n,)
            Residuals in units of the GP's standard deviation, and that.
        weights : ndarray of shape (n,)
            Weights.
        heavy : bool
            Fit a Student t; else a Gaussian.
        most : float
            See the class.

        Returns
        -------
        growth : StdGrowth
        shape : Shape
        log_density : float
            Of all z, weights counted.
        """
        unit = float(np.exp(np.average(np.log(std), weights=weights)))

        def at(power):
            growth = cls(float(power), unit, most)
            factors = growth.factors(std)
            scaled = z / factors
            shape = Shape.fit if heavy else Shape.gaussian
            shape = shape(scaled, weights)
            logs = shape.log_density(scaled) - np.log(factors)
            return growth, shape, float(weights @ logs)

        found = minimize_scalar(
            lambda power: -at(power)[2], bounds=(0.0, MOST_POWER), method="bounded",
            options={"xatol": 0.01},
        )  # fmt: skip
        return at(found.x)


AS_THE_GP = StdGrowth()


def expected_precisions(z, weights, shape):
    """Return the expected precision of each residual, relative to that of most.

    A Student t is a Gaussian whose precision has a gamma distribution; the E step of
    its fit returns the posterior mean (Lange, Little and Taylor 1989). Where a mixture
    of two Gaussians, of most samples and of outliers, has the larger likelihood, its
    posterior mean is taken: it leaves the samples untouched that are none.

    Parameters
    ----------
    z : ndarray of shape (n,)
        Residuals in units of the standard deviation.
    weights : ndarray of shape (n,)
        Weights.
    shape : Shape
        Their fitted Student t.

    Returns
    -------
    precisions : ndarray of shape (n,)
    """
    square = z**2
    least = max(_LEAST_SHARE * float(square.max()), np.finfo(float).tiny)
    narrow, share = max(float(np.median(square)) / 0.455, least), 0.1
    wide = max(float(square.max()), 10.0 * narrow)
    for _ in range(100):
        logs = [
            np.log(part) - 0.5 * (LOG_2PI + np.log(variance) + square / variance)
            for part, variance in ((1.0 - share, narrow), (share, wide))
        ]
        outlying = special.expit(logs[1] - logs[0])
        before, mass = share, weights * outlying
        share = float(np.clip(mass.sum() / weights.sum(), 1e-6, 0.5))
        narrow = max(float(np.average(square, weights=weights - mass + 1e-12)), least)
        wide = float(np.average(square, weights=mass + 1e-12))
        wide = max(wide, _LEAST_RATIO * narrow)
        if abs(share - before) < 1e-4:
            break
    if weights @ shape.log_density(z) > weights @ np.logaddexp(*logs):
        return (shape.dof + 1.0) / (shape.dof + (z / shape.scale) ** 2)
    return 1.0 - outlying * (1.0 - narrow / wide)
