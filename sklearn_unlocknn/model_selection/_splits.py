"""Splits that hold out what the training samples do not have."""

import numbers

import numpy as np
from sklearn.model_selection import BaseCrossValidator
from sklearn.utils.validation import _num_samples

from ..metrics import group_labels
from ..metrics._groups import samples_by_label

_ENDS = ("both", "low", "high")


class LeaveOneLabelOut(BaseCrossValidator):
    """Hold out all samples of a label, of which a sample may have several.

    All compounds of an element, for instance: each is a sample of several elements, and
    in the test set of each of them.

    Parameters
    ----------
    by : {"element", "chemical_system", "space_group"} or None, default=None
        Label the structures in X by this, as
        :func:`~sklearn_unlocknn.metrics.group_labels` does. None takes the labels from
        `groups`.
    labels : list or None, default=None
        Labels to hold out, in this order. None is all with `min_count` samples, sorted
        as text.
    min_count : int, default=1
        Smallest number of samples of a label, if `labels` is None.

    See Also
    --------
    LeaveExtremesOut : The highest and the lowest targets.
    sklearn.model_selection.LeaveOneGroupOut : For labels that exclude each other.
    sklearn_unlocknn.metrics.uq_by_group : Table of predictions by label.

    Notes
    -----
    Test sets overlap, so :func:`~sklearn.model_selection.cross_validate` can use this
    and ``cross_val_predict`` cannot. Samples without a label are in all training sets.
    Where each sample has one label, ``GroupKFold`` and ``LeaveOneGroupOut`` of
    scikit-learn serve as well, so for clusters of the features with
    ``groups=KMeans(10).fit_predict(features)``. The idea of such splits is that of
    [1]_ and [2]_.

    References
    ----------
    .. [1] B. Meredig et al., "Can machine learning identify the next high-temperature
       superconductor? Examining extrapolation performance for materials discovery",
       Mol. Syst. Des. Eng. 3, 819 (2018), doi:10.1039/C8ME00012C.
    .. [2] M. Witman, P. Schindler, "MatFold: systematic insights into materials
       discovery models' performance through standardized cross-validation protocols",
       Digital Discovery 4, 625 (2025), doi:10.1039/D4DD00250D.

    Examples
    --------
    >>> from sklearn_unlocknn.model_selection import LeaveOneLabelOut
    >>> formulas = ["NaCl", "KCl", "Na2O", "K2O"]
    >>> cv = LeaveOneLabelOut("element", labels=["O", "Na"])
    >>> for train, test in cv.split(formulas):
    ...     print(train, test)
    [0 1] [2 3]
    [1 3] [0 2]
    """

    # scikit-learn's metadata routing: `split` takes groups
    __metadata_request__split = {"groups": True}

    def __init__(self, by=None, *, labels=None, min_count=1):
        self.by = by
        self.labels = labels
        self.min_count = min_count

    def fold_labels(self, X=None, y=None, groups=None):
        """Return the label that each fold holds out.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...) or list of Structure, default=None
            Samples, to be labelled where `by` is given.
        y : object, default=None
            Not used.
        groups : list of set or array-like of shape (n_samples,), default=None
            The label of each sample; or a set, list or tuple of them.

        Returns
        -------
        labels : list
            In the order of the folds.

        Raises
        ------
        ValueError
            As `split`.
        """
        return list(self._folds(X, groups))

    def split(self, X, y=None, groups=None):
        """Yield the training and test samples of each fold.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...), or list of Structure
            Samples, to be labelled where `by` is given.
        y : object, default=None
            Not used.
        groups : list of set or array-like of shape (n_samples,), default=None
            The label of each sample; or a set, list or tuple of them. Only without
            `by`.

        Yields
        ------
        train, test : ndarray of int
            Samples without and with the label.

        Raises
        ------
        ValueError
            If there are no labels, a label has no sample, or all samples have it.
        """
        n = _num_samples(X)
        for test in self._folds(X, groups).values():
            yield np.setdiff1d(np.arange(n), test), test

    def get_n_splits(self, X=None, y=None, groups=None):
        """Return the number of folds, which are as many as labels.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...) or list of Structure, default=None
            As in `split`; not needed if `labels` is given.
        y : object, default=None
            Not used.
        groups : list of set or array-like of shape (n_samples,), default=None
            As in `split`; not needed if `labels` is given.

        Returns
        -------
        n_splits : int
        """
        if self.labels is not None:
            return len(self.labels)
        return len(self._folds(X, groups))

    def _folds(self, X, groups):
        """Return the samples of each label to hold out."""
        if self.by is not None:
            groups = group_labels(X, self.by, on_error="none")
        elif groups is None:
            raise ValueError(
                "Got groups=None and by=None, expected labels: pass `groups`, a label "
                'or a set of labels for each sample, or by="element" for structures.'
            )
        n = len(groups) if X is None else _num_samples(X)
        found, _ = samples_by_label(groups, n)
        labels = self.labels
        if labels is None:
            labels = [
                label
                for label in sorted(found, key=str)
                if self.min_count <= len(found[label]) < n
            ]
            if not labels:
                raise ValueError(
                    f"Got {len(found)} labels, none of them with min_count="
                    f"{self.min_count} samples or more that is not the label of all "
                    f"{n} samples. Lower min_count, or choose other labels."
                )
        for label in labels:
            count = len(found.get(label, ()))
            if not 0 < count < n:
                raise ValueError(
                    f"Got the label {label!r} to hold out, which {count} of {n} "
                    "samples have, expected some of them. Labels are "
                    f"{sorted(map(str, found))[:20]}."
                )
        return {label: np.array(found[label]) for label in labels}


class LeaveExtremesOut(BaseCrossValidator):
    """Hold out the samples of the lowest and of the highest targets.

    Shows whether a model that has seen no such target ranks such samples, and whether
    its error bars widen there: the case of a search for the best material.

    Parameters
    ----------
    share : float, default=0.1
        Share of the samples to hold out at each end, in (0, 1).
    ends : {"both", "low", "high"}, default="both"
        The fold of the lowest targets, that of the highest, or both in this order.

    See Also
    --------
    LeaveOneLabelOut : All samples of an element, or of another label.

    References
    ----------
    .. [1] Z. Xiong et al., "Evaluating explorative prediction power of machine learning
       algorithms for materials discovery using k-fold forward cross-validation",
       Comput. Mater. Sci. 171, 109203 (2020), doi:10.1016/j.commatsci.2019.109203.

    Examples
    --------
    >>> from sklearn_unlocknn.model_selection import LeaveExtremesOut
    >>> y = [3.0, 1.0, 5.0, 2.0, 4.0]
    >>> for train, test in LeaveExtremesOut(0.2).split(y, y):
    ...     print(train, test)
    [0 2 3 4] [1]
    [0 1 3 4] [2]
    """

    def __init__(self, share=0.1, *, ends="both"):
        self.share = share
        self.ends = ends

    def split(self, X, y=None, groups=None):
        """Yield the training and test samples of each fold.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples.
        y : array-like of shape (n_samples,), default=None
            Targets; needed.
        groups : object, default=None
            Not used.

        Yields
        ------
        train, test : ndarray of int
            Samples within the rest and at the end of the targets.

        Raises
        ------
        ValueError
            If a parameter is not valid, or `y` is not one finite target a sample.
        """
        n_folds = self.get_n_splits()
        if not isinstance(self.share, numbers.Real) or not 0 < self.share < 1:
            raise ValueError(f"Got share={self.share!r}, expected a number in (0, 1).")
        n = _num_samples(X)
        y = np.asarray(y, dtype=float)
        if y.shape != (n,) or not np.isfinite(y).all():
            raise ValueError(
                f"Got y of shape {y.shape} for {n} samples, expected one finite target "
                "a sample."
            )
        count = int(np.ceil(self.share * n))
        if count >= n:
            raise ValueError(
                f"Got share={self.share} of {n} samples, which leaves none to fit."
            )
        order = np.argsort(y, kind="stable")
        tests = {"low": order[:count], "high": order[n - count :]}
        tests = list(tests.values()) if n_folds == 2 else [tests[self.ends]]
        for test in tests:
            yield np.setdiff1d(np.arange(n), test), np.sort(test)

    def get_n_splits(self, X=None, y=None, groups=None):
        """Return the number of folds: one for each end.

        Parameters
        ----------
        X : object, default=None
            Not used.
        y : object, default=None
            Not used.
        groups : object, default=None
            Not used.

        Returns
        -------
        n_splits : int

        Raises
        ------
        ValueError
            If `ends` is not valid.
        """
        if self.ends not in _ENDS:
            raise ValueError(f"Got ends={self.ends!r}, expected one of {_ENDS}.")
        return 2 if self.ends == "both" else 1
