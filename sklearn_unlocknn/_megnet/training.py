"""Gradient training of a MEGNet on converted structures."""

import contextlib
import dataclasses

import numpy as np

from .._structures.read import StructureError, _name, as_structure
from .architecture import output_layer, with_outputs
from .batches import batches, join
from .compat import freeze_object, thaw_object
from .network import MEGNetSnapshot

#: Norm that the gradient of a batch is shortened to.
CLIP_NORM = 3.0
#: Share of the past in the running average of the weights, after a step.
AVERAGE = 0.99


@dataclasses.dataclass
class Rows:
    """Converted structures with their targets.

    Attributes
    ----------
    graphs : list of graph
    y : ndarray of shape (n, k)
        In target units.
    weights : ndarray of shape (n,)
        Positive.
    """

    graphs: list
    y: np.ndarray
    weights: np.ndarray

    def __len__(self):
        return len(self.graphs)

    def take(self, index):
        """Return some of the rows."""
        graphs = [self.graphs[i] for i in index]
        return Rows(graphs, self.y[index], self.weights[index])


def convert(network, items, y, weights, n_jobs=None):
    """Convert structures for a network, leaving out those of weight zero.

    Parameters
    ----------
    network : MEGNetSnapshot
        Whose graph converter to use.
    items : list of structures
        Of any kind that `MEGNetSnapshot.stream` takes.
    y : ndarray of shape (n, k)
        Targets.
    weights : ndarray of shape (n,)
        Not negative.
    n_jobs : int, default=None
        Processes.

    Returns
    -------
    rows : Rows
        Of the structures that could be converted.
    errors : list of StructureError
        Of the others.
    """
    graphs = network.graphs(items, n_jobs=n_jobs)
    errors = [g for g in graphs if isinstance(g, StructureError)]
    good = [not isinstance(g, StructureError) for g in graphs]
    index = np.flatnonzero(good & (weights > 0))
    return Rows([graphs[i] for i in index], y[index], weights[index]), errors


def target_error(index, item, value):
    """Name a structure whose target is not finite."""
    structure = item
    with contextlib.suppress(Exception):  # unreadable, too: name what was given
        structure = as_structure(item)
    return StructureError(
        index,
        _name(structure, item),
        f"its target y is {value}: y contains NaN or infinity. Leave such rows out.",
    )


@dataclasses.dataclass
class Settings:
    """How to train; see `MEGNetRegressor` for their meaning."""

    max_iter: int
    batch_size: int
    learning_rate: float
    patience: int


@dataclasses.dataclass
class Training:
    """What `train` gives.

    Attributes
    ----------
    network : MEGNetSnapshot
        With the best weights.
    losses, validation_losses : list of float
        Mean squared error of every epoch, in units of the target's variance; while
        training and on the validation rows.
    best_iter : int
        Epochs after which the network had these weights.
    """

    network: MEGNetSnapshot
    losses: list
    validation_losses: list
    best_iter: int


def train(network, rows, validation, settings, rng, report=lambda *values: None):
    """Train a copy of a network by Adam on the weighted mean squared error.

    Parameters
    ----------
    network : MEGNetSnapshot
        Where to start.
    rows : Rows
        To train on.
    validation : Rows or None
        To choose the best epoch by, and to stop when there is no better one for
        ``settings.patience`` epochs. Without them the last weights are kept.
    settings : Settings
        How.
    rng : numpy.random.Generator
        Shuffles the rows.
    report : callable
        Called after an epoch with its number and its two losses (the second None
        without validation rows).

    Returns
    -------
    Training

    Raises
    ------
    ValueError
        When the loss is not finite, or the network cannot be trained.
    """
    trainee = _Trainee(network, rows, rng)
    losses, validation_losses = [], []
    best, best_iter, best_weights = np.inf, settings.max_iter, None
    if validation is not None:
        best, best_iter = trainee.loss(validation, settings.batch_size), 0
        best_weights = trainee.average.numpy()
    n_batches = -(-len(rows) // settings.batch_size)
    for epoch in range(1, settings.max_iter + 1):
        total = 0.0
        for index in np.array_split(rng.permutation(len(rows)), n_batches):
            total += trainee.step(rows.take(index), settings.learning_rate)
        losses.append(total / n_batches)
        if validation is not None:
            validation_losses.append(trainee.loss(validation, settings.batch_size))
        last = validation_losses[-1] if validation_losses else None
        if not np.isfinite([losses[-1], last or 0.0]).all():
            raise ValueError(
                f"The loss is {losses[-1]} after epoch {epoch}: training diverged. "
                f"Lower `learning_rate` (it is {settings.learning_rate}), and look "
                "for outliers in y."
            )
        report(epoch, losses[-1], last)
        if last is not None and last < best:
            best, best_iter, best_weights = last, epoch, trainee.average.numpy()
        elif last is not None and epoch - best_iter >= settings.patience:
            break
    if best_weights is not None:
        trainee.average.assign(best_weights)
    return Training(trainee.freeze(), losses, validation_losses, best_iter)


class _Trainee:
    """A network with trainable weights whose raw output is the standardised target.

    Its predictions are those of the network it is made from: the output layer is
    rescaled from that network's units to the new ones.
    """

    def __init__(self, network, rows, rng):
        k = rows.y.shape[1]
        same = network.n_outputs == k
        mean, scale, self.intensive = _affine(network)
        state = network._state if same else with_outputs(network, k, rng)
        self.network = MEGNetSnapshot(state)
        self.model = self.network.keras_model
        self.model.trainable = True
        self.mean_weight = rows.weights.mean()
        per = self._per_atom(rows)
        self.mean, self.scale = _moments(per, rows.weights)
        if same:
            self._rescale((mean, scale), (self.mean, self.scale))
        self._compile()

    def _per_atom(self, rows):
        """Give targets, per atom where the network predicts an extensive one."""
        if self.intensive:
            return rows.y
        return rows.y / np.array([[len(g.atom)] for g in rows.graphs])

    def _rescale(self, old, new):
        """Change the output layer from raw outputs in old to ones in new units."""
        layer = output_layer(self.network)
        kernel, bias = (np.asarray(w, np.float64) for w in layer.get_weights())
        factor = old[1] / new[1]
        layer.set_weights([kernel * factor, bias * factor + (old[0] - new[0]) / new[1]])

    def _compile(self):
        import tensorflow as tf

        forward, signature = self.network.forward([self.model.output])
        self.variables = variables = self.model.trainable_variables
        sizes = [int(np.prod(v.shape)) for v in variables]

        def flat(tensors):
            return tf.concat([tf.reshape(t, [-1]) for t in tensors], 0)

        def assign(vector):
            for v, part in zip(variables, tf.split(vector, sizes), strict=True):
                v.assign(tf.reshape(part, v.shape))

        first, second = (tf.Variable(tf.zeros(sum(sizes))) for _ in range(2))
        self.average = average = tf.Variable(flat(variables))
        vector, number = tf.TensorSpec([None]), tf.TensorSpec([])
        rows = [tf.TensorSpec([None, None]), vector]

        def compiled(*signature):
            # Concrete, as TensorFlow warns of functions that every fit traces anew
            return lambda function: tf.function(
                function, input_signature=signature
            ).get_concrete_function()

        def loss(*inputs):
            *graph, targets, weights = inputs
            error = forward(*graph)[0][0] - targets
            return tf.reduce_sum(weights * tf.reduce_mean(error**2, -1))

        @compiled(*signature, *rows)
        def gradient(*inputs):
            with tf.GradientTape() as tape:
                value = loss(*inputs)
            return value, flat(tape.gradient(value, variables))

        @compiled(vector, *[number] * 4)
        def update(gradient, rate, first_share, second_share, forget):
            # Adam (Kingma and Ba 2015, arXiv:1412.6980)
            gradient *= tf.minimum(1.0, CLIP_NORM / (tf.norm(gradient) + 1e-12))
            first.assign_add(0.1 * (gradient - first))
            second.assign_add(0.001 * (gradient**2 - second))
            change = first / first_share / (tf.sqrt(second / second_share) + 1e-8)
            weights = flat(variables) - rate * change
            assign(weights)
            average.assign_add(forget * (weights - average))

        @compiled()
        def exchange():
            weights = flat(variables)
            assign(average)
            average.assign(weights)

        self._loss, self._gradient = compiled(*signature, *rows)(loss), gradient
        self._update, self._exchange = update, exchange
        self._count = 0

    def _parts(self, rows, total, batch_size):
        """Give the arrays of batches that fit the memory; weights sum to the loss."""
        import tensorflow as tf

        start = 0
        targets = (self._per_atom(rows) - self.mean) / self.scale
        for graphs in batches(rows.graphs, batch_size):
            part = slice(start, start + len(graphs))
            start = part.stop
            arrays = (targets[part], rows.weights[part] / total)
            arrays = [a.astype(np.float32) for a in arrays]
            inputs = [*join(graphs, self.network.keras_model.inputs), *arrays]
            yield [tf.constant(a) for a in inputs]

    def step(self, rows, rate):
        """Take one step on the rows and return their loss before it."""
        import tensorflow as tf

        # Divided by the mean over all rows: batches are unbiased for the whole.
        total = self.mean_weight * len(rows)
        value, gradient = 0.0, 0.0
        for arrays in self._parts(rows, total, len(rows)):
            loss, part = self._gradient(*arrays)
            value, gradient = value + float(loss), gradient + part
        self._count += 1
        shares = 1.0 - 0.9**self._count, 1.0 - 0.999**self._count
        forget = max(1.0 - AVERAGE, 1.0 / (1 + self._count))
        numbers = (rate, *shares, forget)
        self._update(gradient, *(tf.constant(x, tf.float32) for x in numbers))
        return value

    def loss(self, rows, batch_size):
        """Return the loss of rows with the averaged weights."""
        parts = self._parts(rows, rows.weights.sum(), batch_size)
        self._exchange()
        value = float(sum(self._loss(*arrays) for arrays in parts))
        self._exchange()
        return value

    def freeze(self):
        """Take a snapshot that predicts in target units."""
        from megnet.utils.preprocessing import StandardScaler

        self._exchange()
        mean, scale = self.mean, self.scale
        # MEGNet's scaler holds one number, in double precision; it takes a tiny scale
        # for zero.
        if len(mean) == 1 and scale[0] > np.finfo(float).eps:
            scaler = StandardScaler(float(mean[0]), float(scale[0]), self.intensive)
        else:
            self._rescale((mean, scale), (np.zeros(1), np.ones(1)))
            scaler = StandardScaler(0.0, 1.0, self.intensive)
        state = {
            **self.network._state,
            "weights": self.model.get_weights(),
            "scaler": freeze_object(scaler),
        }
        return MEGNetSnapshot(state)


def _affine(network):
    """Return how a network scales its raw output: mean, scale, whether intensive."""
    output_layer(network)
    scaler = thaw_object(network._state["scaler"])
    kind = type(scaler).__name__
    if scaler is None or kind == "DummyScaler":
        return np.zeros(1), np.ones(1), True
    if kind != "StandardScaler":
        raise ValueError(
            f"Got a MEGNet with a target scaler {kind}, which training does not know. "
            "Start from a network with a StandardScaler or none."
        )
    numbers = (np.atleast_1d(np.asarray(x, float)) for x in (scaler.mean, scaler.std))
    return *numbers, bool(scaler.is_intensive)


def _moments(y, weights):
    """Return weighted means and standard deviations, 1 where a column is constant."""
    mean = y[0] + np.average(y - y[0], axis=0, weights=weights)
    scale = np.sqrt(np.average((y - mean) ** 2, axis=0, weights=weights))
    constant = scale <= 10 * np.finfo(float).eps * np.abs(mean)
    return mean, np.where(constant | (scale == 0), 1.0, scale)
