"""A column of text cells to the type it holds as a whole, also where the column comes in pieces."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# cells that mean "missing": the list that pandas documents for read_csv
MISSING_CELLS = tuple(
    "|#N/A|#N/A N/A|#NA|-1.#IND|-1.#QNAN|-NaN|-nan|1.#IND|1.#QNAN|<NA>|N/A|NA|NULL|NaN|None|n/a|nan|null".split("|")
)
NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
COMMA_NUMBER = r"^[+-]?\d+(,\d+)?$"
LEADING_ZERO = r"^[+-]?0\d+$"
WHOLE = r"^[+-]?\d+$"
EXACT = 2**53  # whole numbers beyond this are not exact as floats
MOSTLY = 0.5  # a text column with at least this share of numbers is worth a note

Cells: TypeAlias = pa.Array | pa.ChunkedArray
Reading = Literal["int64", "float64", "text", "padded", "bool", "padded int64", "padded float64", "comma"]


class Evidence:
    """What the cells of a column allow it to be: gathered piece by piece, judged once all have been seen.

    Attributes:
        rows: Cells so far.
        missing: How many of them are missing.
        counts_rows: Whether the cells are 0, 1, 2, ... or 1, 2, 3, ...
    """

    def __init__(self) -> None:
        """Nothing has been seen."""
        self.rows = self.missing = 0
        self.counts_rows = True
        self._largest = 0.0
        self._is_whole = self._is_number = self._is_digits = True
        self._has_zeros = False  # 007 or 0x1F
        self._words = _Words()
        self._next: int | None = None

    def update(self, cells: Cells) -> None:
        """Looks at further cells."""
        present = len(cells) - cells.null_count
        if present:
            whole = _cast(cells, pa.int64())
            numbers = whole if whole is not None else _cast(cells, pa.float64())
            self._is_whole &= whole is not None
            self._is_number &= numbers is not None
            zeros = numbers is not None and self._see_numbers(cells, numbers, whole is not None)
            if whole is None or zeros:
                self._words.update(cells)
            else:
                self._words.add_numbers(present)
        self.counts_rows = self.counts_rows and present == len(cells) and self._goes_on(cells)
        self.rows, self.missing = self.rows + len(cells), self.missing + cells.null_count

    def _see_numbers(self, cells: Cells, numbers: Cells, is_whole: bool) -> bool:
        """Notes size and digits; whether some cell has a leading zero."""
        self._largest = max(self._largest, pc.max(pc.abs(numbers)).as_py() or 0.0)
        if not is_whole and self._is_digits:
            self._is_digits = bool(pc.all(pc.match_substring_regex(cells, WHOLE)).as_py())
        zeros = cells.filter(pc.match_substring(pc.utf8_slice_codeunits(cells, 0, 2), "0"))
        found = len(zeros) and pc.any(pc.match_substring_regex(zeros, f"{LEADING_ZERO}|[xX]")).as_py()
        self._has_zeros |= bool(found)
        return bool(found)

    def _goes_on(self, cells: Cells) -> bool:
        if not len(cells):
            return True
        if not self._is_whole or (self._next is None and cells[0].as_py() not in ("0", "1")):
            return False
        numbers = pc.cast(cells, pa.int64()).to_numpy()
        first = int(numbers[0]) if self._next is None else self._next
        self._next = first + len(numbers)
        return bool((numbers == np.arange(first, self._next)).all())

    def reading(self, name: str, delimiter: str, notes: list[str]) -> Reading:
        """How the column is to be read; what was not plain is added to the notes.

        Arguments:
            name: Of the column, for the notes.
            delimiter: The table's; where it is no comma, `1,5` may be a number.
            notes: What the person should know.
        """
        if self.missing == self.rows:
            return "float64"
        if not self._is_number:
            return self._words.reading(name, delimiter, self.rows - self.missing, bool(self.missing), notes)
        if self._has_zeros:
            notes.append(f"column {name!r} has leading zeros: kept as text")
            return "text"
        if (not self._is_whole or self.missing) and self._largest > EXACT and self._is_digits:
            notes.append(f"column {name!r} has whole numbers too long to be exact: kept as text")
            return "text"
        return "int64" if self._is_whole else "float64"


class _Words:
    """What is known of the cells without the blanks around them."""

    def __init__(self) -> None:
        self.seen = False
        self.are_numbers = self.are_whole = self.are_commas = self.are_padded = True
        self.numbers = 0
        self.stray: str | None = None
        self.raw: set[str] | None = set()  # the first few distinct cells; None once there are more than two

    def add_numbers(self, count: int) -> None:
        """Cells that are plain whole numbers."""
        self.seen, self.numbers, self.are_padded, self.raw = True, self.numbers + count, False, None

    def update(self, cells: Cells) -> None:
        """Further cells of any kind; each distinct one is looked at once."""
        coded = (cells.combine_chunks() if isinstance(cells, pa.ChunkedArray) else cells).dictionary_encode()
        words = _trimmed(coded.dictionary)
        is_number = pc.match_substring_regex(words, NUMBER)
        self.seen |= words.null_count < len(words)
        self.are_numbers &= _all(is_number)
        self.are_whole &= self.are_numbers and _cast(words, pa.int64()) is not None
        self.are_commas &= _all(pc.match_substring_regex(words, COMMA_NUMBER))
        self.are_padded &= _all(pc.starts_with(coded.dictionary, " "))
        self.numbers += pc.sum(is_number.take(coded.indices)).as_py() or 0
        if self.stray is None and not self.are_numbers:
            self.stray = words.filter(pc.invert(is_number)).drop_null()[0].as_py()
        if self.raw is not None:
            self.raw |= set(coded.dictionary[:3].to_pylist())
            self.raw = None if len(self.raw) > 2 else self.raw

    def reading(self, name: str, delimiter: str, present: int, missing: bool, notes: list[str]) -> Reading:
        """See `Evidence`."""
        trimmed = {word.strip() for word in self.raw or ()}
        if self.raw is not None and len(self.raw) == 2 and trimmed == {"True", "False"} and not missing:
            return "bool"
        if self.seen and self.are_numbers:  # behind blanks
            return "padded int64" if self.are_whole else "padded float64"
        if self.seen and self.are_commas and delimiter != ",":
            notes.append(f"column {name!r} is read with a decimal comma")
            return "comma"
        if self.seen and self.numbers >= MOSTLY * present:
            others = "1 other cell" if present - self.numbers == 1 else f"{present - self.numbers} other cells"
            notes.append(
                f"column {name!r} mixes {self.numbers} numbers with {others} (such as {str(self.stray)[:20]!r}):"
                " kept as text; empty those cells to have numbers"
            )
        return "padded" if delimiter == "," and self.are_padded else "text"


def convert(cells: Cells, reading: Reading) -> Cells:
    """Text cells to int64, float64, bool or string, as the column's evidence says."""
    if reading == "text":
        return cells
    if reading in ("int64", "float64"):
        return pc.cast(cells, getattr(pa, reading)())
    coded = (cells.combine_chunks() if isinstance(cells, pa.ChunkedArray) else cells).dictionary_encode()
    words = _trimmed(coded.dictionary)
    if reading == "bool":
        words = pc.equal(words, "True")
    elif reading == "comma":
        words = pc.cast(pc.replace_substring(words, ",", "."), pa.float64())
    elif reading != "padded":
        words = pc.cast(words, getattr(pa, reading.removeprefix("padded "))())
    return words.take(coded.indices)


def _trimmed(words: pa.Array) -> pa.Array:
    words = pc.utf8_trim_whitespace(words)
    return pc.if_else(pc.is_in(words, pa.array(MISSING_CELLS)), pa.scalar(None, words.type), words)


def _all(truths: Cells) -> bool:
    return bool(pc.all(truths, min_count=0).as_py())


def _cast(cells: Cells, kind: pa.DataType) -> Cells | None:
    try:
        return pc.cast(cells, kind)
    except pa.ArrowInvalid:
        return None
