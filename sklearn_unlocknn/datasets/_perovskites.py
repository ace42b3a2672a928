"""Heats of formation of cubic perovskites (Castelli et al. 2012)."""

import csv

import numpy as np

from . import _cache
from ._bunch import make_bunch, object_array
from ._megnet_models import check_name

_SUBSETS = ("val", "test")
_DESCR = """\
Heats of formation of cubic perovskites ABX3, subset {subset!r}: {n} samples

data    crystals of five atoms: {kind}
target  heat_all: heat of formation by DFT, eV per unit-cell entry

I. E. Castelli et al., Energy Environ. Sci. 5, 9034 (2012), doi:10.1039/c2ee22341d,
in the split of CDVAE (https://github.com/txie-93/cdvae, MIT licence).
"""


def fetch_perovskites(
    subset="val",
    *,
    as_cif=False,
    data_home=None,
    download_if_missing=True,
    return_X_y=False,
    as_frame=False,
):
    """Fetch cubic perovskites and their heats of formation (eV per unit-cell entry).

    Each subset has about 3800 of the 18928 compounds of Castelli et al. [1]_, in cells
    of five atoms; about half of them are unstable.

    Parameters
    ----------
    subset : {"val", "test"}, default="val"
        Validation set (3787 samples) or test set of CDVAE's split.
    as_cif : bool, default=False
        Whether to return the text of CIF files instead of Structures. Parsing 3787
        files takes about 10 s; estimators take either kind, and parse text in parallel
        with their ``n_jobs``.
    data_home : path-like, default=None
        Data folder; see `get_data_home`.
    download_if_missing : bool, default=True
        Whether to download a missing file.
    return_X_y, as_frame : bool, default=False
        Whether to return ``(data, target)`` instead of a Bunch, and pandas frames,
        indexed by material id.

    Returns
    -------
    Bunch
        With entries

        data : ndarray of shape (n_samples,) of Structure (or str)
            Or a frame with the one column ``structure``.
        target : ndarray of shape (n_samples,) or Series
            Heat of formation in eV per unit-cell entry.
        frame : DataFrame or None
            Data and target together, if `as_frame`.
        material_id, formula : ndarray of shape (n_samples,)
            Number and formula of each sample in the source.
        feature_names, target_names : list of str
            Names of the columns.
        DESCR, filename : str
            Description and file.

    Raises
    ------
    ValueError
        If `subset` is neither "val" nor "test".
    OSError
        If the file is missing and cannot be downloaded.

    References
    ----------
    .. [1] I. E. Castelli et al., "New cubic perovskites for one- and two-photon water
       splitting using the computational materials repository", Energy Environ. Sci. 5,
       9034 (2012), doi:10.1039/c2ee22341d.

    Examples
    --------
    >>> from sklearn_unlocknn.datasets import fetch_perovskites
    >>> X, y = fetch_perovskites(return_X_y=True)  # doctest: +SKIP
    >>> X.shape, y.shape  # doctest: +SKIP
    ((3787,), (3787,))
    """
    check_name("subset", subset, _SUBSETS)
    (file,) = _cache.fetch_files(
        f"perov_5/{subset}.csv",
        data_home=data_home,
        download_if_missing=download_if_missing,
    )
    with open(file, newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    cifs = [row["cif"] for row in rows]
    material_id = np.array([int(row["material_id"]) for row in rows])
    return make_bunch(
        object_array(cifs if as_cif else _read_cifs(cifs)),
        np.array([float(row["heat_all"]) for row in rows]),
        name="structure",
        target_names=["heat_all"],
        as_frame=as_frame,
        return_X_y=return_X_y,
        index=material_id,
        material_id=material_id,
        formula=np.array([row["formula"] for row in rows]),
        DESCR=_DESCR.format(
            subset=subset,
            n=len(rows),
            kind="text of a CIF file" if as_cif else "pymatgen Structure",
        ),
        filename=str(file),
    )


def _read_cifs(cifs):
    from .._structures.read import as_structure

    return [as_structure(cif) for cif in cifs]
