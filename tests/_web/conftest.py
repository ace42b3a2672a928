"""A model file, its page in this process, and files to drop on it."""

import warnings
from pathlib import Path

import pandas as pd
import pytest
from _cli.command import run
from _megnet.megnet_nets import make_megnet, save_megnet
from _structures.damage import perovskite, rock_salt

from sklearn_unlocknn._cli.files import load_model
from sklearn_unlocknn.datasets import make_ionic_crystals


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Return a folder with a network, a table of crystals and files of others."""
    folder = tmp_path_factory.mktemp("web")
    save_megnet(make_megnet(), folder)
    X, y = make_ionic_crystals(36, random_state=0, return_X_y=True)
    (folder / "cifs").mkdir()
    for i, crystal in enumerate(X):
        crystal.to(fmt="cif", filename=str(folder / f"cifs/{i:02d}.cif"))
    table = pd.DataFrame({"energy": [repr(float(-value)) for value in y]})
    table["cif"] = [f"cifs/{i:02d}.cif" for i in range(len(X))]
    table.to_csv(folder / "train.csv", index=False)
    rock_salt().to(fmt="cif", filename=str(folder / "NaCl.cif"))
    (folder / "POSCAR").write_text(perovskite().to(fmt="poscar"))
    (folder / "bad.cif").write_text("data_x\nnothing\n")
    return folder


def _fit(folder, *options):
    path = folder / f"model{len(options)}.unlocknn"
    network = ["--network", folder / "net.hdf5", "--kernel", "rbf"]
    fit = ["fit", folder / "train.csv", "--target", "energy", *network]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert run(*fit, "-o", path, *options) == 0
    return path


@pytest.fixture(scope="session")
def fitted(folder):
    """Return a model file with a unit."""
    return _fit(folder, "--unit", "eV/atom", "--holdout", "0.3")


@pytest.fixture(scope="session")
def fitted_log10(folder):
    """Return a model file of log10 of the energy."""
    return _fit(folder, "--log10")


@pytest.fixture(scope="session")
def make_app():
    """Return a function that makes the application of a model or its file."""
    pytest.importorskip("flask", reason="the page needs the extra `web`")
    from sklearn_unlocknn._web.app import create_app

    apps = []

    def make(path, **options):
        model = {"estimator": path, "card": None}
        model = load_model(path) if isinstance(path, Path) else model
        apps.append(create_app(model["estimator"], model["card"], **options))
        return apps[-1]

    yield make
    for app in apps:
        app.close()


@pytest.fixture(scope="session")
def lines():
    """Return the lines that the application logs."""
    return []


@pytest.fixture(scope="session")
def app(make_app, fitted, lines):
    """Return the application, with one process."""
    return make_app(fitted, coverage=0.9, log=lines.append)


@pytest.fixture
def client(app):
    """Return a client of the application, on this machine."""
    return app.test_client()
