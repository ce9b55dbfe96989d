"""A trained model on the toy table and what its samples are worth: shared by the tests of table models."""

from __future__ import annotations

import lightning as L
import numpy as np
import pandas as pd
import torch

from datakiln.callbacks.ema import Ema
from datakiln.codecs.tables.table import TableCodec
from datakiln.data.sets.toy import ToyTable
from datakiln.data.tables.tables import TableData
from datakiln.metrics.tables.fidelity import quick_fidelity
from datakiln.models.base import GenerativeModel


def toy_data(encoder, rows: int = 2000, batch_size: int = 100) -> TableData:
    """The toy table with its splits; `encoder` encodes its numbers."""
    data = TableData(ToyTable(rows), TableCodec(numeric=encoder), batch_size=batch_size)
    data.setup("fit")
    return data


def fit(model: GenerativeModel, data: TableData, epochs: int, callbacks=()) -> GenerativeModel:
    """Trains without logs or files."""
    trainer = L.Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0, use_distributed_sampler=False, callbacks=list(callbacks),
    )  # fmt: skip
    trainer.fit(model, datamodule=data)
    return model


def frame(
    model: GenerativeModel, data: TableData, n: int = 2000, condition: torch.Tensor | None = None
) -> pd.DataFrame:
    """Samples in user units."""
    torch.manual_seed(1)
    return data.codec.decode(model.sample(n, condition), np.random.default_rng(1))


def quality(model: GenerativeModel, data: TableData) -> dict[str, float]:
    """Shape and trend of samples against rows the model has not seen."""
    return quick_fidelity(data.schema, data.frames["test"], frame(model, data))


def floor(data: TableData) -> dict[str, float]:
    """The same of training rows whose columns were shuffled independently: perfect columns, no relations."""
    rng = np.random.default_rng(0)
    train = data.frames["train"]
    shuffled = pd.DataFrame({name: train[name].to_numpy()[rng.permutation(len(train))] for name in train})
    return quick_fidelity(data.schema, data.frames["test"], shuffled.astype(train.dtypes.to_dict()))


def assert_learns(make, data: TableData, epochs: int, ema: float | None = None) -> GenerativeModel:
    """A trained model has columns near the real ones, and relations that its untrained self and the floor lack."""
    torch.manual_seed(0)
    model = make()
    untrained, naive = quality(model, data), floor(data)
    average = None if ema is None else Ema(ema)
    fit(model, data, epochs, [] if average is None else [average])
    if average is not None:
        model.averaged().load_state_dict(average.average)
    trained = quality(model, data)
    assert trained["shape"] > 0.93, trained
    assert trained["shape"] > untrained["shape"], (trained, untrained)
    # half of what lies between shuffled columns and the real training rows, each judged against the test rows
    real = quick_fidelity(data.schema, data.frames["test"], data.frames["train"])
    assert trained["trend"] > (naive["trend"] + real["trend"]) / 2, (trained, naive, real)
    assert trained["trend"] > untrained["trend"] + 0.05, (trained, untrained)
    return model


def assert_follows_the_label(model: GenerativeModel, data: TableData, slack: float = 0.12) -> None:
    """Asked for a class, every row carries it and the other columns are those of the class, within `slack`."""
    real = data.frames["train"]
    for index, name in enumerate(data.spec.classes):
        made = frame(model, data, 1000, torch.full((1000,), index))
        ours = real[real["group"] == name]
        assert (made["group"] == name).all()
        for colour in ("red", "blue"):
            assert abs((made["colour"] == colour).mean() - (ours["colour"] == colour).mean()) < slack
        assert abs(made["member"].mean() - ours["member"].mean()) < slack
        assert abs(made["height"].mean() - ours["height"].mean()) < 4 * slack  # within-class deviation 1, between 3
        assert abs(made["height"].isna().mean() - 0.1) < slack
        assert abs((made["spent"] == 0).mean() - 0.6) < slack
