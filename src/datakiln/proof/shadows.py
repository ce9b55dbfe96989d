"""Models of the same size trained on other rows of the same kind: what they say of a row tells how hard it is anyway.

LiRA (Carlini et al., 2022, https://arxiv.org/abs/2112.03570): all real rows, learnt and held out, are dealt into two
halves, again and again, and a model is trained on each half as long as the one under attack was. Every row then has
models that learnt from it and as many that did not.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import lightning as L
import pandas as pd
import torch
from torch import Tensor

from datakiln.callbacks.ema import Ema
from datakiln.callbacks.quiet import quiet_lightning
from datakiln.data.base import TensorLoader
from datakiln.data.tables.tables import TableData
from datakiln.errors import UserError
from datakiln.models.base import GenerativeModel
from datakiln.sampling.checkpoints import model_arguments
from datakiln.sampling.registry import build
from datakiln.sampling.scoring import Scorer, scorers_of
from datakiln.sampling.synthesizer import Synthesizer

OPTIMIZERS = {f"torch.optim.{name}": getattr(torch.optim, name) for name in ("Adam", "AdamW", "SGD", "RMSprop")}


class Shadows:
    """Trains shadow models as a run trained its own; they are built by our registry, never because a file says so.

    Arguments:
        config: The run's whole config, as plain values.
        data: Gives codec, spec and validation rows.
        epochs: As long as the run's own model was trained.
    """

    def __init__(self, config: Mapping[str, Any], data: TableData, epochs: int) -> None:
        """See the class."""
        self.config, self.data, self.epochs = config, data, max(epochs, 1)

    def __call__(self, frame: pd.DataFrame, seed: int) -> Mapping[str, Scorer]:
        """What a model says that was trained on these rows, under the names of the attacks on the run's own.

        Raises:
            UserError: An optimizer that is none of torch's usual ones, or an option of it that is no plain value.
        """
        x, y = self.data.codec.encode(frame, dequantise=True), self.data.codec.labels(frame)
        L.seed_everything(seed, verbose=False)
        model = dict(self.config["model"])
        given: dict[str, Any] = {key: _optimizer(key, node) for key, node in model.items() if _is_optimizer(node)}
        made: GenerativeModel = build(model_arguments(model), "model", spec=self.data.spec, **given)
        ema = self.config.get("ema")
        average = None if ema is None else Ema(float(ema))
        quiet_lightning()
        trainer = L.Trainer(
            max_epochs=self.epochs, accelerator="cpu", logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
            use_distributed_sampler=False, callbacks=[] if average is None else [average],
        )  # fmt: skip
        size = getattr(self.data.train_dataloader(), "batch_size", self.data.batch_size)
        trainer.fit(made, datamodule=_Rows(x, y, self.data, size, seed))
        if average is not None:
            made.averaged().load_state_dict(average.average)
        return scorers_of(Synthesizer(made, self.data.codec))


class _Rows(L.LightningDataModule):
    """Some rows to train on, and the run's own to validate on, where they choose part of a model."""

    def __init__(self, x: Tensor, y: Tensor | None, data: TableData, batch_size: int, seed: int) -> None:
        super().__init__()
        self.x, self.y, self.data, self.size, self.seed = x, y, data, batch_size, seed
        self.codec, self.spec, self.kind = data.codec, data.spec, data.kind

    def train_dataloader(self) -> TensorLoader:
        return TensorLoader(self.x, self.y, self.size, shuffle=True, seed=self.seed)

    def val_dataloader(self) -> TensorLoader:
        return self.data.val_dataloader()


def _is_optimizer(node: Any) -> bool:  # noqa: ANN401 (any yaml value)
    return isinstance(node, Mapping) and str(node.get("_target_", "")).startswith("torch.optim.")


def _optimizer(key: str, node: Mapping[str, Any]) -> Callable[..., torch.optim.Optimizer]:
    """A factory from plain values."""
    kind = OPTIMIZERS.get(str(node["_target_"]))
    if kind is None:
        known = ", ".join(sorted(OPTIMIZERS))
        raise UserError(f"model.{key}._target_={node['_target_']}: shadow models are trained with one of {known}")
    options = {str(name): value for name, value in node.items() if not str(name).startswith("_")}
    plain = (bool, int, float, str, type(None))
    for name, value in options.items():
        if not isinstance(value, plain) and not (isinstance(value, list) and all(isinstance(v, plain) for v in value)):
            raise UserError(f"model.{key}.{name}={value} is no plain value; shadow models cannot be trained with it")
    return functools.partial(kind, **options)
