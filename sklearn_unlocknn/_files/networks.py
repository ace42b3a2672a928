"""Networks in model files: configurations of known layers, and arrays.

Keras builds a network of its configuration, which may name any class of any module, or
code itself. So each class that a configuration names is checked, when it is written and
when it is read, before Keras is imported.
"""

import json
import re

import numpy as np

from .archive import ModelFileError

#: Layers, initializers and the like that hold no code and read no file.
_LAYERS = """
    Activation ActivityRegularization Add AdditiveAttention AlphaDropout Attention
    AdaptiveAveragePooling1D AdaptiveAveragePooling2D AdaptiveAveragePooling3D
    AdaptiveMaxPooling1D AdaptiveMaxPooling2D AdaptiveMaxPooling3D Average
    AveragePooling1D AveragePooling2D AveragePooling3D BatchNormalization Bidirectional
    CategoryEncoding CenterCrop Concatenate Conv1D Conv1DTranspose Conv2D
    Conv2DTranspose Conv3D Conv3DTranspose ConvLSTM1D ConvLSTM2D ConvLSTM3D Cropping1D
    Cropping2D Cropping3D Dense DepthwiseConv1D DepthwiseConv2D Discretization Dot
    Dropout ELU EinsumDense Embedding Flatten GRU GRUCell GaussianDropout GaussianNoise
    GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D
    GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D GroupNormalization
    GroupQueryAttention HashedCrossing Hashing Identity InputLayer IntegerLookup LSTM
    LSTMCell LayerNormalization LeakyReLU Masking MaxPooling1D MaxPooling2D MaxPooling3D
    Maximum Minimum MultiHeadAttention Multiply Normalization PReLU Permute
    RMSNormalization RNN ReLU RepeatVector Rescaling Reshape Resizing SeparableConv1D
    SeparableConv2D SimpleRNN SimpleRNNCell Softmax SpatialDropout1D SpatialDropout2D
    SpatialDropout3D SpectralNormalization StackedRNNCells StringLookup Subtract
    TextVectorization ThresholdedReLU TimeDistributed UnitNormalization UpSampling1D
    UpSampling2D UpSampling3D ZeroPadding1D ZeroPadding2D ZeroPadding3D
    Functional Model Sequential DTypePolicy DTypePolicyMap FloatDTypePolicy Policy
    Constant GlorotNormal GlorotUniform HeNormal HeUniform Identity IdentityInitializer
    LecunNormal LecunUniform Ones Orthogonal OrthogonalInitializer RandomNormal
    RandomUniform TruncatedNormal VarianceScaling Zeros
    L1 L1L2 L2 OrthogonalRegularizer MaxNorm MinMaxNorm NonNeg UnitNorm
    __bytes__ __ellipsis__ __keras_tensor__ __numpy__ __slice__ __tensor__
"""
_CLASSES = frozenset(_LAYERS.split())
_MEGNET_LAYERS = """
    CrystalGraphLayer GaussianExpansion InteractionLayer LinearWithIndex MEGNetLayer
    Set2Set
"""
_MEGNET_CLASSES = frozenset(_MEGNET_LAYERS.split())
#: Operations on tensors in a functional network of Keras 3.
_OPERATIONS = re.compile(r"keras\.src\.ops\.(math|nn|numpy)")
_ACTIVATIONS = """
    celu elu exponential gelu glu hard_shrink hard_sigmoid hard_silu hard_swish
    hard_tanh leaky_relu linear log_sigmoid log_softmax mish relu relu6 selu sigmoid
    silu soft_shrink softmax softplus softplus2 softsign sparse_plus sparse_sigmoid
    sparsemax squareplus swish tanh tanh_shrink threshold
"""
_FUNCTIONS = frozenset(_ACTIVATIONS.split())
_MODULES = re.compile(r"(tf_)?keras(\.[a-z_0-9]+)*")
_MEGNET_MODULES = re.compile(r"megnet\.layers(\.\w+)*|sklearn_unlocknn\._megnet\.\w+")
#: Parts of a configuration that may be the name of a file to read.
_FILES = ("idf_weights", "vocabulary")

#: What megnet knows of pymatgen, without Critic2NN, which runs a program.
_NEIGHBORS = """
    BrunnerNNReal BrunnerNNReciprocal BrunnerNNRelative CovalentBondNN CrystalNN
    CutOffDictNN EconNN JmolNN MinimumDistanceNN MinimumOKeeffeNN MinimumVIRENN
    VoronoiNN
"""
#: Classes of a graph converter and of a target scaler, by module.
_MEGNET_OBJECTS = {
    "megnet.data.crystal": {"CrystalGraph", "CrystalGraphDisordered"}
    | {"CrystalGraphWithBondTypes"},
    "megnet.data.graph": {"DummyConverter", "EmbeddingMap", "GaussianDistance"},
    "megnet.data.local_env": {"AllAtomPairs", "MinimumDistanceNNAll"},
    "megnet.data.molecule": {"MolecularGraph", "SimpleMolGraph"},
    "megnet.data.qm9": {"AtomNumberToTypeConverter"},
    "megnet.utils.preprocessing": {"DummyScaler", "StandardScaler"},
    "numpy": {"array"},
    "pymatgen.analysis.local_env": set(_NEIGHBORS.split()),
}


def keras_state(handle):
    """Return what a file has of a Keras network."""
    from .._keras.serialization import dump

    payload = dump(handle.model)
    if custom := sorted(map(str, payload["custom_objects"])):
        raise _not_plain(f"the network {handle.model.name!r} has {custom}")
    layers = [[list(key), state] for key, state in payload["state"].items()]
    state = {"library": handle.library, "config": payload["config"], "layers": layers}
    _check_keras(state)
    return state


def keras_handle(state):
    """Return the handle of a Keras network, which is built when it first runs."""
    from .._keras.network import NetworkHandle

    _check_keras(state)
    name = state["config"]["config"].get("name")
    return NetworkHandle(state["library"], name, lambda: _built(state))


def _built(state):
    from .._keras.serialization import rebuild

    layers = {tuple(key): layer for key, layer in state["layers"]}
    payload = {"library": state["library"], "config": state["config"]}
    payload |= {"custom_objects": {}, "state": layers}
    try:
        return rebuild(payload, safe_mode=True)
    except Exception as error:
        raise ModelFileError(f"The network of a model file: {error}") from error


def _check_keras(state):
    """Raise unless a network has the parts and the classes that are safe to build."""
    if state.keys() != {"library", "config", "layers"}:
        raise ModelFileError("a network in it has other parts than a network")
    if state["library"] not in ("keras", "tf_keras"):
        raise ModelFileError(f"a network in it is of {state['library']!r:.40}")
    config, layers = state["config"], state["layers"]
    if not (isinstance(config, dict) and isinstance(config.get("config"), dict)):
        raise ModelFileError("a network in it has no configuration")
    _check_config(config)
    for key, layer in layers:
        names = isinstance(key, list) and all(type(k) in (int, str) for k in key)
        known = layer.keys() <= {"variables", "seeds", "assets"}
        if not (names and known and "variables" in layer):
            raise ModelFileError("a network in it has a layer without variables")
        _check_arrays(layer["variables"].values())
        _check_arrays(layer.get("seeds", ()))
        for name, content in layer.get("assets", {}).items():
            # A name that is a path would be written elsewhere.
            if not (re.fullmatch(r"\w[\w.]*", name) and isinstance(content, bytes)):
                raise ModelFileError(f"a network in it has the file {name!r:.40}")


def _check_arrays(values):
    for value in values:
        if not (isinstance(value, np.ndarray) and value.dtype.kind in "biufSU"):
            raise ModelFileError("a network in it has weights that are no arrays")


def _check_config(node, megnet=False):
    """Raise for a class, function or file in a configuration that is not safe."""
    if isinstance(node, list | tuple):
        for item in node:
            _check_config(item, megnet)
    if not isinstance(node, dict):
        return
    if "class_name" in node:
        _check_class(node, megnet)
    for key, item in node.items():
        if key in _FILES and isinstance(item, str):
            raise _not_plain(f"a network reads the file {item!r:.80}")
        _check_config(item, megnet)


def _check_class(node, megnet):
    kind, module = node["class_name"], node.get("module")
    module = "keras" if module is None else module
    name = node.get("config") if kind == "function" else kind
    if not (isinstance(name, str) and isinstance(module, str)):
        raise ModelFileError("a network in it has a class without a name")
    of_keras = module == "builtins" or _MODULES.fullmatch(module)
    if kind == "function":
        valid = of_keras and name in _FUNCTIONS
    elif megnet and name in _MEGNET_CLASSES:
        valid = of_keras or _MEGNET_MODULES.fullmatch(module)
    elif _OPERATIONS.fullmatch(module):
        valid = re.fullmatch(r"[A-Z]\w*", name)
    else:
        valid = of_keras and name in _CLASSES
    # Another name would be looked up among classes that a program has registered.
    if not valid or node.get("registered_name") not in (None, kind, name):
        raise _not_plain(f"a network has {name!r:.60} of {module[:60]!r}")


def _not_plain(what):
    return ModelFileError(
        f"{what}, which may be code: a model file has only layers of Keras without any "
        "(no Lambda, no layers, models or functions of your own). Use pickle or joblib "
        "for it"
    )


def megnet_state(snapshot):
    """Return what a file has of a MEGNet."""
    state = dict(snapshot._state)
    if state.pop("classes"):
        raise _not_plain("the MEGNet has layers of its own")
    for name in ("converter", "scaler"):
        kind, state[name] = state[name]
        if kind != "json":
            raise _not_plain(f"the MEGNet has a graph {name} of its own")
    _check_megnet(state)
    return state


def megnet_snapshot(state):
    """Return the snapshot of a MEGNet, which is built when it first runs."""
    from .._megnet.network import MEGNetSnapshot

    _check_megnet(state)
    state = {**state, "classes": None}
    for name in ("converter", "scaler"):
        state[name] = "json", state[name]
    return MEGNetSnapshot.of(state)


def _check_megnet(state):
    for name in ("config", "converter", "scaler"):
        if not isinstance(state.get(name), str):
            raise ModelFileError(f"a MEGNet in it has no {name}")
    if not isinstance(state.get("weights"), list):
        raise ModelFileError("a MEGNet in it has no weights")
    _check_arrays(state["weights"])
    _check_config(json.loads(state["config"]), megnet=True)
    _check_objects(json.loads(state["converter"]))
    _check_objects(json.loads(state["scaler"]))


def _check_objects(node):
    """Raise for a class among the objects of a MEGNet that is not MEGNet's."""
    if isinstance(node, list):
        for item in node:
            _check_objects(item)
    if not isinstance(node, dict):
        return
    for item in node.values():
        _check_objects(item)
    marks = {key for key in node if key.startswith(("@", "$"))}
    if marks:
        module, name = node.get("@module"), node.get("@class")
        known = isinstance(module, str) and isinstance(name, str)
        known = known and name in _MEGNET_OBJECTS.get(module, ())
        if not known or marks - {"@module", "@class", "@version"}:
            raise _not_plain(f"a MEGNet has an object {name!r:.60} of {module!r:.60}")
