"""The battery on pictures: copies are told, fresh pictures are not, and no network that knows the members is asked."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from datakiln.metrics.base import Incomplete, MetricError
from datakiln.metrics.pictures.evaluate import evaluate_images
from datakiln.metrics.pictures.membership import membership
from datakiln.metrics.pictures.sets import ImageSets


def pictures(n: int, seed: int) -> torch.Tensor:
    """Blurred blots, uint8 (n, 1, 8, 8)."""
    generator = torch.Generator().manual_seed(seed)
    rough = torch.rand(n, 1, 4, 4, generator=generator)
    return (torch.nn.functional.interpolate(rough, (8, 8), mode="bilinear") * 255).to(torch.uint8)


MEMBERS = pictures(300, 0)
SETS = ImageSets(
    train=lambda n: MEMBERS[:n].split(128), n_train=300, judged=pictures(300, 2), holdout=pictures(200, 1), seed=0
)


def figures(sets: ImageSets):
    try:
        return {figure.name: figure for figure in membership(sets)}
    except Incomplete as error:
        return {figure.name: figure for figure in error.found}


def test_copied_pictures_are_told_and_fresh_ones_are_not() -> None:
    copied = figures(replace(SETS, judged=MEMBERS))["privacy/membership_auc"]
    assert copied.value > 0.99 and copied.finding == "leak" and "pictures" in copied.note
    fresh = figures(SETS)["privacy/membership_auc"]
    assert abs(fresh.value - 0.5) < 0.1 and fresh.finding in ("nothing", "weak")


def test_what_the_model_says_joins_the_battery() -> None:
    def told(members: int, others: int):
        return {"critic of the model": (np.arange(members) + 500.0, np.arange(others) * 1.0)}

    found = figures(replace(SETS, told=told))["privacy/membership_auc"]
    assert found.value == 1.0 and "critic of the model" in found.note


def test_a_network_that_knows_the_members_and_no_holdout_are_refused() -> None:
    with pytest.raises(MetricError, match="extractor=classifier has learnt from the training pictures itself"):
        membership(SETS, extractor="classifier")
    with pytest.raises(MetricError, match="without held-out pictures"):
        membership(replace(SETS, holdout=None))


def test_the_audit_is_of_all_synthetic_pictures_and_draws_no_others() -> None:
    seen = []
    results = evaluate_images(replace(SETS, judged=pictures(500, 3)), [membership], seen.append)
    assert results[0].name == "privacy/membership_auc" and "with 500 synthetic pictures" in results[0].figure.note
    assert results[0].ceiling is None and results[0].floor is None and not results[0].why
