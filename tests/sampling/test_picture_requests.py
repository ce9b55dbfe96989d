"""`src.sample` on models of pictures: what cannot be is refused at once, in one line that says the way out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from datakiln.cli import stored
from datakiln.cli.sample import main
from datakiln.codecs.pictures import ImageCodec
from datakiln.errors import UserError
from datakiln.metrics.base import MetricError
from datakiln.models.gan.cyclegan import CycleGAN
from datakiln.models.gan.dagan import DAGAN
from datakiln.models.gan.dcgan import DCGAN
from datakiln.models.gan.stylegan2 import StyleGAN2
from datakiln.models.gan.upscaler import Upscaler
from datakiln.proof import truncation
from datakiln.sampling import latent
from datakiln.sampling.synthesizer import Synthesizer

SIZES = {
    CycleGAN: {"width": 4, "blocks": 1}, DAGAN: {"latent_dim": 4, "width": 4}, DCGAN: {"latent_dim": 4, "width": 4},
    StyleGAN2: {"latent_dim": 4, "width": 4}, Upscaler: {"factor": 2, "width": 4, "blocks": 1},
}  # fmt: skip


@pytest.fixture
def sample(monkeypatch):
    """The command, on an untrained model in place of a run's."""

    def call(model: type, *words: str) -> None:
        torch.manual_seed(0)
        codec = ImageCodec((1, 8, 8), ("nought", "one"), (0.5, 0.5), 100, ("ink", "chalk"))
        made = Synthesizer(model(codec.spec, **SIZES[model]), codec, {"model": "any"})
        monkeypatch.setattr(Synthesizer, "load", lambda *_, **__: made)
        main(["run=any", *words])

    return call


@pytest.fixture
def given(tmp_path):
    (tmp_path / "given").mkdir()
    for i in range(3):
        pixels = np.random.default_rng(i).integers(0, 256, (8, 8), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "given" / f"{i}.png")
    return tmp_path / "given"


def test_what_is_made_of_a_folder_goes_to_a_folder(sample, given, tmp_path):
    with pytest.raises(UserError, match=r"out=.*x\.PNG: what is made of translate= goes to a folder; say out=.*/x/$"):
        sample(CycleGAN, f"translate={given}", f"out={tmp_path}/x.PNG")
    sample(CycleGAN, f"translate={given}", f"out={tmp_path}/x.png/")
    sample(CycleGAN, f"translate={given}", f"out={tmp_path}/v1.5")
    assert len(list((tmp_path / "x.png").iterdir())) == len(list((tmp_path / "v1.5").iterdir())) == 3


def test_what_was_made_inside_of_the_folder_is_no_input_of_the_next(sample, given):
    (given / "made").mkdir()
    Image.new("L", (8, 8)).save(given / "made" / "own.png")
    for _ in range(2):
        sample(CycleGAN, f"translate={given}", f"out={given}/made", "overwrite=true")
    made = sorted(str(path.relative_to(given / "made")) for path in (given / "made").rglob("*.png"))
    assert made == ["0.png", "1.png", "2.png", "made/own.png", "own.png"]


def test_what_was_made_is_no_input_where_a_link_leads_there_either(sample, given, tmp_path):
    for _ in range(2):
        sample(CycleGAN, f"translate={given}", f"out={tmp_path}/made", "overwrite=true")
        if not (given / "link").exists():
            (given / "link").symlink_to(tmp_path / "made")
    assert sorted(path.name for path in (tmp_path / "made").rglob("*.png")) == ["0.png", "1.png", "2.png"]


def test_a_folder_of_nothing_but_what_was_made_is_refused(sample, given):
    sample(CycleGAN, f"translate={given}", f"out={given}/made")
    for path in given.glob("*.png"):
        path.unlink()
    with pytest.raises(UserError, match=r"translate=.* holds no picture but what an earlier sample left in out="):
        sample(CycleGAN, f"translate={given}", f"out={given}/made", "overwrite=true")
    sample(CycleGAN, f"translate={given}/made", f"out={given}")  # these are inputs, though they lie below
    assert len(list(given.glob("*.png"))) == 3


@pytest.mark.parametrize(("model", "way"), [(CycleGAN, "translate"), (DAGAN, "vary"), (Upscaler, "upscale")])
def test_models_that_take_pictures_say_by_which_option(sample, tmp_path, model, way):
    with pytest.raises(UserError, match=f"draws nothing by itself: .*{way}=DIR"):
        sample(model, "n=3", f"out={tmp_path}/x.png")


def test_scores_go_to_a_new_folder_too(sample, given, tmp_path):
    sample(DCGAN, f"score={given}", f"out={tmp_path}/new/x.csv")
    assert len((tmp_path / "new" / "x.csv").read_text().splitlines()) == 4


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["curve=[]"], r"curve=\[\] must be truncations"),
        (["project=x.png", "n=5"], "n=5 and project=.*leave n= out"),
        (["traverse=all", "n=1000"], "36,000 pictures are too many for one grid"),
        (["mix=1", "n=100"], "10,201 pictures are too many"),
        (["attribute=one", "edit=1", "n=1000"], "9,000 pictures are too many"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_drawn(sample, tmp_path, monkeypatch, words, told):
    monkeypatch.setattr(latent, "points_of", lambda *_: pytest.fail("drawn"))
    with pytest.raises(UserError, match=told):
        sample(StyleGAN2, *words, f"out={tmp_path}/x.png")


def test_a_curve_of_too_few(sample, tmp_path, monkeypatch):
    def few(*_):
        raise MetricError("precision and recall need more than 5 kept rows of each set, not 3")

    monkeypatch.setattr(truncation, "curve", few)
    monkeypatch.setattr(stored, "opened_run", lambda *_: (None, None, None))
    with pytest.raises(UserError, match=r"^curve=: .* not 3; ask for more n=$"):
        sample(DCGAN, "curve=[0.5,1]", "n=3", f"out={tmp_path}/x.csv")
