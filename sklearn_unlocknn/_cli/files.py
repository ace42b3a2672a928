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


def say(text):
    """Print a line on standard error, above a progress bar if there is one."""
    from tqdm import tqdm

    tqdm.write(text, file=sys.stderr)


def check_output(path, *, force, inputs=(), stdout=True):
    """Raise `CommandError` if an output must not be written.

    Parameters
    ----------
    path : str or None
        The output; None and "-" are the standard output.
    force : bool
        Whether an existing file may be replaced.
    inputs : iterable of path-like
        Input files, which are never replaced.
    stdout : bool, default=True
        Whether "-" is allowed.
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

    After an exception, Ctrl-C included, the temporary file is removed and an older file
    of this name is unchanged. The temporary file is created before any work is done,
    so that a folder without write permission is an early error.

    Parameters
    ----------
    path : str or None
        The output; None and "-" are the standard output.
    mode : {"w", "wb"}, default="w"
        Text (UTF-8) or bytes.

    Yields
    ------
    file
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
    """Read a model file.

    Parameters
    ----------
    path : path-like
        Written by `save_model`, or a fitted MEGNetProbRegressor written by joblib or
        pickle, whose target then has no name.

    Returns
    -------
    dict
        With keys estimator, target (str or None), log10 and version (str or None).

    Raises
    ------
    CommandError
        If the file does not contain a fitted model with one target.
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

    Parameters
    ----------
    names : list of str
        Files; folders, which stand for the CIF and POSCAR files in them; and "-" for
        names on standard input.
    listing : str or None
        A file with one name on each line; "-" is the standard input.

    Returns
    -------
    list of str
        A folder without structure files remains in the list, to be reported.
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
