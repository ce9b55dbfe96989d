"""What chance gives a figure of pictures: real ones and training ones shuffled together and dealt anew, many times.

A figure of n pictures and its ceiling, of n others, are compared with the same training pictures, so what differs by
chance is which n they are. How much that is, is seen where real and training pictures change places: their features
were made once, so that a deal costs little. Where the ceiling lies is not taken from deals, for a network may know its
training pictures better than others.

Where there are too few real pictures for n and others to compare them with, one half of them is compared with the
other, and the figure is carried on to the synthetic pictures' n at the rate it falls between deals of all and of half.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from datakiln.metrics.base import Figure, Incomplete, MetricError
from datakiln.metrics.pictures.sets import KEPT, Deal, ImageSets, Part
from datakiln.metrics.tables.references import carried_on, interval

TURNS, FLOOR_TURNS = 12, 4
COSTLY = 2e9  # square of the pictures times features, beyond which half of them are dealt
SHARE_TAIL = 0.0025  # probability that chance puts a share beyond an end

Ends = tuple[float, float]


@dataclass
class Draws:
    """Figures of one side by stem, the reason for each that is missing, and how they vary by chance.

    Attributes:
        figures: By `stem` of their names.
        missing: Reasons by name.
        near: Values of deals of all pictures, or of half where those would cost much, by stem; of halves of the naive.
        far: Values of deals of half as many, where they are needed.
        width: Of the spread of `near`, to have that of as many pictures as the figures are of.
    """

    figures: dict[str, Figure]
    missing: dict[str, str]
    near: dict[str, list[float]] = field(default_factory=dict)
    far: dict[str, list[float]] = field(default_factory=dict)
    width: float = 1.0


def stem(name: str) -> str:
    """A figure's name without its n, by which two sides that differ in n are matched."""
    head, _, last = name.rpartition("/")
    return head if head and last[:1] == "n" and last[1:].isdigit() else name


def deal(function: Callable[[ImageSets], list[Figure]], sets: ImageSets, found: Draws, are_few: bool) -> None:
    """Adds what the metric says of real pictures and training ones dealt anew.

    Arguments:
        function: The metric.
        sets: The real pictures that `found` is of.
        found: Gets the values.
        are_few: Whether the figures have to be carried on to more pictures than there are.
    """
    n = _judged(sets, found)
    widest = max((network.dim for network in sets.cache.values()), default=1)
    level = int(n * n * widest > COSTLY)
    found.width = math.sqrt(0.5) if level else 1.0  # of twice as many the variance is half as large, or less
    for more, values in enumerate((found.near, found.far) if are_few else (found.near,)):
        if n >> (level + more) > 1:
            for turn in range(TURNS):
                made = replace(sets, labels=None, deal=Deal(turn, level + more, n))
                _add(values, _figures(function, made))


def halve(function: Callable[[ImageSets], list[Figure]], sets: ImageSets, found: Draws) -> None:
    """Adds what the metric says of random halves of the naive pictures: about a floor that is enough to know."""
    n = _judged(sets, found)
    generator = torch.Generator().manual_seed(sets.seed)
    for _ in range(FLOOR_TURNS if n > 3 else 0):
        rows = torch.randperm(n, generator=generator)[: n // 2].sort().values
        labels = None if sets.labels is None else sets.labels[rows]
        _add(found.near, _figures(function, replace(sets, judged=Part(sets.judged, rows), labels=labels)))


def _judged(sets: ImageSets, found: Draws) -> int:
    return min(max((figure.n or 0 for figure in found.figures.values()), default=0), len(sets.judged), KEPT)


def _add(values: dict[str, list[float]], figures: list[Figure]) -> None:
    for figure in figures:
        values.setdefault(stem(figure.name), []).append(figure.value)


def _figures(function: Callable[[ImageSets], list[Figure]], sets: ImageSets) -> list[Figure]:
    try:
        return function(sets)
    except Incomplete as error:
        return error.found
    except MetricError:  # a half is too few: no range is known of the figure, which stands for itself
        return []


def ends_of_ceiling(figure: Figure, draws: Draws, compared: int) -> tuple[Figure | None, Ends | None, int | None]:
    """A figure's ceiling at its own n, what chance gives real pictures there, and by how many draws that is known.

    Arguments:
        figure: That of the judged pictures.
        draws: Those of real ones.
        compared: How many training pictures the judged are compared with.
    """
    name = stem(figure.name)
    ceiling, near, far = draws.figures.get(name), draws.near.get(name, []), draws.far.get(name, [])
    if ceiling is None:
        return None, None, None
    if ceiling.is_share and ceiling.n and figure.n:
        low, high = _share_ends(ceiling.value, ceiling.n, figure.n)
        return replace(ceiling, n=figure.n), (low, high), 1
    if len(near) < 2:
        return ceiling, None, None
    if not far or ceiling.n is None or figure.n is None:
        _, low, high = interval(near, math.sqrt(2.0) * draws.width, ceiling.value)
        return ceiling, _within(figure, low, high), len(near)
    size, target = _effective(ceiling, ceiling.n), _effective(figure, compared)
    middle, best, error = _carried(figure, ceiling.value, near, far, size, target)
    middle, low, high = interval(near, math.sqrt(2.0 * size / target) * draws.width, middle, error)
    return replace(ceiling, value=middle, n=figure.n), _within(figure, min(low, best), max(high, best)), len(near)


def ends_of_floor(figure: Figure, draws: Draws) -> tuple[Figure | None, Ends | None]:
    """A figure's floor, and about where chance puts it: a standard deviation to both sides."""
    name = stem(figure.name)
    floor, values = draws.figures.get(name), draws.near.get(name, [])
    if floor is None:
        return None, None
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
    if floor.is_share and floor.n:
        spread = math.sqrt(floor.value * (1.0 - floor.value) / floor.n)
    return floor, None if spread is None else _within(figure, floor.value - spread, floor.value + spread)


def decides_nothing(figure: Figure, real: Ends, naive: Ends) -> bool:
    """Whether chance gives naive pictures what it gives real ones."""
    if figure.better == "none" and figure.ideal is None:
        return False

    def loss(value: float) -> float:
        if figure.ideal is not None:
            return abs(value - figure.ideal)
        return -value if figure.better == "higher" else value

    return min(map(loss, naive)) <= max(map(loss, real))


def _share_ends(share: float, n: int, other: int) -> Ends:
    """Between which shares of `other` examples 99.5 % lie by chance, where n of the same kind had this share."""
    from scipy.stats import betabinom

    had = share * n
    low, high = betabinom.ppf([SHARE_TAIL, 1.0 - SHARE_TAIL], other, had + 0.5, n - had + 0.5)
    return min(float(low) / other, share), max(float(high) / other, share)


def _within(figure: Figure, low: float, high: float) -> Ends:
    bottom = -math.inf if figure.low is None else figure.low
    top = math.inf if figure.high is None else figure.high
    return max(low, bottom), min(high, top)


def _effective(figure: Figure, compared: int) -> float:
    """Chance keeps n pictures and N others as far apart as so many from what they are drawn from: 1 / (1/n + 1/N)."""
    n = figure.n or 1
    beside = min(compared, int((figure.detail or {}).get("n_real", n)))
    return n * beside / (n + beside)


def _carried(
    figure: Figure, value: float, near: list[float], far: list[float], size: float, target: float
) -> tuple[float, float, float]:
    """A ceiling at another effective size, by deals of two sizes: the value, the best it may be, its standard error.

    The fall of a distance steepens with the size, towards that of 1/n, which is the best.
    """
    perfect = figure.ideal if figure.ideal is not None else figure.high if figure.better == "higher" else figure.low
    if perfect is None:
        return value, value, 0.0
    sign = -1.0 if figure.better == "higher" else 1.0
    gap, gaps = sign * (value - perfect), [[sign * (one - perfect) for one in some] for some in (near, far)]
    middle = float(np.mean(gaps[0]))
    if gap <= 0.0 or min(map(min, gaps)) < -1e-9 or middle <= 0.0:
        return value, value, 0.0  # an unbiased figure scatters around the perfect value: no distance
    carried, error = carried_on(gaps[0], gaps[1], size, size / 2, target)
    best = perfect + sign * gap * min(size / target, 1.0)
    return perfect + sign * carried * gap / middle, best, error * gap / middle
