"""A person's own table file, in memory or, if it is too large for it, on disk."""

from __future__ import annotations

from typing import Any, Literal

from src.codecs.table import TableCodec
from src.data.sources import TableFile
from src.data.tables import TableData


class FileData(TableData):
    """A person's own CSV, TSV or Parquet file.

    Arguments:
        path: The file; a relative one is also looked for under `data_dir`.
        codec: See `TableData`.
        target: Label column, or None.
        encoding: Of a text file that is not UTF-8.
        delimiter: Between the fields of a text file; None to find it.
        names: Column names of a text file without a header.
        streaming: See `TableFile`.
        cache: See `TableFile`.
        **options: See `TableData`.
    """

    def __init__(
        self,
        path: str,
        codec: TableCodec,
        target: str | None = None,
        encoding: str | None = None,
        delimiter: str | None = None,
        names: list[str] | None = None,
        streaming: bool | Literal["auto"] = "auto",
        cache: str = "outputs/cache",
        **options: Any,
    ) -> None:
        """See the class."""
        super().__init__(TableFile(path, target, encoding, delimiter, names, streaming, cache), codec, **options)
