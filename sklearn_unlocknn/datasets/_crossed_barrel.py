"""Toughness of printed structures, each design measured three times."""

from . import _cache
from ._bunch import make_bunch

_PATH = "crossed_barrel/crossed_barrel.csv"
_FEATURES = ["n", "theta", "r", "t"]
_DESCR = """\
Crossed barrels: toughness of 600 printed designs, three specimens of each

data    n: number of hollow columns; theta: their twist, degrees; r: their outer
        radius, mm; t: their wall thickness, mm
target  toughness under compression, J
design  number of the design of each specimen

A. E. Gongora et al., Sci. Adv. 6, eaaz1708 (2020), as published with Q. Liang et al.,
npj Comput. Mater. 7, 188 (2021), https://github.com/PV-Lab/Benchmarking (MIT licence).
"""


def fetch_crossed_barrel(
    *,
    data_home=None,
    download_if_missing=True,
    return_X_y=False,
    as_frame=False,
):
    """Fetch designs of 3D-printed crossed barrels and their measured toughness (J).

    Three specimens of each design were measured, so that the noise of the target is
    known, and differs from design to design.

    Parameters
    ----------
    data_home : path-like, default=None
        Data folder; see `get_data_home`.
    download_if_missing : bool, default=True
        Whether to download a missing file.
    return_X_y, as_frame : bool, default=False
        Whether to return ``(data, target)`` instead of a Bunch, and pandas frames.

    Returns
    -------
    Bunch
        With entries

        data : ndarray of shape (1800, 4) or DataFrame
            Number of hollow columns, their twist in degrees, their outer radius and
            wall thickness in mm.
        target : ndarray of shape (1800,) or Series
            Toughness in J.
        frame : DataFrame or None
            Data and target together, if `as_frame`.
        design : ndarray of shape (1800,) of int
            Number of the design, 0 to 599: the groups of a split that keeps specimens
            of one design together, by ``GroupKFold`` for instance.
        feature_names, target_names : list of str
            Names of the columns.
        DESCR, filename : str
            Description and file.

    Raises
    ------
    ValueError
        If the file does not have these columns.
    OSError
        If the file is missing and cannot be downloaded.

    References
    ----------
    .. [1] A. E. Gongora et al., "A Bayesian experimental autonomous researcher for
       mechanical design", Sci. Adv. 6, eaaz1708 (2020), doi:10.1126/sciadv.aaz1708.
    .. [2] Q. Liang et al., "Benchmarking the performance of Bayesian optimization
       across multiple experimental materials science domains", npj Comput. Mater. 7,
       188 (2021), doi:10.1038/s41524-021-00656-9.

    Examples
    --------
    >>> from sklearn_unlocknn.datasets import fetch_crossed_barrel
    >>> barrels = fetch_crossed_barrel()  # doctest: +SKIP
    >>> barrels.data.shape, len(set(barrels.design))  # doctest: +SKIP
    ((1800, 4), 600)
    """
    import pandas as pd

    (file,) = _cache.fetch_files(
        _PATH, data_home=data_home, download_if_missing=download_if_missing
    )
    frame = pd.read_csv(file, dtype=float)
    expected = [*_FEATURES, "toughness"]
    if list(frame) != expected:
        raise ValueError(f"{file} has columns {list(frame)}, expected {expected}.")
    return make_bunch(
        frame[_FEATURES].to_numpy(),
        frame["toughness"].to_numpy(),
        name=_FEATURES,
        target_names=["toughness"],
        as_frame=as_frame,
        return_X_y=return_X_y,
        design=frame.groupby(_FEATURES, sort=False).ngroup().to_numpy(),
        DESCR=_DESCR,
        filename=str(file),
    )
