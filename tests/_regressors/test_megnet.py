"""Test MEGNetProbRegressor and its extractor: battery, inputs, means, errors."""

import copy
import functools
import importlib
import os
import warnings

import battery
import numpy as np
import pandas as pd
import pytest
from _megnet.megnet_nets import make_megnet, quick, save_megnet
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.model_selection import cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.utils import check_array

from sklearn_unlocknn import (
    MEGNetFeatureExtractor,
    MEGNetProbRegressor,
    MEGNetRegressor,
    VGPRegressor,
)
from sklearn_unlocknn._megnet.network import MEGNetSnapshot

Y = np.column_stack([np.arange(24.0), np.cos(np.arange(24.0))])
y = Y[:, 1] + 3.0


# --- the battery, on graphs with a state of four numbers ----------------


def graphs_of(X):
    """Turn samples of four numbers into two bonded atoms with this state."""
    if isinstance(X, list) and X and isinstance(X[0], dict):
        return X  # `partial_fit` calls `fit`
    bonds = {"atom": [11, 17], "bond": [2.5, 2.5], "index1": [0, 1], "index2": [1, 0]}
    return [{**bonds, "state": [row.tolist()]} for row in check_array(X)]


def on_graphs(method):
    @functools.wraps(method)
    def call(self, X, *args, **kwargs):
        return method(self, graphs_of(X), *args, **kwargs)

    return call


class OnNumbers(MEGNetProbRegressor):
    """Take samples of four numbers in every public method."""


for _name in (
    "fit", "partial_fit", "predict", "predict_components", "predict_dist",
    "predict_interval", "predict_quantiles", "sample_y", "domain_score",
    "nearest_training",
):  # fmt: skip
    setattr(OnNumbers, _name, on_graphs(getattr(MEGNetProbRegressor, _name)))


# Need a numeric X, or X itself as features.
NUMERIC_ONLY = {
    "check_uncertainty_grows_away_from_the_data",
    "check_fitted_attributes",
    "check_frame_and_series_with_an_index_of_their_own",
    "check_bad_input_is_named",
    "check_failed_update_leaves_the_model_whole",
}


@pytest.fixture(scope="module")
def state_network():
    return MEGNetSnapshot.of(make_megnet(nfeat_global=4))


@pytest.mark.parametrize("check", sorted(battery.CHECKS.keys() - NUMERIC_ONLY))
def test_battery(check, state_network):
    params = {"kernel": "rbf", "max_iter": 10, "random_state": 0}
    # One graph a pass, as the rounding of float32 sums depends on the batch.
    battery.CHECKS[check](OnNumbers(state_network, **params, extract_batch_size=1))


# --- kinds of input --------------------------------------------------------------


def test_it_is_the_extractor_and_vgp(tiny_frozen, crystals):
    whole = quick(tiny_frozen, layer=[-4, -2]).fit(crystals[:20], y[:20])
    extractor = MEGNetFeatureExtractor(tiny_frozen, layer=[-4, -2])
    parts = make_pipeline(extractor, VGPRegressor("rbf", max_iter=5, random_state=0))
    parts.fit(crystals[:20], y[:20])
    want = parts.predict(crystals[20:], return_std=True)
    assert_array_equal(whole.predict(crystals[20:], return_std=True), want)
    assert whole.n_features_out_ == extractor.fit([crystals[0]]).n_features_out_
    assert whole.inducing_points_.shape[1] == whole.n_features_out_


def test_containers(tiny_frozen, crystals):
    # A fixed length scale: a short one would amplify the rounding of float32.
    kernel = RBF(1.0, "fixed") + WhiteKernel(0.1)
    fitted = quick(tiny_frozen, kernel=kernel).fit(crystals, y)
    want = fitted.predict(crystals, return_std=True)
    array = np.empty(24, object)
    array[:] = crystals
    series = pd.Series(crystals, index=np.arange(24, 0, -1))
    targets = pd.Series(y, index=np.arange(24))
    for X in (array, series, pd.DataFrame({"structure": series})):
        assert_array_equal(fitted.predict(X, return_std=True), want)
        again = clone(fitted).fit(X, targets)
        assert_array_equal(again.predict(X, return_std=True), want)
    assert_allclose(fitted.predict(iter(crystals[:3])), want[0][:3], rtol=1e-4)
    assert fitted.predict(crystals[:1]).shape == (1,)


def test_model_handle_and_file_are_the_same_network(
    tiny_net, tiny_frozen, crystals, tmp_path
):
    path = save_megnet(tiny_net, tmp_path)
    want = quick(tiny_frozen).fit(crystals, y).predict(crystals)
    for network in (tiny_net, path, str(path)):
        assert_array_equal(quick(network).fit(crystals, y).predict(crystals), want)


def test_transformer_contract(tiny_frozen, crystals):
    extractor = MEGNetFeatureExtractor(tiny_frozen).set_output(transform="pandas")
    series = pd.Series(crystals, index=np.arange(100, 124))
    frame = extractor.fit_transform(series)
    assert list(frame.index) == list(series.index)
    assert frame.columns[0] == "megnetfeatureextractor0"
    assert frame.shape == (24, extractor.n_features_out_)
    assert_array_equal(frame.columns, extractor.get_feature_names_out())
    assert_array_equal(frame, tiny_frozen.extract(crystals))


# --- the network as the mean ----------------------------------------------------


def scaler(mean, std, is_intensive):
    from sklearn_unlocknn._megnet.compat import import_megnet

    import_megnet()
    from megnet.utils.preprocessing import StandardScaler

    return StandardScaler(mean=mean, std=std, is_intensive=is_intensive)


@pytest.mark.parametrize("memory", [False, True])
def test_intensive_network_mean(crystals, tmp_path, memory):
    net = make_megnet(scaler=scaler(100.0, 3.0, True))
    output = MEGNetSnapshot.of(net).predict(crystals)[:, 0]
    target = output + 0.01 * y
    memory = tmp_path if memory else None
    params = {"mean": "network", "memory": memory, "normalize_y": False}
    fitted = quick(net, **params).fit(crystals, target)
    mean, std = fitted.predict(crystals, return_std=True)
    # The GP fits the residual: the scaler's mean of 100 has no part in its std.
    zero = quick(net, mean="zero", normalize_y=False)
    zero.fit(crystals, target - output)
    want, want_std = zero.predict(crystals, return_std=True)
    assert std.max() < 0.1
    assert_allclose(mean, output + want)
    assert_allclose(std, want_std, rtol=1e-5)


@pytest.mark.parametrize("memory", [False, True])
def test_extensive_network_mean(crystals, tmp_path, memory):
    net = make_megnet(scaler=scaler(-5.0, 2.0, False))
    frozen = MEGNetSnapshot.of(net)
    assert frozen.extensive
    n_atoms = np.array([len(s) for s in crystals])
    output = frozen.predict(crystals)[:, 0]
    target = output + n_atoms * (0.1 * np.sin(np.arange(24)) + 0.02)
    memory = tmp_path if memory else None
    params = {"mean": "network", "memory": memory, "normalize_y": False}
    fitted = quick(net, **params).fit(crystals, target)
    per_atom = quick(net, mean="zero", normalize_y=False)
    per_atom.fit(crystals, (target - output) / n_atoms)
    mean, std = fitted.predict(crystals, return_std=True)
    want, want_std = per_atom.predict(crystals, return_std=True)
    assert_allclose(mean, output + n_atoms * want, rtol=1e-6)
    assert_allclose(std, n_atoms * want_std, rtol=1e-6)
    assert_allclose(fitted.noise_std_, per_atom.noise_std_)
    # Densities of totals and of values per atom differ by the Jacobian.
    assert_allclose(fitted.elbo_, per_atom.elbo_ - np.log(n_atoms).sum())
    cov = fitted.predict(crystals, return_cov=True)[1]
    assert_allclose(np.sqrt(np.diag(cov)), std)
    dist = fitted.predict_dist(crystals)
    assert_allclose(dist.mean(), mean)
    assert_allclose(dist.stddev(), std)
    draws = fitted.sample_y(crystals, 4000, random_state=0)
    error = np.abs(draws.mean(axis=1) - mean)
    assert np.all(error < 5 * std / np.sqrt(4000))
    updated = copy.deepcopy(fitted).partial_fit(crystals[:5], target[:5])
    per_atom.partial_fit(crystals[:5], ((target - output) / n_atoms)[:5])
    assert_allclose(
        updated.elbo_,
        per_atom.elbo_ - np.log(n_atoms).sum() - np.log(n_atoms[:5]).sum(),
        rtol=1e-5,  # residuals that differ in the last bit
    )


# --- a network trained inside fit -----------------------------------------------


def trainer(**params):
    params = {"max_iter": 2, "layer_sizes": (8, 6, 4), "n_blocks": 1, **params}
    return MEGNetRegressor(batch_size=8, random_state=0, n_gaussians=8, **params)


@pytest.mark.slow
def test_network_is_trained_in_each_fold(crystals):
    estimator = quick(trainer(), kernel="rbf")
    result = cross_validate(
        estimator, crystals, y, cv=2, return_estimator=True, error_score="raise"
    )
    prints = {e.network_.fingerprint for e in result["estimator"]}
    assert len(prints) == 2
    assert not hasattr(estimator.network, "network_")
    alone = trainer().fit(crystals[12:], y[12:]).network_
    first = result["estimator"][0].network_
    assert_array_equal(first.predict(crystals), alone.predict(crystals))


def test_estimator_without_a_network_after_fit(crystals):
    with pytest.raises(ValueError, match=r"after `fit` has `network_`=None"):
        quick(VGPOnSites()).fit(crystals, y)
    with pytest.raises(ValueError, match="needs y"):
        MEGNetFeatureExtractor(trainer()).fit(crystals)


class VGPOnSites(VGPRegressor):
    def fit(self, X, y):
        return super().fit([[len(x)] for x in X], y)


# --- errors ---------------------------------------------------------------------


BAD = {
    "corrupt CIF": ("data_x\nloop_\n", r"\(text\).*cannot be read as CIF"),
    "no file": ("nowhere.cif", r"\(nowhere\.cif\).*there is no file"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_structure_is_named_or_becomes_nan(tiny_frozen, crystals, kind):
    bad, message = BAD[kind]
    X = [*crystals[:5], bad, *crystals[5:]]
    target = np.insert(y, 5, 1e9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pymatgen's about the CIF and the dummy
        with pytest.raises(ValueError, match=rf"Structure 5 {message}"):
            quick(tiny_frozen).fit(X, target)
        fitted = quick(tiny_frozen).fit(crystals, y)
        with pytest.raises(ValueError, match=rf"Structure 5 {message}"):
            fitted.predict(X)
        lenient = quick(tiny_frozen, on_error="nan")
    with pytest.warns(UserWarning, match=rf"1 of 25 samples .*5 {message}"):
        lenient.fit(X, target)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mean, std = lenient.predict(X, return_std=True)
        _, cov = lenient.predict(X, return_cov=True)
        draws = lenient.sample_y(X, 3)
        interval = lenient.predict_interval(X)
        components = lenient.predict_components(X)
        with pytest.raises(ValueError, match="the first being sample 5"):
            lenient.predict_dist(X)
        updated = copy.deepcopy(lenient).partial_fit(X, target)
        weighted = quick(tiny_frozen, on_error="nan").fit(
            X, target, sample_weight=np.arange(25.0)
        )
    failed = np.arange(25) == 5
    for values in (mean, std, draws, interval, *components):
        assert_array_equal(np.isnan(values).reshape(25, -1).all(axis=1), failed)
        assert_array_equal(np.isnan(values).reshape(25, -1).any(axis=1), failed)
    assert_array_equal(np.isnan(cov), failed[:, None] | failed)
    # Equal to the last bit: a sample that fails is not computed.
    want = fitted.predict(crystals, return_std=True)
    assert_array_equal([mean[~failed], std[~failed]], want)
    _, want = fitted.predict(crystals, return_cov=True)
    assert_array_equal(cov[np.ix_(~failed, ~failed)], want)
    assert_array_equal(draws[~failed], fitted.sample_y(crystals, 3))
    fitted.partial_fit(crystals, y)
    assert_allclose(updated.predict(crystals), fitted.predict(crystals))
    weights = np.delete(np.arange(25.0), 5)
    same = quick(tiny_frozen).fit(crystals, y, sample_weight=weights)
    assert_array_equal(weighted.predict(crystals), same.predict(crystals))


def test_all_structures_of_a_prediction_fail(tiny_frozen, crystals):
    model = quick(tiny_frozen, on_error="nan").fit(crystals, y)
    X = ["a\n", "b\n"]
    mean, std = model.predict(X, return_std=True)
    _, cov = model.predict(X, return_cov=True)
    for values, shape in (
        (model.predict(X), (2,)), (mean, (2,)), (std, (2,)), (cov, (2, 2)),
        (model.sample_y(X, 3), (2, 3)), (model.predict_interval(X), (2, 2)),
    ):  # fmt: skip
        assert_array_equal(values, np.full(shape, np.nan))


def test_all_structures_fail(tiny_frozen):
    with pytest.raises(ValueError, match=r"None of the 2 samples .*Structure 0 \(text"):
        quick(tiny_frozen, on_error="nan").fit(["a\n", "b\n"], [1.0, 2.0])


def test_bad_targets_are_named(tiny_frozen, crystals):
    holes = y.copy()
    holes[3] = np.nan
    formula = crystals[3].composition.reduced_formula
    message = rf"target of structure 3 \({formula}\) is nan \(1 of 24"
    for on_error in ("raise", "nan"):
        with pytest.raises(ValueError, match=message):
            quick(tiny_frozen, on_error=on_error).fit(crystals, holes)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        quick(tiny_frozen).fit(crystals, y[:-1])
    with pytest.raises(ValueError, match="requires y"):
        quick(tiny_frozen).fit(crystals, None)
    with pytest.raises(ValueError, match="could not convert"):
        quick(tiny_frozen).fit(crystals, ["a"] * 24)


def test_bad_input_is_named(tiny_frozen, crystals):
    with pytest.raises(ValueError, match="Got an empty list"):
        quick(tiny_frozen).fit([], [])
    fitted = quick(tiny_frozen).fit(crystals, y)
    with pytest.raises(ValueError, match="Got an empty list"):
        fitted.predict([])
    for params, message in [
        ({"on_error": "ignore"}, "on_error`='ignore'"),
        ({"extract_batch_size": 0}, "extract_batch_size=0"),
        ({"layer": "readout"}, "layer`='readout'"),
        ({"layer": 0}, "describe atoms or bonds"),
        ({"memory": 3}, "memory`=3"),
        ({"network": "Eform_MP_2091"}, "neither a file nor.*Eform_MP_2019"),
    ]:
        with pytest.raises(ValueError, match=message):
            quick(tiny_frozen).set_params(**params).fit(crystals, y)
    for wrong in (3, None, MEGNetRegressor):
        with pytest.raises(TypeError, match="Got `network` of type"):
            quick(wrong).fit(crystals, y)


def test_network_with_nan_weights(crystals):
    model = make_megnet()
    model.set_weights([np.full_like(w, np.nan) for w in model.get_weights()])
    with pytest.raises(ValueError, match="not finite for structure 0"):
        quick(model).fit(crystals, y)


def test_molecules_need_rdkit_and_openbabel():
    if all(importlib.util.find_spec(name) for name in ("rdkit", "openbabel")):
        pytest.skip("RDKit and OpenBabel are installed")
    path = os.environ.get("SKLEARN_UNLOCKNN_DATA", "")
    if not os.path.isfile(os.path.join(path, "megnet/qm9-2018.6.1/gap.hdf5")):
        pytest.skip("the QM9 networks are not in the data folder")
    with pytest.raises(ImportError, match="pip install rdkit openbabel-wheel"):
        MEGNetProbRegressor("QM9_gap_2018").fit(["C 0 0 0"], [1.0])
