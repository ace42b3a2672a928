"""What a head sees of rows."""

import warnings
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np


class Latent(NamedTuple):
    """What the process sees of n rows.

    Attributes
    ----------
    features : ndarray or memmap of shape (n, d)
        Rows of NaN are rows that could not be had: `fit` leaves them out, `predict`
        gives NaN for them.
    output : ndarray of shape (n, k) or None
        The network's own output, in target units, where it is the prior mean.
    unit : ndarray of shape (n, 1) or None
        What a row's target is counted in, where that differs from row to row: the
        number of atoms for an extensive property. Mean and standard deviation of
        the process scale by it.
    errors : mapping of int to StructureError, or None
        Of rows that could not be had, by their number: why, where that is known.
    inputs : object
        What the network saw of the training rows, where fine-tuning needs it again.
    """

    features: np.ndarray
    output: np.ndarray | None = None
    unit: np.ndarray | None = None
    errors: Mapping | None = None
    inputs: object = None

    @property
    def known(self):
        """Boolean mask of the rows that could be had."""
        from .rows import known_rows

        return known_rows(self.features)

    def take(self, known):
        """Return the rows of a mask, and no more; itself if these are all."""
        if known.all():
            return self
        arrays = (self.features, self.output, self.unit)
        return Latent(*(None if a is None else a[known] for a in arrays))


def check_known(latent, least, stacklevel):
    """Warn of rows that could not be had, and say why the first could not.

    Parameters
    ----------
    latent : Latent
        All rows.
    least : int
        Rows that must be left.
    stacklevel : int
        How far the user's call is from the caller's.

    Returns
    -------
    ndarray of bool of shape (n,)
        Which rows could be had.
    """
    known = latent.known
    if known.all():
        return known
    first = int(np.argmin(known))
    reason = (latent.errors or {}).get(first, f"row {first}")
    if known.sum() < least:
        raise ValueError(
            f"None of the {len(known)} rows could be had, so nothing is left to fit. "
            f"The first: {reason}"
        )
    warnings.warn(
        f"{np.sum(~known)} of {len(known)} rows could not be had and are left out of "
        f"the fit. The first: {reason}",
        UserWarning,
        stacklevel=stacklevel + 2,
    )
    return known


def spread(values, known, n_axes=1):
    """Put the values of known rows in their places, and NaN in the others.

    Parameters
    ----------
    values : ndarray of shape (n_known, ...)
        Of the rows that could be had.
    known : ndarray of bool of shape (n,)
        Which these are.
    n_axes : int, default=1
        How many of the first axes are rows: two for a covariance.

    Returns
    -------
    ndarray of shape (n, ...)
    """
    if known.all():
        return values
    result = np.full((len(known),) * n_axes + values.shape[n_axes:], np.nan)
    result[np.ix_(*[known] * n_axes)] = values
    return result


def in_units(y, latent):
    """Return what the process models: what the network leaves of y, per unit."""
    if latent.output is not None:
        y = y - matching(latent.output, y)
    return y if latent.unit is None else y / latent.unit


def log_units(latent, weights, kept):
    """Return the weighted sum of log units, by which densities per unit differ."""
    if latent.unit is None:
        return 0.0
    return float(weights[kept] @ np.log(latent.unit[kept, 0]))


def matching(output, y):
    """Return the network's output where it has one column a target."""
    if output.shape[1] != y.shape[1]:
        raise ValueError(
            f'Got mean="network" with a network of {output.shape[1]} outputs for y of '
            f"{y.shape[1]}, expected as many. Pass a network that predicts y, or "
            'mean="constant".'
        )
    return output
