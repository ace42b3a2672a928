"""Accuracy of `VGPRegressor` on structure descriptors, and of each part left out.

    python benchmarks/bench_descriptors.py phonons perovskites --folds 0 1 2 --parts
    python benchmarks/bench_descriptors.py bulk shear --folds 0 1 2 3 4

Default parameters, one thread. phonons: official folds of Matbench, log10 of the target
in the fit, figures in cm-1 of mean and standard deviation. perovskites (eV), bulk and
shear (log10 GPa of the binaries): ``KFold(5, shuffle=True, random_state=0)``.
``--parts`` adds a row for each part of the descriptors that is left out. Descriptors
are kept in ``--cache``; ``us/structure`` is processor time, with 1 process.
"""

import argparse
import os
import time
from pathlib import Path

# Parts of the descriptors by what their names contain
PARTS = {
    "composition": lambda name, group: group == "composition",
    "mean deviations": lambda name, group: name.startswith("mean deviation of"),
    "valence electrons, orbitals": lambda name, group: (
        "valence electrons" in name or "orbitals" in name
    ),
    "melting and boiling point, conductivity": lambda name, group: any(
        word in name for word in ("melting", "boiling", "conductivity")
    ),
    "geometry": lambda name, group: group == "geometry",
    "density, volume, packing": lambda name, group: any(
        word in name for word in ("density", "volume per", "packing")
    ),
    "nearest-neighbour distances": lambda name, group: "neighbour distance" in name,
    "coordination, bond lengths": lambda name, group: any(
        word in name for word in ("coordination", "bond-length", "sum of radii")
    ),
    "inverse roots of masses": lambda name, group: any(
        word in name for word in ("inverse root", "inverse bond length")
    ),
    "springs": lambda name, group: "frequency" in name or "spring" in name,
    "cell and symmetry": lambda name, group: name in SYMMETRY_NAMES,
    "complexity": lambda name, group: group == "complexity",
}


def load(task, data_home):
    """Return structures and targets."""
    from sklearn_unlocknn import datasets

    if task == "phonons":
        return datasets.fetch_matbench(task, data_home=data_home, return_X_y=True)
    if task == "perovskites":
        return datasets.fetch_perovskites(data_home=data_home, return_X_y=True)
    X, y = datasets.fetch_elasticity(
        f"{task}_modulus_vrh", data_home=data_home, return_X_y=True
    )
    return X[y > 0], np.log10(y[y > 0])


def power_of_ten(t):
    return 10.0**t


def evaluate(X, y, task, folds):
    """Return MAE, NLL, CRPS and seconds of each fold."""
    from sklearn.model_selection import KFold

    from sklearn_unlocknn import VGPRegressor
    from sklearn_unlocknn.compose import ProbTransformedTargetRegressor
    from sklearn_unlocknn.datasets import matbench_folds
    from sklearn_unlocknn.metrics import gaussian_crps, gaussian_nll

    splits = list(KFold(5, shuffle=True, random_state=0).split(X))
    model = VGPRegressor(random_state=0)
    if task == "phonons":
        splits = matbench_folds(y)
        model = ProbTransformedTargetRegressor(
            model, func=np.log10, inverse_func=power_of_ten
        )
    rows = []
    for train, test in (splits[k] for k in folds):
        start = time.process_time()
        model.fit(X[train], y[train])
        seconds = time.process_time() - start
        mean, std = model.predict(X[test], return_std=True)
        error = np.abs(mean - y[test]).mean()
        nll, crps = (f(y[test], mean, std) for f in (gaussian_nll, gaussian_crps))
        rows.append([error, nll, crps, seconds])
    return np.array(rows)


def main():
    from sklearn_unlocknn import StructureDescriptors
    from sklearn_unlocknn.datasets import make_ionic_crystals

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    tasks = ["phonons", "perovskites", "bulk", "shear"]
    parser.add_argument("tasks", nargs="+", choices=tasks)
    parser.add_argument("--folds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--parts", action="store_true")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--cache", type=Path, default=Path("."))
    args = parser.parse_args()

    groups = ("composition", "geometry", "complexity")
    example = make_ionic_crystals(1, random_state=0).data
    names, group_of = [], []
    for group in groups:
        some = StructureDescriptors((group,)).fit(example).get_feature_names_out()
        names, group_of = [*names, *some], group_of + [group] * len(some)
    print("| data | descriptors | number | MAE | NLL | CRPS | fit s | us/structure |")
    print("|---" * 8 + "|")
    for task in args.tasks:
        path = args.cache / f"descriptors_{task}.npz"
        if not path.exists():
            structures, y = load(task, args.data)
            start = time.process_time()
            X = StructureDescriptors(groups).fit_transform(structures)
            cost = (time.process_time() - start) / len(X) * 1e6
            np.savez(path, X=X, y=y, cost=cost)
        with np.load(path) as file:
            X, y, cost = file["X"], file["y"], float(file["cost"])
        X = np.where(np.isnan(X), np.nanmedian(X, axis=0), X)
        for part, belongs in {"all": None, **PARTS}.items():
            if belongs is not None and not args.parts:
                break
            keep = np.array([
                belongs is None or not belongs(name, group)
                for name, group in zip(names, group_of, strict=True)
            ])  # fmt: skip
            scores = evaluate(X[:, keep], y, task, args.folds).mean(axis=0)
            label = part if belongs is None else f"without {part}"
            figures = " | ".join(f"{value:.3f}" for value in scores[:3])
            print(
                f"| {task} | {label} | {keep.sum()} | {figures} | {scores[3]:.1f} | "
                f"{cost:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    for pool in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[pool] = "1"  # BLAS reads it when NumPy is imported
    import numpy as np

    from sklearn_unlocknn._structures.symmetry import SYMMETRY

    SYMMETRY_NAMES = {name for name, _ in SYMMETRY}
    main()
