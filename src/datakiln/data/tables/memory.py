"""Tables that are in memory already: the DataFrames of a calling program."""

from __future__ import annotations

import datetime
import decimal
import re
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pyarrow as pa

from datakiln.data.base import Provenance
from datakiln.data.tables.files import MIN_ROWS, check_finite, plain_column
from datakiln.data.tables.sources import RawTable, frame_sha256
from datakiln.errors import UserError, near
from datakiln.wording import counted

PLAIN = (str, bool, int, float, np.bool_, np.integer, np.floating)  # what a cell of an object column may be
ZONE = re.compile(r"[A-Za-z][\w+:/-]*")  # Europe/Berlin, Etc/GMT+5, UTC+01:00
ZONE_FILE = re.compile(r"tzfile\('(?:.*zoneinfo/)?(.+)'\)")  # as dateutil shows a zone
_HELD: dict[str, pd.DataFrame] = {}


def checked(frame: pd.DataFrame, name: str, least: int = MIN_ROWS) -> pd.DataFrame:
    """A person's frame as the rest of the program takes one; the person's own stays as it is.

    Rows are numbered anew, decimals become floats, and Python's dates in a column of objects become datetimes. What
    Arrow holds otherwise than pandas becomes what a Parquet file of it would be read as, and time zones are named.

    Arguments:
        frame: Rows in user units.
        name: What errors call it.
        least: Rows that it must have.

    Raises:
        UserError: Column names that are no text or not unique, too few rows, or cells that no column type can hold.
    """
    _check_names(frame, name)
    if len(frame) < least:
        held = "no row" if not len(frame) else counted(len(frame), "row")
        raise UserError(f"{name} has {held}; at least {least} {'is' if least == 1 else 'are'} needed")
    made = frame.reset_index(drop=True)
    for column in made.columns:
        if isinstance(kind := made[column].dtype, pd.ArrowDtype):
            made[column] = _plain_arrow(made[column], kind.pyarrow_dtype, name)
        if made[column].dtype == object:
            made[column] = _plain_objects(made[column], name)
        elif isinstance(made[column].dtype, pd.CategoricalDtype):
            _check_categories(made[column], name)
        if isinstance(made[column].dtype, pd.DatetimeTZDtype):
            made[column] = _named_zone(made[column], name)
    check_finite(made, name)
    return made


def _check_names(frame: pd.DataFrame, name: str) -> None:
    if isinstance(frame.columns, pd.MultiIndex):
        way_out = "df.columns = ['_'.join(map(str, names)) for names in df.columns]"
        raise UserError(f"{name} has columns of {frame.columns.nlevels} levels; make them one: {way_out}")
    if not len(frame.columns):
        raise UserError(f"{name} has no columns")
    odd = [column for column in frame.columns if not isinstance(column, str)]
    if odd:
        told = f"{name} has a column named {odd[0]!r}, which is no text"
        raise UserError(f"{told}; rename it, or all of them: df.columns = df.columns.map(str)")
    twice = frame.columns[frame.columns.duplicated()]
    if len(twice):
        count = int((frame.columns == twice[0]).sum())
        raise UserError(f"{name} has {count} columns named {twice[0]!r}; rename all but one")


def _plain_arrow(series: pd.Series, kind: pa.DataType, name: str) -> pd.Series:
    """Numbers, truths and timestamps without a zone stay Arrow's; all else becomes pandas' own."""
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    if is_number or (pa.types.is_timestamp(kind) and kind.tz is None):
        return series
    cells = pa.chunked_array([pa.array(series, type=kind)])
    plain = plain_column(cells, str(series.name), name, cells.null_count > 0)
    return plain.to_pandas().rename(series.name)  # type: ignore[no-any-return]


def _plain_objects(series: pd.Series, name: str) -> pd.Series:
    present = series.dropna()
    kinds = set(map(type, present))
    if kinds and all(issubclass(kind, decimal.Decimal) for kind in kinds):
        return series.astype("float64")
    if kinds and all(issubclass(kind, datetime.date) for kind in kinds):  # datetimes and pandas' own are dates too
        try:
            return pd.to_datetime(series)
        except (ValueError, TypeError) as error:
            raise UserError(f"{name}: column {series.name!r} holds dates that pandas cannot read ({error})") from None
    strange = next((kind for kind in kinds if not issubclass(kind, PLAIN)), None)
    if strange is not None:
        what = f"values of type {strange.__name__}" + (" among others" if len(kinds) > 1 else "")
        told = f"{name}: column {series.name!r} holds {what}, which are no number, category, text or date"
        raise UserError(f"{told}; convert it, or leave the column out")
    return series


def _named_zone(series: pd.Series, name: str) -> pd.Series:
    """Dates in a zone that has the same name everywhere: that of a file of zones, or one distance from UTC."""
    told = f"{name}: column {series.name!r} has dates of the zone {series.dt.tz}"
    try:
        local = series.dt.tz_localize(None)
        is_known = bool(local.dropna().dt.year.between(1, 9999).all())
    except OverflowError:
        is_known = False
    if not is_known:
        raise UserError(f"{told} outside the years 1 to 9999; make them missing, or change them")
    path = ZONE_FILE.fullmatch(str(series.dt.tz))
    if ZONE.fullmatch(key := path[1] if path else str(series.dt.tz)):
        try:
            named = series.dt.tz_convert(key)
        except (KeyError, ValueError):  # a file of one's own, or what datetime.timezone(hours, "Home") is called
            named = None
        if named is not None and named.dt.tz_localize(None).equals(local):
            return named
    ahead = (local - series.dt.tz_convert("UTC").dt.tz_localize(None)).dropna().unique()
    offset = sum(ahead.to_pytimedelta(), datetime.timedelta())
    if len(ahead) <= 1 and not offset % datetime.timedelta(minutes=1):
        return series.dt.tz_convert(datetime.timezone(offset))
    told = f"{told}, which has no name that means the same everywhere"
    raise UserError(f"{told}; give one: df[{series.name!r}].dt.tz_convert('Europe/Paris')")


def _check_categories(series: pd.Series, name: str) -> None:
    values = list(series.cat.categories)
    strange = next((value for value in values if not isinstance(value, PLAIN)), None)
    if strange is not None:
        told = f"{name}: column {series.name!r} has categories of type {type(strange).__name__}"
        raise UserError(f"{told}; make them text: df[{series.name!r}].cat.rename_categories(str)")


def check_target(frame: pd.DataFrame, target: str | None, name: str) -> None:
    """Raises `UserError` for a label that is no column."""
    if target is not None and target not in frame.columns:
        known = ", ".join(map(str, frame.columns[:20])) + (", ..." if len(frame.columns) > 20 else "")
        raise UserError(f"target={target!r} is no column of {name} ({known}){near(str(target), frame.columns)}")


@contextmanager
def held(frame: pd.DataFrame) -> Iterator[str]:
    """Lends a frame to the configs that name it by its SHA-256, which is given, for as long as the block lasts."""
    sha256 = frame_sha256(frame)
    before = _HELD.get(sha256)
    _HELD[sha256] = frame
    try:
        yield sha256
    finally:
        if before is None:
            _HELD.pop(sha256, None)


class FrameTable:
    """A DataFrame that a program holds; a config names it by its hash alone, since it lies in no file.

    Arguments:
        sha256: What `held` gave.
        target: Column that classes are taken from; None for a table without a label.
    """

    def __init__(self, sha256: str, target: str | None = None) -> None:
        """See the class."""
        self.sha256, self.target = sha256, target

    def __call__(self, data_dir: str | None = None) -> RawTable:
        """The frame; raises `UserError` where no program lends it (any more)."""
        frame = _HELD.get(self.sha256)
        if frame is None:
            told = f"the data was a DataFrame of a Python program (sha256 {self.sha256[:12]}), which lies in no file"
            raise UserError(f"{told}; measure it there with datakiln.evaluate(real, synthetic)")
        detail = f"a DataFrame of {counted(len(frame), 'row')} and {counted(len(frame.columns), 'column')}"
        return RawTable(frame, self.target, Provenance("memory", detail, self.sha256))
