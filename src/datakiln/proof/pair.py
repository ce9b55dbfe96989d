"""Two tables from anywhere: a real one, split into training and holdout halves, and a synthetic one beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import DictConfig
from rich.console import Console

from datakiln.data.tables.sources import TableFile
from datakiln.data.tables.steps import split
from datakiln.data.tables.types import infer_schema
from datakiln.errors import UserError
from datakiln.metrics.base import EvalData
from datakiln.metrics.evaluate import evaluate_table
from datakiln.metrics.tables.columns import as_numbers
from datakiln.plots.table import column_plots, correlation_plot, embedding_plot
from datakiln.proof.base import Measured, scores
from datakiln.results import RunResult, Source, machine, package_versions
from datakiln.schema import Schema

SHARES = (0.7, 0.15, 0.15)  # the middle part is not used: the same split as a run's, so that figures compare


def evaluate_tables(cfg: DictConfig, metrics: Sequence[Any], folder: Path, console: Console) -> Measured:
    """All table metrics; which rows the generator saw is not known, so privacy figures are against 70 % of them.

    Raises:
        UserError: A file cannot be read, or the synthetic table lacks a column of the real one.
    """
    raw = TableFile(str(cfg.real), cfg.target)(None)
    made = TableFile(str(cfg.synthetic), None)(None).frame
    missing = [name for name in raw.frame.columns if name not in made.columns]
    if missing:
        raise UserError(f"synthetic={cfg.synthetic} has no column {missing[0]!r}, which real={cfg.real} has")
    schema = infer_schema(raw.frame, raw.label, {})
    made = made[schema.names]
    for line in unreadable(schema, made):
        console.print(
            f"synthetic={cfg.synthetic}: {line}", style="yellow", markup=False, highlight=False, soft_wrap=True
        )
    frames = split(raw.frame, schema, SHARES, int(cfg.seed))
    data = EvalData(schema, frames["train"], frames["test"], made, int(cfg.seed))
    with console.status("measuring"):
        figures = scores(evaluate_table(data, metrics))
    target = folder / "plots"
    target.mkdir(exist_ok=True)
    plots: list[Path | None] = [*column_plots(schema, frames["train"], made, target)]
    plots.append(correlation_plot(schema, frames["train"], made, target / "correlations.png"))
    plots.append(embedding_plot(schema, frames["train"], made, target / "embedding.png"))
    result = RunResult(
        model=Path(str(cfg.synthetic)).name,
        data=Path(str(cfg.real)).name,
        seed=int(cfg.seed),
        provenance=Source(raw.provenance.kind, raw.provenance.detail, raw.provenance.sha256),
        figures=figures,
        n_train=len(frames["train"]),
        n_holdout=len(frames["test"]),
        n_synthetic=len(made),
        versions=package_versions(),
        machine=machine(),
    )
    return result, [path for path in plots if path is not None], made.head(10)


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
