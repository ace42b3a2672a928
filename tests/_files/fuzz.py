"""Damage model files at random and read them: ``python fuzz.py NUMBER SEED``.

Each file is read, and the model predicts if there is one, in this process: a
`ModelFileError` is right, and so is any exception of a prediction. Stops at everything
else: another exception, five seconds, and a program, a connection or a pickle.
"""

import copy
import io
import json
import random
import resource
import signal
import sys
import tempfile
import warnings
import zipfile
from collections import Counter
from pathlib import Path

FORBIDDEN = (
    "pickle.find_class",
    "subprocess.Popen",
    "socket.connect",
    "shutil.",
    "os.",
)
ALLOWED = ("os.listdir", "os.scandir", "os.add_dll_directory", "os.putenv")
SECONDS = 5
NASTY = [
    None, True, -1, 0, 2**63, 10**30, 1e308, -1e-320, "", "nan", "..", "a" * 5000,
    [], [[]], {}, {"ref": 0}, {"ref": 10**9}, {"ref": True}, {"array": -1},
    {"array": 10**7},
    {"float": "nan"}, {"float": 1}, {"tuple": []}, {"bytes": "zz"}, {"dtype": "|O"},
    {"dtype": "V8"}, {"type": "os.system"}, {"function": "os.system"}, {"path": "/"},
    {"function": "numpy.frompyfunc"}, {"dict": []}, {"pairs": [[[], 1]]}, {"set": [[]]},
    {"object": "os.system", "state": {}}, {"object": "Head", "state": {}},
    {"object": "sklearn.tree.DecisionTreeRegressor", "state": {}},
    {"array": ["<f8", [2, -1], [1, 2]]}, {"array": ["<f8", [10**12, 0], []]},
    {"objects": [[1], []]}, {"slice": [0, 10**30, 1]}, {"range": [0, 10**15, 1]},
    {"random_state": [{"array": 0}, 1, 0, 0.0]}, {"function": "numpy.matmul"},
    {"scalar": ["<f8", [], [1]]}, {"masked": [{"array": 0}, {"array": 1}]},
    {"object": "VGPRegressor", "state": {}},
    {"object": "sklearn.pipeline.Pipeline", "state": {"steps": [{"tuple": [1, 2]}]}},
    {"object": "Covariance", "state": {"template": None, "n_features": 10**6}},
]  # fmt: skip


def members(path):
    """Return the members of a zip file by name."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(parts):
    """Return a zip file without compression."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return file.getvalue()


def damaged_bytes(content, rng):
    """Return bytes with a few of them changed, removed, repeated or cut."""
    content = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        if not content:
            break
        at, kind = rng.randrange(len(content)), rng.randrange(5)
        end = at + rng.randint(1, 40)
        if kind == 0:
            content[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            content[at] = rng.choice(b'\x00\xff"[]{}0189-.,eN')
        elif kind == 2:
            del content[at:end]
        elif kind == 3:
            content[at:at] = content[at:end]
        else:
            del content[at if rng.randrange(4) == 0 else end :]
    return bytes(content)


def places(node, found):
    """Collect the places of a JSON value, as pairs of a container and a key."""
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, item in items:
        found.append((node, key))
        if isinstance(item, dict | list):
            places(item, found)
    return found


def damaged_tree(text, rng):
    """Return a JSON text with some of its values replaced, removed or renamed."""
    tree = json.loads(text)
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        found = places(tree, [])
        if not found:
            break
        (node, key), (other, there) = rng.choice(found), rng.choice(found)
        kind = rng.randrange(6)
        if kind == 0:
            node[key] = copy.deepcopy(rng.choice(NASTY))
        elif kind == 1:
            node[key] = copy.deepcopy(other[there])
        elif kind == 2 and isinstance(node, dict):
            node[rng.choice(["__class__", "state", "a b", str(there)])] = node.pop(key)
        elif kind == 3:
            del node[key]
        elif kind == 4 and isinstance(node[key], int | float):
            node[key] = rng.choice([-node[key], node[key] + 1, 10**9, 0.5])
        else:
            for _ in range(rng.choice([1, 20])):
                node[key] = {rng.choice(["tuple", "dict", "object"]): [node[key]]}
    text = json.dumps(tree)
    if rng.randrange(20) == 0:
        depth = rng.choice([150, 500, 10**5])
        text = text.replace("null", "[" * depth + "]" * depth, 1)
    return text.encode()


def damaged_file(path, rng):
    """Return the bytes of a damaged copy of a model file."""
    kind = rng.randrange(10)
    if kind == 0:
        return damaged_bytes(path.read_bytes(), rng)
    parts = members(path)
    if kind == 1:  # names and numbers of members
        name = rng.choice(list(parts))
        new = rng.choice(["../a", "/a", "arrays/0.npy", "b.json", "arrays/99.npy"])
        parts[new] = parts.pop(name)
    elif kind <= 3:
        name = rng.choice([name for name in parts if name.endswith(".npy")])
        parts[name] = damaged_bytes(parts[name][: rng.choice([100, 10**9])], rng)
    elif kind == 4:
        name = rng.choice(["model.json", "card.json"])
        parts[name] = damaged_bytes(parts[name], rng)
    else:
        name = rng.choice(["model.json"] * 9 + ["card.json"])
        parts[name] = damaged_tree(parts[name], rng)
    return zipped(parts)


watching = False


def forbid(event, arguments):
    if watching and event.startswith(FORBIDDEN) and event not in ALLOWED:
        sys.exit(f"{event} {arguments}")
    writes = (
        event == "open" and isinstance(arguments[1], str) and "r" not in arguments[1]
    )
    if watching and writes:
        sys.exit(f"{event} {arguments}")


def too_slow(number, frame):
    sys.exit(f"more than {SECONDS} s")


def main(count, seed):
    global watching
    import numpy as np

    from sklearn_unlocknn import ModelFileError, load_model

    sys.path.insert(0, str(Path(__file__).parents[1]))
    from _files import kept

    paths = sorted(kept.FOLDER.glob("*.unlocknn"))
    for path in paths:  # imports
        model = load_model(path)
        if "numeric" in path.name:
            kept.predicted(model)
    limit = 4 * 2**30  # no array that is absurd, also without memory to spare
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    signal.signal(signal.SIGALRM, too_slow)
    sys.addaudithook(forbid)
    warnings.simplefilter("ignore")
    rng, outcomes = random.Random(seed), Counter()
    with tempfile.NamedTemporaryFile(suffix=".unlocknn") as file:
        for number in range(count):
            path = rng.choice(paths)
            content = damaged_file(path, rng)
            Path(file.name).write_bytes(content)
            signal.alarm(SECONDS)
            watching = True
            try:
                with np.errstate(all="ignore"):
                    model, outcome = load_model(file.name), "loaded"
                    if "numeric" in path.name:
                        outcome = "predicted"
                        kept.predicted(model)
            except ModelFileError:
                outcome = "refused"
            except BaseException as error:
                if outcome != "predicted" or not isinstance(error, Exception):
                    watching = False
                    Path("damaged.unlocknn").write_bytes(content)
                    print(f"file {number} of {path.name}, seed {seed}", file=sys.stderr)
                    raise
                outcome = "not predicted"
            watching = False
            outcomes[outcome] += 1
    signal.alarm(0)
    print(json.dumps(outcomes))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
