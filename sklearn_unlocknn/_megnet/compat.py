"""Import megnet on tf-keras and present-day pymatgen.

megnet 1.3.2 is written for Keras 2 (the former ``tensorflow.keras``) and for names
that pymatgen 2026 has changed. Its sources are compiled with the present names
(``tf_keras``, ``BrunnerNNReal``). TensorFlow, Keras, pymatgen and the environment are
not modified, and the import hook is removed after the import.
"""

import importlib
import importlib.machinery
import sys
import threading

_LOCK = threading.RLock()

_MODULES = (
    "megnet.layers",
    "megnet.models",
    "megnet.data.crystal",
    "megnet.data.molecule",
    "megnet.data.qm9",
    "megnet.utils.models",
    "megnet.utils.preprocessing",
)


class _Loader(importlib.machinery.SourceFileLoader):
    """Compile a megnet source file with present names (no bytecode cache)."""

    renames = {}

    def get_code(self, fullname):
        source = self.get_source(fullname)
        for old, new in self.renames.items():
            source = source.replace(old, new)
        return compile(source, self.path, "exec", dont_inherit=True)


class _Finder:
    """Load megnet's modules, and no others, by `_Loader`."""

    def __init__(self, renames):
        self.renames = renames

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] != "megnet":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if isinstance(
            getattr(spec, "loader", None), importlib.machinery.SourceFileLoader
        ):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
            spec.loader.renames = self.renames
        return spec


def import_megnet():
    """Import and return megnet on tf-keras, whatever Keras the process uses otherwise.

    ImportError if megnet is not installed, or was imported on Keras 3 before.
    """
    with _LOCK:
        import tf_keras
        from pymatgen.analysis import local_env

        if "megnet.models" not in sys.modules:
            renames = {"tensorflow.keras": "tf_keras"}
            for kind in ("real", "reciprocal", "relative"):
                old, new = f"BrunnerNN_{kind}", f"BrunnerNN{kind.capitalize()}"
                if not hasattr(local_env, old) and hasattr(local_env, new):
                    renames[old] = new
            # Modules that a failed import left behind may be bound to Keras 3.
            for name in [n for n in sys.modules if n.split(".")[0] == "megnet"]:
                del sys.modules[name]
            finder = _Finder(renames)
            sys.meta_path.insert(0, finder)
            try:
                for name in _MODULES:
                    importlib.import_module(name)
            finally:
                sys.meta_path.remove(finder)
        layers = importlib.import_module("megnet.layers")
        if not issubclass(layers.MEGNetLayer, tf_keras.layers.Layer):
            raise ImportError(
                "megnet was imported on Keras 3 before, which it does not support. Let "
                "sklearn_unlocknn import it first (use a MEGNet estimator before "
                "`import megnet`), or start a new Python process."
            )
        return sys.modules["megnet"]
