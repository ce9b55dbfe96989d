"""`datakiln evaluate ... study=utility`: studies of a run or of tables from anywhere, each in a folder of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from datakiln.errors import UserError
from datakiln.saying import say
from datakiln.storage import small_text

if TYPE_CHECKING:
    from datakiln.console import Console
    from datakiln.results import RunResult, Score
    from datakiln.studies.base import Result, Wish
    from datakiln.studies.generators import Recipe

OWN = ("budget", "tuning", "repeats")


def wish_of(cfg: DictConfig) -> Wish | None:
    """What is asked of a study; None where none is.

    Raises:
        UserError: An option of studies without one, or one that is impossible.
    """
    from datakiln.studies.base import Wish

    given = [key for key in OWN if cfg.get(key) is not None]
    protected = (cfg.get("data") or {}).get("protected")
    strange = [key for key, value in (cfg.get("data") or {}).items() if key != "protected" and value is not None]
    if strange and cfg.study is not None:
        raise UserError(f"data.{strange[0]}= is for series, and studies are of tables; leave one of them out")
    if cfg.study is None:
        if given or protected is not None:
            key = given[0] if given else "data.protected"
            raise UserError(f"{key}= is for studies; add study=utility, augmentation or fairness")
        return None
    for key in ("shadows", "secret"):
        if cfg.get(key):
            raise UserError(f"{key}={cfg[key]} is for the attacks, which a study does not repeat; leave one out")
    tuning = 3 if cfg.tuning is None else int(cfg.tuning)
    return Wish(str(cfg.study), cfg.budget, tuning, cfg.repeats, protected).check()


def study_pair(cfg: DictConfig, wish: Wish, console: Console) -> None:
    """A study of tables from anywhere, beside all the usual figures, which are measured once.

    Raises:
        UserError: No holdout, no target, or tables that do not belong together.
    """
    from datakiln.cli.stored import default_metrics
    from datakiln.data.tables.files import read_table_file
    from datakiln.data.tables.sources import TableFile
    from datakiln.metrics.evaluate import evaluate_table
    from datakiln.proof.base import scores
    from datakiln.proof.pair import draw, paired, result_of
    from datakiln.results import Score, Source
    from datakiln.studies.base import Material, digest, run_study
    from datakiln.studies.tables import task_of

    for key in ("holdout", "target"):
        if cfg[key] is None:
            what = (
                "real rows that the generator has not seen, to test on" if key == "holdout" else "the column to learn"
            )
            raise UserError(f"study={wish.name} needs {key}=: {what}")
    real, made, unseen = (Path(str(cfg[key])) for key in ("real", "synthetic", "holdout"))
    if real.is_dir():
        raise UserError(f"study={wish.name} of folders of pictures is not there; give run=, or tables as real=")
    if wish.name == "augmentation":
        raise UserError("study=augmentation trains generators, which files have none of; give run=FOLDER")
    raw = TableFile(str(real), cfg.target, streaming=False)(None)
    names = (f"real={real}", f"synthetic={made}", f"holdout={unseen}")
    frames = TableFile(str(made), None, streaming=False)(None).frame, read_table_file(unseen, least=1).frame
    data, lines = paired(raw.frame, frames[0], raw.label, int(cfg.seed), frames[1], names)
    for line in lines:
        console.print(line, style="yellow", soft_wrap=True)
    task_of(data.schema, data.train, data.holdout, [data.synthetic])  # refuses before a folder is made
    folder = Path(str(cfg.out)) if cfg.out is not None else Path(f"study-{wish.name}-{made.stem}")
    own = folder / "figures.json"
    material = Material(data.schema, data.train, data.holdout, data.synthetic, int(cfg.seed))
    check_folder(folder)
    result: Result = run_study(wish, material, folder, console)
    known = digest((data.train, data.holdout, data.synthetic))
    figures = _kept_figures(own, known)
    if figures is None:
        metrics = default_metrics("table")
        with console.work("measuring", len(metrics)) as work:
            figures = scores(evaluate_table(data, metrics, progress=work.step))
        _keep_figures(figures, own, known)
    assert all(isinstance(score, Score) for score in figures)
    source = Source(raw.provenance.kind, raw.provenance.detail, raw.provenance.sha256)
    whole = result_of(data, figures, (real.name, made.name), source)
    _write(whole, result, draw(data, folder), data.synthetic.head(10), folder, console, bool(cfg.report.public))


def _keep_figures(figures: Sequence[Score], path: Path, known: str) -> None:
    """The usual figures for the same command again; `known` tells the tables."""
    from datakiln import strictjson

    strictjson.write({"data": known, "figures": [asdict(score) for score in figures]}, path)


def _kept_figures(path: Path, known: str) -> list[Any] | None:
    """The usual figures, if an earlier call has measured them on the same tables."""
    from datakiln import strictjson
    from datakiln.results import Score

    if not path.exists():
        return None
    try:
        state = strictjson.parse(small_text(path))
        return [strictjson.read(Score, score) for score in state["figures"]] if state["data"] == known else None
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path} is damaged ({error}); take it away, it is measured again") from None


def check_folder(folder: Path) -> None:
    """Refuses a folder that holds something else than a study of ours; raises `UserError`."""
    from datakiln.studies.journal import FILE

    if folder.exists() and not folder.is_dir():
        raise UserError(f"out={folder} is a file; choose another out=")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / FILE).exists():
        raise UserError(f"{folder} holds other files; choose another out=")


def study_run(cfg: DictConfig, wish: Wish, console: Console) -> None:
    """A study of a finished run, with the same rows that its own figures are of.

    Raises:
        UserError: The folder is no finished run, its data has changed, or the study cannot be made of it.
    """
    from datakiln.cli.stored import opened_run
    from datakiln.studies.runs import preview_of, study_data

    run = Path(str(cfg.run))
    synthesizer, result, data, _ = opened_run(cfg, run)
    folder = Path(str(cfg.out)) if cfg.out is not None else run / f"study-{wish.name}"
    check_folder(folder)
    seed = result.seed if cfg.seed is None else int(cfg.seed)
    n = int(cfg.n or result.n_synthetic or data.n_synthetic)
    again = f"{n:,} synthetic examples drawn with seed={seed}"
    say(again + (", as the run did" if cfg.seed is None and cfg.n is None else ""))
    found = study_data(wish, data, synthesizer, n, seed, folder, console, recipe_of(run / "config" / "config.yaml"))
    _write(
        result, found, sorted((run / "plots").glob("*.png")), preview_of(run), folder, console, bool(cfg.report.public)
    )


def recipe_of(path: Path) -> Recipe:
    """How a run's generator was trained, from its config, which is read as plain values.

    Raises:
        UserError: The file is not what a run leaves there.
    """
    from datakiln.cli.run_folders import stored_yaml
    from datakiln.cli.stored import stored_parts
    from datakiln.studies.generators import Recipe

    stored = stored_yaml(path)
    model, epochs, ema = (stored.get(key) for key in ("model", "epochs", "ema"))
    if not isinstance(model, dict) or not isinstance(epochs, int) or not isinstance(ema, float | None):
        raise UserError(f"{path} is damaged: it does not say how the model was trained; train again")
    return Recipe(lambda: stored_parts(path)[0], model, epochs, ema)


def _write(
    result: RunResult, found: Result, plots: list[Path], preview: Any, folder: Path, console: Console, is_public: bool
) -> None:  # noqa: ANN401 (a frame or None)
    from datakiln.jobs.announce import announce_result
    from datakiln.reports.page import write_page
    from datakiln.studies.base import finish

    study, figures, pictures = found
    result.studies = [finish(study, pictures, folder)]
    result.figures = [score for score in result.figures if not score.name.startswith("study/")] + figures
    write_page(result, plots, preview, None, folder / "report.html", is_public=is_public)
    result.save(folder / "result.json")
    console.print(study.sentence, soft_wrap=True)
    for line in study.evidence:
        console.print(f"  {line}", soft_wrap=True)
    announce_result(result, folder / "report.html", console)
