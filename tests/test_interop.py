"""Test the regressors as they are inside other libraries, which the tests run.

modAL 0.4.2.1, the newest, passes scikit-learn an argument that 1.8 removed
(``force_all_finite``), so active learning is tested by a loop of our own. matbench pins
libraries that cannot be installed with the newest scikit-learn.
"""

import numpy as np
import pytest
from example_runs import DATA, needs_data, python_blocks
from numpy.testing import assert_allclose
from scipy import stats
from sklearn.base import clone
from sklearn.model_selection import train_test_split

from sklearn_unlocknn import VGPRegressor
from sklearn_unlocknn.metrics import (
    gaussian_nll,
    get_prob_scorer,
    interval_coverage,
    miscalibration_area,
    sharpness,
)

HEAD = VGPRegressor("matern52_ard + linear", max_iter=10, random_state=0)
LIBRARIES = ("mapie", "optuna", "skopt", "uncertainty_toolbox")


@pytest.fixture(scope="module")
def page():
    """Run the guide's page on other libraries; return its names after each block."""
    for library in LIBRARIES:
        pytest.importorskip(library)
    names, after = {}, []
    for block in python_blocks("guide/interoperation"):
        exec(compile(block, "guide/interoperation", "exec"), names)
        after.append(dict(names))
    return after


def test_uncertainty_toolbox_computes_the_same_figures(page):
    uct, y = page[2]["uct"], page[2]["y_test"]
    mean, std = page[2]["mean"], page[2]["std"]
    assert_allclose(
        gaussian_nll(y, mean, std), uct.nll_gaussian(mean, std, y, scaled=True)
    )
    assert_allclose(sharpness(y, mean, std), uct.sharpness(std), rtol=1e-6)
    ours = miscalibration_area(y, mean, std, kind="interval")
    theirs = uct.miscalibration_area(mean, std, y)
    assert_allclose(ours, theirs, atol=0.01)  # theirs is on 100 levels
    assert_allclose(
        interval_coverage(y, mean, std, coverage=0.5),
        uct.get_proportion_in_interval(mean, std, y, 0.5),
        atol=0.02,
    )


def test_mapie_divides_residuals_by_our_std(page):
    lower, upper = page[3]["interval"][:, :, 0].T
    assert_allclose(upper - lower, upper[0] - lower[0])  # without std
    model, y_cal, y_test = (page[4][name] for name in ("model", "y_cal", "y_test"))
    lower, upper = page[4]["interval"][:, :, 0].T
    mean, std = model.predict(page[4]["X_test"], return_std=True)
    assert_allclose(page[4]["mean"], mean)
    # the ceil((n + 1) 0.9)-th normalised residual of the calibration samples
    cal_mean, cal_std = model.predict(page[4]["X_cal"], return_std=True)
    n, n_test = len(y_cal), len(y_test)
    rank = int(np.ceil((n + 1) * 0.9))
    z = np.sort(np.abs(y_cal - cal_mean) / cal_std)[rank - 1]
    assert_allclose(upper - mean, z * std, rtol=1e-6)
    assert_allclose(mean - lower, z * std, rtol=1e-6)
    covered = np.sum((y_test > lower) & (y_test < upper))
    # beta-binomial (Angelopoulos and Bates 2021)
    law = stats.betabinom(n_test, rank, n + 1 - rank)
    assert law.ppf(0.005) <= covered <= law.ppf(0.995)


def test_optuna_searches_kernels(page):
    study = page[5]["study"]
    values = [trial.value for trial in study.trials]
    assert len(set(values)) > 1
    assert study.best_value == max(values)
    assert_allclose(page[5]["objective"](study.best_trial), study.best_value)


def test_scikit_optimize_finds_a_minimum(page):
    result = page[6]["result"]
    assert result.fun < 0.05 < min(result.func_vals[:8])


def test_active_learning_labels_new_samples(page):
    labelled = page[7]["labelled"]
    assert len(labelled) == len(set(labelled)) == 25


@needs_data
def test_active_learning_beats_random_choice_on_real_data():
    data = np.load(DATA / "uci" / "energy.npz")
    X, X_test, y, y_test = train_test_split(data["X"], data["y"], random_state=0)
    errors = {"uncertain": [], "random": []}
    for seed in range(5):
        for way, scores in errors.items():
            rng = np.random.default_rng(seed)
            # fewer samples do not show which features matter
            known = list(rng.permutation(len(X))[:50])
            for _ in range(10):
                model = clone(HEAD).fit(X[known], y[known])
                rest = rng.permutation(np.setdiff1d(np.arange(len(X)), known))
                if way == "uncertain":
                    _, std = model.predict(X[rest], return_std=True)
                    rest = rest[np.argsort(-std)]
                known += list(rest[:5])
            error = clone(HEAD).fit(X[known], y[known]).predict(X_test) - y_test
            scores.append(np.sqrt(np.mean(error**2)))
    uncertain, random = np.array(errors["uncertain"]), np.array(errors["random"])
    assert uncertain.mean() < 0.9 * random.mean()
    assert np.sum(uncertain < random) >= 4


@pytest.mark.filterwarnings(
    "ignore:OptunaSearchCV is experimental", "ignore:`optuna.*deprecated:FutureWarning"
)
def test_optuna_search_cv(page):
    integration = pytest.importorskip("optuna_integration.sklearn")
    from optuna.distributions import CategoricalDistribution

    search = integration.OptunaSearchCV(
        clone(HEAD),
        {"kernel": CategoricalDistribution(["rbf", "linear"])},
        n_trials=2,
        cv=2,
        scoring=get_prob_scorer("neg_nll"),
        random_state=0,
    )
    search.fit(page[0]["X_train"], page[0]["y_train"])
    assert search.best_params_["kernel"] in ("rbf", "linear")
    mean, std = search.best_estimator_.predict(page[0]["X_test"], return_std=True)
    assert np.all(np.isfinite(mean))
    assert np.all(std > 0)
