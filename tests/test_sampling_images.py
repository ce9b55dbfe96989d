"""`src.sample` on a model of pictures: options that cannot be are told in one line, and no file of a person is lost."""

from __future__ import annotations

import pytest
import torch

from src.codecs.image import ImageCodec
from src.errors import UserError
from src.models.dcgan import DCGAN
from src.models.vae import VAE
from src.sample import main
from src.synthesizer import Synthesizer, usable_device

CLASSES = ("nought", "one", "two")


def synthesizer(conditional: bool | str = False) -> Synthesizer:
    """Untrained: what files it writes does not depend on how good its pictures are."""
    torch.manual_seed(0)
    codec = ImageCodec((1, 8, 8), CLASSES, (0.5, 0.3, 0.2), 100)
    return Synthesizer(DCGAN(codec.spec, latent_dim=4, width=4, conditional=conditional), codec, {"model": "dcgan"})


@pytest.fixture
def sample(monkeypatch):
    """The command, on that model in place of a run's."""

    def call(*words: str, conditional: bool = False) -> None:
        monkeypatch.setattr(Synthesizer, "load", lambda *_, **__: synthesizer(conditional))
        main(["run=any", *words])

    return call


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["truncation=abc"], "truncation=abc must be a number between 0 and 2"),
        (["truncation=true"], "truncation=True must be a number"),
        (["interpolate=maybe"], "interpolate=maybe must be true or false"),
        (["overwrite=1"], "overwrite=1 must be true or false"),
    ],
)
def test_options_that_cannot_be(sample, tmp_path, words, told):
    with pytest.raises(UserError, match=told):
        sample(f"out={tmp_path}/x.png", *words)


@pytest.mark.parametrize("name", ["x.png", "x.npz", "folder/"])
def test_places_that_cannot_be_written(sample, tmp_path, name):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(UserError, match=f"out=.*{name} cannot be written .*file is a file, no folder"):
        sample(f"out={tmp_path}/file/{name}", "n=4")


@pytest.mark.parametrize(
    ("name", "told"),
    [("gpu", "device=gpu is not known; write cpu"), ("meta", "not known"), ("cuda:99", "device=cuda:99: .*device=cpu")],
)
def test_devices_that_are_not_there(name, told):
    assert usable_device("cpu").type == "cpu"
    with pytest.raises(UserError, match=told):
        usable_device(name)


def test_the_way_out_of_asking_a_model_for_a_class_that_it_was_not_told():
    told = "condition.class=one: this model was not told the classes; train with "
    with pytest.raises(UserError, match=f"{told}conditional=true"):
        synthesizer().sample(4, {"class": "one"})
    codec = synthesizer().codec
    with pytest.raises(UserError, match=f"{told}model=cvae"):
        Synthesizer(VAE(codec.spec, latent_dim=2), codec).sample(4, {"class": "one"})
    without = ImageCodec((1, 8, 8))
    with pytest.raises(UserError, match="condition.class=one: the training pictures had no classes"):
        Synthesizer(VAE(without.spec, latent_dim=2), without).sample(4, {"class": "one"})


def test_every_option_has_its_own_explanation(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    lines = [line for line in capsys.readouterr().out.splitlines() if line[:1].isalpha()]
    told = [line.partition("#")[2].strip() for line in lines]
    assert all(told) and len(set(told)) == len(told)
    (line,) = (line for line in lines if line.startswith("truncation"))
    assert "latents" in line
