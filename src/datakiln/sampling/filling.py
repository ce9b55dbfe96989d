"""A person's rows and a model that can be told columns: missing cells filled in, or a log-likelihood for every row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from datakiln.codecs.tables.choice import ChoiceColumn
from datakiln.codecs.tables.column import ColumnCodec
from datakiln.codecs.tables.number import NumberColumn
from datakiln.codecs.tables.relations.plan import Plan
from datakiln.codecs.tables.table import TableCodec
from datakiln.codecs.tables.values import plain_cells, plain_value, to_numbers, with_columns
from datakiln.data.tables.files import read_table_file
from datakiln.data.tables.finding import check_exists, find_file, parts_of
from datakiln.data.tables.limits import check_room
from datakiln.errors import UserError, near
from datakiln.sampling.imputing import breaks, broken
from datakiln.sampling.synthesizer import Synthesizer
from datakiln.sampling.writing import as_csv, as_table
from datakiln.schema import Schema
from datakiln.storage import replacing
from datakiln.wording import counted

FAR = 0.1  # of the training range: new rows often reach a little beyond the old ones, seldom as far as that


def unseen_cells(columns: Sequence[ColumnCodec], frame: pd.DataFrame) -> pd.DataFrame:
    """Which cells are impossible, one boolean column for each modelled column of the frame; missing cells never are.

    Arguments:
        columns: Fitted.
        frame: Rows in user units, with some of the columns.
    """
    found = {c.field.name: _unseen(c, frame[c.field.name]) for c in columns if c.field.name in frame}
    return pd.DataFrame(found, index=frame.index, dtype=bool)


def unseen_note(unseen: pd.DataFrame) -> str:
    """How many cells are impossible, by column, for the end of a line; empty where none is. See `unseen_cells`."""
    cells = unseen.sum().sort_values(ascending=False, kind="stable")
    if not cells.any():
        return ""
    where = ", ".join(f"{name} {count}" for name, count in cells[cells > 0].items())
    return f"; {counted(int(cells.sum()), 'cell')} never seen in training or far outside its range ({where})"


def _unseen(column: ColumnCodec, series: pd.Series) -> np.ndarray:
    there = series.notna().to_numpy()
    if isinstance(column, ChoiceColumn):
        return there & (column.codes(series) < 0)
    if not isinstance(column, NumberColumn) or column.limits is None:
        return np.zeros(len(series), dtype=bool)
    low, high = column.limits
    margin, values = FAR * (high - low), to_numbers(series, column.field)
    return there & ~((values >= low - margin) & (values <= high + margin))


SCORE = "log_prob"
BROKEN = "broken_relation"


def fill_file(synthesizer: Synthesizer, source: str, out: str, seed: int) -> str:
    """Writes the table with its missing cells drawn given the known cells of their row; says how many there were.

    Columns that the file lacks are filled as a whole; columns that the model does not use stay as they are.

    Raises:
        UserError: The file cannot be read or does not fit the model, or the model cannot be told columns.
    """
    rows = _read(synthesizer, source, "fill")
    holes, made = rows.known.isna(), _filled(synthesizer, rows, seed)
    _write(with_columns(rows.frame, {name: made[name] for name in made}), out, _codec(synthesizer).schema)
    count, left = int(holes.to_numpy().sum()), int(made.isna().to_numpy().sum())
    rest = f"; {left} are left missing, as the model expects them to be" if left else ""
    empty = {name: int(rows.frame[name].isna().sum()) for name in rows.frame if name not in made}
    if others := ", ".join(f"{name} {cells}" for name, cells in empty.items() if cells):
        rest += f"; {sum(empty.values())} more stay empty, in columns that the model does not make ({others})"
    codec = _codec(synthesizer)
    is_open = holes.any(axis=1).to_numpy() & ~breaks(codec, synthesizer.rules, rows.known)
    rest += unmet_note(broken(codec, synthesizer.rules, made), is_open, "row")
    return f"{count - left} of {count} missing cells filled in {counted(len(made), 'row')}{rest}{rows.notes('filled')}"


def unmet_note(found: Iterable[tuple[str, np.ndarray]], is_open: np.ndarray, noun: str) -> str:
    """How many rows break a rule though they were filled, for the end of a line; empty where none does.

    Arguments:
        found: Rules, and which of the filled rows break each.
        is_open: Rows that had a hole, but for those that broke one by their given cells.
        noun: What a row is called.
    """
    counts = {rule: is_open & bad for rule, bad in found}
    rows = int(np.logical_or.reduce(list(counts.values())).sum()) if counts else 0
    if not rows:
        return ""
    worst = max(counts, key=lambda rule: int(counts[rule].sum()))
    return f"; {counted(rows, noun)} could not be filled in keeping with the rules, such as {worst}"


def _filled(synthesizer: Synthesizer, rows: _Rows, seed: int) -> pd.DataFrame:
    """The columns that the model uses, filled; cells that no training row could have count as unknown and are kept."""
    filled = synthesizer.impute(rows.known.mask(rows.unseen), seed)
    kept = {n: joined(rows.frame[n].reset_index(drop=True), filled[n]) for n in filled.columns if n in rows.frame}
    return with_columns(filled, {name: column.set_axis(filled.index) for name, column in kept.items()})


def fill_frame(synthesizer: Synthesizer, frame: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The frame with its missing cells drawn given the known cells of their row; a given cell never changes.

    A filled column takes the dtype of the training table if that holds all its given cells, else it keeps its own, or
    becomes one of objects. Columns that are missing altogether are added behind the others.

    Raises:
        UserError: See `fill_file`.
    """
    rows = _beside(synthesizer, frame, "the table")
    made, done = _filled(synthesizer, rows, seed), frame.copy()
    for name in made.columns:
        if name not in frame:
            done[name] = made[name]
        elif frame[name].isna().any():
            done[name] = joined(frame[name], made[name])
    return done


def joined(given: pd.Series, made: pd.Series) -> pd.Series:
    """The given cells, and those that were made where none was."""
    there = given.notna()
    cells = given.astype(object).where(there, made.astype(object))
    for dtype in (made.dtype, given.dtype):
        try:
            cast = cells.astype(dtype)
        except (ValueError, TypeError, OverflowError):
            continue
        if (cast.notna() == cells.notna()).all() and (cast[there].astype(object) == given[there].astype(object)).all():
            return cast
    return cells


def score_frame(synthesizer: Synthesizer, frame: pd.DataFrame) -> pd.Series:
    """The log-likelihood of each row, in nats and in the order of the frame; see `score_file`."""
    return _scores(synthesizer, _beside(synthesizer, frame, "the table"))[0]


def _scores(synthesizer: Synthesizer, rows: _Rows) -> tuple[pd.Series, pd.Series]:
    """Log-likelihoods, minus infinity for impossible rows; and those of what is possible of each."""
    plan = _codec(synthesizer).plan
    known = {str(name): rows.known[name] for name in rows.known if name not in rows.absent}
    whole = plan.completed(known) if plan.relations else {}
    follows = [name for name in rows.absent if name in whole and whole[name].notna().all()]
    frame = with_columns(rows.known, {name: whole[name].to_numpy() for name in follows})
    likely = synthesizer.log_prob(frame, unknown=[name for name in rows.absent if name not in follows])
    impossible = rows.unseen.any(axis=1) | (_broken(plan, rows) != "")
    return likely.mask(impossible & likely.notna(), -np.inf), likely


def _broken(plan: Plan, rows: _Rows) -> pd.Series:
    return broken_relations([plan], rows.known.drop(columns=rows.absent))


def broken_relations(plans: Iterable[Plan], known: pd.DataFrame) -> pd.Series:
    """For each row the relations that it breaks though every training row met them, as text; empty for none."""
    told = np.full(len(known), "", dtype=object)
    for relation, bad in (pair for plan in plans for pair in plan.broken(known)):
        told[bad] = [f"{before}; {relation}" if before else str(relation) for before in told[bad]]
    return pd.Series(told, index=known.index)


def broken_note(broken: pd.Series, noun: str) -> str:
    """How many rows break a relation and which one most of them do, for the end of a line; empty where none does."""
    found = broken[broken != ""]
    if found.empty:
        return ""
    what = f"{counted(len(found), noun)} {'breaks' if len(found) == 1 else 'break'} a relation"
    return f"; {what}, such as {found.value_counts().index[0]}"


def score_file(synthesizer: Synthesizer, source: str, out: str) -> str:
    """Writes the table with one more column, the log-likelihood of each row in nats, lowest first; says the lowest.

    A row with a category never seen in training, or with a number far outside its range, has likelihood zero: these
    rows come first, and among them those whose other cells are the least likely. So does a row that breaks a relation
    which every training row met; a column `broken_relation` then says which.

    Raises:
        UserError: See `fill_file`; or the table has a column of that name.
    """
    rows = _read(synthesizer, source, "score")
    if SCORE in rows.frame:
        raise UserError(f"score={source} has a column {SCORE!r} already; rename it")
    nats, likely = _scores(synthesizer, rows)
    order = np.lexsort((likely.to_numpy(), nats.to_numpy()))
    broken = _broken(_codec(synthesizer).plan, rows)
    more = {BROKEN: broken} if (broken != "").any() and BROKEN not in rows.frame else {}
    _write(with_columns(rows.frame, {SCORE: nats, **more}).iloc[order], out, _codec(synthesizer).schema)
    told = nats.notna().sum()
    scored = f"{counted(int(told), 'row')} scored, from {nats.min():.1f} to {nats.max():.1f} nats"
    gaps = f"; {counted(len(nats) - int(told), 'row')} with missing cells cannot be scored and stand last"
    gaps = gaps if told < len(nats) else ""
    noted = broken_note(broken, "row")
    return f"{scored}, the least likely first{gaps}{noted}{rows.notes('counted as unknown')}"


@dataclass(frozen=True)
class _Rows:
    """A person's table beside a model.

    Attributes:
        frame: As it was read.
        known: The columns that the model uses, in the dtypes of the training table; absent ones are missing throughout.
        absent: Which of them the file lacks.
        unseen: Cells of `known` that no training row could have.
    """

    frame: pd.DataFrame
    known: pd.DataFrame
    absent: list[str]
    unseen: pd.DataFrame

    def notes(self, fate: str) -> str:
        """What the person should know: absent columns and what became of them, impossible cells by column."""
        notes = [f"; the file lacks {', '.join(self.absent)}: {fate}"] if self.absent else []
        if told := unseen_note(self.unseen):
            notes.append(f"{told}, kept as they are")
        return "".join(notes)


def _codec(synthesizer: Synthesizer) -> TableCodec:
    assert isinstance(synthesizer.codec, TableCodec)
    return synthesizer.codec


def _read(synthesizer: Synthesizer, source: str, option: str) -> _Rows:
    path = find_file(source, None)
    if parts_of(path) is None and not path.is_dir():
        check_exists(path, option)
    check_room(path)
    return _beside(synthesizer, read_table_file(path, least=1).frame, source)


def _beside(synthesizer: Synthesizer, frame: pd.DataFrame, source: str) -> _Rows:
    codec = _codec(synthesizer)
    read = {*codec.modelled, *codec.plan.made}
    columns = [column for column in codec.columns if column.field.name in read]
    absent = [column.field.name for column in columns if column.field.name not in frame]
    if len(absent) == len(columns):
        hint = near(absent[0], map(str, frame.columns))
        raise UserError(f"{source} has no column of the training table, such as {absent[0]!r}{hint}")
    known = pd.DataFrame(
        {
            c.field.name: _cast(frame[c.field.name], c, source)
            if c.field.name in frame
            else pd.Series(np.nan, index=frame.index, dtype=object)
            for c in columns
        }
    )
    return _Rows(frame, known, absent, unseen_cells(columns, known))


def as_trained(frame: pd.DataFrame, columns: Sequence[ColumnCodec], source: str) -> pd.DataFrame:
    """The frame with these columns, where it has them, in the dtypes of the training rows; raises `UserError`."""
    found = {c.field.name: _cast(frame[c.field.name], c, source) for c in columns if c.field.name in frame}
    return with_columns(frame, found)


def _cast(series: pd.Series, column: ColumnCodec, source: str) -> pd.Series:
    field = column.field
    if isinstance(column, ChoiceColumn):
        return _as_categories(series, column)
    dtype = pd.api.types.pandas_dtype(field.dtype)
    try:
        if pd.api.types.is_integer_dtype(dtype) and not _holds(dtype, series.astype("float64")):
            dtype = np.dtype("float64")  # what pandas keeps whole numbers with holes as
        return series.astype(dtype)
    except (ValueError, TypeError) as error:
        raise UserError(
            f"{source}: column {field.name!r} is not {field.type} as in the training table ({error})"
        ) from None


def _holds(dtype: Any, values: pd.Series) -> bool:
    """Whether a dtype of whole numbers holds all of the values; others it would wrap or cut."""
    limits = np.iinfo(f"{dtype.kind}{dtype.itemsize}")
    return bool(((values % 1 == 0) & (values >= limits.min) & (values < float(limits.max) + 1)).all())


def _as_categories(series: pd.Series, column: ChoiceColumn) -> pd.Series:
    """Cells as the categories that they read like, since few rows may look like another type; others as they are."""
    values = {str(value): value for value in [*column.values, *column.pool]}
    read = {}
    for cell in plain_cells(series).dropna().unique():
        text = str(plain_value(cell))
        whole = text.removesuffix(".0")  # whole numbers beside missing cells are read as floats
        read[cell] = values.get(text, values.get(whole, values.get(f"{text}.0", cell)))
    return plain_cells(series).astype(object).map(read, na_action="ignore").astype(object)


def _write(frame: pd.DataFrame, out: str, schema: Schema) -> None:
    path = Path(out)
    if path.suffix not in (".csv", ".parquet"):
        raise UserError(f"out={out} must end in .csv or .parquet")
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        if path.suffix == ".csv":
            partial.write_bytes(as_csv(frame, schema))
        else:
            pq.write_table(as_table(frame, schema), partial)
