"""Test out-of-fold mean and std: both methods, all kinds of estimators, errors."""

import copy
import dataclasses
import warnings

import numpy as np
import pandas as pd
import pytest
import tf_keras
from _megnet.megnet_nets import make_megnet
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import clone
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.linear_model import BayesianRidge, LinearRegression
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    LeaveOneOut,
    ShuffleSplit,
    TimeSeriesSplit,
    cross_val_predict,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_unlocknn import (
    FineTuning,
    MEGNetProbRegressor,
    ProbNNRegressor,
    VGPRegressor,
)
from sklearn_unlocknn._gp.posterior import (
    ExactPosterior,
    exact_posterior,
    optimal_posterior,
)
from sklearn_unlocknn._gp.samples import GroupedSamples, Targets
from sklearn_unlocknn._megnet.network import MEGNetSnapshot
from sklearn_unlocknn.metrics import gaussian_nll
from sklearn_unlocknn.model_selection import cross_val_predict_dist

N = 60
rng = np.random.default_rng(0)
X = rng.normal(size=(N, 4))
Y = np.column_stack([np.sin(X[:, 0]) + 0.5 * X[:, 1], 40.0 + 10.0 * X[:, 2]])
Y += 0.1 * rng.normal(size=Y.shape)
y = Y[:, 0]
WEIGHTS = rng.uniform(0.5, 2.0, size=N)
WEIGHTS[::11] = 0.0
FOLDS = KFold(5, shuffle=True, random_state=0)
SHARED = "shared_hyperparameters"
METHODS = ["refit", SHARED]


def quick(kernel="rbf", **params):
    return VGPRegressor(kernel, **{"max_iter": 5, "random_state": 0, **params})


def by_folds(estimator, X, y, splits, sample_weight=None):
    """Fit once, then compute the posterior of each fold from the other samples."""
    model = clone(estimator).fit(X, y, sample_weight)
    head, posterior = model._head, model._head.posterior
    kernel, theta = posterior.kernel, posterior.theta
    weights = np.ones(len(y)) if sample_weight is None else sample_weight
    encoded = model._encoder.encode(model, X)
    samples = head.samples(encoded, Targets(np.asarray(y, dtype=float), weights))
    place = np.arange(len(y)) if encoded.index is None else encoded.index
    mean, std = np.empty(np.shape(y)), np.empty(np.shape(y))
    for train, test in splits:
        kept = samples.take(
            np.flatnonzero(np.isin(place, train) & (samples.weights > 0))
        )
        if isinstance(posterior, ExactPosterior):
            new = exact_posterior(kernel, theta, GroupedSamples.of(kept))
        else:
            new = optimal_posterior(kernel, theta, posterior.Z, kept)(theta)
        other = copy.copy(model)
        other._head = dataclasses.replace(head, posterior=new)
        mean[test], std[test] = other.predict([X[i] for i in test], return_std=True)
    return mean, std


def assert_shared_is_by_folds(estimator, X, y, cv=FOLDS, sample_weight=None):
    splits = list(cv.split(X))
    params = None if sample_weight is None else {"sample_weight": sample_weight}
    got = cross_val_predict_dist(
        estimator, X, y, cv=splits, params=params, method=SHARED, components=True
    )
    mean, std = by_folds(estimator, X, y, splits, sample_weight)
    assert_allclose(got.mean, mean, rtol=1e-6, atol=1e-6 * np.nanstd(y))
    assert_allclose(got.std, std, rtol=1e-6, atol=1e-6 * np.nanstd(y))
    parts = got.epistemic_std**2 + got.aleatoric_std**2
    assert_allclose(got.std**2, parts, rtol=1e-12)
    for number, (_, test) in enumerate(splits):
        assert_array_equal(got.fold[test], number)
    return got


# --- shared hyperparameters: equal to posteriors of the other samples -------------


@pytest.mark.parametrize("mean", ["zero", "constant", "linear"])
@pytest.mark.parametrize("n_points", [4000, 30, 7])
def test_shared_equals_refits_of_the_posterior(n_points, mean):
    estimator = quick("rbf+linear", n_inducing_points=n_points, mean=mean)
    assert_shared_is_by_folds(estimator, X, y)
    assert_shared_is_by_folds(estimator, X, Y, sample_weight=WEIGHTS)


def test_shared_with_single_repeated_and_unscaled_samples_and_moved_points():
    for n_points in (4000, 7):
        assert_shared_is_by_folds(
            quick(n_inducing_points=n_points), X, y, LeaveOneOut()
        )
    twice, targets = np.vstack([X, X[:20]]), np.concatenate([y, y[:20] + 0.1])
    assert_shared_is_by_folds(quick(), twice, targets)
    moved = {"n_inducing_points": 8, "optimize_inducing_points": True}
    assert_shared_is_by_folds(quick(**moved, normalize_y=False), X, y)


def test_shared_equals_scikit_learns_gp():
    # No hyperparameter is fitted; features and target are standardised already.
    Xs, ys = StandardScaler().fit_transform(X), (y - y.mean()) / y.std()
    kernel = ConstantKernel(2.0) * RBF(1.5) + WhiteKernel(0.05)
    ours = VGPRegressor(kernel, mean="zero", max_iter=0)
    theirs = GaussianProcessRegressor(kernel, optimizer=None)
    got = cross_val_predict_dist(ours, Xs, ys, cv=FOLDS, method=SHARED)
    want = cross_val_predict_dist(theirs, Xs, ys, cv=FOLDS)
    # scikit-learn adds 1e-10 to the diagonal
    assert_allclose(got.mean, want.mean, atol=1e-7)
    assert_allclose(got.std, want.std, atol=1e-7)
    assert_array_equal(got.fold, want.fold)


def test_shared_is_near_a_refit_and_far_from_the_fitted_values():
    shared = cross_val_predict_dist(quick(), X, y, cv=FOLDS, method=SHARED)
    estimator = quick()
    refit = cross_val_predict_dist(estimator, X, y, cv=FOLDS)
    assert not hasattr(estimator, "kernel_")
    seen = quick().fit(X, y).predict(X)
    error, slow, in_sample = (
        np.sqrt(np.mean((y - mean) ** 2)) for mean in (shared.mean, refit.mean, seen)
    )
    assert in_sample < 0.8 * error
    assert_allclose(error, slow, rtol=0.2)


# --- shared hyperparameters, networks ---------------------------------------------


@pytest.mark.parametrize("mean", ["constant", "network"])
def test_network_runs_once_a_sample(keras3_net, mean, count_rows):
    estimator = ProbNNRegressor(
        keras3_net, "latent", "rbf", mean=mean, max_iter=5, random_state=0
    )
    assert_shared_is_by_folds(estimator, X, y)
    count_rows.clear()
    other = rng.normal(size=X.shape)
    cross_val_predict_dist(estimator, other, y, method=SHARED)
    assert sum(count_rows) == N


def on_structures(network, **params):
    return MEGNetProbRegressor(
        network, kernel="rbf", **{"max_iter": 5, "random_state": 0, **params}
    )


def test_series_of_structures(tiny_frozen, crystals):
    target = y[:24]
    want = assert_shared_is_by_folds(on_structures(tiny_frozen), crystals, target)
    series = pd.Series(crystals, index=np.arange(24) + 100)
    for method in METHODS:
        got = cross_val_predict_dist(
            on_structures(tiny_frozen), series, target, cv=FOLDS, method=method
        )
        assert got.mean.shape == got.std.shape == (24,)
        if method == SHARED:
            assert_allclose(got.std, want.std)


def test_network_mean_of_structures_in_units_of_each_sample(crystals):
    from megnet.utils.preprocessing import StandardScaler as TargetScaler

    net = make_megnet(scaler=TargetScaler(-5.0, 2.0, is_intensive=False))
    estimator = on_structures(net, mean="network")
    output = MEGNetSnapshot.of(net).predict(crystals)[:, 0]
    got = assert_shared_is_by_folds(estimator, crystals, output + y[:24])
    n_atoms = np.array([len(s) for s in crystals])
    noise = got.aleatoric_std / got.aleatoric_std[0] * n_atoms[0]
    assert_allclose(noise, n_atoms)


def test_structures_that_fail_are_nan(tiny_frozen, crystals):
    broken = [*crystals[:12], "no such file.cif", *crystals[12:]]
    target = y[:25]
    estimator = on_structures(tiny_frozen, on_error="nan")
    results = {}
    for method in METHODS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # counts what is left out
            results[method] = cross_val_predict_dist(
                estimator, broken, target, cv=LeaveOneOut(), method=method
            )
        for part in (results[method].mean, results[method].std):
            assert_array_equal(np.isnan(part), np.arange(25) == 12)
    whole = cross_val_predict_dist(
        estimator, crystals, np.delete(target, 12), cv=LeaveOneOut(), method=SHARED
    )
    assert_allclose(np.delete(results[SHARED].mean, 12), whole.mean, rtol=1e-6)
    assert_allclose(np.delete(results[SHARED].std, 12), whole.std, rtol=1e-6)


# --- refit ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "estimator",
    [
        BayesianRidge(),
        GaussianProcessRegressor(RBF() + WhiteKernel(), normalize_y=True),
        make_pipeline(StandardScaler(), quick()),
        GridSearchCV(BayesianRidge(), {"fit_intercept": [True, False]}, cv=3),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_refit_is_cross_val_predict_with_a_std(estimator):
    frame = pd.DataFrame(X, columns=list("abcd"), index=np.arange(N) * 3)
    target = pd.Series(y, index=frame.index)
    got = cross_val_predict_dist(estimator, frame, target, cv=FOLDS)
    assert set(got) == {"mean", "std", "fold"}
    assert_allclose(got.mean, cross_val_predict(estimator, frame, target, cv=FOLDS))
    train, test = next(FOLDS.split(X))
    assert_array_equal(got.fold == 0, np.isin(np.arange(N), test))
    fitted = clone(estimator).fit(frame.iloc[train], target.iloc[train])
    fitted = getattr(fitted, "best_estimator_", fitted)
    _, std = fitted.predict(frame.iloc[test], return_std=True)
    assert_allclose(got.std[test], std)


def test_refit_of_our_own_with_weights_outputs_and_processes():
    estimator = quick(n_inducing_points=20)
    got = cross_val_predict_dist(
        estimator, X, Y, cv=FOLDS, params={"sample_weight": WEIGHTS.tolist()},
        components=True, n_jobs=2,
    )  # fmt: skip
    for train, test in FOLDS.split(X):
        fitted = clone(estimator).fit(X[train], Y[train], WEIGHTS[train])
        for name, want in zip(
            ("mean", "epistemic_std", "aleatoric_std"),
            fitted.predict_components(X[test]),
            strict=True,
        ):
            assert_allclose(got[name][test], want)
        assert_allclose(got.std[test], fitted.predict(X[test], return_std=True)[1])


def test_components_through_a_pipeline_and_a_search():
    search = GridSearchCV(quick(), {"mean": ["zero"]}, cv=2)
    pipeline = make_pipeline(StandardScaler(), search)
    got = cross_val_predict_dist(pipeline, X, y, cv=3, components=True)
    assert_allclose(np.hypot(got.epistemic_std, got.aleatoric_std), got.std)
    plain = make_pipeline(StandardScaler(), quick(mean="zero"))
    want = cross_val_predict_dist(plain, X, y, cv=3, components=True)
    assert_allclose(got.epistemic_std, want.epistemic_std)


@pytest.mark.parametrize("method", METHODS)
def test_groups_stay_together(method):
    groups = np.arange(N) // 4
    got = cross_val_predict_dist(
        quick(), X, y, groups=groups, cv=GroupKFold(3), method=method
    )
    for group in np.unique(groups):
        assert len(np.unique(got.fold[groups == group])) == 1
    assert np.isfinite(got.std).all()


def test_metadata_routing_passes_groups_to_the_splitter_and_weights_to_fit():
    groups = np.arange(N) // 4
    weighted = {"groups": groups, "sample_weight": WEIGHTS}
    want = cross_val_predict_dist(
        quick(), X, y, groups=groups, cv=GroupKFold(3),
        params={"sample_weight": WEIGHTS},
    )  # fmt: skip
    with config_context(enable_metadata_routing=True):
        estimator = quick().set_fit_request(sample_weight=True)
        got = cross_val_predict_dist(estimator, X, y, cv=GroupKFold(3), params=weighted)
        with pytest.raises(ValueError, match="expected it in `params`"):
            cross_val_predict_dist(estimator, X, y, groups=groups, cv=GroupKFold(3))
    assert_array_equal(got.fold, want.fold)
    assert_array_equal(got.mean, want.mean)
    assert_array_equal(got.std, want.std)


def test_training_samples_that_are_not_all_others_need_a_refit():
    splits = [(train[:-3], test) for train, test in FOLDS.split(X)]
    got = cross_val_predict_dist(quick(), X, y, cv=splits)
    assert_allclose(got.mean, cross_val_predict(quick(), X, y, cv=splits))
    with pytest.raises(ValueError, match="the training set of fold 0 is not all"):
        cross_val_predict_dist(quick(), X, y, cv=splits, method=SHARED)
    shuffled = [(train[::-1], test) for train, test in FOLDS.split(X)]
    cross_val_predict_dist(quick(), X, y, cv=shuffled, method=SHARED)


@pytest.mark.slow
def test_only_a_refit_keeps_left_out_samples_from_the_hyperparameters():
    """Scores of few samples by a refit are those of new samples, shared ones better."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, 4))
    y = np.sin(2.0 * X[:, 0]) + X[:, 1] * X[:, 2] + 0.3 * rng.normal(size=2000)
    scores = {name: [] for name in ("new", *METHODS)}
    for start in range(0, 300, 30):
        few = slice(start, start + 30)
        model = VGPRegressor(random_state=0, likelihood="gaussian", noise="constant")
        for method in METHODS:
            left = cross_val_predict_dist(model, X[few], y[few], method=method)
            scores[method].append(gaussian_nll(y[few], left.mean, left.std))
        new = model.fit(X[few], y[few]).predict(X[300:], return_std=True)
        scores["new"].append(gaussian_nll(y[300:], *new))
    new, refit, shared = (np.median(scores[name]) for name in ("new", *METHODS))
    assert shared < new - 0.3
    assert refit > new - 0.1


@pytest.mark.parametrize("method", METHODS)
def test_network_that_draws_at_random_is_refused(method):
    inputs = tf_keras.Input((4,))  # Keras 3 overrides training=True
    noisy = tf_keras.layers.Dropout(0.5, name="noisy")(inputs, training=True)
    network = tf_keras.Model(inputs, tf_keras.layers.Dense(1)(noisy))
    with pytest.raises(ValueError, match=r"Layer 'noisy' .* is not frozen"):
        cross_val_predict_dist(ProbNNRegressor(network), X, y, method=method)


# --- errors ---------------------------------------------------------------------


class _Trainer(BayesianRidge):
    """Stand for a network that is trained in fit."""


class _OwnFit(VGPRegressor):
    def fit(self, X, y, sample_weight=None):
        return super().fit(X, y, sample_weight)


@pytest.mark.parametrize(
    ("estimator", "reason"),
    [
        (BayesianRidge(), "BayesianRidge is not one of this package's"),
        (make_pipeline(quick()), "Pipeline is not one of this package's"),
        (_OwnFit("rbf"), "_OwnFit defines a fit or a prediction of its own"),
        (ProbNNRegressor(_Trainer()), "network, _Trainer, is trained in fit"),
        (MEGNetProbRegressor(fine_tuning=FineTuning()), "fine-tuning would"),
    ],
    ids=["ridge", "pipeline", "fit", "network", "tuning"],
)
def test_shared_is_an_error_where_more_depends_on_the_fold(estimator, reason):
    with pytest.raises(ValueError, match=f"not possible: .*{reason}"):
        cross_val_predict_dist(estimator, X, y, method=SHARED)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="Got method='fast', expected one of"):
        cross_val_predict_dist(quick(), X, y, method="fast")
    with pytest.raises(ValueError, match=r"sample 0 0 times .* each sample in one"):
        cross_val_predict_dist(quick(), X, y, cv=TimeSeriesSplit(3))
    with pytest.raises(ValueError, match="expected each sample in one test set"):
        cross_val_predict_dist(quick(), X, y, cv=ShuffleSplit(5, random_state=0))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        cross_val_predict_dist(quick(), X, y[:-1])
    with pytest.raises(TypeError, match="LinearRegression, whose predict has no"):
        cross_val_predict_dist(LinearRegression(), X, y)
    with pytest.raises(TypeError, match="BayesianRidge, which has no predict_comp"):
        cross_val_predict_dist(BayesianRidge(), X, y, components=True)
    with pytest.raises(ValueError, match="requires y to be passed"):
        cross_val_predict_dist(quick(), X)
    with pytest.raises(ValueError, match="Got n_inducing_points=0"):
        cross_val_predict_dist(quick(n_inducing_points=0), X, y)
    with pytest.raises(TypeError, match="wieghts"):
        cross_val_predict_dist(quick(), X, y, params={"wieghts": WEIGHTS})
    weights = np.where(np.arange(N) < 12, 1.0, 0.0)
    with pytest.raises(ValueError, match="Fold 0 holds all samples that"):
        cross_val_predict_dist(
            quick(), X, y, method=SHARED, params={"sample_weight": weights}
        )
