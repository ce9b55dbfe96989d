"""Sound and text as series: a person's own folder of WAV files, or a file of text."""

from __future__ import annotations

from typing import Any

from datakiln.codecs.series.media import FILE
from datakiln.codecs.series.series import SeriesCodec
from datakiln.data.series.series import SeriesData
from datakiln.data.sets.media import AudioSource, TextSource
from datakiln.errors import UserError


class TextFile(SeriesData):
    """The bytes of a file as one long series, held out by blocks.

    Arguments:
        path: The file.
        codec: See `SeriesData`.
        most: Bytes that are read; None for all.
        **options: See `SeriesData`.
    """

    def __init__(self, path: str, codec: SeriesCodec, most: int | None = None, **options: Any) -> None:
        """See the class."""
        super().__init__(TextSource(path, most), codec, **options)


class AudioFolder(SeriesData):
    """The WAV files of a folder, each a sequence; a folder in it is a class.

    Arguments:
        path: The folder.
        codec: See `SeriesData`.
        most: Seconds of a sound that are read; None for all.
        **options: See `SeriesData`.
    """

    def __init__(self, path: str, codec: SeriesCodec, most: float | None = None, **options: Any) -> None:
        """See the class."""
        if options.get("entity") not in (None, FILE) or options.get("time") is not None:
            raise UserError("data.entity and data.time of sounds are their files and samples; leave them out")
        super().__init__(AudioSource(path, most), codec, **(options | {"entity": FILE}))
