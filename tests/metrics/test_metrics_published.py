"""Published figures, and another library on the same definitions."""

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from sklearn_unlocknn import metrics

# Tran et al. 2020, doi:10.1088/2632-2153/ab7e1a, Table 1, recomputed from the test
# predictions they published: model, metric, kind, figure as printed.
TRAN = """
    nn_ensemble miscalibration_area quantile .116
    nn_ensemble miscalibration_area interval .234
    nn_ensemble summed_calibration_error quantile 1.70
    nn_ensemble sharpness - .14
    nn_ensemble dispersion - 1.06
    gp miscalibration_area quantile .138
    gp miscalibration_area interval .275
    gp summed_calibration_error quantile 2.35
    gp sharpness - .65
    gp dispersion - .21
    gp gaussian_nll - .775
    cfgp miscalibration_area quantile .031
    cfgp miscalibration_area interval .059
    cfgp summed_calibration_error quantile .13
    cfgp sharpness - .24
    cfgp dispersion - .33
    cfgp gaussian_nll - .335
    cfgp gaussian_crps - .151
"""


@pytest.mark.parametrize(
    ("model", "metric", "kind", "printed"),
    [line.split() for line in TRAN.strip().splitlines()],
)
def test_tran_2020(model, metric, kind, printed):
    folder = os.environ.get("SKLEARN_UNLOCKNN_DATA")
    path = Path(folder or ".", "tran2020", f"{model}.npz")
    if not folder or not path.is_file():
        pytest.skip("needs tran2020/ in the folder SKLEARN_UNLOCKNN_DATA")
    with np.load(path) as data:
        residual, std = data["residual"], data["std"]

    kwargs = {} if kind == "-" else {"kind": kind}
    value = getattr(metrics, metric)(residual, 0 * residual, std, **kwargs)
    unit = 10.0 ** -len(printed.split(".")[1])
    # .33520 is printed as .33: cut, not rounded.
    half = 1.0 if (model, metric) == ("cfgp", "dispersion") else 0.5
    assert_allclose(value, float(printed), rtol=0, atol=half * unit)


class TestUncertaintyToolbox:
    """uncertainty-toolbox takes (y_pred, y_std, y_true) and calls `kind` prop_type."""

    @pytest.fixture
    def uct(self):
        return pytest.importorskip("uncertainty_toolbox")

    @pytest.fixture
    def prediction(self):
        rng = np.random.default_rng(0)
        y_std = rng.uniform(0.2, 2.0, 300)
        y_pred = rng.normal(size=300)
        return y_pred + 0.2 + 1.5 * y_std * rng.standard_t(4, 300), y_pred, y_std

    def test_scores(self, uct, prediction):
        y_true, y_pred, y_std = prediction
        args = y_pred, y_std, y_true
        rule = uct.metrics_scoring_rule
        assert_allclose(metrics.gaussian_nll(*prediction), rule.nll_gaussian(*args))
        assert_allclose(metrics.gaussian_crps(*prediction), rule.crps_gaussian(*args))
        for p in (0.5, 0.95):
            theirs = rule.interval_score(*args, start_p=p, end_p=p, resolution=1)
            assert_allclose(metrics.interval_score(*prediction, coverage=p), theirs)
        theirs = uct.metrics_calibration.sharpness(y_std)
        assert_allclose(metrics.sharpness(*prediction), theirs)

    @pytest.mark.parametrize("kind", ["quantile", "interval"])
    @pytest.mark.parametrize("n_levels", [100, 11])
    def test_calibration(self, uct, prediction, kind, n_levels):
        y_true, y_pred, y_std = prediction
        args = y_pred, y_std, y_true
        kwargs = {"num_bins": n_levels, "prop_type": kind}
        ours = {"n_levels": n_levels, "kind": kind}
        theirs = uct.metrics_calibration
        area = theirs.miscalibration_area(*args, **kwargs)
        assert_allclose(metrics.miscalibration_area(*prediction, **ours), area)
        rms = theirs.root_mean_squared_calibration_error(*args, **kwargs)
        error = metrics.root_mean_squared_calibration_error(*prediction, **ours)
        assert_allclose(error, rms)
