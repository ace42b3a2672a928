"""Test that damaged texts are refused, or read as the formula that they had."""

import numpy as np
import pytest
from _structures.damage import DAMAGES, WRITERS, change_byte, cut, sources, swap_lines

from sklearn_unlocknn._structures.read import StructureError, read_structures

#: Texts that state something once, and the damage that nothing in them shows: without
#: a formula a CIF can lose sites at its end or to another loop; a symbol that stands
#: once can become another one.
UNDETECTABLE = {
    "cif without formula": {cut, swap_lines},
    "poscar without labels": {change_byte},
    "extended xyz": {change_byte},
    "xyz": {change_byte},
}
#: Texts of each format and damage: 9 x 4 x 9 in all.
N = 9


def test_number_of_variants():
    assert len(WRITERS) * len(DAMAGES) * N >= 300


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_text(kind, damage):
    rng = np.random.default_rng(0)
    structures = sources(kind)
    for i in range(N):
        whole = structures[i % len(structures)]
        found = read_structures(damage(WRITERS[kind](whole), rng))
        assert found
        for _, structure in found:
            if isinstance(structure, StructureError):
                assert structure.reason
            elif damage not in UNDETECTABLE.get(kind, ()):
                assert structure.composition == whole.composition


@pytest.mark.parametrize("kind", WRITERS)
def test_a_changed_symbol_is_detected_where_it_stands_twice(kind):
    whole = sources(kind)[0]
    old, new = ("C", "Si") if kind == "xyz" else ("Na", "Rb")
    text = WRITERS[kind](whole)
    lines = text.replace("{", "\n{").splitlines()
    where = [i for i, line in enumerate(lines) if old in line.split()]
    where += [i for i, line in enumerate(lines) if f'"element": "{old}"' in line]
    where += [i for i, line in enumerate(lines) if f'"element":"{old}"' in line]
    lines[where[0]] = lines[where[0]].replace(old, new, 1)
    ((_, structure),) = read_structures("\n".join(lines) + "\n")
    if change_byte in UNDETECTABLE.get(kind, ()):
        assert structure.composition != whole.composition
    else:
        assert isinstance(structure, StructureError)
        assert new in structure.reason or "wrong" in structure.reason
