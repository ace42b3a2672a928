"""The display draws errors and coverage by domain score."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from numpy.testing import assert_allclose
from predictions import make_prediction
from sklearn.linear_model import BayesianRidge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_unlocknn import VGPRegressor, metrics
from sklearn_unlocknn.plotting import DomainDisplay
from sklearn_unlocknn.prediction import domain_score


def legend(display):
    return [text.get_text() for text in display.ax_.get_legend().get_texts()]


def test_lines_are_the_metrics_of_bins_of_equal_size():
    prediction = y_true, y_pred, y_std = make_prediction()
    score = 1.0 - y_std / y_std.max()
    display = DomainDisplay.from_predictions(
        *prediction, score, n_bins=4, coverage=0.8, units="eV", name="A"
    )
    order = np.argsort(score).reshape(4, 20)
    x, error = display.line_.get_data()
    assert_allclose(x, score[order].mean(axis=1))
    assert_allclose(error, np.abs(y_true - y_pred)[order].mean(axis=1))
    inside = [
        metrics.interval_coverage(*[a[rows] for a in prediction], coverage=0.8)
        for rows in order
    ]
    assert_allclose(display.coverage_line_.get_ydata(), 100 * np.array(inside))
    auc = metrics.large_error_auc(y_true, y_pred, y_std)
    assert legend(display) == [
        f"A (MAE, left; finds large errors with AUC {auc:.2f})",
        "in 80 % intervals, right",
    ]
    assert display.ax_.get_ylabel() == "Mean absolute error (eV)"
    assert "inside their interval" in display.coverage_ax_.get_ylabel()


def test_quantiles_replace_the_gaussian_and_missing_samples_are_counted():
    y_true, y_pred, y_std = make_prediction()
    y_pred[3] = np.nan

    def quantiles(q):
        return np.where(np.asarray(q) < 0.5, -1e9, 1e9) + np.zeros((80, 1))

    score = np.linspace(0, 1, 80)
    display = DomainDisplay.from_predictions(
        y_true, y_pred, y_std, score, quantiles=quantiles
    )
    assert_allclose(display.coverage, 1.0)
    assert display.n_missing == 1
    assert "1 without a prediction left out" in legend(display)[0]


def test_from_estimator_scores_the_regressor_inside_a_pipeline():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(90, 2))
    y = np.sin(X[:, 0]) + 0.1 * rng.normal(size=90)
    model = make_pipeline(StandardScaler(), VGPRegressor("rbf", random_state=0))
    model.fit(X[:60], y[:60])
    display = DomainDisplay.from_estimator(model, X[60:], y[60:], n_bins=3)
    prediction = model.predict(X[60:], return_std=True)
    want = DomainDisplay.from_predictions(
        y[60:], *prediction, domain_score(model, X[60:]), n_bins=3, ax=display.ax_
    )
    assert want.ax_ is display.ax_
    for name in ("score", "error", "coverage"):
        assert_allclose(getattr(display, name), getattr(want, name))
    assert "Pipeline" in legend(display)[0]
    assert len(legend(want)) == 3  # the explanation of the coverage once
    display.figure_.canvas.draw()


def test_bad_arguments_are_named_and_draw_nothing():
    prediction = make_prediction()
    score = np.linspace(0, 1, 80)
    for args, kwargs, match in (
        (score[1:], {}, "shape .79,. for 80 predictions"),
        (np.where(score > 0.5, np.nan, score), {}, "finite score"),
        (score, {"n_bins": 0}, "n_bins=0"),
        (score, {"coverage": 90}, "coverage=90"),
    ):
        with pytest.raises(ValueError, match=match):
            DomainDisplay.from_predictions(*prediction, args, **kwargs)
    model = BayesianRidge().fit(np.eye(3), np.arange(3))
    with pytest.raises(TypeError, match="BayesianRidge, which has no domain_score"):
        DomainDisplay.from_estimator(model, np.eye(3), np.arange(3))
    assert not plt.get_fignums()


@pytest.mark.parametrize(
    ("low", "high"), [(0.55, 0.78), (0.02, 0.99), (0.9901, 0.9949)]
)
def test_axis_of_scores_has_ticks_in_any_range(low, high):
    display = DomainDisplay.from_predictions(
        *make_prediction(), np.linspace(low, high, 80)
    )
    left, right = display.ax_.get_xlim()
    ticks = display.ax_.get_xticks()
    assert 2 <= sum((left <= ticks) & (ticks <= right)) <= 7
