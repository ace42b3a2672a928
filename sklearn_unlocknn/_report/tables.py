"""Tables of a report: figures, groups, single samples, the model card."""

import numpy as np

from .._files.card import make_card
from .units import clean, number, percent

#: Rows of each table of single samples, of groups and of samples left out.
N_WORST, MOST_GROUPS, MOST_FAILURES = 8, 40, 100
_MOST_FORMULAS = 60

# section, key, label, ideal, meaning, whether in units of the prediction
_FIGURES = [
    ("point", "mae", "MAE", "0", "mean absolute error", True),
    ("point", "rmse", "RMSE", "0", "root mean square error", True),
    ("point", "r2", "R²", "1", "share of the variance that is predicted", False),
    ("proper", "nll", "NLL (nats)", "low", "surprise at a target", False),
    ("proper", "crps", "CRPS", "0", "error of the whole distribution", True),
    ("proper", "msll", "MSLL (nats)", "< 0", "NLL less that of a fixed normal law",
     False),
    ("calibration", "miscalibration_area_interval", "Miscalibration area, intervals",
     "0", "area between the calibration curve and the diagonal", False),
    ("calibration", "miscalibration_area_quantile", "Miscalibration area, quantiles",
     "0", "the same for single quantiles", False),
    ("sharpness", "sharpness", "Sharpness", "low", "root mean square of the std", True),
    ("sharpness", "dispersion", "Dispersion", "> 0", "variation among the std", False),
    ("ranking", "error_uncertainty_correlation", "Error-std rank correlation", "1",
     "whether larger std have larger errors", False),
]  # fmt: skip
_GROUP_COLUMNS = {
    "mae": "MAE", "mean_std": "Mean std", "coverage_95": "In 95 % intervals",
    "z_mean": "Mean of z", "z_std": "Std of z",
}  # fmt: skip


def figures(assessment, quantity):
    """Return label, value, ideal and meaning of each figure of `uq_report`."""
    rows = []
    for section, key, label, ideal, meaning, in_units in _FIGURES:
        value = assessment.figures[section][key]
        text = quantity.number(value) if in_units else number(value)
        rows.append((label, text, ideal, meaning))
    return rows


def groups(assessment, quantity):
    """Return headings and rows of the table by group, and the number not shown."""
    table = assessment.by_group()
    if table is None:
        return None
    rows = []
    for label, row in table[:MOST_GROUPS].iterrows():
        cells = [clean(label, 60), f"{row['n']:.0f}"]
        for key in _GROUP_COLUMNS:
            value = row[key]
            if key == "coverage_95":
                cells.append(percent(value, row["n"]))
            else:
                in_units = key in ("mae", "mean_std")
                cells.append(quantity.number(value) if in_units else number(value))
        rows.append(cells)
    headings = ["Group", "Samples", *_GROUP_COLUMNS.values()]
    return headings, rows, len(table) - len(rows)


def worst(assessment, quantity):
    """Return title, headings and rows of the tables of single samples."""
    a = assessment
    if a.y is None:
        keys = {"Largest std": -a.std}
        if a.rank is not None:
            keys["Least known: lowest domain score"] = a.score
    else:
        error = np.abs(a.error)
        keys = {
            "Largest errors": -error,
            "Largest errors for their std (|z|)": -np.abs(a.z),
        }
    return [
        (title, *_samples(a, np.argsort(key, kind="stable")[:N_WORST], quantity))
        for title, key in keys.items()
    ]


def _samples(a, chosen, quantity):
    unit = f" ({quantity.unit})" if quantity.unit else ""
    columns = {"Sample": lambda i: clean(a.names[i], 60)}
    if a.formulas is not None:
        columns["Formula"] = lambda i: clean(a.formulas[i], 40)
    if a.groups is not None:
        columns["Group"] = lambda i: clean(a.groups[i], 40)

    def value(x):
        return number(quantity.in_units(x), 4)

    if a.y is not None:
        columns[f"Observed{unit}"] = lambda i: value(a.y[i])
    # of a log-normal law this is the median
    name = "Predicted median" if quantity.log10 else "Predicted"
    columns[f"{name}{unit}"] = lambda i: value(a.mean[i])
    columns[f"{100 * a.coverage:g} % interval{unit}"] = lambda i: (
        f"{value(a.ends[i, 0])} to {value(a.ends[i, 1])}"
    )
    if a.y is not None:
        units = f" ({quantity.units})" if quantity.units else ""
        columns[f"Error{units}"] = lambda i: number(a.error[i])
        columns["z"] = lambda i: number(a.z[i])
    else:
        units = f" ({quantity.units})" if quantity.units else ""
        columns[f"Std{units}"] = lambda i: number(a.std[i])
    if a.rank is not None:
        columns["Domain score"] = lambda i: (
            f"{a.score[i]:.2f}{', outside' if a.outside[i] else ''}"
        )
        columns[f"Nearest in training{unit}"] = lambda i: _nearest(
            a.neighbours[i], quantity
        )
    rows = [[cell(i) for cell in columns.values()] for i in chosen]
    return list(columns), rows


def _nearest(neighbours, quantity):
    texts = []
    for one in neighbours:
        name = clean(one.name, 40)
        if one.target is not None:
            name += f" ({number(quantity.in_units(one.target), 4)})"
        texts.append(name)
    return "; ".join(texts)


def failures(assessment):
    """Return name and reason of the samples left out, and the number not shown."""
    rows = [(clean(n, 80), clean(why, 400)) for _, n, why in assessment.failures]
    return rows[:MOST_FAILURES], max(len(rows) - MOST_FAILURES, 0)


# --- the model card ---------------------------------------------------------------


def card_of(assessment, quantity):
    """Return the model card of a model that was not read from a file."""
    regressor, objects = assessment.regressor, {}
    for one in (assessment.model, regressor, getattr(regressor, "network_", None)):
        if one is not None:
            objects.setdefault(type(one).__name__, one)
    if regressor is not None:
        objects["Head"] = regressor._head
    return make_card(
        assessment.model, objects, target=quantity.target, unit=quantity.unit,
        log10=quantity.log10, X=None, held_out=None,
    )  # fmt: skip


def card_rows(card):
    """Return label and text of each statement of a card, whatever it holds."""
    rows = []

    def add(label, value):
        if value not in (None, "", [], {}):
            rows.append((label, clean(value, 2000)))

    add("Model", card.get("model"))
    add("Estimators in it", _joined(card.get("estimators")))
    add("Parameters that are not defaults", card.get("parameters"))
    add("Target", card.get("target"))
    add("Unit", card.get("unit"))
    if card.get("log10"):
        add("Predicts", "the decadic logarithm of the target")
    add("Training samples", card.get("n_samples"))
    formulas = card.get("formulas")
    if isinstance(formulas, list) and formulas:
        more = len(formulas) - _MOST_FORMULAS
        text = _joined(formulas[:_MOST_FORMULAS])
        text += f" and {more} more" if more > 0 else ""
        add(f"{len(formulas)} formulas of training structures", text)
    add("Samples held out when it was fitted", _held_out(card.get("held_out")))
    versions = card.get("versions")
    if isinstance(versions, dict):
        add("Versions of the writer", _joined(f"{k} {v}" for k, v in versions.items()))
    add("Format of the file", card.get("protocol"))
    return rows


def _joined(values):
    if values is None or isinstance(values, str | int | float):
        return values
    return ", ".join(map(str, values))


def _held_out(report):
    """Return the main figures of a report of `uq_report`, or any other as text."""
    try:
        coverage = report["intervals"]
        inside = coverage.get("0.9", coverage.get(0.9))["coverage"]
        return (
            f"{report['n_samples']} samples: MAE {number(report['point']['mae'])}, "
            f"NLL {number(report['proper']['nll'])}, CRPS "
            f"{number(report['proper']['crps'])}, 90 % intervals hold "
            f"{percent(inside, report['n_samples'])}"
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        return report
