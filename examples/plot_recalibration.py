"""
Repair error bars by recalibration
==================================

Errors in materials data often have heavy tails: most are smaller than a Gaussian error
bar suggests, and a few are far larger. No single factor corrects that.
``CalibratedProbRegressor`` estimates the distribution of errors from held-out samples.
Less than a minute, offline.
"""

# %%
# Gaussian error bars, errors with heavy tails
# --------------------------------------------
# The noise of these targets has Student's t distribution with three degrees of freedom.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.datasets import make_friedman1
from sklearn.model_selection import train_test_split

from sklearn_unlocknn import VGPRegressor
from sklearn_unlocknn.calibration import CalibratedProbRegressor
from sklearn_unlocknn.metrics import prob_scoring
from sklearn_unlocknn.plotting import IntervalCoverageDisplay, UQCalibrationDisplay

X, y = make_friedman1(2400, random_state=0)
y += np.random.default_rng(0).standard_t(3, size=len(y))
X_train, X_test, y_train, y_test = train_test_split(
    X, y, train_size=1000, random_state=0
)
base = VGPRegressor(
    "matern52_ard + linear",
    likelihood="gaussian",  # by default the regressor repairs most of it by itself
    noise="constant",
    hyper_subset_size=300,
    random_state=0,
)
models = {
    "before": base,
    "std": CalibratedProbRegressor(base, method="std"),
    "isotonic": CalibratedProbRegressor(base, method="isotonic"),
    "conformal": CalibratedProbRegressor(base, method="conformal"),
}
for model in models.values():
    model.fit(X_train, y_train)

# %%
# Coverage and width of intervals
# -------------------------------
# All models have ``predict_interval``. Before recalibration, narrow intervals are too
# wide and contain too many targets.

COVERAGES = (50, 68, 80, 90, 95)
columns = {}
for name, model in models.items():
    ends = [model.predict_interval(X_test, coverage=c / 100).T for c in COVERAGES]
    columns[name, "inside %"] = [
        100 * np.mean((low <= y_test) & (y_test <= high)) for low, high in ends
    ]
    columns[name, "width"] = [np.median(high - low) for low, high in ends]
print(pd.DataFrame(columns, index=pd.Index(COVERAGES, name="%")).round(1).to_string())

# %%
# Before and after
# ----------------
# The grey region is the range of chance for 1400 predictions of a perfect model. "std"
# uses quantiles of Student's t if the held-out errors have heavier tails than a normal
# distribution, "isotonic" estimates any shape, and "conformal" uses ranks of errors,
# with a guarantee if samples are set aside for it (see the class). Scorers and displays
# use the quantiles of a recalibrated model, not a Gaussian of its mean and standard
# deviation.

_, (left, right) = plt.subplots(1, 2, figsize=(11.5, 5.2), layout="constrained")
for name, model in models.items():
    UQCalibrationDisplay.from_estimator(
        model, X_test, y_test, kind="interval", name=name, ax=left
    )
    IntervalCoverageDisplay.from_estimator(model, X_test, y_test, name=name, ax=right)

scoring = prob_scoring(["neg_nll", "neg_interval_score", "neg_miscalibration_area"])
scores = {name: scoring(model, X_test, y_test) for name, model in models.items()}
print(pd.DataFrame(scores).T.round(3).to_string())

# %%
# All quantiles of one sample
# ---------------------------
# Recalibration estimates one shape for all error bars, scaled to the width of each.
# That of the first test sample has a higher peak and longer tails than a normal
# distribution.

levels = np.linspace(0.005, 0.995, 199)
styles = zip(("#0072B2", "#D55E00", "#009E73", "#CC79A7"), ("-", "--", "-.", ":"),
             strict=True)  # fmt: skip
_, axes = plt.subplots(figsize=(7.5, 5), layout="constrained")
for (name, model), (color, style) in zip(models.items(), styles, strict=True):
    quantiles = model.predict_quantiles(X_test[:1], levels)[0]
    axes.plot(quantiles, levels, style, color=color, lw=2, label=name)
axes.axvline(y_test[0], color="black", lw=1, ls=":", label="observed target")
axes.set(
    title="Predicted distribution of one sample",
    xlabel="target",
    ylabel="probability to be below",
    ylim=(0, 1),
)
axes.legend(loc="upper left")
plt.show()
