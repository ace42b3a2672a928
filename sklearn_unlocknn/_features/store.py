"""SQLite file of network features, which processes share."""

import contextlib
import sqlite3
import zlib

import numpy as np

from .._validation import warn_user

#: Samples of a query or a transaction; of a killed process fewer are lost.
_CHUNK = 8192


class Store:
    """Features of a namespace in an SQLite file, not used after a failure."""

    def __init__(self, folder, namespace):
        self._path, self._namespace = folder / "features.sqlite", namespace
        self._database = None
        self._works = True

    def __enter__(self):
        with self.using():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self.turn("setup"):
                self._database = sqlite3.connect(self._path, timeout=60)
                self._database.executescript(
                    "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; "
                    "PRAGMA cache_size=-65536; "  # KiB
                    "CREATE TABLE IF NOT EXISTS features (namespace BLOB, key BLOB, "
                    "value BLOB, PRIMARY KEY (namespace, key))"
                )
        return self

    def __exit__(self, *_):
        self._database.close()

    @contextlib.contextmanager
    def using(self):
        """Use the file; after a failure warn, and use an empty one in memory."""
        try:
            yield self._database
        except (sqlite3.Error, OSError, ValueError) as error:
            if self._database is not None:
                self._database.close()
            self._works = False
            self._database = sqlite3.connect(":memory:")
            self._database.execute("CREATE TABLE features (namespace, key, value)")
            warn_user(
                f"Features are neither read from {self._path} nor kept there: {error}. "
                "They are computed again next time. Delete the file if it is damaged; "
                "else pass as `memory` a folder with space that can be written.",
                RuntimeWarning,
            )

    @contextlib.contextmanager
    def turn(self, name):
        """Hold a lock, which the system releases if the process ends."""
        file = self._path.with_name(f"{name}.lock") if self._works else ":memory:"
        with contextlib.closing(sqlite3.connect(file, timeout=1e6)) as lock:
            lock.execute("BEGIN IMMEDIATE")
            yield

    def read(self, keys):
        """Return which keys are in the file, and their features."""
        names, got = [key.tobytes() for key in keys], {}
        for start in range(0, len(names), _CHUNK):
            some = names[start : start + _CHUNK]
            query = (
                "SELECT key, value FROM features WHERE namespace = ? AND key IN "
                f"({','.join('?' * len(some))})"
            )
            with self.using() as database:
                for name, blob in database.execute(query, (self._namespace, *some)):
                    if zlib.crc32(blob[4:]) != int.from_bytes(blob[:4]):
                        raise ValueError("the checksum of a sample differs")
                    got[name] = np.frombuffer(blob[4:])
        hit = np.array([name in got for name in names])
        return hit, np.array([got[name] for name in names if name in got])

    def write(self, keys, values):
        """Add features in one transaction."""
        rows = []
        for key, value in zip(keys, values, strict=False):
            if not np.isnan(value).all():
                blob = value.astype(float).tobytes()
                blob = zlib.crc32(blob).to_bytes(4) + blob
                rows.append((self._namespace, key.tobytes(), blob))
        for start in range(0, len(rows), _CHUNK):
            with self.using() as database, database:
                database.executemany(
                    "INSERT OR REPLACE INTO features VALUES (?, ?, ?)",
                    rows[start : start + _CHUNK],
                )
