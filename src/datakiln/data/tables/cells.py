"""A column of text cells to the type it holds as a whole, also where the column comes in pieces."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from datakiln.wording import counted

# words that mean "missing" among numbers: the list that pandas documents for read_csv; among other words, beside empty
# cells, they are categories
MISSING_CELLS = tuple(
    "|#N/A|#N/A N/A|#NA|-1.#IND|-1.#QNAN|-NaN|-nan|1.#IND|1.#QNAN|<NA>|N/A|NA|NULL|NaN|None|n/a|nan|null".split("|")
)
MEANT = ("N/A", "NA", "NULL", "None", "n/a", "null")  # those of them that people write and mean
NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
CODE = r"^[A-Z]{2}$"  # of a country or state, where NA is Namibia
DENSE = 2  # what follows the point of versions goes up to this many times their number
SHORT_MOST = 100  # distinct cells of a column of versions, such as 1.9 and 1.10
COMMA_NUMBER = r"^[+-]?\d+(,\d+)?$"
LEADING_ZERO = r"^[+-]?0\d+(\.\d+)?$"
POWER = r"^-?\d(\.\d+)?[eE][+-](\d\d|[1-9]\d\d)$"
WHOLE = r"^[+-]?\d+$"
MOST_PLACES = 10  # decimals that are kept as a file has them
EXACT = 2**53  # whole numbers beyond this are not exact as floats
MOSTLY = 0.5  # a text column with at least this share of numbers is worth a note

Cells: TypeAlias = pa.Array | pa.ChunkedArray
Reading = Literal[
    "int64", "float64", "text", "words", "padded", "bool", "padded int64", "padded float64", "comma"
]  # words: text whose NA and None are categories


class Evidence:
    """What the cells of a column allow it to be: gathered piece by piece, judged once all have been seen.

    Attributes:
        rows: Cells so far.
        empty: How many of them are empty.
        counts_rows: Whether the cells are 0, 1, 2, ... or 1, 2, 3, ...
        unsaid: Words among its numbers that are read as missing, {word: cells}, once `reading` has found them.
        writing: How its numbers are written, once `reading` has made floats of them; None if as Python writes them.
    """

    def __init__(self) -> None:
        """Nothing has been seen."""
        self.rows = self.empty = 0
        self.counts_rows = True
        self.unsaid: dict[str, int] = {}
        self.writing: str | None = None
        self._tokens: dict[str, int] = {}
        self._largest = 0.0
        self._is_whole = self._is_number = self._is_digits = True
        self._has_zeros = False  # 007 or 0x1F
        self._places = _Places()
        self._words = _Words()
        self._next: int | None = None

    @property
    def missing(self) -> int:
        """Cells that are empty, or hold a word that means it."""
        return self.empty + sum(self._tokens.values())

    def update(self, cells: Cells) -> None:
        """Looks at further cells."""
        self.rows, self.empty = self.rows + len(cells), self.empty + cells.null_count
        all_cells = cells
        whole = _cast(cells, pa.int64()) if cells.null_count < len(cells) else None
        if whole is None and cells.null_count < len(cells):
            cells = self._without_tokens(cells)
            whole = _cast(cells, pa.int64())
        present = len(cells) - cells.null_count
        if present:
            numbers = whole if whole is not None else _floats(cells)
            self._is_whole &= whole is not None
            self._is_number &= numbers is not None
            zeros = numbers is not None and self._see_numbers(cells, numbers, whole is not None)
            if whole is None or zeros:
                self._words.update(cells)
            else:
                self._words.add_numbers(present)
        self.counts_rows = self.counts_rows and present == len(all_cells) and self._goes_on(cells)

    def _without_tokens(self, cells: Cells) -> Cells:
        """The cells without the words that mean missing, which are counted."""
        is_token = pc.is_in(cells, _TOKENS)
        if not pc.any(is_token).as_py():
            return cells
        for found in pc.value_counts(cells.filter(is_token)).to_pylist():
            self._tokens[found["values"]] = self._tokens.get(found["values"], 0) + found["counts"]
        return pc.if_else(is_token, pa.scalar(None, cells.type), cells)

    def _see_numbers(self, cells: Cells, numbers: Cells, is_whole: bool) -> bool:
        """Notes size and digits; whether some cell has a leading zero."""
        self._largest = max(self._largest, pc.max(pc.abs(numbers)).as_py() or 0.0)
        if not is_whole and self._is_digits:
            self._is_digits = bool(pc.all(pc.match_substring_regex(cells, WHOLE)).as_py())
        self._places.update(cells, is_whole)
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
            return self._of_none(name, notes)
        if not self._is_number:
            return self._of_words(name, delimiter, notes)
        self.unsaid = dict(self._tokens)
        if self._has_zeros:
            notes.append(zeros_kept(name))
            return "text"
        if (not self._is_whole or self.missing) and self._largest > EXACT and self._is_digits:
            notes.append(f"column {name!r} has whole numbers too long to be exact: kept as text")
            return "text"
        if self._is_whole and not self.missing:
            return "int64"
        if self._places.are_versions:
            example = " and ".join(self._places.examples)
            notes.append(
                f"column {name!r} has numbers such as {example}, which a number would make one: kept as text;"
                f" say data.types.{name}=numeric to have numbers"
            )
            return "text"
        if self._places.is_uneven:
            notes.append(f"column {name!r} ends some numbers in zeros and others not: written without these zeros")
        self.writing = "0" if self._is_whole else self._places.writing
        if not self._is_whole and self._places.is_plain and self._largest * 10.0**self._places.most >= EXACT:
            self.writing = None  # more digits than a float can tell: as Python writes them
        return "float64"

    @property
    def _meant(self) -> dict[str, int]:
        """Cells with a word that may be meant, by word."""
        return {word: count for word, count in sorted(self._tokens.items()) if word in MEANT}

    def _of_none(self, name: str, notes: list[str]) -> Reading:
        """A column that is empty, but for words that mean it, or may be meant."""
        if not self._meant:
            return "float64"
        if self.empty:
            notes.append(f"column {name!r} has {_listed(self._meant)} and no other word: kept as categories")
            return "words"
        notes.append(f"column {name!r} has {_listed(self._meant)}, which are read as missing")
        return "float64"

    def _of_words(self, name: str, delimiter: str, notes: list[str]) -> Reading:
        present = self.rows - self.missing
        told: list[str] = []
        reading = self._words.reading(name, delimiter, present, bool(self.missing), told)
        if reading == "comma":
            self.writing = self._words.comma_writing
        never = {word: count for word, count in sorted(self._tokens.items()) if word not in MEANT}
        if reading == "text" and never:
            notes.append(f"column {name!r} has {_listed(never)}, which are read as missing")
        if reading == "text" and self._meant:
            which = _listed(self._meant)
            is_code = self._words.are_codes and set(self._tokens) == {"NA"}
            if (self.empty or is_code) and not self._words.is_mostly_numbers(present):
                notes.append(f"column {name!r} has {which} beside {present} other words: kept as categories")
                return "words"
            notes.append(f"column {name!r} has {which}, which are read as missing; write them otherwise to keep them")
        notes += told
        return reading


def zeros_kept(name: str) -> str:
    """The note on a column whose leading zeros make text of numbers; untrue of one that turns out to hold dates."""
    return f"column {name!r} has leading zeros: kept as text"


def _listed(words: dict[str, int]) -> str:
    return ", ".join(f"{counted(count, 'cell')} {word}" for word, count in words.items())


_TOKENS = pa.array([word for word in MISSING_CELLS if word])
_NEVER_MEANT = pa.array([word for word in MISSING_CELLS if word and word not in MEANT])


class _Places:
    """How many decimals the numbers of a column are written with."""

    def __init__(self) -> None:
        self.least, self.most, self.ended = 99, 0, 0
        self.is_plain, self.is_bare, self.has_zero = True, False, False
        self.examples: list[str] = []
        self._distinct: set[str] | None = set()
        self._powers: set[tuple[int, str]] = set()  # decimals before E+00, and how that E is written
        self._are_powers = True

    def update(self, cells: Cells, is_whole: bool) -> None:
        if is_whole:
            self.least, self._are_powers = 0, False
            return
        words = pc.drop_null(pc.unique(cells))
        if self._are_powers:
            self._are_powers = bool(pc.all(pc.match_substring_regex(words, POWER)).as_py())
            marks = pc.utf8_lower(words) if self._are_powers else words[:0]
            at = pc.subtract(pc.find_substring(marks, "e"), pc.add(pc.find_substring(marks, "."), 1))
            letters = pc.if_else(pc.match_substring(words[: len(marks)], "E"), "E", "e")
            has_point = pc.match_substring(marks, ".")
            self._powers |= set(zip(pc.if_else(has_point, at, 0).to_pylist(), letters.to_pylist(), strict=True))
        if not self.is_plain:
            return
        self.is_plain = bool(pc.all(pc.match_substring_regex(words, r"^-?(\d+(\.\d+)?|\.\d+)$")).as_py())
        if not self.is_plain:
            return
        point = pc.find_substring(words, ".")
        places = pc.if_else(pc.less(point, 0), 0, pc.subtract(pc.subtract(pc.utf8_length(words), point), 1))
        found = pc.min_max(places).as_py()
        self.least, self.most = min(self.least, found["min"]), max(self.most, found["max"])
        self.is_bare |= bool(pc.any(pc.match_substring_regex(words, r"^-?\.")).as_py())
        self.has_zero |= bool(pc.any(pc.match_substring_regex(words, r"^-?0\.")).as_py())
        zeros = pc.and_(pc.greater(places, 0), pc.ends_with(words, "0"))
        ended = pc.max(places.filter(zeros)).as_py() or 0
        if ended > self.ended:
            self.ended = ended
            self._example = words.filter(pc.and_(zeros, pc.equal(places, ended)))[0].as_py()
        if self._distinct is not None:
            self._distinct |= set(words[: SHORT_MOST + 1].to_pylist())
            self._distinct = None if len(self._distinct) > SHORT_MOST else self._distinct

    @property
    def is_uneven(self) -> bool:
        """Whether some numbers end in zeros that others leave out."""
        return self.is_plain and self.ended > self.least

    @property
    def are_versions(self) -> bool:
        """Whether few different cells among them are one number, such as 1.1 and 1.10, or run on as 1.9 and 1.10."""
        if not self.is_uneven or self._distinct is None or self.least < 1:
            return False
        twice = sorted(w for w in self._distinct if w.endswith("0") and w[:-1] in self._distinct and w[-2:] != ".0")
        if twice:
            self.examples = [twice[0][:-1], twice[0]]
            return True
        minors = [word.partition(".")[2] for word in self._distinct]
        self.examples = [min(self._distinct - {self._example}), self._example]
        counted = all(minor == "0" or minor[0] != "0" for minor in minors)
        return counted and max(map(int, minors)) <= DENSE * len(minors)

    @property
    def writing(self) -> str | None:
        if self._are_powers and len(self._powers) == 1:
            ((places, letter),) = self._powers
            return f"0.{'0' * places}{letter}+00" if places else f"0{letter}+00"
        if not self.is_plain or self.most > MOST_PLACES or (self.least == 1 and self.most > 1 and not self.is_bare):
            return None  # as Python writes them
        least = min(self.least, self.most) if not self.is_uneven else self.least
        whole = "#" if self.is_bare and not self.has_zero else "0"
        return f"{whole}.{'0' * least}{'#' * (self.most - least)}" if self.most else "0"


class _Words:
    """What is known of the cells without the blanks around them."""

    def __init__(self) -> None:
        self.seen = False
        self.are_numbers = self.are_whole = self.are_commas = self.are_padded = self.are_codes = True
        self.are_signed = False  # some begin with +
        self.numbers = 0
        self.stray: str | None = None
        self.raw: set[str] | None = set()  # the first few distinct cells; None once there are more than two
        self._commas = (99, 0)

    def add_numbers(self, count: int) -> None:
        """Cells that are plain whole numbers."""
        self.seen, self.numbers, self.are_padded, self.raw = True, self.numbers + count, False, None
        self.are_codes = False

    def update(self, cells: Cells) -> None:
        """Further cells of any kind; each distinct one is looked at once."""
        coded = (cells.combine_chunks() if isinstance(cells, pa.ChunkedArray) else cells).dictionary_encode()
        words = _trimmed(coded.dictionary)
        is_number = pc.match_substring_regex(words, NUMBER)
        self.seen |= words.null_count < len(words)
        self.are_numbers &= _all(is_number)
        self.are_whole &= self.are_numbers and _cast(words, pa.int64()) is not None
        self.are_commas &= _all(pc.match_substring_regex(words, COMMA_NUMBER))
        self.are_codes &= _all(pc.match_substring_regex(words, CODE))
        self.are_signed |= bool(pc.any(pc.starts_with(words, "+")).as_py())
        if self.are_commas:
            self._see_commas(words)
        self.are_padded &= _all(pc.starts_with(coded.dictionary, " "))
        self.numbers += pc.sum(is_number.take(coded.indices)).as_py() or 0
        if self.stray is None and not self.are_numbers:
            self.stray = words.filter(pc.invert(is_number)).drop_null()[0].as_py()
        if self.raw is not None:
            self.raw |= set(coded.dictionary[:3].to_pylist())
            self.raw = None if len(self.raw) > 2 else self.raw

    def _see_commas(self, words: pa.Array) -> None:
        at = pc.find_substring(words, ",")
        places = pc.if_else(pc.less(at, 0), 0, pc.subtract(pc.subtract(pc.utf8_length(words), at), 1))
        found = pc.min_max(places).as_py()
        if found["min"] is not None:
            self._commas = (min(self._commas[0], found["min"]), max(self._commas[1], found["max"]))

    @property
    def comma_writing(self) -> str:
        """How numbers with a decimal comma are written; zeros that only some end in are left out."""
        least, most = self._commas
        least = most if least == most else min(least, most)
        return f"0,{'0' * least}{'#' * (most - least)}" if most else "0"

    def is_mostly_numbers(self, present: int) -> bool:
        """Whether at least half of the cells are numbers."""
        return self.numbers >= MOSTLY * present

    def reading(self, name: str, delimiter: str, present: int, missing: bool, notes: list[str]) -> Reading:
        """See `Evidence`."""
        trimmed = {word.strip() for word in self.raw or ()}
        if self.raw is not None and len(self.raw) == 2 and trimmed == {"True", "False"} and not missing:
            return "bool"
        if self.seen and self.are_numbers and self.are_signed:
            return "text"  # numbers with signs, or numbers to be called
        if self.seen and self.are_numbers:  # behind blanks
            return "padded int64" if self.are_whole else "padded float64"
        if self.seen and self.are_commas and delimiter != ",":
            notes.append(f"column {name!r} is read with a decimal comma")
            return "comma"
        if self.seen and self.is_mostly_numbers(present):
            others = "1 other cell" if present - self.numbers == 1 else f"{present - self.numbers} other cells"
            notes.append(
                f"column {name!r} mixes {self.numbers} numbers with {others} (such as {str(self.stray)[:20]!r}):"
                " kept as text; empty those cells to have numbers"
            )
        return "padded" if delimiter == "," and self.are_padded else "text"


def convert(cells: Cells, reading: Reading) -> Cells:
    """Text cells to int64, float64, bool or string, as the column's evidence says."""
    if reading == "words":
        return pc.if_else(pc.is_in(cells, _NEVER_MEANT), pa.scalar(None, cells.type), cells)
    if reading in ("text", "float64"):
        cells = pc.if_else(pc.is_in(cells, _TOKENS), pa.scalar(None, cells.type), cells)
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


def _floats(cells: Cells) -> Cells | None:
    """Cells as floats; None where one is none, or begins with a plus: numbers to be called do."""
    numbers = _cast(cells, pa.float64())
    return None if numbers is None or pc.any(pc.starts_with(cells, "+")).as_py() else numbers


def _cast(cells: Cells, kind: pa.DataType) -> Cells | None:
    try:
        return pc.cast(cells, kind)
    except pa.ArrowInvalid:
        return None
