"""One fit from a checked config: the phases of a job as far as they are wanted, quietly, and what they leave."""

from __future__ import annotations

import signal
from dataclasses import dataclass, replace
from pathlib import Path

import lightning as L
import pandas as pd
from omegaconf import DictConfig

from datakiln.api.model import Model, model_of
from datakiln.api.process import as_it_was, quietly
from datakiln.api.progress import progress_of, quiet_console
from datakiln.api.report import Report, temporary
from datakiln.callbacks.stopping import Stopped
from datakiln.jobs.outcome import build_result, monitored
from datakiln.jobs.run import Run
from datakiln.jobs.trials import decided, is_auto
from datakiln.metrics.base import EvalData
from datakiln.proof.tables import TableProof
from datakiln.results import RunResult
from datakiln.storage import leaving_no_trace
from datakiln.wording import number


@dataclass(frozen=True)
class Outcome:
    """What came of a fit.

    Attributes:
        model: The best so far; None where it was stopped before any was measured.
        stopped_by: Name of the signal that ended it; "" where it came to its end.
        note: One line for the person, or "".
    """

    model: Model | None
    stopped_by: str = ""
    note: str = ""


class QuietRun(Run):
    """A run of which nothing is seen but its progress.

    Arguments:
        cfg: The composed config.
        progress: Whether that is.
    """

    def __init__(self, cfg: DictConfig, progress: bool) -> None:
        """See the class."""
        super().__init__(cfg, quiet_console())
        self.progress = progress

    def _bar(self) -> L.Callback:
        return progress_of(self.progress, str(self.cfg.monitor))

    def ask_to_stop(self, reason: str) -> None:
        """A second Ctrl-C is an exception again: it must not end a notebook's kernel."""
        signal.signal(signal.SIGINT, signal.default_int_handler)
        super().ask_to_stop(reason)


def trained(cfg: DictConfig, progress: bool, keep: bool) -> Outcome:
    """Trains, and where the run is kept proves and reports as the command does.

    Arguments:
        cfg: Checked, with its `output_dir`.
        progress: Whether to show how far it is.
        keep: Whether the folder stays.
    """
    if is_auto(cfg):
        try:
            cfg = decided(cfg, quiet_console())
        except Stopped as stop:
            return Outcome(None, stop.reason)
    run = QuietRun(cfg, progress)
    result: RunResult | None = None
    try:
        with run.logged():
            run.check()
            run.load_data()
            run.fit()
            if keep:
                run.synthesize()
                run.prove()
                run.finish()
                result = build_result(run)
    except Stopped as stop:
        reason = stop.reason
        if reason != "SIGINT" or not run.bundle.best_path.exists():
            return Outcome(None, reason)
        return Outcome(_model(run, None), reason, _told(run))
    except SystemExit as end:  # how Lightning ends at an interrupt that comes as an exception
        if not isinstance(end.__context__, KeyboardInterrupt):
            raise
        raise KeyboardInterrupt from None
    return Outcome(_model(run, result))


def _told(run: QuietRun) -> str:
    best, score = (run.bundle.best_epoch or 0) + 1, number(run.bundle.best_score)
    stopped = f"stopped by Ctrl-C in epoch {run.trainer.current_epoch + 1}"
    return f"{stopped}: this is the model of epoch {best}, the best so far ({run.cfg.monitor} {score})"


def _model(run: QuietRun, result: RunResult | None) -> Model:
    """The best epoch's model, with what its report needs."""
    best = run.bundle.best_path if run.bundle.best_path.exists() else run.bundle.last_path
    history = run.proof.history(run.folder / "metrics.csv")
    config = (run.folder / "config" / "config.yaml").read_text(encoding="utf-8")
    made = model_of(best, str(run.model.device), history)
    run.synthesizer = made.synthesizer
    left = {path.relative_to(run.folder): path.read_bytes() for path in _drawn_from(run.folder)}
    if result is None:
        run.figures, run.synthetic = [monitored(run)], ()
        unproven = replace(build_result(run), best_checkpoint="")
        made.measure = lambda: _measured(run, unproven, history, config, left)
    else:
        made.measure = lambda: _report(run, result, history, config, left)
    return made


def _drawn_from(folder: Path) -> list[Path]:
    """The files of a run that its plots are drawn from."""
    return [path for path in [folder / "metrics.csv", *sorted(folder.glob("samples/*.png"))] if path.exists()]


def _measured(
    run: QuietRun, unproven: RunResult, history: pd.DataFrame | None, config: str, left: dict[Path, bytes]
) -> Report:
    """Samples and measures after the run is over; nothing of it stays on disk."""
    with as_it_was(), quietly(), leaving_no_trace(), temporary(left) as folder:
        run.folder = folder
        n = run.cfg.n_synthetic or run.data.n_synthetic
        with run.phase("sample"):
            run.synthetic = run.proof.write_synthetic(run.synthesizer, int(n), int(run.cfg.seed), folder)
        run.measure()
        seconds = {"wall_seconds": run.seconds, "cpu_seconds": run.cpu_seconds}
        result = replace(unproven, figures=run.figures, n_synthetic=len(run.synthetic), **seconds)  # type: ignore[arg-type]
    return _report(run, result, history, config, left)


def _report(
    run: QuietRun, result: RunResult, history: pd.DataFrame | None, config: str, left: dict[Path, bytes]
) -> Report:
    def draw(folder: Path) -> list[Path]:
        return run.proof.plots(run.synthesizer, run.synthetic, folder)

    table = None
    if isinstance(run.proof, TableProof):
        frames = run.proof.data.real
        table = EvalData(run.proof.data.schema, frames["train"], frames["test"], run.synthetic, int(run.cfg.seed))
    preview = run.proof.preview(run.synthetic)
    is_public = bool(run.cfg.report.public)
    return Report(
        result, draw, table=table, preview=preview, history=history, config=config, left=left, is_public=is_public
    )
