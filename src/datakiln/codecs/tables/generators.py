"""Made-up ids and personal cells: what the cells of a column look like, and new ones that look like them.

A pattern is a row of pieces, each a number of draws from some words; its cells are counted, and row k of a sample gets
the k-th of a fixed shuffle of them, so that no two rows share one. Training cells are never kept: a `Seen` filter knows
them all, and takes one new cell in nine for one of them as well, so that nobody can tell which it has seen.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import importlib
import math
import os
import re
import string
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from datakiln.errors import UserError

GENERATORS = ("faker.", "regex(")
Piece = tuple[list[str], int, int]  # words, and how many of them at least and at most
GOLDEN = 618033988749894848204586834365638117720309179805762862135448622705260462818902449707  # digits of a fraction
LONGEST = 4096  # draws of a piece that a checkpoint may ask for: their cells are counted one length after another
MOST_REPEATS = 8  # what * and + come to
MOST_LEARNT = 5000  # cells that a pattern is learnt from
MOST_PATTERNS, LEAST_CELLS = 6, 5  # patterns of a column, and cells of each of them
ROOMIER = 64  # cells that a pattern has for each it is learnt from, at least, if it keeps what all begin with
SHARED = 8  # cells for each word, from which on a few words are all there are
FULL = 30  # cells for each sign seen, from which on others are not expected
SETS = (string.digits, "0123456789abcdef", "0123456789ABCDEF", string.ascii_lowercase, string.ascii_uppercase)
ALNUM = (string.digits + string.ascii_lowercase, string.digits + string.ascii_uppercase, string.ascii_letters)
SLUG = re.compile(r"[A-Za-z0-9_-]+")
TOKENS = re.compile(r"[0-9]+|[A-Z]+|[a-z]+|[^0-9A-Za-z]+")


class Seen:
    """A filter that holds every cell it was given, and by chance one in nine of all others.

    Arguments:
        bits: Where hashes fell.
    """

    ROOM = 8  # bits for each cell

    def __init__(self, bits: np.ndarray) -> None:
        """See the class."""
        self.bits = bits

    @classmethod
    def of(cls, cells: Iterable[str]) -> Seen:
        """The filter of these cells."""
        known = set(cells)
        made = cls.empty(len(known))
        made.add(known)
        return made

    @classmethod
    def empty(cls, cells: int) -> Seen:
        """A filter with room for so many cells."""
        return cls(np.zeros(max(1024, cls.ROOM * cells), dtype=bool))

    @property
    def room(self) -> int:
        """Cells that it has room for."""
        return len(self.bits) // self.ROOM

    def add(self, cells: Iterable[str]) -> None:
        """Further cells that it holds."""
        self.bits[[self._place(cell, len(self.bits)) for cell in cells]] = True

    @staticmethod
    def _place(cell: str, size: int) -> int:
        return int.from_bytes(hashlib.blake2b(cell.encode(), digest_size=8).digest(), "big") % size

    def __contains__(self, cell: str) -> bool:
        """Whether it may be one of them."""
        return bool(self.bits[self._place(cell, len(self.bits))])

    def state(self) -> dict[str, Any]:
        """Plain values."""
        return {"size": len(self.bits), "bits": base64.b64encode(np.packbits(self.bits).tobytes()).decode()}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Seen:
        """Inverse of `state`."""
        packed = np.frombuffer(base64.b64decode(state["bits"]), dtype=np.uint8)
        return cls(np.unpackbits(packed)[: state["size"]].astype(bool))


class Pattern:
    """Cells that are pieces one behind another.

    Arguments:
        pieces: In order.
    """

    TRIES = 8  # cells kept for one row, most of which are not needed

    def __init__(self, pieces: Sequence[Piece]) -> None:
        """See the class."""
        self.pieces = [(list(words), int(least), int(most)) for words, least, most in pieces]

    @classmethod
    def from_state(cls, state: Sequence[Sequence[Any]]) -> Pattern:
        """The pattern that a checkpoint keeps.

        Raises:
            ValueError: Its pieces are no texts of some length.
        """
        for words, least, most in state:
            told = isinstance(words, list | tuple) and words and all(isinstance(word, str) for word in words)
            if not told or type(least) is not int or type(most) is not int or not 0 <= least <= most <= LONGEST:
                raise ValueError(f"a pattern with the piece {str((words, least, most))[:40]}")
        return cls([(list(words), least, most) for words, least, most in state])

    def __str__(self) -> str:
        """As a regular expression."""
        return "".join(_shown(*piece) for piece in self.pieces)

    @functools.cached_property
    def count(self) -> int:
        """How many cells there are."""
        return math.prod(_count(*piece) for piece in self.pieces)

    @property
    def rows(self) -> int:
        """Rows that it has new cells for."""
        return self.count // self.TRIES

    def cell(self, number: int) -> str:
        """The cell of that number."""
        parts = []
        for words, least, most in reversed(self.pieces):
            number, rest = divmod(number, _count(words, least, most))
            length = least
            while rest >= len(words) ** length:
                rest -= len(words) ** length
                length += 1
            drawn = []
            for _ in range(length):
                rest, at = divmod(rest, len(words))
                drawn.append(words[at])
            parts.append("".join(reversed(drawn)))
        return "".join(reversed(parts))

    @functools.cached_property
    def _stride(self) -> int:
        """A step through all cells that shares no factor with their count, near the golden section of it."""
        step = max(self.count * GOLDEN // 10 ** len(str(GOLDEN)), 1)
        while math.gcd(step, self.count) != 1:
            step += 1
        return step

    def new(self, row: int, seed: int, seen: Seen | None) -> str | None:
        """The cell of a row, another for each row; None if all that the row could have may be training cells."""
        start = int.from_bytes(hashlib.blake2b(str(seed).encode(), digest_size=16).digest(), "big") % self.rows
        first = (start + row) % self.rows * self.TRIES
        for number in range(first, first + self.TRIES):
            cell = self.cell(number * self._stride % self.count)
            if seen is None or cell not in seen:
                return cell
        return None

    def any(self, row: int, seed: int) -> str:
        """The cell of a row where every cell has to do: all of them once before one comes again."""
        return self.cell((row + seed) % self.count * self._stride % self.count)

    def wider(self, by: int) -> Pattern:
        """A pattern of longer cells, which shares none with this one: for more rows than it has cells."""
        pieces: list[Piece] = [(words, most, most) for words, _, most in self.pieces]
        digits = [
            i
            for i, (words, _, most) in enumerate(pieces)
            if most and len(words) > 1 and set(words) <= set(string.digits)
        ]
        at = digits[-1] + 1 if digits else len(pieces)
        return Pattern([*pieces[:at], (list(string.digits), by, by), *pieces[at:]])


def _count(words: Sequence[str], least: int, most: int) -> int:
    return sum(len(words) ** length for length in range(least, most + 1))


def _shown(words: Sequence[str], least: int, most: int) -> str:
    times = "" if least == most == 1 else f"{{{least}}}" if least == most else f"{{{least},{most}}}"
    if len(words) == 1:
        return re.escape(words[0]) + times
    if all(len(word) == 1 for word in words):
        inside = "".join(sorted(words))
        for run, told in ((string.digits, "0-9"), (string.ascii_uppercase, "A-Z"), (string.ascii_lowercase, "a-z")):
            inside = inside.replace(run, told)
        inside = inside.replace("123456789", "1-9").replace("abcdef", "a-f").replace("ABCDEF", "A-F")
        return f"[{inside}]{times}"
    return f"({'|'.join(map(re.escape, words))}){times}"


def learn(cells: Sequence[str]) -> Pattern | None:
    """The pattern that all cells follow, None where they follow none."""
    sample = list(cells[:: max(1, len(cells) // MOST_LEARNT)])
    if not sample or not all(cell and cell.isascii() and cell.isprintable() for cell in sample):
        return None
    pieces = _by_token(sample) or _by_place(sample)
    if pieces is None and all(SLUG.fullmatch(cell) for cell in sample):
        lengths = [len(cell) for cell in sample]
        pieces = [(_closed(set("".join(sample)), len(sample)), min(lengths), max(lengths))]
    return None if pieces is None else Pattern(pieces)


def learn_several(cells: Sequence[str]) -> list[tuple[float, Pattern]]:
    """Several patterns, such as INV-00001 beside CN0001/X, each with its share; [] where one cell fits none.

    Cells go together that have the same runs of digits, letters and other signs.
    """
    groups: dict[tuple[str, ...], list[str]] = {}
    for cell in cells:
        groups.setdefault(tuple(_run(token) for token in TOKENS.findall(cell)), []).append(cell)
        if len(groups) > MOST_PATTERNS:
            return []
    if any(len(group) < LEAST_CELLS for group in groups.values()):
        return []
    found = [(len(group) / len(cells), learn(group)) for group in groups.values()]
    return [(share, pattern) for share, pattern in found if pattern is not None] if all(p for _, p in found) else []


def _by_token(sample: list[str]) -> list[Piece] | None:
    """Runs of digits, of letters and of other signs, where all cells have the same runs."""
    rows = [TOKENS.findall(cell) for cell in sample]
    kinds = {tuple(_run(token) for token in row) for row in rows}
    if len(kinds) != 1 or not rows[0]:
        return None
    pieces: list[Piece] = []
    for tokens in zip(*rows, strict=True):
        made = _token_piece(list(tokens))
        if made is None:
            return None
        pieces += made
    return pieces


def _run(token: str) -> str:
    return "0" if token[0].isdigit() else "A" if token[0].isupper() else "a" if token[0].isalpha() else token


def _token_piece(tokens: list[str]) -> list[Piece] | None:
    distinct = sorted(set(tokens))
    if len(distinct) == 1:
        return [(distinct, 1, 1)]
    kind = _run(tokens[0])
    lengths = {len(token) for token in tokens}
    if kind != "0" and len(distinct) * SHARED <= len(tokens) and min(map(len, distinct)) > 1:
        return [(distinct, 1, 1)]  # countries, kinds: words that many rows share
    if kind == "a" and len(lengths) > 1 and max(lengths) > 3:
        return None  # words of a language
    if kind == "0" and (shared := _shared(distinct)):
        return [([shared], 1, 1), (list(string.digits), len(distinct[0]) - len(shared), len(distinct[0]) - len(shared))]
    seen = "".join(tokens)
    signs = {"A": string.ascii_uppercase, "a": string.ascii_lowercase}.get(kind, "")
    if len(set(seen)) * FULL <= len(tokens) and len(set(seen)) <= 16:
        signs = "".join(sorted(set(seen)))
    if kind == "0":  # binary and octal numbers have few digits: that others miss in so many by chance is next to never
        signs = "".join(sorted(set(seen))) if len(set(seen)) <= 8 and len(seen) >= 10 * FULL else string.digits
    if kind == "0" and all(token[0] != "0" for token in tokens) and (len(lengths) > 1 or len(tokens) >= 100):
        return [(list(signs.replace("0", "")), 1, 1), (list(signs), min(lengths) - 1, max(lengths) - 1)]
    return [(list(signs), min(lengths), max(lengths))]


def _shared(numbers: list[str]) -> str:
    """The digits that numbers of one length begin with, such as a country and a town; "" where few would be left.

    Each further digit that 20 numbers share by chance is shared once in 10^19 times.
    """
    shared = os.path.commonprefix(numbers)
    if len({*map(len, numbers)}) > 1 or len(numbers) < 20:
        return ""
    return shared if 10 ** (len(numbers[0]) - len(shared)) >= ROOMIER * len(numbers) else ""


def _by_place(sample: list[str]) -> list[Piece] | None:
    """Sign by sign, where all cells are as long as one another and every place has signs of one kind."""
    if len({len(cell) for cell in sample}) != 1:
        return None
    pieces: list[Piece] = []
    for place in zip(*sample, strict=True):
        signs = set(place)
        if len(signs) > 1 and not all(sign.isalnum() for sign in signs):
            return None
        pieces.append((sorted(signs) if len(signs) == 1 else _closed(signs, len(place)), 1, 1))
    return pieces


def _closed(signs: set[str], cells: int) -> list[str]:
    """The signs, or the usual set around them where there are too few cells to have shown them all."""
    if len(signs) * FULL <= cells and len(signs) <= 16:
        return sorted(signs)
    whole = next((known for known in (*SETS, *ALNUM) if signs <= set(known)), string.digits + string.ascii_letters)
    return sorted({*whole, *signs})


def parsed(text: str, asked: str) -> Pattern:
    """The pattern of a regular expression of literals, sets, groups and counts.

    Raises:
        UserError: It holds anything else.
    """
    import re._parser as parser  # type: ignore[import-not-found]

    try:
        return Pattern(_pieces(parser.parse(text)))
    except (re.error, ValueError, OverflowError) as error:
        raise UserError(
            f"{asked}=regex({text}): {error}; write literals, [sets], (a|b) and counts such as {{3}}"
        ) from None


def _pieces(nodes: Iterable[Any]) -> list[Piece]:
    pieces: list[Piece] = []
    for operation, argument in nodes:
        name = str(operation)
        if name == "LITERAL":
            pieces.append(([chr(argument)], 1, 1))
        elif name == "IN":
            pieces.append((_set(argument), 1, 1))
        elif name in ("MAX_REPEAT", "MIN_REPEAT"):
            least, most, inner = argument
            words = _words(_pieces(inner))
            most = int(most) if int(most) < 10_000 else max(least, MOST_REPEATS)
            if most > 1000:
                raise ValueError(f"{most} repeats are too many")
            pieces.append((words, least, most))
        elif name == "SUBPATTERN":
            pieces += _pieces(argument[-1])
        elif name == "BRANCH":
            pieces.append(([word for branch in argument[1] for word in _words(_pieces(branch))], 1, 1))
        elif name != "AT":
            raise ValueError(f"{name.lower()} cannot be made up")
    return pieces


def _words(pieces: list[Piece]) -> list[str]:
    """All that a few pieces can be, as words of one piece."""
    pattern = Pattern(pieces)
    if pattern.count > 10_000:
        raise ValueError("a group that repeats or is one of several may have 10000 words at most")
    return [pattern.cell(i) for i in range(pattern.count)]


def _set(parts: Iterable[tuple[Any, Any]]) -> list[str]:
    signs: list[str] = []
    known = {
        "CATEGORY_DIGIT": string.digits,
        "CATEGORY_WORD": string.digits + string.ascii_letters + "_",
        "CATEGORY_SPACE": " ",
    }
    for operation, argument in parts:
        name = str(operation)
        if name == "LITERAL":
            signs.append(chr(argument))
        elif name == "RANGE":
            signs += [chr(code) for code in range(argument[0], argument[1] + 1)]
        elif name == "CATEGORY" and str(argument) in known:
            signs += known[str(argument)]
        else:
            raise ValueError(f"{name.lower()} in a set cannot be made up")
    return list(dict.fromkeys(signs))


def regex_of(generator: str) -> str:
    """What stands in the brackets of regex(...)."""
    return generator.removeprefix("regex(").removesuffix(")")


def check_generator(generator: str, locale: str, asked: str) -> None:
    """Raises `UserError` for a Faker provider or locale that there is not, or a regular expression of another kind."""
    if generator.startswith("regex("):
        if not generator.endswith(")"):
            raise UserError(f"{asked}={generator} lacks its closing bracket")
        parsed(regex_of(generator), asked)
        return
    value = faker_of(generator, locale, asked)()
    if not isinstance(value, str | int):
        raise UserError(f"{asked}={generator} makes {type(value).__name__}, no text; take another")


def faker_of(generator: str, locale: str, asked: str = "type", seed: str = "") -> Callable[[], Any]:
    """A function of Faker's, such as that of "faker.name", which starts anew from the seed."""
    faker, name = _faker(locale, asked), generator.removeprefix("faker.")
    faker.seed_instance(seed)
    try:
        function = getattr(faker, name)
        if name.startswith(("_", "seed", "add_", "set_", "get_", "format", "binary", "py")) or not callable(function):
            raise AttributeError(name)
    except AttributeError:
        from datakiln.errors import near

        known = [n for n in dir(faker) if not n.startswith("_")]
        raise UserError(f"{asked}={generator}: Faker has no such provider{near(name, known)}") from None
    return function  # type: ignore[no-any-return]


@functools.lru_cache(maxsize=16)
def _faker(locale: str, asked: str) -> Any:  # noqa: ANN401 (untyped)
    try:
        from faker import Faker
    except ImportError:
        raise UserError(f"{asked} needs Faker: pip install faker") from None
    try:
        return Faker(locale or "en_US")._factories[0]
    except AttributeError as error:
        raise UserError(
            f"{asked}.locale={locale}: Faker has no such locale ({error}); write one such as de_DE"
        ) from None


PERSONAL = (  # what columns of personal cells are called, what their cells look like, and what makes new ones
    (re.compile(r"e.?mail", re.I), re.compile(r"[^@\s]+@[^@\s]+\.[A-Za-z]{2,}"), "faker.email"),
    (re.compile(r"(first|given|fore).?name|vorname|prenom", re.I), re.compile(r"[^\d@]{2,30}"), "faker.first_name"),
    (re.compile(r"(last|family|sur).?name|nachname", re.I), re.compile(r"[^\d@]{2,30}"), "faker.last_name"),
    (re.compile(r"(user|login|nick).?(name)?$", re.I), re.compile(r"\S{2,30}"), "faker.user_name"),
    (re.compile(r"company|employer|firm", re.I), re.compile(r"[^@]{2,60}"), "faker.company"),
    (re.compile(r"street", re.I), re.compile(r"(?=.*\d)(?=.*[^\W\d]).{4,80}"), "faker.street_address"),
    (re.compile(r"addr", re.I), re.compile(r"(?=.*\d)(?=.*[^\W\d])[^@]{6,120}", re.S), "faker.address"),
    (re.compile(r"city|town", re.I), re.compile(r"[^\d@]{2,40}"), "faker.city"),
    (re.compile(r"phone|mobile|(^|_)tel", re.I), re.compile(r"[+()\d][-+()./\sx\d]{5,}"), "faker.phone_number"),
    (re.compile(r"name|customer|person|patient|employee|contact", re.I), re.compile(r"[^\d@]{2,60}"), "faker.name"),
)
MAIL = PERSONAL[0][1]
ADDRESS = re.compile(r"(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)(?:\.(?!$)|$)){4}")  # of a machine
PHONE = re.compile(r"\+\d[-+()./\s\d]{6,}|\(\d{2,5}\)[-\s\d]{5,}")
LOCALES = ("en_US", "en_GB", "en_IN", "de_DE", "fr_FR", "es_ES", "it_IT", "nl_NL", "pl_PL", "pt_BR", "tr_TR")
KNOWN = 0.3  # share of cells that begin with a first name that Faker knows, from which on they are names of people


def personal(name: str, cells: Sequence[str]) -> str:
    """The Faker generator for cells that look like what their column is called; "" for none."""
    sample = list(cells[:: max(1, len(cells) // 1000)])
    if sample and all(MAIL.fullmatch(cell) for cell in sample):
        return "faker.email"
    if sample and all(ADDRESS.fullmatch(cell) for cell in sample):
        return "faker.ipv4"
    for title, look, generator in PERSONAL:
        if title.search(name):
            looks = sum(bool(look.fullmatch(cell)) for cell in sample) >= 0.9 * len(sample)
            return generator if looks and (generator != "faker.name" or are_people(sample)) else ""
    return ""


def are_people(cells: Sequence[str]) -> bool:
    """Whether cells are names such as Ada Li: of several words, which often begin with a first name that is known."""
    words = [re.split(r"[\s,]+", cell.strip()) for cell in cells]
    known = _first_names()
    return bool(words) and sum(len(w) > 1 and not known.isdisjoint(w[:3]) for w in words) >= KNOWN * len(words)


@functools.lru_cache(maxsize=1)
def _first_names() -> frozenset[str]:
    """First names of several languages; none where Faker is not there."""
    try:
        modules = [
            importlib.import_module(f"faker.providers.person.{locale}")
            for locale in (
                "en_US",
                "en_GB",
                "de_DE",
                "fr_FR",
                "es_ES",
                "it_IT",
                "nl_NL",
                "pl_PL",
                "pt_BR",
                "tr_TR",
                "en_IN",
            )
        ]
    except ImportError:
        return frozenset()
    return frozenset(name for module in modules for name in module.Provider.first_names)


def is_personal(name: str, cells: Sequence[str]) -> str:
    """What of people cells are: "e-mail addresses", "phone numbers", "names"; "" for nothing of the kind."""
    sample = list(cells[:: max(1, len(cells) // 1000)])
    if not sample:
        return ""
    if all(MAIL.fullmatch(cell) for cell in sample):
        return "e-mail addresses"
    if all(PHONE.fullmatch(cell) for cell in sample):
        return "phone numbers"
    return "names" if personal(name, sample) == "faker.name" else ""
