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
from datakiln.metrics.extractors.classifier import class_choices
from datakiln.metrics.pictures.chance import Draws, deal, decides_nothing, ends_of_ceiling, ends_of_floor, halve, stem
from datakiln.metrics.pictures.copies import Collector, calibrated, near_copies
from datakiln.metrics.pictures.images import figure_name, image_figures, possible_figures
from datakiln.metrics.pictures.naive import NaivePictures, fit_pictures
from datakiln.metrics.pictures.sets import BATCH, ImageSets, first, pieces
from datakiln.metrics.pictures.statistics import STORE, statistics_of
from datakiln.metrics.tables.references import Alone

COVERED = 0.1  # a class is covered by samples if it has at least this part of its real share
COPY = 2.0  # grey levels, root mean square: a picture this near to a training picture is a copy
SIDES = {"": "", "ceiling": " of real pictures", "floor": " of naive pictures"}
UNDECIDED = "does not tell real pictures from naive ones (Gaussians on principal components) here"


def evaluate_images(
    sets: ImageSets,
    metrics: Sequence[Callable[[ImageSets], list[Figure]]],
    progress: Callable[[str], None] | None = None,
    real: ImageSets | None = None,
) -> list[Result]:
    """Every metric on the pictures, on as many real ones (ceiling), and on those of a naive generator (floor).

    A `MetricError` or `UserError` becomes a result with its reason instead of a value. Figures of features are asked
    again of pictures dealt anew, which shows what chance gives them at the figure's n.

    Arguments:
        sets: The pictures.
        metrics: Functions as `conf/metrics/image.yaml` lists them.
        progress: Called with the name of each metric and side before it starts, `STEPS` times a metric.
        real: Real pictures in place of the judged, and those they are compared with; None for those held out. Where
            they are fewer than the judged, their figures are carried on to the judged ones' n.
    """
    sides: dict[str, ImageSets | str] = {"": _asked(sets), "ceiling": real or _ceiling(sets), "floor": _floor(sets)}
    are_few = real is not None and len(real.judged) < sets.size
    results: list[Result] = []
    for function in metrics:
        start = time.perf_counter()
        made = {}
        is_alone = isinstance(traits(function).plan, Alone)  # an audit, which brings its own controls
        for side, found in sides.items():
            if is_alone:
                made[side] = Draws({}, {}) if side else _attempt(function, sets)
                continue
            if progress is not None:
                progress(f"{traits(function).figures[0]}{SIDES[side]}")
            made[side] = _attempt(function, found)
            if side and traits(function).deals and made[side].figures and not isinstance(found, str):
                deal(function, found, made[side], are_few) if side == "ceiling" else halve(function, found, made[side])
        results += _results(made, sets.n_train, traits(function).decides, time.perf_counter() - start)
    return results


STEPS = len(SIDES)


def _attempt(function: Callable[[ImageSets], list[Figure]], sets: ImageSets | str) -> Draws:
    """The figures by stem, and the reason for each that is missing."""
    name = traits(function).figures[0]
    if isinstance(sets, str):  # why there is nothing to measure
        return Draws({}, {name: sets})
    try:
        figures, missing = function(sets), {}
    except Incomplete as error:
        figures, missing = error.found, error.missing
    except (MetricError, UserError) as error:  # hours of training are behind: the other figures must not be lost
        return Draws({}, {name: str(error)})
    return Draws({stem(figure.name): figure for figure in figures}, missing)


def _results(made: dict[str, Draws], compared: int, decides: bool, seconds: float) -> list[Result]:
    found = []
    for name, figure in made[""].figures.items():
        ceiling, real, draws = ends_of_ceiling(figure, made["ceiling"], compared)
        floor, naive = ends_of_floor(figure, made["floor"])
        naive = naive if decides else None
        if real is not None and naive is not None and decides_nothing(figure, real, naive):
            figure = replace(figure, note="; ".join(filter(None, [figure.note, UNDECIDED])))
        lacks = _lacking(name, made)
        found.append(Result(figure.name, figure, ceiling, floor, lacks, seconds, real, naive, draws))
    whys = made[""].missing
    return found + [Result(name, None, why=f"not computed: {why}", seconds=seconds) for name, why in whys.items()]


def _lacking(name: str, made: dict[str, Draws]) -> str:
    """Which references a figure has not, and why."""
    whys = {
        side: dict.fromkeys(made[side].missing.values())
        for side in ("ceiling", "floor")
        if name not in made[side].figures
    }
    return "; ".join(f"no {side}: {why}" for side, reasons in whys.items() for why in reasons if why)


def _asked(sets: ImageSets) -> ImageSets:
    labels = None if sets.labels is None else sets.labels[: sets.size]
    return replace(sets, judged=first(sets.judged, sets.size), labels=labels)


def _ceiling(sets: ImageSets) -> ImageSets | str:
    if sets.holdout is None:
        return "there are no further real pictures"
    labels = None if sets.holdout_labels is None else sets.holdout_labels[: sets.size]
    return replace(sets, judged=first(sets.holdout, sets.size), labels=labels)


def _floor(sets: ImageSets) -> ImageSets:
    """Naive pictures, as many as are judged; a class they were asked for is one of chance, in the shares asked for."""
    mixture = fit_pictures(sets.train(sets.n_train), sets.seed, sets.device)
    pictures = NaivePictures(mixture, sets.size, sets.judged.shape[2], sets.seed)
    labels = None if sets.labels is None else sets.labels[: sets.size]
    return replace(sets, judged=pictures, labels=labels)


@metric("fid", "kid", "precision", "recall", deals=True)
def features(
    sets: ImageSets,
    extractor: str = "auto",
    precision: str = "exact",
    resize: str = "clean",
    n: int = 10_000,
    n_train: int = 10_000,
    kinds: Sequence[str] | None = None,
    weights: str | None = None,
) -> list[Figure]:
    """Distances and manifolds in the features of one network: FID, KID, precision, recall (see `possible_figures`).

    Arguments:
        sets: The pictures.
        extractor: See `build_extractor`; "auto" is the classifier for labelled grey pictures, and never a network that
            the model was trained with.
        precision: See `build_extractor`.
        resize: See `build_extractor`.
        n: Judged pictures at most.
        n_train: Training pictures at most that they are compared with.
        kinds: Some of `datakiln.metrics.pictures.images.KINDS`; None for all.
        weights: A file of the network's weights, see `build_extractor`.

    Raises:
        MetricError: The model was trained with this very network.
        Incomplete: Some of the figures cannot be had.
    """
    network = sets.judging(extractor, precision, resize, weights)
    real = sets.reference(network, n_train, STORE)
    fake = statistics_of(network, sets.features(network, n), STORE, sets.seed)
    try:
        found, missing = possible_figures(real.to(fake.rows.device), fake, kinds, brief=sets.deal is not None), {}
    except Incomplete as error:
        found, missing = error.found, error.missing
    found = [replace(figure, note="; ".join(filter(None, [figure.note, network.card]))) for figure in found]
    if missing:
        raise Incomplete(found, missing)
    return found


@metric("judge/class_share_distance", "judge/classes_covered", deals=True)
def judge(sets: ImageSets, n: int = 10_000, n_train: int = 10_000) -> list[Figure]:
    """A classifier trained on the real labels, which no generator was tuned against, looks at the samples.

    `accuracy` is the share of samples that show the class they were asked for; `class_share_distance` half the summed
    difference of the samples' class shares from the real ones, with the shares as its parts; `classes_covered` the
    share of classes with at least a tenth of their real share. `fid` is the distance in the features of this
    classifier, a second witness where `features` goes by a network of ImageNet.

    Raises:
        MetricError: The pictures have no classes, or the model was trained with the classifier.
    """
    if sets.labelled is None:
        raise MetricError("a judge needs pictures with classes")
    network = sets.judging("classifier", "exact", "clean")
    choices = torch.cat([class_choices(network, rows).cpu() for rows in sets.features(network, n)])
    count = sets.labelled.classes
    shares = torch.bincount(choices, minlength=count).double() / len(choices)
    real = torch.bincount(sets.labelled.labels, minlength=count).double() / len(sets.labelled.labels)
    names = sets.classes or range(count)
    parts = {str(names[i]): share for i, share in enumerate(shares.tolist())}
    values: dict[str, tuple[Tensor, Direction]] = {
        "class_share_distance": (0.5 * (shares - real).abs().sum(), "lower"),
        "classes_covered": ((shares >= COVERED * real).double().mean(), "higher"),
    }
    if not sets.goes_by_classifier and len(choices) > 1:
        real_ones = sets.reference(network, n_train, STORE)
        fake = statistics_of(network, sets.features(network, n), STORE, sets.seed)
        (distance,) = image_figures(real_ones.to(fake.rows.device), fake, ("fid",))
        values["fid"] = torch.tensor(distance.value), "lower"
    if sets.labels is not None:
        values["accuracy"] = (choices == sets.labels[:n].cpu()).double().mean(), "higher"
    note = f"the judge itself is right on {network.facts['accuracy']:.2%} of real pictures"
    return [
        Figure(
            figure_name(f"judge/{name}", network.tag, len(choices)), float(value), better, n=len(choices), note=note,
            high=None if name == "fid" else 1.0,
            detail=parts if name == "class_share_distance" else None,
            is_share=name == "accuracy",
        )
        for name, (value, better) in values.items()
    ]  # fmt: skip


@metric("memorisation/nearest_distance", "memorisation/copies", "memorisation/near_copies", decides=False)
def memorisation(sets: ImageSets, n: int = 1000, n_train: int = 20_000) -> list[Figure]:
    """How near samples are to their nearest training pictures, pixel by pixel, beside how near real ones are.

    `nearest_distance` is the median root mean square difference in grey levels; well below that of real pictures (the
    ceiling) the model repeats what it has seen. `copies` is the share nearer than two grey levels, `near_copies` that
    of pictures that are a training picture but for a shift, a mirror, compression or brightness; about one in a hundred
    real pictures is taken for one.

    Raises:
        Incomplete: There are too few training pictures to know a near-copy.
    """
    judged = torch.cat(list(pieces(sets.judged, n)))
    n_train = min(n_train, sets.n_train)
    collector = Collector()
    distance, _ = nearest(judged, collector.passed(sets.train(n_train)))
    values: dict[str, tuple[Tensor, Direction, float]] = {
        "nearest_distance": (distance.median(), "none", 255.0),
        "copies": ((distance < COPY).double().mean(), "lower", 1.0),
    }
    missing = {}
    try:
        gallery = collector.gallery()
        are_near = near_copies(judged, gallery, calibrated(gallery)) | (distance < COPY)
        values["near_copies"] = are_near.double().mean(), "lower", 1.0
    except MetricError as error:
        missing["memorisation/near_copies"] = str(error)
    note = f"of {n_train:,} training pictures"
    found = [
        Figure(
            f"memorisation/{name}/n{len(judged)}", float(value), better, high=high, n=len(judged), note=note,
            is_share=name != "nearest_distance",
        )
        for name, (value, better, high) in values.items()
    ]  # fmt: skip
    if missing:
        raise Incomplete(found, missing)
    return found


def nearest(pictures: Tensor, train: Iterable[Tensor], k: int = 1) -> tuple[Tensor, Tensor]:
    """Root mean square differences in grey levels to the k nearest training pictures, and these, nearest first.

    Returns:
        Differences (n, k), or (n,) for k = 1; and the training pictures, uint8 (n, k, C, H, W).
    """
    rows = torch.arange(len(pictures))[:, None]
    best = torch.full((len(pictures), 0), torch.inf)
    found = torch.zeros(len(pictures), 0, *pictures.shape[1:], dtype=torch.uint8)
    for batch in train:
        flat = batch.flatten(1).float()
        norms = flat.square().sum(1)  # less |asked|^2, which orders nothing
        parts = (part.flatten(1).float() for part in pictures.split(BATCH))
        squares = torch.cat([torch.addmm(norms, part, flat.T, alpha=-2.0) for part in parts])
        values, at = squares.topk(min(k, len(batch)), largest=False)
        values, together = torch.cat([best, values], dim=1), torch.cat([found, batch[at]], dim=1)
        best, order = values.topk(min(k, values.shape[1]), largest=False)
        found = together[rows, order]
    # the product form above is rounded, and would not know a copy from a near one
    pairs = zip(pictures.split(BATCH), found.split(BATCH), strict=True)
    distance = torch.cat(
        [(one.flatten(1).float()[:, None] - near.flatten(2).float()).square().mean(2).sqrt() for one, near in pairs]
    )
    distance, order = distance.sort(dim=1)
    found = found[rows, order]
    return (distance.squeeze(1) if k == 1 else distance), found
