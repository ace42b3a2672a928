"""Recalibration of the head: areas, likelihood and coverage before and after.

    python benchmarks/bench_calibration.py DATA_FOLDER --dataset elasticity

Features of ``MEGNetFeatureExtractor("Eform_MP_2019")``, by default, of log10 of the
bulk modulus of 3953 binaries or of the heat of formation of 3787 perovskites, made once
and kept in ``--features``. With ``--refit`` held-out rows are predicted by clones, as
for any other estimator; their predictions are kept in ``--keep``. Random splits, four
fifths to fit, the rest to judge. Each row of the table is a method of
``CalibratedProbRegressor``, "none" the head alone, and holds means over the splits:

* nll: of the model's own density, nats a row; "mean and std": of a Gaussian instead;
* interval, quantile: miscalibration areas as scorers and displays have them, from the
  model's own quantiles; "mean and std": read as a Gaussian instead;
* in 50 ... 95 %: share of targets inside ``predict_interval`` of that coverage.

The last table multiplies the std of the head by a number, to see what one std can do.
"""

import argparse
import hashlib
import os
import sys
import time
from pathlib import Path

DATASETS = ("elasticity", "perovskites")
METHODS = ("none", "std", "isotonic", "conformal")
COVERAGES = (0.5, 0.8, 0.9, 0.95)
FACTORS = (0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3)


def load(data_folder, dataset, path):
    """Return features and targets, made once."""
    if not path.exists():
        from sklearn_unlocknn import MEGNetFeatureExtractor
        from sklearn_unlocknn.datasets import (
            fetch_elasticity,
            fetch_megnet_model,
            fetch_perovskites,
        )

        fetch = {"elasticity": fetch_elasticity, "perovskites": fetch_perovskites}
        X, y = fetch[dataset](data_home=data_folder, return_X_y=True)
        if dataset == "elasticity":
            with np.errstate(invalid="ignore", divide="ignore"):
                y = np.log10(y)
        network = fetch_megnet_model("Eform_MP_2019", data_home=data_folder)
        extractor = MEGNetFeatureExtractor(network, on_error="nan")
        X = extractor.fit_transform(X)
        known = np.isfinite(X).all(axis=1) & np.isfinite(y)
        np.savez(path, X=X[known], y=y[known])
    with np.load(path) as file:
        return file["X"], file["y"]


def remembering(estimator, folder):
    """Return the estimator with predictions kept in a folder.

    The methods hold out the same rows and need the same fits; and a run that was
    stopped goes on where it was.
    """
    from sklearn.base import BaseEstimator, RegressorMixin, clone

    class Remembering(RegressorMixin, BaseEstimator):
        def fit(self, X, y):
            self.rows_ = X, y
            self.fitted_ = None
            return self

        def predict(self, X, return_std=False):
            file = folder / f"{digest(*self.rows_, X)}.npz"
            if not file.exists():
                if self.fitted_ is None:
                    self.fitted_ = clone(estimator).fit(*self.rows_)
                mean, std = self.fitted_.predict(X, return_std=True)
                np.savez(file, mean=mean, std=std)
            with np.load(file) as kept:
                return (kept["mean"], kept["std"]) if return_std else kept["mean"]

    return Remembering()


def digest(*arrays):
    """Return a name for the content of arrays."""
    parts = (np.ascontiguousarray(array).tobytes() for array in arrays)
    return hashlib.sha256(b"".join(parts)).hexdigest()[:24]


def judge(model, X, y):
    """Return the figures of one fitted model, from one prediction."""
    from sklearn_unlocknn.metrics import (
        gaussian_nll,
        interval_coverage,
        make_prob_scorer,
        prob_scoring,
    )
    from sklearn_unlocknn.metrics import miscalibration_area as area

    scorers = {"nll": make_prob_scorer(gaussian_nll, greater_is_better=True)}
    scorers["nll, mean and std"] = make_prob_scorer(
        gaussian_nll, greater_is_better=True, log_density=None
    )
    for kind in ("interval", "quantile"):
        scorers[kind] = make_prob_scorer(area, greater_is_better=True, kind=kind)
        scorers[f"{kind}, mean and std"] = make_prob_scorer(
            area, greater_is_better=True, kind=kind, quantiles=None
        )
    for coverage in COVERAGES:
        scorers[coverage] = make_prob_scorer(
            interval_coverage, greater_is_better=True, coverage=coverage
        )
    return prob_scoring(scorers)(model, X, y)


def factors(head, X, y):
    """Return NLL and Gaussian interval area for multiples of the head's std."""
    from sklearn_unlocknn.metrics import gaussian_nll, miscalibration_area

    mean, std = head.predict(X, return_std=True)
    return [
        (
            gaussian_nll(y, mean, factor * std),
            miscalibration_area(y, mean, factor * std, kind="interval"),
        )
        for factor in FACTORS
    ]


def main():
    from sklearn.base import clone
    from sklearn.model_selection import ShuffleSplit

    from sklearn_unlocknn import VGPRegressor
    from sklearn_unlocknn.calibration import CalibratedProbRegressor

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--dataset", choices=DATASETS, default="elasticity")
    parser.add_argument("--features", type=Path)
    parser.add_argument("--refit", action="store_true")
    parser.add_argument("--keep", type=Path, default=Path("kept_predictions"))
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--cv", type=int, default=5)
    parser.add_argument("--threads", type=int, help="read before NumPy starts")
    args = parser.parse_args()

    path = args.features or Path(f"{args.dataset}_default.npz")
    X, y = load(args.data, args.dataset, path)
    if args.refit:
        args.keep.mkdir(exist_ok=True)
    found, scaled = {method: [] for method in METHODS}, []
    start = time.process_time()
    splits = ShuffleSplit(args.splits, test_size=0.2, random_state=0).split(X)
    for number, (train, test) in enumerate(splits):
        head = VGPRegressor(random_state=0)
        if args.refit:
            head = remembering(head, args.keep)
        for method in METHODS:
            model = clone(head)
            if method != "none":
                model = CalibratedProbRegressor(head, method=method, cv=args.cv)
            model.fit(X[train], y[train])
            found[method].append(judge(model, X[test], y[test]))
        scaled.append(factors(head.fit(X[train], y[train]), X[test], y[test]))
        seconds = (time.process_time() - start) / (number + 1)
        print(f"split {number}: {seconds:.0f} s each", file=sys.stderr, flush=True)

    print(f"{len(y)} rows, {X.shape[1]} features, {len(scaled)} splits, cv={args.cv}\n")
    names = list(found["none"][0])
    heads = [f"in {name:.0%}" if isinstance(name, float) else name for name in names]
    print("| method | " + " | ".join(heads) + " |")
    print("|---" * (len(names) + 1) + "|")
    table = {m: np.array([list(f.values()) for f in found[m]]) for m in METHODS}
    for method, values in table.items():
        cells = [f"{mean:.3f}" for mean in values.mean(axis=0)]
        print(f"| {method} | " + " | ".join(cells) + " |")
    area, nll = names.index("interval"), names.index("nll")
    print("\n| method | worst interval area | splits under .03 | NLL not worse in | "
          "in 90%, least to most |\n|---|---|---|---|---|")  # fmt: skip
    for method, values in table.items():
        held = values[:, names.index(0.9)]
        no_worse = np.sum(values[:, nll] <= table["none"][:, nll])
        print(
            f"| {method} | {values[:, area].max():.3f} | "
            f"{np.sum(values[:, area] < 0.03)} | {no_worse} | "
            f"{held.min():.3f} to {held.max():.3f} |"
        )
    held = table["conformal"][:, names.index(0.9)]
    print("\nIn 90 % of conformal, split by split:", *(f"{one:.3f}" for one in held))
    print("\n| factor of the head's std | NLL | interval area, mean and std |")
    print("|---|---|---|")
    for factor, (nll, area) in zip(FACTORS, np.mean(scaled, axis=0), strict=True):
        print(f"| {factor} | {nll:.3f} | {area:.3f} |")


if __name__ == "__main__":
    early = argparse.ArgumentParser(add_help=False)
    early.add_argument("--threads", type=int, default=1)
    n_threads = str(early.parse_known_args()[0].threads)
    for pool in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[pool] = n_threads  # BLAS reads it when NumPy is imported
    import numpy as np

    main()
