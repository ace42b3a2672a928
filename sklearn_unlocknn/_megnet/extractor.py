"""A frozen MEGNet as a transformer, and what every MEGNet estimator shares."""

import difflib
import os
from pathlib import Path

import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    clone,
)
from sklearn.utils.validation import check_is_fitted, has_fit_parameter

from .._features.cache import MAX_ROWS, FeatureCache, cache_location, hash_bytes
from .._keras.extractor import NetworkParamMixin
from .._structures.read import StructureError, as_items, content_of, describe
from .._validation import check_batch_size
from ..datasets import MEGNET_MODELS, fetch_megnet_model
from .network import Extraction, MEGNetSnapshot


def resolve_megnet(network, X=None, y=None, sample_weight=None, name="network"):
    """Return the frozen MEGNet that a ``network`` parameter stands for.

    Parameters
    ----------
    network : str, path-like, GraphModel, MEGNetSnapshot or estimator
        A pretrained name, which is fetched; an .hdf5 file; a model object; or an
        estimator that is cloned, fitted on the data and then has a ``network_``.
    X : list of structures
        Structures to train such an estimator with.
    y : array-like, default=None
        Targets, likewise.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights, passed on if the estimator's ``fit`` takes them.
    name : str, default="network"
        What errors call the parameter.

    Returns
    -------
    MEGNetSnapshot

    Raises
    ------
    TypeError
        If it is none of these.
    ValueError
        If it is neither a name nor a file, or an estimator misses y.
    OSError
        If a pretrained network is neither in the data folder nor can be fetched.
    """
    if isinstance(network, str) and network in MEGNET_MODELS:
        return MEGNetSnapshot.of(fetch_megnet_model(network))
    if isinstance(network, str | os.PathLike) and not Path(network).is_file():
        close = difflib.get_close_matches(str(network), MEGNET_MODELS, 3, 0.4)
        names = [*close, *(known for known in MEGNET_MODELS if known not in close)]
        raise ValueError(
            f"Got `{name}`={str(network)!r}, which is neither a file nor the name of a "
            f"pretrained network: {', '.join(names)}."
        )
    trains = hasattr(network, "fit") and hasattr(network, "get_params")
    if isinstance(network, type) or not trains:
        return MEGNetSnapshot.of(network)
    if y is None:
        raise ValueError(
            f"`{name}` is an estimator, {type(network).__name__}, that is trained in "
            "`fit`, which needs y. Pass y, or a trained network."
        )
    trainer = clone(network)
    extra = {}
    if sample_weight is not None and has_fit_parameter(trainer, "sample_weight"):
        extra["sample_weight"] = sample_weight
    trainer.fit(X, y, **extra)
    trained = getattr(trainer, "network_", None)
    if not isinstance(trained, MEGNetSnapshot):
        raise ValueError(
            f"`{name}` is an estimator, {type(network).__name__}, that after `fit` "
            f"has `network_`={trained!r}, expected a trained MEGNet there, as "
            "MEGNetRegressor has."
        )
    return trained


class MEGNetFeaturesMixin(NetworkParamMixin):
    """Features of a frozen MEGNet for estimators with its parameters.

    These are ``network, layer, memory, n_jobs, on_error, verbose``.
    """

    @staticmethod
    def _is_model(network):
        # Without getattr: megnet's models hand unknown names on to Keras.
        return hasattr(type(network), "save_model") and hasattr(network, "model")

    @staticmethod
    def _handle_of(network):
        return MEGNetSnapshot.of(network)

    @staticmethod
    def _model_of(handle):
        return handle

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.allow_nan = self.on_error == "nan"
        tags.no_validation = True
        return tags

    def _freeze(self, X, y=None, sample_weight=None):
        """Set ``network_`` and ``n_features_out_``; return X as a list."""
        cache_location(self.memory)  # a wrong `memory` is an error at once
        if self.on_error not in ("raise", "nan"):
            raise ValueError(
                f"Got `on_error`={self.on_error!r}, expected 'raise' or 'nan'."
            )
        check_batch_size(self._batch_size, "batch_size")
        items = _listed(X)
        network = resolve_megnet(self.network, items, y, sample_weight)
        n_features = network.n_features(self.layer)
        self.network_, self.n_features_out_ = network, n_features
        return items

    def _extract(self, items, keep=True):
        """Run the network: features, its own output and atoms, from one pass.

        Parameters
        ----------
        items : list of structures
            Of any kind that `MEGNetSnapshot.stream` takes.
        keep : bool, default=True
            False neither looks features up nor keeps them.

        Returns
        -------
        Extraction
            With ``on_error="nan"`` rows of failed structures are NaN.

        Raises
        ------
        StructureError
            With ``on_error="raise"``, for the first that failed.
        """
        location = cache_location(self.memory)
        if not keep or (location is None and len(items) > MAX_ROWS):
            return self.network_.joined(
                self._run(items, np.arange(len(items))), self.layer, True
            )
        layers = repr(self.network_.resolve_layer(self.layer))
        cache = FeatureCache(location, self.network_.fingerprint(), layers)
        errors = {}

        def compute(rows):
            for done in self._run(items, rows):
                errors.update(done.errors)
                yield np.column_stack([done.features, done.prediction, done.n_atoms])

        keys = hash_bytes(content_of(item) for item in items)
        values = cache.fetch(keys, compute)
        if errors:  # what was computed for one of several equal structures
            by_key = {keys[i]: error for i, error in errors.items()}
            errors = {
                i: by_key[key].at(i) for i, key in enumerate(keys) if key in by_key
            }
        width = self.n_features_out_
        features, prediction, n_atoms = np.split(values, [width, -1], axis=1)
        return Extraction(
            np.ascontiguousarray(features),
            np.ascontiguousarray(prediction),
            n_atoms[:, 0].astype(int),
            errors,
        )

    def _run(self, items, rows):
        """Run the network on some rows, by blocks; errors carry the rows' indices."""
        chosen = shown = [items[i] for i in rows]
        if self.verbose:
            from tqdm import tqdm

            # None: on a terminal only
            shown = tqdm(chosen, "Extracting features", disable=None)
        try:
            start = 0
            for done in self.network_.stream(
                shown, self.layer, predict=True, batch_size=self._batch_size,
                n_jobs=self.n_jobs, on_error=self.on_error,
            ):  # fmt: skip
                part = rows[start : start + len(done.n_atoms)]
                done.errors = {
                    int(rows[i]): error.at(rows[i]) for i, error in done.errors.items()
                }
                failed = np.isin(part, list(done.errors))
                values = np.hstack([done.features, done.prediction])
                bad = np.flatnonzero(~np.isfinite(values).all(axis=1) & ~failed)
                if len(bad):
                    raise ValueError(
                        "The network gives values that are not finite for structure "
                        f"{part[bad[0]]} ({describe(chosen[start + bad[0]])}; "
                        f"{len(bad)} of {len(part)} in its block). Check its weights "
                        "for NaN."
                    )
                start += len(part)
                yield done
        except StructureError as error:
            raise error.at(rows[error.index]) from error


def _listed(X):
    """Return structures as a list with at least one of them."""
    items = list(as_items(X))
    if not items:
        raise ValueError(
            "Got an empty list, expected at least one structure: pymatgen Structure "
            "or Molecule, ASE Atoms, MEGNet graph, or the path of a CIF or POSCAR file."
        )
    return items


class MEGNetFeatureExtractor(
    MEGNetFeaturesMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    BaseEstimator,
):
    """Latent features of a frozen MEGNet, for crystals and molecules.

    The network is cut at a layer and run in inference mode. It is never modified, and
    clones, copies and search candidates share it.

    Parameters
    ----------
    network : str, path-like, GraphModel or estimator, default="Eform_MP_2019"
        A pretrained name (see `sklearn_unlocknn.datasets.fetch_megnet_model`), which
        is fetched at the first use; an .hdf5 file with its .json beside it; a
        ``megnet.models.MEGNetModel`` or ``GraphModel``, of which `fit` takes a
        snapshot; or an unfitted `MEGNetRegressor`, which is cloned and trained in
        `fit`.
    layer : int, str or list of int or str, default="auto"
        Index or name of the layer whose output is taken, one row a structure; the
        outputs of a list are concatenated. "auto" is the concatenated readout of
        atoms, bonds and state (-4 in the released networks) and, of the blocks before
        it, what they know of the state: 352 features in the released networks.
    memory : str, path-like or joblib.Memory, default=None
        Folder that keeps features: a structure seen before, by any process, does not
        go through the same network again. None: the process and its workers share
        them while it runs, 256 MB at most, for calls of up to 100000 structures.
    batch_size : int, default=128
        Structures in a pass; batches of large ones are cut further.
    n_jobs : int, default=None
        Processes that read and convert structures and run the network on them, by
        blocks of about 500. Pays for thousands of structures, as a process takes
        seconds to start. None is what ``joblib.parallel_config`` says: loky, Dask, Ray.
    on_error : {"raise", "nan"}, default="raise"
        What to do with a structure that cannot be converted: raise an error that
        names its index and formula, or give a row of NaN.
    verbose : int, default=0
        1 shows a progress bar if the standard error is a terminal.

    Attributes
    ----------
    network_ : MEGNetSnapshot
        Handle on the network; ``network_.predict(X)`` is its own prediction.
    n_features_out_ : int
        Number of features that `transform` gives.

    See Also
    --------
    MEGNetProbRegressor : The network with a Gaussian process on these features.

    Notes
    -----
    X is a list, object array, Series or one-column frame of: pymatgen ``Structure``
    or ``Molecule`` objects, their dictionaries, ASE ``Atoms``, MEGNet graphs, paths
    of CIF, POSCAR or molecule files, or the text of a CIF or POSCAR. State attributes
    are taken from a structure's ``state`` attribute or ``properties["state"]``.
    Note that ``np.array(list_of_structures)`` takes structures apart into sites.

    The network is MEGNet's [1]_. Molecules need RDKit and OpenBabel.

    References
    ----------
    .. [1] C. Chen et al., "Graph networks as a universal machine learning framework
       for molecules and crystals", Chem. Mater. 2019,
       doi:10.1021/acs.chemmater.9b01294.

    Examples
    --------
    >>> from sklearn_unlocknn import MEGNetFeatureExtractor
    >>> from sklearn_unlocknn.datasets import make_ionic_crystals
    >>> crystals = make_ionic_crystals(5, random_state=0)
    >>> extractor = MEGNetFeatureExtractor("Eform_MP_2019")
    >>> extractor.fit_transform(crystals.data).shape  # doctest: +SKIP
    (5, 352)
    """

    def __init__(
        self,
        network="Eform_MP_2019",
        layer="auto",
        *,
        memory=None,
        batch_size=128,
        n_jobs=None,
        on_error="raise",
        verbose=0,
    ):
        self.network = network
        self.layer = layer
        self.memory = memory
        self.batch_size = batch_size
        self.n_jobs = n_jobs
        self.on_error = on_error
        self.verbose = verbose

    def fit(self, X, y=None):
        """Freeze the network, training it first if it is an estimator.

        Parameters
        ----------
        X : list of Structure, or as the class says, of length n_samples
            Structures.
        y : array-like of shape (n_samples,) or (n_samples, n_targets), default=None
            Targets, needed only if ``network`` is an estimator.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If a parameter does not suit the network, or X is empty.
        TypeError
            If ``network`` is nothing that holds a MEGNet, or X a single structure.
        OSError
            If a pretrained network cannot be fetched.
        """
        self._freeze(X, y)
        return self

    def transform(self, X):
        """Run the network up to the layer.

        Parameters
        ----------
        X : list of Structure, or as the class says, of length n_samples
            Structures.

        Returns
        -------
        ndarray of shape (n_samples, n_features_out_), float64
            Features in the network's own units, or a frame after ``set_output``. NaN
            for a structure that cannot be converted if ``on_error="nan"``.

        Raises
        ------
        ValueError
            If a structure cannot be converted and ``on_error="raise"``; the message
            names its index and formula.
        """
        check_is_fitted(self)
        return self._extract(_listed(X)).features

    @property
    def _batch_size(self):
        return self.batch_size

    @property
    def _n_features_out(self):
        return self.n_features_out_
