"""
The training materials behind a prediction
==========================================

A prediction for a new material rests on materials of the training data.
``nearest_training`` lists those from which the property differs least, as far as the
fitted kernel predicts. For perovskites ABX\\ :sub:`3` a chemist would name compounds
with the same element on the A or on the B site. They are the first in the list, though
no feature of the model states what is A and what is B.

Data and network are downloaded once (8 MB); the example takes about a minute.
"""

# %%
# Cubic perovskites
# -----------------
# Metals and metalloids are on the A and B sites; N, O, F and S are the anions. Formulas
# of the source have A first, then B; the model gets structures alone.

import re

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import train_test_split

from sklearn_unlocknn import MEGNetProbRegressor
from sklearn_unlocknn.datasets import fetch_perovskites

perovskites = fetch_perovskites()
X, y, formula = perovskites.data, perovskites.target, perovskites.formula
sites = np.array([re.findall("[A-Z][a-z]?", name)[:2] for name in formula])
train, test = train_test_split(np.arange(len(y)), test_size=0.2, random_state=0)

model = MEGNetProbRegressor("Eform_MP_2019", random_state=0).fit(X[train], y[train])
mean, std = model.predict(X[test], return_std=True)
error = np.abs(mean - y[test]).mean()
print(f"{len(train)} to fit, {len(test)} held out, mean absolute error {error:.2f} eV")

# %%
# How often the nearest have a site in common
# -------------------------------------------
# Among the five nearest of each compound that is held out, beside training compounds at
# random.

table = model.nearest_training(X[test], n_neighbors=5)
same = sites[test[table["sample"]]] == sites[train[table["index"]]]  # columns: A, B
by_rank = same.any(axis=1).reshape(len(test), 5).mean(axis=0)
at_random = (sites[test][:, None] == sites[train]).any(axis=2).mean()
print(f"same A or B, a training compound at random: {at_random:.0%}")
for rank, share in enumerate(by_rank, start=1):
    print(f"same A or B, number {rank} of the nearest: {share:.0%}")

# %%
# Six compounds and their nearest
# -------------------------------
# The first six that are held out, whatever they are. A cell has A at the corners and B
# in the middle; a neighbour has colour where it shares the element. Below a neighbour
# is its target, and its weight: by how much the prediction moves when that target
# moves by 1. The nearest of KReO\ :sub:`2`\ S shares no site: RbOsO\ :sub:`2`\ S has
# the element below K and the one beside Re.

CORNERS = np.array([[0, 0], [0, 1], [1, 1], [1, 0], [0, 0]])
COLORS, OTHER = ("#0072B2", "#D55E00"), ("white", "0.6")


def draw_cell(axes, compound, like, text):
    """Draw a compound, in colour where it has the elements of another."""
    axes.plot(*CORNERS.T, color="0.75", lw=1, zorder=0)
    same = sites[compound] == sites[like]
    places = CORNERS, np.array([[0.5, 0.5]])
    for at, size, color, equal in zip(places, (90, 260), COLORS, same, strict=True):
        face, edge = (color, color) if equal else OTHER
        axes.scatter(*at.T, size, facecolor=face, edgecolor=edge, lw=1.2, zorder=1)
    axes.set(xlim=(-0.7, 1.7), ylim=(-1.15, 1.7), aspect="equal")
    axes.axis("off")
    name = re.sub(r"(\d)", r"$_\1$", formula[compound])
    axes.text(0.5, 1.3, name, ha="center", va="bottom")
    axes.text(0.5, -0.3, text, ha="center", va="top", size=8.5, color="0.25")


figure, grid = plt.subplots(6, 6, figsize=(8, 9.6), layout="constrained")
for i, row in enumerate(grid):
    compound = test[i]
    text = f"predicted {mean[i]:.2f}\n± {std[i]:.2f} eV"
    draw_cell(row[0], compound, compound, text)
    near = table[table["sample"] == i]
    values = near[["index", "target", "weight"]].itertuples(index=False)
    for axes, (k, target, weight) in zip(row[1:], values, strict=True):
        text = f"{target:.2f} eV\nweight {weight:.2f}"
        draw_cell(axes, train[k], compound, text)
for axes, title in zip(grid[0], ["held out", "nearest", *"2345"], strict=True):
    axes.set_title(title, weight="bold", size=10)
marks = [
    plt.Line2D([], [], ls="", marker="o", ms=9, mfc=face, mec=edge)
    for face, edge in (*zip(COLORS, COLORS, strict=True), OTHER)
]
names = ["A, the same element", "B, the same element", "another element"]
figure.legend(marks, names, loc="outside lower center", ncols=3, frameon=False)

# %%
# A compound whose nearest training materials are all far away is outside the domain:
# :ref:`sphx_glr_gallery_plot_domain_of_applicability.py`.

plt.show()
