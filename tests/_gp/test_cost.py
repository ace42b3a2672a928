"""Test the choice between the exact GP and inducing points."""

import os

import numpy as np
import pytest

from sklearn_unlocknn import VGPRegressor
from sklearn_unlocknn._gp import cost


def test_exact_gp_pays_up_to_twice_the_points():
    sizes = np.arange(100, 20_000, 100)
    pays = [cost.exact_pays(n, n) for n in sizes]
    limit = sizes[pays][-1]
    assert pays == (sizes <= limit).tolist()
    assert 8000 < limit < 9000
    # among many repeated samples more distinct ones are worth it
    assert cost.exact_pays(limit + 100, 4 * limit)


@pytest.mark.parametrize("repeats", [1, 3])
def test_exact_gp_pays_up_to_half_as_many_operations_again(repeats, monkeypatch):
    monkeypatch.setattr(cost, "_memory", lambda: None)
    m = cost.POINTS
    points = 5 * m**3 / 3 + 12_000 * m**2
    roots = np.roots([4 / 3, 0, -1.5 * 2 * repeats * m**2, -1.5 * points])
    limit = int(roots[np.isreal(roots)].real.max())
    assert cost.exact_pays(limit, repeats * limit)
    assert not cost.exact_pays(limit + 1, repeats * (limit + 1))


def test_exact_gp_stays_within_a_share_of_the_memory(monkeypatch):
    assert cost._memory() > 2**20
    monkeypatch.setattr(cost, "_memory", lambda: 4 * 24 * 3000**2)
    assert cost.exact_pays(3000, 3000)
    assert not cost.exact_pays(3001, 3001)
    monkeypatch.setattr(cost, "_memory", lambda: None)
    assert cost.exact_pays(8000, 8000)


@pytest.mark.parametrize("error", [AttributeError, ValueError, OSError])
def test_memory_is_unknown_where_the_system_does_not_say(error, monkeypatch):
    def refuse(name):
        raise error(name)

    monkeypatch.setattr(os, "sysconf", refuse, raising=False)
    assert cost._memory() is None


@pytest.mark.parametrize(("points", "want"), [("auto", 120), (50, 50), (1.0, 120)])
def test_number_of_points_is_honoured(points, want, monkeypatch):
    """Exact is what "auto" chooses beyond its number of points, and nothing else."""
    monkeypatch.setattr(cost, "POINTS", 60)
    X = np.random.default_rng(0).normal(size=(120, 2))
    model = VGPRegressor("rbf", points, max_iter=0, random_state=0)
    assert model.fit(X, X[:, 0]).n_inducing_points_ == want
    monkeypatch.setattr(cost, "exact_pays", lambda n, n_all: False)
    model.set_params(n_inducing_points="auto")
    assert model.fit(X, X[:, 0]).n_inducing_points_ == 60


def test_other_words_are_refused():
    X = np.zeros((3, 1))
    with pytest.raises(ValueError, match=r"n_inducing_points='all', .*or \"auto\""):
        VGPRegressor(n_inducing_points="all").fit(X, X[:, 0])
