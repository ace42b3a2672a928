"""Build new MEGNets, with weights from a NumPy generator."""

import json
from types import SimpleNamespace

import numpy as np

from .compat import import_megnet
from .fast_layers import fast_layer, fast_set2set, softplus2
from .network import MEGNetSnapshot
from .state import network_state

#: Size of the embedding: it holds the atomic numbers below.
N_ELEMENTS = 95
#: Width of the Gaussians of bond lengths, angstrom.
GAUSSIAN_WIDTH = 0.5


def new_megnet(
    *, n_blocks, layer_sizes, embedding_dim, n_gaussians, cutoff, n_outputs, rng
):
    """Build an untrained MEGNet for structures, with the layers of megnet's own.

    Parameters are those of `MEGNetRegressor`, the number of targets, and the
    ``numpy.random.Generator`` of the weights (Glorot and Bengio 2010, uniform). No
    Keras initializer runs, so that no other random state is used.
    """
    import_megnet()
    from megnet.data.crystal import CrystalGraph
    from megnet.data.graph import GaussianDistance

    model = _layers(n_blocks, layer_sizes, embedding_dim, n_gaussians, n_outputs)
    weights = [glorot(w.shape, rng) if w.ndim == 2 else w for w in model.get_weights()]
    model.set_weights(weights)
    centers = np.linspace(0, cutoff + 1, n_gaussians)
    converter = CrystalGraph(
        bond_converter=GaussianDistance(centers, GAUSSIAN_WIDTH), cutoff=float(cutoff)
    )
    parts = SimpleNamespace(model=model, graph_converter=converter)
    return MEGNetSnapshot(network_state(parts))


def glorot(shape, rng):
    """Draw a weight matrix uniformly, with variance 2 / (inputs + outputs)."""
    bound = np.sqrt(6.0 / sum(shape))
    return rng.uniform(-bound, bound, shape).astype(np.float32)


def _layers(n_blocks, layer_sizes, embedding_dim, n_gaussians, n_outputs):
    """Return the Keras model, with kernels of zero and initial biases."""
    import tf_keras

    MEGNetLayer, Set2Set, layers = fast_layer(), fast_set2set(), tf_keras.layers
    wide, middle, narrow = layer_sizes
    kinds = ("atom", "bond", "state")

    def dense(x, units, name, activation=softplus2):
        return layers.Dense(
            units, activation=activation, kernel_initializer="zeros", name=name
        )(x)

    def two_layers(x, name):
        return dense(dense(x, wide, f"{name}_0"), middle, f"{name}_1")

    def integers(name):
        return layers.Input((None,), dtype="int32", name=name)

    atoms = integers("atom_int_input")
    bonds = layers.Input((None, n_gaussians), name="bond_feature_input")
    states = layers.Input((None, 2), name="state_default_input")
    ends = [integers("bond_index_1_input"), integers("bond_index_2_input")]
    owners = [integers("atom_graph_index_input"), integers("bond_graph_index_input")]
    embedded = layers.Embedding(
        N_ELEMENTS, embedding_dim, embeddings_initializer="zeros", name="atom_embedding"
    )(atoms)

    parts = (embedded, bonds, states)
    parts = [two_layers(x, f"preblock_{k}") for x, k in zip(parts, kinds, strict=True)]
    for b in range(n_blocks):
        into = parts
        if b:
            into = [
                two_layers(x, f"block_{b}_{k}_ff")
                for x, k in zip(parts, kinds, strict=True)
            ]
        units = [wide, wide, middle]
        out = MEGNetLayer(
            units, units, units, pool_method="mean", activation=softplus2,
            kernel_initializer="zeros", name=f"megnet_{b}",
        )([*into, *ends, *owners])  # fmt: skip
        parts = [
            layers.Add(name=f"block_{b}_add_{k}")([x, h])
            for x, h, k in zip(parts, out, kinds, strict=True)
        ]
    readouts = [
        Set2Set(
            T=3, n_hidden=narrow, kernel_initializer="zeros",
            recurrent_initializer="zeros", name=f"set2set_{k}",
        )([x, owner])
        for x, owner, k in zip(parts, owners, kinds, strict=False)
    ]  # fmt: skip
    out = layers.Concatenate(axis=-1, name="concatenate")([*readouts, parts[2]])
    out = dense(dense(out, middle, "readout_0"), narrow, "readout_1")
    out = dense(out, n_outputs, "readout_2", activation=None)
    inputs = [atoms, bonds, states, *ends, *owners]
    return tf_keras.Model(inputs, out, name="megnet")


def with_outputs(network, n_outputs, rng):
    """Return the state of a network with a new output layer of another size."""
    state = network._state
    config = json.loads(state["config"])
    layer = next(c for c in config["layers"] if c["name"] == output_layer(network).name)
    layer["config"]["units"] = n_outputs
    *rest, kernel, bias = state["weights"]
    rest += [glorot((len(kernel), n_outputs), rng), np.zeros(n_outputs, bias.dtype)]
    config = json.dumps(config, sort_keys=True)
    return {**state, "config": config, "weights": rest}


def output_layer(network):
    """Return the output layer; ValueError unless it is dense and linear."""
    layer = network.keras_model.layers[-1]
    linear = (
        type(layer).__name__ == "Dense"
        and layer.output is network.keras_model.output
        and layer.activation.__name__ == "linear"
        and layer.use_bias
    )
    if not linear:
        raise ValueError(
            "Got a MEGNet whose output is not that of a linear dense layer (a "
            "classifier?), expected a regression network to train."
        )
    return layer
