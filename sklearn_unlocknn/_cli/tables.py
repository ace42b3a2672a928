"""Tables of structures and targets, from CSV and JSON files."""

import csv
import gzip
import json
import math
import os
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path

from .files import CommandError

#: Columns that hold the structures if they are there, the first found.
STRUCTURE_COLUMNS = ("structure", "cif", "path", "file")
_SUFFIXES = (".cif", ".vasp", ".poscar", ".xyz", ".mol", ".sdf")
_PREFIXES = ("POSCAR", "CONTCAR")
_LOOKED_AT = 20
_UNREADABLE = (OSError, EOFError, zlib.error, ValueError, TypeError, csv.Error)
_UNREADABLE += (RecursionError,)


@dataclass
class Table:
    """Columns by name, equally long, and the folder that paths are relative to."""

    columns: dict
    folder: Path
    name: str

    def __len__(self):
        return len(next(iter(self.columns.values())))

    def column(self, name):
        """Return a column; an error lists those there are."""
        if name not in self.columns:
            raise CommandError(
                f"{self.name} has no column {name!r}; it has {list(self.columns)}."
            )
        return self.columns[name]


@dataclass
class Rows:
    """Structures with their targets, and why rows cannot be used.

    Attributes
    ----------
    structures : list
        CIF text, paths or dictionaries, one a row.
    target : list of float
        In the units of the column, or their decadic logarithm; NaN where it fails.
    errors : dict of int to str
        Reasons, by row from 0.
    """

    structures: list
    target: list
    errors: dict


def read_table(path):
    """Read a table.

    Parameters
    ----------
    path : path-like
        A CSV file with a header; a JSON file with a list of records, or with a frame
        as pandas writes it in its "split" layout (keys columns and data). Either may
        be compressed with gzip (.gz).

    Returns
    -------
    Table

    Raises
    ------
    CommandError
        If it cannot be read as such, or has no rows.
    """
    path = Path(path)
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    kind = suffixes[-1] if suffixes else ""
    if kind not in (".csv", ".json"):
        raise CommandError(
            f"Got the data file {str(path)!r}, expected .csv, .csv.gz, .json or "
            ".json.gz."
        )
    read = _read_csv if kind == ".csv" else _read_json
    zipped = path.suffix.lower() == ".gz"
    encoding = "utf-8-sig"  # spreadsheets write a byte order mark
    try:
        with (gzip.open if zipped else open)(
            path, "rt", encoding=encoding, newline=""
        ) as file:
            columns = read(file)
    except FileNotFoundError as error:
        raise CommandError(f"There is no data file {str(path)!r}.") from error
    except _UNREADABLE as error:
        raise CommandError(f"Cannot read {str(path)!r}: {error}") from error
    if not columns or not next(iter(columns.values())):
        raise CommandError(f"{str(path)!r} has no rows.")
    return Table(columns, path.parent, path.name)


def _read_csv(file):
    limit = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # a CIF may be long
    try:
        rows = [row for row in csv.reader(file) if row]
    finally:
        csv.field_size_limit(limit)
    return _columns(rows[0], rows[1:]) if rows else {}


def _read_json(file):
    content = json.load(file)
    if isinstance(content, dict) and {"columns", "data"} <= content.keys():
        return _columns(content["columns"], content["data"])
    if not isinstance(content, list) or not all(isinstance(r, dict) for r in content):
        raise ValueError(
            "expected a list of records, or an object with the keys columns and data"
        )
    names = dict.fromkeys(name for record in content for name in record)
    return {name: [record.get(name) for record in content] for name in names}


def _columns(names, rows):
    if len(set(names)) < len(names):
        raise ValueError(f"columns of the same name in {names}")
    for i, row in enumerate(rows):
        if len(row) != len(names):
            raise ValueError(
                f"row {i + 1} has {len(row)} values for {len(names)} columns {names}"
            )
    return {name: [row[j] for row in rows] for j, name in enumerate(names)}


def rows_of(table, target, structures=None, *, log10=False):
    """Take structures and a target from a table.

    Parameters
    ----------
    table : Table
        From `read_table`.
    target : str
        Name of the column of targets, numbers or their text.
    structures : str, default=None
        Name of the column of structures: dictionaries, texts of CIF files, or paths
        relative to the folder of the table. Found if not given.
    log10 : bool, default=False
        Whether to take the decadic logarithm of the target.

    Returns
    -------
    Rows

    Raises
    ------
    CommandError
        If there is no such column, or no telling which has the structures.
    """
    numbers = table.column(target)
    if structures is None:
        structures = _find_structures(table, target)
    if structures == target:
        raise CommandError(f"Got the column {target!r} for target and structures.")
    errors, items, y = {}, [], []
    for i, (item, number) in enumerate(
        zip(table.column(structures), numbers, strict=True)
    ):
        try:
            y.append(_number(number, log10))
        except ValueError as error:
            y.append(math.nan)
            errors[i] = f"target {target!r} {error}"
        try:
            items.append(_structure(item, table.folder))
        except ValueError as error:
            items.append(None)
            errors.setdefault(i, str(error))
    return Rows(items, y, errors)


def _number(value, log10):
    if value is None or (isinstance(value, str) and not value.strip()):
        raise ValueError("is missing")
    try:
        if isinstance(value, bool):
            raise ValueError
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"is {_short(value)}, not a number") from None
    if not math.isfinite(number):
        raise ValueError(f"is {number}, not a finite number")
    if log10 and number <= 0:
        raise ValueError(f"is {number:g}, not positive, and has no log10")
    return math.log10(number) if log10 else number


def _structure(item, folder):
    if item is None or (isinstance(item, str) and not item.strip()):
        raise ValueError("the structure is missing")
    if not isinstance(item, str) or "\n" in item:
        return item
    path = folder / item
    if not path.is_file():
        raise ValueError(f"there is no file {str(path)!r}")
    if not os.access(path, os.R_OK):
        raise ValueError(f"the file {str(path)!r} may not be read")
    return path


def _find_structures(table, target):
    """Find the column by what it holds, then by its name."""
    others = [name for name in table.columns if name != target]
    looking = [name for name in others if _looks_so(table.columns[name])]
    for among in (looking, others):
        by_lower = {str(name).lower(): name for name in reversed(among)}
        for name in STRUCTURE_COLUMNS:
            if name in by_lower:
                return by_lower[name]
        if len(among) == 1 and among is looking:
            return looking[0]
    found = f"several look so: {looking}" if looking else "none looks so"
    raise CommandError(
        f"Which column of {table.name} has the structures? Of {list(table.columns)} "
        f"{found}. Name it with --structures."
    )


def _looks_so(values):
    """Tell whether the first values are dictionaries, texts or paths of structures."""
    filled = (value for value in values if value not in (None, ""))
    for _, value in zip(range(_LOOKED_AT), filled, strict=False):
        if isinstance(value, dict) and ("sites" in value or "atom" in value):
            return True
        if isinstance(value, str) and "\n" in value.strip():
            return True
        if isinstance(value, str) and (
            value.lower().endswith(_SUFFIXES) or Path(value).name.startswith(_PREFIXES)
        ):
            return True
    return False


def _short(value):
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
