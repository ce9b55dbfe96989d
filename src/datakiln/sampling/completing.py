"""A person's pictures and a model of pictures: hidden parts drawn given the rest, or how likely each picture is."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from datakiln.console import Console
from datakiln.data.pictures.files import BadPicture, read_picture, square
from datakiln.data.pictures.finding import find_pictures
from datakiln.errors import UserError
from datakiln.sampling.pictures import to_image
from datakiln.sampling.pictures_to_pictures import Folder, Pixels
from datakiln.sampling.synthesizer import Synthesizer
from datakiln.spec import PLAIN, Sampling
from datakiln.storage import replacing
from datakiln.wording import counted

HIDDEN = 128  # level of a mask from which a pixel counts as white
SCORES = ("file", "bits_per_dim", "png_bits_per_dim", "surprise", "atypicality", "log_prob")
TYPICAL = 64  # samples of the model's own, which show how likely it calls what it makes


def fill_folder(
    synthesizer: Synthesizer,
    source: Path,
    out: Path,
    mask: str | None,
    seed: int,
    options: Sampling = PLAIN,
    overwrite: bool = False,
) -> str:
    """Writes the pictures of a folder with their hidden parts drawn, under the same names; says how many.

    Arguments:
        synthesizer: A trained model of pictures that can be told a part of one.
        source: The folder. Pictures are cut to the middle square and brought to the model's side.
        out: Where to.
        mask: A picture of the model's size, white where pixels are hidden; None for the lower half.
        seed: Same seed, same pictures.
        options: See `Sampling`.
        overwrite: Whether what an earlier sample left there is replaced.

    Raises:
        UserError: No usable picture, a mask of another size or that hides nothing, or files that would be lost.
    """
    synthesizer.model.check_options(options)
    hidden, read = read_mask(mask, synthesizer.codec.spec.shape), own_side(synthesizer)

    def make(pictures: Pixels, first: int) -> list[list[np.ndarray]]:
        return [[one] for one in synthesizer.complete(np.stack(pictures), hidden, (seed, first), options)]

    folder = Folder(synthesizer, source, out, "fill", {"seed": seed, "mask": str(mask), **options.given()}, overwrite)
    made = folder.write(make, lambda path: read(read_picture(path)[0]))
    return f"{made} filled, {100 * hidden.mean():.0f} % of each drawn{folder.left_out};"


def upscale_folder(
    synthesizer: Synthesizer,
    source: Path,
    out: Path,
    condition: Mapping[str, Any],
    seed: int,
    options: Sampling = PLAIN,
    overwrite: bool = False,
) -> str:
    """Writes the small pictures of a folder drawn at the model's side, under the same names; says how many.

    Arguments:
        synthesizer: A trained model of pictures that can be told a smaller one.
        source: The folder. Of each picture the middle square is taken as it is; the model's side must be a multiple of
            its side.
        out: Where to.
        condition: The class that all of them are told to be of, or nothing.
        seed: Same seed, same pictures.
        options: See `Sampling`.
        overwrite: Whether what an earlier sample left there is replaced.

    Raises:
        UserError: No usable picture, a class unknown to the model, or files that would be lost.
    """
    synthesizer.model.check_options(options)
    synthesizer.given_class(condition)
    side = synthesizer.codec.spec.shape[1]

    def small(picture: Image.Image) -> np.ndarray:
        own = min(picture.size)
        if own >= side or side % own:
            lacks = "are no more" if own >= side else "are no multiple"
            raise BadPicture(f"has {own} px, of which the model's {side} {lacks}")
        return square(picture, own, synthesizer.codec.spec.shape[0])

    def make(pictures: Pixels, first: int) -> list[list[np.ndarray]]:
        found = np.empty((len(pictures), *synthesizer.codec.spec.shape), dtype=np.uint8)
        for own in sorted({len(picture[0]) for picture in pictures}):
            rows, seeds = [i for i, one in enumerate(pictures) if len(one[0]) == own], (seed, first, own)
            found[rows] = synthesizer.enlarge(np.stack([pictures[i] for i in rows]), condition, seeds, options)
        return [[one] for one in found]

    told = {"condition": {name: str(value) for name, value in condition.items()}} if condition else {}
    asked = {"seed": seed, "side": side, **told, **options.given()}
    folder = Folder(synthesizer, source, out, "upscale", asked, overwrite)
    made = folder.write(make, lambda path: small(read_picture(path)[0]))
    return f"{made} drawn at {side} px{folder.left_out};"


def score_folder(synthesizer: Synthesizer, source: Path, out: str) -> str:
    """Writes a CSV with how likely the model calls each picture of a folder, the strangest first; says how many.

    `bits_per_dim` is the model's code length, `png_bits_per_dim` that of the same pixels as a PNG, `surprise` the one
    minus the other: plain likelihood calls simple pictures likely, whatever they show (Nalisnick et al., 2019a), and a
    general compressor tells how simple they are (Serra et al., 2020, eq. 1). `atypicality` is how many standard
    deviations the code length lies from the mean of samples of the model, to either side: a picture can also be too
    likely to be one of them (Nalisnick et al., 2019b, eq. 3, of one picture).

    Raises:
        UserError: The model has no likelihood, no usable picture, or `out` is no CSV.
    """
    synthesizer.check_likelihood()
    if not out.endswith(".csv"):
        raise UserError(f"out={out}: scores go to a CSV; give out=x.csv")
    files, _, _ = find_pictures(source, labels=False, option="score")
    rows: list[tuple[str, float, float, float, float, float]] = []
    left: list[str] = []
    each = math.prod(synthesizer.codec.spec.shape)
    own = -synthesizer.picture_log_prob(synthesizer.sample(TYPICAL), (0, 0)) / (each * math.log(2))
    mean, deviation = float(own.mean()), max(float(own.std(ddof=1)), 1e-9)
    starts = range(0, len(files), synthesizer.codec.chunk)
    for start in Console(stderr=True).tracked(starts, "score", len(starts)):
        good, pixels, bad = read_all(files[start : start + synthesizer.codec.chunk], own_side(synthesizer))
        left += bad
        if pixels:
            nats = synthesizer.picture_log_prob(np.stack(pixels), (0, start))
            for i, picture, value in zip(good, pixels, nats, strict=True):
                bits, png = -float(value) / (each * math.log(2)), png_bits(picture) / each
                name, strange = str(files[start + i].relative_to(source)), abs(bits - mean) / deviation
                rows.append((name, bits, png, bits - png, strange, float(value)))
    if not rows:
        raise UserError(f"score={source}: no picture could be read ({left[0]})")
    table = pd.DataFrame(rows, columns=list(SCORES)).sort_values("surprise", ascending=False, kind="stable")
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    with replacing(Path(out)) as partial:
        table.to_csv(partial, index=False, float_format="%.5f")
    told = f"{table['bits_per_dim'].mean():.3f} bits a dimension on average, {mean:.3f} of samples of the model"
    return f"{counted(len(rows), 'picture')} scored, {told}{left_out(left)};"


def read_mask(mask: str | None, shape: tuple[int, ...]) -> np.ndarray:
    """Which pixels of a picture are hidden, bool (H, W): the white ones of a mask, or the lower half.

    Raises:
        UserError: No picture, one of another size than the model's, or one that hides nothing or everything.
    """
    height, wide = shape[1:]
    if mask is None:
        hidden = np.zeros((height, wide), dtype=bool)
        hidden[height // 2 :] = True
        return hidden
    if not Path(mask).is_file():
        raise UserError(f"mask={mask} is no file; give a picture of {wide} x {height} px, white where it hides")
    try:
        picture = read_picture(Path(mask))[0].convert("L")
    except BadPicture as fault:
        raise UserError(f"mask={mask} {fault}; give a PNG of {wide} x {height} px") from fault
    if picture.size != (wide, height):
        told = f"mask={mask} is {picture.size[0]} x {picture.size[1]} px, the model's pictures are {wide} x {height}"
        raise UserError(f"{told}; give a mask of that size")
    hidden = np.asarray(picture) >= HIDDEN
    if hidden.all() or not hidden.any():
        raise UserError(
            f"mask={mask} hides {'everything' if hidden.all() else 'nothing'}; white is hidden, black shown"
        )
    return hidden


def png_bits(picture: np.ndarray) -> int:
    """Length of a picture (C, H, W) as a PNG, in bits."""
    content = io.BytesIO()
    to_image(picture).save(content, format="PNG", optimize=True)
    return 8 * len(content.getvalue())


def own_side(synthesizer: Synthesizer) -> Callable[[Image.Image], np.ndarray]:
    """Pictures at the model's side."""
    channels, side, _ = synthesizer.codec.spec.shape
    return lambda picture: square(picture, side, channels)


def read_all(
    files: list[Path], read: Callable[[Image.Image], np.ndarray]
) -> tuple[list[int], list[np.ndarray], list[str]]:
    """Which of the files are pictures, these as `read` gives them, uint8 (C, H, W), and the faults of others."""
    good, pixels, bad = [], [], []
    for i, path in enumerate(files):
        try:
            pixels.append(read(read_picture(path)[0]))
            good.append(i)
        except BadPicture as fault:
            bad.append(f"{path.name} {fault}")
    return good, pixels, bad


def left_out(left: list[str]) -> str:
    """Which files were no pictures, in words."""
    return f"; left out: {', '.join(left[:3])}{', ...' if len(left) > 3 else ''}" if left else ""
