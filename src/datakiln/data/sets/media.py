"""Sources of sound and text: a folder of WAV files, a folder for each class, and a file of any bytes."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pandas as pd

from datakiln.codecs.series.media import CLASS, COLUMN, FILE, RATE, mu_law
from datakiln.data.base import Inputs, Provenance
from datakiln.data.tables.finding import check_exists
from datakiln.data.tables.sources import RawTable, frame_sha256
from datakiln.errors import UserError
from datakiln.wording import counted

LEAST = 2  # samples of a sound
ENDLESS = 0x7FFFFFFF  # bytes from which on a size means nothing: written by what could not know it, such as a pipe
WHOLE, FLOATS, EXTENSIBLE = 1, 3, 0xFFFE  # how a WAV file says what its samples are; the last: further behind


class TextSource:
    """The bytes of a file, one a row.

    Arguments:
        path: The file; a relative one is also looked for under the folder of data sets.
        most: Bytes that are read, the first ones; null for all.
    """

    def __init__(self, path: str, most: int | None = None) -> None:
        """See the class."""
        self.path, self.most = path, most

    def __call__(self, data_dir: str | None = None) -> RawTable:
        """Reads the file; raises `UserError` where there is none, or nothing in it."""
        path = _found(self.path, data_dir)
        if path.is_dir():
            raise UserError(f"data.path={self.path} is a folder; give one file of text")
        inputs = Inputs([path])
        content = path.read_bytes()
        notes: tuple[str, ...] = ()
        if self.most is not None and len(content) > self.most:
            notes = (f"the first {self.most:,} of {len(content):,} bytes (data.most=null: all)",)
            content = content[: self.most]
        if not content:
            raise UserError(f"data.path={self.path} is empty")
        frame = pd.DataFrame({COLUMN["text"]: np.frombuffer(content, dtype=np.uint8).astype(np.int64)})
        source = Provenance("files", str(path.resolve()), frame_sha256(frame))
        return RawTable(frame, None, source, {COLUMN["text"]: "category"}, notes, inputs=inputs)


class AudioSource:
    """The samples of all WAV files of a folder, one a row: mono, 8,000 a second, in codes of mu-law.

    Arguments:
        path: The folder; each folder in it is a class. A relative one is also looked for under that of data sets.
        most: Seconds of a sound that are read; null for all.
    """

    def __init__(self, path: str, most: float | None = None) -> None:
        """See the class."""
        self.path, self.most = path, most

    def __call__(self, data_dir: str | None = None) -> RawTable:
        """Reads the files; raises `UserError` for one that is no plain sound, or where there is none."""
        folder = _found(self.path, data_dir)
        if not folder.is_dir():
            raise UserError(f"data.path={self.path} is no folder; give one that has WAV files in it")
        files = sorted(path for path in folder.rglob("*") if path.suffix.lower() == ".wav" and path.is_file())
        if not files:
            raise UserError(f"data.path={self.path} has no .wav file in it")
        inputs = Inputs(files)
        classes = [path.parent.relative_to(folder).as_posix() for path in files]
        read = [_read(path) for path in files]
        sounds = [mu_law(mono) for mono, _ in read]
        cut = [path for path, (_, is_cut_off) in zip(files, read, strict=True) if is_cut_off]
        if self.most is not None:
            sounds = [sound[: round(self.most * RATE)] for sound in sounds]
        kept = [i for i, sound in enumerate(sounds) if len(sound) >= LEAST]
        if not kept:
            raise UserError(f"data.path={self.path}: no sound in it has two samples")
        sizes = [len(sounds[i]) for i in kept]
        frame = pd.DataFrame(
            {
                FILE: np.repeat([files[i].relative_to(folder).as_posix() for i in kept], sizes),
                COLUMN["sound"]: np.concatenate([sounds[i] for i in kept]).astype(np.int64),
            }
        )
        label, types = None, {FILE: "id", COLUMN["sound"]: "category"}
        if len(set(classes)) > 1:
            frame[CLASS] = np.repeat([classes[i] for i in kept], sizes)
            label, types[CLASS] = CLASS, "category"
        notes = [] if len(kept) == len(files) else [f"{counted(len(files) - len(kept), 'empty sound')} left out"]
        if cut:
            ends = f"{counted(len(cut), 'sound')} cut off before the end that the file tells of"
            notes.append(f"{ends}, such as {_told(cut[0])}: what is there is used")
        source = Provenance("files", str(folder.resolve()), frame_sha256(frame))
        return RawTable(frame, label, source, types, tuple(notes), inputs=inputs)


def read_wave(path: Path) -> np.ndarray:
    """A WAV file of whole numbers of 8 to 32 bits, or of floats, as samples in [-1, 1], mono, 8,000 a second.

    Raises:
        UserError: It is none, or a sample is no number.
    """
    return _read(path)[0]


def _read(path: Path) -> tuple[np.ndarray, bool]:
    """See `read_wave`; and whether the file ends before its samples do."""
    from scipy.signal import resample_poly

    values, channels, rate, is_cut_off = _samples(path)
    mono = values[: len(values) // channels * channels].reshape(-1, channels).mean(axis=1)
    if not np.isfinite(mono).all():
        at = int(np.argmin(np.isfinite(mono))) + 1
        raise UserError(f"{_told(path)}: sample {at:,} is no number; mend the sound or leave it out")
    if rate == RATE or not len(mono):
        return mono, is_cut_off
    shared = int(np.gcd(rate, RATE))
    return resample_poly(mono, RATE // shared, rate // shared), is_cut_off


def _samples(path: Path) -> tuple[np.ndarray, int, int, bool]:
    """Samples of a WAV file, those of its channels one behind the other; how many channels it has, and its rate.

    And whether there are fewer than it tells of.
    """
    content = memoryview(path.read_bytes())
    chunks, at, is_cut_off = {}, 12, False
    while at + 8 <= len(content):
        size = int.from_bytes(content[at + 4 : at + 8], "little")
        chunks[bytes(content[at : at + 4])] = content[at + 8 : at + 8 + size]  # of one that is cut off, what is there
        if bytes(content[at : at + 4]) == b"data":
            is_cut_off = len(content) - at - 8 < size < ENDLESS
        at += 8 + size + size % 2
    is_wave = bytes(content[:4]) == b"RIFF" and bytes(content[8:12]) == b"WAVE"
    head, data = chunks.get(b"fmt ", b""), chunks.get(b"data")
    if not is_wave or len(head) < 16 or data is None:
        raise UserError(f"{_told(path)} is no WAV file, or a damaged one; write it as 16-bit PCM, or leave it out")
    form, channels, rate, _, _, bits = struct.unpack("<HHIIHH", head[:16])
    if form == EXTENSIBLE and len(head) >= 26:
        form = int.from_bytes(head[24:26], "little")
    width, floats = (bits + 7) // 8, form == FLOATS
    if form not in (WHOLE, FLOATS) or width not in ((4, 8) if floats else (1, 2, 3, 4)) or not channels or not rate:
        told = f"format {form}, {bits} bits, {counted(channels, 'channel')}, {rate} a second"
        raise UserError(f"{_told(path)} is no WAV file of plain samples ({told}); write it as 16-bit PCM")
    data = data[: len(data) // width * width]
    if floats:
        return np.frombuffer(data, dtype=f"<f{width}").astype(np.float64), channels, rate, is_cut_off
    if width == 1:
        return (np.frombuffer(data, dtype=np.uint8).astype(np.float64) - 128.0) / 128.0, channels, rate, is_cut_off
    if width == 3:
        padded = np.zeros((len(data) // 3, 4), dtype=np.uint8)
        padded[:, 1:] = np.frombuffer(data, dtype=np.uint8).reshape(-1, 3)
        return padded.view("<i4")[:, 0] / 2.0**31, channels, rate, is_cut_off
    return np.frombuffer(data, dtype=f"<i{width}") / 2.0 ** (8 * width - 1), channels, rate, is_cut_off


def _told(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"  # names repeat from class to class


def _found(path: str, data_dir: str | None) -> Path:
    own = Path(path).expanduser()
    if not own.exists() and data_dir is not None and (Path(data_dir) / path).exists():
        return Path(data_dir) / path
    check_exists(own)
    return own
