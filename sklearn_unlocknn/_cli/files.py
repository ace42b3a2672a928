"""Files of the command line: outputs written completely or not at all, saved models."""

import os
import secrets
import sys
from contextlib import contextmanager
from pathlib import Path

from .. import __version__

_FORMAT = "sklearn_unlocknn model"
#: Endings and beginnings of the names of crystal files.
SUFFIXES = (".cif", ".vasp", ".poscar")
PREFIXES = ("POSCAR", "CONTCAR")


class CommandError(Exception):
    """An error with a complete message for the user, who needs no traceback."""


def print_message(text):
    """Print a line on standard error, above a progress bar if there is one."""
    from tqdm import tqdm

    tqdm.write(text, file=sys.stderr)


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
    """Open an output under a temporary name in its folder; rename it at the end.

    None and "-" are the standard output, text is UTF-8. After an exception, Ctrl-C
    included, the temporary file is removed and an older file of this name is unchanged.
    The temporary file is created before any work is done, so that a folder without
    write permission is an early error.
    """
    if path in (None, "-"):
        yield sys.stdout
        sys.stdout.flush()
        return
    target = Path(os.path.realpath(path))  # a link remains a link
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": ""}
    try:  # starts before the file exists: Ctrl-C may come while it is created
        try:
            file = open(part, mode.replace("w", "x"), **text)  # noqa: SIM115
        except OSError as error:
            raise CommandError(
                f"Cannot write in the folder of {str(path)!r}: {error.strerror}."
            ) from error
        with file:
            yield file
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


def save_model(file, estimator, *, target, log10):
    """Write a fitted regressor, the column of its target and whether it is log10."""
    import joblib

    content = {"format": _FORMAT, "version": __version__, "target": target}
    joblib.dump({**content, "log10": log10, "estimator": estimator}, file)


def load_model(path):
    """Read a model file: a dict with keys estimator, target, log10 and version.

    The file is one of `save_model`, or a fitted MEGNetProbRegressor written by joblib
    or pickle, whose target and version are None. Raises `CommandError` unless it has a
    fitted model with one target.
    """
    import joblib

    from .._regressors.megnet import MEGNetProbRegressor

    if not os.path.isfile(path):
        raise CommandError(f"There is no model file {str(path)!r}.")
    expected = "expected a model file of `unlocknn fit`"
    try:
        content = joblib.load(path)
    except Exception as error:  # bytes that are not a pickle can cause any error
        reason = " ".join(str(error).split()) or type(error).__name__
        message = f"Cannot read {str(path)!r}, {expected}: {reason}"
        raise CommandError(message) from error
    if isinstance(content, MEGNetProbRegressor):
        content = {"format": _FORMAT, "estimator": content}
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        name = type(content).__name__
        raise CommandError(f"Got a {name} in {str(path)!r}, {expected}.")
    model = {"target": None, "log10": False, "version": None, **content}
    estimator = model["estimator"]
    try:
        estimator.get_params()
    except AttributeError as error:  # a parameter that was added later
        raise CommandError(
            f"The model in {str(path)!r} was written by another version of "
            f"sklearn_unlocknn ({model['version'] or 'unknown'}; this is "
            f"{__version__}). Fit it again."
        ) from error
    if not hasattr(estimator, "noise_std_"):
        raise CommandError(f"The model in {str(path)!r} is not fitted, {expected}.")
    if not isinstance(estimator.noise_std_, float):
        raise CommandError(
            f"The model in {str(path)!r} has {len(estimator.noise_std_)} targets, "
            "expected one. Use it from Python."
        )
    return model


def structure_files(names, listing=None):
    """Expand arguments to names of structure files.

    A folder stands for the CIF and POSCAR files in it (and remains, to be reported, if
    there are none), "-" for names on standard input. `listing` is a file with one name
    on each line.
    """
    names = [part for n in names for part in (_lines("-") if n == "-" else [n])]
    if listing is not None:
        names += _lines(listing)
    if not names:
        raise CommandError("Got no structure files. Name files or folders, or --list.")
    return [file for name in names for file in _files_in(name) or [name]]


def _lines(path):
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"Cannot read the list {path!r}: {error}") from error
    return [line for line in text.splitlines() if line.strip()]


def _files_in(name):
    """Return the sorted structure files of a folder; an empty list for a file."""
    if not os.path.isdir(name):
        return []
    return [
        os.path.join(name, file)
        for file in sorted(os.listdir(name))
        if file.lower().endswith(SUFFIXES) or file.startswith(PREFIXES)
    ]
