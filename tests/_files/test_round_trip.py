"""Models of every kind are the same after a round trip to another process."""

import io
import json
import pickle
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
from _files import fitted, kept
from _files.in_new_process import predict
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.metrics import mean_squared_error
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import Bunch

import sklearn_unlocknn
from sklearn_unlocknn import (
    ProbNNRegressor,
    VGPRegressor,
    calibration,
    compose,
    load_model,
    read_model_card,
    save_model,
)
from sklearn_unlocknn._features.cache import forget
from sklearn_unlocknn._files.model_file import PROTOCOL
from sklearn_unlocknn.metrics import gaussian_nll

pytestmark = pytest.mark.filterwarnings(
    "ignore:Fine-tuning keeps the original network:UserWarning",
    "ignore::sklearn.exceptions.ConvergenceWarning",
)


SAMPLES = {"samples": fitted.X, "structures": fitted.STRUCTURES}
SAVED = {
    "samples": fitted.X.tolist(),
    "structures": [structure.as_dict() for structure in fitted.STRUCTURES],
}


def check_in_new_process(models, folder, one_thread):
    """Save models and compare what they predict with those of another process."""
    for name, model in models.items():
        save_model(model, folder / f"{name}.unlocknn")
    (folder / "X.json").write_text(json.dumps(SAVED))
    script = str(Path(__file__).with_name("in_new_process.py"))
    result = subprocess.run(
        [sys.executable, script, str(folder)],
        capture_output=True, text=True, check=False, env=one_thread,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    # No library of networks to load them all
    assert result.stdout.split() == [str(len(models))]
    with np.load(folder / "predicted.npz") as found:
        assert found.keys() == models.keys()
        for name, model in models.items():
            forget()  # batches of samples as in the other process
            want = predict(model, SAMPLES[name.split(",")[0]])
            assert_allclose(found[name], want, rtol=1e-12, atol=1e-12, err_msg=name)


def test_models_of_features_predict_the_same_in_a_new_process(tmp_path, one_thread):
    models = {f"samples,{name}": m for name, m in fitted.numeric().items()}
    check_in_new_process(models, tmp_path, one_thread)


def test_models_with_networks_predict_the_same_in_a_new_process(tmp_path, one_thread):
    models = {f"samples,{name}": m for name, m in fitted.keras().items()}
    models |= {f"structures,{name}": m for name, m in fitted.structural().items()}
    check_in_new_process(models, tmp_path, one_thread)


def test_every_estimator_is_among_the_models():
    public = {
        value
        for module in (sklearn_unlocknn, calibration, compose)
        for name in module.__all__
        if isinstance(value := getattr(module, name), type)
        and issubclass(value, BaseEstimator)
    }
    assert public <= {
        value for value in vars(fitted).values() if isinstance(value, type)
    } | {sklearn_unlocknn.MEGNetProbRegressor, calibration.ErrorBarCalibrator}


@pytest.mark.parametrize("number", range(1, PROTOCOL + 1))
@pytest.mark.parametrize("name", kept.MODELS)
def test_files_of_each_format_number(name, number):
    path = kept.FOLDER / f"{name}_{number}.unlocknn"
    card = read_model_card(path)
    assert (card["protocol"], card["target"]) == (number, "y")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InconsistentVersionWarning)
        model = load_model(path)
    want = json.loads(path.with_suffix(".json").read_text())
    # A network computes in float32
    rtol = 1e-5 if name == "network" else 1e-9
    assert_allclose(kept.predicted(model), want, rtol=rtol)


@pytest.mark.parametrize("number", [1, 2])
def test_models_of_old_files_have_no_domain(number):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InconsistentVersionWarning)
        model = load_model(kept.FOLDER / f"network_{number}.unlocknn")
    for method in (model.domain_score, model.nearest_training):
        with pytest.raises(ValueError, match=r"format number 1 or 2.*Fit it again"):
            method(kept.X)
    before = model.predict(kept.X)
    after = model.partial_fit(kept.X, kept.Y + 1.0).predict(kept.X)
    assert after.mean() > before.mean()


def test_a_loaded_model_fits_again_and_is_cloned(keras3_net, small_data, tmp_path):
    X, y = small_data
    model = ProbNNRegressor(
        keras3_net, kernel="rbf", max_iter=1, memory=tmp_path / "memory", n_jobs=1
    ).fit(X, y)
    want = model.predict(X)
    save_model(model, tmp_path / "model.unlocknn")
    loaded = load_model(tmp_path / "model.unlocknn")
    assert loaded.network is loaded.network_
    assert "net" in repr(loaded)
    assert (loaded.memory, loaded.n_jobs) == (None, None)
    for again in (loaded, clone(loaded).fit(X, y), loaded.fit(X, y)):
        assert_allclose(again.predict(X), want, rtol=1e-6)
    save_model(loaded, tmp_path / "again.unlocknn")
    assert_allclose(load_model(tmp_path / "again.unlocknn").predict(X), want, rtol=1e-6)
    assert_array_equal(pickle.loads(pickle.dumps(loaded)).predict(X), loaded.predict(X))


def test_equal_models_have_equal_files(small_data, tmp_path):
    paths = [tmp_path / name for name in ("one", "other")]
    for path in paths:
        save_model(
            VGPRegressor("rbf", max_iter=1, random_state=0).fit(*small_data), path
        )
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_values_of_every_kind():
    """Of types and numbers that attributes of scikit-learn's estimators have."""
    bunch = Bunch(a=1, b=[2])
    values = [
        None, True, 3, -(10**30), 0.1, "a\ud800", [1, [2]], (1, (2,)), {1, 2},
        frozenset("ab"), {"a": 1}, {1: 2, (3, "x"): None}, slice(1, None, -2),
        range(3, 9), b"\0\xff", Path("a/b"), np.float64, object, np.dtype("<f4"),
        np.exp, gaussian_nll, mean_squared_error, float("inf"), np.float32(0.1),
        np.int8(3),
        np.datetime64("2020-02-02"), np.complex128(1j), np.str_("x"), bunch,
    ]  # fmt: skip
    for value in values:
        got = round_trip(value)
        assert type(got) is type(value)
        assert got == value
    assert np.isnan(round_trip(np.float32("nan")))
    assert round_trip(bunch).b == [2]


def test_arrays_of_every_kind():
    rng = np.random.default_rng(0)
    arrays = [
        rng.normal(size=(5, 7)),
        np.asfortranarray(rng.normal(size=(5, 7))),
        rng.normal(size=(50, 9))[::7, ::2].T,
        np.array([np.nan, np.inf, -0.0]),
        np.float32(rng.normal(size=(2, 3, 4))),
        np.empty((0, 5)), np.array(3), np.arange(4, dtype=">i4"), np.arange(40) > 3,
        np.array(["a", "bcd"]), np.array([b"x"]), np.arange(30) * 1j,
        np.array(["2020-01-01"], "datetime64[D]"), np.arange(9, dtype=np.uint64),
        np.longdouble([1, 2]) / 3,
    ]  # fmt: skip
    for array in arrays:
        got = round_trip(array)
        assert (got.dtype, got.shape) == (array.dtype, array.shape)
        assert got.flags.writeable
        assert_array_equal(got, array)
    items = np.empty((2, 2), dtype=object)
    items[:] = [[None, [1]], ["a", {"b": np.arange(3)}]]
    got = round_trip(items)
    assert got.shape == (2, 2)
    assert got[0, 1] == [1]
    assert_array_equal(got[1, 1]["b"], [0, 1, 2])
    masked = round_trip(np.ma.MaskedArray([1.0, 2.0], [True, False]))
    assert masked[0] is np.ma.masked
    assert masked[1] == 2
    state = np.random.RandomState(3)
    assert round_trip(state).rand() == state.rand()
    one, other = round_trip([items, items])
    assert one is not other
    array = rng.normal(size=20)
    one, other = round_trip({"a": array, "b": [array]}).values()
    assert one is other[0]


def round_trip(value):
    """Write a value as the state of a transformer, and read it."""
    model = FunctionTransformer(np.exp)
    model.value_ = value
    file = io.BytesIO()
    save_model(model, file)
    with tempfile.NamedTemporaryFile() as copy:
        copy.write(file.getvalue())
        copy.flush()
        return load_model(copy.name).value_
