"""Shape and noise of the predictive distribution, from leave-one-out residuals.

The hyperparameters are fitted with Gaussian noise of constant variance. Each sample is
then predicted without itself, in closed form; the residuals decide about a Student t
and about noise that varies with x. Both turn into weights of the samples, with which
the posterior is computed again. Where noise varies or outliers have lost their weight,
hyperparameters are fitted again. The residuals of the final posterior then decide about
the predictive distribution alone.
"""

import dataclasses
from typing import NamedTuple

import numpy as np

from .encoded import blocks
from .leave_out import leave_one_out
from .likelihood import (
    AS_THE_GP,
    GAUSSIAN,
    LEAST_DOF,
    MOST_DOF,
    Shape,
    StdGrowth,
    expected_precisions,
)
from .noise import VaryingNoise, fit_noise
from .noise_level import exact_at_best_noise
from .posterior import exact_posterior, run_parts
from .samples import GroupedSamples, Samples
from .training import fit_hyperparameters

# Residuals up to this, in standard deviations, are those of a function without noise.
_EXACT = 1e-3
# With fewer samples residuals are Gaussian and noise constant if "auto": residuals of
# samples that decided about the hyperparameters do not determine the shape of errors.
LEAST_SAMPLES = 100
# Rounds of weights and posterior; more where the noise is constant and still falls, as
# outliers lose their weight.
_ROUNDS, _MOST_ROUNDS, _LITTLE_LESS = 2, 8, 0.8
# Where noise varies, hyperparameters are fitted again, as the first fit took it for
# constant: iterations, relative to those of that fit.
_AGAIN = 0.3
# Samples with a weight below this are outliers: they do not inform about noise that
# varies, and the hyperparameters that they determined are fitted again.
_OUTLIER = 0.02
# Schwarz's penalty of a power of the standard deviation, in parameters: with that of
# one, 350 samples whose errors have no such power lost .02 nats.
_GROWTH_PENALTY = 2.0
# ``likelihood`` and ``noise`` of a plain GP.
PLAIN = ("gaussian", "constant")


def without_auto(choice):
    """Return ``likelihood`` and ``noise``, plain where they are "auto"."""
    pairs = zip(choice, PLAIN, strict=True)
    return tuple(plain if one == "auto" else one for one, plain in pairs)


class LeftOut(NamedTuple):
    """Training samples, each predicted by a posterior of all others.

    Attributes
    ----------
    posterior : ExactPosterior, SparsePosterior or LocalPosterior
        The posterior of all.
    samples : Samples
        Samples, with the user's weights.
    outputs : ndarray of shape (k,), int
        The outputs that have noise.
    mean : ndarray of shape (n, k)
        Their latent means.
    residual : ndarray of shape (n, k)
        Target less latent mean.
    variance : ndarray of shape (n,)
        Latent variance, known noise included.
    counts : ndarray of shape (n,)
        Weights of the residuals.
    """

    posterior: object
    samples: Samples
    outputs: np.ndarray
    mean: np.ndarray
    residual: np.ndarray
    variance: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, posterior, samples, weighted, index):
        """Leave each sample out.

        Parameters
        ----------
        posterior : ExactPosterior, SparsePosterior or LocalPosterior
            Of the weighted samples, or of more.
        samples : Samples
            Samples, with the user's weights.
        weighted : Samples
            The same, with the weights of the posterior.
        index : ndarray of shape (n,)
            Their positions among the samples of the posterior.
        """
        if samples.known is None:  # equal samples are one there
            index = None
        noise, counts = posterior.noise, samples.weights
        residual, variance = leave_one_out(posterior, weighted.at(noise), index)
        if samples.known is not None:
            # residuals inform about the noise as far as that is not known
            known, own = samples.known * counts, variance + noise
            counts, variance = counts * own / (own + known), variance + known
        outputs = _noisy(residual / np.sqrt(variance + noise)[:, None])
        residual = residual[:, outputs]
        mean = samples.T[:, outputs] - residual
        return cls(posterior, samples, outputs, mean, residual, variance, counts)

    def take(self, index):
        """Return some of the samples."""
        posterior, samples, outputs, *arrays = self
        arrays = [array[index] for array in arrays]
        return LeftOut(posterior, samples.take(index), outputs, *arrays)

    @property
    def few(self):
        """Whether there are too few to determine the shape of errors."""
        return min(self.counts.sum(), len(self.counts)) < LEAST_SAMPLES

    def std(self, ratio):
        """Return standard deviations (n, 1), given noise variances by the constant."""
        return np.sqrt(self.variance + self.posterior.noise * ratio)[:, None]

    def output_scales(self, fit):
        """Return the scale of the residuals of each output, of all n_outputs, or None.

        None where one scale is as good, by the log density with Schwarz's penalty.

        Parameters
        ----------
        fit : callable
            `Shape.fit` or `Shape.gaussian`.
        """
        k, counts = len(self.outputs), self.counts
        if k == 1 or self.few:
            return None
        z, weights = self.residual / self.std(1.0), np.repeat(counts, k)
        own = np.array([fit(column, counts).scale for column in z.T])
        gain = -counts.sum() * np.log(own).sum()
        for sign, values in ((1.0, (z / own).ravel()), (-1.0, z.ravel())):
            gain += sign * (weights @ fit(values, weights).log_density(values))
        if gain <= 0.5 * (k - 1) * np.log(counts.sum()):
            return None
        scales = np.ones(self.samples.n_outputs)
        scales[self.outputs] = own
        return tuple(scales.tolist())


def _noisy(z):
    """Return the outputs, columns of z, that are not predicted exactly, or all.

    The residuals of a constant output hold no information on the errors of others.
    """
    noisy = np.flatnonzero(np.abs(z).max(axis=0) > _EXACT)
    return noisy if len(noisy) else np.arange(z.shape[1])


@dataclasses.dataclass
class Errors:
    """The distribution of a new observation about its predicted mean.

    Parameters
    ----------
    shape : Shape
        Of its residual in units of the standard deviation.
    noise : VaryingNoise or None
        None: constant noise.
    growth : StdGrowth
        Of the standard deviation that residuals have, relative to that of the GP.
    output_scales : tuple of float or None
        Of several outputs the factor of the standard deviation of each; None: 1.
    """

    shape: Shape = GAUSSIAN
    noise: VaryingNoise | None = None
    growth: StdGrowth = AS_THE_GP
    output_scales: tuple | None = None

    @property
    def choice(self):
        """The parameters ``likelihood`` and ``noise`` that stand for this."""
        heavy = "gaussian" if np.isinf(self.shape.dof) else "student_t"
        return heavy, "constant" if self.noise is None else "varying"

    @property
    def plain(self):
        """Whether the weights of samples are those of the user."""
        return self.noise is None and np.isinf(self.shape.dof)

    def inflated(self, n, n_parameters, tails):
        """Return the errors with the effect of p fitted parameters.

        As in linear regression: the unbiased variance of n residuals is their sum of
        squares divided by n - p, and a new residual divided by the root of it has a
        Student t distribution of n - p degrees of freedom.

        Parameters
        ----------
        n : float
            Number of samples, or their weight.
        n_parameters : float
            Number of fitted parameters; those of the noise and of the growth of the
            standard deviation are added.
        tails : bool
            Whether the distribution becomes that Student t. Of residuals that have one
            already, inverse degrees of freedom are added.
        """
        if self.noise is not None:
            n_parameters += self.noise.n_parameters
        n_parameters += self.growth.power > 0
        free = n - min(n_parameters, n / 2.0)
        scale = self.shape.scale * float(np.sqrt(n / free))
        dof = 1.0 / (1.0 / self.shape.dof + 1.0 / free) if tails else np.inf
        shape = self.shape._replace(scale=scale)
        if dof < MOST_DOF:
            shape = shape._replace(dof=float(max(dof, LEAST_DOF)))
        return dataclasses.replace(self, shape=shape)

    def factors(self, variance):
        """Return the standard deviations of samples in units of those of the GP.

        Parameters
        ----------
        variance : ndarray of shape (n,)
            Variances of the GP, noise included.

        Returns
        -------
        factors : ndarray of shape (n,)
        """
        return self.shape.factor * self.growth.factors(np.sqrt(variance))

    def of_outputs(self, outputs=slice(None)):
        """Return the factors of the standard deviations of outputs, or 1."""
        scales = self.output_scales
        return 1.0 if scales is None else np.array(scales)[outputs]

    def ratio(self, X):
        """Return the noise variance at X in units of the constant one, (n,)."""
        return np.ones(len(X)) if self.noise is None else self.noise.ratio(X)

    @classmethod
    def fit(cls, left_out, choice, rng, before=None):
        """Fit to leave-one-out residuals.

        Parameters
        ----------
        left_out : LeftOut
            The residuals.
        choice : tuple of str
            ``likelihood`` and ``noise`` of the regressor: "auto" chooses by the log
            density of samples left out, with Schwarz's penalty.
        rng : numpy.random.RandomState
            Chooses inducing points of the noise.
        before : Errors, default=None
            Those of an earlier fit, beside whose noise outliers are found.

        Returns
        -------
        errors : Errors
        precisions : ndarray of shape (n,)
            Weight of each sample by its residual: 1 for a Gaussian.
        """
        samples, counts, k = left_out.samples, left_out.counts, len(left_out.outputs)
        weights = np.repeat(counts, k)
        penalty = 0.5 * np.log(max(counts.sum(), 1.0))
        constant = np.ones(len(left_out.residual))
        if not np.abs(left_out.residual / left_out.std(constant)).max() > _EXACT:
            return cls(), constant
        if left_out.few:
            choice = without_auto(choice)
        likelihood, noise = choice
        found, scaled = [], {}
        for name, fit in (("gaussian", Shape.gaussian), ("student_t", Shape.fit)):
            if likelihood in (name, "auto"):
                scales = left_out.output_scales(fit)
                one = cls(output_scales=scales)
                residual = left_out.residual / one.of_outputs(left_out.outputs)
                scaled[name] = fit, one, left_out._replace(residual=residual)

        def z(name, ratio):
            return (scaled[name][2].residual / left_out.std(ratio)).ravel()

        def judge(name, errors, ratio, n_parameters):
            logs = np.log(left_out.std(ratio)[:, 0])
            value = weights @ errors.shape.log_density(z(name, ratio))
            value -= k * (counts @ logs) + n_parameters * penalty
            scales = errors.of_outputs(left_out.outputs)
            if errors.output_scales is not None:
                value -= counts.sum() * np.log(scales).sum() + (k - 1) * penalty
            found.append((value, name, errors, ratio))

        if noise != "varying":
            for name, (fit, one, _) in scaled.items():
                heavy = name == "student_t"
                shape = fit(z(name, constant), weights) if heavy else GAUSSIAN
                errors = dataclasses.replace(one, shape=shape)
                judge(name, errors, constant, float(heavy))
        if noise != "constant":
            name = "gaussian" if likelihood == "gaussian" else "student_t"
            fit, _, of_noise = scaled[name]
            judged = z(name, constant)
            start = fit(judged, weights)
            if before is not None and before.noise is not None:
                judged = z(name, before.ratio(samples.X))
            tails = Shape.fit(judged, weights)
            usual = expected_precisions(judged, weights, tails).reshape(-1, k)
            kept = usual.min(axis=1) >= _OUTLIER
            varying, left_out_ratio = fit_noise(
                left_out.posterior.kernel, left_out.posterior.theta,
                of_noise.take(kept), start, rng, before and before.noise,
            )  # fmt: skip
            ratio = constant.copy() if varying is None else varying.ratio(samples.X)
            ratio[kept] = left_out_ratio
            for name, (fit, one, _) in scaled.items():
                shape = fit(z(name, ratio), weights)
                errors = dataclasses.replace(one, shape=shape, noise=varying)
                judge(name, errors, ratio, 2.0 + (name == "student_t"))
        _, name, errors, ratio = max(found, key=lambda one: one[0])
        return errors, errors._precisions_of(z(name, ratio).reshape(-1, k), counts)

    def grown(self, left_out):
        """Return the errors with a power of the standard deviation, if that is better.

        Parameters
        ----------
        left_out : LeftOut
            Residuals.
        """
        counts, k = left_out.counts, len(left_out.outputs)
        std = left_out.std(self.ratio(left_out.samples.X))
        scales = self.of_outputs(left_out.outputs)
        z = (left_out.residual / std / scales).ravel()
        weights = np.repeat(counts, k)
        if left_out.few or not np.abs(z).max() > _EXACT:
            return self
        target = left_out.mean + left_out.residual
        mean = np.average(target, axis=0, weights=counts)
        square = ((target - mean) / scales) ** 2
        most = np.average(square, axis=0, weights=counts).mean()
        growth, shape, value = StdGrowth.fit(
            z, np.repeat(std, k), weights, np.isfinite(self.shape.dof), np.sqrt(most)
        )
        penalty = 0.5 * _GROWTH_PENALTY * np.log(counts.sum())
        if value - penalty <= weights @ self.shape.log_density(z):
            return self
        return dataclasses.replace(self, shape=shape, growth=growth)

    def weigh(self, samples, precisions=None):
        """Return samples with weights by their noise and their residuals.

        Parameters
        ----------
        samples : Samples or RawSamples
            Samples, with the user's weights.
        precisions : ndarray of shape (n,), default=None
            Weights by the residuals; None: 1.
        """
        if self.plain:
            return samples
        counts, known = samples.weights, samples.known
        if precisions is None:
            precisions = np.ones(len(counts))
        return dataclasses.replace(
            samples, weights=counts * precisions / self._ratios(samples),
            counts=counts, known=None if known is None else known / precisions,
        )  # fmt: skip

    def mean_ratio(self, samples):
        """Return the mean noise variance of samples in units of the constant one."""
        if self.noise is None:
            return 1.0
        return float(np.average(self._ratios(samples), weights=samples.weights))

    def _ratios(self, samples):
        parts = blocks(len(samples.weights), samples.take(slice(1)).X.shape[1])
        return np.concatenate([self.ratio(samples.take(part).X) for part in parts])

    def precisions(self, posterior, samples, n_jobs=1):
        """Return the weights by the residuals of samples that a posterior predicts."""
        if np.isinf(self.shape.dof):
            return np.ones(len(samples.weights))
        model, m = (self, posterior), len(posterior.Z)
        z = [*run_parts(_residuals_in_stds, model, m, samples, n_jobs)]
        z = np.concatenate(z) / self.of_outputs()
        return self._precisions_of(z[:, _noisy(z)], samples.weights)

    def _precisions_of(self, z, counts):
        """Return weights by residuals of shape (n, k): 1 for a Gaussian."""
        if np.isinf(self.shape.dof):
            return np.ones(len(z))
        weights = np.repeat(counts, z.shape[1])
        found = expected_precisions(z.ravel(), weights, self.shape)
        return found.reshape(z.shape).mean(axis=1)


def _residuals_in_stds(task):
    """Return residuals in standard deviations, of (errors, posterior, samples)."""
    errors, posterior, samples = task
    k, found = samples.n_outputs, []
    for part in blocks(len(samples.weights), len(posterior.Z)):
        some = samples.take(part)
        mean, variance = posterior.mean_and_variance(some.X, some.T[:, k:])
        variance = variance + posterior.noise * errors.ratio(some.X)
        if some.known is not None:
            variance = variance + some.known * some.weights
        found.append((some.T[:, :k] - mean) / np.sqrt(variance)[:, None])
    return np.concatenate(found)


def _scaled_start(kernel, groups):
    """Return the kernel's hyperparameters for the variance of targets as weighted.

    Outliers determined the one by which targets were standardised.
    """
    y = groups.T[:, : groups.n_outputs]
    mean = np.average(y, axis=0, weights=groups.weights)
    variance = np.average((y - mean) ** 2, axis=0, weights=groups.weights).mean()
    start, place = kernel.theta.copy(), 0
    for hyper in kernel.template.hyperparameters:
        if hyper.fixed:
            continue
        if hyper.name.endswith(("constant_value", "noise_level")):
            start[place : place + hyper.n_elements] += np.log(max(variance, 1e-6))
        place += hyper.n_elements
    return start


def fit_errors(kernel, theta, samples, choice, max_iter, rng, report):
    """Fit the errors to some samples, and what depends on them again.

    Parameters
    ----------
    kernel : Covariance
        The kernel.
    theta : ndarray of shape (n_theta,)
        Log hyperparameters, fitted with plain errors.
    samples : Samples
        The samples of that fit.
    choice : tuple of str
        ``likelihood`` and ``noise`` of the regressor.
    max_iter : int
        L-BFGS iterations; 0 keeps the hyperparameters.
    rng : numpy.random.RandomState
        Chooses inducing points of the noise.
    report : callable
        ``report(stage, iteration, value)``.

    Returns
    -------
    errors : Errors
    theta : ndarray of shape (n_theta,)
        Log hyperparameters with these errors.
    posterior : ExactPosterior or None
        Of these samples; None for plain errors.
    precisions : ndarray of shape (n,) or None
        Weights of the samples by their residuals.
    """
    if choice == PLAIN:
        return Errors(), theta, None, None
    weighted, errors, posterior, precisions = samples, None, None, None
    again = False
    everywhere = np.arange(len(samples.weights))
    for turn in range(_MOST_ROUNDS):
        groups, before = GroupedSamples.of(weighted), posterior
        if not (turn and max_iter):
            posterior = exact_posterior(kernel, theta, groups)
        else:
            spoiled = not again and np.min(precisions) < _OUTLIER
            if spoiled or errors.noise is not None:
                n_iter, start = int(np.ceil(_AGAIN * max_iter)), theta
                if spoiled:
                    again, n_iter, start = True, max_iter, _scaled_start(kernel, groups)
                theta, _ = fit_hyperparameters(
                    kernel, groups, n_iter, report, start, goes_on=spoiled
                )
                posterior = exact_posterior(kernel, theta, groups)
            else:
                posterior = exact_at_best_noise(kernel, theta, groups, report)
            theta = posterior.theta
        left_out = LeftOut.of(posterior, samples, weighted, everywhere)
        errors, precisions = Errors.fit(left_out, choice, rng, errors)
        if errors.plain:
            return errors, theta, None, None
        choice = errors.choice
        settled = turn and posterior.noise > _LITTLE_LESS * before.noise
        if turn + 1 >= _ROUNDS and (settled or errors.noise is not None):
            break
        weighted = errors.weigh(samples, precisions)
    return errors, theta, posterior, precisions
