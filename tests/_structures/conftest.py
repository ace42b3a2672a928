"""Fixtures of the tests of structures."""

import pytest
from _structures.crystals import MIXED, QUARTZ, WATER

from sklearn_unlocknn.datasets import make_ionic_crystals


@pytest.fixture(scope="module")
def structures():
    return [*make_ionic_crystals(6, random_state=0).data, QUARTZ, MIXED, WATER]
