"""Fitted models of every kind that a model file holds."""

import numpy as np
from _megnet.megnet_nets import make_megnet, make_structures, quick
from networks import build_net
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.ensemble import BaggingRegressor, VotingRegressor
from sklearn.feature_selection import SelectKBest, f_regression
from sklearn.frozen import FrozenEstimator
from sklearn.gaussian_process import kernels as gpk
from sklearn.linear_model import BayesianRidge
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV, ShuffleSplit
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, PowerTransformer, StandardScaler

from sklearn_unlocknn import (
    FineTuning,
    KerasFeatureExtractor,
    MEGNetFeatureExtractor,
    MEGNetRegressor,
    ProbNNRegressor,
    StructureDescriptors,
    VGPRegressor,
)
from sklearn_unlocknn.calibration import CalibratedProbRegressor
from sklearn_unlocknn.compose import ProbTransformedTargetRegressor
from sklearn_unlocknn.kernels import OnFeatures
from sklearn_unlocknn.metrics import get_prob_scorer, prob_scoring

_rng = np.random.default_rng(0)
X = _rng.normal(size=(40, 4))
Y = np.sin(X[:, :2]) + 0.1 * _rng.normal(size=(40, 2))
y = Y[:, 0]


def numeric():
    """Return fitted models that need no network, by name."""
    gp = VGPRegressor("rbf", max_iter=2, random_state=0)
    sparse = VGPRegressor("matern52_ard + linear", 8, max_iter=2, random_state=0)
    blocks = OnFeatures(gpk.RBF([1.0, 2.0]), [0, 3]) + gpk.Matern(nu=0.5) ** 2
    models = {
        "gp": gp,
        "sparse": sparse,
        "kernel object": VGPRegressor(blocks, mean="linear", max_iter=1),
        "moved": VGPRegressor("rbf", 5, optimize_inducing_points=True, max_iter=2),
        "points": VGPRegressor("rbf", inducing_init=X[:6], max_iter=0),
        "no network": ProbNNRegressor(kernel="rbf", max_iter=1),
        "passed through": KerasFeatureExtractor(),
        "pipeline": make_pipeline(
            FunctionTransformer(np.arcsinh, np.sinh),
            make_column_transformer(
                (StandardScaler(), [0, 1]), remainder="passthrough"
            ),
            SelectKBest(f_regression, k=3),
            clone(sparse),
        ),
        "search": GridSearchCV(
            make_pipeline(StandardScaler(), gp),
            {"vgpregressor__kernel": ["rbf", gpk.RBF(2.0) + gpk.WhiteKernel(0.1)]},
            scoring=prob_scoring(["neg_crps", "r2"]),
            refit="neg_crps",
            cv=2,
        ),
        "random search": RandomizedSearchCV(
            gp,
            {"max_iter": [0, 1]},
            n_iter=1,
            cv=2,
            random_state=np.random.RandomState(0),
            scoring=get_prob_scorer("neg_nll"),
        ),
        "std": CalibratedProbRegressor(gp, cv=2),
        "isotonic": CalibratedProbRegressor(gp, method="isotonic", cv=2),
        "conformal": CalibratedProbRegressor(
            FrozenEstimator(BayesianRidge().fit(X, y)), method="conformal"
        ),
        "function of y": ProbTransformedTargetRegressor(
            gp, func=np.arcsinh, inverse_func=np.sinh
        ),
        "transformer of y": ProbTransformedTargetRegressor(
            gp, transformer=PowerTransformer()
        ),
        "of scikit-learn": TransformedTargetRegressor(
            VotingRegressor([("gp", gp), ("bags", BaggingRegressor(gp, 2))])
        ),
    }
    models = {name: model.fit(X, y) for name, model in models.items()}
    models["updated"] = VGPRegressor("rbf", max_iter=1).fit(X, y).partial_fit(X, -y)
    varying = VGPRegressor("rbf", max_iter=2, noise="varying", random_state=0)
    some = np.random.default_rng(1).normal(size=(300, 4))
    level = some.sum(axis=1)
    noise = np.exp(0.7 * level) * np.random.default_rng(2).normal(size=300)
    models["varying noise"] = varying.fit(some, level + 0.1 * noise)
    assert varying._head.errors.noise.level is not None
    models["several targets"] = VGPRegressor("rbf", 9, max_iter=2).fit(X, Y)
    models["a model a target"] = MultiOutputRegressor(gp).fit(X, Y)
    return models


def keras():
    """Return fitted models on networks of both Keras libraries, by name."""
    import keras
    import tf_keras

    net = build_net(keras)
    models = {
        "keras": ProbNNRegressor(
            net, kernel="rbf", max_iter=1, random_state=np.random.RandomState(0)
        ),
        "prior mean": ProbNNRegressor(
            build_net(tf_keras), kernel="rbf", max_iter=1, mean="network"
        ),
        "search over networks": GridSearchCV(
            ProbNNRegressor(kernel="rbf", max_iter=1),
            {"network": [net, build_net(keras, seed=7)]},
            cv=ShuffleSplit(1, random_state=0),
        ),
        "tuned": ProbNNRegressor(
            net, kernel="rbf", max_iter=1, fine_tuning=FineTuning(1), random_state=0
        ),
        "features": KerasFeatureExtractor(net, layer=["latent", -1]),
    }
    return {name: model.fit(X, y) for name, model in models.items()}


STRUCTURES = make_structures(12)


def structural():
    """Return fitted models of structures, by name."""
    net = make_megnet()
    targets = Y[:12, 0]
    models = {
        "crystals": quick(net, descriptors="auto", kernel=None),
        "prior mean of a search": GridSearchCV(
            quick(net, mean="network"),
            {"layer": ["auto"]},
            cv=ShuffleSplit(1, random_state=0),
        ),
        "several networks": quick([net, net], max_iter=1),
        "graph features": MEGNetFeatureExtractor(net),
        "descriptors": StructureDescriptors(groups=["geometry"]),
        "trained": MEGNetRegressor(net, max_iter=0, early_stopping=False),
    }
    models = {name: model.fit(STRUCTURES, targets) for name, model in models.items()}
    wrapped = CalibratedProbRegressor(FrozenEstimator(models["crystals"]))
    models["calibrated"] = wrapped.fit(STRUCTURES, targets + 0.1)
    return models
