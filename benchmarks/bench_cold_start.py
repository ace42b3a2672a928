"""From a saved model and CIF files to predictions, each time in a new process.

    python benchmarks/bench_cold_start.py DATA_FOLDER [--repeats 3] [--before CHECKOUT]

A model is fitted to 500 perovskites on the pretrained formation-energy network and
saved. Then new processes run in turns: ``unlocknn predict`` on one CIF and on many, the
many only read, and the import of scikit-learn. ``--before`` runs another checkout of
this package beside it, with a model of its own. The best of the repeats is shown; on a
machine with other jobs look at CPU seconds, and at ratios within one run.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]

FIT = """
import sys
from sklearn_unlocknn import MEGNetProbRegressor, save_model
from sklearn_unlocknn.datasets import fetch_perovskites
X, y = fetch_perovskites(data_home=sys.argv[1], return_X_y=True)
model = MEGNetProbRegressor(random_state=0).fit(list(X[:500]), y[:500])
save_model(model, sys.argv[2], target="y")
"""
READ = """
import sys
from pathlib import Path
from sklearn_unlocknn._structures.read import read_many
found = read_many(sorted(Path(sys.argv[1]).glob("*.cif")))
assert not any(isinstance(one, Exception) for one in found)
"""
LOADED = """
import sys
from sklearn_unlocknn._cli.main import main
main(sys.argv[1:])
heavy = {"tensorflow", "keras", "tf_keras", "megnet", "pymatgen", "pandas"}
print(*sorted(heavy & set(sys.modules)))
"""


def environment(checkout):
    """Return the environment of a process on one thread, and its folder."""
    names = ("OMP", "OPENBLAS", "MKL")
    limits = {f"{name}_NUM_THREADS": "1" for name in names}
    env = {**os.environ, **limits, "PYTHONPATH": str(checkout)}
    return {"env": {**env, "TF_CPP_MIN_LOG_LEVEL": "3"}, "cwd": checkout}


def run(arguments, checkout, output=subprocess.DEVNULL):
    """Run Python in a new process; return wall and CPU seconds."""
    used, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [sys.executable, *map(str, arguments)], check=True, stdout=output,
        stderr=subprocess.DEVNULL, **environment(checkout),
    )  # fmt: skip
    wall = time.perf_counter() - start
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
    return {"wall": wall, "cpu": cpu}


def first_line(arguments, checkout):
    """Return the seconds until a new process prints something on a terminal."""
    main_end, terminal = os.openpty()
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *map(str, arguments)], stdout=subprocess.DEVNULL,
        stderr=terminal, **environment(checkout),
    )  # fmt: skip
    os.close(terminal)
    os.read(main_end, 1)
    seconds = time.perf_counter() - start
    process.communicate()
    os.close(main_end)
    return seconds


def write_cifs(data, folder, n):
    """Write perovskites that the models were not fitted to as CIF files."""
    from sklearn_unlocknn.datasets import fetch_perovskites

    texts = fetch_perovskites(as_cif=True, data_home=data).data[1000 : 1000 + n]
    for i, text in enumerate(texts):
        (folder / f"{i:04d}.cif").write_text(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--before", type=Path, help="another checkout")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()

    checkouts = {"now": HERE}
    if args.before:
        checkouts["before"] = args.before.resolve()
    load_average = ", ".join(f"{x:.1f}" for x in os.getloadavg())
    print(f"{platform.machine()}, one thread, load before {load_average}")
    results = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cifs = folder / "cifs"
        cifs.mkdir()
        write_cifs(args.data, cifs, args.files)
        one = cifs / "0000.cif"
        jobs = {}
        for key, checkout in checkouts.items():
            model = folder / f"{key}.unlocknn"
            run(["-c", FIT, args.data, model], checkout)
            predict = ["-m", "sklearn_unlocknn", "predict", model]
            jobs |= {
                (key, "predict one CIF"): [*predict, one],
                (key, f"predict {args.files}"): [*predict, cifs],
                (key, f"read {args.files}"): ["-c", READ, cifs],
                (key, "read one CIF"): ["-c", READ.replace("*.cif", "0000.cif"), cifs],
                (key, "import scikit-learn"): ["-c", "import sklearn.base"],
            }
            with open(folder / "loaded", "w") as file:
                run(["-c", LOADED, "predict", model, one], checkout, file)
            loaded = (folder / "loaded").read_text().splitlines()[-1]
            seconds = first_line([*predict, one], checkout)
            print(f"{key}: predict imports {loaded}; first line after {seconds:.2f} s")
        for _ in range(args.repeats):
            for job, arguments in jobs.items():
                taken = run(arguments, checkouts[job[0]])
                results.setdefault(" ".join(job), []).append(taken)
    print(f"{'best of ' + str(args.repeats):28}{'wall s':>10}{'CPU s':>10}")
    best = {
        name: {kind: min(one[kind] for one in taken) for kind in ("wall", "cpu")}
        for name, taken in results.items()
    }
    for name, taken in best.items():
        print(f"{name:28}{taken['wall']:10.2f}{taken['cpu']:10.2f}")
    for key in checkouts:
        many = best[f"{key} predict {args.files}"], best[f"{key} read {args.files}"]
        more = {kind: many[0][kind] - many[1][kind] for kind in ("wall", "cpu")}
        print(f"{key}: {args.files} predictions take {more['wall']:.2f} s and "
              f"{more['cpu']:.2f} CPU s more than reading the files")  # fmt: skip
    if args.json:
        args.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
