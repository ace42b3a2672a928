"""
Find the toughest design in batches of experiments
==================================================

Printers, furnaces and clusters run several experiments at a time. The best candidates
one by one are then a poor batch: they are neighbours, of which one experiment would
show nearly the same. :func:`~sklearn_unlocknn.acquisition.select_batch` chooses them
together. The data are 600 designs of crossed barrels, which were printed and crushed
three times each; they are downloaded once.
"""

# %%
# Candidates
# ----------
# An experiment prints one of the three specimens of a design. The goal is known here:
# the mean toughness of the best tenth of all designs.

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_unlocknn import VGPRegressor
from sklearn_unlocknn.acquisition import expected_improvement, select_batch
from sklearn_unlocknn.datasets import fetch_crossed_barrel

barrels = fetch_crossed_barrel()
specimens = np.argsort(barrels.design, kind="stable").reshape(600, 3)
X, toughness = barrels.data[specimens[:, 0]], barrels.target[specimens]
truth = toughness.mean(axis=1)
goal = np.sort(truth)[-60:].mean()
print(f"toughest {truth.max():.1f} J, mean of the best tenth {goal:.1f} J")

# %%
# Three ways to choose eight experiments
# --------------------------------------
# All start with the same eight random designs and go on in batches of eight. With
# scikit-learn's Gaussian process the batch are the eight of the highest expected
# improvement. ``select_batch`` takes the first choice as measured, as predicted, before
# it looks for the second: its neighbours become certain, without another fit.

SEEDS, BATCH, STEPS = 20, 8, 7


def at_random(done, rest, y, rng):
    return rng.choice(rest, BATCH, replace=False)


def highest_of_scikit_learn(done, rest, y, rng):
    kernel = ConstantKernel() * Matern(np.ones(4), nu=2.5) + WhiteKernel()
    model = GaussianProcessRegressor(kernel, normalize_y=True, random_state=0)
    model = make_pipeline(StandardScaler(), model)
    with warnings.catch_warnings():  # length scales of so few experiments
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X[done], y[done])
    mean, std = model.predict(X[rest], return_std=True)
    improvement = expected_improvement(mean, std, y[done].max())
    return rest[np.argsort(-improvement, kind="stable")[:BATCH]]


def batches(done, rest, y, rng):
    model = VGPRegressor("matern52_ard", random_state=0).fit(X[done], y[done])
    return rest[select_batch(model, X[rest], BATCH, best=y[done].max())]


def run(choose, seed):
    """Return the designs in the order of their experiments."""
    rng = np.random.default_rng(seed)
    y = toughness[np.arange(600), rng.integers(0, 3, 600)]  # one specimen of each
    done = rng.permutation(600)[:BATCH]
    for _ in range(STEPS - 1):
        rest = np.setdiff1d(np.arange(600), done)
        done = np.concatenate([done, choose(done, rest, y, rng)])
    return truth[done]


ways = {
    "at random": at_random,
    "scikit-learn's GPR, highest improvement": highest_of_scikit_learn,
    "select_batch": batches,
}
found = {
    name: np.array([run(choose, seed) for seed in range(SEEDS)])
    for name, choose in ways.items()
}

# %%
# How many experiments it takes
# -----------------------------
# One lucky find shows little: the mean of the eight toughest designs tried so far shows
# whether a method finds where tough designs are.


def best_eight(values):
    """Return the mean of the best eight after each batch, for each start."""
    ends = range(BATCH, values.shape[1] + 1, BATCH)
    return np.array([[np.sort(row[:n])[-8:].mean() for n in ends] for row in values])


COLORS, STYLES = ("0.4", "#D55E00", "#0072B2"), (":", "--", "-")
n_experiments = BATCH * np.arange(1, STEPS + 1)
_, axes = plt.subplots(figsize=(7.5, 5), layout="constrained")
for (name, values), color, style in zip(found.items(), COLORS, STYLES, strict=True):
    eight = best_eight(values)
    mean, error = eight.mean(axis=0), eight.std(axis=0) / np.sqrt(SEEDS)
    axes.plot(n_experiments, mean, style, color=color, lw=2, marker="o", label=name)
    axes.fill_between(
        n_experiments, mean - 2 * error, mean + 2 * error, color=color, alpha=0.12, lw=0
    )
    first = n_experiments[np.argmax(mean >= goal)] if mean.max() >= goal else np.inf
    print(f"best eight at the goal, experiments, {name:<40}: {first:.0f}")
axes.axhline(goal, color="black", lw=1, ls="-.", label="mean of the best tenth of all")
axes.set(
    title=f"Toughness of the best eight designs so far, {SEEDS} starts",
    xlabel="experiments",
    ylabel="mean toughness of the best eight (J)",
)
axes.legend(loc="lower right")

# %%
# ``costs=`` weighs experiments that differ in price,
# ``acquisition="variance"`` chooses those that improve the model everywhere, and
# ``unlocknn predict --rank 8`` does the same for structure files.

plt.show()
