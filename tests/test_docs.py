"""Every public name has a page in the API reference and says what a reader needs."""

import importlib
import inspect
import re
from pathlib import Path

import pytest

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


@pytest.mark.parametrize(("module", "name"), CALLABLE)
def test_documented_defaults_are_those_of_the_signature(module, name):
    thing = getattr(importlib.import_module(module), name)
    doc = inspect.getdoc(thing)
    for parameter in inspect.signature(thing).parameters.values():
        line = re.search(rf"^{parameter.name} : .*", doc, flags=re.MULTILINE)
        if line is None or "default=" not in line[0]:
            continue
        start = doc.index(line[0])
        text = doc[start : start + 300].split("\n    ")[0].replace("\n", " ")
        stated = re.search(r"default=(.+)$", text)[1]
        default = parameter.default
        if isinstance(default, str):
            assert stated.strip("\"'") == default
        elif isinstance(default, int | float) and not isinstance(default, bool):
            assert float(stated) == default
        elif default is None or isinstance(default, bool | tuple):
            assert stated == repr(default)
