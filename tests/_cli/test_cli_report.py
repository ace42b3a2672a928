"""The command `unlocknn report`."""

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from _cli.command import run
from _report.pages import checked
from pymatgen.core import Lattice, Structure

from sklearn_unlocknn._report.units import number

pytestmark = pytest.mark.filterwarnings("ignore:Issues encountered while parsing CIF")


@pytest.fixture(scope="module")
def labelled(folder):
    """Return a table with labels, two rows without a structure, and no target."""
    table = pd.read_csv(folder / "paths.csv")[20:]
    one_atom = Structure(Lattice.cubic(30), ["Na"], [[0, 0, 0]])
    one_atom.to(str(folder / "alone.cif"))
    bad = pd.DataFrame({"path": ["gone.cif", "alone.cif"], "energy": [1.0, 2.0]})
    table = pd.concat([table, bad], ignore_index=True)
    table["kind"] = np.where(np.arange(len(table)) % 2, "odd", "<even>")
    table.to_csv(folder / "labelled.csv", index=False)
    return folder / "labelled.csv"


def test_figures_are_those_of_evaluate(folder, fitted, tmp_path, capsys):
    data, path = folder / "both.csv", tmp_path / "r.html"
    assert run("evaluate", fitted, data, "--json") == 0
    want = json.loads(capsys.readouterr().out)
    assert run("report", fitted, data, "-o", path, "--unit", "eV/atom") == 0
    assert f"Wrote {path}: 36 of 36 rows" in capsys.readouterr().err
    page = checked(path)
    assert "Report on predictions of log10(energy / (eV/atom))" in page.text
    figures = {row["Figure"]: row["Value"] for row in page.table("Accuracy")}
    assert figures["MAE"] == f"{number(want['point']['mae'])} in log10"
    assert figures["NLL (nats)"] == number(want["proper"]["nll"])
    shares = {
        row["Nominal"]: row["Observed"] for row in page.table("Share of targets inside")
    }
    for nominal, row in want["intervals"].items():
        if nominal in ("0.5", "0.9", "0.95"):
            text = f"{100 * row['coverage']:.0f} %"
            assert shares[f"{100 * float(nominal):g} %"] == text
    assert page.terms["Model"] == "MEGNetProbRegressor"
    assert page.terms["Command"].startswith("unlocknn report ")
    assert page.terms["Command"].endswith("--unit eV/atom")
    assert page.terms["Data file"] == str(data)
    assert "24 of 36 samples are the same as a training sample" in page.text
    assert len(page.images) == 7


def test_rows_left_out_and_groups(labelled, fitted, tmp_path, capsys):
    path = tmp_path / "r.html"
    command = ["report", fitted, labelled, "-o", path, "--group", "kind"]
    assert run(*command) == 2
    err = capsys.readouterr().err
    assert "row 17 (gone.cif): there is no file" in err
    assert os.listdir(tmp_path) == []
    assert run(*command, "--on-error", "drop") == 0
    assert "Left out 2 of 18 rows" in capsys.readouterr().err
    page = checked(path)
    rows = page.table("2 of 18 samples without")
    assert [row["Sample"] for row in rows] == ["gone.cif", "alone.cif"]
    assert "no bonds" in rows[1]["Reason"]
    groups = page.table("Largest mean absolute error first")
    assert {row["Group"]: row["Samples"] for row in groups} == {
        "odd": "8",
        "<even>": "8",
    }
    assert page.tables["Largest errors"][1][0].startswith("cifs/")
    assert run(*command, "--on-error", "drop") == 2
    assert "exists. Name another output, or add --force" in capsys.readouterr().err
    assert run(*command, "--on-error", "drop", "--force", "--coverage", 0.8) == 0
    assert "80 % intervals hold" in checked(path).text


def test_data_without_targets(labelled, fitted, tmp_path, capsys):
    pd.read_csv(labelled)[["path"]][:6].to_csv(
        labelled.parent / "bare.csv", index=False
    )
    path = tmp_path / "r.html"
    command = ["report", fitted, labelled.parent / "bare.csv", "-o", path]
    assert run(*command) == 2
    assert "has no column 'energy'" in capsys.readouterr().err
    assert run(*command, "--no-target") == 0
    page = checked(path)
    assert "Predictions without targets" in page.text
    assert page.tables["Largest std"][1][0].startswith("cifs/")


def test_all_rows_failed_and_wrong_columns(labelled, fitted, tmp_path, capsys):
    bad = labelled.parent / "all_bad.csv"
    bad.write_text("path,energy\nalone.cif,1\nalone.cif,2\n")
    path = tmp_path / "r.html"
    assert run("report", fitted, bad, "-o", path, "--on-error", "drop") == 2
    err = capsys.readouterr().err
    assert "None of 2 samples has a prediction" in err
    assert "no bonds" in err
    assert run("report", fitted, labelled, "-o", path, "--group", "sort") == 2
    assert "has no column 'sort'" in capsys.readouterr().err
    assert run("report", fitted, labelled, "-o", labelled, "--force") == 2
    assert "which is also an input" in capsys.readouterr().err
    assert os.listdir(tmp_path) == []


def test_unit_of_the_fit_is_that_of_the_report(folder, fit_options, tmp_path):
    model, path = tmp_path / "m.unlocknn", tmp_path / "r.html"
    fit = ["fit", folder / "train.json", *fit_options, "--unit", "eV", "-o", model]
    assert run(*fit, "--holdout", 0.25) == 0
    assert run("report", model, folder / "both.csv", "-o", path) == 0
    page = checked(path)
    assert page.terms["Unit"] == "eV"
    assert "6 samples: MAE" in page.terms["Samples held out when it was fitted"]
    figures = {row["Figure"]: row["Value"] for row in page.table("Accuracy")}
    assert figures["MAE"].endswith(" eV")


PROGRAM = """
import sys
if sys.argv.pop(1) == "without":
    sys.modules["jinja2"] = None
from sklearn_unlocknn._cli.main import main
status = main(sys.argv[1:])
print(*sorted({"tensorflow", "keras", "megnet"} & set(sys.modules)))
sys.exit(status)
"""


@pytest.mark.parametrize("jinja2", ["with", "without"])
def test_report_in_a_new_process(folder, fitted, tmp_path, jinja2):
    """It imports no TensorFlow, says little, and names the extra that is missing."""
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    arguments = ["report", fitted, folder / "paths.csv", "-o", tmp_path / "r.html"]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, jinja2, *map(str, arguments)],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    assert done.stdout.split() == []
    if jinja2 == "without":
        assert done.returncode == 2
        assert 'pip install "sklearn-unlocknn[plot]"' in done.stderr
        assert os.listdir(tmp_path) == []
        return
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert lines[-1].startswith("Wrote ")
    assert all("outside the domain" in line for line in lines[:-1])
