"""Tables of predictions of structures: by blocks, with a reason for each failure."""

import math

import numpy as np
import pandas as pd
from tqdm import tqdm

from .._gp.domain import domain_scores, is_outside, nearest_samples
from .._parallel import count_workers
from .._prediction import interval_levels

#: Structures in a step of the progress bar, for each process.
STEP = 128
#: Training structures that are named beside a prediction.
N_NEAREST = 3


def predictions(estimator, samples, coverage, *, log10=False, progress=True):
    """Predict by blocks of bounded size, with a progress bar on a terminal.

    `estimator` is a fitted MEGNetProbRegressor with ``on_error="nan"``. `samples` is a
    frame with the columns structure (None: no prediction) and error (a reason, or "").
    Yields frames with the columns mean, std, lower, upper (in target units), with
    `log10` also log10_mean and log10_std, domain (the score), nearest (formulas of
    training structures), domain_rank (of the score; see `_gp.domain.is_outside`),
    warning (of structures outside the domain, and of the reader of a structure) and
    error. Numbers are NaN beside an error.
    """
    step = STEP * count_workers(estimator.n_jobs)
    hide = None if progress else True  # None: unless standard error is a terminal
    with tqdm(total=len(samples), desc="Predicting", unit="row", disable=hide) as bar:
        for start in range(0, len(samples), step):
            rows = samples[start : start + step]
            given = rows["structure"].notna()
            block = pd.DataFrame(index=rows.index, columns=["mean", "std"], dtype=float)
            scores = pd.DataFrame(index=rows.index, columns=["domain", "rank"])
            scores = scores.astype(float)
            errors, notes = rows["error"], pd.Series("", rows.index, dtype=object)
            nearest = notes.copy()
            if given.any():
                items = rows["structure"][given].tolist()
                numbers, nearest[given], notes[given], found = _predict(
                    estimator, items
                )
                block.loc[given], scores.loc[given] = numbers[:, :2], numbers[:, 2:]
                errors = join_errors(errors, found, errors.index[given])
            failed = errors != ""
            block[failed], scores[failed], nearest[failed] = np.nan, np.nan, ""
            outside = np.where(is_outside(scores["rank"]), _OUTSIDE_NOTE, "")
            notes = join_errors(notes, outside, notes.index)
            quantiles, _ = estimator._functions(*block.to_numpy().T)
            block[["lower", "upper"]] = quantiles(interval_levels(coverage))
            if log10:
                block = _in_units(block)
            yield block.assign(
                domain=scores["domain"], nearest=nearest, domain_rank=scores["rank"],
                warning=notes, error=errors,
            )  # fmt: skip
            bar.update(len(block))


_OUTSIDE_NOTE = "outside the domain of the training data"


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
    """Return numbers, nearest formulas, notes and errors; after an error one by one.

    The numbers of a structure are mean, std, domain score and rank.
    """
    try:
        encoded = estimator._encoder.encode(estimator, items)
        head = estimator._head
        numbers = np.full((len(items), 4), np.nan)
        numbers[:, 0], numbers[:, 1] = head.mean_and_std(encoded)
        valid = encoded.index
        nearest = np.full(len(items), "", object)
        if len(valid) and head.record is not None:  # which old files lack
            numbers[valid, 2:] = np.transpose(domain_scores(head, encoded))
            nearest[valid] = _names_of_nearest(head, encoded)
    except Exception as error:  # any error that one structure can cause
        if len(items) == 1:
            reason = " ".join(str(error).split()) or type(error).__name__
            none = np.array([""], object)
            return np.full((1, 4), np.nan), none, none, np.array([reason], object)
        parts = [_predict(estimator, [item]) for item in items]
        return tuple(map(np.concatenate, zip(*parts, strict=True)))
    notes, errors = np.full((2, len(items)), "", object)
    for i, note in encoded.notes.items():
        notes[i] = note
    failed = np.flatnonzero(~np.isfinite(numbers[:, :2].sum(axis=1)))
    errors[failed] = reasons(encoded.errors, failed)
    return numbers, nearest, notes, errors


def _names_of_nearest(head, encoded):
    """Return the formulas of the nearest training structures, each in one text."""
    rows, _, _ = nearest_samples(head, encoded, N_NEAREST, weighted=False)
    record = head.record
    names = record.index if record.formulas is None else record.formulas
    return ["; ".join(map(str, some)) for some in names[rows]]


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
