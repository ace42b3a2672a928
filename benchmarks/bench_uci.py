"""The default head on the published UCI splits, beside published figures.

    python benchmarks/bench_uci.py DATA_FOLDER [--splits N] [--plain] [--json FILE]

DATA_FOLDER holds ``uci/{concrete,energy,kin8nm,protein}.npz`` with ``X``, ``y`` and
``test_mask`` of shape (n_splits, n): the splits of Hernandez-Lobato and Gal.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

from sklearn_unlocknn import VGPRegressor
from sklearn_unlocknn.metrics import gaussian_crps, miscalibration_area

# RMSE and NLL as published for the same splits; the NLL asked of the default head.
PUBLISHED = {
    "concrete": ("tuned MC dropout", 4.82, 2.93, 2.50),
    "energy": ("NGBoost", 0.46, 0.60, -0.15),
    "kin8nm": ("deep ensembles", 0.08, -1.20, -1.27),
    "protein": ("tuned MC dropout", 4.17, 2.81, 2.40),
}


def evaluate(path, n_splits, params):
    """Return the mean figures over splits."""
    with np.load(path) as file:
        X, y, masks = file["X"], file["y"], file["test_mask"]
    rows = []
    for test in masks[:n_splits]:
        model = VGPRegressor(random_state=0, **params)
        start = time.perf_counter()
        model.fit(X[~test], y[~test])
        seconds = time.perf_counter() - start
        mean, std = model.predict(X[test], return_std=True)
        own = {
            "quantiles": lambda q, X=X[test], model=model: model.predict_quantiles(X, q)
        }
        rows.append(
            (
                np.sqrt(np.mean((mean - y[test]) ** 2)),
                -model.predict_log_density(X[test], y[test]).mean(),
                gaussian_crps(y[test], mean, std, **own),
                miscalibration_area(y[test], mean, std, kind="interval", **own),
                seconds,
            )
        )  # fmt: skip
    rows = np.array(rows)
    error = rows[:, 1].std() / np.sqrt(len(rows))
    names = ("RMSE", "NLL", "CRPS", "area", "fit_s")
    return {
        "splits": len(rows),
        **dict(zip(names, rows.mean(0).tolist(), strict=True)),
        "NLL_standard_error": float(error),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--splits", type=int, default=None)
    parser.add_argument("--names", nargs="+", default=list(PUBLISHED))
    parser.add_argument("--plain", action="store_true", help="Gaussian, constant noise")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    plain = {"likelihood": "gaussian", "noise": "constant"} if args.plain else {}
    results = {}
    print(
        f"{'':10}{'splits':>7}{'RMSE':>9}{'NLL':>9}{'+-':>7}{'CRPS':>8}{'area':>7}"
        f"{'fit s':>8}"
        f"{'asked NLL':>11}   published RMSE | NLL"
    )
    for name in args.names:
        row = evaluate(args.data / "uci" / f"{name}.npz", args.splits, plain)
        results[name] = row
        who, rmse, nll, asked = PUBLISHED[name]
        print(
            f"{name:10}{row['splits']:7d}{row['RMSE']:9.3f}{row['NLL']:9.3f}"
            f"{row['NLL_standard_error']:7.3f}{row['CRPS']:8.3f}{row['area']:7.3f}{row['fit_s']:8.1f}"
            f"{asked:11.2f}   {rmse} | {nll} ({who})",
            flush=True,
        )
    if args.json:
        args.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
