"""What synthetic rows add to few real ones, and to a rare class, beside SMOTE and class weights.

The cheap version of `study=augmentation`: the generator is the run's own, and has been trained on all training rows,
while a learner is shown a few of them. These are no equal terms: a generator that copies its training rows reaches the
ceiling. The study trains a generator anew on each draw, which takes minutes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from datakiln.errors import UserError
from datakiln.metrics.tables.columns import category_codes
from datakiln.results import Score
from datakiln.schema import Schema
from datakiln.studies import learners, scores
from datakiln.studies.augmentation import RARE, UNBALANCED, remedied
from datakiln.studies.smote import smote_nc
from datakiln.studies.tables import FEWEST, Part, Task, task_of
from datakiln.studies.uses.base import between, mean, not_computed

SIZES, REPEATS = (100, 500, 2000), 5
TESTED = 5000  # held-out rows at most
BALANCING = "uses/balancing"
GAIN = {True: "gain/rows_auc", False: "gain/rows_r2"}
PLAIN = ("nothing", "SMOTE-NC", "class weights")
NOTE = "the generator has seen all training rows, the learner some: no equal terms"
LEARNER = "boosting"


def gain_score(schema: Schema, train: pd.DataFrame, test: pd.DataFrame, made: pd.DataFrame, seed: int) -> Score:
    """What 100, 500 and 2,000 synthetic rows add to as many real ones, in AUC or R2 of boosting: the mean over sizes.

    Against the best plain way at each size: the real rows alone, with SMOTE-NC that brings every class to the largest
    one's size, or with class weights (of numbers the real rows alone). The floor is no gain, the ceiling what as many
    further real rows add; both are differences of learners that were shown the same real rows.
    """
    label = schema.label
    name = GAIN[label is None or schema[label].is_choice]
    try:
        task = _task(schema, train, test, [made], seed)
    except UserError as error:
        return not_computed(name, str(error))
    sizes = [n for n in SIZES if 2 * n <= len(task.train)]
    if not sizes:
        return not_computed(name, f"{len(task.train)} training rows are too few for {SIZES[0]} and as many others")
    plain = PLAIN if task.classes else PLAIN[:1]
    found: dict[tuple[str, int], list[float]] = {}
    for n in sizes:
        for turn in range(REPEATS):
            order = np.random.default_rng([seed, 41, n, turn]).permutation(len(task.train))
            part = task.train.take(order[:n])
            arms = {arm: _plain(arm, part, task.classes, seed + turn) for arm in plain}
            arms["synthetic"] = part + task.made[0].sample(n, np.random.default_rng([seed, 42, n, turn]))
            arms["real"] = part + task.train.take(order[n : 2 * n])
            for arm, rows in arms.items():
                found.setdefault((arm, n), []).append(_judged(task, rows, seed + turn, task.main))
    best = {n: max(plain, key=lambda arm, n=n: mean(found[arm, n])) for n in sizes}  # type: ignore[misc]
    added = {
        arm: np.mean([np.subtract(found[arm, n], found[best[n], n]) for n in sizes], axis=0).tolist()
        for arm in ("synthetic", "real")
    }
    detail = {f"{arm}, {n:,} rows": mean(values) for (arm, n), values in found.items()}
    told = ", ".join(f"{n:,} ({best[n]})" for n in sizes)
    note = f"beside real rows, and the best plain way of {', '.join(plain)}: {told}; {REPEATS} draws; {NOTE}"
    return between(
        name, mean(added["synthetic"]), "higher", [0.0] * REPEATS, added["real"], low=None, high=None,
        n=len(task.test), note=note, detail=detail, is_mean=True,
    )  # fmt: skip


def balancing_score(
    schema: Schema,
    train: pd.DataFrame,
    test: pd.DataFrame,
    made: Callable[[str, Any, int], pd.DataFrame],
    seed: int,
) -> Score:
    """Balanced accuracy where the rarer of two classes, thinned to a twentieth, is brought up by synthetic rows of it.

    The floor is the better of the same rows drawn again and again and SMOTE-NC, the ceiling real rows of the class.

    Arguments:
        schema: Of the table.
        train: Training rows.
        test: Held-out rows.
        made: Rows of a class of the label, about so many.
        seed: Of everything that is drawn.
    """
    label = schema.label
    if label is None or not schema[label].is_choice or train[label].nunique() != 2:
        return not_computed(BALANCING, "balancing is measured of a label of two classes")
    rare = category_codes([train[label]])[1][1]  # of equally many classes the one that the learners call the second
    most = min(UNBALANCED, len(train) // 2)
    try:
        task = _task(schema, train, test, [made(label, rare, most)], seed)
    except UserError as error:
        return not_computed(BALANCING, str(error))
    found: dict[str, list[float]] = {arm: [] for arm in ("oversampling", "SMOTE-NC", "generator", "real")}
    for turn in range(REPEATS):
        rng = np.random.default_rng([seed, 43, turn])
        order = rng.permutation(len(task.train))
        some, left = task.train.take(order[:most]), task.train.take(order[most:])
        common, others = _of_class(some, 0), _of_class(some, 1)
        kept = max(round(RARE / (1 - RARE) * len(common)), 10)
        lacking = len(common) - min(kept, len(others))
        real = others.take(slice(kept, None)) + _of_class(left, 1)
        if lacking < 1 or len(real) < FEWEST or len(others) < 2:
            return not_computed(BALANCING, "too few rows of the rarer class to thin it")
        thinned = replace(task, train=common + others.take(slice(0, kept)))
        arms = {arm: remedied(arm, thinned, lacking, seed + turn) for arm in ("oversampling", "SMOTE-NC")}
        own = _of_class(task.made[0], 1)
        if not len(own):
            return not_computed(BALANCING, f"the model made no row of {rare}")
        for arm, rows in (("generator", own), ("real", real)):
            arms[arm] = thinned.train + rows.take(rng.choice(len(rows), lacking, replace=len(rows) < lacking))
        for arm, rows in arms.items():
            found[arm].append(_judged(task, rows, seed + turn, "balanced_accuracy"))
    best = max(("oversampling", "SMOTE-NC"), key=lambda arm: mean(found[arm]))
    detail = {arm: mean(values) for arm, values in found.items()}
    note = f"a twentieth of {rare} among about {most:,} rows, {REPEATS} draws; the floor is {best}; {NOTE}"
    return between(
        BALANCING, detail["generator"], "higher", found[best], found["real"], n=len(task.test), note=note,
        detail=detail, is_mean=True, own=found["generator"],
    )  # fmt: skip


def _task(schema: Schema, train: pd.DataFrame, test: pd.DataFrame, made: list[pd.DataFrame], seed: int) -> Task:
    rows = test.sample(min(TESTED, len(test)), random_state=seed)
    return replace(task_of(schema, train, rows, made), cores=1)


def _of_class(part: Part, code: int) -> Part:
    return part.take(np.flatnonzero(part.y == code))


def _plain(arm: str, part: Part, classes: int, seed: int) -> Part:
    """Real rows after a plain remedy for classes of different size."""
    counts = np.bincount(part.y.astype(int), minlength=classes) if classes else np.zeros(0, dtype=int)
    if arm == "class weights":
        present = int((counts > 0).sum())
        return replace(part, weight=(len(part) / (present * np.maximum(counts, 1)))[part.y.astype(int)])
    if arm == "SMOTE-NC":
        rng, whole = np.random.default_rng([seed, 44]), part
        for code in np.flatnonzero((counts >= 2) & (counts < counts.max())):
            lacking = int(counts.max() - counts[code])
            rows = part.x.take(np.flatnonzero(part.y == code))
            whole = whole + Part(smote_nc(rows, lacking, rng), np.full(lacking, float(code)))
        return whole
    return part


def _judged(task: Task, part: Part, seed: int, figure: str) -> float:
    """A figure of boosting that learnt from a part, on the held-out rows."""
    model, once = learners.fit(LEARNER, task, part, seed)[0], np.ones((1, len(task.test)), dtype=np.float32)
    if task.classes:
        said = scores.classification(task.test.y.astype(np.int64), model.probabilities(task.test.x), once)
    else:
        said = scores.regression(task.test.y, model.values(task.test.x), once)
    return float(said[figure][0])
