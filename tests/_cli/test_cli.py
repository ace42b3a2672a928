"""The command `unlocknn` in this process: fit, predict, evaluate, and their errors."""

import bz2
import codecs
import gzip
import io
import json
import lzma
import os
import pickle
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from _cli.command import run, table
from numpy.testing import assert_allclose, assert_array_equal
from pymatgen.core import Lattice, Structure

from sklearn_unlocknn import (
    MEGNetProbRegressor,
    VGPRegressor,
    load_model,
    read_model_card,
    save_model,
)
from sklearn_unlocknn._cli import commands
from sklearn_unlocknn._regressors import predictions
from sklearn_unlocknn.metrics import uq_report

# A CIF has thirds to some digits, which pymatgen rounds with a warning.
pytestmark = pytest.mark.filterwarnings("ignore:Issues encountered while parsing CIF")


def own_report(model, X, y, **params):
    """Return that of the model's own distribution."""
    own = {
        "log_density": lambda y: model.predict_log_density(X, y),
        "quantiles": lambda q: model.predict_quantiles(X, q),
    }
    return uq_report(y, *model.predict(X, return_std=True), **own, **params)


def test_same_numbers_as_in_python(folder, fitted, energies, capsys, monkeypatch):
    X, y = energies
    want = MEGNetProbRegressor(folder / "net.hdf5", kernel="rbf", random_state=0).fit(
        X[:24], np.log10(y[:24])
    )
    card, model = read_model_card(fitted), load_model(fitted)
    assert (card["target"], card["log10"], card["n_samples"]) == ("energy", True, 24)
    formulas = {crystal.composition.reduced_formula for crystal in X[:24]}
    assert card["formulas"] == sorted(formulas)
    assert (model.memory, model.n_jobs, model.on_error) == (None, None, "raise")
    assert not list(folder.glob(".*"))

    files = [str(folder / f"cifs/{i:02d}.cif") for i in range(24, 36)]
    mean, std = want.predict(files, return_std=True)
    interval = want.predict_interval(files, coverage=0.8)
    monkeypatch.setattr(predictions, "STEP", 5)  # several blocks
    assert run("predict", fitted, *files, "--coverage", 0.8) == 0
    out, err = capsys.readouterr()
    got = table(out)
    names = ["mean", "std", "lower", "upper", "log10_mean", "log10_std"]
    assert list(got) == ["file", *names, "domain", "nearest", "warning", "error"]
    assert list(got["file"]) == files
    assert set(got["error"]) == {""}
    assert_allclose(got["log10_mean"], mean, rtol=1e-6)
    assert_allclose(got["log10_std"], std, rtol=1e-6)
    # rounding to 1e-6 of a logarithm is 2e-6 of its exponential
    assert_allclose(got[["lower", "upper"]], 10**interval, rtol=3e-6)
    law = scipy.stats.lognorm(np.log(10) * std, scale=10**mean)
    assert_allclose(got["mean"], law.mean(), rtol=1e-5)
    assert_allclose(got["std"], law.std(), rtol=1e-5)
    assert "failed" not in err

    assert run("evaluate", fitted, folder / "both.csv", "--json") == 0
    got = json.loads(capsys.readouterr().out)
    report = own_report(want, X, np.log10(y), output_dict=True)
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
    assert_array_equal(rows.iloc[:, 1:-2].isna().all(axis=1), rows["error"] != "")
    assert_array_equal(rows.iloc[:, 1:-2].isna().any(axis=1), rows["error"] != "")
    for name, error in zip(rows["file"][1:5], rows["error"][1:5], strict=True):
        assert f"{name}: {error}" in captured.err
    assert "no file" in rows["error"][2]
    assert rows["error"][3] == "the folder is empty"
    assert "4 of 6 files failed" in captured.err
    assert not list(tmp_path.glob("*.part"))


def test_lists_of_files(folder, fitted, tmp_path, capsys, monkeypatch):
    """Lists of Windows and names that are not UTF-8 are read, also from a pipe."""
    monkeypatch.chdir(tmp_path)
    names = ["Å.cif", os.fsdecode(b"odd\xff.cif")]
    for name in names:
        shutil.copy(folder / "cifs/03.cif", name)
    text = "\r\n".join([*names, ""]).encode("utf-8", "surrogateescape")
    Path("list").write_bytes(codecs.BOM_UTF8 + text)
    assert run("predict", fitted, "--list", "list") == 0
    want = capsys.readouterr().out
    assert list(table(want)["file"]) == ["Å.cif", r"odd\xff.cif"]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    assert run("predict", fitted, "-") == 0
    assert capsys.readouterr().out == want
    Path("list").write_text("Å.cif\n", encoding="utf-16")
    # an option between MODEL and FILE
    assert run("predict", fitted, "--list", "list", names[1]) == 0
    assert list(table(capsys.readouterr().out)["file"]) == [r"odd\xff.cif", "Å.cif"]


def test_folders(fitted, energies, tmp_path, capsys, monkeypatch):
    """Each kind of file that can be named is found in a folder, the rest counted."""
    monkeypatch.chdir(tmp_path)
    for folder in ("all/sub/deep", "all/.git", "none/sub"):
        Path(folder).mkdir(parents=True)
    crystal = energies[0][1]
    cif, poscar = crystal.to(fmt="cif"), crystal.to(fmt="poscar")
    contents = {
        "CONTCAR_2": poscar, "KCl_POSCAR": poscar, "POSCAR": poscar, "a.CIF": cif,
        "b.mcif": cif, "d.vasp": poscar, "e.xsf": crystal.to(fmt="xsf"),
        "f.cssr": crystal.to(fmt="cssr"), "g.res": crystal.to(fmt="res"),
        "h.json": crystal.to(fmt="json"), "w.xyz": "2\n\nO 0 0 0\nO 0 0 1.2\n",
    }  # fmt: skip
    for name, text in contents.items():
        Path("all", name).write_text(text)
    for suffix, library in {".gz": gzip, ".bz2": bz2, ".xz": lzma}.items():
        with library.open(f"all/c.cif{suffix}", "wt") as file:
            file.write(cif)
    for name in ("sub/x.cif", "sub/deep/POSCAR", ".hidden.cif", ".git/y.cif"):
        Path("all", name).write_text(cif if name.endswith("cif") else poscar)
    for name in ("notes.txt", "more.txt", "README", "sub/fit.log"):
        Path("all", name).write_text("text")
    Path("none/a.pdf").write_text("text")
    names = sorted([*contents, "c.cif.gz", "c.cif.bz2", "c.cif.xz"])

    assert run("predict", fitted, "all", "none") == 1
    out, err = capsys.readouterr()
    rows = table(out)
    assert list(rows["file"]) == [*(f"all/{name}" for name in names), "none"]
    *errors, error = rows["error"]
    assert set(errors) == {""}
    assert error == (
        "the folder has no structure files: .pdf (1), subfolders (1); --recursive "
        "reads subfolders"
    )
    assert (
        "all: passed over .txt (2), without suffix (1), subfolders (1); --recursive"
    ) in err
    same = rows[:-1].set_index("file").drop("all/w.xyz")["mean"]
    assert_allclose(same, same.iloc[0], rtol=1e-3)  # digits of the formats

    Path("all/sub/loop").symlink_to("..")
    assert run("predict", fitted, "all", "--recursive") == 0
    out, err = capsys.readouterr()
    names += ["sub/x.cif", "sub/deep/POSCAR"]
    assert list(table(out)["file"]) == [f"all/{name}" for name in names]
    for kind in (".txt (2)", "without suffix (1)", ".log (1)", "links to folders (1)"):
        assert kind in err
    assert "reads subfolders" not in err


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read every folder")
def test_folders_without_permission(fitted, tmp_path, capsys):
    (tmp_path / "closed").mkdir(mode=0o000)
    assert run("predict", fitted, tmp_path, "--recursive") == 1
    error = table(capsys.readouterr().out)["error"].item()
    assert error == "the folder cannot be read (Permission denied)"


def test_rows_left_out(folder, fit_options, tmp_path, capsys):
    """Unusable rows are listed; after dropping them the model is that of the others."""
    good = pd.read_csv(folder / "paths.csv")[:12]
    one_atom = Structure(Lattice.cubic(30), ["Na"], [[0, 0, 0]])
    one_atom.to(str(folder / "one.cif"))
    (folder / "bad.cif").write_text("nonsense\n")
    bad = pd.DataFrame(
        {
            "path": ["cifs/00.cif", "bad.cif", "bad.cif", "gone.cif", "one.cif"],
            "energy": ["n/a", 1, "", "-1", 1],
        }
    )
    mixed = pd.concat([bad[:1], good, bad[1:]], ignore_index=True)
    good.to_csv(folder / "good.csv", index=False)
    mixed.to_csv(folder / "mixed.csv", index=False)
    out, drop = tmp_path / "mixed.unlocknn", ["--on-error", "drop"]
    rows = {
        "row 1 (cifs/00.cif)": "target 'energy' is 'n/a', not a number",
        "row 14 (bad.cif)": "the text cannot be read as CIF",
        "row 15 (bad.cif)": "target 'energy' is missing; the text cannot be read",
        "row 16 (gone.cif)": "target 'energy' is -1, not positive, and has no log10; "
        "there is no file",
        "row 17 (one.cif)": "no bonds",
    }

    def fit(name, *options):
        path = folder / f"{name}.csv"
        status = run("fit", path, *fit_options, "--log10", *options)
        return status, capsys.readouterr().err

    status, err = fit("mixed", "-o", out)
    assert status == 2
    assert "5 of 17 rows cannot be used" in err
    for row, error in rows.items():
        assert f"  {row}: {error}" in err
    assert not out.exists()
    status, err = fit("mixed", "-o", out, *drop)
    assert status == 0
    assert "Left out 5 of 17 rows" in err
    assert "from 12 rows" in err
    assert fit("good", "-o", tmp_path / "good.unlocknn")[0] == 0
    noise = [
        load_model(tmp_path / f"{name}.unlocknn").noise_std_
        for name in ("mixed", "good")
    ]
    assert_allclose(*noise, rtol=1e-6)

    written = tmp_path / "rows.csv"
    command = ["evaluate", out, folder / "mixed.csv", "-o", written]
    assert run(*command) == 2
    err = capsys.readouterr().err
    for row, error in rows.items():
        assert f"  {row}: {error}" in err
    assert not written.exists()
    assert run(*command, *drop) == 0
    got = table(written.read_text())
    assert list(got["row"]) == list(range(1, 18))
    assert list(got["file"]) == list(mixed["path"])
    kept = got[got["error"] == ""]
    assert list(kept["target"]) == list(good["energy"])
    files = [str(folder / file) for file in kept["file"]]
    report = own_report(load_model(out), files, np.log10(kept["target"]))
    assert capsys.readouterr().out == "log10(energy)\n" + report


def test_holdout_reports_and_changes_no_model(folder, fit_options, tmp_path, capsys):
    out = tmp_path / "model.unlocknn"
    command = ["fit", folder / "paths.csv", *fit_options, "-o", out]
    command += ["--memory", tmp_path / "memory"]
    assert run(*command) == 0
    assert capsys.readouterr().out == ""
    noise = load_model(out).noise_std_
    assert run(*command, "--force", "--holdout", 0.25) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("energy, held out\n9 samples\n")
    assert "miscalibration area" in printed
    assert_allclose(load_model(out).noise_std_, noise, rtol=1e-6)
    held_out = read_model_card(out)["held_out"]
    mae = float(re.search(r"MAE +(\S+)", printed)[1])
    assert_allclose(held_out["point"]["mae"], mae, rtol=1e-2)


def test_a_model_dumped_from_python(folder, fit_options, energies, tmp_path, capsys):
    model = MEGNetProbRegressor(
        folder / "net.hdf5", -2, kernel="rbf", mean="network", random_state=0
    ).fit(*energies)
    path, data = tmp_path / "model.pickle", folder / "both.csv"
    path.write_bytes(pickle.dumps(model))
    allow = "--allow-pickle"
    assert run("predict", path, folder / "cifs/00.cif", allow) == 0
    header = capsys.readouterr().out.splitlines()[0]
    assert header == "file,mean,std,lower,upper,domain,nearest,warning,error"
    assert run("evaluate", path, data, allow) == 2
    assert "Give --target" in capsys.readouterr().err
    assert run("evaluate", path, data, "--target", "energy", allow) == 0
    for command in (["predict", path, "x.cif"], ["evaluate", path, data]):
        assert run(*command) == 2
        err = capsys.readouterr().err
        assert re.search(r"model\.pickle', expected .* --allow-pickle", err)
    out = tmp_path / "same.unlocknn"
    options = ["--mean", "network", "--layer", "-2", "-o", out]
    assert run("fit", folder / "texts.csv", *fit_options, *options) == 0
    same = load_model(out)
    assert (same.mean, same.layer) == ("network", -2)
    assert_allclose(same.noise_std_, model.noise_std_, rtol=0.1)  # a CIF rounds


def test_warnings_of_the_reader_stand_beside_the_result(folder, fitted, tmp_path):
    guessed = tmp_path / "guessed.cif"
    guessed.write_text(
        "data_x\n_cell_length_a 3\n_cell_length_b 3\n_cell_length_c 3\n"
        "_cell_angle_alpha 90\n_cell_angle_beta 90\n_cell_angle_gamma 90\n"
        "_chemical_formula_sum 'Na Cl'\nloop_\n_atom_site_label\n_atom_site_fract_x\n"
        "_atom_site_fract_y\n_atom_site_fract_z\nNA1 0 0 0\nCL1 0.5 0.5 0.5\n"
    )
    out = tmp_path / "out.csv"
    assert run("predict", fitted, folder / "cifs/00.cif", guessed, "-o", out) == 0
    rows = pd.read_csv(out, keep_default_na=False)
    assert rows["warning"][0] == ""
    assert "NA1 parsed as Na" in rows["warning"][1]
    assert rows["error"].tolist() == ["", ""]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (["--target", "nope"], "no column 'nope'"),
        (["--structures", "nope"], "no column 'nope'"),
        (["--network", "Eform"], "neither a file nor the name .*: Eform_MP_2019"),
        (["--kernel", "rbff"], "rbff"),
        (["--layer", "999"], "`layer`=999"),
        (["--n-inducing-points", "0"], "n_inducing_points"),
        (["--holdout", "0.99"], "0.99 of 36 rows leaves none to fit"),
        (["-o", "there.unlocknn"], "exists.*--force"),
        (["-o", "no/such/folder.unlocknn"], "Cannot write"),
        (["-o", "cifs", "--force"], "not a regular file"),
        (["-o", "both.csv", "--force"], "also an input"),
        (["-o", "-"], "expected the name of a file"),
        (["-o", "a.joblib"], "'a.joblib', which is the name of a pickle"),
    ],
)
def test_fit_errors(options, match, folder, fit_options, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "there.unlocknn").write_text("mine")
    before = sorted(folder.rglob("*"))
    command = ["fit", "both.csv", *fit_options, "-o", "new.unlocknn", *options]
    assert run(*command) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    assert "\nunlocknn fit: error: " in f"\n{captured.err}"
    assert re.search(match, captured.err)
    assert sorted(folder.rglob("*")) == before
    assert (folder / "there.unlocknn").read_text() == "mine"


def _older():
    model = MEGNetProbRegressor()
    del model.n_jobs  # as of a version without this parameter
    return model


def saved(model):
    file = io.BytesIO()
    save_model(model, file)
    return file.getvalue()


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
        (saved(VGPRegressor()), "Got a VGPRegressor .* expected a model file"),
        (saved(MEGNetProbRegressor()), "not fitted, expected a model file"),
        (saved(VGPRegressor())[:-9], "Cannot read .* as a model file"),
    ],
    ids=[
        "gone", "junk", "empty", "list", "dict", "other", "unfitted", "older",
        "other file", "unfitted file", "cut file",
    ],
)  # fmt: skip
def test_files_without_a_fitted_model(content, match, folder, tmp_path, capsys):
    path = tmp_path / "model"
    if content is not None:
        path.write_bytes(content)
    command = ["predict", path, folder / "cifs/00.cif", "-o", tmp_path / "out"]
    assert run(*command, "--allow-pickle") == 2
    err = capsys.readouterr().err
    assert re.search(match, err)
    assert str(path) in err
    assert not (tmp_path / "out").exists()
    if content is None:
        return
    assert run("predict", path, folder / "both.csv") == 2
    assert "Got the table" in capsys.readouterr().err
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
        ["fit", "a.csv", "-o", "b", "--target", "y", "--random-state", "-1"],
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
    assert run(*command, "-o", tmp_path / "model.unlocknn") == 130
    assert "interrupted" in capsys.readouterr().err
    assert os.listdir(tmp_path) == []


def test_each_structure_of_a_file_has_a_row(folder, fitted, energies, tmp_path):
    crystals, _ = energies
    blocks = [X.to(fmt="cif").replace("data_", f"data_{i}_", 1)
              for i, X in enumerate(crystals[24:26])]  # fmt: skip
    (tmp_path / "two.cif").write_text("\n".join(blocks))
    (tmp_path / "one.cif").write_text(blocks[0])
    (tmp_path / "bad.json").write_text(json.dumps([crystals[24].as_dict(), {"a": 1}]))
    files = [tmp_path / name for name in ("two.cif", "one.cif", "bad.json")]
    out = tmp_path / "out.csv"
    assert run("predict", fitted, *files, "-o", out) == 1
    table = pd.read_csv(out, keep_default_na=False)
    assert table["file"].str.contains("two.cif:0_").tolist()[0]
    assert len(table) == 5
    assert (table["error"] == "").tolist() == [True, True, True, True, False]
    values = table["mean"].replace("", np.nan).astype(float)
    assert_allclose(values[[2, 3]], values[0], rtol=1e-3)
    assert values[1] != values[0]
