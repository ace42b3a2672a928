"""Structures with known descriptors."""

from pymatgen.core import Lattice, Molecule, Structure

NACL = Structure.from_spacegroup(
    "Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
)
DIAMOND = Structure.from_spacegroup("Fd-3m", Lattice.cubic(3.567), ["C"], [[0, 0, 0]])
COPPER = Structure.from_spacegroup("Fm-3m", Lattice.cubic(3.615), ["Cu"], [[0, 0, 0]])
# Quartz, with free parameters, a hexagonal cell and two kinds of sites
QUARTZ = Structure.from_spacegroup(
    "P3_221", Lattice.hexagonal(4.913, 5.405), ["Si", "O"],
    [[0.4697, 0, 2 / 3], [0.4133, 0.2672, 0.7855]],
)  # fmt: skip
WATER = Molecule("OHH", [[0, 0, 0], [0.757, 0.586, 0], [-0.757, 0.586, 0]])
# Sodium and potassium share a site
MIXED = Structure(
    Lattice.cubic(3.2), [{"Na": 0.25, "K": 0.75}, "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
)
