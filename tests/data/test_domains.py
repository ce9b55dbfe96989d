"""Two sets of pictures, chosen classes and partners: who is shown beside whom, and who never is."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from PIL import Image

from datakiln.data.base import Provenance
from datakiln.data.pictures.pictures import FolderData, ImageData
from datakiln.data.pictures.sources import Pictures, RawImages, SklearnDigits
from datakiln.errors import UserError


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch, caplog):
    monkeypatch.setenv("DATAKILN_CACHE", str(tmp_path_factory.mktemp("cache")))
    caplog.set_level(logging.ERROR, logger="datakiln")  # for these tests alone


def ready(**options) -> ImageData:
    data = ImageData(SklearnDigits(), **{"batch_size": 32, **options})
    data.setup("fit")
    return data


def folder(place, level: int, n: int = 40, side: int = 10, colour: bool = False, classes: tuple[str, ...] = ()):
    """Flat pictures of one level, which tells where they are from."""
    for i in range(n):
        name = place / (classes[i % len(classes)] if classes else "") / f"{i:03d}.png"
        name.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.full((side, side, 3) if colour else (side, side), level, dtype=np.uint8)
        if colour:
            pixels[..., 0] = 255 - level
        Image.fromarray(pixels).save(name)
    return place


def epoch(loader, number: int) -> list:
    loader.set_epoch(number)
    return list(loader)


class TestSecondSet:
    def test_pairs_are_of_chance_and_differ_by_epoch(self, tmp_path):
        data = ready(other=str(folder(tmp_path / "grey", 200)), batch_size=64)
        assert data.domains == ("digits", "grey") and data.spec.domains == data.domains
        one, again, later = (epoch(data.train_dataloader(), number) for number in (3, 3, 4))
        assert all(torch.equal(a.other, b.other) and torch.equal(a.x, b.x) for a, b in zip(one, again, strict=True))
        assert all(batch.other.shape == batch.x.shape for batch in one)
        assert all((batch.other - (200 / 127.5 - 1)).abs().max() < 1e-6 for batch in one), "from the second set alone"
        loader = data.train_dataloader()
        loader.set_epoch(3)
        first = loader.order()
        loader.set_epoch(4)
        assert not torch.equal(first, loader.order()), "paired anew each epoch"
        counts = torch.bincount(first)
        assert counts.max() - counts.min() <= 1, "the smaller set begins anew when all were shown"
        assert not any(torch.equal(a.x, b.x) for a, b in zip(one, later, strict=True))

    def test_a_pass_that_was_stopped_ends_as_it_would_have(self):
        data = ready(other="digits", flip=True)
        whole = epoch(data.train_dataloader(), 2)
        loader = data.train_dataloader()
        loader.set_epoch(2)
        loader.load_state_dict({"position": 5})
        rest = list(loader)
        assert len(rest) == len(whole) - 5
        assert all(torch.equal(a.other, b.other) for a, b in zip(whole[5:], rest, strict=True))

    def test_sides_and_channels_are_made_equal_and_said(self, tmp_path):
        place = folder(tmp_path / "red", 40, side=20, colour=True, classes=("a", "b"))
        data = ready(other=str(place))
        assert data.spec.shape == data.second.spec.shape == (3, 8, 8)
        told = [f"{report.name}: {report.detail}" for report in data.reports]
        assert any(
            "second domain: red: 40 pictures brought to 8 x 8 px; the first domain, grey, made colour" in t
            for t in told
        )
        assert any(t.startswith("red: split") for t in told)
        batch = next(iter(data.train_dataloader()))
        assert (batch.x[:, 0] == batch.x[:, 2]).all() and (batch.other[:, 0] > batch.other[:, 1]).all()

    def test_a_grey_second_set_is_made_colour(self, tmp_path):
        data = FolderData(str(folder(tmp_path / "red", 40, colour=True)), side=8, batch_size=8, other="digits")
        data.setup("fit")
        assert data.second.spec.shape == (3, 8, 8)
        assert any("digits: 1797 pictures brought to 8 x 8 px, grey made colour" in r.detail for r in data.reports)

    def test_no_picture_is_in_two_splits(self):
        data = ready(other="digits")
        assert data.second is not data and data.target is data.second
        sizes = [len(part.x) for part in data.second.pictures.values()]
        assert sum(sizes) == 1797
        held = {row.numpy().tobytes() for row in data.second.pictures["test"].x}
        shown = {to.numpy().tobytes() for b in epoch(data.train_dataloader(), 0) for to in bytes_of(b.other)}
        repeated = {row.numpy().tobytes() for row in data.second.pictures["train"].x} & held
        assert not (shown & held) - repeated

    @pytest.mark.parametrize(
        ("other", "told"),
        [
            ("diggits", "data.other=diggits is no folder of pictures and no set of them .*did you mean 'digits'"),
            ("iris", "data.other=iris is no folder of pictures and no set of them"),
        ],
    )
    def test_a_set_that_is_none(self, other, told):
        with pytest.raises(UserError, match=told):
            ready(other=other)

    def test_a_folder_without_pictures(self, tmp_path):
        (tmp_path / "empty").mkdir()
        (tmp_path / "empty" / "x.txt").write_text("no picture")
        with pytest.raises(UserError, match="data.other=.*empty holds no picture"):
            ready(other=str(tmp_path / "empty"))

    def test_options_that_do_not_go_together(self):
        with pytest.raises(UserError, match="data.other_classes= is of the pictures of data.other="):
            ready(other_classes=["1"])
        with pytest.raises(UserError, match="leave one of them out"):
            ready(other="digits", partners=True)


def bytes_of(x: torch.Tensor) -> torch.Tensor:
    return x.add(1).mul(127.5).round().to(torch.uint8)


class TestClasses:
    def test_held_out_classes_are_in_no_split(self):
        whole, data = ready(), ready(without=[8, 9])
        assert data.spec.classes == tuple("01234567")
        gone = {
            row.numpy().tobytes()
            for part in whole.pictures.values()
            for row, y in zip(part.x, part.y.tolist(), strict=True)
            if y >= 8
        }
        for name, part in data.pictures.items():
            assert not gone & {row.numpy().tobytes() for row in part.x}, name
        assert any("held out: 8, 9" in report.detail for report in data.reports)
        assert data.fingerprint != whole.fingerprint, "or a classifier of all classes would be taken from the cache"

    def test_both_ways_of_saying_it_are_one(self):
        kept, left = ready(classes=["7", 3]), ready(without=[0, 1, 2, 4, 5, 6, 8, 9])
        assert kept.spec == left.spec and kept.spec.classes == ("3", "7")
        assert torch.equal(kept.pictures["train"].x, left.pictures["train"].x)

    @pytest.mark.parametrize(
        ("options", "told"),
        [
            ({"classes": ["12"]}, r"data.classes=\[12\]: '12' is no class here \(0, 1, "),
            ({"without": list(range(10))}, "leaves no class to learn from"),
            ({"classes": [1], "without": [2]}, "say the same thing twice"),
            ({"other": "digits", "other_classes": ["x"]}, r"data.other_classes=\[x\]: 'x' is no class here"),
        ],
    )
    def test_classes_that_cannot_be(self, options, told):
        with pytest.raises(UserError, match=told):
            ready(**options)

    def test_a_set_without_classes(self):
        def source(data_dir, side):
            x = torch.zeros(40, 1, 8, 8, dtype=torch.uint8)
            return RawImages(Pictures(x), None, (), Provenance("generated", "flat", ""))

        for options, told in (
            ({"classes": ["a"]}, "have no classes"),
            ({"partners": True}, "needs pictures with classes"),
        ):
            with pytest.raises(UserError, match=told):
                ImageData(source, **options).setup("fit")

    def test_two_classes_of_one_set_are_two_domains(self):
        data = ready(classes=["1"], other="digits", other_classes=["7"])
        assert data.domains == ("1", "7")
        ones = {row.numpy().tobytes() for row in data.pictures["train"].x}
        sevens = {row.numpy().tobytes() for row in data.second.pictures["train"].x}
        for batch in epoch(data.train_dataloader(), 0):
            assert {row.numpy().tobytes() for row in bytes_of(batch.x)} <= ones
            assert {row.numpy().tobytes() for row in bytes_of(batch.other)} <= sevens


class TestPartners:
    def test_a_partner_is_another_picture_of_the_class(self):
        data = ready(partners=True)
        loader = data.train_dataloader()
        y, rows = data.pictures["train"].y, torch.arange(len(data.pictures["train"].x))
        for number in (0, 1):
            loader.set_epoch(number)
            partners = loader.partners(rows, 0)
            assert (y[partners] == y).all() and (partners != rows).all()
        loader.set_epoch(0)
        assert not torch.equal(loader.partners(rows, 0), partners)
        assert torch.bincount(loader.partners(rows, 0), minlength=len(rows)).max() < 20, "spread over the class"
        batch = next(iter(loader))
        x = data.codec.encode(data.pictures["train"].x)
        for one, other, k in zip(batch.x, batch.other, batch.y.tolist(), strict=True):
            at = (x == other).flatten(1).all(dim=1).nonzero()[0]
            assert int(y[at]) == k and not torch.equal(one, other)

    def test_a_single_picture_is_its_own_partner(self):
        def source(data_dir, side):
            x = torch.arange(40, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 8, 8).contiguous()
            y = torch.zeros(40, dtype=torch.long)
            y[0] = 1
            return RawImages(Pictures(x, y), Pictures(x[1:5], y[1:5]), ("a", "b"), Provenance("generated", "flat", ""))

        data = ImageData(source, batch_size=8, partners=True)
        data.setup("fit")
        loader, y = data.train_dataloader(), data.pictures["train"].y
        alone = (y == 1).nonzero().squeeze(1)
        assert torch.equal(loader.partners(alone, 0), alone)


def test_debians_folder_of_fashion_is_read_as_it_is(tmp_path, monkeypatch):
    """Four gzipped IDX files in `fashion-mnist`, told by the folder, by the one around it, or where Debian puts it."""
    import gzip

    from datakiln.data.pictures import sources
    from datakiln.data.pictures.sources import OfficialImages

    monkeypatch.setattr(sources, "cache_dir", lambda: tmp_path / "cache")
    place = tmp_path / "datasets" / "fashion-mnist"
    place.mkdir(parents=True)
    for part, n in (("train", 6), ("t10k", 3)):
        head = b"\0\0\x08\x03" + b"".join(k.to_bytes(4, "big") for k in (n, 28, 28))
        (place / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(head + bytes(n * 784)))
        labels = b"\0\0\x08\x01" + n.to_bytes(4, "big") + bytes(range(n))
        (place / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))
    monkeypatch.setattr(sources, "SYSTEM", place.parent)
    (tmp_path / "else").mkdir()
    for data_dir in (place, place.parent, None, tmp_path / "else"):
        raw = OfficialImages("fashion_mnist")(None if data_dir is None else str(data_dir))
        assert raw.provenance.kind == "files" and str(place.parent) in raw.provenance.detail
        assert len(raw.train.x) == 6 and raw.test.y.tolist() == [0, 1, 2] and raw.classes[9] == "Ankle boot"
