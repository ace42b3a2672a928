"""Files for the tests of the command line: one data set in each layout, and a model."""

import gzip
import json
import warnings

import pandas as pd
import pytest
from _cli.command import run
from _megnet.megnet_nets import make_megnet

from sklearn_unlocknn.datasets import make_ionic_crystals


@pytest.fixture(scope="session")
def energies():
    """Return 36 crystals and their energies with a positive sign."""
    X, y = make_ionic_crystals(36, random_state=0, return_X_y=True)
    return list(X), -y


@pytest.fixture(scope="session")
def folder(tmp_path_factory, energies):
    """Return a folder with a network, CIF files and tables of the same data."""
    folder = tmp_path_factory.mktemp("cli")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tf-keras: HDF5 is a legacy format
        make_megnet().save_model(str(folder / "net.hdf5"))
    (folder / "cifs").mkdir()
    X, y = energies
    X[0].to(fmt="poscar", filename=str(folder / "POSCAR"))
    table = pd.DataFrame({"cif": [structure.to(fmt="cif") for structure in X]})
    table["path"] = [f"cifs/{i:02d}.cif" for i in range(len(X))]
    table["energy"] = [repr(float(value)) for value in y]
    for path, cif in zip(table["path"], table["cif"], strict=True):
        (folder / path).write_text(cif)
    table.to_csv(folder / "both.csv", index_label="id")
    table[["cif", "energy"]].to_csv(folder / "texts.csv")
    table[["path", "energy"]].to_csv(folder / "paths.csv", index=False)
    table.to_json(folder / "split.json", orient="split")
    records = [
        {"structure": structure.as_dict(), "energy": value}
        for structure, value in zip(X, table["energy"], strict=True)
    ]
    with gzip.open(folder / "records.json.gz", "wt") as file:
        json.dump(records, file)
    (folder / "train.json").write_text(json.dumps(records[:24]))
    return folder


@pytest.fixture(scope="session")
def fit_options(folder):
    """Return the options of a quick fit."""
    return ["--target", "energy", "--network", folder / "net.hdf5", "--kernel", "rbf"]


@pytest.fixture(scope="session")
def fitted(folder, fit_options):
    """Return a model file: log10 of the energy, fitted to the first 24 crystals."""
    path = folder / "model.unlocknn"
    assert run("fit", folder / "train.json", *fit_options, "--log10", "-o", path) == 0
    return path
