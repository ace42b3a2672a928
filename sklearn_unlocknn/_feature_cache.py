"""Rows of features kept on disk, found again by the content of their inputs."""

import contextlib
import hashlib
import os
import tempfile
import uuid
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np

# Shards read or written by this process, newest last: {path: ({digest: row}, values)}.
_SHARDS = OrderedDict()
_SHARDS_MAX_BYTES = 256 * 2**20
_KEY_BYTES = 150  # a digest in a dict, about


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
    """A folder of feature rows, each computed once.

    Every call that meets unknown rows writes one new file (a shard), by an atomic
    rename, and no file is ever changed: processes may share the folder, and one that
    is killed leaves at worst a temporary file that nobody reads.

    Parameters
    ----------
    location : path-like
        Folder of the cache; made when the first shard is written.
    *namespace : str
        What the rows depend on beside their inputs, such as the fingerprint of the
        network and the layer. Other namespace, other rows.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> X = np.arange(6.0).reshape(3, 2)
    >>> def compute(rows):
    ...     print(f"{len(rows)} computed")
    ...     return X[rows] ** 2
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     cache = FeatureCache(folder, "squares")
    ...     first = cache.fetch(hash_rows(X), compute)
    ...     again = cache.fetch(hash_rows(X), compute)
    3 computed
    >>> bool((first == again).all())
    True
    """

    def __init__(self, location, *namespace):
        text = "\x1f".join(namespace)
        name = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
        self.folder = Path(location) / name

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
        missing = set(first)
        found = []  # (keys, rows of them)
        for index, values in self._shards():
            hits = [key for key in missing if key in index]
            if hits:
                found.append((hits, values[[index[key] for key in hits]]))
                missing.difference_update(hits)
            if not missing:
                break
        if missing:
            new = sorted(missing, key=first.__getitem__)
            values = np.asarray(compute(np.array([first[k] for k in new])), dtype=float)
            self._write(new, values)
            found.append((new, values))
        unique = np.vstack([values for _, values in found])
        order = {}
        for hits, _ in found:
            for key in hits:
                order[key] = len(order)
        return unique[[order[key] for key in keys]]

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
        good = ~np.isnan(values).any(axis=1)
        keys, values = [k for k, ok in zip(keys, good, strict=True) if ok], values[good]
        if not keys:
            return
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
    while size > _SHARDS_MAX_BYTES and _SHARDS:
        _, (index, values) = _SHARDS.popitem(last=False)
        size -= values.nbytes + _KEY_BYTES * len(index)
