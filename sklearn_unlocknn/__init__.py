"""Calibrated uncertainty for frozen neural networks, as scikit-learn regressors."""

import importlib

__version__ = "0.1.0"

# Public names load on first use: importing the package imports no TensorFlow.
_PUBLIC = {
    "FineTuning": "_fine_tuning.parameters",
    "KerasFeatureExtractor": "_keras.extractor",
    "MEGNetFeatureExtractor": "_megnet.extractor",
    "MEGNetProbRegressor": "_regressors.megnet",
    "MEGNetRegressor": "_megnet.regressor",
    "ModelFileError": "_files.archive",
    "ProbNNRegressor": "_regressors.prob_nn",
    "StructureDescriptors": "_structures.descriptors",
    "VGPRegressor": "_regressors.vgp",
    "load_model": "_files.model_file",
    "quiet_tensorflow": "_quiet",
    "read_model_card": "_files.model_file",
    "save_model": "_files.model_file",
    "write_report": "_report.page",
}

__all__ = [
    "FineTuning",
    "KerasFeatureExtractor",
    "MEGNetFeatureExtractor",
    "MEGNetProbRegressor",
    "MEGNetRegressor",
    "ModelFileError",
    "ProbNNRegressor",
    "StructureDescriptors",
    "VGPRegressor",
    "load_model",
    "quiet_tensorflow",
    "read_model_card",
    "save_model",
    "write_report",
]


def __getattr__(name):
    if name in _PUBLIC:
        module = importlib.import_module(f".{_PUBLIC[name]}", __name__)
        return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *_PUBLIC])
