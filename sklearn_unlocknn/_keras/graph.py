"""Tensors of a Keras graph, and functions from arrays to tensors."""

import contextlib
import os

import numpy as np

from .._parallel import in_worker


def outputs_of(graph, name):
    """Return the tensors a layer puts out in a graph."""
    nodes = [
        node
        for group in graph._nodes_by_depth.values()
        for node in group
        # Keras 3 says operation and output_tensors, Keras 2 layer and outputs
        if (node.operation if hasattr(node, "operation") else node.layer).name == name
    ]
    if len(nodes) != 1:
        raise ValueError(
            f"Layer {name!r} is called {len(nodes)} times in the network, so its "
            "output is ambiguous. Choose a layer that is called once, such as one "
            "that follows it."
        )
    node = nodes[0]
    outputs = node.output_tensors if hasattr(node, "operation") else node.outputs
    return list(outputs) if isinstance(outputs, list | tuple) else [outputs]


def filled(arrays, batch):
    """Repeat the last row up to the number that the network insists on, if any."""
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

        if keras.backend.backend() != "tensorflow":  # no tracing: run as it is
            return lambda arrays: call(*map(keras.ops.convert_to_tensor, arrays))
    import tensorflow as tf

    function = tf.function(call, reduce_retracing=True, autograph=False)
    if specs is not None:  # one trace for any number of rows
        function = function.get_concrete_function(
            *(tf.TensorSpec((spec.batch, *spec.shape), spec.dtype) for spec in specs)
        )
    return lambda arrays: function(*map(tf.constant, arrays))


def as_numpy(value):
    """Copy a tensor of any Keras backend into an array."""
    if hasattr(value, "numpy") and not hasattr(value, "detach"):  # TensorFlow
        return np.asarray(value.numpy())
    import keras

    return keras.ops.convert_to_numpy(keras.ops.stop_gradient(value))


def limit_threads():
    """Give TensorFlow the threads that joblib, Dask or Ray grants this worker.

    They set OMP_NUM_THREADS, which TensorFlow does not read: its pools would be as
    wide as the machine in every worker. Does nothing outside a worker, where the
    user chose, or once TensorFlow runs.
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
