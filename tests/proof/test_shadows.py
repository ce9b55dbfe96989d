"""Shadow models: trained like the run's own, built of nothing that a file could make up."""

from __future__ import annotations

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from datakiln.cli import run_folders  # noqa: F401 (its resolvers)
from datakiln.cli.evaluate import with_shadows
from datakiln.errors import UserError
from datakiln.metrics.base import EvalData, Incomplete
from datakiln.metrics.privacy.membership import membership
from datakiln.proof.shadows import Shadows
from datakiln.storage import CONF
from tests.metrics.metrics_tables import PEOPLE, people


@pytest.fixture(scope="module")
def shadows() -> Shadows:
    """Of a mixture with many classes on few rows, which knows its rows well."""
    words = ["model=mixture", "data=toy", "data.source.rows=400", "model.classes=[64]", "model.smoothing=[1]"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", overrides=[*words, "output_dir=."])
    data = instantiate(cfg.data, _convert_="all")
    data.setup("fit")
    return Shadows(OmegaConf.to_container(cfg, resolve=True), data, 12)


def test_a_shadow_model_knows_its_own_rows_better(shadows: Shadows) -> None:
    train = shadows.data.frames["train"]
    half = train.iloc[:140]
    (scorer,) = shadows(half, 0).values()
    scores = scorer(train)
    assert np.isfinite(scores).all() and scores[:140].mean() > scores[140:].mean() + 0.1


@pytest.mark.journey
def test_attacks_against_shadow_models_join_the_battery(shadows: Shadows) -> None:
    frames = shadows.data.frames
    made = shadows(frames["train"], 5)
    data = EvalData(
        shadows.data.schema, frames["train"], frames["test"], frames["train"].sample(frac=1.0, random_state=1),
        scorers=made, retrain=shadows,
    )  # fmt: skip
    figure = _auc(membership, data, 2)
    names = {trial.name for trial in figure.trials}
    assert "likelihood of the model, against 2 reference models" in names
    assert not any("LiRA" in name for name in names)
    names = {trial.name for trial in _auc(membership, data, 8).trials}
    assert "likelihood of the model, LiRA with 8 shadow models" in names


def _auc(function, data, shadows):
    try:
        return function(data, shadows=shadows)[0]
    except Incomplete as error:
        return error.found[0]


def test_an_odd_number_and_no_model_are_refused() -> None:
    data = EvalData(PEOPLE, people(100, 0), people(50, 1), people(100, 2))
    with pytest.raises(UserError, match="shadows=3 must be an even number"):
        membership(data, shadows=3)
    with pytest.raises(UserError, match="shadows=2: there is no model here"):
        membership(data, shadows=2)
    with pytest.raises(UserError, match="shadows=2: the membership battery of a table is none of this run's metrics"):
        with_shadows([len], 2)


@pytest.mark.parametrize(
    ("node", "told"),
    [
        ({"_target_": "torch.optim.lr_scheduler.StepLR"}, "shadow models are trained with one of torch.optim.Adam"),
        ({"_target_": "torch.optim.Adam", "lr": {"_target_": "os.system"}}, "model.optimizer.lr=.* is no plain value"),
    ],
)
def test_a_config_builds_no_optimizer_but_torch_s_own(shadows: Shadows, node, told) -> None:
    config = {**shadows.config, "model": {**shadows.config["model"], "optimizer": node}}
    with pytest.raises(UserError, match=told):
        Shadows(config, shadows.data, 1)(shadows.data.frames["train"], 0)
