"""Fit and predict from generators: more rows than memory holds."""

import tempfile
from pathlib import Path

import numpy as np
from sklearn.utils import check_consistent_length
from sklearn.utils.validation import check_is_fitted

from .._gp.encoded import Latent
from .._validation import check_weights
from .parameters import check_parameters


class StreamMixin:
    """`fit` and `predict` of rows that come piece by piece.

    A subclass may define ``_pieces(stream)``, which makes pieces that ``predict`` takes
    of what a user would rather yield, and ``_features_of_piece(X, start)``.
    """

    def fit_stream(self, pieces):
        """Fit to rows that come piece by piece: the model of `fit` on all of them.

        Pieces are gone through once. Their features, not the rows themselves, are
        written to a temporary folder (8 bytes a number, in the folder of `tempfile`,
        removed at the end) and the head is fitted to the file: memory holds a piece
        at a time, and of all rows only target and weight.

        Parameters
        ----------
        pieces : iterable of tuple
            Of ``(X, y)`` or ``(X, y, sample_weight)``, each as `fit` takes it: a
            generator, for instance. The first should have more than a few rows.

        Returns
        -------
        self : object
            Fitted.

        Raises
        ------
        ValueError
            As `fit`; also for no pieces, pieces that differ in their columns, and a
            network that would be trained in `fit`, for which it must see all rows.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn_unlocknn import VGPRegressor
        >>> def pieces():
        ...     rng = np.random.default_rng(0)
        ...     for _ in range(10):
        ...         X = rng.normal(size=(50, 2))
        ...         yield X, np.sin(X[:, 0])
        >>> model = VGPRegressor("rbf", 50, random_state=0).fit_stream(pieces())
        >>> means = [mean for mean, std in model.predict_stream(X for X, y in pieces())]
        >>> len(means), means[0].shape
        (10, (50,))
        """
        check_parameters(self, self._means)
        self._check_streamable()
        # Windows removes no file that is mapped: no reason to hide an error
        with tempfile.TemporaryDirectory(
            prefix="sklearn_unlocknn-", ignore_cleanup_errors=True
        ) as folder:
            spool = _Spool(Path(folder))
            for piece in pieces:
                spool.append(*self._training_piece(piece, spool.n_rows))
            if not spool.n_rows:
                raise ValueError(
                    "Got no pieces, expected at least one (X, y). A generator can be "
                    "gone through only once: make a new one for each fit."
                )
            latent, y, weights = spool.read()
            self._fit_latent(latent, y, weights, stacklevel=1)
            del latent
        return self

    def predict_stream(self, stream):
        """Predict rows that come piece by piece, in the memory of one piece.

        Features are not kept, and ``n_jobs`` processes share a piece.

        Parameters
        ----------
        stream : iterable
            Of pieces that `predict` takes: blocks of rows. `MEGNetProbRegressor`
            takes structures one by one instead, and makes pieces of them.

        Returns
        -------
        predictions : generator of tuple
            Of each piece in turn: mean and standard deviation, ndarrays of shape
            (n_piece,) or (n_piece, n_outputs), in target units, observation noise
            included.

        Raises
        ------
        ValueError
            As `predict`; a structure is named by its number in the stream.
        """
        check_is_fitted(self)
        return self._predict_pieces(stream)

    def _predict_pieces(self, stream):
        start = 0
        for X in self._pieces(stream):
            latent = self._features_of_piece(X, start)
            start += len(latent.features)
            yield self._mean_and_std(latent)

    def _check_streamable(self):
        network = getattr(self, "network", None)
        if hasattr(network, "fit") and hasattr(network, "get_params"):
            raise ValueError(
                f"Got `network`={type(network).__name__}(), which is trained in fit "
                "and must see all rows. Train it first and pass the trained network, "
                "or use fit."
            )
        if getattr(self, "fine_tune_epochs", 0):
            raise ValueError(
                f"Got fine_tune_epochs={self.fine_tune_epochs}, for which the network "
                "must see all rows again and again. Use fit, or fine_tune_epochs=0."
            )

    def _training_piece(self, piece, start):
        """Return `Latent`, targets (n, k) and weights of a piece of training rows."""
        if not isinstance(piece, tuple | list) or len(piece) not in (2, 3):
            size = f" of {len(piece)}" if isinstance(piece, tuple | list) else ""
            raise ValueError(
                f"Got a piece that is a {type(piece).__name__}{size}, expected tuples "
                "(X, y) or (X, y, sample_weight)."
            )
        X, y, *rest = piece
        if start:
            X, y = self._checked(X, y, start)
            latent = self._features_of_piece(X, start)
        else:
            latent, y = self._training_features(X, y, None)
            self._one_output = y.ndim == 1
        check_consistent_length(latent.features, y)
        weights = check_weights(rest[0] if rest else None, latent.features)
        return latent._replace(inputs=None), y.reshape(len(y), -1), weights

    def _pieces(self, stream):
        return stream

    def _features_of_piece(self, X, start):
        return self._features_of(X, keep=False)


class _Spool:
    """Arrays that grow by pieces, in files.

    Parameters
    ----------
    folder : Path
        Where.
    """

    def __init__(self, folder):
        self.folder, self.n_rows, self.widths = folder, 0, None
        self.errors = {}

    def append(self, latent, y, weights):
        """Write the rows of a piece behind those before it."""
        arrays = dict(features=latent.features, y=y, weights=weights[:, None])
        arrays |= {"output": latent.output, "unit": latent.unit}
        arrays = {k: v for k, v in arrays.items() if v is not None}
        widths = {name: array.shape[1] for name, array in arrays.items()}
        if self.widths is None:
            self.widths = widths
        if widths != self.widths:
            raise ValueError(
                f"Got a piece with columns {widths} from row {self.n_rows} on, "
                f"expected {self.widths} as before it."
            )
        for name, array in arrays.items():
            with open(self.folder / name, "ab") as file:
                file.write(np.ascontiguousarray(array, dtype=np.float64).data)
        if latent.errors and not self.errors:  # the first is reported
            first = min(latent.errors)
            place = self.n_rows + first
            self.errors[place] = latent.errors[first].at(place)
        self.n_rows += len(y)

    def read(self):
        """Return `Latent`, targets and weights; features are a memmap."""

        def mapped(name):
            if name not in self.widths:
                return None
            shape = self.n_rows, self.widths[name]
            return np.memmap(self.folder / name, np.float64, "r", shape=shape)

        rest = [mapped(name) for name in ("output", "unit", "y", "weights")]
        output, unit, y, weights = (None if a is None else np.array(a) for a in rest)
        latent = Latent(mapped("features"), output, unit, self.errors)
        return latent, y, weights[:, 0]
