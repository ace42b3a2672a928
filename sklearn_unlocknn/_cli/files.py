"""Files of the command line: outputs written whole or not at all, saved models."""

import os
import secrets
import sys
from contextlib import contextmanager
from pathlib import Path

from .. import __version__

_FORMAT = "sklearn_unlocknn model"
_SUFFIXES = (".cif", ".vasp", ".poscar")
_PREFIXES = ("POSCAR", "CONTCAR")


class CommandError(Exception):
    """What stops a command; the text is all that the user needs to know."""


def check_output(path, *, force, inputs=(), stdout=True):
    """Raise `CommandError` if an output may not be written there.

    Parameters
    ----------
    path : str or None
        The output; None and "-" are the standard output.
    force : bool
        Whether an existing file may be replaced.
    inputs : iterable of path-like
        Files that are read, and hence never replaced.
    stdout : bool, default=True
        Whether "-" may be asked for.
    """
    if path == "-" and not stdout:
        raise CommandError("Got output '-', expected the name of a file.")
    if path in (None, "-"):
        return
    if os.path.lexists(path) and not os.path.isfile(path):
        raise CommandError(
            f"Got output {path!r}, which is no regular file. Name another output."
        )
    if any(_same(path, other) for other in inputs):
        raise CommandError(f"Got output {path!r}, which is also an input.")
    if os.path.exists(path) and not force:
        raise CommandError(f"{path!r} exists. Name another output, or add --force.")


def _same(path, other):
    return (
        os.path.exists(path) and os.path.exists(other) and os.path.samefile(path, other)
    )


@contextmanager
def open_output(path, mode="w"):
    """Open an output under a temporary name beside it; rename it at the end.

    If anything is raised meanwhile, Ctrl-C included, the temporary file is removed and
    what was under the name before is still there. It is made at once, so a folder
    that cannot be written fails before the work and not after.

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
    target = Path(os.path.realpath(path))  # a link stays one
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": ""}
    try:  # from before the file exists: Ctrl-C may come while it is made
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
    """Write a fitted regressor with what `unlocknn` must know beside it.

    Parameters
    ----------
    file : binary file
        Where to.
    estimator : MEGNetProbRegressor
        Fitted.
    target : str
        Name of the column that it was fitted on.
    log10 : bool
        Whether it predicts the decadic logarithm of that column.
    """
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
        If it is no such file.
    """
    import joblib

    from .._regressors.megnet import MEGNetProbRegressor

    if not os.path.isfile(path):
        raise CommandError(f"There is no model file {str(path)!r}.")
    expected = "expected a model file of `unlocknn fit`"
    try:
        content = joblib.load(path)
    except Exception as error:  # whatever bytes that are no pickle can cause
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
    except AttributeError as error:  # a parameter that it did not have then
        raise CommandError(
            f"The model in {str(path)!r} is of another version of sklearn_unlocknn "
            f"({model['version'] or 'unknown'}; this is {__version__}). Fit it again."
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
    """Name the structure files that arguments stand for.

    Parameters
    ----------
    names : list of str
        Files; folders, which stand for the CIF and POSCAR files in them; and "-" for
        a list of names on the standard input.
    listing : str or None
        A file with a name a line; "-" is the standard input.

    Returns
    -------
    list of str
        A folder without structure files stands for itself, to be reported.
    """
    names = [part for n in names for part in (_lines("-") if n == "-" else [n])]
    if listing is not None:
        names += _lines(listing)
    if not names:
        raise CommandError("Got no structure files. Name files or folders, or --list.")
    return [file for name in names for file in _files_in(name) or [name]]


def _lines(path):
    if path == "-":
        text = sys.stdin.read()
    else:
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(f"Cannot read the list {path!r}: {error}") from error
    return [line for line in text.splitlines() if line.strip()]


def _files_in(name):
    """Return the structure files of a folder, sorted; none if it is no folder."""
    if not os.path.isdir(name):
        return []
    return [
        os.path.join(name, file)
        for file in sorted(os.listdir(name))
        if file.lower().endswith(_SUFFIXES) or file.startswith(_PREFIXES)
    ]
