"""Asked attributes of pictures where the answer is known: obeyed exactly, ignored, obeyed at the cost of the rest."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from datakiln.metrics.pictures.shapes import mass, thickness
from datakiln.sampling.latent import Points
from datakiln.studies.uses.attributes import control_scores

SIZE = 5
RNG = torch.Generator().manual_seed(0)
LEARNT, FRESH = (Points(torch.randn(n, SIZE, generator=RNG), torch.arange(n) % 2) for n in (1000, 200))


def values(pictures: np.ndarray) -> dict[str, np.ndarray]:
    return {name: pictures[:, i] for i, name in enumerate("abc")}


def obeying(at: Points, turn: np.ndarray | None = None) -> np.ndarray:
    """Three attributes, linear in the latents, of units and class means of their own; and the class."""
    assert at.y is not None
    z, y = at.styles.numpy().astype(float), at.y.numpy()
    z = z[:, :3] @ (np.eye(3) if turn is None else turn)
    return np.concatenate([z * [1.0, 20.0, 0.1] + y[:, None] * [5.0, 0.0, 0.0], y[:, None]], axis=1)


def kept(pictures: np.ndarray) -> np.ndarray:
    return np.eye(2)[pictures[:, 3].astype(int)]


def test_a_model_that_obeys_exactly_is_at_its_ceilings():
    r2, drift = control_scores(LEARNT, FRESH, obeying, values, kept, 0)
    assert r2.value == pytest.approx(1.0, abs=0.02) and set(r2.detail or {}) == {"a", "b", "c"}
    assert drift.value == pytest.approx(0.0, abs=0.05) and drift.floor is not None and drift.floor > 0.6
    assert (drift.detail or {})["a asked, class"] == 0.0


def test_a_model_that_ignores_what_is_asked_is_at_its_floors():
    def ignoring(at: Points) -> np.ndarray:
        """Pictures of a noise of their own."""
        assert at.y is not None
        other = np.random.default_rng(len(at)).standard_normal((len(at), 3))
        return np.concatenate([other, at.y.numpy()[:, None]], axis=1)

    r2, drift = control_scores(LEARNT, FRESH, ignoring, values, kept, 0)
    assert r2.value == 0.0 and drift.standing == pytest.approx(0.0, abs=0.01) and "not reached" in drift.note


def test_a_model_whose_rest_moves_too_drifts_by_as_much():
    turn = np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    r2, drift = control_scores(LEARNT, FRESH, lambda at: obeying(at, turn), values, None, 0)
    assert r2.value == pytest.approx(1.0, abs=0.02)
    detail = drift.detail or {}
    assert detail["a asked, b"] == pytest.approx(1.0, abs=0.02), "one is the other in other units"
    assert detail["c asked, a"] == pytest.approx(0.0, abs=0.05) and "a asked, class" not in detail

    def changing(at: Points) -> np.ndarray:
        made = obeying(at)
        made[:, 3] = at.styles[:, 0].numpy() > 0
        return made

    _, drift = control_scores(LEARNT, FRESH, changing, values, kept, 0)
    detail = drift.detail or {}
    assert detail["a asked, class"] > 0.5 and detail["b asked, class"] < 0.1


def test_what_does_not_vary_is_not_controlled():
    r2, drift = control_scores(LEARNT, FRESH, lambda at: np.ones((len(at), 4)), values, None, 0)
    assert r2.value == 0.0 and drift.value is None and "varies" in drift.why
    one = [control_scores(LEARNT, FRESH, lambda at: obeying(at) * [1, 0, 1, 1], values, None, 0) for _ in range(2)]
    assert one[0][0].value == pytest.approx(2 / 3, abs=0.02) and one[0] == one[1], "the same seed, the same figures"


def test_bars_are_as_thick_and_bright_as_they_are_drawn():
    for thick, long in ((1, 20), (4, 20), (4, 30)):
        bar = np.zeros((1, 1, 40, 40), np.uint8)
        bar[0, 0, 5 : 5 + long, 10 : 10 + thick] = 200
        outline = 2 * (thick + long) - (2 - 2**0.5)  # one corner is cut: there both differences are at one pixel
        assert thickness(bar)[0] == pytest.approx(2 * thick * long / outline)
        assert mass(bar)[0] == pytest.approx(200 * thick * long / 1600)
        lying = np.swapaxes(bar, 2, 3)
        assert thickness(lying + 30)[0] == pytest.approx(thickness(bar)[0]), "whatever the ground"
    y, x = np.mgrid[:200, :200]
    for thick in (4.0, 8.0):
        away = np.abs(x - y) / 2**0.5
        leaning = np.clip(thick / 2 + 0.5 - away, 0, 1) * 200
        leaning[:20], leaning[-20:] = 0, 0
        long, ends = 160 * 2**0.5, 2 * thick * 2**0.5
        found = thickness(leaning.round()[None, None].astype(np.uint8))[0]
        assert found == pytest.approx(2 * thick * long / (2 * long + ends), rel=0.1), "nearly as if it stood"
    assert np.isnan(thickness(np.full((1, 3, 8, 8), 7, np.uint8))[0])
