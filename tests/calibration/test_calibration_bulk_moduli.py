"""CalibratedProbRegressor on real errors with heavy tails."""

import os

import numpy as np
import pytest
from predictions import share_inside
from sklearn.frozen import FrozenEstimator

from sklearn_unlocknn import VGPRegressor
from sklearn_unlocknn.calibration import CalibratedProbRegressor
from sklearn_unlocknn.metrics import (
    gaussian_nll,
    interval_coverage,
    make_prob_scorer,
    miscalibration_area,
)


@pytest.mark.skipif(
    "SKLEARN_UNLOCKNN_DATA" not in os.environ, reason="SKLEARN_UNLOCKNN_DATA not set"
)
def test_heavy_tails_of_bulk_moduli():
    from sklearn_unlocknn import MEGNetFeatureExtractor
    from sklearn_unlocknn.datasets import fetch_elasticity

    bunch = fetch_elasticity()
    extractor = MEGNetFeatureExtractor(on_error="nan")
    some = np.random.default_rng(0).permutation(len(bunch.target))[:3000]
    X = extractor.fit_transform([bunch.data[i] for i in some])
    valid = np.isfinite(X).all(axis=1)
    X, y = X[valid], np.log10(bunch.target)[some][valid]
    train, rows, test = np.split(np.arange(len(y)), [800, 1900])
    head = VGPRegressor(likelihood="gaussian", noise="constant", random_state=0)
    head.fit(X[train], y[train])
    mean, std = head.predict(X[test], return_std=True)
    nll = gaussian_nll(y[test], mean, std)
    area = make_prob_scorer(
        miscalibration_area, greater_is_better=False, kind="interval"
    )
    assert miscalibration_area(y[test], mean, std, kind="interval") > 0.04
    for method in ["std", "isotonic", "conformal"]:
        model = CalibratedProbRegressor(FrozenEstimator(head), method=method)
        model.fit(X[rows], y[rows])
        assert area(model, X[test], y[test]) > -0.03
        # of its own density: its standard deviation is that of heavy tails
        assert -model.predict_log_density(X[test], y[test]).mean() < nll - 0.1
        assert 0.87 < share_inside(model.predict_interval(X[test], 0.9), y[test]) < 0.93
    # One std cannot do both: that of the best likelihood is too wide in the middle.
    assert interval_coverage(y[test], *model.predict(X[test], True), coverage=0.5) > 0.6
