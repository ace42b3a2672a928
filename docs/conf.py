"""Sphinx configuration; `python -m sphinx -W -b html docs docs/_build` builds it.

`-D plot_gallery=0` does not run the examples.
"""

import os
import re
import sys
from pathlib import Path

import sklearn_unlocknn

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs"))

project = "sklearn-unlocknn"
author = "The sklearn-unlocknn developers"
copyright = f"2026, {author}"
release = version = sklearn_unlocknn.__version__

extensions = [
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx_gallery.gen_gallery",
    "myst_parser",
]
exclude_patterns = ["_build", "gallery/*.ipynb", "gallery/*.py", "gallery/*.md5"]
templates_path = ["_templates"]

html_theme = "pydata_sphinx_theme"
html_title = "sklearn-unlocknn"
html_theme_options = {"show_prev_next": False, "navigation_with_keys": False}

autosummary_generate = True
autodoc_typehints = "none"
numpydoc_show_class_members = True
# Members of scikit-learn's base classes have no pages here.
numpydoc_show_inherited_class_members = True
numpydoc_class_members_toctree = False
numpydoc_xref_param_type = False

# Examples that need the data sets run only if these are in the data folder.
_data = Path(os.environ.get("SKLEARN_UNLOCKNN_DATA", ""))
_has_data = bool(_data.name) and (_data / "megnet").is_dir()
sphinx_gallery_conf = {
    "examples_dirs": str(ROOT / "examples"),
    "gallery_dirs": "gallery",
    "filename_pattern": "/plot_" if _has_data else "/plot_(?!megnet|batches)",
    "ignore_pattern": r"^(?!.*plot_).*\.py$",
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "show_memory": False,
    "remove_config_comments": True,
    "matplotlib_animations": False,
}


def _escape(app, what, name, obj, options, lines):
    """Escape what RST reads as a reference in docstrings.

    A fitted attribute in a shape, ``(n_features_in_,)``, is not a reference, and
    inherited methods refer to the user guide of scikit-learn, which is another site.
    """
    for k, line in enumerate(lines):
        line = re.sub(r":ref:`([^`<]+) <r2_score>`", r"\1", line)
        lines[k] = re.sub(r"(?<![`\w])(\w+)_(?=[,)]| \+)", r"\1\\_", line)


def setup(app):
    """Run after numpydoc, which has the default priority."""
    app.connect("autodoc-process-docstring", _escape, priority=900)
