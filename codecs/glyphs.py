"""A small letter set as bitmaps, five by seven with two rows below the line, so that text needs no font file."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["GLYPH_HEIGHT", "GLYPH_WIDTH", "text_mask"]

GLYPH_WIDTH = 5
GLYPH_HEIGHT = 9

# Rows from the top, five bits each, highest bit left, two hexadecimal digits a row.
_GLYPHS = {
    "A": "0e11111f1111110000", "B": "1e11111e11111e0000", "C": "0e11101010110e0000", "D": "1e11111111111e0000",
    "E": "1f10101e10101f0000", "F": "1f10101e1010100000", "G": "0e11101711110f0000", "H": "1111111f1111110000",
    "I": "0e04040404040e0000", "J": "0702020202120c0000", "K": "111214181412110000", "L": "1010101010101f0000",
    "M": "111b15151111110000", "N": "111915131111110000", "O": "0e11111111110e0000", "P": "1e11111e1010100000",
    "Q": "0e11111115120d0000", "R": "1e11111e1412110000", "S": "0f10100e01011e0000", "T": "1f0404040404040000",
    "U": "1111111111110e0000", "V": "11111111110a040000", "W": "1111111515150a0000", "X": "11110a040a11110000",
    "Y": "1111110a0404040000", "Z": "1f01020408101f0000",
    "a": "00000e010f110f0000", "b": "10101e1111111e0000", "c": "00000e1010110e0000", "d": "01010f1111110f0000",
    "e": "00000e111f100e0000", "f": "0609081c0808080000", "g": "00000f1111110f010e", "h": "101016191111110000",
    "i": "04000c0404040e0000", "j": "02000602020202120c", "k": "101012141814120000", "l": "0c04040404040e0000",
    "m": "00001a151515150000", "n": "000016191111110000", "o": "00000e1111110e0000", "p": "00001e1111111e1010",
    "q": "00000f1111110f0101", "r": "000016191010100000", "s": "00000f100e011e0000", "t": "08081c080809060000",
    "u": "0000111111130d0000", "v": "00001111110a040000", "w": "0000111115150a0000", "x": "0000110a040a110000",
    "y": "00001111110f01110e", "z": "00001f0204081f0000",
    "0": "0e11131519110e0000", "1": "040c040404040e0000", "2": "0e11010204081f0000", "3": "1f02040201110e0000",
    "4": "02060a121f02020000", "5": "1f101e0101110e0000", "6": "0608101e11110e0000", "7": "1f0102040808080000",
    "8": "0e11110e11110e0000", "9": "0e11110f01020c0000",
    " ": "000000000000000000", ".": "00000000000c0c0000", ",": "00000000000c040800", "!": "040404040400040000",
    "?": "0e1101020400040000", ":": "000c0c000c0c000000", "-": "0000001f0000000000", "'": "0c0408000000000000",
    "…": "000000000000150000",
}  # fmt: skip  # a table is read by its columns

_UNKNOWN = "1f11111111111f0000"


def text_mask(text: str, scale: int = 1) -> NDArray[np.bool_]:
    """The pixels of one line of text.

    Args:
        text: Latin letters, digits and plain punctuation; another character becomes a box.
        scale: pixels for each dot of the letters.

    Returns:
        Rows by columns, true where ink is. No rows are lost for an empty text, only columns.
    """
    columns = [np.zeros((GLYPH_HEIGHT, 0), np.bool_)]
    for index, character in enumerate(text):
        rows = bytes.fromhex(_GLYPHS.get(character, _UNKNOWN))
        glyph = np.array([[row >> (4 - column) & 1 for column in range(GLYPH_WIDTH)] for row in rows], np.bool_)
        if index:
            columns.append(np.zeros((GLYPH_HEIGHT, 1), np.bool_))
        columns.append(glyph)
    return np.hstack(columns).repeat(scale, axis=0).repeat(scale, axis=1)
