"""Tensors of a Keras graph, and functions from arrays to tensors."""

import contextlib
import importlib
import math
import os
from dataclasses import dataclass

import numpy as np

from .._parallel import in_worker

LIBRARIES = ("keras", "tf_keras")


@dataclass(frozen=True)
class InputSpec:
    """Name, shape and type of one input of a network.

    Parameters
    ----------
    name : str
        Name of the input layer.
    shape : tuple of int or None
        Shape of one sample, without the batch axis; None for a free length.
    dtype : str
        Data type of the input.
    batch : int or None
        Number of samples in every batch if the network fixes it, usually None.
    """

    name: str
    shape: tuple
    dtype: str
    batch: int | None = None

    @property
    def size(self):
        """Number of values in a sample, or None where a length is free."""
        return None if None in self.shape else math.prod(self.shape)


def library_of(obj):
    """Return the Keras library of a model, else None, without an import."""
    for cls in type(obj).__mro__:
        root = cls.__module__.partition(".")[0]
        if cls.__name__ == "Model" and root in LIBRARIES:
            return root
    return None


def graph_of(model):
    """Return the functional graph of a model, or None for a purely subclassed one.

    Raises
    ------
    ValueError
        When a Sequential model has not been built yet.
    """
    library = importlib.import_module(library_of(model))
    if isinstance(model, library.Sequential):
        if not model.built or not model.layers:
            raise ValueError(
                f"Got `network`={model.name!r}, a Sequential model that has not been "
                "built: its weights do not exist yet. Start it with "
                "`keras.Input(shape)`, or train it before passing it."
            )
        # Keras 3 keeps the graph of a Sequential in a Functional inside it
        model = getattr(model, "_functional", model)
    with contextlib.suppress(AttributeError):
        if model is not None and model.inputs and model._nodes_by_depth:
            return model
    return None


def outputs_of(graph, name):
    """Return the output tensors of a layer in a graph."""
    nodes = [node for node, operation in _nodes(graph) if operation.name == name]
    if len(nodes) != 1:
        raise ValueError(
            f"Layer {name!r} is called {len(nodes)} times in the network, so its "
            "output is ambiguous. Choose a layer that is called once, such as one "
            "that follows it."
        )
    node = nodes[0]  # output_tensors in Keras 3, outputs in Keras 2
    outputs = node.output_tensors if hasattr(node, "operation") else node.outputs
    return list(outputs) if isinstance(outputs, list | tuple) else [outputs]


def multiply_adds(model):
    """Estimate the multiplications of a pass for one sample.

    Each weight counts once for each position (pixel, time step) of its layer's input
    or output; embeddings are looked up.
    """
    total = 0
    for layer in model.layers:
        if hasattr(layer, "layers") and library_of(layer) is not None:
            total += multiply_adds(layer)
        elif type(layer).__name__ != "Embedding":
            positions = 1
            with contextlib.suppress(Exception):  # of a layer that is called twice
                for tensor in (layer.input, layer.output):
                    sizes = [size or 1 for size in tuple(tensor.shape)[1:-1]]
                    positions = max(positions, math.prod(sizes))
            total += positions * layer.count_params()
    return total


def integer_limit(model):
    """Return the smallest number of entries of an embedding, 10 without any."""
    limit = None
    for layer in model._flatten_layers():
        if type(layer).__name__ == "Embedding":
            limit = min(limit or layer.input_dim, layer.input_dim)
    return limit or 10


def filled(arrays, batch):
    """Repeat the last sample up to the batch size that the network fixes, if any."""
    if not batch:
        return arrays
    filler = np.minimum(np.arange(batch), len(arrays[0]) - 1)
    return [array[filler] for array in arrays]


def traced(model, library, specs):
    """Return a function from a list of arrays to a list of tensors of a model."""

    def call(*arrays):
        inputs = arrays[0] if len(arrays) == 1 else list(arrays)
        result = model(inputs, training=False)
        if isinstance(result, dict):
            return list(result.values())
        return list(result) if isinstance(result, list | tuple) else [result]

    if library == "keras":
        import keras

        if keras.backend.backend() != "tensorflow":  # without tracing
            return lambda arrays: call(*map(keras.ops.convert_to_tensor, arrays))
    import tensorflow as tf

    function = tf.function(call, reduce_retracing=True, autograph=False)
    if specs is not None:  # one trace for any number of samples
        function = function.get_concrete_function(
            *(tf.TensorSpec((spec.batch, *spec.shape), spec.dtype) for spec in specs)
        )
    return lambda arrays: function(*map(tf.constant, arrays))


def split(values, width, with_output):
    """Return features, and outputs or None, of a matrix of both."""
    features, outputs = np.ascontiguousarray(values[:, :width], dtype=float), None
    if with_output and width == values.shape[1]:  # a subclassed model: one and the same
        outputs = features.copy()
    elif with_output:
        outputs = np.ascontiguousarray(values[:, width:], dtype=float)
    return features, outputs


def as_numpy(value):
    """Copy a tensor of any Keras backend into an array."""
    if hasattr(value, "numpy") and not hasattr(value, "detach"):  # TensorFlow
        return np.asarray(value.numpy())
    import keras

    return keras.ops.convert_to_numpy(keras.ops.stop_gradient(value))


def limit_threads():
    """Limit TensorFlow to the number of threads that joblib, Dask or Ray set here.

    They set OMP_NUM_THREADS, which TensorFlow does not read: each worker would use all
    processors. Nothing changes outside a worker, where the user has set the threads,
    or once TensorFlow runs.
    """
    granted = os.environ.get("OMP_NUM_THREADS", "")
    if not (in_worker() and granted.isdigit() and int(granted) > 0):
        return
    import tensorflow as tf

    threading_ = tf.config.threading
    for kind in ("intra", "inter"):
        chosen = getattr(threading_, f"get_{kind}_op_parallelism_threads")()
        if chosen or f"TF_NUM_{kind.upper()}OP_THREADS" in os.environ:
            continue
        with contextlib.suppress(RuntimeError):  # it is running
            getattr(threading_, f"set_{kind}_op_parallelism_threads")(int(granted))


def unsteady_layer(model, inputs):
    """Return the first layer whose output or weights differ between two passes."""
    library, graph = importlib.import_module(library_of(model)), graph_of(model)
    for layer in model.layers if graph is not None else ():
        try:
            cut = library.Model(graph.inputs, outputs_of(graph, layer.name))
        except ValueError:  # called several times
            continue
        run = traced(cut, library.__name__, None)
        seen = []
        for _ in range(2):
            values = [*run(inputs), *layer.non_trainable_weights]
            seen.append([np.array(as_numpy(value)) for value in values])
        for first, second in zip(*seen, strict=True):
            if not np.allclose(first, second, 1e-3, 1e-6, equal_nan=True):
                return layer.name
    return model.name


def follows_only_scaling(graph, name):
    """Return whether no layer that is fitted or changes the size follows a layer.

    Such a layer is an output of the network, or one before a last `Rescaling`,
    `Normalization` or activation.
    """
    ends = outputs_of(graph, name)
    while ends:
        tensor = ends.pop()
        for node, operation in _nodes(graph):
            if not any(tensor is other for other in _inputs(node)):
                continue
            outputs = outputs_of(graph, operation.name)
            fitted = getattr(operation, "weights", ())
            if type(operation).__name__ == "Normalization":
                fitted = ()
            if len(fitted) or any(_size(tensor) != _size(out) for out in outputs):
                return False
            ends += outputs
    return True


def hidden_layer_before(graph, name):
    """Return the name of the nearest layer before one that is hidden, or None."""
    layers = {layer.name for layer in graph.layers}
    ends = {tensor._keras_history[0].name for tensor in graph.inputs}
    while True:
        for node, operation in _nodes(graph):
            if operation.name == name:
                inputs = _inputs(node)
        name = inputs[0]._keras_history[0].name
        if name in ends:
            return None
        if name in layers and not follows_only_scaling(graph, name):
            return name


def _nodes(graph):
    """Yield the nodes of a graph with their layer or operation."""
    for group in graph._nodes_by_depth.values():
        for node in group:
            # operation in Keras 3, layer in Keras 2
            yield node, node.operation if hasattr(node, "operation") else node.layer


def _inputs(node):
    """Return the tensors that a node reads, none for an input layer."""
    # keras_inputs in Keras 2, input_tensors in Keras 3
    return node.keras_inputs if hasattr(node, "keras_inputs") else node.input_tensors


def _size(tensor):
    """Return the number of values of a tensor for a sample, or its shape if free."""
    shape = tuple(tensor.shape)[1:]
    return shape if None in shape else math.prod(shape)
