"""
Find the domain of applicability of a model
===========================================

This model was fitted without a single nitride. Errors and error bars by group of
materials, and on the periodic table, show where it is reliable. Generated crystals,
offline, less than a minute.
"""

# %%
# Crystals without nitrogen
# -------------------------
# The data are ionic crystals and the logarithm of their electrostatic energy. All
# nitrides are test data, so no training sample has an anion with three charges.
# Features are simple statistics of elements and geometry; ``MEGNetProbRegressor`` can
# replace them without further changes, since metrics and displays use only predictions.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklearn_unlocknn import VGPRegressor
from sklearn_unlocknn.datasets import make_ionic_crystals
from sklearn_unlocknn.metrics import uq_by_group
from sklearn_unlocknn.plotting import DomainDisplay, PeriodicTableDisplay
from sklearn_unlocknn.prediction import domain_score, nearest_training


def describe(structures):
    """Return volume per atom, shortest distance and element statistics of each."""
    rows = []
    for structure in structures:
        distances = structure.distance_matrix
        shortest = distances[distances > 0.01].min()
        elements = np.array(
            [[e.specie.X, e.specie.row, e.specie.group, e.specie.Z] for e in structure]
        )
        statistics = [f(elements, axis=0) for f in (np.mean, np.std, np.min, np.max)]
        size = np.log([structure.volume / len(structure), shortest])
        rows.append(np.concatenate([size, *statistics]))
    return np.array(rows)


crystals = make_ionic_crystals(600, random_state=0)
X, y = crystals.data, np.log10(-crystals.target)
UNITS = "log10 of eV/atom"

# The most electronegative element of each: the anion.
anion = np.array([max(s.elements, key=lambda e: e.X).symbol for s in X])
others, nitrides = np.flatnonzero(anion != "N"), np.flatnonzero(anion == "N")
train, test = train_test_split(others, test_size=0.4, random_state=0)
test = np.concatenate([test, nitrides])

model = make_pipeline(
    FunctionTransformer(describe),
    VGPRegressor("matern52_ard + linear", random_state=0),
)
model.fit(X[train], y[train])
mean, std = model.predict(X[test], return_std=True)

# %%
# By group
# --------
# ``groups`` are any labels, here the anion; ``by=`` derives them from structures:
# chemical system, element, space group. Nitrides have the largest standard deviations,
# and yet far too small ones: their intervals of 95 % hold less than half the share of
# targets that those of any other anion hold, and ``z_mean`` shows that errors have the
# same sign. Far from the data an error bar depends on the kernel, not on data. Do not
# use the model for a group with such a row in the table.

COLUMNS = ["mae", "mean_std", "coverage_95", "z_mean", "z_std"]
table = uq_by_group(y[test], mean, std, anion[test], metrics=COLUMNS, min_count=8)
print(table.drop(columns="n_missing").round(3).to_string())

# %%
# By crystal
# ----------
# ``domain_score`` needs no labels and no targets. A rank below .05 means that a crystal
# is harder to predict than 95 % of the training crystals: nearly all nitrides are, and
# few others. ``nearest_training`` names the training crystals that a prediction rests
# on: :ref:`sphx_glr_gallery_plot_megnet_nearest_perovskites.py` draws them.

score, rank = domain_score(model, X[test], return_rank=True)
for name, rows in (("nitrides", anion[test] == "N"), ("others", anion[test] != "N")):
    print(f"outside the domain: {np.mean(rank[rows] < 0.05):4.0%} of {name}")
DomainDisplay.from_predictions(y[test], mean, std, score, units=UNITS)

nitride = test[-1]
table = nearest_training(model, X[[nitride]], n_neighbors=3)
table["crystal"] = [X[train[i]].composition.reduced_formula for i in table["index"]]
print(f"nearest to {X[nitride].composition.reduced_formula}")
print(table[["crystal", "distance", "weight", "target"]].round(3).to_string())

# %%
# On the periodic table
# ---------------------
# A crystal counts for each of its elements, so the partners of nitrogen in the test
# data stand out as well. First the predicted standard deviation, then the actual error.

PeriodicTableDisplay.from_predictions(
    y[test], mean, std, X[test], value="mean_std", min_count=3, units=UNITS
)
PeriodicTableDisplay.from_predictions(
    y[test],
    mean,
    std,
    X[test],
    value="mae",
    min_count=3,
    units=UNITS,
    vmin=0,
    vmax=0.35,
)

# %%
# Ten nitrides later
# ------------------
# More data help: with the ten least certain nitrides in the training data the domain
# includes nitrides.

first = nitrides[np.argsort(-std[-len(nitrides) :])[:10]]
more, rest = np.concatenate([train, first]), np.setdiff1d(test, first)
mean, std = model.fit(X[more], y[more]).predict(X[rest], return_std=True)
table = uq_by_group(y[rest], mean, std, anion[rest], metrics=COLUMNS, min_count=8)
print(table.drop(columns="n_missing").round(3).to_string())
PeriodicTableDisplay.from_predictions(
    y[rest],
    mean,
    std,
    X[rest],
    value="mae",
    min_count=3,
    units=UNITS,
    vmin=0,
    vmax=0.35,
)
plt.show()
