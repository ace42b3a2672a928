"""Return values of the data sets: scikit-learn's Bunch, or X and y."""

import numpy as np
from sklearn.utils import Bunch


def object_array(items):
    """Make an array (n,) of objects; ``np.array`` would split structures into sites."""
    items = list(items)
    return np.fromiter(items, dtype=object, count=len(items))


def make_bunch(
    data, target, *, name, target_names, as_frame, return_X_y, index=None, **more
):
    """Make a Bunch of one input and one or more targets.

    Parameters
    ----------
    data : ndarray of shape (n_samples,)
        Inputs.
    target : ndarray of shape (n_samples,) or (n_samples, n_targets)
        Targets.
    name : str
        Name of the input.
    target_names : list of str
        Names of the targets.
    as_frame, return_X_y : bool
        As in scikit-learn.
    index : array-like of shape (n_samples,), default=None
        Row labels of the frames.
    **more
        Further entries of the Bunch.

    Returns
    -------
    Bunch, or (data, target) if `return_X_y`
    """
    frame = None
    if as_frame:
        import pandas as pd

        columns = target if target.ndim == 2 else target[:, None]
        frame = pd.DataFrame({name: data}, index=index)
        for i, target_name in enumerate(target_names):
            frame[target_name] = columns[:, i]
        data = frame[[name]]
        target = frame[target_names if target.ndim == 2 else target_names[0]]
    if return_X_y:
        return data, target
    return Bunch(
        data=data,
        target=target,
        frame=frame,
        feature_names=[name],
        target_names=list(target_names),
        **more,
    )
