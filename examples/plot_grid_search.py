"""
Choose kernel and number of inducing points by a search
=======================================================

``GridSearchCV`` with scores of the error bars. All scores of a fold are computed from
one prediction. Less than a minute, offline.
"""

# %%
# The search
# ----------
# ``prob_scoring`` combines several metrics into one scorer. ``refit`` names the metric
# that selects: the negative log likelihood and the CRPS are proper scores, optimal for
# the true distribution, so that wrong error bars never win.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.datasets import make_friedman1
from sklearn.model_selection import GridSearchCV, train_test_split

from sklearn_unlocknn import VGPRegressor
from sklearn_unlocknn.metrics import prob_scoring, uq_report
from sklearn_unlocknn.plotting import UQCalibrationDisplay

X, y = make_friedman1(1200, noise=1.0, random_state=0)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.5, random_state=0)

search = GridSearchCV(
    VGPRegressor(random_state=0),
    {
        "kernel": ["linear", "matern52", "matern52_ard + linear"],
        "n_inducing_points": [10, 30, 100, 300],
    },
    scoring=prob_scoring(["neg_nll", "neg_crps", "neg_miscalibration_area", "r2"]),
    refit="neg_nll",
    cv=3,
).fit(X_train, y_train)

results = pd.DataFrame(search.cv_results_).sort_values("rank_test_neg_nll")
columns = ["param_kernel", "param_n_inducing_points", "mean_test_neg_nll",
           "mean_test_neg_miscalibration_area", "mean_test_r2"]  # fmt: skip
print(results[columns].round(3).to_string(index=False))

# %%
# Results
# -------
# More inducing points improve the score up to some number, here 100. A linear kernel
# needs one more than there are variables. With one length scale for each variable
# (``_ard``) the five irrelevant ones of the ten are detected.

_, axes = plt.subplots(figsize=(7, 4.6), layout="constrained")
styles = zip(("#0072B2", "#D55E00", "#009E73"), ("-", "--", "-."), strict=True)
for (kernel, rows), (color, style) in zip(
    results.groupby("param_kernel"), styles, strict=True
):
    rows = rows.sort_values("param_n_inducing_points")
    axes.errorbar(
        rows["param_n_inducing_points"].astype(int),
        -rows["mean_test_neg_nll"],
        yerr=rows["std_test_neg_nll"] / np.sqrt(3),
        color=color, linestyle=style, marker="o", capsize=3, label=kernel,
    )  # fmt: skip
axes.set(
    title="Held-out score of each candidate, and its standard error",
    xlabel="number of inducing points",
    ylabel="negative log likelihood (nats per sample)",
    xscale="log",
    xticks=[10, 30, 100, 300],
    xticklabels=["10", "30", "100", "300"],
)
axes.minorticks_off()
axes.set_ylim(bottom=1.0)  # room for the legend
axes.legend(title="kernel", loc="lower left")

# %%
# The best candidate on test data
# -------------------------------
# ``predict`` of a search takes no ``return_std``, a limitation of scikit-learn: use its
# ``best_estimator_``. Scorers and displays of this package do so automatically.

print(search.best_params_)
mean, std = search.best_estimator_.predict(X_test, return_std=True)
print(uq_report(y_test, mean, std))

UQCalibrationDisplay.from_estimator(
    search, X_test, y_test, kind="interval", name="best of the search"
)
plt.show()
