"""The study of utility for pictures: a CNN and k-nearest, trained on real, synthetic and mixed pictures of classes.

As for tables, with an arm of classical augmentation beside: real pictures shifted and turned at random.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from datakiln.console import Console
from datakiln.data.pictures.pictures import ImageData
from datakiln.errors import UserError
from datakiln.metrics.tables.columns import Coded
from datakiln.proof.pictures import sampled
from datakiln.sampling.synthesizer import Synthesizer
from datakiln.studies import scores, utility
from datakiln.studies.arms import difference
from datakiln.studies.base import VERSION, Result, Wish
from datakiln.studies.cnn import cnn_probabilities, neighbour_probabilities
from datakiln.studies.journal import Cell, Content, Journal, run_cells, seconds_of
from datakiln.studies.tables import FEWEST, Part, Task

MOST, MOST_TESTED = 10_000, 10_000
LEARNERS = {"cnn": "CNN", "knn": "k-nearest on principal components"}
CLASSICAL = "real, moved"
HALVES = 4  # a fit of a CNN takes as long for half the pictures


def study_pictures(
    wish: Wish, data: ImageData, synthesizer: Synthesizer, n: int, seed: int, folder: Path, console: Console
) -> Result:
    """The study: see the module.

    Raises:
        UserError: Too few pictures, or a folder of another study.
    """
    (x, y), (test, truth) = data.examples("train", MOST), data.examples("test", MOST_TESTED)
    assert y is not None and truth is not None
    made = sampled(synthesizer, min(n, len(x)), seed)
    assert made.labels is not None
    pairs = {
        "real": (scaled(x), y),
        "synthetic": (scaled(torch.from_numpy(made.pictures)), torch.tensor(made.labels)),
    }
    for what, count in (("training", len(x)), ("test", len(test)), ("synthetic", len(made))):
        if count < FEWEST:
            raise UserError(f"{count} {what} pictures are too few for a study; {FEWEST} are the least")
    none = Coded(np.empty((len(truth), 0)), np.empty((len(truth), 0), dtype=np.int64))
    part = Part(none, truth.numpy().astype(np.float64))
    names = tuple(data.spec.classes)
    task = Task("the class", (), len(names), names, part, part, (), 1, LEARNERS, "accuracy")
    drawn = scores.weights(len(truth), seed)
    judge = scaled(test)
    claimed, repeats = (*utility.CLAIMED, CLASSICAL), wish.repeats or HALVES
    order = [(arm, 0) for arm in claimed]
    order += [(arm, half + 1) for half in range(repeats) for arm in claimed]
    order += [(arm, 0) for arm in utility.ARMS if arm not in claimed]
    cells = [
        Cell(utility.name_of(name, arm, half), _work(name, arm, pairs, judge, task, seed, half, drawn), cost)
        for arm, half in order
        for name, cost in (("cnn", 10.0), ("knn", 1.0))
        if not (name == "knn" and arm == CLASSICAL)
    ]
    identity = {"study": wish.name, "version": VERSION, "repeats": wish.repeats, "seed": seed,
                "data": data.provenance.sha256, "n": [len(x), len(test), len(made)],
                "made": int(made.pictures.astype(np.int64).sum())}  # fmt: skip
    outcome = run_cells(cells, Journal(folder, identity), seconds_of(wish.budget), console)
    study = utility.study_of(task, outcome, "pictures")
    moved = difference(outcome.done, "cnn", CLASSICAL, "real", task.main)
    if moved is not None:
        study.evidence.append(f"shifts and rotations of real pictures change accuracy by {moved.text} (CNN)")
    return study, utility.figures_of(task, outcome.done), utility.plots_of(task, outcome.done, folder)


def check_pictures(wish: Wish, data: ImageData, is_told: bool) -> None:
    """Refuses a study that these pictures or this model have nothing for; raises `UserError`."""
    if wish.name == "fairness":
        raise UserError("study=fairness is for tables; of pictures there are study=utility and study=augmentation")
    if wish.tuning != 3 and wish.tuning != 1:
        raise UserError(f"tuning={wish.tuning} changes nothing about pictures; leave it out")
    if len(data.spec.classes) < 2:
        raise UserError(f"study={wish.name} needs pictures of classes: a folder for each, or a data set with labels")
    if not is_told:
        raise UserError(f"study={wish.name} needs a model that is told the class, such as model=cgan or model=acgan")


def scaled(pictures: Tensor) -> Tensor:
    """Levels 0 to 255 to [-1, 1]."""
    return pictures.float() / 127.5 - 1.0


def rows_of(pairs: dict[str, tuple[Tensor, Tensor]], arm: str, seed: int, half: int = 0) -> tuple[Tensor, Tensor]:
    """The training pictures of an arm, or a half of its real and synthetic ones, in an order that arms share."""
    rng = torch.Generator().manual_seed(seed)
    (x, y), (fake, told) = pairs["real"], pairs["synthetic"]
    total = min(len(x), len(fake))
    a, b = torch.randperm(len(x), generator=rng)[:total], torch.randperm(len(fake), generator=rng)[:total]
    if half:
        rng.manual_seed(1000 * (seed + 1) + half)
        a, b = (rows[torch.randperm(total, generator=rng)[: max(total // 2, 1)]] for rows in (a, b))
        total = len(a)
    if arm in (*utility.EXPLAINED, CLASSICAL):
        return (fake[b], told[b]) if arm == "synthetic" else (x[a], y[a])
    kind, _, share = arm.partition(" ")
    n = round(total * int(share) / 100)
    a = a[: total - n] if kind == "fixed" else a
    return torch.cat([x[a], fake[b[:n]]]), torch.cat([y[a], told[b[:n]]])


def _work(
    name: str, arm: str, pairs: dict[str, tuple[Tensor, Tensor]], test: Tensor, task: Task, seed: int, half: int,
    drawn: np.ndarray,
) -> Callable[[], Content]:  # fmt: skip
    def work() -> Content:
        start, (x, y) = time.perf_counter(), rows_of(pairs, arm, seed, half)
        if name == "cnn":
            said = cnn_probabilities(x, y, test, task.classes, seed + half, arm == CLASSICAL)
        else:
            said = neighbour_probabilities(x, y, test, task.classes, seed + half)
        found = scores.classification(task.test.y.astype(np.int64), said, drawn[:1] if half else drawn)
        figures = {key: np.round(values, 6).tolist() for key, values in found.items()}
        return {"figures": figures, "setting": {}, "rows": len(x), "seconds": round(time.perf_counter() - start, 2)}

    return work
