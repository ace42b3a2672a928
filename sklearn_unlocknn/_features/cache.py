"""Cache of network features by the content of the samples, in memory and on disk."""

import contextlib
import hashlib
import os
import threading
from pathlib import Path

import numpy as np

from .store import Store

#: Without `memory`, calls with more samples than this do not use the cache.
MAX_ROWS = 100_000
#: Bytes of keys and features that a process keeps; the oldest are dropped first.
MAX_BYTES = 256 * 2**20
#: A block in memory of fewer samples is joined with that of the next call.
_SMALL = 1024
#: Version of keys and values: a new number makes the contents of all stores unused.
_FORMAT = "3"

_MIX = np.uint64(0x9E3779B97F4A7C15)  # odd, its bits as good as random

_GUARD = threading.Lock()
_BLOCKS = []  # of features in memory, the oldest first: (home, keys, rows, values)
_RUNNING = {}  # computations: event of the end -> (home, first halves of keys)


def _forget_parent():
    """Free a forked process of computations that only its parent ends."""
    global _GUARD
    _GUARD = threading.Lock()
    _RUNNING.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parent)


def cache_location(memory):
    """Return the folder of a ``memory`` parameter.

    None, also for a joblib.Memory without a location, is the memory of this process.
    """
    if hasattr(memory, "cache") and hasattr(memory, "location"):  # a joblib.Memory
        memory = memory.location
    if memory is None:
        return None
    if isinstance(memory, str | os.PathLike):
        return Path(memory) / "sklearn_unlocknn"
    raise ValueError(
        f"Got `memory`={memory!r}, expected None, a path to a folder or a "
        "joblib.Memory."
    )


def hash_bytes(contents):
    """Hash byte strings, one for each sample, to keys as those of `hash_rows`."""
    digests = [hashlib.blake2b(c, digest_size=16).digest() for c in contents]
    return np.frombuffer(b"".join(digests), np.uint64).reshape(-1, 2)


def hash_rows(*arrays):
    """Hash the samples of several arrays.

    Two multilinear hashes modulo 2**64 of the 64-bit words of each sample, with fixed
    random odd multipliers; text goes through blake2b first.

    Parameters
    ----------
    *arrays : ndarray of shape (n_samples, ...)
        Arrays of numbers or text.

    Returns
    -------
    ndarray of shape (n_samples, 2), uint64
        Keys; equal samples have equal keys.

    Examples
    --------
    >>> import numpy as np
    >>> a, b, c = hash_rows(np.array([[1.0, 2.0], [1.0, 3.0], [1.0, 2.0]]))
    >>> bool((a == c).all()), bool((a == b).any())
    (True, False)
    """
    head, parts = "", []
    for array in map(np.asarray, arrays):
        is_text = array.dtype.kind in "OSU"
        head += f"{'text' if is_text else array.dtype.str}{array.shape[1:]}"
        if is_text:  # with quotes, so that no two texts join
            array = hash_bytes(repr(row).encode() for row in array.tolist())
        raw = np.ascontiguousarray(array).reshape(len(array), -1).view(np.uint8)
        if extra := -raw.shape[1] % 8:
            raw = np.pad(raw, ((0, 0), (0, extra)))
        parts.append(raw.view(np.uint64))
    size = sum(words.shape[1] for words in parts)
    multipliers = np.random.PCG64(0).random_raw(2 * size) | np.uint64(1)
    multipliers = multipliers.reshape(size, 2)
    keys = np.tile(hash_bytes([head.encode()]), (len(parts[0]), 1))
    for words in parts:
        some, multipliers = np.split(multipliers, [words.shape[1]])
        step = 2**17 // max(len(some), 1) + 1  # about a megabyte, for the cache
        for i in range(0, len(words), step):
            # A product passes no bit on to lower ones: two signs would cancel out.
            mixed = words[i : i + step] * _MIX
            mixed ^= mixed >> np.uint64(32)
            keys[i : i + step] += mixed @ some
    return keys


def forget():
    """Empty the cache in memory."""
    with _GUARD:
        _BLOCKS.clear()


def _distinct(keys):
    """Return the indices of the distinct keys, and for each key its place there."""
    halves = np.sort(keys[:, 0])
    if (halves[1:] != halves[:-1]).all():
        return np.arange(len(keys)), slice(None)
    _, first, place = np.unique(keys[:, 0], True, True)
    if (keys[first[place]] != keys).any():  # half a key is shared by chance
        _, first, place = np.unique(keys, True, True, axis=0)
    order = np.argsort(first)
    return first[order], np.argsort(order)[place.ravel()]


def _insert(home, keys, values):
    """Keep features in memory, in one block with those of a small block."""
    with _GUARD:
        for block in list(_BLOCKS):
            alike = block[0] == home and block[3].shape[1] == values.shape[1]
            if alike and len(block[1]) < _SMALL:
                _BLOCKS[:] = [b for b in _BLOCKS if b is not block]
                keys = np.concatenate([block[1], keys])
                values = np.concatenate([block[3][block[2]], values])
        rows = np.argsort(keys[:, 0])
        if np.isnan(values.sum()):
            rows = rows[~np.isnan(values).all(axis=1)[rows]]
        _BLOCKS.append((home, keys[rows], rows, values))
        excess = sum(k.nbytes + v.nbytes for _, k, _, v in _BLOCKS) - MAX_BYTES
        while excess > 0:
            _, keys, _, values = _BLOCKS.pop(0)
            excess -= keys.nbytes + values.nbytes


def _find(home, keys):
    """Return [(positions of keys, values, rows)] in memory, and missing positions."""
    found, missing = [], np.arange(len(keys))
    for block_home, block_keys, rows, values in _BLOCKS[::-1]:
        if block_home == home and len(rows) and len(missing):
            sought = keys[missing]
            at = np.searchsorted(block_keys[:, 0], sought[:, 0])
            at[at == len(rows)] = 0
            hit = (block_keys[at] == sought).all(axis=1)
            if hit.any():
                found.append((missing[hit], values, rows[at[hit]]))
                missing = missing[~hit]
    return found, missing


class FeatureCache:
    """Features of samples, each computed once.

    In memory, threads wait for one another only for samples that they share. With a
    folder, threads and processes that miss samples of one namespace compute in turn.

    Parameters
    ----------
    location : path-like or None
        Folder of the SQLite file ``features.sqlite`` that processes share, made at the
        first use. None: the memory of this process, up to `MAX_BYTES`.
    *namespace : str
        Everything that features depend on except the inputs, such as the identity of
        the network and the layer.

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
        self._namespace = hashlib.blake2b(text.encode(), digest_size=16).digest()
        self._folder = None if location is None else Path(location)
        self._home = self._folder, self._namespace

    def fetch(self, keys, compute):
        """Return the features of samples, computing those not in the cache.

        Parameters
        ----------
        keys : ndarray of shape (n_samples, 2), uint64
            Keys of the samples from `hash_rows` or `hash_bytes`.
        compute : callable
            ``compute(indices)`` returns an iterable of arrays that are together of
            shape (len(indices), n_columns), for these positions of ``keys``. Called
            at most once, and not with two positions of equal keys. A sample of
            NaN alone is a failure and not kept.

        Returns
        -------
        ndarray of shape (n_samples, n_columns)
        """
        first, place = _distinct(keys)
        keys, done = keys[first], threading.Event()
        while True:
            with _GUARD:
                found, missing = _find(self._home, keys)
                halves, shared = keys[missing, 0], []
                for event, (home, running) in _RUNNING.items():
                    if home == self._home and np.isin(running, halves).any():
                        shared.append(event)
                if not shared:
                    _RUNNING[done] = self._home, halves
                    break
            shared[0].wait()
        try:
            if len(missing):
                self._complete(keys, first, missing, found, compute)
        finally:
            with _GUARD:
                del _RUNNING[done]
            done.set()
        if len(found) == 1:  # with one copy
            _, values, rows = found[0]
            return values[rows[place]]
        values = np.empty((len(first), found[0][1].shape[1]))
        for at, some, rows in found:
            values[at] = some[rows]
        return values[place]

    def _complete(self, keys, first, missing, found, compute):
        """Add the missing features to ``found``, from the store or computed."""
        store = None

        def take(positions, values):
            if len(values):
                found.append((positions, values, np.arange(len(values))))
                _insert(self._home, keys[positions], values)

        def read(missing):
            hit, values = store.read(keys[missing])
            take(missing[hit], values)
            return missing[~hit]

        with contextlib.ExitStack() as stack:
            if self._folder is not None:
                store = stack.enter_context(Store(self._folder, self._namespace))
                missing = read(missing)
                if len(missing):  # another process may compute them now
                    with store.using():
                        stack.enter_context(store.turn(self._namespace.hex()))
                    missing = read(missing)
            parts, start = [], 0
            try:
                for part in compute(first[missing]) if len(missing) else ():
                    parts.append(part)
                    if store is not None:
                        store.write(keys[missing[start:]], part)
                    start += len(part)
            finally:
                if parts:
                    values = parts[0] if len(parts) == 1 else np.concatenate(parts)
                    take(missing[:start], values)
