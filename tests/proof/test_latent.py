"""A latent space measured where the answer is known: linear, ignored, told by the class alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from hydra.utils import instantiate

from datakiln.api.config import composed
from datakiln.data.sets.shapes import COMBINATIONS, LEVELS, Shapes, rendered
from datakiln.errors import UserError
from datakiln.metrics.latent import middles, on_data
from datakiln.proof.base import build_proof
from datakiln.proof.latent import (
    Reading,
    disentanglement_scores,
    interpolation_score,
    inversion_score,
    label_score,
    latent_scores,
    pairs,
    path_score,
    probe_score,
)
from datakiln.proof.readings import picture_attributes, table_features, window_attributes
from datakiln.results import NOT_OFFERED, Score
from datakiln.sampling.latent import points_of, shown
from datakiln.sampling.synthesizer import Synthesizer
from datakiln.schema import Field, Schema
from datakiln.spec import Batch
from tests.sampling.test_latent import linear as linear

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


def test_a_class_that_is_linear_is_told_and_one_that_the_latents_ignore_is_at_the_commonest():
    told = label_score(Z, pd.Series(np.where(Z[:, 0] + Z[:, 1] > 0.5, "a", "b")), "drawn rows")
    assert told.value is not None and told.value > 0.98 and told.ceiling == 1.0
    ignored = label_score(Z, pd.Series(np.where(np.arange(2000) % 4, "a", None)).fillna("b"), "drawn rows")
    assert ignored.floor == pytest.approx(0.75) and ignored.value == pytest.approx(0.75, abs=0.02)
    known = pd.Series(np.where(Z[:, 0] > 0, "a", "b")).where(np.arange(2000) % 2 == 0)
    assert label_score(Z, known, "drawn rows").n == 1000, "a class that is missing is left out"
    one = label_score(Z, pd.Series(["a"] * 2000), "drawn rows")
    assert one.value is None and "one class" in one.why


def quarters(pictures: np.ndarray) -> np.ndarray:
    return pictures[:, 0, ::4, ::4].reshape(len(pictures), -1).astype(np.float64)


def test_a_generator_whose_data_are_its_own_is_at_its_ceilings(linear):
    """Pictures whose quarters are the latents: a probe tells them, middles stay, and a search finds them again."""
    real = shown(linear, points_of(linear, 1.2 * torch.randn(700, 4, generator=torch.Generator().manual_seed(1)), None))
    features, truth = quarters(real), quarters(real)[500:]
    reading = Reading(
        lambda pictures: {"first": quarters(pictures)[:, 0]}, quarters, quarters, "grey levels", features[:500],
        Batch(linear.codec.encode(torch.from_numpy(real[500:])), torch.arange(200) % 2), truth, truth,
        features[:200], lambda first, second: (truth[first] + truth[second]) / 2, pictures=real[500:],
    )  # fmt: skip
    probe, path, label, between, back = latent_scores(linear, lambda: reading, 0)
    assert probe.standing == pytest.approx(1.0, abs=0.05) and path.standing is not None and path.standing > 0.8
    assert label.value is None and label.why.startswith(NOT_OFFERED), "nobody tells the class of what it shows"
    assert between.value is not None and between.value > 0.97
    assert back.value is not None and back.value < 3.0 and back.floor is not None and back.floor > 20 and back.n == 16


def ring(angle: np.ndarray) -> np.ndarray:
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def test_what_lies_half_way_is_on_a_ring_or_inside_of_it():
    """A generator whose great circles are the ring stays on the data; one that blends goes through the middle."""
    train, held, ends = (ring(RNG.uniform(0, 2 * np.pi, n)) for n in (1000, 300, 600))
    blends = (held[:150] + held[150:]) / 2
    stays = interpolation_score(middles(ends), ends[:300], train, held, blends)
    assert stays.value == pytest.approx(1.0, abs=0.01) and stays.ceiling == pytest.approx(1.0, abs=0.02)
    assert stays.floor is not None and stays.floor < 0.2 and stays.decides
    blended = interpolation_score((ends[:300] + ends[300:]) / 2, ends[:300], train, held, blends)
    assert blended.standing == pytest.approx(0.0, abs=0.05)
    assert blended.detail == {"ends of the paths": pytest.approx(1.0, abs=0.02)}
    few = interpolation_score(ends, ends, train[:5], held, blends)
    assert few.value is None and "5 training examples" in few.why


def test_copies_of_real_examples_are_on_the_data_even_where_many_are_alike():
    real = np.repeat(np.eye(3), 10, axis=0)
    assert on_data(real[:7], real) == 1.0 and on_data(np.full((4, 3), 1 / 3), real) == 0.0


def test_blends_are_of_two_examples_and_of_one_class_where_classes_are_given():
    y = torch.tensor([0, 1, 0, 1, 2])
    first, second = pairs(5, y, 0)
    assert (y[first] == y[second]).all() and (first != second)[first != 4].all() and (second[first == 4] == 4).all()
    free = pairs(5, None, 0)
    assert (free[0] != free[1]).all() and (y[free[0]] != y[free[1]]).any()


def test_a_perfect_inverse_has_no_error_and_the_nearest_example_is_the_floor():
    truth, other = RNG.standard_normal((50, 3)), RNG.standard_normal((50, 3))
    perfect = inversion_score(truth, truth, truth + 2.0, "grey levels")
    assert perfect.value == 0.0 and perfect.floor == pytest.approx(2.0) and perfect.standing == 1.0
    unrelated = inversion_score(other, truth, truth + 0.1, "grey levels")
    assert unrelated.value == pytest.approx(2**0.5, abs=0.2) and unrelated.standing is not None
    assert unrelated.standing < 0


def test_level_trend_and_volatility_of_windows():
    time = np.arange(6.0)
    lines = np.stack([2.0 + 3.0 * time, np.where(time % 2, 1.0, -1.0)])[:, :, None]
    found = window_attributes(lines, ["x"])
    assert found["level of x"] == pytest.approx([9.5, 0.0]) and found["trend of x"][0] == pytest.approx(3.0)
    assert found["volatility of x"] == pytest.approx([0.0, np.std([2, -2, 2, -2, 2])])
    assert list(window_attributes(lines, ["x"], ("x",))) == ["level of x"], "what stands still has no trend"


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


def measured(model_name: str, *words: str) -> dict[str, Score]:
    """The figures of a model that has learnt nothing, on real data."""
    with composed([f"model={model_name}", "output_dir=unused", *words]) as cfg:
        data = instantiate(cfg.data, _convert_="all")
        data.prepare_data()
        data.setup("fit")
        torch.manual_seed(0)
        model = instantiate(cfg.model, _partial_=True, _convert_="all")(spec=data.spec)
    proof = build_proof(data)
    proof.synthesizer = Synthesizer(model, data.codec)
    return {score.name: score for score in proof.latent(0)}


def test_rows_of_a_model_that_has_learnt_nothing():
    told = measured("tvae", "data=toy")
    assert told["latent/label_probe"].why == "not computed: the class is told beside the latents"
    untold = measured("tvae", "data=toy", "model.conditional=false")
    probe, between = untold["latent/label_probe"], untold["latent/interpolation"]
    assert probe.value is not None and probe.floor is not None and 0 < probe.floor < 1
    assert between.ceiling is not None and between.ceiling > 0.9
    back = untold["latent/inversion_error"]
    assert back.value is not None and back.floor is not None and back.value > back.floor, "the nearest row is nearer"


@pytest.mark.parametrize("model_name", ["timevae", "timegan", "tsar"])
def test_windows_of_a_model_that_has_learnt_nothing(model_name):
    found = measured(model_name, "data=toy_series", "data.window=8")
    assert len(found) == 5
    if model_name == "tsar":
        assert all("no latent space" in score.why for score in found.values())
        return
    detail = found["latent/probe_r2"].detail or {}
    assert any(name.startswith("trend of ") for name in detail)
    assert found["latent/interpolation"].value is not None
    assert (found["latent/inversion_error"].value is None) == (model_name == "timegan")
    ending = measured(model_name, "data=toy_series")
    assert all("end by themselves" in score.why for score in ending.values())
