"""The types and functions that a model file may name.

A name in a file is looked up here and never imported as it is: a file that names
anything else is refused.
"""

import dataclasses
import functools
import importlib
import inspect
import re
import types
from collections.abc import Callable

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.gaussian_process.kernels import Kernel

from .archive import MAX_AXIS, ModelFileError

PACKAGE = __package__.partition(".")[0]

#: Our types by name: the name in files stays when a class moves. Of a dataclass and of
#: a named tuple the fields are written, of others the attributes.
_OWN = {
    "CalibratedProbRegressor": "calibration._regressor",
    "Conformal": "calibration._calibrators",
    "Covariance": "_gp.covariance",
    "ErrorBarCalibrator": "calibration._arrays",
    "Errors": "_gp.errors",
    "ExactPosterior": "_gp.posterior",
    "FeatureBlocks": "_megnet.blocks",
    "FineTuning": "_fine_tuning.parameters",
    "Head": "_gp.head",
    "Inverse": "compose._target_map",
    "InverseMap": "compose._target_map",
    "Isotonic": "calibration._calibrators",
    "KerasEncoder": "_keras.encoder",
    "KerasFeatureExtractor": "_keras.extractor",
    "Level": "_gp.noise",
    "LocalPosterior": "_gp.neighbours",
    "MEGNetEncoder": "_megnet.encoder",
    "MEGNetFeatureExtractor": "_megnet.extractor",
    "MEGNetProbRegressor": "_regressors.megnet",
    "MEGNetRegressor": "_megnet.regressor",
    "MEGNetSnapshot": "_megnet.network",
    "NetworkHandle": "_keras.network",
    "NumericEncoder": "_gp.encoded",
    "OnFeatures": "kernels._on_features",
    "ProbNNRegressor": "_regressors.prob_nn",
    "ProbTransformedTargetRegressor": "compose._target",
    "Scaled": "calibration._calibrators",
    "Shape": "_gp.likelihood",
    "SparsePosterior": "_gp.posterior",
    "Standardisation": "_gp.encoded",
    "StdGrowth": "_gp.likelihood",
    "StructureDescriptors": "_structures.descriptors",
    "TFPKernel": "kernels._tfp",
    "TrainingRecord": "_gp.domain",
    "VGPRegressor": "_regressors.vgp",
    "VaryingNoise": "_gp.noise",
    "_ProbMultiScorer": "metrics._scorers",
    "_ProbScorer": "metrics._scorers",
}

#: Modules of scikit-learn of whose public classes the state is numbers, names and other
#: such objects. Trees, neighbours, clusters and support vectors are read by compiled
#: code that does not check its indices, and texts may be names of files to read.
_SKLEARN = (
    "compose", "covariance", "cross_decomposition", "decomposition", "dummy",
    "ensemble", "feature_selection", "frozen", "gaussian_process",
    "gaussian_process.kernels", "impute", "isotonic", "kernel_approximation",
    "kernel_ridge", "linear_model", "model_selection", "multioutput", "pipeline",
    "preprocessing", "random_projection",
)  # fmt: skip
#: Private classes in attributes of these.
_SKLEARN_PRIVATE = {
    "metrics._scorer": ("_MultimetricScorer", "_PassthroughScorer", "_Scorer"),
    "utils._metadata_requests": ("MetadataRequest", "MethodMetadataRequest"),
}

#: Modules of functions by the kind of function that is taken of them.
_FUNCTIONS = {
    "numpy": np.ufunc,
    "scipy.special": np.ufunc,
    "sklearn.feature_selection": types.FunctionType,
    "sklearn.metrics": types.FunctionType,
    f"{PACKAGE}.metrics": types.FunctionType,
}

#: Types that are parameters, as the type of an array's values.
SCALARS = {
    name: getattr(np, name)
    for name in (
        "bool_", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32",
        "uint64", "float16", "float32", "float64", "complex64", "complex128", "str_",
        "bytes_", "datetime64", "timedelta64",
    )
}  # fmt: skip
TYPES = {"bool": bool, "int": int, "float": float, "str": str, "object": object}
TYPES |= {f"numpy.{name}": kind for name, kind in SCALARS.items()}

_COVARIANCE = ("template", "n_features", "has_noise")

#: Parameters of a run on one machine, which are not part of a model.
RUN_PARAMETERS = ("memory", "n_jobs")


@dataclasses.dataclass
class FileType:
    """How objects of a type are written and built again.

    Parameters
    ----------
    name : str
        Name in files.
    cls : type
        The type.
    state : callable
        Returns the attributes of an object to write, a dict by name.
    build : callable or None
        Returns the object of such a dict. None: it is an instance whose attributes are
        set, which may contain itself, as the metadata requests of scikit-learn do.
    """

    name: str
    cls: type
    state: Callable
    build: Callable | None = None


def file_type(obj):
    """Return the `FileType` of an object, or None."""
    cls = type(obj)
    if _OWN.get(cls.__name__) and _find(cls.__name__) is cls:
        return _described(cls.__name__)
    for module in _candidates(cls):
        name = f"sklearn.{module}.{cls.__name__}"
        if _find(name) is cls:
            return _described(name)
    return None


def _candidates(cls):
    """Yield the modules of scikit-learn that may name a class."""
    module = cls.__module__.removeprefix("sklearn.")
    if module == cls.__module__:
        return
    yield from (module, module.partition(".")[0])


def named_type(name):
    """Return the `FileType` of a name in a file."""
    if not isinstance(name, str) or _find(name) is None:
        raise ModelFileError(
            f"it has an object of the type {str(name)[:80]!r}, which is none of those "
            "that a model file may have, or one of another version"
        )
    return _described(name)


@functools.cache
def _find(name):
    """Return the class of a name, or None."""
    if name in _OWN:
        module = importlib.import_module(f"{PACKAGE}.{_OWN[name]}")
        return getattr(module, name)
    match = re.fullmatch(r"sklearn\.([a-z_.]+)\.(\w+)", name)
    if match is None:
        return None
    module, short = match.groups()
    private = short in _SKLEARN_PRIVATE.get(module, ())
    if not private and (module not in _SKLEARN or short.startswith("_")):
        return None
    library = importlib.import_module(f"sklearn.{module}")
    public = getattr(library, "__all__", None) or vars(library)
    found = vars(library).get(short) if private or short in public else None
    # Not what a module only imports: the kernels have no list of public names.
    own = inspect.isclass(found) and found.__module__.startswith(f"sklearn.{module}")
    return found if own else None


@functools.cache
def _described(name):
    cls = _find(name)
    if name == "Covariance":
        return FileType(name, cls, _covariance_state, _covariance)
    if name == "TFPKernel":
        from .tfp import tfp_kernel, tfp_state

        return FileType(name, cls, tfp_state, tfp_kernel)
    if name == "NetworkHandle":
        from .networks import keras_handle, keras_state

        return FileType(name, cls, keras_state, keras_handle)
    if name == "MEGNetSnapshot":
        from .networks import megnet_snapshot, megnet_state

        return FileType(name, cls, megnet_state, megnet_snapshot)
    if issubclass(cls, tuple):
        return FileType(name, cls, cls._asdict, lambda state: cls(**state))
    return FileType(name, cls, _attributes)


def _attributes(obj):
    """Return the attributes that a pickle would have."""
    state = obj.__getstate__() or {}
    if not isinstance(state, dict):
        raise ModelFileError(f"a {type(obj).__name__} whose state is no dictionary")
    if isinstance(obj, BaseEstimator):
        state = {k: v for k, v in state.items() if k not in RUN_PARAMETERS}
    return state


def set_attributes(obj, state):
    """Set the attributes of a new object to those of a file."""
    cls = type(obj)
    if issubclass(cls, BaseEstimator):
        # Parameters that are missing, as in old files, are those of the signature.
        parameters = inspect.signature(cls.__init__).parameters.values()
        defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
        state = {k: v for k, v in state.items() if k not in RUN_PARAMETERS}
        state = {**defaults, **state}
    if dataclasses.is_dataclass(cls):
        state = _with_defaults(cls, state)
    if hasattr(obj, "__setstate__"):
        obj.__setstate__(state)
    else:
        vars(obj).update(state)


def _with_defaults(cls, state):
    """Return the fields of a dataclass; one with a default may be missing in a file."""
    fields = {field.name: field for field in dataclasses.fields(cls)}
    if unknown := sorted(state.keys() - fields.keys()):
        raise ModelFileError(
            f"a {cls.__name__} in it has {unknown}, which this version does not have: "
            "it is of a newer one"
        )
    state = dict(state)
    for name in fields.keys() - state.keys():
        if fields[name].default is not dataclasses.MISSING:
            state[name] = fields[name].default
        elif fields[name].default_factory is not dataclasses.MISSING:
            state[name] = fields[name].default_factory()
        else:
            raise ModelFileError(f"a {cls.__name__} in it has no {name!r}")
    return state


def _covariance_state(covariance):
    _, arguments = covariance.__reduce__()
    return dict(zip(_COVARIANCE, arguments, strict=True))


def _covariance(state):
    from .._gp.covariance import Covariance

    kernel, n_features, has_noise = (state[name] for name in _COVARIANCE)
    counted = type(n_features) is int and 0 < n_features <= MAX_AXIS
    if not (isinstance(kernel, Kernel) and counted and type(has_noise) is bool):
        raise ModelFileError(f"a covariance in it has {n_features!r:.40} features")
    return Covariance(kernel, n_features, has_noise)


def function_name(function):
    """Return the name of a function that a file may name, or None."""
    short = getattr(function, "__name__", None)
    for module in _FUNCTIONS:
        name = f"{module}.{short}"
        if isinstance(short, str) and _find_function(name) is function:
            return name
    return None


def named_function(name):
    """Return the function of a name in a file."""
    found = _find_function(name) if isinstance(name, str) else None
    if found is None:
        raise ModelFileError(
            f"it has the function {str(name)[:80]!r}, which is none of those that a "
            "model file may have: ufuncs of NumPy and SciPy, and metrics"
        )
    return found


def _find_function(name):
    module, _, short = name.rpartition(".")
    if module not in _FUNCTIONS:
        return None
    library = importlib.import_module(module)
    if short not in library.__all__:
        return None
    found = getattr(library, short)
    return found if isinstance(found, _FUNCTIONS[module]) else None
