"""Data sets and pretrained networks, fetched once, checked and kept in a folder.

The folder is that of ``data_home=``, of the environment variable
``SKLEARN_UNLOCKNN_DATA``, or the user's cache folder.
"""

from ._cache import get_data_home
from ._megnet_models import MEGNET_MODELS, fetch_megnet_model

__all__ = ["MEGNET_MODELS", "fetch_megnet_model", "get_data_home"]
