"""Training structures, found again by the index that the model keeps."""

import dataclasses

import numpy as np

#: Structures whose formulas are compared.
_N_COMPARED = 40


@dataclasses.dataclass(frozen=True)
class Training:
    """Training structures in the order of the fit.

    Parameters
    ----------
    items : list
        Structures, or paths or texts of them.
    names : list of str
        Where each is from, such as "row 7 of train.csv".
    y : ndarray of shape (n,) or None
        Targets on the scale of the fit, where they are known.
    """

    items: list
    names: list
    y: np.ndarray | None = None

    def mismatch(self, record):
        """Return why these are not the structures of a `TrainingRecord`, or ""."""
        if len(self.items) != record.n_seen:
            return (
                f"it has {len(self.items)} usable structures and the model was fitted "
                f"to {record.n_seen}"
            )
        if self.y is not None:
            same = np.isclose(self.y[record.index], record.y[:, 0], rtol=1e-6)
            if not same.all():
                row = int(record.index[np.argmin(same)])
                return (
                    f"the target of {self.names[row]} is {self.y[row]:g}, and that of "
                    f"the fit was {record.y[np.argmin(same), 0]:g}"
                )
        return self._other_formula(record)

    def _other_formula(self, record):
        from .._structures.read import as_structure

        if record.formulas is None:
            return ""
        n = len(record.index)
        for i in np.unique(np.linspace(0, n - 1, min(n, _N_COMPARED)).astype(int)):
            row = int(record.index[i])
            try:
                formula = as_structure(self.items[row]).composition.reduced_formula
            except Exception:  # a model that left it out has no such index
                formula = "no readable structure"
            if formula != record.formulas[i]:
                return (
                    f"{self.names[row]} is {formula}, and that of the fit was "
                    f"{record.formulas[i]}"
                )
        return ""

    def part(self, rows):
        """Return some of the structures."""
        y = None if self.y is None else self.y[rows]
        items, names = ([part[i] for i in rows] for part in (self.items, self.names))
        return Training(items, names, y)
