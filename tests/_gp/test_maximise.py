"""Test the maximisation by L-BFGS, on functions of a few variables."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_unlocknn._gp import training


def test_objective_that_is_not_finite_at_the_start_is_named():
    def objective(theta):
        return np.nan, theta

    with pytest.raises(ValueError, match="hyperparameters or its gradient is not fini"):
        training.maximise(
            objective, np.ones(1), np.array([[0.0, 2.0]]), 3, print, "hyperparameters"
        )


def test_steps_to_values_that_are_not_finite_are_shortened():
    """Maximise functions whose value or gradient is not finite beyond 2."""
    for value, slope in ((np.nan, 0.0), (np.inf, 0.0), (0.0, np.nan), (9.0, np.inf)):

        def objective(x, value=value, slope=slope):
            if x[0] > 2.0:
                return value, np.full(1, slope)
            return -((x[0] - 1.9) ** 2), -2.0 * (x - 1.9)

        bounds = np.array([[-500.0, 500.0]])
        # The first step, of length 1, and the first of quadratic models are too long.
        found, curve = training.maximise(
            objective, np.array([1.5]), bounds, 50, lambda *_: None, "test"
        )
        assert_allclose(found, 1.9, atol=1e-2)
        assert np.all(np.diff(curve) > 0)


@pytest.mark.parametrize("steep", [1e-3, 1.0, 1e6, 1e250])
def test_first_step_does_not_depend_on_the_gradient(steep):
    seen, target = [], np.array([3.0, -4.0])

    def objective(x):
        seen.append(x)
        return -steep * np.abs(x - target).sum(), steep * np.sign(target - x)

    bounds = np.full((2, 2), [-500.0, 500.0])
    training.maximise(objective, np.zeros(2), bounds, 1, lambda *_: None, "test")
    start, first = seen[:2]  # the value at the start is computed once
    assert_array_equal(start, 0.0)
    assert_allclose(np.linalg.norm(first), training.FIRST_STEP)


def test_iterations_go_on_while_the_last_few_gain():
    def objective(x):  # Rosenbrock's valley
        step, bend = 1.0 - x[0], x[1] - x[0] ** 2
        slope = np.array([2.0 * step + 400.0 * bend * x[0], -200.0 * bend])
        return -(step**2) - 100.0 * bend**2, slope

    def curve(max_iter, least=np.inf):
        start, bounds = np.array([-1.2, 1.0]), np.full((2, 2), [-9.0, 9.0])
        return training.maximise(
            objective, start, bounds, max_iter, lambda *_: None, "test", least
        )[1]

    most = curve(training.MOST_TIMES * training.LAST_FEW)
    few = training.LAST_FEW
    for max_iter in (few - 1, few):
        assert_array_equal(curve(max_iter), most[: max_iter + 1])
    assert_array_equal(curve(few - 1, 0.0), most[:few])  # too few to tell
    assert_array_equal(curve(few, 0.0), most)
    gains = (most[few:] - most[:-few]) / few  # of the iterations from the fifth on
    for least in (0.9 * gains.max(), 1.1 * gains[3:].min()):
        last = few + np.flatnonzero(gains < least)[0]
        assert_array_equal(curve(few, least), most[: last + 1])
    assert few < last < len(most) - 1
