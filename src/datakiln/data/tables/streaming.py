"""A table larger than memory: a bounded sample of its rows in memory, training rows read from disk as they are used.

Two passes come before training. The first finds what the columns are, draws a uniform sample, and takes the rows that
judge; the second, over the training rows, counts what a sample cannot know: rare categories, extremes, missing cells.
The codec is fitted on the sample completed by these counts, which are exact up to the bounds of `Tally`; a table that
fits into the sample gives the codec it would give in memory. Memory does not grow with the rows: it holds the sample,
the judging rows, the counts, and while training a buffer of row groups.

Rows are split by a hash of their numbers and not by class, for the counts of classes are not known beforehand; and as
the judging rows stay in memory, there are at most a quarter of the sample of each kind, the others train.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pandas as pd

from datakiln.codecs.tables.tally import Tally
from datakiln.console import Console
from datakiln.constraints import FixedCombinations, Rules
from datakiln.data.base import StepReport
from datakiln.data.tables.facts import GatheredFacts
from datakiln.data.tables.files import MIN_ROWS, check_finite
from datakiln.data.tables.large import RowStore
from datakiln.errors import UserError
from datakiln.schema import Schema

SCALE = 2.0**-53


def hashed(places: np.ndarray, seed: int, purpose: int) -> np.ndarray:
    """A number in [0, 1) for each row number: splitmix64 (Steele et al., 2014) of row, seed and purpose."""
    with np.errstate(over="ignore"):
        start = np.uint64((seed * 0x9E3779B97F4A7C15 + purpose * 0xD1B54A32D192ED03 + 1) % 2**64)
        z = (places.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) ^ start
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            z = (z ^ (z >> np.uint64(shift))) * np.uint64(factor)
        z ^= z >> np.uint64(31)
    return (z >> np.uint64(11)).astype(np.float64) * SCALE


class RowSample:
    """The rows whose numbers have the smallest hashes: a uniform sample without replacement, of bounded size.

    Arguments:
        size: Most rows.
        seed: Another seed, another sample.
    """

    PURPOSE = 1

    def __init__(self, size: int, seed: int) -> None:
        """See the class."""
        self.size, self.seed = size, seed
        self._frames: list[pd.DataFrame] = []  # indexed by row number
        self._hashes: list[np.ndarray] = []
        self._bound = 1.0

    def update(self, frame: pd.DataFrame, places: np.ndarray) -> None:
        """Offers rows with their numbers."""
        found = hashed(places, self.seed, self.PURPOSE)
        taken = found < self._bound
        self._frames.append(frame[taken].set_axis(places[taken], axis=0))
        self._hashes.append(found[taken])
        if sum(map(len, self._hashes)) > 2 * self.size:
            self._shrink()

    def _shrink(self) -> None:
        hashes = np.concatenate(self._hashes)
        if len(hashes) > self.size:
            self._bound = float(np.partition(hashes, self.size)[self.size])
            self._frames = [f[h < self._bound] for f, h in zip(self._frames, self._hashes, strict=True)]
            hashes = hashes[hashes < self._bound]
        self._frames, self._hashes = [pd.concat(self._frames)], [hashes]

    @property
    def frames(self) -> list[pd.DataFrame]:
        """The sample in parts, as they are kept."""
        self._shrink()
        return self._frames

    @property
    def frame(self) -> pd.DataFrame:
        """The sample in the order of the table, indexed by row number."""
        self._shrink()
        return self._frames[0].sort_index()


SPLIT = 0  # the purpose of the hash that splits rows
JUDGED = 4  # the sample is so many times as large as each of the splits that judge
MOST_COMBINATIONS = 1_000_000
T = TypeVar("T")


@dataclass(frozen=True)
class Fitted:
    """What the pass over the training rows leaves.

    Attributes:
        sample: A uniform sample of the training rows, or all of them.
        frames: Rows that judge: of train a part of the sample, and all validation and test rows.
        tallies: Of all training rows; None where `sample` is all of them.
        sizes: Training rows of each row group.
        combinations: For each such constraint, the combinations of the training rows.
    """

    sample: pd.DataFrame
    frames: dict[str, pd.DataFrame]
    tallies: dict[str, Tally] | None
    sizes: list[int]
    combinations: list[tuple[FixedCombinations, pd.DataFrame]]


class Stream:
    """The rows of a store for training and for judging.

    Arguments:
        store: The table.
        names: Columns to use.
        label: Column that classes are taken from, or None.
        split: Shares of train, validation and test.
        shared: Whether validation rows train as well.
        sample: Rows held in memory to find types and fit the codec; each split that judges has at most a quarter.
        seed: Of split and sample.
    """

    def __init__(
        self,
        store: RowStore,
        names: Sequence[str],
        label: str | None,
        split: tuple[float, float, float],
        shared: bool,
        sample: int,
        seed: int,
    ) -> None:
        """Raises `UserError` for too few rows."""
        if store.rows < MIN_ROWS:
            raise UserError(f"{store.title}: {store.rows} rows are too few; at least {MIN_ROWS} are needed")
        self.store, self.names, self.label, self.shared, self.seed = store, list(names), label, shared, seed
        self.judged = max(sample // JUDGED, 1)
        self.val, self.test = (min(share, self.judged / store.rows) for share in split[1:])
        self._sample = RowSample(sample, seed)

    def scan(self) -> tuple[pd.DataFrame, dict[str, GatheredFacts]]:
        """The first pass: a sample of all rows, and the facts that column types depend on."""
        facts = {name: GatheredFacts() for name in self.names}
        held: dict[str, list[pd.DataFrame]] = {"val": [], "test": []}
        for group in _shown(range(len(self.store)), "reading"):
            frame = self.store.frame(group, self.names)
            check_finite(frame, self.store.parts[self.store.groups[group].file].name)
            for name, fact in facts.items():
                fact.update(frame[name])
            places = self.store.places(group)
            self._sample.update(frame, places)
            kinds = self._kinds(places)
            for i, name in enumerate(held, start=1):
                held[name].append(frame[kinds == i])
        self._held = {name: pd.concat(parts, ignore_index=True) for name, parts in held.items()}
        return self._sample.frame, facts

    def mask(self, words: Mapping[str, Sequence[str]]) -> None:
        """From here on, cells of these columns that hold one of the words count as missing."""
        self.store.placeholders = {name: list(found) for name, found in words.items() if found}
        for name, found in self.store.placeholders.items():
            for frame in (*self._held.values(), *self._sample.frames):
                frame[name] = frame[name].mask(frame[name].isin(found))

    def _kinds(self, places: np.ndarray) -> np.ndarray:
        """0 for training rows, 1 for validation, 2 for test."""
        u = hashed(places, self.seed, SPLIT)
        return np.where(u < self.val, 1, np.where(u < self.val + self.test, 2, 0))

    def _trains(self, places: np.ndarray) -> np.ndarray:
        kinds = self._kinds(places)
        return (kinds == 0) | ((kinds == 1) & self.shared)

    def fit(self, schema: Schema, drop: bool, rules: Rules) -> Fitted:
        """The second pass: what only all training rows can tell.

        Arguments:
            schema: Of the columns.
            drop: Whether rows with a missing modelled cell are left out.
            rules: Constraints, some of which learn from the training rows.

        Raises:
            UserError: A cell that the type declared for its column cannot hold.
        """
        modelled = [field.name for field in schema.fields if field.is_numeric or field.is_choice]
        self._needed = modelled if drop else []
        tallies = {field.name: Tally(field) for field in schema.fields}
        learning = [c for c in rules.constraints if isinstance(c, FixedCombinations)]
        combinations = [pd.DataFrame(columns=list(c.columns)) for c in learning]
        sizes = []
        for group in _shown(range(len(self.store)), "counting"):
            frame = self.training(group, self.names)
            sizes.append(len(frame))
            for name, tally in tallies.items():
                tally.update(frame[name])
            combinations = [_united(old, frame, c) for old, c in zip(combinations, learning, strict=True)]
        for field in schema.fields:
            _check_order(field.order, tallies[field.name])
            for held in self._held.values():
                Tally(field).update(held[field.name])  # its cells are of the declared type as well
        sample = self._sample.frame
        sample = self._kept(sample[self._trains(sample.index.to_numpy())])
        frames = {"train": self._part(sample), **{name: self._kept(frame) for name, frame in self._held.items()}}
        known = None if len(sample) == sum(sizes) else tallies
        return Fitted(sample, frames, known, sizes, list(zip(learning, combinations, strict=True)))

    def training(self, group: int, names: Sequence[str]) -> pd.DataFrame:
        """The training rows of a row group."""
        wanted = list(dict.fromkeys([*names, *self._needed]))
        frame = self.store.frame(group, wanted)
        return self._kept(frame[self._trains(self.store.places(group))])

    def _kept(self, frame: pd.DataFrame) -> pd.DataFrame:
        return frame.dropna(subset=self._needed).reset_index(drop=True)

    def _part(self, sample: pd.DataFrame) -> pd.DataFrame:
        if len(sample) <= self.judged:
            return sample
        at = np.random.default_rng(self.seed).choice(len(sample), self.judged, replace=False)
        return sample.iloc[np.sort(at)].reset_index(drop=True)

    def report(self, fitted: Fitted) -> StepReport:
        """What was read, what stands for it, and how many training rows were left out for a cell that is needed."""
        left_out = self.store.rows - sum(fitted.sizes) - sum(len(self._held[n]) for n in self._judging)
        detail = (
            f"{self.store.rows} rows stay on disk in {len(self.store)} row groups: {sum(fitted.sizes)} train,"
            f" {len(fitted.frames['val'])} and {len(fitted.frames['test'])}, drawn by a hash of the row number, judge;"
            f" densities and conditions by category go by a sample of {len(fitted.sample)} training rows, ranges and"
            f" categories by all; {len(fitted.frames['train'])} of them stand for training rows in figures"
        )
        return StepReport("streaming", detail, rows=left_out)

    @property
    def _judging(self) -> list[str]:
        return ["test"] if self.shared else ["val", "test"]


def _united(old: pd.DataFrame, frame: pd.DataFrame, constraint: FixedCombinations) -> pd.DataFrame:
    new = frame[list(constraint.columns)].drop_duplicates().astype(object)
    found = pd.concat([old, new]).drop_duplicates() if len(old) else new
    if len(found) > MOST_COMBINATIONS:
        raise UserError(f"constraint '{constraint}' has more than {MOST_COMBINATIONS} combinations; leave it out")
    return found


def _check_order(order: tuple[str, ...], tally: Tally) -> None:
    left_out = [value for value in map(str, tally.counts.index) if value not in order] if order else []
    if left_out:
        raise UserError(f"data.types.{tally.field.name}.order leaves out {left_out[0]!r}; it must name all values")


def _shown(work: Sequence[T], what: str) -> Iterator[T] | Iterable[T]:
    """The same, with a bar on a terminal."""
    console = Console(stderr=True)
    return console.tracked(work, what)
