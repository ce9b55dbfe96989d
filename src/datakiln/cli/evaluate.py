"""`datakiln evaluate run=outputs/...`: a run on fresh samples; or two tables, or two folders of pictures."""

from __future__ import annotations

import functools
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from datakiln.cli.calling import called_as
from datakiln.cli.commands import command, options
from datakiln.cli.strict import check_report
from datakiln.errors import Interrupted, UserError
from datakiln.sampling.room import check_room
from datakiln.saying import say
from datakiln.storage import CONF

if TYPE_CHECKING:
    import pandas as pd

    from datakiln.console import Console
    from datakiln.data.base import GenerativeData
    from datakiln.results import RunResult


def main(argv: list[str]) -> None:
    """Checks the options, then measures.

    Raises:
        UserError: An option is missing, unknown or impossible.
    """
    cfg = options(argv, "evaluate")
    usage = f"usage: {called_as('evaluate')} run=FOLDER, or real=... synthetic=..."
    if (cfg.run is None) == (cfg.real is None):
        raise UserError(f"give either run= or real= and synthetic=; {usage}")
    if cfg.real is not None and cfg.synthetic is None:
        raise UserError(f"synthetic= is missing beside real={cfg.real}; {usage}")
    check_report(cfg)
    if cfg.n is not None:
        check_room(str(cfg.out or cfg.run or "."), cfg.n, 1)
    if cfg.run is None and cfg.shadows:
        raise UserError(f"shadows={cfg.shadows} needs a model to train others like: give run=FOLDER")
    if cfg.run is not None and cfg.holdout is not None:
        raise UserError(f"holdout={cfg.holdout} is for real= and synthetic=; a run has its own")
    say(f"measuring {cfg.run} again" if cfg.run is not None else f"measuring {cfg.synthetic} against {cfg.real}")
    from datakiln.console import Console

    if cfg.run is not None:
        evaluate_run(cfg, Console())
    else:
        cfg.seed = cfg.seed or 0
        evaluate_pair(cfg, Console())


def evaluate_run(cfg: DictConfig, console: Console) -> None:
    """Reads the run's data again, samples its model anew and writes a report of its own; the run stays as it is.

    Raises:
        UserError: The folder is no finished run, or its data has changed since.
    """
    from datakiln.proof.base import build_proof
    from datakiln.results import RunResult
    from datakiln.sampling.registry import register_named
    from datakiln.sampling.synthesizer import Synthesizer

    run = Path(str(cfg.run))
    if cfg.register is not None:
        register_named(cfg.register)
    synthesizer = Synthesizer.load(run)
    result = RunResult.load(run / "result.json")
    data, metrics = stored_parts(run / "config" / "config.yaml")
    data.prepare_data()
    if data.refits:
        data.train_on_all()  # as the model that was kept
    data.setup("fit")
    is_told = not data.privacy.is_on  # else the hash is a keyed one, whose key stays where the run was made
    if is_told and data.provenance.sha256 != result.provenance.sha256:
        raise UserError(
            f"the data of {run} has changed since ({data.provenance.detail} has sha256 {data.provenance.sha256[:12]}, "
            f"the run had {result.provenance.sha256[:12]}); bring the old data back, or train again"
        )
    proof = build_proof(data)
    proof.check(cfg)
    proof.synthesizer, proof.secret = synthesizer, cfg.secret
    proof.trained_as(stored_config(run / "config" / "config.yaml"), result.epochs)
    if cfg.shadows:
        metrics = with_shadows(metrics, int(cfg.shadows))
    seed = result.seed + 1 if cfg.seed is None else int(cfg.seed)  # with its own, the run would draw the same again
    console.print(f"samples drawn with seed={seed}; those of the run had seed={result.seed}")
    with _whole_or_gone(_new_folder(cfg, run)) as folder:
        synthetic = proof.write_synthetic(synthesizer, int(cfg.n or data.n_synthetic), seed, folder)
        result.figures = proof.figures(synthetic, metrics, seed, console)
        result.n_synthetic = len(synthetic)
        result.seed = seed
        plots = proof.plots(synthesizer, synthetic, folder)
        _write(result, plots, proof.preview(synthetic), folder, console, bool(cfg.report.public))


def stored_parts(path: Path) -> tuple[GenerativeData, list[Any]]:
    """The data module and the metrics of a run, from its config: plain values that are built by our own registry.

    Raises:
        UserError: The file is not what a run leaves there, or names anything else than data sets and metrics.
    """
    from datakiln.cli.run_folders import stored_yaml
    from datakiln.data.base import GenerativeData
    from datakiln.sampling.registry import build
    from datakiln.storage import cache_dir

    stored = stored_yaml(path)
    config, lists = (_mapping(stored, name, path) for name in ("data", "metrics"))
    cache = Path(str(config.get("cache") or "."))
    if "cache" in config and (cache.is_absolute() or ".." in cache.parts):  # only a person says where to write
        config["cache"] = str(cache_dir() / "tables")
    if isinstance(config.get("private"), dict):  # what the run gave away is read again, and nothing is spent
        config["private"] = {**config["private"], "folder": str(path.parent.parent), "ledger": ""}
    try:
        data = build(config, "data")
        if not isinstance(data, GenerativeData):
            raise UserError(f"the stored data is a {type(data).__name__}, which is no data module; refused")
        nodes = {} if lists.get(data.kind) is None else _mapping(lists, data.kind, path)
        return data, [build(node, "metric") for node in nodes.values()]
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except ValueError as error:  # how classes refuse a value of theirs
        raise UserError(f"{path} is damaged, or of another version of the program ({error}); train again") from None


def stored_config(path: Path) -> dict[str, Any]:
    """The config of a run as plain values, in which nothing is resolved."""
    from datakiln.cli.run_folders import stored_yaml

    return _mapping({"config": stored_yaml(path)}, "config", path)


def with_shadows(metrics: list[Any], count: int) -> list[Any]:
    """The metrics, the membership battery of tables with so many shadow models; raises `UserError` where it is not."""
    from datakiln.metrics.privacy.membership import membership

    found = [getattr(metric, "func", metric) is membership for metric in metrics]
    if not any(found):
        raise UserError(f"shadows={count}: the membership battery of a table is none of this run's metrics")
    pairs = zip(metrics, found, strict=True)
    return [functools.partial(metric, shadows=count) if is_game else metric for metric, is_game in pairs]


def _mapping(stored: Any, name: str, path: Path) -> dict[Any, Any]:  # noqa: ANN401 (any yaml value)
    """A part of a stored config; raises `UserError` where it is none of named values."""
    part = stored.get(name) if isinstance(stored, dict) else None
    if not isinstance(part, dict):
        raise UserError(f"{path} is damaged: its {name} is {str(part)[:40]!r}, no mapping; train again")
    return dict(part)


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
    if real.is_dir() and cfg.holdout is not None:
        raise UserError(f"holdout={cfg.holdout} is for tables; leave it out for folders of pictures")
    if real.is_dir() and cfg.secret is not None:
        raise UserError(f"secret={cfg.secret} is for tables; leave it out for folders of pictures")
    if real.is_dir():
        from datakiln.proof.folders import evaluate_folders as measure
    else:
        from datakiln.proof.pair import evaluate_tables as measure
    metrics = default_metrics("image" if real.is_dir() else "table")
    with _whole_or_gone(_new_folder(cfg, Path())) as folder:
        result, plots, preview = measure(cfg, metrics, folder, console)
        _write(result, plots, preview, folder, console, bool(cfg.report.public))


def default_metrics(kind: str) -> list[Any]:
    """The metrics of `conf/metrics` for a kind of data."""
    from hydra.utils import instantiate

    return [instantiate(node) for node in OmegaConf.load(CONF / "metrics" / f"{kind}.yaml").values()]


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
