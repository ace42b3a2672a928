"""Error and uncertainty by group."""

import functools
import math
import numbers
import warnings
from collections.abc import Mapping

import numpy as np

from .._prediction import Prediction, own_keywords
from ._calibration import miscalibration_area
from ._intervals import interval_coverage
from ._scores import gaussian_crps, gaussian_nll
from ._sharpness import sharpness
from ._validation import (
    check_integer,
    drop_missing,
    quantiles_of_samples,
    standardized_residuals,
)

_BY = ("chemical_system", "element", "space_group")


def _z_mean(y_true, y_pred, y_std):
    with np.errstate(invalid="ignore"):  # zero std may give inf - inf
        return np.mean(standardized_residuals(y_true, y_pred, y_std))


def _z_std(y_true, y_pred, y_std):
    if len(y_true) < 2:  # not defined for one sample
        return math.nan
    with np.errstate(invalid="ignore"):
        return np.std(standardized_residuals(y_true, y_pred, y_std), ddof=1)


_METRICS = {
    "mae": lambda y_true, y_pred, y_std: np.mean(np.abs(y_pred - y_true)),
    "rmse": lambda y_true, y_pred, y_std: np.sqrt(np.mean((y_pred - y_true) ** 2)),
    "mean_error": lambda y_true, y_pred, y_std: np.mean(y_pred - y_true),
    "mean_std": lambda y_true, y_pred, y_std: np.mean(y_std),
    "sharpness": sharpness,
    "nll": gaussian_nll,
    "crps": gaussian_crps,
    "coverage_95": interval_coverage,
    "miscalibration_area": miscalibration_area,
    "z_mean": _z_mean,
    "z_std": _z_std,
}
_DEFAULT = ("mae", "rmse", "mean_std", "nll", "coverage_95", "z_mean", "z_std")


def uq_by_group(
    y_true,
    y_pred,
    y_std,
    groups,
    *,
    quantiles=None,
    by=None,
    metrics=None,
    min_count=0,
    sort_by=None,
):
    r"""Tabulate error and uncertainty by group.

    Shows where in its domain a model is accurate and where its std can be trusted.

    Parameters
    ----------
    y_true, y_pred, y_std : array-like of shape (n_samples,)
        Observed targets, predicted means and predicted standard deviations
        (observation noise included), in target units. A sample with NaN in `y_pred` or
        `y_std` has no prediction.
    groups : array-like of shape (n_samples,) or list of set
        The label of each sample; or a set, list or tuple of labels of a sample that
        belongs to several groups. Samples labelled None or NaN are left out with a
        warning. With `by`, the structures themselves.
    quantiles : callable, default=None
        Quantiles at levels q, of shape (n_samples, n_levels), in target units:
        ``lambda q: model.predict_quantiles(X, q)``. "crps", "coverage_95" and
        "miscalibration_area" use them. None assumes a Gaussian.
    by : {"chemical_system", "element", "space_group"} or None, default=None
        Label the structures in `groups` by this, as :func:`group_labels` does.
    metrics : list of str, mapping of str to callable or None, default=None
        Columns, in order: names among "mae", "rmse", "mean_error", "mean_std",
        "sharpness", "nll", "crps", "coverage_95", "miscalibration_area", "z_mean" and
        "z_std"; or functions ``f(y_true, y_pred, y_std) -> float`` by name. None takes
        "mae", "rmse", "mean_std", "nll", "coverage_95", "z_mean" and "z_std".
    min_count : int, default=0
        Leave out groups with fewer predictions. 0 keeps those that have none.
    sort_by : str or None, default=None
        Column whose largest values come first, or "group" for the order of the
        labels. None is the first metric.

    Returns
    -------
    table : DataFrame of shape (n_groups, 2 + n_metrics)
        Indexed by "group". "n" counts the predictions of a group, "n_missing" its
        samples without one. Errors, `mean_std`, `sharpness` and CRPS are in target
        units, NLL in nats, the rest is dimensionless. `mean_error` is predicted minus
        observed.

    Raises
    ------
    ValueError
        When predictions or keywords are not valid, no sample has a prediction or a
        label, or there are several outputs.

    See Also
    --------
    group_labels : Labels of structures.
    sklearn_unlocknn.plotting.PeriodicTableDisplay : Drawing of the table by element.

    Notes
    -----
    With :math:`z_i = (y_i - \mu_i) / \sigma_i`, `z_mean` is their mean and `z_std`
    their standard deviation (divided by n - 1) [1]_:

    .. math:: s_z^2 = \frac1{n - 1} \sum_i (z_i - \bar z)^2

    A group with right std has a `z_mean` of about 0, a `z_std` of about 1 and a
    `coverage_95` of about .95. `z_std` above 1 is over-confidence; a `z_mean` far from
    0 is an offset that the whole group has in common. For a group of n samples these
    values are uncertain by about ``1 / sqrt(n)``: use `min_count` to leave out small
    groups.

    A zero std counts as in the metric of the column; it makes `z_mean` infinite or NaN
    unless it hits exactly.

    References
    ----------
    .. [1] P. Pernot, "The long road to calibrated prediction uncertainty in
       computational chemistry", J. Chem. Phys. 156, 114109 (2022),
       doi:10.1063/5.0084302.

    Examples
    --------
    >>> from sklearn_unlocknn.metrics import uq_by_group
    >>> y_true, y_pred = [1.0, 2.0, 4.0, 5.0], [1.1, 1.8, 4.5, 5.1]
    >>> y_std = [0.1, 0.1, 0.4, 0.4]
    >>> uq_by_group(
    ...     y_true, y_pred, y_std, ["NaCl", "Si", "Si", "Si"],
    ...     metrics=["mae", "mean_std"],
    ... ).round(2)
           n  n_missing   mae  mean_std
    group
    Si     3          0  0.27       0.3
    NaCl   1          0  0.10       0.1
    """
    import pandas as pd

    functions = _check_metrics(metrics)
    check_integer("min_count", min_count, 0)
    sort_by = next(iter(functions)) if sort_by is None else sort_by
    if sort_by not in ("group", "n", "n_missing", *functions):
        raise ValueError(
            f"Got sort_by={sort_by!r}, expected 'group', 'n', 'n_missing' or one of "
            f"{list(functions)}."
        )
    y_true, y_pred, y_std, present = drop_missing(
        y_true, y_pred, y_std, "a table by group"
    )
    labels = groups if by is None else group_labels(groups, by, on_error="none")
    samples_of, n_unlabelled = samples_by_label(labels, len(present))
    if n_unlabelled and by is None:  # group_labels has warned
        warnings.warn(
            f"{n_unlabelled} of {len(present)} samples have no group and are left out.",
            UserWarning,
            stacklevel=2,
        )

    if quantiles is not None:
        quantiles = _cached(quantiles_of_samples(quantiles, present))
    # Index of a sample among those with a prediction.
    position = np.cumsum(present) - 1
    table, index = [], []
    for label, samples in samples_of.items():
        samples = np.asarray(samples)
        kept = position[samples[present[samples]]]
        if len(kept) < min_count:
            continue
        part = (y_true[kept], y_pred[kept], y_std[kept])
        own = Prediction(*part[1:], quantiles_of_samples(quantiles, kept))
        values = [math.nan] * len(functions)
        if len(kept):
            values = [
                float(f(*part, **own_keywords(f, own))) for f in functions.values()
            ]
        table.append([len(kept), len(samples) - len(kept), *values])
        index.append(label)

    # Labels that are tuples would make a MultiIndex. Strings of pandas may be Arrow's,
    # which cannot hold all of Python's.
    dtype = object if any(isinstance(label, str) for label in index) else None
    index = pd.Index(index, dtype, name="group", tupleize_cols=False)
    columns = ["n", "n_missing", *functions]
    frame = pd.DataFrame(table, index=index, columns=columns)
    frame = frame.astype({"n": int, "n_missing": int} | dict.fromkeys(functions, float))
    frame = frame.iloc[sorted(range(len(frame)), key=lambda i: _order(index[i]))]
    if sort_by == "group":
        return frame
    return frame.sort_values(sort_by, ascending=False, kind="stable")


def _cached(quantiles):
    """Return the function of levels with its results cached, for all groups."""
    cached = functools.cache(lambda q: quantiles(np.array(q)))
    return lambda q: cached(tuple(q))


def group_labels(X, by, *, symprec=0.01, on_error="raise"):
    """Label structures by element, chemical system or space group.

    Parameters
    ----------
    X : list of Structure
        Or an array, a Series, a frame with one column, of pymatgen structures and
        molecules, ASE atoms, MEGNet graphs or paths, as the MEGNet estimators take
        them. For elements and chemical systems also compositions and formulas.
    by : {"chemical_system", "element", "space_group"}
        "chemical_system" is the symbols in alphabetical order ("Cl-Na"), "element" all
        elements in it, "space_group" the international symbol ("Fm-3m").
    symprec : float, default=0.01
        Tolerance of the space group, in angstrom.
    on_error : {"raise", "none"}, default="raise"
        For a structure that cannot be read or has no such label: raise, or label it
        None with a warning that counts them.

    Returns
    -------
    labels : list of str or list of tuple of str
        One label a structure; for "element" a tuple of symbols.

    Raises
    ------
    ValueError
        When `by` or `on_error` is not one of those listed, or structures have no label
        (one with on_error="raise", otherwise all).

    See Also
    --------
    uq_by_group : Table of metrics by label.

    Notes
    -----
    A structure has one chemical system and one space group, but counts under each of
    its elements. Deuterium and tritium count as hydrogen. Finding a space group takes
    about a millisecond.

    Examples
    --------
    >>> from sklearn_unlocknn.metrics import group_labels
    >>> group_labels(["NaCl", "Fe2O3"], "chemical_system")
    ['Cl-Na', 'Fe-O']
    >>> group_labels(["NaCl", "Fe2O3"], "element")
    [('Na', 'Cl'), ('O', 'Fe')]
    """
    if by not in _BY:
        raise ValueError(f"Got by={by!r}, expected one of {_BY}.")
    if on_error not in ("raise", "none"):
        raise ValueError(f"Got on_error={on_error!r}, expected 'raise' or 'none'.")
    from ._structure_labels import label_many

    labels = label_many(X, by, symprec)
    errors = [label for label in labels if isinstance(label, Exception)]
    if errors and (on_error == "raise" or len(errors) == len(labels)):
        raise ValueError(
            f"{errors[0]}. Labels by={by!r} failed for {len(errors)} of {len(labels)} "
            "structures; leave those out, or fix them."
        ) from errors[0]
    if errors:
        warnings.warn(
            f"{len(errors)} of {len(labels)} structures have no {by} and are labelled "
            f"None. The first: {errors[0]}",
            UserWarning,
            stacklevel=2,
        )
    return [None if isinstance(label, Exception) else label for label in labels]


def _check_metrics(metrics):
    """Return functions by column name."""
    if isinstance(metrics, Mapping):
        if not metrics or not all(callable(f) for f in metrics.values()):
            raise ValueError(
                f"Got metrics={metrics!r}, expected functions by name, at least one."
            )
        return dict(metrics)
    names = _DEFAULT if metrics is None else metrics
    if isinstance(names, str) or not len(names) or set(names) - set(_METRICS):
        raise ValueError(
            f"Got metrics={metrics!r}, expected a list of names among "
            f"{list(_METRICS)}, or a mapping of names to functions."
        )
    return {name: _METRICS[name] for name in names}


def samples_by_label(groups, n_samples):
    """Return the samples of each label, and the number of samples without one."""
    import pandas as pd

    # A list keeps sets and tuples whole, where an array would take them apart.
    groups = groups.tolist() if hasattr(groups, "tolist") else list(groups)
    if len(groups) != n_samples:
        raise ValueError(
            f"Got groups of {len(groups)} samples, expected {n_samples}: a label, or "
            "a set of labels, for each prediction."
        )
    samples, unlabelled = {}, 0
    for i, labels in enumerate(groups):
        if not isinstance(labels, set | frozenset | list | tuple):
            labels = [labels]
        labels = [label for label in labels if pd.isna(label) is not True]
        unlabelled += not labels
        for label in dict.fromkeys(labels):
            samples.setdefault(label, []).append(i)
    if not samples:
        raise ValueError(
            f"Got no label for any of {n_samples} samples, expected at least one."
        )
    return samples, unlabelled


def _order(label):
    """Return the sort key of a label: numbers first, then the text of others."""
    number = isinstance(label, numbers.Real)
    return (0, label, "") if number else (1, 0, str(label))
