"""Find layers of a MEGNet: by name or index, and those that describe structures."""

import numpy as np


def find_layer(model, layer):
    """Return a layer of a Keras model by name or index; ValueError if there is none."""
    layers = model.layers
    names = [candidate.name for candidate in layers]
    if isinstance(layer, str) and layer in names:
        return layers[names.index(layer)]
    if isinstance(layer, int | np.integer) and -len(layers) <= layer < len(layers):
        return layers[layer]
    raise ValueError(
        f"Got `layer`={layer!r}, expected an index in [-{len(layers)}, "
        f"{len(layers) - 1}] or one of {names}."
    )


def structure_widths(model):
    """Return the number of features of each layer that describes structures, by name.

    The network runs on two graphs with five atoms and six bonds in all: the number of
    rows of an output shows whether a layer describes structures, atoms or bonds.
    """
    import tensorflow as tf
    import tf_keras

    index = [
        [0, 1, 2, 3, 4, 3],
        [1, 0, 3, 4, 2, 2],
        [0, 0, 1, 1, 1],
        [0, 0, 1, 1, 1, 1],
    ]
    probe = [
        tf.zeros((1, rows, *tensor.shape[2:]), tensor.dtype)
        for rows, tensor in zip((5, 6, 2), model.inputs, strict=False)
    ]
    probe += [tf.constant([i], tf.int32) for i in index]
    tensors = {layer.name: getattr(layer, "output", None) for layer in model.layers}
    tensors = {k: v for k, v in tensors.items() if hasattr(v, "shape")}
    out = tf_keras.Model(model.inputs, tensors)(probe, training=False)
    shapes = {name: out[name].shape for name in tensors}
    return {k: s[2] for k, s in shapes.items() if len(s) == 3 and s[1] == 2}


def readout_layers(model, widths):
    """Return the names of the layers of ``layer="auto"``.

    These are the concatenated readout and, before it, the layers that describe
    structures, but for parts of the concatenation and for layers before the first
    graph layer, which depend on the given state alone.
    """
    import tf_keras

    layers = model.layers
    concatenated = [
        layer
        for layer in layers
        if layer.name in widths and isinstance(layer, tf_keras.layers.Concatenate)
    ]
    kinds = [type(layer).__name__ for layer in layers]
    if not concatenated or "MEGNetLayer" not in kinds:
        raise ValueError(
            "Got `layer`='auto' for a network without graph layers or without a "
            f"concatenated readout. Choose from {list(widths)}."
        )
    readout = concatenated[-1]
    parts = {t._keras_history.layer.name for t in readout.input}
    names = [layer.name for layer in layers[kinds.index("MEGNetLayer") :]]
    names = [n for n in names if n in widths and n not in parts]
    return tuple(names[: names.index(readout.name) + 1])
