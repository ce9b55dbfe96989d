"""Other rows in place of the synthetic, drawn again and again: real ones (ceiling) and naive ones (floor).

What a figure says of synthetic rows is read against what it says of real rows in the same place, and of real rows whose
columns were shuffled one by one, which have all margins and no relation. Both are drawn from all real rows, train and
holdout together, several times, so that chance shows; the rest of the real rows is what they are compared with. A
`Plan` says how:

- `TwoTables`: distances between two tables of n and N rows, as fidelity is. Chance alone keeps such a distance from 0,
  the more so the fewer rows, so n and N count. Where the real rows are too few for two tables of that size, tables of
  the same proportions are drawn at two smaller sizes, and the distance is carried on to n at the rate it falls between
  them.
- `Unseen`: synthetic rows against as many rows that the generator has not seen, as in a two-sample test.
- `Neighbours`: a mean or percentile over synthetic rows of something about train, as in privacy. It does not depend on
  how many rows are judged, only its chance does.
- `Alone`: nothing takes the place of the synthetic rows, as in an audit, whose controls are its own.
- `Lessons`: what a learner is trained on. The ceiling learns from the training rows, its chance is that of learning
  from either half of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from datakiln.metrics.base import Drawn, EvalData, MetricError, Plan
from datakiln.metrics.tables.columns import Coded, Ints, Tables, renumbered, tables

SMALL, SMALL_CELLS = 5_000, 150_000  # rows and cells of all real data
MOST = 50_000  # rows of one drawn table: beyond that they cost more than they tell
KEPT_CHOICES = ("derived", "relations", "copied")  # what a metric has chosen by training rows holds for all draws
KEPT_CELLS = 2_000_000  # cells of all draws that metrics share; those of larger tables are drawn anew for each
PRIOR = 0.09  # variance of the power by which distances fall with size around one half, over kinds of figures
WIDEST = 4.0  # standard deviations to an end, where few draws would put it further


def resample_columns(frame: pd.DataFrame, n: int, rng: np.random.Generator) -> pd.DataFrame:
    """Rows whose columns are drawn independently, with replacement, from the frame's: right margins, no relation."""
    draws = {name: column.take(rng.integers(len(frame), size=n)) for name, column in frame.items()}
    return pd.DataFrame({name: column.reset_index(drop=True) for name, column in draws.items()})


@dataclass(frozen=True)
class TwoTables(Plan):
    """See the module.

    Arguments:
        draws: Draws of real rows.
        floors: Draws of naive rows.
        most: Rows of one drawn table at most.
        is_equal: Whether the metric cuts both tables to the same length, which is its n.
    """

    draws: int = 10
    floors: int = 5
    most: int = MOST
    is_equal: bool = False

    def turns(self, data: EvalData, is_naive: bool) -> int:
        """Twice as many draws of small tables, which cost nothing."""
        is_small = _rows(data) <= SMALL and _rows(data) * len(data.train.columns) <= SMALL_CELLS
        return super().turns(data, is_naive) * (2 if is_small else 1)

    def target(self, data: EvalData, n: int) -> float:
        """Effective size of n rows against those of train; see `_effective`."""
        return _effective(n, n if self.is_equal else len(data.train))

    def draw(self, data: EvalData, n: int, turn: int, is_naive: bool, level: int = 0) -> Drawn | None:
        """One table of real rows beside another; None where a smaller level would say nothing new."""
        total = _rows(data)
        beside = n if self.is_equal else len(data.train)
        first, second = n, beside
        if first + second > total or max(first, second) > self.most:
            share = min(first / second, 1.0)
            second = min(int(total / (1.0 + share)), self.most)
            first = max(int(second * share), 1)
            first = min(first, total - second)
        elif level:
            return None
        first, second = first >> level, second >> level
        if min(first, second) < 2:
            raise MetricError(f"{total} real rows are too few to draw two tables from")
        made = _parts(data, self, turn, (first, 0, second), is_naive)
        return Drawn(made, _effective(first, second))


@dataclass(frozen=True)
class Unseen(Plan):
    """See the module."""

    draws: int = 4
    floors: int = 2
    borrows: bool = True

    def draw(self, data: EvalData, n: int, turn: int, is_naive: bool, level: int = 0) -> Drawn | None:
        """As many real rows as were judged in place of the synthetic, and as many others in place of the holdout."""
        if level:
            return None
        total = _rows(data)
        n = min(n, (total - 1) // 2)
        return Drawn(_parts(data, self, turn, (n, n, total - 2 * n), is_naive), None)


@dataclass(frozen=True)
class Alone(Plan):
    """See the module."""

    draws: int = 0
    floors: int = 0

    def draw(self, data: EvalData, n: int, turn: int, is_naive: bool, level: int = 0) -> Drawn | None:
        """There is none."""
        return None


@dataclass(frozen=True)
class Neighbours(Plan):
    """See the module.

    Arguments:
        draws: Draws of real rows.
        floors: Draws of naive rows.
        most: Rows judged in one draw at most.
        holdout: Whether the metric looks at the holdout too, whose rows then are others than those judged: at "few" of
            it, or at "all", where its size counts.
        decides: See `Plan`.
    """

    draws: int = 5
    floors: int = 2
    most: int = 5_000
    holdout: Literal["no", "few", "all"] = "no"
    decides: bool = False

    def target(self, data: EvalData, n: int) -> float | None:
        """Effective size of n rows against train; None where the sizes of train and holdout decide, not n."""
        return _effective(n, len(data.train)) if self.holdout == "no" else None

    def draw(self, data: EvalData, n: int, turn: int, is_naive: bool, level: int = 0) -> Drawn | None:
        """Real rows in place of the synthetic, beside as many as train has, or nearly."""
        if level:
            return None
        total = _rows(data)
        held = len(data.holdout) or total // 5
        if self.holdout != "all":
            held = min(held, self.most)
        if self.holdout == "no":
            judged, aside = held, 0
        else:
            aside = min(held, total // 3)
            judged = min(n, self.most, aside)
        beside = min(len(data.train), total - judged - aside)
        if min(judged, beside) < 2:
            raise MetricError(f"{total} real rows are too few to draw from")
        made = _parts(data, self, turn, (judged, aside, beside), is_naive)
        return Drawn(made, _effective(judged, beside) if self.holdout == "no" else None)


@dataclass(frozen=True)
class Lessons(Plan):
    """See the module.

    Arguments:
        draws: Fits on half of the training rows, whose spread is the chance of a fit.
        floors: Fits on naive rows.
        is_added: Whether the metric adds synthetic rows to the real ones: its ceiling learns from the real ones alone.
    """

    draws: int = 4
    floors: int = 2
    is_added: bool = False
    is_centred: bool = True
    borrows: bool = True

    def centre(self, data: EvalData) -> EvalData:
        """The training rows as lesson, as many as there are synthetic ones."""
        rows = len(data.train)
        order = np.random.default_rng([data.seed, 5]).permutation(rows)[: len(data.synthetic)]
        return self._lesson(data, np.arange(rows) if self.is_added else np.sort(order), -1)

    def draw(self, data: EvalData, n: int, turn: int, is_naive: bool, level: int = 0) -> Drawn | None:
        """Half of the training rows as lesson; or shuffled ones, as many as there are synthetic rows."""
        if level:
            return None
        if is_naive:
            rng = np.random.default_rng([data.seed, 6, turn])
            rows = min(len(data.synthetic), len(data.train))
            return Drawn(replace(data, synthetic=resample_columns(data.train, rows, rng)), None)
        if len(data.train) < 4:
            raise MetricError(f"{len(data.train)} training rows are too few to halve")
        order = np.random.default_rng([data.seed, 7, turn // 2]).permutation(len(data.train))
        return Drawn(self._lesson(data, np.sort(order[turn % 2 :: 2]), turn), None)

    def _lesson(self, data: EvalData, rows: Ints, turn: int) -> EvalData:
        lesson = data.train.iloc[rows]
        if self.is_added:
            made = replace(data, train=lesson, synthetic=lesson.iloc[:0])
        else:
            made = replace(data, synthetic=lesson)
        t = tables(data)
        part = t.train.take(rows)
        first, last = (part, part.take(slice(0, 0))) if self.is_added else (t.train, part)
        made.cache["tables"] = replace(t, parts=(first, t.holdout, last))
        # the same lesson, alone or with nothing added to it, is learnt once
        made.cache["fits"] = data.cache.setdefault(f"fits {turn} {len(rows)}", {})
        return made


def lent(data: EvalData) -> EvalData:
    """Some rows of train as the holdout, for want of one."""
    order = np.random.default_rng([data.seed, 9]).permutation(len(data.train))
    cut = max(int(data.lend * len(data.train)), 1)
    holdout, train = (data.train.iloc[np.sort(rows)] for rows in (order[:cut], order[cut:]))
    return replace(data, train=train, holdout=holdout, lend=0.0)


def _effective(first: int, second: int) -> float:
    """Chance keeps two tables as far apart as one of so many rows from what it was drawn from: 1 / (1/n + 1/N)."""
    return first * second / max(first + second, 1)


def _rows(data: EvalData) -> int:
    return len(data.train) + len(data.holdout)


def _parts(data: EvalData, plan: Plan, turn: int, sizes: tuple[int, int, int], is_naive: bool) -> EvalData:
    """All real rows dealt anew: synthetic, holdout and train of these sizes; naive ones have their columns shuffled.

    Without rows for the holdout it is the synthetic itself, as metrics that measure both know.
    """
    kept: dict[Any, EvalData] = data.cache.setdefault("drawn", {})
    shared: dict[Any, dict[str, Any]] = data.cache.setdefault("shared", {})
    key = (turn, sizes, is_naive)
    choices = {name: work for name, work in data.cache.items() if name.startswith(KEPT_CHOICES)}
    if key in kept:
        kept[key].cache.update(choices)
        return kept[key]
    if "last" in shared:  # what metrics have found of a large draw is small and stays, its rows go
        shared["last"].pop("tables", None)
    rng = np.random.default_rng([data.seed, 7, turn, *sizes])
    order = rng.permutation(_rows(data))
    ends = np.cumsum(sizes)
    synthetic, holdout, train = (order[end - size : end] for end, size in zip(ends, sizes, strict=True))
    columns = len(data.train.columns)
    shuffles = [rng.permutation(sizes[0]) for _ in range(columns)] if is_naive else None
    frame = pd.concat([data.train, data.holdout], ignore_index=True) if len(data.holdout) else data.train
    frame = data.cache.setdefault("real", frame)
    judged = frame.iloc[synthetic].reset_index(drop=True)
    if shuffles is not None:
        mixed = {name: judged[name].array.take(s) for name, s in zip(judged, shuffles, strict=True)}
        judged = pd.DataFrame(mixed)
    made = EvalData(data.schema, frame.iloc[train], frame.iloc[holdout] if sizes[1] else judged, judged, data.seed)
    made.cache.update(choices)
    coded = _coded(data)
    if coded is not None:
        rows = coded.parts[0].take(synthetic)
        if shuffles is not None:
            rows = _shuffled(rows, data, coded, shuffles)
        aside = coded.parts[0].take(holdout) if sizes[1] else rows
        made.cache["tables"] = renumbered(coded, (coded.parts[0].take(train), aside, rows))
    if sum(sizes) * columns * (plan.draws + plan.floors) <= KEPT_CELLS:
        kept[key] = made
        return made
    for name, work in shared.get(key, {}).items():
        made.cache.setdefault(name, work)
    shared[key] = shared["last"] = made.cache
    return made


def _coded(data: EvalData) -> Tables | None:
    """All real rows as one coded table; None where no column can be compared."""
    if "real coded" not in data.cache:
        try:
            t = tables(data)
        except MetricError:  # a metric that needs columns will say so itself
            data.cache["real coded"] = None
        else:
            numbers = np.concatenate([t.train.numbers, t.holdout.numbers])
            codes = np.concatenate([t.train.codes, t.holdout.codes])
            data.cache["real coded"] = replace(t, parts=(Coded(numbers, codes),))
    return data.cache["real coded"]  # type: ignore[no-any-return]


def _shuffled(rows: Coded, data: EvalData, t: Tables, shuffles: list[Ints]) -> Coded:
    """Coded rows whose columns are shuffled as those of the frame were."""
    at = dict(zip(map(str, data.train.columns), shuffles, strict=True))
    numbers, codes = rows.numbers.copy(), rows.codes.copy()
    for i, name in enumerate(t.numeric):
        numbers[:, i] = numbers[at[name], i]
    for i, name in enumerate(t.choices):
        codes[:, i] = codes[at[name], i]
    return Coded(numbers, codes)


def interval(
    values: list[float], width: float = 1.0, middle: float | None = None, error: float = 0.0, widest: float = WIDEST
) -> tuple[float, float, float]:
    """Middle, lowest and highest value that chance gives, of repeated draws.

    The ends hold one more draw with a probability of about 99 % where draws are normal, and all that were seen.

    Arguments:
        values: Of the draws.
        width: Factor on their spread, where chance is larger or smaller in what they stand for.
        middle: What they scatter around, if that is known better than by their mean.
        error: Standard error of the middle.
        widest: Standard deviations to an end at most.
    """
    from scipy.stats import t as student

    centre = float(np.mean(values))
    middle = centre if middle is None else middle
    if len(values) < 2:
        return middle, middle, middle
    spread = float(np.std(values, ddof=1))
    reach = min(float(student.ppf(0.995, len(values) - 1)), widest)
    half = math.hypot(width * spread * reach * math.sqrt(1.0 + 1.0 / len(values)), 2.5 * error)
    low, high = (middle + width * (end - centre) for end in (min(values), max(values)))
    return middle, min(middle - half, low), max(middle + half, high)


def carried_on(near: list[float], far: list[float], k: float, k_far: float, k_target: float) -> tuple[float, float]:
    """Mean distance at another effective size, and the standard error of carrying it on.

    Distances between samples fall as a power of their size: one half where the tables are dense, less where most
    categories are rare, one for the ends of a range, and a negative one for repetitions, which grow with a table. The
    power is taken from two sizes, and drawn towards one half as far as chance leaves it open.

    Arguments:
        near: Distances at effective size k, nearest to the target.
        far: Distances at effective size k_far < k.
        k: See `near`.
        k_far: See `far`.
        k_target: The size to carry on to.
    """
    mean, smaller = float(np.mean(near)), float(np.mean(far))
    factor = math.log(k_target / k)
    if mean <= 0.0 or smaller <= 0.0:
        return mean * math.exp(-0.5 * factor), 0.0
    step = math.log(k / k_far)
    found = math.log(smaller / mean) / step
    noise = sum((np.std(v) / np.mean(v)) ** 2 / max(len(v) - 1, 1) for v in (near, far)) / step**2
    weight = PRIOR / (PRIOR + noise)
    power = min(max(weight * found + (1.0 - weight) * 0.5, -1.0), 1.5)
    value = mean * math.exp(-power * factor)
    return value, value * abs(factor) * math.sqrt(noise * weight)
