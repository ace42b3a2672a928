"""The page of a model under parallel clients.

    python benchmarks/bench_serve.py MODEL [--clients 20] [--seconds 60]

``unlocknn serve MODEL`` runs as a process of its own. Clients, threads of another
process, send generated crystals in turns to the page (a form, a result with pictures)
and to the JSON endpoint, each as soon as its last answer is there. No two crystals are
the same. Shown are the number of answers and errors, the times of answers and the
memory of the server with its processes at the start, halfway and at the end.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import numpy as np

from sklearn_unlocknn.datasets import make_ionic_crystals

HERE = Path(__file__).resolve().parents[1]


def memory_of(pid):
    """Return the memory of a process and its children, in MB, shared parts once."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    total = 0
    for one in (str(pid), *children):
        text = Path(f"/proc/{one}/smaps_rollup").read_text()
        total += int(re.search(r"Pss:\s+(\d+)", text)[1])
    return total / 1024


def form(cif):
    """Return the body of a form with one file, and its type."""
    head = 'Content-Disposition: form-data; name="files"; filename="a.cif"'
    body = f"--edge\r\n{head}\r\n\r\n{cif}\r\n--edge--\r\n"
    return body.encode(), "multipart/form-data; boundary=edge"


def run_client(address, crystals, end, rng, taken, errors):
    """Send crystals until a time; collect seconds and errors."""
    i = 0
    while time.monotonic() < end:
        crystal = crystals[rng.integers(len(crystals))].copy()
        crystal.scale_lattice(crystal.volume * rng.uniform(0.95, 1.05))
        cif = crystal.to(fmt="cif")
        if i % 2:
            body, kind = form(cif)
            request = urllib.request.Request(address, body, {"Content-Type": kind})
        else:
            body = json.dumps({"structures": [{"name": "a.cif", "text": cif}]})
            request = urllib.request.Request(
                f"{address}api/predict", body.encode(),
                {"Content-Type": "application/json"},
            )  # fmt: skip
        start = time.monotonic()
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                text = answer.read().decode()
            if i % 2 == 0:
                errors += [
                    r["error"] for r in json.loads(text)["results"] if r["error"]
                ]
            elif 'class="chart"' not in text:
                errors.append("a page without a picture")
        except OSError as error:
            errors.append(str(error))
        taken.append(time.monotonic() - start)
        i += 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60.0)
    args = parser.parse_args()

    load_average = ", ".join(f"{x:.1f}" for x in os.getloadavg())
    print(f"{platform.machine()}, load before {load_average}")
    crystals = list(make_ionic_crystals(200, random_state=7).data)
    process = subprocess.Popen(
        [sys.executable, "-m", "sklearn_unlocknn", "serve", args.model, "--port", "0"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env={**os.environ, "PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    address = re.search(r"http://\S+", process.stdout.readline())[0] + "/"
    taken, errors, memory = [], [], []
    try:
        warm = threading.Thread(
            target=run_client,
            args=(address, crystals, time.monotonic() + 5, np.random.default_rng(0),
                  [], []),
        )  # fmt: skip
        warm.start()
        warm.join()
        memory.append(memory_of(process.pid))
        start = time.monotonic()
        threads = [
            threading.Thread(
                target=run_client,
                args=(address, crystals, start + args.seconds,
                      np.random.default_rng(1 + i), taken, errors),
            )
            for i in range(args.clients)
        ]  # fmt: skip
        for thread in threads:
            thread.start()
        time.sleep(args.seconds / 2)
        memory.append(memory_of(process.pid))
        for thread in threads:
            thread.join()
        seconds = time.monotonic() - start
        memory.append(memory_of(process.pid))
    finally:
        process.terminate()
        process.wait()
    half, high = np.quantile(taken, [0.5, 0.99])
    print(f"{args.clients} clients, {seconds:.0f} s: {len(taken)} answers, "
          f"{len(taken) / seconds:.1f} a second, {len(errors)} errors")  # fmt: skip
    print(f"seconds an answer: median {half:.2f}, 99 % {high:.2f}, "
          f"slowest {max(taken):.2f}")  # fmt: skip
    print(f"memory MB: {', '.join(f'{m:.0f}' for m in memory)}")
    for error in sorted(set(errors))[:5]:
        print("error:", error)


if __name__ == "__main__":
    main()
