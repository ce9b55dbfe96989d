"""Who bears the errors: per-group rates of models trained on real, synthetic, and balanced synthetic rows.

For every group of the protected column: true and false positive rates and the selection rate (share that the model
decides for) with Clopper and Pearson's intervals (1934), and calibration: mean probability said minus share that
happened, with a bootstrap interval. The gap of a rate is its largest value over the groups minus its smallest
(equalised odds, Hardt et al., 2016; demographic parity); its change against the model trained on real rows has an
interval over test rows, in pairs, and over training rows, by fits to halves of them (see `arms`), and is called one
only where that excludes 0.

The positive class is the rarer one of two; with more classes, the most frequent one after the first. Groups are the
values of a category, or a number at or below its training median and above it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import beta

from datakiln.errors import UserError, near
from datakiln.results import Study, StudyTable
from datakiln.schema import Schema
from datakiln.studies import learners, scores
from datakiln.studies.arms import Measured, combined
from datakiln.studies.journal import Cell, Content, Journal, run_cells, seconds_of
from datakiln.studies.tables import FEWEST, Part, Task, task_of
from datakiln.studies.utility import name_of
from datakiln.wording import number

if TYPE_CHECKING:
    from datakiln.console import Console
    from datakiln.studies.base import Material, Result, Wish

RATES = {"tpr": "true positive rate", "fpr": "false positive rate", "selection": "selection rate"}
LEARNERS = ("boosting", "linear")
MOST_GROUPS = 10
HALVES = 5
Mask = NDArray[np.bool_]


def clopper_pearson(hits: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Exact interval of a share (Clopper and Pearson, 1934); (0, 1) for none of nothing."""
    tail = (1.0 - level) / 2.0
    low = 0.0 if hits == 0 else float(beta.ppf(tail, hits, n - hits + 1))
    high = 1.0 if hits == n else float(beta.ppf(1.0 - tail, hits + 1, n - hits))
    return low, high


def groups_of(schema: Schema, protected: str, train: pd.DataFrame, test: pd.DataFrame) -> dict[str, Mask]:
    """The test rows of every group.

    Raises:
        UserError: No such column, one that forms no groups, or fewer than two groups with test rows enough.
    """
    if protected not in schema.names:
        raise UserError(f"data.protected={protected} is no column of the data{near(protected, schema.names)}")
    field = schema[protected]
    if protected == schema.label:
        raise UserError(f"data.protected={protected} is the target itself; name another column")
    if not (field.is_choice or field.is_numeric):
        raise UserError(
            f"data.protected={protected} is {field.type}, which forms no groups; name a category or a number"
        )
    column = test[protected]
    if field.is_numeric:
        middle = train[protected].median()
        found = {
            f"at most {middle}": _mask(column <= middle),
            f"above {middle}": _mask(column > middle),
        }
    else:
        counts = column.value_counts()
        found = {str(value): _mask(column == value) for value in counts.index[:MOST_GROUPS]}
    kept = {name: mask for name, mask in found.items() if mask.sum() >= FEWEST}
    if len(kept) < 2:
        told = f"data.protected={protected} has {len(kept)} groups of at least {FEWEST} holdout rows"
        raise UserError(f"{told}; two are needed to compare: keep more rows aside, or name another column")
    return kept


def _mask(found: pd.Series) -> Mask:
    """Where a comparison holds; a missing cell belongs to no group."""
    return np.asarray(found.astype(object).where(found.notna(), False), dtype=np.bool_)


def group_rates(truth: Mask, chosen: Mask, said: NDArray[np.float64], groups: dict[str, Mask],
                drawn: NDArray[np.float32]) -> Content:  # fmt: skip
    """Per group the rates with intervals; per rate its gap over the groups with its bootstrap."""
    rates: dict[str, dict[str, list[float]]] = {}
    draws: dict[str, list[NDArray[np.float64]]] = {name: [] for name in RATES}
    for group, mask in groups.items():
        rows: dict[str, list[float]] = {"rows": [float(mask.sum()), float((mask & truth).sum())]}
        for name, among in (("tpr", mask & truth), ("fpr", mask & ~truth), ("selection", mask)):
            n, hits = int(among.sum()), int((among & chosen).sum())
            rows[name] = [hits / n if n else float("nan"), *clopper_pearson(hits, n)] if n else []
            total = drawn @ among
            draws[name].append(np.where(total > 0, (drawn @ (among & chosen)) / np.maximum(total, 1), np.nan))
        off = (drawn[:, mask] @ (said - truth)[mask]) / np.maximum(drawn[:, mask].sum(axis=1), 1)
        rows["calibration"] = list(scores.interval(off))
        rates[group] = rows
    with np.errstate(all="ignore"):
        gaps = {name: np.round(np.ptp(np.stack(values), axis=0), 5).tolist() for name, values in draws.items()}
    return {"groups": rates, "gaps": gaps}


def balanced_rows(material: Material, protected: str, seed: int) -> pd.DataFrame | None:
    """As many synthetic rows, with every combination of label and group equally often; None without a generator."""
    if material.sampler is None or not material.schema[protected].is_choice:
        return None
    label = str(material.schema.label)
    pairs = material.train.groupby([protected, label], observed=True).size()
    pairs = pairs[pairs >= 5]
    each = max(len(material.made) // max(len(pairs), 1), 1)
    parts = [
        material.sampler(each, {protected: group, label: value}, seed + i)
        for i, (group, value) in enumerate(pairs.index)
    ]
    return pd.concat(parts, ignore_index=True)


def run_fairness(wish: Wish, material: Material, journal: Journal, folder: Path, console: Console) -> Result:
    """The study: see the module."""
    schema, protected = material.schema, str(wish.protected)
    known = material.test[material.test[str(schema.label)].notna()] if schema.label else material.test
    groups = groups_of(schema, protected, material.train, known)
    task = task_of(schema, material.train, material.test, [material.made])
    if not task.classes:
        raise UserError(f"study=fairness needs a target of classes; {task.target} is a number")
    made = balanced_rows(material, protected, material.seed)
    arms: dict[str, Part] = {"real": task.train, "synthetic": task.made[0]}
    if made is not None:
        task = task_of(schema, material.train, material.test, [material.made, made])
        arms = {"real": task.train, "synthetic": task.made[0], "synthetic, balanced": task.made[1]}
    drawn = scores.weights(len(task.test), material.seed)
    cells = [
        Cell(name_of(name, arm, half), _work(task, name, part, groups, wish.tuning, material.seed, half, drawn))
        for half in range(HALVES + 1)
        for name in LEARNERS
        for arm, part in arms.items()
    ]
    outcome = run_cells(cells, journal, seconds_of(wish.budget), console)
    study = Study("fairness", "unknown", "No pair of fits has ended; allow a larger budget.", fits=len(outcome.done),
                  of_fits=len(cells), seconds=round(outcome.seconds, 1), notes=list(outcome.notes))  # fmt: skip
    if made is None:
        why = "there is no generator to ask" if material.sampler is None else f"{protected} is a number"
        study.notes.append(f"rows balanced over {task.target} and {protected} were left out: {why}")
    _judge(study, task, protected, outcome.done, list(arms))
    return study, [], _plot(task, outcome.done, list(arms), folder)


def _work(
    task: Task, name: str, arm: Part, groups: dict[str, Mask], tuning: int, seed: int, half: int,
    drawn: NDArray[np.float32],
) -> Callable[[], Content]:  # fmt: skip
    def work() -> Content:
        draws, part = drawn, arm
        if half:
            draws, part = drawn[:1], arm.sample(len(arm) // 2, np.random.default_rng([seed, 31, half]))
        model, setting = learners.fit(name, task, part, seed + half, tuning)
        said, positive = model.probabilities(task.test.x), 1
        truth = task.test.y.astype(int) == positive
        chosen = said.argmax(axis=1) == positive
        found = group_rates(truth, chosen, said[:, positive], groups, draws)
        if half:
            return {"gaps": found["gaps"]}
        accuracy = (drawn @ (said.argmax(axis=1) == task.test.y)) / drawn.sum(axis=1)
        return {**found, "figures": {"accuracy": np.round(accuracy, 6).tolist()}, "setting": setting, "rows": len(part)}

    return work


def gap_change(cells: dict[str, Content], learner: str, arm: str, rate: str) -> Measured | None:
    """How much the gap of a rate grows against the model trained on real rows, over test and training rows."""
    found = [[cells.get(name_of(learner, name, half)) for half in range(HALVES + 1)] for name in (arm, "real")]
    whole, again = [cells_of_arm[0] for cells_of_arm in found], list(zip(*(part[1:] for part in found), strict=True))
    if any(cell is None for cell in whole):
        return None
    changes = [_gap(a, rate)[0] - _gap(b, rate)[0] for a, b in again if a is not None and b is not None]
    return combined(_gap(whole[0], rate) - _gap(whole[1], rate), changes)


def _gap(cell: Content | None, rate: str) -> NDArray[np.float64]:
    return np.array([np.nan if v is None else v for v in cell["gaps"][rate]] if cell else [np.nan])


def _judge(study: Study, task: Task, protected: str, cells: dict[str, Content], arms: list[str]) -> None:
    positive, main = task.names[1], LEARNERS[0]
    changes = {rate: gap_change(cells, main, "synthetic", rate) for rate in RATES}
    known = {rate: change for rate, change in changes.items() if change is not None and change.is_known}
    if not known:
        return
    wider = [RATES[rate] for rate, change in known.items() if change.low > 0]
    narrower = [RATES[rate] for rate, change in known.items() if change.high < 0]
    study.tone = "bad" if wider else "good"
    told = [f"widens the gap in {' and '.join(wider)}"] if wider else []
    told += [f"narrows that in {' and '.join(narrower)}"] if narrower else []
    change = " and ".join(told) or "changes no gap by more than chance"
    study.sentence = (
        f"Between groups of {protected}, learning from synthetic instead of real rows {change} (who is said to be "
        f"{task.target}={positive}, {learners.TITLES[main]})."
    )
    for arm in arms[1:]:
        for rate, title in RATES.items():
            if moved := gap_change(cells, main, arm, rate):
                word = "" if moved.excludes_zero else ", no more than chance"
                study.evidence.append(f"{arm}: gap in {title} changes by {moved.text}{word}")
        both = [cells.get(f"{main}/{name}/0") for name in (arm, "real")]
        if all(both):
            reached = [number(cell["figures"]["accuracy"][0]) for cell in both if cell]
            study.evidence.append(f"{arm}: accuracy {reached[0]}, from real rows {reached[1]}")
    for name in LEARNERS:
        rows = []
        for arm in arms:
            for group, rates in cells.get(f"{name}/{arm}/0", {"groups": {}})["groups"].items():
                texts = [Measured(*rates[key]).text if rates.get(key) else "–" for key in (*RATES, "calibration")]
                rows.append([f"{arm}: {group}", f"{rates['rows'][0]:,.0f}", *texts])
        if rows:
            head = ["learnt from: group", "test rows", *RATES.values(), "said minus happened"]
            study.tables.append(
                StudyTable(f"{learners.TITLES[name]}: {task.target}={positive} by {protected}", head, rows)
            )
    rows = []
    for name in LEARNERS:
        for arm in arms:
            if cell := cells.get(f"{name}/{arm}/0"):
                gaps = [Measured(*scores.interval(np.array(cell["gaps"][rate], dtype=float))).text for rate in RATES]
                accuracy = Measured(*scores.interval(np.array(cell["figures"]["accuracy"])))
                rows.append([f"{learners.TITLES[name]}, {arm}", *gaps, accuracy.text])
    study.tables.append(StudyTable("Gaps between groups", ["", *RATES.values(), "accuracy"], rows))
    study.notes.append(
        "Rates: Clopper-Pearson intervals; calibration and gaps: bootstrap of the test rows; changes: over test and "
        "training rows, real and synthetic (fits to random halves); 95 %. They do not cover another training of the "
        "generator."
    )


def _plot(task: Task, cells: dict[str, Content], arms: list[str], folder: Path) -> list[Path]:
    from datakiln.plots.studies import beside_real

    found = {}
    for rate, title in RATES.items():
        shown = [arm for arm in arms if f"{LEARNERS[0]}/{arm}/0" in cells]
        for group in cells.get(f"{LEARNERS[0]}/real/0", {"groups": {}})["groups"]:
            values = [cells[f"{LEARNERS[0]}/{arm}/0"]["groups"][group].get(rate) for arm in shown]
            if len(values) > 1 and all(values):
                found[f"{title}: {group}"] = tuple((v[0], v[1], v[2]) for v in values)
    if not found:
        return []
    return [beside_real(found, f"rate of saying {task.target}={task.names[1]}", None, folder / "fairness.png", arms)]
