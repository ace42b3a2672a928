"""Bulk and shear moduli of binary compounds (Materials Project)."""

import gzip
import json

import numpy as np

from . import _cache
from ._bunch import make_bunch, object_array
from ._megnet_models import check_name

_PATH = "matcalc/mp-binary-pbe-elasticity-2025.1.json.gz"
_TARGETS = ("bulk_modulus_vrh", "shear_modulus_vrh")
_DESCR = """\
Elastic moduli of {n} binary compounds

data    pymatgen Structures
target  {targets}: Voigt-Reuss-Hill average by DFT (PBE), GPa

Materials Project (https://materialsproject.org, CC BY 4.0), as of January 2025,
through matcalc (https://github.com/materialsvirtuallab/matcalc, BSD-3-Clause licence).
"""


def fetch_elasticity(
    target="bulk_modulus_vrh",
    *,
    data_home=None,
    download_if_missing=True,
    return_X_y=False,
    as_frame=False,
):
    """Fetch binary crystals and their elastic moduli (GPa).

    Parameters
    ----------
    target : {"bulk_modulus_vrh", "shear_modulus_vrh"} or list, default=\
"bulk_modulus_vrh"
        Name of the target, or a list of names.
    data_home : path-like, default=None
        Data folder; see `get_data_home`.
    download_if_missing : bool, default=True
        Whether to download a missing file.
    return_X_y, as_frame : bool, default=False
        Whether to return ``(data, target)`` instead of a Bunch, and pandas frames,
        indexed by Materials Project id.

    Returns
    -------
    Bunch
        With entries

        data : ndarray of shape (3953,) of Structure
            Or a frame with the one column ``structure``.
        target : ndarray of shape (3953,) or (3953, n_targets), Series or DataFrame
            Moduli in GPa; two-dimensional if `target` is a list.
        frame : DataFrame or None
            Data and target together, if `as_frame`.
        mp_id, formula : ndarray of shape (3953,)
            Materials Project id and formula.
        feature_names, target_names : list of str
            Names of the columns.
        DESCR, filename : str
            Description and file.

    Raises
    ------
    ValueError
        If `target` is not, or does not list, names of moduli.
    OSError
        If the file is missing and cannot be downloaded.

    Notes
    -----
    All moduli are present and positive, from 0.16 to 474 GPa. Models usually predict
    their logarithm: ``np.log10(target)``.

    References
    ----------
    .. [1] M. de Jong et al., "Charting the complete elastic properties of inorganic
       crystalline compounds", Sci. Data 2, 150009 (2015), doi:10.1038/sdata.2015.9.

    Examples
    --------
    >>> from sklearn_unlocknn.datasets import fetch_elasticity
    >>> X, y = fetch_elasticity("shear_modulus_vrh", return_X_y=True)  # doctest: +SKIP
    >>> X.shape, y.shape  # doctest: +SKIP
    ((3953,), (3953,))
    """
    several = isinstance(target, list | tuple)
    names = list(target) if several else [target]
    for name in names or [target]:
        check_name("target", name, _TARGETS)
    (file,) = _cache.fetch_files(
        _PATH, data_home=data_home, download_if_missing=download_if_missing
    )
    from .._structures.read import as_structure

    with gzip.open(file, "rt", encoding="utf-8") as stream:
        rows = json.load(stream)
    y = np.array([[float(row[name]) for name in names] for row in rows])
    mp_id = np.array([row["mp_id"] for row in rows])
    return make_bunch(
        object_array(as_structure(row["structure"]) for row in rows),
        y if several else y[:, 0],
        name="structure",
        target_names=names,
        as_frame=as_frame,
        return_X_y=return_X_y,
        index=mp_id,
        mp_id=mp_id,
        formula=np.array([row["formula"] for row in rows]),
        DESCR=_DESCR.format(n=len(rows), targets=", ".join(names)),
        filename=str(file),
    )
