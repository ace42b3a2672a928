"""Identify Keras networks by weights, configuration and outputs on fixed inputs."""

import hashlib
import json
import re

import numpy as np

from .graph import as_numpy, filled

# Of the words of a block; a prime number, so that blocks are no rows of weights.
_MULTIPLIERS = np.random.PCG64(1).random_raw(1021) | np.uint64(1)
#: Parts of a configuration without effect on features, or that differ among copies.
_UNRELATED = ("trainable", "build_config", "compile_config", "function", "code")
#: Factors of the probe inputs, one a sample.
_SCALES = np.array([0.1, 1.0, 1.0, 10.0])
_WORDS = np.array(["", "a", "of", "the", "word", "Si", "NaCl", "0"], dtype=object)
_FREE_LENGTH = 32


def checksum(weights):
    """Hash weights, at the speed of memory.

    Multilinear hashes modulo 2**64 of blocks of 64-bit words, then blake2b of these.
    """
    digest = hashlib.blake2b(digest_size=16)
    size = len(_MULTIPLIERS)
    for variable in weights:
        content = _bytes_of(variable)
        n_blocks = content.size // (8 * size)
        if n_blocks:
            blocks = content[: 8 * size * n_blocks].view(np.uint64)
            for some in np.split(blocks, range(64 * size, blocks.size, 64 * size)):
                # A product passes no bit on to lower ones: two signs would cancel out.
                mixed = some ^ (some >> np.uint64(32))
                digest.update(mixed.reshape(-1, size) @ _MULTIPLIERS)
        digest.update(content[8 * size * n_blocks :])
    return digest.digest()


def _bytes_of(variable):
    """View a variable of either Keras library as bytes, on the CPU without a copy."""
    if not callable(variable.value):  # Keras 3: the property is the backend's variable
        variable = variable.value
    if hasattr(variable, "handle"):  # TensorFlow, whose `value()` takes twice as long
        import tensorflow as tf

        read = tf.raw_ops.ReadVariableOp
        variable = read(resource=variable.handle, dtype=variable.dtype)
    elif hasattr(variable, "detach"):  # PyTorch
        variable = variable.detach().cpu()
    return np.asarray(variable).reshape(-1).view(np.uint8)


def identify(model, library, weights, outputs):
    """Hash the layers' configuration with `checksum` and `probe`; 32 hex digits."""
    layers = []
    for layer in model.layers:
        try:
            config = json.dumps(layer.get_config(), default=repr)
        except Exception:  # of a custom layer without `get_config`
            config = "null"
        config = json.loads(config, object_hook=_related)
        layers.append([type(layer).__name__, layer.name, config])
    text = json.dumps([library, layers, weights.hex(), outputs], sort_keys=True)
    text = re.sub(r" at 0x[0-9a-f]+", "", text)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _related(node):
    for key in _UNRELATED:
        node.pop(key, None)
    return node


def probe_inputs(specs, limit, numbers=True):
    """Return the probe inputs of a network, four samples that are always the same.

    Integers are smaller than ``limit``, such as the smallest number of words of an
    embedding; without ``numbers``, floating-point inputs have them, too.
    """
    rng = np.random.default_rng(0)
    arrays = []
    for spec in specs:
        shape = [_FREE_LENGTH if size is None else size for size in spec.shape]
        shape = (len(_SCALES), *shape)
        integers = rng.integers(0, limit, shape)
        if spec.dtype in ("string", "object"):
            arrays.append(_WORDS[integers % len(_WORDS)])
        elif numbers and "float" in spec.dtype:
            scales = _SCALES.reshape(-1, *[1] * len(spec.shape))
            arrays.append((rng.normal(size=shape) * scales).astype(spec.dtype))
        else:
            arrays.append(integers.astype(spec.dtype))
    return arrays


def probe(forward, specs, limit, batch):
    """Describe the outputs of a network on the probe inputs, to four digits.

    Projections of the outputs are rounded, as the last bits depend on the threads.

    Returns
    -------
    str or None
        None where the network cannot be run on them.
    """
    for numbers in (True, False):  # floating-point inputs may be indices
        try:
            arrays = filled(probe_inputs(specs, limit, numbers), batch)
            outputs = forward(arrays)
            rng, text = np.random.default_rng(1), []
            for output in outputs:
                values = np.nan_to_num(as_numpy(output).astype(float))
                values = values.reshape(len(values), -1)[: len(_SCALES)]
                for value in values @ rng.normal(size=values.shape[1]):
                    text.append(f"{value:.4g}")
        except Exception:  # of any kind, from any layer
            continue
        return " ".join(text)
    return None
