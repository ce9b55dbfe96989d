"""`translate=`, `upscale=`, `vary=` and `score=` of a folder: names, sizes, what is left out, what is never lost."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from datakiln.cli.sample import main
from datakiln.codecs.pictures import ImageCodec
from datakiln.errors import Interrupted, UserError
from datakiln.models.gan.cyclegan import CycleGAN
from datakiln.models.gan.dagan import DAGAN
from datakiln.models.gan.dcgan import DCGAN
from datakiln.models.gan.upscaler import Upscaler
from datakiln.models.vae.vae import VAE
from datakiln.sampling import pictures_to_pictures
from datakiln.sampling.pictures_to_pictures import enlarged
from datakiln.sampling.synthesizer import Synthesizer
from datakiln.sampling.unfinished import UNFINISHED

SIZES = {
    CycleGAN: {"width": 4, "blocks": 1}, DAGAN: {"latent_dim": 4, "width": 4}, DCGAN: {"latent_dim": 4, "width": 4},
    Upscaler: {"factor": 2, "width": 4, "blocks": 1}, VAE: {"latent_dim": 2, "hidden": [8]},
}  # fmt: skip


def synthesizer(model: type, **options) -> Synthesizer:
    """Untrained: what files it writes does not depend on how good its pictures are."""
    torch.manual_seed(0)
    codec = ImageCodec((1, 8, 8), ("nought", "one"), (0.5, 0.5), 100, ("ink", "chalk"))
    return Synthesizer(model(codec.spec, **SIZES[model], **options), codec, {"model": "any"})


@pytest.fixture
def sample(monkeypatch):
    """The command, on an untrained model in place of a run's."""

    def call(model: type, *words: str, **options) -> None:
        monkeypatch.setattr(Synthesizer, "load", lambda *_, **__: synthesizer(model, **options))
        main(["run=any", *words])

    return call


@pytest.fixture
def given(tmp_path):
    place = tmp_path / "given"
    for i, (name, size) in enumerate({"a.png": (8, 8), "a.jpg": (20, 9), "deep/b.bmp": (11, 30)}.items()):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(i).integers(0, 256, size[::-1], dtype=np.uint8)
        Image.fromarray(pixels).save(place / name)
    (place / "broken.png").write_bytes(b"no picture")
    return place


def files(folder) -> dict[str, tuple[int, int]]:
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with Image.open(path) as picture:
                found[str(path.relative_to(folder))] = picture.size
    return found


def pixels(path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


def test_translations_keep_names_and_have_the_side_of_the_model(sample, given, tmp_path, capsys):
    words = [f"translate={given}", f"out={tmp_path / 'out'}"]
    sample(CycleGAN, *words)
    assert files(tmp_path / "out") == {"a.jpg.png": (8, 8), "a.png.png": (8, 8), "deep/b.png": (8, 8)}
    told = capsys.readouterr().out
    assert "3 pictures translated; left out: broken.png" in told.replace("\n", " ")
    sample(CycleGAN, f"translate={given}", f"out={tmp_path / 'chalk'}", "to=chalk")
    sample(CycleGAN, f"translate={given}", f"out={tmp_path / 'ink'}", "to=ink")
    assert (pixels(tmp_path / "chalk/deep/b.png") == pixels(tmp_path / "out/deep/b.png")).all(), "the second by default"
    assert not (pixels(tmp_path / "ink/deep/b.png") == pixels(tmp_path / "out/deep/b.png")).all()
    with pytest.raises(UserError, match="condition.class=one: CycleGAN is told no class.*; say to=DOMAIN"):
        sample(CycleGAN, f"translate={given}", f"out={tmp_path / 'x'}", "condition.class=one", "to=chalk")
    with pytest.raises(UserError, match="condition.class=one: Upscaler is told no class"):
        sample(Upscaler, f"upscale={given}", f"out={tmp_path / 'x'}", "condition.class=one")
    assert not (tmp_path / "x").exists(), "refused before anything is written"
    with pytest.raises(UserError, match="to=sand is none of its domains"):
        sample(CycleGAN, f"translate={given}", f"out={tmp_path / 'x'}", "to=sand")
    with pytest.raises(UserError, match="holds a.* already; choose another folder"):
        sample(CycleGAN, *words)


def test_a_persons_files_are_never_lost(sample, given, tmp_path):
    out = tmp_path / "out" / "deep"
    out.mkdir(parents=True)
    Image.new("L", (8, 8), 3).save(out / "b.png")
    for more in ([], ["overwrite=true"]):
        with pytest.raises(UserError, match="out=.* holds deep/b.png already"):
            sample(CycleGAN, f"translate={given}", f"out={tmp_path / 'out'}", *more)
    assert (pixels(out / "b.png") == 3).all() and len(files(tmp_path / "out")) == 1
    with pytest.raises(UserError, match="is the folder of translate= itself"):
        sample(CycleGAN, f"translate={given}", f"out={given}", "overwrite=true")


def test_a_second_stop_while_pieces_are_passed_over_forgets_no_picture(sample, given, tmp_path, monkeypatch):
    monkeypatch.setattr(ImageCodec, "chunk", 1)
    read, noted = pictures_to_pictures.read_picture, tmp_path / "out" / UNFINISHED

    def stopped_at(name: str) -> int:
        def call(path):
            if path.name == name:
                raise Interrupted("SIGTERM")
            return read(path)

        monkeypatch.setattr(pictures_to_pictures, "read_picture", call)
        with pytest.raises(Interrupted):
            sample(CycleGAN, f"translate={given}", f"out={tmp_path / 'out'}")
        return json.loads(noted.read_text())["done"]

    assert stopped_at("b.bmp") == 3 and stopped_at("a.png") == 3
    monkeypatch.setattr(pictures_to_pictures, "read_picture", read)
    (tmp_path / "out" / "deep").mkdir(exist_ok=True)
    (tmp_path / "out" / "deep" / ".b.png.999999999.partial").write_bytes(b"torn")  # of a process that was killed
    sample(CycleGAN, f"translate={given}", f"out={tmp_path / 'out'}")
    assert len(files(tmp_path / "out")) == 3 and len(list((tmp_path / "out" / "deep").iterdir())) == 1


def test_pictures_of_any_size_are_enlarged(sample, given, tmp_path):
    sample(Upscaler, f"upscale={given}", f"out={tmp_path / 'out'}")
    assert files(tmp_path / "out") == {"a.jpg.png": (40, 18), "a.png.png": (16, 16), "deep/b.png": (22, 60)}


def test_no_seam_between_the_pieces_of_a_large_picture(monkeypatch):
    made = synthesizer(
        Upscaler,
    )
    torch.nn.init.normal_(made.model.generator.leave.weight, std=0.3)
    picture = np.random.default_rng(0).integers(0, 256, (1, 70, 45), dtype=np.uint8)
    whole = enlarged(made, [picture], 2)[0]
    monkeypatch.setattr(pictures_to_pictures, "TILE", 16)
    pieces = enlarged(made, [picture], 2)[0]
    assert pieces.shape == (1, 140, 90)
    assert np.abs(pieces.astype(int) - whole).max() <= 1, "but for rounding"


def test_variations_are_numbered_differ_and_keep_classes(sample, given, tmp_path):
    words = [f"vary={given}", "per=3", "seed=4"]
    sample(DAGAN, *words, f"out={tmp_path / 'out'}")
    assert files(tmp_path / "out") == {
        **{f"a.{end}-0{k}.png": (8, 8) for end in ("jpg", "png") for k in (1, 2, 3)},
        **{f"deep/b-0{k}.png": (8, 8) for k in (1, 2, 3)},
    }
    one, two = (pixels(tmp_path / "out" / f"deep/b-0{k}.png") for k in (1, 2))
    assert not (one == two).all()
    sample(DAGAN, *words, f"out={tmp_path / 'again'}")
    assert (pixels(tmp_path / "again/deep/b-01.png") == one).all(), "same seed, same pictures"
    with pytest.raises(UserError, match="CycleGAN makes one picture of another, or none; train model=dagan"):
        sample(CycleGAN, *words, f"out={tmp_path / 'x'}")
    with pytest.raises(UserError, match="DAGAN cannot be told a smaller picture .*take a model=upscaler"):
        sample(DAGAN, f"upscale={given}", f"out={tmp_path / 'x'}")
    with pytest.raises(UserError, match="vary=: DCGAN takes no input"):
        sample(DCGAN, *words, f"out={tmp_path / 'x'}")
    with pytest.raises(UserError, match="per=3 is of vary="):
        sample(DCGAN, "per=3", f"out={tmp_path / 'x.png'}")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("model", "options", "columns"),
    [
        (VAE, {}, ["reconstruction", "surprise", "bits_per_dim", "png_bits_per_dim"]),
        (VAE, {"conditional": True}, ["reconstruction", "surprise", "bits_per_dim", "png_bits_per_dim"]),
        (DCGAN, {}, ["critic_features", "critic"]),
        (DCGAN, {"conditional": "acgan"}, ["critic_features", "critic"]),
    ],
)
def test_scores_of_a_folder(sample, given, tmp_path, model, options, columns):
    sample(model, f"score={given}", f"out={tmp_path / 'x.csv'}", **options)
    table = pd.read_csv(tmp_path / "x.csv")
    assert list(table.columns) == ["file", *columns] and sorted(table["file"]) == ["a.jpg", "a.png", "deep/b.bmp"]
    assert table[columns[0]].is_monotonic_decreasing and np.isfinite(table[columns]).all().all()


def test_what_a_vae_cannot_rebuild_is_its_loss_in_grey_levels():
    from datakiln.sampling.anomalies import scorer_of

    made = synthesizer(VAE)
    picture = np.random.default_rng(0).integers(0, 256, (2, 1, 8, 8), dtype=np.uint8)
    again = made.model.decode(made.model.encode(_batch(made, picture))[0])
    wanted = np.sqrt(np.square(made.codec.decode(again, None).astype(float) - picture).mean(axis=(1, 2, 3)))
    assert np.allclose(scorer_of(made)(picture, (0, 0))["reconstruction"], wanted)


def _batch(made: Synthesizer, picture: np.ndarray):
    from datakiln.spec import Batch

    return Batch(made.codec.encode(picture))


def test_models_that_tell_nothing_of_a_picture(sample, given, tmp_path):
    with pytest.raises(UserError, match="CycleGAN has no likelihood"):
        sample(CycleGAN, f"score={given}", f"out={tmp_path / 'x.csv'}")
