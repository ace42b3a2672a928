"""Tiny MEGNets and structures for tests."""

import warnings

import numpy as np

from sklearn_unlocknn import MEGNetProbRegressor
from sklearn_unlocknn._megnet.compat import import_megnet

import_megnet()

from megnet.data.crystal import CrystalGraph  # noqa: E402
from megnet.data.graph import GaussianDistance  # noqa: E402
from megnet.models import MEGNetModel  # noqa: E402
from pymatgen.core import Lattice, Structure  # noqa: E402


def make_megnet(seed=0, scaler=None, converter=None, **options):
    """Make a tiny MEGNet with weights and biases that are not zero."""
    if converter is None:
        bonds = GaussianDistance(np.linspace(0, 5, 8), 0.7)
        converter = CrystalGraph(bond_converter=bonds, cutoff=4.0)
    options = {"nfeat_edge": 8, "nfeat_global": 2, "nblocks": 1, **options}
    if scaler is not None:
        options["target_scaler"] = scaler
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tf-keras: one initializer, many layers
        model = MEGNetModel(
            **{"n1": 8, "n2": 6, "n3": 4, **options}, graph_converter=converter
        )
    rng = np.random.default_rng(seed)
    shapes = [w.shape for w in model.get_weights()]
    weights = [rng.standard_normal(s) / np.sqrt(s[0]) for s in shapes]
    model.model.set_weights(weights)
    return model


def save_megnet(model, folder):
    """Save a network in MEGNet's own format; return the path of the file."""
    path = folder / "net.hdf5"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tf-keras: HDF5 is a legacy format
        model.save_model(str(path))
    return path


class SquareScaler:
    """A target scaler that is neither affine nor MSONable."""

    def inverse_transform(self, target, n=1):
        return np.square(target)


def predict(network, X, **options):
    """Predict the one target of a tiny network."""
    return network.predict(X, **options)[:, 0]


def make_structures(n, seed=0):
    """Make cells of very different sizes, their atoms near the points of a grid."""
    rng = np.random.default_rng(seed)
    elements = ["Na", "Cl", "Fe", "O", "Ti", "U"]
    out = []
    for i in range(n):
        k = 40 if i == 3 else int(rng.integers(1, 6))
        size = int(np.ceil(k ** (1 / 3)))
        # Neighbours across a cube, of the cutoff 4, and atoms that do not overlap
        cell = Lattice.cubic(size * (2.05 + 0.1 * rng.random()))
        places = rng.permutation(list(np.ndindex(size, size, size)))[:k]
        places = places + rng.uniform(-0.02, 0.02, (k, 3))
        out.append(Structure(cell, rng.choice(elements, k), places / size))
    return out


def quick(network, **params):
    """Make a regressor on a network alone that fits in a moment."""
    quick = {"descriptors": None, "kernel": "rbf", "max_iter": 5, "random_state": 0}
    params = {**quick, **params}
    return MEGNetProbRegressor(network, **params)
