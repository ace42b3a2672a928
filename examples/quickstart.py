"""A network that gives one number learns to say how sure it is.

Trains a small Keras network on scikit-learn's diabetes data, freezes it, puts a
variational Gaussian process on a hidden layer, and judges the error bars on rows that
neither has seen. The process learns from rows that the network was not trained on:
on its own training rows a network looks better than it is, and error bars learned
there are too small. Takes well under a minute on two cores, offline.

    python examples/quickstart.py [--output quickstart.png]
"""

import argparse
import time

import keras
import matplotlib.pyplot as plt
from sklearn.datasets import load_diabetes
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_unlocknn import ProbNNRegressor
from sklearn_unlocknn.metrics import calibration_curve, interval_coverage, uq_report

UNIT = "disease progression after a year"


def train_network(X, y):
    """Train an ordinary network: it predicts one number and no confidence."""
    keras.utils.set_random_seed(0)
    target = keras.layers.Rescaling(float(y.std()), float(y.mean()))
    network = keras.Sequential(
        [
            keras.Input((X.shape[1],)),
            keras.layers.Dense(32, activation="relu"),
            keras.layers.Dense(16, activation="relu"),
            keras.layers.Dense(1),
            target,
        ]
    )
    network.compile(keras.optimizers.Adam(3e-3), "mse")
    network.fit(X, y, epochs=30, batch_size=32, verbose=0)
    return network


def picture(y, mean, std, path):
    """Save predictions with their error bars, and whether those keep their word."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.6), layout="constrained")
    left.errorbar(
        mean, y, xerr=1.96 * std, fmt="o", ms=4, color="#0072B2", ecolor="#9CC3DC",
        elinewidth=0.8, label="held-out patient, 95 % interval",
    )  # fmt: skip
    ends = [min(y.min(), mean.min()), max(y.max(), mean.max())]
    left.plot(ends, ends, color="black", lw=1, ls="--", label="prediction = truth")
    left.set(
        title="Predictions and their intervals",
        xlabel=f"predicted {UNIT}",
        ylabel=f"measured {UNIT}",
    )
    left.set_ylim(top=1.3 * ends[1])  # room for the legend
    left.legend(loc="upper left")

    expected, observed = calibration_curve(y, mean, std, kind="interval")
    right.plot(expected, observed, color="#D55E00", lw=2, label="frozen network + VGP")
    right.plot(
        [0, 1], [0, 1], color="black", lw=1, ls="--", label="perfect calibration"
    )
    right.fill_between(expected, expected, observed, color="#D55E00", alpha=0.2)
    right.set(
        title="Do the intervals cover?",
        xlabel="nominal coverage of the interval",
        ylabel="share of held-out patients inside",
        xlim=(0, 1),
        ylim=(0, 1),
        aspect="equal",
    )
    right.legend(loc="upper left")
    figure.savefig(path, dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", default="quickstart.png", help="the picture")
    args = parser.parse_args()
    started = time.perf_counter()

    X, y = load_diabetes(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(
        X, y, test_size=0.4, random_state=0
    )
    X_network, X_head, y_network, y_head = train_test_split(
        X_train, y_train, test_size=0.5, random_state=0
    )
    scaler = StandardScaler().fit(X_network)
    network = train_network(scaler.transform(X_network), y_network)

    # From here on it is scikit-learn: fit, predict with return_std=True.
    model = make_pipeline(scaler, ProbNNRegressor(network, layer=1, random_state=0))
    model.fit(X_head, y_head)
    mean, std = model.predict(X_test, return_std=True)

    alone = network.predict(scaler.transform(X_test), verbose=0)[:, 0]
    print(f"Mean absolute error of the network alone: {abs(alone - y_test).mean():.1f}")
    print(f"Held-out rows of the frozen network with a VGP ({UNIT}):\n")
    print(uq_report(y_test, mean, std))
    for coverage in (0.5, 0.8, 0.95):
        share = interval_coverage(y_test, mean, std, coverage=coverage)
        print(
            f"{coverage:.0%} intervals hold {share:.1%} of {len(y_test)} held-out rows"
        )
    picture(y_test, mean, std, args.output)
    print(f"Saved {args.output}; {time.perf_counter() - started:.0f} s in all.")


if __name__ == "__main__":
    main()
