"""The truncation curve: of a maker whose precision and recall are known, and the files that it leaves."""

from __future__ import annotations

import functools
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from datakiln.cli import stored
from datakiln.cli.sample import main
from datakiln.data.pictures.pictures import ImageData
from datakiln.data.pictures.sources import SklearnDigits
from datakiln.errors import UserError
from datakiln.metrics.pictures.sets import ImageSets
from datakiln.models.gan.dcgan import DCGAN
from datakiln.proof.truncation import Point, curve, save_curve
from datakiln.sampling.synthesizer import Synthesizer

N = 200


@pytest.fixture(autouse=True)
def by_pixels(monkeypatch):
    """Distances of pixels, of which it is known what is near what."""
    monkeypatch.setattr(ImageSets, "judging", lambda self, name, *how: self.extractor("pixels", *how))


@functools.cache
def digits() -> ImageData:
    data = ImageData(SklearnDigits())
    data.setup("fit")
    return data


class Truncatable:
    """Real unseen digits at 1, nearly one and the same at 0.2, digits with ink and paper exchanged at 2."""

    model = SimpleNamespace(networks=frozenset())

    def __init__(self):
        self.seeds = set()

    def check(self, options):
        assert options.truncation is not None

    def sample(self, n, seed=0, options=None):
        self.seeds.add(seed)
        real = torch.cat([digits().pictures[name].x for name in ("test", "val")])[:n].numpy().astype(float)
        noise = np.random.default_rng(seed).normal(size=real.shape)
        made = {0.2: real[:1] + 3 * noise, 1.0: real, 2.0: 255 - real}[options.truncation]
        return made.clip(0, 255).astype(np.uint8)


def test_precision_is_bought_with_recall():
    maker = Truncatable()
    low, whole, wide = curve(maker, digits(), [1.0, 2.0, 0.2], N, seed=3)
    assert (low.truncation, whole.truncation, wide.truncation) == (0.2, 1.0, 2.0), "in order"
    assert maker.seeds == {3}, "the same latents at each, so that only truncation differs"
    assert low.precision > 0.95 and low.recall < 0.1, "one digit over and over is real, and nearly nothing of all"
    assert whole.precision > 0.85 and whole.recall > 0.85
    assert wide.precision < 0.1, "no digit looks like that"
    assert {p.n for p in (low, whole, wide)} == {N} and low.network.startswith("pixels@")


def test_files_hold_the_points(tmp_path):
    points = [Point(0.25, 0.9, 0.1, "pixels@1", 50), Point(1.0, 0.5, 0.75, "pixels@1", 50)]
    save_curve(points, tmp_path / "deep" / "x.csv")
    found = pd.read_csv(tmp_path / "deep" / "x.csv")
    assert [tuple(row) for row in found.itertuples(index=False)] == [
        (0.25, 0.9, 0.1, "pixels@1", 50), (1.0, 0.5, 0.75, "pixels@1", 50)
    ]  # fmt: skip
    pictures = []
    for name, shown in (("two", points), ("one", points[:1])):
        save_curve(shown, tmp_path / f"{name}.png")
        with Image.open(tmp_path / f"{name}.png") as picture:
            pictures.append(np.asarray(picture.convert("RGB")))
    assert pictures[0].shape == pictures[1].shape and (pictures[0] != pictures[1]).any()


class TestCommand:
    """On an untrained generator, since what is written does not depend on how good its pictures are."""

    @pytest.fixture(autouse=True)
    def run(self, monkeypatch):
        torch.manual_seed(0)
        made = Synthesizer(DCGAN(digits().spec, latent_dim=4, width=4), digits().codec, {"model": "any"})
        monkeypatch.setattr(Synthesizer, "load", lambda *_, **__: made)
        monkeypatch.setattr(stored, "opened_run", lambda *_: (made, None, digits(), []))

    def test_points_are_written_and_told(self, tmp_path, capsys):
        words = ["run=any", "n=60", "curve=[1,0.1]"]
        main([*words, f"out={tmp_path / 'x.csv'}"])
        told = " ".join(capsys.readouterr().out.split())
        table = pd.read_csv(tmp_path / "x.csv")
        assert table["truncation"].tolist() == [0.1, 1.0] and set(table["n"]) == {60}
        for row in table.itertuples():
            assert f"{row.truncation:g}: {row.precision:.2f} and {row.recall:.2f}" in told
        main([*words, f"out={tmp_path / 'x.png'}"])
        with Image.open(tmp_path / "x.png") as picture:
            assert min(picture.size) > 300

    @pytest.mark.parametrize(
        ("words", "told"),
        [
            (["curve=[0.5]", "condition.class=3"], "condition.class=3 and curve=.* cannot both be followed"),
            (["curve=[0.5,0]"], "must be truncations above 0 and at most 2"),
            (["curve=[0.5]", "truncation=0.5"], "truncation=0.5 and curve= cannot both be followed"),
        ],
    )
    def test_what_is_refused_leaves_nothing(self, tmp_path, words, told):
        with pytest.raises(UserError, match=told):
            main(["run=any", "n=60", f"out={tmp_path / 'x.csv'}", *words])
        assert not list(tmp_path.iterdir())
