"""What models say of real examples, one by one: likelihoods, losses and critics, the same at every call."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from datakiln.cli import run_folders  # noqa: F401 (its resolvers)
from datakiln.sampling.scoring import ASKED, scorers_of
from datakiln.sampling.synthesizer import Synthesizer
from datakiln.spec import Batch
from datakiln.storage import CONF

NAMES = {"mixture": "likelihood of the model", "tvae": "loss of the model", "ctgan": "critic of the model"}
PICTURES = {"gan": "critic of the model", "vae": "loss of the model"}


def built(*words: str):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", overrides=[*words, "output_dir=."])
    data = instantiate(cfg.data, _convert_="all")
    data.prepare_data()
    data.setup("fit")
    torch.manual_seed(0)
    model = instantiate(cfg.model, _partial_=True, _convert_="all")(spec=data.spec)
    return data, Synthesizer(model, data.codec)


@pytest.mark.parametrize("name", NAMES)
def test_a_table_model_scores_each_row_alone(name: str) -> None:
    data, synthesizer = built(f"model={name}", "data=toy", "data.source.rows=200")
    (attack,) = scorers_of(synthesizer)
    assert attack == NAMES[name]
    scorer, rows = scorers_of(synthesizer)[attack], data.frames["test"]
    torch.manual_seed(1)
    scores, state = scorer(rows), torch.get_rng_state()
    assert scores.shape == (len(rows),) and np.isfinite(scores).all()
    assert (scorer(rows) == scores).all() and (torch.get_rng_state() == state).all()
    if name == "mixture":
        assert scorer(rows.iloc[:5]) == pytest.approx(scores[:5])
    if name == "tvae":  # the loss of a row does not depend on those beside it, but for the modes drawn for its numbers
        assert scorer(rows.iloc[:5]) == pytest.approx(scores[:5], rel=0.1)


def test_only_some_losses_are_worked_out() -> None:
    data, synthesizer = built("model=tvae", "data=toy", f"data.source.rows={2 * ASKED}")
    scores = scorers_of(synthesizer)["loss of the model"](data.frames["train"])
    assert np.isfinite(scores).sum() == ASKED


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_model_scores_encoded_pictures(name: str) -> None:
    data, synthesizer = built(f"model={name}", "data=digits")
    pictures, labels = data.examples("test", 30)
    scores = scorers_of(synthesizer)[PICTURES[name]](Batch(data.codec.encode(pictures), labels))
    assert scores.shape == (30,) and np.isfinite(scores).all()
