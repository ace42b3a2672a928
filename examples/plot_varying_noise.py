"""
See how noisy an experiment is
==============================

The spread of repeated experiments differs from design to design. A model that knows one
noise alone is too wide for some designs and too narrow for others. The data are 600
designs of crossed barrels, which were printed and crushed three times each; they are
downloaded once.
"""

# %%
# Designs and repeats
# -------------------
# The model sees two specimens of four fifths of the designs. The third specimens and
# the other designs judge it.

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import spearmanr

from sklearn_unlocknn import VGPRegressor
from sklearn_unlocknn.datasets import fetch_crossed_barrel

barrels = fetch_crossed_barrel()
specimens = np.argsort(barrels.design, kind="stable").reshape(600, 3)
designs, toughness = barrels.data[specimens[:, 0]], barrels.target[specimens]
shuffled = np.random.default_rng(0).permutation(600)
train, test = shuffled[:480], shuffled[480:]
X, y = np.repeat(designs[train], 2, axis=0), toughness[train, :2].ravel()

# %%
# One noise or a function
# -----------------------
# The defaults choose by the log density of training samples that are left out: here a
# Student t, as some specimens fail early, and noise that varies.

plain = VGPRegressor(likelihood="gaussian", noise="constant", random_state=0)
model = VGPRegressor(random_state=0)
X_test, y_test = np.repeat(designs[test], 3, axis=0), toughness[test].ravel()
for name, regressor in (("one noise", plain), ("default", model)):
    regressor.fit(X, y)
    nll = -regressor.predict_log_density(X_test, y_test).mean()
    print(f"{name:10} {regressor.likelihood_}, {regressor.noise_}: NLL {nll:.2f}")

# %%
# Predicted and repeated
# ----------------------
# The standard deviation of three specimens is itself uncertain by half its size, so
# that the points scatter. Their order is predicted for designs that were never printed.

mean, _, noise = model.predict_components(designs[test])
repeats = toughness[test].std(axis=1, ddof=1)
order = spearmanr(noise, repeats).statistic

fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
left.loglog(noise, repeats, "o", markersize=4, alpha=0.6)
ends = np.array([noise.min(), noise.max()])
left.loglog(ends, ends, color="black", linewidth=1, label="equal")
left.axhline(plain.noise_std_, color="tab:orange", label="one noise")
left.set_xlabel("predicted noise, J")
left.set_ylabel("standard deviation of three specimens, J")
left.set_title(f"120 new designs, rank correlation {order:.2f}")
left.legend()

by_mean = np.argsort(mean)
lower, upper = model.predict_interval(designs[test][by_mean], coverage=0.9).T
right.fill_between(range(120), lower, upper, alpha=0.3, label="90 % interval")
for column in range(3):
    right.plot(toughness[test][by_mean, column], "k.", markersize=3)
right.set_xlabel("new designs, by their predicted mean")
right.set_ylabel("toughness, J")
right.set_title("Specimens and intervals")
right.legend()
held = np.mean(
    (toughness[test][by_mean] >= lower[:, None])
    & (toughness[test][by_mean] <= upper[:, None])
)
print(f"90 % intervals hold {held:.0%} of the specimens of new designs")
