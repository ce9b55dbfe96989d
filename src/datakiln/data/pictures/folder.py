"""A folder of pictures of any sizes: checked once, decoded once, kept in memory where they fit."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from datakiln.data.base import Inputs, Provenance, StepReport
from datakiln.data.pictures.files import BadPicture, Head, PictureFiles, header, read_picture, square, threads
from datakiln.data.pictures.finding import find_folder, find_pictures, hidden_pictures
from datakiln.data.pictures.sources import Pictures, RawImages
from datakiln.errors import UserError
from datakiln.storage import cache_dir, read_state, write_atomically

log = logging.getLogger(__name__)

FORMAT = 4  # to be raised when the same files would give other pixels, or be told of otherwise
NAMED = 3  # faults of a kind that are named, and files of each; the others are counted
OnBad = Literal["skip", "error"]


@dataclass(frozen=True)
class Decoded:
    """The good ones of a list of files.

    Attributes:
        x: Their pixels, uint8 (n, C, side, side), or the files where all pixels would not fit in memory.
        kept: Their positions in the list, shape (n,).
        bad: (name, reason, kind) of the others.
        sha256: Hash of the contents of all good files, in order.
        changes: How many of the good ones were changed in which way to be grey or coloured squares of 8 bits.
        changed: How many were changed at all.
        hidden: Paths of hidden pictures, which nobody looked at.
    """

    x: Tensor | PictureFiles
    kept: Tensor
    bad: list[list[str]]
    sha256: str
    changes: dict[str, int] = field(default_factory=dict)
    changed: int = 0
    hidden: tuple[str, ...] = ()


class FolderImages:
    """A person's own pictures; the first level of subfolders, where there are any, gives the classes.

    Arguments:
        path: The folder; a relative one is looked for in the current folder, then in `data_dir`.
        labels: Whether subfolders are classes.
        channels: 1 or 3; None for 1 if all pictures are grey, else 3.
        on_bad_image: What to do with a picture that is damaged, empty, too small, named as another format or as no
            picture, or of a format that is not decoded (HEIC): "skip" it, or stop with an "error"; both name it.
        memory_mb: Decoded pictures that need more than this many MB stay in their files and are read while training.
    """

    def __init__(
        self,
        path: str | None,
        labels: bool = True,
        channels: Literal[1, 3] | None = None,
        on_bad_image: OnBad = "skip",
        memory_mb: float = 2000,
    ) -> None:
        """Raises `UserError` without a path or for a choice that does not exist."""
        if not path:
            raise UserError("data=image_folder needs a folder of pictures: data.path=DIR")
        if on_bad_image not in ("skip", "error"):
            raise UserError(f"data.on_bad_image={on_bad_image} must be skip or error")
        if channels not in (None, 1, 3):
            raise UserError(f"data.channels={channels} must be 1 (grey), 3 (colour), or null to see for itself")
        self.path, self.labels, self.channels = Path(path).expanduser(), labels, channels
        self.on_bad_image, self.memory_mb = on_bad_image, memory_mb

    def __call__(self, data_dir: str | None = None, side: int | None = None) -> RawImages:
        """The middle square of every good picture, resized to `side` (64 by default)."""
        folder = find_folder(self.path, data_dir)
        files, labels, classes = find_pictures(folder, self.labels)
        inputs = Inputs(files)
        decoded = decode(folder, files, side or 64, self.channels, self.on_bad_image, self.memory_mb)
        y, classes = without_empty(labels, classes, decoded.kept)
        report = report_of(decoded, side or 64, self.memory_mb, self.on_bad_image)
        provenance = Provenance("files", str(folder.resolve()), decoded.sha256)
        inputs = inputs.only(decoded.kept.tolist(), is_read_again=not isinstance(decoded.x, Tensor))
        return RawImages(Pictures(decoded.x, y), None, classes, provenance, tuple(report), inputs)


def decode(
    folder: Path, files: Sequence[Path], side: int, channels: int | None, on_bad: OnBad, memory_mb: float
) -> Decoded:
    """Checks and decodes files, once: the outcome is cached under their names, sizes and times.

    Raises:
        UserError: `on_bad` is "error" and there is a bad one, or there is no good one.
    """
    channels = channels or channels_of(files, headers(files))
    in_memory = len(files) * channels * side * side <= memory_mb * 1e6
    stats = [(str(p.relative_to(folder)), s.st_size, s.st_mtime_ns) for p in files for s in [_stat(p)]]
    key = json.dumps([FORMAT, str(folder.resolve()), stats, side, channels, in_memory])
    path = cache_dir() / "pictures" / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.pt"
    state = read_state(path)
    if state is None:
        state = _decode_all(folder, files, side, channels, in_memory)
        if len(state["kept"]):
            write_atomically(path, state)
    _refuse(folder, state, on_bad, len(files))
    x = state["x"] if in_memory else PictureFiles([files[i] for i in state["kept"].tolist()], side, channels)
    hidden = tuple(hidden_pictures(folder))
    if hidden:
        log.warning("left out in %s: %d hidden, such as %s", folder, len(hidden), hidden[0])
    return Decoded(x, state["kept"], state["bad"], state["sha256"], state["changes"], state["changed"], hidden)


def _stat(path: Path) -> os.stat_result:
    """Of a link to nothing, that of the link."""
    return path.stat() if path.exists() else path.lstat()


def headers(files: Sequence[Path]) -> list[Head | None]:
    """See `header`, of many files."""
    with threads() as pool:
        return list(pool.map(header, files))


def channels_of(files: Sequence[Path], found: Sequence[Head | None]) -> int:
    """1 if every usable picture is grey, else 3; a bad file has no say.

    Arguments:
        files: The pictures.
        found: Their headers.
    """
    coloured = (file for file, head in zip(files, found, strict=True) if head is not None and not head.is_grey)
    return 3 if any(_is_whole(file) for file in coloured) else 1  # one sound picture ends the search


def _is_whole(path: Path) -> bool:
    try:
        read_picture(path)
    except BadPicture:
        return False
    return True


def _decode_all(folder: Path, files: Sequence[Path], side: int, channels: int, in_memory: bool) -> dict[str, Any]:
    from datakiln.console import Console

    x = torch.zeros(len(files) if in_memory else 0, channels, side, side, dtype=torch.uint8)
    pixels = x.numpy()

    def one(i: int) -> tuple[str, str, tuple[str, ...]]:
        try:
            picture, raw, changes = read_picture(files[i])
            if in_memory:
                pixels[i] = square(picture, side, channels)
            return hashlib.sha256(raw).hexdigest(), "", changes
        except BadPicture as fault:
            return "", str(fault), (fault.kind,)

    console = Console(stderr=True)
    with threads() as pool:
        done = pool.map(one, range(len(files)))
        outcomes = list(console.tracked(done, "reading pictures", len(files)))
    kept = torch.tensor([i for i, (_, fault, _) in enumerate(outcomes) if not fault], dtype=torch.long)
    bad = [
        [str(file.relative_to(folder)), out[1], out[2][0]] for file, out in zip(files, outcomes, strict=True) if out[1]
    ]
    digest = hashlib.sha256("".join(good for good, _, _ in outcomes).encode()).hexdigest()
    changes = Counter(change for _, fault, changes in outcomes if not fault for change in changes)
    changed = sum(bool(told) for _, fault, told in outcomes if not fault)
    x = x if not bad or not in_memory else x[kept]
    told = {"changes": dict(changes.most_common()), "changed": changed}
    return {"x": x, "kept": kept, "bad": bad, "sha256": digest, **told}


def _refuse(folder: Path, state: dict[str, Any], on_bad: OnBad, count: int) -> None:
    bad = state["bad"]
    if not len(state["kept"]):
        raise UserError(f"none of the {count} pictures in {folder} can be used; the first, {bad[0][0]}, {bad[0][1]}")
    if bad and on_bad == "error":
        others = f" (and {len(bad) - 1} more are bad)" if len(bad) > 1 else ""
        raise UserError(f"{folder / bad[0][0]} {bad[0][1]}{others}; mend or remove it, or use data.on_bad_image=skip")
    for kind, group in by_kind(bad).items():
        log.warning("skipped in %s: %s", folder, _named(kind, group))


def by_kind(bad: Sequence[Sequence[str]]) -> dict[str, list[Sequence[str]]]:
    """Files that were left out, by reason."""
    groups: dict[str, list[Sequence[str]]] = {}
    for one in bad:
        groups.setdefault(one[2], []).append(one)
    return groups


def _named(kind: str, group: Sequence[Sequence[str]]) -> str:
    """How many there are of a kind; of each fault some names."""
    faults: dict[str, list[str]] = {}
    for name, fault, _ in group:
        faults.setdefault(fault, []).append(name)
    parts = {fault: names[:NAMED] for fault, names in list(faults.items())[:NAMED]}
    left = len(group) - sum(map(len, parts.values()))
    told = [f"{', '.join(names)}{':' if len(names) > 1 else ''} {fault}" for fault, names in parts.items()]
    told += [f"and {left:,} more"] if left else []
    return f"{len(group):,} {kind} ({'; '.join(told)})"


def without_empty(labels: list[int], classes: tuple[str, ...], kept: Tensor) -> tuple[Tensor | None, tuple[str, ...]]:
    """Labels of the kept pictures, without classes whose pictures were all bad."""
    if not labels:
        return None, ()
    found, y = torch.tensor(labels, dtype=torch.long)[kept].unique(return_inverse=True)
    return y, tuple(classes[i] for i in found.tolist())


def report_of(decoded: Decoded, side: int, memory_mb: float, on_bad: OnBad) -> list[StepReport]:
    """What was read and how it is kept, and which pictures were left out."""
    x, n = decoded.x, len(decoded.x)
    if isinstance(x, Tensor):
        channels, how = x.shape[1], f"kept in memory ({x.numel() / 1e6:.0f} MB)"
    else:
        channels = x.channels
        how = f"read from files while training ({n * channels * side**2 / 1e6:.0f} MB, over memory_mb={memory_mb:g})"
    colours = "grey" if channels == 1 else "colour"
    detail = f"{n:,} {colours} pictures, middle square resized to {side} x {side} px, {how}"
    reports = [StepReport("pictures", detail)]
    if decoded.bad:
        told = "; ".join(_named(kind, group) for kind, group in by_kind(decoded.bad).items())
        reports.append(StepReport("bad pictures", f"{on_bad}: {told}", rows=len(decoded.bad)))
    if decoded.hidden:
        reports.append(StepReport("hidden", f"left out, such as {decoded.hidden[0]}", rows=len(decoded.hidden)))
    if decoded.changes:
        told = ", ".join(f"{count:,} {change}" for change, count in decoded.changes.items())
        reports.append(StepReport("converted", told, rows=decoded.changed))
    return reports
