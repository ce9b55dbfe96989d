"""The text of a file, gzipped or not and in any encoding, as UTF-8 bytes that are read once, forward."""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from pathlib import Path
from typing import BinaryIO

from src.data.delimited import choose_encoding, not_decodable
from src.errors import UserError

PIECE = 1 << 20  # bytes decoded at once
GZIP = b"\x1f\x8b"


class TextStream(io.RawIOBase):
    """A readable of UTF-8 without byte order mark.

    Arguments:
        path: The file.
        encoding: Text encoding; None to take UTF-8, or what a byte order mark says.

    Raises:
        UserError: No text file, an unknown encoding; while reading, bytes that the encoding does not have, with their
            line, or a damaged gzip file.
    """

    def __init__(self, path: Path, encoding: str | None = None) -> None:
        """See the class."""
        super().__init__()
        self.name = path.name
        self._file = unpacked(path)
        head = self._take(4096)
        self.encoding = choose_encoding(head, self.name, encoding)
        self._is_utf8 = codecs.lookup(self.encoding).name == "utf-8"
        self._decoder = codecs.getincrementaldecoder(self.encoding)()
        self._lines = 0
        self._is_first = True
        self._ready = memoryview(self._as_utf8(head))
        self._ended = not head

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, memory: memoryview) -> int:  # type: ignore[override]
        """Fills as much of the memory as one piece of the file gives; 0 at its end."""
        while not len(self._ready) and not self._ended:
            piece = self._take(PIECE)
            self._ended = not piece
            self._ready = memoryview(self._as_utf8(piece))
        size = min(len(memory), len(self._ready))
        memory[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size

    def _take(self, size: int) -> bytes:
        try:
            return self._file.read(size)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise UserError(f"{self.name}: the gzip file is damaged ({error})") from None

    def _as_utf8(self, piece: bytes) -> bytes:
        try:
            text = self._decoder.decode(piece, final=not piece)
        except UnicodeError as error:
            raise UserError(not_decodable(piece, self.name, self.encoding, error, self._lines)) from None
        self._lines += piece.count(b"\n")
        is_first, self._is_first = self._is_first, False
        if self._is_utf8:
            return piece.removeprefix(codecs.BOM_UTF8) if is_first else piece
        return (text.lstrip("\ufeff") if is_first else text).encode()

    def close(self) -> None:
        """Closes the file."""
        if not self.closed:
            self._file.close()
        super().close()


def unpacked(path: Path) -> BinaryIO:
    """The bytes of a file, unpacked if it is gzipped."""
    file = path.open("rb")
    head = file.read(len(GZIP))
    file.seek(0)
    return gzip.GzipFile(fileobj=file) if head == GZIP else file  # type: ignore[return-value]
