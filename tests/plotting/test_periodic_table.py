"""The periodic table: positions of elements, texts and colours of cells."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from numpy.testing import assert_allclose
from predictions import make_prediction as predictions
from pymatgen.core import Element, Lattice, Structure
from sklearn.linear_model import BayesianRidge

from sklearn_unlocknn.metrics import uq_by_group
from sklearn_unlocknn.plotting import PeriodicTableDisplay, _display
from sklearn_unlocknn.plotting._elements import POSITIONS, SYMBOLS

FORMULAS = ["NaCl", "KCl", "Fe2O3", "FeO", "MgO", "UO2", "CeO2", "H2O"]


def make_prediction():
    return predictions(len(FORMULAS))


def luminance(color):
    rgb = np.array(to_rgb(color))
    rgb = np.where(rgb <= 0.03928, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return rgb @ [0.2126, 0.7152, 0.0722]


def contrast(one, two):
    low, high = sorted([luminance(one), luminance(two)])
    return (high + 0.05) / (low + 0.05)


def test_positions_of_elements():
    assert [Element(symbol).Z for symbol in SYMBOLS] == list(range(1, 119))
    assert len(set(POSITIONS.values())) == 118
    for symbol, (row, column) in POSITIONS.items():
        element = Element(symbol)
        if element.is_lanthanoid or element.is_actinoid:
            assert row == element.row + 2.4
            first = 57 if element.is_lanthanoid else 89
            assert column == 3 + element.Z - first
        else:
            assert (row, column) == (element.row, element.group)


def test_cells_have_the_values_of_the_table():
    prediction = make_prediction()
    display = PeriodicTableDisplay.from_predictions(
        *prediction, FORMULAS, value="mae", units="eV", name="A"
    )
    table = uq_by_group(*prediction, FORMULAS, by="element", metrics=["mae"])
    assert display.values == table["mae"].to_dict()
    assert display.counts == table["n"].to_dict()
    assert_allclose(display.cells_.get_array(), list(display.values.values()))
    for symbol, text in display.texts_.items():
        assert_allclose(float(text.get_text()), table.loc[symbol, "mae"], atol=0.051)
        row, column = POSITIONS[symbol]
        assert text.get_position()[0] == column
        assert abs(text.get_position()[1] - row) < 0.5
    written = [text.get_text() for text in display.ax_.texts]
    assert set(SYMBOLS) <= set(written)
    assert written.count("n=4") == (table["n"] == 4).sum() == 0
    assert written.count("n=2") == (table["n"] == 2).sum() == 2
    assert display.colorbar_.ax.get_title() == "Mean absolute error (eV)"
    assert display.ax_.get_title() == "Mean absolute error by element, A"
    display = PeriodicTableDisplay.from_predictions(
        *prediction, FORMULAS, value="nll", units="eV"
    )
    assert display.colorbar_.ax.get_title() == "Negative log likelihood (nats)"


@pytest.mark.parametrize("cmap", ["viridis", "cividis", "Greys"])
def test_text_is_readable_on_every_colour(cmap):
    values = dict(zip(SYMBOLS, np.linspace(0, 1, 118), strict=True))
    display = PeriodicTableDisplay(values, label="x").plot(cmap=cmap)
    for symbol, text in display.texts_.items():
        cell = display.cells_.to_rgba(values[symbol])[:3]
        # WCAG's threshold for text
        assert contrast(cell, text.get_color()) >= 4.5, symbol


@pytest.mark.parametrize("size", [(12, 6.6), (5, 3), (4, 8)])
@pytest.mark.parametrize(
    ("scale", "power"), [(1.2e-7, -9), (0.0012, -3), (0.1, 0), (1.2, 0), (1.2e7, 6)]
)
def test_values_fit_into_their_cells(size, scale, power):
    spread = np.random.default_rng(0).normal(1, 1, 118)
    values = dict(zip(SYMBOLS, scale * spread, strict=True))
    axes = plt.figure(figsize=size).add_subplot()
    display = PeriodicTableDisplay(values).plot(axes)
    display.figure_.canvas.draw()
    to_pixels = axes.transData.transform
    width = np.ptp(to_pixels([[0, 0], [1, 0]])[:, 0])
    for symbol, text in display.texts_.items():
        assert text.get_window_extent().width <= width
        value = float(text.get_text()) * 10.0**power
        assert_allclose(value, values[symbol], atol=0.06 * scale)
    bar = display.colorbar_.ax
    assert bar.get_title() == "Value" + f" ($10^{{{power}}}$)" * (power != 0)
    shown = [float(tick.get_text()) for tick in bar.get_xticklabels()]
    assert_allclose(np.multiply(shown, 10.0**power), bar.get_xticks())


def test_colour_bar_lies_beside_the_cells():
    display = PeriodicTableDisplay({"Fe": 1.0, "Sc": 2.0}).plot()
    display.figure_.canvas.draw()
    to_data = display.ax_.transData.inverted().transform
    (x0, y0), (x1, y1) = to_data(display.colorbar_.ax.get_tightbbox())
    top, bottom = sorted([y0, y1])
    covered = [
        symbol
        for symbol, (row, column) in POSITIONS.items()
        if x0 < column + 0.47 and column - 0.47 < x1
        if top < row + 0.47 and row - 0.47 < bottom
    ]
    assert covered == []


def test_range_of_colours_and_one_value_for_all():
    display = PeriodicTableDisplay({"H": 0.0, "He": 1.0, "Li": 9.0}).plot(vmax=2.0)
    assert display.cells_.get_clim() == (0.0, 2.0)
    assert display.colorbar_.extend == "max"
    display = PeriodicTableDisplay({"H": 0.5, "O": 0.5}).plot()
    display.figure_.canvas.draw()
    assert {text.get_text() for text in display.texts_.values()} == {"0.50"}


def test_few_samples_are_grey_and_missing_ones_counted():
    y_true, y_pred, y_std = make_prediction()
    y_pred[5] = y_std[5] = np.nan
    draw = PeriodicTableDisplay.from_predictions
    display = draw(y_true, y_pred, y_std, FORMULAS)
    assert "U" not in display.values
    assert "(1 without a prediction left out)" in display.ax_.get_title()
    few = draw(y_true, y_pred, y_std, FORMULAS, min_count=3)
    assert set(few.texts_) == {"O"}


def test_predicted_std_needs_no_targets_and_bad_keywords_are_errors():
    y_true, y_pred, y_std = make_prediction()
    draw = PeriodicTableDisplay.from_predictions
    display = draw(None, y_pred, y_std, FORMULAS)
    assert_allclose(display.values["Mg"], y_std[4])
    with pytest.raises(ValueError, match="Got y_true=None, expected observed"):
        draw(None, y_pred, y_std, FORMULAS, value="mae")
    with pytest.raises(ValueError, match="Got value='error', expected one of"):
        draw(y_true, y_pred, y_std, FORMULAS, value="error")
    with pytest.raises(ValueError, match="Got groups of 2 samples, expected 8"):
        draw(y_true, y_pred, y_std, FORMULAS[:2])


def test_from_estimator_with_structures_aside():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(8, 2)), rng.normal(size=8)
    structures = [
        Structure(Lattice.cubic(3), [a, b], [[0] * 3, [0.5] * 3])
        for a in ("Na", "K")
        for b in ("F", "Cl", "Br", "I")
    ]
    model = BayesianRidge().fit(X, y)
    options = {"structures": structures, "value": "rmse"}
    display = PeriodicTableDisplay.from_estimator(model, X, y, **options)
    prediction = model.predict(X, return_std=True)
    expected = PeriodicTableDisplay.from_predictions(y, *prediction, **options)
    assert display.values == expected.values
    assert display.ax_.get_title().endswith("by element, BayesianRidge")


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"Fe": 1.0, "Xx": 2.0}, r"Got values of \['Xx'\], expected symbols"),
        ({}, "Got no element with a finite value"),
        ({"Fe": np.nan}, "Got no element with a finite value"),
    ],
)
def test_bad_values_are_errors_and_draw_nothing(values, match):
    with pytest.raises(ValueError, match=match):
        PeriodicTableDisplay(values).plot()
    assert not plt.get_fignums()


def test_subfigures_and_colours_are_usable():
    left, right = plt.figure(figsize=(12, 4)).subfigures(1, 2)
    for part in (left, right):
        display = PeriodicTableDisplay({"H": 1.0, "O": 2.0}).plot(part.add_subplot())
        assert display.figure_ is part
    assert len(set(_display.COLORS)) == len(_display.COLORS)
