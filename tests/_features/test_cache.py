import os
import signal
import stat
import subprocess
import sys
import tempfile
import textwrap
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from sklearn_unlocknn._features import shards as _shards
from sklearn_unlocknn._features.cache import FeatureCache, cache_location, hash_rows

X = np.arange(20.0).reshape(10, 2)


class Compute:
    """Squares rows and takes down which were asked for."""

    def __init__(self, X):
        self.X = X
        self.rows = []

    def __call__(self, indices):
        self.rows.append(list(indices))
        return [self.X[indices] ** 2]


@pytest.fixture(autouse=True)
def _fresh_process_cache(monkeypatch):
    forget(monkeypatch)


def forget(monkeypatch):
    """Do as a new process of the same session."""
    monkeypatch.setattr(_shards, "_TABLE", OrderedDict())


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
    forget(monkeypatch)
    assert fetch(tmp_path, X) == []


def test_process_cache_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(_shards, "MAX_BYTES", 1000)
    for start in range(0, 10, 2):
        fetch(tmp_path, X[start : start + 2])
    assert 0 < len(_shards._TABLE) <= 3
    assert fetch(tmp_path, X) == []


@pytest.fixture(params=["session", "no folder", "full disk"])
def session(request, monkeypatch, tmp_path):
    """Sessions with a folder, without one, and with one that cannot be written."""
    if request.param == "no folder":
        (tmp_path / "file").write_text("in the way")
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "file"))
        assert _shards.session_folder() is None
    if request.param == "full disk":
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        _shards.session_folder().write_text("in the way")
    return request.param


def test_session_keeps_rows(session, monkeypatch):
    assert fetch(None, X[:4]) == [[0, 1, 2, 3]]
    assert fetch(None, X[[3, 7, 0, 7]]) == [[1]]
    assert len(fetch(None, X[:4], "other")) == 1
    forget(monkeypatch)
    assert len(fetch(None, X[:4])) == (session != "session")


def test_session_is_bounded_and_forgets_the_oldest(session, monkeypatch):
    monkeypatch.setattr(_shards, "MAX_BYTES", 2000 if session == "session" else 1000)
    for start in range(0, 10, 2):
        fetch(None, X[start : start + 2])
        time.sleep(0.01)  # files are as old as the clock can tell
    assert 0 < sum(map(_shards._size, _shards._TABLE.values())) <= 2000
    if session == "session":
        files = list(_shards.session_folder().glob("*/*.npz"))
        assert 0 < sum(file.stat().st_size for file in files) <= 2000
        forget(monkeypatch)
    assert fetch(None, X[8:]) == []
    assert fetch(None, X[:1]) == [[0]]


def test_rows_beyond_the_bound_are_not_kept(monkeypatch):
    monkeypatch.setattr(_shards, "MAX_BYTES", 100)
    assert len(fetch(None, X)) == 1
    assert len(fetch(None, X)) == 1


def test_many_small_calls_leave_few_files(session, tmp_path):
    many = np.arange(400.0).reshape(200, 2)
    for folder in (None, tmp_path / "cache"):
        for i in range(200):
            assert len(fetch(folder, many[i : i + 1])) == 1
        assert len(_shards._TABLE) <= 2 * _shards._MERGE_FILES
        assert fetch(folder, many) == []
    assert len(list(tmp_path.glob("cache/*/*.npz"))) <= _shards._MERGE_FILES


def test_process_follows_another_that_merges(tmp_path, monkeypatch):
    many = np.arange(400.0).reshape(200, 2)
    other = OrderedDict()
    for i in range(200):
        fetch(tmp_path, many[i : i + 1])
        with monkeypatch.context() as patch:
            patch.setattr(_shards, "_TABLE", other)
            assert fetch(tmp_path, many[i : i + 1]) == []
    assert len(other) <= 2 * _shards._MERGE_FILES


def test_folder_of_the_session_is_the_users_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = _shards.session_folder()
    assert folder.name == str(os.getpid())
    assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
    folder.parent.chmod(0o755)
    assert _shards.session_folder() is None
    folder.parent.rmdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    folder.parent.symlink_to(tmp_path / "elsewhere")
    assert _shards.session_folder() is None


def test_session_ends_with_its_process(tmp_path):
    code = """
        import os, signal, sys, numpy as np
        from sklearn_unlocknn._feature_cache import FeatureCache, hash_rows
        X = np.arange(4.0)[:, None]
        FeatureCache(None).fetch(hash_rows(X), lambda rows: [X[rows]])
        if sys.argv[1] == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        """
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    for end, left in [("killed", 1), ("well", 0)]:
        command = [sys.executable, "-c", textwrap.dedent(code), end]
        process = subprocess.run(command, env=env, stderr=subprocess.PIPE)
        assert process.returncode == (-signal.SIGKILL if left else 0), process.stderr
        # the second process also removes what the first one left
        assert len(list(tmp_path.glob("*/*/*/*.npz"))) == left
    assert list(tmp_path.iterdir()) == []


def test_rows_that_were_computed_before_a_kill_stay(tmp_path, monkeypatch):
    code = """
        import os, signal, numpy as np
        from sklearn_unlocknn import _feature_cache
        from sklearn_unlocknn._feature_cache import FeatureCache, hash_rows
        _feature_cache._SAVE_ROWS = 4
        X = np.arange(20.0).reshape(10, 2)
        def compute(rows):
            for i, row in enumerate(rows):
                if i == 6:
                    os.kill(os.getpid(), signal.SIGKILL)
                yield X[[row]] ** 2
        FeatureCache("cache").fetch(hash_rows(X), compute)
        """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    assert subprocess.run(command, cwd=tmp_path).returncode == -signal.SIGKILL
    assert fetch(tmp_path / "cache", X) == [[4, 5, 6, 7, 8, 9]]


def test_kill_while_writing(tmp_path):
    code = """
        import os, signal, numpy as np
        from sklearn_unlocknn._feature_cache import FeatureCache, hash_rows
        X = np.arange(20.0).reshape(10, 2)
        savez = np.savez
        def half(file, **arrays):
            savez(file, **arrays)
            file.truncate(100)
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        np.savez = half
        FeatureCache("cache").fetch(hash_rows(X), lambda rows: [X[rows] ** 2])
        """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    assert subprocess.run(command, cwd=tmp_path).returncode == -signal.SIGKILL
    assert len(list(tmp_path.glob("cache/*/*.tmp"))) == 1
    assert len(fetch(tmp_path / "cache", X)) == 1  # no lock is left either
    assert fetch(tmp_path / "cache", X) == []


def test_rows_before_an_error_stay(tmp_path):
    def compute(rows):
        yield X[rows[:3]] ** 2
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        FeatureCache(tmp_path).fetch(hash_rows(X), compute)
    assert fetch(tmp_path, X) == [list(range(3, 10))]


def test_failures_are_not_kept(tmp_path):
    for folder in (None, tmp_path):
        for _ in range(2):
            holes = np.full((3, 2), np.nan)
            holes[1] = 1.0
            asked = []

            def compute(rows, asked=asked, holes=holes):
                asked.extend(rows)
                return [holes[rows]]

            got = FeatureCache(folder, "holes").fetch(hash_rows(X[:3]), compute)
            assert_array_equal(got, holes)
        assert asked == [0, 2]


def test_threads_compute_each_row_once(tmp_path):
    for folder in (None, tmp_path):
        asked = []

        def compute(rows, asked=asked):
            time.sleep(0.05)
            asked.extend(rows)
            return [X[rows] ** 2]

        def work(folder=folder, compute=compute):
            return FeatureCache(folder, "threads").fetch(hash_rows(X), compute)

        with ThreadPoolExecutor(4) as pool:
            for done in [pool.submit(work) for _ in range(4)]:
                assert_array_equal(done.result(), X**2)
        assert sorted(asked) == list(range(10))


def test_processes_compute_each_row_once(tmp_path):
    code = """
        import sys, time, numpy as np
        from sklearn_unlocknn._feature_cache import FeatureCache, hash_rows
        X = np.arange(40.0)[:, None]
        def compute(rows):
            time.sleep(0.5)
            print(*rows, flush=True)
            return [X[rows] ** 2]
        for part in (X[:30], X[10:], X):
            got = FeatureCache("cache").fetch(hash_rows(part), lambda r: compute(
                (r + 10 if part is not X and part[0] else r)))
            np.testing.assert_array_equal(got, part**2)
        """
    running = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code)],
            cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(3)
    ]  # fmt: skip
    rows = []
    for process in running:
        stdout, stderr = process.communicate(timeout=60)
        assert process.returncode == 0, stderr
        rows += map(int, stdout.split())
    assert sorted(rows) == list(range(40))


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
        keys = np.load(shard)["keys"]
        np.savez(shard, keys=keys, values=np.zeros((2, 2)))
    else:
        damaged = {"cut": content[:-40], "garbage": b"x" * 50, "empty": b""}
        shard.write_bytes(damaged[how])
    forget(monkeypatch)
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
    forget(monkeypatch)
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
            got = FeatureCache("cache").fetch(hash_rows(part), lambda r: [part[r] ** 2])
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


def test_texts_side_by_side_do_not_join():
    one = hash_rows(np.array(["ab"]), np.array(["c"]))
    other = hash_rows(np.array(["a"]), np.array(["bc"]))
    assert one != other


def test_one_large_array_is_kept_in_several_files(tmp_path, monkeypatch):
    from sklearn_unlocknn._features import cache as _feature_cache

    monkeypatch.setattr(_feature_cache, "_SAVE_ROWS", 40)
    X = np.random.default_rng(0).normal(size=(100, 2))
    FeatureCache(tmp_path, "x").fetch(hash_rows(X), lambda rows: [X[rows]])
    sizes = [len(np.load(path)["keys"]) for path in tmp_path.glob("*/*.npz")]
    assert sorted(sizes) == [20, 40, 40]
