"""The documentation is complete and valid, and its code and commands run."""

import ast
import importlib
import inspect
import itertools
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import joblib
import keras
import numpy as np
import pytest
from example_runs import README, ROOT, needs_data, python_blocks
from numpy.testing import assert_array_equal
from numpydoc.docscrape import NumpyDocString
from numpydoc.validate import validate
from sklearn.base import clone
from sklearn.datasets import load_diabetes
from sklearn.model_selection import cross_validate, train_test_split
from sklearn.preprocessing import StandardScaler

import sklearn_unlocknn
from sklearn_unlocknn._cli.main import parse_arguments
from sklearn_unlocknn.datasets import make_ionic_crystals

MODULES = ["sklearn_unlocknn"] + [
    f"sklearn_unlocknn.{name}"
    for name in (
        "acquisition", "calibration", "compose", "datasets", "kernels", "metrics",
        "model_selection", "plotting", "prediction",
    )
]  # fmt: skip
PUBLIC = [
    (module, name)
    for module in MODULES
    for name in importlib.import_module(module).__all__
]


def public_objects():
    """Return every public object with its public methods and properties, by path."""
    found = {}
    for module, name in PUBLIC:
        thing = getattr(importlib.import_module(module), name)
        if not callable(thing):
            continue
        found[f"{module}.{name}"] = thing
        for member in dir(thing) if inspect.isclass(thing) else ():
            value = inspect.getattr_static(thing, member)
            value = getattr(value, "fget", None) or getattr(thing, member)
            ours = str(getattr(value, "__module__", "")).startswith("sklearn_unlocknn")
            if not member.startswith("_") and ours:
                found[f"{module}.{name}.{member}"] = value
    return found


OBJECTS = public_objects()
CALLABLE = [".".join(pair) for pair in PUBLIC if ".".join(pair) in OBJECTS]
# Checks of numpydoc that this package leaves out:
NOT_CHECKED = {
    "ES01": "an extended summary: one line may be enough",
    "EX01": "an example of each method: the class has one",
    "SA01": "see also of each method: the class has it",
    "RT02": "returned values without a name",
    "RT03": "what `self` is",
    "RT04": "a capital after a name in lower case",
}
# Parameters and attributes whose texts differ among the regressors:
OWN_TEXT = {
    "mean": 'only network regressors have "network"',
    "network": "a Keras network or a MEGNet",
    "network_": "a Keras network or a MEGNet",
    "layer": "different defaults",
    "kernel": "MEGNetProbRegressor has blocks of features by default",
    "n_features_out_": "MEGNetProbRegressor has descriptors, too",
    "n_jobs": "only network regressors run a network in the processes",
    "extract_batch_size": "different defaults, array rows or structures",
}


def parsed(thing):
    return NumpyDocString(inspect.getdoc(thing))


def entries(thing, *titles):
    """Return type and description of each documented name."""
    return {
        name.strip("*"): (entry.type, " ".join(" ".join(entry.desc).split()))
        for title in titles
        for entry in parsed(thing)[title]
        for name in entry.name.split(", ")
    }


def test_reference_lists_the_public_names():
    pairs, module = set(), None
    for line in (ROOT / "docs" / "api.rst").read_text().splitlines():
        if found := re.match(r"\.\. currentmodule:: (\S+)", line):
            module = found[1]
        elif found := re.match(r"    ([A-Za-z_]\w*)$|\.\. data:: (\w+)", line):
            pairs.add((module, found[1] or found[2]))
    assert pairs == set(PUBLIC)


@pytest.mark.parametrize("path", OBJECTS)
def test_docstring_is_valid_and_complete(path):
    thing, left_out = OBJECTS[path], set(NOT_CHECKED)
    if path in CALLABLE:
        left_out.remove("EX01")
    assert not [error for error in validate(path)["errors"] if error[0] not in left_out]
    doc = parsed(thing)
    if not inspect.isclass(thing) and re.search(
        r"^\s+raise \w", inspect.getsource(thing), flags=re.M
    ):
        assert doc["Raises"]
    if re.search(r":math:|\.\. math::", "\n".join(doc["Notes"])):
        assert re.search(r"\.\. \[1\] \w", "\n".join(doc["References"]))
    for name, (kind, text) in entries(
        thing, "Parameters", "Returns", "Attributes"
    ).items():
        if kind.startswith(("array-like", "ndarray")):
            assert re.search(r"shape|same", kind + text), name
        if name in ("y_true", "y_pred", "y_std") and "not used" not in text:
            assert "units" in text, name


@pytest.mark.parametrize("path", OBJECTS)
def test_documented_defaults_are_those_of_the_signature(path):
    documented = {
        name: ast.literal_eval(kind.split("default=")[1])
        for name, (kind, _) in entries(OBJECTS[path], "Parameters").items()
        if "default=" in kind
    }
    parameters = inspect.signature(OBJECTS[path]).parameters.items()
    defaults = {k: p.default for k, p in parameters if p.default is not p.empty}
    assert documented == defaults


REGRESSORS = ["VGPRegressor", "ProbNNRegressor", "MEGNetProbRegressor"]


@pytest.mark.parametrize("pair", [*itertools.combinations(REGRESSORS, 2)], ids=str)
def test_shared_parameters_and_attributes_have_the_same_text(pair):
    one, other = (
        entries(getattr(sklearn_unlocknn, name), "Parameters", "Attributes")
        for name in pair
    )
    shared = (one.keys() & other.keys()) - OWN_TEXT.keys()
    assert len(shared) > 10
    for name in shared:
        assert one[name] == other[name], name


@pytest.fixture
def names(tmp_path, monkeypatch):
    """Return data and a network that pages use, and write the files that they read."""
    monkeypatch.chdir(tmp_path)
    X, y = load_diabetes(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(
        X, y, train_size=150, random_state=0
    )
    keras.utils.set_random_seed(0)
    network = keras.Sequential(
        [
            keras.Input((10,)),
            keras.layers.Dense(8, activation="relu"),
            keras.layers.Dense(6, activation="relu"),
            keras.layers.Dense(1),
        ]
    )
    network.save("network.keras")
    joblib.dump(StandardScaler().fit(X_train[:50]), "scaler.joblib")
    crystals, energy = make_ionic_crystals(35, random_state=0, return_X_y=True)
    for folder, chosen in [
        ("cifs", crystals[:20]), ("new", crystals[30:]),
        ("crystals", crystals[:30]), ("candidates", crystals[30:]),
    ]:  # fmt: skip
        Path(folder).mkdir()
        for k, crystal in enumerate(chosen):
            crystal.to(filename=f"{folder}/{k:02d}.cif")
    table = [f"crystals/{k:02d}.cif,{energy[k]}" for k in range(30)]
    Path("moduli.csv").write_text("\n".join(["cif,log10_K", *table]))
    given = {"X_train": X_train, "X_test": X_test, "y_train": y_train}
    return given | {"y_test": y_test, "network": network, "y": energy[:20]}


@pytest.mark.filterwarnings("ignore:Issues encountered while parsing CIF")
@pytest.mark.parametrize(
    ("page", "n_predicted"),
    [
        pytest.param("README Crystals", 5, marks=needs_data),
        ("README A Keras network", 292),
        pytest.param("start", 5, marks=needs_data),
        ("guide/head", 292),
        ("guide/choosing", None),
        ("guide/calibration", 150),
        ("guide/domain", 292),
        ("guide/report", 292),
        pytest.param("guide/megnet", 20, marks=needs_data),
        ("guide/files", 292),
        ("guide/migrating", 292),
    ],
)
def test_code_of_the_page_runs(page, n_predicted, names, capsys):
    if page == "guide/calibration":  # its snippets leave imports out
        names |= {name: getattr(importlib.import_module(m), name) for m, name in PUBLIC}
        names |= {"cross_validate": cross_validate, "head": names["VGPRegressor"]()}
        X, y = names["X_train"], names["y_train"]
        names |= {"X": X, "y": y, "model": clone(names["head"]).fit(X, y)}
    blocks = python_blocks(page)
    assert blocks
    for block in blocks:
        exec(compile(block, page, "exec"), names)
    if n_predicted:
        assert names["std"].shape == (n_predicted,)
        assert np.isfinite(names["mean"]).all()
        assert (names["std"] > 0).all()
    assert "nan" not in capsys.readouterr().out


def test_readme_keeps_the_scaler_of_the_network(names):
    (block,) = python_blocks("README A Keras network")
    exec(compile(block, "README", "exec"), names)
    used, X = names["search"].best_estimator_[0], names["X_test"]
    assert_array_equal(used.transform(X), joblib.load("scaler.joblib").transform(X))


def test_commands_of_the_pages_are_valid():
    text = (ROOT / "docs" / "start.rst").read_text() + README
    lines = re.findall(r"^\s*unlocknn (.+)$", text, flags=re.MULTILINE)
    commands = [parse_arguments(shlex.split(line)).name for line in lines]
    assert len(commands) == 9
    assert set(commands) == {"fit", "predict", "evaluate", "report", "serve"}


def test_readme_has_the_commands_that_ci_runs():
    marker = "<!-- test command -->"
    assert marker in (ROOT / ".ci" / "run").read_text()
    block = README.split(marker)[1].split("```")[1]
    assert "pip install" in block
    assert "pytest" in block
    assert "examples/quickstart.py" in README


def test_readme_has_small_pictures_and_the_commands_that_draw_them():
    names = re.findall(r"!\[[^\]]+\]\((\S+)\)", README)
    most = {
        "docs/_static/quickstart.png": 100_000,
        "docs/_static/serve.png": 300_000,
        "docs/_static/report.png": 300_000,
    }
    assert sorted(names) == sorted(most)
    for name in names:
        picture = (ROOT / name).read_bytes()
        assert picture.startswith(b"\x89PNG")
        assert len(picture) < most[name]
    assert "--output docs/_static/quickstart.png" in README
    contributing = (ROOT / "CONTRIBUTING.md").read_text()
    assert "--screenshot=docs/_static/report.png" in contributing


def test_citation_is_of_this_version():
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {sklearn_unlocknn.__version__}\n" in citation
    dois = re.findall(r"doi: (\S+)", citation)
    assert len(dois) == 2
    assert all(doi in README for doi in dois)


def test_site_builds_without_warnings(tmp_path):
    """Build offline and without the examples, which have tests of their own."""
    made = shutil.ignore_patterns("_build", "gallery", "generated")
    for folder in ("docs", "examples"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=made)
    shutil.copy(ROOT / "CHANGELOG.md", tmp_path)
    options = ["-W", "--keep-going", "-q", "-b", "html", "-D", "plot_gallery=0"]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, "docs", "site"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    pages = {str(p.relative_to(tmp_path / "site")) for p in tmp_path.rglob("*.html")}
    assert {"index.html", "api.html", "guide/interoperation.html"} < pages
    assert {f"generated/{path}.html" for path in CALLABLE} < pages
    for example in (ROOT / "examples").glob("plot_*.py"):
        assert f"gallery/{example.stem}.html" in pages
