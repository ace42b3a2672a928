"""Fit and predict samples from generators, more than memory holds."""

import copy
import dataclasses
import tempfile
from pathlib import Path

import numpy as np
from sklearn.utils.validation import check_is_fitted

from .._features.encoder import trained_in_fit
from .._gp.samples import Targets


class StreamMixin:
    """Fit to and predict samples that come in batches."""

    def fit_stream(self, pieces):
        """Fit to samples that come in batches: the model of `fit` on all of them.

        Batches are read once. Their features are written to a temporary folder (8
        bytes a number, in the folder of `tempfile`, removed at the end) and the head
        is fitted to the file: memory holds one batch, and of all samples only a few
        numbers: target, weight, known noise, number of atoms, and with
        ``mean="network"`` the network's output.

        Parameters
        ----------
        pieces : iterable of tuple
            Of ``(X, y)``, ``(X, y, sample_weight)`` or ``(X, y, sample_weight,
            y_std)``, each as `fit` takes it: a generator, for instance. The first
            should have more than a few samples.

        Returns
        -------
        self : object
            Fitted.

        Raises
        ------
        ValueError
            As `fit`; also for no batches, batches that differ in their columns, and a
            network that would be trained in `fit`, for which it needs all samples.

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
        # Windows removes no file that is mapped: no reason to hide an error
        with (
            self._refitting(),
            tempfile.TemporaryDirectory(
                prefix="sklearn_unlocknn-", ignore_cleanup_errors=True
            ) as folder,
        ):
            self._check_parameters()
            self._check_streamable()
            self._encoder = self._encoder_type()
            spool = _Spool(Path(folder) / "features")
            for piece in pieces:
                spool.append(*self._encode_piece(piece, spool.n))
            if not spool.n:
                raise ValueError(
                    "Got no batches, expected at least one (X, y). A generator can be "
                    "read only once: make a new one for each fit."
                )
            self._fit_head(*spool.read())
        return self

    def predict_stream(self, stream):
        """Predict samples that come in batches, in the memory of one batch.

        Features are not kept, and ``n_jobs`` processes share a batch.

        Parameters
        ----------
        stream : iterable
            Of batches of samples that `predict` takes. `MEGNetProbRegressor` takes
            structures one by one instead, and cuts them into batches.

        Returns
        -------
        predictions : generator of tuple
            Of each batch in turn: mean and standard deviation, ndarrays of shape
            (n_batch,) or (n_batch, n_outputs), in target units, observation noise
            included.

        Raises
        ------
        ValueError
            As `predict`; a structure is named by its number in the stream.
        """
        check_is_fitted(self)
        return self._predict_chunks(stream)

    def _predict_chunks(self, stream):
        start = 0
        for X in self._encoder.chunks(self, stream):
            encoded = self._encoder.encode(self, X, keep=False, start=start)
            start += encoded.n
            yield self._head.mean_and_std(encoded)

    def _check_streamable(self):
        trained = trained_in_fit(getattr(self, "network", None))
        if trained is not None:
            raise ValueError(
                f"Got `network`={type(trained).__name__}(), which is trained in fit "
                "and needs all samples. Train it first and pass the trained network, "
                "or use fit."
            )
        if getattr(self, "fine_tuning", None) is not None:
            raise ValueError(
                f"Got fine_tuning={self.fine_tuning}, for which the network needs all "
                "samples again and again. Use fit, or fine_tuning=None."
            )

    def _encode_piece(self, piece, start):
        """Return the encoded samples and the `Targets` of a batch."""
        if not isinstance(piece, tuple | list) or len(piece) not in (2, 3, 4):
            size = f" of {len(piece)}" if isinstance(piece, tuple | list) else ""
            raise ValueError(
                f"Got a batch that is a {type(piece).__name__}{size}, expected tuples "
                "(X, y), (X, y, sample_weight) or (X, y, sample_weight, y_std)."
            )
        X, y, *rest = piece
        if start:
            X, y = self._encoder.check_added(X, y, start)
            encoded = self._encoder.encode(self, X, keep=False, start=start)
        else:
            encoded, y = self._encoder.fit(self, X, y)
        sample_weight, y_std = (*rest, None, None)[:2]
        return encoded, Targets.checked(encoded, y, sample_weight, y_std)


class _Spool:
    """Encoded samples that come in batches: features in a file, the rest in memory.

    Parameters
    ----------
    path : Path
        The file.
    """

    def __init__(self, path):
        self.path, self.n, self.errors = path, 0, {}
        self.batches, self.widths = [], None

    def append(self, encoded, targets):
        """Write the features of a batch behind those before it, and keep the rest."""
        arrays = {
            "features": encoded.features, "offset": encoded.offset,
            "scale": encoded.scale, "y": targets.columns,
        }  # fmt: skip
        widths = {k: a.shape[1] for k, a in arrays.items() if a is not None}
        widths["y_std"] = int(targets.std is not None)
        self.widths = self.widths or widths
        if widths != self.widths:
            raise ValueError(
                f"Got a batch with columns {widths} from sample {self.n} on, expected "
                f"{self.widths} as before it."
            )
        with open(self.path, "ab") as file:
            file.write(np.ascontiguousarray(encoded.features, dtype=np.float64).data)
        for i, error in encoded.errors.items():
            self.errors[self.n + i] = error.at(self.n + i)
        index = self.n + encoded.index
        rest = dataclasses.replace(encoded, features=None, inputs=None, index=index)
        own = copy.deepcopy(targets)  # a view would keep the user's batch in memory
        self.batches.append((rest, own))
        self.n += encoded.n

    def read(self):
        """Return the encoded samples, their features as a memmap, and the targets."""
        batches, targets = zip(*self.batches, strict=True)

        def joined(parts, name):
            arrays = [getattr(part, name) for part in parts]
            return None if arrays[0] is None else np.concatenate(arrays, dtype=float)

        index = np.concatenate([batch.index for batch in batches])
        shape = len(index), self.widths["features"]
        if len(index):
            features = np.memmap(self.path, np.float64, "r", shape=shape)
        else:  # an empty file cannot be mapped
            features = np.empty(shape)
        # the first batch was fitted, so it has the names of columns
        encoded = dataclasses.replace(
            batches[0], features=features, offset=joined(batches, "offset"),
            scale=joined(batches, "scale"), index=index, n=self.n, errors=self.errors,
            notes={},
        )  # fmt: skip
        y = joined(targets, "columns").reshape(self.n, *targets[0].y.shape[1:])
        return encoded, Targets(y, joined(targets, "weights"), joined(targets, "std"))
