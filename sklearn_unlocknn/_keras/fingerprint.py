"""Tell Keras networks apart."""

import hashlib
import json
import re
import types

import numpy as np

from .serialization import (
    _array,
    _custom_objects,
    _of_a_library,
    _plain_config,
    _walk,
    _without,
    library_of,
)


def architecture_digest(model):
    """Hash what the network computes, not how it is trained or named."""
    config = _without(_plain_config(model), ("trainable", "build_config", "code"))
    for layer in _lambda_configs(config):
        layer.pop("function", None)
    if isinstance(config.get("config"), dict):
        config["config"].pop("name", None)
    # Serialised bytecode differs from copy to copy of the same function
    functions = [
        _lambda_code(layer.function)
        for _, layer in _walk(model)
        if type(layer).__name__ == "Lambda"
    ]
    # The configuration has but the names of what the user wrote.
    custom = _custom_objects(model)
    functions += [[name, _code(custom[name])] for name in sorted(custom)]
    text = json.dumps(
        [library_of(model), config, functions], sort_keys=True, default=repr
    )
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _lambda_configs(node):
    if isinstance(node, dict):
        if node.get("class_name") == "Lambda":
            yield node["config"]
        node = list(node.values())
    if isinstance(node, list | tuple):
        for value in node:
            yield from _lambda_configs(value)


def _lambda_code(function):
    """Describe a Lambda's function; Keras restores its bytecode and closure alone."""
    code = getattr(function, "__code__", None)
    if code is None:
        return repr(function)
    inner = [c for c in code.co_consts if not isinstance(c, types.CodeType)]
    closure = [cell.cell_contents for cell in function.__closure__ or ()]
    named = map(function.__globals__.get, code.co_names)
    numbers = [one for one in named if isinstance(one, int | float | str)]
    return [code.co_code.hex(), *map(repr, (inner, code.co_names, closure, numbers))]


def _code(value, depth=0):
    """Describe what a function or class computes, the same for each copy of it.

    Functions by bytecode, constants, defaults, closure and the globals that they
    name; classes by their members, up to those that a library brings along.
    """
    if depth > 6 or isinstance(value, types.ModuleType):
        return getattr(value, "__name__", type(value).__name__)
    if isinstance(value, staticmethod | classmethod):
        value = value.__func__
    if isinstance(value, property):
        value = value.fget
    if isinstance(value, np.ndarray):
        return hashlib.blake2b(np.ascontiguousarray(value).data).hexdigest()
    if isinstance(value, types.CodeType):
        consts = [_code(const, depth + 1) for const in value.co_consts]
        return [value.co_code.hex(), consts, list(value.co_names)]
    if isinstance(value, types.FunctionType):
        # without a module name in its globals it was made by eval: the user's, too
        if _of_a_library(value) and "__name__" in value.__globals__:
            return value.__qualname__
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        # Modules and what libraries bring are known by the names in the bytecode.
        named = map(value.__globals__.get, value.__code__.co_names)
        known = types.NoneType, types.ModuleType, types.BuiltinFunctionType
        named = [one for one in named if not isinstance(one, known)]
        parts = [value.__defaults__, value.__kwdefaults__, *cells]
        parts += [one for one in named if not _is_library_code(one)]
        return [_code(part, depth + 1) for part in (value.__code__, *parts)]
    if isinstance(value, type):
        if _of_a_library(value):
            return value.__qualname__
        kinds = types.FunctionType, staticmethod, classmethod, property, int, float, str
        members = [
            [name, _code(member, depth + 1)]
            for base in value.__mro__
            if not _of_a_library(base)
            for name, member in sorted(vars(base).items())
            if isinstance(member, kinds) and name not in _UNRELATED
        ]
        return members
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))  # addresses tell nothing


#: Members of a class that differ between copies or have no bearing on what it does.
_UNRELATED = ("__module__", "__qualname__", "__doc__", "__firstlineno__")


def _is_library_code(obj):
    return isinstance(obj, types.FunctionType | type) and _of_a_library(obj)


def weights_digest(model):
    """Hash the current weights."""
    digest = hashlib.blake2b(digest_size=16)
    for weight in model.weights:
        value = _array(weight)
        digest.update(f"{value.dtype}{value.shape}".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    return digest.digest()
