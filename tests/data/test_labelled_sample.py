"""Labelled pictures too many for memory: the judge learns from a sample of them."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from datakiln.callbacks.fid import training_sets
from datakiln.data.pictures import labelled_sample
from datakiln.data.pictures.pictures import FolderData


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("DATAKILN_CACHE", str(tmp_path_factory.mktemp("cache")))


def test_pictures_in_files_give_a_judge_a_sample_and_auto_stays(tmp_path, monkeypatch):
    for label, name in enumerate("ab"):
        (tmp_path / name).mkdir()
        for i in range(20):
            Image.new("L", (8, 8), 200 * label).save(tmp_path / name / f"{i:02d}.png")
    data = FolderData(str(tmp_path), side=8, batch_size=4, memory_mb=0, validation=0.2, holdout=0.2)
    data.setup("fit")
    assert data.labelled() is None
    monkeypatch.setattr(labelled_sample, "MOST", 10)
    sample = data.labelled_sample()
    assert sample.images.shape == (10, 1, 8, 8) and sample.is_sample
    assert torch.equal(sample.images[:, 0, 0, 0] // 200, sample.labels) and sample.labels.sum() == 5
    asked = []
    monkeypatch.setattr(
        "datakiln.metrics.pictures.sets.build_extractor", lambda *a: asked.append((a[0], a[4] is not None))
    )
    sets = training_sets(data, torch.device("cpu"), sampled=True)
    for name in ("auto", "classifier"):
        sets.extractor(name, "exact", "clean")
    assert asked == [("auto", False), ("classifier", True)]
    assert training_sets(data, torch.device("cpu"), sampled=False).labelled is None
