"""Models of which a file in each format number is kept, and what they predict.

After a change of the format ``python tests/_files/kept.py`` writes those of its number.
"""

import json
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).with_name("kept")
X = np.linspace(-2, 2, 36).reshape(12, 3) ** 3 % 1
Y = np.sin(3 * X[:, 0]) + X[:, 1]


def numeric():
    """Return a search over a calibrated model, with parts of each kind."""
    from sklearn.gaussian_process.kernels import RBF, WhiteKernel
    from sklearn.model_selection import GridSearchCV, KFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    from sklearn_unlocknn import VGPRegressor
    from sklearn_unlocknn.calibration import CalibratedProbRegressor
    from sklearn_unlocknn.compose import ProbTransformedTargetRegressor
    from sklearn_unlocknn.metrics import prob_scoring

    gp = VGPRegressor(RBF([1.0, 2.0, 3.0]) + WhiteKernel(0.1, "fixed"), 8, max_iter=3)
    gp.set_params(random_state=np.random.RandomState(0))
    model = make_pipeline(
        FunctionTransformer(np.cbrt),
        StandardScaler(),
        CalibratedProbRegressor(
            ProbTransformedTargetRegressor(gp, func=np.arcsinh, inverse_func=np.sinh),
            cv=2,
        ),
    )
    methods = {"calibratedprobregressor__method": ["std", "isotonic"]}
    scoring = prob_scoring(["neg_nll", "r2"])
    cv = KFold(2, shuffle=True, random_state=0)
    return GridSearchCV(model, methods, scoring=scoring, refit="neg_nll", cv=cv)


def network():
    """Return a model on a small network of Keras 3."""
    import keras

    from sklearn_unlocknn import ProbNNRegressor

    net = keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Normalization(mean=[0.1, 0.2, 0.3], variance=[1, 2, 3]),
            keras.layers.Dense(4, "tanh", name="latent"),
            keras.layers.Dense(1),
        ]
    )
    for weight in net.trainable_weights:
        size = int(np.prod(weight.shape))
        weight.assign(np.cos(np.arange(size)).reshape(weight.shape))
    return ProbNNRegressor(net, "latent", "rbf", mean="network", max_iter=3)


MODELS = {"numeric": numeric, "network": network}


def predicted(model):
    """Return mean and standard deviation, of shape (2, 12)."""
    from sklearn_unlocknn.prediction import predict_mean_std

    return np.array(predict_mean_std(model, X))


def write():
    """Write the files of the present format number."""
    from sklearn_unlocknn import save_model
    from sklearn_unlocknn._files.model_file import PROTOCOL

    FOLDER.mkdir(exist_ok=True)
    for name, build in MODELS.items():
        model = build().fit(X, Y)
        stem = f"{name}_{PROTOCOL}"
        held_out = {"mae": 0.5}
        save_model(model, FOLDER / f"{stem}.unlocknn", target="y", held_out=held_out)
        text = json.dumps(predicted(model).tolist())
        (FOLDER / f"{stem}.json").write_text(text)


if __name__ == "__main__":
    write()
