"""What a worker process does: read uploads, predict them, draw the results."""

import os
import signal
import sys
import threading
import time
import warnings

import numpy as np
import pandas as pd

from .._features.cache import forget
from .._files.card import as_json
from .._gp.domain import is_outside
from .._regressors.predictions import predictions
from .._structures.read import StructureError, as_structure, read_upload
from .chart import draw_chart
from .drawing import draw, viewer_data

#: Training structures beside a prediction.
N_NEAREST = 5
_served = None


class Served:
    """A model and what is needed to show its predictions.

    Parameters
    ----------
    estimator : MEGNetProbRegressor
        Fitted.
    log10 : bool
        Whether it predicts the decadic logarithm of the target.
    label : str
        Name and unit of the target, of an axis.
    unit : str
        Unit, or "".
    coverage : float
        Probability of intervals.
    limits : Limits
        Bounds of a request.
    training : list or None
        Training structures by the index of the fit.
    """

    def __init__(self, estimator, log10, label, unit, coverage, limits, training):
        self.estimator, self.log10, self.label = estimator, log10, label
        self.unit, self.coverage, self.limits = unit, coverage, limits
        self.training = training
        record = estimator._head.record
        self.targets = None if record is None else training_targets(record)


def training_targets(record):
    """Return targets that are distributed as those of the training data."""
    return record.y[record.ranked if record.X is not None else slice(None), 0]


def start(served, quiet=True):
    """Set up a worker process."""
    global _served
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server
    parent = os.getppid()
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    warnings.simplefilter("ignore")
    if quiet:  # lines of TensorFlow; errors are results
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    served.estimator.set_params(on_error="nan", memory=None, n_jobs=None, verbose=0)
    _served = served


def _end_with(parent):
    """End this process soon after its parent, also one that was killed."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def warm_up():
    """Run all parts once, on a crystal of rock salt; needs no result."""
    cell = "0 2.8 2.8\n2.8 0 2.8\n2.8 2.8 0"
    text = f"NaCl\n1\n{cell}\nNa Cl\n1 1\nDirect\n0 0 0\n.5 .5 .5\n"
    predict_uploads([("POSCAR", text.encode(), "")])


def predict_uploads(uploads, pictures=True):
    """Predict the structures of uploads.

    Parameters
    ----------
    uploads : list of (str, bytes or None, str)
        Names, contents and errors, as of `read_request`.
    pictures : bool, default=True
        Whether to draw.

    Returns
    -------
    results : list of dict
        The values of each structure.
    csv : str
        The table of `unlocknn predict`.
    """
    rows = _read(uploads)
    samples = pd.DataFrame(rows, columns=["file", "structure", "error"], dtype=object)
    try:
        with np.errstate(all="ignore"):
            return _predict(samples, pictures)
    finally:
        forget()  # features of a visitor's structures


def _read(uploads):
    """Return the rows of uploads: name, structure or None, error."""
    rows, limits = [], _served.limits
    for name, content, error in uploads:
        if error:
            rows.append((name, None, error))
            continue
        found = read_upload(name, content)
        if not found:
            rows.append((name, None, "it holds no structure"))
        for key, structure in found:
            label = name if len(found) == 1 else f"{name}:{key}"
            error = _error(structure, limits)
            rows.append((label, None if error else structure, error))
    most = limits.structures
    for i, (label, _, _) in enumerate(rows[most:], most):
        rows[i] = label, None, f"left out: there are more than {most} structures"
    return rows


def _error(structure, limits):
    """Return why a structure is not predicted, or ""."""
    if isinstance(structure, StructureError):
        return " ".join(structure.reason.split())
    if isinstance(structure, dict):
        return "it is a graph of MEGNet, expected a structure"
    if len(structure) > limits.atoms:
        return f"it has {len(structure)} atoms, more than {limits.atoms}"
    return ""


def _predict(samples, pictures):
    estimator = _served.estimator
    table = pd.concat(
        predictions(estimator, samples, _served.coverage,
                    log10=_served.log10, progress=False)
    )  # fmt: skip
    table.insert(0, "file", samples["file"])
    ranks = table.pop("domain_rank")
    csv = table.to_csv(index=False, lineterminator="\n")
    good = np.flatnonzero(table["error"] == "")
    near = _nearest(samples["structure"].iloc[good].tolist())
    results = []
    for i, row in enumerate(table.to_dict("records")):
        result = as_json(row)
        structure = samples["structure"].iloc[i]
        result |= {"formula": None, "n_atoms": None}
        if structure is not None:
            result["formula"] = structure.composition.reduced_formula
            result["n_atoms"] = len(structure)
        rank = as_json(ranks.iloc[i])
        result["domain_rank"] = rank
        result["outside"] = None if rank is None else bool(is_outside(rank))
        result["nearest"] = near.pop(0) if row["error"] == "" else []
        if pictures:
            result |= _pictures(result, structure)
        results.append(result)
    return results, csv


def _nearest(structures):
    """Return the nearest training structures of each structure, as lists of dicts."""
    if not structures or _served.targets is None:
        return [[] for _ in structures]
    table = _served.estimator.nearest_training(structures, N_NEAREST)
    if _served.log10:
        table["target"] = 10 ** table["target"]
    found = [[] for _ in structures]
    for row in table.to_dict("records"):
        sample = int(row.pop("sample"))
        found[sample].append(as_json(row))
    return found


def _pictures(result, structure):
    """Return the drawing, the viewer's data and the chart of a result."""
    made = {"drawing": None, "legend": [], "viewer": None, "chart": None}
    if structure is not None:
        made["drawing"], made["legend"] = draw(structure)
        made["viewer"] = viewer_data(structure)
    names = ["mean", "std", "lower", "upper"]
    values = [result[name] for name in names]
    if _served.log10:  # on the scale of the fit
        with np.errstate(all="ignore"):
            ends = np.log10(np.array(values[2:], dtype=float)).tolist()
        values = [result.get("log10_mean"), result.get("log10_std"), *ends]
    finite = np.isfinite(np.array(values, dtype=float)).all()
    if finite and _served.targets is not None:
        share = f"{100 * _served.coverage:g}"
        words = (
            f"Histogram of the training targets with the prediction: {share} % "
            f"interval from {result['lower']:.4g} to {result['upper']:.4g} "
            f"{_served.unit}"
        )
        made["chart"] = draw_chart(
            _served.targets, *values, label=_served.label, log10=_served.log10,
            words=words.strip(),
        )  # fmt: skip
    return made


def draw_training(index):
    """Draw a training structure: its drawing and data, or an error."""
    try:
        structure = as_structure(_served.training[index])
        if isinstance(structure, dict):
            raise ValueError("it is a graph of MEGNet, expected a structure")
        drawing, legend = draw(structure)
        return {
            "drawing": drawing, "legend": legend, "viewer": viewer_data(structure),
            "formula": structure.composition.reduced_formula,
            "n_atoms": len(structure), "error": "",
        }  # fmt: skip
    except Exception as error:  # readers raise errors of any class
        return {"error": " ".join(str(error).split()) or type(error).__name__}
