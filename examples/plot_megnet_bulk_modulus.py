"""
Bulk moduli with error bars from a pretrained network
=====================================================

A MEGNet that was trained on formation energies serves a property that it never saw: its
readout describes a crystal, and a Gaussian process on the readout learns the bulk
modulus, with an error bar for each crystal. The data are 3953 binary compounds of the
Materials Project; a fifth of them is held out to judge the error bars by.

Data and network are downloaded once (2 MB), and all of it takes less than a minute.
"""

# %%
# Data
# ----
# Bulk moduli span three decades, so their logarithm is the target, as in most of the
# literature: an error of 0.1 in it is one of 26 % in GPa.

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import norm
from sklearn.model_selection import train_test_split

from sklearn_unlocknn import MEGNetProbRegressor
from sklearn_unlocknn.datasets import fetch_elasticity
from sklearn_unlocknn.metrics import uq_by_group, uq_report
from sklearn_unlocknn.plotting import (
    ParityDisplay,
    PeriodicTableDisplay,
    SparsificationDisplay,
    UQCalibrationDisplay,
)

UNIT = r"$\log_{10}(K_\mathrm{VRH}$ / GPa)"

crystals = fetch_elasticity()
target = np.log10(crystals.target)
train, test = train_test_split(np.arange(len(target)), test_size=0.2, random_state=0)
print(f"{len(train)} crystals to learn from, {len(test)} held out")

# %%
# Fit and predict
# ---------------
# Structures go in as they are. The network stays frozen: it runs once a structure, and
# only the Gaussian process is fitted. The standard deviation of a prediction includes
# the observation noise.

model = MEGNetProbRegressor("Eform_MP_2019", random_state=0)
model.fit(crystals.data[train], target[train])
mean, std = model.predict(crystals.data[test], return_std=True)
truth = target[test]
print(uq_report(truth, mean, std))

# %%
# Predictions and their error bars
# --------------------------------
# Most crystals lie near the diagonal, in dark colours: short bars. Soft crystals are
# few and have long ones.

ParityDisplay.from_predictions(truth, mean, std, units=UNIT, name="MEGNet + VGP")

# %%
# Do the intervals cover?
# -----------------------
# Half of the truths should lie in the 50 % intervals, and so on. The curve above the
# diagonal means intervals that are too wide, below it too narrow. Here the errors have
# heavier tails than a Gaussian: it is too wide for most crystals, and too narrow for a
# few percent that no interval of 95 % holds. ``CalibratedProbRegressor`` mends it, see
# :ref:`sphx_glr_gallery_plot_recalibration.py`.

UQCalibrationDisplay.from_predictions(
    truth, mean, std, kind="interval", name="MEGNet + VGP"
)

# %%
# Does the bar tell which predictions to trust?
# ---------------------------------------------
# Leave out the least certain crystals, and the error of the rest should fall. No order
# can do better than that by the error itself, which nobody knows beforehand.

SparsificationDisplay.from_predictions(
    truth, mean, std, units=UNIT, name="MEGNet + VGP"
)

# %%
# Which chemistry does it know?
# -----------------------------
# Each crystal counts for its two elements. Elements in fewer than five of the held-out
# crystals are grey.

PeriodicTableDisplay.from_predictions(
    truth, mean, std, crystals.data[test], min_count=5, units=UNIT
)
table = uq_by_group(truth, mean, std, crystals.data[test], by="element", min_count=10)
print(table.head(8)[["n", "mae", "mean_std", "coverage_95", "z_std"]].round(2))

# %%
# What to compute next
# --------------------
# The least certain crystals are where one more calculation teaches most, or where the
# crystal is strange and wants a look first.

formula, mp_id = crystals.formula[test], crystals.mp_id[test]
print("The five least certain:      id  predicted GPa (68 % interval)  by DFT")
for i in np.argsort(-std)[:5]:
    low, middle, high = 10 ** (mean[i] + std[i] * np.array([-1, 0, 1]))
    interval = f"{middle:.0f} ({low:.0f} to {high:.0f})"
    print(f"  {formula[i]:<12}{mp_id[i]:>16}  {interval:>29}{10 ** truth[i]:>8.0f}")

# %%
# A search for crystals that are hard to compress can rank by a probability, since there
# is an error bar, and the probabilities add up to the number of finds to expect.

probability = norm.sf((np.log10(200) - mean) / std)
best = np.argsort(-probability)[:50]
print(f"Of the 50 most likely to have K > 200 GPa, {probability[best].sum():.0f} are")
print(f"expected to, and {(truth[best] > np.log10(200)).sum()} do.")

plt.show()
