"""The command `unlocknn` in this process: fit, predict, evaluate, and their errors."""

import io
import json
import os
import pickle
import re
import sys
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
from _cli.command import run, table
from numpy.testing import assert_allclose, assert_array_equal
from pymatgen.core import Lattice, Structure

from sklearn_unlocknn import MEGNetFeatureExtractor, MEGNetProbRegressor, VGPRegressor
from sklearn_unlocknn._cli import commands, predictions
from sklearn_unlocknn.metrics import uq_report

# A CIF has thirds to some digits, which pymatgen rounds with a warning.
pytestmark = pytest.mark.filterwarnings("ignore:Issues encountered while parsing CIF")


def test_same_numbers_as_in_python(folder, fitted, energies, capsys, monkeypatch):
    X, y = energies
    want = MEGNetProbRegressor(folder / "net.hdf5", kernel="rbf", random_state=0).fit(
        X[:24], np.log10(y[:24])
    )
    content = joblib.load(fitted)
    model = content["estimator"]
    assert (content["target"], content["log10"]) == ("energy", True)
    assert (model.memory, model.n_jobs, model.on_error) == (None, None, "raise")
    assert not list(folder.glob(".*"))

    files = [str(folder / f"cifs/{i:02d}.cif") for i in range(24, 36)]
    mean, std = want.predict(files, return_std=True)
    interval = want.predict_interval(files, coverage=0.8)
    monkeypatch.setattr(predictions, "STEP", 5)  # several blocks
    assert run("predict", fitted, *files, "--coverage", 0.8) == 0
    out, err = capsys.readouterr()
    names = ["file", "log10_mean", "log10_std", "log10_lower", "log10_upper", "error"]
    got = table(out)
    assert list(got) == names
    assert list(got["file"]) == files
    assert set(got["error"]) == {""}
    assert_allclose(got["log10_mean"], mean, rtol=1e-6)
    assert_allclose(got["log10_std"], std, rtol=1e-6)
    assert_allclose(got[names[3:5]], interval, rtol=1e-6)
    assert "failed" not in err

    assert run("evaluate", fitted, folder / "both.csv", "--json") == 0
    got = json.loads(capsys.readouterr().out)
    mean, std = want.predict(X, return_std=True)
    report = uq_report(np.log10(y), mean, std, output_dict=True)
    assert (got["target"], got["log10"], got["n_samples"]) == ("energy", True, 36)
    assert_allclose(got["point"]["mae"], report["point"]["mae"], rtol=1e-3)
    assert_allclose(got["proper"]["nll"], report["proper"]["nll"], rtol=1e-3)


def test_a_bad_file_does_not_stop_the_rest(folder, fitted, tmp_path, capsys):
    (tmp_path / "bad.cif").write_text("nonsense\n")
    (tmp_path / "empty").mkdir()
    (tmp_path / "odd.cif").symlink_to("/proc/self/mem")  # exists, but reading it fails
    good = [folder / "cifs/01.cif", folder / "cifs/02.cif"]
    bad = [tmp_path / name for name in ("bad.cif", "gone.cif", "empty", "odd.cif")]
    paths = [good[0], *bad, good[1]]
    out = tmp_path / "out.csv"
    # with a memory, files are read before they are converted
    memory = ["--memory", tmp_path / "memory"]
    assert run("predict", fitted, *paths, "-o", out, *memory) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    rows = table(out.read_text())
    assert list(rows["file"]) == list(map(str, paths))
    assert_array_equal(rows["error"] != "", [False, True, True, True, True, False])
    assert_array_equal(rows.iloc[:, 1:5].isna().all(axis=1), rows["error"] != "")
    assert_array_equal(rows.iloc[:, 1:5].isna().any(axis=1), rows["error"] != "")
    for name, error in zip(rows["file"][1:5], rows["error"][1:5], strict=True):
        assert f"{name}: {error}" in captured.err
    assert "no file" in rows["error"][2]
    assert "4 of 6 files failed" in captured.err
    assert not list(tmp_path.glob("*.part"))


def test_lists_of_files(folder, fitted, tmp_path, capsys, monkeypatch):
    names = [str(folder / "cifs/03.cif"), str(folder / "cifs/04.cif")]
    (tmp_path / "list.txt").write_text("\n".join(names) + "\n\n")
    assert run("predict", fitted, "--list", tmp_path / "list.txt") == 0
    want = capsys.readouterr().out
    assert list(table(want)["file"]) == names
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(names)))
    assert run("predict", fitted, "-") == 0
    assert capsys.readouterr().out == want
    assert run("predict", fitted, folder / "cifs") == 0
    assert list(table(capsys.readouterr().out)["file"]) == [
        str(folder / f"cifs/{i:02d}.cif") for i in range(36)
    ]


def test_rows_left_out(folder, fit_options, tmp_path, capsys):
    """Unusable rows are listed; after dropping them the model is that of the others."""
    good = pd.read_csv(folder / "texts.csv")[["cif", "energy"]][:12]
    one_atom = Structure(Lattice.cubic(30), ["Na"], [[0, 0, 0]]).to(fmt="cif")
    bad = pd.DataFrame(
        {"cif": [good["cif"][0], "nonsense\n", one_atom], "energy": ["n/a", 1, 1]}
    )
    mixed = pd.concat([bad[:1], good, bad[1:]], ignore_index=True)
    for name, rows in {"good": good, "mixed": mixed, "found_late": mixed[1:]}.items():
        rows.to_csv(tmp_path / f"{name}.csv", index=False)
    out, drop = tmp_path / "mixed.joblib", ["--on-error", "drop"]

    def fit(name, *options):
        path = tmp_path / f"{name}.csv"
        status = run("fit", path, *fit_options, "--log10", *options)
        return status, capsys.readouterr().err

    status, err = fit("mixed", "-o", out)
    assert status == 2
    assert "1 of 15 rows cannot be used" in err
    assert "row 1: target 'energy' is 'n/a', not a number" in err
    status, err = fit("found_late", "-o", out)
    assert status == 2
    assert "2 of 14 rows cannot be used" in err
    assert "row 14: no bonds" in err
    assert not out.exists()
    status, err = fit("mixed", "-o", out, *drop)
    assert status == 0
    assert "Left out 3 of 15 rows" in err
    assert "from 12 rows" in err
    assert fit("good", "-o", tmp_path / "good.joblib")[0] == 0
    noise = [
        joblib.load(tmp_path / f"{name}.joblib")["estimator"].noise_std_
        for name in ("mixed", "good")
    ]
    assert_allclose(*noise, rtol=1e-6)

    rows = tmp_path / "rows.csv"
    command = ["evaluate", out, tmp_path / "mixed.csv", "-o", rows]
    assert run(*command) == 2
    assert not rows.exists()
    capsys.readouterr()
    assert run(*command, *drop) == 0
    rows = table(rows.read_text())
    assert list(rows["row"]) == list(range(1, 16))
    kept = rows[rows["error"] == ""]
    assert_allclose(kept["log10_target"], np.log10(good["energy"]))
    report = uq_report(kept["log10_target"], kept["log10_mean"], kept["log10_std"])
    assert capsys.readouterr().out == "log10(energy)\n" + report


def test_holdout_reports_and_changes_no_model(folder, fit_options, tmp_path, capsys):
    out = tmp_path / "model.joblib"
    command = ["fit", folder / "paths.csv", *fit_options, "-o", out]
    command += ["--memory", tmp_path / "memory"]
    assert run(*command) == 0
    assert capsys.readouterr().out == ""
    noise = joblib.load(out)["estimator"].noise_std_
    assert run(*command, "--force", "--holdout", 0.25) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("energy, held out\n9 samples\n")
    assert "miscalibration area" in printed
    assert_allclose(joblib.load(out)["estimator"].noise_std_, noise, rtol=1e-6)


def test_a_model_dumped_from_python(folder, fit_options, energies, tmp_path, capsys):
    model = MEGNetProbRegressor(
        folder / "net.hdf5", -2, "rbf", mean="network", random_state=0
    ).fit(*energies)
    path, data = tmp_path / "model.pickle", folder / "both.csv"
    path.write_bytes(pickle.dumps(model))
    assert run("predict", path, folder / "cifs/00.cif") == 0
    header = capsys.readouterr().out.splitlines()[0]
    assert header == "file,mean,std,lower,upper,error"
    assert run("evaluate", path, data) == 2
    assert "Give --target" in capsys.readouterr().err
    assert run("evaluate", path, data, "--target", "energy") == 0
    out = tmp_path / "same.joblib"
    options = ["--mean", "network", "--layer", "-2", "-o", out]
    assert run("fit", folder / "texts.csv", *fit_options, *options) == 0
    same = joblib.load(out)["estimator"]
    assert (same.mean, same.layer) == ("network", -2)
    assert_allclose(same.noise_std_, model.noise_std_, rtol=0.1)  # a CIF rounds


def test_warnings_are_counted(folder, fitted, tmp_path, capsys):
    """pymatgen warns of each hexagonal cell, whose thirds it rounds."""
    paths = sorted((folder / "cifs").iterdir())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        MEGNetFeatureExtractor(folder / "net.hdf5").fit_transform(paths)
    assert len(caught) > 1
    # an empty memory, so that the files are read again
    assert run("predict", fitted, *paths, "--memory", tmp_path) == 0
    err = capsys.readouterr().err
    assert err.count("warning") == 1
    assert f"warning ({len(caught)} times, the first): Issues encountered" in err


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (["--target", "nope"], "no column 'nope'"),
        (["--structures", "nope"], "no column 'nope'"),
        (["--network", "Eform"], "neither a file nor the name .*: Eform_MP_2019"),
        (["--kernel", "rbff"], "rbff"),
        (["--layer", "999"], "`layer`=999"),
        (["--n-inducing-points", "0"], "n_inducing_points"),
        (["-o", "there.joblib"], "exists.*--force"),
        (["-o", "no/such/folder.joblib"], "Cannot write"),
        (["-o", "cifs", "--force"], "not a regular file"),
        (["-o", "both.csv", "--force"], "also an input"),
        (["-o", "-"], "expected the name of a file"),
    ],
)
def test_fit_errors(options, match, folder, fit_options, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "there.joblib").write_text("mine")
    before = sorted(folder.rglob("*"))
    command = ["fit", "both.csv", *fit_options, "-o", "new.joblib", *options]
    assert run(*command) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    assert captured.err.startswith("unlocknn fit: error: ") or "Fitting" in captured.err
    assert re.search(match, captured.err)
    assert sorted(folder.rglob("*")) == before
    assert (folder / "there.joblib").read_text() == "mine"


def _older():
    model = MEGNetProbRegressor()
    del model.n_jobs  # as of a version without this parameter
    return model


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (None, "no model file"),
        (b"junk", "expected a model file"),
        (b"", "expected a model file"),
        (pickle.dumps([1]), "Got a list .* expected a model file"),
        (pickle.dumps({"estimator": 1}), "expected a model file"),
        (pickle.dumps(VGPRegressor()), "expected a model file"),
        (pickle.dumps(MEGNetProbRegressor()), "not fitted, expected a model file"),
        (pickle.dumps(_older()), "another version"),
    ],
    ids=["gone", "junk", "empty", "list", "dict", "other", "unfitted", "older"],
)
def test_files_without_a_fitted_model(content, match, folder, tmp_path, capsys):
    path = tmp_path / "model"
    if content is not None:
        path.write_bytes(content)
    assert run("predict", path, folder / "cifs/00.cif", "-o", tmp_path / "out") == 2
    err = capsys.readouterr().err
    assert re.search(match, err)
    assert str(path) in err
    assert not (tmp_path / "out").exists()
    assert run("predict", path) == 2
    assert "no structure files" in capsys.readouterr().err
    assert run("predict", path, "x.cif", "--debug") == 2
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fit"],
        ["predict", "m", "f", "--coverage", "2"],
        ["fit", "a.csv", "-o", "b"],
    ],
)
def test_usage(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        run(*arguments)
    assert stop.value.code == 2
    assert "usage: unlocknn" in capsys.readouterr().err


def test_interrupted_fit_leaves_nothing(
    folder, fit_options, tmp_path, capsys, monkeypatch
):
    def interrupt(file, *args, **kwargs):
        assert os.listdir(tmp_path)  # the temporary file
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "save_model", interrupt)
    command = ["fit", folder / "paths.csv", *fit_options]
    assert run(*command, "-o", tmp_path / "model.joblib") == 130
    assert "interrupted" in capsys.readouterr().err
    assert os.listdir(tmp_path) == []
