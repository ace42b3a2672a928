"""Position of each element in the periodic table."""

import re

#: By atomic number, from hydrogen on.
SYMBOLS = re.findall(
    "[A-Z][a-z]?",
    "HHeLiBeBCNOFNeNaMgAlSiPSClArKCaScTiVCrMnFeCoNiCuZnGaGeAsSeBrKrRbSrYZrNbMoTcRuRh"
    "PdAgCdInSnSbTeIXeCsBaLaCePrNdPmSmEuGdTbDyHoErTmYbLuHfTaWReOsIrPtAuHgTlPbBiPoAtRn"
    "FrRaAcThPaUNpPuAmCmBkCfEsFmMdNoLrRfDbSgBhHsMtDsRgCnNhFlMcLvTsOg",
)
_NOBLE_GASES = (0, 2, 10, 18, 36, 54, 86, 118)
_FURTHER_DOWN = 2.4


def _positions():
    """Return row and column by symbol, lanthanides and actinides below the rest."""
    positions = {"H": (1, 1), "He": (1, 18)}
    for period in range(2, 8):
        before, last = _NOBLE_GASES[period - 1 : period + 1]
        for Z in range(before + 1, last + 1):
            row, column = period, Z - before
            if column > 2 and last - before == 32:
                # The fifteen lanthanides or actinides.
                row += _FURTHER_DOWN if column <= 17 else 0
                column -= 0 if column <= 17 else 14
            elif column > 2:
                column = 18 - (last - Z)
            positions[SYMBOLS[Z - 1]] = (row, column)
    return positions


#: Symbol -> (row, column), both from 1.
POSITIONS = _positions()
