import subprocess
import sys
import textwrap

import joblib
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from sklearn_unlocknn import _feature_cache
from sklearn_unlocknn._feature_cache import FeatureCache, cache_location, hash_rows

X = np.arange(20.0).reshape(10, 2)


class Compute:
    """Squares rows and takes down which were asked for."""

    def __init__(self, X):
        self.X = X
        self.rows = []

    def __call__(self, indices):
        self.rows.append(list(indices))
        return self.X[indices] ** 2


@pytest.fixture(autouse=True)
def _fresh_process_cache(monkeypatch):
    monkeypatch.setattr(_feature_cache, "_SHARDS", type(_feature_cache._SHARDS)())


def fetch(folder, X, *namespace):
    compute = Compute(X)
    values = FeatureCache(folder, *namespace).fetch(hash_rows(X), compute)
    assert_array_equal(values, X**2)
    return compute.rows


def test_each_row_is_computed_once(tmp_path):
    assert fetch(tmp_path, X[:4]) == [[0, 1, 2, 3]]
    assert fetch(tmp_path, X[:4]) == []
    assert fetch(tmp_path, X[[3, 7, 0, 8]]) == [[1, 3]]
    assert fetch(tmp_path, X[::-1]) == [[0, 3, 4, 5]]


def test_duplicates_within_a_call_are_computed_once(tmp_path):
    assert fetch(tmp_path, X[[5, 5, 2, 5, 2]]) == [[0, 2]]


def test_namespaces_are_apart(tmp_path):
    fetch(tmp_path, X, "net", "layer")
    assert len(fetch(tmp_path, X, "net", "other")) == 1
    assert len(fetch(tmp_path, X, "netl", "ayer")) == 1


def test_rows_come_from_disk_in_another_process(tmp_path, monkeypatch):
    fetch(tmp_path, X)
    monkeypatch.setattr(_feature_cache, "_SHARDS", type(_feature_cache._SHARDS)())
    assert fetch(tmp_path, X) == []


def test_process_cache_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(_feature_cache, "_SHARDS_MAX_BYTES", 1000)
    for start in range(0, 10, 2):
        fetch(tmp_path, X[start : start + 2])
    assert 0 < len(_feature_cache._SHARDS) <= 3
    assert fetch(tmp_path, X) == []


def test_temporary_files_of_a_killed_process_are_ignored(tmp_path):
    fetch(tmp_path, X[:2])
    (folder,) = tmp_path.iterdir()
    (folder / "tmpkilled.tmp").write_bytes(b"half a sha")
    assert fetch(tmp_path, X[:2]) == []
    assert len(list(folder.glob("*.npz"))) == 1


@pytest.mark.parametrize("how", ["cut", "garbage", "empty", "other"])
def test_damaged_shard_is_recomputed_with_a_warning(tmp_path, monkeypatch, how):
    fetch(tmp_path, X)
    (shard,) = tmp_path.glob("*/*.npz")
    content = shard.read_bytes()
    if how == "other":
        np.savez(shard, keys=np.zeros((3, 16), np.uint8), values=np.zeros((2, 2)))
    else:
        damaged = {"cut": content[:-40], "garbage": b"x" * 50, "empty": b""}
        shard.write_bytes(damaged[how])
    monkeypatch.setattr(_feature_cache, "_SHARDS", type(_feature_cache._SHARDS)())
    with pytest.warns(RuntimeWarning, match="damaged cache file"):
        assert len(fetch(tmp_path, X)) == 1
    assert fetch(tmp_path, X) == []


def test_bit_flip_is_noticed(tmp_path, monkeypatch):
    fetch(tmp_path, X)
    (shard,) = tmp_path.glob("*/*.npz")
    content = bytearray(shard.read_bytes())
    position = content.rindex(np.float64(X[5, 0] ** 2).tobytes())
    content[position + 6] ^= 1
    shard.write_bytes(bytes(content))
    monkeypatch.setattr(_feature_cache, "_SHARDS", type(_feature_cache._SHARDS)())
    with pytest.warns(RuntimeWarning, match="damaged cache file"):
        assert len(fetch(tmp_path, X)) == 1


def test_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.warns(RuntimeWarning, match="could not be kept"):
        assert len(fetch(tmp_path / "file", X)) == 1


def test_two_processes_write_at_once(tmp_path):
    code = """
        import sys, numpy as np
        from sklearn_unlocknn._feature_cache import FeatureCache, hash_rows
        X = np.random.default_rng(int(sys.argv[1])).integers(0, 50, (400, 1)) * 1.0
        for i in range(0, 400, 10):
            part = X[i : i + 10]
            got = FeatureCache("cache").fetch(hash_rows(part), lambda r: part[r] ** 2)
            np.testing.assert_array_equal(got, part**2)
        """
    running = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", textwrap.dedent(code), seed],
            cwd=tmp_path,
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed in "01"
    ]
    for process in running:
        _, stderr = process.communicate(timeout=60)
        assert process.returncode == 0, stderr
    values = np.arange(50.0)[:, None]
    assert len(fetch(tmp_path / "cache", values)) <= 1


def test_hash_rows_tells_arrays_types_and_shapes_apart():
    a, b = np.arange(6.0).reshape(2, 3), np.arange(2)
    base = hash_rows(a, b)
    assert base == hash_rows(a.copy(order="F"), b)
    assert len(set(base)) == 2
    for other in ([a], [a.astype("f4"), b], [a[:, :, None], b], [a, b + 1], [b, a]):
        assert not set(hash_rows(*other)) & set(base)
    text = np.array(["x", "y", "x"], dtype=object)
    first, second, third = hash_rows(text)
    assert first == third != second


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
