"""Read structures of any kind as pymatgen objects."""

import contextlib
import json
import os
import warnings
from pathlib import Path

import numpy as np

_GRAPH_KEYS = ("atom", "bond", "index1", "index2")


class StructureError(ValueError):
    """Error of a structure that cannot be converted: its index, name and the reason."""

    def __init__(self, index, name, reason):
        super().__init__(index, name, reason)
        self.index, self.name, self.reason = index, name, reason

    def __str__(self):
        return f"Structure {self.index} ({self.name}): {self.reason}"

    def at(self, index):
        """Return the same error for another index."""
        return StructureError(int(index), self.name, self.reason)


def as_items(X):
    """Return the structures of a list, array, Series, frame or iterator."""
    if hasattr(X, "iloc"):
        if X.ndim == 2 and X.shape[1] != 1:
            raise ValueError(
                f"Got a frame with {X.shape[1]} columns {list(X.columns)}, expected "
                "one column of structures."
            )
        return (X if X.ndim == 1 else X.iloc[:, 0]).tolist()
    if isinstance(X, np.ndarray):
        return X.ravel() if X.ndim == 2 and X.shape[1] == 1 else X
    single = isinstance(X, str | os.PathLike | dict) or hasattr(X, "cart_coords")
    if single or hasattr(X, "get_positions") or not hasattr(X, "__iter__"):
        raise TypeError(
            f"Got a single {type(X).__name__}, expected a list of structures."
        )
    return X


def as_structure(item):
    """Read a structure as a pymatgen Structure or Molecule; return a graph as it is.

    Parameters
    ----------
    item : Structure, Molecule, Atoms, dict, str or path-like
        A pymatgen or ASE object, its dictionary, a MEGNet graph, a file, or the text of
        a CIF or POSCAR.

    Returns
    -------
    Structure, Molecule or dict
    """
    from pymatgen.core import IMolecule, IStructure, Molecule, Structure

    if isinstance(item, dict):
        if all(key in item for key in _GRAPH_KEYS):
            return item
        kind = Molecule if "olecule" in item.get("@class", "") else Structure
        return kind.from_dict(item)
    if isinstance(item, str) and "\n" in item:
        fmt = "cif" if "data_" in item else "poscar"
        with _reading(f"the text cannot be read as {fmt.upper()}"):
            return Structure.from_str(item, fmt=fmt)
    if isinstance(item, str | os.PathLike):
        path = Path(item)
        if not path.is_file():
            raise FileNotFoundError(f"there is no file {str(path)!r}")
        molecular = path.suffix.lower() in (".xyz", ".mol", ".sdf", ".pdb", ".gjf")
        with _reading("the file cannot be read"):
            return (Molecule if molecular else Structure).from_file(path)
    if hasattr(item, "get_positions") and hasattr(item, "get_pbc"):
        from pymatgen.io.ase import AseAtomsAdaptor

        if item.get_pbc().any():
            return AseAtomsAdaptor.get_structure(item)
        return AseAtomsAdaptor.get_molecule(item)
    if isinstance(item, Structure | Molecule):
        return item
    if isinstance(
        item, IStructure | IMolecule
    ):  # megnet supports only the mutable classes
        kind = Structure if isinstance(item, IStructure) else Molecule
        return kind.from_sites(item.sites)
    hint = ""
    if hasattr(item, "species"):
        hint = " (np.array(list_of_structures) takes structures apart into sites)"
    raise TypeError(
        f"got a {type(item).__name__}, expected a pymatgen Structure or Molecule, ASE "
        f"Atoms, a MEGNet graph, or the path of a CIF or POSCAR file{hint}"
    )


def content_of(item):
    """Return bytes that differ for structures that a network may tell apart.

    These are name and content of a file, and lattice, sites and state of an object.
    Nothing is parsed.
    """
    if isinstance(item, str) and "\n" in item:
        return b"text" + item.encode()
    if isinstance(item, str | os.PathLike):
        path = Path(item)
        # A missing file raises a named error when it is read
        content = path.read_bytes() if path.is_file() else os.fsencode(path)
        return b"file" + os.fsencode(path.name) + b"\0" + content
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


def _as_json(value):
    """Return values that JSON does not support as ones that it does."""
    if isinstance(value, np.ndarray | np.generic):
        return [str(value.dtype), value.tolist()]
    return value.as_dict() if hasattr(value, "as_dict") else repr(value)


def describe(item):
    """Return the name of a structure in errors: formula, file name, or type."""
    names, structure = [], item
    with contextlib.suppress(Exception):  # unreadable: its file or type is named
        structure = as_structure(item)
    if hasattr(structure, "composition"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # helium has no electronegativity
            names.append(structure.composition.reduced_formula)
    if isinstance(item, str | os.PathLike):
        names.append("text" if "\n" in str(item) else Path(item).name)
    elif isinstance(structure, dict) and "atom" in structure:
        names.append(f"graph of {len(structure['atom'])} atoms")
    return ", ".join(names) or type(item).__name__


@contextlib.contextmanager
def _reading(what):
    """Name the input in a parser's error, which may be a bare key."""
    try:
        yield
    except Exception as error:
        reason = f"{type(error).__name__}: {error}" if str(error) else repr(error)
        raise ValueError(f"{what} ({reason})") from error
