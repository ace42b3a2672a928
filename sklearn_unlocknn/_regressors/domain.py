"""Domain score and nearest training samples of a fitted regressor."""

import numbers

import numpy as np
from sklearn.utils.validation import check_is_fitted

from .._gp.domain import domain_scores, nearest_samples


class DomainMixin:
    """Score the domain of a fitted head and list its training samples."""

    def domain_score(self, X, return_rank=False):
        r"""Score how well the training samples determine the target of new samples.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or as in the class
            Samples to score.
        return_rank : bool, default=False
            Also return the rank among the training samples.

        Returns
        -------
        score : ndarray of shape (n_samples,)
            In [0, 1]: 1 where the target is known without error, .5 where the error is
            expected to be that of predicting the mean of the training targets, near 0
            where it may be far larger. NaN for a sample without features.
        rank : ndarray of shape (n_samples,)
            Share of the training samples, each left out, whose score is not higher. A
            sample with a rank below .05 is harder to predict than 95 % of them:
            outside the domain of the training data.

        See Also
        --------
        nearest_training : Training samples that are nearest to new ones.
        sklearn_unlocknn.prediction.domain_score : The same of a Pipeline or a search.
        sklearn_unlocknn.metrics.large_error_auc : How well a score finds large errors.

        Notes
        -----
        With the variance of a new observation :math:`\sigma^2(x)`, noise included, and
        the variance of the training targets :math:`\sigma_y^2`,

        .. math::
            \frac{\sigma_y^2}{\sigma_y^2 + c(x) \, \sigma^2(x)}, \quad
            c(x) = \frac{1}{2} + \frac{1}{60} \sum_{i=1}^{30} z_i^2,

        where :math:`z_i` are the errors of the 30 nearest training samples
        in the kernel's metric, each predicted from all others with the same
        hyperparameters [1]_, over their standard deviations: where neighbours are
        predicted worse than their error bars state, the score is lower. The
        standard deviation alone misses that: on bulk moduli of the compounds of an
        element that the training data lack it finds errors beyond three times the
        median with an AUC of .78, the score with .80 (``benchmarks/RESULTS.md``).

        The training samples are all of an exact GP, one near each inducing point and
        500 others of a sparse one; 500 determine the rank. With ``mean="network"``
        targets are residuals of the network, and with an extensive network they are per
        atom.

        References
        ----------
        .. [1] C. Rasmussen, C. Williams, "Gaussian processes for machine learning", MIT
           Press 2006, section 5.4.2.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn_unlocknn import VGPRegressor
        >>> X = np.linspace(0, 6, 60)[:, None]
        >>> model = VGPRegressor("rbf", random_state=0).fit(X, np.sin(X[:, 0]))
        >>> score, rank = model.domain_score([[3.03], [60.0]], return_rank=True)
        >>> score.round(1), rank < 0.05
        (array([1. , 0.5]), array([False,  True]))
        """
        self._check_recorded()
        encoded = self._encoder.encode(self, X)
        score, rank = map(encoded.scatter_rows, domain_scores(self._head, encoded))
        return (score, rank) if return_rank else score

    def nearest_training(self, X, n_neighbors=5):
        r"""List the training samples that are nearest to new ones.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or as in the class
            Samples to look up.
        n_neighbors : int, default=5
            Number of training samples for each, at most those that the model keeps.

        Returns
        -------
        table : DataFrame
            A row for each sample and neighbour, the nearest first. Samples without
            features have none. The columns are

            sample : int
                Position in X.
            rank : int
                1 for the nearest training sample.
            index : int
                Position of the training sample in X of :meth:`fit`; samples of
                :meth:`partial_fit` are counted on from there.
            distance : float
                :math:`\sqrt{k(x, x) + k(z, z) - 2 k(x, z)}`, the prior standard
                deviation of the difference of the function between the two, in
                standard deviations of the target (``normalize_y=True``).
            weight : float
                Derivative of the predicted mean by the training target, both per atom
                where the network is extensive. With a constant prior mean the weights
                of all training samples add up to 1. NaN where ``n_neighbors_`` is not
                None.
            target : float
                Training target, in target units; "target_0", "target_1", ... where
                there are several.
            formula : str
                Reduced formula, for structures whose features hold the element
                fractions, as by default.

        Raises
        ------
        ValueError
            If ``n_neighbors`` is not a positive int.

        See Also
        --------
        domain_score : How well the training samples determine the target.
        sklearn_unlocknn.prediction.nearest_training : The same of a Pipeline or a
            search.

        Notes
        -----
        An exact GP keeps all training samples, also those that repeat. A sparse one
        keeps one near each inducing point and 500 others: samples that it does not keep
        may be nearer, and a weight is that of the single sample.
        :meth:`partial_fit` adds samples up to 1000 in all, or the number of inducing
        points, and to an exact GP all that do not repeat others.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn_unlocknn import VGPRegressor
        >>> X = np.linspace(0, 6, 13)[:, None]
        >>> model = VGPRegressor("rbf", random_state=0).fit(X, np.sin(X[:, 0]))
        >>> table = model.nearest_training([[3.1]], n_neighbors=2)
        >>> table[["sample", "rank", "index", "target"]].round(2)
           sample  rank  index  target
        0       0     1      6    0.14
        1       0     2      7   -0.35
        """
        import pandas as pd

        whole = isinstance(n_neighbors, numbers.Integral)
        if not whole or isinstance(n_neighbors, bool) or n_neighbors < 1:
            raise ValueError(
                f"Got n_neighbors={n_neighbors!r}, expected an int of at least 1."
            )
        self._check_recorded()
        encoded = self._encoder.encode(self, X)
        head = self._head
        rows, distance, weight = nearest_samples(head, encoded, n_neighbors)
        n, k = rows.shape
        chosen, record = rows.ravel(), head.record
        columns = {
            "sample": np.repeat(encoded.index, k),
            "rank": np.tile(np.arange(1, k + 1), n),
            "index": record.index[chosen],
            "distance": distance.ravel(),
            "weight": weight.ravel(),
        }
        for j, values in enumerate(record.y[chosen].T):
            columns["target" if head.one_output else f"target_{j}"] = values
        if record.formulas is not None:
            columns["formula"] = record.formulas[chosen].astype(object)
        return pd.DataFrame(columns)

    def _check_recorded(self):
        """Raise unless the model keeps training samples."""
        check_is_fitted(self)
        if self._head.record is None:
            raise ValueError(
                "Got a model of a file of format number 1 or 2, which keeps no "
                "training samples. Fit it again to know its domain."
            )
