"""The latent space as a place to go about in: of a model whose decoder is known, and of trained ones by the command."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor

from datakiln.cli.sample import main as sample
from datakiln.codecs.pictures import ImageCodec
from datakiln.codecs.tables.table import TableCodec
from datakiln.data.tables.types import infer_schema
from datakiln.errors import UserError
from datakiln.metrics.pictures.shapes import slant, width
from datakiln.models.base import LikelihoodModel
from datakiln.models.gan.stylegan2 import StyleGAN2
from datakiln.models.vae.vae import VAE
from datakiln.sampling import latent
from datakiln.sampling.synthesizer import Synthesizer
from datakiln.spec import PLAIN, Batch, DataSpec, Sampling
from tests.test_conformance import trained

CLASSES, SHARES = ("a", "b"), (0.5, 0.5)


class Linear(LikelihoodModel):
    """Pictures of 8 x 8 whose four quarters are grey by one latent each."""

    supports = frozenset({"image"})
    latent_dim = 4

    def losses(self, batch: Batch):
        return {}

    def walk(self, keys: Tensor, condition: Tensor | None, options: Sampling = PLAIN) -> Tensor:
        return (0.25 * keys.view(-1, 1, 2, 2)).repeat_interleave(4, dim=2).repeat_interleave(4, dim=3).clamp(-1, 1)

    def draw(self, n: int, condition: Tensor | None, options: Sampling = PLAIN) -> Tensor:
        return self.walk(torch.randn(n, 4), condition, options)


@pytest.fixture
def linear() -> Synthesizer:
    codec = ImageCodec((1, 8, 8), CLASSES, SHARES, 10)
    return Synthesizer(Linear(codec.spec), codec)


@pytest.fixture
def styled() -> Synthesizer:
    torch.manual_seed(0)
    codec = ImageCodec((1, 8, 8), (), (), 10)
    return Synthesizer(StyleGAN2(codec.spec, latent_dim=6, width=4, mapping=2), codec)


def test_one_dimension_moves_and_nothing_else(linear):
    at, values = latent.traversal(linear, [2, 0], steps=5, reach=2.0, n=3, seed=1)
    assert at.styles.shape == (3 * 2 * 5, 4)
    rows = at.styles.view(3, 2, 5, 4)
    for row, dimension in enumerate((2, 0)):
        assert torch.equal(rows[:, row, :, dimension], torch.linspace(-2, 2, 5).expand(3, -1))
        others = [d for d in range(4) if d != dimension]
        assert (rows[:, row, :, others].diff(dim=1) == 0).all()
    assert values[:5].tolist() == [-2, -1, 0, 1, 2]
    pictures = latent.shown(linear, at).reshape(3, 2, 5, 1, 8, 8)
    assert (np.diff(pictures[0, 0, :, 0, 6, 1].astype(int)) > 20).all(), "its quarter grows lighter"
    assert (np.diff(pictures[0, 0, :, 0, 1, 1].astype(int)) == 0).all()
    assert torch.equal(latent.normal(linear, 5, 1)[:3], latent.normal(linear, 3, 1)), "the same starts whatever n is"
    with pytest.raises(UserError, match="traverse=4: the latent space has 4 dimensions, 0 to 3"):
        latent.traversal(linear, [4], 5, 2.0)


def test_a_direction_is_where_the_attribute_grows(linear):
    at = latent.points(linear, 2000, seed=0)
    truth = torch.tensor([0.6, 0.0, -0.8, 0.0])
    way = latent.direction(at, (at.styles @ truth > 0.3).float().numpy())
    assert torch.nn.functional.cosine_similarity(way.step, truth, dim=0) > 0.99
    assert way.step.norm().item() == pytest.approx(1.0, abs=0.1), "a standard deviation of the latents"
    assert 0.6 < way.told < 0.95
    number = latent.direction(at, (at.styles @ truth).numpy())
    assert number.told == pytest.approx(1.0, abs=1e-3)
    noise = latent.direction(at, np.random.default_rng(0).normal(size=2000))
    assert abs(noise.told) < 0.12, "what is not in the latents is not found on examples apart"
    with pytest.raises(UserError, match="of 2000 drawn examples only 3 have it, or lack it, and 20 must"):
        latent.direction(at, np.r_[np.ones(3), np.zeros(1997)])
    with pytest.raises(UserError, match="of 10 drawn examples"):
        latent.direction(at, np.r_[np.ones(10), np.full(1990, np.nan)])


def test_a_direction_knows_how_far_styles_spread():
    """Of styles that vary unevenly, the step leaves alone what does not tell, and is a deviation long."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3000, 2, generator=generator) * torch.tensor([10.0, 0.5])
    x[:, 0] += 4.0 * x[:, 1]
    way = latent.direction(latent.Points(x), (x[:, 1] > 0).float().numpy())
    assert ((x - x.mean(dim=0)) @ (way.step / way.step.norm())).std().item() == pytest.approx(way.step.norm().item())


def test_a_picture_that_the_model_can_make_is_found(linear):
    target = latent.shown(linear, latent.Points(torch.tensor([[1.0, -2.0, 0.5, 3.0]])))[0]
    found, off = latent.projected(linear, target, seed=3)
    assert off < 1.5
    assert torch.allclose(found.styles, torch.tensor([[1.0, -2.0, 0.5, 3.0]]), atol=0.05)
    assert (latent.projected(linear, target, seed=3)[0].styles == found.styles).all()
    stripes = np.tile(np.array([0, 255], dtype=np.uint8), (1, 8, 4))
    assert latent.projected(linear, stripes)[1] > 100, "what it cannot make stays far"


def test_a_picture_is_found_in_w(styled):
    at = latent.points(styled, 1, seed=9)
    target = latent.shown(styled, at)[0]
    found, off = latent.projected(styled, target, seed=1)
    best = min(
        np.sqrt(np.square(p.astype(float) - target).mean())
        for p in latent.shown(styled, latent.points(styled, 64, seed=1))
    )
    assert off < 0.5 * best
    assert found.styles.shape == (1, 6)


def test_styles_cross_over(styled):
    both = latent.points(styled, 4, seed=0)
    coarse, fine = latent.Points(both.styles[:2]), latent.Points(both.styles[2:])
    layers = styled.model.style_layers
    made = latent.mixed(styled, coarse, fine, 1)
    assert made.styles.shape == (4, layers, 6)
    assert torch.equal(made.styles[1, 0], coarse.styles[0]) and torch.equal(
        made.styles[1, 1:], fine.styles[1].expand(layers - 1, -1)
    )
    assert torch.equal(made.styles[2, 0], coarse.styles[1]) and torch.equal(made.styles[2, 1], fine.styles[0])
    same = latent.mixed(styled, coarse, coarse, 2)
    assert (latent.shown(styled, latent.Points(same.styles[[0, 3]])) == latent.shown(styled, coarse)).all()
    with pytest.raises(UserError, match=f"styles enter at {layers} layers"):
        latent.mixed(styled, coarse, fine, layers)


def test_a_model_with_one_place_for_latents_has_nothing_to_mix(linear):
    at = latent.points(linear, 2)
    with pytest.raises(UserError, match="Linear has one place for its latents"):
        latent.mixed(linear, at, at, 1)


def test_slant_and_width_of_lines():
    picture = np.zeros((3, 1, 16, 16), dtype=np.uint8)
    for row in range(16):
        picture[0, 0, row, 8] = 200
        picture[1, 0, row, 15 - row] = 200  # leans to the right by 45 degrees
        picture[2, 0, row, 6:11] = 200
    picture[:, 0, :, 0] += 10
    assert slant(picture - 10 * (picture == 10))[:2] == pytest.approx([0.0, 45.0], abs=1e-6)
    plain = picture - 10 * (picture == 10)
    assert width(plain)[2] == pytest.approx(2.0**0.5) and width(plain)[:2] == pytest.approx([0.0, 0.0], abs=1e-6)
    assert np.isnan(slant(np.zeros((1, 1, 4, 4), dtype=np.uint8))).all()


def run_of(name: str, kind: str):
    return trained(name, kind)[2]


class TestCommand:
    """On models of a few updates, in the process."""

    @pytest.mark.journey
    def test_pictures(self, tmp_path):
        run = f"run={run_of('stylegan2', 'image') / 'checkpoints' / 'last.ckpt'}"
        sample([run, "traverse=[0,3]", "n=2", f"out={tmp_path / 't.png'}"])
        with Image.open(tmp_path / "t.png") as picture:
            assert "traverse" in picture.info["Sampling"] and picture.size[0] > picture.size[1]
        sample([run, "mix=2", "n=3", f"out={tmp_path / 'm.png'}"])
        sample([run, f"project={tmp_path / 'm.png'}", f"out={tmp_path / 'p.png'}"])
        sample([run, f"project={tmp_path / 'm.png'}", "traverse=0", "reach=1", f"out={tmp_path / 'q.png'}"])
        assert all((tmp_path / f"{name}.png").is_file() for name in "tmpq")
        for words, told in (
            (["traverse=99"], "traverse=99: the latent space has 64 dimensions"),
            (["traverse=some"], "must be a dimension, a list such as"),
            (["mix=99"], "styles enter at"),
            (["traverse=0", "mix=1"], "cannot both be followed"),
            (["attribute=3"], "attribute=3 needs edit="),
            (["edit=2"], "edit=2 needs attribute="),
            (["reach=2"], "reach=2 is how far traverse= goes"),
            (["mix=1", "interpolate=true"], "mix= and interpolate= cannot both be followed"),
            (["project=nowhere.png"], "project=nowhere.png cannot be read"),
            (["attribute=x", "edit=2"], "there is no class x"),
        ):
            with pytest.raises(UserError, match=told):
                sample([run, *words, f"out={tmp_path / 'x.png'}"])
        with pytest.raises(UserError, match=r"this goes to x\.png"):
            sample([run, "traverse=0", f"out={tmp_path / 'x.csv'}"])

    @pytest.mark.parametrize("name", ["vae", "tvae"])
    def test_rows(self, tmp_path, name):
        run = f"run={run_of(name, 'table') / 'checkpoints' / 'last.ckpt'}"
        columns = list(trained(name, "table")[1].frames["train"].columns)
        sample([run, "traverse=[0,1]", "n=2", f"out={tmp_path / 't.csv'}"])
        frame = pd.read_csv(tmp_path / "t.csv")
        assert list(frame.columns) == ["dimension", "value", *columns] and len(frame) == 2 * 2 * 9
        sample([run, "interpolate=true", "n=10", f"out={tmp_path / 'w.csv'}"])
        assert len(pd.read_csv(tmp_path / "w.csv")) == 10
        number = trained(name, "table")[1].schema.numeric[0]
        sample([run, f"attribute={number}", "edit=+2", "n=5", f"out={tmp_path / 'e.csv'}"])
        edited = pd.read_csv(tmp_path / "e.csv")
        assert edited["edit"].tolist() == [0.0, 2.0] * 5
        for words, told in (
            (["attribute=nothing", "edit=1"], "there is no column nothing"),
            (["project=x.png"], "is for pictures"),
            (["curve=[0.5]"], "this goes to|is for pictures"),
            (["mix=1"], "one place for its latents|this goes to"),
        ):
            with pytest.raises(UserError, match=told):
                sample([run, *words, f"out={tmp_path / 'x.csv'}"])

    def test_a_model_without_a_latent_space(self, tmp_path):
        run = f"run={run_of('tabar', 'table') / 'checkpoints' / 'last.ckpt'}"
        with pytest.raises(UserError, match="has no latent space to go about in"):
            sample([run, "traverse=0", f"out={tmp_path / 'x.csv'}"])

    def test_an_existing_file_stays(self, tmp_path):
        run = f"run={run_of('vae', 'table') / 'checkpoints' / 'last.ckpt'}"
        (tmp_path / "t.csv").write_text("mine")
        with pytest.raises(UserError, match="exists"):
            sample([run, "traverse=0", f"out={tmp_path / 't.csv'}"])


def test_an_edit_changes_what_it_is_named_after():
    """A VAE of a few seconds: rows edited towards a larger number have it, and the direction says how well it tells."""
    model, data, folder, _ = trained("vae", "table")
    torch.manual_seed(0)
    synthesizer = Synthesizer.load(folder)
    number = data.schema.numeric[0]
    drawn = latent.points(synthesizer, 1000, seed=1)
    way = latent.direction(drawn, latent.shown(synthesizer, drawn)[number].to_numpy(dtype=float))
    start = latent.points(synthesizer, 300, seed=2)
    down, up = (latent.shown(synthesizer, start.moved(by * way.step))[number].mean() for by in (-2.0, 2.0))
    spread = latent.shown(synthesizer, start)[number].std()
    assert up - down > 2 * spread and way.told > 0.5


def test_the_spec_of_labels_needs_no_labels(linear):
    assert latent.points(linear, 3).y is None
    assert DataSpec("image", (1, 8, 8)).classes == ()


def test_columns_named_as_those_that_are_added_and_an_edit_of_dates(monkeypatch, tmp_path, capsys):
    rng = np.random.default_rng(0)
    names = ["dimension", "value", "edit", "step"]
    frame = pd.DataFrame({name: rng.normal(size=300).round(3) for name in names})
    frame["day"] = pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 300, 300), unit="D")
    codec = TableCodec().fit(frame, infer_schema(frame, None, {}))
    torch.manual_seed(0)
    made = Synthesizer(VAE(codec.spec, latent_dim=2, hidden=[8]), codec)
    monkeypatch.setattr(Synthesizer, "load", lambda *_, **__: made)
    for words, added in (
        (["traverse=0"], ["dimension_", "value_"]),
        (["interpolate=true", "n=4"], ["step_"]),
        (["attribute=day", "edit=2", "n=3"], ["edit_"]),
    ):
        out = tmp_path / f"{added[0]}.csv"
        sample(["run=any", *words, f"out={out}"])
        assert list(pd.read_csv(out)) == [*added, *names, "day"]
    assert "it was 2020-" in capsys.readouterr().out.replace("\n", " ")
