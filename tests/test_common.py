"""Run scikit-learn's own checks, all of them: none is expected to fail."""

from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_unlocknn import KerasFeatureExtractor, ProbNNRegressor, VGPRegressor


@parametrize_with_checks([VGPRegressor(), ProbNNRegressor(), KerasFeatureExtractor()])
def test_scikit_learn_contract(estimator, check):
    check(estimator)
