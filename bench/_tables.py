"""What `bench.tables` measures, each in a process of its own: models as their yaml says, trained by Lightning."""

from __future__ import annotations

import functools
import logging
import time
import warnings
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import lightning as L
import numpy as np
import torch

from bench._plain import PlainCTGAN, PlainTVAE

EPOCHS = 4  # the median leaves out the first, in which kernels are made
MORE = 12  # epochs before it samples: a model that still misses what its rows are asked for draws many of them again
SAMPLES = 65_536
SMALL = 1000  # rows of the table that 300 epochs are run on
LONG = 300


class Clock(L.Callback):
    """CPU-seconds of each epoch, and of a peer's, one after the other so that both meet the same machine.

    Arguments:
        peer: Trains an epoch of something else.
    """

    def __init__(self, peer: Callable[[], None] | None = None) -> None:
        """See the class."""
        self.peer, self.ours, self.peers = peer, list[float](), list[float]()
        self.began: float | None = None

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The epoch before has ended, with all that is done at its end."""
        self.on_train_end(trainer, pl_module)
        if self.peer is not None:
            start = time.process_time()
            self.peer()
            self.peers.append(time.process_time() - start)
        self.began = time.process_time()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Counts the epoch."""
        if self.began is not None:
            self.ours.append(time.process_time() - self.began)


def ctgan(source: Sequence[str]) -> dict[str, float]:
    """Seconds per epoch at the paper's sizes, in float32, in bfloat16 with a lazy penalty, and of the plain loop."""
    data, make = _composed("ctgan", source, "model.pac=10", "model.lazy=1")
    torch.manual_seed(0)
    model, x = make(), data.tensors["train"][0]
    clock = _fit(model, data, EPOCHS, PlainCTGAN(x.numpy(), data.spec).epoch)
    fast = _fit(make(lazy=8), data, EPOCHS, precision="bf16-mixed")
    _fit(model, data, MORE)
    sampled = _sampled(model, data)
    model.fast_sampling = False
    return {
        "ours": median(clock.ours), "plain": median(clock.peers), "fast": median(fast.ours),
        **sampled, "float32": _sampled(model, data)["model"],
    }  # fmt: skip


def tvae(source: Sequence[str]) -> dict[str, float]:
    """Seconds per epoch as configured and in float32 alone, and of the plain loop."""
    data, make = _composed("tvae", source)
    torch.manual_seed(0)
    peer = PlainTVAE(data.tensors["train"][0].numpy(), data.spec)
    clock = _fit(make(), data, 2 * EPOCHS, peer.epoch)
    full = _fit(make(bf16=False), data, EPOCHS)
    return {"ours": median(clock.ours), "plain": median(clock.peers), "full": median(full.ours)}


def tabar(source: Sequence[str]) -> dict[str, float]:
    """Training rows and sampled rows per second."""
    data, make = _composed("tabar", source)
    torch.manual_seed(0)
    model = make()
    clock = _fit(model, data, 2)
    return {"rows": len(data.tensors["train"][0]) / clock.ours[-1], **_sampled(model, data)}


def codec(source: Sequence[str]) -> dict[str, float]:
    """Seconds of fitting every numeric column, by our codec and by scikit-learn's mixture on all rows."""
    from sklearn.mixture import BayesianGaussianMixture

    from datakiln.codecs.tables.modes import Modes
    from datakiln.codecs.tables.number import NumberColumn

    data, _ = _composed("ctgan", source)
    frame, names = data.frames["train"], data.schema.numeric
    ours, start = [], time.process_time()
    for _ in range(3):
        for name in names:
            NumberColumn.fit(data.schema[name], frame[name], Modes(), clip=True, spikes=True)
        ours.append(time.process_time() - start)
        start = time.process_time()
    for name in names:
        mixture = BayesianGaussianMixture(n_components=10, weight_concentration_prior=1e-3, random_state=0)
        mixture.fit(frame[name].to_numpy(dtype=np.float64)[:, None])
    return {"ours": median(ours), "peer": time.process_time() - start, "columns": len(names)}


def flat(source: Sequence[str], flush: bool) -> dict[str, float]:
    """TVAE on few rows for 300 epochs: seconds of the first and of the last 20, and weights that became denormal."""
    from datakiln.data.base import TensorLoader

    data, make = _composed("tvae", source)
    torch.set_flush_denormal(flush)
    x, y = (tensor[:SMALL] for tensor in data.tensors["train"])
    loader = TensorLoader(x, y, 100, True, seed=0)
    _fit(make(), loader, 1)  # makes the kernels
    torch.manual_seed(0)
    model = make()
    seconds = _fit(model, loader, LONG).ours
    smallest = torch.finfo(torch.float32).tiny
    weights = torch.cat([p.detach().flatten() for p in model.parameters()]).abs()
    torch.set_flush_denormal(False)  # else a comparison would take them for 0
    return {
        "first": sum(seconds[:20]) / 20, "last": sum(seconds[-20:]) / 20,
        "denormal": int(((weights > 0) & (weights < smallest)).sum()), "product": _product(flush),
    }  # fmt: skip


def _product(flush: bool) -> float:
    """How many times as long a product of denormal numbers takes on this machine as one of normal numbers."""
    torch.set_flush_denormal(flush)
    ratio = []
    for value in (1e-39, 1.5):
        a, seconds = torch.full((256, 256), value), []
        for _ in range(50):
            start = time.process_time()
            torch.mm(a, a)
            seconds.append(time.process_time() - start)
        ratio.append(median(seconds))
    return ratio[0] / ratio[1]


def _composed(model: str, source: Sequence[str], *options: str) -> tuple[Any, Callable[..., Any]]:
    """The data and a factory of the model, as `python -m src.train` composes them."""
    from hydra import compose, initialize_config_dir
    from hydra.utils import instantiate

    from datakiln.cli.run_folders import register_resolvers
    from datakiln.storage import CONF

    register_resolvers()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    overrides = [f"model={model}", *source, "data.validation=shared", "output_dir=.", *options]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", overrides=overrides)
    data = instantiate(cfg.data, _convert_="all")
    data.setup("fit")
    return data, functools.partial(instantiate(cfg.model, _partial_=True, _convert_="all"), spec=data.spec)


def _fit(
    model: Any,  # noqa: ANN401 (what a config builds)
    data: Any,  # noqa: ANN401
    epochs: int,
    peer: Callable[[], None] | None = None,
    precision: Any = "32-true",  # noqa: ANN401
) -> Clock:
    clock = Clock(peer)
    trainer = L.Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0, use_distributed_sampler=False, limit_val_batches=0,
        callbacks=[clock], precision=precision,
    )  # fmt: skip
    trainer.fit(model, data)
    return clock


def _sampled(model: Any, data: Any) -> dict[str, float]:  # noqa: ANN401
    """Rows per second in model space, and as a frame through the synthesizer."""
    from datakiln.sampling.synthesizer import Synthesizer

    synthesizer = Synthesizer(model, data.codec)
    calls = {"model": lambda: model.sample(SAMPLES), "frame": lambda: synthesizer.sample(SAMPLES)}
    return {name: _rate(call) for name, call in calls.items()}


def _rate(call: Callable[[], Any]) -> float:
    seconds = []
    for _ in range(4):
        start = time.process_time()
        call()
        seconds.append(time.process_time() - start)
    return SAMPLES / median(seconds[1:])  # the first makes kernels
