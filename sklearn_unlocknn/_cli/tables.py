"""Samples of structures and targets from data files."""

import csv
import gzip
import io
import json
import math
import os
import re
from pathlib import Path

import numpy as np
import pandas as pd

from .files import TABLES, CommandError, decode, is_structure_file, print_message

#: Names of the column of structures, in the order of preference.
STRUCTURE_COLUMNS = ("structure", "cif", "path", "file")
#: For pandas: cells as in the file.
_AS_TEXT = {"dtype": object, "keep_default_na": False}
#: Number of values that decide whether a column contains structures.
_N_INSPECTED = 20


def read_samples(path, target, structures=None, *, log10=False, group=None):
    """Read structures and their targets from a data file.

    The file is CSV or TSV with a header, JSON with a list of records or a frame in
    pandas' "split", "columns" or "index" layout, JSON lines, or Excel's .xlsx; text may
    be compressed with gzip (.gz). Structures are dictionaries, texts of structure
    files, or paths relative to the folder of the file; None infers their column. A
    `target` of None is no error: targets are NaN.

    Returns a frame with the columns file (the path of the structure, or ""), structure
    (None if unusable), target (NaN if unusable), error (reasons, or "") and y, which is
    the target or with `log10` its decadic logarithm, indexed by row number from 1.
    With `group` also the column group, the text of the column of that name.
    """
    path = Path(path)
    table = _read(path, target)
    for name in (target, structures, group):
        if name is not None and name not in table:
            raise CommandError(
                f"{path.name} has no column {name!r}; it has {_columns(table)}."
            )
    if structures is None:
        structures = _structure_column(table, target, path.name)
    if structures == target:
        raise CommandError(f"Got the column {target!r} for target and structures.")
    name = None if target is None else f"target {target!r}"
    targets = [None] * len(table) if target is None else table[target]
    rows = [
        _sample(structure, number, path.parent, name, log10)
        for structure, number in zip(table[structures], targets, strict=True)
    ]
    index = pd.RangeIndex(1, len(rows) + 1, name="row")
    columns = ["file", "structure", "target", "error"]
    samples = pd.DataFrame(rows, index, columns, dtype=object)
    samples = samples.astype({"target": float})
    if group is not None:
        labels = [None if _is_missing(label) else str(label) for label in table[group]]
        samples["group"] = np.array([*labels, None], object)[:-1]
    return samples.assign(y=np.log10(samples["target"]) if log10 else samples["target"])


def _read(path, target):
    """Read a table; its cells are objects, as in the file."""
    kind = path.name.lower().removesuffix(".gz").rpartition(".")[2]
    if kind not in TABLES:
        raise CommandError(
            f"Got the data file {str(path)!r}, expected a table of structures and "
            f"targets: .{', .'.join(TABLES)}, or one of these and .gz."
        )
    try:
        if kind == "xlsx":
            table = pd.read_excel(path, header=None, engine="openpyxl", **_AS_TEXT)
            table = _with_header(table)
        else:
            table = _parse(_read_text(path), kind, target)
    except FileNotFoundError as error:
        raise CommandError(f"There is no data file {str(path)!r}.") from error
    except Exception as error:  # a broken file can cause any error
        raise CommandError(f"Cannot read {str(path)!r}: {error}") from error
    if table.empty:
        raise CommandError(f"{str(path)!r} has no rows.")
    if not table.columns.is_unique:
        raise CommandError(
            f"Cannot read {str(path)!r}: columns of the same name in {_columns(table)}."
        )
    return table


def _read_text(path):
    with (gzip.open if path.suffix.lower() == ".gz" else open)(path, "rb") as file:
        content = file.read()
    try:
        return decode(content)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"expected text in UTF-8 ({error}). Save it as UTF-8 text"
        ) from error


def _parse(text, kind, target):
    if kind == "jsonl":
        return pd.DataFrame(_records_of_lines(text), dtype=object)
    if kind == "json":
        return _parse_json(text, target)
    # The separator is that of the header. It is read as a row, as pandas renames
    # columns of the same name.
    headers = {
        separator: next(csv.reader(io.StringIO(text), delimiter=separator), [])
        for separator in ("\t" if kind == "tsv" else ",;\t")
    }
    separator = max(headers, key=lambda s: (target in headers[s], len(headers[s])))
    text = io.StringIO(text)
    return _with_header(pd.read_csv(text, sep=separator, header=None, **_AS_TEXT))


def _with_header(rows):
    return rows[1:].set_axis(rows.iloc[0], axis="columns")


def _parse_json(text, target):
    content = json.loads(text)
    if isinstance(content, dict) and {"columns", "data"} <= content.keys():
        return pd.DataFrame(content["data"], None, content["columns"], dtype=object)
    records = content.values() if isinstance(content, dict) else content
    if isinstance(content, str) or not all(isinstance(r, dict) for r in records):
        raise ValueError(
            "expected a list of records, or an object with the keys columns and data"
        )
    if isinstance(content, list):
        return pd.DataFrame(content, dtype=object)
    orient = "columns" if target in content else "index"
    return pd.DataFrame.from_dict(content, orient, dtype=object)


def _records_of_lines(text):
    records = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                records.append(dict(json.loads(line)))
            except (TypeError, ValueError) as error:
                raise ValueError(f"line {number} is no JSON record: {error}") from error
    return records


def _sample(structure, number, folder, name, log10):
    """Return file, structure, target and the reasons why they cannot be used."""
    file = structure.strip() if _is_path(structure) else ""
    item, y, errors = None, math.nan, []
    try:
        y = math.nan if name is None else _target(number, name, log10)
    except ValueError as reason:
        errors.append(str(reason))
    try:
        item = _structure(folder / file if file else structure)
    except ValueError as reason:
        errors.append(str(reason))
    return file, item, y, "; ".join(errors)


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
        hint = ": write 1.5 for 1,5" if re.fullmatch(r"'-?\d+,\d+'", text) else ""
        raise ValueError(f"{name} is {text}, not a number{hint}") from None
    if not math.isfinite(number):
        raise ValueError(f"{name} is {number}, not a finite number")
    if log10 and number <= 0:
        raise ValueError(f"{name} is {number:g}, not positive, and has no log10")
    return number


def _structure(item):
    if _is_missing(item):
        raise ValueError("the structure is missing")
    if isinstance(item, Path):
        if not os.path.isfile(item):
            raise ValueError(f"there is no file {str(item)!r}")
        if not os.access(item, os.R_OK):
            raise ValueError(f"there is no permission to read the file {str(item)!r}")
    return item


def _is_path(value):
    """Return whether a cell is the path of a file, not the text of one."""
    return isinstance(value, str) and "\n" not in value.strip() and "{" not in value[:1]


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
                if len(likely) > 1:
                    rest = [other for other in likely if other != by_lower[column]]
                    print_message(
                        f"Structures are those of the column {by_lower[column]!r}; "
                        f"--structures can name another one: {rest}"
                    )
                return by_lower[column]
        if len(among) == 1 and among is likely:
            return likely[0]
    found = f"{likely} may have them" if likely else "none is likely to have them"
    raise CommandError(
        f"Cannot find the column of structures in {name}: of {_columns(table)} {found}."
        " Name it with --structures."
    )


def _columns(table):
    """Return the names of the first columns."""
    names = ", ".join(map(repr, table.columns[:_N_INSPECTED]))
    return f"[{names}{', ...' if len(table.columns) > _N_INSPECTED else ''}]"


def _has_structures(column):
    """Return whether the first values contain a dictionary, text or path of one."""
    values = [value for value in column if not _is_missing(value)]
    return any(
        ("sites" in value or "atom" in value)
        if isinstance(value, dict)
        else isinstance(value, str)
        and (not _is_path(value) or is_structure_file(value))
        for value in values[:_N_INSPECTED]
    )
