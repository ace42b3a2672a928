"""Data sets and pretrained networks, downloaded once, checked and kept in a folder.

The folder is ``data_home=``, else that of the environment variable
``SKLEARN_UNLOCKNN_DATA``, else the user's cache folder.
"""

from ._cache import get_data_home
from ._crossed_barrel import fetch_crossed_barrel
from ._elasticity import fetch_elasticity
from ._ionic_crystals import make_ionic_crystals
from ._matbench import MATBENCH_TASKS, fetch_matbench, matbench_folds
from ._megnet_models import MEGNET_MODELS, fetch_megnet_model
from ._perovskites import fetch_perovskites

__all__ = [
    "MATBENCH_TASKS",
    "MEGNET_MODELS",
    "fetch_crossed_barrel",
    "fetch_elasticity",
    "fetch_matbench",
    "fetch_megnet_model",
    "fetch_perovskites",
    "get_data_home",
    "make_ionic_crystals",
    "matbench_folds",
]
