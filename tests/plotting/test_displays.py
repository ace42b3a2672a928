"""Displays draw the values of the metrics; labels, several models, axes, errors."""

import inspect
import sys

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba
from numpy.testing import assert_allclose
from predictions import make_prediction
from sklearn.linear_model import ARDRegression, BayesianRidge, LinearRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_unlocknn import metrics, plotting
from sklearn_unlocknn.plotting import (
    ErrorUncertaintyDisplay,
    IntervalCoverageDisplay,
    ParityDisplay,
    SharpnessDisplay,
    SparsificationDisplay,
    UQCalibrationDisplay,
)

DISPLAYS = [
    getattr(plotting, name)
    for name in plotting.__all__
    if name not in ("PeriodicTableDisplay", "DomainDisplay")  # take one more array
]
#: Those with units in their labels.
IN_UNITS = [cls for cls in DISPLAYS if "units" in inspect.signature(cls).parameters]
parametrize = pytest.mark.parametrize("cls", DISPLAYS, ids=lambda cls: cls.__name__)


def legend(display):
    return [text.get_text() for text in display.ax_.get_legend().get_texts()]


def line(artist):
    return np.asarray(artist.get_xdata()), np.asarray(artist.get_ydata())


def main_line(display):
    return getattr(display, "line_", None) or display.artist_[0]


def is_inside(text, figure):
    """Return whether a text is completely inside the figure."""
    box, page = text.get_window_extent(), figure.bbox
    inside = box.x0 >= page.x0 - 1 and box.x1 <= page.x1 + 1
    return inside and box.y0 >= page.y0 - 1 and box.y1 <= page.y1 + 1


@pytest.mark.parametrize("kind", ["quantile", "interval"])
def test_calibration_line_is_the_curve_and_its_legend_the_area(kind):
    prediction = make_prediction()
    display = UQCalibrationDisplay.from_predictions(*prediction, kind=kind, name="A")
    assert_allclose(
        line(display.line_), metrics.calibration_curve(*prediction, kind=kind)
    )
    area = metrics.miscalibration_area(*prediction, kind=kind)
    assert legend(display) == ["perfect calibration", f"A (area {area:.3f})"]
    assert display.ax_.get_title().startswith(kind.capitalize())
    corners = display.fill_.get_paths()[0].vertices
    assert_allclose([corners.min(), corners.max()], [0, 1])


def test_sparsification_lines_are_the_curves():
    prediction = make_prediction()
    display = SparsificationDisplay.from_predictions(*prediction, name="A")
    discarded, error, oracle = metrics.sparsification_curve(*prediction)
    assert_allclose(line(display.line_), (discarded, error))
    assert_allclose(line(display.oracle_line_), (discarded, oracle))
    mae = abs(prediction[0] - prediction[1]).mean()
    assert_allclose(line(display.random_line_), ([0, 1], [mae, mae]))
    area = metrics.sparsification_error(*prediction)
    assert f"A (sparsification error {area:.3f})" in legend(display)
    assert display.ax_.get_ylim()[1] > error.max()
    bare = SparsificationDisplay.from_predictions(
        *prediction, oracle=False, random=False
    )
    assert bare.oracle_line_ is bare.random_line_ is None
    assert legend(bare) == [f"sparsification error {area:.3f}"]


def test_coverage_line_is_the_difference_from_nominal():
    prediction = make_prediction()
    coverages = [0.95, 0.5]
    display = IntervalCoverageDisplay.from_predictions(*prediction, coverages=coverages)
    observed = [
        100 * metrics.interval_coverage(*prediction, coverage=c) for c in (0.5, 0.95)
    ]
    assert_allclose(line(display.line_), ([50, 95], np.subtract(observed, [50, 95])))
    assert f"95 % intervals hold {observed[1]:.1f} %" in legend(display)
    # twice the standard error of a share of one half
    top = display.band_.get_paths()[0].vertices[:, 1].max()
    assert_allclose(top, 100 / np.sqrt(80))
    assert "chance alone, 80 predictions" in legend(display)


def test_sharpness_histogram_holds_all_samples_and_the_line_is_the_sharpness():
    prediction = make_prediction()
    first = SharpnessDisplay.from_predictions(*prediction, units="eV", name="A")
    share, edges, _ = first.histogram_.get_data()
    counts, _ = np.histogram(prediction[2], edges)
    assert_allclose(share, 100 * counts / 80)
    assert_allclose(share.sum(), 100)
    value, spread = metrics.sharpness(*prediction), metrics.dispersion(*prediction)
    assert_allclose(first.line_.get_xdata(), value)
    assert legend(first) == [f"A (sharpness {value:.3g} eV, dispersion {spread:.2f})"]
    without = SharpnessDisplay.from_predictions(None, *prediction[1:], bins=[0, 1, 2])
    assert without.histogram_.get_data().edges.tolist() == [0, 1, 2]
    assert without.sharpness == value
    wider = [*prediction[:2], 1.7 * prediction[2]]  # on the same axes, the same bins
    second = SharpnessDisplay.from_predictions(*wider, ax=first.ax_)
    assert_allclose(np.diff(second.histogram_.get_data().edges), edges[1] - edges[0])


@pytest.mark.parametrize("std", [0.0, 1e-8, 3.0, [1e-6] * 79 + [1e6]])
def test_any_std_has_a_histogram(std):
    y_true, y_pred, _ = make_prediction()
    display = SharpnessDisplay.from_predictions(
        y_true, y_pred, np.broadcast_to(std, 80)
    )
    share, edges, _ = display.histogram_.get_data()
    assert_allclose(share.sum(), 100)
    assert len(edges) < 300


def test_bins_of_errors_are_root_mean_squares_of_equal_shares():
    prediction = make_prediction()
    y_true, y_pred, y_std = prediction
    display = ErrorUncertaintyDisplay.from_predictions(*prediction, n_bins=4, name="A")
    order = np.argsort(y_std).reshape(4, 20)
    squares = [(y_std**2)[order], ((y_true - y_pred) ** 2)[order]]
    assert_allclose(line(display.line_), np.sqrt(np.mean(squares, axis=2)))
    assert_allclose(
        display.points_.get_offsets(),
        np.column_stack([y_std, np.maximum(abs(y_true - y_pred), 0.01 * y_std.min())]),
    )
    rank = metrics.error_uncertainty_correlation(*prediction)
    assert legend(display)[0] == f"A (RMSE of 4 bins, rank correlation {rank:.2f})"
    assert display.ax_.get_xscale() == display.ax_.get_yscale() == "log"
    bare = ErrorUncertaintyDisplay.from_predictions(*prediction, points=False)
    assert bare.points_ is None
    with pytest.raises(ValueError, match="Got a y_std of 0 in all samples"):
        ErrorUncertaintyDisplay.from_predictions([1.0], [2.0], [0.0])


def test_parity_bars_are_the_intervals():
    y_true, y_pred, y_std = make_prediction()
    display = ParityDisplay.from_predictions(
        y_true, y_pred, y_std, coverage=0.8, units="eV", name="A"
    )
    assert display.kind_ == "errorbar"
    points, _, (bars,) = display.artist_
    assert_allclose(line(points), (y_true, y_pred))
    ends = np.array(bars.get_segments())
    inside = (ends[:, 0, 1] <= y_true) & (y_true <= ends[:, 1, 1])
    assert inside.mean() == metrics.interval_coverage(
        y_true, y_pred, y_std, coverage=0.8
    )
    assert_allclose(ends[:, :, 1].mean(axis=1), y_pred)
    low, high = display.ax_.get_ylim()
    assert low < ends.min()
    assert ends.max() < high
    assert display.ax_.get_xlim() == (low, high)
    error = y_pred - y_true
    mae, rmse = np.abs(error).mean(), np.sqrt(np.mean(error**2))
    text = f"A\nMAE {mae:.3g} eV\nRMSE {rmse:.3g} eV\nbars: 80 % intervals"
    assert text in legend(display)


def test_parity_of_many_samples_is_coloured_points_then_cells():
    prediction = make_prediction(301)
    display = ParityDisplay.from_predictions(*prediction, units="eV")
    assert display.kind_ == "scatter"
    order = np.argsort(prediction[2])
    assert_allclose(display.artist_.get_offsets(), np.transpose(prediction[:2])[order])
    assert_allclose(display.artist_.get_array(), prediction[2][order])
    assert display.artist_.get_rasterized()
    assert display.colorbar_.ax.get_ylabel() == "Predicted std (eV)"

    display = ParityDisplay.from_predictions(*make_prediction(100_000))
    assert display.kind_ == "hexbin"
    assert display.artist_.get_array().sum() == 100_000
    assert "MAE" in " ".join(legend(display))
    assert display.colorbar_.ax.get_ylabel() == "Predictions in a cell"


@parametrize
def test_several_models_on_given_axes(cls):
    figure, axes = plt.subplots()
    one, two = make_prediction(), make_prediction(seed=1)
    first = cls.from_predictions(*one, name="one", ax=axes)
    alone = len(legend(first))
    second = cls.from_predictions(*two, name="two", ax=first.ax_)
    assert second.ax_ is first.ax_ is axes
    assert second.figure_ is figure
    # References and explanations are in the legend once.
    assert len(legend(second)) == alone + 1
    assert len(set(legend(second))) == alone + 1
    lines = [main_line(display) for display in (first, second)]
    assert len({to_rgba(drawn.get_color()) for drawn in lines}) == 2
    if cls is not ParityDisplay:  # points have no line style
        assert len({drawn.get_linestyle() for drawn in lines}) == 2


@parametrize
@pytest.mark.parametrize("wrap", ["bare", "pipeline", "search"])
def test_from_estimator_is_from_predictions(cls, wrap):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    y = X @ [1.0, 2.0, 3.0] + rng.normal(size=60)
    model = {
        "bare": BayesianRidge(),
        "pipeline": make_pipeline(StandardScaler(), BayesianRidge()),
        "search": GridSearchCV(BayesianRidge(), {"max_iter": [50, 100]}, cv=2),
    }[wrap]
    model.fit(X[:30], y[:30])
    display = cls.from_estimator(model, X[30:], pd.Series(y[30:], index=range(9, 39)))
    best = getattr(model, "best_estimator_", model)
    prediction = best.predict(X[30:], return_std=True)
    expected = cls.from_predictions(y[30:], *prediction, name=type(model).__name__)
    assert legend(display) == legend(expected)
    assert type(model).__name__ in " ".join(legend(display))
    assert_allclose(line(main_line(display)), line(main_line(expected)))


@parametrize
def test_samples_without_a_prediction_are_left_out_and_counted(cls):
    y_true, y_pred, y_std = make_prediction()
    keep = np.ones(80, dtype=bool)
    keep[[3, 7, 9]] = False
    expected = cls.from_predictions(y_true[keep], y_pred[keep], y_std[keep])
    y_pred[[3, 7]] = y_std[[7, 9]] = np.nan
    display = cls.from_predictions(y_true, y_pred, y_std)
    assert display.n_missing == 3
    assert "3 without a prediction left out" in " ".join(legend(display))
    assert_allclose(line(main_line(display)), line(main_line(expected)))


@parametrize
def test_every_picture_has_title_labels_and_legend_within_the_figure(cls):
    units = {"units": "eV"} if cls in IN_UNITS else {}
    display = cls.from_predictions(*make_prediction(), name="A long name", **units)
    axes, figure = display.ax_, display.figure_
    figure.canvas.draw()
    texts = [axes.title, axes.xaxis.label, axes.yaxis.label]
    texts += axes.get_legend().get_texts()
    assert all(text.get_text() and is_inside(text, figure) for text in texts)
    ticks = [t for t in axes.get_xticklabels() + axes.get_yticklabels() if t.get_text()]
    assert ticks
    labels = axes.get_xlabel() + axes.get_ylabel()
    assert ("(eV)" in labels) == (cls in IN_UNITS)


@parametrize
def test_titles_labels_and_colours_of_the_user_are_kept(cls):
    axes = plt.figure().add_subplot()
    axes.set(title="mine", xlabel="x", ylabel="y")
    style = {"color": "red", "name": "A"}
    display = cls.from_predictions(*make_prediction(), ax=axes, **style)
    got = axes.get_title(), axes.get_xlabel(), axes.get_ylabel()
    assert got == ("mine", "x", "y")
    assert to_rgba(main_line(display).get_color()) == to_rgba("red")
    display.plot(plt.figure().add_subplot(), name="another")
    assert "another" in " ".join(legend(display))


@parametrize
def test_bad_predictions_are_errors_and_draw_nothing(cls):
    y_true, y_pred, y_std = make_prediction()
    bad = [
        ((y_true[1:], y_pred, y_std), "Got arrays of different"),
        ((y_true, y_pred, -y_std), "Got a negative y_std"),
        ((y_true, np.full(80, np.nan), y_std), "Got NaN for all 80 predictions"),
        ((y_true * np.nan, y_pred, y_std), "80 in y_true"),
        ((y_true, y_pred + np.inf, y_std), "80 in y_pred"),
        (([y_true], [y_pred], [y_std]), "Got 80 outputs, expected one"),
    ]
    for arrays, match in bad:
        with pytest.raises(ValueError, match=match):
            cls.from_predictions(*arrays)
    model = LinearRegression().fit(y_pred[:, None], y_true)
    with pytest.raises(TypeError, match="predict has no return_std"):
        cls.from_estimator(model, y_pred[:, None], y_true)
    assert not plt.get_fignums()


@pytest.mark.parametrize(
    ("cls", "kwargs", "match"),
    [
        (UQCalibrationDisplay, {"kind": "x"}, "Got kind='x'"),
        (UQCalibrationDisplay, {"n_levels": 1}, "Got n_levels=1"),
        (SparsificationDisplay, {"n_levels": 1}, "Got n_levels=1"),
        (ParityDisplay, {"kind": "x"}, "Got kind='x', expected one of"),
        (ParityDisplay, {"coverage": 95}, "Got coverage=95"),
        (IntervalCoverageDisplay, {"coverages": []}, "Got no coverages"),
        (IntervalCoverageDisplay, {"coverages": [95]}, "Got coverage=95"),
        (ErrorUncertaintyDisplay, {"n_bins": 0}, "Got n_bins=0"),
    ],
)
def test_bad_keywords_are_errors(cls, kwargs, match):
    with pytest.raises(ValueError, match=match):
        cls.from_predictions(*make_prediction(), **kwargs)
    assert not plt.get_fignums()


@parametrize
@pytest.mark.parametrize("n", [1, 2])
def test_few_samples_and_exact_hits_can_be_drawn(cls, n):
    values = np.arange(1.0, n + 1)
    display = cls.from_predictions(values, values, np.full(n, 0.1))
    display.figure_.canvas.draw()
    assert legend(display)


def test_error_without_matplotlib_has_the_command_that_installs_it(monkeypatch):
    model = ARDRegression().fit(np.eye(3), np.arange(3))
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot")
    for cls in DISPLAYS:
        with pytest.raises(ImportError, match=r'pip install "sklearn-unlocknn\[plot\]'):
            cls.from_estimator(model, np.eye(3), np.arange(3))
        with pytest.raises(ImportError, match=f"{cls.__name__}.plot needs matplotlib"):
            cls.from_predictions(*make_prediction())
