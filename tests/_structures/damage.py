"""Valid texts of structures, and ways to damage them."""

import json
import string
import warnings

import numpy as np
from pymatgen.core import Lattice, Molecule, Structure
from pymatgen.io.cif import CifWriter

ROCK_SALT = [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]


def rock_salt():
    """Return the conventional cell of NaCl."""
    sites = np.array(ROCK_SALT)
    places = np.concatenate([sites, np.add(sites, [0.5, 0, 0])]) % 1
    return Structure(Lattice.cubic(5.64), ["Na"] * 4 + ["Cl"] * 4, places)


def perovskite():
    """Return a cell of SrTiO3."""
    places = [[0, 0, 0], [0.5] * 3, [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    return Structure(Lattice.cubic(3.9), ["Sr", "Ti", "O", "O", "O"], places)


def triclinic():
    """Return a cell of low symmetry."""
    cell = Lattice.from_parameters(6.1, 7.3, 8.2, 93, 101, 97)
    places = [[0.1, 0.2, 0.3], [0.6, 0.7, 0.4], [0.3, 0.8, 0.9], [0.85, 0.35, 0.75]]
    return Structure(cell, ["Ca", "Si", "O", "N"], places)


def ethanol():
    """Return a molecule."""
    places = [
        [1.17, -0.40, 0], [-0.05, 0.56, 0], [-1.19, -0.29, 0], [-1.95, 0.30, 0],
        [2.09, 0.19, 0], [1.16, -1.04, 0.89], [1.16, -1.04, -0.89],
        [-0.03, 1.20, 0.88], [-0.03, 1.20, -0.88],
    ]  # fmt: skip
    return Molecule("CCOHHHHHH", places)


def cif_without_formula(structure):
    """Return a CIF that does not state what its sites add up to."""
    gone = ("_chemical_formula", "_cell_formula", "_cell_volume")
    lines = structure.to(fmt="cif").splitlines()
    return "\n".join(line for line in lines if not line.startswith(gone)) + "\n"


def plain_poscar(structure):
    """Return a POSCAR without symbols at the ends of its lines."""
    lines = structure.to(fmt="poscar").splitlines()
    head, places = lines[:8], lines[8:]
    return "\n".join(["crystal", *head[1:], *(p.rsplit(None, 1)[0] for p in places)])


def extended_xyz(structure):
    """Return an extended XYZ as ASE writes it."""
    lattice = " ".join(f"{x:.8f}" for x in structure.lattice.matrix.ravel())
    comment = f'Lattice="{lattice}" Properties=species:S:1:pos:R:3 pbc="T T T"'
    rows = [
        f"{site.species_string:2} " + " ".join(f"{x:16.8f}" for x in site.coords)
        for site in structure
    ]
    return "\n".join([str(len(structure)), comment, *rows]) + "\n"


def symmetric_cif(structure):
    """Return a CIF with symmetry operations."""
    with warnings.catch_warnings():  # of spglib for its use by pymatgen
        warnings.simplefilter("ignore", DeprecationWarning)
        return str(CifWriter(structure, symprec=0.01))


#: Writers of each format, and the molecule or crystals that they write.
WRITERS = {
    "cif": lambda s: s.to(fmt="cif"),
    "symmetric cif": symmetric_cif,
    "cif without formula": cif_without_formula,
    "poscar": lambda s: s.to(fmt="poscar"),
    "poscar without labels": plain_poscar,
    "extended xyz": extended_xyz,
    "xyz": lambda s: s.to(fmt="xyz"),
    "json": lambda s: json.dumps(s.as_dict(), indent=1),
    "one-line json": lambda s: s.to_json(),
}


def sources(kind):
    """Return the structures that are written in a format."""
    return [ethanol()] if kind == "xyz" else [rock_salt(), perovskite(), triclinic()]


def cut(text, rng):
    """Cut a text anywhere behind its first line."""
    return text[: rng.integers(text.find("\n") + 1, len(text) - 1)]


def change_byte(text, rng):
    """Replace a character by a printable one."""
    i = rng.integers(len(text))
    return text[:i] + rng.choice(list(string.printable[:94])) + text[i + 1 :]


def swap_lines(text, rng):
    """Swap two lines, or the two halves of a text of one line."""
    lines = text.split("\n")
    if len(lines) < 3:
        return text[len(text) // 2 :] + text[: len(text) // 2]
    i, j = rng.choice(len(lines), 2, replace=False)
    lines[i], lines[j] = lines[j], lines[i]
    return "\n".join(lines)


def repeat_site(text, rng):
    """Repeat the line (or the dictionary) of a site, behind it."""
    if text.startswith("{"):
        content = json.loads(text)
        i = rng.integers(len(content["sites"]))
        content["sites"].insert(i, content["sites"][i])
        return json.dumps(content)
    lines = text.rstrip("\n").split("\n")
    i = len(lines) - 1 - rng.integers(3)
    return "\n".join([*lines[: i + 1], lines[i], *lines[i + 1 :]]) + "\n"


DAMAGES = [cut, change_byte, swap_lines, repeat_site]
