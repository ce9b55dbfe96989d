"""A column of text cells to the type it holds as a whole."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

# cells that mean "missing": the list that pandas documents for read_csv
MISSING_CELLS = tuple(
    "|#N/A|#N/A N/A|#NA|-1.#IND|-1.#QNAN|-NaN|-nan|1.#IND|1.#QNAN|<NA>|N/A|NA|NULL|NaN|None|n/a|nan|null".split("|")
)
NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
COMMA_NUMBER = r"^[+-]?\d+(,\d+)?$"
LEADING_ZERO = r"^[+-]?0\d+$"
EXACT = 2**53  # whole numbers beyond this are not exact as floats
MOSTLY = 0.5  # a text column with at least this share of numbers is worth a note


class ColumnReader:
    """Turns text columns into numbers, booleans or text, and keeps notes on what was not plain.

    Arguments:
        delimiter: The table's; where it is no comma, `1,5` may be a number.

    Attributes:
        notes: What the person should know.
        is_padded: Whether text columns lost the blank that stood after every comma.
    """

    def __init__(self, delimiter: str) -> None:
        """See the class."""
        self.delimiter = delimiter
        self.is_padded = False
        self.notes: list[str] = []

    def read(self, name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
        """The column as int64, float64, bool or string."""
        if column.null_count == len(column):
            return pc.cast(column, pa.float64())
        for kind in (pa.int64(), pa.float64()):
            numbers = _cast(column, kind)
            if numbers is not None:
                return column if self._is_code(name, column, numbers) else numbers
        return self._words(name, column)

    def _is_code(self, name: str, column: pa.ChunkedArray, numbers: pa.ChunkedArray) -> bool:
        """Whether digits are a code that a number would not give back: 007, 0x1F, 20 digits."""
        zeros = column.filter(pc.match_substring(pc.utf8_slice_codeunits(column, 0, 2), "0"))
        if len(zeros) and pc.any(pc.match_substring_regex(zeros, f"{LEADING_ZERO}|[xX]")).as_py():
            self.notes.append(f"column {name!r} has leading zeros: kept as text")
            return True
        inexact = pa.types.is_floating(numbers.type) or numbers.null_count
        if not inexact or (pc.max(pc.abs(numbers)).as_py() or 0) <= EXACT:
            return False
        if not pc.all(pc.match_substring_regex(column, r"^[+-]?\d+$")).as_py():
            return False
        self.notes.append(f"column {name!r} has whole numbers too long to be exact: kept as text")
        return True

    def _words(self, name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
        coded = column.combine_chunks().dictionary_encode()
        words = pc.utf8_trim_whitespace(coded.dictionary)
        words = pc.if_else(pc.is_in(words, pa.array(MISSING_CELLS)), pa.scalar(None, words.type), words)
        if set(words.to_pylist()[:3]) == {"True", "False"} and len(words) == 2 and not column.null_count:
            return pa.chunked_array([pc.equal(words, "True").take(coded.indices)])
        numbers = self._numbers(name, words)
        if numbers is not None:
            return pa.chunked_array([numbers.take(coded.indices)])
        self._note_mixture(name, column, coded, words)
        if self.delimiter == "," and pc.all(pc.starts_with(coded.dictionary, " ")).as_py():
            self.is_padded = True
            return pa.chunked_array([words.take(coded.indices)])
        return column

    def _numbers(self, name: str, words: pa.Array) -> pa.Array | None:
        """Numbers behind blanks, or with a decimal comma; None where some word is no number."""
        if pc.all(pc.match_substring_regex(words, NUMBER)).as_py():
            whole = _cast(words, pa.int64())
            return pc.cast(words, pa.float64()) if whole is None else whole
        if self.delimiter == "," or not pc.all(pc.match_substring_regex(words, COMMA_NUMBER)).as_py():
            return None
        self.notes.append(f"column {name!r} is read with a decimal comma")
        return pc.cast(pc.replace_substring(words, ",", "."), pa.float64())

    def _note_mixture(self, name: str, column: pa.ChunkedArray, coded: pa.DictionaryArray, words: pa.Array) -> None:
        is_number = pc.match_substring_regex(words, NUMBER)
        present = len(column) - column.null_count
        count = pc.sum(is_number.take(coded.indices)).as_py() or 0
        if count < MOSTLY * present:
            return
        stray = words.filter(pc.invert(is_number)).drop_null()[0].as_py()
        others = "1 other cell" if present - count == 1 else f"{present - count} other cells"
        self.notes.append(
            f"column {name!r} mixes {count} numbers with {others} (such as {stray[:20]!r}):"
            " kept as text; empty those cells to have numbers"
        )


def _cast(cells: pa.Array | pa.ChunkedArray, kind: pa.DataType) -> pa.Array | pa.ChunkedArray | None:
    try:
        return pc.cast(cells, kind)
    except pa.ArrowInvalid:
        return None
