"""Pictures of a report: the displays of `plotting`, as images within the page."""

import base64
import io
import warnings
from typing import NamedTuple

import numpy as np

from ..plotting import (
    DomainDisplay,
    ErrorUncertaintyDisplay,
    ParityDisplay,
    PeriodicTableDisplay,
    SharpnessDisplay,
    UQCalibrationDisplay,
)
from .units import clean, number

#: Bytes up to which a picture is SVG; a larger one is PNG.
_MOST_SVG = 300_000
#: Samples with an element from which the std of its errors is drawn.
_LEAST_OF_ELEMENT = 5
_STYLE = {
    "font.size": 10.0,
    "axes.titlesize": 10.0,
    "figure.dpi": 100,
    "svg.fonttype": "none",  # letters of the reader's system, in any script
    "svg.hashsalt": "report",  # the same picture of the same figures
}


class Picture(NamedTuple):
    """A picture: data URI, size in pixels, description and what to look for."""

    title: str
    uri: str
    width: int
    height: int
    alt: str
    caption: str
    wide: bool


def draw_all(assessment, quantity):
    """Return the pictures of an assessment."""
    from matplotlib import style

    a, pictures = assessment, []
    with style.context(["default", _STYLE]), warnings.catch_warnings():
        # The reader's system has the letters that this one may lack.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        if a.y is not None:
            pictures += [_calibration(a), _parity(a, quantity)]
        if a.y is not None and a.rank is not None:
            pictures.append(_domain(a, quantity))
        if a.y is not None and (a.std > 0).any():
            pictures.append(_errors(a, quantity))
        pictures.append(_sharpness(a, quantity))
        pictures += _elements(a, quantity)
    return pictures


def _figure(width, height):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _plain(text, most=40):
    """Return a text that matplotlib does not take for mathematics."""
    return None if text is None else clean(text, most).replace("$", r"\$")


def _picture(figure, title, alt, caption, wide=False):
    metadata = {"Date": None, "Creator": None}
    file = io.BytesIO()
    figure.savefig(file, format="svg", dpi=150, metadata=metadata)
    kind = "svg+xml"
    if file.tell() > _MOST_SVG:
        file, kind = io.BytesIO(), "png"
        figure.savefig(file, format="png", dpi=150)
    content = base64.b64encode(file.getvalue()).decode()
    width, height = (round(96 * inches) for inches in figure.get_size_inches())
    uri = f"data:image/{kind};base64,{content}"
    return Picture(title, uri, width, height, alt, caption, wide)


def _arrays(a):
    return a.y, a.mean, a.std


def _calibration(a):
    figure, ax = _figure(4.6, 4.6)
    display = UQCalibrationDisplay.from_predictions(
        *_arrays(a), quantiles=a.prediction.quantiles, kind="interval", ax=ax
    )
    ax.set_title("")
    return _picture(
        figure,
        "Calibration",
        "Curve of the share of targets inside intervals against their nominal "
        f"coverage. The area between it and the diagonal is {display.area:.3f}.",
        "The curve should follow the diagonal. Below it intervals hold fewer targets "
        "than stated and are too narrow, above it they are too wide. With few samples "
        "some deviation is chance: see the ranges in the table of intervals.",
    )


def _parity(a, quantity):
    figure, ax = _figure(5.2, 4.6)
    ax.set_xlabel(_label("Observed", quantity))
    ax.set_ylabel(_label("Predicted", quantity))
    display = ParityDisplay.from_predictions(
        *_arrays(a), quantiles=a.prediction.quantiles, coverage=a.coverage,
        units=_plain(quantity.units), ax=ax,
    )  # fmt: skip
    ax.set_title("")
    meaning = {
        "errorbar": f"Bars are {100 * a.coverage:g} % intervals: about "
        f"{100 - 100 * a.coverage:.3g} % of them should miss the diagonal, and long "
        "bars should belong to the points far from it.",
        "scatter": "Colours are predicted std: the points far from the diagonal should "
        "be those of a large std.",
        "hexbin": f"Colours are numbers among {a.n} predictions in a cell. The cells "
        "should follow the diagonal, also at both ends.",
    }[display.kind_]
    return _picture(
        figure,
        "Predicted against observed",
        f"Predictions of {a.n} samples against their targets, around the diagonal. "
        f"R squared is {number(a.figures['point']['r2'])}.",
        f"Points on the diagonal are exact. {meaning}",
    )


def _label(text, quantity):
    name = _plain(quantity.name)
    unit = quantity.unit if not quantity.log10 else None  # the name has it
    return f"{text} {name}" + (f" ({_plain(unit)})" if unit else "")


def _domain(a, quantity):
    figure, ax = _figure(5.2, 4.2)
    n_bins = int(np.clip(a.n // 10, 1, 8))
    display = DomainDisplay.from_predictions(
        *_arrays(a), a.score, quantiles=a.prediction.quantiles, n_bins=n_bins,
        units=_plain(quantity.units), ax=ax,
    )  # fmt: skip
    ax.set_title("")
    return _picture(
        figure,
        "Error by domain score",
        f"Mean absolute error and coverage of 90 % intervals in {n_bins} bins of the "
        f"domain score. The score finds large errors with an AUC of {display.auc:.2f}.",
        "A score of 1 is a sample that the training data determine, .5 one that is "
        "predicted no better than their mean. Where the error rises and the coverage "
        "falls to the left, the score shows where not to trust the model.",
    )


def _errors(a, quantity):
    figure, ax = _figure(5.2, 4.2)
    display = ErrorUncertaintyDisplay.from_predictions(
        *_arrays(a), n_bins=int(np.clip(a.n // 5, 1, 10)),
        units=_plain(quantity.units), ax=ax,
    )  # fmt: skip
    ax.set_title("")
    return _picture(
        figure,
        "Error against uncertainty",
        "Absolute errors against predicted std, with their root mean squares in bins. "
        f"The rank correlation is {display.correlation:.2f}.",
        "Root mean square errors of bins (line) should lie on the diagonal: above it "
        "the model is over-confident, below it under-confident. A line that does not "
        "rise means that the std does not separate large errors from small ones.",
    )


def _sharpness(a, quantity):
    figure, ax = _figure(5.2, 4.0)
    display = SharpnessDisplay.from_predictions(
        a.y, a.mean, a.std, units=_plain(quantity.units), ax=ax
    )
    ax.set_title("")
    return _picture(
        figure,
        "Sharpness",
        "Histogram of predicted std. Their root mean square is "
        f"{quantity.number(display.sharpness)}.",
        "Of two calibrated models the better one has smaller std, further left. A "
        "single bar: all samples have the same error bar.",
    )


def _elements(a, quantity):
    """Return the periodic tables; none without formulas."""
    if a.formulas is None or not any(a.formulas):
        return []
    known = [i for i, formula in enumerate(a.formulas) if formula]
    formulas = [a.formulas[i] for i in known]
    y = None if a.y is None else a.y[known]
    pictures = []
    for value, least, title, caption in _tables(a):
        figure, ax = _figure(10.0, 5.5)
        try:
            display = PeriodicTableDisplay.from_predictions(
                y, a.mean[known], a.std[known], formulas, value=value,
                min_count=least, units=_plain(quantity.units), ax=ax,
            )  # fmt: skip
        except ValueError:  # no element in as many samples, or no formula is one
            continue
        ax.set_title("")
        low = min(display.values, key=display.values.get)
        high = max(display.values, key=display.values.get)
        alt = (
            f"Periodic table. Of {len(display.values)} elements the lowest value is "
            f"that of {low}, {number(display.values[low])}, the highest that of "
            f"{high}, {number(display.values[high])}."
        )
        pictures.append(_picture(figure, title, alt, caption, wide=True))
    return pictures


def _tables(a):
    if a.y is None:
        return [
            ("mean_std", 1, "Predicted std by element",
             "Mean std of the samples that contain an element: it is large where "
             "the training data have little of it.")
        ]  # fmt: skip
    return [
        ("mae", 1, "Error by element",
         "Mean absolute error of the samples that contain an element. Values of few "
         "samples (n) are uncertain by a factor."),
        ("z_std", _LEAST_OF_ELEMENT, "Error over stated error by element",
         "Standard deviation of the errors in units of their std, for elements in at "
         f"least {_LEAST_OF_ELEMENT} samples: 1 is as stated, above 1 the error bars "
         "of compounds of this element are too small."),
    ]  # fmt: skip
