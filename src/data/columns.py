"""A column of a Parquet file in a type that a frame holds natively."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from src.errors import UserError


def plain_column(column: pa.ChunkedArray, column_name: str, name: str, has_nulls: bool) -> pa.ChunkedArray:
    """Decimals as floats, dates as timestamps, times as text, booleans as text where some cell is missing.

    Arguments:
        column: The column, or a part of it.
        column_name: What errors call it.
        name: What errors call its file.
        has_nulls: Whether any cell of the whole column is missing.

    Raises:
        UserError: Its values are no numbers, categories, text or dates.
    """
    kind = column.type
    if pa.types.is_decimal(kind) or pa.types.is_float16(kind) or pa.types.is_null(kind):
        return pc.cast(column, pa.float64())
    if pa.types.is_date(kind):
        return pc.cast(column, pa.timestamp("s"))
    if pa.types.is_time(kind) or (pa.types.is_boolean(kind) and has_nulls):
        return _as_text(column)
    if pa.types.is_nested(kind) or pa.types.is_duration(kind) or _is_bytes(kind):
        raise UserError(
            f"{name}: column {column_name!r} holds values of type {kind}, which is no number, category, text or date;"
            " leave the column out or store it as one of these"
        )
    return column


def _is_bytes(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)


def _as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if not pa.types.is_boolean(column.type):
        return pc.cast(column, pa.string())
    return pc.if_else(column, "True", "False")  # as a CSV file with empty cells would give them
