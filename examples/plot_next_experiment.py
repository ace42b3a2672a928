"""
Choose the next experiment by uncertainty
=========================================

Experiments and calculations are expensive. With error bars the next one can be chosen
where an improvement is likely. The loop takes a few lines of ``fit`` and ``predict``.
Less than a minute, offline.
"""

# %%
# Candidates
# ----------
# There are 500 recipes of six ingredients, each of which takes an experiment to find
# its yield. Ten experiments are done.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_friedman1

from sklearn_unlocknn import VGPRegressor
from sklearn_unlocknn.acquisition import expected_improvement

X, truth = make_friedman1(500, n_features=6, noise=0.5, random_state=0)
REPEATS, STEPS = 5, 25


def run(choose, seed):
    """Do experiments one by one and return the recipes in their order."""
    rng = np.random.default_rng(seed)
    tried = list(rng.choice(len(X), 10, replace=False))
    for _ in range(STEPS):
        rest = np.setdiff1d(np.arange(len(X)), tried)
        tried.append(rest[choose(tried, rest, rng)])
    return np.array(tried)


def at_random(tried, rest, rng):
    return rng.integers(len(rest))


def by_model(score):
    """Return a function that chooses the recipe of the best score."""

    def choose(tried, rest, rng):
        model = VGPRegressor("matern52 + linear", random_state=0)
        model.fit(X[tried], truth[tried])
        mean, std = model.predict(X[rest], return_std=True)
        return np.argmax(score(mean, std, truth[tried].max()))

    return choose


# %%
# Search for the best recipe
# --------------------------
# Expected improvement balances a good mean and a large error bar. "by the mean" ignores
# the error bar and stays near earlier experiments.

ways = {
    "at random": at_random,
    "by the mean": by_model(lambda mean, std, best: mean),
    "expected improvement": by_model(expected_improvement),
}
orders = {
    name: np.array([run(choose, seed) for seed in range(REPEATS)])
    for name, choose in ways.items()
}
for name, order in orders.items():
    best = truth[order].max(axis=1)
    print(f"best of {10 + STEPS} experiments {name:<21}: {best.mean():.1f} on average")
print(f"best of all {len(X)} recipes: {truth.max():.1f}")

COLORS, STYLES = ("#0072B2", "#D55E00", "#009E73"), (":", "--", "-")
_, axes = plt.subplots(figsize=(7.5, 5), layout="constrained")
for (name, order), color, style in zip(orders.items(), COLORS, STYLES, strict=True):
    record = np.maximum.accumulate(truth[order], axis=1)[:, 9:]
    axes.plot(np.arange(STEPS + 1), record.mean(axis=0), style, color=color, lw=2,
              label=name)  # fmt: skip
    axes.fill_between(np.arange(STEPS + 1), record.min(axis=0), record.max(axis=0),
                      color=color, alpha=0.12, lw=0)  # fmt: skip
axes.axhline(truth.max(), color="black", lw=1, ls="-.", label="best of all recipes")
axes.set(
    title=f"Best yield so far: mean and range of {REPEATS} starts",
    xlabel="experiments after the first ten",
    ylabel="best yield so far",
    xlim=(0, STEPS),
)
axes.legend(loc="lower right")

# %%
# Several experiments at a time are the subject of
# :ref:`sphx_glr_gallery_plot_batches_of_experiments.py`. To predict all candidates
# better instead of finding the best, choose the largest ``std``.

plt.show()
