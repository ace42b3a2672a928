"""Predictions of the command line: by blocks, with a reason for each failure."""

import numpy as np
import pandas as pd
from scipy.special import ndtri
from tqdm import tqdm

from .._parallel import count_workers

#: Structures in a step of the progress bar, for each process.
STEP = 128


def predictions(estimator, items, coverage, *, log10=False, progress=True):
    """Predict by blocks of bounded size, with a progress bar on a terminal.

    `estimator` is a fitted MEGNetProbRegressor with ``on_error="nan"``. Yields frames
    with the columns mean, std, lower, upper (target units, NaN after a failure; after
    `log10` with this in their names) and error (a reason, or ""), indexed by position
    in `items`.
    """
    step = STEP * count_workers(estimator.n_jobs)
    names = ["mean", "std", "lower", "upper"]
    if log10:
        names = [f"log10_{name}" for name in names]
    hide = None if progress else True  # None: unless standard error is a terminal
    with tqdm(total=len(items), desc="Predicting", unit="row", disable=hide) as bar:
        for start in range(0, len(items), step):
            mean, std, errors = _predict(estimator, items[start : start + step])
            tails = ndtri([0.5 - coverage / 2, 0.5 + coverage / 2])
            values = [mean, std, *(mean + tail * std for tail in tails)]
            block = pd.DataFrame(dict(zip(names, values, strict=True)))
            block["error"] = errors
            block.loc[block["error"] != "", names] = np.nan
            block.index += start
            yield block
            bar.update(len(block))


def _predict(estimator, items):
    """Return means, standard deviations and errors; after an exception one by one."""
    try:
        mean, std = estimator.predict(items, return_std=True)
    except Exception as error:  # any error that one structure can cause
        if len(items) == 1:
            reason = " ".join(str(error).split()) or type(error).__name__
            return np.full(1, np.nan), np.full(1, np.nan), np.array([reason], object)
        parts = [_predict(estimator, [item]) for item in items]
        return tuple(map(np.concatenate, zip(*parts, strict=True)))
    errors = np.full(len(items), "", object)
    failed = np.flatnonzero(~np.isfinite(mean + std))
    errors[failed] = reasons(estimator.network_, [items[k] for k in failed])
    return mean, std, errors


def reasons(network, items):
    """Return the reasons why structures have no features, each in one line."""
    graphs = network.graphs(items)
    return [
        " ".join(getattr(g, "reason", "no finite prediction").split()) for g in graphs
    ]
