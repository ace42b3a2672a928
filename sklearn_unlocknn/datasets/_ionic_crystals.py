"""Generated ionic crystals: structures with exact targets, without a download."""

import numbers

import numpy as np
from sklearn.utils import check_random_state

from ._bunch import make_bunch, object_array

_DESCR = """\
Ionic crystals: {n} crystal prototypes decorated with ions

data    pymatgen Structures of plain elements, {low} to {high} atoms each
target  energy: electrostatic energy of the ions (Ewald sum), eV/atom{noise}
"""


def make_ionic_crystals(
    n_samples=200,
    *,
    noise=0.0,
    random_state=None,
    return_X_y=False,
    as_frame=False,
):
    r"""Make ionic crystals and their electrostatic energies (eV/atom).

    Real structure types are decorated with real ions. The target is an exact function
    of elements and geometry; the structures do not contain the charges. No download is
    needed.

    Parameters
    ----------
    n_samples : int, default=200
        Number of crystals.
    noise : float, default=0.0
        Standard deviation of Gaussian noise added to the target, in eV/atom.
    random_state : int, RandomState instance or None, default=None
        Source of randomness; an int for reproducible crystals. The first crystals do
        not depend on `n_samples`.
    return_X_y, as_frame : bool, default=False
        Whether to return ``(data, target)`` instead of a Bunch, and pandas frames.

    Returns
    -------
    Bunch
        With entries

        data : ndarray of shape (n_samples,) of Structure
            Or a frame with the one column ``structure``.
        target : ndarray of shape (n_samples,) or Series
            Electrostatic energy in eV/atom.
        frame : DataFrame or None
            Data and target together, if `as_frame`.
        prototype, formula : ndarray of shape (n_samples,) of str
            Structure type and reduced formula; either can define groups for a split.
        charges : ndarray of shape (n_samples,) of ndarray
            Charges of the sites of each crystal, in elementary charges.
        feature_names, target_names : list of str
            Names of the columns.
        DESCR : str
            Description.

    Raises
    ------
    ValueError
        If `n_samples` is not a positive int or `noise` is negative.

    Notes
    -----
    The structure types, by Strukturbericht symbol, with the sites of their name-giving
    minerals: rocksalt B1, cesium chloride B2, zincblende B3, wurtzite B4, fluorite
    and antifluorite C1, cuprite C3, rutile C4, anatase C5, CdI2 C6, ReO3 D0_9, corundum
    D5_1, La2O3 D5_2, perovskite E2_1, caswellsilverite F5_1 (also of LiCoO2), spinel
    H1_1, K2PtCl6 J1_1 and K2NiF4 [1]_. Cations are metals and metalloids in oxidation
    states seen in the ICSD, anions N, O, S, Se, Te and halides; every decoration is
    neutral, and its ions fit: cations and anions touch at Shannon's crystal radii [2]_
    (of six neighbours), and anions do not overlap. Each cell is strained at random by
    up to 3 % along its axes.

    The energy of point charges :math:`q_i` at :math:`r_i`, summed over all periodic
    images by Ewald's method, per atom of the N of a cell:

    .. math:: E = \frac{1}{2N} \frac{e^2}{4 \pi \epsilon_0}
        \sum_{i \neq j} \frac{q_i q_j}{|r_i - r_j|}

    References
    ----------
    .. [1] R. W. G. Wyckoff, "Crystal Structures", 2nd ed., Interscience (1963-1971).
    .. [2] R. D. Shannon, "Revised effective ionic radii and systematic studies of
       interatomic distances in halides and chalcogenides", Acta Cryst. A 32, 751
       (1976), doi:10.1107/S0567739476001551.

    Examples
    --------
    >>> from sklearn_unlocknn.datasets import make_ionic_crystals
    >>> X, y = make_ionic_crystals(5, random_state=0, return_X_y=True)
    >>> X.shape, y.shape
    ((5,), (5,))
    >>> bool((y < 0).all())
    True
    """
    whole = isinstance(n_samples, numbers.Integral) and not isinstance(n_samples, bool)
    if not whole or n_samples < 1:
        raise ValueError(
            f"Got `n_samples`={n_samples!r}, expected an int of 1 or more."
        )
    if not noise >= 0:
        raise ValueError(f"Got `noise`={noise!r}, expected 0 or more (eV/atom).")
    from ._ionic_prototypes import random_ionic_crystals

    rng = check_random_state(random_state)
    crystals = random_ionic_crystals(n_samples, rng)
    energy = np.array([crystal.energy for crystal in crystals])
    structures = [crystal.structure for crystal in crystals]
    sizes = [len(structure) for structure in structures]
    return make_bunch(
        object_array(structures),
        energy + noise * rng.standard_normal(n_samples),
        name="structure",
        target_names=["energy"],
        as_frame=as_frame,
        return_X_y=return_X_y,
        prototype=np.array([crystal.prototype for crystal in crystals]),
        formula=np.array([s.composition.reduced_formula for s in structures]),
        charges=object_array(crystal.charges for crystal in crystals),
        DESCR=_DESCR.format(
            n=n_samples,
            low=min(sizes),
            high=max(sizes),
            noise=f", with noise of std {noise:g}" if noise else "",
        ),
    )
