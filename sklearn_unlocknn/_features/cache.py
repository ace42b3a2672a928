"""Features of rows kept in memory and on disk, found by the content of the row."""

import hashlib
import os
from pathlib import Path

import numpy as np

from .shards import Shards

#: Rows of a call that the session is worth it for: more are not kept, nor looked up.
MAX_ROWS = 100_000
#: What rows mean: another number where conversion or keys change, so that no folder
#: gives rows of before.
_FORMAT = "1"
#: Rows that are kept as soon as they are computed; a kill loses fewer.
_SAVE_ROWS = 8192


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
            if part.dtype.kind in "OSU":  # with quotes, so that no two texts join
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

    Every call that meets unknown rows writes new files (shards), by an atomic rename,
    and no file is ever changed: processes may share the folder, and one that is killed
    leaves at worst a temporary file that nobody reads. Of processes that meet the same
    unknown rows, one computes and the others wait.

    Parameters
    ----------
    location : path-like or None
        Folder of the cache, made when first needed. None: a folder of temporary files
        that the process shares with its workers, of at most `_shards.MAX_BYTES`, the
        oldest going first; where there can be none, the memory of the process.
    *namespace : str
        What the rows depend on beside their inputs, such as the fingerprint of the
        network and the layer. Other namespace, other rows.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.arange(6.0).reshape(3, 2)
    >>> def compute(rows):
    ...     print(f"{len(rows)} computed")
    ...     return [X[rows] ** 2]
    >>> cache = FeatureCache(None, "squares")
    >>> first = cache.fetch(hash_rows(X), compute)
    3 computed
    >>> again = cache.fetch(hash_rows(X), compute)
    >>> bool((first == again).all())
    True
    """

    def __init__(self, location, *namespace):
        text = "\x1f".join((_FORMAT, *namespace))
        name = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
        self.shards = Shards(None if location is None else Path(location), name)

    def fetch(self, keys, compute):
        """Return the rows of ``keys``, computing only those never seen.

        Parameters
        ----------
        keys : list of bytes
            16-byte digests of the rows, as `hash_rows` gives them.
        compute : callable
            ``compute(indices)`` gives an iterable of arrays that are together of
            shape (len(indices), n_columns), for these positions of ``keys``. Called
            at most once, and not with two positions of equal keys. A row with NaN in
            it stands for a failure and is not kept.

        Returns
        -------
        ndarray of shape (n_samples, n_columns), float64
        """
        first = {}
        for position, key in enumerate(keys):
            first.setdefault(key, position)
        rows = self.shards.known(first)
        if len(rows) < len(first):
            with self.shards.claim():
                # another thread or process may have computed them meanwhile
                rows.update(self.shards.known(first.keys() - rows.keys()))
                new = sorted(first.keys() - rows.keys(), key=first.__getitem__)
                if new:
                    parts = compute(np.array([first[key] for key in new]))
                    self._collect(new, parts, rows)
        return np.array([rows[key] for key in keys])

    def _collect(self, keys, parts, rows):
        """Take computed rows, and keep some thousands of them at a time."""
        start, waiting, n_waiting = 0, [], 0
        try:
            for part in parts:
                waiting.append(np.asarray(part, dtype=float))
                n_waiting += len(part)
                if n_waiting >= _SAVE_ROWS:
                    start += self._save(keys[start:], waiting, rows)
                    waiting, n_waiting = [], 0
        finally:
            if waiting:
                self._save(keys[start:], waiting, rows)

    def _save(self, keys, parts, rows):
        values = np.concatenate(parts)
        keys = keys[: len(values)]
        rows.update(zip(keys, values, strict=True))
        for start in range(0, len(values), _SAVE_ROWS):
            some = slice(start, start + _SAVE_ROWS)
            good = ~np.isnan(values[some]).any(axis=1)
            known = [key for key, ok in zip(keys[some], good, strict=True) if ok]
            # A copy where rows fail; else the array is the shard's own from here on.
            self.shards.keep(known, values[some] if good.all() else values[some][good])
        return len(values)
