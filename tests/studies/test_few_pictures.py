"""Learning curves of pictures: generators see the few alone, and synthetic ones that teach nothing are told."""

import pytest
import torch

from datakiln.console import Console
from datakiln.data.base import Provenance
from datakiln.data.pictures.pictures import ImageData
from datakiln.data.pictures.sources import Pictures, RawImages
from datakiln.errors import UserError
from datakiln.studies import cnn, few_pictures
from datakiln.studies.base import Wish
from datakiln.studies.generators import Recipe
from datakiln.studies.pictures import check_pictures
from tests.studies.test_cnn import bars

VAE = {
    "_target_": "datakiln.models.vae.vae.VAE", "latent_dim": 2, "hidden": [8], "conditional": True,
    "optimizer": {"_target_": "torch.optim.Adam", "_partial_": True, "lr": 0.01},
}  # fmt: skip


def pictures(n, seed):
    x, y = bars(n, seed)
    return Pictures(((x + 1) * 127.5).clamp(0, 255).to(torch.uint8), y)


def data():
    raw = RawImages(pictures(90, 0), pictures(60, 1), ("row", "column"), Provenance("files", "bars", "0"))
    return ImageData(lambda *_: raw, batch_size=32)


@pytest.fixture
def whole():
    made = data()
    made.setup("fit")
    return made


@pytest.mark.journey
def test_curves_compare_synthetic_with_moved_pictures(tmp_path, monkeypatch, whole):
    for name in ("LEAST_STEPS", "MOST_STEPS"):
        monkeypatch.setattr(cnn, name, 10)
    seen = []

    def swapped(_, __, few, seed):  # rows told as columns: nothing could teach worse
        seen.append(len(few[0]))
        return few[0], 1 - few[1]

    monkeypatch.setattr(few_pictures, "generated", swapped)
    wish = Wish("augmentation", tuning=1, repeats=2)
    study, _, plots = few_pictures.study_few_pictures(
        wish, whole, Recipe(data, VAE, 1), 0, tmp_path, Console(quiet=True)
    )
    assert seen == [50, 50, 81, 81]
    assert study.tables[0].head == ["learner", "50", "81"]
    change = next(t for t in study.tables if "with synthetic" in t.title)
    assert dict((row[0], row[1]) for row in change.rows)["k-nearest neighbours"].startswith("−")
    arms = [table.title.partition(" with ")[2].partition(",")[0] for table in study.tables[1:]]
    assert arms == ["synthetic", "both against classical alone", "classical"]
    assert "of 4 comparisons" in study.sentence  # two learners, two arms: moved pictures are no synthetic ones
    assert [path.name for path in plots] == ["augmentation.png"]


def test_a_generator_of_few_pictures_sees_these_alone_and_gives_every_class(monkeypatch, whole):
    seen = []
    real = ImageData.setup
    monkeypatch.setattr(ImageData, "setup", lambda self, stage: (real(self, stage), seen.append(self.pictures))[0])
    x, y = few_pictures.drawn_pictures((whole.pictures["train"].x, whole.pictures["train"].y), 20, 3)
    assert y.bincount().tolist() == [10, 10]
    made, told = few_pictures.generated(whole, Recipe(data, VAE, 2), (x, y), 0)
    assert made.shape == x.shape and made.dtype == torch.uint8
    assert told.bincount(minlength=2).tolist() == [10, 10]
    learnt = torch.cat([seen[0][part].x for part in ("train", "val")])
    assert {p.numpy().tobytes() for p in learnt} == {p.numpy().tobytes() for p in x}


def test_what_pictures_cannot_be_asked(whole):
    with pytest.raises(UserError, match="study=fairness is for tables"):
        check_pictures(Wish("fairness", protected="a"), whole, True)
    with pytest.raises(UserError, match="study=augmentation needs a model that is told the class"):
        check_pictures(Wish("augmentation"), whole, False)
