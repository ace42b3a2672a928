"""The model card of a model file: what the model was fitted to, and by what."""

import contextlib
import math
import numbers
import platform
import re
import warnings
from importlib import metadata

import numpy as np
from sklearn.base import BaseEstimator

from .. import __version__
from .archive import ModelFileError

#: Libraries whose versions a card names, by the type that needs them.
_LIBRARIES = {
    "Head": ("numpy", "scipy", "scikit-learn"),
    "NetworkHandle": ("tensorflow", "keras", "tf_keras"),
    "MEGNetSnapshot": ("tensorflow", "tf_keras", "megnet", "pymatgen"),
    "StructureDescriptors": ("pymatgen", "moyopy"),
}
_STRUCTURAL = ("MEGNetSnapshot", "StructureDescriptors")


def make_card(model, objects, *, target, unit, log10, X, held_out):
    """Return the card of a model, of JSON values.

    Parameters
    ----------
    model : estimator
        The model.
    objects : dict of str to object
        The first object of each type in it, by the name of the type.
    target, unit, log10, X, held_out
        As in `save_model`.
    """
    for name, value in {"target": target, "unit": unit}.items():
        if not isinstance(value, str | None):
            raise ModelFileError(f"Got {name}={value!r}, expected a str or None.")
    estimators = [n for n, one in objects.items() if isinstance(one, BaseEstimator)]
    libraries = {lib: 0 for name in objects for lib in _LIBRARIES.get(name, ())}
    versions = {"python": platform.python_version(), "sklearn_unlocknn": __version__}
    found = {library: _version(library) for library in libraries}
    versions |= {library: version for library, version in found.items() if version}
    structural = X is not None and any(name in objects for name in _STRUCTURAL)
    return {
        "model": type(model).__name__,
        "estimators": estimators,
        "parameters": _parameters(model),
        "target": target,
        "unit": unit,
        "log10": bool(log10),
        "n_samples": _count(objects) if X is None else len(X),
        "formulas": _formulas(X) if structural else None,
        "held_out": as_json(held_out, "held_out"),
        "versions": versions,
    }


def _version(library):
    """Return the version of a library; None where nothing installed states it."""
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:  # installed by another name, or by none
        names = metadata.packages_distributions().get(library, [])
    for name in filter(None, names):
        with contextlib.suppress(metadata.PackageNotFoundError):
            return metadata.version(name)
    return None


def _parameters(model):
    """Return the parameters of a model that are not their defaults, as text."""
    text = re.sub(r" at 0x[0-9a-f]+", "", " ".join(repr(model).split()))
    return text if len(text) <= 2000 else text[:1997] + "..."


def _count(objects):
    """Return the total weight of the training samples; None without a GP."""
    head = objects.get("Head")
    return None if head is None else round(head.posterior.count)


def _formulas(X):
    """Return the reduced formulas of structures, each once and in order."""
    from .._structures.read import as_items, read_many

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they were shown when the model was fitted
        found = read_many(list(as_items(X)))
    compositions = (getattr(one, "composition", None) for one in found)
    return sorted({one.reduced_formula for one in compositions if one is not None})


def as_json(value, name="value"):
    """Return nested numbers and texts as JSON has them; NaN and infinity are None."""
    if value is None or isinstance(value, str | bool | np.bool_):
        return bool(value) if isinstance(value, np.bool_) else value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(k): as_json(v, f"{name}[{k!r}]") for k, v in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [as_json(v, f"{name}[{i}]") for i, v in enumerate(value)]
    raise ModelFileError(
        f"Got {name} of type {type(value).__name__}, expected numbers, texts, lists "
        "and dictionaries."
    )
