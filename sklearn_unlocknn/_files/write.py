"""Write the objects of a model as JSON and arrays.

JSON has None, booleans, numbers, texts and lists; everything else is an object with one
name, the kind of the value: ``{"tuple": [1, 2]}``. `read` reads each kind.
"""

import math
from pathlib import PurePath

import numpy as np
from sklearn.utils import Bunch

from .._features.encoder import LiveModel
from .._keras.graph import library_of
from ..kernels._tfp import TFPKernel, is_tfp
from .archive import ModelFileError, check_dtype
from .registry import TYPES, file_type, function_name

#: Greatest depth of objects in objects.
MAX_DEPTH = 200
#: Greatest number of values of an array that is written as JSON.
_SMALL = 16


class Writer:
    """Write objects to an archive, each once.

    Parameters
    ----------
    archive : ArchiveWriter
        Where arrays are written.

    Attributes
    ----------
    objects : dict of str to object
        The first object of each type, by the name of the type.
    """

    def __init__(self, archive):
        self.objects, self._archive = {}, archive
        # Written objects by id; they are kept, so that no id is that of a later one.
        self._numbers, self._arrays, self._kept = {}, {}, []

    def node(self, value, where, depth=0):
        """Return an object as JSON, writing the arrays in it.

        ``where`` names it in errors, as "model.kernel".
        """
        if depth > MAX_DEPTH:
            raise ModelFileError(f"Cannot save {where}: it is nested too deeply.")
        value = _replaced(value)
        kind = type(value)
        if value is None or kind in (bool, int, str):
            return value
        if kind is float:
            return value if math.isfinite(value) else {"float": str(value)}
        if kind is list:
            return self._nodes(value, where, depth)
        if kind in (tuple, set, frozenset):
            return {kind.__name__: self._nodes(value, where, depth)}
        if kind in (dict, Bunch) and all(type(key) is str for key in value):
            return {kind.__name__.lower(): self._values(value, where, depth)}
        if kind is dict:
            return {"pairs": self._nodes(map(list, value.items()), where, depth)}
        if kind in (slice, range):
            ends = [value.start, value.stop, value.step]
            return {kind.__name__: self._nodes(ends, where, depth)}
        if kind is bytes:
            return {"bytes": value.hex()}
        if isinstance(value, PurePath):
            return {"path": str(value)}
        if isinstance(value, type):
            for name, known in TYPES.items():
                if known is value:
                    return {"type": name}
        elif isinstance(value, np.dtype):
            check_dtype(value, f"Cannot save {where}: it")
            return {"dtype": value.str}
        elif isinstance(value, np.generic):
            return {"scalar": self._array(np.asarray(value), where)}
        elif isinstance(value, np.ma.MaskedArray):
            parts = value.data, np.ma.getmaskarray(value)
            return {"masked": self._nodes(parts, where, depth)}
        elif isinstance(value, np.ndarray):
            if value.dtype == object:
                items = self._nodes(value.ravel().tolist(), where, depth)
                return {"objects": [list(value.shape), items]}
            return {"array": self._array(value, where)}
        elif kind is np.random.RandomState:
            return {"random_state": self._nodes(value.get_state()[1:], where, depth)}
        elif name := function_name(value):
            return {"function": name}
        return self._object(value, where, depth)

    def _nodes(self, values, where, depth):
        return [
            self.node(value, f"{where}[{i}]", depth + 1)
            for i, value in enumerate(values)
        ]

    def _values(self, values, where, depth):
        return {
            name: self.node(value, f"{where}[{name!r:.40}]", depth + 1)
            for name, value in values.items()
        }

    def _array(self, array, where):
        """Write an array; return its number, or its type, shape and values if few."""
        check_dtype(array.dtype, f"Cannot save {where}: it")
        simple = array.dtype.kind in "biuU" or array.dtype in (np.float32, np.float64)
        if simple and array.size <= _SMALL:
            values = np.asarray(array).ravel().tolist()
            return [array.dtype.str, list(array.shape), self._nodes(values, where, 0)]
        if id(array) not in self._arrays:
            self._kept.append(array)
            self._arrays[id(array)] = self._archive.add_array(np.asarray(array))
        return self._arrays[id(array)]

    def _object(self, value, where, depth):
        if id(value) in self._numbers:
            return {"ref": self._numbers[id(value)]}
        described = file_type(value)
        if described is None:
            raise ModelFileError(_refusal(value, where))
        self._numbers[id(value)] = len(self._numbers)
        self._kept.append(value)
        self.objects.setdefault(described.name, value)
        try:
            state = described.state(value)
        except ModelFileError as error:
            raise ModelFileError(f"Cannot save {where}: {error}") from error
        nodes = {}
        for attribute, item in state.items():
            nodes[attribute] = self.node(item, f"{where}.{attribute}", depth + 1)
        return {"object": described.name, "state": nodes}


def _refusal(value, where):
    """Return why an object cannot be saved."""
    kind = type(value)
    name = getattr(value, "__qualname__", kind.__qualname__)
    what = f"a {kind.__name__}" if name == kind.__qualname__ else f"a function {name!r}"
    what = f"the class {name!r}" if isinstance(value, type) else what
    module = getattr(value, "__module__", None) or kind.__module__
    return (
        f"Cannot save {where}, {what} of {module}: a model file has no code, only "
        "estimators of this package, classes of scikit-learn whose state is plain, and "
        "functions such as numpy.log. Use pickle or joblib for it, and have such files "
        "from those alone whom you trust."
    )


def _replaced(value):
    """Return what stands for a live network or a kernel of TFP, or the value itself."""
    if isinstance(value, LiveModel):
        return value.handle
    if library_of(value) is not None:
        from .._keras.network import NetworkHandle

        return NetworkHandle.of(value)
    if type(value).__module__.partition(".")[0] == "megnet":
        from .._megnet.network import MEGNetSnapshot

        return MEGNetSnapshot.of(value)
    return TFPKernel(value) if is_tfp(value) else value
