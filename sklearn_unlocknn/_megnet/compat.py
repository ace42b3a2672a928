"""megnet, imported in isolation, and its models as plain picklable state.

megnet 1.3.2 is written against Keras 2 (``tensorflow.keras`` of old) and against
names that pymatgen 2026 has changed. Its sources are therefore compiled with those
names spelled as they are today (``tf_keras``, ``BrunnerNNReal``). This happens to
megnet's own modules only: nothing in TensorFlow, Keras, pymatgen or the environment
is touched, and the import hook is gone once the import is over.
"""

import importlib
import importlib.machinery
import json
import math
import os
import pickle
import sys
import threading
from pathlib import Path

_LOCK = threading.RLock()

_MODULES = (
    "megnet.layers",
    "megnet.models",
    "megnet.data.crystal",
    "megnet.data.molecule",
    "megnet.data.qm9",
    "megnet.utils.models",
    "megnet.utils.preprocessing",
)


class _Loader(importlib.machinery.SourceFileLoader):
    """Compile a megnet source file with today's names (no bytecode cache)."""

    renames = {}

    def get_code(self, fullname):
        source = self.get_source(fullname)
        for old, new in self.renames.items():
            source = source.replace(old, new)
        return compile(source, self.path, "exec", dont_inherit=True)


class _Finder:
    """Hand megnet's modules, and no others, to `_Loader`."""

    def __init__(self, renames):
        self.loader = type("_RenamingLoader", (_Loader,), {"renames": renames})

    def find_spec(self, name, path=None, target=None):
        if name != "megnet" and not name.startswith("megnet."):
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and isinstance(
            spec.loader, importlib.machinery.SourceFileLoader
        ):
            spec.loader = self.loader(spec.loader.name, spec.loader.path)
        return spec


def import_megnet():
    """Import megnet on tf-keras, whichever Keras the process uses otherwise.

    Returns
    -------
    module
        The ``megnet`` package, with the submodules this package needs loaded.

    Raises
    ------
    ImportError
        If megnet is not installed, or was imported on Keras 3 earlier on.
    """
    with _LOCK:
        import tf_keras
        from pymatgen.analysis import local_env

        if "megnet.models" not in sys.modules:
            renames = {"tensorflow.keras": "tf_keras"}
            for kind in ("real", "reciprocal", "relative"):
                old, new = f"BrunnerNN_{kind}", f"BrunnerNN{kind.capitalize()}"
                if not hasattr(local_env, old) and hasattr(local_env, new):
                    renames[old] = new
            # What a failed import left behind may be bound to Keras 3.
            for name in [n for n in sys.modules if n.split(".")[0] == "megnet"]:
                del sys.modules[name]
            finder = _Finder(renames)
            sys.meta_path.insert(0, finder)
            try:
                for name in _MODULES:
                    importlib.import_module(name)
            finally:
                sys.meta_path.remove(finder)
        layers = importlib.import_module("megnet.layers")
        if not issubclass(layers.MEGNetLayer, tf_keras.layers.Layer):
            raise ImportError(
                "megnet was imported on Keras 3 before, where it cannot run. Let "
                "sklearn_unlocknn import it first (use a MEGNet estimator before "
                "`import megnet`), or start a new Python process."
            )
        return sys.modules["megnet"]


def fast_layer():
    """Make MEGNetLayer on 2-d tensors, gathering state rows instead of tiling them.

    megnet's own layer repeats the state of every graph as often as the largest graph
    of the batch has bonds and masks the surplus away, which takes time and, in batches
    of mixed sizes, memory without bound. The equations and weights are the same. The
    first bond layer acts on [v_i, v_j, e_ij, u]: its atom and state parts are
    multiplied per atom and gathered, as W [a, b] = W_a a + W_b b.
    """
    import tensorflow as tf

    base = import_megnet().layers.MEGNetLayer

    class MEGNetLayer(base):
        def call(self, inputs, mask=None):
            v, e, u, i, j, v_graph, e_graph = (x[0] for x in inputs)

            def rest(x, weights, biases):
                for w, b in zip(weights[1:], biases[1:], strict=True):
                    x = tf.matmul(self.activation(x), w) + b
                return x

            def zeros(weights):
                return [0.0] * len(weights)

            Ws, bs = self.phi_e_weights, self.phi_e_biases or zeros(self.phi_e_weights)
            nv = v.shape[-1]
            Wi, Wj, We, Wu = tf.split(Ws[0], [nv, nv, e.shape[-1], u.shape[-1]])
            at_i = tf.matmul(v, Wi) + tf.gather(tf.matmul(u, Wu) + bs[0], v_graph)
            at_j = tf.matmul(v, Wj)
            e = tf.matmul(e, We) + tf.gather(at_i, i) + tf.gather(at_j, j)
            e = rest(e, Ws, bs)

            e_mean = self.unsorted_seg_method(e, i, num_segments=tf.shape(v)[0])
            Ws, bs = self.phi_v_weights, self.phi_v_biases or zeros(self.phi_v_weights)
            v = tf.concat([e_mean, v, tf.gather(u, v_graph)], -1)
            v = rest(tf.matmul(v, Ws[0]) + bs[0], Ws, bs)

            pooled = [self.seg_method(e, e_graph), self.seg_method(v, v_graph)]
            Ws, bs = self.phi_u_weights, self.phi_u_biases or zeros(self.phi_u_weights)
            u = rest(tf.matmul(tf.concat([*pooled, u], -1), Ws[0]) + bs[0], Ws, bs)
            return [v[None], e[None], u[None]]

    return MEGNetLayer


def fast_set2set():
    """Make Set2Set on 2-d tensors, gathering rows instead of tiling them.

    As in megnet's own, the memory of the LSTM is that of its start in every step, so
    its forget gate has no effect. The equations and weights are the same.
    """
    import tensorflow as tf

    base = import_megnet().layers.Set2Set

    class Set2Set(base):
        def call(self, inputs, mask=None):
            x, owner = (tensor[0] for tensor in inputs)
            m = tf.matmul(x, self.m_weight)
            q = tf.zeros((owner[-1] + 1, 2 * self.n_hidden), m.dtype)
            if self.use_bias:
                m += self.m_bias
            for _ in range(self.T):
                z = tf.matmul(q, self.recurrent_kernel)
                if self.use_bias:
                    z += self.recurrent_bias
                into, _, cell, out = tf.split(z, 4, -1)
                cell = self.recurrent_activation(into) * self.activation_lstm(cell)
                h = self.recurrent_activation(out) * self.activation_lstm(cell)
                # Softmax over the rows of each graph, shifted by its maximum
                e = tf.reduce_sum(m * tf.gather(h, owner), -1)
                top = tf.math.segment_max(tf.stop_gradient(e), owner)
                e = tf.exp(e - tf.gather(top, owner))[:, None]
                r = tf.math.segment_sum(e * m, owner) / tf.math.segment_sum(e, owner)
                q = tf.concat([h, r], -1)
            return q[None]

    return Set2Set


def softplus2(x):
    """MEGNet's activation log((1 + exp(x)) / 2), in one kernel."""
    import tensorflow as tf

    return tf.nn.softplus(x) - math.log(2.0)


def network_state(network):
    """Take a snapshot of a MEGNet model as JSON text and NumPy arrays.

    Parameters
    ----------
    network : str, path-like or GraphModel
        An .hdf5 file with its .json beside it, or a ``megnet.models.GraphModel``
        (``MEGNetModel``), which is not modified.

    Returns
    -------
    dict
        Keys config, weights, converter, scaler, metadata and classes (Keras layer
        classes that neither tf-keras nor megnet has).
    """
    if isinstance(network, str | os.PathLike):
        model, settings = _read(Path(network))
    else:
        model = getattr(network, "model", None)
        parts = ("graph_converter", "target_scaler", "metadata")
        # GraphModel hands unknown attributes on to Keras: ask for what is its own.
        settings = {k: v for k in parts if (v := getattr(network, k, None)) is not None}
        if model is None or "graph_converter" not in settings:
            raise TypeError(
                f"Got `network` of type {type(network).__name__}, expected a MEGNet "
                "model: the path of an .hdf5 file with its .json beside it, or a "
                "megnet.models.MEGNetModel or GraphModel (a bare Keras network has no "
                "graph converter)."
            )
    _check_inputs(model)
    known = ("keras", "tf_keras", "tensorflow", "megnet", "sklearn_unlocknn")
    return {
        "config": json.dumps(_plain(model.get_config()), sort_keys=True),
        "weights": model.get_weights(),
        "converter": freeze_object(settings["graph_converter"]),
        "scaler": freeze_object(settings.get("target_scaler")),
        "metadata": freeze_object(settings.get("metadata") or {}),
        "classes": {
            type(layer).__name__: type(layer)
            for layer in model.layers
            if type(layer).__module__.split(".")[0] not in known
        },
    }


def _read(path):
    """Read an .hdf5 file and the .json beside it."""
    settings_path = path.with_name(path.name + ".json")
    if not path.is_file():
        raise FileNotFoundError(
            f"Got `network`={str(path)!r}, which is not a file. Expected the .hdf5 "
            "file of a MEGNet network, with its .json beside it."
        )
    if not settings_path.is_file():
        raise FileNotFoundError(
            f"{path} has no {settings_path.name} beside it, which holds its graph "
            "converter. Copy it there, or save the network with MEGNet's save_model."
        )
    import_megnet()
    import h5py

    try:
        settings = thaw_object(("json", settings_path.read_text()))
        converter = settings.get("graph_converter")
    except (json.JSONDecodeError, AttributeError) as error:
        raise ValueError(f"{settings_path} is not MEGNet's settings file.") from error
    if converter is None or isinstance(converter, dict):
        raise ValueError(f"{settings_path} holds no graph converter of MEGNet's.")
    try:
        with h5py.File(path) as file:
            config = json.loads(file.attrs["model_config"])["config"]
        model = _from_config(_plain(config), {})
        _check_inputs(model)
        model.load_weights(path)
    except Exception as error:
        raise ValueError(
            f"{path} is not a MEGNet network that tf-keras can load: {error}"
        ) from error
    return model, settings


def build_network(state):
    """Rebuild the Keras network of a state, in inference mode."""
    import_megnet()
    try:
        model = _from_config(json.loads(state["config"]), state["classes"])
    except Exception as error:
        raise ValueError(
            f"The MEGNet network cannot be rebuilt from its configuration: {error}"
        ) from error
    model.set_weights(state["weights"])
    model.trainable = False
    return model


def _from_config(config, classes):
    import tf_keras

    with tf_keras.utils.custom_object_scope({**_custom_objects(), **classes}):
        return tf_keras.Model.from_config(config)


def freeze_object(obj):
    """Turn an object of megnet's into JSON text, or else into pickle bytes."""
    from monty.json import MontyEncoder

    if obj is not None and not isinstance(obj, dict) and not hasattr(obj, "as_dict"):
        return ("pickle", pickle.dumps(obj))
    return ("json", json.dumps(obj, cls=MontyEncoder, sort_keys=True))


def thaw_object(frozen):
    """Undo `freeze_object`, with megnet imported in isolation first."""
    import_megnet()
    from monty.json import MontyDecoder

    kind, content = frozen
    if kind == "pickle":
        return pickle.loads(content)
    try:
        return json.loads(content, cls=MontyDecoder)
    except RuntimeError as error:
        if "openbabel" not in str(error).lower():
            raise
        raise ImportError(
            "This network's graph converter reads molecules by RDKit and OpenBabel, "
            "which are not installed: pip install rdkit openbabel-wheel"
        ) from error


def _custom_objects():
    layers = import_megnet().layers
    names = ("CrystalGraphLayer", "InteractionLayer", "LinearWithIndex")
    names += ("GaussianExpansion", "swish")
    objects = {name: getattr(layers, name) for name in names}
    fast = {"MEGNetLayer": fast_layer(), "Set2Set": fast_set2set()}
    return {**objects, **fast, "softplus2": softplus2}


def _check_inputs(model):
    n = len(getattr(model, "inputs", None) or [])
    if n != 7:
        raise ValueError(
            f"Got a network with {n} inputs, expected the 7 of a MEGNet network: "
            "atoms, bonds, state, two bond indices, and two graph indices."
        )


def _plain(config):
    """Make a network's configuration JSON that loads again and is deterministic.

    Functions are spelled by name (as tf-keras 2.21 writes softplus2, it does not load
    again), training-mode dropout is off, and weights start from zeros, since they are
    set afterwards: no random state is used.
    """
    if isinstance(config, dict):
        if config.get("class_name") == "function":
            return config["config"]
        plain = {k: _plain(v) for k, v in config.items()}
        for key, value in plain.items():
            if key.endswith("_initializer") and value is not None:
                plain[key] = "zeros"
            elif key == "training" and value is True:
                plain[key] = False
        return plain
    if isinstance(config, list | tuple):
        return [_plain(v) for v in config]
    return config.item() if hasattr(config, "item") else config
