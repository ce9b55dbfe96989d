"""What is measured of each dimension, by kind of data, and where floor and ceiling of each measure come from."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from datakiln.reports.comparison import Run
from datakiln.reports.survey.cells import Cell, score_of
from datakiln.reports.survey.scale import area, interval, log_place, place, score
from datakiln.reports.watched import ALIKE, curve_of
from datakiln.results import NOT_OFFERED, Better, Score

DIMENSIONS = (
    "data quality",
    "diversity",
    "training stability",
    "flexibility and control",
    "computational efficiency",
    "latent space",
    "applications",
    "data augmentation",
)
QUALITY = {"image": "fid", "table": "twosample/boosting_auc", "series": "twosample/boosting_auc"}
FIGURES: dict[str, dict[str, tuple[str, ...]]] = {  # of `result.json`, by dimension and kind
    "data quality": {
        "image": ("fid", "precision"),
        "table": ("twosample/boosting_auc", "twosample/boosting_relations"),
        "series": ("twosample/boosting_auc", "twosample/gru32_auc", "series/discriminative"),
    },
    "diversity": {
        "image": ("recall", "coverage", "vendi", "judge/class_share_distance", "memorisation/copies"),
        "table": ("fidelity/beta_recall", "fidelity/rare_coverage", "fidelity/coverage", "privacy/copies"),
        "series": ("series/coverage", "privacy/copies"),
    },
    "flexibility and control": {
        "image": ("judge/accuracy", "control/asked_r2", "control/drift"),
        "table": ("control/met", "control/rest_error", "control/constraints"),
        "series": ("control/forecast_error", "control/static_met", "control/static_rest_error"),
    },
    "data augmentation": {
        "image": ("gain/pictures",),
        "table": ("gain/rows_auc", "gain/rows_r2", "utility/augmented_auc", "utility/augmented_r2"),
        "series": ("gain/forecast",),
    },
}
APPLICATIONS = {  # each counted where its figure beats the naive floor beyond what chance gives that
    "image": {
        "conditional generation": "judge/accuracy",
        "inpainting": "uses/inpainting_error",
        "upscaling": "uses/upscaling_error",
        "likelihood": "uses/bits_per_dim",
        "anomaly detection": "uses/anomaly_auc",
        "translation": "translation/agreement_there",
    },
    "table": {
        "conditions": "control/met",
        "filling": "uses/filling_error",
        "scoring": "uses/scoring_auc",
        "balancing": "uses/balancing",
        "learning from synthetic rows": "utility/tstr_auc",
        "the same, numbers": "utility/tstr_r2",
    },
    "series": {
        "forecasting": "control/forecast_error",
        "filling": "uses/gap_error",
        "scoring": "uses/scoring_auc",
    },
}
CURVES = {  # what a run watches while it trains, and the figures whose mean gives its floor and ceiling
    "image": ("val/fid", ("fid",)),
    "table": ("val/fidelity", ("watch/fidelity",)),
    "series": ("val/autocorrelation", ("watch/autocorrelation",)),
}
UNWATCHED = (
    "its quality was not watched from early on, or of too few samples, or has no floor and ceiling that chance leaves"
    " apart"
)
FIRST = 1 / 3  # of the time of all models, by which a curve must have begun
COLLAPSED = {"image": "recall", "table": "fidelity/beta_recall"}  # diversity by which a collapse is told
LEAST = 0.1  # share of what real data has of it, below which a run has collapsed
UNEQUAL = ("gain/", "uses/balancing")  # how the names of figures begin of which the page says this
TERMS = "no equal terms: the generator has seen all training examples, the learner some"
COPIES = ("memorisation/copies", "privacy/copies")
FRESH = "no more copies than among real data: they only count against"
HIDDEN, UNLIKE = "latent/hidden_probe", "hidden states are no latents"
UNASKED = "its runs had no measure_uses=true, or this program measures none of it on such data"


@dataclass(frozen=True)
class Measured:
    """One measure of one cell.

    Attributes:
        cell: The model and the data.
        dimension: One of `DIMENSIONS`.
        name: Of the measure.
        values: By seed; one alone, under seed None, where it is of all runs together.
        floor: What a place of 0 stands for, None where there is none.
        ceiling: What a place of 1 stands for.
        reference: Where floor and ceiling come from.
        better: Which way.
        runs: What the values were read from.
        why: Why there are none; empty otherwise.
        blind: Why the measure cannot tell models apart here; empty where it can.
        own_places: Places of the values where each has its own floor and ceiling, or they are on a log scale.
        low: Lowest possible value, None where there is none: no interval reaches beyond.
        high: Highest possible value.
    """

    cell: Cell
    dimension: str
    name: str
    values: dict[int | None, float]
    floor: float | None = None
    ceiling: float | None = None
    reference: str = ""
    better: Better = "higher"
    runs: tuple[Run, ...] = ()
    why: str = ""
    blind: str = ""
    own_places: dict[int | None, float] | None = None
    low: float | None = None
    high: float | None = None

    @property
    def median(self) -> float | None:
        """Of the values; None without any."""
        return statistics.median(self.values.values()) if self.values else None

    @property
    def ends(self) -> tuple[float, float] | None:
        """Lowest and highest value over seeds."""
        return (min(self.values.values()), max(self.values.values())) if len(self.values) > 1 else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Of the mean over seeds, at 95 %, as far as values can be; None for fewer than two."""
        found = interval(list(self.values.values()))
        if found is None:
            return None
        low, high = (-math.inf if self.low is None else self.low), (math.inf if self.high is None else self.high)
        return min(max(found[0], low), high), max(min(found[1], high), low)

    @property
    def places(self) -> dict[int | None, float]:
        """Between floor and ceiling, by seed, not clipped; empty where there is no such order."""
        if self.own_places is not None:
            return self.own_places
        if self.floor is None or self.ceiling is None:
            return {}
        found = {seed: place(value, self.floor, self.ceiling) for seed, value in self.values.items()}
        return {seed: at for seed, at in found.items() if at is not None}

    @property
    def covers(self) -> bool:
        """Whether the interval over seeds holds both floor and ceiling, so that nothing is told.

        Of places clipped as scores are: far below the floor, seeds that differ all say the same.
        """
        found = interval([min(max(at, 0.0), 1.0) for at in self.places.values()])
        return found is not None and found[0] <= 0 and found[1] >= 1

    @property
    def counts(self) -> bool:
        """Whether the measure has a part in the score."""
        return bool(self.places) and not self.blind and not self.covers

    @property
    def score(self) -> float | None:
        """1 to 10, of the median; None where it does not count."""
        return score(statistics.median(self.places.values())) if self.counts else None


def measure(cells: Sequence[Cell]) -> list[Measured]:
    """Every measure of every cell, those that could not be had with the reason."""
    found = []
    for cell in cells:
        others = [other for other in cells if other.data == cell.data]
        for dimension, by_kind in FIGURES.items():
            there = [stem for stem in by_kind[cell.kind] if _is_there(others, stem)]
            found += [figure(cell, dimension, stem) for stem in there]
            if not there:
                found.append(lacking(cell, dimension, dimension, UNASKED))
        found += [*stability(cell), *efficiency(cell, others), *latent(cell)]
        found += applications(cell)
    return sorted(found, key=lambda one: DIMENSIONS.index(one.dimension))


def lacking(cell: Cell, dimension: str, name: str, why: str) -> Measured:
    """A measure that could not be had, and why."""
    return Measured(cell, dimension, name, {}, runs=tuple(cell.runs), why=why)


def _is_there(cells: Sequence[Cell], stem: str) -> bool:
    """Whether any run names a figure: tables with a class have no R2, those with a number no AUC."""
    return any(score_of(run, stem) is not None for cell in cells for run in cell.runs)


def figure(cell: Cell, dimension: str, stem: str) -> Measured:
    """A figure of `result.json` over the seeds of the default learning rate."""
    scores = {run.result.seed: one for run in cell.runs if (one := score_of(run, stem)) is not None}
    values: dict[int | None, float] = {s: one.value for s, one in scores.items() if one.value is not None}
    if not values:
        why = next((one.why for one in scores.values() if one.why), "no run with the default rate has this figure")
        return lacking(cell, dimension, stem, why)
    if stem in COPIES:
        return copied(cell, dimension, stem, scores)
    floor, ceiling, reference = references(list(scores.values()))
    reference = f"{reference}; {TERMS}" if stem.startswith(UNEQUAL) else reference
    blind = "chance alone covers floor to ceiling" if any(one.decides is False for one in scores.values()) else ""
    some = next(iter(scores.values()))
    if some.better == "none" or (
        floor is not None and ceiling is not None and _loss(some, floor) <= _loss(some, ceiling)
    ):
        blind = blind or "the naive floor is no worse than real data"
    places = {seed: own_place(scores[seed]) for seed in scores}
    known: dict[int | None, float] = {seed: at for seed, at in places.items() if at is not None}
    runs = tuple(cell.runs)
    return Measured(
        cell, dimension, stem, values, floor, ceiling, reference, some.better, runs, "", blind, known or None, some.low,
        some.high,
    )  # fmt: skip


def copied(cell: Cell, dimension: str, stem: str, scores: Mapping[int, Score]) -> Measured:
    """The share of copies: between a generator that only copies and real data, and no merit where there are no more.

    Its naive floor copies nothing, so that it would hide a generator that does; and whoever makes its own examples
    would be told diverse by it, however alike they are.
    """
    values: dict[int | None, float] = {seed: one.value for seed, one in scores.items() if one.value is not None}
    usual = [max([one.ceiling, *(one.ceiling_range or ())]) for one in scores.values() if one.ceiling is not None]
    real = statistics.median(usual) if usual else 0.0
    reference = "nothing but copies, the most among real data" if usual else "nothing but copies, none"
    blind = FRESH if statistics.median(values.values()) <= real else ""
    return Measured(
        cell, dimension, stem, values, 1.0, real, reference, "lower", tuple(cell.runs), "", blind, None, 0.0, 1.0
    )


def own_place(one: Score) -> float | None:
    """Where a figure stands between its own floor and ceiling, not clipped: the judge of another split is another."""
    floor, ceiling, _ = references([one])
    if one.value is None or floor is None or ceiling is None:
        return None
    return place(one.value, floor, ceiling)


def _loss(one: Score, value: float) -> float:
    return -value if one.better == "higher" else value


def references(scores: Sequence[Score]) -> tuple[float | None, float | None, str]:
    """Floor and ceiling of a figure, medians over runs, and what they are.

    Without a naive floor the worst value that can be takes its place.
    """
    floors = [one.floor for one in scores if one.floor is not None]
    ceilings = [one.ceiling for one in scores if one.ceiling is not None]
    some = scores[0]
    ceiling = statistics.median(ceilings) if ceilings else None
    if floors:
        return statistics.median(floors), ceiling, "naive floor, real data"
    worst = {"higher": some.low, "lower": some.high, "none": None}[some.better]
    return worst, ceiling, "worst possible value, real data" if worst is not None else "no floor in the run"


def quality(run: Run, kind: str) -> float | None:
    """The place of a run's first figure of quality, not clipped; None where it has none."""
    one = score_of(run, QUALITY[kind])
    return None if one is None else own_place(one)


def stability(cell: Cell) -> list[Measured]:
    """Spread over seeds, share of runs that failed, and regret of the default rate (Lucic et al., 2018)."""
    name, runs = "training stability", tuple(cell.all_runs)
    unit = f"{QUALITY[cell.kind]}, in distances from floor to ceiling"
    scores = [one for run in runs if (one := score_of(run, QUALITY[cell.kind])) is not None]
    blind = "chance alone covers floor to ceiling" if any(one.decides is False for one in scores) else ""
    places = {run.result.seed: at for run in cell.runs if (at := quality(run, cell.kind)) is not None}
    found = []
    spread = f"spread over seeds of {unit}"
    if len(places) > 1:
        value = max(places.values()) - min(places.values())
        found.append(_of_all(cell, spread, value, "the whole distance, none", tuple(cell.runs), blind))
    else:
        found.append(lacking(cell, name, spread, "fewer than two seeds have a value"))
    lost = len(cell.failures) + sum(has_failed(run, cell.kind) for run in runs)
    tried = len(runs) + len(cell.failures)
    share = "share of runs diverged or collapsed"
    if tried > 1:
        found.append(_of_all(cell, f"{share}, of {tried}", lost / tried, "all, none", runs))
    else:
        found.append(lacking(cell, name, share, "a single run tells nothing of it"))
    regret, first = f"regret of the default rate in {unit}", cell.runs[0] if cell.runs else None
    others = {factor: at for factor, run in cell.rates.items() if (at := quality(run, cell.kind)) is not None}
    own = None if first is None else quality(first, cell.kind)
    if own is None or not others:
        found.append(lacking(cell, name, regret, "no run with another learning rate, or the model has none"))
    else:
        value, used = max(*others.values(), own) - own, (cell.runs[0], *cell.rates.values())
        found.append(_of_all(cell, regret, value, "the whole distance, none", used, blind))
    return found


def _of_all(cell: Cell, name: str, value: float, reference: str, runs: tuple[Run, ...], blind: str = "") -> Measured:
    return Measured(cell, "training stability", name, {None: value}, 1.0, 0.0, reference, "lower", runs, "", blind)


def has_failed(run: Run, kind: str) -> bool:
    """Whether a run diverged, so that its quality has no value, or collapsed to a tenth of the real diversity."""
    one = score_of(run, QUALITY[kind])
    if one is None or one.value is None or not math.isfinite(one.value):
        return True
    diversity = score_of(run, COLLAPSED[kind]) if kind in COLLAPSED else None
    if diversity is None or diversity.value is None or not diversity.ceiling:
        return False
    return diversity.value < LEAST * diversity.ceiling


def efficiency(cell: Cell, others: Sequence[Cell]) -> list[Measured]:
    """Area under the curve of quality, samples a CPU-second, and peak memory beside the other models.

    The area is over the time that the slowest of all models took: what was good early is good for long.
    """
    watched, figures = CURVES[cell.kind]
    name, dimension = f"area under {watched} against CPU-seconds, as a place", "computational efficiency"
    areas: dict[int | None, float] = {}
    horizon = max((run.result.fit_cpu_seconds or 0.0 for other in others for run in other.runs), default=0.0)
    for run in cell.runs:
        scores = [score_of(run, stem) for stem in figures]
        ends = [references([one])[:2] for one in scores if one is not None]
        floor, ceiling = (_mean([end[side] for end in ends]) for side in (0, 1))
        if any(one is not None and one.decides is False for one in scores):
            continue  # places between ends that chance covers are chance
        curve = curve_of(run, watched)
        is_early = bool(curve.points) and curve.points[0][0] <= FIRST * horizon
        if floor is None or ceiling is None or floor == ceiling or not is_early:
            continue
        if curve.n is not None and run.result.n_synthetic >= ALIKE * curve.n:
            continue  # an FID of so few samples is worse by its bias alone than the ends it would stand between
        clipped = [(at, min(max((value - floor) / (ceiling - floor), 0.0), 1.0)) for at, value in curve.points]
        areas[run.result.seed] = area(clipped, horizon)
    found = [
        Measured(
            cell,
            dimension,
            name,
            areas,
            0.0,
            1.0,
            "floor and ceiling of the end",
            "higher",
            tuple(cell.runs),
            low=0.0,
            high=1.0,
        )
        if areas
        else lacking(cell, dimension, name, UNWATCHED)
    ]
    found.append(_cost(cell, others, "samples a CPU-second", sampled_per_second, "higher"))
    found.append(_cost(cell, others, "peak memory in MB", lambda run: run.result.peak_memory_mb, "lower"))
    return found


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known and len(known) == len(values) else None


def sampled_per_second(run: Run) -> float | None:
    """Synthetic examples a CPU-second of sampling."""
    seconds = run.result.cpu_seconds.get("sample")
    return run.result.n_synthetic / seconds if seconds else None


def _cost(
    cell: Cell, others: Sequence[Cell], name: str, cost: Callable[[Run], float | None], better: Better
) -> Measured:
    """A cost, placed on a log scale between the worst and the best run of these data."""
    values: dict[int | None, float] = {r.result.seed: v for r in cell.runs if (v := cost(r)) is not None and v > 0}
    if not values:
        return lacking(cell, "computational efficiency", name, "the runs do not tell")
    medians = [
        statistics.median(known)
        for other in others
        if (known := [v for run in other.runs if (v := cost(run)) is not None and v > 0])
    ]
    places = {seed: log_place(value, medians, better == "higher") for seed, value in values.items()}
    known_places = {seed: at for seed, at in places.items() if at is not None}
    worst, best = (min(medians), max(medians)) if better == "higher" else (max(medians), min(medians))
    blind = "" if known_places else "there is no other model to compare with"
    return Measured(
        cell, "computational efficiency", name, values, worst, best, "slowest and best model here, log scale"
        if better == "higher" else "most and least of the models here, log scale", better, tuple(cell.runs), "", blind,
        known_places, 0.0,
    )  # fmt: skip


def latent(cell: Cell) -> list[Measured]:
    """Figures of the latent space that a run holds."""
    dimension = "latent space"
    stems = sorted({s.name for run in cell.runs for s in run.result.figures if s.name.startswith("latent/")})
    if stems:
        found = [figure(cell, dimension, stem) for stem in stems]
        return [replace(one, blind=one.blind or UNLIKE) if one.name == HIDDEN and one.values else one for one in found]
    if not cell.runs:
        told = "no run with the default rate"
    else:
        told = "its runs had no measure_latents=true"
    return [lacking(cell, dimension, dimension, told)]


def applications(cell: Cell) -> list[Measured]:
    """For each application whether it beats its plain baseline: 1 where its figure does so beyond chance, else 0.

    A use that the model does not offer beats nothing; one that could not be measured on these data is left out.
    """
    found = []
    for name, stem in APPLICATIONS[cell.kind].items():
        scores = {run.result.seed: one for run in cell.runs if (one := score_of(run, stem)) is not None}
        beaten: dict[int | None, float] = {
            seed: float(won) for seed, one in scores.items() if (won := beats_floor(one)) is not None
        }
        told = f"{name} ({stem}) beats its baseline"
        if beaten:
            why = next((one.why for one in scores.values() if one.why.startswith(NOT_OFFERED)), "")
            terms = TERMS if stem.startswith(UNEQUAL) else ""
            reference = "; ".join(filter(None, ["no seed, every seed", why, terms]))
            runs = tuple(cell.runs)
            found.append(
                Measured(cell, "applications", told, beaten, 0.0, 1.0, reference, "higher", runs, low=0.0, high=1.0)
            )
        elif scores:
            why = next((one.why for one in scores.values() if one.why), "the run has no plain baseline of it")
            found.append(lacking(cell, "applications", told, why))
    return found or [lacking(cell, "applications", "applications", "its runs hold no figure of one")]


def beats_floor(one: Score) -> bool | None:
    """Whether a figure is better than its naive floor, and than all that chance gives that; None without one."""
    if one.value is None and one.why.startswith(NOT_OFFERED):
        return False
    if one.value is None or one.floor is None or one.better == "none":
        return None
    floors = [one.floor, *(one.floor_range or ())]
    return one.value > max(floors) if one.better == "higher" else one.value < min(floors)
