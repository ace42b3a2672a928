"""What a model file refuses to hold, and what its card states."""

import os
import platform
from importlib import metadata

import numpy as np
import pandas as pd
import pytest
import sklearn
from _megnet.megnet_nets import SquareScaler, quick
from networks import Trainer, build_net
from numpy.testing import assert_allclose
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.ensemble import RandomForestRegressor
from sklearn.gaussian_process import kernels as gpk
from sklearn.linear_model import LinearRegression
from sklearn.metrics import make_scorer
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, SplineTransformer, StandardScaler
from sklearn.svm import SVR

from sklearn_unlocknn import (
    KerasFeatureExtractor,
    MEGNetFeatureExtractor,
    ModelFileError,
    ProbNNRegressor,
    VGPRegressor,
    load_model,
    read_model_card,
    save_model,
)
from sklearn_unlocknn._megnet.network import MEGNetSnapshot
from sklearn_unlocknn._megnet.state import freeze_object
from sklearn_unlocknn.compose import ProbTransformedTargetRegressor
from sklearn_unlocknn.datasets import make_ionic_crystals
from sklearn_unlocknn.metrics import make_prob_scorer, uq_report

X = np.random.default_rng(0).normal(size=(30, 4))
y = X[:, 0]


def double(x):
    return 2 * x


class MyKernel(gpk.RBF):
    """A kernel of a script."""


class Mine(RegressorMixin, BaseEstimator):
    """An estimator of a script."""


@pytest.mark.parametrize(
    ("model", "match"),
    [
        (FunctionTransformer(double), "save model.func, a function 'double' of "),
        (FunctionTransformer(lambda x: x), "function '<lambda>'"),
        (FunctionTransformer(np.frompyfunc(double, 1, 1)), "save model.func, a ufunc"),
        (FunctionTransformer(np.load), "function 'load' of numpy"),
        (FunctionTransformer(os.system), "function 'system' of posix|of nt"),
        (make_pipeline(StandardScaler(), Mine()),
         r"save model.steps\[1\]\[1\], a Mine of .*test_save"),
        (VGPRegressor(gpk.RBF() + MyKernel()), "save model.kernel.k2, a MyKernel"),
        (GridSearchCV(VGPRegressor(), {"max_iter": [1]}, scoring=make_scorer(double)),
         "save model.scoring._score_func, a function 'double'"),
        (GridSearchCV(VGPRegressor(), {"max_iter": [1]}, cv=print),
         "save model.cv, a function 'print' of builtins"),
        (ProbTransformedTargetRegressor(func=np.exp, inverse_func=double),
         "save model.inverse_func"),
        (RandomForestRegressor(2).fit(X, y), r"save model.estimator, a Decision"),
        (KNeighborsRegressor().fit(X, y), "save model, a KNeighborsRegressor"),
        (SVR().fit(X, y), "save model, a SVR of sklearn.svm"),
        (SplineTransformer().fit(X), r"save model.bsplines_\[0\], a BSpline"),
        (ProbNNRegressor(Trainer()), "save model.network, a Trainer"),
        ({"a": Mine}, r"save model\['a'\], the class 'Mine'"),
    ],
)  # fmt: skip
def test_code_is_refused_by_its_place(model, match, tmp_path):
    with pytest.raises(ModelFileError, match=match) as caught:
        save_model(model, tmp_path / "model.unlocknn")
    assert "Use pickle or joblib for it" in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_code_of_networks_is_refused(K, tmp_path):
    class Mine(K.layers.Layer):
        def call(self, x):
            return 2 * x

    def scaled(x):
        return 2 * x

    inputs = K.Input((4,))
    for layer, match in [
        (K.layers.Lambda(lambda t: 2 * t), "has 'Lambda'"),
        (Mine(), r"network 'model\w*' has \[.*'Mine'"),
        (K.layers.Dense(2, activation=scaled), r"has \[.*'scaled'"),
    ]:
        net = K.Model(inputs, K.layers.Dense(1)(layer(inputs)), name="model")
        model = KerasFeatureExtractor(net).fit(X)
        with pytest.raises(ModelFileError, match=f"save model.network: .*{match}"):
            save_model(model, tmp_path / "model.unlocknn")
    assert os.listdir(tmp_path) == []


def test_code_of_graph_networks_is_refused(tiny_frozen, tmp_path):
    state = {**tiny_frozen._state, "scaler": freeze_object(SquareScaler())}
    model = MEGNetFeatureExtractor(MEGNetSnapshot(state))
    with pytest.raises(ModelFileError, match="a graph scaler of its own"):
        save_model(model, tmp_path / "model.unlocknn")
    state = {**tiny_frozen._state, "classes": b"classes"}
    model = MEGNetFeatureExtractor(MEGNetSnapshot(state))
    with pytest.raises(ModelFileError, match="layers of its own"):
        save_model(model, tmp_path / "model.unlocknn")


def test_a_list_that_is_part_of_itself(tmp_path):
    nested = []
    nested.append(nested)
    with pytest.raises(ModelFileError, match="nested too deeply"):
        save_model(FunctionTransformer(kw_args={"a": nested}), tmp_path / "a")


def test_functions_of_scikit_learn_and_ours_are_saved(tmp_path):
    from scipy.special import expit
    from sklearn.metrics import mean_absolute_error

    from sklearn_unlocknn.metrics import interval_score

    path = tmp_path / "model.unlocknn"
    scoring = {
        "a": make_scorer(mean_absolute_error, greater_is_better=False),
        "b": make_prob_scorer(interval_score, greater_is_better=False, coverage=0.5),
    }
    search = GridSearchCV(
        make_pipeline(FunctionTransformer(expit), VGPRegressor("rbf", max_iter=1)),
        {"vgpregressor__max_iter": [0, 1]}, scoring=scoring, refit="b", cv=2,
    ).fit(X, y)  # fmt: skip
    save_model(search, path)
    loaded = load_model(path)
    assert loaded.score(X, y) == search.score(X, y)
    assert_allclose(
        loaded.cv_results_["mean_test_a"], search.cv_results_["mean_test_a"]
    )
    assert loaded.best_params_ == search.best_params_


def test_metadata_requests_are_saved(tmp_path):
    with sklearn.config_context(enable_metadata_routing=True):
        model = VGPRegressor().set_fit_request(sample_weight=True)
        save_model(model, tmp_path / "model.unlocknn")
        request = load_model(tmp_path / "model.unlocknn").get_metadata_routing()
    assert request.fit.requests["sample_weight"] is True


def test_card_of_features(small_data, tmp_path):
    X, y = small_data
    model = make_pipeline(StandardScaler(), VGPRegressor("rbf", max_iter=1))
    model.fit(X, y)
    path = tmp_path / "model.unlocknn"
    save_model(model, path)
    card = read_model_card(path)
    assert card.pop("versions").keys() == {
        "python", "sklearn_unlocknn", "numpy", "scipy", "scikit-learn",
    }  # fmt: skip
    assert card == {
        "format": "sklearn_unlocknn model", "protocol": 3, "model": "Pipeline",
        "estimators": [
            "sklearn.pipeline.Pipeline", "sklearn.preprocessing.StandardScaler",
            "VGPRegressor",
        ],
        "parameters": " ".join(repr(model).split()), "target": None, "unit": None,
        "log10": False, "n_samples": 60, "formulas": None, "held_out": None,
    }  # fmt: skip


def test_card_of_structures(tiny_net, tmp_path):
    crystals, energies = make_ionic_crystals(12, random_state=0, return_X_y=True)
    model = quick(tiny_net, max_iter=1).fit(crystals[:9], energies[:9])
    mean, std = model.predict(crystals[9:], return_std=True)
    report = uq_report(energies[9:], mean, std, output_dict=True)
    path = tmp_path / "model.unlocknn"
    save_model(
        model, path, X=crystals[:9], target="energy", unit="eV/atom", held_out=report
    )
    card = read_model_card(path)
    formulas = {crystal.composition.reduced_formula for crystal in crystals[:9]}
    assert card["formulas"] == sorted(formulas)
    assert (card["n_samples"], card["unit"]) == (9, "eV/atom")
    assert card["held_out"]["point"]["mae"] == report["point"]["mae"]
    assert card["versions"]["python"] == platform.python_version()
    assert {"tensorflow", "megnet", "pymatgen"} <= card["versions"].keys()
    for name, value in {"target": 1, "unit": b"eV", "held_out": {"a": object}}.items():
        with pytest.raises(ModelFileError, match=f"Got {name}"):
            save_model(model, path, **{name: value})


def test_card_of_libraries_that_are_installed_by_other_names(keras3_net, tmp_path):
    """As tensorflow-cpu is, or a copy of a source tree, which states no version."""
    found = metadata.packages_distributions()["tensorflow"]
    # pip leaves "~ensorflow" of what it could not remove, and others no name at all
    others = {"tensorflow": ["tensorflow", None, "tensorflow-cpu"], "tf_keras": []}
    versions = {"tensorflow-cpu": metadata.version(found[0])}

    def version(name):
        if name in others:
            raise metadata.PackageNotFoundError(name)
        return versions.get(name) or of_installed(name)

    of_installed = metadata.version
    X = np.random.default_rng(0).normal(size=(20, 4))
    model = ProbNNRegressor(keras3_net, max_iter=0).fit(X, X[:, 0])
    path = tmp_path / "model.unlocknn"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metadata, "version", version)
        patch.setattr(metadata, "packages_distributions", lambda: others)
        save_model(model, path)
    card = read_model_card(path)
    assert card["versions"]["tensorflow"] == versions["tensorflow-cpu"]
    assert "tf_keras" not in card["versions"]
    assert card["versions"]["keras"] == of_installed("keras")


def test_a_file_is_small_and_needs_no_network_until_it_predicts(keras3_net, tmp_path):
    """Of the default size of a model of features: numbers once, and little else."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 200))
    model = VGPRegressor("rbf", max_iter=0).fit(X, X[:, 0])
    path = tmp_path / "model.unlocknn"
    save_model(model, path)
    assert path.stat().st_size < 1.1 * X.nbytes
    net = build_net(__import__("keras"), n_inputs=4)
    save_model(KerasFeatureExtractor(net).fit(X[:, :4]), path)
    loaded = load_model(path)
    assert "model" not in vars(loaded.network_)
    loaded.transform(X[:, :4])
    assert "model" in vars(loaded.network_)


def test_names_of_columns_are_saved(tmp_path):
    frame = pd.DataFrame(X, columns=list("abcd"))
    model = VGPRegressor("rbf[a, c]", max_iter=1).fit(frame, y)
    save_model(model, tmp_path / "model.unlocknn")
    loaded = load_model(tmp_path / "model.unlocknn")
    assert list(loaded.feature_names_in_) == list("abcd")
    with pytest.raises(ValueError, match="feature names should match"):
        loaded.predict(frame[list("bacd")])


def test_a_linear_model_alone(tmp_path):
    path = tmp_path / "model.unlocknn"
    model = LinearRegression().fit(X, y)
    save_model(model, path)
    assert_allclose(load_model(path).predict(X), model.predict(X), rtol=1e-15)
