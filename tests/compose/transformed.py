"""Regressors of transformed targets with given predictions."""

import numpy as np
from predictions import Given

from sklearn_unlocknn.compose import ProbTransformedTargetRegressor

LOG = {"func": np.log, "inverse_func": np.exp}


def given(y, **params):
    """Fit to y a regressor that predicts, in transformed units, the columns of X."""
    X = np.zeros((len(y), 2 * (y.shape[1] if np.ndim(y) == 2 else 1)))
    return ProbTransformedTargetRegressor(Given(), **params).fit(X, y)
