"""A run's recipe on other rows: split, codec and model anew, for a generator that sees few rows."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import lightning as L
import pandas as pd
import torch

from datakiln.callbacks.ema import Ema
from datakiln.callbacks.quiet import quiet_lightning
from datakiln.data.base import Provenance
from datakiln.data.tables.sources import RawTable
from datakiln.data.tables.tables import TableData
from datakiln.errors import UserError
from datakiln.models.base import GenerativeModel
from datakiln.sampling.registry import build
from datakiln.sampling.synthesizer import Synthesizer
from datakiln.studies.base import Sampler, Trainer

OPTIMIZERS = ("Adam", "AdamW", "SGD", "RMSprop")
HERE = "torch.optim."


@dataclass(frozen=True)
class Recipe:
    """How a run's generator is trained.

    Attributes:
        data: A new data module as the run's, before `setup`.
        model: Plain values of the model's config, with its optimizers.
        epochs: Of training.
        ema: Decay of the average of weights, or None.
    """

    data: Callable[[], Any]
    model: Mapping[str, Any]
    epochs: int
    ema: float | None = None

    def build_model(self, spec: Any) -> GenerativeModel:  # noqa: ANN401 (a DataSpec)
        """The model, its parts from our own registry and its optimizers from torch's plain ones.

        Raises:
            UserError: The config names anything else.
        """
        more: dict[str, Any] = {}
        config = dict(self.model)
        for key, value in self.model.items():
            if isinstance(value, Mapping) and str(value.get("_target_", "")).startswith(HERE):
                name = str(value["_target_"]).removeprefix(HERE)
                if name not in OPTIMIZERS:
                    raise UserError(f"model.{key} is {name}; a study trains again with {', '.join(OPTIMIZERS)} only")
                options = {k: v for k, v in value.items() if not k.startswith("_")}
                more[key] = functools.partial(getattr(torch.optim, name), **options)
                del config[key]
        model: GenerativeModel = build(config, "model", spec=spec, **more)
        return model


class _Best(L.Callback):
    """Keeps the weights of the epoch with the lowest validation loss, where there is one."""

    def __init__(self) -> None:
        self.loss = math.inf
        self.weights: dict[str, Any] | None = None

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        loss = float(trainer.callback_metrics.get("val/loss", math.nan))
        if loss < self.loss:
            self.loss = loss
            self.weights = {name: value.detach().clone() for name, value in pl_module.state_dict().items()}


def table_trainer(recipe: Recipe, whole: TableData) -> Trainer:
    """Trains the recipe on rows of the run's table: types are the run's, all else is learnt from those rows alone."""
    schema = whole.schema
    names = [field.name for field in schema.fields if field.is_numeric or field.is_choice]

    def train(rows: pd.DataFrame, seed: int) -> Sampler:
        data: TableData = recipe.data()
        types: dict[str, str] = {name: schema[name].type for name in names}
        frame = rows[names].reset_index(drop=True)
        provenance = Provenance("files", f"{len(frame)} rows of a study", "")
        data.raw, data.columns, data.metadata, data.types = None, None, None, {}
        data.seed, data.duplicates, data.split = seed, False, None
        # the test rows of this fit are never looked at: they are some of its own, since a split needs some
        data.source = lambda _: RawTable(frame, schema.label, provenance, types, holdout=frame.head(1))
        data.setup("fit")
        synthesizer = trained_synthesizer(recipe, data, seed)

        def sample(n: int, condition: dict[str, Any], seed: int) -> Any:  # noqa: ANN401 (rows)
            return synthesizer.sample(n, condition, seed)

        return sample

    return train


def trained_synthesizer(recipe: Recipe, data: Any, seed: int) -> Synthesizer:  # noqa: ANN401 (a module after `setup`)
    """The recipe's model on a data module: its best epoch by validation rows, or the average of its weights."""
    quiet_lightning()
    L.seed_everything(seed, verbose=False)
    model = recipe.build_model(data.spec)
    batches = max(len(data.train_dataloader()), 1)
    least = recipe.model.get("min_updates") or 0
    epochs = max(recipe.epochs, math.ceil(int(least) / batches))
    best, average = _Best(), None if recipe.ema is None else Ema(recipe.ema)
    trainer = L.Trainer(
        max_epochs=epochs, accelerator="auto", devices=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0, use_distributed_sampler=False,
        callbacks=[best] if average is None else [average],
    )  # fmt: skip
    trainer.fit(model, datamodule=data)
    if average is not None:
        model.averaged().load_state_dict(average.average)
    elif best.weights is not None:
        model.load_state_dict(best.weights)
    constraints = data.declared().get("constraints", ())
    return Synthesizer(model, data.codec, constraints=constraints)
