"""Tables of codes for the tests of models that read them."""

from __future__ import annotations

import itertools
from pathlib import Path

import lightning as L
import numpy as np
import pandas as pd
import torch
from torch import Tensor

from datakiln.callbacks.bundle import Bundle
from datakiln.codecs.tables.bins import Bins
from datakiln.codecs.tables.table import TableCodec
from datakiln.data.base import Provenance
from datakiln.data.tables.sources import RawTable
from datakiln.data.tables.tables import TableData
from datakiln.models.base import GenerativeModel
from datakiln.sampling.checkpoints import FORMAT
from datakiln.spec import Block, Column, DataSpec


def spec_of(*sizes: int, rows: int = 1000) -> DataSpec:
    """A table of columns with that many codes each."""
    columns = [Column(f"c{j}", (Block(j, j + 1, "code", size=size),)) for j, size in enumerate(sizes)]
    return DataSpec("table", (len(sizes),), tuple(columns), size=rows)


def cells(spec: DataSpec) -> Tensor:
    """Every row that the table can hold."""
    return torch.tensor(list(itertools.product(*(range(block.size) for block in spec.blocks)))).float()


def shares(x: Tensor, spec: DataSpec) -> Tensor:
    """How often each of `cells` occurs among the rows."""
    code = torch.zeros(len(x), dtype=torch.long)
    for j, block in enumerate(spec.blocks):
        code = code * block.size + x[:, j].long()
    return torch.bincount(code, minlength=len(cells(spec))) / len(x)


def variation(a: Tensor, b: Tensor) -> float:
    """Total variation distance."""
    return 0.5 * float((a - b).abs().sum())


def data_of(frame: pd.DataFrame, target: str | None = None, batch_size: int = 200, **options) -> TableData:
    """A frame as training, validation and test rows of codes."""
    source = Provenance("generated", "test", "")
    options.setdefault("relations", "none")  # what a model must learn, no codec may compute
    data = TableData(
        lambda _: RawTable(frame, target, source), TableCodec(Bins, compact=True), batch_size=batch_size, **options
    )
    data.setup("fit")
    return data


def related(n: int = 3000, seed: int = 0) -> pd.DataFrame:
    """`twin` follows from `kind`, `size` is two thirds what `kind` suggests, `noise` has nothing to do with either."""
    rng = np.random.default_rng(seed)
    kind = rng.choice(4, n, p=[0.4, 0.3, 0.2, 0.1])
    size = np.where(rng.random(n) < 2 / 3, kind, rng.integers(0, 4, n))
    letters = np.array(["a", "b", "c", "d"])
    return pd.DataFrame(
        {"kind": letters[kind], "twin": letters[3 - kind], "size": size, "noise": rng.normal(size=n).round(2)}
    )


class Kill(L.Callback):
    """Ends the run without clean-up before a given step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        if pl_module.steps == self.step:
            raise SystemExit("killed")


def train(
    model: GenerativeModel, data: TableData, epochs: int, folder: Path | None = None, kill: int | None = None
) -> GenerativeModel:
    """Trains; with a folder saves after every step, and goes on from what is there."""
    bundle = None if folder is None else Bundle(folder, {"format": FORMAT}, every_seconds=0.0)
    last = None if bundle is None or not bundle.last_path.exists() else str(bundle.last_path)
    trainer = L.Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=bundle is not None,
        callbacks=[c for c in (bundle, None if kill is None else Kill(kill)) if c], enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0, use_distributed_sampler=False,
    )  # fmt: skip
    trainer.fit(model, datamodule=data, ckpt_path=last, weights_only=True)
    return model


def assert_resumes(make, data: TableData, epochs: int, kill: int, folder: Path) -> None:
    """Killed in the middle of an epoch and gone on with: the same state as never killed."""
    torch.manual_seed(0)
    straight = train(make(), data, epochs)
    torch.manual_seed(0)
    try:
        train(make(), data, epochs, folder, kill)
    except SystemExit:
        pass
    else:
        raise AssertionError("never killed")
    resumed = train(make(), data, epochs, folder)
    for name, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
