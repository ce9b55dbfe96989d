"""What is measured and drawn of models that take a picture and give one, besides what is measured of all pictures."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from datakiln.callbacks.fid import training_sets
from datakiln.codecs.pictures import to_levels
from datakiln.data.pictures.pictures import ImageData
from datakiln.errors import UserError
from datakiln.metrics.base import MetricError
from datakiln.metrics.extractors.classifier import class_choices
from datakiln.metrics.pictures.restoration import bicubic, consistency, feature_distance, psnr, ssim
from datakiln.metrics.pictures.sets import ImageSets
from datakiln.plots.images import columns
from datakiln.results import Better, Score
from datakiln.sampling.synthesizer import Synthesizer

MOST, SHOWN, VARIED = 2000, 8, 5  # pictures measured, rows drawn, variations drawn of each
MOST_VARIED = 500  # pictures measured that are varied


def source_labels(data: ImageData, n: int) -> np.ndarray | None:
    """Classes that pictures made of the first n held-out ones should have, as indices of the target's; None without."""
    y, own, wanted = data.examples("test", n)[1], data.spec.classes, data.target.spec.classes
    if y is None or not set(own) <= set(wanted):
        return None
    at = torch.tensor([wanted.index(name) for name in own])
    return at[y].numpy()


def transformed_scores(data: ImageData, synthesizer: Synthesizer, sets: ImageSets, seed: int) -> list[Score]:
    """Figures of held-out pictures and what was made of each; a figure that cannot be had stays with its reason.

    Arguments:
        data: Gives the pictures.
        synthesizer: The trained model.
        sets: Its extractors look at them.
        seed: Of what a model draws.
    """
    if synthesizer.model.enlarges > 1:
        return _enlarged(data, synthesizer, sets)
    if synthesizer.model.varies:
        return _varied(data, synthesizer, seed)
    return _translated(data, synthesizer, sets, seed) if data.second is not None else []


def _enlarged(data: ImageData, synthesizer: Synthesizer, sets: ImageSets) -> list[Score]:
    """Against the large pictures, beside bicubic interpolation of the small ones (the floor)."""
    factor, start = synthesizer.model.enlarges, time.perf_counter()
    real = data.examples("test", MOST)[0]
    small = to_levels(data.inputs("test", len(real), synthesizer.model.takes))
    made = torch.from_numpy(synthesizer.transform(small.numpy()))
    plain = bicubic(small, factor)
    note = f"factor {factor}, beside bicubic interpolation as the floor"
    found = []
    figures: tuple[tuple[str, Better, Callable[[Tensor], Tensor]], ...] = (
        ("psnr", "higher", lambda x: psnr(x, real)),
        ("ssim", "higher", lambda x: ssim(x, real)),
        ("consistency", "lower", lambda x: consistency(x, small)),
    )
    for name, better, values in figures:
        ours, floor = values(made), values(plain)
        high = 1.0 if name == "ssim" else None
        found.append(
            Score(
                f"upscaling/{name}/x{factor}",
                float(ours.mean()),
                better,
                0.0,
                high,
                None,
                float(floor.mean()),
                n=len(real),
                floor_n=len(real),
                note=note,
                noise=float(ours.std() / len(ours) ** 0.5),
                seconds=round(time.perf_counter() - start, 3),
            )  # fmt: skip
        )
    return [*found, _perceptual(sets, made, plain, real, factor, note)]


def _perceptual(sets: ImageSets, made: Tensor, plain: Tensor, real: Tensor, factor: int, note: str) -> Score:
    name, start = f"upscaling/perceptual/x{factor}", time.perf_counter()
    try:
        network = sets.extractor("auto", "exact", "clean")
    except (UserError, MetricError) as error:
        return Score(name, None, "lower", why=f"not computed: {error}")
    wanted = network(real)
    ours, floor = (feature_distance(network(x), wanted) for x in (made, plain))
    return Score(
        f"{name}/{network.tag}/n{len(real)}", float(ours.mean()), "lower", 0.0, 2.0, None, float(floor.mean()),
        n=len(real), floor_n=len(real), note=f"{note}; {network.card}", noise=float(ours.std() / len(ours) ** 0.5),
        seconds=round(time.perf_counter() - start, 3),
    )  # fmt: skip


def _translated(data: ImageData, synthesizer: Synthesizer, sets: ImageSets, seed: int) -> list[Score]:
    """What comes back of the way there and back, and whether translations keep their class; told, never chosen by."""
    assert data.second is not None
    first, second = data.domains
    found = []
    for way, source, target, start, end in (
        ("there", data, data.second, first, second),
        ("back", data.second, data, second, first),
    ):
        begun = time.perf_counter()
        given = source.examples("test", MOST)[0].numpy()
        made = synthesizer.transform(given, {"domain": end}, seed)
        again = synthesizer.transform(made, {"domain": start}, seed)
        lost = np.sqrt(np.square(again.astype(float) - given).mean(axis=(1, 2, 3)))
        told = f"from {start} to {end}"
        found.append(
            Score(
                f"translation/cycle_{way}",
                float(lost.mean()),
                "lower",
                0.0,
                255.0,
                n=len(given),
                note=f"{told} and back, in grey levels (RMS)",
                noise=float(lost.std() / len(lost) ** 0.5),
                seconds=round(time.perf_counter() - begun, 3),
            )  # fmt: skip
        )
        judges = sets if target is data.second else training_sets(data, data.device, sampled=True)
        found.append(_agreement(f"translation/agreement_{way}", source, target, judges, torch.from_numpy(made), told))
    return found


def _agreement(
    name: str, source: ImageData, target: ImageData, judges: ImageSets, made: Tensor, told: str
) -> Score:  # fmt: skip
    """Share of translations that a classifier of the other side, trained on its labels, gives the class they had."""
    begun = time.perf_counter()
    given, y = source.examples("test", len(made))
    shared = set(source.spec.classes) <= set(target.spec.classes)
    if y is None or judges.labelled is None or not shared or len(source.spec.classes) < 2:
        return Score(name, None, "higher", why="not computed: it needs two sets with the same classes, two or more")
    network = judges.extractor("classifier", "exact", "clean")
    classes: Callable[[Tensor], list[str]] = lambda x: [  # noqa: E731
        target.spec.classes[k] for k in class_choices(network, network(x)).tolist()
    ]
    wanted = [source.spec.classes[k] for k in y.tolist()]
    right = [np.array([a == b for a, b in zip(classes(x), wanted, strict=True)], np.float64) for x in (made, given)]
    share, floor = (float(part.mean()) for part in right)
    chance = 1.96 * float(
        (right[0] - right[1]).std() / len(made) ** 0.5
    )  # of the difference: the pictures are the same
    real, labels = target.examples("test", MOST)
    assert labels is not None
    ceiling = float(np.mean([a == target.spec.classes[k] for a, k in zip(classes(real), labels.tolist(), strict=True)]))
    note = f"{told}; beside real pictures of that side (ceiling) and untranslated ones (floor); {network.card}"
    return Score(
        name, share, "higher", 0.0, 1.0, ceiling, floor, n=len(made), ceiling_n=len(real), floor_n=len(given),
        note=note, noise=(share * (1 - share) / len(made)) ** 0.5, floor_range=[floor - chance, floor + chance],
        seconds=round(time.perf_counter() - begun, 3),
    )  # fmt: skip


def _varied(data: ImageData, synthesizer: Synthesizer, seed: int) -> list[Score]:
    """How far variations of a picture are from each other, over real pictures of a class; that of copies would be 0.

    Whether they keep their class is told by the judge of samples, who is told the class of what they were made of.
    """
    name, begun = "variation/spread", time.perf_counter()
    real, y = data.examples("test", MOST_VARIED)
    if y is None:
        return [Score(name, None, why="not computed: it needs pictures with classes")]
    alike = [rows for rows in (torch.nonzero(y == k).squeeze(1) for k in y.unique()) if len(rows) > 1]
    if not alike:
        return [Score(name, None, why="not computed: it needs two held-out pictures of a class")]
    x = to_levels(data.inputs("test", len(real), synthesizer.model.takes))
    made = [torch.from_numpy(synthesizer.transform(x.numpy(), {}, seed, part=k)) for k in range(VARIED)]
    own = torch.stack([_apart(made[k - 1], made[k]) for k in range(VARIED)]).mean(dim=0)
    others = torch.cat([_apart(real[rows], real[rows.roll(1)]) for rows in alike]).mean()
    share = own / others
    return [
        Score(
            name, float(share.mean()), "higher", 0.0, None, ideal=1.0, n=len(real),
            note=f"{VARIED} variations of each; real ones of a class are {others:.0f} grey levels apart (RMS)",
            noise=float(share.std() / len(share) ** 0.5), seconds=round(time.perf_counter() - begun, 3),
        )
    ]  # fmt: skip


def _apart(one: Tensor, two: Tensor) -> Tensor:
    """Root mean square of the differences of pairs of pictures, (n,)."""
    return (one.double() - two.double()).square().flatten(1).mean(dim=1).sqrt()


def transformed_plot(data: ImageData, synthesizer: Synthesizer, path: Path, seed: int = 0) -> Path:
    """Held-out pictures beside what was made of them; of two domains both ways, and the way back; returns the path."""
    model, parts = synthesizer.model, _parts(data, synthesizer, seed)
    if data.second is not None:
        words = f"{SHOWN} held-out pictures of each set, their translations, and these translated back"
    elif model.enlarges > 1:
        words = f"{SHOWN} held-out pictures: made small, enlarged by interpolation, by the model, and as they were"
    else:
        words = f"{SHOWN} held-out pictures and what was made of each"
    return columns(parts, path, f"{words}; neither chosen by hand.")


def _parts(data: ImageData, synthesizer: Synthesizer, seed: int) -> Sequence[tuple[str, np.ndarray]]:
    model, real = synthesizer.model, data.examples("test", SHOWN)[0].numpy()
    if data.second is not None:
        first, second = data.domains
        other = data.second.examples("test", SHOWN)[0].numpy()
        parts = []
        for name, given, end in ((first, real, second), (second, other, first)):
            made = synthesizer.transform(given, {"domain": end}, seed)
            parts += [(name, given), (f"to {end}", made), ("back", synthesizer.transform(made, {"domain": name}, seed))]
        return parts
    x = to_levels(data.inputs("test", SHOWN, model.takes)).numpy()
    if model.enlarges > 1:
        small = torch.from_numpy(x)
        blocks = x.repeat(model.enlarges, axis=2).repeat(model.enlarges, axis=3)
        plain = bicubic(small, model.enlarges).numpy()
        return [("small", blocks), ("bicubic", plain), ("model", synthesizer.transform(x)), ("real", real)]
    count = VARIED if model.varies else 1
    made = [synthesizer.transform(x, {}, seed, part=k) for k in range(count)]
    return [("given", x), *((f"made {k + 1}" if count > 1 else "made", one) for k, one in enumerate(made))]
