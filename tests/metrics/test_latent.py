"""Figures of latent spaces on cases with known answers: perfect factors, noise, a constant and a linear generator."""

from __future__ import annotations

import math

import numpy as np
import pytest

from datakiln.metrics.latent import (
    LINEAR,
    dci,
    disentanglement,
    mutual_information_gap,
    probe_accuracy,
    probe_r2,
    relative_path_length,
)

RNG = np.random.default_rng(0)
FACTORS = RNG.integers(0, 4, (2000, 3))
PERFECT = np.concatenate([FACTORS[:, ::-1] * [1.0, -2.0, 3.0], RNG.standard_normal((2000, 1))], axis=1)
TURNED = FACTORS @ np.array([[1.0, 1.0, 1.0], [1.0, -1.0, 1.0], [1.0, 0.0, -2.0]])
NOISE = RNG.standard_normal((2000, 4))


def test_the_gap_is_1_for_perfect_factors_and_0_for_noise_and_for_two_latents_that_tell_the_same():
    assert mutual_information_gap(PERFECT, FACTORS) == pytest.approx(1.0, abs=0.02)
    assert mutual_information_gap(NOISE, FACTORS) == pytest.approx(0.0, abs=0.01)
    assert mutual_information_gap(np.concatenate([FACTORS, FACTORS], axis=1), FACTORS) == pytest.approx(0.0, abs=1e-9)
    assert mutual_information_gap(TURNED, FACTORS) < 0.5


def test_the_gap_by_hand():
    # one bit told wholly by z0; z1 tells it in 3 of 4 cases: 1 - H(1/4) in bits is what it tells
    v = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    z = np.stack([v, np.array([0, 0, 0, 1, 1, 1, 1, 0])], axis=1).astype(float)
    told = 1 + 0.75 * math.log2(0.75) + 0.25 * math.log2(0.25)
    assert mutual_information_gap(z, v[:, None]) == pytest.approx(1 - told)


def test_what_has_no_gap_is_refused():
    with pytest.raises(ValueError, match="at least 2"):
        mutual_information_gap(PERFECT[:, :1], FACTORS)
    with pytest.raises(ValueError, match="single value"):
        mutual_information_gap(PERFECT, np.zeros((2000, 1), np.int64))


def test_dci_is_1_for_perfect_factors_and_tells_turned_ones_from_them():
    perfect, turned, noise = (dci(z, FACTORS) for z in (PERFECT, TURNED, NOISE))
    assert min(perfect) > 0.95
    assert turned.disentanglement < 0.6 and turned.completeness < 0.6 and turned.informativeness > 0.8
    assert noise.informativeness == pytest.approx(0.25, abs=0.05) and noise.disentanglement < 0.1


def test_disentanglement_by_hand():
    assert disentanglement(np.eye(3)) == pytest.approx(1.0)
    assert disentanglement(np.ones((2, 3))) == pytest.approx(0.0)
    assert disentanglement(np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])) == pytest.approx(1 / 3), (
        "1 and 0, weights 1:2"
    )


def test_a_probe_finds_what_is_linear_and_nothing_in_noise():
    labels = (PERFECT[:, 0] > 1.5).astype(np.int64)
    assert probe_accuracy(PERFECT, labels) > 0.99
    assert probe_accuracy(NOISE, labels) == pytest.approx(0.5, abs=0.06)
    assert probe_r2(NOISE, NOISE @ np.array([1.0, -2.0, 0.5, 0.0]) + 7) == pytest.approx(1.0, abs=1e-4)
    assert abs(probe_r2(NOISE, RNG.standard_normal(2000))) < 0.02
    half = NOISE[:, 0] + RNG.standard_normal(2000)
    assert probe_r2(NOISE, half) == pytest.approx(0.5, abs=0.05)
    with pytest.raises(ValueError, match="does not vary"):
        probe_r2(NOISE, np.ones(2000))


def test_paths_of_a_linear_a_jumping_and_a_constant_generator():
    z, turn = RNG.standard_normal((4000, 200)), RNG.standard_normal((200, 5))
    assert relative_path_length(lambda z: z @ turn, z) == pytest.approx(LINEAR, rel=0.05)
    jumping = np.random.default_rng(1)
    assert relative_path_length(lambda z: jumping.standard_normal((len(z), 3)), z, 0.1) == pytest.approx(200, rel=0.05)
    with pytest.raises(ValueError, match="the same"):
        relative_path_length(lambda z: np.ones((len(z), 3)), z)
