"""One training job from config to report, phase by phase; what each phase does lives elsewhere."""

from __future__ import annotations

import logging
import math
import shutil
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra.utils import instantiate
from lightning.pytorch.callbacks import EarlyStopping
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from src.announce import announce_data, announce_result
from src.callbacks.bundle import Bundle, Stopped
from src.callbacks.ema import Ema
from src.callbacks.progress import TrainingBar
from src.checkpoints import FORMAT, model_arguments
from src.checks import check_arguments, check_pairing
from src.cli import on_termination
from src.data.base import GenerativeData
from src.errors import UserError
from src.models.base import Diverged, GenerativeModel
from src.proof.base import Proof, build_proof
from src.results import Objective, RunResult, Score, Source, Step, machine, package_versions, peak_memory_mb
from src.synthesizer import Synthesizer

CHATTER = ("lightning.pytorch", "lightning.fabric")


class Run:
    """The state of one job.

    Arguments:
        cfg: The composed config of `src.train`.
        console: Where to say what happens.
    """

    data: GenerativeData
    model: GenerativeModel
    proof: Proof

    def __init__(self, cfg: DictConfig, console: Console | None = None) -> None:
        """See the class."""
        self.cfg, self.console = cfg, console or Console()
        self.folder = Path(cfg.output_dir)
        self.seconds: dict[str, float] = {}
        self.fit_cpu_seconds = 0.0

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Times one phase."""
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 3)

    def check(self) -> None:
        """Refuses what cannot work before any data is read, and claims the run's folder.

        Raises:
            UserError: The model is for other data, an option does not reach the model, or the folder holds a run.
        """
        cfg = self.cfg
        check_pairing(cfg.model._target_, cfg.data._target_, (_choice(cfg, "model"), _choice(cfg, "data")))
        check_arguments(cfg)
        for key, value in cfg.items():
            if key in cfg.model and cfg.model[key] != value and not OmegaConf.is_config(value):
                raise UserError(
                    f"{key}={value} does not reach the model, whose {key} is {cfg.model[key]}; set {key}= and not model.{key}="
                )
        if (self.folder / "result.json").exists():
            raise UserError(f"{self.folder} holds a finished run; choose another hydra.run.dir, nothing is overwritten")
        if (self.folder / "checkpoints" / "last.ckpt").exists() and cfg.ckpt_path is None:
            raise UserError(f"{self.folder} holds an unfinished run; go on with ckpt_path=last or choose another folder")
        self._store_config()

    def _store_config(self) -> None:
        (self.folder / "config").mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.cfg, self.folder / "config" / "config.yaml", resolve=True)
        OmegaConf.save(OmegaConf.create(_overrides()), self.folder / "config" / "overrides.yaml")

    def load_data(self) -> None:
        """Reads, splits and encodes the data; says where it is from and what its columns are."""
        with self.phase("data"):
            L.seed_everything(int(self.cfg.seed), verbose=False)
            self.data = instantiate(self.cfg.data, _convert_="all")
            announce_data(self.data, self.console)
            self.data.prepare_data()
            self.data.setup("fit")
        for report in self.data.reports:
            touched = ", ".join(t for t in (f"{report.rows} rows", f"{report.cells} cells") if not t.startswith("0 "))
            self.console.print(f"  {report.name}: {report.detail} [dim]({touched or 'nothing touched'})[/dim]", highlight=False)

    def fit(self) -> None:
        """Trains, from the start or from a checkpoint, and keeps the last and the best state."""
        cfg = self.cfg
        for name in CHATTER:
            logging.getLogger(name).setLevel(logging.ERROR)
        warnings.filterwarnings("ignore", module="lightning")
        torch.set_flush_denormal(True)  # denormal floats have made trained nets several times slower
        self.model = instantiate(cfg.model, _partial_=True, _convert_="all")(spec=self.data.spec)
        self.proof = build_proof(self.data)
        self.bundle = Bundle(
            self.folder / "checkpoints", self._identity(), cfg.monitor, cfg.mode, every_seconds=cfg.save_every_seconds
        )
        self.loggers = [instantiate(node, _convert_="all") for node in cfg.logger.values()]
        for logger in self.loggers:
            logger.log_hyperparams(OmegaConf.to_container(cfg, resolve=True))
        self.trainer: L.Trainer = instantiate(
            cfg.trainer, logger=self.loggers, callbacks=self._callbacks(), default_root_dir=str(self.folder)
        )
        on_termination(self._ask_to_stop)
        with self.phase("fit"):
            cpu = time.process_time()
            try:
                self.trainer.fit(self.model, datamodule=self.data, ckpt_path=self._checkpoint(), weights_only=True)
            except Diverged as error:
                good = self.bundle.last_path if self.bundle.last_path.exists() else "none was written yet"
                raise UserError(f"{error}; the last good checkpoint: {good}") from None
            self.fit_cpu_seconds = time.process_time() - cpu

    def _ask_to_stop(self, reason: str) -> None:
        if self.trainer.training or self.trainer.validating:
            self.bundle.stop_requested = reason
        else:
            raise Stopped(reason, self.bundle.last_path)

    def _callbacks(self) -> list[L.Callback]:
        cfg = self.cfg
        watch = cfg.watch.get(self.data.kind) or {}
        callbacks: list[L.Callback] = [] if cfg.ema is None else [Ema(cfg.ema)]
        callbacks += [instantiate(node, _convert_="all")(data=self.data) for node in watch.values() if node]
        if cfg.patience is not None:
            callbacks.append(EarlyStopping(cfg.monitor, patience=cfg.patience, mode=cfg.mode, check_finite=False))
        return [*callbacks, TrainingBar(self.console), self.bundle]

    def _identity(self) -> dict[str, Any]:
        config = OmegaConf.to_container(self.cfg.model, resolve=True)
        assert isinstance(config, dict)
        origin = {"model": _choice(self.cfg, "model"), "data": _choice(self.cfg, "data"), "seed": int(self.cfg.seed)}
        source = self.data.provenance
        return {
            "format": FORMAT,
            "model": model_arguments(config),  # type: ignore[arg-type]
            "spec": self.data.spec.state(),
            "codec": {"kind": self.data.codec.kind, "state": self.data.codec.state()},
            "origin": {**origin, "source": [source.kind, source.detail, source.sha256]},
        }

    def _checkpoint(self) -> str | None:
        """The checkpoint to go on from; the best one beside it comes along when the folder is another."""
        wanted = self.cfg.ckpt_path
        if wanted is None:
            return None
        if wanted == "last":
            if self.bundle.last_path.exists():
                self.console.print(f"going on from {self.bundle.last_path}")
                return str(self.bundle.last_path)
            self.console.print(f"{self.folder} has no checkpoint yet: starting from the beginning")
            return None
        path = Path(wanted)
        if not path.is_file():
            raise UserError(f"ckpt_path={wanted} does not exist; give last or the path of a last.ckpt")
        if "loops" not in torch.load(path, map_location="cpu", weights_only=True):
            raise UserError(f"ckpt_path={wanted} holds weights for sampling only; to go on, give the last.ckpt beside it")
        self._bring_along(path)
        return str(path)

    def _bring_along(self, path: Path) -> None:
        for source, target in (
            (path.parent / "best.ckpt", self.bundle.best_path),
            (path.parent.parent / "metrics.csv", self.folder / "metrics.csv"),
        ):
            if source.exists() and not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target)

    def synthesize(self) -> None:
        """Samples the best model into the run's folder."""
        with self.phase("sample"):
            best = self.bundle.best_path if self.bundle.best_path.exists() else self.bundle.last_path
            self.synthesizer = Synthesizer.load(best, device=str(self.model.device))
            n = self.cfg.n_synthetic or self.data.spec.size
            self.synthetic = self.proof.write_synthetic(self.synthesizer, int(n), int(self.cfg.seed), self.folder)

    def prove(self) -> None:
        """Measures the synthetic data and the model, and draws them."""
        with self.phase("evaluate"):
            metrics = [instantiate(node) for node in (self.cfg.metrics.get(self.data.kind) or {}).values()]
            self.figures = self.proof.figures(self.synthetic, metrics, int(self.cfg.seed), self.console)
            self.figures += self._monitored() + self._tested()
        with self.phase("plots"):
            self.plots = self.proof.plots(self.synthesizer, self.synthetic, self.folder)

    def _monitored(self) -> list[Score]:
        better = "lower" if self.cfg.mode == "min" else "higher"
        score = self.bundle.best_score
        why = "" if score is not None else "the monitor was never measured"
        return [Score(f"best/{self.cfg.monitor}", score, better, why=why)]

    def _tested(self) -> list[Score]:
        """The model's own losses on the test rows, with the best weights."""
        tester = L.Trainer(
            logger=False, enable_progress_bar=False, enable_checkpointing=False, enable_model_summary=False, devices=1,
            accelerator=self.model.device.type if self.model.device.type != "mps" else "mps", use_distributed_sampler=False,
        )  # fmt: skip
        torch.manual_seed(int(self.cfg.seed))
        model = self.synthesizer.model
        tester.test(model, self.data.test_dataloader(), verbose=False)
        measured = {name: value for name, value in model.fresh.items() if name.startswith("test/")}
        return [Score(name, value, model.directions.get(name.partition("/")[2], "none")) for name, value in measured.items()]

    def finish(self) -> float | None:
        """Writes result.json and report.html, tells the loggers, prints the main figures; returns the objective."""
        from src.page import write_page

        result = self._result()
        result.save(self.folder / "result.json")
        report = self.folder / "report.html"
        history = self.proof.history(self.folder / "metrics.csv")
        config = (self.folder / "config" / "config.yaml").read_text(encoding="utf-8")
        write_page(result, self.plots, self.proof.preview(self.synthetic), history, report, config)
        for logger in self.loggers:
            if hasattr(logger, "conclude"):
                logger.conclude(result, self.plots, self.bundle.best_path)
        announce_result(result, report, self.console)
        return None if result.objective is None else result.objective.value

    def _result(self) -> RunResult:
        cfg, source = self.cfg, self.data.provenance
        return RunResult(
            model=_choice(cfg, "model"),
            data=_choice(cfg, "data"),
            seed=int(cfg.seed),
            provenance=Source(source.kind, source.detail, source.sha256),
            overrides=_overrides(),
            objective=self._objective(),
            figures=self.figures,
            n_train=self.data.spec.size,
            n_holdout=self.proof.n_holdout,
            n_synthetic=len(self.synthetic),
            stand_in=source.is_stand_in,
            steps=[Step(report.name, report.detail, report.rows, report.cells) for report in self.data.reports],
            versions=package_versions(),
            machine=machine(str(self.model.device)),
            wall_seconds=self.seconds,
            fit_cpu_seconds=round(self.fit_cpu_seconds, 3),
            peak_memory_mb=peak_memory_mb(),
            epochs=self.trainer.current_epoch,
            n_steps=self.model.steps,
            n_parameters=sum(p.numel() for p in self.model.parameters()),
            best_checkpoint="checkpoints/best.ckpt" if self.bundle.best_path.exists() else "checkpoints/last.ckpt",
            best_epoch=self.bundle.best_epoch,
        )

    def _objective(self) -> Objective:
        """The figure a sweep ranks by; raises `UserError` if no figure of the run has that name."""
        name = str(self.cfg.objective)
        better = "lower" if self.cfg.mode == "min" else "higher"
        if name == self.cfg.monitor:
            return Objective(name, self.bundle.best_score, better)  # type: ignore[arg-type]
        for score in self.figures:
            if score.name == name:
                value = score.value if score.value is not None and math.isfinite(score.value) else None
                return Objective(name, value, better if score.better == "none" else score.better)  # type: ignore[arg-type]
        from src.errors import near

        names = [score.name for score in self.figures]
        raise UserError(f"objective={name} is no figure of this run{near(name, names)}; known: {', '.join(names[:12])}, ...")


def _overrides() -> list[str]:
    from hydra.core.hydra_config import HydraConfig

    return [str(o) for o in HydraConfig.get().overrides.task] if HydraConfig.initialized() else []


def _choice(cfg: DictConfig, group: str) -> str:
    """The name that was chosen from a config group; without Hydra running, the end of its class path."""
    from hydra.core.hydra_config import HydraConfig

    if HydraConfig.initialized():
        return str(HydraConfig.get().runtime.choices[group])
    return str(cfg[group]._target_).rpartition(".")[2].lower()
