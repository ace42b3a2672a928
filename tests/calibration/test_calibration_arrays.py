"""Test the recalibration of predictions given as arrays."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import BayesianRidge

from sklearn_unlocknn import load_model, save_model
from sklearn_unlocknn.calibration import CalibratedProbRegressor, ErrorBarCalibrator

RNG = np.random.default_rng(0)
X = RNG.normal(size=(300, 2))
Y = X @ [1.0, 2.0] + 0.3 * RNG.standard_t(3.0, 300)
RIDGE = BayesianRidge().fit(X[:100], Y[:100])


@pytest.mark.parametrize("method", ["std", "isotonic", "conformal"])
def test_arrays_are_calibrated_as_a_frozen_estimator(method):
    frozen = CalibratedProbRegressor(FrozenEstimator(RIDGE), method=method)
    frozen.fit(X[100:200], Y[100:200])
    held_out = RIDGE.predict(X[100:200], return_std=True)
    arrays = ErrorBarCalibrator(method).fit(Y[100:200], *held_out)
    new = RIDGE.predict(X[200:], return_std=True)
    assert_array_equal(arrays.transform(*new), frozen.predict(X[200:], return_std=True))
    assert_allclose(
        arrays.predict_interval(*new, 0.8), frozen.predict_interval(X[200:], 0.8)
    )
    logs = arrays.predict_log_density(Y[200:], *new)
    assert_array_equal(logs, frozen.predict_log_density(X[200:], Y[200:]))
    with pytest.raises(ValueError, match=r"y of shape \(3,\), expected \(100,\)"):
        arrays.predict_log_density(Y[:3], *new)
    two = [np.column_stack([part, part]) for part in held_out]
    both = clone(arrays).fit(np.column_stack([Y[100:200]] * 2), *two)
    new = [np.column_stack([part, part]) for part in new]
    assert both.predict_quantiles(*new, [0.1, 0.5, 0.9]).shape == (100, 3, 2)
    assert both.transform(*new)[1].shape == (100, 2)
    two = both.predict_log_density(np.column_stack([Y[200:]] * 2), *new)
    assert_array_equal(two, np.column_stack([logs, logs]))


@pytest.mark.parametrize("method", ["std", "isotonic", "conformal"])
def test_growing_standard_deviations_hold_everywhere(method):
    rng = np.random.default_rng(1)
    std = rng.uniform(0.1, 1.0, 4000)
    y_pred = 5 * rng.normal(size=4000)
    y_true = y_pred + 2.0 * std**1.8 * rng.normal(size=4000)
    fitted, new = slice(0, 2000), slice(2000, None)
    coverage = {}
    for by in (None, "domain"):
        calibrator = ErrorBarCalibrator(method, by=by)
        calibrator.fit(y_true[fitted], y_pred[fitted], std[fitted])
        low, high = calibrator.predict_interval(y_pred[new], std[new], 0.9).T
        held = (low <= y_true[new]) & (y_true[new] <= high)
        wide = std[new] > 0.8
        coverage[by] = held[wide].mean(), held.mean()
    assert coverage[None][0] < 0.85
    assert_allclose(coverage["domain"], 0.9, atol=0.035)
    # the same through the regressor, and where a std is zero
    again = clone(calibrator).fit([1.0, 2.0, 2.5], [1.0, 2.0, 2.0], [0.0, 0.5, 0.5])
    assert np.isfinite(again.transform([1.0, 2.0], [0.0, 0.5])).all()


@pytest.mark.parametrize("method", ["std", "isotonic", "conformal"])
def test_a_regressor_whose_standard_deviations_grow(method, tmp_path):
    frozen = CalibratedProbRegressor(
        FrozenEstimator(RIDGE), method=method, by="domain"
    ).fit(X[:200], Y[:200])
    held_out = RIDGE.predict(X[:200], return_std=True)
    arrays = ErrorBarCalibrator(method, by="domain").fit(Y[:200], *held_out)
    new = RIDGE.predict(X[200:], return_std=True)
    want = frozen.predict(X[200:], return_std=True)
    assert_array_equal(arrays.transform(*new), want)
    interval = frozen.predict_interval(X[200:], 0.8)
    assert_allclose(arrays.predict_interval(*new, 0.8), interval)
    save_model(frozen, tmp_path / "c.unlocknn")
    loaded = load_model(tmp_path / "c.unlocknn")
    assert_array_equal(loaded.predict(X[200:], return_std=True), want)


def test_an_unknown_covariate_is_named():
    for model in (
        ErrorBarCalibrator(by="element"),
        CalibratedProbRegressor(RIDGE, by="element"),
    ):
        arguments = (Y, Y, Y) if isinstance(model, ErrorBarCalibrator) else (X, Y)
        with pytest.raises(ValueError, match="by='element', expected one of"):
            model.fit(*arguments)


def test_a_file_holds_it(tmp_path):
    predicted = RIDGE.predict(X, return_std=True)
    calibrator = ErrorBarCalibrator("isotonic").fit(Y, *predicted)
    save_model(calibrator, tmp_path / "c.unlocknn")
    loaded = load_model(tmp_path / "c.unlocknn")
    assert_array_equal(loaded.transform(*predicted), calibrator.transform(*predicted))


def test_weight_two_is_the_sample_twice():
    mean, std = RIDGE.predict(X, return_std=True)
    weights = np.arange(300) % 3
    weighted = ErrorBarCalibrator().fit(Y, mean, std, weights)
    repeated = ErrorBarCalibrator().fit(
        *(np.repeat(part, weights) for part in (Y, mean, std))
    )
    got, want = weighted.calibrators_[0], repeated.calibrators_[0]
    assert_allclose(got.factor, want.factor)
    assert_allclose(got.scale, want.scale, rtol=1e-3)


@pytest.mark.parametrize(
    ("method", "y_pred", "y_std", "match"),
    [
        ("t", Y, Y**2, "method='t', expected one of"),
        ("std", Y, -np.ones(300), "none negative"),
        ("std", Y, np.ones(20), r"y_std of \(20,\)"),
        ("std", Y[:20], np.ones(20), r"shape \(20,\) for y_true of shape"),
        ("std", np.full(300, np.nan), np.ones(300), "300 values that are not finite"),
        ("std", Y + 1, np.zeros(300), "std of zero"),
    ],
)
def test_wrong_arrays_are_named(method, y_pred, y_std, match):
    with pytest.raises(ValueError, match=match):
        ErrorBarCalibrator(method).fit(Y, y_pred, y_std)
    fitted = ErrorBarCalibrator().fit(Y, Y + 1, np.ones(300))
    with pytest.raises(ValueError, match="2 outputs, expected 1"):
        fitted.transform(np.ones((3, 2)), np.ones((3, 2)))
