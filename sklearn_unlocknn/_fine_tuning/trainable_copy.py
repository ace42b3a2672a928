"""Copies of networks that fine-tuning may change: Keras networks and MEGNets."""

import importlib

import numpy as np

from .._keras.graph import filled
from .._megnet.batches import batches, join
from .._megnet.network import MEGNetSnapshot


def trainable_copy(encoder, model, inputs, index):
    """Copy the network of an encoder, with the training samples to tune it on.

    Parameters
    ----------
    encoder : KerasEncoder or MEGNetEncoder
        A fitted encoder.
    model : estimator
        Its estimator.
    inputs : object
        Training samples as the encoder takes them.
    index : ndarray of int
        Samples to use.

    Returns
    -------
    KerasTrainableCopy or MEGNetTrainableCopy
    """
    network, layer, with_output = encoder.network, encoder.layer, encoder.with_output
    if isinstance(network, MEGNetSnapshot):
        graphs = network.graphs([inputs[i] for i in index], n_jobs=model.n_jobs)
        return MEGNetTrainableCopy(network, layer, graphs, with_output)
    arrays = [array[index] for array in encoder.inputs(model, inputs)]
    return KerasTrainableCopy(network, layer, arrays, with_output)


class KerasTrainableCopy:
    """A copy of a Keras network, with the samples to train it on.

    It runs in inference mode, as it does to predict: dropout is off, and batch
    normalisation keeps its averages. Layers that the user set not to be trainable
    stay as they are.

    Parameters
    ----------
    network : NetworkHandle
        The network; stays as it is.
    layer : int, str or list of int or str
        Latent layer.
    inputs : list of ndarray of shape (n_samples, ...)
        One array for each input of the network.
    with_output : bool
        Whether `forward` returns the network's own output, too.

    Raises
    ------
    ValueError
        If the network cannot be copied, has nothing to train up to the layer, or
        runs on another Keras backend than TensorFlow.
    """

    def __init__(self, network, layer, inputs, with_output):
        library = importlib.import_module(network.library)
        if network.library == "keras":
            backend = library.backend.backend()
            if backend != "tensorflow":
                raise ValueError(
                    f"Got a network on the Keras backend {backend!r}, expected "
                    "'tensorflow' for fine-tuning. Set the environment variable "
                    "KERAS_BACKEND=tensorflow, or fine_tuning=None."
                )
        self.inputs, self.with_output = inputs, with_output
        try:
            self.network = network.trainable_copy()
        except ValueError as error:
            raise ValueError(
                "Fine-tuning trains a copy of the network, which cannot be made. "
                f"{error}"
            ) from error
        names = self.network.resolve_layer(layer)
        # The whole of a subclassed model: its output is the feature.
        self._output_alone = not names
        self._run, self._n_tensors, self._batch, variables = self.network.cut(
            names, with_output and bool(names)
        )
        keras_3 = network.library == "keras"
        self.variables = [v.value if keras_3 else v for v in variables]
        _check_variables(self.variables, layer)

    def forward(self, index):
        """Run samples; return features, output (or None) and the pull-back.

        Parameters
        ----------
        index : ndarray of shape (n,)
            Indices of the samples.

        Returns
        -------
        features : ndarray of shape (n, d), float64
        output : ndarray of shape (n, k) or None, float64
        pull_back : callable
            From gradients by both (the second None where there is none) to a list of
            arrays, the gradients by ``variables``.
        """
        import tensorflow as tf

        n = len(index)
        chunks = [index] if not self._batch else _parts(index, self._batch)
        tapes, tensors = [], []
        for chunk in chunks:
            arrays = filled([array[chunk] for array in self.inputs], self._batch)
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(self.variables)
                flat = [
                    tf.cast(tf.reshape(t[: len(chunk)], (len(chunk), -1)), tf.float64)
                    for t in self._run(arrays)
                ]
                values = [tf.concat(flat[: self._n_tensors], 1)]
                if self._output_alone:
                    values *= 1 + self.with_output
                elif self.with_output:
                    values.append(tf.concat(flat[self._n_tensors :], 1))
            tapes.append(tape)
            tensors.append(values)
        return _joined(tapes, tensors, self.variables, n, [len(c) for c in chunks])

    def freeze(self):
        """Return the handle of the copy."""
        return self.network


class MEGNetTrainableCopy:
    """A copy of a MEGNet, with the graphs to train it on.

    Parameters
    ----------
    network : MEGNetSnapshot
        The network; stays as it is.
    layer : int, str or list of int or str
        Latent layer.
    graphs : list of Graph
        Graphs of `MEGNetSnapshot.graphs`.
    with_output : bool
        Whether `forward` returns the network's own output in target units, too.
    """

    def __init__(self, network, layer, graphs, with_output):
        import tensorflow as tf
        import tf_keras

        self.graphs, self.with_output = graphs, with_output
        self.network = MEGNetSnapshot(network)
        model = self.network.keras_model
        model.trainable = True
        names = self.network.resolve_layer(layer)
        outputs = [model.get_layer(name).output for name in names]
        outputs += [model.output] if with_output else []
        forward, signature = self.network.forward(outputs)
        self.variables = tf_keras.Model(model.inputs, outputs).trainable_variables
        _check_variables(self.variables, layer)
        n_features = len(names)

        def run(*inputs):
            flat = [tf.cast(tensor[0], tf.float64) for tensor in forward(*inputs)]
            return [tf.concat(flat[:n_features], 1), *flat[n_features:]]

        self._run = tf.function(
            run, input_signature=signature, autograph=False
        ).get_concrete_function()
        if with_output:
            n_atoms = [len(graph.atom) for graph in graphs]
            self._shift, self._slope = self.network.target_affine(n_atoms)

    def forward(self, index):
        """Run graphs; as `KerasTrainableCopy.forward`."""
        import tensorflow as tf

        tapes, tensors, sizes, start = [], [], [], 0
        for graphs in batches([self.graphs[i] for i in index], len(index)):
            part = index[start : start + len(graphs)]
            start += len(graphs)
            inputs = map(tf.constant, join(graphs, self.network.keras_model.inputs))
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(self.variables)
                values = self._run(*inputs)
                if self.with_output:
                    values[1] = self._shift[part] + self._slope[part] * values[1]
            tapes.append(tape)
            tensors.append(values)
            sizes.append(len(graphs))
        return _joined(tapes, tensors, self.variables, len(index), sizes)

    def freeze(self):
        """Return a handle of the copy as it is now."""
        weights = self.network.keras_model.get_weights()
        return MEGNetSnapshot({**self.network._state, "weights": weights})


def _check_variables(variables, layer):
    if not variables:
        raise ValueError(
            f"The network has no trainable weights up to `layer`={layer!r}, so there "
            "is nothing to fine-tune. Set `trainable = True` on the layers to train, "
            "or fine_tuning=None."
        )


def _parts(index, size):
    return [index[start : start + size] for start in range(0, len(index), size)]


def _joined(tapes, tensors, variables, n, sizes):
    """Put the parts of a batch together, and the way back through their tapes."""
    features, *output = (
        np.concatenate([values[i].numpy() for values in tensors])
        for i in range(len(tensors[0]))
    )
    if not all(np.isfinite(values).all() for values in (features, *output)):
        raise ValueError(
            "Fine-tuning diverged: the network's values are not finite. Lower "
            "`network_learning_rate`."
        )
    starts = np.cumsum([0, *sizes])

    def pull_back(by_features, by_output):
        import tensorflow as tf

        totals = [0.0] * len(variables)
        by = [by_features] if by_output is None else [by_features, by_output]
        for tape, values, start, stop in zip(
            tapes, tensors, starts[:-1], starts[1:], strict=True
        ):
            gradients = tape.gradient(
                values,
                variables,
                [tf.constant(gradient[start:stop]) for gradient in by],
                unconnected_gradients=tf.UnconnectedGradients.ZERO,
            )
            for i, gradient in enumerate(gradients):
                totals[i] = totals[i] + tf.convert_to_tensor(gradient).numpy()
        return totals

    return features, output[0] if output else None, pull_back
