"""Run a MEGNet in TensorFlow: to train it, or for layers that `forward` has not."""

import threading


def traceable(model, outputs, gaussians):
    """Return the pass from joined graphs to tensors of a Keras model, untraced.

    It is a function from the seven inputs to ``outputs``, each of shape (1, n, width).
    With it comes the signature of a ``tf.function`` that is traced once for all sizes.

    Parameters
    ----------
    model : tf_keras.Model
        The network.
    outputs : tensor, or list or dict of these
        Tensors of the network.
    gaussians : tuple of (ndarray, float) or None
        Centres and width that distances are expanded in before the first layer.
    """
    import tensorflow as tf
    import tf_keras

    inputs = model.inputs
    network = tf_keras.Model(inputs, outputs)
    signature = [tf.TensorSpec([1, None, *t.shape[2:]], t.dtype) for t in inputs]
    if gaussians is not None:
        signature[1] = tf.TensorSpec([1, None], tf.float32)

    def forward(atom, bond, *rest):
        if gaussians is not None:
            centers, width = gaussians
            bond = tf.exp(-(((bond[..., None] - centers) / width) ** 2))
        return network([atom, bond, *rest], training=False)

    return forward, signature


def as_inputs(arrays, model):
    """Return the seven arrays of `batches.join` as tensors for a Keras model."""
    import tensorflow as tf

    return [
        tf.constant(array[None].astype(t.dtype.as_numpy_dtype))
        for array, t in zip(arrays, model.inputs, strict=True)
    ]


class KerasPass:
    """A frozen MEGNet with the call of `forward.NumpyPass`, compiled by TensorFlow.

    Parameters
    ----------
    model : tf_keras.Model
        The network.
    gaussians : tuple of (ndarray, float) or None
        Centres and width that bonds are expanded in if they are distances.
    """

    def __init__(self, model, gaussians):
        self._model, self._gaussians = model, gaussians
        self._lock = threading.RLock()
        self._functions = {}

    def __call__(self, arrays, names):
        """Run the network on joined graphs; see `forward.NumpyPass`."""
        distances = arrays[1].ndim == 1
        with self._lock:
            if (names, distances) not in self._functions:
                self._functions[names, distances] = self._compiled(names, distances)
            function = self._functions[names, distances]
        values = function(*as_inputs(arrays, self._model))
        return [_first(values[name]) for name in names]

    def _compiled(self, names, distances):
        import tensorflow as tf

        outputs = {name: self._model.get_layer(name).output for name in names}
        gaussians = self._gaussians if distances else None
        # Concrete: TensorFlow warns if each network traces a new function
        return tf.function(
            *traceable(self._model, outputs, gaussians)
        ).get_concrete_function()


def _first(value):
    """Return a tensor's first entry as an array, several tensors as a tuple."""
    if isinstance(value, list | tuple):
        return tuple(map(_first, value))
    return value[0].numpy()
