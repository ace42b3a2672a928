"""Identify structures by their content, for caches."""

import json
import os
from pathlib import Path

import numpy as np

from .formats import potcar_symbols
from .read import format_of_file, is_text, read_text

#: Part of every key: to be changed when something is read otherwise than before.
_REVISION = b"1"


def content_of(item):
    """Return bytes that differ for structures that a network may tell apart.

    These are name and content of a file, and lattice, sites and state of an object.
    Nothing is parsed.
    """
    try:
        return _REVISION + _content(item)
    except Exception:  # it cannot be read either, which raises a named error then
        return b"unreadable" + repr(item).encode(errors="backslashreplace")


def _content(item):
    if is_text(item):
        return b"text" + item.encode(errors="surrogatepass")
    if isinstance(item, str | os.PathLike):
        return b"file" + _content_of_file(Path(item))
    if isinstance(item, dict):
        return b"dict" + json.dumps(item, sort_keys=True, default=_as_json).encode()
    parts = [type(item).__name__]
    coordinates = getattr(item, "cart_coords", None)
    if hasattr(item, "get_positions"):
        parts += [item.get_atomic_numbers(), item.get_positions()]
        parts += [np.asarray(item.get_cell()), item.get_pbc()]
        parts += [getattr(item, "info", {})]  # may hold a state
    elif coordinates is not None:
        # Faster than species_string, with all digits of the occupancies
        parts += [[list(site.species.items()) for site in item], coordinates]
        if hasattr(item, "lattice"):
            parts += [item.lattice.matrix, item.lattice.pbc]
        parts += [getattr(item, "state", None), getattr(item, "properties", {})]
    else:
        parts += [repr(item)]
    return b"\0".join(
        p.tobytes() if isinstance(p, np.ndarray) else repr(p).encode() for p in parts
    )


def _content_of_file(path):
    if not path.is_file():
        return os.fsencode(path)
    parts = [os.fsencode(path.name), path.read_bytes()]
    if format_of_file(path) == "poscar":
        parts += map(str.encode, potcar_symbols(path, read_text(path)) or [])
    return b"\0".join(parts)


def _as_json(value):
    """Return values that JSON does not support as ones that it does."""
    if isinstance(value, np.ndarray | np.generic):
        return [str(value.dtype), value.tolist()]
    return value.as_dict() if hasattr(value, "as_dict") else repr(value)
