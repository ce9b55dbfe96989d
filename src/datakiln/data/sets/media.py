"""Sources of sound and text: a folder of WAV files, a folder for each class, and a file of any bytes."""

from __future__ import annotations

import wave
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
        """Reads the files; raises `UserError` for one that is no PCM sound, or where there is none."""
        folder = _found(self.path, data_dir)
        if not folder.is_dir():
            raise UserError(f"data.path={self.path} is no folder; give one that has WAV files in it")
        files = sorted(path for path in folder.rglob("*") if path.suffix.lower() == ".wav" and path.is_file())
        if not files:
            raise UserError(f"data.path={self.path} has no .wav file in it")
        inputs = Inputs(files)
        classes = [path.parent.relative_to(folder).as_posix() for path in files]
        sounds = [mu_law(read_wave(path)) for path in files]
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
        notes = () if len(kept) == len(files) else (f"{counted(len(files) - len(kept), 'empty sound')} left out",)
        source = Provenance("files", str(folder.resolve()), frame_sha256(frame))
        return RawTable(frame, label, source, types, notes, inputs=inputs)


def read_wave(path: Path) -> np.ndarray:
    """A WAV file of 8 to 32 bits as samples in [-1, 1], mono, 8,000 a second; raises `UserError` for another."""
    from scipy.signal import resample_poly

    try:
        with wave.open(str(path), "rb") as file:
            channels, width, rate, count = file.getparams()[:4]
            content = file.readframes(count)
    except (wave.Error, EOFError) as error:
        raise UserError(f"{path.name} is no WAV file of plain samples ({error}); write it as 16-bit PCM") from None
    content = content[: len(content) // (channels * width) * channels * width]
    if width == 1:
        values = (np.frombuffer(content, dtype=np.uint8).astype(np.float64) - 128.0) / 128.0
    elif width == 3:
        padded = np.zeros((len(content) // 3, 4), dtype=np.uint8)
        padded[:, 1:] = np.frombuffer(content, dtype=np.uint8).reshape(-1, 3)
        values = padded.view("<i4")[:, 0] / 2.0**31
    else:
        values = np.frombuffer(content, dtype=f"<i{width}") / 2.0 ** (8 * width - 1)
    mono = values.reshape(-1, channels).mean(axis=1)
    if rate == RATE or not len(mono):
        return mono
    shared = int(np.gcd(rate, RATE))
    return resample_poly(mono, RATE // shared, rate // shared)


def _found(path: str, data_dir: str | None) -> Path:
    own = Path(path).expanduser()
    if not own.exists() and data_dir is not None and (Path(data_dir) / path).exists():
        return Path(data_dir) / path
    check_exists(own)
    return own
