"""The three chapters of a report: how faithful, how useful, how safe, each with one picture that needs no statistics.

The picture is a line from the worst to the best that a figure can be here, with three marks: the naive floor, real data
with the range that chance gives it, and the synthetic data. It is of the first figure that the verdict has as evidence.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from datakiln.reports.meanings import meaning, stem
from datakiln.reports.verdict import Claim, Topic, Verdict, key_figures
from datakiln.results import RunResult, Score, Study, StudyTable

TITLES: dict[Topic, tuple[str, str]] = {
    "faithful": ("Faithful", "Does it look like the real data?"),
    "useful": ("Useful", "Does a model that learns from it work on real data?"),
    "safe": ("Safe", "Does it give anyone away?"),
}
GROUPS: dict[Topic, tuple[str, ...]] = {
    "faithful": ("fidelity", "twosample"),
    "useful": ("utility", "study", "uses", "gain", "control"),
    "safe": ("privacy", "memorisation"),
}
OF_STUDIES: dict[str, Topic] = {"utility": "useful", "augmentation": "useful", "fairness": "useful"}
GAMES = ("privacy/membership_auc", "privacy/membership_outliers_auc")
MARGIN = 6.0  # percent of the line left free at each end


@dataclass(frozen=True)
class Mark:
    """A place on the line, in percent of its width: who stands there, with which value, and as what kind."""

    at: float
    name: str
    value: float
    kind: str


@dataclass(frozen=True)
class Line:
    """The picture of a chapter.

    Attributes:
        name: The figure's.
        says: What it means, in plain words.
        marks: The floor, real data, the synthetic data, as far as they are known.
        band: Where chance puts real data, in percent, or None.
        better: On which side better is: "right" or "left"; "" where an ideal lies between.
    """

    name: str
    says: str
    marks: list[Mark]
    band: tuple[float, float] | None
    better: str


@dataclass(frozen=True)
class Chapter:
    """One of the three: title, question, the verdict's claim, a picture, studies with their tables and pictures."""

    topic: Topic
    title: str
    question: str
    claim: Claim
    line: Line | None
    studies: list[Study] = field(default_factory=list)
    scores: list[Score] = field(default_factory=list)

    @property
    def tables(self) -> list[StudyTable]:
        """Those of its studies."""
        return [table for study in self.studies for table in study.tables]


def chapters_of(result: RunResult, verdict: Verdict) -> list[Chapter]:
    """The chapters of a report, in the order of the verdict's claims."""
    found = []
    for claim in verdict.claims:
        title, question = TITLES[claim.topic]
        studies = [study for study in result.studies if OF_STUDIES.get(study.name) == claim.topic]
        scores = [score for score in result.figures if score.name.partition("/")[0] in GROUPS[claim.topic]]
        found.append(Chapter(claim.topic, title, question, claim, leading(result, claim), studies, scores))
    return found


def leading(result: RunResult, claim: Claim) -> Line | None:
    """The picture of the first figure that the claim rests on; one whose marks all coincide gives way to the next."""
    behind = [item.name for item in claim.evidence]
    keys = key_figures(result, claim.topic)
    order = sorted(keys, key=lambda score: behind.index(score.name) if score.name in behind else len(behind))
    lines = [line for score in order if (line := line_of(score))]
    return next((line for line in lines if len({mark.value for mark in line.marks}) > 1), lines[0] if lines else None)


def line_of(score: Score) -> Line | None:
    """The picture of a figure, of a game between a guess and certainty; None where no real data stands beside it."""
    names = {"floor": "naive", "real": "real data", "synthetic": "synthetic"}
    if stem(score.name) in GAMES:
        names |= {"floor": "copies of learnt ones", "real": "unseen real ones"}
        if score.ceiling is None and score.floor is None:
            score = replace(score, ceiling=score.ideal, floor=score.high)
            names |= {"floor": "certainty", "real": "a guess"}
    if score.value is None or (score.ceiling is None and score.ceiling_range is None):
        return None
    ends = score.ceiling_range or []
    real = score.ceiling if score.ceiling is not None else (min(ends) + max(ends)) / 2
    places = {"floor": score.floor, "real": real, "synthetic": score.value}
    known = [value for value in (*places.values(), *ends) if value is not None]
    low, high = min(known), max(known)
    if score.ideal is not None:
        low, high = min(low, score.ideal), max(high, score.ideal)
    wide = (high - low) or 1.0

    def at(value: float) -> float:
        return MARGIN + (100 - 2 * MARGIN) * (value - low) / wide if high > low else 50.0

    marks = [Mark(at(value), names[kind], value, kind) for kind, value in places.items() if value is not None]
    band = (at(min(ends)), at(max(ends))) if ends else None
    better = "" if score.ideal is not None else {"higher": "right", "lower": "left", "none": ""}[score.better]
    return Line(score.name, meaning(score.name), marks, band, better)


def study_pictures(result: RunResult, folder: Path) -> dict[str, list[Path]]:
    """The pictures of every study, by its name, from the folder of the report."""
    return {study.name: [folder / name for name in study.pictures] for study in result.studies}
