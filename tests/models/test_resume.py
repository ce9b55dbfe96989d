"""TVAE, CTGAN, TabDDPM, TabSyn and NSF: killed inside an epoch and gone on with, they end as if never killed."""

import functools

import lightning as L
import pytest
import torch

from datakiln.callbacks.bundle import Bundle
from datakiln.callbacks.ema import Ema
from datakiln.codecs.tables.dequantised import Dequantised
from datakiln.codecs.tables.modes import Modes
from datakiln.models.diffusion.tabddpm import TabDDPM
from datakiln.models.diffusion.tabsyn import TabSyn
from datakiln.models.flow.nsf import NSF
from datakiln.models.gan.ctgan import CTGAN
from datakiln.models.vae.tvae import TVAE
from tests.toy_tables import toy_data

EPOCHS = 4  # of 4 batches each
ADAM = functools.partial(torch.optim.Adam, lr=1e-3)
COSINE = functools.partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=EPOCHS)
GAN = {"generator_hidden": (16,), "critic_hidden": (16,), "generator_optimizer": ADAM, "critic_optimizer": ADAM}
MODELS = {
    "tvae": (Modes, functools.partial(TVAE, hidden=(16,), optimizer=ADAM)),
    "ctgan": (Modes, functools.partial(CTGAN, pac=5, lazy=3, **GAN)),
    "tabddpm": (Dequantised, functools.partial(TabDDPM, hidden=(16,), optimizer=ADAM, scheduler=COSINE)),
    "tabsyn": (Dequantised, functools.partial(TabSyn, hidden=(16,), vae_share=0.6, optimizer=ADAM)),
    "nsf": (Dequantised, functools.partial(NSF, hidden=(16,), optimizer=ADAM, scheduler=COSINE)),
}


class Kill(L.Callback):
    """Ends training without any clean-up before a given batch."""

    def __init__(self, epoch: int, batch: int) -> None:
        self.place = epoch, batch

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        if (trainer.current_epoch, batch_idx) == self.place:
            raise SystemExit("killed")


def run(name, folder, kill=None, resume=False):
    """Trains with a checkpoint after every step; the raw and the averaged weights at the end."""
    L.seed_everything(0, verbose=False)
    encoder, make = MODELS[name]
    data = toy_data(encoder, rows=280, batch_size=50)
    model, ema = make(data.spec), Ema(0.9)
    bundle = Bundle(folder, {}, "val/asked" if name == "ctgan" else "val/loss", every_seconds=0.0)
    trainer = L.Trainer(
        max_epochs=EPOCHS, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        num_sanity_val_steps=0, use_distributed_sampler=False, callbacks=[ema, *([kill] if kill else []), bundle],
    )  # fmt: skip
    try:
        trainer.fit(model, datamodule=data, ckpt_path=str(bundle.last_path) if resume else None, weights_only=True)
    except SystemExit:
        return None
    return model.state_dict(), ema.average


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The end of each model that was never killed, trained once."""
    return functools.cache(lambda name: run(name, tmp_path_factory.mktemp(name)))


@pytest.mark.parametrize("place", [(1, 2), (3, 1)])
@pytest.mark.parametrize("name", sorted(MODELS))
def test_killed_and_resumed_equals_never_killed(name, place, whole, tmp_path):
    assert run(name, tmp_path / "parts", kill=Kill(*place)) is None
    resumed = run(name, tmp_path / "parts", resume=True)
    for expected, found in zip(whole(name), resumed, strict=True):
        assert expected.keys() == found.keys()
        unequal = [key for key, value in expected.items() if not torch.equal(value, found[key])]
        assert not unequal
