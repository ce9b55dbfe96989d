"""Training within a given time of the processor: how long is affordable, and the end of it."""

from __future__ import annotations

import math
import time
from typing import Any

import lightning as L

WARM_UP = 2  # first batches, in which libraries start up
PROBED = 0.05  # of the time left, at most, to find out what an epoch takes
FEW = 10  # epochs below which all of them are shortened alike, to so many where that is possible
SAFE = 0.9  # of the time left, to plan with: the machine may be slower by then
FEW_UNSEEN = 4  # batches of validation that are timed
VALIDATED = 0.1  # of an epoch's time, at most, where there is not enough for whole ones: the rest is for training


class Budget(L.Callback):
    """Ends training when its time is spent; a run that goes on has what is left.

    Arguments:
        seconds: CPU time of training, all threads together, validation included, FID of samples apart.

    Attributes:
        spent: Seconds so far.
    """

    def __init__(self, seconds: float) -> None:
        """See the class."""
        self.seconds, self.earlier = seconds, 0.0
        self._start: float | None = None

    @property
    def spent(self) -> float:
        """See the class."""
        return self.earlier + (0.0 if self._start is None else time.process_time() - self._start)

    @property
    def left(self) -> float:
        """Seconds still to be had."""
        return max(self.seconds - self.spent, 0.0)

    def add(self, seconds: float) -> None:
        """Notes time that was spent otherwise; what is below 0 was spent on something else."""
        self.earlier += seconds

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """The clock runs."""
        self._start = time.process_time()

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """The clock stands."""
        self.earlier, self._start = self.spent, None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """A run that was killed after its time was spent does not begin again."""
        self._end_if_spent(trainer)

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:  # noqa: ANN401 (Lightning's)
        """Ends training after the batch that spends the last of it; validation follows."""
        self._end_if_spent(trainer)

    def _end_if_spent(self, trainer: L.Trainer) -> None:
        if not self.left:
            trainer.should_stop = True

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Adds what is spent."""
        checkpoint["cpu_seconds"] = self.spent

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Takes it up again: the clock of this process begins at 0."""
        self.earlier = max(self.earlier, float(checkpoint.get("cpu_seconds", 0.0)))


class Probe(L.Callback):
    """Trains for a moment and finds out what an epoch takes.

    Arguments:
        seconds: CPU time to do so in, at most; one epoch is enough in any case.

    Attributes:
        per_batch: Seconds of one update.
        validating: Seconds of one validation, on all batches; reckoned from the first few of many.
        per_unseen: Seconds of one of its batches.
        batches: Updates of an epoch.
        unseen: Batches of a validation.
        epochs: Those of a fit that nobody bounds.
    """

    per_batch = validating = per_unseen = 0.0
    batches = epochs = 1
    unseen = 0

    def __init__(self, seconds: float) -> None:
        """See the class."""
        self.seconds = seconds
        self._start = self._warm = self._validation = self._first_unseen = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Models have said by now how many epochs they need."""
        self._start = self._warm = time.process_time()
        self.batches, self.epochs = int(trainer.num_training_batches), int(trainer.max_epochs or 1)

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,  # noqa: ANN401 (Lightning's)
        batch: Any,  # noqa: ANN401
        batch_idx: int,
    ) -> None:
        """Times the batches after the first ones."""
        now, done = time.process_time(), batch_idx + 1
        if done <= WARM_UP < self.batches:
            self._warm = now
            return
        self.per_batch = (now - self._warm) / (done - (WARM_UP if WARM_UP < self.batches else 0))
        if done == self.batches or now - self._start > self.seconds:
            trainer.should_stop = True

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begins to time validation."""
        self._validation = time.process_time()

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,  # noqa: ANN401 (Lightning's)
        batch: Any,  # noqa: ANN401
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Times the batches after the first one."""
        now = time.process_time()
        if batch_idx == 0:
            self._first_unseen = now
        else:
            self.per_unseen = (now - self._first_unseen) / batch_idx

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Has timed it, or as many batches as were let through, and reckons the others."""
        done, self.unseen = int(sum(trainer.num_val_batches)), len(trainer.val_dataloaders or ())
        self.validating = time.process_time() - self._validation + max(self.unseen - done, 0) * self.per_unseen

    @property
    def epoch(self) -> float:
        """Seconds of an epoch."""
        return self.per_batch * self.batches + self.validating

    def affordable(self, seconds: float) -> tuple[int, int | None, int | None]:
        """Epochs within so much time, and the batches of training and of validation of each; None: all of them.

        Where there is not enough for ten whole epochs there are as many shortened ones, so that rates fall, and what is
        watched is watched, in as many steps; fewer where validation on a single batch would take too much of the time.
        Validation is cut short alone where it would take more of a shortened epoch than it is worth, as that of models
        which learn slowly does in little time; it is always of the same examples.
        """
        affordable = seconds / max(self.epoch, 1e-9)
        if affordable >= min(FEW, self.epochs):
            return int(affordable), None, None
        most = min(FEW, self.epochs, int(seconds / max(self.per_batch, 1e-9)))
        if (least := self.per_unseen or self.validating) > 0:
            most = min(most, int(VALIDATED * seconds / least))
        epochs = max(math.ceil(affordable), most, 1)
        each, validating, unseen = seconds / epochs, self.validating, None
        if self.unseen > 1 and self.per_unseen > 0 and validating > VALIDATED * each:
            unseen = self.unseen - math.ceil((validating - VALIDATED * each) / self.per_unseen)
            unseen = max(unseen, 1)
            validating -= (self.unseen - unseen) * self.per_unseen
        batches = int((each - validating) / max(self.per_batch, 1e-9))
        return epochs, min(max(batches, 1), self.batches), unseen
