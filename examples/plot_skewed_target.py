"""
Skewed targets
==============

Many targets, such as moduli, band gaps, conductivities and prices, are positive and
span decades. Gaussian error bars on them reach below zero and are too long for small
values. ``ProbTransformedTargetRegressor`` fits the logarithm and transforms mean,
standard deviation and quantiles back to target units. Seconds, offline.
"""

# %%
# A target of two decades
# -----------------------
# Noise is multiplicative: 35 % of any value.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.datasets import make_friedman1
from sklearn.model_selection import train_test_split

from sklearn_unlocknn import VGPRegressor
from sklearn_unlocknn.compose import ProbTransformedTargetRegressor
from sklearn_unlocknn.plotting import IntervalCoverageDisplay

X, y = make_friedman1(900, random_state=0)
y = np.exp(0.25 * (y - 4) + 0.35 * np.random.default_rng(0).normal(size=len(y)))
X_train, X_test, y_train, y_test = train_test_split(
    X, y, train_size=400, random_state=0
)

head = VGPRegressor("matern52_ard + linear", random_state=0)
models = {
    "as it is": head,
    "logarithm": ProbTransformedTargetRegressor(head, func=np.log, inverse_func=np.exp),
}
for model in models.values():
    model.fit(X_train, y_train)

# %%
# Errors and intervals in target units
# ------------------------------------
# ``predict`` returns the mean, not ``exp`` of the mean of the logarithm, which is the
# median and too low on average. Mean and standard deviation are integrated by
# quadrature; quantiles and intervals are transformed exactly.

rows = {}
for name, model in models.items():
    low, high = model.predict_interval(X_test, coverage=0.95).T
    rows[name] = {
        "mean absolute error": np.abs(model.predict(X_test) - y_test).mean(),
        "median width of 95 % intervals": np.median(high - low),
        "95 % intervals that reach below zero": (low < 0).mean(),
    }
print(pd.DataFrame(rows).round(2).to_string())

# %%
# Predictions
# -----------
# On logarithmic axes bars of the same length mean the same relative error. Bars on the
# left that leave the picture reach below zero.

figure, axes = plt.subplots(
    1, 2, figsize=(11, 5), layout="constrained", sharex=True, sharey=True
)
for ax, (name, model) in zip(axes, models.items(), strict=True):
    low, middle, high = model.predict_quantiles(X_test[:100], [0.025, 0.5, 0.975]).T
    ends = np.maximum([middle - low, high - middle], 0)
    ax.errorbar(
        y_test[:100], middle, yerr=ends, fmt="o", ms=4, color="#0072B2",
        ecolor="#9CC3DC", elinewidth=1, label="median and 95 % interval",
    )  # fmt: skip
    ax.axline(
        (1, 1), (10, 10), color="black", lw=1, ls=":", label="predicted = observed"
    )
    ax.set(
        title=f"Fitted to the target: {name}", xlabel="observed target",
        xscale="log", yscale="log", ylim=(0.3, 3e3),
    )  # fmt: skip
axes[0].set_ylabel("predicted target")
axes[0].legend(loc="upper left")

# %%
# Coverage
# --------
# Without the transformation the intervals are a compromise: too wide for the many small
# values, too narrow for the few large ones.

_, axes = plt.subplots(figsize=(7.5, 5), layout="constrained")
for name, model in models.items():
    IntervalCoverageDisplay.from_estimator(model, X_test, y_test, name=name, ax=axes)
plt.show()
