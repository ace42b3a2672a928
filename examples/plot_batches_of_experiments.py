"""
Find the best designs and materials in batches of experiments
=============================================================

Printers, furnaces and clusters run several experiments at a time. The best candidates
one by one are then a poor batch: they are neighbours, of which one experiment would
show nearly the same. :func:`~sklearn_unlocknn.acquisition.select_batch` chooses them
together. Here it looks for the toughest of 600 printed designs and for the stiffest of
3953 binary compounds. Data and network are downloaded once (2 MB); the example takes
about two minutes.
"""

# %%
# Candidates
# ----------
# Each design was printed and crushed three times, and an experiment shows one of the
# three. The bulk moduli are calculated. Features of the compounds are those that
# ``MEGNetProbRegressor`` uses, computed once for all: the readout of a pretrained
# network, and descriptors.

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_unlocknn import (
    MEGNetFeatureExtractor,
    StructureDescriptors,
    VGPRegressor,
)
from sklearn_unlocknn.acquisition import expected_improvement, select_batch
from sklearn_unlocknn.datasets import fetch_crossed_barrel, fetch_elasticity

barrels = fetch_crossed_barrel()
specimens = np.argsort(barrels.design, kind="stable").reshape(600, 3)
crystals = fetch_elasticity()
extractors = MEGNetFeatureExtractor("Eform_MP_2019"), StructureDescriptors()
features = [each.fit_transform(crystals.data) for each in extractors]
pools = {  # features, measurements, number of starts
    "toughness (J)": (barrels.data[specimens[:, 0]], barrels.target[specimens], 20),
    "bulk modulus (GPa)": (np.hstack(features), crystals.target[:, None], 10),
}

# %%
# Three ways to choose eight experiments
# --------------------------------------
# All start with the same eight random samples and go on in batches of eight. With
# scikit-learn's Gaussian process the batch are the eight of the highest expected
# improvement. ``select_batch`` takes the first choice as measured, as predicted, before
# it looks for the second: its neighbours become certain, without another fit. The 496
# features of a compound take the default kernel here, and one length scale there.

BATCH, STEPS = 8, 7


def at_random(X, y, done, rest, rng):
    return rng.choice(rest, BATCH, replace=False)


def highest_of_scikit_learn(X, y, done, rest, rng):
    d = X.shape[1]
    matern = Matern(np.ones(d) if d < 10 else np.sqrt(d), nu=2.5)
    kernel = ConstantKernel() * matern + WhiteKernel()
    model = GaussianProcessRegressor(kernel, normalize_y=True, random_state=0)
    model = make_pipeline(StandardScaler(), model)
    with warnings.catch_warnings():  # length scales of so few experiments
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X[done], y[done])
    mean, std = model.predict(X[rest], return_std=True)
    improvement = expected_improvement(mean, std, y[done].max())
    return rest[np.argsort(-improvement, kind="stable")[:BATCH]]


def batches(X, y, done, rest, rng):
    kernel = "matern52_ard" if X.shape[1] < 10 else None  # None: the default
    model = VGPRegressor(kernel, random_state=0).fit(X[done], y[done])
    return rest[select_batch(model, X[rest], BATCH, best=y[done].max())]


ways = {
    "at random": at_random,
    "scikit-learn's GPR, highest improvement": highest_of_scikit_learn,
    "select_batch": batches,
}


def run(X, measured, choose, seed):
    """Return the samples in the order of their experiments."""
    rng, n = np.random.default_rng(seed), len(X)
    y = measured[np.arange(n), rng.integers(0, measured.shape[1], n)]
    done = rng.permutation(n)[:BATCH]
    for _ in range(STEPS - 1):
        rest = np.setdiff1d(np.arange(n), done)
        done = np.concatenate([done, choose(X, y, done, rest, rng)])
    return done


# %%
# How many experiments it takes
# -----------------------------
# One lucky find shows little: the mean of the eight best samples tried so far shows
# whether a method finds where good samples are. The goal is known here: the mean of the
# best 10 % of the designs, and of the best 1 % of the compounds, which are more.


def best_eight(values):
    """Return the mean of the best eight after each batch, for each start."""
    ends = range(BATCH, values.shape[1] + 1, BATCH)
    return np.array([[np.sort(row[:n])[-8:].mean() for n in ends] for row in values])


COLORS, STYLES = ("0.4", "#D55E00", "#0072B2"), (":", "--", "-")
n_experiments = BATCH * np.arange(1, STEPS + 1)


def compare(axes, target, X, measured, n_starts, percent):
    """Draw how fast each way approaches the mean of the best few percent of all."""
    truth = measured.mean(axis=1)
    goal = np.sort(truth)[-(len(truth) * percent // 100) :].mean()
    print(f"{target}: best {truth.max():.1f}, mean of the best {percent} % {goal:.1f}")
    for (name, choose), color, style in zip(ways.items(), COLORS, STYLES, strict=True):
        orders = [run(X, measured, choose, seed) for seed in range(n_starts)]
        eight = best_eight(truth[np.array(orders)])
        mean, error = eight.mean(axis=0), eight.std(axis=0) / np.sqrt(n_starts)
        axes.plot(n_experiments, mean, style, color=color, lw=2, marker="o", label=name)
        low, high = mean - 2 * error, mean + 2 * error
        axes.fill_between(n_experiments, low, high, color=color, alpha=0.12, lw=0)
        first = n_experiments[np.argmax(mean >= goal)] if mean.max() >= goal else np.inf
        print(f"best eight at the goal, experiments, {name:<40}: {first:.0f}")
    axes.axhline(goal, color="black", lw=1, ls="-.")
    axes.annotate(
        f"mean of the best {percent} %",
        (BATCH, goal),
        (0, 4),
        textcoords="offset points",
    )
    axes.set(
        title=f"{len(X)} candidates, {n_starts} starts",
        xlabel="experiments",
        ylabel=f"mean {target} of the best eight so far",
    )


_, grid = plt.subplots(1, 2, figsize=(10, 4.8), layout="constrained")
for axes, (target, pool), percent in zip(grid, pools.items(), (10, 1), strict=True):
    compare(axes, target, *pool, percent)
grid[0].legend(loc="lower right")

# %%
# ``costs=`` weighs experiments that differ in price,
# ``acquisition="variance"`` chooses those that improve the model everywhere, and
# ``unlocknn predict --rank 8`` does the same for structure files.

plt.show()
