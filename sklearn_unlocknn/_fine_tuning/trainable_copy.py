"""Copy Keras networks and MEGNets for fine-tuning."""

import importlib

import numpy as np

from .._keras.graph import filled
from .._megnet.batches import batches, join
from .._megnet.keras_pass import as_inputs
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


class _TrainableCopy:
    """A copy of a network, with the samples to train it on.

    It runs in inference mode, as it does to predict: dropout is off, and batch
    normalisation keeps its averages. Layers that the user set not to be trainable
    stay as they are. Subclasses run the samples of an index in parts (``_run_parts``).
    """

    def _set_variables(self, variables, layer):
        if not variables:
            raise ValueError(
                f"The network has no trainable weights up to `layer`={layer!r}, so "
                "there is nothing to fine-tune. Set `trainable = True` on the layers "
                "to train, or fine_tuning=None."
            )
        self.variables = variables

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
            arrays, the gradients by ``variables``. It can be called once.
        """
        import tensorflow as tf

        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(self.variables)
            parts = zip(*self._run_parts(index), strict=True)
            tensors = [tf.concat(values, 0) for values in parts]
        arrays = [tensor.numpy() for tensor in tensors]
        if not all(np.isfinite(array).all() for array in arrays):
            raise ValueError(
                "Fine-tuning diverged: the network's values are not finite. Lower "
                "`network_learning_rate`."
            )

        def pull_back(*gradients):
            by = [tf.constant(gradient) for gradient in gradients[: len(tensors)]]
            zero = tf.UnconnectedGradients.ZERO
            found = tape.gradient(tensors, self.variables, by, zero)
            return [tf.convert_to_tensor(gradient).numpy() for gradient in found]

        features, output = (*arrays, None)[:2]
        return features, output, pull_back


class WithConstants:
    """A trainable copy whose features are followed by others, which stay.

    Parameters
    ----------
    copy : KerasTrainableCopy or MEGNetTrainableCopy
        The copy of the network.
    constants : ndarray of shape (n_samples, d)
        The other features of its samples.
    """

    def __init__(self, copy, constants):
        self.copy, self.constants, self.variables = copy, constants, copy.variables
        self.freeze = copy.freeze

    def forward(self, index):
        """As that of the copy."""
        features, output, pull_back = self.copy.forward(index)
        n_latent = features.shape[1]

        def pull_latent(by_features, *by_output):
            return pull_back(by_features[:, :n_latent], *by_output)

        return np.hstack([features, self.constants[index]]), output, pull_latent


class KerasTrainableCopy(_TrainableCopy):
    """A copy of a Keras network, with the samples to train it on.

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
        self._set_variables([v.value if keras_3 else v for v in variables], layer)

    def _run_parts(self, index):
        import tensorflow as tf

        n, size = self._n_tensors, self._batch or len(index)
        for start in range(0, len(index), size):
            part = index[start : start + size]
            arrays = filled([array[part] for array in self.inputs], self._batch)
            flat = [
                tf.cast(tf.reshape(t[: len(part)], (len(part), -1)), tf.float64)
                for t in self._run(arrays)
            ]
            values = [tf.concat(flat[:n], 1)]
            if self._output_alone:
                values *= 1 + self.with_output
            elif self.with_output:
                values.append(tf.concat(flat[n:], 1))
            yield values

    def freeze(self):
        """Return the handle of the copy."""
        return self.network


class MEGNetTrainableCopy(_TrainableCopy):
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
        variables = tf_keras.Model(model.inputs, outputs).trainable_variables
        self._set_variables(variables, layer)
        n_features = len(names)

        def run(*inputs):
            tensors = tf.nest.flatten(forward(*inputs))
            flat = [tf.cast(tensor[0], tf.float64) for tensor in tensors]
            return [tf.concat(flat[:n_features], 1), *flat[n_features:]]

        self._run = tf.function(
            run, input_signature=signature, autograph=False
        ).get_concrete_function()
        if with_output:
            n_atoms = [len(graph.atom) for graph in graphs]
            self._shift, self._slope = self.network.target_affine(n_atoms)

    def _run_parts(self, index):
        start = 0
        for graphs in batches([self.graphs[i] for i in index], len(index)):
            part = index[start : start + len(graphs)]
            start += len(graphs)
            inputs = as_inputs(join(graphs), self.network.keras_model)
            values = self._run(*inputs)
            if self.with_output:
                values[1] = self._shift[part] + self._slope[part] * values[1]
            yield values

    def freeze(self):
        """Return a handle of the copy as it is now."""
        weights = self.network.keras_model.get_weights()
        return MEGNetSnapshot({**self.network._state, "weights": weights})
