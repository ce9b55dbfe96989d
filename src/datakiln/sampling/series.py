"""Series from a trained model: sequences, one endless series, forecasts, and how likely each step is."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from datakiln.codecs.series.series import SeriesCodec
from datakiln.codecs.tables.values import from_numbers, to_numbers, with_columns
from datakiln.errors import UserError
from datakiln.plots.series import LEVELS, fan_plot
from datakiln.sampling.filling import (
    BROKEN,
    SCORE,
    broken_note,
    broken_relations,
    unseen_cells,
)
from datakiln.sampling.histories import check_size, read_history, unknown_note
from datakiln.sampling.media import is_media, write_continuations, write_media
from datakiln.sampling.synthesizer import Synthesizer
from datakiln.sampling.writing import as_csv, as_table
from datakiln.schema import Field, Schema, free_name
from datakiln.spec import Sampling
from datakiln.storage import naming, replacing
from datakiln.wording import counted

DEFAULT_SEQUENCES = 100
TOGETHER = 4096  # paths of a forecast
STEPS_AHEAD = 1_048_576  # of those, with what they go on from
STEPS = 16_384  # that are scored, or decoded, at once
SERIES = 256  # endless ones that are drawn together
KEPT = 2**25  # numbers of those that are kept until they are written


def codec_of(synthesizer: Synthesizer) -> SeriesCodec:
    """The codec of a model of series."""
    assert isinstance(synthesizer.codec, SeriesCodec)
    return synthesizer.codec


def unit_of(codec: SeriesCodec) -> str:
    """What a step is called."""
    return {"rows": "row", "text": "byte", "sound": "sample"}[codec.medium]


def series_csv(frame: pd.DataFrame, codec: SeriesCodec, header: bool = True) -> bytes:
    """Rows as CSV, cells as the training table had them."""
    known = {field.name: field for numeric in _numeric(codec) for field in _levels(codec, numeric)}
    known |= {field.name: field for field in codec.schema.fields}
    fields = [known.get(str(name), Field(str(name), "numeric", str(frame[name].dtype))) for name in frame.columns]
    return as_csv(frame, Schema(tuple(fields)), header=header)


def write_sequences(
    synthesizer: Synthesizer, n: int | None, out: Path, condition: Mapping[str, Any], seed: int, options: Sampling
) -> str:
    """Writes n sequences, each of its own length, to a .csv or .parquet file, piece by piece; says what that is."""
    codec = codec_of(synthesizer)
    n = (
        int(n)
        if n is not None
        else 1
        if codec.roles.entity is None and codec.lengths[0] > codec.spec.shape[0]
        else DEFAULT_SEQUENCES
    )
    rows = _write(out, synthesizer.chunks(n, condition, seed, options=options), codec)
    return f"{counted(n, 'sequence')} of {counted(rows, unit_of(codec))}"


def write_endless(
    synthesizer: Synthesizer, n: int, length: int, out: Path, condition: Mapping[str, Any], seed: int, options: Sampling
) -> str:
    """Writes n sequences of `length` steps each, many of them together; memory does not grow with the length of one."""
    codec = codec_of(synthesizer)
    model = synthesizer.model
    if length > codec.spec.shape[0] and not model.can_unroll:
        told = f"{type(model).__name__} makes sequences of {codec.spec.shape[0]} steps"
        raise UserError(f"length={length}: {told}; train model=tsar or wavenet")
    if condition and model.conditioning != "columns":
        raise UserError(f"condition.{next(iter(condition))}: {type(model).__name__} cannot be told; train model=tsar")
    codec.told(condition, 1, np.random.default_rng(seed))  # wrong requests raise at once
    rows = _write(out, _endless(synthesizer, codec, n, length, condition, seed, options), codec)
    return f"{counted(n, 'sequence')} of {counted(length, 'step')}, {counted(rows, unit_of(codec))}"


def _endless(
    synthesizer: Synthesizer,
    codec: SeriesCodec,
    n: int,
    length: int,
    condition: Mapping[str, Any],
    seed: int,
    options: Sampling,
) -> Iterator[pd.DataFrame]:
    most = max(min(SERIES, KEPT // (length * codec.spec.shape[1])), 1)
    for i in range(0, n, most):
        some = min(most, n - i)
        with synthesizer.seeded((seed, 5, i)):
            rng = np.random.default_rng([seed, 5, i])
            told = codec.told(condition, some, rng)
            first = synthesizer.model.sample(some, None if told is None else told.to(synthesizer.model.device), options)
            size = int(codec.sizes(first).min())  # those that end by themselves go on from where the first one does
            first = first[:, : min(size, length)]
            yield from _numbered(codec, synthesizer, first, length, i, n, rng, options)


def _numbered(
    codec: SeriesCodec,
    synthesizer: Synthesizer,
    first: torch.Tensor,
    length: int,
    i: int,
    n: int,
    rng: np.random.Generator,
    options: Sampling,
) -> Iterator[pd.DataFrame]:
    """Rows of some series that go on together, one series behind the other, the first of them the i-th of n."""
    starts = codec.starts(first, rng)
    names = codec.names(len(first), rng, i)
    together = _pieces(synthesizer, first, length, options)
    whole = torch.cat(list(together), dim=1).cpu() if len(first) > 1 else None
    for k in range(len(first)):
        start, done = starts if starts is None else starts[k : k + 1], 0
        for x in together if whole is None else whole[k : k + 1].split(STEPS, dim=1):
            frame, _ = codec.decode_steps(x.cpu(), np.array([x.shape[1]]), rng, start, done, (i + k) * length + done)
            if codec.log_step is not None and codec.clock is not None:
                start = codec.clock.numbers(frame[codec.clock.field.name].iloc[-1:])
            done += x.shape[1]
            rows = codec.whole(frame, names, np.full(len(frame), k))
            if n > 1 and codec.roles.entity is None:
                rows.insert(0, free_name("series", rows.columns), i + k + 1)
            yield rows


def _pieces(synthesizer: Synthesizer, first: torch.Tensor, length: int, options: Sampling) -> Iterator[torch.Tensor]:
    yield first
    if first.shape[1] < length:
        yield from synthesizer.model.unroll(first, length - first.shape[1], options)


def _write(out: Path, pieces: Iterator[pd.DataFrame], codec: SeriesCodec) -> int:
    """Pieces to one file that appears when it is complete; returns its rows."""
    if is_media(out, codec):
        return write_media(out, pieces, codec)
    if out.suffix not in (".csv", ".parquet"):
        raise UserError(f"out={out} must end in .csv or .parquet")
    rows = 0
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as partial, naming(out):
        if out.suffix == ".parquet":
            import pyarrow.parquet as pq

            writer = None
            for frame in pieces:
                table = as_table(frame, codec.schema, writer.schema if writer else None)
                writer = writer or pq.ParquetWriter(partial, table.schema)
                writer.write_table(table)
                rows += len(frame)
            if writer is not None:
                writer.close()
            return rows
        with partial.open("wb") as file:
            for frame in pieces:
                file.write(series_csv(frame, codec, header=rows == 0))
                rows += len(frame)
    return rows


def forecast_file(
    synthesizer: Synthesizer, path: str, out: Path, horizon: int, paths: int, seed: int, options: Sampling
) -> str:
    """Continues every sequence of a file: quantiles a step to `out`, paths beside it, and a fan chart of the first."""
    codec, model = codec_of(synthesizer), synthesizer.model
    if not model.can_unroll:
        raise UserError(f"forecast={path}: {type(model).__name__} cannot go on with a sequence; train model=tsar")
    if not is_media(out, codec):
        check_csv(out)
    frame, group = read_history(codec, path, "forecast")
    if is_media(out, codec):
        check_size(codec, 1, paths, horizon)
        return _go_on(synthesizer, codec, frame, out, horizon, paths, seed, options)
    check_size(codec, int(group.max()) + 1, paths, horizon)
    out.parent.mkdir(parents=True, exist_ok=True)
    histories = [rows.reset_index(drop=True) for _, rows in frame.groupby(group, sort=True)]
    made, told = [pd.DataFrame()] * len(histories), [pd.DataFrame()] * len(histories)
    done = 0
    most = max(min(TOGETHER, STEPS_AHEAD // (horizon + max(map(len, histories)))) // paths, 1)
    for some in _of_one_length([len(rows) for rows in histories], most):
        rng, parts = np.random.default_rng([seed, 6, some[0]]), [histories[i] for i in some]
        with synthesizer.seeded((seed, 6, some[0])):
            ahead = _continued(synthesizer, codec, parts, horizon, paths, rng, options, done)
        done += len(ahead)
        quantiles = _quantiles(codec, ahead, np.repeat(np.arange(len(some)), paths * horizon))
        for k, i in enumerate(some):
            made[i] = ahead[k * paths * horizon : (k + 1) * paths * horizon]
            told[i] = quantiles[k * horizon : (k + 1) * horizon]
    _draw_fan(codec, histories[0], made[0], horizon, out)
    beside = out.with_name(f"{out.stem}_paths.csv")
    for file, parts in ((out, told), (beside, made)):
        save(file, parts, codec)
    count = counted(len(made), "sequence")
    beside_it = f"{counted(paths, 'path')} each (all of them in {beside.name})"
    return f"{counted(horizon, 'step')} ahead of {count}, {beside_it}{unknown_note(codec, frame)};"


def _of_one_length(lengths: list[int], most: int) -> Iterator[list[int]]:
    """Which sequences are as long as one another, so many of them at once."""
    for _, same in pd.Series(lengths).groupby(lengths, sort=False):
        yield from (same.index[i : i + most].tolist() for i in range(0, len(same), most))


def _go_on(
    synthesizer: Synthesizer, codec: SeriesCodec, rows: pd.DataFrame, out: Path, horizon: int, paths: int, seed: int,
    options: Sampling,
) -> str:  # fmt: skip
    """Goes on with a text or a sound."""
    with synthesizer.seeded((seed, 6, 0)):
        ahead = _continued(synthesizer, codec, [rows], horizon, paths, np.random.default_rng([seed, 6, 0]), options)
    path = free_name("path", codec.schema.names)
    write_continuations(out, [part for _, part in ahead.groupby(path, sort=True)], codec)
    unit = unit_of(codec)
    return f"{counted(horizon, unit)} after {counted(len(rows), unit)}, {counted(paths, 'path')};"


def check_csv(out: Path) -> None:
    """Raises `UserError` for a file of another kind."""
    if out.suffix != ".csv":
        raise UserError(f"out={out} must end in .csv")


def save(out: Path, parts: list[pd.DataFrame], codec: SeriesCodec) -> None:
    """Writes the rows of sequences to one CSV file, see `series_csv`."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as partial, naming(out):
        partial.write_bytes(series_csv(pd.concat(parts, ignore_index=True), codec))


def _continued(
    synthesizer: Synthesizer,
    codec: SeriesCodec,
    histories: list[pd.DataFrame],
    horizon: int,
    paths: int,
    rng: np.random.Generator,
    options: Sampling,
    done: int = 0,
) -> pd.DataFrame:
    """Steps behind sequences of one length, of each path by path; `done` of others were made before."""
    n = len(histories) * paths
    x = torch.cat([codec.encode_whole(rows) for rows in histories]).to(synthesizer.model.device)
    x = x.expand(paths, -1, -1) if len(histories) == 1 else x.repeat_interleave(paths, dim=0)  # a view of a long one
    made = torch.cat(list(synthesizer.model.unroll(x, horizon, options)), dim=1).cpu()
    last, starts = pd.concat([rows.tail(1) for rows in histories], ignore_index=True), None
    if codec.clock is not None:
        starts = np.repeat(codec.clock.numbers(last[codec.clock.field.name]), paths)
    made = made.nan_to_num()  # of static cells that are missing, which stay so below
    frame, at = codec.decode_steps(made, np.full(n, horizon), rng, starts, 1, done)
    path, step = (free_name(name, codec.schema.names) for name in ("path", "step"))
    frame.insert(0, path, np.tile(np.repeat(np.arange(1, paths + 1), horizon), len(histories)))
    frame.insert(1, step, at + 1)
    held = {codec.roles.entity, *codec.roles.static}
    cells = {name: last[name].repeat(paths * horizon).array for name in held if name in last}
    frame = with_columns(frame, cells)
    names = [name for name in codec.schema.names if name in frame]
    return frame[[path, step, *names]]


def _numeric(codec: SeriesCodec) -> list[Field]:
    taken = {codec.roles.time, codec.roles.entity, *codec.roles.static}
    return [field for field in codec.schema.fields if field.is_numeric and field.name not in taken]


def _levels(codec: SeriesCodec, field: Field) -> list[Field]:
    """Columns of the quantiles of one, which are written as it is."""
    names = (free_name(f"{field.name} {100 * level:g}%", codec.schema.names) for level in LEVELS)
    return [dataclasses.replace(field, name=name) for name in names]


def _quantiles(codec: SeriesCodec, ahead: pd.DataFrame, of: np.ndarray) -> pd.DataFrame:
    """A row a step of each sequence, whose rows `of` tells: quantiles of numbers, the likeliest of each category."""
    step = free_name("step", codec.schema.names)
    by = [of, ahead[step].to_numpy()]
    rows = ahead.groupby(by, sort=True)
    firsts = np.flatnonzero(~pd.MultiIndex.from_arrays(by).duplicated())  # of the first path of each, in their order
    found: dict[str, Any] = {step: by[1][firsts]}
    roles = codec.roles
    if roles.entity is not None:
        found[roles.entity] = ahead[roles.entity].iloc[firsts].array
    if codec.clock is not None:  # paths of uneven steps have times of their own: the middle one
        times = pd.Series(codec.clock.numbers(ahead[roles.time]), ahead.index).groupby(by)
        found[str(roles.time)] = codec.clock.cells(times.quantile(0.5, interpolation="nearest").to_numpy()).array
    for field in _numeric(codec):
        values = pd.Series(to_numbers(ahead[field.name], field), ahead.index).groupby(by)
        at = values.quantile(np.asarray(LEVELS), interpolation="nearest").unstack()  # cells that were drawn
        for level, told in zip(LEVELS, _levels(codec, field), strict=True):
            found[told.name] = from_numbers(at[level].to_numpy(), field).array
    for field in codec.steps.schema.fields:
        if field.is_choice:
            found[field.name] = _likeliest(ahead[field.name], rows.ngroup().to_numpy(), len(firsts))
    return pd.DataFrame(found)


def _likeliest(cells: pd.Series, group: np.ndarray, groups: int) -> Any:  # noqa: ANN401 (an array of pandas)
    """The commonest cell of each group, the least of several; missing where all are."""
    codes, kinds = pd.factorize(cells, sort=True)
    there = codes >= 0
    pair, count = np.unique(group[there] * max(len(kinds), 1) + codes[there], return_counts=True)
    of, code = np.divmod(pair, max(len(kinds), 1))
    order = np.lexsort((code, -count, of))
    which, first = np.unique(of[order], return_index=True)
    found = np.full(groups, -1)
    found[which] = code[order][first]
    return pd.Series(kinds).reindex(found).array


def _draw_fan(codec: SeriesCodec, rows: pd.DataFrame, ahead: pd.DataFrame, horizon: int, out: Path) -> None:
    fields = _numeric(codec)
    if not fields:
        return
    history = np.stack([to_numbers(rows[f.name], f) for f in fields], axis=1)[-2 * horizon :]
    values = np.stack([to_numbers(ahead[f.name], f) for f in fields], axis=1).reshape(-1, horizon, len(fields))
    told, there = np.full((len(LEVELS), *values.shape[1:]), np.nan), ~np.isnan(values).all(axis=0)
    told[:, there] = np.nanquantile(values[:, there], LEVELS, axis=0)  # not of steps that miss in every path
    fan_plot([f.name for f in fields], history, told, out.with_suffix(".png"))


def score_file(synthesizer: Synthesizer, path: str, out: Path) -> str:
    """Log-likelihood of every step given those before it, in nats, and of its whole sequence, per step.

    It is minus infinity where a table's row has likelihood zero, see `datakiln.sampling.filling.score_file`.
    """
    codec = codec_of(synthesizer)
    check_csv(out)
    frame, group = read_history(codec, path, "score")
    mean = f"mean_{SCORE}"
    for name in (SCORE, mean):
        if name in frame:
            raise UserError(f"score={path} has a column {name!r} already; rename it")
    broken = broken_relations(codec.plans, frame)
    impossible = unseen_cells(codec.steps.columns, frame).any(axis=1) | (broken != "")
    sequences = [rows.reset_index(drop=True) for _, rows in frame.groupby(group, sort=True)]
    at = [np.flatnonzero(group == i) for i in range(len(sequences))]
    made = [pd.DataFrame()] * len(sequences)
    lengths = [len(rows) for rows in sequences]
    for some in _of_one_length(lengths, max(STEPS // max(lengths), 1)):
        x = torch.cat([codec.encode_whole(sequences[i]) for i in some]).to(synthesizer.model.device)
        if codec.spec.ends:
            x[:, -1, -1] = torch.nan  # whether it goes on behind its last row is not known
        with torch.no_grad():
            steps = synthesizer.model.log_probs(x).cpu().numpy().astype(np.float64)  # type: ignore[operator]
        for i, told in zip(some, steps, strict=True):
            nats = np.where(impossible[at[i]], -np.inf, told.round(4))
            made[i] = with_columns(sequences[i], {SCORE: nats, mean: nats.mean().round(4)})
    if (broken != "").any() and BROKEN not in frame:
        made = [with_columns(pd.concat(made, ignore_index=True), {BROKEN: broken})]
    save(out, made, codec)
    told = f"{counted(len(frame), 'step')} of {counted(int(group.max()) + 1, 'sequence')} scored"
    if impossible.any():
        told += f"; {counted(int(impossible.sum()), 'step')} impossible, of minus infinity"
    return f"{told}{broken_note(broken, 'step')};"
