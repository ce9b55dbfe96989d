"""Models of series, killed inside an epoch and gone on with, end as if never killed, and write the same bytes."""

from __future__ import annotations

import lightning as L
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from datakiln.api.config import composed
from datakiln.callbacks.bundle import Bundle
from datakiln.sampling.checkpoints import FORMAT, model_arguments
from datakiln.sampling.series import write_sequences
from datakiln.sampling.synthesizer import Synthesizer
from datakiln.spec import PLAIN
from tests.models.resuming import Kill

EPOCHS, STEPS = 4, 3
SMALL = {
    "tsar": ["model.width=16"],
    "wavenet": ["model.channels=8", "model.skip=8", "model.layers=3"],
    "tsflow": ["model.width=16", "model.depth=1"],
    "tsdiff": ["model.width=16", "model.depth=1"],
    "timegan": ["model.hidden=8", "model.layers=2"],
    "timevae": ["model.channels=[8]"],
}


def run(name, folder, kill=None, resume=False):
    """Trains with a checkpoint after every step."""
    words = [f"model={name}", "data=toy_series", "output_dir=unused", "batch_size=20", f"epochs={EPOCHS}", *SMALL[name]]
    with composed(words) as cfg:
        L.seed_everything(0, verbose=False)
        data = instantiate(cfg.data, _convert_="all")
        data.prepare_data()
        data.setup("fit")
        model = instantiate(cfg.model, _partial_=True, _convert_="all")(spec=data.spec)
        config = model_arguments(OmegaConf.to_container(cfg.model, resolve=True))
    identity = {
        "format": FORMAT, "model": config, "spec": data.spec.state(), "origin": {},
        "codec": {"kind": data.codec.kind, "state": data.codec.state()},
    }  # fmt: skip
    bundle = Bundle(folder / "checkpoints", identity, "val/loss", every_seconds=0.0)
    trainer = L.Trainer(
        max_epochs=EPOCHS, limit_train_batches=STEPS, limit_val_batches=1, accelerator="cpu", logger=False,
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0, use_distributed_sampler=False,
        callbacks=[*([kill] if kill else []), bundle],
    )  # fmt: skip
    try:
        trainer.fit(model, datamodule=data, ckpt_path=str(bundle.last_path) if resume else None, weights_only=True)
    except SystemExit:
        return None
    return model.state_dict()


def written(folder):
    synthesizer = Synthesizer.load(folder / "checkpoints" / "last.ckpt", raw=True)
    write_sequences(synthesizer, 5, folder / "x.csv", {}, 3, PLAIN)
    return (folder / "x.csv").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("place", [(1, 1), (3, 2)])
@pytest.mark.parametrize("name", sorted(SMALL))
def test_killed_and_resumed_equals_never_killed(name, place, tmp_path):
    whole = run(name, tmp_path / "whole")
    assert run(name, tmp_path / "parts", kill=Kill(*place)) is None
    resumed = run(name, tmp_path / "parts", resume=True)
    assert whole.keys() == resumed.keys()
    assert not [key for key, value in whole.items() if not torch.equal(value, resumed[key])]
    assert written(tmp_path / "whole") == written(tmp_path / "parts")
