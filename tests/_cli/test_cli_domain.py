"""Test the columns domain, nearest and rank of the command line."""

import numpy as np
import pandas as pd
import pytest
from _cli.command import run
from numpy.testing import assert_allclose, assert_array_equal
from pymatgen.core import Lattice, Structure

from sklearn_unlocknn import load_model
from sklearn_unlocknn.acquisition import select_batch


@pytest.fixture(scope="module")
def files(folder):
    return sorted((folder / "cifs").iterdir())


def test_domain_and_nearest_are_those_of_python(folder, fitted, files, capsys):
    output = folder / "domain.csv"
    assert run("predict", fitted, *files, "-o", output) == 0
    got = pd.read_csv(output, keep_default_na=False)
    model = load_model(fitted)
    score, rank = model.domain_score(files, return_rank=True)
    assert_allclose(got["domain"], score, rtol=1e-6)
    table = model.nearest_training(files, 3).groupby("sample")["formula"]
    assert got["nearest"].tolist() == table.agg("; ".join).tolist()
    outside = got["warning"].str.contains("outside the domain of the training data")
    assert_array_equal(outside, rank < 0.05)
    n = int(outside.sum())
    message = f"{n} of {len(files)} structures are outside the domain"
    assert (message in capsys.readouterr().err) == (n > 0)


def test_far_structures_are_marked_and_counted(folder, fitted, tmp_path, capsys):
    alloy = Structure(Lattice.cubic(2.9), ["W", "Au"], [[0.0] * 3, [0.5] * 3])
    alloy.to(fmt="cif", filename=str(tmp_path / "far.cif"))
    output = tmp_path / "out.csv"
    near = folder / "cifs" / "00.cif"
    assert run("predict", fitted, tmp_path / "far.cif", near, "-o", output) == 0
    got = pd.read_csv(output, keep_default_na=False)
    assert got["warning"][0] == "outside the domain of the training data"
    assert got["domain"][0] < got["domain"][1]
    assert "1 of 2 structures are outside the domain" in capsys.readouterr().err


def test_evaluate_writes_the_columns(folder, fitted, tmp_path, capsys):
    output = tmp_path / "out.csv"
    arguments = ("evaluate", fitted, folder / "paths.csv", "--force", "-o", output)
    assert run(*arguments) == 0
    got = pd.read_csv(output)
    assert {"domain", "nearest"} < set(got)
    assert "outside" not in got
    assert got["domain"].between(0, 1).all()


@pytest.mark.parametrize(
    ("goal", "keywords"),
    [
        ("highest", {"maximize": True}),
        ("lowest", {"maximize": False}),
        ("uncertain", {"acquisition": "variance"}),
    ],
)
def test_rank_is_the_batch_of_python(folder, fitted, files, goal, keywords, tmp_path):
    output = tmp_path / "out.csv"
    (tmp_path / "bad.cif").write_text("nothing")
    names = [tmp_path / "bad.cif", *files]
    rank = ("--rank", 4, "--goal", goal)
    assert run("predict", fitted, *names, *rank, "-o", output) == 1
    got = pd.read_csv(output)
    model = load_model(fitted)
    targets = model._head.record.y[:, 0]
    best = targets.max() if goal == "highest" else targets.min()
    batch = select_batch(model, files, 4, best=best, **keywords)
    assert got["rank"].count() == 4
    order = np.argsort(got["rank"].to_numpy())[:4]  # NaN last
    assert_array_equal(order - 1, batch)


def test_rank_of_more_than_all_files_is_that_of_all(folder, fitted, files, tmp_path):
    output = tmp_path / "out.csv"
    assert run("predict", fitted, *files[:3], "--rank", 9, "-o", output) == 0
    assert sorted(pd.read_csv(output)["rank"]) == [1, 2, 3]
    (tmp_path / "bad.cif").write_text("nothing")
    output = tmp_path / "bad.csv"
    bad = tmp_path / "bad.cif"
    assert run("predict", fitted, bad, "--rank", 9, "-o", output) == 1
    assert pd.read_csv(output)["rank"].isna().all()


def test_rank_needs_a_positive_number(fitted, capsys):
    with pytest.raises(SystemExit):
        run("predict", fitted, "x.cif", "--rank", 0)
    assert "expected a number from 1" in capsys.readouterr().err
