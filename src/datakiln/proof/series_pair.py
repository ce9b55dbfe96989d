"""Two files of series from anywhere: a real one and a synthetic one beside it, and real series never seen if any."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import DictConfig

from datakiln.codecs.series.series import Roles
from datakiln.console import Console
from datakiln.data.series.order import check_columns, in_order, static_columns, types_of
from datakiln.data.series.splits import by_entity, by_time
from datakiln.data.tables.files import read_table_file
from datakiln.data.tables.sources import TableFile
from datakiln.data.tables.steps import SHARES
from datakiln.data.tables.types import infer_schema, unplaced
from datakiln.data.tables.writings import alike
from datakiln.errors import UserError, near
from datakiln.metrics.base import traits
from datakiln.metrics.series.sets import evaluate_series
from datakiln.proof.base import Measured, scores
from datakiln.proof.series import series_plots, series_sets
from datakiln.results import RunResult, Score, Source, machine, package_versions
from datakiln.schema import Schema

USUAL, LEAST, SHORT = 24, 3, 0.25  # steps of a window, least of them, quantile of lengths that it may not exceed
MEMORY = "not computed: without holdout= it is not known which rows the generator saw"


def evaluate_series_files(cfg: DictConfig, metrics: Sequence[Any], folder: Path, console: Console) -> Measured:
    """All figures of series; without a holdout a part of the real series is the other side of ceilings alone.

    Raises:
        UserError: A file cannot be read, or the files do not belong together.
    """
    raw = TableFile(str(cfg.real), cfg.target, streaming=False)(None)
    time, entity = cfg.data.time, cfg.data.entity
    check_columns([str(name) for name in raw.frame.columns], time, entity, None)
    schema = infer_schema(raw.frame, raw.label, types_of(raw.frame, time, entity))
    real = unplaced(raw.frame, schema)
    frame, group, _ = in_order(real, schema, time, entity, "sort")
    static = static_columns(frame, group, schema, None, {entity} if entity else set())
    roles = Roles(time, entity, tuple(name for name in static if name != time))
    made, of = _beside(cfg, str(cfg.synthetic), "synthetic", schema, frame, roles, console)
    frames, groups = {"synthetic": made}, {"synthetic": of}
    length = cfg.data.window or max(min(USUAL, int(np.quantile(np.bincount(group), SHORT))), LEAST)
    if cfg.holdout is not None:
        frames["train"], groups["train"] = frame, group
        frames["test"], groups["test"] = _beside(cfg, str(cfg.holdout), "holdout", schema, frame, roles, console)
    else:
        for name, at in _parts(group, int(length), int(cfg.seed), entity).items():
            frames[name], groups[name] = frame.iloc[at].reset_index(drop=True), _runs(group, at)
    sets = series_sets(schema, roles, frames, groups, int(length), int(cfg.seed))
    told = [m for m in metrics if cfg.holdout is not None or not _asks_who_was_learnt(m)]
    with console.work("measuring", len(told)) as work:
        figures = scores(evaluate_series(sets, told, progress=work.step))
    for function in metrics:
        if function not in told:
            figures += [Score(name, None, why=MEMORY) for name in traits(function).figures]
    target = folder / "plots"
    target.mkdir(exist_ok=True)
    source = Source(raw.provenance.kind, raw.provenance.detail, raw.provenance.sha256)
    result = RunResult(
        model=Path(str(cfg.synthetic)).name, data=Path(str(cfg.real)).name, seed=int(cfg.seed), provenance=source,
        figures=figures, n_train=len(frames["train"]), n_holdout=len(frames["test"]), n_synthetic=len(made),
        versions=package_versions(), machine=machine(),
    )  # fmt: skip
    return result, series_plots(sets, target), made.head(10)


def _asks_who_was_learnt(function: Any) -> bool:  # noqa: ANN401 (a metric)
    """Whether a figure compares what the generator saw with what it did not; a copy is one without that."""
    return any(name.startswith("privacy/") and name != "privacy/copies" for name in traits(function).figures)


def _beside(
    cfg: DictConfig, path: str, key: str, schema: Schema, real: pd.DataFrame, roles: Roles, console: Console
) -> tuple[pd.DataFrame, np.ndarray]:
    """Rows of another file, written as the real ones and in order, and their sequence."""
    name, entity = f"{key}={path}", roles.entity
    found = read_table_file(Path(path), least=1).frame
    lacking = [column for column in schema.names if column not in found.columns and column != roles.time]
    if lacking:
        raise UserError(
            f"{name} has no column {lacking[0]!r}, which real={cfg.real} has{near(lacking[0], found.columns)}"
        )
    windows = None
    if entity is None and str(found.columns[0]) == "window" and "window" not in schema.names:
        windows = "window"  # as a sample of windows numbers them
    known = dataclasses.replace(schema, fields=tuple(f for f in schema.fields if f.name in found.columns))
    made, lines = alike(unplaced(found[known.names], known), real[known.names], known, name)
    for line in lines:
        console.print(f"{name}: {line}", style="yellow", soft_wrap=True)
    for column in schema.names:
        if column not in made:
            made[column] = np.nan
    if windows is not None:
        return made, pd.factorize(found[windows])[0].astype(np.int64)
    frame, group, _ = in_order(made, schema, roles.time if roles.time in found.columns else None, entity, "sort")
    return frame, group


def _parts(group: np.ndarray, length: int, seed: int, entity: str | None) -> dict[str, np.ndarray]:
    """Rows that count as what the generator has learnt from, and rows of the ceiling."""
    if entity is not None:
        parts = by_entity(group, SHARES, seed, entity)
        return {"train": np.sort(np.concatenate([parts["train"], parts["val"]])), "test": parts["test"]}
    runs = by_time(len(group), length, SHARES, seed)
    spans = {"train": sorted([*runs["train"], *runs["val"]]), "test": runs["test"]}
    return {name: np.concatenate([np.arange(*run) for run in parts]) for name, parts in spans.items()}


def _runs(group: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Sequence of each row, where rows that do not follow each other begin another one."""
    begins = (np.diff(at) != 1) | (np.diff(group[at]) != 0)
    return np.r_[0, np.cumsum(begins)].astype(np.int64)
