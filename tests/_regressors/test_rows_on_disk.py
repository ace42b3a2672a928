"""Test that fits of memmaps, generators, parts and processes equal that of an array."""

import subprocess
import sys
import warnings
import weakref

import joblib
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from sklearn_unlocknn import (
    FineTuning,
    MEGNetProbRegressor,
    ProbNNRegressor,
    VGPRegressor,
)
from sklearn_unlocknn._gp import encoded as gp_encoded
from sklearn_unlocknn._gp import posterior as gp_posterior
from sklearn_unlocknn._parallel import run_tasks
from sklearn_unlocknn.datasets import make_ionic_crystals

MODEL = VGPRegressor("matern52", 25, random_state=0)


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(700, 3)) * [1.0, 5.0, 0.1] + [0.0, 50.0, -1.0]
    y = np.sin(X[:, 0]) + 0.1 * X[:, 1] + 0.1 * rng.normal(size=700)
    return X, y


@pytest.fixture
def small_parts(monkeypatch):
    """Split 700 samples into several parts and blocks."""
    monkeypatch.setattr(gp_posterior, "PART_ROWS", 64)
    monkeypatch.setattr(gp_encoded, "BLOCK_BYTES", 8 * 3 * 1024)


def assert_same(got, want, X, **close):
    close = close or {"rtol": 1e-9, "atol": 1e-10}
    predictions = [model.predict(X, return_std=True) for model in (got, want)]
    assert_allclose(*predictions, **close)


def on_disk(folder, X, dtype=np.float64):
    path = folder / "X.npy"
    np.save(path, X.astype(dtype))
    return np.load(path, mmap_mode="r")


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("mean", ["constant", "linear"])
def test_memmap_is_the_array(data, tmp_path, dtype, mean):
    X, y = data
    X = X.astype(dtype).astype(np.float64)
    mapped = on_disk(tmp_path, X, dtype)
    model = clone(MODEL).set_params(mean=mean)
    want = clone(model).fit(X, y)
    got = clone(model).fit(mapped, y)
    assert_same(got, want, X)
    assert_array_equal(got.predict(mapped), got.predict(X))


def test_parts_and_blocks_do_not_change_the_model(data, small_parts, monkeypatch):
    X, y = data
    weights = np.random.default_rng(1).integers(0, 3, size=len(y))
    got = clone(MODEL).fit(X, y, sample_weight=weights)
    monkeypatch.undo()
    want = clone(MODEL).fit(X, y, sample_weight=weights)
    assert_same(got, want, X)
    assert_allclose(got.elbo_, want.elbo_, rtol=1e-10)


@pytest.mark.parametrize("plain", [False, True])
def test_number_of_processes_does_not_change_the_model(data, plain, monkeypatch):
    X, y = data
    X, y = np.tile(X, (50, 1)), np.tile(y, 50)
    X = X + 0.01 * np.random.default_rng(0).normal(size=X.shape)
    assert len(X) > 2 * gp_posterior.PART_ROWS
    model = clone(MODEL)
    if plain:
        model.set_params(likelihood="gaussian", noise="constant")
    want, jobs = clone(model).fit(X, y), []

    def counted(function, tasks, n_jobs, window=4):
        jobs.append(n_jobs)
        return run_tasks(function, tasks, n_jobs, window)

    monkeypatch.setattr(gp_posterior, "run_tasks", counted)
    got = clone(model).set_params(n_jobs=2).fit(X, y)
    # The residuals and the sums of all samples
    assert jobs == ([2] if plain else [2, 2])
    assert_same(got, want, X[:500], rtol=1e-10)
    with joblib.parallel_config("loky", n_jobs=2):
        assert_same(clone(model).fit(X, y), want, X[:500], rtol=1e-10)
    want.partial_fit(X, y)
    got.partial_fit(X, y)
    assert_same(got, want, X[:500], rtol=1e-10)


def test_parts_are_few_and_hold_all_samples(data, monkeypatch):
    sizes, real = [], gp_posterior._statistics_of_part

    def counted(task):
        sizes.append(len(task[-1].weights))
        return real(task)

    monkeypatch.setattr(gp_posterior, "_statistics_of_part", counted)
    monkeypatch.setattr(gp_posterior, "PART_ROWS", 1)
    monkeypatch.setattr(gp_posterior, "MAX_PARTS", 4)
    clone(MODEL).set_params(n_inducing_points=3, max_iter=0).fit(*data)
    assert sizes == [175] * 4


MEMORY = """
import resource, sys
import numpy as np
from sklearn_unlocknn import VGPRegressor
X = np.load(sys.argv[1], mmap_mode="r")
y = np.load(sys.argv[2])
def peak():
    # resident memory that is not mapped files: the file itself may stay in cache
    for line in open("/proc/self/status"):
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1024
import threading, time
top, done = [0.0], []
def watch():
    while not done:
        top[0] = max(top[0], peak())
        time.sleep(0.01)
VGPRegressor("rbf", 50, random_state=0).fit(X[:5000], y[:5000])
thread = threading.Thread(target=watch)
before = peak()
thread.start()
model = VGPRegressor("rbf", 50, random_state=0).fit(X, y)
model.predict(X, return_std=True)
done.append(1)
thread.join()
print(top[0] - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_does_not_grow_with_the_features(tmp_path, one_thread):
    rng = np.random.default_rng(0)
    n, d = 400_000, 64
    X = np.lib.format.open_memmap(
        tmp_path / "X.npy", mode="w+", dtype=np.float32, shape=(n, d)
    )
    for start in range(0, n, 50_000):
        X[start : start + 50_000] = rng.normal(size=(50_000, d))
    y = np.sin(X[:, 0]).astype(float)
    np.save(tmp_path / "y.npy", y)
    del X
    paths = [str(tmp_path / name) for name in ("X.npy", "y.npy")]
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, *paths], env=one_thread, check=True,
        capture_output=True, text=True,
    )  # fmt: skip
    grown = float(done.stdout)
    standardised = n * d * 8 / 2**20  # size of a copy of all samples, 195 MB
    per_sample = n * 8 * 12 / 2**20  # targets, weights, order, results
    assert grown < 0.5 * standardised + per_sample


# --- generators -----------------------------------------------------------------


def pieces(X, *others, size=100):
    for start in range(0, len(X), size):
        rows = slice(start, start + size)
        yield X[rows], *(other[rows] for other in others)


def joined(results):
    """Join means, and stds, of the pieces of a stream of predictions."""
    return [np.concatenate(parts) for parts in zip(*results, strict=True)]


def test_fit_stream_is_fit(data):
    X, y = data
    weights = np.random.default_rng(1).integers(0, 3, size=len(y)).astype(float)
    weights[:300] = 0.0  # all of a batch, which is no error
    want = clone(MODEL).fit(X, y, weights)
    got = clone(MODEL).fit_stream(pieces(X, y, weights))
    assert_same(got, want, X)
    assert_same(got.partial_fit(X[:300], y[:300], weights[:300]), want, X)
    both = np.column_stack([y, -y])
    want = clone(MODEL).fit(X, both)
    assert_same(clone(MODEL).fit_stream(pieces(X, both)), want, X)
    X = X.astype(np.float32)
    X[:, 0] = 1 + 1e-7 * (X[:, 1] > 50)  # constant within the resolution of float32
    want = clone(MODEL).fit(X, y)
    assert_same(clone(MODEL).fit_stream(pieces(X, y)), want, X)


def test_predict_stream_is_lazy_and_is_predict(data):
    X, y = data
    model = clone(MODEL).fit(X, y)
    taken = []

    def stream():
        for number, (X_piece,) in enumerate(pieces(X)):
            taken.append(number)
            yield X_piece

    results = model.predict_stream(stream())
    assert not taken
    first = next(results)
    assert taken == [0]
    assert_allclose(joined([first, *results]), model.predict(X, True), rtol=1e-12)


@pytest.mark.parametrize("mean", ["constant", "network"])
def test_streams_through_a_network(data, keras3_net, mean):
    X, y = data
    X = np.column_stack([X, X[:, 0]])
    model = ProbNNRegressor(
        keras3_net, "latent", "rbf", 25, mean=mean, extract_batch_size=100,
        random_state=0,
    )  # fmt: skip
    want = clone(model).fit(X, y)
    got = clone(model).fit_stream(pieces(X, y))
    assert_same(got, want, X, rtol=1e-6, atol=1e-8)
    streamed = joined(got.predict_stream(x for (x,) in pieces(X)))
    assert_allclose(streamed, got.predict(X, return_std=True), rtol=1e-6, atol=1e-8)


@pytest.fixture(scope="module")
def crystals(tiny_net):
    """Return an unfitted regressor, 60 crystals and their energies."""
    model = MEGNetProbRegressor(tiny_net, -2, kernel="rbf", random_state=0)
    return model, *make_ionic_crystals(60, random_state=0, return_X_y=True)


def test_streams_of_structures(crystals, monkeypatch):
    from sklearn_unlocknn._features import cache as _feature_cache
    from sklearn_unlocknn._megnet import encoder as _megnet

    model, structures, y = crystals
    monkeypatch.setattr(_megnet, "STREAM_STRUCTURES", 16)
    # Features differ in the last digits with the batch, and so would hyperparameters.
    model = clone(model).set_params(max_iter=0)
    want = clone(model).fit(structures, y)
    got = clone(model).fit_stream(pieces(structures, y, size=20))
    assert_same(got, want, structures, rtol=1e-4, atol=1e-4 * np.std(y))

    def never(*args):
        raise AssertionError("a stream must not fill the cache")

    monkeypatch.setattr(_feature_cache.FeatureCache, "fetch", never)
    results = list(got.predict_stream(iter(structures)))
    assert [len(mean) for mean, _ in results] == [16, 16, 16, 12]
    monkeypatch.undo()
    want = got.predict(structures, return_std=True)
    close = {"rtol": 1e-4, "atol": 1e-4 * np.std(y)}  # the network is float32
    assert_allclose(joined(results), want, **close)


def test_structure_that_fails_is_named_by_its_index_in_the_stream(
    crystals, monkeypatch
):
    from sklearn_unlocknn._megnet import encoder as _megnet

    model, structures, y = crystals
    monkeypatch.setattr(_megnet, "STREAM_STRUCTURES", 16)
    model = clone(model).fit(structures, y)
    broken = [*structures[:40], "no crystal", *structures[40:]]
    with pytest.raises(ValueError, match="Structure 40 "):
        list(model.predict_stream(broken))
    model.set_params(on_error="nan")
    means = np.concatenate([mean for mean, _ in model.predict_stream(broken)])
    assert np.flatnonzero(np.isnan(means)).tolist() == [40]
    with pytest.warns(UserWarning, match=r"1 of 61 samples .* left out.*Structure 40 "):
        clone(model).fit_stream(pieces(broken, np.append(y, 0.0), size=20))


def test_failures_in_the_first_piece_warn_once(crystals, recwarn):
    model, structures, y = crystals
    model = clone(model).set_params(on_error="nan")
    # The same pieces: the batch changes the last bits of float32 features, on some
    # processors by 4e-5 of a feature's standard deviation.
    want = clone(model).fit_stream(pieces(structures, y, size=20)).predict(structures)
    broken = [*["no crystal"] * 20, *structures]
    targets = np.concatenate([np.zeros(20), y])
    got = model.fit_stream(pieces(broken, targets, size=20)).predict(structures)
    assert_allclose(got, want, rtol=1e-5)
    messages = [str(w.message) for w in recwarn if "left out" in str(w.message)]
    assert len(messages) == 1
    assert "20 of 80 samples" in messages[0]
    assert "Structure 0 " in messages[0]
    with pytest.raises(ValueError, match=r"None of the 20 samples .*Structure 0 "):
        clone(model).fit_stream(pieces(broken[:20], targets[:20], size=10))


def test_bad_targets_are_named_by_their_index(crystals):
    model, structures, y = crystals
    holes = y.copy()
    holes[30] = np.nan
    with pytest.raises(ValueError, match=r"target of structure 30 \("):
        clone(model).fit_stream(pieces(structures, holes, size=20))
    model = clone(model).fit(structures, y)
    with pytest.raises(ValueError, match=r"target of structure 1 \("):
        model.partial_fit(structures[:3], holes[29:32])


def test_unfitted_model_raises_before_the_stream_starts(data):
    with pytest.raises(NotFittedError):
        clone(MODEL).predict_stream(iter([data[0]]))


def test_structures_that_are_added_and_fail_are_counted(crystals):
    model, structures, y = crystals
    model = clone(model).set_params(on_error="nan").fit(structures, y)
    broken = [*structures[:2], "no crystal"]
    for call in (
        lambda: model.partial_fit(broken, y[:3]),
        lambda: clone(model).fit(broken, y[:3]),
        lambda: clone(model).fit_stream([(broken, y[:3])]),
    ):
        with pytest.warns(UserWarning, match="1 of 3 samples .*Structure 2 ") as told:
            call()
        assert [warning.filename for warning in told] == [__file__]


def test_bad_pieces_are_named(data):
    X, y = data
    with pytest.raises(ValueError, match="no batches"):
        clone(MODEL).fit_stream(iter([]))
    with pytest.raises(ValueError, match=r"ndarray, expected tuples \(X, y\)"):
        clone(MODEL).fit_stream([X])
    with pytest.raises(ValueError, match="tuple of 5"):
        clone(MODEL).fit_stream([(X, y, y, y, y)])
    with pytest.raises(ValueError, match="2 features"):
        clone(MODEL).fit_stream([(X, y), (X[:, :2], y)])
    with pytest.raises(ValueError, match=r"'y': 2.* from sample 700 on"):
        clone(MODEL).fit_stream([(X, y), (X, np.column_stack([y, y]))])
    with pytest.raises(ValueError, match="inconsistent"):
        clone(MODEL).fit_stream([(X, y), (X, y[:-1])])


def test_networks_trained_in_fit_need_all_samples(keras3_net):
    from sklearn.linear_model import LinearRegression

    with pytest.raises(ValueError, match="trained in fit"):
        ProbNNRegressor(LinearRegression()).fit_stream([])
    with pytest.raises(ValueError, match="FineTuning"):
        ProbNNRegressor(keras3_net, fine_tuning=FineTuning()).fit_stream([])


def test_failed_stream_leaves_no_file_and_the_model_whole(data, tmp_path, monkeypatch):
    import tempfile

    X, y = data
    model = clone(MODEL).fit(X, y)
    before = model.predict(X)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def broken():
        yield X, y
        assert len(list(tmp_path.iterdir())) == 1
        raise OSError("the disk of the user is gone")

    with warnings.catch_warnings(), pytest.raises(OSError, match="disk"):
        model.fit_stream(broken())
    assert list(tmp_path.iterdir()) == []
    assert_array_equal(model.predict(X), before)


def test_stream_keeps_no_batch_in_memory():
    """Targets that are a column of a table do not keep the table."""
    rng, tables = np.random.default_rng(0), []

    def batches():
        for _ in range(4):
            table = rng.normal(size=(30, 8))
            tables.append(weakref.ref(table))
            yield table[:, :-2], table[:, -2], np.abs(table[:, -1])
            # one batch may be at work
            assert sum(one() is not None for one in tables[:-1]) == 0

    VGPRegressor("rbf", max_iter=1, random_state=0).fit_stream(batches())
    assert len(tables) == 4
