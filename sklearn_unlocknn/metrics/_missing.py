"""Rows without a prediction: structures that failed are predicted as NaN."""

import numpy as np

from ._validation import check_predictions, check_single_output


def drop_missing(y_true, y_pred, y_std, what):
    """Validate predictions of one output and leave out those that are NaN.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or None
        Observed targets, in target units; None where they are not needed.
    y_pred, y_std : array-like of shape (n_samples,)
        Predicted means and standard deviations, in target units. NaN in either: the
        row has no prediction.
    what : str
        What they are for, as the subject of an error.

    Returns
    -------
    y_true, y_pred, y_std : ndarray of shape (n_predicted,)
        The rows with a prediction; `y_true` is `y_pred` where None was given.
    present : ndarray of shape (n_samples,), dtype bool
        Which rows those are.

    Raises
    ------
    ValueError
        When shapes differ, there are several outputs, no row has a prediction,
        `y_true` is NaN or anything infinite, or a std is negative.
    """
    arrays = [np.asarray(y_pred if y_true is None else y_true), y_pred, y_std]
    arrays = [np.asarray(values) for values in arrays]
    present = np.ones(len(arrays[1]) if arrays[1].ndim else 0, dtype=bool)
    # Arrays that do not fit together go on as they are: the check says why.
    if len({values.shape for values in arrays}) == 1 and len(present):
        missing = np.isnan(np.asarray(arrays[1], dtype=np.float64))
        missing |= np.isnan(np.asarray(arrays[2], dtype=np.float64))
        present = ~missing.reshape(len(missing), -1).any(axis=1)
        if not present.any():
            raise ValueError(
                f"Got NaN for all {len(present)} predictions, expected at least one "
                f"that is not for {what}."
            )
        arrays = [values[present] for values in arrays]
    y_true, y_pred, y_std, _ = check_predictions(*arrays)
    check_single_output(y_true, what)
    return y_true[:, 0], y_pred[:, 0], y_std[:, 0], present


def quantiles_of_rows(quantiles, rows):
    """Return the function of levels for some of its rows; None stays None."""
    if not callable(quantiles):
        return quantiles
    return lambda q: np.asarray(quantiles(q))[rows]
