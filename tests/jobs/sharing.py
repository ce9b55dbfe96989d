"""The losses of some models, step by step, in one process or in one of several: `python -m tests.jobs.sharing ...`."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import lightning as L
import torch
from hydra.utils import instantiate

from datakiln import processes
from datakiln.api.config import composed
from datakiln.jobs.shared import Shared
from datakiln.processes import Place
from datakiln.spec import Batch
from tests.test_conformance import TOYS

WHOLE_RUNS = ("timegan", "tabsyn", "latent_diffusion")  # those that are to come to the last of their phases


class Noted(L.Callback):
    """The figures of each batch, as the whole of it has them; ends training after so many."""

    def __init__(self, steps: int) -> None:
        self.steps, self.figures = steps, []

    def on_train_batch_end(self, trainer, pl_module, *_) -> None:
        self.figures.append(pl_module.meter.pop("train"))
        trainer.should_stop = len(self.figures) >= self.steps


class Doubled(L.Callback):
    """Everything in double precision."""

    def setup(self, trainer, pl_module, stage) -> None:
        pl_module.double()
        type(pl_module).on_after_batch_transfer = lambda model, batch, _: Batch(batch.x.double(), batch.y)


def in_double_precision() -> None:
    """Also what is drawn, and what a model would work out in single precision."""
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double


def figures(model_name: str, kind: str, steps: int = 20, double: bool = False) -> list[dict[str, float]]:
    """Of the first steps."""
    words = [f"model={model_name}", f"data={TOYS[kind]}", "output_dir=unused", "batch_size=50", "epochs=50"]
    with composed(words) as cfg:
        L.seed_everything(0, verbose=False)
        data = instantiate(cfg.data, _convert_="all")
        data.prepare_data()
        data.setup("fit")
        model = instantiate(cfg.model, _partial_=True, _convert_="all")(spec=data.spec)
    noted = Noted(steps)
    epochs = math.ceil(steps / len(data.train_dataloader())) if model_name in WHOLE_RUNS else 50
    several = {"strategy": Shared(torch.device("cpu"))} if processes.count() > 1 else {}
    trainer = L.Trainer(
        max_epochs=epochs, accelerator="cpu", devices=1, logger=False, limit_val_batches=0,
        callbacks=[noted, *([Doubled()] if double else [])],
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        use_distributed_sampler=False, **several,
    )  # fmt: skip
    trainer.fit(model, datamodule=data)
    return noted.figures


def main(rank: str, count: str, meeting: str, out: str, precision: str, *pairs: str) -> None:
    torch.set_num_threads(1)
    double = precision == "64"
    if double:
        in_double_precision()
    if int(count) > 1:
        processes.join(Place(int(rank), int(count), int(rank), meeting), False)
    made = {pair: figures(*pair.split(":"), double=double) for pair in pairs}
    if int(rank) == 0:
        Path(out).write_text(json.dumps(made), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
