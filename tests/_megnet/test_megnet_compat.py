"""Test imports of megnet in any order with Keras and TensorFlow, and its files."""

import os
import subprocess
import sys
import textwrap

import pytest

from sklearn_unlocknn._megnet.state import network_state

BEFORE = {
    "keras 3 in use": """
        import keras
        import numpy as np
        import tensorflow as tf
        keras.Sequential([keras.layers.Dense(1)])(np.ones((1, 2)))
        tf.keras.layers.Dense(1)(tf.ones((1, 2)))
    """,
    # an import that fails halfway leaves modules bound to Keras 3 behind
    "megnet failed to import": """
        try:
            import megnet.callbacks, megnet.models
        except ImportError:
            pass
    """,
}

SCRIPT = """
import os, sys
environment = dict(os.environ)
hooks = list(sys.meta_path)

from sklearn_unlocknn._megnet.compat import import_megnet
from sklearn_unlocknn._megnet.state import build_network, network_state

import_megnet()
from megnet.data.crystal import CrystalGraph
from megnet.data.graph import GaussianDistance
from megnet.models import MEGNetModel
import numpy as np
import tf_keras

model = MEGNetModel(nfeat_edge=6, nfeat_global=2, nblocks=1, n1=4, n2=3, n3=2,
    graph_converter=CrystalGraph(bond_converter=GaussianDistance(np.arange(6.0), 1.0)))
assert isinstance(model.model, tf_keras.Model)
copy = build_network(network_state(model))
for a, b in zip(copy.get_weights(), model.model.get_weights(), strict=True):
    np.testing.assert_array_equal(a, b)

import keras
import tensorflow as tf
import pymatgen.analysis.local_env as local_env

assert keras.__version__ >= "3" and tf.keras.__version__ == keras.__version__
assert not hasattr(local_env, "BrunnerNN_real") or not hasattr(
    local_env, "BrunnerNNReal")
assert [h for h in sys.meta_path if "sklearn_unlocknn" in type(h).__module__] == []
assert "TF_USE_LEGACY_KERAS" not in os.environ
from tensorflow.keras.layers import Dense
assert Dense is keras.layers.Dense
assert not any("tf_keras" in getattr(m, "__name__", "") for n, m in sys.modules.items()
               if n.startswith("tensorflow.keras"))
for k in (keras, tf.keras):
    net = k.Sequential([k.layers.Dense(3, activation="relu"), k.layers.Dense(1)])
    net.compile("adam", "mse")
    net.fit(np.ones((8, 2)), np.ones(8), epochs=1, verbose=0)
    assert np.isfinite(net.predict(np.ones((2, 2)), verbose=0)).all()
print("fine")
"""


def run_python(script, **environment):
    env = {k: v for k, v in os.environ.items() if k != "TF_USE_LEGACY_KERAS"}
    return subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env={**env, "TF_CPP_MIN_LOG_LEVEL": "2", **environment},
        check=False,
    )


# test_fresh_process_unpickles_and_predicts is the case without an import before.
@pytest.mark.parametrize(
    "before",
    ["keras 3 in use", pytest.param("megnet failed to import", marks=pytest.mark.slow)],
)
def test_import_order(before):
    done = run_python(textwrap.dedent(BEFORE[before]) + SCRIPT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "fine"


def test_megnet_already_on_keras_3():
    script = """
    import pymatgen.analysis.local_env as local_env
    for kind in ("real", "reciprocal", "relative"):
        new = getattr(local_env, "BrunnerNN" + kind.capitalize(), object)
        setattr(local_env, "BrunnerNN_" + kind, new)
    import megnet.models
    from sklearn_unlocknn._megnet.compat import import_megnet
    try:
        import_megnet()
    except ImportError as error:
        print(error)
    """
    done = run_python(textwrap.dedent(script))
    assert "megnet was imported on Keras 3 before" in done.stdout, done.stderr


@pytest.mark.slow
def test_legacy_keras_session_shares_megnet():
    script = """
    from sklearn_unlocknn._megnet.compat import import_megnet
    import tensorflow as tf
    layers = import_megnet().layers
    assert issubclass(layers.MEGNetLayer, tf.keras.layers.Layer)
    """
    done = run_python(textwrap.dedent(script), TF_USE_LEGACY_KERAS="1")
    assert done.returncode == 0, done.stderr


SETTINGS = (
    '{"graph_converter": {"@module": "megnet.data.crystal", "@class": "CrystalGraph", '
    '"nn_strategy": {"@module": "megnet.data.local_env", '
    '"@class": "MinimumDistanceNNAll", "cutoff": 4}}}'
)


def test_not_a_network(tmp_path):
    import tf_keras

    with pytest.raises(FileNotFoundError, match="Eform_MP_2091', which is not a file"):
        network_state("Eform_MP_2091")
    path = tmp_path / "net.hdf5"
    path.write_text("no hdf5")
    with pytest.raises(FileNotFoundError, match=r"no net\.hdf5\.json beside it"):
        network_state(path)
    for settings, message in (
        ("{", "not MEGNet's settings file"),
        ('{"metadata": {}}', "holds no graph converter"),
        (SETTINGS, "not a MEGNet network that can be loaded"),
    ):
        (tmp_path / "net.hdf5.json").write_text(settings)
        with pytest.raises(ValueError, match=message):
            network_state(path)
    with pytest.raises(TypeError, match="Got `network` of type int"):
        network_state(3)
    with pytest.raises(TypeError, match="a bare Keras network has no graph converter"):
        network_state(tf_keras.Sequential([tf_keras.layers.Dense(1)]))
