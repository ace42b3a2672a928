"""Other libraries use the regressors as they come; each test runs the real one.

modAL 0.4.2.1, the newest, calls scikit-learn with an argument that 1.8 removed
(``force_all_finite``), so an active-learning loop of our own stands in for it.
matbench pins libraries that do not install beside the newest scikit-learn.
"""

import os

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.datasets import load_diabetes
from sklearn.model_selection import KFold, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_unlocknn import VGPRegressor
from sklearn_unlocknn.metrics import (
    gaussian_nll,
    get_prob_scorer,
    interval_coverage,
    miscalibration_area,
    sharpness,
)

HEAD = VGPRegressor("matern52_ard + linear", max_iter=10, random_state=0)


@pytest.fixture(scope="module")
def diabetes():
    """Give rows to fit, to calibrate and to test."""
    X, y = load_diabetes(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X, y, test_size=150, random_state=0)
    X, X_cal, y, y_cal = train_test_split(X, y, test_size=120, random_state=0)
    return (X, y), (X_cal, y_cal), (X_test, y_test)


class StdOf(RegressorMixin, BaseEstimator):
    """A fitted regressor's standard deviation, as a prediction."""

    def __init__(self, estimator):
        self.estimator = estimator

    def fit(self, X, y):
        self.fitted_ = True
        return self

    def predict(self, X):
        return self.estimator.predict(X, return_std=True)[1]


def test_mapie_conformal_intervals_normalised_by_our_std(diabetes):
    regression = pytest.importorskip("mapie.regression")
    scores = pytest.importorskip("mapie.conformity_scores")
    train, (X_cal, y_cal), (X_test, y_test) = diabetes
    model = clone(HEAD).fit(*train)
    score = scores.ResidualNormalisedScore(StdOf(model).fit(None, None), prefit=True)
    conformal = regression.SplitConformalRegressor(
        model, confidence_level=0.9, conformity_score=score, prefit=True
    ).conformalize(X_cal, y_cal)
    mean, interval = conformal.predict_interval(X_test)
    lower, upper = interval[:, :, 0].T
    want, std = model.predict(X_test, return_std=True)
    assert_allclose(mean, want)
    # the ceil((n + 1) 0.9)-th normalised residual of the calibration rows
    cal_mean, cal_std = model.predict(X_cal, return_std=True)
    z = np.sort(np.abs(y_cal - cal_mean) / cal_std)[int(np.ceil(121 * 0.9)) - 1]
    assert_allclose(upper - want, z * std, rtol=1e-6)
    assert_allclose(want - lower, z * std, rtol=1e-6)
    covered = np.sum((y_test > lower) & (y_test < upper))
    # of 150 rows, with a beta-binomial law (Angelopoulos and Bates 2021)
    law = stats.betabinom(150, 109, 12)
    assert law.ppf(0.005) <= covered <= law.ppf(0.995)


def test_scikit_optimize_finds_a_minimum():
    skopt = pytest.importorskip("skopt")
    optimizer = skopt.Optimizer(
        [(-2.0, 2.0), (-2.0, 2.0)],
        base_estimator=clone(HEAD),
        n_initial_points=8,
        acq_func="EI",
        acq_optimizer="sampling",
        random_state=0,
    )
    for _ in range(20):
        x = optimizer.ask()
        result = optimizer.tell(x, (x[0] - 0.5) ** 2 + (x[1] + 1.0) ** 2)
    first = min(result.func_vals[:8])
    assert result.fun < 0.05 < first


def test_active_learning_beats_random_choice_on_real_data():
    folder = os.environ.get("SKLEARN_UNLOCKNN_DATA")
    if not folder:
        pytest.skip("SKLEARN_UNLOCKNN_DATA is not set")
    data = np.load(os.path.join(folder, "uci", "energy.npz"))
    X, X_test, y, y_test = train_test_split(data["X"], data["y"], random_state=0)
    errors = {"uncertain": [], "random": []}
    for seed in range(5):
        for way, scores in errors.items():
            rng = np.random.default_rng(seed)
            # of fewer rows it would not learn which features count
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


def test_optuna_searches_kernels(diabetes):
    optuna = pytest.importorskip("optuna")
    (X, y), _, _ = diabetes
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    scorer = get_prob_scorer("neg_nll")
    pipeline = make_pipeline(StandardScaler(), clone(HEAD))

    def objective(trial):
        kernel = trial.suggest_categorical("kernel", ["rbf", "linear", "matern52"])
        points = trial.suggest_int("n_inducing_points", 5, 50)
        model = clone(pipeline).set_params(
            vgpregressor__kernel=kernel, vgpregressor__n_inducing_points=points
        )
        return cross_val_score(model, X, y, cv=KFold(2), scoring=scorer).mean()

    sampler = optuna.samplers.TPESampler(seed=0)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.optimize(objective, n_trials=5)
    values = [trial.value for trial in study.trials]
    assert len(set(values)) > 1
    assert study.best_value == max(values)
    assert_allclose(objective(study.best_trial), study.best_value)


@pytest.mark.filterwarnings(
    "ignore:OptunaSearchCV is experimental", "ignore:`optuna.*deprecated:FutureWarning"
)
def test_optuna_search_cv(diabetes):
    integration = pytest.importorskip("optuna_integration.sklearn")
    from optuna.distributions import CategoricalDistribution

    (X, y), _, (X_test, _) = diabetes
    search = integration.OptunaSearchCV(
        clone(HEAD),
        {"kernel": CategoricalDistribution(["rbf", "linear"])},
        n_trials=2,
        cv=2,
        scoring=get_prob_scorer("neg_nll"),
        random_state=0,
    )
    search.fit(X, y)
    assert search.best_params_["kernel"] in ("rbf", "linear")
    mean, std = search.best_estimator_.predict(X_test, return_std=True)
    assert np.all(np.isfinite(mean))
    assert np.all(std > 0)


def test_uncertainty_toolbox_gives_the_same_figures(diabetes):
    uct = pytest.importorskip("uncertainty_toolbox")
    train, _, (X_test, y_test) = diabetes
    mean, std = clone(HEAD).fit(*train).predict(X_test, return_std=True)
    arrays = mean, std, y_test
    assert_allclose(
        gaussian_nll(y_test, mean, std),
        uct.nll_gaussian(*arrays, scaled=True),
        rtol=1e-6,
    )
    assert_allclose(sharpness(y_test, mean, std), uct.sharpness(std), rtol=1e-6)
    ours = miscalibration_area(y_test, mean, std, kind="interval")
    theirs = uct.miscalibration_area(*arrays)
    assert_allclose(ours, theirs, atol=0.01)  # theirs is on 100 levels
    assert_allclose(
        interval_coverage(y_test, mean, std, coverage=0.5),
        uct.get_proportion_in_interval(*arrays, 0.5),
        atol=0.02,
    )


def test_matbench_records_our_std():
    bench = pytest.importorskip("matbench.bench")
    if not os.environ.get("SKLEARN_UNLOCKNN_DATA"):
        pytest.skip("the Matbench files are not in the data folder")
    task = bench.MatbenchBenchmark(subset=["matbench_jdft2d"]).matbench_jdft2d
    task.load()
    fold = task.folds[0]
    X_test = task.get_test_data(fold, include_target=False)
    std = np.full(len(X_test), 2.0)
    task.record(fold, np.ones(len(X_test)), std=std)
    assert task.results.fold_0.uncertainty
