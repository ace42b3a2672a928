"""Train a network and its Gaussian process head together on the minibatch bound.

The network is a trainable copy:

* ``copy.forward(index)`` runs samples through it and returns their features, its own
  output (or None), and a function that pulls gradients by these back to one gradient
  for each variable;
* ``copy.variables`` are the TensorFlow variables to train;
* ``copy.freeze()`` returns the handle of the copy in its present state.
"""

import dataclasses

import numpy as np
from sklearn.utils import check_random_state

from .._gp import minibatch
from .._gp.head import Head
from .._gp.samples import Samples
from .._validation import warn_user
from .moving_head import MovingHead, MovingScaling, noise_of_others
from .trainable_copy import WithConstants, trainable_copy


class TargetTransform:
    """The map from targets to those of the GP while the network's output moves.

    Parameters
    ----------
    head : Head
        Fitted to the original network; its standardisation stays.
    encoded : Encoded
        Training samples, encoded by the original network.
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


@dataclasses.dataclass
class Tuning:
    """Result of `tune`.

    Attributes
    ----------
    network : NetworkHandle, MEGNetSnapshot or None
        Handle of the tuned copy; None where no epoch was better than the original.
    curve : ndarray of shape (epochs + 1,)
        Bound of the training samples before the first and after each epoch, in nats.
    validation_curve : ndarray of shape (epochs + 1,) or None
        Negative log density of the validation samples, mean per sample, at the noise
        that maximises it.
    best_epoch : int
        Epoch whose network is returned; 0 is the original.
    held_out : ndarray of shape (n_validation,)
        Indices of the validation samples.
    """

    network: object
    curve: np.ndarray
    validation_curve: np.ndarray | None
    best_epoch: int
    held_out: np.ndarray


def fine_tune(model, encoded, targets, choice):
    """Train the network of a fitted regressor with its head, then fit the head again.

    Sets the head, the encoder's network and the history of the regressor.

    Parameters
    ----------
    model : BaseVGPRegressor
        With a fitted head.
    encoded : Encoded
        Its training samples.
    targets : Targets
        Their targets, weights and known noise.
    choice : tuple of str
        As in `Head.fit`.
    """
    encoder, head, y = model._encoder, model._head, targets.columns
    kept = np.flatnonzero(encoded.pick(targets.weights) > 0)
    places = encoded.index[kept]
    used = dataclasses.replace(
        encoded,
        offset=None if encoded.offset is None else encoded.offset[kept],
        scale=None if encoded.scale is None else encoded.scale[kept],
    )
    weights = head.weights[kept]
    target = TargetTransform(head, used, y[places], weights)
    scaling = MovingScaling(head.scaling.x_mean, head.scaling.x_scale, weights)
    copy = trainable_copy(encoder, model, encoded.inputs, places)
    if "network" in encoded.blocks:
        others = slice(encoded.blocks["network"].stop, None)
        constants = encoded.features[kept, others]
        mean = head.scaling.x_mean[others]
        constants = np.where(np.isnan(constants), mean, constants)
        copy = WithConstants(copy, constants)
    tuning = tune(
        copy, head.posterior, target, scaling, model.fine_tuning,
        check_random_state(model.random_state), model._report,
    )  # fmt: skip
    model.fine_tune_curve_ = tuning.curve
    model.fine_tune_validation_curve_ = tuning.validation_curve
    model.fine_tune_best_epoch_ = tuning.best_epoch
    if tuning.network is None:
        warn_user(
            f"Fine-tuning keeps the original network: none of the "
            f"{model.fine_tuning.epochs} epochs predicts the samples held out surely "
            "better. More epochs, another learning rate or more samples may help; "
            "fine_tuning=None saves the time."
        )
        return
    encoder.use(tuning.network)
    encoded = encoder.encode(model, encoded.inputs)
    head = Head.fit(encoded, targets, model, model._report, choice)
    if len(tuning.held_out):
        samples = head.samples(encoded, targets).take(kept)
        posterior = noise_of_others(
            head.posterior, samples, tuning.held_out, model._report
        )
        noise = head.mean_noise * posterior.noise / head.posterior.noise
        head = dataclasses.replace(head, posterior=posterior, mean_noise=noise)
    model._head = head


def tune(copy, posterior, target, scaling, settings, rng, report):
    """Train network, hyperparameters and inducing points together.

    Natural gradient steps for q(u), which starts each epoch at its optimum, and Adam
    for everything else, on the bound of a batch scaled by N / |batch|. The network of
    the epoch that predicts the validation samples best is kept, which can be the
    original.

    Parameters
    ----------
    copy : KerasTrainableCopy, MEGNetTrainableCopy or WithConstants
        Copy of the network.
    posterior : ExactPosterior or SparsePosterior
        Posterior for the original network, where the head starts.
    target : TargetTransform
        Targets.
    scaling : MovingScaling
        Standardisation of the features.
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
    head = MovingHead(posterior, settings.head_learning_rate)
    rate = settings.network_learning_rate
    steps = [minibatch.Adam(v.shape, rate, np.float32) for v in copy.variables]
    n_batches = -(-len(index) // settings.batch_size)
    total = target.weights[index].sum()

    def solve():
        """Bring the head to its optimum for the present network."""
        features, output = _forward(copy, index, settings)
        samples = target.samples(index, scaling.keep(index, features), output)
        if not curve:
            head.place(samples, rng)
        curve.append(head.solve(samples))

    curve, choice = [], _Choice(copy, target.weights[held_out])
    for epoch in range(settings.epochs + 1):
        if epoch:
            for batch in np.array_split(rng.permutation(index), n_batches):
                features, output, pull_back = copy.forward(batch)
                X, pull_scaling = scaling.follow(batch, features)
                samples = target.samples(batch, X, output)
                by_rows = head.step(
                    samples, total / samples.weights.sum(), 1.0 / n_batches
                )
                by_X, by_output = target.pull(batch, *by_rows)
                gradients = pull_back(pull_scaling(by_X), by_output)
                _ascend(copy.variables, steps, gradients)
        solve()
        if epoch:
            report("fine-tuning epoch", epoch, curve[-1])
        if n_validation:
            features, output = _forward(copy, held_out, settings)
            samples = target.samples(held_out, scaling.at(features), output)
            choice.compare(head.densities(samples))
    best_epoch = choice.restore() if n_validation else settings.epochs
    return Tuning(
        copy.freeze() if best_epoch else None,
        np.array(curve),
        np.array(choice.curve) if n_validation else None,
        best_epoch,
        held_out,
    )


def _ascend(variables, steps, gradients):
    """Move the network's weights by Adam to increase the bound."""
    for variable, step, gradient in zip(variables, steps, gradients, strict=True):
        change = step.step(gradient.astype(np.float32))
        variable.assign_add(change.astype(variable.dtype.as_numpy_dtype))


class _Choice:
    """Keep the weights of the epoch that predicts the validation samples best."""

    def __init__(self, copy, weights):
        self.copy, self.sample_weights = copy, weights
        self.curve, self.best = [], 0

    def compare(self, densities):
        """Compare the next epoch with the best one."""
        self.curve.append(-float(np.average(densities, weights=self.sample_weights)))
        epoch = len(self.curve) - 1
        if epoch and self.curve[epoch] >= self.curve[self.best]:
            return
        self.best, self.densities = epoch, densities
        self.values = [v.numpy() for v in self.copy.variables]
        if not epoch:
            self.first = densities

    def restore(self):
        """Restore the best epoch and return it; 0 where the gain may be chance.

        An epoch chosen by chance would make a good network worse, so the gain has to
        exceed its own standard error.
        """
        gain = self.densities - self.first
        mean = np.average(gain, weights=self.sample_weights)
        scatter = self.sample_weights**2 @ (gain - mean) ** 2
        if mean <= np.sqrt(scatter) / self.sample_weights.sum():
            return 0
        for variable, value in zip(self.copy.variables, self.values, strict=True):
            variable.assign(value)
        return self.best


def _forward(copy, index, settings):
    """Run samples through the network in batches, without gradients."""
    parts = [
        copy.forward(index[start : start + settings.batch_size])[:2]
        for start in range(0, len(index), settings.batch_size)
    ]
    features, outputs = zip(*parts, strict=True)
    output = None if outputs[0] is None else np.concatenate(outputs)
    return np.concatenate(features), output
