"""The quickstart and the Matbench script run as commands and print true figures."""

import importlib.util
import json
import re
import warnings

import numpy as np
import pytest
from _megnet.megnet_nets import make_megnet
from example_runs import EXAMPLES, run
from numpy.testing import assert_allclose
from pymatgen.core import Lattice, Structure
from scipy.stats import lognorm, norm

from sklearn_unlocknn import MEGNetProbRegressor
from sklearn_unlocknn.datasets import _cache, make_ionic_crystals, matbench_folds

TRIAL = [
    "ionic",
    "--n-samples",
    "40",
    "--network",
    "net.hdf5",
    "--no-descriptors",
    "--kernel",
    "rbf",
]


def test_quickstart_has_calibrated_intervals_and_saves_a_picture(tmp_path):
    out = run([EXAMPLES / "quickstart.py", "--output", "picture.png"], tmp_path)
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
    shares = re.findall(r"([\d.]+)% intervals hold ([\d.]+)% of (\d+)", out)
    assert len(shares) == 3
    for nominal, observed, n in np.array(shares, float):
        error = np.sqrt(nominal * (100 - nominal) / n)
        assert abs(observed - nominal) < 3 * error
    mae = float(re.search(r"MAE +([\d.]+)", out)[1])
    alone = float(re.search(r"network alone: ([\d.]+)", out)[1])
    assert mae < alone
    assert "miscalibration area" in out
    assert 'MEGNetProbRegressor("Eform_MP_2019")' in out


@pytest.fixture(scope="module")
def matbench_cv():
    spec = importlib.util.spec_from_file_location("cv", EXAMPLES / "matbench_cv.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def quick(matbench_cv, tmp_path, monkeypatch):
    """Return a function that runs the script on few crystals with a tiny network."""
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tf-keras: HDF5 is legacy
        make_megnet().save_model("net.hdf5")

    def call(*more):
        matbench_cv.main([*TRIAL, *more])
        return next(tmp_path.glob("results/ionic-net-*"))

    return call


def test_matbench_cv_resumes_from_finished_folds(quick, matbench_cv, capsys):
    folder = quick("--folds", "1", "3")
    assert "2 of 5 folds are done" in capsys.readouterr().out
    one, three = folder / "fold_1.json", folder / "fold_3.json"
    assert {one, three, folder / "settings.json"} == set(folder.iterdir())
    before = one.read_bytes()
    three.write_text("{")
    with pytest.raises(SystemExit, match=r"fold_3.json does not hold .* Delete it"):
        quick()
    three.unlink()
    capsys.readouterr()
    quick()
    assert re.findall(r"fold (\d): was done", capsys.readouterr().out) == ["1"]
    assert one.read_bytes() == before
    results = json.loads((folder / "results.json").read_text())
    quick()
    assert capsys.readouterr().out.count("was done already") == 5
    again = json.loads((folder / "results.json").read_text())
    assert again["tasks"] == results["tasks"]

    check_layout(results, matbench_cv)
    quick("--folds", "0", "--random-state", "1")  # kept apart
    assert len(list(folder.parent.glob("*/fold_0.json"))) == 2


def check_layout(content, matbench_cv):
    """Compare results with predictions of the estimator and the layout of matbench."""
    assert content.pop("hash") == matbench_cv.digest_of(content)
    assert content["@class"] == "MatbenchBenchmark"
    task = content["tasks"]["ionic"]
    assert task["dataset_name"] == "ionic"
    X, energy = make_ionic_crystals(40, random_state=0, return_X_y=True)
    y = np.log10(-energy)
    for k, (_, test) in enumerate(matbench_folds(y)):
        fold = task["results"][f"fold_{k}"]
        assert list(fold) == ["data", "uncertainty", "parameters", "scores"]
        ids = [f"ionic-{i + 1:05d}" for i in test]
        assert list(fold["data"]) == list(fold["uncertainty"]) == ids
        error = np.abs(y[test] - list(fold["data"].values()))
        assert_allclose(fold["scores"]["mae"], error.mean())
        assert_allclose(fold["scores"]["max_error"], error.max())

    train, test = matbench_folds(y)[0]
    options = {"kernel": "rbf", "descriptors": None, "random_state": 0}
    model = MEGNetProbRegressor("net.hdf5", **options)
    mean, std = model.fit(X[train], y[train]).predict(X[test], return_std=True)
    fold = task["results"]["fold_0"]
    rows = fold["uncertainty"].values()
    low, high = norm.interval(0.95, mean, std)
    assert_allclose(list(fold["data"].values()), mean, rtol=1e-4)
    assert_allclose([row["std"] for row in rows], std, rtol=1e-4)
    assert_allclose([row["ci_lower"] for row in rows], low, rtol=1e-4)
    assert_allclose([row["ci_upper"] for row in rows], high, rtol=1e-4)


def test_matbench_cv_predicts_every_sample(quick, matbench_cv):
    X, y = make_ionic_crystals(21, random_state=0, return_X_y=True)
    X[20] = Structure(Lattice.cubic(30), ["Ar"], [[0, 0, 0]])  # no bond, no graph
    options = {"kernel": "rbf", "descriptors": None, "on_error": "nan"}
    model = MEGNetProbRegressor("net.hdf5", **options)
    fold = matbench_cv.run_fold(model, X, y, np.arange(15), np.arange(15, 21))
    assert fold["parameters"]["n_samples_without_graph"] == 1
    assert np.isfinite(fold["mean"]).all()
    assert fold["mean"][-1] == y[:15].mean()
    assert fold["std"][-1] == y[:15].std()


def test_matbench_cv_predicts_the_logarithm_of_a_skewed_target(quick, matbench_cv):
    X, energy = make_ionic_crystals(40, random_state=0, return_X_y=True)
    y = np.exp(3.0 * np.log10(-energy))
    train = np.arange(30)
    assert matbench_cv.takes_log("auto", y, train)
    assert not matbench_cv.takes_log("auto", y - y.min(), train)
    assert not matbench_cv.takes_log("auto", np.log(y), train)
    with pytest.raises(ValueError, match="--log yes with targets from 0 on"):
        matbench_cv.takes_log("yes", y - y.min(), train)
    options = {"kernel": "rbf", "descriptors": None, "random_state": 0}
    model = MEGNetProbRegressor("net.hdf5", **options)
    test = np.arange(30, 40)
    fold = matbench_cv.run_fold(model, X, y, train, test, log=True)
    mu, s = model.fit(X[:30], np.log(y[:30])).predict(X[30:], return_std=True)
    assert_allclose(fold["mean"], np.exp(mu), rtol=1e-6)
    assert_allclose(fold["std"], lognorm(s, scale=np.exp(mu)).std(), rtol=1e-6)
    # CRPS as the integral of the squared difference of distribution functions
    t = np.linspace(0.0, 60.0 * y.max(), 400_001)[:, None]
    gap = lognorm(s, scale=np.exp(mu)).cdf(t) - (t >= y[30:])
    want = np.trapezoid(gap**2, t, axis=0)
    assert_allclose(matbench_cv.crps(fold, y[30:]), want, rtol=1e-3)


@pytest.mark.slow
def test_matbench_cv_trains_in_each_fold(matbench_cv, tmp_path, capsys):
    out = ["--out", str(tmp_path), "--folds", "0"]
    settings = ["--n-samples", "20", "--max-iter", "1", "--kernel", "rbf"]
    matbench_cv.main(["ionic", "--network", "train", *settings, *out])
    assert re.search(r"fold 0: MAE [\d.]+", capsys.readouterr().out)
    (file,) = tmp_path.glob("*/fold_0.json")
    fold = json.loads(file.read_text())
    assert np.isfinite(fold["mean"]).all()
    assert fold["parameters"]["n_inducing_points"] <= 4  # of 16: the network's are 12


@pytest.mark.parametrize(
    ("task", "reason"),
    [
        ("matbench_steels", "which is of compositions"),
        ("mp_is_metal", "or a classification"),
        ("phonon", "expected ionic or one of dielectric"),
    ],
)
def test_matbench_cv_refuses_other_tasks(matbench_cv, task, reason, capsys):
    with pytest.raises(SystemExit):
        matbench_cv.main([task])
    assert reason in capsys.readouterr().err


def test_matbench_cv_accepts_all_regressions_of_structures(matbench_cv):
    columns = {
        path.split("matbench_")[1].removesuffix(".json.gz"): entry["columns"]
        for path, entry in _cache.registry().items()
        if path.startswith("matbench/")
    }
    known = {name for name, names in columns.items() if "structure" in names}
    assert set(matbench_cv.TASKS) == known - {"mp_is_metal"}
