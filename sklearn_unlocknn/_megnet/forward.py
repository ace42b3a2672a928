"""Run a frozen MEGNet in NumPy: no TensorFlow, no compilation, the same equations.

Atoms and bonds that are alike are passed once (see `merging`), and the network is run
on blocks of graphs that fit in the processor's cache. Values are float32, as in Keras.
"""

import math
from collections import Counter

import numpy as np
from scipy.sparse import csr_array

from .layers import SETTINGS, names_of
from .merging import Merged, merge

#: Type of all values, as in Keras.
DTYPE = np.float32


def _linear(x):
    return x


def _relu(x):
    return np.maximum(x, 0, out=x)


def _sigmoid(x):
    x *= 0.5
    np.tanh(x, out=x)
    x += 1
    x *= 0.5
    return x


def _hard_sigmoid(x):
    x *= 0.2
    x += 0.5
    return np.clip(x, 0, 1, out=x)


def _tanh(x):
    return np.tanh(x, out=x)


def _swish(x):
    return x * _sigmoid(x.copy())


def _softplus(x):
    """Compute log(1 + exp(x))."""
    if x.size and x.max() > 80:  # exp would exceed float32
        return np.logaddexp(x, 0, out=x, dtype=x.dtype)
    np.exp(x, out=x)
    x += 1
    return np.log(x, out=x)


def _softplus2(x):
    """Compute MEGNet's activation log((1 + exp(x)) / 2)."""
    x = _softplus(x)
    x -= math.log(2)
    return x


#: Functions by the name that a configuration has; they may overwrite their argument.
ACTIVATIONS = {
    None: _linear,
    "linear": _linear,
    "relu": _relu,
    "sigmoid": _sigmoid,
    "hard_sigmoid": _hard_sigmoid,
    "tanh": _tanh,
    "swish": _swish,
    "softplus": _softplus,
    "softplus2": _softplus2,
}


def runs(layers, config):
    """Return whether `NumpyPass` runs a network of these layers.

    Parameters
    ----------
    layers : list of Layer
        Layers of `layers_of`.
    config : dict
        Their configuration.
    """
    outputs = names_of(config["output_layers"])
    return len(outputs) == 1 and all(map(_runs_layer, layers))


def _runs_layer(layer):
    settings = layer.config
    activations = [value for key, value in settings.items() if "activation" in key]
    named = all(value is None or isinstance(value, str) for value in activations)
    return (
        layer.kind in SETTINGS
        and len(layer.calls) == (layer.kind != "InputLayer")
        and settings.get("dtype", "float32") in ("float32", "int32")
        and named
        and set(activations) <= set(ACTIVATIONS)
        and not settings.get("mask_zero")
        and settings.get("axis", -1) == -1
        and (layer.kind == "Dropout" or not any(p[3] for c in layer.calls for p in c))
    )


class Segments:
    """Rows of an array in groups, each row with the number that it stands for.

    Parameters
    ----------
    index : ndarray of shape (n_rows,), int
        Group of each row.
    weights : ndarray of shape (n_rows,)
        Number of equal rows that each stands for.
    n : int
        Number of groups.
    """

    def __init__(self, index, weights, n):
        self.index = index
        ends = np.arange(len(index) + 1)
        weights = weights.astype(DTYPE)
        columns = csr_array((weights, index, ends), (len(index), n))
        self._sums = columns.T.tocsr()
        self._sizes = self._sums.sum(axis=1)[:, None]

    def sum(self, x):
        """Return the sum of each group, of shape (n, width)."""
        return self._sums @ x

    def mean(self, x):
        """Return the mean of each group, 0 for an empty one."""
        return self.sum(x) / np.maximum(self._sizes, 1)

    def maximum(self, x):
        """Return the maxima of groups whose rows are in order, of shape (n,)."""
        return np.maximum.reduceat(x, np.flatnonzero(np.diff(self.index, prepend=-1)))


class NumpyPass:
    """A frozen MEGNet, cut at any layers that describe structures.

    Parameters
    ----------
    layers : list of Layer
        Layers of `layers_of`; `runs` must be true for them.
    inputs : list of str
        Names of the seven input layers.
    weights : list of ndarray
        Weights, in the order of the layers and, in each, that of Keras.
    gaussians : tuple of (ndarray, float) or None
        Centres and width that bonds are expanded in if they are distances.

    Raises
    ------
    ValueError
        If the weights are not those of the layers.
    """

    def __init__(self, layers, inputs, weights, gaussians):
        self._layers, self._inputs, self._gaussians = layers, inputs, gaussians
        by_name = {layer.name: layer.config for layer in layers}
        floats = [by_name[n].get("dtype", "float32") == "float32" for n in inputs]
        self._dtypes = [DTYPE if single else int for single in floats]
        self._functions, weights = {}, list(weights)
        for layer in layers:
            if layer.kind != "InputLayer":
                make = _MAKERS[layer.kind]
                n = _N_WEIGHTS[layer.kind](layer.config)
                some, weights = weights[:n], weights[n:]
                if len(some) < n:
                    raise ValueError(f"the weights of layer {layer.name!r} are missing")
                some = [np.ascontiguousarray(w, DTYPE) for w in some]
                self._functions[layer.name] = make(layer.config, some)
        if weights:
            raise ValueError(f"{len(weights)} weights belong to none of its layers")

    def __call__(self, arrays, names):
        """Run the network on joined graphs.

        Parameters
        ----------
        arrays : list of ndarray
            The seven arrays of `join`.
        names : tuple of str
            Layers whose values are returned.

        Returns
        -------
        list of ndarray of shape (n, width), float32
            Values of each layer: one row for each structure.
        """
        values = dict(zip(self._inputs, self._prepared(arrays), strict=True))
        layers = self._needed(names)
        uses = Counter(name for layer in layers for name in layer.inputs)
        uses.update(names)
        for layer in layers:
            parts = []
            for name, _, output, _ in layer.calls[0]:
                value = values[name]
                parts.append(value[output] if isinstance(value, tuple) else value)
                uses[name] -= 1
            values[layer.name] = self._functions[layer.name](*parts)
            for name in layer.inputs:  # memory that is used again stays in the cache
                if not uses[name]:
                    values.pop(name, None)
        return [values[name] for name in names]

    def _needed(self, names):
        """Return the layers that some layers depend on, in the order to run them."""
        needed, inputs = set(names), set(self._inputs)
        for layer in reversed(self._layers):
            if layer.name in needed:
                needed.update(layer.inputs)
        return [one for one in self._layers if one.name in needed - inputs]

    def _prepared(self, arrays):
        """Return the values of the inputs: of like atoms and bonds one of each."""
        atom, bond, state, index1, index2, atom_owner, bond_owner = (
            array.astype(dtype, copy=False)
            for array, dtype in zip(arrays, self._dtypes, strict=True)
        )
        n_atoms, n_graphs = len(atom), len(state)
        if (np.diff(index1) < 0).any():
            order = np.argsort(index1, kind="stable")
            bond, index1, index2 = bond[order], index1[order], index2[order]
            bond_owner = bond_owner[order]
        if atom.ndim == 1 and bond.ndim == 1:
            one = merge(atom, atom_owner, bond, index1, index2)
        else:
            ones = np.ones(n_atoms), np.ones(len(bond))
            one = Merged(slice(None), slice(None), index1, index2, *ones)
        bond, atom, atom_owner = bond[one.bonds], atom[one.atoms], atom_owner[one.atoms]
        if self._gaussians is not None and bond.ndim == 1:
            bond = _expanded(bond, *self._gaussians)
        n_bonds = one.n_bonds * one.n_atoms[one.index1]
        return [
            atom, bond, state,
            Segments(one.index1, one.n_bonds, len(atom)), one.index2,
            Segments(atom_owner, one.n_atoms, n_graphs),
            Segments(bond_owner[one.bonds], n_bonds, n_graphs),
        ]  # fmt: skip


def _expanded(distances, centers, width):
    """Return the values of Gaussians at distances, of shape (n, n_centers)."""
    x = distances[:, None] - centers
    x /= width
    np.square(x, out=x)
    return np.exp(np.negative(x, out=x), out=x)


def _mlp(x, weights, activation):
    """Return the output of layers after the first, which returned x; x is lost."""
    for W, b in weights:
        x = activation(x) @ W
        x += b
    return x


def _embedding(config, weights):
    (table,) = weights
    return lambda index: table[index]


def _dense(config, weights):
    W, *bias = weights
    activation = ACTIVATIONS[config.get("activation")]

    def run(x):
        x = x @ W
        for b in bias:
            x += b
        return activation(x)

    return run


def _add(config, weights):
    return lambda first, *others: sum(others, first)


def _concatenate(config, weights):
    return lambda *parts: np.concatenate(parts, axis=-1)


def _dropout(config, weights):
    return _linear


def _gaussian_expansion(config, weights):
    centers = np.ravel(config["centers"]).astype(DTYPE)
    return lambda distances: _expanded(distances, centers, float(config["width"]))


def _megnet_layer(config, weights):
    """Return a graph layer.

    Its first bond layer acts on [v_i, v_j, e_ij, u]: its atom and state parts are
    multiplied once an atom and gathered, as W [a, b] = W_a a + W_b b.
    """
    activation = ACTIVATIONS[config.get("activation")]
    pool = {"mean": Segments.mean, "sum": Segments.sum}[config["pool_method"]]
    layers, weights = {}, list(weights)
    for kind in ("v", "e", "u"):
        n = len(config[f"units_{kind}"])
        Ws, weights = weights[:n], weights[n:]
        bs = [0.0] * n
        if config.get("use_bias", True):
            bs, weights = weights[:n], weights[n:]
        layers[kind] = list(zip(Ws, bs, strict=True))

    def run(v, e, u, i, j, v_graph, e_graph):
        (W, b), *rest = layers["e"]
        ends = np.cumsum([v.shape[1], v.shape[1], e.shape[1]])
        W_i, W_j, W_e, W_u = np.split(W, ends)
        at_i = v @ W_i
        at_i += (u @ W_u + b)[v_graph.index]
        e = e @ W_e
        e += at_i[i.index]
        e += (v @ W_j)[j]
        e = _mlp(e, rest, activation)

        (W, b), *rest = layers["v"]
        v = np.hstack([pool(i, e), v, u[v_graph.index]])
        v = _mlp(v @ W + b, rest, activation)

        (W, b), *rest = layers["u"]
        u = np.hstack([pool(e_graph, e), pool(v_graph, v), u])
        u = _mlp(u @ W + b, rest, activation)
        return v, e, u

    return run


def _set2set(config, weights):
    """Return a set2set readout, each step of which starts from the first memory.

    As in megnet's own, so the forget gate of its LSTM has no effect.
    """
    gate = ACTIVATIONS[config.get("recurrent_activation", "hard_sigmoid")]
    activation = ACTIVATIONS[config.get("activation_lstm", "tanh")]
    n_hidden = config["n_hidden"]
    if config.get("use_bias", True):
        M, m_bias, R, r_bias = weights
    else:
        (M, R), m_bias, r_bias = weights, 0.0, 0.0

    def run(x, owner):
        m = x @ M + m_bias
        q = np.zeros((owner.index[-1] + 1, 2 * n_hidden), DTYPE)
        for _ in range(config["T"]):
            into, _, cell, out = np.split(q @ R + r_bias, 4, axis=-1)
            cell = gate(into) * activation(cell)
            h = gate(out) * activation(cell)
            # Softmax over the rows of each graph, shifted by its maximum
            e = np.einsum("ij,ij->i", m, h[owner.index])
            e = np.exp(e - owner.maximum(e)[owner.index])[:, None]
            q = np.hstack([h, owner.sum(e * m) / owner.sum(e)])
        return q

    return run


_MAKERS = {
    "Embedding": _embedding,
    "Dense": _dense,
    "Add": _add,
    "Concatenate": _concatenate,
    "Dropout": _dropout,
    "GaussianExpansion": _gaussian_expansion,
    "MEGNetLayer": _megnet_layer,
    "Set2Set": _set2set,
}


def _one_or_two(config):
    return 1 + config.get("use_bias", True)


_N_WEIGHTS = {
    "Embedding": lambda config: 1,
    "Dense": _one_or_two,
    "Add": lambda config: 0,
    "Concatenate": lambda config: 0,
    "Dropout": lambda config: 0,
    "GaussianExpansion": lambda config: 0,
    "MEGNetLayer": lambda config: (
        sum(len(config[f"units_{kind}"]) for kind in "veu") * _one_or_two(config)
    ),
    "Set2Set": lambda config: 2 * _one_or_two(config),
}
