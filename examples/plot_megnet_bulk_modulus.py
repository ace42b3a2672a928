"""
Bulk moduli with error bars from a pretrained network
=====================================================

A MEGNet that was trained on formation energies is useful for another property: its
readout describes a crystal, together with descriptors of composition and geometry, and
a Gaussian process on both predicts the bulk modulus, with an error bar for each
crystal. The data are 3953 binary compounds of the Materials Project; a fifth of them is
held out to evaluate the error bars.

Data and network are downloaded once (2 MB); the example takes less than a minute.
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
print(f"{len(train)} crystals to fit, {len(test)} held out")

# %%
# Fit and predict
# ---------------
# X is a list of structures. The network is frozen: it runs once for each structure, and
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
# Most crystals are near the diagonal, in dark colours: short error bars. Soft crystals
# are few and have long ones.

ParityDisplay.from_predictions(truth, mean, std, units=UNIT, name="MEGNet + VGP")

# %%
# Calibration
# -----------
# Half of the targets should lie in the 50 % intervals, and so on. A curve above the
# diagonal means that intervals are too wide, below it that they are too narrow. Here
# the errors have heavier tails than a Gaussian, which is too wide for most crystals and
# too narrow for a few percent outside their 95 % intervals. ``CalibratedProbRegressor``
# corrects this, see :ref:`sphx_glr_gallery_plot_recalibration.py`.

UQCalibrationDisplay.from_predictions(
    truth, mean, std, kind="interval", name="MEGNet + VGP"
)

# %%
# Ranking by uncertainty
# ----------------------
# Without the least certain crystals the error of the rest should fall. The best
# possible order is that of the errors themselves, which are unknown beforehand.

SparsificationDisplay.from_predictions(
    truth, mean, std, units=UNIT, name="MEGNet + VGP"
)

# %%
# Errors by element
# -----------------
# Each crystal counts for its two elements. Elements in fewer than five of the held-out
# crystals are grey.

PeriodicTableDisplay.from_predictions(
    truth, mean, std, crystals.data[test], min_count=5, units=UNIT
)
table = uq_by_group(truth, mean, std, crystals.data[test], by="element", min_count=10)
print(table.head(8)[["n", "mae", "mean_std", "coverage_95", "z_std"]].round(2))

# %%
# The least certain crystals
# --------------------------
# One more calculation is most informative for these crystals, unless the structure
# itself is implausible: check it first.

formula, mp_id = crystals.formula[test], crystals.mp_id[test]
print("The five least certain:      id  predicted GPa (68 % interval)  by DFT")
for i in np.argsort(-std)[:5]:
    low, middle, high = 10 ** (mean[i] + std[i] * np.array([-1, 0, 1]))
    interval = f"{middle:.0f} ({low:.0f} to {high:.0f})"
    print(f"  {formula[i]:<12}{mp_id[i]:>16}  {interval:>29}{10 ** truth[i]:>8.0f}")

# %%
# Mean and error bar define the probability that a crystal is hard to compress.
# Candidates can be ranked by it, and the sum of the probabilities is the expected
# number of finds.

probability = norm.sf((np.log10(200) - mean) / std)
best = np.argsort(-probability)[:50]
print(f"Of the 50 most likely to have K > 200 GPa, {probability[best].sum():.0f} are")
print(f"expected to, and {(truth[best] > np.log10(200)).sum()} do.")

plt.show()
