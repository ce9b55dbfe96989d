"""One training job from config to report, phase by phase; what each phase does lives elsewhere."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
import yaml
from hydra.utils import get_object, instantiate
from lightning.pytorch.callbacks import LambdaCallback
from lightning.pytorch.utilities.exceptions import SIGTERMException
from omegaconf import DictConfig, OmegaConf

from datakiln.callbacks.bundle import Bundle, random_state, set_random_state
from datakiln.callbacks.chosen import Chosen
from datakiln.callbacks.ema import Ema
from datakiln.callbacks.log import TrainingLines
from datakiln.callbacks.private import PrivateTraining
from datakiln.callbacks.progress import TrainingBar
from datakiln.callbacks.pruning import current_judge
from datakiln.callbacks.stopping import Stopped, on_termination
from datakiln.console import styled
from datakiln.data.base import StepReport
from datakiln.errors import UserError
from datakiln.jobs.affordable import Affordable, afford
from datakiln.jobs.announce import (
    announce_affordable,
    announce_data,
    announce_length,
    announce_precision,
    announce_relations,
    announce_result,
    is_fixed,
)
from datakiln.jobs.job import Job
from datakiln.jobs.outcome import build_result, choice, monitored, objective_value, overrides, tested
from datakiln.jobs.resuming import checkpoint_to_go_on_from, fit_on_all_rows
from datakiln.loggers.about import About, learning_rate
from datakiln.loggers.csv import Csv
from datakiln.models.base import Diverged, GenerativeModel
from datakiln.models.statistical.mixture import Mixture
from datakiln.proof.base import build_proof
from datakiln.sampling.checkpoints import FORMAT, load_model, model_arguments, read_checkpoint, stage_of
from datakiln.sampling.registry import register
from datakiln.sampling.synthesizer import Synthesizer
from datakiln.spec import NOUNS
from datakiln.storage import remove_left_over, replacing
from datakiln.wording import counted, number

ONE_THREAD_PARAMETERS = 200_000
STAGES = ("first_stage",)  # options of a model that name a run, whose model becomes a part of it
CHATTER = ("lightning.pytorch", "lightning.fabric")


class Run(Job):
    """The phases of one job; see `Job` for its arguments.

    Attributes:
        least: Share of its usual length below which a run is not worth its budget.
    """

    least = 0.0

    def check(self) -> None:
        """Claims the run's folder; what can be told of the config itself, `datakiln.cli.checks` has told before.

        Raises:
            UserError: The folder holds a run.
        """
        cfg = self.cfg
        if (self.folder / "result.json").exists():
            raise UserError(f"{self.folder} holds a finished run; choose another hydra.run.dir, nothing is overwritten")
        if self.last_path.exists() and cfg.ckpt_path is None:
            raise UserError(f"{self.folder} holds an unfinished run; go on with ckpt_path=last or choose another one")
        _check_device(str(cfg.trainer.get("accelerator")))
        for folder in (self.folder, *(self.folder / name for name in ("checkpoints", "plots", "samples", "config"))):
            remove_left_over(folder)
        self._store_config()
        if self.log is not None:
            about = self._about()
            self.log.line(f"{about.model} on {about.data}, seed {about.seed}: {' '.join(about.overrides)}".rstrip(": "))

    def _store_config(self) -> None:
        (self.folder / "config").mkdir(parents=True, exist_ok=True)
        with replacing(self.folder / "config" / "config.yaml") as partial:
            OmegaConf.save(self.cfg, partial, resolve=True)
        with replacing(self.folder / "config" / "overrides.yaml") as partial:  # words: what is in them is not resolved
            partial.write_text(yaml.safe_dump(overrides(), allow_unicode=True, width=4096), encoding="utf-8")

    def load_data(self) -> None:
        """Reads, splits and encodes the data; says where it is from and what its columns are."""
        with self.phase("data"):
            L.seed_everything(int(self.cfg.seed), verbose=False)
            self.data = instantiate(self.cfg.data, _convert_="all")
            announce_data(self.data, self.console)
            self.data.prepare_data()
            if not self._is_private:
                self.data.setup("fit")
        if self._is_private:
            with self.phase("release"), self.console.work("measuring marginals"):
                self.data.setup("fit")
        announce_relations(self.data, self.console)
        one = "row" if self.data.kind == "series" else NOUNS[self.data.kind]  # its steps count rows, as those of tables
        for report in self.data.reports:
            touched = ", ".join(counted(n, what) for n, what in ((report.rows, one), (report.cells, "cell")) if n)
            told = (f"({touched or 'nothing touched'})", "dim")
            text = styled(f"  {report.name}: {report.detail} ", told)
            self.console.print(text, style="bold yellow" if report.name == "warning" else "")

    @property
    def _is_private(self) -> bool:
        """Whether the run is under differential privacy."""
        options = self.cfg.get("privacy") or {}
        return str(options.get("mechanism", "none")) != "none" and options.get("epsilon") is not None

    @property
    def _is_noisy(self) -> bool:
        """Whether gradients are clipped and hidden in noise."""
        return self._is_private and str(self.cfg.privacy.mechanism) == "dp_sgd"

    def _protection(self) -> PrivateTraining:
        privacy, share = self.cfg.privacy, 1.0 - self.data.paid_share
        epsilon, delta = share * float(privacy.epsilon), share * float(privacy.delta)
        folder = self.folder / "checkpoints"
        self.protection = PrivateTraining(
            self.data,
            folder,
            epsilon,
            delta,
            float(privacy.clip),
            str(privacy.accountant),  # type: ignore[arg-type]
        )
        return self.protection

    def _given(self) -> tuple[Any, Any] | None:
        """Parameters that the data brings for this model, fitted to noisy marginals; None where it trains on rows."""
        adopts = getattr(get_object(str(self.cfg.model._target_)), "adopts", False)
        return self.data.parameters if adopts else None

    def fit(self) -> None:
        """Trains, from the start or from a checkpoint, and keeps the last and the best state."""
        cfg = self.cfg
        for name in CHATTER:
            logging.getLogger(name).setLevel(logging.ERROR)
        warnings.filterwarnings("ignore", module="lightning")
        torch.set_flush_denormal(True)  # denormal floats have made trained nets several times slower
        self.stages = {name: stage_of(str(cfg.model[name])) for name in STAGES if cfg.model.get(name) is not None}
        target = str(cfg.model._target_)
        register(get_object(target), target)  # who trains a class of their own trusts it to be loaded, in this process
        self.chosen = self._chosen_before()
        announce_precision(cfg.trainer, self.console)
        self._plan()
        self._build()
        self.proof = build_proof(self.data)
        self.proof.check(cfg)
        self._check_study()
        self.loggers = [instantiate(node, _convert_="all") for node in (cfg.get("logger") or {}).values()]
        about = self._about()
        for logger in self.loggers:
            if hasattr(logger, "introduce"):
                logger.introduce(about)
            logger.log_hyperparams(OmegaConf.to_container(cfg, resolve=True))
        start = self._start_from()
        on_termination(self.ask_to_stop)
        with self.phase("fit"):
            self._train(start)
            announce_length(self)
            if self.data.refits and self.chosen is None:
                self.chosen = self._choose()
                self.data.train_on_all()
                L.seed_everything(int(cfg.seed), verbose=False)
                for logger in self.loggers:
                    if isinstance(logger, Csv):  # a run that goes on after the end of its first fit has read none back
                        logger.resume(self.chosen.ran)
                self._build()
                self._train(None)
        self._check_input()

    def _start_from(self) -> str | None:
        """The checkpoint to go on from."""
        files = self.data.originals.paths if self.data.originals is not None else []
        return checkpoint_to_go_on_from(self.cfg.ckpt_path, self.folder, self.console, self._identity(), files)

    def trainer_options(self) -> dict[str, Any]:
        """What the trainer is told besides its config."""
        is_shared = self.cfg.trainer.get("strategy") == "ddp"  # as trainer=ddp says, where one process is left
        return {"strategy": "auto"} if is_shared else {}

    def _check_study(self) -> None:
        """Refuses, before anything is trained, a study that could not be made afterwards."""
        from datakiln.jobs.studying import check_study

        check_study(self)

    def _chosen_before(self) -> Chosen | None:
        """What the first fit has left to the second one, if a run is to go on with that."""
        chosen = fit_on_all_rows(self.cfg.ckpt_path, self.folder)
        if chosen is not None and not self.data.refits:
            told = f"ckpt_path={self.cfg.ckpt_path} is of a second fit, on all rows"
            raise UserError(f"{told}; go on with data.validation=refit, or leave out ckpt_path=")
        if chosen is not None:
            self.data.train_on_all()
        return chosen

    def _plan(self) -> None:
        """Makes training as short as its budget asks for; rates then fall over that length."""
        if self.budget is None:
            return
        kept = self.folder / "config" / "affordable.json"
        self.affordable = Affordable.load(kept) if self.cfg.ckpt_path is not None else None
        if self.affordable is None:
            before = random_state()
            self.affordable = afford(self._model({}), self.data, self.cfg, self.budget)
            set_random_state(before)
            self.affordable.save(kept)
        if self.affordable.share < self.least:
            needed = number(self.affordable.epoch * self.affordable.usual)
            raise UserError(f"budget={self.cfg.budget}: a fit takes about {needed} CPU-seconds; give more of them")
        announce_affordable(self)

    def _lengthened(self) -> DictConfig:
        """The config of this fit, the first or the one on all rows."""
        cfg = self.cfg
        if self.affordable is not None and self.affordable.is_shorter:
            cfg = self.affordable.lengthen(cfg)
        if self.chosen is not None and self.chosen.epochs is not None:
            cfg = copy.deepcopy(cfg)
            cfg.epochs = self.chosen.epochs
        if self._given() is not None:
            cfg = copy.deepcopy(cfg)
            cfg.epochs = 1  # which only measures
        return cfg

    def _build(self) -> None:
        """The model of this fit, and what keeps its states."""
        chosen, cfg = self.chosen, self.cfg
        options = {**({} if chosen is None else chosen.options), **self._given_options()}
        self.model = self._model(options)
        if chosen is None and self.affordable is not None and self.affordable.is_shorter:
            self.model = self._model({**options, **self.model.lengths()})
        if (given := self._given()) is not None:
            assert isinstance(self.model, Mixture)
            self.model.adopt(*given)
        self.bundle = Bundle(
            self.folder / "checkpoints", self._identity(), cfg.monitor, cfg.mode, cfg.save_every_seconds, cfg.patience,
            current_judge(), chosen,
        )  # fmt: skip
        if chosen is not None:
            self.model.earlier = (chosen.ran, chosen.steps)

    def _model(self, options: Mapping[str, Any]) -> GenerativeModel:
        """The model with some of its options chosen by the program."""
        parts = {name: model for name, (model, _) in self.stages.items()}
        build = instantiate(self._lengthened().model, _partial_=True, _convert_="all")
        return build(spec=self.data.spec, **parts, **options)  # type: ignore[no-any-return]

    def _given_options(self) -> dict[str, Any]:
        """Options of a model whose parameters the data brings."""
        given = self._given()
        return {} if given is None else {"classes": [len(given[1])], "smoothing": [1.0]}

    def _train(self, start: str | None) -> None:
        unseen = {} if self.chosen is None else {"limit_val_batches": 0}  # there are no unseen rows to validate on
        unseen = {"limit_val_batches": 0} if self._is_noisy else unseen  # nor any that were paid for
        self.trainer = instantiate(
            self._lengthened().trainer,
            logger=self.loggers,
            callbacks=self._callbacks(),
            default_root_dir=str(self.folder),
            **unseen,
            **self.trainer_options(),
        )
        self._choose_threads()
        try:
            self.trainer.fit(self.model, datamodule=self.data, ckpt_path=start, weights_only=True)
        except Diverged as error:
            good = self.bundle.last_path if self.bundle.last_path.exists() else "none was written yet"
            raise UserError(f"{error}; the last good checkpoint: {good}") from None
        except SIGTERMException:  # Lightning hears of SIGTERM too, until training starts
            raise Stopped("SIGTERM", self.bundle.last_path) from None
        if self.bundle.stop_requested is not None:  # too late for training to hear of it
            raise Stopped(self.bundle.stop_requested, self.bundle.last_path)

    def _choose(self) -> Chosen:
        """What the fit that has ended leaves to the one on all rows."""
        bundle, ran = self.bundle, self.trainer.current_epoch
        best = bundle.best_path if bundle.best_path.exists() else bundle.last_path
        options = load_model(read_checkpoint(best), raw=True).chosen_options()  # of the best epoch, not of the last one
        best_length = ran if bundle.best_epoch is None else bundle.best_epoch + 1
        length = None if is_fixed(self) else best_length
        return Chosen(length, ran, self.model.steps, bundle.best_epoch, bundle.best_score, options)

    def _check_input(self) -> None:
        """Says that a file is another by now than the one that was read; an error where training read both."""
        changed = self.data.changed_input()
        if changed is None or self.data.originals is None:
            return
        if self.data.originals.is_read_again:
            raise UserError(f"{changed} changed while the run read it, so that it has learnt from both; train again")
        sha256 = self.data.provenance.sha256[:12]
        told = f"{changed} changed during the run; all figures are of the data as it was read (sha256 {sha256})"
        if told not in (report.detail for report in self.data.reports):
            self.data.reports.append(StepReport("input", told))
            self.console.print(f"note: {told}", style="yellow", markup=False, highlight=False, soft_wrap=True)

    def _choose_threads(self) -> None:
        """A small net is faster on one core: sharing its little work costs more than doing it."""
        if self.model.device.type == "cpu" and sum(p.numel() for p in self.model.parameters()) < ONE_THREAD_PARAMETERS:
            torch.set_num_threads(1)

    def ask_to_stop(self, reason: str) -> None:
        """What a signal does: training saves first, anything else is left at once."""
        trainer = getattr(self, "trainer", None)
        if trainer is not None and (trainer.training or trainer.validating):
            self.bundle.stop_requested = reason
        else:
            raise Stopped(reason, self.last_path)

    @property
    def last_path(self) -> Path:
        """Where the state to go on from is kept."""
        return self.folder / "checkpoints" / "last.ckpt"

    def _listening(self) -> L.Callback:
        """Takes the signals back: Lightning's own answer to SIGTERM is to leave at once, as if all were done."""
        return LambdaCallback(on_train_start=lambda *_: on_termination(self.ask_to_stop))

    def _callbacks(self) -> list[L.Callback]:
        cfg = self.cfg
        watch = (cfg.get("watch") or {}).get(self.data.kind) or {}
        callbacks: list[L.Callback] = [] if cfg.ema is None else [Ema(cfg.ema)]
        callbacks += [instantiate(node, _convert_="all")(data=self.data) for node in watch.values() if node]
        callbacks += [self.clock] if self.budget is None else [self.clock, self.budget]
        if self._is_noisy:
            callbacks.append(self._protection())
        if self.log is not None:
            callbacks.append(TrainingLines(self.log, str(cfg.monitor)))
        if cfg.trainer.get("overfit_batches"):
            callbacks.append(L.pytorch.callbacks.LambdaCallback(on_train_epoch_start=_same_order))
        return [*callbacks, self._bar(), self._listening(), self.bundle]

    def _bar(self) -> L.Callback:
        """What shows how far training is."""
        return TrainingBar(self.console, str(self.cfg.monitor))

    def _about(self) -> About:
        rate = learning_rate(OmegaConf.to_container(self.cfg.model, resolve=True))  # type: ignore[arg-type]
        model, data = choice(self.cfg, "model"), choice(self.cfg, "data")
        return About(model, data, int(self.cfg.seed), tuple(overrides()), rate)

    def _identity(self) -> dict[str, Any]:
        config = OmegaConf.to_container(self.cfg.model, resolve=True)
        assert isinstance(config, dict)
        config |= {name: built for name, (_, built) in self.stages.items()}
        config |= {} if self.chosen is None else self.chosen.options
        config |= self._given_options()
        origin = {"model": choice(self.cfg, "model"), "data": choice(self.cfg, "data"), "seed": int(self.cfg.seed)}
        source = self.data.provenance
        return {
            "format": FORMAT,
            "model": model_arguments(config),  # type: ignore[arg-type]
            "spec": self.data.spec.state(),
            "codec": {"kind": self.data.codec.kind, "state": self.data.codec.state()},
            **self.data.declared(),
            "origin": {**origin, "source": [source.kind, source.detail, source.sha256]},
        }

    def synthesize(self) -> None:
        """Samples the best model into the run's folder."""
        with self.phase("sample"), self.console.work("sampling", 1) as work:
            best = self.bundle.best_path if self.bundle.best_path.exists() else self.bundle.last_path
            self.synthesizer = Synthesizer.load(best, device=str(self.model.device))
            n = int(self.cfg.n_synthetic or self.data.n_synthetic)
            work.step()
            with self.synthesizer.watched(n, work.part):
                self.synthetic = self.proof.write_synthetic(self.synthesizer, n, int(self.cfg.seed), self.folder)

    def prove(self) -> None:
        """Measures the synthetic data and the model, and draws them, unless `plots=false`."""
        self.measure()
        self.plots = []
        self.study()
        if not self.cfg.plots:
            return
        with self.phase("plots"), self.console.work("drawing"):
            self.plots = self.proof.plots(self.synthesizer, self.synthetic, self.folder)

    def study(self) -> None:
        """What `study=` asks for, as far as its budget goes."""
        if self.cfg.study is None:
            return
        from datakiln.jobs.studying import study_job

        with self.phase("study"):
            study, figures = study_job(self)
        self.studies = [study]
        self.figures += figures

    def measure(self) -> None:
        """Every figure of the synthetic data and of the model."""
        with self.phase("evaluate"):
            self.proof.synthesizer, self.proof.secret = self.synthesizer, self.cfg.secret
            config = OmegaConf.to_container(self.cfg, resolve=True)
            self.proof.trained_as(config, self.trainer.current_epoch)  # type: ignore[arg-type]
            metrics = [instantiate(node) for node in (self.cfg.metrics.get(self.data.kind) or {}).values() if node]
            self.figures = self.proof.figures(self.synthetic, metrics, int(self.cfg.seed), self.console)
            if self.cfg.get("measure_latents") and self.synthesizer.model.can_draw:
                self.figures += self.proof.latent(int(self.cfg.seed))
            if self.cfg.get("measure_uses"):
                from datakiln.studies.uses.base import uses_of

                self.figures += uses_of(self.data, self.synthesizer, self.synthetic, int(self.cfg.seed))
            self.figures += [monitored(self), *tested(self)]

    def end(self) -> None:
        """Whatever became of the run, nothing goes on without it."""

    def finish(self) -> float | None:
        """Writes result.json and report.html, tells the loggers, prints the main figures; returns the objective."""
        from datakiln.reports.page import write_page

        self._check_input()  # measuring takes as long as training may
        result = build_result(self)
        report = self.folder / "report.html"
        history = self.proof.history(self.folder / "metrics.csv")
        config = (self.folder / "config" / "config.yaml").read_text(encoding="utf-8")
        write_page(
            result,
            self.plots,
            self.proof.preview(self.synthetic),
            history,
            report,
            config,
            is_public=bool(self.cfg.report.public),
        )
        result.save(self.folder / "result.json")  # last of the files: with it the run is finished, and not gone on with
        for logger in self.loggers:
            if hasattr(logger, "conclude"):
                samples = self.proof.samples(self.synthetic)
                if told := logger.conclude(result, self.plots, self.bundle.best_path, report, samples):
                    self.console.print(told, soft_wrap=True)
        announce_result(result, report, self.console)
        return objective_value(result)


def _check_device(accelerator: str) -> None:
    """Raises `UserError` for a kind of processor that is not here, before any data is read."""
    found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    found["gpu"] = any(found.values())
    if not found.get(accelerator, True):
        here = next((name for name in ("cuda", "mps") if found[name]), None)
        way_out = f"trainer.accelerator={here}" if here else "trainer=cpu"
        raise UserError(f"trainer.accelerator={accelerator}: there is none here that torch can use; take {way_out}")


def _same_order(trainer: L.Trainer, model: L.LightningModule) -> None:
    """Every epoch in the order of the first, so that the few batches to be learnt by heart are the same ones."""
    loader: Any = trainer.train_dataloader
    loader.set_epoch(0)
