"""Files of the command line: whole outputs or none, saved models, structure files."""

import codecs
import os
import re
import sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

from .. import __version__
from .._files.output import replacing

#: Endings of the names of pickles.
_PICKLES = (".joblib", ".pickle", ".pkl")
#: Endings of the names of data files, which may be followed by .gz.
TABLES = ("csv", "tsv", "json", "jsonl", "xlsx")
#: Endings of the names of structure files, in lower case, and of compressed files.
_STRUCTURES = (".cif", ".mcif", "poscar", "contcar", ".vasp", ".xyz", ".json")
_STRUCTURES += (".cssr", ".xsf", ".res", ".mol", ".sdf")
_COMPRESSED = (".gz", ".bz2", ".xz")


_INPUTS = {
    "model": "model file", "data": "data file", "training": "file or folder of data",
}  # fmt: skip


class CommandError(Exception):
    """An error with a complete message for the user, who needs no traceback."""


def print_message(text):
    """Print a line on standard error, above a progress bar if there is one."""
    from tqdm import tqdm

    tqdm.write(text, file=sys.stderr)


def find_input(args):
    """Raise `CommandError` if the file of the model or data does not exist."""
    for name, what in _INPUTS.items():
        path = getattr(args, name, None)
        if path is not None and not os.path.exists(path):
            raise CommandError(f"There is no {what} {str(path)!r}.")


def announce(args):
    """Say on a terminal what is read, before the libraries are imported."""
    if sys.stderr.isatty():
        name = getattr(args, "model", None) or args.data
        print(f"Reading {name}", file=sys.stderr, flush=True)


def check_model_name(path):
    """Raise `CommandError` if the name of a model file is that of a pickle."""
    if path.lower().endswith(_PICKLES):
        raise CommandError(
            f"Got the model file {path!r}, which is the name of a pickle, expected one "
            "such as 'model.unlocknn'. In Python, sklearn_unlocknn.load_model reads it."
        )


def check_output(path, *, force, inputs=(), stdout=True):
    """Raise `CommandError` if an output must not be written.

    None and "-" are the standard output. An existing file is replaced only with
    `force`, and never if it is one of the inputs.
    """
    if path == "-" and not stdout:
        raise CommandError("Got output '-', expected the name of a file.")
    if path in (None, "-") or not os.path.lexists(path):
        return
    if not os.path.isfile(path):
        raise CommandError(
            f"Got output {path!r}, which is not a regular file. Name another output."
        )
    if any(os.path.exists(name) and os.path.samefile(path, name) for name in inputs):
        raise CommandError(f"Got output {path!r}, which is also an input.")
    if not force:
        raise CommandError(f"{path!r} exists. Name another output, or add --force.")


@contextmanager
def open_output(path, mode="w"):
    """Open an output that is written whole or not at all, see `replacing`.

    None and "-" are the standard output, text is UTF-8. The temporary file is created
    before any work is done, so that a folder without write permission is an early
    error.
    """
    if path in (None, "-"):
        yield sys.stdout
        sys.stdout.flush()
        return
    text = {"encoding": "utf-8", "errors": "backslashreplace", "newline": ""}
    text = {} if "b" in mode else text
    opened = False
    try:
        with replacing(path, mode, **text) as file:
            opened = True
            yield file
    except OSError as error:
        if opened:
            raise
        raise CommandError(
            f"Cannot write in the folder of {str(path)!r}: {error.strerror}."
        ) from error


def load_model(path, allow_pickle=False):
    """Read a model file: a dict with keys estimator, target, log10, version and card.

    The file is one of `sklearn_unlocknn.save_model` or, with `allow_pickle`, a fitted
    MEGNetProbRegressor written by joblib or pickle, whose card is empty.
    Raises `CommandError` unless it has a fitted model with one target.
    """
    from .._regressors.megnet import MEGNetProbRegressor

    if not os.path.isfile(path):
        raise CommandError(f"There is no model file {str(path)!r}.")
    expected = "expected a model file of `unlocknn fit`"
    with open(path, "rb") as file:
        is_pickle = file.read(2) != b"PK"  # the start of a zip file
    if not is_pickle:
        from .._files.model_file import read_model_file

        card, estimator = read_model_file(path)
    elif not allow_pickle:
        raise CommandError(
            f"Got {str(path)!r}, {expected}. If it is a pickle, which runs code when "
            "it is read, and you trust those who wrote it, add --allow-pickle."
        )
    else:
        card, estimator = {}, _unpickled(path, expected)
    if not isinstance(estimator, MEGNetProbRegressor):
        name = type(estimator).__name__
        raise CommandError(
            f"Got a {name} in {str(path)!r}, {expected}: a MEGNetProbRegressor, which "
            "predicts structures. Use models of tables of numbers, and those inside a "
            "Pipeline or another wrapper, from Python."
        )
    try:
        estimator.get_params()
    except AttributeError as error:  # a parameter that was added later
        raise CommandError(
            f"The model in {str(path)!r} was pickled by another version of "
            f"sklearn_unlocknn (this is {__version__}). Fit it again."
        ) from error
    if not hasattr(estimator, "noise_std_"):
        raise CommandError(f"The model in {str(path)!r} is not fitted, {expected}.")
    if not isinstance(estimator.noise_std_, float):
        raise CommandError(
            f"The model in {str(path)!r} has {len(estimator.noise_std_)} targets, "
            "expected one. Use it from Python."
        )
    return {
        "estimator": estimator,
        "card": card,
        "target": card.get("target"),
        "log10": bool(card.get("log10")),
        "version": card["versions"].get("sklearn_unlocknn") if card else None,
    }


def _unpickled(path, expected):
    import joblib

    try:
        return joblib.load(path)
    except Exception as error:  # bytes that are not a pickle can cause any error
        reason = " ".join(str(error).split()) or type(error).__name__
        message = f"Cannot read {str(path)!r}, {expected}: {reason}"
        raise CommandError(message) from error


def decode(content, errors="strict"):
    """Decode text: UTF-16 after its byte order mark, otherwise UTF-8."""
    utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if utf16 else "utf-8-sig", errors)


def is_structure_file(name):
    """Return whether a file is one of structures by its name."""
    stem, suffix = os.path.splitext(os.path.basename(name).lower())
    stem = stem if suffix in _COMPRESSED else stem + suffix
    return stem.endswith(_STRUCTURES) or stem.startswith(("poscar", "contcar"))


def structure_rows(names, listing=None, *, recursive=False):
    """Expand arguments to rows of a path, a name, a structure and an error (or "").

    A folder stands for the structure files in it, with `recursive` also in its
    subfolders; the rest is counted on standard error. "-" stands for names on standard
    input. `listing` is a file with one name on each line.
    """
    names = [part for n in names for part in (_lines("-") if n == "-" else [n])]
    if listing is not None:
        names += _lines(listing)
    if not names:
        raise CommandError("Got no structure files. Name files or folders, or --list.")
    rows = []
    for name in names:
        if os.path.isdir(name):
            rows += _rows_of_folder(name, recursive)
        elif name.lower().endswith((".csv", ".tsv", ".jsonl", ".xlsx")):
            raise CommandError(
                f"Got the table {name!r}, expected structure files. `unlocknn predict` "
                "takes their names, also from a text file (--list); `unlocknn "
                "evaluate` takes a table with targets."
            )
        else:
            rows += _rows_of_file(name)
    return rows


def _lines(path):
    try:
        content = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
        lines = decode(content, "surrogateescape").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"Cannot read the list {path!r}: {error}") from error
    names = [name for line in lines if (name := line.strip())]
    # names are bytes, whichever encoding the system assumes
    return [os.fsdecode(name.encode("utf-8", "surrogateescape")) for name in names]


def _rows_of_file(path):
    """Return the rows of a structure file: one, or one for each structure in it."""
    path, label = Path(path), _printable(path)
    if not _may_hold_several(path):
        return [(path, label, path, "")]
    from .._structures.read import StructureError, read_structures

    found, rows = read_structures(path), []
    if len(found) == 1:
        return [(path, label, path, "")]
    for name, structure in found:
        failed = isinstance(structure, StructureError)
        reason = " ".join(structure.reason.split()) if failed else ""
        structure = None if failed else structure
        rows.append((path, f"{label}:{name}", structure, reason))
    return rows


def _may_hold_several(path):
    """Return whether a file has two CIF blocks, XYZ frames or entries of a list.

    Without a parser, so that the many files with a single structure are read once.
    """
    name = path.name.lower()
    try:
        if name.endswith((".cif", ".mcif")):
            return len(re.findall(rb"(?im)^\s*data_", path.read_bytes())) > 1
        if name.endswith((".xyz", ".extxyz")):
            lines = path.read_bytes().split(b"\n")
            return len([line for line in lines[2:] if line.strip()]) > int(lines[0])
        return name.endswith(".json") and path.read_bytes().lstrip()[:1] == b"["
    except (OSError, ValueError):
        return False  # the reader names what is wrong


def _rows_of_folder(folder, recursive):
    """Return the sorted rows of a folder; print a count of what is passed over."""
    rows, passed = [], Counter()

    def fail(error):
        reason = f"the folder cannot be read ({error.strerror})"
        rows.append((None, _printable(error.filename), None, reason))

    for parent, folders, files in os.walk(folder, onerror=fail):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(name for name in files if not name.startswith(".")):
            if is_structure_file(name):
                rows += _rows_of_file(os.path.join(parent, name))
            else:
                passed[os.path.splitext(name)[1] or "without suffix"] += 1
        if recursive:
            links = [os.path.islink(os.path.join(parent, name)) for name in folders]
            passed["links to folders"] += sum(links)
        else:
            passed["subfolders"] += len(folders)
            break
    text = ", ".join(f"{kind} ({n})" for kind, n in passed.most_common() if n)
    if passed["subfolders"]:
        text += "; --recursive reads subfolders"
    if not rows:
        reason = f"the folder has no structure files: {text}"
        reason = reason if text else "the folder is empty"
        return [(None, _printable(folder), None, reason)]
    if text:
        print_message(f"{folder}: passed over {text}")
    return rows


def _printable(name):
    """Return a file name with escapes for bytes that are not UTF-8."""
    return name.encode("utf-8", "surrogateescape").decode(errors="backslashreplace")
