"""Graph converters and target scalers of most networks, without megnet.

megnet's own import TensorFlow. `read_object` returns these instead, with the attributes
of megnet's, where they are all that the network needs.
"""

import json
from dataclasses import dataclass

import numpy as np

from .._structures.pairs import find_pairs
from .state import thaw_object

#: Cell of a molecule, angstrom; it has no images.
_WIDE = np.diag([1000.0] * 3)


@dataclass(frozen=True)
class GaussianDistance:
    """Centres and width (angstrom) of Gaussians in which bond lengths are expanded."""

    centers: tuple
    width: float


@dataclass(frozen=True)
class CrystalGraph:
    """Convert structures to graphs of all neighbours within a cutoff (angstrom)."""

    bond_converter: GaussianDistance
    cutoff: float

    def convert(self, structure, state_attributes=None):
        """Return the graph of a Structure or Molecule, as a dict like megnet's.

        RuntimeError if no two atoms are within the cutoff.
        """
        periodic = hasattr(structure, "lattice")
        cell = structure.lattice.matrix if periodic else _WIDE
        index1, index2, _, bond = find_pairs(
            structure.cart_coords, cell, [periodic] * 3, self.cutoff
        )
        if not len(bond):
            raise RuntimeError("no bonds")
        return {
            "atom": [site.specie.Z for site in structure],
            "bond": bond.astype(np.float32),
            "state": state_attributes or [[0.0, 0.0]],
            "index1": index1,
            "index2": index2,
        }


@dataclass(frozen=True)
class StandardScaler:
    """Affine target scaler; the target may be proportional to the number of atoms."""

    mean: float
    std: float
    is_intensive: bool

    def inverse_transform(self, transformed_target, n=1):
        """Return targets in their units, of structures of n atoms."""
        n = 1 if self.is_intensive else n
        return n * (transformed_target * self.std + self.mean)


def read_object(frozen):
    """Return the converter or scaler (None: no scaling) that `freeze_object` wrote.

    An object of this module if it does the same, else megnet's own.
    """
    known, equivalent = _equivalent(frozen)
    return equivalent if known else thaw_object(frozen)


def identify(frozen):
    """Return text that is equal for converters or scalers that do the same."""
    known, equivalent = _equivalent(frozen)
    return repr(equivalent if known else frozen)


def _equivalent(frozen):
    """Return whether there is an equivalent of megnet's object here, and the object."""
    kind, content = frozen
    spec = json.loads(content) if kind == "json" else {}
    name = _class_of(spec)
    if spec is None or name == "DummyScaler":
        return True, None
    if name == "StandardScaler":
        mean, std = spec.get("mean", 0.0), spec.get("std", 1.0)
        if not all(isinstance(value, int | float) for value in (mean, std)):
            return False, None  # one number for each target
        std = std if abs(std) >= np.finfo(float).eps else 1.0  # as megnet takes it
        return True, StandardScaler(mean, std, spec.get("is_intensive", True))
    atoms, bonds = spec.get("atom_converter"), spec.get("bond_converter")
    neighbours = spec.get("nn_strategy", "MinimumDistanceNNAll")
    if (
        name != "CrystalGraph"
        or (atoms is not None and _class_of(atoms) != "DummyConverter")
        or _class_of(bonds) != "GaussianDistance"
        or "MinimumDistanceNNAll" not in (neighbours, _class_of(neighbours))
        or {"centers", "width"} - set(bonds)
    ):
        return False, None
    cutoff = spec.get("cutoff", 5.0)
    if isinstance(neighbours, dict):
        cutoff = neighbours.get("cutoff", 4.0)
    centers = bonds["centers"]
    centers = centers["data"] if isinstance(centers, dict) else centers
    gaussians = GaussianDistance(tuple(map(float, centers)), float(bonds["width"]))
    return True, CrystalGraph(gaussians, float(cutoff))


def _class_of(spec):
    """Return the name of the class of megnet's that JSON describes, or None."""
    own = isinstance(spec, dict) and spec.get("@module", "").startswith("megnet.")
    return spec.get("@class") if own else None
