"""Read structures of any kind as pymatgen objects."""

import ast
import contextlib
import json
import os
import re
from pathlib import Path

import numpy as np

from .cif import read_cif
from .formats import potcar_symbols, read_dict, read_poscar, read_xyz
from .parsing import reading, recorded_warnings
from .physical import check_cell, check_physical

_GRAPH_KEYS = ("atom", "bond", "index1", "index2")
#: Formats by the ending of a file's name, without that of its compression.
_FORMATS = {
    ".cif": "cif", ".mcif": "cif", ".vasp": "poscar", ".poscar": "poscar",
    ".xyz": "xyz", ".extxyz": "xyz", ".json": "json", ".mson": "json",
}  # fmt: skip
_COMPRESSED = (".gz", ".bz2", ".xz", ".lzma", ".z")
#: Beginning of an XYZ: a number of atoms, a comment, a chemical symbol.
_XYZ = re.compile(r"\s*\d+ *\n(.*(Lattice|Properties)=|.*\n\s*[A-Z][a-z]?\s)")
_MOLECULES = (".mol", ".sdf", ".pdb", ".gjf")


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
    columns = X.get_columns() if hasattr(X, "get_columns") else None  # of Polars
    if columns is not None or (hasattr(X, "iloc") and X.ndim == 2):
        if X.shape[1] != 1:
            raise ValueError(
                f"Got a frame with {X.shape[1]} columns {list(X.columns)}, expected "
                "one column of structures."
            )
        X = columns[0] if columns is not None else X.iloc[:, 0]
    for name in ("tolist", "to_list"):
        if hasattr(X, name) and not isinstance(X, np.ndarray):
            return getattr(X, name)()
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

    What is read is checked: against what else its file states, and for atoms that are
    closer than atoms ever are. ``properties["reading_notes"]`` of the result are
    warnings of a reader that leave the result valid.

    Parameters
    ----------
    item : Structure, Molecule, Atoms, dict, str or path-like
        A pymatgen or ASE object, its dictionary, a record with one of these as
        "structure", a MEGNet graph, a file, or the text of a CIF, POSCAR, XYZ or JSON.

    Returns
    -------
    Structure, Molecule or dict

    Raises
    ------
    ValueError, TypeError, OSError
        If there is not exactly one structure that can be read and is valid.
    """
    if not isinstance(item, str | os.PathLike):
        return _from_object(item)
    found = _from_text_or_file(item)
    if len(found) != 1:
        names = ", ".join(name for name, _ in found)
        raise ValueError(
            f"it holds {len(found)} structures ({_shortened(names)}), expected one. "
            "Write the one that is meant, or each of them, to a file of its own"
        )
    ((_, structure),) = found
    if isinstance(structure, Exception):
        raise structure
    return structure


def notes_of(structure):
    """Return the warnings with which a structure was read, "" without any."""
    properties = getattr(structure, "properties", {})
    return "; ".join(properties.get("reading_notes", ()))


def read_structures(item):
    """Read all structures of a file or text, of which `as_structure` reads one.

    Parameters
    ----------
    item : str or path-like
        A file, or the text of a CIF, POSCAR, XYZ or JSON.

    Returns
    -------
    list of (str, Structure, Molecule, dict or StructureError)
        Name of each data block of a CIF, frame of an XYZ or entry of a JSON list, and
        its structure, or the reason why it cannot be used.
    """
    try:
        found = _from_text_or_file(item)
    except Exception as error:  # readers raise errors of any class
        found = [(describe(item), error)]
    return _with_errors(found)


def _with_errors(found):
    """Return names and structures, with a `StructureError` for each other error."""
    return [
        (name, StructureError(i, name, _reason(structure)))
        if isinstance(structure, Exception)
        else (name, structure)
        for i, (name, structure) in enumerate(found)
    ]


def read_upload(name, content):
    """Read all structures of a file that is in memory and not on disk.

    Parameters
    ----------
    name : str
        Name of the file. Its ending is that of the format; of a name without one, the
        content decides.
    content : bytes
        The file.

    Returns
    -------
    list of (str, Structure, Molecule, dict or StructureError)
        As of `read_structures`.
    """
    try:
        kind, text = format_of_file(Path(name)), _decoded(content)
        found = _from_text(text, kind or _format_of_text(text))
    except Exception as error:  # readers raise errors of any class
        found = [(_shortened(name), error)]
    return _with_errors(found)


class ReadStructures(list):
    """Structures that have been read, with a `StructureError` for each failure."""


def read_many(items, start=0):
    """Read structures; errors count them from ``start``.

    Returns
    -------
    structures : ReadStructures
        Of the same length; ``items`` itself, if it is that already.
    """
    if isinstance(items, ReadStructures):
        return items
    structures = ReadStructures()
    for index, item in enumerate(items, start):
        try:
            structures.append(as_structure(item))
        except Exception as error:  # readers raise errors of any class
            structures.append(structure_error(index, item, error))
    return structures


def structure_error(index, item, error):
    """Return the `StructureError` of an item for the error that it caused."""
    return StructureError(index, describe(item), _reason(error))


def _reason(error):
    return str(error) or type(error).__name__


@np.errstate(all="ignore")  # what is not finite is an error later
def _from_object(item):
    from pymatgen.core import IMolecule, IStructure, Molecule, Structure

    if isinstance(item, dict):
        if all(key in item for key in _GRAPH_KEYS):
            return item
        if "sites" not in item and "structure" in item:  # a record
            return as_structure(item["structure"])
        structure = read_dict(item)
    elif hasattr(item, "get_positions") and hasattr(item, "get_pbc"):
        structure = _from_ase(item)
    elif isinstance(item, Structure | Molecule):
        structure = item
    elif isinstance(item, IStructure | IMolecule):
        # megnet supports only the mutable classes
        kind = Structure if isinstance(item, IStructure) else Molecule
        structure = kind.from_sites(item.sites)
    else:
        hint = ""
        if hasattr(item, "species"):
            hint = " (np.array(list_of_structures) takes structures apart into sites)"
        raise TypeError(
            f"got {_shortened(repr(item))} of type {type(item).__name__}, expected a "
            "pymatgen Structure or Molecule or its dictionary, ASE Atoms, a MEGNet "
            "graph, or the text or path of a CIF, POSCAR, XYZ or JSON file"
            f"{hint}"
        )
    check_physical(structure)
    return structure


def _from_ase(atoms):
    from pymatgen.io.ase import AseAtomsAdaptor

    if not atoms.get_pbc().any():
        return AseAtomsAdaptor.get_molecule(atoms)
    check_cell(atoms.get_cell())
    with recorded_warnings():  # of constraints
        return AseAtomsAdaptor.get_structure(atoms)


@np.errstate(all="ignore")
def _from_text_or_file(item):
    """Return the names and structures, or errors, of a text or file."""
    if is_text(item):
        text = _normalized(item)
        return _from_text(text, _format_of_text(text))
    if not os.path.isfile(item):
        name = _shortened(repr(os.fspath(item)))
        if os.path.isdir(item):
            raise IsADirectoryError(f"{name} is a folder, expected a file")
        raise FileNotFoundError(f"there is no file {name}")
    path = Path(item)
    kind = format_of_file(path)
    if kind is not None:
        with reading("the file cannot be read"):
            text = read_text(path)
        names = potcar_symbols(path, text) if kind == "poscar" else None
        return _from_text(text, kind, names)
    from pymatgen.core import Molecule, Structure

    kind = Molecule if path.suffix.lower() in _MOLECULES else Structure
    what = "the file cannot be read as the format that its ending names"
    with recorded_warnings() as notes, reading(what):
        structure = kind.from_file(path)
    if notes:
        structure.properties["reading_notes"] = notes
    check_physical(structure)
    return [(path.name, structure)]


def _from_text(text, kind, names=None):
    if kind == "json":
        with reading("the text cannot be read as JSON"):
            # pandas writes dictionaries to CSV as Python does, with single quotes
            load = ast.literal_eval if re.match(r"[\[{]\s*'", text) else json.loads
            content = load(text)
        entries = content if isinstance(content, list) else [content]
        found = [(str(i + 1), entry) for i, entry in enumerate(entries)]
        return [(name, _tried(_from_object, entry)) for name, entry in found]
    if kind == "poscar":
        found = [("POSCAR", read_poscar(text, names))]
    else:
        found = {"cif": read_cif, "xyz": read_xyz}[kind](text)
    return [(name, _tried(_checked, structure)) for name, structure in found]


def _checked(structure):
    if isinstance(structure, Exception):
        raise structure
    check_physical(structure)
    return structure


def _tried(function, item):
    """Return the value of a function, or the error that it raises."""
    try:
        return function(item)
    except Exception as error:  # readers raise errors of any class
        return error


def _format_of_text(text):
    if text.startswith(("{", "[")):
        return "json"
    if re.search(r"^\s*data_|_atom_site_", text, re.MULTILINE):
        return "cif"
    return "xyz" if _XYZ.match(text) else "poscar"


def format_of_file(path):
    """Return the format of a file by its name, or None for those of pymatgen."""
    name = path.name.lower()
    stem, ending = os.path.splitext(name)
    if ending in _COMPRESSED:
        ending = os.path.splitext(stem)[1]
    if ending not in _FORMATS and ("poscar" in name or "contcar" in name):
        return "poscar"
    return _FORMATS.get(ending)


def read_text(path):
    from monty.io import zopen

    with zopen(path, "rb") as file:
        return _decoded(file.read())


def _decoded(content):
    """Return the text of bytes, normalized."""
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8"
    return _normalized(content.decode(encoding, errors="replace"))


def _normalized(text):
    """Return a text without byte order mark, its lines ended by a line feed."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    return text.lstrip(" \t\n") if text.lstrip().startswith(("{", "[")) else text


def _shortened(text):
    """Return a text of at most 80 characters, all of which can be printed."""
    text = text if len(text) <= 80 else f"{text[:77]}..."
    return text.encode(errors="backslashreplace").decode()


def describe(item):
    """Return the name of a structure in errors: formula, file name, or type."""
    names, structure = [], item
    if not hasattr(item, "composition"):
        with contextlib.suppress(Exception):  # unreadable: its file or type is named
            structure = as_structure(item)
    if hasattr(structure, "composition"):
        with recorded_warnings():  # helium has no electronegativity
            names.append(structure.composition.reduced_formula)
    if isinstance(item, str | os.PathLike):
        names.append("text" if is_text(item) else _shortened(Path(item).name))
    elif isinstance(structure, dict) and "atom" in structure:
        names.append(f"graph of {len(structure['atom'])} atoms")
    return ", ".join(names) or type(item).__name__


def is_text(item):
    """Return whether an item is the text of a structure and no path."""
    if not isinstance(item, str):
        return False
    if "\n" in item or "\r" in item:
        return True
    return item.lstrip("\ufeff \t").startswith(("{", "[")) and not os.path.isfile(item)
