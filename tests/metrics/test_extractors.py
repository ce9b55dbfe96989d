"""Extractors, resizing and the cache of image metrics: against the networks and resizers they stand for."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datakiln import storage as disk
from datakiln.errors import UserError
from datakiln.metrics.extractors import classifier, efficientnet
from datakiln.metrics.extractors import inception as inception_extractor
from datakiln.metrics.extractors.base import Backbone, NetExtractor, fold_batchnorm, full_float32
from datakiln.metrics.extractors.build import _resolve, build_extractor
from datakiln.metrics.extractors.checks import BOUND, checked_extractor, example_images, relative_error
from datakiln.metrics.extractors.classifier import judged_accuracy, judged_shares
from datakiln.metrics.extractors.inception_network import FIDInception
from datakiln.metrics.extractors.resize import RULES, resize, resize_matrix, three_channels
from datakiln.metrics.extractors.weights import WeightsFile
from datakiln.metrics.pictures.feature_cache import StatisticsKey, cached_statistics
from datakiln.metrics.pictures.statistics import FeatureStatistics, feature_statistics
from datakiln.pretrained.efficientnet import find_efficientnet
from datakiln.spec import LabelledImages
from datakiln.storage import cache_dir

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test reads or fills the user's caches."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("DATAKILN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def pictures(n: int = 3, channels: int = 3, height: int = 20, width: int = 33) -> Tensor:
    shape = (n, channels, height, width)
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@pytest.mark.parametrize("side", [13, 29, 64])
def test_half_pixel_equals_interpolate(side: int) -> None:
    x = pictures().float()
    expected = F.interpolate(x, (side, side), mode="bilinear", align_corners=False)
    torch.testing.assert_close(resize(x, "half_pixel", side), expected, rtol=0, atol=1e-3)  # of 255


@pytest.mark.parametrize("side", [7, 24, 64])
def test_clean_equals_pillow_and_torch(side: int) -> None:
    from PIL import Image

    x = pictures().float()
    found = resize(x, "clean", side)
    planes = [Image.fromarray(p.numpy()).resize((side, side), Image.Resampling.BICUBIC) for p in x.flatten(0, 1)]
    pillow = torch.from_numpy(np.stack([np.asarray(p) for p in planes])).view(3, 3, side, side).clamp(0, 255)
    torch.testing.assert_close(found, pillow, rtol=0, atol=2e-3)
    torchs = F.interpolate(x, (side, side), mode="bicubic", antialias=True, align_corners=False).clamp(0, 255)
    torch.testing.assert_close(found, torchs, rtol=0, atol=2e-3)


@pytest.mark.parametrize("side", [13, 64])
def test_tf1_is_the_uncentred_grid(side: int) -> None:
    x = pictures()
    source = x.double().numpy()
    rows, columns = (np.arange(side) * size / side for size in x.shape[2:])
    top, left = rows.astype(int), columns.astype(int)
    bottom, right = np.minimum(top + 1, x.shape[2] - 1), np.minimum(left + 1, x.shape[3] - 1)
    down, across = (rows - top)[:, None], columns - left
    upper = source[:, :, top][..., left] * (1 - across) + source[:, :, top][..., right] * across
    lower = source[:, :, bottom][..., left] * (1 - across) + source[:, :, bottom][..., right] * across
    np.testing.assert_allclose(resize(x.float(), "tf1", side), upper * (1 - down) + lower * down, atol=1e-3)


@pytest.mark.parametrize("rule", RULES)
def test_resize_keeps_flat_images_and_right_sizes(rule: str) -> None:
    torch.testing.assert_close(resize_matrix(rule, 17, 40).sum(1), torch.ones(40, dtype=torch.float64))
    x = torch.full((1, 1, 9, 17), 200.0)
    torch.testing.assert_close(resize(x, rule, 24), torch.full((1, 1, 24, 24), 200.0))
    same = pictures(height=24, width=24).float()
    assert resize(same, rule, 24) is same
    torch.testing.assert_close(resize_matrix(rule, 24, 24), torch.eye(24, dtype=torch.float64))


def test_grey_becomes_three_equal_channels() -> None:
    grey = pictures(channels=1)
    assert torch.equal(three_channels(grey), grey.repeat(1, 3, 1, 1))
    extractor = build_extractor("pixels")
    assert torch.equal(extractor(grey), extractor(grey.repeat(1, 3, 1, 1)))
    with pytest.raises(UserError, match="2 channels"):
        extractor(pictures(channels=2))


def random_inception() -> FIDInception:
    torch.manual_seed(0)
    net = FIDInception().eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return net


@pytest.mark.journey
def test_inception_equals_torch_fidelity_and_folds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reference = pytest.importorskip(
        "torch_fidelity.feature_extractor_inceptionv3", reason="torch-fidelity is not installed"
    )
    file = tmp_path / "random.pth"
    torch.save(random_inception().state_dict(), file)
    theirs = reference.FeatureExtractorInceptionV3("x", ["2048", "logits_unbiased"], str(file)).eval()
    images = pictures(2, 3, 40, 56)
    wanted = WeightsFile("random.pth", "nowhere", hashlib.sha256(file.read_bytes()).hexdigest())
    monkeypatch.setattr(inception_extractor, "WEIGHTS", wanted)
    ours = build_extractor("inception", resize="tf1", weights=file)
    with torch.no_grad():
        features, logits = theirs(images)
    found = ours(images)
    assert ours.tag == f"inception@{wanted.sha256[:8]}-tf1-exact" and found.shape == (2, 2048)
    # Their whole path: resize, grey levels, unfolded network. Folding only reorders float32 sums.
    assert relative_error(found, features) < 1e-4
    assert ours.probabilities is not None
    torch.testing.assert_close(ours.probabilities(found), logits.softmax(1), rtol=1e-3, atol=1e-6)


def test_missing_or_wrong_weights_say_what_to_do(tmp_path: Path, own_cache: Path) -> None:
    with pytest.raises(UserError) as caught:
        build_extractor("inception", download=False)
    home = own_cache / "weights" / "pt_inception-2015-12-05-6726825d.pth"
    assert "https://" in str(caught.value) and str(home) in str(caught.value) and "\n" not in str(caught.value)
    home.parent.mkdir(parents=True)
    home.write_bytes(b"not the weights")
    with pytest.raises(UserError, match="SHA-256"):
        build_extractor("inception", download=False)
    assert _resolve("auto", None) == "inception"  # its weights lie there, so a wrong file must not go unnoticed
    home.unlink()
    alias = tmp_path / "torch" / "hub" / "checkpoints" / "weights-inception-2015-12-05-6726825d.pth"
    alias.parent.mkdir(parents=True)
    alias.write_bytes(b"what torch-fidelity left there, but damaged")
    with pytest.raises(UserError, match="weights-inception.*SHA-256"):
        build_extractor("inception", download=False)
    with pytest.raises(UserError, match="no such file"):
        build_extractor("inception", weights=tmp_path / "absent.pth")
    with pytest.raises(UserError, match="only extractor=inception"):
        build_extractor("pixels", weights=alias)


def test_failed_download_is_one_line_and_leaves_nothing(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = own_cache.parent / "elsewhere.pth"
    source.write_bytes(b"a download that was cut off")
    monkeypatch.setattr(inception_extractor, "WEIGHTS", WeightsFile("x.pth", source.as_uri(), "0" * 64))
    with pytest.raises(UserError, match="SHA-256"):
        build_extractor("inception")
    monkeypatch.setattr(inception_extractor, "WEIGHTS", WeightsFile("x.pth", source.as_uri() + "x", "0" * 64))
    with pytest.raises(UserError, match="cannot download x.pth"):
        build_extractor("inception")
    assert list((own_cache / "weights").iterdir()) == []


def test_unknown_names_are_refused_with_a_hint() -> None:
    for arguments, hint in (
        ({"name": "inceptoin"}, "inception"),
        ({"name": "pixels", "resize": "cleen"}, "clean"),
        ({"name": "pixels", "precision": "exakt"}, "exact"),
    ):
        with pytest.raises(UserError, match=f"did you mean '{hint}'"):
            build_extractor(**arguments)
    with pytest.raises(UserError, match="needs data with labels"):
        build_extractor("classifier")


def test_efficientnet_is_the_loud_default_and_the_published_network(caplog: pytest.LogCaptureFixture) -> None:
    extractor = build_extractor()
    assert "must not be compared with published FIDs" in caplog.text
    assert extractor.tag == "efficientnet_lite0@57934424-clean-exact"
    images = example_images(8, side=80)
    found = extractor(images)
    plain = efficientnet.efficientnet_backbone(CPU)
    with torch.no_grad():
        expected = plain.net.eval()((extractor.prepare(images)).contiguous())
    assert relative_error(found, expected) < 1e-4 and found.shape == (8, 1280)
    reference = pytest.importorskip("efficientnet_lite_pytorch", reason="efficientnet-lite-pytorch is not installed")
    theirs = reference.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=str(find_efficientnet()))
    with torch.no_grad():
        probabilities = theirs.eval()(extractor.prepare(images)).softmax(1)
    torch.testing.assert_close(extractor.probabilities(found), probabilities, rtol=1e-3, atol=1e-6)


def test_efficientnet_knows_a_daisy(data_dir: Path) -> None:
    """Grey levels, channel order and resize are right: ImageNet's class 985 among real oxeye daisies."""
    from torchvision.datasets import Flowers102

    flowers = Flowers102(str(data_dir), split="test", download=False)
    daisies = [i for i, label in enumerate(flowers._labels) if label == 48][:8]
    images = torch.cat([torch.tensor(np.asarray(flowers[i][0])[:96, :96]).permute(2, 0, 1)[None] for i in daisies])
    extractor = build_extractor("efficientnet_lite0")
    assert (extractor.probabilities(extractor(images)).argmax(1) == 985).float().mean() >= 0.75


class Fragile(nn.Module):
    """Runs out of memory above a batch, and overflows in float16."""

    def __init__(self, most: int, scale: float = 1.0) -> None:
        super().__init__()
        self.most, self.scale, self.seen = most, scale, []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(len(x))
        if len(x) > self.most:
            raise torch.OutOfMemoryError("out of memory")
        return (x * self.scale).flatten(1) / self.scale


def fragile(most: int = 1000, scale: float = 1.0) -> Backbone:
    return Backbone("fragile", "0" * 8, Fragile(most, scale), 8, 192, 0.0, 255.0, batch=32)


def test_batch_is_halved_when_memory_runs_out(caplog: pytest.LogCaptureFixture) -> None:
    images = pictures(70, height=8, width=8)
    plenty, scarce = (NetExtractor(fragile(most), "clean", "exact", CPU) for most in (1000, 9))
    assert torch.equal(plenty(images), scarce(images))
    assert scarce.net.seen == [32, 16, 8, 8, 8, 8, 8, 8, 8, 8, 6] and "the batch is now 8 images" in caplog.text
    with pytest.raises(torch.OutOfMemoryError):
        NetExtractor(fragile(0), "clean", "exact", CPU)(images)


def test_fast_is_taken_only_when_close_and_quick(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datakiln.metrics.extractors.checks._seconds", lambda extractor, images: 1.0)
    good = checked_extractor(fragile(), "clean", "fast", CPU)
    assert good.tag.endswith("-fast")
    images = pictures(4, height=8, width=8)
    assert 0 < relative_error(good(images), NetExtractor(fragile(), "clean", "exact", CPU)(images)) < BOUND
    with caplog.at_level(logging.WARNING):
        assert checked_extractor(fragile(scale=1e6), "clean", "fast", CPU).tag.endswith("-exact")
    assert "falls back to exact" in caplog.text
    took = {"fast": 2.0, "exact": 1.0}
    monkeypatch.setattr(
        "datakiln.metrics.extractors.checks._seconds", lambda extractor, images: took[extractor.precision]
    )
    assert checked_extractor(fragile(), "clean", "fast", CPU).tag.endswith("-exact")
    assert "2.0 times as long" in caplog.text
    assert checked_extractor(fragile(), "clean", "bf16", CPU).tag.endswith("-bf16")  # whoever asks for it gets it


def test_settings_of_the_training_around_do_not_matter() -> None:
    extractor = build_extractor("efficientnet_lite0")
    images = example_images(1)
    alone = extractor(images)
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(extractor(images), alone)
            with full_float32(CPU):
                assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")


def test_folding_changes_nothing_but_rounding() -> None:
    net = nn.Sequential(classifier.ConvNorm(3, 4), classifier.ConvNorm(4, 5, 2))
    for _ in range(3):
        net(torch.randn(8, 3, 12, 12) * 3 + 1)  # moves the running statistics away from 0 and 1
    x = torch.randn(4, 3, 12, 12)
    with torch.no_grad():
        expected = net.eval()(x)
        folded = fold_batchnorm(net)
        assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
        torch.testing.assert_close(folded(x), expected, rtol=1e-4, atol=1e-5)


def digits() -> LabelledImages:
    from sklearn.datasets import load_digits

    data = load_digits()
    images = torch.tensor(data.images * 255 / 16).round().to(torch.uint8)[:, None]
    return LabelledImages(images, torch.tensor(data.target), "digits")


@pytest.mark.journey
def test_classifier_is_trained_once_and_judges(monkeypatch: pytest.MonkeyPatch) -> None:
    data = digits()
    state = torch.get_rng_state()
    judge = build_extractor("classifier", data=data)
    build_extractor("efficientnet_lite0")
    assert torch.equal(torch.get_rng_state(), state)  # a metric must not move the training's random numbers
    assert judge.facts["accuracy"] > 0.95  # 180 held-out digits; a linear model reaches about 0.96
    assert judge.dim == 128 and judge.side == 8
    shares = judged_shares(judge, data.images)
    real = torch.bincount(data.labels) / len(data.labels)
    assert float((shares - real).abs().max()) < 0.01
    assert judged_accuracy(judge, data.images, data.labels) > 0.98
    assert judged_accuracy(judge, data.images, (data.labels + 1) % 10) < 0.02
    monkeypatch.setattr(classifier, "_fit", lambda *_: pytest.fail("trained again"))
    again = build_extractor("classifier", data=data)
    assert again.tag == judge.tag and torch.equal(again(data.images[:9]), judge(data.images[:9]))
    with pytest.raises(pytest.fail.Exception, match="trained again"):
        build_extractor("classifier", data=LabelledImages(data.images, data.labels, "changed"))


def test_statistics_are_cached_under_everything_they_depend_on(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extractor = build_extractor("pixels")
    made = 0

    def make() -> FeatureStatistics:
        nonlocal made
        made += 1
        return feature_statistics(extractor, [pictures(40)], store=30)

    key = StatisticsKey("abc", "train", extractor.tag, None, 30)
    first, second = cached_statistics(key, make), cached_statistics(key, make)
    assert made == 1 and second.tag == first.tag and second.n == first.n
    for one, other in ((first.rows, second.rows), (first.gaussian.cov, second.gaussian.cov)):
        assert torch.equal(one, other)
    monkeypatch.setattr("datakiln.metrics.pictures.statistics.factor", lambda *_: pytest.fail("factored again"))
    torch.testing.assert_close(second.factor @ second.factor.T, second.gaussian.cov)
    monkeypatch.undo()
    monkeypatch.setenv("DATAKILN_CACHE", str(own_cache))
    for other_key in (
        StatisticsKey("abd", "train", extractor.tag, None, 30),
        StatisticsKey("abc", "test", extractor.tag, None, 30),
        StatisticsKey("abc", "train", build_extractor("pixels", resize="tf1").tag, None, 30),
        StatisticsKey("abc", "train", extractor.tag, 20, 30),
        StatisticsKey("abc", "train", extractor.tag, None, 31),
    ):
        before = made
        cached_statistics(other_key, make)
        assert made == before + 1
    assert all(path.suffix == ".pt" for path in (own_cache / "statistics").iterdir())


def test_a_damaged_cache_is_made_again_and_a_full_disk_is_survived(
    caplog: pytest.LogCaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extractor = build_extractor("pixels")
    key = StatisticsKey("abc", "train", extractor.tag)
    expected = cached_statistics(key, lambda: feature_statistics(extractor, [pictures(5)]))
    key.path().write_bytes(key.path().read_bytes()[:200])
    again = cached_statistics(key, lambda: feature_statistics(extractor, [pictures(5)]))
    assert "damaged" in caplog.text and torch.equal(again.gaussian.mean, expected.gaussian.mean)
    assert disk.read_state(key.path()) is not None
    (tmp_path / "file").write_text("a file where a folder should be")
    monkeypatch.setenv("DATAKILN_CACHE", str(tmp_path / "file"))
    assert cached_statistics(key, lambda: expected) is expected
    assert "cannot write" in caplog.text


def test_cache_folder_is_the_users_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATAKILN_CACHE", "~/elsewhere")
    assert cache_dir() == Path.home() / "elsewhere"
    monkeypatch.delenv("DATAKILN_CACHE")
    assert cache_dir() == Path.home() / ".cache" / "datakiln"
