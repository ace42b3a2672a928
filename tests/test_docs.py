"""Every public name has a page in the API reference and says what a reader needs."""

import importlib
import inspect
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import cross_validate

from sklearn_unlocknn._cli.main import _parser

API = Path(__file__).parents[1] / "docs" / "api.rst"
MODULES = [
    "sklearn_unlocknn",
    *(
        f"sklearn_unlocknn.{name}"
        for name in (
            "calibration", "compose", "datasets", "kernels", "metrics",
            "model_selection", "plotting",
        )
    ),
]  # fmt: skip
PUBLIC = [
    (module, name)
    for module in MODULES
    for name in importlib.import_module(module).__all__
]
CALLABLE = [
    (module, name)
    for module, name in PUBLIC
    if callable(getattr(importlib.import_module(module), name))
]


def listed():
    """Return the (module, name) pairs that the reference lists."""
    pairs, module = set(), None
    for line in API.read_text().splitlines():
        if found := re.match(r"\.\. currentmodule:: (\S+)", line):
            module = found[1]
        elif found := re.match(r"    ([A-Za-z_]\w*)$|\.\. data:: (\w+)", line):
            pairs.add((module, found[1] or found[2]))
    return pairs


def test_reference_is_complete_and_lists_nothing_else():
    assert listed() == set(PUBLIC)


@pytest.mark.parametrize(("module", "name"), CALLABLE)
def test_docstring_has_what_a_reader_needs(module, name):
    thing = getattr(importlib.import_module(module), name)
    doc = inspect.getdoc(thing)
    sections = re.findall(r"^(\w[\w ]+)\n-+$", doc, flags=re.MULTILINE)
    assert "Examples" in sections or ">>>" in doc
    signature = inspect.signature(thing)
    named = [p for p in signature.parameters if p not in ("self", "args", "kwargs")]
    if named:
        assert "Parameters" in sections
    for parameter in named:
        line = rf"^\**{parameter}\b.* : |\b{parameter}\b, .* : |, {parameter} : "
        assert re.search(line, doc, flags=re.MULTILINE), parameter


GUIDE = API.parent
LIBRARIES = {"interoperation": ("mapie", "optuna", "skopt", "uncertainty_toolbox")}
needs_network = pytest.mark.skipif(
    "SKLEARN_UNLOCKNN_DATA" not in os.environ,
    reason="needs a pretrained network in SKLEARN_UNLOCKNN_DATA",
)


def python_blocks(page):
    """Return the code of a page, its blocks one after the other."""
    text = (GUIDE / f"{page}.rst").read_text()
    pattern = r"^\.\. code-block:: python\n\n((?: {4}.*\n|\n)+)"
    blocks = re.findall(pattern, text + "\n", flags=re.MULTILINE)
    return [textwrap.dedent(block) for block in blocks]


@pytest.fixture
def names(tmp_path, monkeypatch):
    """Give what pages take for granted: data, a network, files of crystals."""
    import keras
    from sklearn.datasets import load_diabetes
    from sklearn.model_selection import train_test_split

    from sklearn_unlocknn.datasets import make_ionic_crystals

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
    crystals, energy = make_ionic_crystals(25, random_state=0, return_X_y=True)
    for k, crystal in enumerate(crystals):
        folder = Path("cifs" if k < 20 else "new")
        folder.mkdir(exist_ok=True)
        crystal.to(filename=str(folder / f"{k:02d}.cif"))
    given = {"X_train": X_train, "X_test": X_test, "y_train": y_train}
    return given | {"y_test": y_test, "network": network, "y": energy[:20]}


@pytest.mark.filterwarnings("ignore:Issues encountered while parsing CIF")
@pytest.mark.parametrize(
    "page",
    [
        pytest.param("start", marks=needs_network),
        "guide/head",
        "guide/choosing",
        "guide/interoperation",
        "guide/calibration",
        pytest.param("guide/megnet", marks=needs_network),
        "guide/migrating",
    ],
)
def test_code_of_the_guide_runs(page, names):
    for library in LIBRARIES.get(page.removeprefix("guide/"), ()):
        pytest.importorskip(library)
    blocks = python_blocks(page)
    assert blocks
    if page == "guide/calibration":  # fragments, which leave imports out
        names |= {name: getattr(importlib.import_module(m), name) for m, name in PUBLIC}
        names |= {"cross_validate": cross_validate, "head": names["VGPRegressor"]()}
        X, y = names["X_train"], names["y_train"]
        names |= {"X": X, "y": y, "model": clone(names["head"]).fit(X, y)}
    for block in blocks:
        exec(compile(block, page, "exec"), names)
    if "std" in names:
        assert np.isfinite(names["std"]).all()
        assert (names["std"] > 0).all()


def test_commands_in_the_guide_are_understood():
    text = (GUIDE / "start.rst").read_text() + (GUIDE.parent / "README.md").read_text()
    lines = re.findall(r"^\s*unlocknn (.+)$", text, flags=re.MULTILINE)
    commands = [_parser().parse_args(shlex.split(line)).run for line in lines]
    assert len(commands) == 6
    assert len(set(commands)) == 3  # fit, predict, evaluate


def documented():
    """Return every public name with its public methods and properties, by path."""
    found = {}
    for module, name in CALLABLE:
        thing = getattr(importlib.import_module(module), name)
        found[f"{module}.{name}"] = thing
        for member in dir(thing) if inspect.isclass(thing) else ():
            value = inspect.getattr_static(thing, member)
            value = getattr(value, "fget", None) or getattr(thing, member)
            ours = str(getattr(value, "__module__", "")).startswith("sklearn_unlocknn")
            if not member.startswith("_") and ours:
                found[f"{module}.{name}.{member}"] = value
    return found


DOCUMENTED = documented()
# What numpydoc's own list asks for and this package does not:
NOT_ASKED = {
    "ES01": "an extended summary: one line may say it all",
    "EX01": "an example of each method: the class has one",
    "SA01": "see also of each method: the class has it",
    "RT02": "returned values without a name",
    "RT03": "what `self` is",
    "RT04": "a capital after a name in lower case",
}


@pytest.mark.parametrize("path", DOCUMENTED)
def test_docstring_is_valid_numpydoc(path):
    validate = pytest.importorskip("numpydoc.validate").validate
    errors = [error for error in validate(path)["errors"] if error[0] not in NOT_ASKED]
    assert not errors


@pytest.mark.parametrize("path", DOCUMENTED)
def test_documented_defaults_are_those_of_the_signature(path):
    thing = DOCUMENTED[path]
    doc = inspect.getdoc(thing)
    if not callable(thing) or "Parameters\n-----" not in doc:
        return
    for parameter in inspect.signature(thing).parameters.values():
        name, default = parameter.name, parameter.default
        line = re.search(rf"^(.*, )?{name}(, .*)? : (?s:.*?)(?=\n    |\Z)", doc, re.M)
        if line is None or default is parameter.empty:
            continue
        stated = re.search(r"default=(.+)$", line[0].replace("\n", " ").rstrip())
        assert stated, line[0]
        stated = stated[1]
        if isinstance(default, str):
            assert stated.strip("\"'") == default
        elif isinstance(default, int | float) and not isinstance(default, bool):
            assert float(stated) == default
        elif default is None or isinstance(default, bool | tuple):
            assert stated == repr(default)


def sections_of(thing):
    """Return the text of each section of a docstring, by its title."""
    parts = re.split(r"^(\w[\w ]+)\n-+\n", inspect.getdoc(thing) or "", flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize(
    "path", [path for path, thing in DOCUMENTED.items() if not inspect.isclass(thing)]
)
def test_docstring_says_what_is_raised(path):
    thing = DOCUMENTED[path]
    if re.search(r"^\s+raise \w", inspect.getsource(thing), flags=re.M):
        assert "Raises" in sections_of(thing)


@pytest.mark.parametrize("path", DOCUMENTED)
def test_arrays_have_shapes_and_predictions_units(path):
    sections = sections_of(DOCUMENTED[path])
    for title in ("Parameters", "Returns", "Attributes"):
        text = sections.get(title, "")
        for entry in re.findall(r"^\S.*(?:\n\s+.*)*", text, flags=re.M):
            if re.match(r"[\w, ]+ : (array-like|ndarray)", entry):
                assert re.search(r"shape|same", entry), entry
            if re.match(r"(y_true|y_pred|y_std)\b", entry) and "not used" not in entry:
                assert "units" in entry, entry


@pytest.mark.parametrize("path", DOCUMENTED)
def test_a_formula_has_a_source(path):
    sections = sections_of(DOCUMENTED[path])
    if re.search(r":math:|\.\. math::", sections.get("Notes", "")):
        assert re.search(r"\.\. \[1\] \w", sections["References"])


def test_site_builds_without_warnings(tmp_path):
    """Offline; examples run in tests of their own."""
    pytest.importorskip("sphinx_gallery")
    made = shutil.ignore_patterns("_build", "gallery", "generated")
    for folder in ("docs", "examples"):
        shutil.copytree(GUIDE.parent / folder, tmp_path / folder, ignore=made)
    shutil.copy(GUIDE.parent / "CHANGELOG.md", tmp_path)
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
    assert {f"generated/{module}.{name}.html" for module, name in CALLABLE} < pages
    for example in (GUIDE.parent / "examples").glob("plot_*.py"):
        assert f"gallery/{example.stem}.html" in pages
