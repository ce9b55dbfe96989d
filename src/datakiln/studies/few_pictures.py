"""What synthetic pictures are worth beside few real ones, and beside shifting and turning those.

As for tables (see `augmentation`): for 50, 100, 200, 500, ... real pictures of classes, drawn anew for each of several
paired seeds, the run's recipe is trained on those alone, and a CNN and k-nearest learn from the real pictures with and
without as many synthetic ones, with classical augmentation (shifts and rotations), and with both. The recipe's epochs
grow on few pictures, until there are as many updates as the run had, or `MOST_UPDATES`: with those of the whole set no
generator would learn anything from fifty.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datakiln.console import Console
from datakiln.data.base import Provenance
from datakiln.data.pictures.labelled_sample import spread_by_class
from datakiln.data.pictures.pictures import ImageData
from datakiln.data.pictures.sources import Pictures, RawImages
from datakiln.proof.pictures import sampled
from datakiln.studies import augmentation, scores
from datakiln.studies.base import VERSION, Result, Wish
from datakiln.studies.cnn import cnn_probabilities, moved, neighbour_probabilities
from datakiln.studies.generators import Recipe, trained_synthesizer
from datakiln.studies.journal import Cell, Content, Journal, run_cells, seconds_of
from datakiln.studies.pictures import MOST_TESTED, scaled

MOST = 5000  # real pictures of the longest rung
MOST_UPDATES = 600
BATCH = 64  # pictures an update, at most a quarter of what there is
CLASSICAL = "with classical"
ARMS = {"with synthetic": "real", "with both": CLASSICAL, CLASSICAL: "real"}  # and what each is compared with
NAMES = ("cnn", "knn")
MAIN = "accuracy"

Labelled = tuple[Tensor, Tensor]


def study_few_pictures(
    wish: Wish, data: ImageData, recipe: Recipe, seed: int, folder: Path, console: Console
) -> Result:
    """The study: see the module; the run's data is after `setup` and has classes."""
    (x, y), (test, truth) = data.examples("train", MOST), data.examples("test", MOST_TESTED)
    assert y is not None and truth is not None
    judge, repeats = (scaled(test), truth), wish.repeats or augmentation.REPEATS
    sizes = augmentation.sizes_of(len(x))
    drawn = scores.weights(len(truth), seed, augmentation.DRAWS)
    work = [
        Cell(f"curve/{n}/{k}", _work(data, recipe, (x, y), judge, n, 1000 * seed + k, drawn), float(800 + n))
        for n in sizes
        for k in range(repeats)
    ]
    identity = {"study": wish.name, "version": VERSION, "repeats": wish.repeats, "seed": seed,
                "data": data.provenance.sha256, "n": [len(x), len(test)]}  # fmt: skip
    outcome = run_cells(work, Journal(folder, identity), seconds_of(wish.budget), console)
    study = augmentation.summary(MAIN, sizes, outcome, "the class", "pictures", ARMS, NAMES, (CLASSICAL,))
    study.notes.append("imbalance is studied of tables")
    return study, [], augmentation.plots_of(MAIN, sizes, outcome.done, folder, tuple(ARMS), NAMES)


def drawn_pictures(pictures: Labelled, n: int, seed: int) -> Labelled:
    """That many pictures, spread over the classes by their shares; all of them where there are no more."""
    x, y = pictures
    if n >= len(x):
        return pictures
    rows = spread_by_class(y, len(x), n, seed)
    return x[rows], y[rows]


def _work(
    data: ImageData, recipe: Recipe, pictures: Labelled, judge: Labelled, n: int, seed: int, drawn: np.ndarray
) -> Callable[[], Content]:
    def work() -> Content:
        x, y = drawn_pictures(pictures, n, seed)
        made, told = generated(data, recipe, (x, y), seed)
        real, extra, classes = scaled(x), scaled(made), len(data.spec.classes)
        arms = {"real": (real, y, False), "with synthetic": (torch.cat([real, extra]), torch.cat([y, told]), False)}
        arms |= {CLASSICAL: (real, y, True), "with both": (*arms["with synthetic"][:2], True)}
        found: dict[str, Any] = {}
        for arm, (inputs, labels, is_moved) in arms.items():
            said = {"cnn": cnn_probabilities(inputs, labels, judge[0], classes, seed, is_moved)}
            if is_moved:  # a neighbour has no steps in which it could be moved anew: each picture once more
                torch.manual_seed(seed)
                inputs, labels = torch.cat([inputs, moved(inputs)]), torch.cat([labels, labels])
            said["knn"] = neighbour_probabilities(inputs, labels, judge[0], classes, seed)
            for name, probabilities in said.items():
                figures = scores.classification(judge[1].numpy().astype(np.int64), probabilities, drawn)
                found[f"{name}/{arm}"] = np.round(figures[MAIN], 6).tolist()
        return {"figures": found, "rows": len(x)}

    return work


def generated(data: ImageData, recipe: Recipe, pictures: Labelled, seed: int) -> Labelled:
    """As many pictures and their classes, uint8, by the recipe trained on these alone."""
    x, y = pictures
    own: ImageData = recipe.data()
    provenance = Provenance("files", f"{len(x)} pictures of a study", "")
    # the test pictures of this fit are never looked at: they are some of its own, since a split needs some
    raw = RawImages(Pictures(x, y), Pictures(x[:1], y[:1]), tuple(data.spec.classes), provenance)
    own.source, own.raw, own.seed = (lambda *_: raw), None, seed
    own.side, own.crop = None, False  # they have been cut already
    own.batch_size = max(min(own.batch_size, BATCH, len(x) // 4), 2)
    own.setup("fit")
    updates = recipe.epochs * max(len(data.train_dataloader()), 1)
    epochs = math.ceil(min(updates, MOST_UPDATES) / max(len(own.train_dataloader()), 1))
    made = sampled(trained_synthesizer(replace(recipe, epochs=max(epochs, 1)), own, seed), len(x), seed)
    assert made.labels is not None
    return torch.from_numpy(made.pictures), torch.from_numpy(made.labels).long()
