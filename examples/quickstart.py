"""From crystals to a property with an error bar that can be trusted.

Makes ionic crystals, trains a small MEGNet graph network on some of them, freezes it,
puts a variational Gaussian process on its readout, and judges the error bars on
crystals that neither has seen. The process learns from crystals that the network was
not trained on: on its own training data a network looks better than it is, and error
bars learned there are too small. Less than two minutes on two cores, offline.

    python examples/quickstart.py [--output quickstart.png]
"""

import argparse
import time

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import train_test_split

from sklearn_unlocknn import MEGNetProbRegressor, MEGNetRegressor
from sklearn_unlocknn.datasets import make_ionic_crystals
from sklearn_unlocknn.metrics import interval_coverage, uq_report
from sklearn_unlocknn.plotting import ParityDisplay, UQCalibrationDisplay

TARGET = "log10(-energy / (eV/atom))"
PRETRAINED = """\
Your own crystals? Start from a network made from 133,000 of them (0.8 MB, fetched
once), and skip the training. X may hold pymatgen Structures or paths of CIF files:

    model = MEGNetProbRegressor("Eform_MP_2019").fit(X, y)
    mean, std = model.predict(X_new, return_std=True)"""


def picture(y, mean, std, path):
    """Save predictions with their error bars, and whether those keep their word."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.8), layout="constrained")
    name = "frozen MEGNet + VGP"
    ParityDisplay.from_predictions(y, mean, std, name=name, ax=left)
    left.set(
        title="Predictions of crystals held out",
        xlabel=f"true {TARGET}",
        ylabel=f"predicted {TARGET}",
    )
    UQCalibrationDisplay.from_predictions(
        y, mean, std, kind="interval", name=name, ax=right
    )
    figure.savefig(path, dpi=90, pil_kwargs={"optimize": True})


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", default="quickstart.png", help="the picture")
    args = parser.parse_args()
    started = time.perf_counter()

    # Real structure types with real ions, whose electrostatic energy is exact. It spans
    # two decades, so its logarithm is the target.
    crystals = make_ionic_crystals(600, random_state=0)
    X, y = crystals.data, np.log10(-crystals.target)
    X_train, X_test, y_train, y_test = train_test_split(
        X, y, test_size=0.4, random_state=0
    )
    X_network, X_head, y_network, y_head = train_test_split(
        X_train, y_train, test_size=0.5, random_state=0
    )
    print(f"{len(X_network)} crystals train a network, {len(X_head)} others its error")
    print(f"bars, {len(X_test)} are held out. The target is {TARGET}.\n")
    network = MEGNetRegressor(max_iter=40, random_state=0).fit(X_network, y_network)

    # From here on it is scikit-learn: fit, predict with return_std=True.
    model = MEGNetProbRegressor(network.network_, random_state=0)
    model.fit(X_head, y_head)
    mean, std = model.predict(X_test, return_std=True)

    alone = abs(network.predict(X_test) - y_test).mean()
    print(f"Mean absolute error of the network alone: {alone:.3f}")
    print("Held-out crystals, the frozen network with a VGP:\n")
    print(uq_report(y_test, mean, std))
    for coverage in (0.5, 0.8, 0.95):
        share = interval_coverage(y_test, mean, std, coverage=coverage)
        print(f"{coverage:.0%} intervals hold {share:.1%} of {len(y_test)} crystals")
    picture(y_test, mean, std, args.output)
    print(f"Saved {args.output}; {time.perf_counter() - started:.0f} s in all.\n")
    print(PRETRAINED)


if __name__ == "__main__":
    main()
