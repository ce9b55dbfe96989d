"""Rows that meet conditions and constraints: the model is told what it can be told, and asked again for the rest."""

from __future__ import annotations

import base64
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from datakiln.codecs.tables.choice import ChoiceColumn
from datakiln.codecs.tables.table import TableCodec
from datakiln.constraints import Constraint, Rules, Unique
from datakiln.errors import UserError, near
from datakiln.sampling.conditions import Conditions
from datakiln.sampling.inverting import POOL, Inverted, invert, open_column
from datakiln.sampling.ranges import codes_within
from datakiln.sampling.stamps import MOST_ROWS, Stamps
from datakiln.wording import counted

SELDOM = 8  # rows drawn for one that is kept, from which a model with ranges is told them
FEWEST = 1024  # rows drawn at a time, after the first


@dataclass
class Account:
    """What has been drawn so far.

    Attributes:
        wanted: Rows of each class still to be found.
        hits: Rows of each class that met conditions and constraints.
        drawn: Rows drawn.
        met: Rows that met the conditions.
        broken: Rows that met the conditions but broke a constraint, by constraint.
        seen: Keys of the rows that were kept, for each constraint that forbids to repeat them.
        made: Rows kept.
        draws: How often the model was asked.
        stamps: What was taken of columns of unique stamps, by name, piece by piece.
    """

    wanted: np.ndarray
    hits: np.ndarray
    drawn: int = 0
    met: int = 0
    broken: dict[str, int] = field(default_factory=dict)
    seen: list[np.ndarray] = field(default_factory=list)
    made: int = 0
    draws: int = 0
    stamps: dict[str, list[np.ndarray]] = field(default_factory=dict)

    @classmethod
    def of(cls, n: int, first_row: int, classes: int) -> Account:
        """For rows first_row to first_row + n, when row i is of class i modulo their number."""
        place = np.arange(classes)
        wanted = (first_row + n - place + classes - 1) // classes - (first_row - place + classes - 1) // classes
        return cls(wanted, np.zeros(classes, dtype=np.int64))

    def copy(self) -> Account:
        """As it is now: what is drawn later does not change it."""
        wanted, hits = self.wanted.copy(), self.hits.copy()
        stamps = {name: list(taken) for name, taken in self.stamps.items()}
        seen = list(self.seen)
        return dataclasses.replace(self, wanted=wanted, hits=hits, broken=dict(self.broken), seen=seen, stamps=stamps)

    def state(self) -> dict[str, Any]:
        """As plain values, for a file."""
        numbers = {name: getattr(self, name) for name in ("drawn", "met", "broken", "made", "draws")}
        seen = [base64.b64encode(keys.tobytes()).decode() for keys in self.seen]
        stamps = {name: base64.b64encode(self.taken(name).tobytes()).decode() for name in self.stamps}
        return {**numbers, "wanted": self.wanted.tolist(), "hits": self.hits.tolist(), "seen": seen, "stamps": stamps}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Account:
        """Inverse of `state`."""
        wanted, hits = (np.asarray(state[name], dtype=np.int64) for name in ("wanted", "hits"))
        drawn, met, made, draws = (int(state[name]) for name in ("drawn", "met", "made", "draws"))
        seen = [np.frombuffer(base64.b64decode(keys), dtype=np.uint64) for keys in state["seen"]]
        broken = {str(name): int(rows) for name, rows in state["broken"].items()}
        stamps = {str(n): [np.frombuffer(base64.b64decode(t))] for n, t in state.get("stamps", {}).items()}
        return cls(wanted, hits, drawn, met, broken, seen, made, draws, stamps)

    def taken(self, name: str) -> np.ndarray:
        """Stamps of the column that rows have, in ascending order."""
        pieces = self.stamps.get(name, [])
        if len(pieces) > 1:
            self.stamps[name] = pieces = [np.sort(np.concatenate(pieces))]
        return pieces[0] if pieces else np.zeros(0)

    def size(self, most: int) -> int:
        """Rows to draw: first as many as are wanted, then so many more as the share that was kept asks for."""
        wanted = int(self.wanted.sum())
        if self.drawn:
            wanted = max(FEWEST, round(wanted * (self.drawn + 1) / (int(self.hits.sum()) + 1)))
        return min(most, wanted)

    def blame(self, constraint: Constraint, rows: int) -> None:
        """Counts rows that a constraint alone kept out."""
        self.broken[str(constraint)] = self.broken.get(str(constraint), 0) + rows

    def take(self, at: np.ndarray, places: np.ndarray) -> np.ndarray:
        """The first rows of each class, up to what is wanted of it.

        Arguments:
            at: Rows that met conditions and constraints, shape (n,).
            places: Class of each, -1 for none.
        """
        at, places = at[places >= 0], places[places >= 0]
        self.hits += np.bincount(places, minlength=len(self.hits))
        earlier = pd.Series(places).groupby(places).cumcount().to_numpy()
        is_wanted = earlier < self.wanted[places]
        self.wanted = self.wanted - np.bincount(places[is_wanted], minlength=len(self.hits))
        return at[is_wanted]

    def not_seen(self, frame: pd.DataFrame, at: np.ndarray, unique: Sequence[Unique]) -> np.ndarray:
        """Without rows that repeat another where the constraints forbid it."""
        self.seen = self.seen or [np.zeros(0, dtype=np.uint64) for _ in unique]
        for constraint, seen in zip(unique, self.seen, strict=True):
            keys, counts = constraint.keys(frame.take(at))
            is_new = ~pd.Series(keys).duplicated().to_numpy() & ~np.isin(keys, seen)
            self.blame(constraint, int((counts & ~is_new).sum()))
            at = at[is_new | ~counts]
        return at

    def remember(self, frame: pd.DataFrame, at: np.ndarray, unique: Sequence[Unique]) -> None:
        """Keeps the keys of rows that were kept."""
        for i, constraint in enumerate(unique):
            keys, counts = constraint.keys(frame.take(at))
            self.seen[i] = np.concatenate([self.seen[i], keys[counts]])


PATIENCE = 2**20  # rows drawn before giving up is considered
RARE = 1000  # then, fewer than one row in this many is too few
LOST = 2**17  # of which so many for each class without a single one found are enough: slow models would take hours
FREELY = 2**31 - 1  # stands for the number of a draw, in the seeds of rows that conditions are worked out from
PIECE = 16_384  # rows handed on together, if there are that many

Seeds = tuple[int, int, int]  # seed, part, chunk
Allowed = Mapping[int, Tensor]  # see `codes_within`
NOTHING: Allowed = {}
Draw = Callable[..., pd.DataFrame]  # of rows, what the model is told, seeds, rows made before, and codes it may draw


class Request:
    """What rows are wanted of a fitted table.

    Arguments:
        codec: Of the table.
        conditioning: What the model can be told: see `GenerativeModel`.
        condition: {column: what `Domain.read` understands}.
        balance: Column whose categories come equally often, "label" for the label; None for the model's own shares.
        rules: Constraints that every row meets.
        restricts: Whether the model can be told which codes it may draw.

    Raises:
        UserError: What cannot be asked of this table, or never met.
    """

    def __init__(
        self,
        codec: TableCodec,
        conditioning: str,
        condition: Mapping[str, Any],
        balance: str | None,
        rules: Rules,
        restricts: bool = False,
    ) -> None:
        """See the class."""
        self.codec, self.conditioning, self.rules = codec, conditioning, rules
        self.conditions = Conditions(codec, condition, rules)
        self.column = None if balance is None else _balanced_column(codec, balance)
        self.classes = [0] if self.column is None else self._classes(self.column)
        label = codec.label_codec
        self.told_label = label.field.name if label is not None and conditioning == "label" else None
        self.inverted: Inverted | None = None
        self.settled = set(self.conditions.known())
        self.within: Allowed | None = None if restricts else {}
        limited = {name for constraint in rules.unique for name in constraint.columns}
        self.stamped = [name for name in codec.unique if name not in limited and name not in self.settled]
        self.beyond: set[str] = set()  # columns of which stamps are no longer kept apart, for memory's sake
        self.repeated: dict[str, int] = {}  # rows whose stamp another has, since no other was free
        self.is_certain = self.column is None and not condition and not rules.constraints

    @property
    def _asked(self) -> set[str]:
        """Columns whose cells something was asked of, and the one the model is told."""
        told = {self.told_label} if self.told_label is not None else set()
        return {*self.conditions.regions, *told, *([] if self.column is None else [self.column.field.name])}

    def _classes(self, column: ChoiceColumn) -> list[int]:
        """Positions of the categories to balance; rows where the column is missing belong to none."""
        found = [i for i in self.conditions.classes(column.field.name) if i < len(column.values)]
        if not found:
            raise UserError(f"balance={column.field.name}: the condition {self.conditions} leaves no category")
        return found

    def rows(self, n: int, draw: Draw, seed: int, part: int, first_row: int, parts: int = 1) -> Iterator[pd.DataFrame]:
        """The rows in pieces: as many draws as it takes, each with seeds of its own.

        Arguments:
            n: Rows.
            draw: Asks the model once.
            seed: Of the whole sample.
            part: A further seed, for parts of one sample that are made apart.
            first_row: Rows made before this part, so that ids do not repeat and classes go on in turn.
            parts: Of the sample: unique stamps are shared out among them.

        Raises:
            UserError: Hardly any row meets what is asked.
        """
        account = Account.of(n, first_row, len(self.classes))
        return (frame for frame, _ in self.accounted(account, draw, seed, part, first_row, parts))

    def accounted(
        self, account: Account, draw: Draw, seed: int, part: int = 0, first_row: int = 0, parts: int = 1
    ) -> Iterator[tuple[pd.DataFrame, Account]]:
        """Each piece with the account after it, from which the same rows go on; see `rows`."""
        pieces: list[pd.DataFrame] = []
        while account.wanted.any():
            seeds, size = (seed, part, account.draws), account.size(self.codec.chunk)
            frame = self._made(size, account, draw, seeds, first_row)
            account.draws += 1
            kept = frame if self.is_certain else self._kept(frame, account, first_row + account.made, seeds)
            account.wanted[0] -= len(kept) if self.is_certain else 0
            kept = self._stamped(kept, account, seeds, part, parts) if self.stamped and len(kept) else kept
            account.made += len(kept)
            pieces.append(kept)
            if sum(map(len, pieces)) >= PIECE:
                yield _joined(pieces), account.copy()
                pieces = []
            self._check_hope(account)
        if sum(map(len, pieces)):
            yield _joined(pieces), account.copy()

    def once(self, n: int, draw: Draw, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
        """One draw of n rows, told all that the model can be told, and which of them meet the condition, (n,)."""
        frame = self._made(n, Account.of(n, 0, len(self.classes)), draw, (seed, 0, 0), 0, tells_ranges=True)
        return frame, self.conditions.holds(frame)

    def _made(
        self, n: int, account: Account, draw: Draw, seeds: Seeds, first_row: int, tells_ranges: bool = False
    ) -> pd.DataFrame:
        """Rows of one draw, with what is known exactly and what constraints ask for."""
        picked = self._picked(n, draw, seeds)
        told = self._told(n, account, seeds, picked)
        allowed = self._ranges() if tells_ranges else self._allowed(told, account)
        made = draw(n, told, seeds, first_row + account.made, allowed)
        frame = self._exact(made, picked)
        if self.rules.constraints:
            frame = self.rules.solve(frame, self._asked)
            frame = self.codec.with_cells(frame, {})  # what is computed from a cell that was set
        return frame

    def _picked(self, n: int, draw: Draw, seeds: Seeds) -> dict[str, pd.Series]:
        """Cells of n rows that give a computed number which is asked for, while its sources are not."""
        if self.conditioning != "columns" or not self.codec.plan.relations:
            return {}
        known = self.conditions.known()
        name = open_column(self.codec, known)
        if name is None:
            return {}
        if self.inverted is None:
            settled = self.codec.plan.settled(set(known))
            given = {one: cell for one, cell in known.items() if one in settled}
            told = self.codec.encode_known(given, POOL) if given else None
            frame = draw(POOL, told, (seeds[0], 0, FREELY), 0)  # the same for every part of a sample
            pool = self.codec.with_cells(frame, {one: _repeated(cell, frame[one]) for one, cell in given.items()})
            self.inverted = invert(self.codec, name, {**given, name: known[name]}, pool)
            if self.inverted is None:
                return {}
        return self.inverted.drawn(n, np.random.default_rng([*(abs(s) for s in seeds), 4]))

    def _allowed(self, told: Tensor | None, account: Account) -> Allowed:
        """The codes that the model may draw open columns from, where that is less work than to draw them again.

        A model that is told cells, or codes, draws several candidates for a row. How rare a range is, the share of
        its codes tells from the start: bins hold equally many rows.
        """
        within = self._ranges()
        is_rare = math.prod(float(codes.float().mean()) for codes in within.values()) * SELDOM < 1.0
        is_seldom = account.drawn > SELDOM * int(account.hits.sum())
        return within if told is not None or is_rare or is_seldom else {}

    def _ranges(self) -> Allowed:
        """The codes that open columns may be drawn from, of a model that can be told them."""
        if self.within is None:
            open_ = {name: region for name, region in self.conditions.regions.items() if name not in self.settled}
            self.within = codes_within(self.codec, open_)
        return self.within

    def _told(self, n: int, account: Account, seeds: Seeds, picked: Mapping[str, pd.Series]) -> Tensor | None:
        """What the model is told of n rows: class indices, or rows with NaN where it is free."""
        rng = np.random.default_rng([*(abs(s) for s in seeds), 1])
        open_classes = np.asarray(self.classes)[account.wanted > 0]
        in_turn = open_classes[np.arange(n) % len(open_classes)]
        if self.told_label is not None:
            return self._told_label(in_turn, rng)
        if self.conditioning not in ("categories", "columns"):
            return None
        cells = {**self.conditions.known(), **picked}
        if self.column is not None:
            values = pd.Series(self.column.values, dtype=object)
            cells[self.column.field.name] = values.take(in_turn).reset_index(drop=True)
            there = {name: cell for name, cell in cells.items() if cell.notna().all()}
            cells = {**self.codec.plan.completed(there), **cells}
        return self.codec.encode_known(cells, n) if cells else None

    def _exact(self, frame: pd.DataFrame, picked: Mapping[str, pd.Series]) -> pd.DataFrame:
        """Known cells exactly as asked for: one code may stand for a bin of numbers, or for several rare categories."""
        known = self.conditions.known()
        if self.conditioning == "columns":
            settled = self.codec.plan.settled(set(known))
            cells = {name: _repeated(cell, frame[name]) for name, cell in known.items() if name in settled}
            return self.codec.with_cells(frame, {**cells, **picked})
        if self.conditioning == "categories":  # of which it may have missed some, and was told no numbers
            for column in self.codec.columns:
                if isinstance(column, ChoiceColumn) and column.pool and (name := column.field.name) in known:
                    is_met = column.codes(frame[name]) == column.codes(known[name])[0]
                    exact = frame[name].where(~is_met, _repeated(known[name], frame[name]))
                    frame = self.codec.with_cells(frame, {name: exact})
        return frame

    def _told_label(self, in_turn: np.ndarray, rng: np.random.Generator) -> Tensor | None:
        """Class indices: in turn if the label is balanced, else by their shares among those allowed."""
        if self.column is not None and self.column.field.name == self.told_label:
            return torch.from_numpy(in_turn)
        if self.told_label not in self.conditions.regions:
            return None
        allowed = np.asarray(self.conditions.classes(self.told_label))
        shares = np.asarray(self.codec.spec.class_shares)[allowed]
        return torch.from_numpy(rng.choice(allowed, size=len(in_turn), p=shares / shares.sum()))

    def _kept(self, frame: pd.DataFrame, account: Account, first_row: int, seeds: Seeds) -> pd.DataFrame:
        """The rows that are wanted, with ids of their own."""
        met = self.conditions.holds(frame)
        account.drawn, account.met = account.drawn + len(frame), account.met + int(met.sum())
        for relation in self.codec.plan.checked if self.conditions.regions else ():  # known cells may break an order
            met &= ~relation.breaks(frame, self.codec.schema)
        for constraint in self.rules.rowwise:
            holds = constraint.holds(frame, self.rules.schema)
            account.blame(constraint, int((met & ~holds).sum()))
            met = met & holds
        at = account.not_seen(frame, np.flatnonzero(met), self.rules.unique)
        at = account.take(at, self._places(frame, at))
        account.remember(frame, at, self.rules.unique)
        if len(at) == len(frame):
            return frame
        rng = np.random.default_rng([*(abs(s) for s in seeds), 2])
        return self.codec.renew_ids(frame.take(at).reset_index(drop=True), rng, first_row)

    def _stamped(self, frame: pd.DataFrame, account: Account, seeds: Seeds, part: int, parts: int) -> pd.DataFrame:
        """The rows with stamps that no other has, and what is computed from them; as drawn where that breaks a rule."""
        rng = np.random.default_rng([*(abs(s) for s in seeds), 5])
        for name in self.stamped:
            stamps = Stamps(self.codec, name, self.conditions, rng, part, parts)
            before = account.taken(name)
            if len(before) > MOST_ROWS:
                self.beyond.add(name)
                continue
            cells, taken, repeats = stamps.apart(frame[name], before)
            moved = (cells != frame[name]).to_numpy() & frame[name].notna().to_numpy()
            if moved.any():
                changed = self.codec.with_cells(frame, {name: cells})
                bad = moved & ~self._is_met(changed)
                if bad.any():
                    changed = pd.concat([changed, frame], ignore_index=True)
                    changed = changed.take(np.arange(len(frame)) + len(frame) * bad).reset_index(drop=True)
                    repeats |= bad
                frame = changed
            account.stamps.setdefault(name, [before]).append(taken)
            if repeats.any():
                self.repeated[name] = self.repeated.get(name, 0) + int(repeats.sum())
        return frame

    def _is_met(self, frame: pd.DataFrame) -> np.ndarray:
        """Which rows meet conditions, constraints and orders."""
        met = self.conditions.holds(frame)
        for relation in self.codec.plan.checked:
            met &= ~relation.breaks(frame, self.codec.schema)
        for constraint in self.rules.rowwise:
            met &= constraint.holds(frame, self.rules.schema)
        return met

    def repeats(self) -> list[str]:
        """A line for each column of unique stamps of which rows share some after all."""
        beyond = [f"column {name!r}: stamps beyond {MOST_ROWS:,} rows may repeat; say parts=" for name in self.beyond]
        return beyond + [
            f"column {name!r}: {counted(rows, 'row')} made share a stamp with another, since no other was free; the "
            f"training rows' stamps are unique, so ask for fewer rows or a wider range"
            for name, rows in self.repeated.items()
        ]

    def _places(self, frame: pd.DataFrame, at: np.ndarray) -> np.ndarray:
        """Class of each of these rows among those to balance, -1 for none, shape (n,)."""
        if self.column is None:
            return np.zeros(len(at), dtype=np.int64)
        of_code = np.full(self.column.width + 1, -1)  # the last is for code -1
        of_code[self.classes] = np.arange(len(self.classes))
        return of_code[self.column.codes(frame[self.column.field.name])[at]]

    def _check_hope(self, account: Account) -> None:
        """Raises `UserError` once a class that is still wanted was found too rarely, or never, to go on.

        Rows decide and never the clock: what a fast machine finds, a slow one goes on looking for.
        """
        is_rare = account.hits * RARE * len(self.classes) < account.drawn
        is_lost = (account.hits == 0) & (account.drawn >= LOST * len(self.classes))
        is_hopeless = (account.wanted > 0) & (is_lost | (is_rare & (account.drawn >= PATIENCE)))
        if not is_hopeless.any():
            return
        place = int(np.argmax(is_hopeless))
        asked = [str(self.conditions)] if self.conditions.regions else []
        if self.column is not None:
            asked.append(f"{self.column.field.name}={self.column.values[self.classes[place]]}")
        found = (
            f"{' with '.join(asked) or 'what is asked'} was met by {account.hits[place]} of {account.drawn} rows drawn"
        )
        worst = max(account.broken, key=lambda name: account.broken[name], default="")
        if 2 * sum(account.broken.values()) <= account.met:
            raise UserError(f"{found}; ask for less{self._way_out()}")
        raise UserError(
            f"{found}, since {account.broken[worst]} broke the constraint '{worst}'; loosen it, or ask for less"
        )

    def _way_out(self) -> str:
        """Models that can be told what is asked, where this one cannot."""
        asked = {*self.conditions.regions, *([] if self.column is None else [self.column.field.name])}
        if self.conditioning == "columns" or not asked - {self.told_label}:
            return ""
        only_label = self.codec.label_codec is not None and asked == {self.codec.schema.label}
        return (
            f", or train a model that can be told, {'such as model=cvae' if only_label else 'model=tabar or mixture'}"
        )


def _balanced_column(codec: TableCodec, balance: str) -> ChoiceColumn:
    """The column to balance; raises `UserError` for one without a fixed set of categories."""
    choices = {column.field.name: column for column in codec.columns if isinstance(column, ChoiceColumn)}
    known = ", ".join(choices) or "there is none"
    # the word means the target; only a table without one may have a plain column of that name
    is_plain = codec.schema.label is None and "label" in codec.schema.names
    name = codec.schema.label if balance == "label" and not is_plain else balance
    if name is None:
        raise UserError(f"balance=label: the table has no label; name a category column: {known}")
    if name not in codec.schema.names:
        raise UserError(f"balance={balance}: no such column{near(name, codec.schema.names)}; category columns: {known}")
    if name not in choices:
        raise UserError(f"balance={balance}: {name} is of type {codec.schema[name].type}; category columns: {known}")
    if choices[name].pool:
        count = len(choices[name].values) + len(choices[name].pool)
        raise UserError(
            f"balance={balance}: {name} has {count} categories, the rarest of which are pooled; take another"
        )
    return choices[name]


def target_to_balance(codec: TableCodec, per_class: int) -> str:
    """The target's name, for `per_class` without `balance`; raises `UserError` without a target of categories."""
    if codec.label_codec is not None:
        return codec.label_codec.field.name
    known = ", ".join(column.field.name for column in codec.columns if isinstance(column, ChoiceColumn))
    label = codec.schema.label
    why = "the table has no target" if label is None else f"the target {label} is of type {codec.schema[label].type}"
    raise UserError(f"per_class={per_class}: {why}; name a category column with balance=: {known or 'there is none'}")


def _repeated(cell: pd.Series, like: pd.Series) -> pd.Series:
    return pd.Series([cell.iloc[0]] * len(like), dtype=like.dtype)


def _joined(pieces: list[pd.DataFrame]) -> pd.DataFrame:
    pieces = [piece for piece in pieces if len(piece)]
    return pieces[0] if len(pieces) == 1 else pd.concat(pieces, ignore_index=True)
