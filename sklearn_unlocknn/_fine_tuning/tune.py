"""Train a network and its Gaussian process head together on the minibatch bound.

The network comes in as a trainee, a copy that may be changed:

* ``trainee.forward(index)`` runs rows through it and returns their features, its own
  output (or None), and a function that pulls gradients by these back to one gradient
  for each variable;
* ``trainee.variables`` are what is trained, TensorFlow variables;
* ``trainee.freeze()`` is the handle of the copy as it is now.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from .._gp import inducing, minibatch
from .._gp import posterior as vi
from .._gp.noise import closed_form, highest_bound, refit_noise
from .._gp.prior import log_prior
from .._gp.rows import Rows

# More points follow the moving features no better, and each step costs their cube.
MAX_POINTS = 300


@dataclasses.dataclass
class Problem:
    """Targets, and the map from what the network leaves of them to the process's.

    Parameters
    ----------
    y : ndarray of shape (n, k)
        Targets. With ``with_output`` the process models what the output leaves.
    weights : ndarray of shape (n,)
        Positive.
    unit : ndarray of shape (n, 1) or None
        What the target of a row is counted in; None is 1.
    y_mean, y_scale : ndarray of shape (k,)
        Standardisation of targets.
    basis : callable
        From standardised features to the basis functions of the prior mean, (n, q).
    linear : bool
        Whether these are 1 and the features, and so depend on them.
    with_output : bool
        Whether the network's own output is the prior mean.
    """

    y: np.ndarray
    weights: np.ndarray
    unit: np.ndarray | None
    y_mean: np.ndarray
    y_scale: np.ndarray
    basis: Callable
    linear: bool
    with_output: bool

    def rows(self, index, X, output):
        """Put rows together from standardised features and the network's output."""
        y = self.y[index]
        if self.with_output:
            y = y - output
        if self.unit is not None:
            y = y / self.unit[index]
        Y = (y - self.y_mean) / self.y_scale
        T = np.hstack([Y, self.basis(X)])
        return Rows(X, T, self.weights[index], Y.shape[1])

    def pull(self, index, by_X, by_T):
        """Turn gradients by rows into ones by standardised features and output."""
        k = len(self.y_scale)
        if self.linear:
            by_X = by_X + by_T[:, k + 1 :]
        if not self.with_output:
            return by_X, None
        by_output = -by_T[:, :k] / self.y_scale
        if self.unit is not None:
            by_output = by_output / self.unit[index]
        return by_X, by_output


class Scaling:
    """A standardisation of features that follows the network.

    The head standardises what the network gives, so a shift or scale that all rows
    share means nothing to it. Without this, features that hardly differ between rows
    fly off: a small step of a weight moves them by hundreds of standard deviations.

    Mean and scale are those of all rows at the last full pass, corrected by how a
    batch has moved since: exact for the full batch, and little noise for a small one.

    Parameters
    ----------
    mean, scale : ndarray of shape (d,)
        Of the features of the network as it was.
    weights : ndarray of shape (n,)
        Of all rows.
    """

    def __init__(self, mean, scale, weights):
        self.mean, self.scale, self.weights, self._then = mean, scale, weights, None

    def at(self, features):
        """Standardise features by the last full pass."""
        return np.ascontiguousarray((features - self.mean) / self.scale)

    def keep(self, index, features):
        """Standardise all rows of a full pass, and measure others by it from now on."""
        if self._then is not None:
            self.mean, self.scale, *_ = self._moved(index, features)
        self._then = np.zeros((len(self.weights), features.shape[1]))
        self._then[index] = features
        return self.at(features)

    def follow(self, index, features):
        """Standardise a batch.

        Returns
        -------
        X : ndarray of shape (n, d)
            Standardised features.
        pull : callable
            From gradients by X to gradients by ``features``.
        """
        mean, scale, w, centred, variance = self._moved(index, features)

        def pull(by_X):
            # X = (f - mean_b(f)) / scale(f) + constant: as through batch normalisation
            along = w * centred * np.sum(by_X * centred / scale, axis=0)
            by_scale = np.divide(
                along, variance, out=np.zeros_like(along), where=variance > 0
            )
            return (by_X - w * by_X.sum(axis=0)) / scale - by_scale

        return np.ascontiguousarray((features - mean) / scale), pull

    def _moved(self, index, features):
        """Return mean and scale now, and what tells how they depend on the batch."""
        w = self.weights[index, None] / self.weights[index].sum()
        then = self._then[index]
        centre, before = (w * features).sum(axis=0), (w * then).sum(axis=0)
        centred = features - centre
        variance = (w * centred**2).sum(axis=0)
        earlier = (w * (then - before) ** 2).sum(axis=0)
        # Below rounding a column is constant and has no scale to follow.
        tiny = (1e-6 * (np.abs(centre) + np.abs(before))) ** 2
        moves = (variance > tiny) & (earlier > tiny)
        variance = np.where(moves, variance, 0.0)
        ratio = np.ones_like(variance)
        ratio[moves] = np.sqrt(variance[moves] / earlier[moves])
        # The mean keeps its place among the rows of the batch.
        mean = centre + ratio * (self.mean - before)
        return mean, self.scale * ratio, w, centred, variance


@dataclasses.dataclass
class Settings:
    """How to train; as the parameters of the regressors."""

    epochs: int
    network_learning_rate: float
    head_learning_rate: float
    batch_size: int
    validation_fraction: float


@dataclasses.dataclass
class Tuning:
    """What `tune` gives.

    Attributes
    ----------
    network : NetworkHandle, MEGNetSnapshot or None
        Handle of the tuned copy; None where no epoch was better than none.
    curve : ndarray of shape (epochs + 1,)
        Bound of the training rows before the first and after each epoch, in nats.
    validation_curve : ndarray of shape (epochs + 1,) or None
        Negative log density of the validation rows, mean per row, at the noise that
        suits them best.
    best_epoch : int
        After which the network was as it is returned; 0 is before the first.
    held_out : ndarray of shape (n_validation,)
        Indices of the validation rows.
    """

    network: object
    curve: np.ndarray
    validation_curve: np.ndarray | None
    best_epoch: int
    held_out: np.ndarray


def tune(trainee, kernel, posterior, problem, scaling, settings, rng, report):
    """Train network, hyperparameters and inducing points together.

    Natural gradient steps for q(u), which starts each epoch at its optimum, and Adam
    for everything else, on the bound of a batch scaled by N / |batch|. With validation
    rows the network of the epoch that predicts them best is kept, which can be that
    before the first.

    Parameters
    ----------
    trainee : KerasTrainableCopy or MEGNetTrainableCopy
        The copy of the network.
    kernel : Covariance
        The kernel.
    posterior : Posterior
        Of the head fitted to the network as it was: where the head starts.
    problem : Problem
        Targets.
    scaling : Scaling
        Of the features of the network as it was.
    settings : Settings
        How.
    rng : numpy.random.RandomState
        Shuffles the rows.
    report : callable
        ``report(stage, iteration, value)``, called after every epoch.

    Returns
    -------
    tuning : Tuning
        The tuned network and the history.

    Raises
    ------
    ValueError
        If training diverges.
    """
    n = len(problem.y)
    order = rng.permutation(n)
    n_validation = min(int(np.ceil(settings.validation_fraction * n)), n - 1)
    held_out, index = order[:n_validation], order[n_validation:]
    head = _Head(kernel, posterior, problem, settings.head_learning_rate)
    rate = settings.network_learning_rate
    steps = [minibatch.Adam(v.shape, rate, np.float32) for v in trainee.variables]
    n_batches = -(-len(index) // settings.batch_size)
    total = problem.weights[index].sum()

    def solve():
        """Bring the head to its optimum for the network as it is."""
        features, output = _forward(trainee, index, settings)
        rows = problem.rows(index, scaling.keep(index, features), output)
        if not curve:
            head.place(rows, rng)
        curve.append(head.solve(rows))

    curve, choice = [], _Choice(trainee, problem.weights[held_out])
    for epoch in range(settings.epochs + 1):
        if epoch:
            for batch in np.array_split(rng.permutation(index), n_batches):
                features, output, pull_back = trainee.forward(batch)
                X, pull_scaling = scaling.follow(batch, features)
                rows = problem.rows(batch, X, output)
                by_rows = head.step(rows, total / rows.weights.sum(), 1.0 / n_batches)
                by_X, by_output = problem.pull(batch, *by_rows)
                gradients = pull_back(pull_scaling(by_X), by_output)
                _ascend(trainee.variables, steps, gradients)
        solve()
        if epoch:
            report("fine-tuning epoch", epoch, curve[-1])
        if n_validation:
            features, output = _forward(trainee, held_out, settings)
            rows = problem.rows(held_out, scaling.at(features), output)
            choice.look(head.densities(rows))
    best_epoch = choice.restore() if n_validation else settings.epochs
    return Tuning(
        trainee.freeze() if best_epoch else None,
        np.array(curve),
        np.array(choice.curve) if n_validation else None,
        best_epoch,
        held_out,
    )


def _ascend(variables, steps, gradients):
    """Move the network's weights by Adam, up the bound."""
    for variable, step, gradient in zip(variables, steps, gradients, strict=True):
        change = step.step(gradient.astype(np.float32))
        variable.assign_add(change.astype(variable.dtype.as_numpy_dtype))


class _Choice:
    """Remembers the weights of the epoch that predicts the validation rows best."""

    def __init__(self, trainee, weights):
        self.trainee, self.row_weights = trainee, weights
        self.curve, self.best = [], 0

    def look(self, densities):
        """Compare another epoch."""
        self.curve.append(-float(np.average(densities, weights=self.row_weights)))
        epoch = len(self.curve) - 1
        if epoch and self.curve[epoch] >= self.curve[self.best]:
            return
        self.best, self.densities = epoch, densities
        self.values = [v.numpy() for v in self.trainee.variables]
        if not epoch:
            self.first = densities

    def restore(self):
        """Go back to the best epoch and return it; 0 where the gain may be chance.

        A network that predicts well already would be made worse by an epoch chosen by
        luck: the gain has to exceed its own standard error.
        """
        gain = self.densities - self.first
        mean = np.average(gain, weights=self.row_weights)
        scatter = self.row_weights**2 @ (gain - mean) ** 2
        if mean <= np.sqrt(scatter) / self.row_weights.sum():
            return 0
        for variable, value in zip(self.trainee.variables, self.values, strict=True):
            variable.assign(value)
        return self.best


def noise_of_others(kernel, posterior, rows, held_out, report):
    """Return the posterior at the noise that rows the network was not tuned on need.

    A tuned network leaves hardly any residual on its own training rows, from which
    the head learns a noise that is too small elsewhere.

    Parameters
    ----------
    kernel : Covariance
        The kernel.
    posterior : Posterior
        Of all rows.
    rows : Rows
        All rows.
    held_out : ndarray of int
        Those that the network was not tuned on.
    report : callable
        As for `tune`.

    Returns
    -------
    posterior : Posterior
        Of all rows, which differs in the noise.
    """
    theta = posterior.theta

    def closed(rows):
        if posterior.Lb is not None:
            return closed_form(kernel, theta, posterior.Z, rows)
        groups = rows.grouped()
        K = kernel.lower(theta, groups.X)
        return lambda theta: vi.exact_posterior(kernel, theta, groups, K)

    posterior_at = closed(rows.take(np.setdiff1d(np.arange(len(rows.X)), held_out)))
    found = _refit_noise_on(posterior_at, kernel, theta, rows.take(held_out), report)
    # Few rows may ask for less by luck; tuning gives no reason to.
    return posterior if found.noise <= posterior.noise else closed(rows)(found.theta)


def _densities(kernel, rows):
    """Return the log density of each row as a function of the posterior of others."""
    k = rows.n_outputs

    def densities(posterior):
        mean, variance = posterior.mean_and_variance(kernel, rows.X, rows.T[:, k:])
        variance = variance + posterior.noise
        square = ((rows.T[:, :k] - mean) ** 2).sum(axis=1) / variance
        return -0.5 * (k * (vi.LOG_2PI + np.log(variance)) + square)

    return densities


def _refit_noise_on(posterior_at, kernel, theta, rows, report):
    """Return the posterior at the noise that suits other rows best."""
    densities = _densities(kernel, rows)
    return refit_noise(
        posterior_at, kernel, posterior_at(theta), report,
        lambda posterior: float(rows.weights @ densities(posterior)),
    )  # fmt: skip


def _forward(trainee, index, settings):
    """Run rows through the network in batches, without gradients to follow."""
    parts = [
        trainee.forward(index[start : start + settings.batch_size])[:2]
        for start in range(0, len(index), settings.batch_size)
    ]
    features, outputs = zip(*parts, strict=True)
    output = None if outputs[0] is None else np.concatenate(outputs)
    return np.concatenate(features), output


class _Head:
    """The head while the features move under it."""

    def __init__(self, kernel, posterior, problem, learning_rate):
        self.kernel, self.theta, self.rate = kernel, posterior.theta, learning_rate
        self.Z, self.beta = posterior.Z, posterior.beta

    def place(self, rows, rng):
        """Choose few enough inducing points, and where the hyperparameters start.

        Points that are the rows themselves explain whatever a short length scale and
        little noise make of them, and nothing once the rows move.
        """
        groups = rows.grouped()
        limit = max(1, min(MAX_POINTS, len(groups.X) // 2))
        if len(self.Z) > limit:
            self.Z = inducing.select(
                self.kernel, self.theta, groups, limit, "kmeans", rng
            )
            # A head that found nothing has no slope to climb: then start afresh.
            starts = [
                highest_bound(self.kernel, theta, self.Z, rows, _silent)
                for theta in (self.theta, self.kernel.theta)
            ]
            self.theta = max(starts, key=lambda found: found.elbo).theta
        self.Z = self.Z.copy()
        shapes = self.theta.shape, self.beta.shape, self.Z.shape
        self.adam = [minibatch.Adam(shape, self.rate) for shape in shapes]

    def solve(self, rows):
        """Bring q(u) and the prior mean to their optimum; return the bound."""
        self.posterior_at = closed_form(self.kernel, self.theta, self.Z, rows)
        posterior = self.posterior_at(self.theta)
        self.beta = posterior.beta
        self.state = minibatch.Variational.of(posterior)
        prior, _ = log_prior(self.kernel, self.theta)
        return posterior.elbo + prior

    def step(self, rows, scale, rate):
        """Take a step on a batch; return the gradients by its rows before it."""
        kernel = self.kernel
        _, gradients = minibatch.batch_bound(
            kernel, self.theta, self.Z, self.beta, rows, self.state, scale, rate,
            wrt_rows=True,
        )  # fmt: skip
        by_theta, by_beta, by_Z, *by_rows = gradients
        theta, beta, Z = self.adam
        step = theta.step(by_theta + log_prior(kernel, self.theta)[1])
        self.theta = np.clip(self.theta + step, *kernel.bounds.T)
        self.beta = self.beta + beta.step(by_beta)
        self.Z = self.Z + Z.step(by_Z)
        return by_rows

    def densities(self, rows):
        """Return the log density of each of other rows at the noise that suits them."""
        found = _refit_noise_on(
            self.posterior_at, self.kernel, self.theta, rows, _silent
        )
        return _densities(self.kernel, rows)(found)


def _silent(stage, iteration, value):
    pass
