"""Read the objects of a model, each of a kind and of a type that is known."""

import math
from pathlib import Path

import numpy as np
from sklearn.utils import Bunch

from .archive import MAX_AXIS, ModelFileError, check_dtype
from .registry import TYPES, named_function, named_type, set_attributes
from .shapes import check_shapes
from .write import MAX_DEPTH


class Reader:
    """Build the objects of an archive.

    Parameters
    ----------
    archive : ArchiveReader
        Where arrays are read.
    protocol : int
        Number of the format of the file.
    """

    def __init__(self, archive, protocol):
        self._archive, self._objects = archive, []
        self._kinds = _KINDS | _OLD_KINDS.get(protocol, {})
        self._upgrade = _UPGRADES if protocol < 3 else {}

    def build(self, node, depth=0):
        """Return the object of a node, the JSON that `Writer.node` returned."""
        if depth > MAX_DEPTH:
            raise ModelFileError("its objects are nested too deeply")
        if isinstance(node, list):
            return [self.build(item, depth + 1) for item in node]
        if not isinstance(node, dict):
            return node
        if node.keys() == {"object", "state"}:
            return self._object(node["object"], node["state"], depth)
        if len(node) != 1 or not node.keys() <= self._kinds.keys():
            raise ModelFileError(f"it has a value of the kind {sorted(node)!s:.80}")
        ((kind, content),) = node.items()
        return self._kinds[kind](self, content, depth + 1)

    def _object(self, name, state, depth):
        described = named_type(name)
        if not isinstance(state, dict):
            raise ModelFileError(f"a {name} in it has no attributes")
        number, cls = len(self._objects), described.cls
        self._objects.append(cls.__new__(cls) if described.build is None else _LATER)
        for attribute in state:
            if not attribute.isidentifier() or attribute.startswith("__"):
                raise ModelFileError(f"a {name} in it has {attribute[:40]!r}")
        state = {key: self.build(item, depth + 1) for key, item in state.items()}
        state = self._upgrade.get(name, dict)(state)
        check_shapes(name, state)
        if described.build is None:
            set_attributes(self._objects[number], state)
        else:
            self._objects[number] = described.build(state)
        return self._objects[number]

    def _ref(self, number, depth):
        known = type(number) is int and 0 <= number < len(self._objects)
        if not known or self._objects[number] is _LATER:
            raise ModelFileError(f"it refers to an object {number!r:.20} that is none")
        return self._objects[number]

    def _items(self, content, depth, count=None):
        """Return the objects of a list of nodes."""
        if not isinstance(content, list) or count not in (None, len(content)):
            raise ModelFileError("a list in it is none or has another length")
        return self.build(content, depth)

    def _float(self, content, depth):
        if content not in ("nan", "inf", "-inf"):
            raise ModelFileError(f"it has the number {content!r:.20}")
        return float(content)

    def _dict(self, content, depth):
        items = _checked(content, dict).items()
        return {name: self.build(node, depth) for name, node in items}

    def _pairs(self, content, depth):
        pairs = [self._items(pair, depth, 2) for pair in _checked(content, list)]
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ModelFileError("a dictionary in it has a key twice")
        return found

    def _dtype(self, content, depth):
        dtype = np.dtype(_checked(content, str))
        check_dtype(dtype, "it")
        return dtype

    def _type(self, content, depth):
        if _checked(content, str) not in TYPES:
            raise ModelFileError(f"it has the type {content[:40]!r}")
        return TYPES[content]

    def _array(self, content, depth):
        if isinstance(content, int):
            return self._archive.array(content)
        dtype, shape, values = self._items(content, depth, 3)
        dtype = self._dtype(dtype, depth)
        return np.array(_checked(values, list), dtype).reshape(_shape(shape, values))

    def _scalar(self, content, depth):
        array = self._array(content, depth)
        if array.ndim:
            raise ModelFileError(f"it has a number of the shape {array.shape}")
        return array[()]

    def _masked(self, content, depth):
        data, mask = self._items(content, depth, 2)
        same = _checked(mask, np.ndarray).shape == _checked(data, np.ndarray).shape
        if not same or mask.dtype != bool:
            raise ModelFileError("an array in it has another shape than its mask")
        return np.ma.MaskedArray(data, mask)

    def _objects_array(self, content, depth):
        shape, items = self._items(content, depth, 2)
        array = np.empty(len(_checked(items, list)), dtype=object)
        for i, item in enumerate(items):  # one by one, as an item may be a list
            array[i] = item
        return array.reshape(_shape(shape, items))

    def _random_state(self, content, depth):
        state = np.random.RandomState()
        state.set_state(("MT19937", *self._items(content, depth, 4)))
        return state


def _checked(value, kind):
    """Return a value; raise unless it is of a type."""
    if not isinstance(value, kind):
        raise ModelFileError(f"it has a {type(value).__name__} for a {kind.__name__}")
    return value


def _shape(shape, values):
    """Return the shape of an array; raise unless it is one of its values."""
    valid = isinstance(shape, list) and len(shape) <= 32
    valid = valid and all(type(n) is int and 0 <= n <= MAX_AXIS for n in shape)
    if not valid or math.prod(shape) != len(values):
        raise ModelFileError(f"an array of {len(values)} has the shape {shape!s:.40}")
    return shape


_LATER = object()


def _posterior(state):
    """Return the attributes of a posterior of format number 1 or 2."""
    state = dict(state)
    state["count"] = state.pop("weight", None)
    return {**state, "log_ratio": 0.0}


def _head(state):
    """Return the attributes of a head of format number 1 or 2."""
    from .._gp.errors import Errors

    noise = getattr(state.get("posterior"), "noise", None)
    return {**state, "errors": Errors(), "mean_noise": noise, "record": None}


#: By type, what files of the numbers 1 and 2 lack
_UPGRADES = {"ExactPosterior": _posterior, "SparsePosterior": _posterior, "Head": _head}

_KINDS = {
    "array": Reader._array,
    "bunch": lambda *call: Bunch(**Reader._dict(*call)),
    "bytes": lambda reader, content, depth: bytes.fromhex(content),
    "dict": Reader._dict,
    "dtype": Reader._dtype,
    "float": Reader._float,
    "frozenset": lambda *call: frozenset(Reader._items(*call)),
    "function": lambda reader, content, depth: named_function(content),
    "masked": Reader._masked,
    "objects": Reader._objects_array,
    "pairs": Reader._pairs,
    "path": lambda reader, content, depth: Path(content),
    "random_state": Reader._random_state,
    "range": lambda *call: range(*Reader._items(*call)),
    "ref": Reader._ref,
    "scalar": Reader._scalar,
    "set": lambda *call: set(Reader._items(*call)),
    "slice": lambda *call: slice(*Reader._items(*call)),
    "tuple": lambda *call: tuple(Reader._items(*call)),
    "type": Reader._type,
}

#: Readers of the kinds that had another meaning in files of a number. They check as
#: much as those of today, since a file may state any number.
_OLD_KINDS = {1: {"dict": Reader._pairs}}
