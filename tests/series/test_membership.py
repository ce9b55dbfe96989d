"""Membership of entities: copies are told, fresh sequences are not, and one long series claims nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from datakiln.metrics.base import Figure, Incomplete, MetricError
from datakiln.metrics.series.membership import membership
from datakiln.metrics.series.sets import SeriesSets, evaluate_series
from tests.series.test_figures import waves

OWNERS = {"train": np.arange(600) // 4, "test": np.arange(400) // 4}


def panel(synthetic: np.ndarray) -> SeriesSets:
    """150 entities learnt from and 100 held out, of four windows each."""
    return SeriesSets(("a", "b"), waves(600, 0), waves(400, 1), synthetic, {}, owners=OWNERS)


def figures(data: SeriesSets) -> dict[str, Figure]:
    try:
        return {figure.name: figure for figure in membership(data)}
    except Incomplete as error:
        return {figure.name: figure for figure in error.found}


def test_copied_sequences_are_told_by_entity_and_fresh_ones_are_not():
    copied, fresh = figures(panel(waves(600, 0))), figures(panel(waves(600, 2)))
    best = copied["privacy/membership_auc"]
    assert best.finding == "leak" and best.value > 0.99
    assert "150 members and 100 entities of a holdout" in best.note
    assert fresh["privacy/membership_auc"].finding in ("nothing", "weak"), fresh["privacy/membership_auc"].note


def test_windows_of_one_entity_are_not_each_other_s_neighbours():
    """Nearly equal windows inside every entity: no attack may take that for memory."""
    x, test = (np.repeat(waves(n, seed), 4, axis=0) + 1e-3 * waves(4 * n, seed + 5) for n, seed in ((150, 0), (100, 1)))
    found = figures(SeriesSets(("a", "b"), x, test, waves(600, 2), {}, owners=OWNERS))
    assert found["privacy/membership_auc"].finding in ("nothing", "weak")
    beside = next(t for t in found["privacy/membership_auc"].trials if t.name == "distance, beside other members")
    assert abs(beside.figures["AUC"][0] - 0.5) < 0.15


def test_real_sequences_stand_beside():
    (auc,) = [r for r in evaluate_series(panel(waves(600, 2)), [membership]) if r.name == "privacy/membership_auc"]
    assert abs(auc.ceiling.value - 0.5) < 0.15


def test_one_long_series_and_few_entities_claim_nothing():
    data = panel(waves(100, 2))
    with pytest.raises(MetricError, match="one long series has no entities"):
        membership(replace(data, owners={}))
    with pytest.raises(MetricError, match="10 learnt entities are fewer than 20"):
        membership(replace(data, owners={**OWNERS, "train": np.arange(600) // 60}))
