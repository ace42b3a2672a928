"""Predictions of the command line: by blocks, with a reason for each failure."""

import math

import numpy as np
import pandas as pd
from scipy.special import ndtri
from tqdm import tqdm

from .._parallel import count_workers

#: Structures in a step of the progress bar, for each process.
STEP = 128


def predictions(estimator, samples, coverage, *, log10=False, progress=True):
    """Predict by blocks of bounded size, with a progress bar on a terminal.

    `estimator` is a fitted MEGNetProbRegressor with ``on_error="nan"``. `samples` is a
    frame with the columns structure (None: no prediction) and error (a reason, or "").
    Yields frames with the columns mean, std, lower, upper (in target units), with
    `log10` also log10_mean and log10_std, warning (of the reader of a structure, "" for
    features of an earlier run) and error. Numbers are NaN beside an error.
    """
    step = STEP * count_workers(estimator.n_jobs)
    hide = None if progress else True  # None: unless standard error is a terminal
    with tqdm(total=len(samples), desc="Predicting", unit="row", disable=hide) as bar:
        for start in range(0, len(samples), step):
            rows = samples[start : start + step]
            given = rows["structure"].notna()
            block = pd.DataFrame(index=rows.index, columns=["mean", "std"], dtype=float)
            errors, notes = rows["error"], pd.Series("", rows.index, dtype=object)
            if given.any():
                items = rows["structure"][given].tolist()
                *moments, notes[given], found = _predict(estimator, items)
                block.loc[given] = np.column_stack(moments)
                errors = join_errors(errors, found, errors.index[given])
            block[errors != ""] = np.nan
            tails = ndtri([0.5 - coverage / 2, 0.5 + coverage / 2])
            for name, tail in zip(("lower", "upper"), tails, strict=True):
                block[name] = block["mean"] + tail * block["std"]
            if log10:
                block = _in_units(block)
            yield block.assign(warning=notes, error=errors)
            bar.update(len(block))


def _in_units(block):
    """Return predictions of log10(y) as those of y, which has a log-normal law."""
    mean, std = block["mean"], block["std"]
    variance = (math.log(10) * std) ** 2
    # Mean and variance of exp(N(m, v)): exp(m + v / 2) and mean^2 (exp(v) - 1)
    block = 10**block
    block["mean"] *= np.exp(variance / 2)
    block["std"] = block["mean"] * np.sqrt(np.expm1(variance))
    return block.assign(log10_mean=mean, log10_std=std)


def _predict(estimator, items):
    """Return means, stds, notes and errors; after an exception one by one."""
    try:
        encoded = estimator._encoder.encode(estimator, items)
        mean, std = estimator._head.mean_and_std(encoded)
    except Exception as error:  # any error that one structure can cause
        if len(items) == 1:
            reason = " ".join(str(error).split()) or type(error).__name__
            nan = np.full(1, np.nan)
            return nan, nan, np.array([""], object), np.array([reason], object)
        parts = [_predict(estimator, [item]) for item in items]
        return tuple(map(np.concatenate, zip(*parts, strict=True)))
    notes, errors = np.full((2, len(items)), "", object)
    for i, note in encoded.notes.items():
        notes[i] = note
    failed = np.flatnonzero(~np.isfinite(mean + std))
    errors[failed] = reasons(encoded.errors or {}, failed)
    return mean, std, notes, errors


def reasons(errors, positions):
    """Return the reasons why samples have no prediction, each in one line.

    ``errors`` has the `StructureError` of some positions.
    """
    found = (getattr(errors.get(i), "reason", "no finite value") for i in positions)
    return [" ".join(reason.split()) for reason in found]


def join_errors(errors, found, index):
    """Return a series of errors, with those found for some of its rows added."""
    found = pd.Series(found, index, dtype=object).reindex(errors.index, fill_value="")
    return errors + np.where((errors != "") & (found != ""), "; ", "") + found
