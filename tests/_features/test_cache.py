"""Test the feature cache: samples, threads, processes, files and keys."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from sklearn_unlocknn._features import cache
from sklearn_unlocknn._features.cache import (
    FeatureCache,
    cache_location,
    forget,
    hash_bytes,
    hash_rows,
)

X = np.arange(20.0).reshape(10, 2)
HEAD = """
import os, signal, sys, time, numpy as np
from sklearn_unlocknn._features.cache import FeatureCache, hash_rows
"""


class Compute:
    """Square samples, and record the indices of each call."""

    def __init__(self, X):
        self.X = X
        self.rows = []

    def __call__(self, indices):
        self.rows.append(list(indices))
        return [self.X[indices] ** 2]


def fetch(folder, X, *namespace):
    """Fetch squares; return the indices of each call of ``compute``."""
    compute = Compute(X)
    values = FeatureCache(folder, *namespace).fetch(hash_rows(X), compute)
    assert_array_equal(values, X**2)
    return compute.rows


def start(code, folder, *arguments):
    """Start a process in a folder, with the imports of `HEAD`."""
    command = [sys.executable, "-W", "error", "-c", HEAD + textwrap.dedent(code)]
    return subprocess.Popen(
        [*command, *arguments], cwd=folder, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(process, code=0):
    """Wait for a process, and return the numbers that it printed."""
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == code, stderr
    return [int(number) for number in stdout.split()]


@pytest.fixture(params=["memory", "file"])
def folder(request, tmp_path):
    return None if request.param == "memory" else tmp_path


def test_each_sample_is_computed_once(folder):
    assert fetch(folder, X[:4]) == [[0, 1, 2, 3]]
    assert fetch(folder, X[:4]) == []
    assert fetch(folder, X[[3, 7, 0, 8, 7]]) == [[1, 3]]
    assert fetch(folder, X[::-1]) == [[0, 3, 4, 5]]
    assert fetch(folder, X[[5, 5, 2]]) == []


def test_namespaces_are_apart(folder):
    fetch(folder, X, "net", "layer")
    assert len(fetch(folder, X, "net", "other")) == 1
    assert len(fetch(folder, X, "netl", "ayer")) == 1


def test_features_outlive_the_process_in_a_file_only(folder):
    fetch(folder, X)
    forget()
    assert len(fetch(folder, X)) == (folder is None)


def test_changes_of_returned_features_are_not_kept(folder):
    keys, values = hash_rows(X), X**2
    for _ in range(2):
        got = FeatureCache(folder).fetch(keys, lambda rows: [values[rows]])
        assert_array_equal(got, X**2)
        got[:] = 0.0


def test_keys_with_equal_halves_differ(folder):
    keys = np.array([[1, 1], [1, 2], [2, 1], [1, 1]], np.uint64)
    values = np.arange(4.0)[:, None]
    for _ in range(2):
        got = FeatureCache(folder).fetch(keys, lambda rows: [values[rows]])
        assert_array_equal(got[:, 0], [0.0, 1.0, 2.0, 0.0])


def test_widths_may_differ_between_calls(folder):
    for _ in range(2):
        for part in (X, X[:, :1]):
            fetch(folder, part)


def test_memory_is_bounded_and_drops_the_oldest(monkeypatch):
    monkeypatch.setattr(cache, "_SMALL", 0)
    monkeypatch.setattr(cache, "MAX_BYTES", 200)
    for i in range(0, 10, 2):
        fetch(None, X[i : i + 2])
    assert sum(k.nbytes + v.nbytes for _, k, _, v in cache._BLOCKS) <= 200
    assert fetch(None, X[8:]) == []
    assert fetch(None, X[:1]) == [[0]]
    monkeypatch.setattr(cache, "MAX_BYTES", 20)
    assert len(fetch(None, X)) == len(fetch(None, X)) == 1


def test_many_small_calls_leave_few_blocks(folder):
    many = np.arange(400.0).reshape(200, 2)
    for i in range(200 if folder is None else 20):
        assert len(fetch(folder, many[i : i + 1])) == 1
    assert fetch(folder, many[: i + 1]) == []
    assert len(cache._BLOCKS) == 1


def test_samples_before_an_error_are_kept(folder):
    def compute(rows):
        yield X[rows[:3]] ** 2
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        FeatureCache(folder).fetch(hash_rows(X), compute)
    assert fetch(folder, X) == [list(range(3, 10))]


def test_failures_are_not_kept(folder):
    for _ in range(2):
        holes = np.full((3, 2), np.nan)
        holes[1] = 1.0
        computed = []

        def compute(rows, computed=computed, holes=holes):
            computed.extend(rows)
            return [holes[rows]]

        got = FeatureCache(folder, "holes").fetch(hash_rows(X[:3]), compute)
        assert_array_equal(got, holes)
    assert computed == [0, 2]


# --- threads and processes ----------------------------------------------------------


def test_threads_compute_each_sample_once(folder):
    computed = []

    def compute(rows):
        time.sleep(0.05)
        computed.extend(rows)
        return [X[rows] ** 2]

    def work(_):
        return FeatureCache(folder, "threads").fetch(hash_rows(X), compute)

    with ThreadPoolExecutor(4) as pool:
        for values in pool.map(work, range(4)):
            assert_array_equal(values, X**2)
    assert sorted(computed) == list(range(10))


def test_threads_with_other_samples_compute_at_once():
    together = threading.Barrier(4, timeout=10)

    def work(part):
        def compute(rows):
            together.wait()  # for all threads to compute at once
            return [part[rows] ** 2]

        return FeatureCache(None).fetch(hash_rows(part), compute)

    parts = np.arange(40.0).reshape(4, 10, 1)
    with ThreadPoolExecutor(4) as pool:
        for part, values in zip(parts, pool.map(work, parts), strict=True):
            assert_array_equal(values, part**2)


def test_samples_that_fail_in_a_thread_are_computed_in_another(folder):
    started = threading.Event()

    def fail(rows):
        started.set()
        time.sleep(0.05)
        raise RuntimeError("no features")

    with ThreadPoolExecutor(1) as pool:
        failed = pool.submit(FeatureCache(folder).fetch, hash_rows(X), fail)
        started.wait()
        assert fetch(folder, X) == [list(range(10))]
        with pytest.raises(RuntimeError, match="no features"):
            failed.result()


def test_processes_compute_each_sample_once(tmp_path):
    code = """
        X = np.arange(40.0)[:, None]
        def compute(part, first):
            def run(rows):
                time.sleep(0.5)
                print(*rows + first, flush=True)
                return [part[rows] ** 2]
            return run
        for first, part in ((0, X[:30]), (10, X[10:]), (0, X)):
            cache = FeatureCache("cache")
            got = cache.fetch(hash_rows(part), compute(part, first))
            np.testing.assert_array_equal(got, part**2)
        """
    running = [start(code, tmp_path) for _ in range(3)]
    computed = [number for process in running for number in finish(process)]
    assert sorted(computed) == list(range(40))


def test_processes_write_other_namespaces_at_once(tmp_path):
    code = """
        X = np.random.default_rng(int(sys.argv[1])).integers(0, 50, (400, 1)) * 1.0
        for i in range(0, 400, 20):
            part = X[i : i + 20]
            cache = FeatureCache("cache", sys.argv[1])
            got = cache.fetch(hash_rows(part), lambda r: [part[r] ** 2])
            np.testing.assert_array_equal(got, part**2)
        """
    for process in [start(code, tmp_path, seed) for seed in "012"]:
        finish(process)


@pytest.mark.parametrize("where", ["computing", "writing"])
def test_samples_before_a_kill_are_kept(tmp_path, where):
    code = """
        X = np.arange(20.0).reshape(10, 2)
        def compute(rows):
            yield X[rows[:4]] ** 2
            if sys.argv[1] == "writing":
                from sklearn_unlocknn._features import store
                def blobs(blob):
                    os.kill(os.getpid(), signal.SIGKILL)
                store.zlib.crc32 = blobs
                yield X[rows[4:]] ** 2
            os.kill(os.getpid(), signal.SIGKILL)
        FeatureCache("cache").fetch(hash_rows(X), compute)
        """
    finish(start(code, tmp_path, where), -signal.SIGKILL)
    assert fetch(tmp_path / "cache", X) == [[4, 5, 6, 7, 8, 9]]
    forget()
    assert fetch(tmp_path / "cache", X) == []


# --- files --------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["garbage", "cut", "bit", "foreign"])
def test_damaged_file_is_not_used(tmp_path, how):
    fetch(tmp_path, X)
    file = tmp_path / "features.sqlite"
    content = bytearray(file.read_bytes())
    if how == "garbage":
        content = b"x" * 5000
    elif how == "cut":
        content = content[:5000]
    elif how == "bit":
        content[content.rindex(np.float64(X[5, 0] ** 2).tobytes()) + 6] ^= 1
    file.write_bytes(content)
    if how == "foreign":
        file.unlink()
        with contextlib.closing(sqlite3.connect(file)) as database:
            database.execute("CREATE TABLE features (something TEXT)")
    for _ in range(2):
        forget()
        with pytest.warns(RuntimeWarning, match=r"features\.sqlite nor kept.*Delete"):
            assert len(fetch(tmp_path, X)) == 1
    file.unlink()
    forget()
    assert len(fetch(tmp_path, X)) == 1
    forget()
    assert fetch(tmp_path, X) == []


def test_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.warns(RuntimeWarning, match="a folder with space that can be written"):
        assert len(fetch(tmp_path / "file", X)) == 1
    assert fetch(tmp_path / "file", X) == []  # in memory


def test_lock_that_cannot_be_made(tmp_path):
    lock = FeatureCache(tmp_path)._namespace.hex() + ".lock"
    (tmp_path / lock).mkdir()
    message = "a folder with space that can be written"
    with pytest.warns(RuntimeWarning, match=message) as caught:
        assert len(fetch(tmp_path, X)) == 1
    assert caught[0].filename == __file__


@pytest.mark.skipif(os.name != "posix" or os.getuid() == 0, reason="root may write")
def test_folder_that_cannot_be_written(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.warns(RuntimeWarning, match="a folder with space that can be written"):
        assert len(fetch(tmp_path, X)) == 1


# --- keys and locations -------------------------------------------------------------


def distinct(*keys):
    keys = np.concatenate(keys)
    return len(np.unique(keys, axis=0)) == len(keys)


def test_keys_depend_on_arrays_types_and_shapes():
    a, b = np.arange(6.0).reshape(2, 3), np.arange(2)
    base = hash_rows(a, b)
    assert_array_equal(base, hash_rows(a.copy(order="F"), b))
    others = [a], [a.astype("f4"), b], [a[:, :, None], b], [a, b + 1], [b, a]
    assert distinct(base, *(hash_rows(*arrays) for arrays in others))
    assert_array_equal(hash_rows(a, b)[1:], hash_rows(a[1:], b[1:]))


@pytest.mark.parametrize("dtype", ["f8", "f4", "f2", "i8", "i2", "?"])
def test_keys_of_similar_samples_differ(dtype):
    signs = np.array(np.meshgrid(*[[-1, 1]] * 10)).reshape(10, -1).T
    if dtype == "?":
        signs = signs > 0
    assert distinct(hash_rows(signs.astype(dtype)))
    if dtype != "?":
        zeros = np.zeros((40, 40), dtype)
        ones = np.eye(40, dtype=dtype)
        assert distinct(hash_rows(zeros[:1]), hash_rows(ones), hash_rows(2 * ones))


def test_keys_of_text():
    text = np.array(["x", "y", "x"], dtype=object)
    first, second, third = hash_rows(text)
    assert_array_equal(first, third)
    assert (first != second).all()
    one = hash_rows(np.array(["ab"]), np.array(["c"]))
    other = hash_rows(np.array(["a"]), np.array(["bc"]))
    assert distinct(one, other)
    assert distinct(hash_bytes([b"a", b"b"]))


@pytest.mark.parametrize("kind", [str, lambda p: p, joblib.Memory])
def test_location(tmp_path, kind):
    location = cache_location(kind(tmp_path))
    assert location is not None
    assert location.is_relative_to(tmp_path)


def test_no_location():
    assert cache_location(None) is None
    assert cache_location(joblib.Memory(None)) is None


@pytest.mark.parametrize("memory", [3, True, object(), ["folder"]])
def test_wrong_memory(memory):
    with pytest.raises(ValueError, match=r"Got `memory`=.*expected None, a path"):
        cache_location(memory)
