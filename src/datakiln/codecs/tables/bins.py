"""Numbers as categories: few distinct values as they are, many as bins of equal count with a density inside each."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np

from datakiln.codecs.tables.grid import Grid
from datakiln.codecs.tables.scaling import NumericEncoder
from datakiln.codecs.tables.values import all_numbers
from datakiln.spec import Block

FEW = 20  # up to this many distinct values count as few even where each has two rows only
REPEATS = 5  # rows a distinct value must have on average to be kept as it is, where there are more of them
BIN_ROWS = 8  # a bin stands for at least this many training rows
STEP_ROWS = 4  # and each step of its density for this many, so that no step gives a single row away
MANY = 8  # bins that a value fills before it has a code of its own, where it has a width inside one anyway
STEEP = 3.0  # from this ratio between neighbouring knots of one sign, values between them are spread geometrically
GAP = 15.0  # times the usual distance of the values around it: nothing lies in a gap of the training rows
EVERYWHERE = Grid()
ARRAYS = {"edges": np.float64, "bin_codes": np.int64, "points": np.float64, "point_codes": np.int64}  # of a state
SMOOTH = 2  # bins: deviation of the kernel that smooth ones are averaged with
BELOW_ONE = 1.0 - 2.0**-12  # a place that float32 still tells from the next code's, up to thousands of codes


def _most(rows: int) -> int:
    """Codes of a column of so many rows: as many as each of them then has rows, for what goes with a code is learnt."""
    return max(FEW, math.isqrt(rows))


def _is_steep(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return (np.sign(low) * np.sign(high) > 0) & ((high / low > STEEP) | (low / high > STEEP))


def _gaps(rest: np.ndarray, grid: float) -> np.ndarray:
    """Where sorted values are to be parted, for nothing lies between: wide beside the distances around, and no tail."""
    n = len(rest)
    if n < 4 * BIN_ROWS:
        return np.zeros(0, dtype=np.int64)
    wide = np.diff(rest)
    at = np.arange(1, n)
    before = (rest[at - 1] - rest[np.maximum(at - BIN_ROWS, 0)]) / (BIN_ROWS - 1)
    after = (rest[np.minimum(at + BIN_ROWS - 1, n - 1)] - rest[at]) / (BIN_ROWS - 1)
    usual = np.maximum(np.maximum(before, after), grid)
    inside = (at >= BIN_ROWS) & (at <= n - BIN_ROWS)
    return at[inside & (wide > GAP * usual) & (wide > 0)]


def _knots(run: np.ndarray, bins: int, steps: int) -> np.ndarray:
    """Quantiles inside each of the bins of equal count, shape (bins, steps + 1); ties make bins without width.

    A short run between two gaps has fewer steps, each cut into equal pieces: none is of fewer than `STEP_ROWS` rows.
    """
    bins = int(np.clip(len(run) // BIN_ROWS, 1, bins))
    own = int(np.clip(len(run) // (bins * STEP_ROWS), 1, steps))
    quantiles = np.quantile(run, np.linspace(0.0, 1.0, bins * own + 1))
    at = (np.arange(bins)[:, None] + np.linspace(0.0, 1.0, steps + 1)) * own
    inner = np.interp(at, np.arange(bins * own + 1), quantiles)
    return inner[(inner[:, -1] > inner[:, 0]) | (np.arange(bins) == 0)]


def _with_tails(inner: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """The same knots, with a code of its own for the last step of either end where that is steep.

    Spread evenly in logarithms, the rows of such a step would lie too near to the end: they thin out on the way.
    """
    steps = inner.shape[1] - 1
    for end, beside in ((-1, -2), (0, 1)):
        knots = inner[end]
        tail = _tail(rest, knots[beside], knots[end], steps) if steps > 1 else None
        if tail is None:
            continue
        low, high = (knots[0], knots[beside]) if end else (knots[beside], knots[-1])
        kept = np.quantile(rest[(rest >= low) & (rest <= high)], np.linspace(0.0, 1.0, steps + 1))
        kept[0], kept[-1] = low, high
        inner = np.concatenate([inner[:-1], [kept, tail]] if end else [[tail, kept], inner[1:]])
    return inner


def _tail(rest: np.ndarray, near: float, end: float, steps: int) -> np.ndarray | None:
    """Quantiles between two values of one sign, of an exponential law of the logarithm cut off at the end, rising.

    Its rate is that of the rows there (of Pareto's law, Hill, 1975, https://doi.org/10.1214/aos/1176343247, but cut
    off). None where the way is not steep, rows are too few, or several lie where it begins: which code would be theirs?
    """
    beyond = rest[rest > near] if end > near else rest[rest < near]
    if len(beyond) < BIN_ROWS or (rest == near).sum() > 1 or not _is_steep(np.asarray(near), np.asarray(end)):
        return None
    start, way = math.log(abs(near)), math.log(abs(end)) - math.log(abs(near))
    mean = float(((np.log(np.abs(beyond)) - start) / way).mean())
    low, high = 0.0, 1e3  # of the rate, in units of the way
    for _ in range(60):
        rate = (low + high) / 2
        is_heavier = rate < 1e-6 or 1.0 / rate - 1.0 / math.expm1(min(rate, 700.0)) > mean
        low, high = (rate, high) if is_heavier else (low, rate)
    share = np.linspace(0.0, 1.0, steps + 1)
    if rate > 1e-5:
        share = -np.log1p(share * math.expm1(-rate)) / rate
    knots = np.sort(math.copysign(1.0, near) * np.exp(start + share * way))
    knots[[0, -1]] = sorted((near, end))
    return knots


def _smooth_knots(rest: np.ndarray, bins: int, steps: int) -> np.ndarray:
    """Knots of the quantile function averaged over neighbouring bins, shape (bins, steps + 1).

    Bins are as wide as those around them: a change from one step of a series to the next is then of the same law in
    codes wherever it begins, while the density itself is left to how often each code occurs.
    """
    n = bins * steps
    quantiles = np.quantile(rest, np.linspace(0.0, 1.0, n + 1))
    reach = min(3 * SMOOTH * steps, n)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / (SMOOTH * steps)) ** 2)
    low = 2 * quantiles[0] - quantiles[reach:0:-1]  # mirrored, so that the ends stay where they are
    high = 2 * quantiles[-1] - quantiles[-2 : -reach - 2 : -1]
    smooth = np.convolve(np.r_[low, quantiles, high], kernel / kernel.sum(), mode="valid")
    smooth[0], smooth[-1] = quantiles[0], quantiles[-1]
    found = np.maximum.accumulate(smooth)[np.arange(bins)[:, None] * steps + np.arange(steps + 1)]
    return found[(found[:, -1] > found[:, 0]) | (np.arange(bins) == 0)]


def _cut_at(knots: np.ndarray, spikes: np.ndarray) -> np.ndarray:
    """Bins of knots (bins, steps + 1), none of them across one of the spikes: codes stay in the order of values."""
    steps = knots.shape[1] - 1
    found = []
    for bin_ in knots:
        cuts = spikes[(spikes > bin_[0]) & (spikes < bin_[-1])]
        along = np.interp(cuts, bin_, np.arange(steps + 1))  # a level stretch is passed on one side
        for places, ends in zip(pairwise([0.0, *along, steps]), pairwise([bin_[0], *cuts, bin_[-1]]), strict=True):
            part = np.interp(np.linspace(*places, steps + 1), np.arange(steps + 1), bin_)
            part[[0, -1]] = ends  # to the digit
            found.append(part)
    return np.stack(found)


class Bins(NumericEncoder):
    """A number as one of finitely many codes, ordered by value.

    A column with few distinct values has a code for each. Any other is cut into bins of equal count; a value that
    alone fills a bin (a spike) gets a code of its own. Inside a bin, values follow the empirical quantile function
    between knots that are several training rows apart: no training value is ever copied. Between two knots it is
    linear, or geometric where one is several times the other, and the last rows of a heavy tail thin out as they did in
    training, so that its mass stays where it was. No bin and no piece of one reaches across a gap: what lay empty stays
    so.

    Arguments:
        distinct: Most distinct values that are kept as they are; never more than the square root of the rows, or 20.
        bins: Most bins of a column with more of them; limited likewise.
        steps: Pieces of the quantile function inside a bin.
        smooth: Whether bins are as wide as those around them, and gaps bridged: for series, whose values move.
    """

    wants_spikes = False
    knots: np.ndarray  # quantiles inside each code, shape (codes, steps + 1); all the same for a single value
    edges: np.ndarray  # between neighbouring bins
    bin_codes: np.ndarray  # code of each bin
    points: np.ndarray  # values with a code of their own
    point_codes: np.ndarray

    def __init__(self, distinct: int = 256, bins: int = 128, steps: int = 8, smooth: bool = False) -> None:
        """See the class."""
        if min(distinct, bins, steps) < 1:
            raise ValueError(f"distinct={distinct}, bins={bins} and steps={steps} must be at least 1")
        self.distinct, self.bins, self.steps, self.smooth = distinct, bins, steps, smooth

    def fit(self, values: np.ndarray, grid: Grid = EVERYWHERE, shared: bool = False) -> None:
        """Learns values, spikes and bins.

        Arguments:
            values: Finite training values.
            grid: Where they lie: each stands for all that are put on it.
            shared: Whether values that several rows share have a width of their own inside codes, see `Atoms`: bins
                that are `smooth` then make a spike only of one that fills several.
        """
        values = values if len(values) else np.zeros(1)
        self.neutral = float(np.median(values))
        points, counts = np.unique(values, return_counts=True)
        repeats = 2 if len(points) <= FEW else REPEATS
        most = min(self.distinct, _most(len(values)))
        if len(points) == 1 or (len(points) <= most and len(values) >= repeats * len(points)):
            self._fit_points(points)
        else:
            self._fit_bins(values, points, counts, grid, MANY if self.smooth and shared else 1)

    def _fit_points(self, points: np.ndarray) -> None:
        self.points, self.knots = points, np.repeat(points[:, None], 2, axis=1)
        self.point_codes = self.bin_codes = np.arange(len(points))
        self.edges = (points[1:] + points[:-1]) / 2  # a value not seen in training takes the nearest code

    def _fit_bins(self, values: np.ndarray, points: np.ndarray, counts: np.ndarray, grid: Grid, filled: int) -> None:
        bins = int(np.clip(len(values) // BIN_ROWS, 1, min(self.bins, max(FEW, 2 * _most(len(values)) // 3))))
        spikes = points[counts >= max(filled * len(values) / bins, BIN_ROWS)]
        rest = values[~np.isin(values, spikes)]
        inside = np.random.default_rng(0).random(len(rest))
        rest = np.sort(grid.dequantise(rest, inside)) if len(rest) else np.zeros(1)
        bins = int(np.clip(len(rest) // BIN_ROWS, 1, bins))
        if self.smooth:
            steps, inner = self.steps, _cut_at(_smooth_knots(rest, bins, self.steps), spikes)
        else:
            steps = int(np.clip(len(rest) // (bins * STEP_ROWS), 1, self.steps))
            runs = np.split(rest, _gaps(rest, grid.step))
            inner = np.concatenate([_knots(run, max(round(bins * len(run) / len(rest)), 1), steps) for run in runs])
            inner = _with_tails(inner, rest)
        knots = np.concatenate([inner, np.repeat(spikes[:, None], steps + 1, axis=1)])
        order = np.argsort(knots.mean(axis=1), kind="stable")
        codes = np.empty(len(order), dtype=np.int64)
        codes[order] = np.arange(len(order))
        self.knots, self.points = knots[order], spikes
        self.edges = (inner[1:, 0] + inner[:-1, -1]) / 2
        self.bin_codes, self.point_codes = codes[: len(inner)], codes[len(inner) :]

    @classmethod
    def of_knots(cls, knots: np.ndarray) -> Bins:
        """An encoder of these codes, in rising order, fitted to no values: shape (codes, steps + 1), see the class."""
        encoder = cls(steps=knots.shape[1] - 1)
        encoder.knots = knots
        single = encoder.is_single
        if single.all():
            encoder._fit_points(knots[:, 0])
        else:
            inner = knots[~single]
            encoder.edges = (inner[1:, 0] + inner[:-1, -1]) / 2
            encoder.points = knots[single, 0]
            encoder.bin_codes, encoder.point_codes = np.flatnonzero(~single), np.flatnonzero(single)
        encoder.neutral = float(knots[len(knots) // 2, 0])
        return encoder

    @property
    def size(self) -> int:
        """Number of codes."""
        return len(self.knots)

    def codes(self, values: np.ndarray) -> np.ndarray:
        """The code of each value, shape (n,)."""
        codes = self.bin_codes[np.searchsorted(self.edges, values, side="right")]
        if len(self.points):
            at = np.minimum(np.searchsorted(self.points, values), len(self.points) - 1)
            codes = np.where(self.points[at] == values, self.point_codes[at], codes)
        return codes

    def coordinates(self, values: np.ndarray, grid: Grid = EVERYWHERE, inside: np.ndarray | float = 0.5) -> np.ndarray:
        """Code plus place of each value, shape (n,); see `Grid.dequantise`."""
        codes = self.codes(values)
        if not self._is_points:
            free = ~np.isin(values, self.points)
            values = np.where(free, grid.dequantise(values, inside), values)
            codes[free] = self.bin_codes[np.searchsorted(self.edges, values[free], side="right")]
        return codes + self.places(values, codes)

    @property
    def is_single(self) -> np.ndarray:
        """Which codes stand for a single value each."""
        return self.knots[:, -1] == self.knots[:, 0]

    @property
    def _is_points(self) -> bool:
        return len(self.points) == len(self.knots)

    def from_codes(self, codes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A value for each code, drawn from the density inside it."""
        return self.at(codes, rng.random(len(codes)))

    def at(self, codes: np.ndarray, places: np.ndarray) -> np.ndarray:
        """The value at a place in [0, 1) inside each code, as a share of the code's rows."""
        place = np.clip(places, 0.0, 1.0) * (self.knots.shape[1] - 1)
        step = np.minimum(place.astype(np.int64), self.knots.shape[1] - 2)
        low, high, share = self.knots[codes, step], self.knots[codes, step + 1], place - step
        values = low + share * (high - low)
        steep = _is_steep(low, high)
        values[steep] = low[steep] * (high[steep] / low[steep]) ** share[steep]
        return values

    def places(self, values: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Inverse of `at`: where in its code each value lies, in [0, 1); 0.5 in a code of a single value."""
        knots, steps = self.knots[codes], self.knots.shape[1] - 1
        step = np.clip((knots[:, 1:-1] <= values[:, None]).sum(axis=1), 0, steps - 1)
        rows = np.arange(len(codes))
        low, high = knots[rows, step], knots[rows, step + 1]
        wide, steep = high > low, _is_steep(low, high)
        share = np.full(len(codes), 0.5)
        share[wide] = (values[wide] - low[wide]) / (high[wide] - low[wide])
        ratio = np.maximum(values[steep] / low[steep], 1e-300)
        share[steep] = np.log(ratio) / np.log(high[steep] / low[steep])
        place = (step + np.clip(share, 0.0, 1.0)) / steps
        return np.where(knots[:, -1] > knots[:, 0], np.clip(place, 0.0, BELOW_ONE), 0.5)

    def blocks(self, start: int, gate: int | None) -> tuple[Block, ...]:
        """One choice among the codes."""
        return (Block(start, start + self.size, "choice", gate),)

    def encode(self, values: np.ndarray) -> np.ndarray:
        """One-hot codes, shape (n, size)."""
        return np.eye(self.size, dtype=np.float32)[self.codes(values)]

    def decode(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A value drawn inside the most probable code."""
        return self.from_codes(x.argmax(axis=1), rng)

    def state(self) -> dict[str, Any]:
        """Knots and edges."""
        return {"neutral": self.neutral, **{name: getattr(self, name).tolist() for name in ("knots", *ARRAYS)}}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Bins:
        """Inverse of `state`; raises `ValueError` for what is no state of bins."""
        encoder = cls()
        (encoder.neutral,) = all_numbers([state["neutral"]])
        encoder.knots = np.asarray([all_numbers(knots) for knots in state["knots"]], dtype=np.float64)
        for name, kind in ARRAYS.items():
            setattr(encoder, name, np.asarray(all_numbers(state[name]), dtype=kind))
        return encoder
