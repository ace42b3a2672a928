"""Predictions of the command line: in steps, with reasons for what fails."""

import math

#: Structures in a step of the progress bar, per process.
STEP = 128


def predictions(estimator, items, n_jobs=None, *, progress=True):
    """Predict in steps of bounded size, with a progress bar on a terminal.

    Parameters
    ----------
    estimator : MEGNetProbRegressor
        Fitted, with ``on_error="nan"``.
    items : list of structures
        As the estimator takes them.
    n_jobs : int, default=None
        That of the estimator.
    progress : bool, default=True
        Whether a bar may be shown: not where results go to the same terminal.

    Yields
    ------
    start : int
        Index of the first structure of the step.
    mean, std : ndarray of shape (n_step,)
        In target units; NaN where it failed.
    errors : dict of int to str
        Reasons, by index within the step.
    """
    from tqdm import tqdm

    from .._parallel import count_workers

    step = STEP * count_workers(n_jobs)
    hide = None if progress else True  # None: unless standard error is a terminal
    with tqdm(total=len(items), desc="Predicting", unit="row", disable=hide) as bar:
        for start in range(0, len(items), step):
            chunk = items[start : start + step]
            yield start, *_predict(estimator, chunk)
            bar.update(len(chunk))


def _predict(estimator, items):
    import numpy as np

    try:
        mean, std = estimator.predict(items, return_std=True)
    except Exception as error:  # whatever one structure can cause, by itself then
        if len(items) == 1:
            reason = " ".join(str(error).split()) or type(error).__name__
            return np.full(1, np.nan), np.full(1, np.nan), {0: reason}
        parts = [_predict(estimator, [item]) for item in items]
        mean, std = (np.concatenate([p[i] for p in parts]) for i in (0, 1))
        return mean, std, {k: p[2][0] for k, p in enumerate(parts) if p[2]}
    failed = np.flatnonzero(~(np.isfinite(mean) & np.isfinite(std))).tolist()
    reasons = reasons_of(estimator.network_, [items[k] for k in failed])
    return mean, std, dict(zip(failed, reasons, strict=True))


def reasons_of(network, items):
    """Say why structures cannot be converted: in one line each."""
    graphs = network.graphs(items)
    return [
        " ".join(getattr(g, "reason", "no finite prediction").split()) for g in graphs
    ]


def columns(log10):
    """Name the columns of a prediction: those in log10 units say so."""
    names = ["mean", "std", "lower", "upper"]
    return [f"log10_{name}" for name in names] if log10 else names


def cells(mean, std, coverage):
    from scipy.special import ndtri

    if not (math.isfinite(mean) and math.isfinite(std)):
        return [""] * 4
    lower, upper = ndtri([0.5 - coverage / 2, 0.5 + coverage / 2])
    # repr: every digit, so that reading gives the same number
    return [repr(float(v)) for v in (mean, std, mean + lower * std, mean + upper * std)]
