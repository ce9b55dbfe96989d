"""What synthetic rows are worth beside few real ones, and beside the usual remedies for a rare class.

Learning curves: for 50, 100, 200, 500, ... real rows, drawn anew for each of several paired seeds, a generator is
trained on those rows alone (split, codec, model and every learner's tuning see no others), and learners are trained on
the real rows with and without as many, and five times as many, synthetic ones. Imbalance: two thousand training
rows, or half of all, the rare class thinned to a twentieth where it is more; rows of it made by the generator against
SMOTE-NC, random oversampling, class weights, and a threshold tuned on training rows.

Intervals are over the paired seeds, so that they cover the choice of rows, the generator's training and the learner's,
and over test rows, which are the same throughout, by the bootstrap (see `arms.combined`). Seeds that draw much of the
same table differ too little: the variance of a share f of its rows is divided by 1 - f (the correction for a finite
population), and of all its rows no interval is known. A gain is called one only where its interval excludes 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from datakiln.results import Study, StudyTable
from datakiln.studies import learners, scores
from datakiln.studies.arms import FIGURES, Measured, combined, within_range
from datakiln.studies.journal import Cell, Content, Journal, Outcome, run_cells, seconds_of
from datakiln.studies.scores import Array as Values
from datakiln.studies.smote import smote_nc
from datakiln.studies.tables import FEWEST, Part, Task, task_of
from datakiln.wording import number

if TYPE_CHECKING:
    from datakiln.console import Console
    from datakiln.studies.base import Material, Result, Wish

LADDER = (50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000)
TIMES = {"with synthetic": 1, "with 5 times as many": 5}
REPEATS = 5
DRAWS = 50  # of the test rows: their part of an interval is the smaller one
AGAINST = dict.fromkeys(TIMES, "real")  # what each arm is compared with
LEARNT = ("tree", "linear", "knn", "boosting", "forest", "mlp")
UNBALANCED, RARE = 2000, 0.05
METHODS = ("nothing", "generator", "SMOTE-NC", "oversampling", "class weights", "tuned threshold")
REMEDIED = ("tree", "linear", "boosting")
JUDGED = ("f1", "balanced_accuracy", "average_precision", "auc")


def sizes_of(rows: int) -> list[int]:
    """The rungs of the ladder below a number of rows, and that number."""
    return [*(n for n in LADDER if n < 0.8 * rows), rows]


def over_seeds(values: Sequence[Values], share: float = 0.0) -> Measured:
    """Mean over seeds with its 95 % interval; without end for a single seed, and where all rows are every seed's.

    Arguments:
        values: Of each seed the figure, then its bootstrap over the test rows where there is one.
        share: Which part of the table each seed has drawn.
    """
    found = np.asarray(values, dtype=np.float64).reshape(len(values), -1)
    if share >= 1.0:
        return Measured(float(found[:, 0].mean()), -np.inf, np.inf)
    return combined(found.mean(axis=0), found[:, 0], len(found) * (1.0 - share))


def worth(sizes: Sequence[int], real: Sequence[float], reached: float) -> float:
    """How many real rows reach a figure: the real learning curve, made monotone, read backwards in log n.

    It is the largest size where the curve does not get there, and the smallest where it starts beyond.
    """
    curve = np.maximum.accumulate(np.asarray(real, dtype=np.float64))
    if reached > curve[-1]:
        return float(sizes[-1])
    return float(np.exp(np.interp(reached, *_strictly(curve, np.log(sizes)))))


def _strictly(
    curve: NDArray[np.float64], places: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The curve without its flat parts, of each of which the first place stays."""
    kept = np.r_[True, np.diff(curve) > 0]
    return curve[kept], places[kept]


def run_augmentation(wish: Wish, material: Material, journal: Journal, folder: Path, console: Console) -> Result:
    """The study: see the module."""
    assert material.trainer is not None
    task = task_of(material.schema, material.train, material.test, [material.made])
    repeats = REPEATS if wish.repeats is None else wish.repeats
    frame = material.train[material.train[task.target].notna()].reset_index(drop=True)
    sizes = sizes_of(len(frame))
    cells = [
        Cell(f"curve/{n}/{seed}", _curve_work(wish, material, frame, n, seed), float(200 + n))
        for n in sizes[:4]
        for seed in range(repeats)
    ]
    if task.classes == 2:
        cells += [Cell(f"imbalance/{seed}", _rare_work(wish, material, frame, seed), 2500.0) for seed in range(repeats)]
    cells += [
        Cell(f"curve/{n}/{seed}", _curve_work(wish, material, frame, n, seed), float(200 + n))
        for n in sizes[4:]
        for seed in range(repeats)
    ]
    outcome = run_cells(cells, journal, seconds_of(wish.budget), console)
    study = summary(task.main, sizes, outcome, task.target)
    share = unbalanced(len(frame)) / len(frame)
    study.tables += _rare_tables(outcome.done, share)
    study.evidence += _rare_evidence(outcome.done, share)
    if task.classes > 2:
        study.notes.append("imbalance is studied of two classes; this target has more")
    if not task.classes:
        study.notes.append("imbalance is studied of classes; this target is a number")
    return study, [], plots_of(task.main, sizes, outcome.done, folder)


def drawn_rows(frame: pd.DataFrame, target: str, n: int, is_class: bool, seed: int) -> pd.DataFrame:
    """That many rows, each class in its share and at least two rows of each where it has them; the same for a seed."""
    rng = np.random.default_rng([seed, 21])
    if n >= len(frame):
        return frame
    if not is_class:
        return frame.iloc[np.sort(rng.permutation(len(frame))[:n])].reset_index(drop=True)
    codes = pd.factorize(frame[target])[0]
    places = [rng.permutation(np.flatnonzero(codes == c)) for c in range(codes.max() + 1)]
    counts = [max(round(n * len(place) / len(frame)), min(2, len(place))) for place in places]
    return frame.iloc[np.sort(np.concatenate([p[:c] for p, c in zip(places, counts, strict=True)]))].reset_index(
        drop=True
    )


def _curve_work(wish: Wish, material: Material, frame: pd.DataFrame, n: int, seed: int) -> Callable[[], Content]:
    def work() -> Content:
        assert material.trainer is not None
        target, own = str(material.schema.label), material.seed * 1000 + seed
        rows = drawn_rows(frame, target, n, material.schema[target].is_choice, own)
        made = material.trainer(rows, own)(n * max(TIMES.values()), {}, own)
        task = _task(material, rows, made)
        drawn = scores.weights(len(task.test), material.seed, DRAWS)
        arms = {"real": task.train} | {arm: task.train + task.made[0].take(slice(0, n * k)) for arm, k in TIMES.items()}
        found = {
            f"{name}/{arm}": _main(learners.fit(name, task, part, own, wish.tuning)[0], task, drawn)
            for name in LEARNT
            for arm, part in arms.items()
        }
        return {"figures": found, "rows": len(rows)}

    return work


def _task(material: Material, rows: pd.DataFrame, made: pd.DataFrame) -> Task:
    return task_of(material.schema, rows, material.test, [made.reindex(columns=list(material.schema.names))])


def _main(model: learners.Model, task: Task, drawn: NDArray[np.float32]) -> list[float]:
    """The leading figure on the test rows and its bootstrap."""
    if task.classes:
        found = scores.classification(task.test.y.astype(np.int64), model.probabilities(task.test.x), drawn)
    else:
        found = scores.regression(task.test.y, model.values(task.test.x), drawn)
    return np.round(found[task.main], 6).tolist()


def unbalanced(rows: int) -> int:
    """How many of the rows an unbalanced table has before its rare class is thinned: half of them at most."""
    return min(UNBALANCED, max(rows // 2, FEWEST))


def _rare_work(wish: Wish, material: Material, frame: pd.DataFrame, seed: int) -> Callable[[], Content]:
    def work() -> Content:
        assert material.trainer is not None
        target, own = str(material.schema.label), material.seed * 1000 + seed
        counts = material.train[target].value_counts()
        rare = counts.index[-1]
        rows = drawn_rows(frame, target, unbalanced(len(frame)), True, own)
        is_rare = (rows[target] == rare).to_numpy()
        most = max(round(RARE / (1 - RARE) * (~is_rare).sum()), 10)
        shuffled = np.random.default_rng([own, 24]).permutation(np.flatnonzero(is_rare))
        keep = np.r_[np.flatnonzero(~is_rare), shuffled[:most]]
        rows = rows.iloc[np.sort(keep)].reset_index(drop=True)
        lacking = int((rows[target] != rare).sum() - (rows[target] == rare).sum())
        made = material.trainer(rows, own)(max(lacking, FEWEST), {target: rare}, own)
        task = _task(material, rows, made)
        found: Content = {}
        drawn = scores.weights(len(task.test), material.seed, DRAWS)
        for method in METHODS:
            part = remedied(method, task, max(lacking, 0), own)
            for name in REMEDIED:
                said = learners.fit(name, task, part, own, wish.tuning)[0].probabilities(task.test.x)
                if method == "tuned threshold":
                    said = shifted(said, tuned_threshold(name, task, own, wish.tuning))
                values = scores.classification(task.test.y.astype(np.int64), said, drawn)
                found |= {f"{name}/{method}/{figure}": np.round(values[figure], 6).tolist() for figure in JUDGED}
        return {"figures": found, "rows": len(rows), "rare": int((rows[target] == rare).sum())}

    return work


def remedied(method: str, task: Task, lacking: int, seed: int) -> Part:
    """Training rows after one remedy; the rare class is code 1, the less frequent one in training."""
    train, rng = task.train, np.random.default_rng([seed, 22])
    rare = np.flatnonzero(train.y == 1)
    if method == "generator":
        made = task.made[0].take(np.flatnonzero(task.made[0].y == 1))
        return train + made.take(slice(0, lacking))
    if method == "SMOTE-NC":
        return train + Part(smote_nc(train.x.take(rare), lacking, rng), np.ones(lacking))
    if method == "oversampling":
        return train + train.take(rng.choice(rare, lacking))
    if method == "class weights":
        counts = np.bincount(train.y.astype(int), minlength=2)
        return Part(train.x, train.y, (len(train) / (2.0 * np.maximum(counts, 1)))[train.y.astype(int)])
    return train


def tuned_threshold(name: str, task: Task, seed: int, tuning: int) -> float:
    """The probability of the rare class from which on it is said, by macro F1 on a fifth of the training rows."""
    rows = np.random.default_rng([seed, 23]).permutation(len(task.train))
    cut = len(rows) // 5
    judge, learn = task.train.take(rows[:cut]), task.train.take(rows[cut:])
    said = learners.fit(name, task, learn, seed, tuning)[0].probabilities(judge.x)
    once = np.ones((1, len(judge)), dtype=np.float32)
    tried = np.linspace(0.02, 0.5, 25)
    truth = judge.y.astype(np.int64)
    return float(tried[np.argmax([scores.classification(truth, shifted(said, at), once)["f1"][0] for at in tried])])


def shifted(said: NDArray[np.float64], threshold: float) -> NDArray[np.float64]:
    """Probabilities moved so that those of the rare class from the threshold on come to a half; order is kept."""
    p = said[:, 1]
    moved = np.where(p < threshold, 0.5 * p / threshold, 0.5 + 0.5 * (p - threshold) / (1 - threshold) + 1e-9)
    return np.stack([1.0 - moved, moved], axis=1)


def by_seed(cells: dict[str, Content], prefix: str, key: str) -> dict[str, Values]:
    """A figure of every seed that has ended, each with its bootstrap over the test rows."""
    found = {
        name.rpartition("/")[2]: cell["figures"].get(key) for name, cell in cells.items() if name.startswith(prefix)
    }
    return {seed: np.asarray(values, dtype=np.float64) for seed, values in found.items() if values is not None}


def mean_of(found: dict[str, Values]) -> float:
    """A figure over its seeds."""
    return float(np.mean([values[0] for values in found.values()]))


def gain(cells: dict[str, Content], prefix: str, key: str, other: str, share: float = 0.0) -> Measured | None:
    """The paired difference of two arms over the seeds that both have; None below two of them."""
    a, b = by_seed(cells, prefix, key), by_seed(cells, prefix, other)
    both = [a[seed] - b[seed] for seed in a if seed in b]
    return over_seeds(both, share) if len(both) > 1 else None


def summary(main: str, sizes: Sequence[int], outcome: Outcome, target: str, noun: str = "rows",
            arms: Mapping[str, str] = AGAINST, names: Sequence[str] = LEARNT,
            usual: Sequence[str] = ()) -> Study:  # fmt: skip
    """What the learning curves that have ended come to.

    Arguments:
        main: The leading figure.
        sizes: Numbers of real examples; the last one is all.
        outcome: The fits.
        target: What is learnt.
        noun: What an example is, in the plural.
        arms: What each arm is compared with.
        names: The learners.
        usual: Arms without synthetic examples, whose gains are told but not counted.
    """
    cells = outcome.done
    study = Study("augmentation", "unknown", "No two seeds have ended; allow a larger budget.", fits=len(cells),
                  of_fits=outcome.total, seconds=round(outcome.seconds, 1), notes=list(outcome.notes))  # fmt: skip
    gains: list[str] = []
    losses: list[str] = []
    remedied: list[str] = []
    looked = 0
    for arm, base in arms.items():
        rows = []
        for name in names:
            texts = []
            for n in sizes:
                found = gain(cells, f"curve/{n}/", f"{name}/{arm}", f"{name}/{base}", n / sizes[-1])
                texts.append(found.text if found else "–")
                looked += arm not in usual and found is not None and found.is_known
                if found and found.excludes_zero:
                    kind = remedied if arm in usual else gains if found.low > 0 else losses
                    kind.append(f"{n:,} {noun}, {_title(name)}, {arm}: {found.text}")
            rows.append([_title(name), *texts])
        against = "" if base == "real" else f" against {base.removeprefix('with ')} alone"
        title = f"Change of {FIGURES[main]} {arm}{against}, by the number of real {noun}"
        study.tables.append(StudyTable(title, ["learner", *(f"{n:,}" for n in sizes)], rows))
    curve = []
    for name in names:
        seeds = {n: list(by_seed(cells, f"curve/{n}/", f"{name}/real").values()) for n in sizes}
        levels = {n: within_range(over_seeds(f, n / sizes[-1]), main) for n, f in seeds.items() if len(f) > 1}
        texts = [levels[n].text if n in levels else "–" for n in sizes]
        curve.append([_title(name), *texts])
    title = f"{FIGURES[main]} of {target} from real {noun} alone"
    study.tables.insert(0, StudyTable(title, ["learner", *(f"{n:,}" for n in sizes)], curve))
    if not looked:
        return study
    study.tone = "good" if len(gains) > 0.1 * looked and len(gains) > len(losses) else "fair"
    study.sentence = (
        f"Added to real {noun}, synthetic ones made from them help in {len(gains)} of {looked} comparisons "
        f"by more than chance and harm in {len(losses)} (learners by numbers of real {noun})."
    )
    study.evidence += [f"gain: {text}" for text in gains[:5]] + [f"loss: {text}" for text in losses[:5]]
    study.evidence += [f"without synthetic {noun}: {text}" for text in remedied[:5]]
    study.notes.append(
        f"Intervals: 95 %, over paired seeds (Student) and test {noun} (bootstrap); none of all {noun}, "
        f"which seeds have in common. {looked} comparisons were looked at: by chance alone about "
        f"{0.05 * looked:.0f} of them would seem to differ."
    )
    return study


def _title(name: str) -> str:
    return {**learners.TITLES, "cnn": "CNN"}.get(name, name)


def _rare_tables(cells: dict[str, Content], share: float) -> list[StudyTable]:
    tables = []
    for figure in JUDGED:
        rows = []
        for name in REMEDIED:
            for method in METHODS:
                values = by_seed(cells, "imbalance/", f"{name}/{method}/{figure}")
                if len(values) > 1:
                    found = gain(cells, "imbalance/", f"{name}/{method}/{figure}", f"{name}/nothing/{figure}", share)
                    better = "–" if found is None or method == "nothing" else found.text
                    level = within_range(over_seeds(list(values.values()), share), figure)
                    rows.append([f"{_title(name)}: {method}", level.text, better])
        if rows:
            tables.append(
                StudyTable(f"A rare class: {FIGURES[figure]}", ["", FIGURES[figure], "gain on nothing"], rows)
            )
    return tables


def _rare_evidence(cells: dict[str, Content], share: float) -> list[str]:
    told = []
    for name in REMEDIED:
        means = {m: by_seed(cells, "imbalance/", f"{name}/{m}/f1") for m in METHODS}
        if any(len(values) < 2 for values in means.values()):
            continue
        best = max(METHODS, key=lambda m: mean_of(means[m]))
        found = gain(cells, "imbalance/", f"{name}/generator/f1", f"{name}/nothing/f1", share)
        value = number(mean_of(means[best]))
        told.append(f"a rare class, {_title(name)}: best macro F1 by {best} ({value})")
        told += [f"generator against nothing, {_title(name)}: {found.text}"] if found else []
    return told


def plots_of(main: str, sizes: Sequence[int], cells: dict[str, Content], folder: Path,
             arms: Sequence[str] = ("with synthetic",), names: Sequence[str] = LEARNT) -> list[Path]:  # fmt: skip
    """Learning curves with and without synthetic rows, and how many real rows the synthetic ones are worth."""
    from datakiln.plots.studies import learning_curves

    found: dict[str, dict[str, list[tuple[float, float, float, float]]]] = {}
    equal: list[tuple[float, float, float, float]] = []
    for name in names:
        lines: dict[str, list[tuple[float, float, float, float]]] = {}
        for arm in ("real", *arms):
            by_size = {n: list(by_seed(cells, f"curve/{n}/", f"{name}/{arm}").values()) for n in sizes}
            points = [(n, over_seeds(values, n / sizes[-1])) for n, values in by_size.items() if len(values) > 1]
            drawn = [(n, _drawable(within_range(found, main))) for n, found in points]
            lines[arm] = [(float(n), m.value, m.low, m.high) for n, m in drawn]
        if len(lines["real"]) > 1:
            found[_title(name)] = lines
    for n in sizes:
        worths = [w for name in names if (w := _worth_at(cells, sizes, name, n)) is not None]
        if len(worths) > 1:
            equal.append((float(n), float(np.exp(np.mean(np.log(worths)))), min(worths), max(worths)))
    if not found:
        return []
    return [learning_curves(found, FIGURES[main], equal, folder / "augmentation.png")]


def _drawable(found: Measured) -> Measured:
    """A point without a bar where no interval is known."""
    return found if found.is_known else Measured(found.value, found.value, found.value)


def _worth_at(cells: dict[str, Content], sizes: Sequence[int], name: str, n: int) -> float | None:
    """How many real rows n of them are worth with as many synthetic ones, by a learner's mean curve."""
    curve = {m: by_seed(cells, f"curve/{m}/", f"{name}/real") for m in sizes}
    known = [m for m in sizes if curve[m]]
    made = by_seed(cells, f"curve/{n}/", f"{name}/with synthetic")
    if len(known) < 2 or not made:
        return None
    return worth(known, [mean_of(curve[m]) for m in known], mean_of(made))
