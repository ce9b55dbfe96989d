"""TVAE, CTGAN, TabDDPM, TabSyn and NSF: killed inside an epoch and gone on with, they end as if never killed."""

import functools

import pytest
import torch

from datakiln.codecs.tables.dequantised import Dequantised
from datakiln.codecs.tables.modes import Modes
from datakiln.models.diffusion.tabddpm import TabDDPM
from datakiln.models.diffusion.tabsyn import TabSyn
from datakiln.models.flow.nsf import NSF
from datakiln.models.gan.ctgan import CTGAN
from datakiln.models.vae.tvae import TVAE
from tests.models.resuming import Kill, ends
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


def run(name, folder, kill=None, resume=False):
    """Trains with a checkpoint after every step; the raw and the averaged weights at the end."""
    encoder, make = MODELS[name]

    def made():
        data = toy_data(encoder, rows=280, batch_size=50)
        return data, make(data.spec)

    return ends(made, folder, "val/asked" if name == "ctgan" else "val/loss", kill, resume, max_epochs=EPOCHS)


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
