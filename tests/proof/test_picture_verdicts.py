"""What the verdict says of folders whose worth is known: unseen real pictures, noise, copies, a collapsed model."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from torch import Tensor

from datakiln.console import Console
from datakiln.data.pictures.files import PictureFiles
from datakiln.data.pictures.sources import SklearnDigits
from datakiln.metrics.pictures.evaluate import features, memorisation
from datakiln.metrics.pictures.sets import BATCH
from datakiln.proof import folders
from datakiln.reports.verdict import Verdict, judged
from tests.later import later

N = 200


def written(folder: Path, pictures: Tensor) -> Path:
    folder.mkdir(parents=True)
    for i, x in enumerate(pictures.numpy()):
        Image.fromarray(x[0] if len(x) == 1 else x.transpose(1, 2, 0)).save(folder / f"{i:04}.png")
    return folder


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor, Tensor]:
    """Real ones, unseen ones, and the classes of the unseen."""
    raw = SklearnDigits()().train
    order = torch.randperm(len(raw.x), generator=torch.Generator().manual_seed(0))
    return raw.x[order[: 2 * N]], raw.x[order[2 * N :]], raw.y[order[2 * N :]]


@pytest.fixture(scope="module")
def real(digits, tmp_path_factory) -> Path:
    return written(tmp_path_factory.mktemp("digits") / "real", digits[0])


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATAKILN_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr("datakiln.metrics.extractors.build._resolve", lambda name, weights: "pixels")
        yield


def verdict(real: Path, made: Path, out: Path) -> tuple[Verdict, dict]:
    cfg = OmegaConf.create({"real": str(real), "synthetic": str(made), "n": None, "seed": 0})
    out.mkdir()
    metrics = [functools.partial(features, kinds=("fid", "manifold")), memorisation]
    result, _, _ = folders.evaluate_folders(cfg, metrics, out, Console(quiet=True))
    return judged(result), {score.name.partition("/n")[0]: score for score in result.figures}


def tones(found: Verdict) -> dict[str, str]:
    return {claim.topic: claim.tone for claim in found.claims}


def test_unseen_real_pictures_are_good(real, digits, tmp_path):
    found, _ = verdict(real, written(tmp_path / "made", digits[1][:N]), tmp_path / "out")
    assert found.tone == "good" and tones(found)["faithful"] == tones(found)["safe"] == "good"


@pytest.mark.journey
def test_noise_is_not_faithful(real, tmp_path):
    noise = torch.randint(0, 256, (N, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found, _ = verdict(real, written(tmp_path / "made", noise), tmp_path / "out")
    assert found.tone == "bad" and "not faithful" in found.headline


@pytest.mark.parametrize("how", ["half of them", *later("as they are", "shifted", "mirrored")])
def test_copies_are_not_safe_to_share(real, digits, tmp_path, how):
    copies = digits[0][:N]
    made = {
        "as they are": copies,
        "shifted": copies.roll(1, 2),
        "mirrored": copies.flip(3),
        "half of them": torch.cat([digits[1][: N // 2], copies[: N // 2]]),
    }[how]
    found, _ = verdict(real, written(tmp_path / "made", made), tmp_path / "out")
    assert found.tone == "bad" and tones(found)["safe"] == "bad" and "not safe to share" in found.headline


@pytest.mark.parametrize("how", ["two classes", *later("one picture", "one class")])
def test_a_collapsed_model_is_not_painted_green(real, digits, tmp_path, how):
    _, unseen, y = digits
    made = {
        "one picture": unseen[:1].expand(N, -1, -1, -1),
        "one class": unseen[y == 3],
        "two classes": unseen[(y == 3) | (y == 0)],
    }[how]
    found, _ = verdict(real, written(tmp_path / "made", made), tmp_path / "out")
    assert tones(found)["faithful"] == "bad" and found.tone == "bad"


@pytest.mark.journey
def test_the_largest_batch_that_is_decoded_does_not_grow(tmp_path, digits, monkeypatch):
    """Folders too large for memory stay in their files; nothing asks for more of them at once than a batch."""
    many = digits[1][torch.arange(560) % len(digits[1])]
    real, made = (written(tmp_path / name, part) for name, part in (("real", many), ("made", many[:280])))
    asked = []
    decoded = PictureFiles.__getitem__

    def watched(self, at):
        asked.append(len(range(len(self))[at]) if isinstance(at, slice) else len(at))
        return decoded(self, at)

    monkeypatch.setattr(folders, "MEMORY_MB", 0.001)
    monkeypatch.setattr(PictureFiles, "__getitem__", watched)
    monkeypatch.setattr(folders, "_read", small_reading(folders._read))
    _, scores = verdict(real, made, tmp_path / "out")
    assert sum(asked) > 840 and max(asked) <= BATCH
    assert any(name.startswith("fid/") and score.floor is not None for name, score in scores.items())


def small_reading(read):
    def files_only(*parts):
        folder = read(*parts)
        assert isinstance(folder.x, PictureFiles)
        return folder

    return files_only
