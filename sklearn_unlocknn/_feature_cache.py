"""Rows of features kept in memory or on disk, found by the content of their input."""

import contextlib
import hashlib
import os
import tempfile
import threading
import uuid
import warnings
import zipfile
from collections import OrderedDict, defaultdict
from pathlib import Path

import filelock
import numpy as np

#: Bytes of rows, and as many of shards, that this process keeps.
MAX_BYTES = 256 * 2**20
#: Rows of a call that memory is worth it for: more are not kept, nor looked up.
MAX_ROWS = 100_000
_KEY_BYTES = 150  # a digest in a dict, about

# Rows kept in memory alone, oldest first: {(namespace, digest): row}.
_ROWS = OrderedDict()
# Shards read or written by this process, newest last: {path: ({digest: row}, values)}.
_SHARDS = OrderedDict()
# One thread of a process computes rows of a namespace at a time.
_LOCKS = defaultdict(threading.RLock)


def cache_location(memory):
    """Return the folder that a ``memory`` parameter stands for.

    Parameters
    ----------
    memory : None, str, path-like or joblib.Memory
        As scikit-learn's estimators take it.

    Returns
    -------
    pathlib.Path or None
        None: no cache.

    Raises
    ------
    ValueError
        When it is something else.
    """
    if memory is not None and hasattr(memory, "cache") and hasattr(memory, "location"):
        memory = memory.location  # a joblib.Memory; without a location it is off
    if memory is None:
        return None
    if isinstance(memory, str | os.PathLike):
        return Path(memory) / "sklearn_unlocknn"
    raise ValueError(
        f"Got `memory`={memory!r}, expected None, a path to a folder or a "
        "joblib.Memory."
    )


def hash_rows(*arrays):
    """Digest each row over several arrays.

    Parameters
    ----------
    *arrays : ndarray of shape (n_samples, ...)
        Arrays of numbers or strings with a row for each sample.

    Returns
    -------
    list of bytes
        A 16-byte blake2b digest for each row; equal rows, equal digests.

    Examples
    --------
    >>> import numpy as np
    >>> a, b, c = hash_rows(np.array([[1.0, 2.0], [1.0, 3.0], [1.0, 2.0]]))
    >>> a == c, a == b
    (True, False)
    """
    arrays = [np.asarray(array) for array in arrays]
    head = "".join(f"{a.dtype.str}{a.shape[1:]}" for a in arrays).encode()
    digests = []
    for row in zip(*arrays, strict=True):
        digest = hashlib.blake2b(head, digest_size=16)
        for part in row:
            part = np.asarray(part)
            if part.dtype == object:
                digest.update(repr(part.tolist()).encode())
            else:
                digest.update(part.tobytes())
        digests.append(digest.digest())
    return digests


def hash_bytes(contents):
    """Hash what each row is made of.

    Parameters
    ----------
    contents : iterable of bytes
        Bytes that tell rows apart.

    Returns
    -------
    list of bytes
        16-byte blake2b digests.
    """
    return [hashlib.blake2b(c, digest_size=16).digest() for c in contents]


class FeatureCache:
    """Rows of features, each computed once.

    In a folder, every call that meets unknown rows writes one new file (a shard), by
    an atomic rename, and no file is ever changed: processes may share the folder, and
    one that is killed leaves at worst a temporary file that nobody reads. Of
    processes that meet the same unknown rows, one computes and the others wait.

    Parameters
    ----------
    location : path-like or None
        Folder of the cache, made when first needed; None keeps rows in the memory of
        this process, at most `MAX_BYTES` of them, the oldest going first.
    *namespace : str
        What the rows depend on beside their inputs, such as the fingerprint of the
        network and the layer. Other namespace, other rows.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.arange(6.0).reshape(3, 2)
    >>> def compute(rows):
    ...     print(f"{len(rows)} computed")
    ...     return X[rows] ** 2
    >>> cache = FeatureCache(None, "squares")
    >>> first = cache.fetch(hash_rows(X), compute)
    3 computed
    >>> again = cache.fetch(hash_rows(X), compute)
    >>> bool((first == again).all())
    True
    """

    def __init__(self, location, *namespace):
        text = "\x1f".join(namespace)
        self.name = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
        self.folder = None if location is None else Path(location) / self.name

    def fetch(self, keys, compute):
        """Return the rows of ``keys``, computing only those never seen.

        Parameters
        ----------
        keys : list of bytes
            16-byte digests of the rows, as `hash_rows` gives them.
        compute : callable
            ``compute(indices)`` gives the array of shape (len(indices), n_columns)
            for these positions of ``keys``. Called at most once, and not with two
            positions of equal keys. A row with NaN in it stands for a failure and is
            not kept.

        Returns
        -------
        ndarray of shape (n_samples, n_columns), float64
        """
        first = {}
        for position, key in enumerate(keys):
            first.setdefault(key, position)
        rows = self._known(first)
        if len(rows) < len(first):
            with self._claim():
                # another thread or process may have computed them meanwhile
                rows.update(self._known(first.keys() - rows.keys()))
                new = sorted(first.keys() - rows.keys(), key=first.__getitem__)
                if new:
                    values = compute(np.array([first[key] for key in new]))
                    values = np.asarray(values, dtype=float)
                    self._keep(new, values)
                    rows.update(zip(new, values, strict=True))
        return np.array([rows[key] for key in keys])

    @contextlib.contextmanager
    def _claim(self):
        """Be the only one that computes rows of this namespace."""
        lock = contextlib.nullcontext()
        if self.folder is not None:
            # Where locks or folders cannot be made, work may be done twice, no more.
            with contextlib.suppress(OSError, NotImplementedError):
                self.folder.mkdir(parents=True, exist_ok=True)
                lock = filelock.FileLock(self.folder / "lock")
                lock.acquire()
        with _LOCKS[str(self.folder or self.name)]:
            try:
                yield
            finally:
                if isinstance(lock, filelock.BaseFileLock):
                    lock.release()

    def _known(self, keys):
        """Return {key: row} of those of ``keys`` that were computed before."""
        if self.folder is None:
            got = ((key, _ROWS.get((self.name, key))) for key in keys)
            return {key: row for key, row in got if row is not None}
        rows, missing = {}, set(keys)
        for index, values in self._shards():
            hits = [key for key in missing if key in index]
            rows.update((key, values[index[key]]) for key in hits)
            missing.difference_update(hits)
            if not missing:
                break
        return rows

    def _keep(self, keys, values):
        good = ~np.isnan(values).any(axis=1)
        keys, values = [k for k, ok in zip(keys, good, strict=True) if ok], values[good]
        if not keys:
            return
        if self.folder is not None:
            self._write(keys, values)
        elif values.nbytes + _KEY_BYTES * len(keys) <= MAX_BYTES:
            for key, row in zip(keys, values, strict=True):
                _ROWS[self.name, key] = row.copy()  # a view would keep all its array
            size = sum(row.nbytes + _KEY_BYTES for row in _ROWS.values())
            while size > MAX_BYTES:
                size -= _ROWS.popitem(last=False)[1].nbytes + _KEY_BYTES

    def _shards(self):
        try:
            paths = sorted(self.folder.glob("*.npz"))
        except OSError:
            return
        for path in paths:
            if str(path) not in _SHARDS:
                shard = _read(path)
                if shard is None:
                    continue
                _remember(path, *shard)
                yield shard
            else:
                _SHARDS.move_to_end(str(path))
                yield _SHARDS[str(path)]

    def _write(self, keys, values):
        """Write a shard under a name of its own, whole or not at all."""
        path = self.folder / f"{uuid.uuid4().hex}.npz"
        temporary = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=self.folder, suffix=".tmp")
            with os.fdopen(handle, "wb") as file:
                digests = np.frombuffer(b"".join(keys), np.uint8).reshape(-1, 16)
                np.savez(file, keys=digests, values=values)
            os.replace(temporary, path)
        except OSError as error:
            if temporary is not None:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
            warnings.warn(
                f"Features could not be kept in {self.folder}: {error}. They are "
                "computed again next time; give `memory` a folder with space that "
                "can be written.",
                RuntimeWarning,
                stacklevel=4,
            )
        else:
            _remember(path, {key: row for row, key in enumerate(keys)}, values)


def _read(path):
    try:
        # np.load leaks a file that it opens itself and finds damaged
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as shard:
            digests, values = shard["keys"], shard["values"]
        if digests.ndim != 2 or digests.shape[1:] != (16,) or values.ndim != 2:
            raise ValueError("not a shard of features")
        if len(digests) != len(values):
            raise ValueError(f"{len(digests)} keys for {len(values)} rows")
    except FileNotFoundError:  # somebody cleared the cache meanwhile
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        warnings.warn(
            f"Skipped the damaged cache file {path}: {error}. Its rows are computed "
            "again; delete the file to be rid of this warning.",
            RuntimeWarning,
            stacklevel=5,
        )
        return {}, np.empty((0, 0))
    return {key.tobytes(): row for row, key in enumerate(digests)}, values


def _remember(path, index, values):
    _SHARDS[str(path)] = (index, values)
    size = sum(v.nbytes + _KEY_BYTES * len(i) for i, v in _SHARDS.values())
    while size > MAX_BYTES and _SHARDS:
        _, (index, values) = _SHARDS.popitem(last=False)
        size -= values.nbytes + _KEY_BYTES * len(index)
