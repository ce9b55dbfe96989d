"""How long a run may train within `budget=`, found out before it begins, so that rates fall over just that length."""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning as L
from hydra.utils import instantiate
from omegaconf import DictConfig, open_dict

from datakiln import strictjson
from datakiln.callbacks.budget import FEW_UNSEEN, PROBED, SAFE, Budget, Probe
from datakiln.data.base import GenerativeData
from datakiln.errors import UserError
from datakiln.models.base import GenerativeModel

REFIT = 2.3  # times that of the first fit, of both: the second one has the validation rows too


@dataclass(frozen=True)
class Affordable:
    """A length of training.

    Attributes:
        epochs: Of it.
        batches: Of each epoch, where the time is too short for whole ones; None: all.
        whole: Of an epoch that nobody bounds.
        unseen: Batches of each validation, where all of them would take too much of the time; None: all.
        usual: Epochs of the same fit that nobody bounds.
        epoch: CPU-seconds of one.
    """

    epochs: int
    batches: int | None
    usual: int
    epoch: float
    whole: int = 1
    unseen: int | None = None

    @property
    def share(self) -> float:
        """Of the usual length."""
        part = 1.0 if self.batches is None else self.batches / self.whole
        return min(self.epochs * part / self.usual, 1.0)

    @property
    def is_shorter(self) -> bool:
        """Whether the time is too short for the usual length."""
        return self.batches is not None or self.epochs < self.usual

    @property
    def tested(self) -> int | None:
        """Batches of the test: as many as all validations have together, since it comes once; None: all."""
        return None if self.unseen is None else self.unseen * self.epochs

    def lengthen(self, cfg: DictConfig) -> DictConfig:
        """The config of a fit of this length."""
        cfg = copy.deepcopy(cfg)
        cfg.epochs = self.epochs
        if self.batches is not None:
            with open_dict(cfg):
                cfg.trainer.limit_train_batches = self.batches
                if self.unseen is not None:
                    cfg.trainer.limit_val_batches = self.unseen
        return cfg

    def save(self, path: Path) -> None:
        """For the run that goes on."""
        strictjson.write(self, path)

    @classmethod
    def load(cls, path: Path) -> Affordable | None:
        """What `save` wrote; None where there is no such file.

        Raises:
            UserError: It is damaged.
        """
        if not path.exists():
            return None
        try:
            made: Affordable = strictjson.read(cls, strictjson.parse(path.read_text(encoding="utf-8")))
        except ValueError as error:
            raise UserError(f"{path}: no length that a budget affords ({error}); take it away") from None
        if min([made.epochs, *(n for n in (made.batches, made.unseen) if n is not None)]) < 1:
            raise UserError(f"{path}: {asdict(made)} is no length of training; take it away")
        return made


def afford(model: GenerativeModel, data: GenerativeData, cfg: DictConfig, budget: Budget) -> Affordable:
    """What the budget affords, by training a model for a moment; the time of that is spent.

    Arguments:
        model: To be thrown away afterwards.
        data: After `setup`.
        cfg: The composed config.
        budget: Of the run.
    """
    probe = Probe(budget.left * PROBED)
    options: dict[str, Any] = {"logger": False, "enable_checkpointing": False}
    is_bounded = cfg.trainer.get("limit_val_batches") is not None  # by the person, who is to be obeyed
    if not is_bounded:
        options["limit_val_batches"] = FEW_UNSEEN
    trainer: L.Trainer = instantiate(cfg.trainer, callbacks=[probe, budget], **options)
    trainer.fit(model, datamodule=data)
    left = budget.left * SAFE / (REFIT if data.refits else 1.0)
    epochs, batches, unseen = probe.affordable(left)
    unseen = None if is_bounded else unseen
    return Affordable(min(epochs, probe.epochs), batches, probe.epochs, probe.epoch, probe.batches, unseen)
