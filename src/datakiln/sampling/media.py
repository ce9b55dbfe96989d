"""Drawn sound as WAV files and drawn text as a file."""

from __future__ import annotations

import re
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from datakiln.codecs.series.media import CLASS, RATE, codes_of, from_mu_law
from datakiln.codecs.series.series import SeriesCodec
from datakiln.errors import UserError
from datakiln.storage import naming, replacing

LOUDEST = 32767  # of 16 bits


def is_media(out: Path, codec: SeriesCodec) -> bool:
    """Whether `out` asks for sound or text and not for rows."""
    return codec.medium != "rows" and out.suffix not in (".csv", ".parquet")


def write_media(out: Path, pieces: Iterator[pd.DataFrame], codec: SeriesCodec) -> int:
    """Writes text to a .txt file, or each sound to a WAV file in a new folder; returns how many codes that were.

    Raises:
        UserError: `out` is of another kind, or a folder in which there is something.
    """
    if codec.medium == "text":
        if out.suffix != ".txt":
            raise UserError(f"out={out} must end in .txt, .csv or .parquet")
        rows = 0
        with replacing(out) as partial, naming(out), partial.open("wb") as file:
            for frame in pieces:
                file.write(codes_of(frame, "text").tobytes())
                rows += len(frame)
        return rows
    if out.suffix:
        raise UserError(f"out={out} must be a folder for WAV files, or end in .csv or .parquet")
    if out.is_dir() and any(out.iterdir()):
        raise UserError(f"out={out} is a folder with files in it; choose another name")
    rows = 0
    for path, codes in _sounds(out, pieces, codec):
        write_wave(path, codes)
        rows += len(codes)
    return rows


def _sounds(out: Path, pieces: Iterator[pd.DataFrame], codec: SeriesCodec) -> Iterator[tuple[Path, np.ndarray]]:
    """Each sound and where it goes; one that several pieces are of is put together."""
    count, name, folder = 0, None, out
    kept: list[np.ndarray] = []
    for frame in pieces:
        own = frame[codec.roles.entity] if codec.roles.entity is not None else pd.Series(0, index=frame.index)
        edges = np.flatnonzero(own.to_numpy()[1:] != own.to_numpy()[:-1]) + 1
        for begin, end in zip([0, *edges], [*edges, len(frame)], strict=True):
            if kept and own.iloc[begin] != name:
                yield folder / f"{count:04d}.wav", np.concatenate(kept)
                kept = []
            if not kept:
                count, name = count + 1, own.iloc[begin]
                folder = out / _folder_name(str(frame[CLASS].iloc[begin])) if CLASS in frame else out
            kept.append(codes_of(frame.iloc[begin:end], "sound"))
    if kept:
        yield folder / f"{count:04d}.wav", np.concatenate(kept)


def _folder_name(name: str) -> str:
    """A class as the name of one folder, whatever a checkpoint calls it."""
    return re.sub(r"[^\w.-]+", "_", name).strip(".") or CLASS


def write_wave(path: Path, codes: np.ndarray) -> None:
    """Codes of mu-law as a WAV file of 16 bits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial, naming(path), wave.open(str(partial), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((from_mu_law(codes) * LOUDEST).round().astype("<i2").tobytes())
