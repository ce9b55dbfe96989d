"""Pictures: codec, batches, files of the official data sets, and folders with everything that can be wrong in one."""

from __future__ import annotations

import bz2
import gzip
import io
import logging
import pickle
import tarfile
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from datakiln.codecs.pictures import ImageCodec
from datakiln.data.base import Provenance
from datakiln.data.pictures import sources as image_sources
from datakiln.data.pictures.files import PictureFiles, header, read_picture, square
from datakiln.data.pictures.folder import FolderImages
from datakiln.data.pictures.loaders import ImageLoader, middle, randomly_cut
from datakiln.data.pictures.pictures import FolderData, ImageData
from datakiln.data.pictures.sources import (
    DownloadFailed,
    OfficialImages,
    Pictures,
    RawImages,
    SklearnDigits,
    find_files,
)
from datakiln.errors import UserError


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("DATAKILN_CACHE", str(tmp_path_factory.mktemp("cache")))


def noise(n: int, channels: int = 3, side: int = 16, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, channels, side, side), dtype=np.uint8)


def save(path, pixels: np.ndarray, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)
    Image.fromarray(np.ascontiguousarray(array)).save(path, **options)


def test_codec_returns_every_level():
    codec = ImageCodec((1, 16, 16), ["a"], [1.0], 3)
    levels = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    x = codec.encode(levels)
    assert (x.min(), x.max(), x.dtype) == (-1.0, 1.0, torch.float32)
    assert (codec.decode(x, np.random.default_rng()) == levels).all()
    assert (codec.decode(2.0 * x, np.random.default_rng())[x.numpy() > 0.5] == 255).all()
    again = ImageCodec.from_state(codec.state())
    assert again.spec == codec.spec
    with pytest.raises(UserError, match="condition.class=b"):
        codec.class_index("b")


def test_pixels_that_are_no_numbers_are_refused():
    codec, x = ImageCodec((1, 2, 2)), torch.zeros(3, 1, 2, 2)
    x[1, 0, 0, 1] = torch.nan
    with pytest.raises(UserError, match="pixels that are no numbers"):
        codec.decode(x, np.random.default_rng(0))


def test_digits_are_split_by_class_and_never_twice():
    data = ImageData(SklearnDigits())
    data.setup("fit")
    assert [len(data.pictures[name].x) for name in ("train", "val", "test")] == [1374, 153, 270]
    counts = torch.bincount(data.pictures["test"].y)
    assert counts.min() >= 26 and counts.max() <= 28
    assert sum(data.spec.class_shares) == pytest.approx(1.0)
    whole = SklearnDigits()(None).train.x
    parts = torch.cat([data.pictures[name].x for name in ("train", "val", "test")])
    assert sorted(whole.flatten(1).tolist()) == sorted(parts.flatten(1).tolist())
    other = ImageData(SklearnDigits(), seed=1)
    other.setup("fit")
    assert not torch.equal(other.pictures["test"].x[:200], data.pictures["test"].x[:200])


def loader(flip: bool = True, seed: int = 0) -> ImageLoader:
    x = torch.from_numpy(noise(50, 1, 12))
    return ImageLoader(x, torch.arange(50), 8, shuffle=True, side=8, flip=flip, seed=seed)


def test_batches_depend_on_seed_and_epoch_alone():
    first, second = (list(loader()) for _ in range(2))
    assert len(first) == 6 and all(torch.equal(a.x, b.x) for a, b in zip(first, second, strict=True))
    later = loader()
    later.set_epoch(1)
    assert not torch.equal(next(iter(later)).x, first[0].x)
    assert not torch.equal(next(iter(loader(seed=1))).x, first[0].x)


def test_a_restored_loader_goes_on_where_it_stood():
    whole = list(loader())
    half = loader()
    for _, _batch in zip(range(3), half, strict=False):
        state = half.state_dict()
    rest = loader()
    rest.load_state_dict(state)
    found = list(rest)
    assert len(found) == 3
    assert all(torch.equal(a.x, b.x) and torch.equal(a.y, b.y) for a, b in zip(whole[3:], found, strict=True))


def test_windows_are_windows_of_the_pictures_and_half_are_mirrored():
    pictures = torch.from_numpy(noise(400, 3, 10))
    cut = randomly_cut(pictures, 8, True, torch.Generator().manual_seed(0))
    mirrored, places = 0, set()
    for picture, window in zip(pictures, cut, strict=True):
        places_of = [
            (top, left, flip)
            for top in range(3)
            for left in range(3)
            for flip in (False, True)
            for part in [picture[:, top : top + 8, left : left + 8]]
            if torch.equal(part.flip(2) if flip else part, window)
        ]
        assert len(places_of) == 1
        places.add(places_of[0][:2])
        mirrored += places_of[0][2]
    assert len(places) == 9
    assert 150 < mirrored < 250  # 200, five standard deviations of 10
    assert torch.equal(middle(pictures, 8), pictures[:, :, 1:9, 1:9])


def test_files_serve_the_same_batches_as_memory(tmp_path):
    pixels = noise(21)
    for i, picture in enumerate(pixels):
        save(tmp_path / f"{i:03d}.png", picture)
    files = PictureFiles(sorted(tmp_path.glob("*.png")), 16, 3)
    from_files = list(ImageLoader(files, None, 4, True, 14, True, seed=3))
    from_memory = list(ImageLoader(torch.from_numpy(pixels), None, 4, True, 14, True, seed=3))
    assert len(from_files) == 5
    assert all(torch.equal(a.x, b.x) for a, b in zip(from_files, from_memory, strict=True))


def broken_folder(folder) -> dict[str, str]:
    """Good pictures, and one of everything else with the reason that must be given for it."""
    good = noise(12, 3, 20)
    for i, picture in enumerate(good):
        save(folder / f"good{i:02d}.png", picture)
    rgb = Image.fromarray(good[0].transpose(1, 2, 0))
    buffer = io.BytesIO()
    rgb.save(buffer, "JPEG")
    jpeg = buffer.getvalue()
    (folder / "empty.png").write_bytes(b"")
    (folder / "truncated.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (folder / "text.png").write_text("this is no picture")
    whole = (folder / "good00.png").read_bytes()
    (folder / "corrupt.png").write_bytes(whole[:60] + bytes(40) + whole[100:])
    (folder / "misnamed.png").write_bytes(jpeg)
    Image.fromarray(np.arange(400, dtype=np.float32).reshape(20, 20)).save(folder / "measured.tif")
    Image.new("RGB", (1, 5)).save(folder / "line.png")
    (folder / "IMG_1.HEIC").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200))
    return {
        "empty.png": "0 bytes", "truncated.jpg": "damaged or cut off", "text.png": "is no picture",
        "corrupt.png": "damaged or cut off", "misnamed.png": "is named .png but holds JPEG",
        "measured.tif": "floating-point", "line.png": "only 1 x 5 pixels",
        "IMG_1.HEIC": "is HEIC, which is not decoded",
    }  # fmt: skip


def test_every_bad_picture_is_named_and_skipped(tmp_path, caplog):
    reasons = broken_folder(tmp_path)
    with caplog.at_level(logging.WARNING):
        raw = FolderImages(str(tmp_path))(None, 16)
    assert raw.train.x.shape == (12, 3, 16, 16) and raw.train.y is None
    for name, reason in reasons.items():
        line = next(r.getMessage() for r in caplog.records if name in r.getMessage())
        assert reason in line, line
    assert "3 damaged" in caplog.text and "1 HEIC" in caplog.text and "1 too small" in caplog.text
    told = len(caplog.records)
    assert [r.rows for r in raw.reports if r.name == "bad pictures"] == [len(reasons)]
    # a second look takes all from the cache, and names them again
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        again = FolderImages(str(tmp_path))(None, 16)
    assert torch.equal(again.train.x, raw.train.x) and len(caplog.records) == told
    assert again.provenance == raw.provenance


@pytest.mark.parametrize("name", ["empty.png", "truncated.jpg", "measured.tif", "IMG_1.HEIC"])
def test_a_bad_picture_can_be_an_error(tmp_path, name):
    reasons = broken_folder(tmp_path)
    for other in set(reasons) - {name}:
        (tmp_path / other).unlink()
    with pytest.raises(UserError, match=name) as error:
        FolderImages(str(tmp_path), on_bad_image="error")(None, 16)
    assert reasons[name] in str(error.value) and "data.on_bad_image=skip" in str(error.value)


def test_nothing_but_bad_pictures(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(UserError, match="none of the 1 pictures"):
        FolderImages(str(tmp_path))(None, 16)


def test_a_file_that_goes_bad_while_training_is_stood_in_for(tmp_path, caplog):
    for i, picture in enumerate(noise(4)):
        save(tmp_path / f"{i}.png", picture)
    files = PictureFiles(sorted(tmp_path.glob("*.png")), 16, 3)
    (tmp_path / "1.png").write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        found = files[torch.tensor([1, 2, 1])]
    assert torch.equal(found[0], found[1]) and "1.png is empty" in caplog.text and len(caplog.records) == 1


def test_classes_come_from_subfolders(tmp_path):
    for name in ("b", "a"):
        for i, picture in enumerate(noise(10, 1, 12, seed=ord(name))):
            save(tmp_path / name / "deeper" / f"{i}.png", picture)
    (tmp_path / "a" / "notes.txt").write_text("no picture by its name")
    data = FolderData(str(tmp_path), side=8, batch_size=4)
    data.setup("fit")
    assert data.spec.classes == ("a", "b") and data.spec.shape == (1, 8, 8)
    assert torch.bincount(data.pictures["train"].y).tolist() in ([8, 7], [7, 8])
    save(tmp_path / "top.png", noise(1)[0])
    with pytest.raises(UserError, match=r"top\.png.*data\.labels=false"):
        FolderData(str(tmp_path), side=8).prepare_data()
    plain = FolderImages(str(tmp_path), labels=False)(None, 8)
    assert plain.classes == () and plain.train.x.shape == (21, 3, 8, 8)


def test_a_large_folder_stays_in_its_files(tmp_path):
    for i, picture in enumerate(noise(20)):
        save(tmp_path / f"{i:02d}.jpg", picture, quality=95)
    data = FolderData(str(tmp_path), side=8, batch_size=4, memory_mb=1e-3, flip=True)
    data.setup("fit")
    assert isinstance(data.pictures["train"].x, PictureFiles)
    assert any("read from files while training" in report.detail for report in data.reports)
    small = FolderData(str(tmp_path), side=8, batch_size=4, flip=True)
    small.setup("fit")
    assert any("kept in memory" in report.detail for report in small.reports)
    for a, b in zip(data.train_dataloader(), small.train_dataloader(), strict=True):
        assert torch.equal(a.x, b.x)
    assert torch.equal(torch.cat(list(data.batches("test"))), torch.cat(list(small.batches("test"))))


def test_binarised_pixels_are_white_as_often_as_they_are_light():
    read = SklearnDigits()(None).train.x.float() / 255.0
    data, other = ImageData(SklearnDigits(), binarised=True), ImageData(SklearnDigits(), binarised=True, seed=1)
    for one in (data, other):
        one.setup("fit")
    x = torch.cat([data.pictures[name].x for name in ("train", "val", "test")])
    assert x.dtype == torch.uint8 and x.unique().tolist() == [0, 255]
    white = x.float().mean(dim=0) / 255.0
    error = (read * (1.0 - read)).mean(dim=0).div(len(x)).sqrt()  # of a mean of such draws
    assert ((white - read.mean(dim=0)).abs() <= 4.5 * error).all()
    again = torch.cat([other.pictures[name].x for name in ("train", "val", "test")])
    assert sorted(x.flatten(1).tolist()) == sorted(again.flatten(1).tolist()), "the draw is no part of the seed"
    plain = ImageData(SklearnDigits())
    plain.setup("fit")
    assert plain.fingerprint != data.fingerprint, "no statistics of the one are those of the other"


def test_binarised_pictures_that_stay_in_files_or_are_translated_are_refused(tmp_path):
    for i, picture in enumerate(noise(20)):
        save(tmp_path / f"{i:02d}.jpg", picture)
    with pytest.raises(UserError, match=r"data.binarised=true.*data.memory_mb="):
        FolderData(str(tmp_path), side=8, memory_mb=1e-3, binarised=True).setup("fit")
    with pytest.raises(UserError, match=r"data.binarised=true.*data.other="):
        ImageData(SklearnDigits(), binarised=True, other="usps")


def test_any_size_becomes_the_middle_square(tmp_path):
    wide = np.zeros((10, 30, 3), dtype=np.uint8)
    wide[:, 10:20] = 200
    Image.fromarray(wide).save(tmp_path / "wide.png")
    found = square(read_picture(tmp_path / "wide.png")[0], 8, 3)
    assert found.shape == (3, 8, 8) and (found == 200).all()
    transparent = Image.fromarray(np.full((8, 8, 4), [10, 20, 30, 0], dtype=np.uint8))
    transparent.save(tmp_path / "clear.png")
    assert (square(read_picture(tmp_path / "clear.png")[0], 8, 3) == 255).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: FolderImages(str(p / "nowhere"))(None, 8), "no such folder"),
        (lambda p: FolderImages(str(p))(None, 8), "holds no picture"),
        (lambda p: FolderImages(None), "data.path=DIR"),
        (lambda p: FolderImages(str(p), on_bad_image="ignore"), "skip or error"),
        (lambda p: OfficialImages("mnits"), "did you mean 'mnist'"),
        (lambda p: ImageData(SklearnDigits(), batch_size=1), "batch_size=1"),
        (lambda p: ImageData(SklearnDigits(), crop=True), "data.crop=true needs data.side"),
        (lambda p: ImageData(SklearnDigits(), side=0), "data.side=0 must be"),
        (lambda p: ImageData(SklearnDigits(), side=-8), "data.side=-8 must be"),
        (lambda p: ImageData(SklearnDigits(), side=12.5), "data.side=12.5 must be"),
        (lambda p: ImageData(SklearnDigits(), side="abc"), "data.side=abc must be"),
        (lambda p: ImageData(SklearnDigits(), validation=0.0), "data.validation=0.0"),
    ],
)
def test_mistakes_are_told(tmp_path, make, message):
    with pytest.raises(UserError, match=message):
        make(tmp_path)


def few(n: int, classes: int = 0) -> ImageData:
    x = torch.zeros(n, 1, 8, 8, dtype=torch.uint8)
    names = tuple(map(str, range(classes)))
    y = torch.zeros(n, dtype=torch.long) if classes else None
    return ImageData(lambda *_: RawImages(Pictures(x, y), None, names, Provenance("files", "few", "0")))


@pytest.mark.parametrize(("n", "told"), [(1, "1 picture is too few"), (4, "4 pictures are too few")])
def test_too_few_pictures_are_told_how_many_are_needed(n, told):
    with pytest.raises(UserError, match=f"{told} .* test and validation; at least") as refused:
        few(n).setup("fit")
    least = int(str(refused.value).partition("at least ")[2].split()[0])
    few(least).setup("fit")
    with pytest.raises(UserError, match=f"at least {least} are needed"):
        few(least - 1).setup("fit")


def test_one_class_is_one():
    data = few(20, classes=1)
    data.setup("fit")
    assert data.reports[-1].detail.endswith("; 1 class")


def idx(pixels: np.ndarray) -> bytes:
    return bytes([0, 0, 8, pixels.ndim]) + b"".join(n.to_bytes(4, "big") for n in pixels.shape) + pixels.tobytes()


def write_mnist(folder) -> tuple[np.ndarray, np.ndarray]:
    x, y = noise(30, 1, 28)[:, 0], np.arange(30, dtype=np.uint8) % 10
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part in ("train", "t10k"):
        (raw / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(x)))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(idx(y))  # unpacked ones are fine too
    return x, y


def test_mnist_files_are_read_as_they_are(tmp_path):
    x, y = write_mnist(tmp_path)
    tmp_path.chmod(0o555)
    raw = OfficialImages("mnist")(str(tmp_path), None)
    assert (raw.train.x.numpy()[:, 0] == x).all() and (raw.test.y.numpy() == y).all()
    assert raw.provenance.kind == "files"
    assert OfficialImages("mnist")(str(tmp_path), 32).train.x.shape == (30, 1, 32, 32)


def test_a_set_lies_in_a_folder_of_its_name_as_distributions_pack_it(tmp_path):
    """Flat in a folder of its own, told by that folder or by the one around it; never as another set's files."""
    x, y = noise(30, 1, 28)[:, 0], np.arange(30, dtype=np.uint8) % 10
    own = tmp_path / "fashion-mnist"
    own.mkdir()
    for part in ("train", "t10k"):
        (own / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(x)))
        (own / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(y)))
    for folder in (tmp_path, own):
        raw = OfficialImages("fashion_mnist")(str(folder), None)
        assert (raw.train.x.numpy()[:, 0] == x).all() and (raw.test.y.numpy() == y).all()
        assert find_files(folder, image_sources.LAYOUTS["mnist"].files) is None


def test_a_damaged_file_is_named(tmp_path):
    write_mnist(tmp_path)
    file = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte.gz"
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(UserError, match=r"train-images-idx3-ubyte\.gz: damaged or cut off"):
        OfficialImages("mnist")(str(tmp_path), None)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("labels-idx1", np.zeros(29, dtype=np.uint8), r"images.* is of shape \(30, 28, 28\) and .* of shape \(29,\)"),
        ("images-idx3", np.zeros(30, dtype=np.uint8), r"these are no pictures and their labels"),
        ("labels-idx1", np.full(30, 26, dtype=np.uint8), "a label of 26, where mnist has 10 classes"),
    ],
)
def test_files_that_do_not_belong_together_are_told(tmp_path, name, content, told):
    write_mnist(tmp_path)
    for file in (tmp_path / "MNIST" / "raw").glob(f"t10k-{name}*"):
        file.unlink()
    (tmp_path / "MNIST" / "raw" / f"t10k-{name}-ubyte").write_bytes(idx(content))
    with pytest.raises(UserError, match=told):
        OfficialImages("mnist")(str(tmp_path), None)


def test_without_network_it_says_which_files_to_put_where(tmp_path, monkeypatch):
    def no_network(name, root):
        raise DownloadFailed("no network")

    monkeypatch.setattr(image_sources, "download", no_network)
    with pytest.raises(UserError, match=r"no network.*MNIST/raw/train-images-idx3-ubyte\.gz") as error:
        OfficialImages("mnist")(str(tmp_path), None)
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)


def cifar_batch(n: int) -> dict:
    return {"data": noise(n, 3, 32).reshape(n, -1), "labels": [i % 10 for i in range(n)]}


def test_cifar_is_read_from_its_archive_and_runs_nothing(tmp_path):
    def write(**entries: bytes) -> None:
        with tarfile.open(tmp_path / "cifar-10-python.tar.gz", "w:gz") as archive:
            for name, content in entries.items():
                info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))

    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    write(**{name: pickle.dumps(cifar_batch(4), protocol=2) for name in names})
    raw = OfficialImages("cifar10")(str(tmp_path), None)
    assert raw.train.x.shape == (20, 3, 32, 32) and (raw.test.x.numpy() == noise(4, 3, 32)).all()

    class Evil:
        def __reduce__(self):
            return print, ("run",)

    write(**{name: pickle.dumps(Evil()) for name in names})
    with pytest.raises(UserError, match="wants to run"):
        OfficialImages("cifar10")(str(tmp_path), None)


def test_usps_text_becomes_pixels(tmp_path):
    values = np.linspace(-1, 1, 256)
    line = "7 " + " ".join(f"{i + 1}:{value:.6f}" for i, value in enumerate(values))
    for name in ("usps.bz2", "usps.t.bz2"):
        (tmp_path / name).write_bytes(bz2.compress(f"{line}\n{line}\n".encode()))
    raw = OfficialImages("usps")(str(tmp_path), None)
    assert raw.train.y.tolist() == [6, 6]
    assert raw.train.x[0].flatten().tolist() == list(range(256))


def test_flowers_splits_are_the_official_ones(data_dir):
    from datakiln.data.sets.flowers import FILES, _splits

    train, holdout, y = _splits(data_dir / FILES[1][0], data_dir / FILES[2][0])
    assert (len(train), len(holdout), len(y)) == (7169, 1020, 8189)
    assert not set(train.tolist()) & set(holdout.tolist())
    assert torch.bincount(y[holdout]).tolist() == [10] * 102
    assert y.min() == 0 and y.max() == 101


def test_real_mnist(data_dir):
    data = ImageData(OfficialImages("mnist"), data_dir=str(data_dir))
    data.setup("fit")
    assert data.spec.size == 54_000 and len(data.pictures["test"].x) == 10_000
    official = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert torch.bincount(data.pictures["test"].y).tolist() == official


def test_a_run_in_pure_bf16_gets_bf16_batches():
    data = ImageData(SklearnDigits())
    data.setup("fit")
    strategy = type("S", (), {"root_device": torch.device("cpu")})
    data.trainer = type("T", (), {"precision": "bf16-true", "strategy": strategy})()
    assert next(iter(data.train_dataloader())).x.dtype == torch.bfloat16
    data.trainer.precision = "bf16-mixed"  # autocast takes float32 and casts by itself
    assert next(iter(data.train_dataloader())).x.dtype == torch.float32


def test_sources_can_be_resized():
    assert isinstance(SklearnDigits()(None, 16), RawImages)
    raw = SklearnDigits()(None, 16)
    assert isinstance(raw.train, Pictures) and raw.train.x.shape == (1797, 1, 16, 16)
    assert raw.reports[0].name == "resize"


def test_pictures_that_are_skipped_do_not_make_a_grey_folder_colour(tmp_path):
    for i, picture in enumerate(noise(4, 1)):
        save(tmp_path / f"{i}.png", picture)
    colour = Image.fromarray(noise(1)[0].transpose(1, 2, 0))
    colour.save(tmp_path / "named.png", "JPEG")
    colour.save(tmp_path / "cut.bmp")
    (tmp_path / "cut.bmp").write_bytes((tmp_path / "cut.bmp").read_bytes()[:300])
    assert FolderImages(str(tmp_path))(None, 8).train.x.shape == (4, 1, 8, 8)
    colour.save(tmp_path / "good.bmp")
    assert FolderImages(str(tmp_path))(None, 8).train.x.shape == (5, 3, 8, 8)


def deep_png(width: int, height: int, colour: int, channels: int) -> bytes:
    """A PNG of 16 bits a channel, which Pillow cannot write in colour."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return len(content).to_bytes(4, "big") + name + content + zlib.crc32(name + content).to_bytes(4, "big")

    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([16, colour, 0, 0, 0])
    rows = (b"\0" + bytes(2 * channels * width)) * height
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def test_deep_colour_keeps_its_upper_bits_and_says_so(tmp_path):
    for name, colour, channels in (("rgb", 2, 3), ("la", 4, 2), ("rgba", 6, 4)):
        (tmp_path / f"{name}.png").write_bytes(deep_png(4, 4, colour, channels))
    (tmp_path / "deep.ppm").write_bytes(b"P6\n# a comment\n4 4\n65535\n" + bytes(96))
    for file in tmp_path.iterdir():
        with Image.open(file) as picture:
            assert picture.mode in ("RGB", "LA", "RGBA"), "Pillow itself does not tell"
        assert any("upper eight" in change for change in read_picture(file).changes)
        head, is_grey = header(file), file.name == "la.png"
        assert head is not None and head.is_grey == is_grey and (read_picture(file).picture.mode == "L") == is_grey
    (tmp_path / "plain.ppm").write_bytes(b"P6 4 4 255\n" + bytes(48))
    save(tmp_path / "plain.png", noise(1)[0])
    save(tmp_path / "plain.tif", noise(1)[0])
    for file in tmp_path.glob("plain.*"):
        assert read_picture(file).picture.mode == "RGB" and read_picture(file).changes == ()


def test_every_form_of_a_picture_is_the_same_picture(tmp_path):
    """Palette, CMYK, transparency of every kind, 16 bits, frames, EXIF: the pixels are those of the plain file."""
    rng = np.random.default_rng(0)
    colour = rng.integers(1, 200, (6, 9, 3), dtype=np.uint8) // 16 * 16 + 1
    colour[:, 5:] = 0
    laid = colour.copy()
    laid[:, 5:] = 255
    alpha = np.where((colour == 0).all(axis=2), 0, 255).astype(np.uint8)
    plain = Image.fromarray(colour)
    grey = colour[..., 0]
    laid_grey = laid[..., 0]
    by_code = [Image.fromarray(grey).convert("P"), plain.quantize(256)]
    by_code[0].putpalette([level for level in range(256) for _ in range(3)])
    nothing = by_code[1].getpixel((8, 0))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    several = {"save_all": True, "append_images": [plain.rotate(180)], "lossless": True}
    made = {
        "trns.png": (plain, {"transparency": (0, 0, 0)}, laid, "white"),
        "trns_grey.png": (Image.fromarray(grey), {"transparency": 0}, laid_grey, "white"),
        "trns_deep.png": (Image.fromarray(grey.astype(np.uint16) * 257), {"transparency": 0}, laid_grey, "white"),
        "trns_palette.png": (by_code[1], {"transparency": nothing}, laid, "white"),
        "trns.gif": (by_code[1], {"transparency": nothing}, laid, "white"),
        "alpha.png": (Image.fromarray(np.dstack([colour, alpha])), {}, laid, "white"),
        "opaque.png": (plain.convert("RGBA"), {}, colour, ""),
        "palette.png": (by_code[1], {}, colour, "palette"),
        "grey_palette.png": (by_code[0], {}, grey, "palette"),
        "deep.png": (Image.fromarray(grey.astype(np.uint16) * 257), {}, grey, "upper eight"),
        "deep.tif": (Image.fromarray(grey.astype(np.uint16) * 256), {}, grey, "upper eight"),
        "cmyk.tif": (plain.convert("CMYK"), {}, colour, "CMYK"),
        "moving.webp": (plain, several, colour, "first"),
        "turned.png": (plain.rotate(90, expand=True), {"exif": exif}, colour, ""),
    }  # fmt: skip
    for name, (picture, how, wanted, told) in made.items():
        picture.save(tmp_path / name, **how)
        read = read_picture(tmp_path / name)
        assert np.array_equal(np.asarray(read.picture), wanted), name
        assert any(told in change for change in read.changes) if told else read.changes == (), (name, read.changes)
        head = header(tmp_path / name)
        assert head is not None and head.is_grey == (wanted.ndim == 2), name
    decoded = FolderImages(str(tmp_path))(None, 6)
    (step,) = (report for report in decoded.reports if report.name == "converted")
    assert "6 transparent parts laid on white" in step.detail and "1 CMYK" in step.detail
    assert step.rows == sum(bool(told) for *_, told in made.values())


def test_what_is_left_out_is_counted_by_reason(tmp_path, caplog):
    for i, picture in enumerate(noise(6)):
        save(tmp_path / "a" / f"{i}.png", picture)
        (tmp_path / "a" / f"IMG_{i}.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    save(tmp_path / "a" / ".checkpoints" / "0.png", noise(1)[0])
    save(tmp_path / ".hidden.png", noise(1)[0])
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "phone.jpg").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    (tmp_path / "b" / "broken.avif").write_bytes(b"\0\0\0\x18ftypavif" + bytes(100))
    save(tmp_path / "b" / "0.png", noise(1)[0])
    with caplog.at_level(logging.WARNING):
        raw = FolderImages(str(tmp_path))(None, 8)
    assert raw.classes == ("a", "b") and len(raw.train.x) == 7
    assert "7 HEIC" in caplog.text and "is named .jpg but holds HEIC" in caplog.text and "and 3 more" in caplog.text
    assert "2 hidden" in caplog.text and "broken.avif" in caplog.text
    rows = {report.name: report.rows for report in raw.reports}
    assert rows["bad pictures"] == 8 and rows["hidden"] == 2
    with pytest.raises(UserError, match="6 HEIC|IMG_0.heic"):
        for path in (tmp_path / "a").glob("*.png"):
            path.unlink()
        FolderImages(str(tmp_path / "a"))(None, 8)


def test_the_beginning_of_a_file_tells_its_form(tmp_path):
    picture = Image.fromarray(noise(1)[0].transpose(1, 2, 0))
    for quality in (30, 75, 95):
        picture.save(tmp_path / "a.jpg", quality=quality)
        assert abs(header(tmp_path / "a.jpg").quality - quality) < 1.5
    assert header(tmp_path / "a.jpg").format == "JPEG"


def test_a_picture_by_content_with_another_name_is_told(tmp_path, caplog):
    for name in ("a", "b"):
        for i, picture in enumerate(noise(3)):
            save(tmp_path / name / f"{i}.png", picture)
    photograph = Image.fromarray(noise(1)[0].transpose(1, 2, 0))
    photograph.save(tmp_path / "a" / "photo.jfif", "JPEG")
    photograph.save(tmp_path / "b" / "plain", "PNG")
    photograph.save(tmp_path / "cover", "PNG")
    (tmp_path / "README").write_text("P6 is no picture here")
    raw = FolderImages(str(tmp_path))(None, 8)
    assert raw.train.y.tolist() == [0] * 3 + [1] * 3
    (told,) = (report for report in raw.reports if report.name == "bad pictures")
    assert told.rows == 3
    assert "a/photo.jfif is mis-named: it holds JPEG but its name ends in .jfif; name it .jpg" in told.detail
    assert "b/plain, cover: is mis-named: it holds PNG but its name has no suffix; name it .png" in told.detail
