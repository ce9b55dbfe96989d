"""Checkpoints that explain themselves and survive any kill.

`last.ckpt` holds everything training needs to go on exactly; `best.ckpt` holds only what sampling needs. Both carry the
model's config, the spec and the codec, load with `weights_only=True`, and appear under their name only when complete.
"""

from __future__ import annotations

import math
import os
import random
import time
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor

from datakiln import processes
from datakiln.callbacks.chosen import Chosen
from datakiln.callbacks.pruning import Judge, Pruned
from datakiln.callbacks.stopping import Stopped
from datakiln.errors import UserError, near
from datakiln.loggers.csv import Csv
from datakiln.models.base import GenerativeModel
from datakiln.storage import replacing, seal


class Bundle(Checkpoint):
    """Keeps the last and the best state of a run.

    Attributes:
        writes: Whether it writes them; of several processes the first does, and all go by the figures it has.

    Arguments:
        folder: Where `last.ckpt` and `best.ckpt` go.
        identity: What a `Synthesizer` needs besides weights: model config, spec, codec, origin of the data.
        monitor: Figure that decides which epoch is best, such as "val/loss".
        mode: Whether the best is its "min" or "max".
        every_seconds: `last.ckpt` is written after the first epoch, whenever this much time has passed, and last.
        patience: Measurements of the monitor without a new best after which training ends; None for never.
        judge: Told each finite measurement of the monitor, says whether to end a run that looks hopeless; None: nobody.
        chosen: What a first fit has left to this one, whose last state then is the one to keep: nothing is monitored.
    """

    def __init__(
        self,
        folder: str | Path,
        identity: dict[str, Any],
        monitor: str = "val/loss",
        mode: Literal["min", "max"] = "min",
        every_seconds: float = 10.0,
        patience: int | None = None,
        judge: Judge | None = None,
        chosen: Chosen | None = None,
    ) -> None:
        """See the class."""
        self.folder, self.identity, self.judge, self.chosen = Path(folder), identity, judge, chosen
        self.monitor, self.mode, self.every_seconds, self.patience = monitor, mode, every_seconds, patience
        self.best_score = None if chosen is None else chosen.score
        self.best_epoch = None if chosen is None else chosen.best_epoch
        self.writes = True
        self.waited = 0
        self.stop_requested: str | None = None
        self._verdict: str | None = None
        self._best: dict[str, Any] | None = None
        self._saved_at = 0.0
        self._has_saved = False
        self._random: dict[str, Any] | None = None
        self._unsaved_best = False
        self._between_epochs = False

    @property
    def last_path(self) -> Path:
        """Where the state to go on from is kept."""
        return self.folder / "last.ckpt"

    @property
    def best_path(self) -> Path:
        """Where the best weights are kept."""
        return self.folder / "best.ckpt"

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Makes the folder."""
        self.folder.mkdir(parents=True, exist_ok=True)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Puts the random generators and the figures so far where the checkpoint left them."""
        self._saved_at = time.monotonic()
        if self._random is not None:
            set_random_state(self._random)
            self._random = None
            self._has_saved = True
            for logger in trainer.loggers:
                if isinstance(logger, Csv):
                    logger.resume(trainer.current_epoch + (0 if self.chosen is None else self.chosen.ran))
            if self._is_over:  # it had stopped early, and was killed afterwards
                trainer.should_stop = True

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Saves the finished epoch when it is time: only now are its rates stepped and its figures logged."""
        if trainer.current_epoch > 0 and (self._is_due or not self._has_saved):
            self._between_epochs = True
            self.save(trainer)
            self._between_epochs = False
            self._leave_if_asked()

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,  # noqa: ANN401
        batch: Any,  # noqa: ANN401
        batch_idx: int,
    ) -> None:
        """Saves inside long epochs too, but not after their last batch, when the start of the next one will."""
        if batch_idx + 1 < trainer.num_training_batches and self._is_due:
            self.save(trainer)
            self._leave_if_asked()

    @property
    def _is_due(self) -> bool:
        return self.stop_requested is not None or time.monotonic() - self._saved_at > self.every_seconds

    def _leave_if_asked(self) -> None:
        if self.stop_requested is not None:
            raise Stopped(self.stop_requested, self.last_path)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Notes a new best; ends training when there has been none for too long."""
        assert isinstance(pl_module, GenerativeModel)
        if self.chosen is not None:
            return
        score = processes.told(pl_module.fresh.get(self.monitor))
        if score is None and self.writes:
            self._refuse_unknown(trainer, pl_module)
        elif score is not None and self._is_better(score):
            self.best_score, self.best_epoch, self._unsaved_best = score, trainer.current_epoch, True
            self._best = self._weights(trainer, pl_module)
            self.waited = 0
        elif score is not None:
            self.waited += 1
            if self._is_over:
                trainer.should_stop = True
        if score is not None:
            self._ask_judge(trainer, score)

    def _ask_judge(self, trainer: L.Trainer, score: float) -> None:
        epochs = trainer.current_epoch + 1
        if self.judge is not None and math.isfinite(score) and self.judge(epochs, score):
            self._verdict = f"pruned after epoch {epochs}: {self.monitor} {score:.5g}"
        self._verdict = processes.told(self._verdict)
        if self._verdict is not None:
            trainer.should_stop = True

    @property
    def _is_over(self) -> bool:
        return self.patience is not None and self.waited >= self.patience

    def _refuse_unknown(self, trainer: L.Trainer, module: GenerativeModel) -> None:
        """After one epoch it is known what is measured: every epoch, or now and then by a callback that says so."""
        rare = {name for callback in trainer.callbacks for name in getattr(callback, "figures", ())}  # type: ignore[attr-defined]
        known = sorted(rare | {name for name in module.fresh if name.startswith("val/")})
        if self.best_score is None and self.monitor not in known and self.monitor not in module.fresh:
            raise UserError(
                f"monitor={self.monitor} is never measured{near(self.monitor, known)}; known: {', '.join(known)}"
            )

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Saves the end."""
        assert isinstance(pl_module, GenerativeModel)
        if self.chosen is not None:
            self._best, self._unsaved_best = self._weights(trainer, pl_module), True
        self.save(trainer)
        self._leave_if_asked()
        if self._verdict is not None:
            raise Pruned(self._verdict)

    def _is_better(self, score: float) -> bool:
        if not math.isfinite(score):
            return False
        if self.best_score is None:
            return True
        return score < self.best_score if self.mode == "min" else score > self.best_score

    def _weights(self, trainer: L.Trainer, module: GenerativeModel) -> dict[str, Any]:
        bundle = {
            "epoch": trainer.current_epoch,
            "global_step": trainer.global_step,
            "monitor": self.monitor,
            "score": self.best_score,
            "state_dict": _clone(module.state_dict()),
            "frozen": module.frozen_hashes(),
            "datakiln": self.identity,
        }
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            callback.on_save_checkpoint(trainer, module, bundle) if callback is not self else None
        return bundle

    def save(self, trainer: L.Trainer) -> None:
        """Writes best first, then last: whichever of the two a kill leaves behind, going on from last ends the same."""
        assert isinstance(trainer.lightning_module, GenerativeModel)
        trainer.lightning_module.raise_if_diverged()
        if not self.writes:
            self._saved_at, self._has_saved = time.monotonic(), True
            return
        if self._unsaved_best and self._best is not None:
            write_atomically(self._best, self.best_path)
            self._unsaved_best = False
        with replacing(self.last_path) as partial:
            trainer.save_checkpoint(partial)
            _sync(partial)
        self._saved_at, self._has_saved = time.monotonic(), True
        for logger in trainer.loggers:
            if isinstance(logger, Csv):
                logger.write()

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Adds what explains the checkpoint and the state of the random generators."""
        checkpoint["datakiln"] = self.identity
        checkpoint["random"] = random_state()
        if self._between_epochs:
            # Lightning has counted the coming epoch as begun; a checkpoint between epochs must not
            for part in ("total", "current"):
                checkpoint["loops"]["fit_loop"]["epoch_progress"][part]["ready"] -= 1
        if self.chosen is not None:
            checkpoint["refit"] = self.chosen.state()
        checkpoint["best"] = {"score": self.best_score, "epoch": self.best_epoch, "waited": self.waited}

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Remembers the random state for the start of training, and the best so far."""
        self._random = checkpoint["random"]
        best = checkpoint["best"]
        self.best_score, self.best_epoch, self.waited = best["score"], best["epoch"], best["waited"]


def write_atomically(content: dict[str, Any], path: Path) -> None:
    """Writes a checkpoint beside its place, syncs it, then moves it there in one step."""
    with replacing(path) as partial:
        torch.save(content, partial)
        _sync(partial)


def _sync(partial: Path) -> None:
    seal(partial)
    with partial.open("rb") as file:
        os.fsync(file.fileno())


def _clone(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in state.items()}


def random_state() -> dict[str, Any]:
    """States of torch's and Python's generators as tensors and plain numbers."""
    version, words, gauss = random.getstate()
    state: dict[str, Any] = {"torch": torch.get_rng_state(), "python": [version, list(words), gauss]}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def set_random_state(state: dict[str, Any]) -> None:
    """Inverse of `random_state`."""
    torch.set_rng_state(state["torch"].cpu())
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state_all([s.cpu() for s in state["cuda"]])
