"""
Compare the error bars of several models
========================================

Three models predict the same held-out samples, each with a standard deviation. Scores
and a few pictures show which error bars are calibrated and which are useful. Seconds,
offline.
"""

# %%
# Three models
# ------------
# Friedman's function with noise of 0.3. Most samples have small variables, so some test
# samples are far from all training samples. The models are a linear one with an error
# bar, a Gaussian process, and an ensemble on bootstrap samples, whose spread is often
# used as an error bar.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.ensemble import BaggingRegressor
from sklearn.linear_model import BayesianRidge
from sklearn.model_selection import train_test_split
from sklearn.svm import SVR

from sklearn_unlocknn import VGPRegressor
from sklearn_unlocknn.metrics import prob_scoring
from sklearn_unlocknn.plotting import (
    ErrorUncertaintyDisplay,
    IntervalCoverageDisplay,
    ParityDisplay,
    SharpnessDisplay,
    SparsificationDisplay,
    UQCalibrationDisplay,
)


class EnsembleSpread(BaggingRegressor):
    """Predict the std of an ensemble as the spread of its members."""

    def predict(self, X, return_std=False):
        members = np.array([member.predict(X) for member in self.estimators_])
        mean = members.mean(axis=0)
        return (mean, members.std(axis=0)) if return_std else mean


rng = np.random.default_rng(0)
X = rng.beta(0.8, 2.5, (1100, 6))
y = 10 * np.sin(np.pi * X[:, 0] * X[:, 1]) + 20 * (X[:, 2] - 0.5) ** 2
y += 10 * X[:, 3] + 5 * X[:, 4] + 0.3 * rng.normal(size=len(X))
X_train, X_test, y_train, y_test = train_test_split(
    X, y, train_size=100, random_state=0
)
models = {
    "linear": BayesianRidge(),
    "ensemble": EnsembleSpread(SVR(C=100), n_estimators=30, random_state=0),
    "VGP": VGPRegressor(random_state=0),
}
for model in models.values():
    model.fit(X_train, y_train)

# %%
# Scores
# ------
# The two on the left are proper scores of mean and standard deviation together: a wrong
# error bar makes them worse. Higher is better, so losses are negative.

scoring = prob_scoring(
    ["neg_nll", "neg_crps", "neg_mean_absolute_error", "neg_miscalibration_area"]
)
scores = {name: scoring(model, X_test, y_test) for name, model in models.items()}
print(pd.DataFrame(scores).T.round(3).to_string())

# %%
# Coverage of intervals
# ---------------------
# On the left the calibration curve over all levels, and the area between it and the
# diagonal; on the right the difference from nominal coverage in percentage points, with
# the range of chance for perfect error bars. Those of the ensemble are far too short:
# its members share their errors, and their spread excludes noise. Those of the linear
# model are too wide for most samples. Those of the Gaussian process are about right.


def compare(display, axes, **options):
    for name, model in models.items():
        display.from_estimator(model, X_test, y_test, name=name, ax=axes, **options)


_, (left, right) = plt.subplots(1, 2, figsize=(11.5, 5.2), layout="constrained")
compare(UQCalibrationDisplay, left, kind="interval")
compare(IntervalCoverageDisplay, right)

# %%
# Width of intervals
# ------------------
# Calibrated error bars may still be useless: those of the linear model are wide, since
# it fits no curvature, and the same for every sample. Compare width only among
# calibrated models: the short bars of the ensemble are not an advantage.

_, axes = plt.subplots(figsize=(7, 4.6), layout="constrained")
compare(SharpnessDisplay, axes)

# %%
# Predictions of the Gaussian process
# -----------------------------------
# Up to 300 samples are drawn with error bars, more with colours.

_, (left, right) = plt.subplots(1, 2, figsize=(11.5, 5.2), layout="constrained")
vgp = models["VGP"]
ParityDisplay.from_estimator(vgp, X_test[:150], y_test[:150], name="VGP", ax=left)
ParityDisplay.from_estimator(vgp, X_test, y_test, name="VGP", ax=right)

# %%
# Errors against standard deviations
# ----------------------------------
# On the left, samples in ten bins by their standard deviation: with correct error bars
# the error of a bin equals them. For the least certain tenth of the Gaussian process it
# is twice as large: with few samples the error bar depends on the kernel. On the right,
# the error of the rest when the least certain samples are left out. The ensemble ranks
# well although its bars are short. For the Gaussian process the curve is flat without
# the few distant samples: the rest is noise, which no model can rank.

_, (left, right) = plt.subplots(1, 2, figsize=(11.5, 5.2), layout="constrained")
compare(ErrorUncertaintyDisplay, left, points=False)
compare(SparsificationDisplay, right)
plt.show()
