"""Damaged and hostile model files are refused, and nothing in them is run."""

import io
import json
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from _files import fuzz, kept
from numpy.testing import assert_array_equal

from sklearn_unlocknn import (
    MEGNetFeatureExtractor,
    ModelFileError,
    load_model,
    read_model_card,
    save_model,
)
from sklearn_unlocknn._files.archive import MAX_TEXT
from sklearn_unlocknn._files.model_file import PROTOCOL
from sklearn_unlocknn._keras.serialization import dump, rebuild

NUMERIC, NETWORK = (kept.FOLDER / f"{name}_{PROTOCOL}.unlocknn" for name in kept.MODELS)


@pytest.mark.parametrize("count", [300, pytest.param(2000, marks=pytest.mark.slow)])
def test_damaged_at_random(count, tmp_path):
    command = [sys.executable, fuzz.__file__, str(count), "1"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    outcomes = json.loads(done.stdout)
    assert sum(outcomes.values()) == count
    assert outcomes["refused"] > count / 2
    assert outcomes["predicted"] > 0
    assert list(tmp_path.iterdir()) == []


def check_refused(content, path, match):
    """Write a file; check that an error names it and its fault."""
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=match) as caught:
        load_model(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 1000
    return caught.value


def changed(parts, name, old, new):
    """Return members with a text replaced in one of them."""
    content = parts[name].decode()
    assert old in content
    return {**parts, name: content.replace(old, new, 1).encode()}


def npy(array, **options):
    """Return a .npy file."""
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def header(text, data=b""):
    """Return a .npy file with a header of one's own."""
    text = text.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


def test_files_of_another_kind(tmp_path):
    path = tmp_path / "model.unlocknn"
    whole = NUMERIC.read_bytes()
    for size in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        match = "another kind of file" if size < 2 else "zip|central directory"
        check_refused(whole[:size], path, match)
    other = fuzz.zipped({"a.txt": b"x"})
    for content, match in [
        (b"text", "another kind of file, .* save_model or the command unlocknn wrote"),
        (pickle.dumps({}), "another kind of file"),
        (other, "unknown part 'a.txt'"),
        (fuzz.zipped({}), "no part 'card.json'"),
        (fuzz.zipped({"card.json": b'{"a": 1}'}), "another kind of file"),
        (fuzz.zipped({"card.json": b"[]"}), "another kind of file"),
    ]:
        check_refused(content, path, match)
        with pytest.raises(ModelFileError, match=match):
            read_model_card(path)
    with pytest.raises(FileNotFoundError):
        load_model(tmp_path / "none")
    with pytest.raises(IsADirectoryError, match="expected a model file"):
        load_model(tmp_path)
    with pytest.raises(TypeError, match="not int"):  # that of an open file
        load_model(3)
    with pytest.raises(ModelFileError, match=r"more than max_bytes=9; pass more"):
        load_model(NUMERIC, max_bytes=9)


@pytest.mark.parametrize(
    ("number", "match"),
    [
        ("4", r"number 4, and this .* reads numbers up to 3; .*version 0\.1\.0"),
        ("0", "number 0"), ("-1", "number -1"), ("true", "number True"),
        ("2.5", "number 2.5"), ('"2"', "number '2'"), ("null", "number None"),
        ("NaN", "number NaN"), ("1e999", "number 1e999"), ("1" * 5000, "limit"),
    ],
)  # fmt: skip
def test_format_numbers(number, match, tmp_path):
    parts = fuzz.members(NUMERIC)
    parts = changed(
        parts, "card.json", f'"protocol":{PROTOCOL}', f'"protocol":{number}'
    )
    check_refused(fuzz.zipped(parts), tmp_path / "a", match)


def test_members(tmp_path):
    path, parts = tmp_path / "a", fuzz.members(NUMERIC)
    for name in ("../model.json", "/etc/passwd", "arrays/../0.npy", "arrays/01.npy"):
        check_refused(fuzz.zipped({**parts, name: b""}), path, "unknown part")
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
        archive.writestr("arrays/99.npy", bytes(2**25))  # a bomb
    assert len(file.getvalue()) < 2**20
    check_refused(file.getvalue(), path, "is compressed or encrypted")
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("card.json", parts["card.json"])
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("card.json", parts["card.json"])
    check_refused(file.getvalue(), path, "'card.json' twice")
    # Another size in the directory than there are bytes
    content = fuzz.zipped(parts)
    size = len(parts["arrays/0.npy"]).to_bytes(4, "little")
    spoiled = content.replace(size, (2**30).to_bytes(4, "little"))
    assert spoiled != content
    check_refused(spoiled, path, "bytes, the file|Overlapped|Truncated|size")
    content = content.replace(b"\x93NUMPY", b"\x93NUMPX", 1)
    check_refused(content, path, "Bad CRC-32")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "no .npy file"),
        (b"\x93NUMPY\x09\x00aaaa", "no .npy file"),
        (npy(np.array([{}]), allow_pickle=True), "the type object"),
        (npy(np.zeros(2, [("a", "<f8")])), "the type .*'a'"),
        (npy(np.zeros(3)), "shape"),
        (npy(np.zeros((2, 2)))[:-8], "another number of bytes"),
        (header("{'descr': '<f8', 'fortran_order': False, 'shape': (9999999999,)}"),
         "another number of bytes"),
        (header("{'descr': '<f8', 'fortran_order': False, 'shape': (9999999999, 0)}"),
         "has the shape"),
        (header("{'descr': '<f8', 'fortran_order': False, 'shape': (-1, -1)}"),
         "has the shape"),
        (header("{'descr': '|V0', 'fortran_order': False, 'shape': (9,)}"), "the type"),
        (header("{'descr': __import__('os'), 'shape': ()}"), "malformed"),
        (header("(" * 1900), "header|nested|parentheses|memory"),
        (b"\x93NUMPY\x01\x00\xff\xff" + b" " * 2**16, "no valid header"),
    ],
)  # fmt: skip
def test_arrays(content, match, tmp_path):
    parts = fuzz.members(NUMERIC)
    check_refused(
        fuzz.zipped({**parts, "arrays/0.npy": content}), tmp_path / "a", match
    )


@pytest.mark.parametrize(
    ("node", "match"),
    [
        ({"object": "os.system", "state": {}}, "type 'os.system', which is none"),
        ({"object": "sklearn.os.system", "state": {}}, "which is none of those"),
        ({"object": "sklearn.svm.SVR", "state": {}}, "which is none of those"),
        ({"object": "sklearn.pipeline._BaseComposition", "state": {}}, "none of those"),
        ({"object": "sklearn.preprocessing.scale", "state": {}}, "none of those"),
        ({"object": "RawSamples", "state": {}}, "which is none of those"),
        ({"object": ["VGPRegressor"], "state": {}}, "which is none of those"),
        ({"object": "VGPRegressor", "state": []}, "no attributes"),
        ({"object": "VGPRegressor", "state": {"__class__": 1}}, "'__class__'"),
        ({"object": "VGPRegressor", "state": {"a b": 1}}, "'a b'"),
        ({"object": "Standardisation", "state": {}}, "'x_mean' .* is no array"),
        ({"object": "Scaled", "state": {}}, "missing"),
        ({"object": "Scaled", "state": {"more": 1}}, "more"),
        ({"function": "os.system"}, "function 'os.system', which is none"),
        ({"function": "numpy.load"}, "which is none of those"),
        ({"function": "numpy.lib.npyio.load"}, "which is none of those"),
        ({"function": "sklearn.metrics._scorer.get_scorer"}, "which is none of those"),
        ({"function": "sklearn.metrics.DistanceMetric"}, "which is none of those"),
        ({"type": "subprocess.Popen"}, "the type 'subprocess.Popen'"),
        ({"dtype": "O"}, "the type object"),
        ({"ref": 10**9}, "an object 1000000000"), ({"ref": True}, "an object True"),
        ({"array": 10**5}, "no part"), ({"array": True}, "array number True"),
        ({"array": ["<f8", [10**9], [1.0]]}, "the shape"),
        ({"scalar": ["<f8", [1], [1.0]]}, "the shape"),
        ({"objects": [[3], []]}, "the shape"), ({"tuple": {}}, "a list in it is none"),
        ({"masked": [{"array": ["|b1", [1], [True]]}, {"array": ["|b1", [], [True]]}]},
         "another shape than its mask"),
        ({"pairs": [[1, 2], [1, 3]]}, "a key twice"), ({"pairs": [[[], 1]]}, "unhash"),
        ({"float": "1e3"}, "the number '1e3'"), ({"bytes": "zz"}, "hexadecimal"),
        ({"eval": "1"}, r"the kind \['eval'\]"), ({"ref": 0, "a": 1}, "the kind"),
        ({}, r"the kind \[\]"),
    ],
)  # fmt: skip
def test_values(node, match, tmp_path):
    parts = fuzz.members(NUMERIC)
    model = json.loads(parts["model.json"])
    model["state"]["cv_results_"] = node
    parts["model.json"] = json.dumps(model).encode()
    check_refused(fuzz.zipped(parts), tmp_path / "a", match)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("[" * 10**6, "recursion"),
        ("[" * 300 + "]" * 300, "nested too deeply"),
        ('{"a": 1, "a": 2}', "a name twice"),
        ("-Infinity", "the number -Infinity"),
        ("\xff", "codec"),
        (" " * (MAX_TEXT + 1), "more than the 16777216 bytes"),
    ],
    ids=["brackets", "lists", "twice", "infinity", "codec", "long"],
)
def test_texts(text, match, tmp_path):
    parts = fuzz.members(NUMERIC)
    parts["model.json"] = text.encode("latin1")
    check_refused(fuzz.zipped(parts), tmp_path / "a", match)


@pytest.mark.parametrize(
    ("attribute", "value", "match"),
    [
        ("alpha", {"array": ["<f8", [1, 1], [0.0]]}, "'alpha' of a .* does not fit"),
        ("Z", {"array": ["<f8", [1], [0.0]]}, r"'Z' of a .* the shape \(1,\)"),
        ("Z", {"array": ["<f8", [10**6, 0], []]}, "does not fit|hyperparameters"),
        ("theta", {"array": ["<f8", [2], [0.0, 0.0]]}, "3 hyperparameters"),
        ("theta", {"array": ["<i8", [3], [0, 0, 0]]}, "'theta' of a .* is no array"),
        ("Lb", {"array": ["<f8", [2], [0.0, 0.0]]}, "2 values for 8 points"),
    ],
)
def test_shapes_of_a_posterior(attribute, value, match, tmp_path):
    parts = fuzz.members(NUMERIC)
    model = json.loads(parts["model.json"])
    posterior = next(
        node[key]["state"]
        for node, key in fuzz.places(model, [])
        if isinstance(node[key], dict) and node[key].get("object") == "SparsePosterior"
    )
    posterior[attribute] = value
    parts["model.json"] = json.dumps(model).encode()
    check_refused(fuzz.zipped(parts), tmp_path / "a", match)


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ('"class_name":"Dense"', '"class_name":"Lambda"', "has 'Lambda' of"),
        ('"class_name":"Dense"', '"class_name":"TFSMLayer"', "has 'TFSMLayer' of"),
        ('"class_name":"Dense"', '"class_name":"__lambda__"', "has '__lambda__' of"),
        ('"module":"keras.layers"', '"module":"os"', "has 'InputLayer' of 'os'"),
        ('"module":"keras.layers"', '"module":"keras;os"', "of 'keras;os'"),
        ('"module":"keras.layers"', '"module":{"tuple":[]}', "without a name"),
        ('"registered_name":null', '"registered_name":"a>b"', "has 'float32'|has '"),
        ('"activation":"tanh"',
         '"activation":{"dict":{"class_name":"function","module":"os","config":"system",'
         '"registered_name":"system"}}', "has 'system' of 'os'"),
        ('"activation":"tanh"', '"vocabulary":"/etc/passwd"', "reads the file"),
        ('"library":"keras"', '"library":"os"', "is of 'os'"),
        ('"library":"keras"', '"libary":"keras"', "other parts"),
        ('"variables"', '"assets":{"dict":{"../a":{"bytes":""}}},"variables"',
         "the file '../a'"),
    ],
)  # fmt: skip
def test_networks(old, new, match, tmp_path):
    parts = changed(fuzz.members(NETWORK), "model.json", old, new)
    check_refused(fuzz.zipped(parts), tmp_path / "a", match)


def test_a_network_that_cannot_be_built_is_an_error_of_the_prediction(tmp_path):
    path = tmp_path / "a"
    parts = changed(fuzz.members(NETWORK), "model.json", '"units":4', '"units":5')
    path.write_bytes(fuzz.zipped(parts))
    with pytest.raises(ModelFileError, match="The network of a model file"):
        load_model(path).predict(kept.X)


def test_safe_mode_of_keras_refuses_lambdas_too(K):
    net = K.Sequential([K.Input((2,)), K.layers.Lambda(lambda t: 2 * t)])
    with pytest.raises(ValueError, match=r"cannot be built.*[Ll]ambda"):
        rebuild(dump(net), safe_mode=True)


def test_graph_networks(tiny_net, tmp_path, crystals):
    path = tmp_path / "model.unlocknn"
    save_model(MEGNetFeatureExtractor(tiny_net).fit(crystals[:1]), path)
    whole = fuzz.members(path)
    for old, new, match in [
        (r"\"megnet.data.crystal\"", r"\"os\"", "'CrystalGraph' of 'os'"),
        ("GaussianDistance", "Evil", "'Evil' of 'megnet.data.graph'"),
        (r"\"@class\": \"GaussianDistance\"", r"\"@callable\": \"a\"", "None of"),
        (r"\"centers\": ", r"\"@b\": 1, \"centers\": ", "'GaussianDistance' of"),
        (r"\"class_name\": \"Dense\"", r"\"class_name\": \"Lambda\"", "has 'Lambda'"),
        (r"\"class_name\": \"MEGNetLayer\"", r"\"class_name\": \"Evil\"", "has 'Evil'"),
        ('"scaler":"{', '"scaler":"{{', "Expecting"),
        ('"scaler":', '"scaler":null,"a":', "no scaler"),
        ('"weights":[', '"weights":[1,', "no arrays"),
    ]:
        check_refused(fuzz.zipped(changed(whole, "model.json", old, new)), path, match)


def test_the_reader_knows_no_pickle():
    """No module of the files imports a reader of pickles."""
    folder = Path(sys.modules["sklearn_unlocknn._files"].__file__).parent
    for file in folder.glob("*.py"):
        for line in file.read_text().splitlines():
            if line.lstrip().startswith(("import ", "from ")):
                assert not {"pickle", "joblib", "cloudpickle", "marshal"} & set(
                    line.replace(".", " ").split()
                ), f"{file.name}: {line}"


def test_nothing_is_written_by_a_save_that_fails(tmp_path):
    path = tmp_path / "model.unlocknn"
    path.write_bytes(b"before")
    with pytest.raises(ModelFileError, match="Cannot save"):
        save_model(kept.numeric().set_params(cv=print), path)
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["model.unlocknn"]
    (tmp_path / "link").symlink_to(path)
    save_model(kept.numeric(), tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert load_model(path).get_params()["cv"].n_splits == 2
    with pytest.raises(FileNotFoundError):
        save_model(kept.numeric(), tmp_path / "none" / "model.unlocknn")


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ('"gaps":false', '"gaps":false,"more":1', r"\['more'\].* newer one"),
        ('"one_output":true,', "", "has no 'one_output'"),
        ('"gaps":false', '"mean":"x"', "a name twice"),
    ],
)
def test_fields_that_a_dataclass_does_not_have(old, new, match, tmp_path):
    parts = changed(fuzz.members(NUMERIC), "model.json", old, new)
    check_refused(fuzz.zipped(parts), tmp_path / "a", match)


def test_a_field_that_an_old_file_does_not_have_is_its_default(tmp_path):
    parts = changed(fuzz.members(NUMERIC), "model.json", ',"gaps":false', "")
    (tmp_path / "a").write_bytes(fuzz.zipped(parts))
    assert_array_equal(
        kept.predicted(load_model(tmp_path / "a")), kept.predicted(load_model(NUMERIC))
    )
    parts = changed(fuzz.members(NETWORK), "model.json", '"verbose":0,', "")
    (tmp_path / "a").write_bytes(fuzz.zipped(parts))
    assert load_model(tmp_path / "a").verbose == 0
