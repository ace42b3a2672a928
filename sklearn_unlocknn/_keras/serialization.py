"""Serialise a Keras network as plain objects and arrays, and rebuild it.

For ``keras`` 3 and ``tf_keras`` (Keras 2), each imported with its first network.
"""

import contextlib
import importlib
import json
import os
import pickle
import tempfile
import types
import warnings
from pathlib import Path

import cloudpickle
import numpy as np

from .graph import LIBRARIES, graph_of, library_of

SUFFIXES = (".keras", ".h5", ".hdf5")


def _plain_config(model):
    """Serialise the architecture, as a plain Sequential or Functional if it is one."""
    library = importlib.import_module(library_of(model))
    with warnings.catch_warnings():
        # Lambdas are as unsafe as everything else in a pickle, and no more.
        warnings.filterwarnings("ignore", ".*includes a `lambda`", UserWarning)
        if isinstance(model, library.Sequential):
            kind = library.Sequential
            config = kind.get_config(model)
        elif graph_of(model) is not None:
            if type(model).__name__ != "Functional":
                # A subclass with a functional graph is stored as a Functional model,
                # as its own constructor has other parameters.
                ends = [
                    t if len(t) > 1 else t[0] for t in (model.inputs, model.outputs)
                ]
                model = library.Model(*ends, name=model.name)
            kind, config = type(model), model.get_config()
        else:
            config = library.saving.serialize_keras_object(model)
            return _without(config, ("compile_config",))
    config = {
        "module": kind.__module__,
        "class_name": kind.__name__,
        "config": config,
        "registered_name": kind.__name__,
    }
    # Calls of the layers build them again.
    return _without(config, ("compile_config", "build_config"))


def _without(node, keys):
    """Copy nested dicts and lists, leaving out some keys."""
    if isinstance(node, dict):
        return {k: _without(v, keys) for k, v in node.items() if k not in keys}
    if isinstance(node, list | tuple):
        return type(node)(_without(v, keys) for v in node)
    return node


def _of_a_library(obj):
    """Return whether a class or function belongs to Keras or to a dependency of it."""
    root = (getattr(obj, "__module__", None) or "builtins").partition(".")[0]
    return root in (*LIBRARIES, "tensorflow", "numpy", "builtins")


def _array(value):
    """Copy a variable of either library into an array."""
    return np.array(value.numpy() if hasattr(value, "numpy") else value)


def _walk(layer, key=()):
    """Yield every layer with a key that is the same in the rebuilt network.

    The key is the name in a graph, the position inside another layer, where a new
    instance has a new name.
    """
    yield key, layer
    if library_of(layer) is not None and graph_of(layer) is not None:
        children = [(child.name, child) for child in layer.layers]
    else:
        children = enumerate(layer._flatten_layers(include_self=False, recursive=False))
    for name, child in children:
        yield from _walk(child, (*key, name))


def _custom_objects(model):
    """Collect the classes and functions that are not part of a Keras library."""
    library = importlib.import_module(library_of(model))
    found = {}

    def add(obj):
        if _of_a_library(obj):
            return
        if obj.__name__ != "<lambda>":
            found[obj.__name__] = obj
            found[library.saving.get_registered_name(obj)] = obj

    for _, layer in _walk(model):
        if layer is not model or graph_of(model) is None:
            add(type(layer))
        for value in vars(layer).values():
            if isinstance(value, types.FunctionType):
                add(value)
            elif hasattr(value, "get_config") and not isinstance(value, type):
                add(type(value))
    return found


def _state_of(layer):
    """Return a layer's own variables, random seeds and asset files."""
    store = {}
    layer.save_own_variables(store)
    state = {"variables": {name: _array(value) for name, value in store.items()}}
    seeds = [_array(g.state) for g in getattr(layer, "_seed_generators", ())]
    if seeds:
        state["seeds"] = seeds
    if hasattr(layer, "save_assets"):
        with tempfile.TemporaryDirectory() as folder:
            layer.save_assets(folder)
            files = {p.name: p.read_bytes() for p in Path(folder).iterdir()}
        if files:
            state["assets"] = files
    return state


def _restore(layer, state):
    if state["variables"]:
        layer.load_own_variables(state["variables"])
    generators = getattr(layer, "_seed_generators", ())
    for generator, value in zip(generators, state.get("seeds", ()), strict=False):
        generator.state.assign(value)
    if "assets" in state:
        with tempfile.TemporaryDirectory() as folder:
            for name, content in state["assets"].items():
                (Path(folder) / name).write_bytes(content)
            layer.load_assets(folder)


def dump(model):
    """Describe a network by plain Python objects, NumPy arrays and its own classes."""
    return {
        "library": library_of(model),
        "config": _plain_config(model),
        "custom_objects": _custom_objects(model),
        "state": {key: _state_of(layer) for key, layer in _walk(model)},
    }


def pickled(model):
    """Return the result of `dump` with classes and functions of custom layers as bytes.

    Those of importable modules are pickled by reference, others, such as those of a
    script or a notebook, by value.

    Raises
    ------
    pickle.PicklingError
        When one of them cannot be pickled by value.
    """
    payload = dump(model)
    custom = payload["custom_objects"]
    try:
        return {**payload, "custom_objects": cloudpickle.dumps(custom)}
    except Exception as error:  # whatever a global variable that they use raises
        raise pickle.PicklingError(
            f"The classes and functions {sorted(custom)} of the network "
            f"{model.name!r} cannot be pickled: {error}. Define them in a module of "
            "their own, which is imported, or without global objects of this kind."
        ) from error


def rebuild(payload, safe_mode=False):
    """Build a network from the result of `dump` or `pickled`.

    With ``safe_mode`` Keras refuses code in the configuration.

    Raises
    ------
    ValueError
        When the network cannot be built from its configuration.
    """
    library = importlib.import_module(payload["library"])
    custom = payload["custom_objects"]
    if isinstance(custom, bytes):
        custom = pickle.loads(custom)
    name = payload["config"].get("config", {}).get("name")
    try:
        with library.saving.custom_object_scope(custom):
            model = library.saving.deserialize_keras_object(
                payload["config"], custom_objects=custom, safe_mode=safe_mode
            )
        layers = dict(_walk(model))
        for key, state in payload["state"].items():
            _restore(layers[key], state)
    except Exception as error:
        raise ValueError(
            f"The saved network {name!r} cannot be built from its configuration: "
            f"{error}. Give every custom layer a `get_config` that returns all its "
            "constructor's arguments, and build the network as a functional model."
        ) from error
    return model


def _written_by(path):
    """Return the version of Keras that wrote a file, '' if it is not recorded."""
    with contextlib.suppress(Exception):
        if path.suffix == ".keras":
            import zipfile

            with zipfile.ZipFile(path) as archive:
                metadata = json.loads(archive.read("metadata.json"))
            return str(metadata["keras_version"])
        import h5py

        with h5py.File(path, "r") as file:
            return str(file.attrs["keras_version"])
    return ""


def load(path):
    """Load a saved network with the library that wrote it, or else with the other.

    Raises
    ------
    ValueError
        When the suffix is not one of Keras or neither library can load the file.
    FileNotFoundError
        When there is no such file.
    """
    path = Path(os.fspath(path))
    if path.suffix not in SUFFIXES:
        raise ValueError(
            f"Got `network`={str(path)!r}, expected a file ending in one of "
            f"{list(SUFFIXES)}. Save the network by `model.save('net.keras')`."
        )
    if not path.is_file():
        raise FileNotFoundError(
            f"Got `network`={str(path)!r}, but there is no such file (a relative "
            "path starts from the current working directory)."
        )
    order = LIBRARIES[::-1] if _written_by(path).startswith("2.") else LIBRARIES
    reasons = []
    for name in order:
        try:
            library = importlib.import_module(name)
            return library.models.load_model(path, compile=False)
        except Exception as error:
            reasons.append(f"{name}: {type(error).__name__}: {error}")
    raise ValueError(
        f"Neither Keras library loads `network`={str(path)!r}. Load it yourself, with "
        "its custom objects, and pass the model. The reasons were:\n"
        + "\n".join(reasons)
    )
