"""Predictions of a data set with all that a report states of them."""

import os
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from sklearn.utils import get_tags

from .._gp.domain import domain_scores, is_outside, nearest_samples
from .._prediction import (
    Prediction,
    check_coverage,
    interval_levels,
    own_keywords,
    predict_distribution,
    quantiles_of,
    unwrap_to,
)
from ..compose import ProbTransformedTargetRegressor
from ..metrics import uq_by_group, uq_report
from ..metrics._groups import samples_by_label
from ..metrics._validation import quantiles_of_samples, standardized_residuals

#: Training samples that are named beside a sample.
N_NEAREST = 3
#: Distance, in standard deviations of the target, up to which samples are the same: a
#: CIF has a few digits of a structure.
_SAME = 1e-4
#: Nominal coverages that a report judges.
COVERAGES = (0.5, 0.9, 0.95)


class Neighbour(NamedTuple):
    """A training sample: formula or index, target (or None), kernel's distance."""

    name: str
    target: float | None
    distance: float


@dataclass(kw_only=True)
class Assessment:
    """Predictions of n samples of a data set, and what is known of them.

    Parameters
    ----------
    positions : ndarray of shape (n,), int
        Positions in the data set of the samples with a prediction.
    prediction : Prediction
        Mean, std and distribution.
    ends : ndarray of shape (n, 2)
        Interval of the nominal coverage `coverage`.
    names : list of str
        Names of the samples.
    failures : list of (int, str, str)
        Position, name and reason of each other sample.
    y : ndarray of shape (n,) or None
        Targets.
    formulas, groups : list or None
        Formulas of structures, labels.
    score, rank : ndarray of shape (n,) or None
        Domain score, and its rank among the training samples.
    neighbours : list of list of Neighbour, or None
        Nearest training samples.
    regressor : estimator or None
        The regressor of this package inside `model`.
    figures : dict or None
        The report of `uq_report`.
    """

    model: object
    regressor: object
    n_samples: int
    positions: np.ndarray
    prediction: Prediction
    coverage: float
    ends: np.ndarray
    names: list
    failures: list = field(default_factory=list)
    y: np.ndarray | None = None
    formulas: list | None = None
    groups: list | None = None
    score: np.ndarray | None = None
    rank: np.ndarray | None = None
    neighbours: list | None = None
    figures: dict | None = None

    @property
    def mean(self):
        """Predicted means."""
        return self.prediction.mean

    @property
    def std(self):
        """Predicted standard deviations."""
        return self.prediction.std

    @property
    def n(self):
        """Number of predictions."""
        return len(self.names)

    @property
    def error(self):
        """Predicted minus observed."""
        return self.mean - self.y

    @property
    def z(self):
        """Observed minus predicted, over the std."""
        return standardized_residuals(self.y, self.mean, self.std)

    @property
    def outside(self):
        """Whether samples are outside the domain; None where it is unknown."""
        return None if self.rank is None else is_outside(self.rank)

    @property
    def n_repeated(self):
        """Number of samples that the model takes for a training sample."""
        return sum(near[0].distance < _SAME for near in self.neighbours or ())

    def by_group(self):
        """Return the table by group, the largest error first; None without groups."""
        if self.groups is None or self.y is None:
            return None
        return uq_by_group(
            self.y, self.mean, self.std, self.groups,
            quantiles=self.prediction.quantiles,
        )  # fmt: skip


def assess(
    model, X, y=None, *, coverage=0.95, groups=None, names=None, structures=None
):
    """Predict a data set and compare it with its targets; see `write_report`."""
    coverage = check_coverage(coverage)
    n, items = _count(X), _items(model, X, structures)
    if not n:
        raise ValueError("Got no samples, expected at least one.")
    y = _targets(y, n)
    names = _names(names, items, n)
    for name, values in {"groups": groups, "structures": structures}.items():
        if values is not None and _count(values) != n:
            raise ValueError(
                f"Got {name} of {_count(values)} samples, expected {n}: one for each."
            )
    whole = _one_output(predict_distribution(model, X))
    predicted = np.isfinite(whole.mean) & np.isfinite(whole.std)
    kept = predicted if y is None else predicted & np.isfinite(y)
    found = _Domain(model, X)
    failures = _failures(predicted, y, names, found)
    if not kept.any():
        reasons = "\n".join(f"  {name}: {why}" for _, name, why in failures[:5])
        raise ValueError(
            f"None of {n} samples has a prediction and a target:\n{reasons}"
        )
    positions = np.flatnonzero(kept)
    prediction = _of_samples(whole, positions)
    ends = quantiles_of(prediction, interval_levels(coverage))[:, :, 0]
    result = Assessment(
        model=model, regressor=found.regressor, n_samples=n, positions=positions,
        prediction=prediction, coverage=coverage, ends=ends,
        names=[names[i] for i in positions], failures=failures,
        y=None if y is None else y[positions],
        formulas=_formulas(found, items, positions),
    )  # fmt: skip
    result.score, result.rank, result.neighbours = found.of_samples(positions)
    if groups is not None:
        labels = groups.tolist() if hasattr(groups, "tolist") else list(groups)
        result.groups = [labels[i] for i in positions]
        samples_by_label(result.groups, len(positions))  # raises without any label
    if y is not None:
        result.figures = uq_report(
            result.y, *prediction[:2], **own_keywords(uq_report, prediction),
            coverages=sorted({*COVERAGES, coverage}), output_dict=True,
        )  # fmt: skip
    return result


class _Domain:
    """Samples as the regressor of this package inside a model encodes them."""

    def __init__(self, model, X):
        self.regressor = self.encoded = self.record = None
        try:
            self.regressor, X = unwrap_to(model, X, "domain_score")
        except TypeError:  # a regressor of others
            return
        self.in_units = not _has_transformed_target(model)
        self.encoded = self.regressor._encoder.encode(self.regressor, X)
        self.record = self.regressor._head.record  # None in files of old formats

    def of_samples(self, positions):
        """Return scores, ranks and nearest training samples of some samples."""
        if self.record is None:
            return None, None, None
        head = self.regressor._head
        scatter, every = self.encoded.scatter_rows, np.arange(self.encoded.n)
        score, rank = map(scatter, domain_scores(head, self.encoded))
        rows, distance, _ = nearest_samples(
            head, self.encoded, N_NEAREST, weighted=False
        )
        place = {p: k for k, p in enumerate(self.encoded.pick(every))}
        some = [place[p] for p in positions]
        neighbours = [
            [self._neighbour(*pair) for pair in zip(rows[k], distance[k], strict=True)]
            for k in some
        ]
        return score[positions], rank[positions], neighbours

    def _neighbour(self, row, distance):
        record = self.record
        name = f"no. {record.index[row]}"
        if record.formulas is not None:
            name = str(record.formulas[row])
        target = float(record.y[row, 0]) if self.in_units else None
        return Neighbour(name, target, float(distance))

    def formulas_of(self, positions):
        """Return formulas known from the features, or None."""
        if self.encoded is None or self.encoded.formulas is None:
            return None
        every = np.full(self.encoded.n, "", object)
        every[self.encoded.index] = self.encoded.formulas_of(slice(None))
        return [str(formula) for formula in every[positions]]

    def reason(self, position):
        """Return why a sample has no prediction."""
        error = self.encoded and self.encoded.errors.get(position)
        return " ".join(getattr(error, "reason", "no finite prediction").split())


def _has_transformed_target(model):
    """Return whether the regressor inside was fitted to a function of the target."""
    while hasattr(model, "_fitted_inner") or hasattr(model, "steps"):
        if isinstance(model, ProbTransformedTargetRegressor):
            return True
        model = model.steps[-1][1] if hasattr(model, "steps") else model._fitted_inner
        model = getattr(model, "best_estimator_", getattr(model, "estimator", model))
    return False


def _count(X):
    if hasattr(X, "shape"):
        return X.shape[0]
    if not hasattr(X, "__len__"):
        raise TypeError(
            f"Got X of type {type(X).__name__}, expected samples with a length. Make a "
            "list of them."
        )
    return len(X)


def _targets(y, n):
    """Return targets as float64 of shape (n,); a missing one is NaN."""
    if y is None:
        return None
    y = np.asarray(y, dtype=np.float64)
    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    if y.shape != (n,):
        raise ValueError(
            f"Got y of shape {y.shape}, expected ({n},): one target for each sample."
        )
    if not np.isfinite(y).any():
        raise ValueError(
            f"Got no finite target among {n}. Pass y=None for a report without errors."
        )
    return y


def _one_output(prediction):
    """Return a prediction of shape (n,); raise if it has several outputs."""
    mean, std = (np.asarray(part, dtype=np.float64) for part in prediction[:2])
    if mean.ndim == 2 and mean.shape[1] != 1:
        raise ValueError(
            f"Got a model of {mean.shape[1]} targets, expected one: a report is about "
            "one target. Fit a model to each."
        )
    log_density = prediction.log_density
    if log_density is not None and mean.ndim == 2:
        shape, inner = mean.shape, log_density

        def log_density(y):
            return np.ravel(inner(np.reshape(y, shape)))

    quantiles = prediction.quantiles
    if quantiles is not None:
        outer = prediction

        def quantiles(q):
            return quantiles_of(outer, np.asarray(q))[:, :, 0]

    return Prediction(mean.ravel(), std.ravel(), quantiles, log_density)


def _of_samples(whole, positions):
    """Return the prediction of some samples."""
    log_density = whole.log_density
    if log_density is not None:

        def log_density(y):
            every = whole.mean.copy()
            every[positions] = y
            return whole.log_density(every)[positions]

    return Prediction(
        whole.mean[positions], whole.std[positions],
        quantiles_of_samples(whole.quantiles, positions), log_density,
    )  # fmt: skip


def _failures(predicted, y, names, found):
    """Return position, name and reason of the samples that are left out."""
    failures = []
    for i, name in enumerate(names):
        reasons = [] if predicted[i] else [found.reason(i)]
        if y is not None and not np.isfinite(y[i]):
            reasons.append(f"the target is {y[i]}")
        if reasons:
            failures.append((i, name, "; ".join(reasons)))
    return failures


# --- names of samples -------------------------------------------------------------


def _items(model, X, structures):
    """Return the structures of samples as they were given, or None."""
    from .._structures.read import as_items

    if structures is not None:
        return list(as_items(structures))
    if getattr(X, "ndim", 1) == 2 and X.shape[1] != 1:
        return None
    items = list(as_items(X))
    return items if items and _is_structure(items[0], model) else None


def _is_structure(item, model):
    """Return whether a sample is a structure, or the text or path of one."""
    if isinstance(item, str):
        from .._structures.read import is_text

        known = is_text(item) or os.path.isfile(item)
        return known or not get_tags(model).input_tags.two_d_array
    kinds = isinstance(item, dict | os.PathLike)
    return kinds or any(hasattr(item, a) for a in ("cart_coords", "get_positions"))


def _names(names, items, n):
    """Return a name of each sample: as given, of its file, or its number from 0."""
    if names is not None:
        if _count(names) != n:
            raise ValueError(
                f"Got names of {_count(names)} samples, expected {n}: one for each."
            )
        return [str(name) for name in names]
    found = [f"no. {i}" for i in range(n)]
    for i, item in enumerate(items or ()):
        if isinstance(item, os.PathLike) or (
            isinstance(item, str) and "\n" not in item and item[:1] not in "{["
        ):
            found[i] = os.fspath(item)
    return found


def _formulas(found, items, positions):
    """Return the formulas of structures, "" for one that has none; None for others."""
    known = found.formulas_of(positions)
    if known is not None or items is None:
        return known
    from .._structures.read import as_structure

    formulas = []
    for i in positions:
        try:
            formulas.append(as_structure(items[i]).composition.reduced_formula)
        except Exception:  # of any reader; a formula is no file, a graph has none
            item = items[i]
            short = isinstance(item, str) and len(item) <= 40 and "\n" not in item
            formulas.append(item if short and not os.path.exists(item) else "")
    return formulas
