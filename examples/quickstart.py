"""Predict a property of crystals with a calibrated error bar.

Generates ionic crystals, trains a small MEGNet graph network on some of them, freezes
it, fits a variational Gaussian process to its readout, and evaluates the error bars on
held-out crystals. The Gaussian process is fitted to crystals that the network was not
trained on: on its training data the errors of a network are too small, and so are error
bars fitted to them. Writes a picture, a report (HTML) and the model. Less than two
minutes on two cores, offline.

    python examples/quickstart.py [--output quickstart.png]
"""

import argparse
import functools
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import train_test_split

from sklearn_unlocknn import (
    MEGNetProbRegressor,
    MEGNetRegressor,
    quiet_tensorflow,
    read_model_card,
    save_model,
    write_report,
)
from sklearn_unlocknn.datasets import make_ionic_crystals
from sklearn_unlocknn.metrics import interval_coverage, uq_report
from sklearn_unlocknn.plotting import ParityDisplay, UQCalibrationDisplay

TARGET = "log10(-energy / (eV/atom))"
NEXT = """\
Open the report in a browser. Predict crystals on a page of your own machine:

    .venv/bin/pip install -e ".[web]"
    .venv/bin/unlocknn serve {model}

For your own crystals start from a network trained on 133,000 of them (0.8 MB,
downloaded once), without training. X may hold pymatgen Structures or paths of CIF
files:

    model = MEGNetProbRegressor("Eform_MP_2019").fit(X, y)
    mean, std = model.predict(X_new, return_std=True)"""


def picture(y, mean, std, quantiles, path):
    """Save a plot of the predictions and one of their calibration."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.8), layout="constrained")
    name = "frozen MEGNet + VGP"
    ParityDisplay.from_predictions(
        y, mean, std, quantiles=quantiles, name=name, ax=left
    )
    left.set(
        title="Predictions of held-out crystals",
        xlabel=f"true {TARGET}",
        ylabel=f"predicted {TARGET}",
    )
    UQCalibrationDisplay.from_predictions(
        y, mean, std, quantiles=quantiles, kind="interval", name=name, ax=right
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
    print(f"{len(X_network)} crystals to train a network, {len(X_head)} to fit a VGP,")
    print(f"{len(X_test)} held out. The target is {TARGET}.\n", flush=True)
    with quiet_tensorflow():
        network = MEGNetRegressor(max_iter=40, random_state=0)
        network.fit(X_network, y_network)
        alone = abs(network.predict(X_test) - y_test).mean()

    # The scikit-learn interface: fit, predict with return_std=True.
    model = MEGNetProbRegressor(network.network_, random_state=0)
    model.fit(X_head, y_head)
    mean, std = model.predict(X_test, return_std=True)
    # Its distribution need not be a Gaussian.
    quantiles = functools.partial(model.predict_quantiles, X_test)
    log_density = functools.partial(model.predict_log_density, X_test)
    own = {"quantiles": quantiles, "log_density": log_density}

    print(f"Mean absolute error of the network alone: {alone:.3f}")
    print("Held-out crystals, the frozen network with a VGP:\n")
    print(uq_report(y_test, mean, std, **own))
    for coverage in (0.5, 0.8, 0.95):
        share = interval_coverage(
            y_test, mean, std, coverage=coverage, quantiles=quantiles
        )
        print(f"{coverage:.0%} intervals hold {share:.1%} of {len(y_test)} crystals")

    output = Path(args.output)
    report, file = (output.with_suffix(end) for end in (".html", ".unlocknn"))
    picture(y_test, mean, std, quantiles, output)
    held_out = uq_report(y_test, mean, std, **own, output_dict=True)
    described = {"target": "-energy", "unit": "eV/atom", "log10": True}
    save_model(model, file, X=X_head, held_out=held_out, **described)
    write_report(model, X_test, y_test, report, card=read_model_card(file))
    seconds = time.perf_counter() - started
    print(f"\nSaved {output}, {report} and {file}; {seconds:.0f} s in all.\n")
    print(NEXT.format(model=file))


if __name__ == "__main__":
    main()
