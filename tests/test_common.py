"""Run scikit-learn's own checks, all of them: none is expected to fail.

A `ProbNNRegressor` without a network is a `VGPRegressor`; the battery tests others.
"""

from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_unlocknn import KerasFeatureExtractor, VGPRegressor


@parametrize_with_checks([VGPRegressor(), KerasFeatureExtractor()])
def test_scikit_learn_contract(estimator, check):
    check(estimator)
