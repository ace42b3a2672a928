"""Train a MEGNet on labelled graphs by Adam and averaged weights."""

import dataclasses
import functools

import numpy as np

from .._gp.encoded import scales
from .architecture import output_layer, with_outputs
from .batches import batches, join
from .keras_pass import as_inputs
from .network import MEGNetSnapshot
from .state import freeze_object

#: Greatest norm of the gradient of a batch; longer gradients are scaled down.
CLIP_NORM = 3.0
#: Momentum of the moving average of the weights.
EMA_MOMENTUM = 0.99


@dataclasses.dataclass
class LabelledGraphs:
    """Graphs with targets of shape (n, k) and positive sample weights."""

    graphs: list
    y: np.ndarray
    weights: np.ndarray

    def __len__(self):
        return len(self.graphs)

    def take(self, index):
        """Return the samples of an integer index."""
        graphs = [self.graphs[i] for i in index]
        return LabelledGraphs(graphs, self.y[index], self.weights[index])


def train(
    network, data, validation, rng, *,
    max_iter, batch_size, learning_rate, patience, report,
):  # fmt: skip
    """Train a copy of a network by Adam on the weighted mean squared error.

    Parameters
    ----------
    network : MEGNetSnapshot
        Network to start from; it is not modified.
    data : LabelledGraphs
        Training samples.
    validation : LabelledGraphs or None
        Samples to choose the best epoch by. None keeps the last weights.
    rng : numpy.random.Generator
        Source of the order of the samples.
    max_iter, batch_size, learning_rate, patience : int, int, float, int
        As in `MEGNetRegressor`; ``patience`` is its ``n_iter_no_change``.
    report : callable
        ``report(epoch, loss, validation_loss)``, called after each epoch.

    Returns
    -------
    network : MEGNetSnapshot
        Network with the best weights.
    losses, validation_losses : list of float
        Mean squared errors as in `MEGNetRegressor`.
    best_iter : int
        Epoch after which the network had these weights.
    """
    trainer = _Trainer(network, data, learning_rate, rng)
    losses, validation_losses = [], []
    best, best_iter, best_weights = np.inf, max_iter, None
    if validation is not None:
        best, best_iter = trainer.loss(validation, batch_size), 0
        best_weights = trainer.weights()
    n_batches = -(-len(data) // batch_size)
    for epoch in range(1, max_iter + 1):
        batched = np.array_split(rng.permutation(len(data)), n_batches)
        losses.append(sum(trainer.step(data.take(i)) for i in batched) / n_batches)
        last = None
        if validation is not None:
            last = trainer.loss(validation, batch_size)
            validation_losses.append(last)
        if not np.isfinite([losses[-1], last or 0.0]).all():
            raise ValueError(
                f"The loss is {losses[-1]} after epoch {epoch}: training diverged. "
                f"Lower `learning_rate` (it is {learning_rate}), and look for outliers "
                "in y."
            )
        report(epoch, losses[-1], last)
        if last is not None and last < best:
            best, best_iter, best_weights = last, epoch, trainer.weights()
        elif last is not None and epoch - best_iter >= patience:
            break
    if best_weights is None:
        best_weights = trainer.weights()
    return trainer.snapshot(best_weights), losses, validation_losses, best_iter


class _Trainer:
    """Train a copy of a network whose raw output is the standardised target.

    Before the first step it predicts as the network does: the output layer is rescaled
    from the units of that network's raw output to standardised units.
    """

    def __init__(self, network, data, learning_rate, rng):
        import tensorflow as tf
        import tf_keras

        output_layer(network)  # raises for a network that cannot be trained
        k = data.y.shape[1]
        same = network.n_outputs == k
        (shift,), (slope,) = network.target_affine([1])
        self.extensive = network.extensive
        self.network = MEGNetSnapshot(
            network._state if same else with_outputs(network, k, rng)
        )
        self.model = self.network.keras_model
        self.model.trainable = True
        self.mean_weight = data.weights.mean()
        self.mean, self.scale, _ = scales(self._intensive(data), data.weights)
        if same:
            self._rescale((shift, slope), (self.mean, self.scale))
        self.variables = self.model.trainable_variables
        # Adam on one vector: on each of 105 variables it takes half a gradient's time.
        self.vector = tf.Variable(_joined(self.variables))
        self._momentum = tf.Variable(EMA_MOMENTUM)
        self.optimizer = tf_keras.optimizers.Adam(
            learning_rate,
            global_clipnorm=CLIP_NORM,
            use_ema=True,
            ema_momentum=self._momentum,
        )
        self.optimizer.build([self.vector])

    def _intensive(self, data):
        """Return targets, divided by the number of atoms if they are extensive."""
        if not self.extensive:
            return data.y
        return data.y / np.array([[len(g.atom)] for g in data.graphs])

    def _rescale(self, old, new):
        """Change the units (mean, scale) that the output layer predicts in."""
        layer = output_layer(self.network)
        kernel, bias = (np.asarray(w, np.float64) for w in layer.get_weights())
        factor = old[1] / new[1]
        layer.set_weights([kernel * factor, bias * factor + (old[0] - new[0]) / new[1]])

    @functools.cached_property
    def _functions(self):
        """Compiled loss, its gradient, and the update of the weights."""
        import tensorflow as tf

        forward, signature = self.network.forward(self.model.output)
        signature += [tf.TensorSpec([None, None]), tf.TensorSpec([None])]
        vector = [tf.TensorSpec(self.vector.shape)]

        def loss(*inputs):
            *graph, targets, weights = inputs
            error = forward(*graph)[0] - targets
            return tf.reduce_sum(weights * tf.reduce_mean(error**2, -1))

        def gradient(*inputs):
            with tf.GradientTape() as tape:
                value = loss(*inputs)
            return value, _joined(tape.gradient(value, self.variables))

        def update(gradient):
            self.optimizer.apply_gradients([(gradient, self.vector)])
            self._assign(self.vector)

        # Concrete: TensorFlow warns if each fit traces a new function
        return [
            tf.function(function, specs).get_concrete_function()
            for function, specs in (
                (loss, signature), (gradient, signature), (update, vector)
            )
        ]  # fmt: skip

    def _parts(self, data, total, batch_size):
        """Yield the arrays of batches that fit in memory; weights sum to the loss."""
        import tensorflow as tf

        start = 0
        targets = (self._intensive(data) - self.mean) / self.scale
        for graphs in batches(data.graphs, batch_size):
            part = slice(start, start + len(graphs))
            start = part.stop
            arrays = (targets[part], data.weights[part] / total)
            arrays = [tf.constant(a.astype(np.float32)) for a in arrays]
            yield [*as_inputs(join(graphs), self.model), *arrays]

    def step(self, data):
        """Take one step on a batch and return the loss before it."""
        _, gradient, update = self._functions
        # Divided by the mean over all samples: batches are unbiased for the whole.
        total = self.mean_weight * len(data)
        parts = self._parts(data, total, len(data))
        losses, gradients = zip(*(gradient(*arrays) for arrays in parts), strict=True)
        # Keras' average starts from the first weights; this is a plain mean at first.
        count = int(self.optimizer.iterations) + 1
        self._momentum.assign(min(EMA_MOMENTUM, count / (count + 1)))
        update(sum(gradients))
        return float(sum(losses))

    def loss(self, data, batch_size):
        """Return the loss of samples with the averaged weights."""
        self._assign(self.weights())
        parts = self._parts(data, data.weights.sum(), batch_size)
        value = float(sum(self._functions[0](*arrays) for arrays in parts))
        self._assign(self.vector)
        return value

    def weights(self):
        """Return the averaged weights as a vector."""
        current = self.vector.numpy()
        self.optimizer.finalize_variable_values([self.vector])
        average = self.vector.numpy()
        self.vector.assign(current)
        return average

    def _assign(self, vector):
        """Assign the parts of a vector to the network's variables."""
        import tensorflow as tf

        sizes = [variable.shape.num_elements() for variable in self.variables]
        for variable, part in zip(self.variables, tf.split(vector, sizes), strict=True):
            variable.assign(tf.reshape(part, variable.shape))

    def snapshot(self, weights):
        """Return a network with these weights that predicts in target units."""
        from megnet.utils.preprocessing import StandardScaler

        self._assign(weights)
        mean, scale = self.mean, self.scale
        # MEGNet's scaler holds one mean and one std, and takes a tiny std for zero.
        if len(mean) > 1 or scale[0] <= np.finfo(float).eps:
            self._rescale((mean, scale), (0.0, 1.0))
            mean, scale = [0.0], [1.0]
        scaler = StandardScaler(float(mean[0]), float(scale[0]), not self.extensive)
        state = {
            **self.network._state,
            "weights": self.model.get_weights(),
            "scaler": freeze_object(scaler),
        }
        return MEGNetSnapshot(state)


def _joined(tensors):
    """Return the elements of all tensors as one vector."""
    import tensorflow as tf

    return tf.concat([tf.reshape(tensor, [-1]) for tensor in tensors], 0)
