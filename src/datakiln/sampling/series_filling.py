"""Missing cells of sequences drawn given the others, in keeping with the relations and constraints of their steps."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pandas as pd

from datakiln.codecs.series.series import SeriesCodec
from datakiln.codecs.tables.generated import GeneratedColumn
from datakiln.codecs.tables.table import TableCodec
from datakiln.codecs.tables.values import with_columns
from datakiln.sampling.agreeing import Agreeing
from datakiln.sampling.filling import joined, unmet_note
from datakiln.sampling.histories import read_history, unknown_note
from datakiln.sampling.imputing import FILL_TRIES, breaks, broken, completed
from datakiln.sampling.related import beside_given
from datakiln.sampling.series import check_csv, codec_of, save
from datakiln.sampling.synthesizer import Synthesizer
from datakiln.spec import Sampling
from datakiln.wording import counted

PICKED = 2  # draws of a sequence with a step that breaks a rule, before its sources are picked: each is of all of it
ANY = 16  # sequences drawn to see which times of day dates have


def fill_file(synthesizer: Synthesizer, path: str, out: Path, seed: int, options: Sampling) -> str:
    """Missing cells of a file, drawn given all others of their sequence; known cells stay as they are.

    Where missing is itself likely for a cell it may be left so; how many are is told.
    """
    codec = codec_of(synthesizer)
    check_csv(out)
    frame, group = read_history(codec, path, "fill")
    made, holes, left, done = [], 0, 0, 0
    draw = functools.cache(lambda: synthesizer.sample(ANY, seed=seed, options=options))  # of both parts
    parts = [(part, Agreeing(part, draw)) for part in (codec.steps, codec.static) if part]
    for i in range(int(group.max()) + 1):
        rows = frame[group == i].reset_index(drop=True)
        filled = _filled(synthesizer, codec, rows, (seed, 7, i), options, done, parts)
        done += len(rows)
        holes += int(rows[filled.columns].isna().to_numpy().sum())
        left += int(filled.isna().to_numpy().sum())
        made.append(with_columns(rows, {name: joined(rows[name], filled[name]) for name in filled}))
    save(out, made, codec)
    rest = f"; {left} are left missing, as the model expects them to be" if left else ""
    whole = pd.concat(made, ignore_index=True)
    is_open = _holed(frame) & ~np.logical_or.reduce([bad for _, bad in _broken(synthesizer, frame)])
    rest += unmet_note(_broken(synthesizer, whole), is_open, "step")
    rest += unknown_note(codec, frame)
    return f"{holes - left} of {counted(holes, 'missing cell')} filled in {counted(len(made), 'sequence')}{rest};"


def _broken(synthesizer: Synthesizer, frame: pd.DataFrame) -> list[tuple[str, np.ndarray]]:
    """The rules of a step, with its time, and of a sequence, each with the rows that break it; the first is of none."""
    codec = codec_of(synthesizer)
    held = [(str(relation), bad) for plan in codec.plans[1:] for relation, bad in plan.broken(frame)]
    return [("", np.zeros(len(frame), dtype=bool)), *broken(codec.steps, synthesizer.rules, frame), *held]


def _filled(
    synthesizer: Synthesizer, codec: SeriesCodec, rows: pd.DataFrame, seeds: tuple[int, ...], options: Sampling,
    done: int, agreeing: list[tuple[TableCodec, Agreeing]],
) -> pd.DataFrame:  # fmt: skip
    """The cells of one sequence but its times, holes drawn as `Synthesizer.impute` draws those of a table.

    `done` rows of others were filled before.
    """
    own = [name for name in codec.steps.schema.names if name in rows]
    static = [] if codec.static is None else [n for n in codec.static.schema.names if n in codec.roles.static]
    held = [name for name in static if name in rows]
    given = with_columns(rows[own + held], {name: rows[name].ffill().bfill() for name in held})
    parts = [(part, names, known) for (part, known), names in zip(agreeing, (own, held), strict=False)]
    rules, given = synthesizer.rules, _dated(codec, given, rows)
    filled = given
    for part, names, _ in parts:
        filled = with_columns(filled, dict(completed(part, rules, given[names]).items()))
    told, is_open = filled, [_holed(given[names]) & ~breaks(part, rules, given) for part, names, _ in parts]
    starts = None if codec.clock is None else np.zeros(1)
    made = [column for column in codec.steps.columns if isinstance(column, GeneratedColumn)]
    drawn_by_model = filled.columns.difference([column.field.name for column in made])
    empty = [column.field.name for column in made if column.field.type == "constant" and column.constant is None]
    for turn in range(FILL_TRIES):
        for (part, names, known), open_rows in zip(parts if turn else (), is_open, strict=False):
            again = open_rows & breaks(part, rules, filled)
            if not again.any():
                continue
            undone = told[names]
            if turn >= PICKED:
                rng = np.random.default_rng([*seeds, turn, 1])
                undone = completed(part, rules, _picked(known, given[names], part is codec.static, rng))
            kept = filled[names].mask(np.broadcast_to(again[:, None], undone.shape), undone)
            filled = with_columns(filled, dict(kept.items()))  # the last draw stands as it is
        if not filled.drop(columns=empty, errors="ignore").isna().any(axis=None):
            break
        x = codec.encode_whole(with_columns(rows, dict(filled.items())), gaps=True)
        if filled[drawn_by_model].isna().any(axis=None):
            with synthesizer.seeded((*seeds, turn)):
                x = synthesizer.model.sample(1, x.to(synthesizer.model.device), options).cpu()
        else:
            x = x.nan_to_num()  # of what no hole hangs on, such as static columns that the file lacks
        drawn, _ = codec.decode_steps(x, np.array([len(rows)]), np.random.default_rng([*seeds, turn]), starts, 0, done)
        for part, names, _ in parts:
            if part.plan.relations:
                cells = beside_given(part, filled[names], drawn[part.schema.names])
                drawn = with_columns(drawn, dict(cells.items()))
        filled = with_columns(filled, {name: joined(filled[name], drawn[name]) for name in own + held})
    return filled


def _holed(given: pd.DataFrame) -> np.ndarray:
    return given.isna().any(axis=1).to_numpy()


def _picked(agreeing: Agreeing, given: pd.DataFrame, is_static: bool, rng: np.random.Generator) -> pd.DataFrame:
    """See `Agreeing.picked`; static columns take one value for the whole sequence."""
    if not is_static:
        return agreeing.picked(given, rng)
    return agreeing.picked(given.iloc[:1], rng).take(np.zeros(len(given), dtype=int)).set_axis(given.index)


def _dated(codec: SeriesCodec, given: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """The cells of one sequence with what follows from the times."""
    if not codec.calendar.relations:
        return given
    cells = {str(name): given[name] for name in given} | {str(codec.roles.time): rows[codec.roles.time]}
    found = codec.calendar.completed(cells)
    return with_columns(
        given, {name: joined(given[name], found[name]) for name in codec.calendar.made if name in given}
    )
