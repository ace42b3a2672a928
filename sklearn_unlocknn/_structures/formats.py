"""Read POSCAR, XYZ and pymatgen's dictionaries, and check each against itself."""

import math
import re
from pathlib import Path

import numpy as np

from .parsing import check_labels, reading, recorded_warnings
from .physical import check_cell

#: Greatest difference (angstrom) of the two positions that a dictionary has of a site.
_POSITION_TOLERANCE = 0.01
#: Warnings of pymatgen's POSCAR parser that leave no doubt about the result.
_SILENT = re.compile("overwritten by|Ignoring selective dynamics|with Fluorine")
_KEY_VALUE = re.compile(r"""(\w+)\s*=\s*(?:"([^"]*)"|'([^']*)'|(\S+))""")


def potcar_symbols(path, text):
    """Return the elements of the POTCAR beside a POSCAR without symbols, or None.

    VASP 4 writes no symbols: the sixth line has the numbers of atoms.
    """
    lines = text.split("\n", 6)
    if len(lines) < 6 or not re.fullmatch(r"[\s\d]*\d\s*", lines[5]):
        return None
    beside = Path(path).parent / "POTCAR"
    if not beside.is_file():
        return None
    potcar = beside.read_bytes().decode("latin-1")
    return re.findall(r"VRHFIN\s*=\s*([A-Z][a-z]?)", potcar)


def read_poscar(text, names=None):
    """Read a POSCAR; ``names`` are the elements of one that has no symbols."""
    from pymatgen.io.vasp import Poscar

    n_kinds = len(text.split("\n", 6)[5].split()) if names else 0
    if names and len(names) != n_kinds:
        raise ValueError(
            f"the POTCAR beside it has {len(names)} elements, {' '.join(names)}, and "
            f"it has {n_kinds} numbers of atoms"
        )
    with recorded_warnings() as warned, reading("the text cannot be read as POSCAR"):
        structure = Poscar.from_str(
            text, default_names=names or None, read_velocities=False
        ).structure
    for warning in warned:
        if "cannot be determined" in warning:
            raise ValueError(
                "it has no chemical symbols, as VASP 4 writes it. Write them in a line "
                "above the numbers of atoms, or put its POTCAR in the same folder"
            )
        if not _SILENT.search(warning):
            raise ValueError(f"it is in doubt ({warning}). Correct the file")
    _check_positions(structure, text)
    return structure


def _check_positions(structure, text):
    """Check the lines of positions: their number, and chemical symbols at their end."""
    from pymatgen.core import Element

    lines = [line.split("#")[0].split() for line in text.split("\n")] + [[], []]
    i = next(i for i in range(5, len(lines)) if _are_counts(lines[i]))
    counts = []
    while _are_counts(lines[i]):
        counts += map(int, lines[i])
        i += 1
    first = 3
    if lines[i] and lines[i][0][0] in "sS":  # selective dynamics
        first, i = 6, i + 1
    if not lines[i] or lines[i][0][0] not in "dDcCkK":
        raise ValueError(
            f"line {i + 1} is {' '.join(lines[i])!r}, expected Direct or Cartesian"
        )
    rows, after = lines[i + 1 :][: sum(counts)], lines[i + 1 :][sum(counts)]
    if len(after) >= 3 and None not in map(_number, after[:3]):
        raise ValueError(
            f"it states {sum(counts)} atoms and has more positions: the numbers of "
            "atoms or the positions are wrong"
        )
    starts = np.repeat(np.cumsum([0, *counts[:-1]]), counts)
    for i, (start, row) in enumerate(zip(starts, rows, strict=True)):
        symbol, rest = structure[int(start)].species_string, row[first:]
        is_flags = len(rest) >= 3 and set(rest[:3]) <= {"T", "F"}
        name = rest[0].split("_")[0] if rest and not is_flags else ""
        if Element.is_valid_symbol(name) and name != symbol:
            raise ValueError(
                f"site {i} is {symbol} by the numbers of atoms and {name} at the end "
                "of its line: one of the two is wrong"
            )


def _are_counts(words):
    return bool(words) and all(map(str.isdigit, words))


def _number(text):
    """Return a finite number in the notation of Fortran or Gaussian too, or None."""
    try:
        number = float(text.lower().replace("d", "e").replace("*^", "e"))
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def read_xyz(text):
    """Read the frames of an XYZ text, plain or extended.

    Returns
    -------
    list of (str, Structure, Molecule or ValueError)
        Number of each frame, from 1, and a Structure if it has a lattice in which a
        direction is periodic, else a Molecule, or the reason why it cannot be read.
    """
    lines, found, i = text.rstrip().split("\n"), [], 0
    while i < len(lines):
        if not re.fullmatch(r"\s*\d+\s*", lines[i]):
            raise ValueError(
                f"the text cannot be read as XYZ: line {i + 1} is "
                f"{lines[i].strip()!r}, expected a number of atoms. The number "
                "of atoms above it may be wrong"
            )
        n = int(lines[i])
        comment = lines[i + 1] if i + 1 < len(lines) else ""
        rows = [line.split() for line in lines[i + 2 : i + 2 + n]]
        try:
            if len(rows) < n:
                raise ValueError(f"it states {n} atoms and has {len(rows)}")
            found.append((str(len(found) + 1), _read_frame(comment, rows)))
        except ValueError as error:
            found.append((str(len(found) + 1), error))
        i += 2 + n
    return found


def _read_frame(comment, rows):
    from pymatgen.core import Element, Lattice, Molecule, Structure

    values = {key.lower(): a or b or c for key, a, b, c in _KEY_VALUE.findall(comment)}
    columns = _columns(values.get("properties"))
    width = max(4, columns.pop("width"))
    symbols, positions = [], []
    for i, row in enumerate(rows):
        if len(row) < width or ("properties" in values and len(row) > width):
            raise ValueError(f"atom {i} has {len(row)} entries, expected {width}")
        symbol = row[columns["species"]]
        if symbol.isdigit() and 0 < int(symbol) < 119:
            symbol = Element.from_Z(int(symbol)).symbol
        if not Element.is_valid_symbol(symbol):
            raise ValueError(f"atom {i} is {symbol!r}, expected a chemical element")
        symbols.append(symbol)
        position = row[columns["pos"] : columns["pos"] + 3]
        positions.append([_number(x) for x in position])
        if None in positions[-1]:
            raise ValueError(f"the position of atom {i} is {position}, not 3 numbers")
    lattice = values.get("lattice")
    pbc = [flag[0] in "T1t" for flag in values.get("pbc", "").split()]
    if len(pbc) not in (0, 3):
        raise ValueError(f"it has pbc={values['pbc']!r}, expected three of T or F")
    if lattice is None:
        if any(pbc):
            raise ValueError(
                f"it is periodic (pbc={values['pbc']!r}) without a Lattice"
            )
        return Molecule(symbols, positions)
    matrix = [_number(x) for x in lattice.split()]
    if len(matrix) != 9 or None in matrix:
        raise ValueError(f"its Lattice is {lattice!r}, expected 9 numbers")
    if pbc and not any(pbc):
        return Molecule(symbols, positions)
    matrix = np.reshape(matrix, (3, 3))
    check_cell(matrix)
    cell = Lattice(matrix, pbc=tuple(pbc) or (True, True, True))
    return Structure(cell, symbols, positions, coords_are_cartesian=True)


def _columns(properties):
    """Return the columns of species and positions and the number of all columns."""
    if properties is None:
        return {"species": 0, "pos": 1, "width": 0}
    fields = properties.split(":")
    names, counts = fields[::3], fields[2::3]
    if len(fields) % 3 or not all(map(str.isdigit, counts)):
        raise ValueError(
            f"its Properties are {properties!r}, expected name:type:number"
        )
    starts = np.cumsum([0, *map(int, counts)]).tolist()
    columns = dict(zip(names, starts, strict=False), width=starts[-1])
    columns.setdefault("species", columns.get("Z"))
    if columns["species"] is None or "pos" not in columns:
        raise ValueError(f"its Properties are {properties!r}, expected species and pos")
    return columns


def read_dict(content):
    """Read a dictionary of pymatgen, as ``as_dict`` makes it."""
    from pymatgen.core import Molecule, Structure

    name = content.get("@class")
    is_molecule = "olecule" in str(name) or (not name and "lattice" not in content)
    with recorded_warnings(), reading("the dictionary cannot be read"):
        if (
            not isinstance(content["sites"], list)
            or None in content["sites"][0].values()
        ):
            content = plain(content)
        content = {**content, "sites": [_without_objects(s) for s in content["sites"]]}
        structure = (Molecule if is_molecule else Structure).from_dict(content)
    sites = content["sites"]
    given = [site.get("xyz") for site in sites]
    if not is_molecule and None not in given:
        apart = np.linalg.norm(structure.cart_coords - np.array(given, float), axis=1)
        if not (apart < _POSITION_TOLERANCE).all():
            i = int(np.argmax(apart))
            raise ValueError(
                f"site {i} is at {given[i]} by its xyz, {apart[i]:.3g} angstrom from "
                "where abc and lattice have it: one of them is wrong"
            )
    check_labels(
        [site.get("label") for site in sites],
        [{kind.symbol for kind in site.species.elements} for site in structure],
    )
    return structure


def _without_objects(site):
    """Return a site without properties that are dictionaries.

    pymatgen would import the class that one of them names, and call it.
    """
    properties = site.get("properties")
    if not properties:
        return site
    kept = {k: v for k, v in properties.items() if not _has_dict(v)}
    return {**site, "properties": kept}


def _has_dict(value):
    """Return whether a value is a dictionary, or a list with one at any depth."""
    if isinstance(value, list | tuple):
        return any(map(_has_dict, value))
    return isinstance(value, dict)


def plain(value):
    """Return lists for arrays, and dictionaries without the keys that have no value.

    A table that holds dictionaries (Parquet, Polars) gives all of them the same keys.
    """
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if v is not None}
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    return [plain(v) for v in value] if isinstance(value, list | tuple) else value
