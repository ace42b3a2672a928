"""Convert MEGNet models to picklable state and back."""

import json
import os
import pickle
from pathlib import Path

import cloudpickle

from .compat import import_megnet
from .fast_layers import fast_layer, fast_set2set, softplus2
from .forward import NumpyPass, runs
from .layers import layers_of, names_of, structure_widths


def network_state(network):
    """Take a snapshot of a MEGNet model, or of a file, as JSON text and NumPy arrays.

    Keys are config, weights (in the order of the layers), converter, scaler and
    classes: pickled Keras layer classes that neither tf-keras nor megnet has, by value
    where no module has them, or None. A file of layers that NumPy runs is read without
    TensorFlow.
    """
    if isinstance(network, str | os.PathLike):
        return _read(Path(network))
    parts = ("model", "graph_converter", "target_scaler")
    model, converter, scaler = (getattr(network, name, None) for name in parts)
    if model is None or converter is None:
        raise TypeError(
            f"Got `network` of type {type(network).__name__}, expected a MEGNet "
            "model: the path of an .hdf5 file with its .json beside it, or a "
            "megnet.models.MEGNetModel or GraphModel (a bare Keras network has no "
            "graph converter)."
        )
    frozen = {"converter": freeze_object(converter), "scaler": freeze_object(scaler)}
    return {**_model_state(model), **frozen}


def _model_state(model):
    """Return config, weights and classes of a Keras model."""
    _check_inputs(model.inputs or [])
    libraries = ("keras", "tf_keras", "tensorflow", "megnet", "sklearn_unlocknn")
    classes = {
        type(layer).__name__: type(layer)
        for layer in model.layers
        if type(layer).__module__.split(".")[0] not in libraries
    }
    return {
        "config": json.dumps(_plain_config(model.get_config()), sort_keys=True),
        "weights": model.get_weights(),
        "classes": cloudpickle.dumps(classes) if classes else None,
    }


def _read(path):
    """Return the state of an .hdf5 file, with converter and scaler of its .json."""
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
    import h5py

    try:
        settings = json.loads(settings_path.read_text())
        converter, scaler = map(settings.get, ("graph_converter", "target_scaler"))
    except (json.JSONDecodeError, AttributeError) as error:
        raise ValueError(f"{settings_path} is not MEGNet's settings file.") from error
    if not isinstance(converter, dict) or "@class" not in converter:
        raise ValueError(f"{settings_path} holds no graph converter of MEGNet's.")
    try:
        with h5py.File(path) as file:
            config = _plain_config(json.loads(file.attrs["model_config"])["config"])
            _check_inputs(config["input_layers"])
            layers, inputs = layers_of(config), names_of(config["input_layers"])
            if runs(layers, config):
                text = json.dumps(config, sort_keys=True)
                weights = _stored_weights(file["model_weights"], layers)
                structure_widths(
                    NumpyPass(layers, inputs, weights, None), layers, inputs
                )
                state = {"config": text, "weights": weights, "classes": None}
        if not runs(layers, config):
            model = _from_config(config, {})
            model.load_weights(path)
            state = _model_state(model)
    except Exception as error:
        raise ValueError(
            f"{path} is not a MEGNet network that can be loaded: {error}"
        ) from error
    frozen = {
        name: ("json", json.dumps(value, sort_keys=True))
        for name, value in (("converter", converter), ("scaler", scaler))
    }
    return {**state, **frozen}


def _stored_weights(group, layers):
    """Return the weights in an HDF5 group of Keras, in the order of the layers."""
    names = {name: list(group[name].attrs["weight_names"]) for name in group}
    return [
        group[layer.name][name][()]
        for layer in layers
        for name in names.get(layer.name, ())
    ]


def build_network(state):
    """Rebuild the Keras network of a state, in inference mode."""
    try:
        classes = pickle.loads(state["classes"]) if state["classes"] else {}
        model = _from_config(json.loads(state["config"]), classes)
    except Exception as error:
        raise ValueError(
            f"The MEGNet network cannot be rebuilt from its configuration: {error}"
        ) from error
    model.set_weights(state["weights"])
    model.trainable = False
    return model


def _from_config(config, classes):
    layers = import_megnet().layers
    import tf_keras

    names = ("CrystalGraphLayer", "InteractionLayer", "LinearWithIndex")
    names += ("GaussianExpansion", "swish")
    objects = {name: getattr(layers, name) for name in names}
    objects |= {"MEGNetLayer": fast_layer(), "Set2Set": fast_set2set()}
    objects |= {"softplus2": softplus2, **classes}
    with tf_keras.utils.custom_object_scope(objects):
        return tf_keras.Model.from_config(config)


def freeze_object(obj):
    """Serialise an object of megnet's as JSON text, any other as pickle bytes."""
    from monty.json import MontyEncoder

    importable = type(obj).__module__ != "__main__"
    if obj is not None and not (hasattr(obj, "as_dict") and importable):
        return ("pickle", cloudpickle.dumps(obj))
    return ("json", json.dumps(obj, cls=MontyEncoder, sort_keys=True))


def thaw_object(frozen):
    """Return the object that `freeze_object` serialised."""
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


def _check_inputs(inputs):
    n = len(inputs)
    if n != 7:
        raise ValueError(
            f"Got a network with {n} inputs, expected the 7 of a MEGNet network: "
            "atoms, bonds, state, two bond indices, and two graph indices."
        )


def _plain_config(config):
    """Return a configuration as JSON data that load again and are deterministic.

    Functions are spelled by name (as tf-keras 2.21 writes softplus2, it does not load
    again), training-mode dropout is off, and weights start from zeros, since they are
    set afterwards: no random state is used.
    """
    if isinstance(config, dict):
        if config.get("class_name") == "function":
            return config["config"]
        plain = {k: _plain_config(v) for k, v in config.items()}
        for key, value in plain.items():
            if key.endswith("_initializer") and value is not None:
                plain[key] = "zeros"
            elif key == "training" and value is True:
                plain[key] = False
        return plain
    if isinstance(config, list | tuple):
        return [_plain_config(v) for v in config]
    return config.item() if hasattr(config, "item") else config
