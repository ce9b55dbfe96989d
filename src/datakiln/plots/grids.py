"""Grids and animations of generated pictures, written without matplotlib, since training waits for them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from datakiln.storage import replacing

Pixels = NDArray[np.uint8]
TILE = 56  # small pictures are enlarged by whole factors up to about this many pixels
ACROSS = 8  # pictures in a row, and rows, of the grids that are drawn while training
GAP, PAPER = 2, 255
FRAME_MS, LAST_FRAME_MS = 220, 2000


def grid(pictures: Pixels, columns: int | None = None, tile: int = TILE) -> Pixels:
    """Pictures side by side, row by row.

    Arguments:
        pictures: Shape (n, C, H, W), uint8.
        columns: In a row; as many as rows where None.
        tile: Smaller pictures are enlarged by a whole factor up to this side.

    Returns:
        One picture in colour, shape (H', W', 3).
    """
    count, channels, height, width = pictures.shape
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    factor = max(1, tile // max(height, width))
    large = pictures.repeat(factor, axis=2).repeat(factor, axis=3)
    large = np.broadcast_to(large, (count, 3, *large.shape[2:])) if channels == 1 else large
    high, wide = large.shape[2] + GAP, large.shape[3] + GAP
    sheet = np.full((rows * high + GAP, columns * wide + GAP, 3), PAPER, dtype=np.uint8)
    for i, picture in enumerate(large):
        top, left = GAP + (i // columns) * high, GAP + (i % columns) * wide
        sheet[top : top + high - GAP, left : left + wide - GAP] = picture.transpose(1, 2, 0)
    return sheet


def save_grid(
    pictures: Pixels,
    path: Path,
    caption: str,
    columns: int | None = None,
    tile: int = TILE,
    note: PngInfo | None = None,
) -> Path:
    """Writes a grid as a PNG with its caption, and a note where there is one, in the file; returns the path."""
    text = note or PngInfo()
    text.add_text("Description", caption)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        Image.fromarray(grid(pictures, columns, tile)).save(partial, format="PNG", pnginfo=text)
    return path


def save_animation(frames: Sequence[Image.Image], path: Path, even: bool = False) -> Path:
    """Writes an animated GIF that repeats, its last frame standing for longer unless `even`; returns the path."""
    durations = [FRAME_MS] * (len(frames) - 1) + [FRAME_MS if even else LAST_FRAME_MS]
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = [frame.convert("RGB").quantize(128, dither=Image.Dither.NONE) for frame in frames]
    with replacing(path) as partial:
        plain[0].save(partial, format="GIF", save_all=True, append_images=plain[1:], duration=durations, loop=0)
    return path
