"""Kernels of TensorFlow Probability in model files, by the names of their types."""

import importlib
import inspect
import sys

from .archive import ModelFileError


def tfp_state(kernel):
    """Return what a file has of a `TFPKernel`."""
    _, (plain, bounds) = kernel.__reduce__()

    def named(value):
        """Return the name of a kernel's type in place of the type."""
        if isinstance(value, list):
            return [named(part) for part in value]
        if not (isinstance(value, tuple) and value[:1] == ("tfp",)):
            return value
        mark, kind, parameters = value
        if _tfp_type(kind.__name__) is not kind:
            raise ModelFileError(f"it is a kernel of your own type {kind.__name__!r}")
        return mark, kind.__name__, {k: named(v) for k, v in parameters.items()}

    return {"kernel": named(plain), "parameter_bounds": bounds}


def tfp_kernel(state):
    """Return the `TFPKernel` of its state; TFP is imported."""
    from ..kernels._tfp import revived

    def typed(value):
        """Return the type of a kernel in place of its name."""
        if isinstance(value, list):
            return [typed(part) for part in value]
        if not (isinstance(value, tuple) and value[:1] == ("tfp",)):
            return value
        mark, name, parameters = value
        kind = _tfp_type(name)
        if kind is None:
            raise ModelFileError(f"it has a kernel {name!r:.40}, which is not TFP's")
        return mark, kind, {k: typed(v) for k, v in parameters.items()}

    return revived(typed(state["kernel"]), state["parameter_bounds"])


def _tfp_type(name):
    """Return the type of a kernel of TFP, or None."""
    kernels = importlib.import_module("tensorflow_probability").math.psd_kernels
    base = kernels.PositiveSemidefiniteKernel
    for module in (kernels, sys.modules[base.__module__]):  # of sums and products
        found = vars(module).get(name) if isinstance(name, str) else None
        if inspect.isclass(found) and issubclass(found, base):
            return found
    return None
