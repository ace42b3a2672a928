"""
Error bars for a Keras network
==============================

A network predicts one number without an error bar. Here a small one is trained on
scikit-learn's diabetes data and frozen; a Gaussian process on a hidden layer provides
the error bars, which are evaluated on held-out samples. Seconds, offline.
"""

# %%
# A network
# ---------
# The Gaussian process is fitted to samples that the network was not trained on: on its
# training samples the errors of a network are too small, and so are error bars fitted
# to them.

import keras
import matplotlib.pyplot as plt
from sklearn.datasets import load_diabetes
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_unlocknn import ProbNNRegressor
from sklearn_unlocknn.metrics import uq_report
from sklearn_unlocknn.plotting import ParityDisplay, UQCalibrationDisplay

UNIT = "disease progression after a year"

X, y = load_diabetes(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.4, random_state=0)
X_network, X_head, y_network, y_head = train_test_split(
    X_train, y_train, test_size=0.5, random_state=0
)
scaler = StandardScaler().fit(X_network)

keras.utils.set_random_seed(0)
network = keras.Sequential(
    [
        keras.Input((X.shape[1],)),
        keras.layers.Dense(32, activation="relu"),
        keras.layers.Dense(16, activation="relu"),
        keras.layers.Dense(1),
        keras.layers.Rescaling(float(y_network.std()), float(y_network.mean())),
    ]
)
network.compile(keras.optimizers.Adam(3e-3), "mse")
network.fit(scaler.transform(X_network), y_network, epochs=30, verbose=0)

# %%
# Error bars
# ----------
# The interface is scikit-learn's: ``fit``, and ``predict`` with ``return_std=True``.
# The scaler is frozen like the network: a Pipeline would fit it again, to other
# samples, and the network would get inputs that it was not trained on. (A network that
# starts with a ``keras.layers.Normalization`` needs no scaler.)

frozen = FrozenEstimator(scaler)
model = make_pipeline(frozen, ProbNNRegressor(network, layer=1, random_state=0))
model.fit(X_head, y_head)
mean, std = model.predict(X_test, return_std=True)

alone = network.predict(scaler.transform(X_test), verbose=0)[:, 0]
print(f"Mean absolute error of the network alone: {abs(alone - y_test).mean():.1f}")
print(f"Held-out samples, the frozen network with a VGP ({UNIT}):\n")
print(uq_report(y_test, mean, std))

# %%
# Calibration
# -----------
# On the right, a curve above the diagonal means that intervals are too wide, below it
# that they are too narrow.

_, (left, right) = plt.subplots(1, 2, figsize=(11, 5.2), layout="constrained")
ParityDisplay.from_predictions(y_test, mean, std, name="network + VGP", ax=left)
left.set(xlabel=f"measured {UNIT}", ylabel=f"predicted {UNIT}")
UQCalibrationDisplay.from_predictions(
    y_test, mean, std, kind="interval", name="network + VGP", ax=right
)
plt.show()
