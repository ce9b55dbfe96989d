"""`src.sample` on a model of pictures: options that cannot be are told in one line, and no file of a person is lost."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from datakiln.cli.sample import main
from datakiln.codecs.pictures import ImageCodec
from datakiln.errors import UserError
from datakiln.models.gan.dcgan import DCGAN
from datakiln.models.gan.infogan import InfoGAN
from datakiln.models.vae.vae import VAE
from datakiln.sampling.synthesizer import Synthesizer, usable_device

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
        (["truncation=abc"], "truncation=abc must be a number or null"),
        (["truncation=true"], "truncation=True must be a number"),
        (["truncation=3"], "truncation=3 must be between 0 and 2"),
        (["steps=5"], "steps=5 changes nothing about samples of DCGAN; it follows truncation"),
        (["translate=/nowhere"], "DCGAN takes no input, it draws"),
        (["score=/nowhere"], "out=.*: scores go to a CSV"),
        (["fill=/nowhere"], "DCGAN cannot be told a part .*; train model=pixelcnn, ddpm or ppca"),
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


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize(("out", "existing"), [("w/", "walk.png"), ("w/", "walk.gif"), ("w/walk.png", "walk.gif")])
def test_a_walk_replaces_no_file_unasked(sample, tmp_path, out, existing):
    folder = tmp_path / "w"
    folder.mkdir()
    (folder / existing).write_bytes(b"mine")
    words = [f"out={tmp_path}/{out}", "interpolate=true", "n=8"]
    with pytest.raises(UserError, match=f"{existing} exists, and a walk writes it.*overwrite=true"):
        sample(*words)
    assert contents(folder) == {existing: b"mine"}
    sample(*words, "overwrite=true")
    assert set(contents(folder)) == {"walk.png", "walk.gif"} and b"mine" not in contents(folder).values()


def test_a_walk_keeps_a_dot_in_its_name(sample, tmp_path):
    sample(f"out={tmp_path}/w2.1/", "interpolate=true", "n=8")
    sample(f"out={tmp_path}/a.b.png", "interpolate=true", "n=8")
    assert {"w2.1", "a.b.png", "a.b.gif"} == {path.name for path in tmp_path.iterdir()}


def test_a_folder_of_samples_is_replaced_when_asked_for(sample, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    sample(f"out={tmp_path}/", "n=6")
    first = contents(tmp_path)
    with pytest.raises(UserError, match="holds PNGs already.*overwrite=true"):
        sample(f"out={tmp_path}/", "n=4", "seed=1")
    assert contents(tmp_path) == first
    sample(f"out={tmp_path}/", "n=4", "seed=1", "overwrite=true")
    second = contents(tmp_path)
    assert list(second) == ["00000.png", "00001.png", "00002.png", "00003.png", "notes.txt"]
    assert all(second[name] != first[name] for name in list(second)[:4])


@pytest.mark.parametrize("name", ["holiday.png", "00001.png"])
def test_pictures_of_a_person_are_never_replaced(sample, tmp_path, name):
    Image.new("L", (8, 8)).save(tmp_path / name)
    before = contents(tmp_path)
    with pytest.raises(UserError, match=f"holds {name}, which is of no sample; choose another folder"):
        sample(f"out={tmp_path}/", "n=4", "overwrite=true")
    assert contents(tmp_path) == before


@pytest.mark.parametrize("words", [[], ["truncation=0.5"]])
def test_arrays_keep_the_classes_that_a_model_was_told(sample, tmp_path, words):
    out, n = tmp_path / "x.npz", 9000  # more than one piece
    sample(f"out={out}", f"n={n}", *words, conditional=True)
    made = np.load(out)
    assert made["labels"].shape == (n,) and list(made["classes"]) == list(CLASSES) and "class" not in made
    shares = np.bincount(made["labels"], minlength=3) / n
    np.testing.assert_allclose(shares, (0.5, 0.3, 0.2), atol=4 * 0.5 / np.sqrt(n))
    means = [made["images"][made["labels"] == k].mean(axis=0) for k in range(3)]
    mixed = [made["images"][k::3].mean(axis=0) for k in range(3)]
    # of an untrained net classes differ by little, yet by far more than any third of the pictures from another
    assert np.abs(means[0] - means[1]).max() > 3 * np.abs(mixed[0] - mixed[1]).max()
    sample(f"out={tmp_path}/y.npz", "n=4", "condition.class=two", *words, conditional=True)
    asked = np.load(tmp_path / "y.npz")
    assert asked["labels"].tolist() == [2] * 4 and str(asked["class"]) == "two"
    sample(f"out={tmp_path}/z.npz", "n=4", *words)
    assert set(np.load(tmp_path / "z.npz")) == {"images", "sampling"}


def test_labels_are_those_of_the_pictures():
    one = synthesizer(conditional=True)
    pictures, labels = one.sample(50, seed=3), one.labels(50, seed=3)
    assert (one.sample(50, seed=3) == pictures).all() and set(labels) == {0, 1, 2}
    told = one._draw(50, torch.from_numpy(labels), (3, 0, 0))
    assert (one.codec.decode(told, np.random.default_rng(0)) == pictures).all()
    assert synthesizer().labels(50) is None


def test_the_way_out_of_asking_a_model_for_a_class_that_it_was_not_told():
    told = "condition.class=one: this model was not told the classes; train with "
    with pytest.raises(UserError, match=f"{told}conditional=true"):
        synthesizer().sample(4, {"class": "one"})
    codec = synthesizer().codec
    with pytest.raises(UserError, match=f"{told}model=cvae"):
        Synthesizer(VAE(codec.spec, latent_dim=2), codec).sample(4, {"class": "one"})
    assert not InfoGAN.has_option("conditional") and InfoGAN.has_option("r1") and DCGAN.has_option("conditional")
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


def test_a_sample_by_class_leaves_no_picture_of_the_one_before(sample, tmp_path):
    sample(f"out={tmp_path}/f/", "n=9", conditional=True)
    sample(f"out={tmp_path}/f/", "n=2", "condition.class=one", conditional=True)
    with pytest.raises(UserError, match="f holds PNGs already"):
        sample(f"out={tmp_path}/f/", "n=1", conditional=True)
    sample(f"out={tmp_path}/f/", "n=1", "overwrite=true", conditional=True)  # of the other classes none is made
    assert [str(path.relative_to(tmp_path / "f")) for path in (tmp_path / "f").rglob("*.png")] == ["one/00000.png"]
    Image.new("L", (8, 8)).save(tmp_path / "f" / "two" / "00000.png")
    with pytest.raises(UserError, match="two holds 00000.png, which is of no sample"):
        sample(f"out={tmp_path}/f/", "n=1", "overwrite=true", conditional=True)
