"""Make the figures of RESULTS.md in one go, and print what changed.

    python benchmarks/run.py DATA_FOLDER [--only uci domain] [--list]

The commands are those of RESULTS.md, in its order: that file alone states how a figure
is made. Each runs in a process of its own and in a folder that all share, for features
that one command writes and another reads. Its lines, its time, the versions and the
machine in words are written to ``results.json`` after each command, so that a run
which is stopped is not lost. Then lines are compared with those of the stored run:
the same words with other numbers are a change where a number differs by more than
``--tolerance``. A command that fails is shown, and the exit status is 1.
"""

import argparse
import json
import os
import platform
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).resolve().parent
STORED = HERE / "results.json"
LIBRARIES = ("numpy", "scipy", "scikit-learn", "tensorflow", "megnet", "pymatgen")
OTHERS = ("gpflow", "gpytorch")  # that only the extra "bench" installs
_NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?(?![\w])")


def commands(text):
    """Return the commands of RESULTS.md other than this one, joined at backslashes."""
    text = re.sub(r"\\\n\s+", "", text)
    found = re.findall(r"^    python (.+)$", text, re.MULTILINE)
    found = [re.sub(r"\s+#.*$", "", command) for command in found]
    return [
        one for one in found if one.split()[0] != f"benchmarks/{Path(__file__).name}"
    ]


def machine():
    """Describe the machine in words, and the versions."""
    cores = os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    words = f"{cores} {platform.machine()} cores, {memory:.0f} GB, {platform.system()}"
    versions = {"python": platform.python_version()}
    for library in (*LIBRARIES, *OTHERS):
        try:
            versions[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            versions[library] = None
    return {"machine": words, "versions": versions}


def run(command, data_folder, folder):
    """Run a command of RESULTS.md, show its lines and return them with its time."""
    words = [sys.executable]
    for word in shlex.split(command):
        word = {"DATA_FOLDER": str(data_folder), "FOLDER": str(folder)}.get(word, word)
        script = HERE.parent / word
        words.append(str(script) if word.endswith(".py") else word)
    environment = {"SKLEARN_UNLOCKNN_DATA": str(data_folder), **os.environ}
    start = time.monotonic()
    lines = []
    with subprocess.Popen(
        words, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line.rstrip())
    return {
        "seconds": round(time.monotonic() - start, 1),
        "status": process.returncode,
        "date": time.strftime("%Y-%m-%d"),
        **machine(),
        "lines": lines,
    }


def changes(before, after, tolerance):
    """Return pairs of lines that have the same words and other numbers.

    Lines of the same words, such as the rows of a table, are compared in order.
    """
    found, stored = [], defaultdict(list)
    for line in before:
        stored[_words(line)].append(line)
    for line in after:
        same = stored[_words(line)]
        if not same:
            found.append((None, line))
            continue
        old = same.pop(0)
        pairs = zip(_numbers(old), _numbers(line), strict=True)
        if any(abs(a - b) > tolerance * max(abs(a), abs(b)) for a, b in pairs):
            found.append((old, line))
    left = (line for lines in stored.values() for line in lines)
    return found + [(line, None) for line in left]


def _words(line):
    """Return a line without its numbers and with single spaces."""
    return " ".join(_NUMBER.sub("#", line).split())


def _numbers(line):
    return [float(number) for number in _NUMBER.findall(line)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data_folder", type=Path, help="see fetch_elasticity")
    parser.add_argument("--only", nargs="+", help="commands with one of these words")
    parser.add_argument("--list", action="store_true", help="print the commands alone")
    parser.add_argument("--stored", type=Path, default=STORED, help="read and updated")
    parser.add_argument("--tolerance", type=float, default=0.05, help="relative")
    args = parser.parse_args()
    chosen = commands((HERE / "RESULTS.md").read_text("utf-8"))
    if args.only:
        chosen = [one for one in chosen if any(word in one for word in args.only)]
    if not chosen:
        parser.error(f"no command of RESULTS.md has a word of {args.only}")
    if args.list:
        print("\n".join(chosen))
        return 0
    if not args.data_folder.is_dir():
        parser.error(f"{args.data_folder} is not a folder")
    stored = {}
    if args.stored.is_file():
        stored = json.loads(args.stored.read_text("utf-8"))
    failed = []
    with tempfile.TemporaryDirectory(prefix="unlocknn-bench-") as folder:
        for command in chosen:
            print(f"\n$ python {command}", flush=True)
            done = run(command, args.data_folder.resolve(), Path(folder))
            if done["status"]:
                failed.append(command)
                print(f"failed with status {done['status']}; the stored run stays")
                continue
            before = stored.get(command)
            stored[command] = done
            new = args.stored.with_suffix(".new")
            new.write_text(json.dumps(stored, indent=1) + "\n", "utf-8")
            new.replace(args.stored)
            if before is None:
                print("no stored run of this command")
                continue
            for old, line in changes(before["lines"], done["lines"], args.tolerance):
                for sign, text in (("-", old), ("+", line)):
                    if text:
                        print(sign, text)
            took = f"{before['seconds']:.0f} s then, {done['seconds']:.0f} s now"
            print(f"{took}; stored run: {before['date']}, {before['machine']}")
    for command in failed:
        print(f"failed: python {command}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
