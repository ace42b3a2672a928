"""Test that structures of every kind are read right, or refused with a reason."""

import gzip
import io
import json
import os
import pickle
import sys

import numpy as np
import pandas as pd
import pytest
from _structures.damage import (
    WRITERS,
    ethanol,
    extended_xyz,
    plain_poscar,
    rock_salt,
    sources,
    triclinic,
)
from numpy.testing import assert_allclose
from pymatgen.core import Molecule, Structure

from sklearn_unlocknn._structures.content import content_of
from sklearn_unlocknn._structures.read import (
    StructureError,
    as_items,
    as_structure,
    describe,
    read_structures,
    read_upload,
)


def refused(item, match):
    """Check that an item is refused with a reason."""
    with pytest.raises((ValueError, OSError), match=match):
        as_structure(item)


def cif(sites, *, head="", columns=("type_symbol", "label"), cell=5.0):
    """Write a CIF by hand; each site has the columns and three coordinates."""
    names = [*columns, "fract_x", "fract_y", "fract_z"]
    lines = ["data_hand", head]
    lines += [f"_cell_length_{x} {cell}" for x in "abc"]
    lines += [f"_cell_angle_{x} 90" for x in ("alpha", "beta", "gamma")]
    lines += ["loop_", *(f"_atom_site_{name}" for name in names), *sites]
    return "\n".join([line for line in lines if line]) + "\n"


# --- read ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", WRITERS)
def test_every_writer_is_read(kind, tmp_path):
    endings = {"poscar": "vasp", "xyz": "xyz", "json": "json", "cif": "cif"}
    (ending,) = {end for key, end in endings.items() if key in kind}
    for whole in sources(kind):
        text = WRITERS[kind](whole)
        (tmp_path / f"a.{ending}").write_text(text)
        with gzip.open(tmp_path / f"a.{ending}.gz", "wt") as file:
            file.write(text)
        for item in (text, tmp_path / f"a.{ending}", str(tmp_path / f"a.{ending}.gz")):
            read = as_structure(item)
            assert type(read) is type(whole)
            assert read.composition == whole.composition
            if isinstance(whole, Structure):
                assert_allclose(read.volume, whole.volume, rtol=1e-5)
            assert "reading_notes" not in read.properties


@pytest.mark.parametrize("end", ["\r", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_ends_and_byte_order_marks(end, mark, tmp_path):
    whole = triclinic()
    for kind in ("cif", "poscar", "extended xyz", "json"):
        text = mark + WRITERS[kind](whole).replace("\n", end)
        assert as_structure(text).composition == whole.composition
    for encoding in ("utf-8", "utf-16"):
        path = tmp_path / f"{encoding}.cif"
        path.write_bytes((mark + WRITERS["cif"](whole)).encode(encoding))
        assert as_structure(path).composition == whole.composition


def test_dictionaries_and_records():
    whole = rock_salt()
    content = whole.as_dict()
    arrays = {
        **content,
        "lattice": {"matrix": np.array(content["lattice"]["matrix"]), "pbc": None},
        "sites": np.array(
            [
                {**site, "species": np.array(site["species"], object), "magmom": None}
                for site in content["sites"]
            ],
            object,
        ),
        "properties": None,
    }
    table = pd.DataFrame({"structure": [content]}).to_csv(index=False)
    cell = pd.read_csv(io.StringIO(table))["structure"][0]
    assert cell.startswith("{'")
    for item in (
        content, arrays, cell, json.dumps(content), json.dumps([content]),
        {"material_id": "mp-1", "structure": content},
        {"material_id": "mp-1", "structure": whole},
        {"material_id": "mp-1", "structure": whole.to(fmt="cif")},
        json.dumps({"material_id": "mp-1", "structure": content}),
    ):  # fmt: skip
        assert as_structure(item) == whole
    molecule = ethanol()
    assert as_structure(molecule.as_dict()) == molecule
    refused({"material_id": "mp-1"}, "sites")
    refused({**content, "sites": []}, "dictionary cannot be read|no atoms")


def test_extended_xyz():
    whole = triclinic()
    text = extended_xyz(whole)
    assert isinstance(as_structure(text), Structure)
    # columns in another order, numbers for symbols, no periodicity
    lines = text.splitlines()
    lines[1] = lines[1].replace("species:S:1:pos:R:3", "pos:R:3:Z:I:1:forces:R:3")
    lines[2:] = [
        " ".join([*line.split()[1:], str(site.specie.Z), "0 0 0"])
        for line, site in zip(lines[2:], whole, strict=True)
    ]
    assert as_structure("\n".join(lines)).composition == whole.composition
    free = as_structure(text.replace("T T T", "F F F"))
    assert isinstance(free, Molecule)
    assert as_structure(text.replace("T T T", "T F T")).pbc == (True, False, True)
    refused(text.replace('Lattice="', 'Lattide="'), "periodic .* without a Lattice")
    refused(text.replace('Lattice="', 'Lattice="1 '), "expected 9 numbers")
    refused(text + text, "holds 2 structures")


def test_occupancy_of_a_dot_is_one():
    columns = ("type_symbol", "label", "occupancy")
    sites = ["Na Na1 . 0 0 0", "Cl Cl1 ? 0.5 0.5 0.5"]
    assert as_structure(cif(sites, columns=columns)).composition.formula == "Na1 Cl1"
    refused(cif(["Na Na1 1.x 0 0 0"], columns=columns), "occupancy of site 0 is '1.x'")
    refused(
        cif(["Na Na1 0.7 0 0 0", "K K1 0.6 0 0 0"], columns=columns),
        "Occupancy 1.29.* exceeded tolerance",
    )


# --- refused ---------------------------------------------------------------------


def test_poscar_without_symbols(tmp_path):
    lines = plain_poscar(rock_salt()).splitlines()
    text = "\n".join(lines[:5] + lines[6:])
    (tmp_path / "POSCAR").write_text(text)
    for item in (text, tmp_path / "POSCAR"):
        refused(item, "no chemical symbols.*line above the numbers.*POTCAR")
    before = content_of(tmp_path / "POSCAR")
    for elements in (["Na", "Cl"], ["K", "Br"]):
        potcar = [f"   VRHFIN ={name}: s1p0\n" for name in elements]
        (tmp_path / "POTCAR").write_text("".join(potcar))
        read = as_structure(tmp_path / "POSCAR")
        assert read.composition.formula == " ".join(f"{name}4" for name in elements)
        assert content_of(tmp_path / "POSCAR") != before
        before = content_of(tmp_path / "POSCAR")
    (tmp_path / "POTCAR").write_text(potcar[0])
    refused(tmp_path / "POSCAR", "POTCAR beside it has 1 elements, K, .* 2 numbers")
    # symbols of its own, in the lines of positions too, come first
    (tmp_path / "POSCAR").write_text(rock_salt().to(fmt="poscar"))
    assert as_structure(tmp_path / "POSCAR").composition.formula == "Na4 Cl4"
    swapped = rock_salt().to(fmt="poscar").replace("Na Cl\n", "Cl Na\n")
    refused(swapped, "site 0 is Cl by the numbers of atoms and Na at the end")


@pytest.mark.parametrize("label", ["OH", "OH2", "Wat", "NO3"])
@pytest.mark.parametrize("formula", ["", "_chemical_formula_sum 'Na1 O1 H1'"])
def test_groups_of_atoms(label, formula):
    text = cif(["Na1 0 0 0", f"{label} 0.5 0.5 0.5"], head=formula, columns=["label"])
    refused(text, f"{label}|H that are not among its sites|not a multiple of its form")


def test_formula_against_sites():
    sites = ["Na Na1 0 0 0", "O O1 0.5 0.5 0.5"]
    for head, match in [
        ("_chemical_formula_sum 'H Na O'", "formula has 1 H .* Add the sites"),
        ("_chemical_formula_sum 'Na2 O'", "Na1 O1, which is not a multiple of .* Na2"),
        ("_chemical_formula_sum 'Na O'\n_cell_formula_units_Z 4", "states Z = 4"),
        ("_cell_volume 250", "give 125.00 cubic angstrom .* 250.00"),
        ("_space_group_name_H-M_alt 'P x y'", "in doubt .*Defaulting to P1"),
    ]:
        refused(cif(sites, head=head), match)
    for head in ("", "_chemical_formula_sum 'Na O'", "_chemical_formula_sum ?"):
        assert len(as_structure(cif(sites, head=head))) == 2


def test_guess_of_the_reader():
    sites = ["NA1 0 0 0", "CL1 0.5 0.5 0.5"]
    refused(cif(sites, columns=["label"]), "in doubt .NA1 parsed as Na")
    head = "_chemical_formula_sum 'Na Cl'"
    read = as_structure(cif(sites, columns=["label"], head=head))
    notes = read.properties["reading_notes"]
    assert {"NA1 parsed as Na", "CL1 parsed as Cl"} <= set(notes)


def test_two_structures_in_a_file(tmp_path):
    path = tmp_path / "two.cif"
    path.write_text(rock_salt().to(fmt="cif") + triclinic().to(fmt="cif"))
    refused(path, r"holds 2 structures \(NaCl, CaSiNO\).* file of its own")
    (a, first), (b, _) = read_structures(path)
    assert (a, b) == ("NaCl", "CaSiNO")
    assert first.composition.reduced_formula == "NaCl"
    path.write_text(path.read_text() + cif(["Na Na1 0 0 0", "Cl Cl1 0 0 0.01"]))
    names = [name for name, _ in read_structures(path)]
    assert names == ["NaCl", "CaSiNO", "hand"]
    error = read_structures(path)[2][1]
    assert isinstance(error, StructureError)
    assert "0.050 angstrom apart" in str(error)
    ((name, missing),) = read_structures(tmp_path / "none.cif")
    assert name == "none.cif"
    assert "there is no file" in missing.reason
    frames = read_structures(ethanol().to(fmt="xyz") + "\n" + extended_xyz(triclinic()))
    assert [type(frame) for _, frame in frames] == [Molecule, Structure]


def test_names_that_are_not_utf_8(tmp_path):
    name = os.path.join(os.fsencode(tmp_path), b"\xff\xfe.cif")
    path = os.fsdecode(name)
    try:
        with open(name, "w") as file:
            file.write("data_x\n_atom_site_label Na\n")
    except OSError:
        pytest.skip("the file system takes UTF-8 alone")
    assert content_of(path)
    describe(path).encode()
    refused(path, "not in a loop_")
    with open(name, "w") as file:
        file.write(rock_salt().to(fmt="cif"))
    assert as_structure(path).composition.formula == "Na4 Cl4"
    assert describe(path) == r"NaCl, \udcff\udcfe.cif"
    assert content_of("\udc00 lone surrogate\n")


@pytest.mark.parametrize(
    "item",
    [
        "", "\n", "{", "[1, 2", "{'a': array(1)}", "x" * 5000, "{" * 5000, "a\0b",
        b"bytes", 3, None, {}, {"sites": 3}, {1: 2, "a": object()}, "[]", "3\n",
        "1\n\n", {"@class": "Structure", "lattice": {}, "sites": [None]}, float("nan"),
    ],
)  # fmt: skip
def test_anything_else_is_refused_and_has_a_key(item):
    with pytest.raises(Exception, match=r"\w"):
        as_structure(item)
    assert isinstance(content_of(item), bytes)
    assert describe(item)


# --- containers and libraries ------------------------------------------------------


def test_polars_frame():
    pl = pytest.importorskip("polars")
    whole = [rock_salt(), triclinic()]
    texts = [s.to(fmt="cif") for s in whole]
    dicts = [{"lattice": {"matrix": s.lattice.matrix.tolist()}, "sites": [
        {"species": [{"element": str(site.specie), "occu": 1.0}],
         "abc": site.frac_coords.tolist()} for site in s]} for s in whole]  # fmt: skip
    for values in (texts, dicts):
        frame = pl.DataFrame({"structure": values})
        for X in (frame, frame["structure"]):
            read = [as_structure(item) for item in as_items(X)]
            assert [s.composition for s in read] == [s.composition for s in whole]
    with pytest.raises(ValueError, match=r"2 columns \['a', 'b'\]"):
        as_items(pl.DataFrame({"a": texts, "b": texts}))


def test_ase_slab_without_a_third_vector():
    ase = pytest.importorskip("ase")
    slab = ase.Atoms("Cu", [[0, 0, 0]], cell=[2.6, 2.6, 0], pbc=[True, True, False])
    refused(slab, r"lattice vector 3 is zero.*atoms.center\(vacuum=10, axis=2\)")
    slab.center(vacuum=10, axis=2)
    assert as_structure(slab).pbc == (True, True, False)
    assert isinstance(
        as_structure(ase.Atoms("CO", [[0, 0, 0], [0, 0, 1.13]])), Molecule
    )


def test_error_pickles():
    error = pickle.loads(pickle.dumps(StructureError(3, "NaCl", "no bonds")))
    assert str(error.at(4)) == "Structure 4 (NaCl): no bonds"


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: [[x]]], ids=["dict", "list"])
def test_properties_of_a_site_import_nothing(wrap):
    """pymatgen's own from_dict imports the module that a property names."""
    content = rock_salt().as_dict()
    named = wrap({"@module": "this", "@class": "d"})
    content["sites"][0]["properties"] = {"magmom": 1.0, "named": named}
    structure = as_structure(json.dumps(content))
    assert "this" not in sys.modules
    assert structure.site_properties["magmom"][0] == 1.0
    assert "named" not in structure.site_properties


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.cif", lambda s: s.to(fmt="cif")),
        ("POSCAR_2", lambda s: s.to(fmt="poscar")),
        ("a.json", lambda s: s.to_json()),
        ("a.txt", lambda s: s.to(fmt="cif")),
        ("", lambda s: s.to(fmt="poscar")),
    ],
)
def test_upload_is_read_by_its_name_or_content(name, write):
    ((_, structure),) = read_upload(name, write(rock_salt()).encode())
    assert structure.composition.reduced_formula == "NaCl"
    ((_, error),) = read_upload(name, b"\x00nothing\xff")
    assert isinstance(error, StructureError)
