"""TensorFlow's start-up lines are hidden, and all other lines are shown."""

import os
import subprocess
import sys

import pytest
from example_runs import EXAMPLES

PROGRAM = """
import os, sys
from sklearn_unlocknn import quiet_tensorflow

with quiet_tensorflow():
    assert "3" == os.environ["TF_CPP_MIN_LOG_LEVEL"]
    print("of Python", file=sys.stderr)
    import tensorflow as tf
    import tf_keras
    tf.constant(1.0) + 1.0
    os.write(2, b"an error of a library\\n")
    if sys.argv[1] == "crash":
        os.abort()
    if sys.argv[1] == "raise":
        tf.linalg.inv(tf.zeros((2, 2)))
assert "TF_CPP_MIN_LOG_LEVEL" not in os.environ
os.write(2, b"later\\n")
print("later of Python", file=sys.stderr)
"""


def plain_environment():
    return {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}


def run(*command, cwd=None):
    return subprocess.run(
        [sys.executable, *map(str, command)], env=plain_environment(), cwd=cwd,
        capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip


@pytest.mark.parametrize("end", ["well", "raise", "crash"])
def test_start_up_lines_are_hidden_and_others_shown(end):
    done = run("-c", PROGRAM, end)
    lines = done.stderr.splitlines()
    assert sorted(lines[:2]) == ["an error of a library", "of Python"]
    if end == "well":
        assert done.returncode == 0
        assert lines[2:] == ["later", "later of Python"]
    elif end == "raise":
        assert done.returncode == 1
        assert lines[2].startswith("Traceback")
        assert "not invertible" in lines[-1]
    else:
        assert done.returncode != 0


def test_without_it_this_tensorflow_writes_lines():
    """Otherwise the test above would show nothing."""
    done = run("-c", "import tensorflow as tf, tf_keras; tf.constant(1.0)")
    if not done.stderr:
        pytest.skip("this TensorFlow writes no start-up lines")
    assert "absl" in done.stderr or "I0000" in done.stderr


def test_a_process_without_standard_error_works():
    code = "import os; os.close(2)\nfrom sklearn_unlocknn import quiet_tensorflow\n"
    code += "with quiet_tensorflow():\n    print('done')"
    assert run("-c", code).stdout == "done\n"


def test_importing_the_package_sets_nothing():
    code = "import os\nbefore = dict(os.environ)\n"
    code += "import sklearn_unlocknn\nsklearn_unlocknn.quiet_tensorflow\n"
    code += "import sklearn_unlocknn._cli.main\nassert dict(os.environ) == before"
    assert run("-c", code).returncode == 0


def test_command_that_needs_tensorflow_is_quiet(tmp_path):
    """A network of another class is run by TensorFlow itself."""
    code = """
import sys, warnings
warnings.simplefilter("ignore")
sys.path.insert(0, sys.argv[1])
from _megnet.megnet_nets import make_megnet, make_structures
from sklearn_unlocknn import MEGNetProbRegressor, save_model
model = make_megnet(act="softplus")
X = make_structures(8)
model = MEGNetProbRegressor(model, descriptors=None, kernel="rbf", max_iter=2)
model.fit(X, list(range(8)))
print(model.network_.needs_tensorflow)
save_model(model, "m.unlocknn", target="y")
X[0].to(filename="POSCAR")
"""
    made = run("-c", code, EXAMPLES.parent / "tests", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    done = run(
        "-m", "sklearn_unlocknn", "predict", "m.unlocknn", "POSCAR", cwd=tmp_path
    )
    assert done.returncode == 0
    assert all(
        line.startswith("1 of 1 structures") for line in done.stderr.splitlines()
    )


def test_quickstart_writes_nothing_on_standard_error(tmp_path):
    done = run(EXAMPLES / "quickstart.py", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stderr == ""
    names = {"quickstart.html", "quickstart.png", "quickstart.unlocknn"}
    assert set(os.listdir(tmp_path)) == names
    order = ["180 crystals", "Mean absolute", "intervals hold", "Saved", "serve"]
    assert sorted(order, key=done.stdout.index) == order
    assert len(done.stdout.splitlines()) < 65
