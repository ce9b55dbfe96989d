"""Uses of models of pictures, and the Vendi score, where the answer is known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from datakiln.metrics.pictures.evaluate import nearest
from datakiln.metrics.pictures.sets import ImageSets
from datakiln.metrics.pictures.vendi import vendi, vendi_score
from datakiln.studies.uses.pictures import (
    anomaly_between,
    gain_score,
    halved,
    inpainting_between,
    likelihood_between,
    seen,
    upscaling_between,
    with_other_quarters,
)


def pictures(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A bright bar that lies or stands, of another place and noise each; and which it is."""
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, 60, (n, 1, 8, 8)), rng.integers(0, 2, n)
    for i, stands in enumerate(y):
        at = int(rng.integers(1, 7))
        x[i, 0, :, at] += 150 * stands
        x[i, 0, at, :] += 150 * (1 - stands)
    return torch.from_numpy(x).to(torch.uint8), torch.from_numpy(y)


(TRAIN, LABELS), (TEST, TRUTH) = pictures(400, 0), pictures(60, 1)


def test_vendi_of_equal_examples_is_1_and_of_examples_at_right_angles_their_number():
    assert vendi_score(torch.ones(50, 7) * 3.0) == pytest.approx(1.0)
    assert vendi_score(torch.eye(6) * torch.arange(1.0, 7.0)) == pytest.approx(6.0)
    assert vendi_score(torch.eye(4).repeat(5, 1)) == pytest.approx(4.0), "copies add nothing"
    shares = torch.tensor([1.0, 0.0]).repeat(30, 1)
    shares[:10] = torch.tensor([0.0, 2.0])
    entropy = -(math.log(1 / 3) / 3 + 2 * math.log(2 / 3) / 3)
    assert vendi_score(shares) == pytest.approx(math.exp(entropy))
    rows = torch.randn(40, 9, generator=torch.Generator().manual_seed(0))
    kernel = torch.nn.functional.normalize(rows.double(), dim=1)
    values = torch.linalg.eigvalsh(kernel @ kernel.T / 40).clamp(min=1e-300)
    assert vendi_score(rows) == pytest.approx(float(torch.exp(-(values * values.log()).sum())), rel=1e-9)


def test_vendi_is_of_no_more_pictures_than_were_set_aside():
    """It grows with their number: what is judged would be beyond any ceiling of fewer."""
    made = torch.randint(0, 256, (60, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    sets = ImageSets(lambda n: made[:n].split(20), 60, made, holdout=made[:25])
    (few,), (all_of_them,) = (vendi(one, extractor="pixels") for one in (sets, replace(sets, holdout=None)))
    assert (few.n, all_of_them.n) == (25, 60) and few.value < all_of_them.value


def test_bits_of_a_model_that_knows_the_places_are_at_the_floor_and_of_the_truth_below():
    counts = torch.ones(256, 64, dtype=torch.float64)
    for picture in TRAIN.flatten(1).long():
        counts[picture, torch.arange(64)] += 1
    bits = -(counts / counts.sum(dim=0)).log2().gather(0, TEST.flatten(1).long()).mean(dim=1).numpy()
    score = likelihood_between(TRAIN, TEST, bits)
    assert score.value == pytest.approx(score.floor) and score.better == "lower"
    known = likelihood_between(TRAIN, TEST, np.full(len(TEST), math.log2(60)))
    assert known.value is not None and known.floor_range is not None and known.value < known.floor_range[0]


def test_pictures_with_another_quarter_are_told_by_the_truth_and_not_by_chance():
    strange = with_other_quarters(TEST, 0)
    changed = (strange != TEST).flatten(2).any(dim=1).sum(dim=1)
    assert changed.max() <= 16 and changed.min() > 8
    told = anomaly_between(TRAIN, TEST, lambda x: np.ones(len(x)) * float(torch.equal(x, strange)), 0)
    assert told.value == 1.0
    assert anomaly_between(TRAIN, TEST, lambda x: np.ones(len(x)), 0).value == 0.5
    plain = anomaly_between(TRAIN, TEST, lambda x: nearest(x, TRAIN.split(1000))[0].numpy(), 0)
    assert plain.value == pytest.approx(plain.floor)


def test_halves_and_larger_pictures_that_are_true_or_plain():
    hidden = torch.zeros(8, 8, dtype=torch.bool)
    hidden[4:] = True
    true = inpainting_between(TRAIN, TEST, TEST, hidden)
    assert true.value == 0.0 and true.floor is not None and true.floor > 10
    copied = inpainting_between(TEST, TEST, torch.where(hidden, 0, TEST).to(torch.uint8), hidden)
    assert copied.floor == 0.0, "a picture is nearest to itself"
    small = halved(TEST)
    assert upscaling_between(TEST, small, TEST).value == 0.0
    blocks = small.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    same = upscaling_between(TEST, small, blocks)
    assert same.value == pytest.approx(same.floor) and seen(TEST) is TEST
    assert tuple(seen(TEST.repeat(1, 1, 4, 4)).shape[2:]) == (16, 16)


def test_few_pictures_are_told_and_wrong_labels_take_away(monkeypatch):
    monkeypatch.setattr("datakiln.studies.uses.pictures.SIZES", (5,))
    more = pictures(400, 2)
    good, bad = (gain_score((TRAIN, LABELS), (TEST, TRUTH), made, 2, 0) for made in (more, (more[0], 1 - more[1])))
    assert good.value is not None and good.ceiling is not None and bad.value is not None
    assert good.value == pytest.approx(good.ceiling, abs=0.2) and bad.value < good.value - 0.1
    few = gain_score((TRAIN[:12], LABELS[:12]), (TEST, TRUTH), more, 2, 0)
    assert few.value is None and "too few" in few.why
