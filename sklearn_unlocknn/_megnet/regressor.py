"""Train a MEGNet as a scikit-learn regressor."""

import contextlib
import numbers

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from .._features.encoder import SharedNetworkMixin
from .._structures.checks import as_list, check_structure_targets
from .._structures.read import StructureError
from .._validation import check_weights, warn_user
from .architecture import new_megnet
from .encoder import MEGNetEncoder, resolve_megnet
from .training import LabelledGraphs, train


class MEGNetRegressor(SharedNetworkMixin, RegressorMixin, BaseEstimator):
    """MEGNet graph network, trained on structures.

    Crystals and molecules are converted to graphs of atoms, bonds and a global state,
    which a MEGNet [1]_ maps to the target. It is trained by Adam on the squared error.
    It predicts with a moving average of the weights, which is more accurate, and varies
    less from epoch to epoch, than the last weights.

    As the ``network`` of a `MEGNetProbRegressor` it is trained inside each fold of a
    cross-validation, together with the GP, so that no test sample is trained on.

    Parameters
    ----------
    initial_network : str, path-like, GraphModel or None, default=None
        A trained MEGNet to start from: a pretrained name, an .hdf5 file with its .json
        beside it, or a ``megnet.models`` object, which is not modified. Its
        architecture, graph converter and weights are used, and the next five
        parameters are not. If y has another number of targets, the output layer is a
        new one. None starts from random weights.
    n_blocks : int, default=3
        Number of MEGNet blocks.
    layer_sizes : tuple of three int, default=(64, 32, 16)
        Units of the first and of the other layers of a block, and of the readout.
    embedding_dim : int, default=16
        Number of learned features of an element.
    n_gaussians : int, default=100
        Number of features of a bond: its length is expanded in Gaussians, 0.5 angstrom
        wide.
    cutoff : float, default=4.0
        Greatest length of a bond, angstrom. The time to train grows with its cube.
    max_iter : int, default=200
        Greatest number of passes over the samples (epochs). 0 does not train.
    batch_size : int, default=32
        Number of structures in a step.
    learning_rate : float, default=0.003
        Learning rate of Adam. Lower it to fine-tune a trained network gently.
    early_stopping : bool, default=True
        Whether to hold out validation samples, to choose the best epoch by them, and
        to stop when no epoch is better for a while. False trains on all samples for
        `max_iter` epochs.
    validation_fraction : float, default=0.1
        Fraction of the samples, in (0, 1), held out for early stopping.
    n_iter_no_change : int, default=20
        Number of epochs without improvement after which training stops.
    warm_start : bool, default=False
        Whether ``fit`` continues from the network of the last ``fit``. Set
        `random_state` to an int then, so that the same samples are held out.
    on_error : {"raise", "nan"}, default="raise"
        What to do with a structure that cannot be converted to a graph: raise an error
        that names it, or leave it out of ``fit``, with a warning that counts such
        structures, and predict NaN.
    n_jobs : int, default=None
        Number of processes that read and convert structures, with joblib's meaning.
    random_state : int, RandomState instance or None, default=None
        Source of the first weights, the validation samples and the order of samples.
    verbose : int, default=0
        1 shows a progress bar on a terminal, elsewhere a line every ten epochs; 2
        prints a line each epoch.

    Attributes
    ----------
    network_ : MEGNetSnapshot
        Trained network; ``network_.keras_model`` is its Keras model.
    n_outputs_ : int
        Number of targets.
    n_iter_ : int
        Number of epochs.
    best_iter_ : int
        Epoch whose weights the network has; `n_iter_` without early stopping.
    loss_curve_ : ndarray of shape (n_iter_,)
        Mean squared error of each epoch on the training samples, with the weights as
        they moved, divided by the variance of the target.
    validation_loss_curve_ : ndarray of shape (n_iter_,) or None
        Mean squared error on the validation samples, with the averaged weights,
        divided by the same variance. None without early stopping.

    See Also
    --------
    ProbNNRegressor : A Gaussian process on a frozen Keras network.

    Notes
    -----
    `random_state` is the only source of random numbers, so equal seeds train equal
    networks on one thread. With several threads the order of TensorFlow's sums, and so
    their rounding, differs from run to run (set ``TF_NUM_INTRAOP_THREADS=1`` to
    prevent that).

    The target is standardised; predictions are in target units. If the initial network
    predicts an extensive target (by its target scaler), so does the trained one.
    Dropout and weight penalties of an initial network are not used in training. A
    batch of large structures is passed in parts whose gradients are added, so memory
    is bounded.

    A sample of weight two counts twice in the loss. Samples of weight zero are left
    out.

    The time of an epoch is proportional to the number of bonds: about 4 s on one core
    for 3000 perovskites of five atoms at the default cutoff. Each ``fit`` also takes
    some seconds to trace the computations.

    References
    ----------
    .. [1] C. Chen, W. Ye, Y. Zuo, C. Zheng, S. P. Ong, "Graph networks as a universal
       machine learning framework for molecules and crystals", Chem. Mater. 2019,
       doi:10.1021/acs.chemmater.9b01294.

    Examples
    --------
    >>> from pymatgen.core import Lattice, Structure
    >>> from sklearn_unlocknn import MEGNetRegressor
    >>> X = [
    ...     Structure.from_spacegroup(
    ...         "Fm-3m", Lattice.cubic(a), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    ...     )
    ...     for a in (5.0, 5.2, 5.4, 5.6, 5.8, 6.0)
    ... ]
    >>> y = [structure.density for structure in X]
    >>> model = MEGNetRegressor(max_iter=2, n_blocks=1, random_state=0)
    >>> model.fit(X, y).predict(X).shape
    (6,)
    """

    _encoder_type = MEGNetEncoder
    _network_name = "initial_network"

    def __init__(
        self,
        initial_network=None,
        *,
        n_blocks=3,
        layer_sizes=(64, 32, 16),
        embedding_dim=16,
        n_gaussians=100,
        cutoff=4.0,
        max_iter=200,
        batch_size=32,
        learning_rate=3e-3,
        early_stopping=True,
        validation_fraction=0.1,
        n_iter_no_change=20,
        warm_start=False,
        on_error="raise",
        n_jobs=None,
        random_state=None,
        verbose=0,
    ):
        self.initial_network = initial_network
        self.n_blocks = n_blocks
        self.layer_sizes = layer_sizes
        self.embedding_dim = embedding_dim
        self.n_gaussians = n_gaussians
        self.cutoff = cutoff
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.warm_start = warm_start
        self.on_error = on_error
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X, y, sample_weight=None):
        """Train the network.

        Parameters
        ----------
        X : list, array, Series or one-column DataFrame of structures
            ``Structure``, ``Molecule``, ASE ``Atoms``, MEGNet graphs, their
            dictionaries, or paths or text of CIF or POSCAR files.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples in the loss, none negative.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If a parameter or target is invalid, a structure cannot be converted (with
            ``on_error="raise"``), or training diverges.
        TypeError
            If X is a single structure, or ``initial_network`` is not a MEGNet.
        FileNotFoundError
            If a file of structures or of the initial network does not exist.
        """
        self._check_parameters()
        random = check_random_state(self.random_state)
        rng = np.random.default_rng(random.randint(np.iinfo(np.int32).max))
        items = as_list(X)
        targets = check_structure_targets(y, items)
        weights = check_weights(sample_weight, len(items))
        y = targets.reshape(len(targets), -1)
        network = self._network_to_train(y.shape[1], rng)
        data, validation = self._split(self._convert(network, items, y, weights), rng)
        with _progress(self.verbose, self.max_iter) as report:
            self.network_, losses, curve, self.best_iter_ = train(
                network,
                data,
                validation,
                rng,
                max_iter=self.max_iter,
                batch_size=self.batch_size,
                learning_rate=self.learning_rate,
                patience=self.n_iter_no_change,
                report=report,
            )
        self.n_outputs_ = y.shape[1]
        self.n_iter_ = len(losses)
        self.loss_curve_ = np.array(losses)
        self.validation_loss_curve_ = None if validation is None else np.array(curve)
        self._one_target = targets.ndim == 1
        return self

    def predict(self, X):
        """Predict the target with the trained network.

        Parameters
        ----------
        X : list, array, Series or one-column DataFrame of structures
            As in `fit`.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs), float64
            Predictions in target units; NaN for structures that cannot be converted,
            with ``on_error="nan"``.

        Raises
        ------
        ValueError
            If a structure cannot be converted (with ``on_error="raise"``).
        TypeError
            If X is a single structure.
        """
        check_is_fitted(self)
        mean = self.network_.predict(X, n_jobs=self.n_jobs, on_error=self.on_error)
        return mean[:, 0] if self._one_target else mean

    def _network_to_train(self, n_outputs, rng):
        if self.warm_start and hasattr(self, "network_"):
            return self.network_
        if self.initial_network is not None:
            return resolve_megnet(self.initial_network, name="initial_network")
        return new_megnet(
            n_blocks=self.n_blocks,
            layer_sizes=tuple(self.layer_sizes),
            embedding_dim=self.embedding_dim,
            n_gaussians=self.n_gaussians,
            cutoff=self.cutoff,
            n_outputs=n_outputs,
            rng=rng,
        )

    def _convert(self, network, items, y, weights):
        """Convert the structures; leave out failed ones and those of weight zero."""
        graphs = network.graphs(items, n_jobs=self.n_jobs)
        failed = np.array([isinstance(graph, StructureError) for graph in graphs])
        errors = [graphs[i] for i in np.flatnonzero(failed)]
        index = np.flatnonzero(~failed & (weights > 0))
        if errors and (self.on_error == "raise" or not len(index)):
            raise errors[0]
        if errors:
            warn_user(
                f"MEGNetRegressor left out {len(errors)} of {len(items)} structures "
                f"that could not be converted, the first being: {errors[0]}"
            )
        return LabelledGraphs(graphs, y, weights).take(index)

    def _split(self, data, rng):
        """Return training samples, and validation samples or None."""
        if not self.early_stopping:
            return data, None
        n = len(data)
        n_validation = int(np.ceil(self.validation_fraction * n))
        if n_validation >= n:
            raise ValueError(
                f"Got {n} samples and `validation_fraction`="
                f"{self.validation_fraction}, which leaves no sample to train on. Pass "
                "more samples, or `early_stopping=False`."
            )
        order = rng.permutation(n)
        return data.take(order[n_validation:]), data.take(order[:n_validation])

    def _check_parameters(self):
        """Raise ValueError for parameters that are invalid for all data."""
        least = {"n_blocks": 1, "embedding_dim": 1, "n_gaussians": 2, "max_iter": 0}
        least |= {"batch_size": 1, "n_iter_no_change": 1}
        for name, low in least.items():
            value = getattr(self, name)
            valid = _is_number(value, numbers.Integral) and value >= low
            self._require(valid, name, f"an int of at least {low}")
        sizes = self.layer_sizes
        valid = isinstance(sizes, tuple | list) and len(sizes) == 3
        valid = valid and all(_is_number(n, numbers.Integral) and n > 0 for n in sizes)
        self._require(valid, "layer_sizes", "three ints of at least 1")
        most = {"cutoff": np.inf, "learning_rate": np.inf, "validation_fraction": 1}
        for name, high in most.items():
            value = getattr(self, name)
            valid = _is_number(value, numbers.Real) and 0 < value < high
            self._require(valid, name, f"a number above 0 and below {high}")
        self._require(self.on_error in ("raise", "nan"), "on_error", "'raise' or 'nan'")

    def _require(self, valid, name, expected):
        if not valid:
            raise ValueError(
                f"Got `{name}`={getattr(self, name)!r}, expected {expected}."
            )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.target_tags.multi_output = True
        return tags


def _is_number(value, kind):
    return isinstance(value, kind) and not isinstance(value, bool)


@contextlib.contextmanager
def _progress(verbose, max_iter):
    """Yield a function that reports an epoch, on a progress bar or as a line."""
    from tqdm import tqdm

    off = None if verbose == 1 else True  # None: on a terminal only
    with tqdm(total=max_iter, desc="MEGNetRegressor", unit="epoch", disable=off) as bar:

        def report(epoch, loss, validation_loss):
            parts = {"loss": loss, "validation loss": validation_loss}
            parts = {k: f"{v:.4g}" for k, v in parts.items() if v is not None}
            bar.set_postfix(parts, refresh=False)
            bar.update()
            if bar.disable and (verbose > 1 or (verbose and epoch % 10 == 0)):
                text = ", ".join(f"{k} {v}" for k, v in parts.items())
                print(f"[MEGNetRegressor] epoch {epoch}: {text}")

        yield report
