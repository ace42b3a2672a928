"""Make the features file of the head benchmarks from the data folder.

    python benchmarks/make_features.py DATA_FOLDER OUT.npz --dataset elasticity

`X` (n, 96): concatenated readout of the pretrained formation-energy MEGNet. `y` (n,):
heat of formation in eV (perovskites), or log10 of the bulk modulus in GPa (elasticity,
rows with a positive modulus only). `row` (n,): the row of the source file.
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np

from sklearn_unlocknn._megnet.network import MEGNetSnapshot
from sklearn_unlocknn.datasets import (
    fetch_elasticity,
    fetch_megnet_model,
    fetch_perovskites,
)


def perovskites(folder):
    return fetch_perovskites(as_cif=True, data_home=folder, return_X_y=True)


def elasticity(folder):
    X, y = fetch_elasticity(data_home=folder, return_X_y=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return X, np.log10(y)


DATASETS = {"perovskites": perovskites, "elasticity": elasticity}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data_folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--dataset", choices=sorted(DATASETS), default="perovskites")
    parser.add_argument("--network", default="Eform_MP_2019")
    parser.add_argument("--layer", type=int, default=-4)
    parser.add_argument("--n-jobs", type=int, default=None)
    args = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

    structures, y = DATASETS[args.dataset](args.data_folder)
    row = np.flatnonzero(np.isfinite(y))
    file = fetch_megnet_model(args.network, data_home=args.data_folder)
    network = MEGNetSnapshot(file)
    start = time.perf_counter()
    made = network.run(
        [structures[i] for i in row], args.layer, n_jobs=args.n_jobs, on_error="nan"
    )
    seconds = time.perf_counter() - start
    for error in made.errors.values():
        print(error)
    good = np.delete(np.arange(len(row)), list(made.errors))
    X, row = made.features[good], row[good]
    np.savez(args.out, X=X, y=y[row], row=row)
    print(
        f"{args.out}: X {X.shape}; {len(y) - len(row)} of {len(y)} rows dropped, "
        f"{len(made.errors)} of them by errors; {len(X) / seconds:.0f} structures/s"
    )


if __name__ == "__main__":
    main()
