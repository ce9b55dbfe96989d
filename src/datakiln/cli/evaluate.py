"""`datakiln evaluate run=outputs/...`: a run on fresh samples; or two tables, or two folders of pictures."""

from __future__ import annotations

import functools
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from datakiln.cli.calling import called_as
from datakiln.cli.commands import command, options
from datakiln.cli.stored import default_metrics, opened_run, stored_config
from datakiln.cli.strict import check_report
from datakiln.errors import Interrupted, UserError
from datakiln.sampling.room import check_room
from datakiln.saying import say
from datakiln.spec import PLAIN, Sampling

if TYPE_CHECKING:
    import pandas as pd

    from datakiln.console import Console
    from datakiln.results import RunResult


def main(argv: list[str]) -> None:
    """Checks the options, then measures.

    Raises:
        UserError: An option is missing, unknown or impossible.
    """
    cfg = options(argv, "evaluate")
    if cfg.card is not None:
        from datakiln.cli.cards import show_card

        if other := next((key for key in ("run", "real", "synthetic", "study") if cfg[key] is not None), None):
            raise UserError(f"card={cfg.card} measures no pictures; leave out {other}=")
        show_card(cfg)
        return
    usage = f"usage: {called_as('evaluate')} run=FOLDER, or real=... synthetic=..."
    if (cfg.run is None) == (cfg.real is None):
        raise UserError(f"give either run= or real= and synthetic=; {usage}")
    if cfg.real is not None and cfg.synthetic is None:
        raise UserError(f"synthetic= is missing beside real={cfg.real}; {usage}")
    check_report(cfg)
    if cfg.n is not None:
        check_room(str(cfg.out or cfg.run or "."), cfg.n, 1)
    drawn = Sampling.of(cfg).given()
    if drawn and (cfg.run is None or cfg.study is not None or cfg.shadows):
        name, value = next(iter(drawn.items()))
        if cfg.run is None:
            raise UserError(f"{name}={value} needs a model that draws: give run=FOLDER")
        other = f"study={cfg.study}" if cfg.study is not None else f"shadows={cfg.shadows}"
        raise UserError(f"{name}={value} and {other} do not go together: other models draw as they are; leave one out")
    if cfg.run is None and cfg.shadows:
        raise UserError(f"shadows={cfg.shadows} needs a model to train others like: give run=FOLDER")
    if cfg.run is not None and cfg.holdout is not None:
        raise UserError(f"holdout={cfg.holdout} is for real= and synthetic=; a run has its own")
    if unknown := set(cfg.data) - {"time", "entity", "window", "protected"}:
        raise UserError(f"data.{min(unknown)} is no option here; data.time=, data.entity= and data.window= are")
    cfg.data = {"time": None, "entity": None, "window": None, "protected": None, **cfg.data}
    if _is_series(cfg) and cfg.run is not None:
        raise UserError("data.time=, data.entity= and data.window= are for real= and synthetic=; a run has its own")
    from datakiln.cli.studying import study_pair, study_run, wish_of

    wish = wish_of(cfg)
    again = "measuring" if wish is None else f"study of {wish.name}:"
    say(
        f"{again} {cfg.run}{' again' if wish is None else ''}"
        if cfg.run is not None
        else f"{again} {cfg.synthetic} against {cfg.real}"
    )
    from datakiln.console import Console

    if wish is not None:
        cfg.seed = cfg.seed if cfg.run is not None else cfg.seed or 0
        with _named_here():
            (study_pair if cfg.run is None else study_run)(cfg, wish, Console())
    elif cfg.run is not None:
        evaluate_run(cfg, Console())
    else:
        cfg.seed = cfg.seed or 0
        with _named_here():
            evaluate_pair(cfg, Console())


@contextmanager
def _named_here() -> Iterator[None]:
    """Whoever reads a table calls its label `data.target=`; in this command it is `target=`."""
    try:
        yield
    except UserError as error:
        if str(error).startswith("data.target="):
            raise UserError(str(error).removeprefix("data.")) from None
        raise


def evaluate_run(cfg: DictConfig, console: Console) -> None:
    """Reads the run's data again, samples its model anew and writes a report of its own; the run stays as it is.

    Raises:
        UserError: The folder is no finished run, or its data has changed since.
    """
    from datakiln.proof.base import build_proof

    run = Path(str(cfg.run))
    synthesizer, result, data, metrics = opened_run(cfg, run)
    proof = build_proof(data)
    proof.check(cfg)
    proof.synthesizer, proof.secret = synthesizer, cfg.secret
    proof.sampling = Sampling.of(cfg)
    if proof.sampling != PLAIN and not synthesizer.model.can_draw:
        raise UserError(f"{next(iter(proof.sampling.given()))}: this model draws nothing by itself; leave it out")
    synthesizer.model.check_options(proof.sampling)
    proof.trained_as(stored_config(run / "config" / "config.yaml"), result.epochs)
    if cfg.shadows:
        metrics = with_shadows(metrics, int(cfg.shadows))
    seed = result.seed + 1 if cfg.seed is None else int(cfg.seed)  # with its own, the run would draw the same again
    console.print(f"samples drawn with seed={seed}; those of the run had seed={result.seed}")
    with _whole_or_gone(_new_folder(cfg, run)) as folder:
        cpu = time.process_time()
        synthetic = proof.write_synthetic(synthesizer, int(cfg.n or data.n_synthetic), seed, folder)
        result.cpu_seconds["sample"] = round(time.process_time() - cpu, 3)
        result.figures = proof.figures(synthetic, metrics, seed, console)
        result.studies = []  # those of the run were of other samples
        result.n_synthetic = len(synthetic)
        result.seed, result.sampling = seed, dict(proof.sampling.given())
        plots = proof.plots(synthesizer, synthetic, folder)
        _write(result, plots, proof.preview(synthetic), folder, console, bool(cfg.report.public))


def with_shadows(metrics: list[Any], count: int) -> list[Any]:
    """The metrics, the membership battery of tables with so many shadow models; raises `UserError` where it is not."""
    from datakiln.metrics.privacy.membership import membership

    found = [getattr(metric, "func", metric) is membership for metric in metrics]
    if not any(found):
        raise UserError(f"shadows={count}: the membership battery of a table is none of this run's metrics")
    pairs = zip(metrics, found, strict=True)
    return [functools.partial(metric, shadows=count) if is_game else metric for metric, is_game in pairs]


def evaluate_pair(cfg: DictConfig, console: Console) -> None:
    """Measures synthetic data from anywhere against real data: two tables, or two folders of pictures."""
    real, synthetic = Path(str(cfg.real)), Path(str(cfg.synthetic))
    given = {"real": real, "synthetic": synthetic} | (
        {} if cfg.holdout is None else {"holdout": Path(str(cfg.holdout))}
    )
    for key, path in given.items():
        if not path.exists():
            raise UserError(f"{key}={path} does not exist")
    if real.is_dir() != synthetic.is_dir():
        raise UserError(f"real={real} and synthetic={synthetic} must be two tables or two folders of pictures")
    for key in ("holdout", "target"):
        if real.is_dir() and cfg[key] is not None:
            raise UserError(f"{key}={cfg[key]} is for tables; leave it out for folders of pictures")
    if (real.is_dir() or _is_series(cfg)) and cfg.secret is not None:
        others = "folders of pictures" if real.is_dir() else "series"
        raise UserError(f"secret={cfg.secret} is for tables; leave it out for {others}")
    if real.is_dir():
        from datakiln.proof.folders import evaluate_folders as measure
    elif _is_series(cfg):
        from datakiln.proof.series_pair import evaluate_series_files as measure
    else:
        from datakiln.proof.pair import evaluate_tables as measure
    metrics = default_metrics("image" if real.is_dir() else "series" if _is_series(cfg) else "table")
    with _whole_or_gone(_new_folder(cfg, Path())) as folder:
        result, plots, preview = measure(cfg, metrics, folder, console)
        _write(result, plots, preview, folder, console, bool(cfg.report.public))


def _is_series(cfg: DictConfig) -> bool:
    return cfg.data.time is not None or cfg.data.entity is not None or cfg.data.window is not None


def _new_folder(cfg: DictConfig, parent: Path) -> Path:
    folder = Path(str(cfg.out)) if cfg.out is not None else parent / time.strftime("evaluation-%Y%m%d-%H%M%S")
    if (folder / "result.json").exists():
        raise UserError(f"{folder} holds results already; choose another out=")
    return folder


@contextmanager
def _whole_or_gone(folder: Path) -> Iterator[Path]:
    """A folder that is removed again if the block does not end well; one that held files before stays as it is."""
    was_there = folder.exists() and any(folder.iterdir())
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
    except BaseException as error:
        if not was_there:
            shutil.rmtree(folder)
        if isinstance(error, Interrupted) and was_there:
            raise Interrupted(error.reason, f"{folder} is not complete; the same command does it again") from error
        raise


def _write(
    result: RunResult,
    plots: list[Path],
    preview: pd.DataFrame | None,
    folder: Path,
    console: Console,
    is_public: bool,
) -> None:
    from datakiln.jobs.announce import announce_result
    from datakiln.reports.page import write_page

    write_page(result, plots, preview, None, folder / "report.html", is_public=is_public)
    result.save(folder / "result.json")  # last: with it the folder is complete
    announce_result(result, folder / "report.html", console)


def run() -> None:
    """The command."""
    command(main)
