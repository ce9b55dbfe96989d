"""Two tables from anywhere: a real one and a synthetic one beside it, and real rows the generator never saw if any."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import DictConfig

from datakiln.console import Console
from datakiln.data.tables.files import read_table_file
from datakiln.data.tables.sources import TableFile
from datakiln.data.tables.types import infer_schema, unplaced
from datakiln.data.tables.writings import alike
from datakiln.errors import UserError, near
from datakiln.metrics.base import EvalData, MetricError
from datakiln.metrics.evaluate import evaluate_table
from datakiln.metrics.tables.columns import as_numbers, encode, row_keys
from datakiln.plots.table import column_plots, correlation_plot, embedding_plot
from datakiln.proof.base import Measured, scores
from datakiln.results import RunResult, Score, Source, machine, package_versions
from datakiln.schema import Schema
from datakiln.wording import counted

LENT = 0.3  # share of the real rows to test on where there is no holdout


def evaluate_tables(cfg: DictConfig, metrics: Sequence[Any], folder: Path, console: Console) -> Measured:
    """All table metrics; without a holdout it is not known which rows the generator saw, and none is of memory.

    Raises:
        UserError: A file cannot be read, or the tables do not belong together; see `paired`.
    """
    raw = TableFile(str(cfg.real), cfg.target, streaming=False)(None)
    made = TableFile(str(cfg.synthetic), None, streaming=False)(None).frame
    unseen = None if cfg.holdout is None else read_table_file(Path(str(cfg.holdout)), least=1).frame
    names = (f"real={cfg.real}", f"synthetic={cfg.synthetic}", f"holdout={cfg.holdout}")
    data, lines = paired(raw.frame, made, raw.label, int(cfg.seed), unseen, names)
    if cfg.secret is not None:
        if cfg.secret not in data.schema.names:
            hint = near(str(cfg.secret), data.schema.names)
            raise UserError(f"secret={cfg.secret} is no column of {names[0]}{hint}")
        data = replace(data, secret=str(cfg.secret))
    for line in lines:
        console.print(line, style="yellow", soft_wrap=True)
    with console.work("measuring", len(metrics)) as work:
        figures = scores(evaluate_table(data, metrics, progress=work.step))
    titles = (Path(str(cfg.real)).name, Path(str(cfg.synthetic)).name)
    source = Source(raw.provenance.kind, raw.provenance.detail, raw.provenance.sha256)
    return result_of(data, figures, titles, source), draw(data, folder), data.synthetic.head(10)


def paired(
    real: pd.DataFrame,
    made: pd.DataFrame,
    label: str | None,
    seed: int,
    holdout: pd.DataFrame | None = None,
    names: tuple[str, str, str] = ("real", "synthetic", "holdout"),
) -> tuple[EvalData, list[str]]:
    """Synthetic rows beside real ones, written alike, and lines for the person.

    Arguments:
        real: Rows that the generator may have seen; all of them count as what it has learnt from.
        made: Synthetic rows.
        label: Column that classes are taken from, or None.
        seed: Of every resampling.
        holdout: Real rows that the generator has not seen.
        names: What errors call the tables.

    Raises:
        UserError: A table lacks a column of the real one, or writes it in a way that cannot be read for certain; or the
            holdout holds rows of the real table.
    """
    schema = infer_schema(real, label, {})
    real = unplaced(real, schema)
    others, lines = [], []
    for name, frame in ((names[1], made), (names[2], holdout)):
        if frame is None:
            continue
        missing = [column for column in real.columns if column not in frame.columns]
        if missing:
            hint = near(missing[0], map(str, frame.columns))
            raise UserError(f"{name} has no column {missing[0]!r}, which {names[0]} has{hint}")
        if more := [str(column) for column in frame.columns if column not in real.columns]:
            few = ", ".join(more[:5]) + (", ..." if len(more) > 5 else "")
            lines.append(f"{name}: {counted(len(more), 'column')} left out that {names[0]} lacks: {few}")
        frame, told = alike(unplaced(frame[schema.names], schema), real, schema, name)
        lines += [f"{name}: {line}" for line in told + unreadable(schema, frame)]
        others.append(frame)
    if holdout is None:
        return EvalData(schema, real, real.iloc[:0], others[0], seed, lend=LENT), lines
    lines += _shared_rows(schema, real, others[1], names)
    return EvalData(schema, real, others[1], others[0], seed), lines


def _shared_rows(schema: Schema, real: pd.DataFrame, holdout: pd.DataFrame, names: tuple[str, str, str]) -> list[str]:
    """A line where rows of the holdout are rows of the real table too, as often as its own rows repeat.

    Raises:
        UserError: More often than chance explains: then they are no rows that the generator has not seen.
    """
    try:
        t = encode(schema, (real, holdout))
    except MetricError:  # no column to compare: the figures will say so
        return []
    known, asked = (row_keys(part) for part in t.parts)
    shared = int(np.isin(asked, known).sum())
    _, places, counts = np.unique(known, return_inverse=True, return_counts=True)
    expected = float((counts[places] > 1).mean()) * len(asked)
    if shared > expected + 4.0 * math.sqrt(expected + 1.0) or shared == len(asked) and expected < 0.9 * shared:
        raise UserError(
            f"{names[2]}: {shared} of its {len(asked)} rows are rows of {names[0]} too (chance explains "
            f"{expected:.0f}); a holdout is real rows that the generator has not seen: take them out of one of the two"
        )
    rows = "row is a row" if shared == 1 else "rows are rows"
    return [f"{names[2]}: {shared} of {len(asked)} {rows} of {names[0]} too, no more than chance"] if shared else []


def result_of(data: EvalData, figures: list[Score], names: tuple[str, str], source: Source) -> RunResult:
    """The figures as the result of a run, whose data and model are called by `names`."""
    return RunResult(
        model=names[1],
        data=names[0],
        seed=data.seed,
        provenance=source,
        figures=figures,
        n_train=len(data.train),
        n_holdout=len(data.holdout),
        n_synthetic=len(data.synthetic),
        versions=package_versions(),
        machine=machine(),
    )


def draw(data: EvalData, folder: Path) -> list[Path]:
    """Columns, correlations and embedding, into `folder/plots`."""
    target = folder / "plots"
    target.mkdir(exist_ok=True)
    plots: list[Path | None] = [*column_plots(data.schema, data.train, data.synthetic, target)]
    plots.append(correlation_plot(data.schema, data.train, data.synthetic, target / "correlations.png"))
    plots.append(embedding_plot(data.schema, data.train, data.synthetic, target / "embedding.png"))
    return [path for path in plots if path is not None]


def unreadable(schema: Schema, made: pd.DataFrame) -> list[str]:
    """A line for each column of numbers or dates with cells that are none, or without a single value."""
    lines = []
    for name in schema.numeric + schema.choices:
        cells = made[name]
        numbers = as_numbers(cells, schema[name]) if schema[name].is_numeric else np.zeros(len(cells))
        wrong = cells.notna().to_numpy() & np.isnan(numbers)
        if wrong.any():
            example = f"such as {str(cells[wrong].iloc[0])[:20]!r}"
            told = (
                f"cells of column {name!r} could not be read as {schema[name].type} ({example}); they count as missing"
            )
            lines.append(f"{int(wrong.sum())} of {len(cells)} {told}")
        elif cells.isna().all():
            lines.append(f"column {name!r} has no value at all; it counts as 0")
    return lines
