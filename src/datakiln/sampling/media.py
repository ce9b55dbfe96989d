"""Drawn sound as WAV files and drawn text as a file."""

from __future__ import annotations

import re
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from datakiln.codecs.series.media import CLASS, COLUMN, RATE, codes_of, from_mu_law, mu_law
from datakiln.codecs.series.series import SeriesCodec
from datakiln.data.sets.media import read_wave
from datakiln.data.tables.finding import check_exists
from datakiln.errors import UserError
from datakiln.storage import naming, replacing

LOUDEST = 32767  # of 16 bits


def is_media(out: Path, codec: SeriesCodec) -> bool:
    """Whether `out` asks for sound or text and not for rows."""
    return codec.medium != "rows" and out.suffix not in (".csv", ".parquet")


def read_prompt(path: str, codec: SeriesCodec, what: str = "forecast") -> pd.DataFrame:
    """A text or a sound of a person's, to be gone on with, filled or scored as `what` says, as rows.

    Raises:
        UserError: There is no such file, nothing in it, or it is no sound.
    """
    file = Path(path).expanduser()
    check_exists(file, what)
    if file.is_dir():
        raise UserError(f"{what}={path} is a folder; give one file of {codec.medium}")
    if codec.medium == "text":
        codes = np.frombuffer(file.read_bytes(), dtype=np.uint8)
    else:
        codes = mu_law(read_wave(file))
    if not len(codes):
        raise UserError(f"{what}={path} is empty")
    frame = pd.DataFrame({COLUMN[codec.medium]: codes.astype(np.int64)})
    if codec.roles.entity is not None:
        frame.insert(0, codec.roles.entity, file.stem)
    return frame


def write_continuations(out: Path, paths: list[pd.DataFrame], codec: SeriesCodec) -> None:
    """Writes what goes on: a text to a file, several texts, or sounds, to a folder.

    Raises:
        UserError: `out` is of another kind, or a folder in which there is something.
    """
    if codec.medium == "text" and len(paths) == 1:
        write_media(out, iter(paths), codec)
        return
    if codec.medium == "text":
        if out.suffix:
            raise UserError(f"out={out} holds one text; {len(paths)} of them go to a folder, out={out.with_suffix('')}")
        if out.is_dir() and any(out.iterdir()):
            raise UserError(f"out={out} is a folder with files in it; choose another name")
        out.mkdir(parents=True, exist_ok=True)
        for i, frame in enumerate(paths, start=1):
            write_media(out / f"{i:04d}.txt", iter([frame]), codec)
        return
    assert codec.roles.entity is not None  # each sound is a file
    named = [
        frame.assign(**{codec.roles.entity: i}).drop(columns=CLASS, errors="ignore") for i, frame in enumerate(paths)
    ]
    write_media(out, iter(named), codec)


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
