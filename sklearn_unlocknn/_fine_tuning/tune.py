"""Train a network and its Gaussian process head together on the minibatch bound.

The network comes in as a copy, a copy that may be changed:

* ``copy.forward(index)`` runs rows through it and returns their features, its own
  output (or None), and a function that pulls gradients by these back to one gradient
  for each variable;
* ``copy.variables`` are what is trained, TensorFlow variables;
* ``copy.freeze()`` is the handle of the copy as it is now.
"""

import dataclasses

import numpy as np
from sklearn.utils import check_random_state

from .._gp import inducing, minibatch
from .._gp.encoded import GroupedSamples, Samples
from .._gp.head import Head
from .._gp.moving import highest_bound
from .._gp.posterior import (
    LOG_2PI,
    SparsePosterior,
    exact_posterior,
    optimal_posterior,
)
from .._gp.training import log_prior, refit_noise
from .trainable_copy import trainable_copy

# More points follow the moving features no better, and each step costs their cube.
MAX_POINTS = 300


class TargetTransform:
    """The map from targets to those of the GP while the network's output moves.

    Parameters
    ----------
    head : Head
        Fitted to the network as it was; its standardisation stays.
    encoded : Encoded
        Training samples, of the network as it was.
    y : ndarray of shape (n_valid, k)
        Their targets.
    weights : ndarray of shape (n_valid,)
        Their weights.
    """

    def __init__(self, head, encoded, y, weights):
        self.y, self.weights, self.scaling = y, weights, head.scaling
        self.with_output = encoded.offset is not None
        fixed = dataclasses.replace(encoded, offset=None)
        target = fixed.target_map(head.y_mean, head.y_scale)
        self.shift, self.scale = (np.broadcast_to(a, y.shape) for a in target)

    def samples(self, index, X, output):
        """Return samples of standardised features and the network's output."""
        t = self.y[index] - self.shift[index]
        if self.with_output:
            t = t - output
        t = t / self.scale[index]
        T = np.hstack([t, self.scaling.basis(X)])
        return Samples(X, T, self.weights[index], t.shape[1])

    def pull(self, index, by_X, by_T):
        """Turn gradients by samples into those by standardised features and output."""
        k = self.y.shape[1]
        if self.scaling.mean == "linear":
            by_X = by_X + by_T[:, k + 1 :]
        if not self.with_output:
            return by_X, None
        return by_X, -by_T[:, :k] / self.scale[index]


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


def fine_tune(model, encoded, y, weights):
    """Train the network of a fitted regressor with its head, then fit the head again.

    Sets the head, the encoder's network and the history of the regressor.

    Parameters
    ----------
    model : BaseVGPRegressor
        With a fitted head.
    encoded : Encoded
        Its training samples.
    y : ndarray of shape (n,) or (n, k)
        Their targets.
    weights : ndarray of shape (n,)
        Their weights.
    """
    encoder, head, rows = model._encoder, model._head, y.reshape(len(y), -1)
    kept = np.flatnonzero(encoded.pick(weights) > 0)
    places = encoded.pick(np.arange(encoded.n))[kept]
    used = dataclasses.replace(
        encoded,
        offset=None if encoded.offset is None else encoded.offset[kept],
        scale=None if encoded.scale is None else encoded.scale[kept],
    )
    target = TargetTransform(head, used, rows[places], weights[places])
    scaling = Scaling(head.scaling.x_mean, head.scaling.x_scale, weights[places])
    tuning = tune(
        trainable_copy(encoder, model, encoded.inputs, places), head.posterior, target,
        scaling, model.fine_tuning, check_random_state(model.random_state),
        model._report,
    )  # fmt: skip
    model.fine_tune_curve_ = tuning.curve
    model.fine_tune_validation_curve_ = tuning.validation_curve
    model.fine_tune_best_epoch_ = tuning.best_epoch
    if tuning.network is None:
        return  # no epoch predicts surely better than the network as it was
    encoder.use(tuning.network)
    encoded = encoder.encode(model, encoded.inputs)
    head = Head.fit(encoded, y, weights, model, model._report)
    if len(tuning.held_out):
        samples = head.samples(encoded, y, weights).take(kept)
        posterior = noise_of_others(
            head.posterior, samples, tuning.held_out, model._report
        )
        head = dataclasses.replace(head, posterior=posterior)
    model._head = head


def tune(copy, posterior, target, scaling, settings, rng, report):
    """Train network, hyperparameters and inducing points together.

    Natural gradient steps for q(u), which starts each epoch at its optimum, and Adam
    for everything else, on the bound of a batch scaled by N / |batch|. With validation
    rows the network of the epoch that predicts them best is kept, which can be that
    before the first.

    Parameters
    ----------
    copy : KerasTrainableCopy or MEGNetTrainableCopy
        Copy of the network.
    posterior : ExactPosterior or SparsePosterior
        Posterior for the network as it was: where the head starts.
    target : TargetTransform
        Targets.
    scaling : Scaling
        Standardisation of the features of the network as it was.
    settings : FineTuning
        Parameters.
    rng : numpy.random.RandomState
        Shuffles the samples.
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
    n = len(target.y)
    order = rng.permutation(n)
    n_validation = min(int(np.ceil(settings.validation_fraction * n)), n - 1)
    held_out, index = order[:n_validation], order[n_validation:]
    head = _MovingHead(posterior, settings.head_learning_rate)
    rate = settings.network_learning_rate
    steps = [minibatch.Adam(v.shape, rate, np.float32) for v in copy.variables]
    n_batches = -(-len(index) // settings.batch_size)
    total = target.weights[index].sum()

    def solve():
        """Bring the head to its optimum for the network as it is."""
        features, output = _forward(copy, index, settings)
        rows = target.samples(index, scaling.keep(index, features), output)
        if not curve:
            head.place(rows, rng)
        curve.append(head.solve(rows))

    curve, choice = [], _Choice(copy, target.weights[held_out])
    for epoch in range(settings.epochs + 1):
        if epoch:
            for batch in np.array_split(rng.permutation(index), n_batches):
                features, output, pull_back = copy.forward(batch)
                X, pull_scaling = scaling.follow(batch, features)
                rows = target.samples(batch, X, output)
                by_rows = head.step(rows, total / rows.weights.sum(), 1.0 / n_batches)
                by_X, by_output = target.pull(batch, *by_rows)
                gradients = pull_back(pull_scaling(by_X), by_output)
                _ascend(copy.variables, steps, gradients)
        solve()
        if epoch:
            report("fine-tuning epoch", epoch, curve[-1])
        if n_validation:
            features, output = _forward(copy, held_out, settings)
            rows = target.samples(held_out, scaling.at(features), output)
            choice.look(head.densities(rows))
    best_epoch = choice.restore() if n_validation else settings.epochs
    return Tuning(
        copy.freeze() if best_epoch else None,
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

    def __init__(self, copy, weights):
        self.copy, self.row_weights = copy, weights
        self.curve, self.best = [], 0

    def look(self, densities):
        """Compare another epoch."""
        self.curve.append(-float(np.average(densities, weights=self.row_weights)))
        epoch = len(self.curve) - 1
        if epoch and self.curve[epoch] >= self.curve[self.best]:
            return
        self.best, self.densities = epoch, densities
        self.values = [v.numpy() for v in self.copy.variables]
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
        for variable, value in zip(self.copy.variables, self.values, strict=True):
            variable.assign(value)
        return self.best


def noise_of_others(posterior, samples, held_out, report):
    """Return the posterior at the noise that samples held out of the tuning need.

    A tuned network has hardly any residual on its own training samples, so that the
    noise fitted to them is too small elsewhere.

    Parameters
    ----------
    posterior : ExactPosterior or SparsePosterior
        Posterior of all samples.
    samples : Samples
        All samples.
    held_out : ndarray of int
        Those that the network was not tuned on.
    report : callable
        As for `tune`.

    Returns
    -------
    posterior : ExactPosterior or SparsePosterior
        Of all samples, with another noise variance.
    """
    kernel, theta = posterior.kernel, posterior.theta

    def posteriors_of(some):
        if isinstance(posterior, SparsePosterior):
            return optimal_posterior(kernel, theta, posterior.Z, some)
        groups = GroupedSamples.of(some)
        K = kernel.lower(theta, groups.X)
        return lambda theta: exact_posterior(kernel, theta, groups, K)

    tuned_on = np.setdiff1d(np.arange(len(samples.weights)), held_out)
    posterior_at = posteriors_of(samples.take(tuned_on))
    found = _refit_noise_on(posterior_at, theta, samples.take(held_out), report)
    # A smaller noise on few samples is chance; tuning gives no reason for it.
    if found.noise <= posterior.noise:
        return posterior
    return posteriors_of(samples)(found.theta)


def _densities(samples):
    """Return the log density of each sample as a function of the others' posterior."""
    k = samples.n_outputs

    def densities(posterior):
        mean, variance = posterior.mean_and_variance(samples.X, samples.T[:, k:])
        variance = variance + posterior.noise
        square = ((samples.T[:, :k] - mean) ** 2).sum(axis=1) / variance
        return -0.5 * (k * (LOG_2PI + np.log(variance)) + square)

    return densities


def _refit_noise_on(posterior_at, theta, samples, report):
    """Return the posterior at the noise that maximises the density of samples."""
    densities = _densities(samples)
    return refit_noise(
        posterior_at, posterior_at(theta), report,
        lambda posterior: float(samples.weights @ densities(posterior)),
    )  # fmt: skip


def _forward(copy, index, settings):
    """Run rows through the network in batches, without gradients to follow."""
    parts = [
        copy.forward(index[start : start + settings.batch_size])[:2]
        for start in range(0, len(index), settings.batch_size)
    ]
    features, outputs = zip(*parts, strict=True)
    output = None if outputs[0] is None else np.concatenate(outputs)
    return np.concatenate(features), output


class _MovingHead:
    """The head while the features move under it."""

    def __init__(self, posterior, learning_rate):
        self.kernel, self.theta = posterior.kernel, posterior.theta
        self.rate = learning_rate
        self.Z, self.beta = posterior.Z, posterior.beta

    def place(self, rows, rng):
        """Choose few enough inducing points, and where the hyperparameters start.

        Points that are the rows themselves explain whatever a short length scale and
        little noise make of them, and nothing once the rows move.
        """
        groups = GroupedSamples.of(rows)
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
        self.posterior_at = optimal_posterior(self.kernel, self.theta, self.Z, rows)
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
            wrt_samples=True,
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
        found = _refit_noise_on(self.posterior_at, self.theta, rows, _silent)
        return _densities(rows)(found)


def _silent(stage, iteration, value):
    pass
