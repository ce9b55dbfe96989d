"""The Frechet distance of samples from training pictures, measured while training within a budget of time."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import lightning as L
import torch

from datakiln import processes
from datakiln.callbacks.budget import Budget
from datakiln.callbacks.making import examples_of
from datakiln.codecs.pictures import to_levels
from datakiln.data.pictures.pictures import ImageData
from datakiln.errors import UserError
from datakiln.metrics.pictures.images import image_figures
from datakiln.metrics.pictures.sets import ImageSets
from datakiln.metrics.pictures.statistics import STORE, FeatureStatistics, feature_statistics, generated
from datakiln.models.base import GenerativeModel
from datakiln.spec import Sampling
from datakiln.wording import duration

log = logging.getLogger(__name__)

MONITOR = "val/fid"
BATCH = 256
PROBED = 8  # samples whose time tells beforehand what all would take
GRACE = 2.0  # seconds that may be taken in any case
LEAST = 128  # samples: the distance of fewer says little
CHOOSING = 512  # samples, of the same noise for all, by which ways of drawing them are compared
SEEN = 20_000  # pictures trained on from which a choice costs less than the training did
TIMES = 2  # that it is made in a run: by its length, never by the clock, so that runs of one seed end the same


class Fid(L.Callback):
    """Logs the distance every k epochs under its full name, and as `val/fid` for monitors, which it may be the one of.

    The network that makes the features belongs to this callback, so no checkpoint carries it. Averaged weights are
    measured where there are any. The distance depends on n, so it stands in the name. Where a model leaves open how it
    is asked (`GenerativeModel.ways`), half-way and at the end the way is settled whose samples are nearest to them.

    Arguments:
        data: Gives the training pictures that samples are compared with.
        every: Epochs between two measurements; the last epoch is always measured.
        n: Samples drawn for each.
        n_train: Training pictures at most.
        extractor: See `build_extractor`; "auto" is a classifier for labelled grey pictures, and never a network that
            the model is trained with.
        precision: See `build_extractor`.
        resize: See `build_extractor`.
        budget: Share of the training time that it may take; None for any. Where `n` samples would take more than that
            of the training so far, by the time that a few take, fewer are drawn, or none yet; that figure is logged
            under its own n only, unless it is the last, and never compared with those of all.
        widen: Whether it measures less often, or fewer, when it takes more than that; else it only says so.
        seed: Of the samples, the same at every measurement, so that a change is the model's.
    """

    figures = ("val/fid",)

    def __init__(
        self,
        data: ImageData,
        every: int = 5,
        n: int = 2000,
        n_train: int = 10_000,
        extractor: str = "auto",
        precision: str = "exact",
        resize: str = "clean",
        budget: float | None = 0.1,
        widen: bool = True,
        seed: int = 0,
    ) -> None:
        """See the class."""
        for name, value, least in (("every", every, 1), ("n", n, 2)):
            if value < least:
                raise ValueError(f"watch.image.fid.{name}={value} must be at least {least}")
        self.data, self.every, self.n, self.n_train = data, every, n, n_train
        self.how = (extractor, precision, resize)
        self.budget, self.widen, self.seed = budget, widen, seed
        self.next_epoch = every
        self.seconds = 0.0  # spent on measuring
        self._elapsed_before = 0.0  # in earlier parts of a resumed run
        self._began: float | None = None
        self._real: FeatureStatistics | None = None
        self.full_names: dict[str, str] = {}  # of the monitor, once it is measured
        self._is_measured = False  # the monitor, at some epoch
        self._probed: float | None = None  # seconds a sample
        self._way = 0  # among the model's
        self._chosen = 0  # parts of the run after which it was asked whether to choose

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Starts the clock that the budget is read against; refuses a network that the model is trained with."""
        assert isinstance(pl_module, GenerativeModel)
        if self.how[0] in pl_module.networks:
            told = f"watch.image.fid.extractor={self.how[0]}: the model is trained with it, so it can decide nothing"
            raise UserError(f"{told}; take auto or another network")
        self._began = time.perf_counter()

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Measures, if it is this epoch's turn; training's own random numbers are left untouched."""
        assert isinstance(pl_module, GenerativeModel)
        epoch = trainer.current_epoch + 1
        if not trainer.state.fn == "fit":
            return
        is_turn, chooses = epoch >= self.next_epoch or epoch == trainer.max_epochs, self._is_due(pl_module, epoch)
        if not (is_turn or chooses):
            return
        cpu = time.process_time()
        real = self._reference(pl_module)
        if chooses:
            self._choose(pl_module, real)
        start = time.perf_counter()
        n = self._affordable(pl_module, epoch, is_last=epoch == trainer.max_epochs) if is_turn else 0
        if n:
            self._publish(pl_module, trainer, *self._measure(pl_module, real, n), n, epoch)
        self.seconds += time.perf_counter() - start
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, Budget):
                callback.add(cpu - time.process_time())  # `budget=` is of training, measuring apart
        if n == self.n:
            self.next_epoch = epoch + self.every
            self._keep_to_budget(epoch)

    def _publish(self, model: GenerativeModel, trainer: L.Trainer, name: str, value: float, n: int, epoch: int) -> None:
        model.publish("val", {name: value})
        if n != self.n and (epoch != trainer.max_epochs or self._is_measured):
            return  # of fewer samples it is larger: a monitor must not compare it with others
        # the monitor's name is the same for all; only the full name goes to the loggers, where runs are compared
        self._is_measured = True
        model.fresh[MONITOR] = value
        self.full_names[MONITOR] = f"val/{name}"
        trainer.callback_metrics[MONITOR] = torch.tensor(value)

    def _affordable(self, model: GenerativeModel, epoch: int, is_last: bool) -> int:
        """How many samples the budget allows for, by the time that a few take; it is said where these are not all."""
        if self.budget is None or not self.widen or not model.can_draw or self.n <= LEAST:
            return self.n
        training = max(self._elapsed - self.seconds, 1e-9)
        if self._probed is None:
            self._probed = self._timed(model)
        wanted, allowed = self._probed * self.n, max(self.budget * training, GRACE)
        if wanted <= allowed:
            return self.n
        n = int(allowed / self._probed) // LEAST * LEAST  # whole hundreds, so that runs have names in common
        if is_last:
            n = max(n, LEAST)
        self.next_epoch = epoch + max(1, round(epoch * (wanted / allowed - 1)))
        drawn = f"{n:,} for now" if n else "none yet"
        until = "" if is_last else f"; all from epoch {self.next_epoch} on"
        log.warning(
            "FID of %s samples would take about %s, more than %.0f %% of the training so far: %s%s",
            f"{self.n:,}", duration(max(round(wanted), 1)), 100 * self.budget, drawn, until,
        )  # fmt: skip
        return n

    def _is_due(self, model: GenerativeModel, epoch: int) -> bool:
        """Whether a choice among the model's ways is to be made now, behind this epoch."""
        most = model.trainer.max_epochs
        part = int(TIMES * (model.progress if most is None or most < 0 else max(model.progress, epoch / most)))
        is_due = part > self._chosen and len(model.ways()) > 0 and model.steps * self.data.batch_size >= SEEN
        self._chosen = part
        return is_due

    def _choose(self, model: GenerativeModel, real: FeatureStatistics) -> None:
        """Goes from way to neighbouring way while the distance falls, which it does to one side of the best only.

        The kernel distance, since that of Frechet is larger of few samples, and more so the more various they are.
        """
        ways, start = model.ways(), time.perf_counter()
        found: dict[int, float] = {}

        def distance(i: int) -> float:
            if i not in found:
                found[i] = processes.told(self._kernel_distance(model, real, ways[i]))
            return found[i]

        at = self._way
        while True:
            best = min((i for i in (at, at - 1, at + 1) if 0 <= i < len(ways)), key=distance)
            if best == at:
                break
            at = best
        self._way = at
        model.keep_to(ways[at])
        model.publish("val", {name: float(value) for name, value in ways[at].given().items()})
        told = ", ".join(f"{value:.2f} with {_said(ways[i])}" for i, value in sorted(found.items()))
        self._elapsed_before -= time.perf_counter() - start  # neither training nor of the share that measuring has
        log.warning("KID of %d samples is %s: %s unless asked otherwise", CHOOSING, told, _said(ways[at]))

    def _kernel_distance(self, model: GenerativeModel, real: FeatureStatistics, way: Sampling) -> float:
        """Of samples of all classes as often as they are: drawn classes would tell more than the ways do."""
        y = None
        if model.conditioning == "label":
            reached = torch.tensor(self.data.spec.class_shares).cumsum(0)
            ranks = (torch.arange(CHOOSING) + 0.5) / CHOOSING
            y = torch.searchsorted(reached, ranks).clamp(max=len(reached) - 1).to(model.device)
        with self._own_random_numbers(model):
            samples = to_levels(model.sample(CHOOSING, y, way))
        fake = feature_statistics(self.network, samples.split(BATCH), CHOOSING)
        return image_figures(real, fake, ("kid",))[0].value

    def _timed(self, model: GenerativeModel) -> float:
        """Seconds that one sample takes, features included; the second of two draws, since the first prepares."""
        seconds = 0.0
        with self._own_random_numbers(model):
            for _ in range(2):
                start = time.perf_counter()
                self.network(to_levels(model.sample(PROBED)))
                seconds = time.perf_counter() - start
        return seconds / PROBED

    @contextmanager
    def _own_random_numbers(self, model: GenerativeModel) -> Iterator[None]:
        """The same at every measurement; training's own are left untouched."""
        device = model.device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(self.seed)
            yield

    def _reference(self, model: GenerativeModel) -> FeatureStatistics:
        """Features of training pictures: made once, not at the cost of the budget, and kept on disk for other runs."""
        if self._real is None:
            start = time.perf_counter()
            sampled = self.how[0] == "classifier" or bool(model.networks)
            sets = training_sets(self.data.target, model.device, sampled)
            self.sets = replace(sets, trained_with=model.networks)
            self.network = self.sets.judging(*self.how)
            self._real = self.sets.reference(self.network, self.n_train, STORE)
            self._elapsed_before -= time.perf_counter() - start
        return self._real

    def _measure(self, model: GenerativeModel, real: FeatureStatistics, n: int) -> tuple[str, float]:
        start = time.perf_counter()
        with self._own_random_numbers(model):
            if model.can_draw:
                size = min(BATCH, self.data.codec.chunk)
                samples = generated(lambda size: to_levels(model.sample(size)), n, size)
            else:
                made = to_levels(examples_of(model, self.data, n))
                samples, n = iter(made.split(BATCH)), len(made)
            fake = feature_statistics(self.network, samples, n)
        self._probed = (time.perf_counter() - start) / n  # of many at once it is known better than of a few
        figure = image_figures(real, fake, ("fid",))[0]
        return figure.name, figure.value

    @property
    def _elapsed(self) -> float:
        return self._elapsed_before + (0.0 if self._began is None else time.perf_counter() - self._began)

    def _keep_to_budget(self, epoch: int) -> None:
        training = max(self._elapsed - self.seconds, 1e-9)
        share = self.seconds / training
        if self.budget is None or share <= self.budget:
            return
        if not self.widen:
            log.warning("FID takes %.0f %% of the training time; raise watch.image.fid.every or lower n", 100 * share)
            return
        # the next one when training has earned it: after as many epochs as bring its share down to the budget
        self.every = max(self.every + 1, round(epoch * (share / self.budget - 1)))
        self.next_epoch = epoch + self.every
        log.warning("FID takes %.0f %% of the training time: from now on every %d epochs", 100 * share, self.every)

    def state_dict(self) -> dict[str, Any]:
        """When it is due, and the time spent, so that a resumed run keeps to the same budget."""
        spent = {"seconds": self.seconds, "elapsed": self._elapsed}
        found = {"measured": self._is_measured, "way": self._way, "chosen": self._chosen}
        return {"every": self.every, "next": self.next_epoch, **spent, **found}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on as `state_dict` says."""
        self.every, self.next_epoch = state_dict["every"], state_dict["next"]
        self.seconds, self._elapsed_before = state_dict["seconds"], state_dict["elapsed"]
        self._is_measured = state_dict.get("measured", True)  # older runs measured all from the first on
        self._way, self._chosen = state_dict.get("way", 0), state_dict.get("chosen", 0)


def _said(way: Sampling) -> str:
    return " ".join(f"{name}={value:g}" for name, value in way.given().items())


def training_sets(data: ImageData, device: torch.device, sampled: bool) -> ImageSets:
    """The real side of `ImageSets`; what is judged is put in later.

    Arguments:
        data: Gives the pictures.
        device: Where features are made.
        sampled: Whether a sample of labelled pictures is read for a classifier where they stay in their files.
    """
    return ImageSets(
        train=lambda n: data.batches("train", n),
        n_train=len(data.pictures["train"].x),
        judged=data.examples("train", 1)[0],
        labelled=data.labelled_sample() if sampled else data.labelled(),
        classes=data.spec.classes,
        fingerprint=data.fingerprint,
        device=device,
    )
