"""Crystals and molecules: a frozen MEGNet with a Gaussian process on its readout."""

import itertools

import numpy as np
from sklearn.utils import check_consistent_length

from .._fine_tuning.mixin import FineTuningMixin
from .._gp.encoded import Latent
from .._megnet.extractor import MEGNetFeaturesMixin, _listed
from .._parallel import count_workers
from .._structures.read import StructureError, describe
from .._validation import check_targets
from .base import BaseVGPRegressor
from .parameters import DEFAULTS, FINE_TUNING, document_head

# Structures of a stream that are in memory together, for each process.
STREAM_STRUCTURES = 1024


@document_head(
    means='{"zero", "constant", "linear", "network"}',
    mean_note=(
        '; "network" is the\n        network\'s own output, and the process models '
        "what it misses [5]_"
    ),
)
class MEGNetProbRegressor(FineTuningMixin, MEGNetFeaturesMixin, BaseVGPRegressor):
    """From structures to a property with an error bar, through a frozen MEGNet.

    The network is cut at its readout and a variational Gaussian process is fitted on
    it. It need not have been trained on the property: the readout of a network for
    formation energies serves many others.

    Parameters
    ----------
    network : str, path-like, GraphModel or estimator, default="Eform_MP_2019"
        A pretrained name (see `sklearn_unlocknn.datasets.fetch_megnet_model`), which
        is fetched at the first use; an .hdf5 file with its .json beside it; a
        ``megnet.models.MEGNetModel`` or ``GraphModel``, of which `fit` takes a
        snapshot; or an unfitted `MEGNetRegressor`, which is cloned and trained in
        `fit` on the same rows as the process, so that cross-validation does not leak.
    layer : int, str or list of int or str, default="auto"
        Latent layer, as an index or a name, with one row a structure; the outputs of
        several are concatenated. "auto" is the concatenated readout of atoms, bonds
        and state (-4 in the released networks) and, of the blocks before it, what
        they know of the state: measured best on two properties
        (``benchmarks/RESULTS.md``).
    [head parameters]
    memory : str, path-like, joblib.Memory or None, default=None
        Folder that keeps features by the content of their structure, so that a search
        over parameters of the process runs the network once a structure. None: the
        process and its workers share them in temporary files while it runs, 256 MB at
        most, for calls of up to 100000 structures.
    extract_batch_size : int, default=128
        Structures in a pass of the network; batches of large ones are cut further.
    on_error : {"raise", "nan"}, default="raise"
        What to do with a structure that cannot be converted: raise an error that
        names its index and formula; or leave it out of `fit`, with a warning that
        counts, and predict NaN for it.
    [fine-tuning parameters]

    Attributes
    ----------
    [head attributes]
    network_ : MEGNetSnapshot
        Handle of the network that gives the features; ``network_.predict(X)`` is its
        own prediction. After fine-tuning that of a copy.
    n_features_out_ : int
        Number of latent features.
    [fine-tuning attributes]

    See Also
    --------
    MEGNetFeatureExtractor : The latent features, as a transformer.
    VGPRegressor : The process alone, on numeric features.
    MEGNetRegressor : Trains a MEGNet; for ``network``.

    Notes
    -----
    See :class:`VGPRegressor` for the process [1]_ [2]_ and
    :class:`MEGNetFeatureExtractor` for what X may hold. MEGNet is [6]_; a process on
    its latent space is unlockNN's idea [4]_.

    With ``mean="network"`` the network's prediction, its target scaler applied, is the
    prior mean, and the process models the residual in target units: its standard
    deviation is that of the residual, on which the scaler's mean has no bearing. Where
    the scaler is extensive (per atom), the process models the residual per atom, and
    mean and standard deviation are multiplied by the number of atoms;
    ``noise_std_`` is then per atom.

    Fit on structures that the network was not trained on where you can: a network
    looks better on its own training data than it is, and error bars learned there are
    too small.

    [fine-tuning notes]

    References
    ----------
    .. [1] M. Titsias, "Variational learning of inducing variables in sparse Gaussian
       processes", AISTATS 2009.
    .. [2] J. Hensman, N. Fusi, N. Lawrence, "Gaussian processes for big data", UAI
       2013, arXiv:1309.6835.
    .. [3] D. Burt, C. Rasmussen, M. van der Wilk, "Convergence of sparse variational
       inference in Gaussian processes regression", JMLR 2020, arXiv:2008.00323.
    .. [4] A. Moriarty et al., "UnlockNN: Uncertainty quantification for neural network
       models of chemical systems", JOSS 2022, doi:10.21105/joss.03700.
    .. [5] X. Qiu, E. Meyerson, R. Miikkulainen, "Quantifying point-prediction
       uncertainty in neural networks via residual estimation with an I/O kernel",
       ICLR 2020, arXiv:1906.00588.
    .. [6] C. Chen et al., "Graph networks as a universal machine learning framework
       for molecules and crystals", Chem. Mater. 2019,
       doi:10.1021/acs.chemmater.9b01294.

    Examples
    --------
    With the pretrained network, which is fetched at the first use:

    >>> from sklearn_unlocknn import MEGNetProbRegressor, MEGNetRegressor
    >>> from sklearn_unlocknn.datasets import make_ionic_crystals
    >>> X, y = make_ionic_crystals(60, random_state=0, return_X_y=True)
    >>> model = MEGNetProbRegressor("Eform_MP_2019")
    >>> model.fit(X[:40], y[:40])  # doctest: +SKIP
    >>> mean, std = model.predict(X[40:], return_std=True)  # doctest: +SKIP

    With one that is trained in ``fit``:

    >>> network = MEGNetRegressor(max_iter=2, random_state=0)
    >>> model = MEGNetProbRegressor(network, kernel="rbf", random_state=0)
    >>> mean, std = model.fit(X[:40], y[:40]).predict(X[40:], return_std=True)
    >>> mean.shape, std.shape
    ((20,), (20,))
    """

    _means = ("zero", "constant", "linear", "network")

    def __init__(
        self,
        network="Eform_MP_2019",
        layer="auto",
        kernel=None,
        n_inducing_points=DEFAULTS["n_inducing_points"],
        *,
        inducing_init=DEFAULTS["inducing_init"],
        optimize_inducing_points=False,
        mean="constant",
        solver="auto",
        max_iter=DEFAULTS["max_iter"],
        tol=DEFAULTS["tol"],
        batch_size=1024,
        hyper_subset_size=DEFAULTS["hyper_subset_size"],
        normalize_y=True,
        random_state=None,
        verbose=0,
        n_jobs=None,
        warm_start=False,
        memory=None,
        extract_batch_size=128,
        on_error="raise",
        fine_tune_epochs=0,
        network_learning_rate=FINE_TUNING["network_learning_rate"],
        head_learning_rate=FINE_TUNING["head_learning_rate"],
        fine_tune_batch_size=FINE_TUNING["fine_tune_batch_size"],
        fine_tune_validation_fraction=FINE_TUNING["fine_tune_validation_fraction"],
    ):
        self.network = network
        self.layer = layer
        self.kernel = kernel
        self.n_inducing_points = n_inducing_points
        self.inducing_init = inducing_init
        self.optimize_inducing_points = optimize_inducing_points
        self.mean = mean
        self.solver = solver
        self.max_iter = max_iter
        self.tol = tol
        self.batch_size = batch_size
        self.hyper_subset_size = hyper_subset_size
        self.normalize_y = normalize_y
        self.random_state = random_state
        self.verbose = verbose
        self.n_jobs = n_jobs
        self.warm_start = warm_start
        self.memory = memory
        self.extract_batch_size = extract_batch_size
        self.on_error = on_error
        self.fine_tune_epochs = fine_tune_epochs
        self.network_learning_rate = network_learning_rate
        self.head_learning_rate = head_learning_rate
        self.fine_tune_batch_size = fine_tune_batch_size
        self.fine_tune_validation_fraction = fine_tune_validation_fraction

    @property
    def _batch_size(self):
        return self.extract_batch_size

    def _training_features(self, X, y, sample_weight):
        self._check_fine_tuning()
        items, y = self._checked(X, y)
        self._freeze(items, y, sample_weight)
        return self._latent(self._extract(items))._replace(inputs=items), y

    def _checked(self, X, y, start=0):
        items = _listed(X)
        return items, check_structure_targets(y, items, start)

    def _features_of(self, X, keep=True):
        return self._latent(self._extract(_listed(X), keep=keep))

    def _pieces(self, stream):
        """Make lists of structures that come one by one."""
        stream = iter(stream)
        size = STREAM_STRUCTURES * min(count_workers(self.n_jobs), 32)
        while piece := list(itertools.islice(stream, size)):
            yield piece

    def _features_of_piece(self, X, start):
        try:
            return self._features_of(X, keep=False)
        except StructureError as error:
            raise error.at(start + error.index) from error

    def _trainee(self, inputs, kept):
        from .._fine_tuning.trainable_copy import MEGNetTrainableCopy

        graphs = self.network_.graphs([inputs[i] for i in kept], n_jobs=self.n_jobs)
        with_output = self.mean == "network"
        return MEGNetTrainableCopy(self.network_, self.layer, graphs, with_output)

    def _use_tuned(self, network, inputs):
        self.network_ = network
        return self._latent(self._extract(inputs))

    def _latent(self, done):
        if self.mean != "network":
            return Latent(done.features, errors=done.errors)
        unit = None
        if self.network_.extensive:
            # a failed structure has no atoms, and its row no use
            unit = np.maximum(done.n_atoms, 1)[:, None].astype(float)
        return Latent(done.features, done.prediction, unit, done.errors)


def check_structure_targets(y, items, start=0):
    """Return y as finite float64; a target that is not is named with its structure.

    Parameters
    ----------
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Targets.
    items : list of structures
        What they belong to.
    start : int, default=0
        The number of the first.

    Returns
    -------
    ndarray of shape (n_samples,) or (n_samples, n_outputs)
    """
    if y is not None:
        check_consistent_length(items, y)
        values = np.asarray(y)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            bad = ~np.isfinite(values.reshape(len(values), -1)).all(axis=1)
            i = int(np.argmax(bad))
            name = f"{start + i} ({describe(items[i])})"
            raise ValueError(
                f"The target of structure {name} is {values[i]} "
                f"({bad.sum()} of {len(bad)} targets are not finite). Leave these "
                "structures out, or fill in their targets."
            )
    return check_targets(y)
