"""Two tables from anywhere: a real one, split into training and holdout halves, and a synthetic one beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import DictConfig

from datakiln.console import Console
from datakiln.data.tables.sources import TableFile
from datakiln.data.tables.steps import split
from datakiln.data.tables.types import infer_schema
from datakiln.errors import UserError, near
from datakiln.metrics.base import EvalData
from datakiln.metrics.evaluate import evaluate_table
from datakiln.metrics.tables.columns import as_numbers
from datakiln.plots.table import column_plots, correlation_plot, embedding_plot
from datakiln.proof.base import Measured, scores
from datakiln.results import RunResult, Score, Source, machine, package_versions
from datakiln.schema import Schema

SHARES = (0.7, 0.15, 0.15)  # the middle part is not used: the same split as a run's, so that figures compare


def evaluate_tables(cfg: DictConfig, metrics: Sequence[Any], folder: Path, console: Console) -> Measured:
    """All table metrics; which rows the generator saw is not known, so privacy figures are against 70 % of them.

    Raises:
        UserError: A file cannot be read, or the synthetic table lacks a column of the real one.
    """
    raw = TableFile(str(cfg.real), cfg.target)(None)
    made = TableFile(str(cfg.synthetic), None)(None).frame
    names = (f"real={cfg.real}", f"synthetic={cfg.synthetic}")
    data = paired(raw.frame, made, raw.label, int(cfg.seed), names=names)
    for line in unreadable(data.schema, data.synthetic):
        console.print(f"{names[1]}: {line}", style="yellow", soft_wrap=True)
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
    names: tuple[str, str] = ("real", "synthetic"),
) -> EvalData:
    """Synthetic rows beside real ones.

    Arguments:
        real: Rows that the generator may have seen; without a holdout they are split as those of a run are.
        made: Synthetic rows.
        label: Column that classes are taken from, or None.
        seed: Of the split and of every resampling.
        holdout: Real rows that the generator has not seen: all of `real` then counts as what it has learnt from.
        names: What errors call the two tables.

    Raises:
        UserError: A table lacks a column of the real one.
    """
    others = [(names[1], made)] + ([] if holdout is None else [("holdout", holdout)])
    for name, frame in others:
        missing = [column for column in real.columns if column not in frame.columns]
        if missing:
            hint = near(missing[0], map(str, frame.columns))
            raise UserError(f"{name} has no column {missing[0]!r}, which {names[0]} has{hint}")
    schema = infer_schema(real, label, {})
    made = made[schema.names]
    if holdout is not None:
        return EvalData(schema, real, holdout[schema.names], made, seed)
    frames = split(real, schema, SHARES, seed)
    return EvalData(schema, frames["train"], frames["test"], made, seed)


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
