"""
Where can a model be trusted?
=============================

A model is right about what it has learned from. This one has never seen a nitride; does
it know? Errors and error bars by group of materials, and on the periodic table, say
where a model may be used. Made crystals, offline, less than a minute.
"""

# %%
# Crystals without nitrogen
# -------------------------
# Ionic crystals and the logarithm of their electrostatic energy. All nitrides are left
# for the test, so that the model learns nothing of an ion with three charges. Features
# are simple statistics of elements and geometry; with ``MEGNetProbRegressor`` in their
# place the rest stays the same, since metrics and displays ask for predictions alone.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklearn_unlocknn import VGPRegressor
from sklearn_unlocknn.datasets import make_ionic_crystals
from sklearn_unlocknn.metrics import uq_by_group
from sklearn_unlocknn.plotting import PeriodicTableDisplay


def describe(structures):
    """Volume an atom, shortest distance, and statistics of the elements of each."""
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
known, nitrides = np.flatnonzero(anion != "N"), np.flatnonzero(anion == "N")
train, test = train_test_split(known, test_size=0.4, random_state=0)
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
# ``groups`` may be any labels, as here the anion, or what ``by=`` finds out about
# structures: chemical system, element, space group. The model is less sure of nitrides
# than of anything else, and yet far too sure: not one interval of 95 % holds, and
# ``z_mean`` says that all of them are missed to the same side. An error bar far from
# the data rests on the kernel, not on experience. Such a row in the table is the place
# where to stop.

COLUMNS = ["mae", "mean_std", "coverage_95", "z_mean", "z_std"]
table = uq_by_group(y[test], mean, std, anion[test], metrics=COLUMNS, min_count=8)
print(table.drop(columns="n_missing").round(3).to_string())

# %%
# On the periodic table
# ---------------------
# A crystal counts for each of its elements, so the partners of nitrogen in the test
# rows show as well. First what the model says about itself, then what is true.

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
# The remedy is data. Ten of the least certain, added to the rows that the model learns
# from, and the domain is wider.

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
