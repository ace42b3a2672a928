"""Read CIF text, and check what is read against what else the file states."""

import math
import re

import numpy as np

from .parsing import check_labels, leading_symbol, reading, recorded_warnings
from .plain_cif import plain_structure

#: Greatest difference of cell and stated volume, as a share.
_VOLUME_TOLERANCE = 0.02
#: Greatest number of atoms by which sites and formula may differ, and the same as a
#: share of them where occupancies or formula are fractions, which may be rounded.
_COUNT_TOLERANCE, _COUNT_SHARE = 0.1, 0.02
#: Sums of rounded occupancies exceed 1 by so much.
_OCCUPANCY_TOLERANCE = 1.01

#: Warnings of pymatgen's parser that do not concern the result.
_SILENT = re.compile(
    "rounded to ideal values|1-line symmetry op P1|relative stoichiometry check"
)
#: Warnings about a choice that CIF leaves to the reader, noted where the result stands.
_NOTED = re.compile(
    r"Spacegroup from .* used|Pauling file corrections|sum to > 1|Keys changed"
)


def read_cif(text):
    """Read the structures of a CIF text.

    Returns
    -------
    list of (str, Structure or ValueError)
        Name of each data block with atoms, and its structure or the reason why it
        cannot be read.
    """
    blocks = re.split(r"^\s*data_", text, flags=re.MULTILINE)[1:]
    blocks = [block for block in blocks if "_atom_site_" in block]
    if not blocks:
        raise ValueError(
            "the text cannot be read as CIF: it has no data block (a line that starts "
            "with data_) with atoms (_atom_site_ entries)"
        )
    found = []
    for block in blocks:
        name = (block.split(maxsplit=1) or [""])[0]
        try:
            found.append((name, _read_block(f"data_{block}")))
        except ValueError as error:
            found.append((name, error))
    return found


def _read_block(text):
    from pymatgen.io.cif import CifParser

    with recorded_warnings() as warned, reading("the text cannot be read as CIF"):
        parser = CifParser.from_str(
            text, occupancy_tolerance=_OCCUPANCY_TOLERANCE, check_cif=False
        )
        (block,) = parser.as_dict().values()
    _check_loop(block)
    with recorded_warnings() as more, reading("the text cannot be read as CIF"):
        is_magnetic = any(parser.feature_flags.values())
        structure = None if is_magnetic else plain_structure(block)
        if structure is None:
            (structure,) = parser.parse_structures(primitive=False, on_error="raise")
    doubts = dict.fromkeys([*warned, *more, *parser.warnings])
    doubts = [text for text in doubts if not _SILENT.search(text)]
    _check_dropped(doubts)
    _check_volume(structure, block)
    confirmed = _check_formula(structure, block)
    if not confirmed:
        _check_symbols(block)
        _check_doubts(doubts, block)
    if doubts:
        structure.properties["reading_notes"] = doubts
    return structure


def _check_loop(block):
    """Check the loop of the sites; an occupancy "." or "?" becomes the default, 1."""
    columns = {
        key: block[key]
        for key in ("_atom_site_label", *(f"_atom_site_fract_{x}" for x in "xyz"))
        if key in block
    }
    for key, column in columns.items():
        if not isinstance(column, list):  # pymatgen would take its characters for sites
            raise ValueError(f"its {key} is not in a loop_")
    seen = set()
    for site in zip(*columns.values(), strict=True):
        if site in seen:
            raise ValueError(
                f"the line of site {' '.join(site)} is repeated: remove one of the two"
            )
        seen.add(site)
    occupancies = block.get("_atom_site_occupancy", [])
    for i, value in enumerate(occupancies):
        if value in (".", "?"):
            occupancies[i] = "1"
        elif _number(value) is None:  # pymatgen would take it for 1
            raise ValueError(f"the occupancy of site {i} is {value!r}, not a number")


def _check_dropped(doubts):
    """Raise ValueError if the parser left sites out whose symbol it has no element for.

    These are hydroxyl and water, OH and OH2.
    """
    dropped = [text.split()[0] for text in doubts if text.endswith("parsed as ")]
    if dropped:
        raise ValueError(
            f"its sites {', '.join(dropped)} are groups of atoms, expected chemical "
            "elements. Replace each by a site for O and sites for its hydrogens"
        )


def _check_volume(structure, block):
    stated = _number(block.get("_cell_volume"))
    volume = abs(np.linalg.det(structure.lattice.matrix))
    if stated and abs(volume / stated - 1) > _VOLUME_TOLERANCE:
        raise ValueError(
            f"its cell lengths and angles give {volume:.2f} cubic angstrom "
            f"and it states _cell_volume {stated:.2f}: one of them is wrong"
        )


def _check_formula(structure, block):
    """Check the sites against formula and Z; return whether the file has a formula.

    The formula is of one unit, of which the cell has Z, or, as pymatgen writes it, of
    the whole cell.
    """
    formula = _formula(block.get("_chemical_formula_sum"))
    if formula is None:
        return False
    sites = _amounts(structure.composition)
    stated = _number(block.get("_cell_formula_units_Z"))
    ratio = sum(sites.values()) / sum(formula.values())
    units = [stated or ratio]
    if stated and all(x != round(x) or x % stated == 0 for x in formula.values()):
        units.append(1)  # the formula may be that of the cell
    if any(_agree(sites, formula, n) for n in units):
        return True
    text = " ".join(f"{name}{amount:g}" for name, amount in formula.items())
    got = structure.composition.formula
    if _agree(sites, formula, ratio):
        raise ValueError(
            f"its sites are {got}, {ratio:g} times its formula {text}, and it states "
            f"Z = {stated:g}: sites or symmetry operations are missing or too many, or "
            "Z is wrong"
        )
    rest = [
        {name: n for name, n in amounts.items() if name != "H"}
        for amounts in (sites, formula)
    ]
    without = rest[1] and sum(rest[0].values()) / sum(rest[1].values())
    missing = without and without * formula.get("H", 0) - sites.get("H", 0)
    if missing and missing > 0 and _agree(*rest, without):
        raise ValueError(
            f"its formula has {missing:g} H that are not among its sites ({got} where "
            f"the formula is {text}). Add the sites of the hydrogens"
        )
    raise ValueError(
        f"its sites are {got}, which is not a multiple of its formula {text}: atoms or "
        "symmetry operations are missing or too many, or of another element"
    )


def _agree(sites, formula, n):
    """Return whether the sites are n times the formula, up to rounding."""
    amounts = [*sites.values(), *formula.values()]
    share = 0 if all(x == round(x) for x in amounts) else _COUNT_SHARE
    return all(
        abs(sites.get(name, 0) - n * formula.get(name, 0))
        <= max(_COUNT_TOLERANCE, share * n * formula.get(name, 0))
        for name in sites.keys() | formula.keys()
    )


def _formula(text):
    """Return the amounts of a formula, or None if there is none that can be read."""
    from pymatgen.core import Composition, Element

    try:
        amounts = _amounts(Composition(text))
    except Exception:  # of any class
        return None
    return amounts if amounts and all(map(Element.is_valid_symbol, amounts)) else None


def _amounts(composition):
    """Return the amount of each element by its symbol; of hydrogen with isotopes."""
    amounts = {}
    for name, amount in composition.get_el_amt_dict().items():
        name = "H" if name in ("D", "T") else name
        amounts[name] = amounts.get(name, 0) + amount
    return amounts


def _check_symbols(block):
    symbols = block.get("_atom_site_type_symbol")
    if isinstance(symbols, list):
        check_labels(
            block["_atom_site_label"], [{leading_symbol(name)} for name in symbols]
        )


def _check_doubts(doubts, block):
    """Raise ValueError for what the parser guessed and no formula confirms."""
    stated = any(
        ("symmetry" in key or "space_group" in key) and value not in ("?", ".", "")
        for key, value in block.items()
    )
    for text in doubts:
        if _NOTED.search(text) or ("Defaulting to P1" in text and not stated):
            continue
        raise ValueError(
            f"it is in doubt ({text}) and has no _chemical_formula_sum that confirms "
            "its sites. Correct the file, or add its formula"
        )


def _number(value):
    """Return a number of a CIF, which may have an uncertainty as 5.43(2), or None."""
    try:
        number = float(re.sub(r"\(.*", "", value))
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
