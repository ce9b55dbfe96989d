"""Near-copies of pictures: found whatever slight change was made, and not seen among unseen real pictures."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from datakiln.data.pictures.sources import SklearnDigits
from datakiln.metrics.base import MetricError
from datakiln.metrics.pictures.copies import Collector, calibrated, near_copies
from datakiln.metrics.pictures.evaluate import evaluate_images, memorisation
from datakiln.metrics.pictures.sets import ImageSets

COPIED = 100


def jpeg(pictures: Tensor) -> Tensor:
    made = []
    for x in pictures.numpy():
        held = io.BytesIO()
        Image.fromarray(x[0] if len(x) == 1 else x.transpose(1, 2, 0)).save(held, "JPEG", quality=95)
        y = np.asarray(Image.open(held))
        made.append(y[None] if y.ndim == 2 else y.transpose(2, 0, 1))
    return torch.from_numpy(np.stack(made))


def shifted(pictures: Tensor) -> Tensor:
    """One pixel to the right and one up, what comes in repeated from the edge."""
    padded = torch.nn.functional.pad(pictures.float(), (1, 1, 1, 1), mode="replicate").to(torch.uint8)
    return padded[:, :, 2:, :-2]


CHANGES: dict[str, Callable[[Tensor], Tensor]] = {
    "jpeg": jpeg,
    "brighter": lambda x: (x.int() + 3).clamp(max=255).to(torch.uint8),
    "shifted": shifted,
    "mirrored": lambda x: x.flip(3),
    "all of it": lambda x: jpeg(shifted((x.int() + 3).clamp(max=255).to(torch.uint8).flip(3))),
}


def tiles(side: int = 32) -> Tensor:
    """Pieces of two photographs, (n, 3, side, side), none of which overlap."""
    from sklearn.datasets import load_sample_images

    found = []
    for photo in load_sample_images().images:
        x = torch.from_numpy(np.array(photo))
        x = x[: len(x) // side * side, : x.shape[1] // side * side]
        found.append(x.unflatten(0, (-1, side)).unflatten(2, (-1, side)).permute(0, 2, 4, 1, 3).flatten(0, 1))
    return torch.cat(found)


@functools.cache
def real(kind: str) -> tuple[Tensor, Tensor]:
    """Training pictures, and others."""
    sides = {"digits": None, "digits of 28 px": 28}
    x = SklearnDigits()(side=sides[kind]).train.x if kind in sides else tiles(int(kind.split()[-2]))
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    cut = 4 * len(x) // 5
    return x[order[:cut]], x[order[cut:]]


@functools.cache
def known(kind: str):
    collector = Collector()
    for _ in collector.passed(real(kind)[0].split(256)):
        pass
    gallery = collector.gallery()
    return gallery, calibrated(gallery)


KINDS = ["digits", "digits of 28 px", "photographs, 24 px", "photographs, 40 px"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("change", CHANGES)
def test_slightly_changed_copies_are_found(kind: str, change: str) -> None:
    train = real(kind)[0]
    x = train.float()
    telling = (x[..., 1:] - x[..., :-1]).abs().mean(dim=(1, 2, 3)) > 3  # a piece of cloudless sky is like any other
    copied = CHANGES[change](train[telling][:COPIED])
    assert near_copies(copied, *known(kind)).float().mean() >= 0.95


@pytest.mark.parametrize("kind", KINDS)
def test_unseen_real_pictures_give_no_alarm(kind: str) -> None:
    unseen = real(kind)[1]
    share = float(near_copies(unseen, *known(kind)).float().mean())
    # of the threshold as of the share: 1 % is what both were drawn about
    assert share <= 0.01 + 3 * (0.01 * 0.99 * (1 / len(unseen) + 1 / len(real(kind)[0]))) ** 0.5


def test_the_figure_stands_beside_real_pictures() -> None:
    train, unseen = real("digits")
    sets = ImageSets(lambda n: train[:n].split(256), len(train), shifted(train[:150]), holdout=unseen[:200])
    near = {r.name: r for r in evaluate_images(sets, [memorisation])}["memorisation/near_copies/n150"]
    assert near.value is not None and near.value > 0.95 and near.ceiling.value < 0.05
    assert near.ceiling_range[1] < 0.1 and near.floor.value < 0.1 and near.ceiling.n == near.figure.n == 150


def test_few_pictures_are_told_and_leave_the_other_figures() -> None:
    train = real("digits")[0][:12]
    sets = ImageSets(lambda n: train[:n].split(5), 12, train[:6])
    found = {r.name: r for r in evaluate_images(sets, [memorisation])}
    assert found["memorisation/copies/n6"].value == 1.0
    assert "at least 20 training pictures, not 12" in found["memorisation/near_copies"].why
    with pytest.raises(MetricError, match="at least 20"):
        calibrated(known("digits")[0].first(19))


def test_pictures_that_are_all_alike_end_in_a_number() -> None:
    same = torch.full((40, 3, 16, 16), 9, dtype=torch.uint8)
    collector = Collector()
    list(collector.passed(same.split(16)))
    gallery = collector.gallery()
    assert near_copies(same[:5], gallery, calibrated(gallery)).all()
    assert calibrated(gallery) == 0.2
