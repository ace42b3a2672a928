"""Scores that find large errors on the compounds of an element that was left out.

    python benchmarks/bench_domain.py DATA_FOLDER [--memory FOLDER] [--seeds 3]

Bulk moduli of binaries, log10 GPa. Of each element in turn all compounds are held out,
and a fifth of the others; the default ``MEGNetProbRegressor`` is fitted to the rest. An
error is large beyond three times the median. Each table has the AUC with which a number
finds large errors, by element and in the mean: first among the compounds of the element
alone, then among all that are held out. The last table has, of samples that are
outside the domain (rank below .05) and inside, how many there are, their mean absolute
error and how many targets their 90 % intervals hold. Last come the error bars of the
compounds of each element, and of the others held out: of the model, and recalibrated by
``CalibratedProbRegressor`` with ``--recalibrate``. All are means over models of other
``random_state``, thus of other samples for the hyperparameters: the share of the
compounds of Cl in 90 % intervals moves by .2 with them. The last table has its range.
"""

import argparse
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.neighbors import NearestNeighbors

from sklearn_unlocknn import MEGNetProbRegressor
from sklearn_unlocknn.calibration import CalibratedProbRegressor
from sklearn_unlocknn.datasets import fetch_elasticity, fetch_megnet_model
from sklearn_unlocknn.metrics import group_labels, interval_coverage, large_error_auc

ELEMENTS = ("O", "N", "Cl", "S", "Pd", "Li", "Ti")


def numbers_of(model, X, train):
    """Return prediction, and numbers that may find large errors, by name."""
    mean, epistemic, aleatoric = model.predict_components(X)
    std = np.hypot(epistemic, aleatoric)
    score, rank = model.domain_score(X, return_rank=True)
    posterior = model._head.posterior
    Z, _ = model._head._inputs(model._encoder.encode(model, train).features)
    new, _ = model._head._inputs(model._encoder.encode(model, X).features)
    prior = posterior.kernel.diagonal(posterior.theta, new)
    removed = 1 - (epistemic / model._head.y_scale) ** 2 / prior
    K = posterior.kernel.matrix(posterior.theta, new, posterior.Z)
    table = model.nearest_training(X, 5)["distance"].to_numpy().reshape(len(X), 5)
    euclidean = NearestNeighbors(n_neighbors=5).fit(Z).kneighbors(new)[0]
    covariance = np.cov(Z.T) + 1e-3 * np.eye(Z.shape[1])
    white = np.linalg.solve(np.linalg.cholesky(covariance), (new - Z.mean(axis=0)).T)
    found = {
        "std": std,
        "epistemic share of the variance": epistemic**2 / std**2,
        "share of the prior variance that is left": 1 - removed,
        "kernel's distance to the nearest": table[:, 0],
        "mean kernel's distance to five": table.mean(axis=1),
        "kernel's density": K.mean(axis=1).max() - K.mean(axis=1),
        "Euclidean distance to the fifth": euclidean[:, 4],
        "Mahalanobis distance": np.linalg.norm(white, axis=0),
        "1 - domain_score": 1 - score,
    }
    return mean, std, rank, found


def error_bars(model, X, y):
    """Return the number of samples, MAE, NLL and coverage of 90 % intervals."""
    low, high = model.predict_interval(X, 0.9).T
    error = np.abs(y - model.predict(X)).mean()
    density = getattr(model, "predict_log_density", None)
    nll = np.nan if density is None else -density(X, y).mean()
    return len(y), error, nll, np.mean((low <= y) & (y <= high))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data_folder", type=Path)
    parser.add_argument("--memory")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--recalibrate", action="store_true")
    args = parser.parse_args()
    X, y = fetch_elasticity(data_home=args.data_folder, return_X_y=True)
    X, y = np.array([*X, None], dtype=object)[:-1], np.log10(y)
    labels = group_labels(list(X), "element")
    network = fetch_megnet_model("Eform_MP_2019", data_home=args.data_folder)
    alone, mixed, places, bars = [], [], [], []
    for element, seed in product(ELEMENTS, range(args.seeds)):
        has = np.array([element in own for own in labels])
        others = np.random.default_rng(0).permutation(np.flatnonzero(~has))
        some, train = np.split(others, [len(others) // 5])
        test = np.concatenate([np.flatnonzero(has), some])
        model = MEGNetProbRegressor(network, memory=args.memory, random_state=seed)
        model.fit(X[train], y[train])
        models = {"model": model}
        if args.recalibrate:
            for by in (None, "domain"):
                wrapped = CalibratedProbRegressor(clone(model), by=by)
                models[f"recalibrated, {by}"] = wrapped.fit(X[train], y[train])
        for name, one in models.items():
            for rows, part in ((element, np.flatnonzero(has)), ("others", some)):
                bars.append((name, rows, element, *error_bars(one, X[part], y[part])))
        mean, std, rank, found = numbers_of(model, X[test], X[train])
        for rows, values in ((alone, slice(has.sum())), (mixed, slice(None))):
            part = y[test][values], mean[values]
            for name, number in found.items():
                auc = large_error_auc(*part, number[values])
                rows.append((name, element, auc))
        for name, rows in (("outside", rank < 0.05), ("inside", rank >= 0.05)):
            part = y[test][rows], mean[rows], std[rows]
            places.append(
                (
                    element, name, rows.sum(), has[test][rows].sum(),
                    np.abs(part[0] - part[1]).mean(),
                    interval_coverage(*part, coverage=0.9),
                )
            )  # fmt: skip
    for title, rows in (("of the element", alone), ("all held out", mixed)):
        frame = pd.DataFrame(rows, columns=["number", "element", "AUC"])
        frame = frame.pivot_table("AUC", "number", "element", sort=False)
        frame["mean"] = frame.mean(axis=1)
        print(f"\n{title}\n{frame.round(2).to_string()}")
    columns = ["left out", "rank", "n", "of the element", "MAE", "in 90 %"]
    frame = pd.DataFrame(places, columns=columns)
    frame = frame.groupby(columns[:2], sort=False).mean()
    print(f"\n{frame.round(3).to_string()}")
    columns = ["model", "rows", "left out", "n", "MAE", "NLL", "in 90 %"]
    frame = pd.DataFrame(bars, columns=columns)
    by = frame.groupby(columns[:3], sort=False)
    table = by.mean()
    table[["least", "most"]] = by["in 90 %"].agg(["min", "max"])
    print(f"\n{table.round(3).to_string()}")
    for (name, others), rows in frame.groupby(["model", frame["rows"] == "others"]):
        of_all = np.average(rows[["NLL", "in 90 %"]], axis=0, weights=rows["n"])
        print(name, "others" if others else "elements", of_all.round(3))


if __name__ == "__main__":
    main()
