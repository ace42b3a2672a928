"""Files of the registry: found in the data folder, or downloaded and checked."""

import functools
import importlib.resources
import json
import os
import sys
from pathlib import Path

#: Seconds to wait for a connection, and for the next bytes.
TIMEOUT = 30
#: Number of further attempts after a failed download.
RETRIES = 2


@functools.cache
def registry():
    """Return the table of files: path -> dict with sha256, url (and more)."""
    file = importlib.resources.files(__package__) / "registry.json"
    return json.loads(file.read_text(encoding="utf-8"))


def get_data_home(data_home=None):
    """Return the folder of data sets and pretrained networks.

    Parameters
    ----------
    data_home : path-like, default=None
        The folder. None stands for the environment variable
        ``SKLEARN_UNLOCKNN_DATA`` or, without it, the user's cache folder.

    Returns
    -------
    Path
        The first download creates it.

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


def fetch_files(*paths, data_home=None, download_if_missing=True):
    """Return the files of paths in the registry; download missing or changed ones.

    pooch downloads each file under a temporary name, compares its sha256 with the
    registry and renames it, so that an interrupted download leaves no broken file.
    Complete files are kept: a repeated call downloads only the remaining ones.

    Raises OSError when a file cannot be downloaded or written, or when it must be
    downloaded and `download_if_missing` is False (FileNotFoundError if it is missing).
    The errors list the remaining files: URL and place.
    """
    import pooch

    home, entries = get_data_home(data_home), {p: registry()[p] for p in paths}
    remaining = [
        path
        for path, entry in entries.items()
        if not (home / path).is_file()
        or pooch.file_hash(str(home / path)) != entry["sha256"]
    ]
    if remaining and not download_if_missing:
        state, kind = "is missing", FileNotFoundError
        if (home / remaining[0]).exists():
            state, kind = "does not have the expected sha256", OSError
        reason = f"{remaining[0]} {state} and `download_if_missing` is False"
        raise kind(_message(reason, home, remaining))
    store = pooch.create(
        home,
        base_url="",
        registry={path: entry["sha256"] for path, entry in entries.items()},
        urls={path: entry["url"] for path, entry in entries.items()},
        retry_if_failed=RETRIES,
    )
    bar = sys.stderr is not None and sys.stderr.isatty()
    get = pooch.HTTPDownloader(progressbar=bar, chunk_size=2**16, timeout=TIMEOUT)
    for path in list(remaining):
        try:
            folder = (home / path).parent
            folder.mkdir(parents=True, exist_ok=True)
            store.fetch(path, downloader=get)
            # as readable as its folder: pooch lets only the owner read the file
            (home / path).chmod(folder.stat().st_mode & 0o666)
        except (OSError, ValueError) as error:  # requests' errors are OSErrors
            if (response := getattr(error, "response", None)) is not None:
                response.close()  # pooch leaves its connection open
            reason = f"{path}: {error or type(error).__name__}"
            raise OSError(_message(reason, home, remaining)) from error
        remaining.remove(path)
    return [home / path for path in paths]


def _message(reason, home, paths):
    """Append to a reason what to do: the URL and the place of each missing file."""
    lines = [f"  {registry()[path]['url']} -> {home / path}" for path in paths]
    return "\n".join(
        [
            f"{reason}. Repeat the call with a connection (complete files are kept) or "
            "put these files in place by hand:",
            *lines,
        ]
    )
