"""What a run tells the person at its terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from omegaconf import DictConfig
from rich import box
from rich.panel import Panel
from rich.table import Table

from datakiln.console import Console, styled
from datakiln.data.base import GenerativeData
from datakiln.data.tables.public import Public
from datakiln.data.tables.tables import TableData
from datakiln.data.tables.types import ColumnRow, describe
from datakiln.jobs.job import Job
from datakiln.jobs.lengths import is_length_told
from datakiln.jobs.outcome import overrides
from datakiln.nets.linear import is_faster_in_bf16
from datakiln.results import Candidate, RunResult
from datakiln.wording import counted, number

ROOM_FOR_REASONS = 100  # characters
MOST_COLUMNS = 40
FEW_JUDGES = 100
SPENT = "train/epsilon"  # what dp_sgd counts, the only monitor that looks at no row
KEPT = {
    "computed": "computed",
    "kept": "computed where both are there",
    "shifted": "the distance is learnt",
    "checked": "checked, else drawn again",
}


def announce_data(data: GenerativeData, console: Console) -> None:
    """Where the data is from, loudly if it is a stand-in, and what the columns of a table were found to be."""
    notes: tuple[str, ...] = ()
    if isinstance(data, TableData):
        notes = data.read().notes
    else:
        data.prepare_data()
    source = data.provenance
    hashed = "" if isinstance(data, TableData) and data.public is not None else f", sha256 {source.sha256[:12]}"
    console.print(styled(f"data: {source.detail} ", (f"({source.kind}{hashed})", "dim")))
    for note in notes:
        told = styled(("note:", "yellow"), f" {note}")
        console.print(Panel(styled(note), style="bold yellow") if source.is_stand_in else told)
    if isinstance(data, TableData) and data.public is not None:
        console.print(
            columns_table(f"{counted(len(data.schema.fields), 'column')}, as declared", shown(data.public), 99)
        )
    elif isinstance(data, TableData):
        raw = data.read()
        title = f"{counted(raw.rows, 'row')}, {counted(len(data.schema.fields), 'column')}"
        console.print(columns_table(title, describe(data.schema, raw.frame, raw.facts, data.reasons), console.width))


def shown(public: Public) -> list[ColumnRow]:
    """The columns of a table under differential privacy, of which nothing is found and no cell is shown."""
    return [
        ColumnRow(column.field.name, column.field.type, 0, column.size if column.is_modelled else 0, "", "declared")
        for column in public.columns
    ]


def is_fixed(job: Job) -> bool:
    """Whether a person has said how long to train; where patience ends training, that is only how long at most."""
    return job.cfg.patience is None and is_length_told(overrides())


def announce_length(job: Job) -> None:
    """Which epoch was best, of how many, and what is done about it."""
    bundle, ran = job.bundle, job.trainer.current_epoch
    if job.chosen is not None:  # only the second fit was left to do
        ran = job.chosen.ran
    if bundle.best_epoch is None:
        best = f"{job.cfg.monitor} was never measured in {counted(ran, 'epoch')}"
        kept, length = "the weights of the last one are kept", ran
    elif job.cfg.monitor == SPENT:  # no figure of rows, which nothing was paid for
        best, length = f"{counted(ran, 'epoch')}, epsilon {number(bundle.best_score)} spent on them", ran
        kept = "the weights of the last one are kept"
    else:
        length = bundle.best_epoch + 1
        best = f"best epoch {length} of {ran} by {job.cfg.monitor} ({number(bundle.best_score)})"
        kept = "its weights are kept" + ("; more epochs= may be better still" if length == ran > 1 else "")
    if job.data.refits:
        rows = "all rows but those of test"
        again = f"as many as epochs= says ({job.trainer.max_epochs})" if is_fixed(job) else counted(length, "epoch")
        kept = f"a second fit, on {rows}, {'has gone' if job.chosen is not None else 'goes'} on for {again}"
    job.console.print(f"{best}: {kept}", markup=False, highlight=False, soft_wrap=True)


def announce_precision(trainer: DictConfig, console: Console) -> None:
    """That the processor is slower in the precision that was asked for, if it is."""
    is_here = torch.cuda.is_available() and trainer.get("accelerator") in (None, "auto", "gpu", "cuda")
    precision = str(trainer.get("precision"))
    if precision.startswith("bf16") and not is_faster_in_bf16(torch.device("cuda" if is_here else "cpu")):
        told = f"trainer.precision={precision}: this processor is slower in bfloat16 than in float32"
        told += ", by ten times if it only imitates it; trainer.precision=32-true takes less time"
        console.print(styled(("note:", "yellow"), f" {told}"))


def announce_affordable(job: Job) -> None:
    """What the budget makes of the length of training, if it makes it shorter."""
    planned = job.affordable
    if planned is None or not planned.is_shorter:
        return
    length = f"{planned.epochs} of {counted(planned.usual, 'epoch')}"
    if planned.batches is not None:
        part = f"{planned.batches} of its {counted(planned.whole, 'batch', 'batches')}"
        length = f"{counted(planned.epochs, 'epoch')} of {part}"
    told = f"budget={job.cfg.budget}: {length}, at {number(planned.epoch)} CPU-seconds a whole one"
    if planned.unseen is not None:
        first = counted(planned.unseen, "batch", "batches")
        told += f"; validated on the first {first} of unseen examples, tested on {planned.tested} at most"
    job.console.print(told, markup=False, highlight=False, soft_wrap=True)


def announce_trials(trials: Sequence[Candidate], console: Console) -> None:
    """The models that were tried for a table, which one is taken, and why."""
    rows = max(trial.rows for trial in trials)
    little = ", which say little" if rows < FEW_JUDGES else ""
    title = f"models tried, judged by {counted(rows, 'unseen row')}{little}"
    table = Table(title=styled(title), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), pad_edge=False)
    heads = ("two-sample", "with relations", "distance attack", "copies", "epochs", "CPU s")
    table.add_column("model")
    for head in heads:
        table.add_column(head, justify="right")
    table.add_column("why", overflow="fold")
    for trial in trials:
        auc = [trial.twosample, trial.with_relations, trial.memory]
        cells = ["–" if value is None else f"{value:.3f}" for value in auc]
        cells += ["–" if trial.copies is None else f"{trial.copies:.1%}", str(trial.epochs), f"{trial.cpu_seconds:.1f}"]
        name = styled((trial.model, "bold green")) if trial.is_chosen else styled(trial.model)
        why = f"chosen: {trial.why}" if trial.is_chosen else trial.why
        table.add_row(name, *map(styled, cells), styled(why))
    console.print(table)


def announce_relations(data: GenerativeData, console: Console) -> None:
    """What holds between the columns of a table, in which share of the training rows, and what is done about it."""
    if not isinstance(data, TableData) or not data.codec.relations:
        return
    relations = data.codec.relations
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), pad_edge=False)
    for head in ("relation", "training rows", "synthetic rows"):
        table.add_column(head, overflow="ellipsis")
    for relation in relations[:MOST_COLUMNS]:
        share = "all" if relation.share == 1.0 else f"{int(relation.share * 1e4) / 100:g} %"
        table.add_row(*(styled(text) for text in (str(relation), share, KEPT[relation.mode])))
    if len(relations) > MOST_COLUMNS:
        table.caption = styled(f"and {counted(len(relations) - MOST_COLUMNS, 'more relation')}")
        table.caption_justify = "left"
    console.print(table)


def columns_table(title: str, rows: Sequence[ColumnRow], width: int) -> Table:
    """What the columns of a table were found to be, a line each where there is room for the reasons too.

    Arguments:
        title: One line above it.
        rows: The columns; more than forty are counted.
        width: Characters to fit into.
    """
    table = Table(title=styled(title), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), pad_edge=False)
    heads = ["column", "type", *(["missing"] if any(row.missing for row in rows) else [])]
    heads += ["distinct", "example", *(["why"] if width >= ROOM_FOR_REASONS else [])]
    for head in heads:
        table.add_column(head, overflow="ellipsis", justify="right" if head in ("missing", "distinct") else "left")
    for row in rows[:MOST_COLUMNS]:
        table.add_row(*(styled(str(getattr(row, head))) for head in heads))
    if len(rows) > MOST_COLUMNS:
        table.caption = styled(f"and {counted(len(rows) - MOST_COLUMNS, 'more column')}, listed in metadata.json")
        table.caption_justify = "left"
    return table


def announce_result(result: RunResult, report: Path, console: Console) -> None:
    """The main figures and where the report is."""
    from datakiln.reports.terminal import lacking, terminal_table

    console.print(terminal_table(result))
    if (promise := result.privacy) is not None:
        told = f"epsilon {promise.epsilon:.4g} at delta {promise.delta:.2g} ({promise.mechanism}); "
        together = f"{counted(promise.runs, 'run')} on these data together: {promise.together_epsilon:.4g}"
        console.print(f"{told}{together}; figures and plots are not covered", soft_wrap=True)
    if told := lacking(result):
        console.print(told, style="yellow", soft_wrap=not console.is_terminal)
    console.print(f"report: {report}", soft_wrap=True)
