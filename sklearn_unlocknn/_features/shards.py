"""Rows of features in files that processes share, and in memory before them."""

import atexit
import contextlib
import hashlib
import os
import platform
import shutil
import stat
import tempfile
import threading
import time
import uuid
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path

import filelock
import numpy as np

from .._parallel import in_worker, root_name

#: Bytes of rows that this process keeps, and that the folder of a session keeps.
MAX_BYTES = 256 * 2**20
_KEY_BYTES = 150  # a digest in a dict, about
#: So many shards of less than so many bytes become one.
_MERGE_FILES, _MERGE_BYTES = 32, 4 * 2**20

# Shards read or written by this process, newest last: {(folder, name): (index, rows)}.
# An index is {digest: position}; rows are None where they were not needed yet.
_TABLE = OrderedDict()
_GUARD = threading.RLock()
# One thread of a process computes rows of a folder at a time.
_LOCKS = {}
# Folders of sessions that this process has used, and bytes written since it looked.
_SESSIONS, _WRITTEN = set(), [0]


def session_folder():
    """Return the folder that this process shares with its parent and its workers.

    Returns
    -------
    pathlib.Path or None
        Inside a folder of temporary files that only this user can open; None if
        there is no such place. It goes with the process that started the others.
    """
    base = _base()
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(base, 0o700)
        info = os.lstat(base)
    except OSError:
        return None
    if not stat.S_ISDIR(info.st_mode):
        return None
    if os.name == "posix" and (info.st_uid != os.getuid() or info.st_mode & 0o077):
        return None  # somebody else's, or open to others
    folder = base / root_name().replace(":", "-")
    if folder not in _SESSIONS:
        _SESSIONS.add(folder)
        _sweep(base)
    return folder


def _base():
    user = os.getuid() if os.name == "posix" else "user"
    # Ids of processes mean something on one machine only.
    node = hashlib.blake2b(platform.node().encode(), digest_size=4).hexdigest()
    return Path(tempfile.gettempdir()) / f"sklearn_unlocknn-{user}-{node}"


def _sweep(base):
    """Remove what processes left that were killed."""
    with contextlib.suppress(OSError):
        for folder in list(base.iterdir()):
            if folder.name.isdigit():
                dead = os.name == "posix" and not _is_alive(int(folder.name))
            else:
                dead = time.time() - folder.stat().st_mtime > 7 * 86400
            if dead:
                shutil.rmtree(folder, ignore_errors=True)


def _is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _remove_session(pid):
    """Remove the session of a process when it ends; workers leave it to their root."""
    if os.getpid() != pid or in_worker():
        return
    names = {str(pid)} | {f.name for f in _SESSIONS if f.name.startswith("ray-")}
    for name in names:
        shutil.rmtree(_base() / name, ignore_errors=True)
    with contextlib.suppress(OSError):
        _base().rmdir()  # if no other session is left


atexit.register(_remove_session, os.getpid())


def forget():
    """Do as a new process with a new session: forget all rows that were kept."""
    with _GUARD:
        _TABLE.clear()
    shutil.rmtree(session_folder() or "", ignore_errors=True)


class Shards:
    """The rows of one namespace: shards in a folder and in memory.

    Every `keep` writes one new file, by an atomic rename, and no file is ever changed.
    Many small ones become one, under the lock; who reads may find a file gone.

    Parameters
    ----------
    folder : pathlib.Path or None
        Folder of the namespace, made when first needed; None: the session's, or
        memory where there is none.
    name : str
        Name of the namespace.
    """

    def __init__(self, folder, name):
        self.is_session = folder is None
        if self.is_session:
            folder = session_folder()
        self.folder = None if folder is None else folder / name
        self._home = name if folder is None else str(self.folder)

    @contextlib.contextmanager
    def claim(self):
        """Be the only one, of threads and processes, that computes rows here."""
        with _GUARD:
            mine = _LOCKS.setdefault(self._home, threading.RLock())
        lock = None
        with mine:
            if self.folder is not None:
                # Where locks or folders cannot be made, work may be done twice.
                with contextlib.suppress(OSError, NotImplementedError):
                    self.folder.mkdir(parents=True, exist_ok=True)
                    lock = filelock.FileLock(self.folder / "lock")
                    lock.acquire()
            try:
                yield
            finally:
                if lock is not None:
                    lock.release()

    def known(self, keys):
        """Return {key: row} of those of ``keys`` that are kept."""
        rows, missing = {}, set(keys)
        with _GUARD:
            seen = [name for home, name in reversed(_TABLE) if home == self._home]
        for name in seen:
            self._take(name, rows, missing)
            if not missing:
                return rows
        if self.folder is None:
            return rows
        listed = self._listed()
        self._drop([n for n in seen if n.endswith(".npz") and n not in listed])
        for name in listed - set(seen):
            self._take(name, rows, missing)
            if not missing:
                break
        return rows

    def keep(self, keys, values):
        """Keep rows of features by their keys."""
        size = values.nbytes + _KEY_BYTES * len(keys)
        if not keys or (self.is_session and size > MAX_BYTES):
            return
        name = f"{uuid.uuid4().hex}.npz"
        written = self.folder is not None and self._write(name, keys, values)
        if not written:
            name = name.removesuffix(".npz")  # of no file
        self._remember(name, {key: row for row, key in enumerate(keys)}, values)
        if written and self.is_session:
            _bound(self.folder.parent, size)
        self._merge(written)

    def _listed(self):
        try:
            return {name for name in os.listdir(self.folder) if name.endswith(".npz")}
        except OSError:
            return set()

    def _take(self, name, rows, missing):
        """Move what a shard has from ``missing`` to ``rows``."""
        with _GUARD:
            index, values = _TABLE.get((self._home, name), (None, None))
        if index is None:
            index, values = self._read(name, missing)
            self._remember(name, index, values)
        hits = missing & index.keys()
        if hits and values is None:
            index, values = self._read(name, hits)
            hits &= index.keys()
            self._remember(name, index, values)
        elif hits:
            with _GUARD, contextlib.suppress(KeyError):
                _TABLE.move_to_end((self._home, name))
        rows.update((key, values[index[key]]) for key in hits)
        missing -= hits

    def _remember(self, name, index, values):
        with _GUARD:
            _TABLE[self._home, name] = index, values
            _TABLE.move_to_end((self._home, name))
            size = sum(map(_size, _TABLE.values()))
            while size > MAX_BYTES and _TABLE:
                size -= _size(_TABLE.popitem(last=False)[1])

    def _drop(self, names):
        with _GUARD:
            for name in names:
                _TABLE.pop((self._home, name), None)

    def _read(self, name, wanted):
        """Read the index of a file and, if it has what is wanted, its rows."""
        path = self.folder / name
        try:
            # np.load leaks a file that it opens itself and finds damaged
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as shard:
                digests = shard["keys"]
                if digests.ndim != 2 or digests.shape[1:] != (16,):
                    raise ValueError("not a shard of features")
                index = {key.tobytes(): row for row, key in enumerate(digests)}
                values = None if wanted.isdisjoint(index) else shard["values"]
            if values is not None and (values.ndim != 2 or len(digests) != len(values)):
                raise ValueError(f"{len(digests)} keys for rows of {values.shape}")
        except FileNotFoundError:  # merged with others, or cleared, meanwhile
            return {}, None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            if self.is_session:
                with contextlib.suppress(OSError):
                    path.unlink()
                return {}, None
            warnings.warn(
                f"Skipped the damaged cache file {path}: {error}. Its rows are "
                "computed again; delete the file to be rid of this warning.",
                RuntimeWarning,
                stacklevel=7,
            )
            return {}, None
        return index, values

    def _write(self, name, keys, values):
        """Write a shard, whole or not at all; tell whether it is there."""
        temporary = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=self.folder, suffix=".tmp")
            with os.fdopen(handle, "wb") as file:
                digests = np.frombuffer(b"".join(keys), np.uint8).reshape(-1, 16)
                np.savez(file, keys=digests, values=values)
            os.replace(temporary, self.folder / name)
        except OSError as error:
            if temporary is not None:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
            if not self.is_session:
                warnings.warn(
                    f"Features could not be kept in {self.folder}: {error}. They are "
                    "computed again next time; give `memory` a folder with space that "
                    "can be written.",
                    RuntimeWarning,
                    stacklevel=6,
                )
            return False
        return True

    def _merge(self, written):
        """Make one shard of the small ones, if they are many; under the lock."""
        limit = min(_MERGE_BYTES, MAX_BYTES // 16)
        names = []
        if not written:  # those of no file
            with _GUARD:
                mine = [(n, v) for (h, n), v in _TABLE.items() if h == self._home]
            mine = [(n, v) for n, v in mine if not n.endswith(".npz")]
            names = [name for name, shard in mine if _size(shard) < limit]
        else:
            with contextlib.suppress(OSError), os.scandir(self.folder) as entries:
                for entry in entries:
                    if entry.name.endswith(".npz") and entry.stat().st_size < limit:
                        names.append(entry.name)
                    elif entry.name.endswith(".tmp"):
                        _unlink_old(entry)
        if len(names) < _MERGE_FILES:
            return
        rows = {}
        for name in names:
            with _GUARD:
                index, values = _TABLE.get((self._home, name), (None, None))
            if values is None:
                index, values = self._read(name, _Everything())
            rows.update((key, values[row]) for key, row in index.items())
        widths = {len(row) for row in rows.values()}
        if len(widths) != 1:
            return
        keys, values = list(rows), np.array(list(rows.values()))
        merged = f"{uuid.uuid4().hex}.npz"
        if not written:
            merged = merged.removesuffix(".npz")
        elif not self._write(merged, keys, values):
            return
        self._remember(merged, {key: row for row, key in enumerate(keys)}, values)
        self._drop(names)
        for name in names if written else []:
            with contextlib.suppress(OSError):
                os.unlink(self.folder / name)


class _Everything:
    """Stands for all keys there are."""

    def isdisjoint(self, _):
        return False


def _size(shard):
    index, values = shard
    return (0 if values is None else values.nbytes) + _KEY_BYTES * len(index)


def _unlink_old(entry):
    """Remove a temporary file whose writer must have been killed."""
    with contextlib.suppress(OSError):
        if time.time() - entry.stat().st_mtime > 3600:
            os.unlink(entry.path)


def _bound(session, size):
    """Keep the files of a session within `MAX_BYTES`; the oldest go first."""
    _WRITTEN[0] += size
    if _WRITTEN[0] < MAX_BYTES // 16:
        return
    _WRITTEN[0] = 0
    shards = []
    for path in session.glob("*/*.npz"):
        with contextlib.suppress(OSError):
            info = path.stat()
            shards.append((info.st_mtime_ns, info.st_size, path))
    total = sum(size for _, size, _ in shards)
    for _, size, path in sorted(shards):
        if total <= MAX_BYTES:
            break
        with contextlib.suppress(OSError):
            path.unlink()
        total -= size
