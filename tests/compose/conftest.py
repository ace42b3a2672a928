"""Data of the tests of transformed targets."""

import numpy as np
import pytest


@pytest.fixture(scope="module")
def skewed():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(150, 3))
    return X, np.exp(X @ [0.5, 0.3, 0.1] + 0.2 * rng.normal(size=150))
