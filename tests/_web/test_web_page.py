"""Test the page and its JSON with the test client: the same numbers, all formats."""

import io
import json
import re
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from _cli.command import run
from _structures.damage import (
    WRITERS,
    ethanol,
    extended_xyz,
    perovskite,
    rock_salt,
    triclinic,
)
from _web.web_pages import HOST, csv_of, results, send, text_of
from numpy.testing import assert_allclose
from pymatgen.core import Lattice, Structure

from sklearn_unlocknn import load_model
from sklearn_unlocknn._cli.files import load_model as load_any
from sklearn_unlocknn._cli.main import parse_arguments
from sklearn_unlocknn._cli.serve import _training
from sklearn_unlocknn._web.chart import ticks_of
from sklearn_unlocknn._web.drawing import draw, viewer_data
from sklearn_unlocknn._web.training import Training
from sklearn_unlocknn._web.words import plus_minus

NAMES = {"cif": "a.cif", "poscar": "POSCAR", "xyz": "a.xyz", "json": "a.json"}


@pytest.mark.parametrize("kind", WRITERS)
def test_every_format_is_predicted_as_the_structure(kind, client, fitted):
    structure = ethanol() if kind == "xyz" else rock_salt()
    text = WRITERS[kind](structure)
    name = next(name for key, name in NAMES.items() if key in kind)
    (by_name,) = results(client, (name, text))
    (by_content,) = results(client, ("noname", text))
    (pasted,) = results(client, text=text)
    assert (by_name["file"], by_name["error"]) == (name, "")
    assert pasted["file"] == "pasted text"
    assert by_name["n_atoms"] == len(structure)
    mean, std = load_model(fitted).predict([structure], return_std=True)
    got = [[one["mean"], one["std"]] for one in (by_name, by_content, pasted)]
    assert_allclose(got, [[mean[0], std[0]]] * 3, rtol=1e-4)


def test_csv_is_that_of_the_command(client, folder, fitted, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)
    several = extended_xyz(rock_salt()) + extended_xyz(perovskite())
    (folder / "two.xyz").write_text(several)
    (folder / "low.json").write_text(triclinic().to_json())
    names = ["NaCl.cif", "bad.cif", "POSCAR", "two.xyz", "low.json"]
    (tmp_path / "far.cif").write_text(
        Structure(Lattice.cubic(2.9), ["W", "Au"], [[0] * 3, [0.5] * 3]).to(fmt="cif")
    )
    paths = [folder / name for name in names] + [tmp_path / "far.cif"]
    output = tmp_path / "out.csv"
    options = ("--coverage", 0.9, "-o", output)
    assert run("predict", fitted, *paths, *options) == 1
    want = pd.read_csv(output, keep_default_na=False)
    want["file"] = [str(name).rpartition("/")[2] for name in want["file"]]
    files = [(path.name, path.read_bytes()) for path in paths]
    got = csv_of(send(client, *files).get_data(as_text=True))
    got = pd.read_csv(io.StringIO(got), keep_default_na=False)
    assert list(got) == list(want)
    for name in want:
        if name in ("file", "nearest", "warning", "error"):
            assert got[name].tolist() == want[name].tolist()
        else:
            numbers = [pd.to_numeric(table[name]) for table in (got, want)]
            assert_allclose(*numbers, rtol=1e-5)
    assert "outside the domain of the training data" in set(got["warning"])


def test_page_has_the_numbers_of_the_json(client, folder):
    files = [(name, (folder / name).read_bytes()) for name in ("NaCl.cif", "POSCAR")]
    found = results(client, *files)
    page = send(client, *files).get_data(as_text=True)
    text = text_of(page).replace("\N{MINUS SIGN}", "-")
    for one in found:
        digits = max(0, 1 - int(np.floor(np.log10(one["std"]))))
        mean, std = f"{one['mean']:.{digits}f}", f"{one['std']:.{digits}f}"
        assert f"energy {mean} ± {std} eV/atom" in text
        assert f"{one['lower']:.{digits}f} to {one['upper']:.{digits}f} eV/atom" in text
        assert f"The score is {one['domain']:.2f}" in text
        assert [near["rank"] for near in one["nearest"]] == [1, 2, 3, 4, 5]
        for near in one["nearest"]:
            assert (
                f"{near['formula']} {near['target']:.4g} {near['weight']:.2g}" in text
            )
    assert page.count('class="crystal"') == page.count('class="chart"') == 2
    for svg in re.findall(r"<svg.*?</svg>", page, flags=re.S):
        ElementTree.fromstring(svg)


def test_interval_and_nearest_are_those_of_python(client, fitted):
    (one,) = results(client, text=rock_salt().to(fmt="cif"))
    model = load_model(fitted)
    want = model.predict_interval([rock_salt()], coverage=0.9)[0]
    assert_allclose([one["lower"], one["upper"]], want, rtol=1e-4)
    score, rank = model.domain_score([rock_salt()], return_rank=True)
    assert_allclose([one["domain"], one["domain_rank"]], [score[0], rank[0]], rtol=1e-5)
    near = model.nearest_training([rock_salt()]).drop(columns="sample")
    got = pd.DataFrame(one["nearest"])[near.columns]
    pd.testing.assert_frame_equal(got, near, rtol=1e-4, check_dtype=False)


def test_log10_model_shows_units(make_app, fitted_log10):
    client = make_app(fitted_log10).test_client()
    (one,) = results(client, text=rock_salt().to(fmt="cif"))
    assert one["log10_mean"] < np.log10(one["mean"])
    model = load_model(fitted_log10)
    near = model.nearest_training([rock_salt()])
    targets = [other["target"] for other in one["nearest"]]
    assert_allclose(targets, 10 ** near["target"], rtol=1e-6)
    page = send(client, text=rock_salt().to(fmt="cif")).get_data(as_text=True)
    assert "The model card states no unit" in page
    assert "log10 of the target" in page


def test_errors_stand_beside_their_files(client):
    good = rock_salt().to(fmt="cif")
    files = [("a.cif", good), ("b.cif", "data_b\n"), ("c.cif", good), ("d.xyz", "3\n")]
    got = results(client, *files)
    assert [one["file"] for one in got] == ["a.cif", "b.cif", "c.cif", "d.xyz"]
    assert [one["error"] == "" for one in got] == [True, False, True, False]
    assert [one["mean"] is None for one in got] == [False, True, False, True]
    page = send(client, *files).get_data(as_text=True)
    articles = re.findall(r"<article.*?</article>", page, flags=re.S)
    failed = ["Not predicted" in article for article in articles]
    assert failed == [False, True, False, True]
    assert "no data block" in articles[1]
    assert "4 structures, 2 not predicted" in text_of(page)


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("a.cif.gz", b"\x1f\x8b\x08", "compressed. Unpack it"),
        ("a.cif", b"PK\x03\x04", "compressed. Unpack it"),
        ("a.pdb", "ATOM", r"\.pdb are not read here"),
        ("a.cif", " \n", "the file is empty"),
        ("a.json", "[]", "no structure"),
        ("a.json", '{"atom": [1], "bond": [1], "index1": [0], "index2": [0]}', "graph"),
    ],
)
def test_what_cannot_be_read_is_named(name, content, error, client):
    (one,) = results(client, (name, content))
    assert re.search(error, one["error"])


def test_names_are_escaped_everywhere(client):
    name = "<img src=x onerror=alert(1)>'&.cif"
    page = send(client, (name, rock_salt().to(fmt="cif")), ("<b>.cif", "<i>x</i>"))
    page = page.get_data(as_text=True)
    assert page.count("&lt;img src=x onerror=alert(1)&gt;&#39;&amp;.cif") >= 3
    assert "<img" not in page
    assert "<b>" not in page
    assert "<i>" not in page
    scripts = re.findall(r"<script\b([^>]*)>(.*?)</script>", page, flags=re.S)
    assert all("src=" in tag and not body.strip() for tag, body in scripts)
    body = {"structures": [{"name": "../../etc/<x>\x00\n.cif", "text": "data_"}]}
    (one,) = client.post("/api/predict", json=body, base_url=HOST).json["results"]
    assert one["file"] == "<x>\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}.cif"


def test_json_body_is_the_same_as_a_form(client):
    text = rock_salt().to(fmt="cif")
    body = {"structures": [{"name": "a.cif", "text": text}, text]}
    got = client.post("/api/predict", json=body, base_url=HOST).json
    want = results(client, ("a.cif", text), text=text)
    assert got["results"] == want
    assert (got["target"], got["unit"], got["coverage"]) == ("energy", "eV/atom", 0.9)


@pytest.mark.parametrize(
    "body",
    ["{", "[]", '{"structures": 1}', '{"structures": [1]}',
     '{"structures": [{"name": 1, "text": ""}]}', "[" * 100_000],
)  # fmt: skip
def test_other_json_is_refused(body, client):
    got = client.post(
        "/api/predict", data=body, content_type="application/json", base_url=HOST
    )
    assert got.status_code == 400
    assert "expected" in got.json["error"]


def test_model_endpoint_has_the_card(client):
    got = client.get("/api/model", base_url=HOST).json
    assert (got["target"], got["unit"], got["n_samples"]) == ("energy", "eV/atom", 36)
    assert got["card"]["held_out"]["point"]["mae"] > 0
    assert got["limits"]["atoms"] == 500
    assert not got["has_training_structures"]


def test_page_states_held_out_error_and_api(client):
    text = text_of(client.get("/", base_url=HOST).get_data(as_text=True))
    assert "Model fitted to 36 structures" in text
    assert "Mean absolute error of held-out structures" in text
    assert "api/predict" in text


def test_training_structures_are_shown(make_app, fitted, folder):
    paths = sorted((folder / "cifs").iterdir())
    y = pd.read_csv(folder / "train.csv")["energy"].to_numpy()
    training = Training(paths, [f"row {i}" for i in range(36)], y)
    record = load_model(fitted)._head.record
    assert training.mismatch(record) == ""
    client = make_app(fitted, training=training).test_client()
    page = send(client, text=paths[5].read_text()).get_data(as_text=True)
    assert 'href="/training/5"' in page
    shown = client.get("/training/5", base_url=HOST).get_data(as_text=True)
    assert 'class="crystal"' in shown
    assert f"{y[5]:.4g}" in shown
    assert client.get("/training/36", base_url=HOST).status_code == 404


def test_other_training_data_is_refused(fitted, folder):
    record = load_model(fitted)._head.record
    paths, names = sorted((folder / "cifs").iterdir()), [f"row {i}" for i in range(36)]
    y = pd.read_csv(folder / "train.csv")["energy"].to_numpy()
    assert "35 usable" in Training(paths[1:], names[1:]).mismatch(record)
    assert "the target of row" in Training(paths, names, y[::-1]).mismatch(record)
    assert "that of the fit was" in Training(paths[::-1], names).mismatch(record)


def _training_of(path, data):
    return _training(parse_arguments(["serve", str(path), "--training", str(data)]),
                     load_any(path))  # fmt: skip


def test_training_data_is_found_again(fitted, fitted_log10, folder, capsys):
    for path in (fitted, fitted_log10):
        found = _training_of(path, folder / "train.csv")
        assert found.names[3] == "row 4 of train.csv (cifs/03.cif)"
        assert len(found.items) == 36
    found = _training_of(fitted, folder / "cifs")
    assert found.names[3] == "03.cif"
    assert found.y is None
    # rows that the fit left out, of which one is found by reading alone
    lines = (folder / "train.csv").read_text().splitlines()
    lines[3:3] = ["1.5,bad.cif", "none,cifs/01.cif"]
    (folder / "more.csv").write_text("\n".join(lines))
    found = _training_of(fitted, folder / "more.csv")
    assert found.names[1:4] == [
        f"row {row} of more.csv (cifs/{row - shift:02d}.cif)"
        for row, shift in ((2, 1), (5, 3), (6, 3))
    ]
    assert "to find those that were left out" in capsys.readouterr().err


def test_model_without_training_record_predicts(make_app, fitted):
    """Files of the first format numbers have no record of training structures."""
    estimator = load_model(fitted)
    estimator._head.record = None
    client = make_app(estimator).test_client()
    (one,) = results(client, text=rock_salt().to(fmt="cif"))
    assert one["mean"] is not None
    assert one["domain"] is None
    assert one["nearest"] == []
    page = send(client, text=rock_salt().to(fmt="cif")).get_data(as_text=True)
    assert "Fit the model again to judge its domain" in text_of(page)


@pytest.mark.parametrize(
    ("low", "high", "log10", "want"),
    [
        (-5.2, 5.2, False, ["-4", "-2", "0", "2", "4"]),
        (0.101, 0.139, False, ["0.11", "0.12", "0.13"]),
        (0, 3, True, ["1", "10", "100", "1000"]),
        (0.3, 1.2, True, ["2", "5", "10"]),
        (0.4, 0.6, True, ["3.0", "3.5"]),
    ],
)
def test_ticks(low, high, log10, want):
    pairs = ticks_of(low, high, log10)
    assert [text for _, text in pairs] == want
    values = [10**place if log10 else place for place, _ in pairs]
    assert_allclose(values, list(map(float, want)), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("values", "want"),
    [
        ((4.3925, 0.3733, 3.9, 4.914), ("4.39", "0.37", "3.90", "4.91")),
        ((-12345.6, 123.4), ("\N{MINUS SIGN}12346", "123")),
        ((1.0, None, None), ("1", "-", "-")),
        ((1e-12, 1e-13), ("1e\N{MINUS SIGN}12", "1e\N{MINUS SIGN}13")),
    ],
)
def test_digits_are_those_of_the_error_bar(values, want):
    assert plus_minus(*values) == want


@pytest.mark.parametrize("make", [rock_salt, perovskite, triclinic, ethanol])
def test_drawing_has_all_atoms_inside(make):
    structure = make()
    svg, legend = draw(structure)
    tree = ElementTree.fromstring(svg)
    width, height = map(float, tree.get("viewBox").split()[2:])
    circles = tree.findall("circle")
    assert len(circles) >= len(structure)
    for circle in circles:
        x, y, r = (float(circle.get(name)) for name in ("cx", "cy", "r"))
        assert -1 <= x - r <= x + r <= width + 1
        assert -1 <= y - r <= y + r <= height + 1
    assert [kind for kind, _ in legend] == list(
        dict.fromkeys(site.specie.symbol for site in structure)
    )
    assert len(set(color for _, color in legend)) == len(legend)
    assert len(tree.findall("line")) == (12 if hasattr(structure, "lattice") else 0)


def test_viewer_has_all_atoms_and_those_on_faces():
    data, crystal = viewer_data(perovskite()), perovskite()
    json.dumps(data)
    counts = {name: data["names"].count(name) for name in ("Sr", "Ti", "O")}
    assert counts == {"Sr": 8, "Ti": 1, "O": 6}
    places = np.transpose([data["x"], data["y"], data["z"]])
    cell = np.reshape(data["cell"], (3, 3))
    assert np.linalg.det(cell) == pytest.approx(crystal.volume, rel=1e-4)
    shortest = np.linalg.norm(places[data["names"].index("Ti")] - places, axis=1)
    assert np.sort(shortest)[1:7] == pytest.approx(1.95, abs=1e-4)


def test_viewer_turns_a_cell_and_keeps_it():
    data, crystal = viewer_data(triclinic()), triclinic()
    assert data["size"] == len(crystal)
    cell = np.reshape(data["cell"], (3, 3))
    assert_allclose(np.linalg.norm(cell, axis=1), crystal.lattice.abc, atol=1e-4)
    places = np.transpose([data["x"], data["y"], data["z"]])
    assert_allclose(places @ np.linalg.inv(cell), crystal.frac_coords, atol=1e-4)
