"""Columns that carry no signal to learn: constants, ids and free text, which are made anew and take no position."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from datakiln.codecs.tables import generators
from datakiln.codecs.tables.column import ColumnCodec
from datakiln.codecs.tables.generators import Pattern, Seen
from datakiln.codecs.tables.values import choice_dtype, plain_cells, plain_value
from datakiln.errors import UserError
from datakiln.schema import Field
from datakiln.spec import Block
from datakiln.writings import is_text

SPARSE = 50  # numbers within the range of ids for each of them: then they do not count
ROOMY = 4  # rows for each id that a pattern must have cells for
TRIES = 50  # draws of Faker's for a cell that is neither of the table nor of an earlier row


class GeneratedColumn(ColumnCodec):
    """A column without signal: constants repeat, ids and free text become new unique values, never copies.

    Text follows the pattern of the training cells where they have one, or is personal data made up by Faker.

    Arguments:
        field: The column in user units.
        constant: The value of a constant column (None where it is missing throughout).
        next_id: First unused number of an integer id; None for textual ids.
        generator: What makes text: "faker.name", "regex(...)", or "" for the pattern.
        patterns: What the training cells look like, each with its share; none where they have nothing in common.
        seen: Knows the training cells; None where they are not text.
        missing: Share of missing cells of a text column.
    """

    kind = "generated"

    def __init__(
        self,
        field: Field,
        constant: Any,  # noqa: ANN401 (any cell value)
        next_id: int | None,
        generator: str = "",
        patterns: Sequence[tuple[float, Pattern]] = (),
        seen: Seen | None = None,
        missing: float = 0.0,
    ) -> None:
        """See the class."""
        super().__init__(field)
        self.constant, self.next_id = constant, next_id
        self.generator, self.patterns, self.seen, self.missing_share = generator, list(patterns), seen, missing
        self._regex = None
        if generator.startswith("regex("):
            self._regex = generators.parsed(generators.regex_of(generator), f"data.types.{field.name}")

    @classmethod
    def fit(cls, field: Field, series: pd.Series) -> GeneratedColumn:
        """Learns the constant, the first unused id, or what the cells look like."""
        present = series.dropna()
        if field.type == "constant":
            return cls(field, plain_value(plain_cells(present).iloc[0]) if len(present) else None, None)
        if pd.api.types.is_numeric_dtype(series.dtype) and len(present) > 0:
            cells = present.astype(str).tolist()
            pattern = generators.learn(cells) if _is_sparse(present) else None
            if pattern is not None and pattern.rows >= ROOMY * len(present) and _fits(pattern, series.dtype):
                return cls(field, None, None, "", [(1.0, pattern)], Seen.of(cells))
            return cls(field, None, int(present.max()) + 1)
        if not is_text(series) and not isinstance(series.dtype, pd.CategoricalDtype):
            return cls(field, None, None)
        cells = present.astype(str).tolist()
        generator = field.generator or generators.personal(field.name, cells)
        patterns: list[tuple[float, Pattern]] = []
        if not generator or (not field.generator and generator == "faker.phone_number"):
            one = generators.learn(cells)  # numbers to be called keep their country and their groups
            patterns = [(1.0, one)] if one is not None else generators.learn_several(cells)
        generator = "" if patterns else generator
        missing = 1.0 - len(present) / max(len(series), 1)
        return cls(field, None, None, generator, patterns, Seen.of(cells), missing)

    @property
    def is_new(self) -> bool:
        """Whether what it makes must not be in the table."""
        return self.next_id is not None or self.seen is not None

    def avoid(self, series: pd.Series, rows: int) -> None:
        """Further cells that it must not make, of a table of so many rows, whether it learns from them or not."""
        present = series.dropna()
        if self.next_id is not None and len(present):
            self.next_id = max(self.next_id, int(present.max()) + 1)
        if self.seen is not None:
            if self.seen.room < rows:
                self.seen = Seen.empty(rows)
            self.seen.add(present.astype(str))

    def blocks(self, start: int) -> tuple[Block, ...]:
        """None."""
        return ()

    def encode(self, series: pd.Series) -> np.ndarray:
        """Nothing, shape (n, 0)."""
        return np.zeros((len(series), 0), dtype=np.float32)

    def decode(self, x: np.ndarray, rng: np.random.Generator, first_row: int) -> pd.Series:
        """Constants, or new ids."""
        n = len(x)
        if self.field.type == "constant":
            values = pd.Series([self.constant] * n if self.constant is None else self.constant, index=range(n))
        elif self.next_id is not None:
            values = self._counted(n, self.next_id + first_row)
        else:
            values = pd.Series(self._text(n, rng, first_row), dtype=object)
            values = values.map(int) if pd.api.types.is_integer_dtype(self.field.dtype) else values
            if self.missing_share:
                values = values.mask(rng.random(n) < self.missing_share)
        known = [] if self.constant is None else [self.constant]
        dtype: Any = choice_dtype(self.field, known) if self.field.type == "constant" else self.field.dtype
        is_wider = self.next_id is not None and n > 0 and not _holds(dtype, int(values.iloc[-1]))
        return values.rename(self.field.name).astype(values.dtype if is_wider else dtype)

    def _counted(self, n: int, first: int) -> pd.Series:
        """Ids from the first on; raises `UserError` where no whole number is as large."""
        if first + n > 2**64:
            name = self.field.name
            raise UserError(f"column {name!r} has ids up to {first - 1}, beyond which there are none; make it text")
        kind = np.int64 if first + n <= 2**63 else np.uint64
        return pd.Series(np.arange(n, dtype=kind) + kind(first))

    def _text(self, n: int, rng: np.random.Generator, first_row: int) -> list[str]:
        """New cells, which differ from row to row and from one sample's seed to another's."""
        seed = _seed_of(rng)
        if self._regex is not None:
            return self._by_regex(self._regex, n, seed, first_row)
        if self.generator:
            return self._by_faker(n, seed, first_row)
        if not self.patterns:
            words = rng.integers(0, 2**63, size=n, dtype=np.int64)
            return [f"{self.field.name}-{first_row + i:x}-{word:016x}" for i, word in enumerate(words)]
        return [self._by_pattern(self._pattern_of(first_row + i, seed), first_row + i, seed) for i in range(n)]

    def _pattern_of(self, row: int, seed: int) -> Pattern:
        """The pattern of a row, by their shares: cells of different patterns never agree."""
        if len(self.patterns) > 1:
            place = np.random.default_rng([seed % 2**63, row]).random()
            for share, pattern in self.patterns[:-1]:
                place -= share
                if place < 0:
                    return pattern
        return self.patterns[-1][1]

    def _by_pattern(self, pattern: Pattern, row: int, seed: int) -> str:
        """The pattern's cell for a row, or that of a longer pattern where it has too few."""
        for extra in range(40):
            longer = pattern.wider(extra) if extra else pattern
            if row < longer.rows and (cell := longer.new(row, seed, self.seen)) is not None:
                return cell
        raise RuntimeError(f"no pattern has a cell for row {row} of {self.field.name}")

    def _by_regex(self, pattern: Pattern, n: int, seed: int, first_row: int) -> list[str]:
        if pattern.count < first_row + n and self.field.type == "id":
            name, rows = self.field.name, first_row + n
            raise UserError(f"data.types.{name}={self.generator} has {pattern.count} values for {rows} unique rows")
        made = []
        for row in range(first_row, first_row + n):
            cell = pattern.new(row, seed, self.seen) if row < pattern.rows else None
            made.append(pattern.any(row, seed) if cell is None else cell)
        return made

    def _by_faker(self, n: int, seed: int, first_row: int) -> list[str]:
        make = generators.faker_of(self.generator, self.field.locale, seed=f"{seed} {first_row} {self.field.name}")
        is_unique, done, made = self.field.type == "id", set[str](), []
        for row in range(first_row, first_row + n):
            for _ in range(TRIES):
                cell = str(make()).replace("\n", ", ")
                if self.generator == "faker.email" and is_unique:
                    cell = cell.replace("@", f"{row}@", 1)
                if cell not in done and (self.seen is None or cell not in self.seen):
                    break
            if is_unique:
                done.add(cell)
            made.append(cell)
        return made

    def state(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "constant": self.constant,
            "next_id": self.next_id,
            "generator": self.generator,
            "patterns": [[share, [list(piece) for piece in pattern.pieces]] for share, pattern in self.patterns],
            "seen": None if self.seen is None else self.seen.state(),
            "missing_share": self.missing_share,
        }

    @classmethod
    def from_state(cls, field: Field, state: dict[str, Any]) -> GeneratedColumn:
        """Inverse of `state`."""
        patterns = state.get("patterns") or ([[1.0, state["pattern"]]] if state.get("pattern") else [])
        seen = state.get("seen")
        return cls(
            field,
            state["constant"],
            state["next_id"],
            state.get("generator", ""),
            [(float(share), Pattern.from_state(pieces)) for share, pieces in patterns],
            None if seen is None else Seen.from_state(seen),
            state.get("missing_share", 0.0),
        )


def _holds(dtype: Any, number: int) -> bool:  # noqa: ANN401 (of numpy or of pandas)
    """Whether a whole number has a place in a dtype."""
    if not pd.api.types.is_integer_dtype(dtype):
        return True
    limits = np.iinfo(_plain(dtype))
    return bool(limits.min <= number <= limits.max)


def _plain(dtype: Any) -> np.dtype[Any]:  # noqa: ANN401 (of numpy, of pandas or of Arrow)
    """The dtype of numpy that whole numbers of a dtype have."""
    known: Any = pd.api.types.pandas_dtype(dtype)
    return np.dtype(getattr(known, "numpy_dtype", known))


def _is_sparse(ids: pd.Series) -> bool:
    """Whether whole numbers are drawn from many more, and do not count."""
    low, high = int(ids.min()), int(ids.max())
    return low >= 0 and high - low > SPARSE * len(ids)


def _fits(pattern: Pattern, dtype: Any) -> bool:  # noqa: ANN401 (of numpy or of pandas)
    """Whether the largest whole number that a pattern can make is one of the dtype."""
    largest = int("".join(max(words) * most for words, _, most in pattern.pieces))
    return _holds(dtype, largest)


def _seed_of(rng: np.random.Generator) -> int:
    """The seed of the sample that a generator is for: the first of those it was made with."""
    sequence = rng.bit_generator.seed_seq  # type: ignore[attr-defined]
    entropy = getattr(sequence, "entropy", 0)
    return int(entropy[0] if isinstance(entropy, list | tuple | np.ndarray) else entropy or 0)
