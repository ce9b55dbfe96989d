"""`fill=` and `score=` of a folder of pictures: what is written, what is kept, and what is refused in one line."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from datakiln.cli.sample import main
from datakiln.codecs.pictures import ImageCodec
from datakiln.errors import UserError
from datakiln.models.autoregressive.pixelcnn import PixelCNN
from datakiln.models.diffusion.flow_matching import FlowMatching
from datakiln.sampling.completing import png_bits, read_mask
from datakiln.sampling.synthesizer import Synthesizer
from datakiln.sampling.unfinished import UnfinishedFolder


def synthesizer(model: type) -> Synthesizer:
    """Untrained: what files it writes does not depend on how good its pictures are."""
    torch.manual_seed(0)
    codec = ImageCodec((1, 8, 8), ("nought", "one"), (0.5, 0.5), 100)
    sizes = {"width": 8, "layers": 4} if model is PixelCNN else {"width": 8, "middle": 1, "sampling_steps": 2}
    return Synthesizer(model(codec.spec, **sizes), codec, {"model": "any"})


@pytest.fixture
def sample(monkeypatch):
    """The command, on an untrained model in place of a run's."""

    def call(*words: str, model: type = FlowMatching) -> None:
        monkeypatch.setattr(Synthesizer, "load", lambda *_, **__: synthesizer(model))
        main(["run=any", *words])

    return call


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "given"
    (place / "deeper").mkdir(parents=True)
    for i, name in enumerate(("a.png", "b.png", "deeper/c.png")):
        pixels = np.random.default_rng(i).integers(0, 256, (8, 8), dtype=np.uint8)
        Image.fromarray(pixels).save(place / name)
    (place / "broken.png").write_bytes(b"no picture")
    return place


def pixels(path) -> np.ndarray:
    return np.asarray(Image.open(path))


def mask(path, size=(8, 8), box=(2, 2, 6, 6)):
    picture = Image.new("L", size, 0)
    picture.paste(255, box)
    picture.save(path)
    return path


@pytest.mark.parametrize("model", [PixelCNN, FlowMatching])
def test_the_lower_half_is_drawn_and_the_upper_kept(sample, folder, tmp_path, capsys, model):
    sample(f"fill={folder}", f"out={tmp_path}/out", "seed=3", model=model)
    assert "3 pictures filled, 50 % of each drawn; left out: broken.png" in capsys.readouterr().out.replace("\n", " ")
    for name in ("a.png", "b.png", "deeper/c.png"):
        given, made = pixels(folder / name), pixels(tmp_path / "out" / name)
        assert (made[:4] == given[:4]).all() and (made[4:] != given[4:]).any(), name
    before = pixels(tmp_path / "out/a.png")
    sample(f"fill={folder}", f"out={tmp_path}/again", "seed=3", model=model)
    assert (pixels(tmp_path / "again/a.png") == before).all()
    with pytest.raises(UserError, match="holds a.png already"):
        sample(f"fill={folder}", f"out={tmp_path}/out", "seed=4", model=model)
    sample(f"fill={folder}", f"out={tmp_path}/out", "seed=4", "overwrite=true", model=model)
    assert (pixels(tmp_path / "out/a.png") != before).any()


def test_a_mask_says_what_is_drawn(sample, folder, tmp_path):
    hole = mask(tmp_path / "hole.png")
    sample(f"fill={folder}", f"mask={hole}", f"out={tmp_path}/out")
    given, made = pixels(folder / "b.png"), pixels(tmp_path / "out/b.png")
    inside = np.zeros((8, 8), dtype=bool)
    inside[2:6, 2:6] = True
    assert (made == given)[~inside].all() and (made != given)[inside].any()


def test_masks_that_cannot_be(sample, folder, tmp_path):
    out = f"out={tmp_path}/out"
    wrong = mask(tmp_path / "wrong.png", (9, 8))
    with pytest.raises(UserError, match="wrong.png is 9 x 8 px, the model's pictures are 8 x 8"):
        sample(f"fill={folder}", f"mask={wrong}", out)
    with pytest.raises(UserError, match="mask=nowhere.png is no file"):
        sample(f"fill={folder}", "mask=nowhere.png", out)
    with pytest.raises(UserError, match="hides everything"):
        read_mask(str(mask(tmp_path / "all.png", box=(0, 0, 8, 8))), (1, 8, 8))
    with pytest.raises(UserError, match="hides nothing"):
        read_mask(str(mask(tmp_path / "none.png", box=(0, 0, 0, 0))), (1, 8, 8))
    with pytest.raises(UserError, match="give fill=FOLDER/ too"):
        sample("n=3", f"mask={wrong}", out)
    hole = mask(tmp_path / "hole.png")
    with pytest.raises(UserError, match="reading order"):
        sample(f"fill={folder}", f"mask={hole}", out, model=PixelCNN)
    with pytest.raises(UserError, match="guidance=1.*nothing says of which class"):
        sample(f"fill={folder}", "guidance=1", out)


def test_small_pictures_are_drawn_at_the_models_side(sample, tmp_path, capsys):
    small = tmp_path / "small"
    small.mkdir()
    for name, size in (("four.png", (4, 4)), ("two.png", (2, 3)), ("three.png", (3, 3)), ("own.png", (8, 8))):
        given = np.random.default_rng(size[1]).integers(64, 192, size[::-1], dtype=np.uint8)
        Image.fromarray(given).save(small / name)
    sample(f"upscale={small}", f"out={tmp_path}/out", "seed=3", "condition.class=one")
    told = capsys.readouterr().out.replace("\n", " ")
    assert "2 pictures drawn at 8 px; left out:" in told and "three.png has 3 px, of which the model's 8 are no" in told
    assert "own.png has 8 px, of which the model's 8 are no more" in told
    made, given = pixels(tmp_path / "out/four.png"), pixels(small / "four.png")
    assert made.shape == (8, 8) and not (tmp_path / "out/own.png").exists()
    means = made.reshape(4, 2, 4, 2).mean(axis=(1, 3))
    assert np.abs(means - given).max() <= 1  # levels are whole numbers
    sample(f"upscale={small}", f"out={tmp_path}/other", "seed=3", "condition.class=nought")
    with pytest.raises(UserError, match="PixelCNN cannot be told a smaller picture"):
        sample(f"upscale={small}", f"out={tmp_path}/x", model=PixelCNN)
    with pytest.raises(UserError, match="condition.class=two"):
        sample(f"upscale={small}", f"out={tmp_path}/x", "condition.class=two")
    with pytest.raises(UserError, match="no picture could be used.*8 px"):
        (small / "own").mkdir()
        (small / "own.png").rename(small / "own/own.png")
        sample(f"upscale={small / 'own'}", f"out={tmp_path}/x")


@pytest.mark.parametrize("model", [PixelCNN, FlowMatching])
def test_how_many_are_made_is_told_on_the_way(model):
    made, told = synthesizer(model), []
    with made.watched(7, lambda done, of: told.append((done, of))):
        pictures = made.sample(4)
        made.complete(pictures[:3], read_mask(None, (1, 8, 8)), (0,))
    assert told[-1] == (7, 7) and [done for done, _ in told] == sorted(done for done, _ in told)
    assert model is FlowMatching or len({done for done, _ in told}) == 8, "of a row of pixels, not of a picture"
    made.sample(2)
    assert told[-1] == (7, 7) and made.model.watcher is None


def test_scores_are_bits_a_dimension(sample, folder, tmp_path, capsys):
    sample(f"score={folder}", f"out={tmp_path}/scores.csv", model=PixelCNN)
    assert "3 pictures scored" in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "scores.csv")
    assert list(table.columns) == [*("file", "bits_per_dim", "png_bits_per_dim", "surprise", "atypicality", "log_prob")]
    assert sorted(table["file"]) == ["a.png", "b.png", "deeper/c.png"]
    assert table["surprise"].is_monotonic_decreasing
    row = table[table["file"] == "b.png"].iloc[0]
    given = pixels(folder / "b.png")
    x = torch.from_numpy(given.copy())[None, None] / 127.5 - 1
    nats = synthesizer(PixelCNN).model.eval().log_prob(x).item()
    assert row["log_prob"] == pytest.approx(nats, rel=1e-4)
    assert row["bits_per_dim"] == pytest.approx(-nats / (64 * np.log(2)), rel=1e-4)
    made = synthesizer(PixelCNN)
    own = -made.picture_log_prob(made.sample(64), (0, 0)) / (64 * np.log(2))
    assert row["atypicality"] == pytest.approx(abs(row["bits_per_dim"] - own.mean()) / own.std(ddof=1), abs=1e-3)
    assert row["surprise"] == pytest.approx(row["bits_per_dim"] - png_bits(given[None]) / 64, abs=1e-4)


def test_what_cannot_be_scored(sample, folder, tmp_path):
    with pytest.raises(UserError, match="FlowMatching has no likelihood; train model=pixelcnn, realnvp or glow"):
        sample(f"score={folder}", f"out={tmp_path}/x.csv")
    with pytest.raises(UserError, match="scores go to a CSV"):
        sample(f"score={folder}", f"out={tmp_path}/x.txt", model=PixelCNN)


def test_a_folder_is_not_gone_on_with_by_another_model(sample, folder, tmp_path, monkeypatch):
    out = tmp_path / "out"
    sample(f"fill={folder}", f"out={out}")
    whole = pixels(out / "deeper/c.png")
    for path in out.rglob("*.png"):
        path.unlink()
    advance = UnfinishedFolder.advance

    def stopped(self, done):
        advance(self, 1)
        raise KeyboardInterrupt

    monkeypatch.setattr(UnfinishedFolder, "advance", stopped)
    with pytest.raises(KeyboardInterrupt):
        sample(f"fill={folder}", f"out={out}")
    monkeypatch.setattr(UnfinishedFolder, "advance", advance)
    with pytest.raises(UserError, match="unfinished sample of another command"):
        sample(f"fill={folder}", f"out={out}", model=PixelCNN)
    sample(f"fill={folder}", f"out={out}")
    assert (pixels(out / "deeper/c.png") == whole).all()
    with pytest.raises(UserError, match="is the folder of fill= itself"):
        sample(f"fill={folder}", f"out={folder}", "overwrite=true")


def test_options_that_change_no_score_are_refused(sample, folder, tmp_path):
    with pytest.raises(UserError, match="draws nothing, so that temperature=0.5 changes nothing"):
        sample(f"score={folder}", f"out={tmp_path}/x.csv", "temperature=0.5", model=PixelCNN)


def test_parts_are_of_tables(sample, tmp_path):
    """Each of several workers would else make all of the pictures."""
    with pytest.raises(UserError, match="parts=2 is for tables; this run has learnt pictures"):
        sample("n=4", f"out={tmp_path}/x/", "parts=2", "worker=1/2")
