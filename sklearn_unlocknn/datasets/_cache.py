"""Files of the registry: found in the data folder, or downloaded and checked."""

import functools
import hashlib
import importlib.resources
import importlib.util
import json
import os
import secrets
import sys
import time
import warnings
from pathlib import Path

#: Seconds to wait for a connection and for the next bytes.
TIMEOUT = 30
#: A partial file not written to for so many seconds has lost its process.
STALE = 20 * TIMEOUT


@functools.cache
def registry():
    """Return the known files: path -> dict with sha256 and url (and more)."""
    file = importlib.resources.files(__package__) / "registry.json"
    return json.loads(file.read_text(encoding="utf-8"))


def get_data_home(data_home=None):
    """Return the folder in which data sets and pretrained networks are kept.

    Parameters
    ----------
    data_home : path-like, default=None
        The folder. By default that of the environment variable
        ``SKLEARN_UNLOCKNN_DATA``, or else the user's cache folder.

    Returns
    -------
    Path
        It need not exist yet: the first download makes it.

    Examples
    --------
    >>> from sklearn_unlocknn.datasets import get_data_home
    >>> get_data_home("my_data").name
    'my_data'
    """
    home = data_home or os.environ.get("SKLEARN_UNLOCKNN_DATA")
    if not home:
        import pooch

        home = pooch.os_cache("sklearn-unlocknn")
    return Path(home).expanduser().absolute()


def fetch_file(path, **options):
    """Fetch one file; see `fetch_files`."""
    return fetch_files([path], **options)[0]


def fetch_files(paths, *, data_home=None, download_if_missing=True, progress=None):
    """Find files in the data folder and download those that are missing.

    Each file is downloaded under another name and renamed once its sha256 is right, so
    that the folder never holds a broken file under a good name, also if the process is
    killed or several fetch the same file. Files that are complete are kept: a call that
    failed goes on where it stopped when it is repeated.

    Parameters
    ----------
    paths : list of str
        Paths in the registry, relative to the data folder.
    data_home : path-like, default=None
        Data folder; see `get_data_home`.
    download_if_missing : bool, default=True
        Whether to download what is missing, and what is there with the wrong sha256.
    progress : bool, default=None
        Whether to show a progress bar; by default if standard error is a terminal.

    Returns
    -------
    list of Path

    Raises
    ------
    FileNotFoundError
        If files are missing and `download_if_missing` is False.
    OSError
        If a file is wrong, or cannot be downloaded or written. Either error names the
        files that remain to be put in place, and where they are to be had.
    """
    home = get_data_home(data_home)
    files = [home / path for path in paths]
    wrong = {
        path: file
        for path, file in zip(paths, files, strict=True)
        if not _is_right(path, file)
    }
    if wrong and not download_if_missing:
        path, file = next(iter(wrong.items()))
        if file.exists():
            raise OSError(_message(f"{file} does not have the expected sha256", wrong))
        reason = f"{path} is not in the data folder and `download_if_missing` is False"
        raise FileNotFoundError(_message(reason, wrong))
    for path, file in list(wrong.items()):
        if file.exists():
            warnings.warn(
                f"{file} does not have the expected sha256; it is downloaded again.",
                stacklevel=3,
            )
        try:
            _download(path, file, progress)
        except (OSError, ValueError) as error:  # requests' errors are OSErrors
            if (response := getattr(error, "response", None)) is not None:
                response.close()  # pooch leaves its connection open
            reason = str(error) or type(error).__name__
            raise OSError(_message(f"{path}: {reason}", wrong)) from error
        del wrong[path]
    return files


def _is_right(path, file):
    return file.is_file() and _sha256(file) == registry()[path]["sha256"]


def _sha256(file):
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _download(path, file, progress):
    import pooch

    if progress is None:
        progress = sys.stderr is not None and sys.stderr.isatty()
    entry = registry()[path]
    get = pooch.HTTPDownloader(
        progressbar=bool(progress and importlib.util.find_spec("tqdm")),
        chunk_size=2**16,
        timeout=TIMEOUT,
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    _sweep(file)
    part = file.with_name(f"{file.name}.{secrets.token_hex(4)}.part")
    try:
        with open(part, "xb") as out:
            get(entry["url"], out, None)
        got = _sha256(part)
        if got != entry["sha256"]:
            raise ValueError(
                f"what {entry['url']} sent has sha256 {got}, not {entry['sha256']}"
            )
        os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)


def _sweep(file):
    """Remove what killed processes left of this file."""
    for part in file.parent.glob(f"{file.name}.*.part"):
        # another process may be removing it, or another user own it
        try:
            if time.time() - part.stat().st_mtime > STALE:
                part.unlink()
        except OSError:
            pass


def _message(reason, wrong):
    """Say what went wrong, and what to put where without a connection."""
    lines = [f"  {registry()[path]['url']} -> {file}" for path, file in wrong.items()]
    return "\n".join(
        [
            f"{reason}. Repeat the call with a connection to try again (complete files "
            "are kept), or put in place by hand:",
            *lines,
        ]
    )
