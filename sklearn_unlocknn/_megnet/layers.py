"""Layers of a MEGNet by its configuration, without Keras."""

from typing import NamedTuple

import numpy as np

#: Settings that the outputs of a layer depend on, by class: layers that `forward` runs.
SETTINGS = {
    "InputLayer": ("batch_input_shape",),
    "Embedding": ("input_dim", "output_dim"),
    "Dense": ("units", "activation", "use_bias"),
    "Add": (),
    "Concatenate": ("axis",),
    "Dropout": (),
    "GaussianExpansion": ("centers", "width"),
    "MEGNetLayer": (
        "units_v", "units_e", "units_u", "pool_method", "activation", "use_bias",
    ),
    "Set2Set": (
        "T", "n_hidden", "activation_lstm", "recurrent_activation", "use_bias",
    ),
}  # fmt: skip


class Layer(NamedTuple):
    """A layer of a functional network.

    Attributes
    ----------
    name, kind : str
        Name, and name of the class.
    config : dict
        Settings.
    calls : list
        For each call a list of inputs, as [name of a layer, call, output, arguments].
    """

    name: str
    kind: str
    config: dict
    calls: list

    @property
    def inputs(self):
        """Names of the layers that the first call takes."""
        return [part[0] for part in self.calls[0]] if self.calls else []


def layers_of(config):
    """Return the layers of a network's configuration, in the order of Keras."""
    return [
        Layer(one["name"], one["class_name"], one["config"], one["inbound_nodes"])
        for one in config["layers"]
    ]


def names_of(ends):
    """Return the layers of ``input_layers`` or ``output_layers`` of a configuration."""
    return [end[0] for end in ([ends] if isinstance(ends[0], str) else ends)]


def find_layer(layers, layer):
    """Return the name of a layer by name or index; ValueError if there is none."""
    names = [candidate.name for candidate in layers]
    if isinstance(layer, str) and layer in names:
        return layer
    if isinstance(layer, int | np.integer) and -len(layers) <= layer < len(layers):
        return names[layer]
    raise ValueError(
        f"Got `layer`={layer!r}, expected an index in [-{len(layers)}, "
        f"{len(layers) - 1}] or one of {names}."
    )


def readout_layers(layers, widths):
    """Return the names of the layers of ``layer="auto"``.

    These are the concatenated readout and, before it, the layers that describe
    structures, but for parts of the concatenation and for layers before the first
    graph layer, which depend on the given state alone. ``widths`` has the layers that
    describe structures.
    """
    concatenated = [
        layer
        for layer in layers
        if layer.name in widths and layer.kind == "Concatenate"
    ]
    kinds = [layer.kind for layer in layers]
    if not concatenated or "MEGNetLayer" not in kinds:
        raise ValueError(
            "Got `layer`='auto' for a network without graph layers or without a "
            f"concatenated readout. Choose from {list(widths)}."
        )
    readout = concatenated[-1]
    names = [layer.name for layer in layers[kinds.index("MEGNetLayer") :]]
    names = [n for n in names if n in widths and n not in readout.inputs]
    return tuple(names[: names.index(readout.name) + 1])


def structure_widths(run, layers, inputs):
    """Return the number of features of each layer that describes structures, by name.

    The network runs on two graphs of five atoms, three of which differ, and six bonds:
    the number of rows of a value shows what the layer describes.

    Parameters
    ----------
    run : callable
        A pass, such as `forward.NumpyPass`.
    layers : list of Layer
        Layers of the network.
    inputs : list of str
        Names of the input layers.
    """
    _, widths = input_limits(layers, inputs)
    index = [
        [0, 1, 2, 3, 3, 4],
        [1, 0, 3, 2, 4, 3],
        [0, 0, 1, 1, 1],
        [0, 0, 1, 1, 1, 1],
    ]
    probe = [
        np.zeros(rows if width is None else (rows, width), np.float32 if width else int)
        for rows, width in zip((5, 6, 2), widths, strict=True)
    ]
    names = [layer.name for layer in layers]
    values = run([*probe, *map(np.array, index)], tuple(names))
    shapes = zip(names, (getattr(value, "shape", ()) for value in values), strict=True)
    return {n: shape[1] for n, shape in shapes if len(shape) == 2 and shape[0] == 2}


def input_limits(layers, inputs):
    """Return the sizes of the embeddings and the widths of atom, bond and state.

    Each is a list of three, with None where there is no embedding or no features.
    ``inputs`` are the names of the network's input layers.
    """
    vocabulary = [
        next(
            (
                layer.config["input_dim"]
                for layer in layers
                if layer.kind == "Embedding" and layer.inputs == [name]
            ),
            None,
        )
        for name in inputs[:3]
    ]
    by_name = {layer.name: layer for layer in layers}
    shapes = [by_name[name].config["batch_input_shape"] for name in inputs[:3]]
    return vocabulary, [shape[2] if len(shape) == 3 else None for shape in shapes]
