"""Asked slant, thickness and mass of pictures against measured ones, and what else changes with them.

Each attribute has a linear direction in the latent space, as `attribute= edit=` of `sample` has. A value is asked for
by a move along it, as long as the attribute's mean gain on a step that way demands; one move, no search.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from datakiln.errors import UserError
from datakiln.metrics.pictures.shapes import mass, slant, thickness
from datakiln.results import Score
from datakiln.sampling.latent import Points, classes_of, direction, normal, points_of, shown
from datakiln.sampling.synthesizer import Synthesizer
from datakiln.studies.uses.base import between, mean, not_computed, not_offered

CONTROL = ("control/asked_r2", "control/drift")
LEARNT, TRIED, ASKED = 1000, 100, 200  # points: for directions, for the gain of a step, and those asked for a value
REACH = 5.0  # standard deviations that a point is moved at most: further out a model has drawn next to nothing
TARGETS = (0.1, 0.9)  # quantiles between which values are asked for
REACHED = 0.1  # of the change that was asked for, below which nothing has followed it, and drift has no measure
DEALS = 8  # of other pictures, for the floor of the drift
CLASS = "class"

Floats = NDArray[np.float64]
Attributes = Callable[[Any], Mapping[str, Floats]]
Probabilities = Callable[[Any], Floats]


@dataclass(frozen=True)
class Moved:
    """Pictures of the same points before and after one attribute was asked for.

    Attributes:
        asked: Values asked for, (n,), less the class's mean and in standard deviations, as all values here.
        before: Values of every attribute, (n,) each.
        after: The same after the move.
        pictures: After the move.
    """

    asked: Floats
    before: Mapping[str, Floats]
    after: Mapping[str, Floats]
    pictures: Any


def attribute_scores(synthesizer: Synthesizer, probabilities: Probabilities | None, seed: int) -> list[Score]:
    """R2 of asked against measured attributes, and the drift of the rest, of a model with a latent space.

    Arguments:
        synthesizer: Of pictures.
        probabilities: See `control_scores`.
        seed: Of the latents, and of the values asked for.
    """
    if not synthesizer.model.can_walk:
        told = f"{type(synthesizer.model).__name__} has no latent space to go about in"
        return [not_offered(name, told) for name in CONTROL]
    z, y = normal(synthesizer, LEARNT + ASKED, seed), classes_of(synthesizer, LEARNT, {}, seed)
    learnt = points_of(synthesizer, z[:LEARNT], y)
    fresh = points_of(synthesizer, z[LEARNT:], None if y is None else y[:ASKED])

    def drawn(at: Points) -> NDArray[np.uint8]:
        pictures: NDArray[np.uint8] = shown(synthesizer, at, seed=seed)
        return pictures

    return control_scores(learnt, fresh, drawn, picture_attributes, probabilities, seed)


def picture_attributes(pictures: NDArray[np.uint8]) -> dict[str, Floats]:
    """Slant in degrees, thickness in pixels and mass in grey levels of pictures (n, C, H, W), (n,) each."""
    return {"slant": slant(pictures), "thickness": thickness(pictures), "mass": mass(pictures)}


def control_scores(
    learnt: Points,
    fresh: Points,
    drawn: Callable[[Points], Any],
    attributes: Attributes,
    probabilities: Probabilities | None,
    seed: int,
) -> list[Score]:
    """The same of anything that draws what lies at points.

    Values are asked for between the 10 and 90 % quantiles of what is drawn, within the class of a point where it has
    one. R2 is 1 less the squared distances of measured from asked values over those of asked ones from their mean: 0
    is what a picture at the middle gets whatever is asked, and less than that counts as 0. The drift is how far the
    other attributes and the class move per standard deviation reached; its floor is another picture of the same class.

    Arguments:
        learnt: Random points, from which directions are learnt.
        fresh: Others, at which values are asked for; their classes are among those of the first.
        drawn: What lies at points.
        attributes: Of what was drawn, by name, (n,) each; NaN where there is none.
        probabilities: Of classes of what was drawn, (n, K); None where there are no classes.
        seed: Of the values asked for, and of the pictures of the floor.
    """
    rng = np.random.default_rng([seed, 65])
    some, first = attributes(drawn(learnt)), drawn(fresh)
    scales = {name: _Scale(values, learnt.y) for name, values in some.items()}
    varying = [name for name, scale in scales.items() if scale.spread > 0]

    def values_of(pictures: Any, y: Tensor | None) -> dict[str, Floats]:  # noqa: ANN401 (as drawn)
        return {name: scales[name](values, y) for name, values in attributes(pictures).items() if name in varying}

    before, own = values_of(first, fresh.y), _all_of(some, scales, varying, learnt.y)
    found: dict[str, Moved] = {}
    for name in varying:
        try:
            step = direction(learnt, own[name]).step
        except UserError:  # hardly ever there, such as the slant of pictures that are dark
            continue
        tried = Points(learnt.styles[:TRIED], None if learnt.y is None else learnt.y[:TRIED])
        up, down = (values_of(drawn(tried.moved(side * step)), tried.y)[name] for side in (1, -1))
        gain = float(np.mean(up - down)) / 2
        low, high = np.quantile(own[name], TARGETS).tolist()
        asked = rng.uniform(low, high, len(fresh))
        way = (asked - before[name]) / gain if gain else np.zeros(len(fresh))
        far = torch.from_numpy(np.clip(way, -REACH, REACH)).float()
        pictures = drawn(fresh.moved(far[:, None] * step.expand(len(fresh), -1)))
        found[name] = Moved(asked, before, values_of(pictures, fresh.y), pictures)
    r2 = asked_score({name: _r2(one.asked, one.after[name]) for name, one in found.items()}, list(some), len(fresh))
    if len(scales) < 2 or not found:
        return [r2, not_computed(CONTROL[1], "no attribute varies in what is drawn")]
    said = None
    if probabilities is not None:
        every = probabilities(np.concatenate([first, *(one.pictures for one in found.values())]))
        said = np.split(every, len(found) + 1)
    if fresh.y is not None:
        groups = fresh.y.numpy()
    else:
        groups = np.zeros(len(fresh), np.int64) if said is None else said[0].argmax(axis=1)
    return [r2, drift_score(found, said, groups, rng)]


class _Scale:
    """Values less the mean of their class, in standard deviations of that; a missing one is at the mean."""

    def __init__(self, values: Floats, y: Tensor | None) -> None:
        known = pd.Series(values)
        self.means = known.groupby(np.zeros(len(known), int) if y is None else y.numpy()).mean().fillna(known.mean())
        rest = known.to_numpy() - self._mean(len(known), y)
        spread = float(np.nanstd(rest)) if np.isfinite(rest).any() else 0.0
        # what a computer makes of one and the same value again and again is no spread
        self.spread = spread if spread > 1e-9 * float(np.nanmax(np.abs(known), initial=0.0)) else 0.0

    def _mean(self, n: int, y: Tensor | None) -> Floats:
        of = np.zeros(n, int) if y is None else y.numpy()
        return np.asarray(self.means.loc[of], np.float64)

    def __call__(self, values: Floats, y: Tensor | None) -> Floats:
        scaled: Floats = (values - self._mean(len(values), y)) / self.spread
        return np.where(np.isnan(scaled), 0.0, scaled)


def _all_of(
    values: Mapping[str, Floats], scales: Mapping[str, _Scale], names: list[str], y: Tensor | None
) -> dict[str, Floats]:
    """Attributes in standard deviations within classes."""
    return {name: scales[name](values[name], y) for name in names}


def _r2(asked: Floats, measured: Floats) -> float:
    return float(1.0 - np.square(measured - asked).sum() / np.square(asked - asked.mean()).sum())


def asked_score(found: Mapping[str, float], names: list[str], n: int) -> Score:
    """The mean R2 over attributes, of which one that is missed, or does not vary in what is drawn, counts as 0."""
    note = f"one move along a linear direction, {n} points each, within the class that is asked for; R2 below 0 counts "
    note += "as 0, and so does an attribute that does not vary"
    value = mean([max(found.get(name, 0.0), 0.0) for name in names])
    return between(CONTROL[0], value, "higher", [0.0], [1.0], n=n * len(names), note=note, detail=found)


def drift_score(
    found: Mapping[str, Moved], said: list[Floats] | None, groups: NDArray[np.int64], rng: np.random.Generator
) -> Score:
    """The mean over asked attributes and all others of how far these move per standard deviation reached.

    Arguments:
        found: By attribute asked for.
        said: Class probabilities (n, K) before, and after each move in turn; None without classes.
        groups: Of each picture: another of the same group is drawn instead for the floor.
        rng: Draws these.
    """
    before = next(iter(found.values())).before
    spread = 1.0 if said is None else float(np.sqrt(said[0].var(axis=0).sum())) or 1.0
    deals = [_other(groups, rng) for _ in range(DEALS)]

    def moves(after: Mapping[str, Floats], probabilities: Floats | None, asked: str) -> dict[str, float]:
        made = {name: float(np.abs(after[name] - before[name]).mean()) for name in before if name != asked}
        if probabilities is not None and said is not None:
            made[CLASS] = float(np.linalg.norm(probabilities - said[0], axis=1).mean()) / spread
        return made

    detail: dict[str, float] = {}
    values, floors, lost = [], [], []
    for i, (name, one) in enumerate(found.items()):
        plain = []
        for other in deals:
            again = {key: part[other] for key, part in before.items()}
            reached = float(np.abs(again[name] - before[name]).mean())
            rest = moves(again, None if said is None else said[0][other], name)
            plain.append(mean(list(rest.values())) / reached if reached and rest else 0.0)
        floors.append(plain)
        wanted = one.asked - before[name]
        reached = float(((one.after[name] - before[name]) * np.sign(wanted)).mean())
        rest = moves(one.after, None if said is None else said[i + 1], name)
        if reached < REACHED * float(np.abs(wanted).mean()) or not rest:
            lost.append(name)
            values.append(mean(plain))
            continue
        detail |= {f"{name} asked, {key}": value / reached for key, value in rest.items()}
        values.append(mean(list(rest.values())) / reached)
    note = "standard deviations that other attributes and the class move, per one of the attribute asked for; the "
    note += "floor is another picture of the same class"
    note += f"; not reached, counted as the floor: {', '.join(lost)}" if lost else ""
    sides = np.mean(floors, axis=0).tolist()
    n = len(groups) * len(found)
    return between(CONTROL[1], mean(values), "lower", sides, [0.0], high=None, n=n, note=note, detail=detail)


def _other(groups: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """For each example the place of another one of its group, or its own where it is alone."""
    made = np.arange(len(groups))
    for group in np.unique(groups):
        at = rng.permutation(np.flatnonzero(groups == group))
        made[at] = np.roll(at, 1)
    return made
