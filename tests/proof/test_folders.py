"""Two folders of pictures compared: what is read of them, in which order, and what stands beside what."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from datakiln.cli.evaluate import default_metrics, evaluate_pair
from datakiln.console import Console
from datakiln.data.pictures import forms
from datakiln.data.pictures.files import Head
from datakiln.errors import UserError
from datakiln.metrics.pictures.evaluate import judge
from datakiln.proof import folders


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("DATAKILN_CACHE", str(tmp_path_factory.mktemp("cache")))


def flat(path, level: int, mode: str = "L", side: int = 12) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (side, side), level).convert(mode).save(path)


def compare(tmp_path, monkeypatch, n: int | None = None):
    """What `evaluate real= synthetic=` hands to the metrics, which are left out here, and the result."""
    seen = []

    def measure(sets, metrics, progress, real):
        seen.append(sets)
        return []

    monkeypatch.setattr(folders, "evaluate_images", measure)
    cfg = OmegaConf.create({"real": str(tmp_path / "real"), "synthetic": str(tmp_path / "made"), "n": n, "seed": 0})
    (tmp_path / "out").mkdir(exist_ok=True)
    return seen, *folders.evaluate_folders(cfg, default_metrics("image"), tmp_path / "out", Console(quiet=True))


def test_what_is_judged_is_of_every_class(tmp_path, monkeypatch):
    """Files come sorted by class; half of them must not be the first class alone."""
    for level, name in enumerate("ab"):
        for i in range(20):
            flat(tmp_path / "real" / name / f"{i}.png", 100 * level)
            flat(tmp_path / "made" / name / f"{i}.png", 100 * level)
    (sets, *_), _, plots, _ = compare(tmp_path, monkeypatch, n=20)
    levels = sets.judged[:, 0, 0, 0]
    assert len(levels) == 20 and 4 <= int((levels == 100).sum()) <= 16  # of 10 expected, standard deviation 1.6
    assert torch.equal(sets.labels, (levels == 100).long()), "labels go with their pictures"
    again = compare(tmp_path, monkeypatch, n=20)[0][0]
    assert torch.equal(again.judged, sets.judged)
    (drawn,) = (plot for plot in plots if plot.name == "neighbours.png")
    with Image.open(drawn) as picture:
        assert {0, 100} <= set(np.unique(np.asarray(picture.convert("L"))).tolist())


def measured_folders(tmp_path, n_real: int, n_made: int):
    rng = np.random.default_rng(0)
    for name, count in (("real", n_real), ("made", n_made)):
        for i in range(count):
            (tmp_path / name).mkdir(exist_ok=True, parents=True)
            Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save(tmp_path / name / f"{i}.png")
    cfg = OmegaConf.create({"real": str(tmp_path / "real"), "synthetic": str(tmp_path / "made"), "n": None, "seed": 0})
    (tmp_path / "out").mkdir()
    result, _, _ = folders.evaluate_folders(cfg, default_metrics("image"), tmp_path / "out", Console(quiet=True))
    return {score.name: score for score in result.figures}, result


@pytest.mark.journey
def test_ceiling_and_floor_are_of_the_figures_n(tmp_path, monkeypatch):
    monkeypatch.setattr("datakiln.metrics.extractors.build._resolve", lambda name, weights: "pixels")
    scores, result = measured_folders(tmp_path / "enough", 44, 22)
    assert not any("form" in step.name for step in result.steps)
    measured = [score for score in scores.values() if score.value is not None]
    assert {"fid", "kid", "precision", "memorisation"} <= {score.name.partition("/")[0] for score in measured}
    assert all(score.n == score.ceiling_n == score.floor_n == 22 for score in measured)
    assert all(score.differs is not None for score in measured if score.better != "none")
    assert scores["memorisation/copies/n22"].note == "of 44 training pictures", "copies of any real picture are found"
    assert any("22 real pictures set aside" in step.detail for step in result.steps)
    fid = next(score for score in measured if score.name.startswith("fid/"))
    assert fid.detail["n_real"] == 22, "synthetic and real ones are compared with the same pictures"

    scores, result = measured_folders(tmp_path / "few", 60, 60)
    measured = [score for score in scores.values() if score.value is not None]
    assert all(score.n == score.ceiling_n == score.floor_n == 60 for score in measured if score.better != "none")
    fid = next(score for score in measured if score.name.startswith("fid/"))
    assert fid.detail["n_real"] == 60 and fid.ceiling_range[0] < fid.value < fid.ceiling_range[1]


@pytest.mark.journey
def test_classes_are_named_and_those_without_a_usable_picture_are_none(tmp_path, monkeypatch):
    for side in ("real", "made"):
        for level, name in enumerate(("cat", "dog", "elk")):
            for i in range(6):
                flat(tmp_path / side / name / f"{i}.png", 100 * level)
    for i in range(6):
        for path in (tmp_path / "real" / "ant" / f"{i}.png", tmp_path / "made" / "fox" / f"{i}.png"):
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"")
    (sets, *_), _, _, _ = compare(tmp_path, monkeypatch)
    assert tuple(sets.classes) == ("cat", "dog", "elk") and sets.labelled.classes == 3
    assert torch.equal(sets.labels, (sets.judged[:, 0, 0, 0] // 100).long()), "an unusable class does not forbid labels"

    class Judge:
        tag, facts = "judge", {"accuracy": 1.0}
        device = torch.device("cpu")

        def __call__(self, images):
            return images[:, 0, 0, :1].float()

        def probabilities(self, x):
            return torch.nn.functional.one_hot((x[:, 0] // 100).long(), 3).float()

    sets.cache[("classifier", "exact", "clean")] = Judge()
    shares = judge(sets)[0].detail
    assert shares == {"cat": pytest.approx(1 / 3), "dog": pytest.approx(1 / 3), "elk": pytest.approx(1 / 3)}


def test_what_is_hidden_beside_classes_does_not_hide_them(tmp_path, monkeypatch):
    for side in ("real", "made"):
        for level, name in enumerate(("cat", "dog")):
            for i in range(6):
                flat(tmp_path / side / name / f"{i}.png", 100 * level + i)
    flat(tmp_path / "real" / ".thumb.png", 9)
    (sets, *_), _, _, _ = compare(tmp_path, monkeypatch)
    assert tuple(sets.classes) == ("cat", "dog") and sets.labels is not None


def test_refusals_name_the_folder_and_the_option(tmp_path, monkeypatch):
    for i in range(4):
        flat(tmp_path / "real" / f"{i}.png", i)
    flat(tmp_path / "made" / "0.png", 3)
    with pytest.raises(UserError, match=r"^synthetic=.*made holds 1 usable picture; at least 4 are needed"):
        compare(tmp_path, monkeypatch)
    (tmp_path / "made" / "0.png").unlink()
    with pytest.raises(UserError, match=r"^synthetic=.*made holds no picture"):
        compare(tmp_path, monkeypatch)
    asked = OmegaConf.create({"real": str(tmp_path / "real"), "synthetic": str(tmp_path / "made"), "target": "y"})
    asked.update(holdout=None, secret=None, data={"time": None, "entity": None, "window": None})
    with pytest.raises(UserError, match="target=y is for tables"):
        evaluate_pair(asked, Console(quiet=True))


def test_only_usable_pictures_have_a_say_in_side_and_colour(tmp_path, monkeypatch):
    for i in range(9):
        flat(tmp_path / "real" / f"{i}.png", 20 * i, side=40)
        flat(tmp_path / "made" / f"{i}.png", 20 * i, side=30)
    flat(tmp_path / "real" / "dot.png", 0, side=1)
    (tmp_path / "real" / "empty.png").write_bytes(b"")
    flat(tmp_path / "made" / "line.png", 0, "RGB", side=1)
    flat(tmp_path / "made" / "cut.bmp", 0, "RGB", side=30)
    (tmp_path / "made" / "cut.bmp").write_bytes((tmp_path / "made" / "cut.bmp").read_bytes()[:900])
    flat(tmp_path / "made" / "small.png", 0, side=10)  # can be used: it has a say, but not the last word
    (sets, *_), result, _, _ = compare(tmp_path, monkeypatch)
    assert sets.judged.shape == (10, 1, 30, 30)
    assert [step.rows for step in result.steps if "bad pictures" in step.name] == [2, 2]


@pytest.mark.parametrize(("suffix", "how", "side", "told"), [
    ("png", {}, 20, ""),
    ("jpg", {"quality": 95}, 20, "formats differ (PNG and JPEG)"),
    ("png", {}, 60, "sizes differ (usually 20 x 20 and 60 x 60 px"),
    ("gif", {}, 20, "colour modes differ (colour and palette)"),
])  # fmt: skip
def test_files_in_another_form_are_told(tmp_path, monkeypatch, suffix, how, side, told):
    rng = np.random.default_rng(0)
    for i in range(6):
        picture = Image.fromarray(rng.integers(0, 256, (20, 20, 3), dtype=np.uint8))
        for name, kind, to, options in (("real", "png", 20, {}), ("made", suffix, side, how)):
            (tmp_path / name).mkdir(exist_ok=True)
            picture.resize((to, to)).save(tmp_path / name / f"{i}.{kind}", **options)
    _, result, _, _ = compare(tmp_path, monkeypatch)
    steps = [step.detail for step in result.steps if step.name == "files in another form"]
    assert told in steps[0] if told else not steps


def test_qualities_of_jpeg_are_told():
    files = [[Head(False, (8, 9), "JPEG", "colour", quality)] * 5 for quality in (75.0, 95.0, 94.0)]
    assert forms.differences(files[0], files[1]) == ["JPEG qualities differ (about 75 and 95)"]
    assert forms.differences(files[1], files[2]) == [] == forms.differences(files[1], [])
