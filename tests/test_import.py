"""Importing loads no heavy library, and only some folders may."""

import ast
import pickle
import subprocess
import sys
from pathlib import Path

import battery
import numpy as np
import pytest

import sklearn_unlocknn
from sklearn_unlocknn import VGPRegressor

HEAVY = {
    "tensorflow",
    "tensorflow_probability",
    "keras",
    "tf_keras",
    "megnet",
    "pymatgen",
}
PACKAGE = Path(sklearn_unlocknn.__file__).parent
SOURCES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))
# Heavy libraries, and the folders and files that may import them.
KERAS = ("_keras/", "_megnet/", "_fine_tuning/", "_gp/tfp_")
PLACES = dict.fromkeys(["tensorflow", "keras", "tf_keras"], KERAS)
PLACES["tensorflow_probability"] = ("_gp/tfp_",)
PLACES["megnet"] = ("_megnet/",)
PLACES["pymatgen"] = (
    "_structures/", "_megnet/", "datasets/", "metrics/_structure_labels.py"
)  # fmt: skip


def loaded_by(code, *arguments):
    """Return which heavy libraries a fresh process has loaded after the code."""
    code += f"\nimport sys\nprint(*sorted({HEAVY!r} & set(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return result.stdout.split()


@pytest.mark.parametrize(
    "code",
    [
        "import sklearn_unlocknn",
        "import sklearn_unlocknn.metrics",
        "import sklearn_unlocknn.datasets",
        "from sklearn_unlocknn import MEGNetProbRegressor; MEGNetProbRegressor()",
        "from sklearn_unlocknn import VGPRegressor; VGPRegressor()",
        "from sklearn_unlocknn.kernels import make_kernel; make_kernel('rbf', 2)",
        "import numpy as np; from sklearn_unlocknn import VGPRegressor\n"
        "X = np.arange(8.0)[:, None]\n"
        "VGPRegressor(max_iter=2).fit(X, X[:, 0]).predict(X, return_std=True)",
    ],
)
def test_import_loads_no_heavy_library(code):
    assert loaded_by(code) == []


def test_the_check_itself_works():
    assert "keras" in loaded_by("import sys; sys.modules['keras'] = sys")


def test_fitted_regressor_unpickles_without_tensorflow(tmp_path):
    path = tmp_path / "model.pkl"
    model = VGPRegressor("rbf", max_iter=2).fit(battery.X, battery.y)
    path.write_bytes(pickle.dumps(model))
    code = "import pickle, sys\nmodel = pickle.load(open(sys.argv[1], 'rb'))"
    code += "\nassert repr(model) and model.kernel_ and model.elbo_"
    assert loaded_by(code, str(path)) == []


def test_fitted_state_is_numpy_alone():
    model = VGPRegressor("rbf", max_iter=2, n_inducing_points=5)
    model.fit(battery.X, battery.y)
    for name, value in vars(model._posterior).items():
        assert value is None or isinstance(value, float | np.ndarray), name


@pytest.mark.parametrize("path", SOURCES)
def test_heavy_libraries_are_imported_in_their_places_alone(path):
    imported = set()
    for node in ast.walk(ast.parse((PACKAGE / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            imported.add(node.module.split(".")[0])
    misplaced = {name for name in imported & HEAVY if not path.startswith(PLACES[name])}
    assert not misplaced


def test_unknown_name_of_the_package():
    with pytest.raises(AttributeError, match="no attribute 'GPRegressor'"):
        sklearn_unlocknn.GPRegressor  # noqa: B018
    assert set(sklearn_unlocknn.__all__) <= set(dir(sklearn_unlocknn))
