"""
Repair error bars by recalibration
==================================

Errors with heavy tails are the rule in materials data: most predictions are better than
their error bar says, and a few are far off. No single factor on a Gaussian mends that.
``CalibratedProbRegressor`` learns on rows that the model has not seen what its error
bars are worth. Less than a minute, offline.
"""

# %%
# A model with Gaussian error bars, and errors that are not
# ---------------------------------------------------------
# The noise of these targets is of Student's t distribution with three degrees of
# freedom.

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
base = VGPRegressor("matern52_ard + linear", hyper_subset_size=300, random_state=0)
models = {
    "before": base,
    "std": CalibratedProbRegressor(base, method="std"),
    "isotonic": CalibratedProbRegressor(base, method="isotonic"),
    "conformal": CalibratedProbRegressor(base, method="conformal"),
}
for model in models.values():
    model.fit(X_train, y_train)

# %%
# What their intervals hold
# -------------------------
# All have ``predict_interval``: the width is what the reader pays for coverage. Before,
# narrow intervals are too wide and hold too much.

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
# The grey region is what chance does to 1400 predictions of a perfect model. "std"
# takes quantiles of Student's t where the held-out errors have heavier tails than a
# normal, "isotonic" learns the shape freely, and "conformal" takes ranks of errors,
# which comes with a guarantee where rows are set aside for it (see the class). Scorers
# and displays judge the quantiles of a recalibrated model, not a Gaussian of its mean
# and standard deviation.

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
# One row, all quantiles
# ----------------------
# What was learned is a shape that all error bars share, at the width of each. Here it
# is that of the first test row: a higher peak, and longer tails than the normal's.

levels = np.linspace(0.005, 0.995, 199)
styles = zip(("#0072B2", "#D55E00", "#009E73", "#CC79A7"), ("-", "--", "-.", ":"),
             strict=True)  # fmt: skip
_, axes = plt.subplots(figsize=(7.5, 5), layout="constrained")
for (name, model), (color, style) in zip(models.items(), styles, strict=True):
    quantiles = model.predict_quantiles(X_test[:1], levels)[0]
    axes.plot(quantiles, levels, style, color=color, lw=2, label=name)
axes.axvline(y_test[0], color="black", lw=1, ls=":", label="observed target")
axes.set(
    title="Predicted distribution of one row",
    xlabel="target",
    ylabel="probability to be below",
    ylim=(0, 1),
)
axes.legend(loc="upper left")
plt.show()
