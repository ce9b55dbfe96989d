"""What a finished run amounts to: its figures gathered into a `RunResult`."""

from __future__ import annotations

import lightning as L
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from datakiln.errors import UserError, near
from datakiln.jobs.guarantee import guarantee_of
from datakiln.jobs.job import Job
from datakiln.results import (
    Better,
    Objective,
    RunResult,
    Score,
    Source,
    Step,
    candidates_of,
    machine,
    package_versions,
    peak_memory_mb,
)
from datakiln.wording import counted


def monitored(job: Job) -> Score:
    """The monitor at its best epoch."""
    score = job.bundle.best_score
    why = "" if score is not None else "the monitor was never measured"
    note = "" if job.chosen is None or score is None else "of the first fit, which had the validation rows apart"
    return Score(f"best/{_full_name(job)}", score, _direction(job.cfg), why=why, note=note)


def _full_name(job: Job) -> str:
    """The monitor's name with what its values depend on, such as extractor and n, where a callback tells."""
    name = str(job.cfg.monitor)
    told = [getattr(callback, "full_names", {}) for callback in job.trainer.callbacks]  # type: ignore[attr-defined]
    return next((str(names[name]) for names in told if name in names), name)


def tested(job: Job) -> list[Score]:
    """The model's own losses on the test data, with the best weights; on a part where a budget is short."""
    model = job.synthesizer.model
    few = None if job.affordable is None else job.affordable.tested
    tester = L.Trainer(
        accelerator=model.device.type,
        devices=1,
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        limit_test_batches=few,
    )
    torch.manual_seed(int(job.cfg.seed))
    loader = job.data.test_dataloader()
    tester.test(model, loader, verbose=False)
    measured = {name: value for name, value in model.fresh.items() if name.startswith("test/")}
    is_part = few is not None and hasattr(loader, "__len__") and few < len(loader)
    note = f"of the first {counted(few or 0, 'batch', 'batches')} of test data alone, for the budget" if is_part else ""
    return [Score(name, value, model.directions.get(name[5:], "none"), note=note) for name, value in measured.items()]


def _fit_seconds(job: Job) -> float:
    """CPU-seconds of training; under a budget as that counts them, without the FID of samples on the way."""
    return job.clock.earlier + job.cpu_seconds["fit"] if job.budget is None else job.budget.spent


def build_result(job: Job) -> RunResult:
    """Everything `result.json` holds."""
    source, bundle, tried = job.data.provenance, job.bundle, candidates_of(job.folder)
    return RunResult(
        model=choice(job.cfg, "model"),
        data=choice(job.cfg, "data"),
        seed=int(job.cfg.seed),
        provenance=Source(source.kind, source.detail, source.sha256),
        overrides=overrides(),
        tags=[str(tag) for tag in job.cfg.get("tags") or []],
        objective=_objective(job),
        studies=job.studies,
        figures=job.figures,
        n_train=job.data.spec.size,
        n_holdout=job.proof.n_holdout,
        n_synthetic=len(job.synthetic),
        stand_in=source.is_stand_in,
        steps=[Step(report.name, report.detail, report.rows, report.cells) for report in job.data.reports],
        versions=package_versions(),
        machine=machine(str(job.model.device)),
        wall_seconds=job.seconds,
        cpu_seconds=job.cpu_seconds,
        fit_cpu_seconds=round(
            _fit_seconds(job)
            + job.cpu_seconds.get("release", 0.0)
            + sum(trial.cpu_seconds for trial in tried if not trial.is_chosen),  # whose training was gone on with
            3,
        ),
        peak_memory_mb=max(job.clock.memory, peak_memory_mb()),
        epochs=job.trainer.current_epoch,
        n_steps=job.model.steps,
        n_parameters=sum(p.numel() for p in job.model.parameters()),
        best_checkpoint="checkpoints/best.ckpt" if bundle.best_path.exists() else "checkpoints/last.ckpt",
        best_epoch=bundle.best_epoch,
        candidates=tried,
        privacy=guarantee_of(job),
    )


def _objective(job: Job) -> Objective:
    """The figure a sweep ranks by, without a value if no figure of the run has that name."""
    name = str(job.cfg.objective)
    if name == job.cfg.monitor:
        return Objective(_full_name(job), job.bundle.best_score, _direction(job.cfg))
    exact_first = sorted(job.figures, key=lambda score: score.name != name)
    for score in exact_first:  # "fid" also means fid/... of any network and n
        if score.name == name or score.name.startswith(f"{name}/"):
            return Objective(score.name, score.value, _direction(job.cfg) if score.better == "none" else score.better)
    return Objective(name, None, _direction(job.cfg))


def objective_value(result: RunResult) -> float | None:
    """The objective of a finished run, once everything is written; raises `UserError` if no figure has its name."""
    objective = result.objective
    if objective is None or objective.value is not None:
        return None if objective is None else objective.value
    names = [score.name for score in result.figures]
    if objective.name in names or f"best/{objective.name}" in names:
        return None
    known = ", ".join(names[:12])
    raise UserError(
        f"objective={objective.name} is no figure of this run{near(objective.name, names)}; known: {known}, ..."
    )


def _direction(cfg: DictConfig) -> Better:
    return "lower" if cfg.mode == "min" else "higher"


def overrides() -> list[str]:
    """The command line's choices, or none outside Hydra."""
    return [str(o) for o in HydraConfig.get().overrides.task] if HydraConfig.initialized() else []


def choice(cfg: DictConfig, group: str) -> str:
    """The name that was chosen from a config group; without Hydra running, the end of its class path.

    Where `model=auto` was given, it is the model that was found.
    """
    if group == "model" and cfg.get("chosen_model"):
        return str(cfg.chosen_model)
    if HydraConfig.initialized():
        return str(HydraConfig.get().runtime.choices[group])
    return str(cfg[group]._target_).rpartition(".")[2].lower()
