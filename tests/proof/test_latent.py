"""A latent space measured where the answer is known: linear, ignored, told by the class alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from datakiln.data.sets.shapes import COMBINATIONS, LEVELS, Shapes, rendered
from datakiln.errors import UserError
from datakiln.proof.latent import disentanglement_scores, path_score, picture_attributes, probe_score, table_features
from datakiln.schema import Field, Schema

RNG = np.random.default_rng(0)
Z = RNG.standard_normal((2000, 6))


def test_a_probe_of_linear_attributes_is_1_and_of_others_at_its_floor():
    score = probe_score(Z, {"linear": Z[:, 0] - 2 * Z[:, 1], "constant": np.ones(2000)}, None, 0)
    assert score.value == pytest.approx(1.0, abs=1e-4) and list(score.detail or {}) == ["linear"]
    assert score.floor is not None and score.floor < 0.02 and score.ceiling == 1.0
    other = probe_score(Z, {"noise": RNG.standard_normal(2000)}, None, 0)
    assert other.value == pytest.approx(other.floor, abs=0.05)


def test_what_the_class_alone_decides_is_not_the_latents_merit():
    y = RNG.integers(0, 3, 2000)
    told = probe_score(Z, {"size": y + 0.5 * Z[:, 0]}, y, 0)
    assert told.value == pytest.approx(1.0, abs=0.01)
    nothing = probe_score(Z, {"size": y.astype(float)}, y, 0)
    assert nothing.value is None and "varies" in nothing.why


def test_an_example_without_an_attribute_is_left_out():
    values = np.where(np.arange(2000) % 5 == 0, np.nan, Z[:, 0])
    assert probe_score(Z, {"a": values}, None, 0).value == pytest.approx(1.0, abs=1e-4)


def test_paths_of_a_linear_generator_are_at_the_ceiling_and_of_one_that_ignores_its_latents_not_measured():
    z, turn = RNG.standard_normal((2000, 100)), RNG.standard_normal((100, 4))
    score = path_score(lambda z: z @ turn, z, 0)
    assert score.standing == pytest.approx(1.0, abs=0.02)
    jumping = np.random.default_rng(1)
    assert path_score(lambda z: jumping.standard_normal((len(z), 9)), z, 0).standing == pytest.approx(0.0, abs=0.02)
    ignored = path_score(lambda z: np.zeros((len(z), 4)), z, 0)
    assert ignored.value is None and "the same" in ignored.why


def test_rows_and_pictures_as_numbers():
    schema = Schema((Field("a", "numeric", "float64"), Field("b", "category", "str")))
    real = pd.DataFrame({"a": [0.0, 2.0, 4.0], "b": ["x", "y", "x"]})
    made = table_features(schema, real)(pd.DataFrame({"a": [2.0, np.nan, 4.0], "b": ["x", "new", "y"]}))
    assert made.tolist() == [[0.0, 1.0, 0.0], [0.0, 0.0, 0.0], [1.0, 0.0, 1.0]]
    picture = np.zeros((1, 1, 8, 8), np.uint8)
    picture[0, 0, 1:7, 3] = 120
    found = picture_attributes(picture)
    assert found["slant"][0] == pytest.approx(0.0) and found["width"][0] == pytest.approx(0.0, abs=1e-6)
    assert found["brightness"][0] == pytest.approx(120 * 6 / 64)


@pytest.mark.journey
def test_disentanglement_of_perfect_factors_is_1_and_of_noise_at_its_floor():
    _, factors = Shapes().known(400, 3)
    perfect = disentanglement_scores(factors[:, 1:3].astype(float), factors[:, 1:3], ("size", "angle"), 0)
    assert [score.value for score in perfect] == [pytest.approx(1.0, abs=0.03)] * 2
    noise = disentanglement_scores(RNG.standard_normal((400, 4)), factors[:, 1:3], ("size", "angle"), 0)
    assert all(score.standing == pytest.approx(0.0, abs=0.12) for score in noise)
    constant = disentanglement_scores(np.zeros((400, 4)), factors[:, 1:3], ("size", "angle"), 0)
    assert all(score.value is None and "do not vary" in score.why for score in constant)


def test_shapes_are_all_different_lie_inside_and_move_as_their_factors_say():
    source = Shapes(600, seed=2)
    raw = source(None)
    pictures, factors = source.known(600, 2)
    assert np.array_equal(raw.train.x.numpy(), pictures.numpy()) and np.array_equal(raw.train.y.numpy(), factors[:, 0])
    assert len(np.unique(pictures.numpy().reshape(600, -1), axis=0)) == 600
    every = rendered(np.stack(np.unravel_index(np.arange(0, COMBINATIONS, 7), LEVELS), axis=1))
    assert every[:, 0, [0, -1]].max() < 255 and every[:, 0].sum(axis=(1, 2)).min() > 1000
    right = rendered(np.array([[0, 1, 2, 3, 3], [0, 1, 2, 4, 3]]))[:, 0]
    assert np.array_equal(right[0][:, :-1], right[1][:, 1:]), "one step is one pixel"
    with pytest.raises(UserError, match="at most 4,608"):
        Shapes(5000)
