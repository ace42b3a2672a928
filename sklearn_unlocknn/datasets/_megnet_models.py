"""Pretrained MEGNet networks under megnet's own names."""

import difflib

from . import _cache

_QM9 = ["Cv", "G", "H", "HOMO", "LUMO", "R2", "U", "U0", "ZPVE"]
_QM9 += ["alpha", "gap", "mu", "omega1"]

#: Name of a pretrained network -> its file under the data folder.
MEGNET_MODELS = {
    "Eform_MP_2019": "megnet/mp-2019.4.1/formation_energy.hdf5",
    "Eform_MP_2018": "megnet/mp-2018.6.1/formation_energy.hdf5",
    "Efermi_MP_2019": "megnet/mp-2019.4.1/efermi.hdf5",
    "Bandgap_classifier_MP_2018": "megnet/mp-2018.6.1/band_classification.hdf5",
    "Bandgap_MP_2018": "megnet/mp-2018.6.1/band_gap_regression.hdf5",
    "logK_MP_2018": "megnet/mp-2018.6.1/log10K.hdf5",
    "logG_MP_2018": "megnet/mp-2018.6.1/log10G.hdf5",
    "logK_MP_2019": "megnet/mp-2019.4.1/log10K.hdf5",
    "logG_MP_2019": "megnet/mp-2019.4.1/log10G.hdf5",
    **{f"QM9_{t}_2018": f"megnet/qm9-2018.6.1/{t}.hdf5" for t in _QM9},
}


def fetch_megnet_model(name, *, data_home=None, download_if_missing=True):
    """Fetch the files of a pretrained MEGNet network.

    Parameters
    ----------
    name : str
        Name in ``MEGNET_MODELS``: formation energy (``"Eform_MP_2019"``, eV/atom),
        Fermi energy (eV), band gap (eV; also a classifier of metals), bulk and shear
        modulus (``"logK_MP_2019"``, log10 of GPa), and 13 properties of molecules
        (``"QM9_gap_2018"``).
    data_home : path-like, default=None
        Data folder; see `get_data_home`.
    download_if_missing : bool, default=True
        Whether to download missing files. If False, an error lists them.

    Returns
    -------
    Path
        The .hdf5 file, beside its .json with the graph converter.

    Raises
    ------
    ValueError
        If `name` is not the name of a network.
    OSError
        If the files are missing and cannot be downloaded.

    References
    ----------
    .. [1] C. Chen et al., "Graph Networks as a Universal Machine Learning Framework
       for Molecules and Crystals", Chem. Mater. 31, 3564 (2019),
       doi:10.1021/acs.chemmater.9b01294.

    Examples
    --------
    >>> from sklearn_unlocknn.datasets import fetch_megnet_model
    >>> fetch_megnet_model("Eform_MP_2019").name  # doctest: +SKIP
    'formation_energy.hdf5'
    """
    check_name("name", name, MEGNET_MODELS)
    path = MEGNET_MODELS[name]
    file, _ = _cache.fetch_files(
        path,
        path + ".json",
        data_home=data_home,
        download_if_missing=download_if_missing,
    )
    return file


def check_name(parameter, got, names):
    """Raise a ValueError that lists the names, close ones first, if `got` is none."""
    if isinstance(got, str) and got in names:
        return
    close = difflib.get_close_matches(str(got), names, n=3, cutoff=0.4)
    listed = [*close, *(name for name in names if name not in close)]
    raise ValueError(f"Got `{parameter}`={got!r}, expected one of {listed}.")
