"""The frozen MEGNet as a transformer."""

from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
)
from sklearn.utils.validation import check_is_fitted

from .._features.encoder import SharedNetworkMixin
from .._structures.checks import as_list, structure_tags
from .._validation import check_batch_size
from .encoder import MEGNetEncoder


class MEGNetFeatureExtractor(
    SharedNetworkMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    BaseEstimator,
):
    """Latent features of a frozen MEGNet, for crystals and molecules.

    The network is cut at a layer and run in inference mode. It is never modified, and
    clones, copies and search candidates share it.

    Parameters
    ----------
    network : str, path-like, GraphModel, estimator or list, default="Eform_MP_2019"
        A pretrained name (see `sklearn_unlocknn.datasets.fetch_megnet_model`), which
        is fetched at the first use; an .hdf5 file with its .json beside it; a
        ``megnet.models.MEGNetModel`` or ``GraphModel``, of which `fit` takes a
        snapshot; or an unfitted `MEGNetRegressor`, which is cloned and trained in
        `fit`. Of a list of these, the features of all networks are concatenated.
    layer : int, str or list of int or str, default="auto"
        Index or name of the layer whose output is taken, one row a structure; the
        outputs of a list are concatenated. "auto" is the concatenated readout of
        atoms, bonds and state (-4 in the released networks) and the state features of
        the blocks before it: 352 features in the released networks.
    memory : str, path-like, joblib.Memory or None, default=None
        Folder that keeps features by the content of their structure, shared by
        processes. None keeps features of this process alone, in memory, 256 MB at
        most, for calls of up to 100000 structures.
    batch_size : int, default=128
        Number of structures in a pass; batches of large ones are cut further.
    n_jobs : int or None, default=None
        Number of processes that read and convert structures and run the network, by
        blocks of about 500; -1 uses all processors. None is 1, or the setting of
        ``joblib.parallel_config``. It pays for thousands of structures, as a process
        takes seconds to start.
    on_error : {"raise", "nan"}, default="raise"
        What to do with a structure that cannot be converted: raise an error that
        names its index and formula, or return a row of NaN.
    verbose : int, default=0
        1 shows a progress bar if the standard error is a terminal.

    Attributes
    ----------
    network_ : MEGNetSnapshot or list of MEGNetSnapshot
        Snapshot of the network; ``network_.predict(X)`` is its own prediction. A list
        for a list of networks.
    n_features_out_ : int
        Number of features of `transform`.
    feature_blocks_ : dict of str to slice
        Columns of all networks, "network", and of each: "network 0", ...

    See Also
    --------
    MEGNetProbRegressor : The network with a Gaussian process on these features.

    Notes
    -----
    X is a list, object array, Series or one-column frame of: pymatgen ``Structure``
    or ``Molecule`` objects, their dictionaries, records with one of these as
    "structure", ASE ``Atoms``, MEGNet graphs, paths of CIF, POSCAR, XYZ, JSON or
    molecule files, or the text of one of the first four. State attributes are taken
    from a structure's ``state`` attribute or ``properties["state"]``. Note that
    ``np.array(list_of_structures)`` takes structures apart into sites.

    A structure is read right or it is an error. A CIF is checked against its formula,
    Z and volume, a POSCAR against its numbers of atoms and symbols, a dictionary
    against its two sets of positions, and all against the distances that atoms can
    have. A symbol that a file states once cannot be checked, as in an XYZ.

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

    _encoder_type = MEGNetEncoder

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

    def __sklearn_tags__(self):
        return structure_tags(self, super().__sklearn_tags__())

    def fit(self, X, y=None):
        """Freeze the network, training it first if it is an estimator.

        Parameters
        ----------
        X : list of Structure, or as described in the Notes, of length n_samples
            Structures.
        y : array-like of shape (n_samples,) or (n_samples, n_targets), default=None
            Targets, needed only if ``network`` is an estimator.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If a parameter is invalid for the network, or X is empty.
        TypeError
            If ``network`` is not a MEGNet, or X is a single structure.
        OSError
            If a pretrained network cannot be fetched.
        """
        check_batch_size(self.batch_size)
        encoder = MEGNetEncoder()
        encoder.freeze(self, X, y)
        self._encoder = encoder
        vars(self).update(encoder.public)
        return self

    def transform(self, X):
        """Run the network up to the layer.

        Parameters
        ----------
        X : list of Structure, or as described in the Notes, of length n_samples
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
        return self._encoder.extract(self, as_list(X)).features

    @property
    def _n_features_out(self):
        return self.n_features_out_
