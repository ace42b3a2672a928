"""Samples of structures and targets from the tables of CSV and JSON files."""

import gzip
import json
import math
import os
from pathlib import Path

import pandas as pd

from .files import PREFIXES, SUFFIXES, CommandError

#: Names of the column of structures, in the order of preference.
STRUCTURE_COLUMNS = ("structure", "cif", "path", "file")
#: Number of values that decide whether a column contains structures.
_N_INSPECTED = 20


def read_samples(path, target, structures=None, *, log10=False):
    """Read structures and their targets from a data file.

    The file is CSV with a header, or JSON with a list of records or a frame in pandas'
    "split" layout; either may be compressed with gzip (.gz). Structures are
    dictionaries, texts of CIF files, or paths relative to the folder of the file; None
    infers their column.

    Returns a frame with the columns structure, target (NaN if unusable; its decadic
    logarithm with `log10`) and error (a reason, or ""), indexed by row number from 1.
    """
    path = Path(path)
    table = _read(path)
    for name in (target, structures):
        if name is not None and name not in table:
            raise CommandError(
                f"{path.name} has no column {name!r}; it has {list(table)}."
            )
    if structures is None:
        structures = _structure_column(table, target, path.name)
    if structures == target:
        raise CommandError(f"Got the column {target!r} for target and structures.")
    rows = [
        _sample(structure, number, path.parent, f"target {target!r}", log10)
        for structure, number in zip(table[structures], table[target], strict=True)
    ]
    index = pd.RangeIndex(1, len(rows) + 1, name="row")
    samples = pd.DataFrame(rows, index, ["structure", "target", "error"], dtype=object)
    return samples.astype({"target": float})


def _read(path):
    """Read a table; its cells are objects, as in the file."""
    kind = path.name.lower().removesuffix(".gz").rpartition(".")[2]
    if kind not in ("csv", "json"):
        raise CommandError(
            f"Got the data file {str(path)!r}, expected .csv, .csv.gz, .json or "
            ".json.gz."
        )
    try:
        table = (_read_csv if kind == "csv" else _read_json)(path)
    except FileNotFoundError as error:
        raise CommandError(f"There is no data file {str(path)!r}.") from error
    except Exception as error:  # a broken file can cause any error
        raise CommandError(f"Cannot read {str(path)!r}: {error}") from error
    if table.empty:
        raise CommandError(f"{str(path)!r} has no rows.")
    if not table.columns.is_unique:
        raise CommandError(
            f"Cannot read {str(path)!r}: columns of the same name in {list(table)}."
        )
    return table


def _read_csv(path):
    # utf-8-sig: spreadsheets write a byte order mark. The header is read as a row, as
    # pandas renames columns of the same name.
    rows = pd.read_csv(
        path, header=None, dtype=object, keep_default_na=False, encoding="utf-8-sig"
    )
    return rows[1:].set_axis(rows.iloc[0], axis="columns")


def _read_json(path):
    with (gzip.open if path.suffix.lower() == ".gz" else open)(
        path, "rt", encoding="utf-8-sig"
    ) as file:
        content = json.load(file)
    if isinstance(content, dict) and {"columns", "data"} <= content.keys():
        return pd.DataFrame(content["data"], None, content["columns"], dtype=object)
    if not isinstance(content, list) or not all(isinstance(r, dict) for r in content):
        raise ValueError(
            "expected a list of records, or an object with the keys columns and data"
        )
    return pd.DataFrame(content, dtype=object)


def _sample(structure, number, folder, name, log10):
    """Return the structure, the target and the reason why they cannot be used."""
    item, y, error = None, math.nan, ""
    try:
        y = _target(number, name, log10)
        item = _structure(structure, folder)
    except ValueError as reason:
        error = str(reason)
    return item, y, error


def _target(value, name, log10):
    if _is_missing(value):
        raise ValueError(f"{name} is missing")
    try:
        if isinstance(value, bool):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError):
        text = repr(value)
        text = text if len(text) <= 40 else text[:37] + "..."
        raise ValueError(f"{name} is {text}, not a number") from None
    if not math.isfinite(number):
        raise ValueError(f"{name} is {number}, not a finite number")
    if log10 and number <= 0:
        raise ValueError(f"{name} is {number:g}, not positive, and has no log10")
    return math.log10(number) if log10 else number


def _structure(item, folder):
    if _is_missing(item):
        raise ValueError("the structure is missing")
    if not isinstance(item, str) or "\n" in item:
        return item
    path = folder / item
    if not path.is_file():
        raise ValueError(f"there is no file {str(path)!r}")
    if not os.access(path, os.R_OK):
        raise ValueError(f"there is no permission to read the file {str(path)!r}")
    return path


def _is_missing(value):
    """Return whether a cell is empty: None, NaN or blank text."""
    if isinstance(value, str):
        return not value.strip()
    return value is None or value is pd.NA or value != value


def _structure_column(table, target, name):
    """Return the column of structures, found by its content and then by its name."""
    others = [column for column in table if column != target]
    likely = [column for column in others if _has_structures(table[column])]
    for among in (likely, others):
        by_lower = {str(column).lower(): column for column in reversed(among)}
        for column in STRUCTURE_COLUMNS:
            if column in by_lower:
                return by_lower[column]
        if len(among) == 1 and among is likely:
            return likely[0]
    found = f"{likely} may have them" if likely else "none is likely to have them"
    raise CommandError(
        f"Cannot find the column of structures in {name}: of {list(table)} {found}. "
        "Name it with --structures."
    )


def _has_structures(column):
    """Return whether the first values contain a dictionary, text or path of one."""
    values = [value for value in column if not _is_missing(value)]
    return any(
        ("sites" in value or "atom" in value)
        if isinstance(value, dict)
        else isinstance(value, str)
        and (
            "\n" in value.strip()
            or value.lower().endswith((*SUFFIXES, ".xyz", ".mol", ".sdf"))
            or Path(value).name.startswith(PREFIXES)
        )
        for value in values[:_N_INSPECTED]
    )
