"""Importing the package, or a fitted regressor of features, loads no heavy library."""

import pickle
import subprocess
import sys

import battery
import numpy as np
import pytest

import sklearn_unlocknn
from sklearn_unlocknn import MEGNetProbRegressor, VGPRegressor

HEAVY = {
    "tensorflow",
    "tensorflow_probability",
    "keras",
    "tf_keras",
    "matplotlib",
    "megnet",
    "pymatgen",
}


def loaded_by(code, *arguments):
    """Run code in a new process and return the heavy libraries that it loads."""
    code += f"\nimport sys\nprint(*sorted({HEAVY!r} & set(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return result.stdout.split()


@pytest.mark.parametrize(
    "code",
    [
        "import sklearn_unlocknn, sklearn_unlocknn.metrics, sklearn_unlocknn.datasets\n"
        "import sklearn_unlocknn.plotting\n"
        "from sklearn_unlocknn.kernels import make_kernel\n"
        "make_kernel('rbf', 2)\n"
        "sklearn_unlocknn.VGPRegressor(), sklearn_unlocknn.MEGNetProbRegressor()\n"
        "sklearn_unlocknn.StructureDescriptors(n_jobs=2)",
        "import numpy as np; from sklearn_unlocknn import VGPRegressor\n"
        "X = np.arange(8.0)[:, None]\n"
        "VGPRegressor(max_iter=2).fit(X, X[:, 0]).predict(X, return_std=True)",
        "from sklearn_unlocknn import KerasFeatureExtractor\n"
        "from sklearn.base import clone\n"
        "clone(KerasFeatureExtractor()).fit_transform([[1.0]])",
    ],
    ids=["import", "fit", "extractor without a network"],
)
def test_import_and_fit_load_no_heavy_library(code):
    assert loaded_by(code) == []


def test_loaded_by_detects_a_heavy_library():
    assert "keras" in loaded_by("import sys; sys.modules['keras'] = sys")


def test_fitted_regressor_unpickles_without_tensorflow(tmp_path):
    path = tmp_path / "model.pkl"
    model = VGPRegressor("rbf", max_iter=2).fit(battery.X, battery.y)
    path.write_bytes(pickle.dumps(model))
    code = "import pickle, sys\nmodel = pickle.load(open(sys.argv[1], 'rb'))"
    code += "\nassert repr(model) and model.kernel_ and model.elbo_"
    assert loaded_by(code, str(path)) == []


def test_fitted_state_is_numpy_only():
    model = VGPRegressor("rbf", max_iter=2, n_inducing_points=5)
    model.fit(battery.X, battery.y)
    for name, value in vars(model._head.posterior).items():
        assert name == "kernel" or isinstance(value, float | np.ndarray), name


IN_WORKERS = f"""
import pickle, sys
from joblib import Parallel, delayed
from sklearn.model_selection import GridSearchCV

def loaded(_):
    return {HEAVY - {"pymatgen"}} & set(sys.modules)

with open(sys.argv[1], "rb") as file:
    model, X, y = pickle.load(file)
search = GridSearchCV(model, {{"kernel": ["rbf", "matern52"]}}, cv=2, n_jobs=2)
search.fit(X, y).predict(X)
for found in Parallel(n_jobs=2)(delayed(loaded)(i) for i in range(4)):
    assert not found, found
"""


def test_workers_with_a_frozen_megnet_load_no_tensorflow(
    tiny_frozen, crystals, tmp_path
):
    model = MEGNetProbRegressor(tiny_frozen, max_iter=2, random_state=0)
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps((model, crystals, np.arange(24.0))))
    assert loaded_by(IN_WORKERS, str(path)) == ["pymatgen"]


def test_unknown_name_of_the_package_raises():
    with pytest.raises(AttributeError, match="no attribute 'GPRegressor'"):
        sklearn_unlocknn.GPRegressor  # noqa: B018
    assert set(sklearn_unlocknn.__all__) <= set(dir(sklearn_unlocknn))
