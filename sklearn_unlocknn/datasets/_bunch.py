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
    """Make a Bunch of inputs and targets, or ``(data, target)``.

    `data` is of shape (n_samples,) with a string as its `name`, or (n_samples,
    n_features) with a list of names; `target` of shape (n_samples,) or (n_samples,
    n_targets). `index` labels the rows of frames; `more` are further entries.
    """
    names = [name] if isinstance(name, str) else list(name)
    frame = None
    if as_frame:
        import pandas as pd

        columns = target if target.ndim == 2 else target[:, None]
        inputs = data[:, None] if data.ndim == 1 else data
        frame = pd.DataFrame(dict(zip(names, inputs.T, strict=True)), index=index)
        for i, target_name in enumerate(target_names):
            frame[target_name] = columns[:, i]
        data = frame[names]
        target = frame[target_names if target.ndim == 2 else target_names[0]]
    if return_X_y:
        return data, target
    return Bunch(
        data=data,
        target=target,
        frame=frame,
        feature_names=names,
        target_names=list(target_names),
        **more,
    )
