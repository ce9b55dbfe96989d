"""What generated pictures are judged by: each metric on the pictures, on real ones, and on a naive generator's."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from datakiln.errors import UserError
from datakiln.metrics.base import Direction, Figure, Incomplete, MetricError, metric, traits
from datakiln.metrics.evaluate import Result
from datakiln.metrics.extractors.classifier import class_probabilities
from datakiln.metrics.pictures.images import figure_name, possible_figures
from datakiln.metrics.pictures.sets import BATCH, ImageSets, first, pieces
from datakiln.metrics.pictures.statistics import STORE, feature_statistics

COVERED = 0.1  # a class is covered by samples if it has at least this part of its real share
COPY = 2.0  # grey levels, root mean square: a picture this near to a training picture is a copy


def evaluate_images(
    sets: ImageSets,
    metrics: Sequence[Callable[[ImageSets], list[Figure]]],
    progress: Callable[[str], None] | None = None,
    alone: bool = False,
) -> list[Result]:
    """Every metric on the pictures, on as many real ones (ceiling), and on pixels resampled one by one (floor).

    A `MetricError` or `UserError` becomes a result with its reason instead of a value; `alone` leaves ceiling and floor
    out.
    """
    sides: dict[str, ImageSets | str] = {"": _asked(sets)}
    sides |= {"ceiling": "", "floor": ""} if alone else {"ceiling": _ceiling(sets), "floor": _floor(sets)}
    results: list[Result] = []
    for function in metrics:
        name = traits(function).figures[0]
        if progress is not None:
            progress(name)
        start = time.perf_counter()
        made = {side: _attempt(function, found) for side, found in sides.items()}
        results += _results(made, time.perf_counter() - start)
    return results


Attempt = tuple[dict[str, Figure], dict[str, str]]  # figures by name, and the reason for each that is missing


def _attempt(function: Callable[[ImageSets], list[Figure]], sets: ImageSets | str) -> Attempt:
    name = traits(function).figures[0]
    if isinstance(sets, str):  # why there is nothing to measure
        return {}, {name: sets}
    try:
        return {figure.name: figure for figure in function(sets)}, {}
    except Incomplete as error:
        return {figure.name: figure for figure in error.found}, error.missing
    except (MetricError, UserError) as error:  # hours of training are behind: the other figures must not be lost
        return {}, {name: str(error)}


def _results(made: dict[str, Attempt], seconds: float) -> list[Result]:
    figures, missing = made[""]
    ceilings, floors = made["ceiling"][0], made["floor"][0]
    found = [
        Result(n, figure, ceilings.get(n), floors.get(n), _lacking(n, made), seconds) for n, figure in figures.items()
    ]
    return found + [Result(n, None, why=f"not computed: {why}", seconds=seconds) for n, why in missing.items()]


def _lacking(name: str, made: dict[str, Attempt]) -> str:
    """Which references a figure has not, and why."""
    whys = {side: dict.fromkeys(made[side][1].values()) for side in ("ceiling", "floor") if name not in made[side][0]}
    return "; ".join(f"no {side}: {why}" for side, reasons in whys.items() for why in reasons if why)


def _asked(sets: ImageSets) -> ImageSets:
    labels = None if sets.labels is None else sets.labels[: sets.size]
    return replace(sets, judged=first(sets.judged, sets.size), labels=labels)


def _ceiling(sets: ImageSets) -> ImageSets | str:
    if sets.holdout is None:
        return "there are no further real pictures"
    labels = None if sets.holdout_labels is None else sets.holdout_labels[: sets.size]
    return replace(sets, judged=sets.holdout[: sets.size], labels=labels)


def _floor(sets: ImageSets) -> ImageSets:
    pictures = independent_pixels(sets.train(min(sets.n_train, 10_000)), sets.size, sets.seed)
    labels = None if sets.labels is None else sets.labels[: sets.size]
    return replace(sets, judged=pictures, labels=labels)


def independent_pixels(train: Iterable[Tensor], n: int, seed: int) -> Tensor:
    """Pictures whose values are drawn one by one from those of the training pictures at the same place."""
    pictures = torch.cat(list(train))
    generator = torch.Generator().manual_seed(seed)
    flat = pictures.flatten(1)
    made = torch.empty(n, flat.shape[1], dtype=torch.uint8)
    for start in range(0, n, BATCH):
        rows = torch.randint(len(flat), (min(BATCH, n - start), flat.shape[1]), generator=generator)
        made[start : start + BATCH] = flat.gather(0, rows)
    return made.unflatten(1, pictures.shape[1:])


@metric("fid", "kid", "precision", "recall")
def features(
    sets: ImageSets,
    extractor: str = "auto",
    precision: str = "exact",
    resize: str = "clean",
    n: int = 10_000,
    n_train: int = 10_000,
    kinds: Sequence[str] | None = None,
) -> list[Figure]:
    """Distances and manifolds in the features of one network: FID, KID, precision, recall (see `possible_figures`).

    Arguments:
        sets: The pictures.
        extractor: See `build_extractor`; "auto" is the classifier for labelled grey pictures.
        precision: See `build_extractor`.
        resize: See `build_extractor`.
        n: Judged pictures at most.
        n_train: Training pictures at most that they are compared with.
        kinds: Some of `datakiln.metrics.pictures.images.KINDS`; None for all.
    """
    network = sets.extractor(extractor, precision, resize)
    real = sets.reference(network, n_train, STORE)
    fake = feature_statistics(network, pieces(sets.judged, n), STORE, sets.seed)
    return possible_figures(real.to(fake.rows.device), fake, kinds)


@metric("judge/class_share_distance", "judge/classes_covered")
def judge(sets: ImageSets, n: int = 10_000) -> list[Figure]:
    """A classifier trained on the real labels, which no generator was tuned against, looks at the samples.

    `accuracy` is the share of samples that show the class they were asked for; `class_share_distance` half the summed
    difference of the samples' class shares from the real ones, with the shares as its parts; `classes_covered` the
    share of classes with at least a tenth of their real share.

    Raises:
        MetricError: The pictures have no classes.
    """
    if sets.labelled is None:
        raise MetricError("a judge needs pictures with classes")
    network = sets.extractor("classifier", "exact", "clean")
    choices = torch.cat([class_probabilities(network, part).argmax(1).cpu() for part in pieces(sets.judged, n)])
    count = sets.labelled.classes
    shares = torch.bincount(choices, minlength=count).double() / len(choices)
    real = torch.bincount(sets.labelled.labels, minlength=count).double() / len(sets.labelled.labels)
    names = sets.classes or range(count)
    parts = {str(names[i]): share for i, share in enumerate(shares.tolist())}
    values: dict[str, tuple[Tensor, Direction]] = {
        "class_share_distance": (0.5 * (shares - real).abs().sum(), "lower"),
        "classes_covered": ((shares >= COVERED * real).double().mean(), "higher"),
    }
    if sets.labels is not None:
        values["accuracy"] = (choices == sets.labels[:n].cpu()).double().mean(), "higher"
    note = f"the judge itself is right on {network.facts['accuracy']:.2%} of real pictures"
    return [
        Figure(
            figure_name(f"judge/{name}", network.tag, len(choices)), float(value), better, n=len(choices), note=note,
            detail=parts if name == "class_share_distance" else None,
        )
        for name, (value, better) in values.items()
    ]  # fmt: skip


@metric("memorisation/nearest_distance", "memorisation/copies")
def memorisation(sets: ImageSets, n: int = 1000, n_train: int = 20_000) -> list[Figure]:
    """How near samples are to their nearest training pictures, pixel by pixel, beside how near real ones are.

    `nearest_distance` is the median root mean square difference in grey levels; well below that of real pictures (the
    ceiling) the model repeats what it has seen. `copies` is the share nearer than two grey levels.
    """
    judged = sets.judged[:n]
    distance, _ = nearest(judged, sets.train(min(n_train, sets.n_train)))
    values: dict[str, tuple[Tensor, Direction, float]] = {
        "nearest_distance": (distance.median(), "none", 255.0),
        "copies": ((distance < COPY).double().mean(), "lower", 1.0),
    }
    note = f"of {min(n_train, sets.n_train):,} training pictures"
    return [
        Figure(f"memorisation/{name}/n{len(judged)}", float(value), better, high=high, n=len(judged), note=note)
        for name, (value, better, high) in values.items()
    ]


def nearest(pictures: Tensor, train: Iterable[Tensor], k: int = 1) -> tuple[Tensor, Tensor]:
    """Root mean square differences in grey levels to the k nearest training pictures, and these, nearest first.

    Returns:
        Differences (n, k), or (n,) for k = 1; and the training pictures, uint8 (n, k, C, H, W).
    """
    asked = pictures.flatten(1).float()
    rows = torch.arange(len(pictures))[:, None]
    best = torch.full((len(pictures), 0), torch.inf)
    found = torch.zeros(len(pictures), 0, *pictures.shape[1:], dtype=torch.uint8)
    for batch in train:
        flat = batch.flatten(1).float()
        squares = torch.addmm(flat.square().sum(1), asked, flat.T, alpha=-2.0)  # less |asked|^2, which orders nothing
        values, at = squares.topk(min(k, len(batch)), largest=False)
        values, together = torch.cat([best, values], dim=1), torch.cat([found, batch[at]], dim=1)
        best, order = values.topk(min(k, values.shape[1]), largest=False)
        found = together[rows, order]
    # the product form above is rounded, and would not know a copy from a near one
    distance = (asked[:, None] - found.flatten(2).float()).square().mean(dim=2).sqrt()
    distance, order = distance.sort(dim=1)
    found = found[rows, order]
    return (distance.squeeze(1) if k == 1 else distance), found
