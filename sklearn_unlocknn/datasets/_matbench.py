"""The 13 tasks of Matbench v0.1 and their five folds."""

import gzip
import json
import math

import numpy as np
from sklearn.model_selection import KFold, StratifiedKFold

from . import _cache
from ._bunch import make_bunch, object_array
from ._megnet_models import check_name

_INPUTS = ("structure", "composition")

#: Task -> target and its units.
MATBENCH_TASKS = {
    "dielectric": "refractive index (no unit)",
    "expt_gap": "measured band gap, eV",
    "expt_is_metal": "whether it is a metal by experiment",
    "glass": "whether it forms a metallic glass",
    "jdft2d": "exfoliation energy, meV/atom",
    "log_gvrh": "log10 of the shear modulus (VRH) in GPa",
    "log_kvrh": "log10 of the bulk modulus (VRH) in GPa",
    "mp_e_form": "formation energy, eV/atom",
    "mp_gap": "PBE band gap, eV",
    "mp_is_metal": "whether it is a metal by PBE",
    "perovskites": "heat of formation, eV/unit cell",
    "phonons": "frequency of the last peak of the phonon density of states, 1/cm",
    "steels": "yield strength, MPa",
}
_DESCR = """\
Matbench v0.1, {name}: {n} samples

data    {kind}
target  {target}: {meaning}

A. Dunn et al., npj Comput. Mater. 6, 138 (2020), doi:10.1038/s41524-020-00406-3.
Folds of all published results: matbench_folds(target).
"""


def fetch_matbench(
    name,
    *,
    data_home=None,
    download_if_missing=True,
    return_X_y=False,
    as_frame=False,
):
    """Fetch one of the 13 tasks of Matbench v0.1.

    Parameters
    ----------
    name : str
        The task, with or without ``"matbench_"`` before it: dielectric, expt_gap,
        expt_is_metal, glass, jdft2d, log_gvrh, log_kvrh, mp_e_form, mp_gap,
        mp_is_metal, perovskites, phonons or steels.
    data_home : path-like, default=None
        Data folder; see `get_data_home`.
    download_if_missing : bool, default=True
        Whether to download a missing file.
    return_X_y, as_frame : bool, default=False
        Whether to return ``(data, target)`` instead of a Bunch, and pandas frames,
        indexed by Matbench id (mb-phonons-0001).

    Returns
    -------
    Bunch
        With entries

        data : ndarray of shape (n_samples,) of Structure or str
            Structures, or compositions as text (expt_gap, expt_is_metal, glass and
            steels). Or a frame with the one column ``structure`` or ``composition``.
        target : ndarray of shape (n_samples,) or Series
            Numbers, or bool for a classification; DESCR has the units.
        frame : DataFrame or None
            Data and target together, if `as_frame`.
        mb_id : ndarray of shape (n_samples,)
            Matbench's id of each sample.
        feature_names, target_names : list of str
            Names of the columns.
        DESCR, filename : str
            Description and file.

    Raises
    ------
    ValueError
        If there is no such task, or the file does not have its two columns, the number
        of its rows or their order.
    OSError
        If the file is missing and cannot be downloaded.

    See Also
    --------
    matbench_folds : The five folds of the benchmark.

    Notes
    -----
    Structures take about 0.5 kB a site: reading mp_e_form, mp_gap and mp_is_metal, of
    more than 100,000 structures each, takes minutes and about 3 GB of memory.

    References
    ----------
    .. [1] A. Dunn et al., "Benchmarking materials property prediction methods: the
       Matbench test set and Automatminer reference algorithm", npj Comput. Mater. 6,
       138 (2020), doi:10.1038/s41524-020-00406-3.

    Examples
    --------
    >>> from sklearn_unlocknn.datasets import fetch_matbench, matbench_folds
    >>> X, y = fetch_matbench("phonons", return_X_y=True)  # doctest: +SKIP
    >>> train, test = matbench_folds(y)[0]  # doctest: +SKIP
    >>> len(train), len(test)  # doctest: +SKIP
    (1012, 253)
    """
    short = name.removeprefix("matbench_") if isinstance(name, str) else name
    check_name("name", short, MATBENCH_TASKS)
    path = f"matbench/matbench_{short}.json.gz"
    (file,) = _cache.fetch_files(
        path, data_home=data_home, download_if_missing=download_if_missing
    )
    columns, index, rows = _read(file, _cache.registry()[path])
    kind = next(column for column in columns if column in _INPUTS)
    target_name = next(column for column in columns if column not in _INPUTS)
    i, j = columns.index(kind), columns.index(target_name)
    mb_id = _ids(short, index)
    return make_bunch(
        object_array(row[i] for row in rows),
        np.array([row[j] for row in rows]),
        name=kind,
        target_names=[target_name],
        as_frame=as_frame,
        return_X_y=return_X_y,
        index=mb_id,
        mb_id=mb_id,
        DESCR=_DESCR.format(
            name=short,
            n=len(rows),
            kind=f"{kind}s",
            target=target_name,
            meaning=MATBENCH_TASKS[short],
        ),
        filename=str(file),
    )


def _read(file, entry):
    """Read the columns, index and rows of a file; build its structures meanwhile."""
    from .._structures.read import as_structure

    def build(item):
        return as_structure(item) if item.get("@class") == "Structure" else item

    with gzip.open(file, "rt", encoding="utf-8") as stream:
        content = json.load(stream, object_hook=build)
    columns, rows = content["columns"], content["data"]
    if sorted(columns) != sorted(entry["columns"]) or len(rows) != entry["n_rows"]:
        raise ValueError(
            f"{file} holds {len(rows)} rows of {sorted(columns)}, expected "
            f"{entry['n_rows']} rows of {sorted(entry['columns'])}."
        )
    if content["index"] != list(range(len(rows))):
        raise ValueError(
            f"{file} has the rows in another order than Matbench (its index is "
            f"{content['index'][:5]}...), expected 0, 1, 2...: the folds of the "
            "benchmark depend on it. Remove the file and fetch it again."
        )
    return columns, content["index"], rows


def _ids(name, index):
    """Return the ids that Matbench's own loader makes of the row numbers."""
    width = math.floor(math.log10(len(index))) + 1
    prefix = "mb-" + name.replace("_", "-")
    return np.array([f"{prefix}-{i + 1:0{width}d}" for i in index])


def matbench_folds(target):
    """Return the five folds of all published results on Matbench v0.1.

    Parameters
    ----------
    target : array-like of shape (n_samples,)
        The target of `fetch_matbench`, complete and in its order.

    Returns
    -------
    list of (train, test)
        Indices of the five folds, for the parameter ``cv`` of scikit-learn.

    Notes
    -----
    ``KFold(5, shuffle=True, random_state=18012019)``, or ``StratifiedKFold`` with the
    same arguments for a classification (a target of bool).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_unlocknn.datasets import matbench_folds
    >>> [len(test) for train, test in matbench_folds(np.arange(312.0))]
    [63, 63, 62, 62, 62]
    """
    y = np.asarray(target)
    kind = StratifiedKFold if y.dtype == bool else KFold
    folds = kind(5, shuffle=True, random_state=18012019)
    return list(folds.split(np.zeros(len(y)), y))
