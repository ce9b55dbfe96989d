"""Does a model that learns from synthetic rows work on real ones: learners trained on real, synthetic and mixed rows.

Train on synthetic, test on real (Esteban et al., 2017), beside as many real rows and mixtures of both: the share of
synthetic rows from 0 to 100 % with the total held fixed, and synthetic rows added to all real ones. Every arm has the
same learners, the same settings to choose among, and chooses on a fifth of its own training rows; all are tested on the
same real rows, of which generator, codec and tuning have seen none.

Intervals cover the choice of test rows and, for the arms that something is claimed of, that of real and synthetic
training rows, by fits to paired halves (see `arms`). They do not cover another training of the generator.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from scipy.stats import spearmanr

from datakiln.results import Score, Study, StudyTable
from datakiln.studies import learners, scores
from datakiln.studies.arms import FIGURES, HALF, Cells, Measured, difference, measured
from datakiln.studies.journal import Cell, Content, Outcome
from datakiln.studies.tables import Part, Task
from datakiln.wording import counted, number

SHARES = (25, 50, 75)
REAL, SYNTHETIC = "real", "synthetic"
ARMS = (REAL, SYNTHETIC, "growing 100", *(f"fixed {s}" for s in SHARES), *(f"growing {s}" for s in SHARES))
COST = {"tree": 0.2, "forest": 2.0, "knn": 2.0, "linear": 1.0, "mlp": 3.0, "boosting": 1.0}
KEPT = 0.8  # of what real rows teach beyond guessing: with less, synthetic rows are of little use
EXPLAINED = (REAL, SYNTHETIC)
CLAIMED = ARMS[:3]  # what is compared, with halves of its rows for the interval
HALVES = 5


def cells_of(task: Task, seed: int, tuning: int, repeats: int = HALVES) -> list[Cell]:
    """The fits of the study, the most telling ones first: a cap cuts mixtures, not the comparison."""
    drawn = scores.weights(len(task.test), seed)
    order = [(arm, name, 0) for arm in CLAIMED[:2] for name in learners.NAMES]
    order += [(arm, name, half + 1) for half in range(repeats) for arm in CLAIMED[:2] for name in learners.NAMES]
    order += [(CLAIMED[2], name, half) for half in range(repeats + 1) for name in learners.NAMES]
    order += [(arm, name, 0) for arm in ARMS if arm not in CLAIMED for name in learners.NAMES]
    return [
        Cell(
            name_of(name, arm, half),
            _work(task, name, arm, seed, half, tuning, drawn),
            COST[name] * tuning * (0.5 if half else 1.0),
        )
        for arm, name, half in order
    ]


def name_of(learner: str, arm: str, half: int) -> str:
    """What a cell is called: of all rows of an arm (0), or of one of their halves (1, 2, ...)."""
    return f"{learner}/{arm}/{f'{HALF} {half}' if half else 0}"


def rows_of(task: Task, arm: str, seed: int, half: int = 0) -> Part:
    """The training rows of an arm, or a half of its real and of its synthetic ones; arms share all that they can."""
    rng = np.random.default_rng([seed, 1])
    total = min(len(task.train), len(task.made[0]))
    real, made = task.train.sample(total, rng), task.made[0].sample(total, rng)
    if half:
        rng, total = np.random.default_rng([seed, 1, half]), max(total // 2, 1)
        real, made = real.sample(total, rng), made.sample(total, rng)
    if arm in EXPLAINED:
        return real if arm == REAL else made
    kind, _, share = arm.partition(" ")
    n = round(total * int(share) / 100)
    return (real.take(slice(0, total - n)) if kind == "fixed" else real) + made.take(slice(0, n))


def _work(
    task: Task, name: str, arm: str, seed: int, half: int, tuning: int, drawn: np.ndarray
) -> Callable[[], Content]:
    def work() -> Content:
        part, start = rows_of(task, arm, seed, half), time.perf_counter()
        model, setting = learners.fit(name, task, part, seed + half, tuning)
        if half:  # one figure each: the bootstrap of test rows is that of all rows
            return {"figures": judged(model, task, drawn[:1])["figures"], "rows": len(part)}
        content = judged(model, task, drawn)
        if arm in EXPLAINED:
            content["importances"] = learners.importances(model, task, seed)
        return {**content, "setting": setting, "rows": len(part), "seconds": round(time.perf_counter() - start, 2)}

    return work


def judged(model: learners.Model, task: Task, drawn: np.ndarray) -> Content:
    """Figures of a model on the test rows with their bootstrap, and the curves of a question of two classes."""
    if not task.classes:
        found = scores.regression(task.test.y, model.values(task.test.x), drawn)
        return {"figures": {name: np.round(values, 6).tolist() for name, values in found.items()}}
    truth, said = task.test.y.astype(np.int64), model.probabilities(task.test.x)
    found = scores.classification(truth, said, drawn)
    content: Content = {"figures": {name: np.round(values, 6).tolist() for name, values in found.items()}}
    positive = 1 if task.classes == 2 else int(np.bincount(truth).argmax())
    content["curves"] = scores.curves(truth == positive, said[:, positive])
    return content


def guessing(task: Task) -> float:
    """The leading figure of who has learnt nothing: 0.5 for ROC-AUC, 0 for R2, the largest class for accuracy."""
    if task.main == "accuracy":
        return float(np.unique(task.test.y, return_counts=True)[1].max() / len(task.test))
    return 0.5 if task.classes else 0.0


def kept_share(task: Task, cells: Cells, learner: str) -> float | None:
    """Which part of what real rows teach beyond guessing synthetic ones teach; None where real ones teach none."""
    real, made = (measured(cells, learner, arm, task.main) for arm in EXPLAINED)
    if real is None or made is None or real.value <= guessing(task):
        return None
    return (made.value - guessing(task)) / (real.value - guessing(task))


def best_learner(task: Task, cells: Cells) -> str | None:
    """The learner that gets most out of real rows, of those whose two arms have ended."""
    found = {
        name: real.value
        for name in titles(task)
        if (real := measured(cells, name, REAL, task.main)) and measured(cells, name, SYNTHETIC, task.main)
    }
    return max(found, key=found.__getitem__, default=None)


def study_of(task: Task, outcome: Outcome, noun: str = "rows") -> Study:
    """What the cells that have ended come to."""
    cells, best = outcome.done, best_learner(task, outcome.done)
    study = Study("utility", "unknown", "No pair of fits has ended; allow a larger budget.")
    study.fits, study.of_fits = len(cells), outcome.total
    study.seconds, study.notes = round(outcome.seconds, 1), list(outcome.notes)
    if best is None:
        return study
    real, made = (measured(cells, best, arm, task.main) for arm in EXPLAINED)
    gap, kept = difference(cells, best, SYNTHETIC, REAL, task.main), kept_share(task, cells, best)
    assert real is not None and made is not None and gap is not None
    rows = int(cells[f"{best}/{REAL}/0"]["rows"])
    if kept is None:
        study.evidence.append(f"real {noun} teach no learner more than guessing: this target decides nothing")
    else:
        study.tone = _tone(gap, kept)
    figure, title = FIGURES[task.main], titles(task)[best]
    of_real = "" if kept is None else f", {max(kept, 0.0):.0%} of what real {noun} teach beyond guessing"
    study.sentence = (
        f"A model that learnt {task.target} from synthetic {noun} reaches {figure} {number(made.value)} on real {noun} "
        f"it has never seen; one that learnt from {rows:,} real {noun} reaches {number(real.value)}{of_real} ({title})."
    )
    study.evidence.append(f"difference {gap.text} with {title}, the learner that gets most out of real {noun}")
    if not gap.is_known:
        study.notes.append("A difference has no interval yet, since fits to halves of the rows come later; go on.")
    worse = [name for name in titles(task) if (d := difference(cells, name, SYNTHETIC, REAL, task.main)) and d.high < 0]
    compared = sum(_has_pair(cells, name, task.main) for name in titles(task))
    if compared:
        told = f"synthetic {noun} alone are worse than as many real ones by more than chance with {len(worse)} of "
        study.evidence.append(told + counted(compared, "learner"))
    study.evidence += _added(task, cells, noun)
    study.tables = [*_arm_tables(task, cells), *_importance_tables(task, cells), _settings(task, cells)]
    if task.classes > 2:
        truth = task.test.y.astype(np.int64)
        rare = [task.names[c] for c in np.setdiff1d(truth, scores.telling_classes(truth))]
        if rare:
            few = f"fewer than {scores.FEWEST_OF_CLASS} test {noun} and count in no mean over classes"
            study.notes.append(f"{', '.join(rare)}: {few}.")
    study.notes.append(
        f"Intervals: 95 %, over test {noun} (bootstrap, the same draws for every arm) and over training {noun}, real "
        f"and synthetic (fits to random halves); of mixtures over test {noun} alone. They do not cover "
        "another training of the generator, nor that many differences were looked at."
    )
    return study


def _tone(gap: Measured, kept: float) -> Literal["good", "fair", "bad", "unknown"]:
    """Good needs both: a difference that may be chance, and little lost; a wide interval alone praises nothing."""
    if not gap.is_known:
        return "unknown"
    if gap.high >= 0 and kept >= KEPT:
        return "good"
    return "fair" if gap.high >= 0 or kept >= KEPT else "bad"


def titles(task: Task) -> Mapping[str, str]:
    """What the learners are called."""
    return task.learners or (learners.TITLES if task.classes else learners.TITLES_OF_NUMBERS)


def _has_pair(cells: Cells, name: str, figure: str) -> bool:
    found = difference(cells, name, SYNTHETIC, REAL, figure)
    return found is not None and found.is_known


def _added(task: Task, cells: Cells, noun: str) -> list[str]:
    """Whether synthetic rows beside all real ones help: a gain is one only where its interval excludes 0."""
    found = {name: difference(cells, name, "growing 100", REAL, task.main) for name in titles(task)}
    known = {name: gain for name, gain in found.items() if gain is not None and gain.is_known}
    if not known:
        return []
    gains = [f"{titles(task)[n]} ({g.text})" for n, g in known.items() if g.low > 0]
    losses = [f"{titles(task)[n]} ({g.text})" for n, g in known.items() if g.high < 0]
    told = [
        f"added to all real {noun}, as many synthetic ones help {', '.join(gains) or 'no learner by more than chance'}"
    ]
    return told + ([f"and harm {', '.join(losses)}"] if losses else [])


def _arm_tables(task: Task, cells: Cells) -> list[StudyTable]:
    """One table a figure: learners down, arms across; the leading figure with every arm, the others with three."""
    tables = []
    for figure in (name for name in FIGURES if any(name in cell["figures"] for cell in cells.values())):
        arms = [arm for arm in _in_order(figure == task.main) if any(f"/{arm}/" in name for name in cells)]
        rows = []
        for name, title in titles(task).items():
            found = [measured(cells, name, arm, figure) for arm in arms]
            if any(found):
                gap = difference(cells, name, SYNTHETIC, REAL, figure)
                rows.append([title, *(m.text if m else "–" for m in found), gap.text if gap else "–"])
        arrow = "higher is better" if scores.BETTER[figure] == "higher" else "lower is better"
        heads = ["learner", *(_arm_title(arm) for arm in arms), "synthetic better by"]
        tables.append(StudyTable(f"{FIGURES[figure]}, {arrow}", heads, rows))
    return tables


def _in_order(whole: bool) -> list[str]:
    if not whole:
        return [REAL, SYNTHETIC, "growing 100"]
    return [REAL, *(f"fixed {s}" for s in SHARES), SYNTHETIC, *(f"growing {s}" for s in (*SHARES, 100))]


def _arm_title(arm: str) -> str:
    kind, _, share = arm.partition(" ")
    return arm if not share else f"{share} % synthetic" if kind == "fixed" else f"real + {share} %"


def agreement(real: list[float], made: list[float]) -> tuple[float, int]:
    """Spearman's rank correlation of two lists of importances (0 where one is constant), and how many of the first
    three columns are the same."""  # noqa: D205, D209
    a, b = np.array(real), np.array(made)
    rank = 0.0 if np.ptp(a) == 0 or np.ptp(b) == 0 else float(spearmanr(a, b).statistic)
    top = min(3, len(a))
    return rank, len(set(np.argsort(-a)[:top]) & set(np.argsort(-b)[:top]))


def _importance_tables(task: Task, cells: Cells) -> list[StudyTable]:
    rows = []
    for name, title in titles(task).items():
        found: list[list[float]] = [cells.get(f"{name}/{arm}/0", {}).get("importances") or [] for arm in EXPLAINED]
        if all(found):
            rank, same = agreement(found[0], found[1])
            first = [", ".join(task.columns[i] for i in np.argsort(-np.array(part))[:3]) for part in found]
            rows.append([title, number(rank), f"{same} of {min(3, len(task.columns))}", *first])
    if not rows:
        return []
    head = ["learner", "rank correlation", "same among the first", "first from real", "first from synthetic"]
    note = "Importance: loss of the leading figure on 1,000 test rows when a column is permuted (Breiman, 2001)."
    return [StudyTable("Do models from real and from synthetic rows rest on the same columns", head, rows, note)]


def _settings(task: Task, cells: Cells) -> StudyTable:
    rows = []
    for name, title in titles(task).items():
        for arm in EXPLAINED:
            if cell := cells.get(f"{name}/{arm}/0"):
                said = ", ".join(f"{key}={value}" for key, value in cell["setting"].items())
                rows.append([f"{title}, {arm}", said, f"{cell['rows']:,}", f"{cell['seconds']:.1f} s"])
    return StudyTable("Settings that tuning chose", ["learner and arm", "setting", "rows", "time"], rows)


def figures_of(task: Task, cells: Cells) -> list[Score]:
    """The leading figure of every learner for `result.json`: synthetic beside real, with what chance gives real."""
    found = []
    for name in titles(task):
        real, made = (measured(cells, name, arm, task.main) for arm in EXPLAINED)
        if real is not None and made is not None:
            found.append(
                Score(
                    f"study/{name}_{task.main}", made.value, "higher", 0.0 if task.classes else None, 1.0,
                    ceiling=real.value, floor=guessing(task), n=len(task.test), ceiling_range=[real.low, real.high],
                    floor_range=[guessing(task)] * 2,
                )
            )  # fmt: skip
    return found


def plots_of(task: Task, cells: Cells, folder: Path) -> list[Path]:
    """The pictures of the study; the first one is for people who look at one."""
    from datakiln.plots import studies as plots

    figure, names = task.main, titles(task)
    pairs = {names[n]: (measured(cells, n, REAL, figure), measured(cells, n, SYNTHETIC, figure)) for n in names}
    shown = {n: tuple((m.value, m.low, m.high) for m in pair if m) for n, pair in pairs.items() if all(pair)}
    if not shown:
        return []
    drawn = [plots.beside_real(shown, FIGURES[figure], guessing(task), folder / "utility.png")]
    lines = {}
    for n in names:
        lines[names[n]] = {
            kind: [(0 if arm == REAL else int(arm.split()[-1]) if " " in arm else 100, m.value, m.low, m.high)
                   for arm in arms if (m := measured(cells, n, arm, figure))]
            for kind, arms in (("fixed", (REAL, *(f"fixed {s}" for s in SHARES), SYNTHETIC)),
                               ("growing", (REAL, *(f"growing {s}" for s in (*SHARES, 100)))))
        }  # fmt: skip
    if any(len(points) > 2 for kinds in lines.values() for points in kinds.values()):
        drawn.append(plots.mixtures(lines, FIGURES[figure], folder / "mixtures.png"))
    best = best_learner(task, cells)
    both = {arm: cells.get(f"{best}/{arm}/0", {}) for arm in EXPLAINED}
    if task.classes and all("curves" in cell for cell in both.values()):
        told = task.names[1] if task.classes == 2 else f"the most frequent {task.target}"
        curves = {arm: cell["curves"] for arm, cell in both.items()}
        levels = scores.LEVELS.tolist()
        drawn.append(plots.curves(curves, levels, f"{names[str(best)]}, {told}", folder / "curves.png"))
    if all("importances" in cell for cell in both.values()):
        values = {arm: list(cell["importances"]) for arm, cell in both.items()}
        drawn.append(plots.importances(task.columns, values, names[str(best)], folder / "importances.png"))
    return drawn
