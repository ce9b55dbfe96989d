"""Uses of a model of pictures: hidden halves, larger ones, likelihood, strange ones, attributes, few labelled ones."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from datakiln.data.pictures.labelled_sample import spread_by_class
from datakiln.data.pictures.pictures import ImageData
from datakiln.metrics.pictures.evaluate import nearest
from datakiln.metrics.series.forecasting import folds
from datakiln.models.gan.pictures import ImageGAN
from datakiln.models.vae.vae import VAE
from datakiln.proof.pictures import Made
from datakiln.results import Score
from datakiln.sampling.anomalies import scorer_of
from datakiln.sampling.completing import read_mask
from datakiln.sampling.synthesizer import Synthesizer
from datakiln.studies.cnn import cnn_probabilities
from datakiln.studies.patches import patch_classes, patch_filters
from datakiln.studies.pictures import scaled
from datakiln.studies.uses.attributes import attribute_scores
from datakiln.studies.uses.base import between, mean, not_computed, not_offered, told_apart

BITS, ANOMALIES = "uses/bits_per_dim", "uses/anomaly_auc"
INPAINTED, UPSCALED, GAIN = "uses/inpainting_error", "uses/upscaling_error", "gain/pictures"
TRANSLATED = "translation/agreement_there"  # of a model that translates the proof measures it
DRAWN, SCORED, BESIDE = 16, 50, 5000  # pictures drawn, those scored, and training pictures for baselines
LEVELS = 256
SIZES, REPEATS, TESTED = (10, 50, 250), 3, 2000  # pictures of a class, draws of them, and pictures to tell
STEPS = 120  # updates of the net that tells whether an edit changes the class
JUDGED = 2000  # training pictures of the net that tells whether a class moves
SIDE = 16  # pixels that the net sees across, at most: larger pictures are shrunk, to keep it to seconds
NOTE = "the generator has seen all training pictures, the classifier some: no equal terms"


def picture_uses(data: ImageData, synthesizer: Synthesizer, synthetic: Made, seed: int) -> list[Score]:
    """See `uses_of`; likelihoods, hidden halves and larger pictures are those of held-out pictures."""
    (train, y), (test, truth) = data.examples("train", BESIDE), data.examples("test", TESTED)
    few = test[:DRAWN]
    found = [*scoring_scores(synthesizer, train, test[:SCORED], seed)]
    model, name = synthesizer.model, type(synthesizer.model).__name__
    if model.can_fill:
        hidden = read_mask(None, tuple(few.shape[1:]))
        made = synthesizer.complete(few.numpy(), hidden, (seed, 61))
        found.append(inpainting_between(train, few, torch.from_numpy(made), torch.from_numpy(hidden)))
    else:
        found.append(not_offered(INPAINTED, f"{name} cannot be told a part of a picture"))
    if not model.can_enlarge:
        found.append(not_offered(UPSCALED, f"{name} cannot be told a smaller picture"))
    elif few.shape[2] % 2 or few.shape[3] % 2:
        found.append(not_computed(UPSCALED, "pictures of an odd side have no half"))
    else:
        small = halved(few)
        larger = synthesizer.enlarge(small.numpy(), {}, (seed, 62))
        found.append(upscaling_between(few, small, torch.from_numpy(larger)))
    if not model.can_transform or data.second is None:
        found.append(not_offered(TRANSLATED, f"{name} takes no picture of another domain"))
    classes = len(data.spec.classes)
    told = None if y is None or classes < 2 else teller(train[:JUDGED], y[:JUDGED], classes, seed)
    found += attribute_scores(synthesizer, told, seed)
    if y is None or truth is None:
        return [*found, not_computed(GAIN, "the pictures have no classes")]
    if synthetic.labels is None:
        return [*found, not_offered(GAIN, f"{name} was not told the classes")]
    own = torch.from_numpy(synthetic.pictures), torch.from_numpy(np.asarray(synthetic.labels)).long()
    return [*found, gain_score((train, y), (test, truth), own, classes, seed)]


def scoring_scores(synthesizer: Synthesizer, train: Tensor, test: Tensor, seed: int) -> list[Score]:
    """Bits a dimension of held-out pictures, and how well strange ones are told."""
    model = synthesizer.model
    if model.likelihood == "none" and not isinstance(model, VAE | ImageGAN):
        told = f"{type(model).__name__} tells nothing of a given picture"
        return [not_offered(name, told) for name in (BITS, ANOMALIES)]
    scorer = scorer_of(synthesizer)
    usual = scorer(test.numpy(), (seed, 63))
    if "bits_per_dim" in usual:
        found = likelihood_between(train, test, usual["bits_per_dim"])
    else:
        found = not_offered(BITS, f"{type(model).__name__} has no likelihood")
    first = next(iter(usual))

    def strangeness(pictures: Tensor) -> np.ndarray:
        return scorer(pictures.numpy(), (seed, 63))[first]

    return [found, anomaly_between(train, test, strangeness, seed)]


def likelihood_between(train: Tensor, test: Tensor, bits: np.ndarray) -> Score:
    """Bits a dimension, (n,), beside those of the levels that each place has had in training, each with one more."""
    counts = torch.ones(LEVELS, math.prod(train.shape[1:]), dtype=torch.float64)
    counts.scatter_add_(0, train.flatten(1).long(), torch.ones(len(train), counts.shape[1], dtype=torch.float64))
    table = -(counts / counts.sum(dim=0)).log2()
    plain = table.gather(0, test.flatten(1).long()).mean(dim=1).numpy()
    note = f"of {len(test)} held-out pictures; the floor knows how often each place had which level in training"
    own = folds(bits)
    return between(
        BITS, mean(own), "lower", folds(plain), low=None, high=None, n=len(test), note=note, is_mean=True, own=own
    )


def anomaly_between(train: Tensor, test: Tensor, strangeness: Callable[[Tensor], np.ndarray], seed: int) -> Score:
    """AUC of a score, higher for stranger pictures, beside the distance to the nearest training picture."""
    strange = with_other_quarters(test, seed)
    own = strangeness(test), strangeness(strange)
    plain = [nearest(part, train.split(1000))[0].numpy() for part in (test, strange)]
    note = f"{len(test)} held-out pictures against the same with a quarter from another; the floor is the distance to "
    note += f"the nearest of {len(train):,} training pictures"
    return told_apart(ANOMALIES, own, (plain[0], plain[1]), note)


def with_other_quarters(pictures: Tensor, seed: int) -> Tensor:
    """Pictures (n, C, H, W) whose quarter, one of the four at random, is that of the next picture."""
    made, (height, wide) = pictures.clone(), pictures.shape[2:]
    places = np.random.default_rng([seed, 64]).integers(2, size=(len(pictures), 2))
    for i, (down, right) in enumerate(places.tolist()):
        rows = slice(height // 2, height) if down else slice(0, height // 2)
        columns = slice(wide // 2, wide) if right else slice(0, wide // 2)
        made[i, :, rows, columns] = pictures[(i + 1) % len(pictures), :, rows, columns]
    return made


def inpainting_between(train: Tensor, real: Tensor, made: Tensor, hidden: Tensor) -> Score:
    """Root mean square error of hidden pixels, bool (H, W), beside those of the training picture nearest in the others.

    Both are one sharp guess: the mean of many would be nearer and no picture.
    """
    shown = torch.where(hidden, torch.zeros_like(real), real)
    distances = [
        (part[None].float() - train.masked_fill(hidden, 0).float()).flatten(1).square().sum(dim=1) for part in shown
    ]
    plain = train[torch.stack([one.argmin() for one in distances])]
    note = f"the lower half of {len(real)} held-out pictures, one draw; the floor is that half of the training picture "
    note += "whose upper half is nearest"
    own, floors = (folds(_error(part, real, hidden)) for part in (made, plain))
    return between(INPAINTED, mean(own), "lower", floors, high=255.0, n=len(real), note=note, is_mean=True, own=own)


def upscaling_between(real: Tensor, small: Tensor, made: Tensor) -> Score:
    """Root mean square error of pictures drawn from smaller ones, beside these with every pixel repeated."""
    plain = F.interpolate(small.float(), size=real.shape[2:], mode="nearest")
    own, floors = (folds(_error(part, real, torch.ones(real.shape[2:], dtype=torch.bool))) for part in (made, plain))
    note = f"{len(real)} held-out pictures of half the side, one draw; the floor repeats every pixel"
    return between(UPSCALED, mean(own), "lower", floors, high=255.0, n=len(real), note=note, is_mean=True, own=own)


def halved(pictures: Tensor) -> Tensor:
    """Means over blocks of two by two pixels, uint8."""
    return F.avg_pool2d(pictures.float(), 2).round().to(torch.uint8)


def _error(made: Tensor, real: Tensor, hidden: Tensor) -> np.ndarray:
    squares = (made.double() - real.double()).square() * hidden
    return (squares.flatten(1).sum(dim=1) / (hidden.sum() * real.shape[1])).sqrt().numpy()


def seen(pictures: Tensor) -> Tensor:
    """Pictures as the net sees them, shrunk by whole blocks to 16 pixels across at most."""
    blocks = -(-max(pictures.shape[2:]) // SIDE)
    return F.avg_pool2d(pictures.float(), blocks).round().to(torch.uint8) if blocks > 1 else pictures


def teller(train: Tensor, y: Tensor, classes: int, seed: int) -> Callable[[np.ndarray], np.ndarray]:
    """A function from pictures, uint8 (n, C, H, W), to class probabilities (n, K) of a small net that learnt from some.

    It learns whenever it is called.
    """

    def probabilities(pictures: np.ndarray) -> np.ndarray:
        asked = scaled(seen(torch.from_numpy(pictures)))
        return cnn_probabilities(scaled(seen(train)), y, asked, classes, seed, True, STEPS)

    return probabilities


def gain_score(
    real: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    made: tuple[Tensor, Tensor],
    classes: int,
    seed: int,
) -> Score:
    """What as many synthetic pictures add to the accuracy of a classifier beside 10, 50 and 250 real ones a class.

    All arms shift and turn their pictures at random (classical augmentation). The floor is no gain over the real ones
    alone, the ceiling what as many further real ones add; means over sizes, of the same draws of real pictures.
    """
    (x, y), (judged, truth) = (seen(real[0]), real[1]), (seen(test[0]), test[1])
    made = seen(made[0]), made[1]
    sizes = [n for n in SIZES if 2 * n * classes <= len(x) and n * classes <= len(made[0])]
    if not sizes:
        return not_computed(GAIN, f"{len(x)} training and {len(made[0])} synthetic pictures are too few")
    turns: dict[str, list[list[float]]] = {"classical": [], "synthetic": [], "real": []}
    for turn in range(REPEATS):
        right: dict[str, list[float]] = {arm: [] for arm in turns}
        for n in sizes:
            own_seed = seed * REPEATS + turn
            rows = spread_by_class(y, len(x), 2 * n * classes, own_seed)
            order = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(own_seed))]
            own = order[: n * classes]
            drawn = spread_by_class(made[1], len(made[0]), n * classes, own_seed)
            arms = {"classical": (x[own], y[own])}
            arms["synthetic"] = torch.cat([x[own], made[0][drawn]]), torch.cat([y[own], made[1][drawn]])
            arms["real"] = x[order], y[order]
            filters = patch_filters(scaled(x[own]), own_seed)
            for arm, (pictures, labels) in arms.items():
                said = patch_classes(scaled(pictures), labels, scaled(judged), filters, own_seed)
                right[arm].append(float((said == truth).double().mean()))
        for arm, values in right.items():
            turns[arm].append(values)
    every = [(arm, i, n) for arm in turns for i, n in enumerate(sizes)]
    detail = {f"{arm}, {n} a class": mean([values[i] for values in turns[arm]]) for arm, i, n in every}
    gains = {
        arm: [mean(values) - mean(plain) for values, plain in zip(turns[arm], turns["classical"], strict=True)]
        for arm in ("synthetic", "real")
    }
    note = f"ridge regression on random patches beside {', '.join(map(str, sizes))} real pictures a class, all shifted "
    note += f"and turned, {REPEATS} draws; {NOTE}"
    return between(
        GAIN, mean(gains["synthetic"]), "higher", [0.0] * REPEATS, gains["real"], low=-1.0, n=len(judged), note=note,
        detail=detail, is_mean=True,
    )  # fmt: skip
