"""Test the splits that leave out a label or the extremes of the target."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn import config_context
from sklearn.linear_model import BayesianRidge
from sklearn.model_selection import LeaveOneGroupOut, cross_validate

from sklearn_unlocknn.datasets import make_ionic_crystals
from sklearn_unlocknn.metrics import group_labels, prob_scoring
from sklearn_unlocknn.model_selection import LeaveExtremesOut, LeaveOneLabelOut

RNG = np.random.default_rng(0)
X = RNG.normal(size=(30, 2))
y = X[:, 0] + 0.1 * RNG.normal(size=30)
LABELS = [{"a", "b"}, {"b"}, None, {"c"}, {"a", "c"}] * 6


def test_each_label_is_held_out_with_all_its_samples():
    cv = LeaveOneLabelOut()
    folds = list(cv.split(X, groups=LABELS))
    assert cv.fold_labels(X, groups=LABELS) == ["a", "b", "c"]
    assert cv.get_n_splits(X, groups=LABELS) == len(folds) == 3
    for label, (train, test) in zip("abc", folds, strict=True):
        has = np.array([bool(labels) and label in labels for labels in LABELS])
        assert_array_equal(test, np.flatnonzero(has))
        assert_array_equal(train, np.flatnonzero(~has))


def test_labels_that_exclude_each_other_are_scikit_learns_groups():
    groups = RNG.integers(0, 5, 30)
    ours = LeaveOneLabelOut().split(X, groups=groups)
    theirs = LeaveOneGroupOut().split(X, groups=groups)
    for one, other in zip(ours, theirs, strict=True):
        for part, want in zip(one, other, strict=True):
            assert_array_equal(part, want)


@pytest.mark.parametrize("by", ["element", "chemical_system", "space_group"])
def test_structures_are_labelled_by_themselves(by):
    crystals = list(make_ionic_crystals(20, random_state=0).data)
    cv = LeaveOneLabelOut(by, min_count=2)
    labels = group_labels(crystals, by)
    for label, (train, test) in zip(
        cv.fold_labels(crystals), cv.split(crystals), strict=True
    ):
        has = [label in own if by == "element" else label == own for own in labels]
        assert_array_equal(test, np.flatnonzero(has))
        assert len(test) >= 2
        assert len(train) + len(test) == 20


def test_chosen_labels_are_held_out_in_their_order():
    cv = LeaveOneLabelOut(labels=["c", "a"])
    assert cv.get_n_splits() == 2
    assert cv.fold_labels(X, groups=LABELS) == ["c", "a"]
    assert [len(test) for _, test in cv.split(X, groups=LABELS)] == [12, 12]
    assert LeaveOneLabelOut(min_count=13).fold_labels(
        X, groups=[*LABELS[:-1], {"b"}]
    ) == ["b"]


def test_errors_of_labels():
    cases = [
        (LeaveOneLabelOut(), None, "groups=None and by=None"),
        (
            LeaveOneLabelOut(labels=["z"]),
            LABELS,
            "label 'z' to hold out, which 0 of 30",
        ),
        (LeaveOneLabelOut(labels=["k"]), ["k"] * 30, "which 30 of 30"),
        (LeaveOneLabelOut(min_count=20), LABELS, "min_count=20"),
        (LeaveOneLabelOut(), ["k"] * 30, "not the label of all"),
        (LeaveOneLabelOut(), LABELS[:4], "groups of 4 samples, expected 30"),
        (LeaveOneLabelOut("colour"), None, "by='colour'"),
    ]
    for cv, groups, message in cases:
        with pytest.raises(ValueError, match=message):
            list(cv.split(X, groups=groups))


def test_scikit_learn_scores_the_folds():
    scores = cross_validate(
        BayesianRidge(), X, y, groups=LABELS, cv=LeaveOneLabelOut(),
        scoring=prob_scoring(["neg_nll"]),
    )  # fmt: skip
    assert scores["test_neg_nll"].shape == (3,)
    with config_context(enable_metadata_routing=True):
        routed = cross_validate(
            BayesianRidge(), X, y, params={"groups": LABELS}, cv=LeaveOneLabelOut(),
            scoring=prob_scoring(["neg_nll"]),
        )  # fmt: skip
    assert_array_equal(routed["test_neg_nll"], scores["test_neg_nll"])


def test_extremes_are_the_lowest_and_the_highest_targets():
    (low_train, low), (high_train, high) = LeaveExtremesOut(0.1).split(X, y)
    assert_array_equal(np.sort(y[low]), np.sort(y)[:3])
    assert_array_equal(np.sort(y[high]), np.sort(y)[-3:])
    assert_array_equal(np.sort(np.append(low, low_train)), np.arange(30))
    assert_array_equal(np.sort(np.append(high, high_train)), np.arange(30))
    for ends, want in (("low", low), ("high", high)):
        cv = LeaveExtremesOut(0.1, ends=ends)
        ((_, test),) = cv.split(X, y)
        assert_array_equal(test, want)
        assert cv.get_n_splits() == 1
    assert LeaveExtremesOut().get_n_splits(X, y) == 2
    scores = cross_validate(BayesianRidge(), X, y, cv=LeaveExtremesOut(0.2))
    assert scores["test_score"].shape == (2,)


def test_errors_of_extremes():
    cases = [
        (LeaveExtremesOut(0.0), y, "share=0.0"),
        (LeaveExtremesOut("all"), y, "share='all'"),
        (LeaveExtremesOut(0.99), y, "leaves none to fit"),
        (LeaveExtremesOut(ends="top"), y, "ends='top'"),
        (LeaveExtremesOut(), np.column_stack([y, y]), r"y of shape \(30, 2\)"),
        (LeaveExtremesOut(), np.where(y > 0, y, np.nan), "one finite target"),
    ]
    for cv, target, message in cases:
        with pytest.raises(ValueError, match=message):
            list(cv.split(X, target))
