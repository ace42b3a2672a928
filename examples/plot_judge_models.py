"""
Judge the error bars of several models
======================================

Three models predict the same held-out rows, each with a standard deviation. Their
errors are soon compared; whether they are honest about them takes a few pictures, one a
question. Seconds, offline.
"""

# %%
# Three models
# ------------
# Friedman's function with noise of 0.3. Rows crowd where all variables are small, so
# that some are far from all that is known. A linear model with an error bar, a Gaussian
# process, and an ensemble on bootstrap samples, whose spread many take for an error
# bar.

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
    """An ensemble whose std is the spread of its members."""

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
# Figures first
# -------------
# The two on the left are proper scores of mean and standard deviation together: no lie
# about the error bar improves them. All are "higher is better", so losses are negative.

scoring = prob_scoring(
    ["neg_nll", "neg_crps", "neg_mean_absolute_error", "neg_miscalibration_area"]
)
scores = {name: scoring(model, X_test, y_test) for name, model in models.items()}
print(pd.DataFrame(scores).T.round(3).to_string())

# %%
# Do intervals hold what they promise?
# ------------------------------------
# On the left the curve over all levels, with the area between it and the diagonal as
# one figure; on the right by how many percentage points the intervals miss, with what
# chance alone does to perfect error bars. Those of the ensemble are far too short:
# members agree on what they all get wrong, and know nothing of noise. Those of the
# linear model are too wide for most rows. The process is about right.


def compare(display, axes, **options):
    for name, model in models.items():
        display.from_estimator(model, X_test, y_test, name=name, ax=axes, **options)


_, (left, right) = plt.subplots(1, 2, figsize=(11.5, 5.2), layout="constrained")
compare(UQCalibrationDisplay, left, kind="interval")
compare(IntervalCoverageDisplay, right)

# %%
# At which width?
# ---------------
# Honest error bars may still be useless: those of the linear model are wide, since it
# misses all that bends, and the same for every row. Judge width only among models that
# keep their word: the ensemble's short bars are no merit.

_, axes = plt.subplots(figsize=(7, 4.6), layout="constrained")
compare(SharpnessDisplay, axes)

# %%
# Predictions of the process
# --------------------------
# Up to 300 rows get a bar, more a colour.

_, (left, right) = plt.subplots(1, 2, figsize=(11.5, 5.2), layout="constrained")
vgp = models["VGP"]
ParityDisplay.from_estimator(vgp, X_test[:150], y_test[:150], name="VGP", ax=left)
ParityDisplay.from_estimator(vgp, X_test, y_test, name="VGP", ax=right)

# %%
# Is it unsure where it is wrong?
# -------------------------------
# On the left, rows in ten bins by their standard deviation: where the bars are right,
# the error of a bin is their size. The least certain tenth of the process errs twice as
# much as it says: where rows are few it trusts its kernel too much. On the right, the
# error of what is left when the least certain rows are put aside. The ensemble ranks
# well though its bars are short. For the process the curve is flat once the few far
# rows are gone: what is left is noise, which no model can rank.

_, (left, right) = plt.subplots(1, 2, figsize=(11.5, 5.2), layout="constrained")
compare(ErrorUncertaintyDisplay, left, points=False)
compare(SparsificationDisplay, right)
plt.show()
