"""Synthetic pictures to files: a grid, numbered files, an array, or a walk through the latent space."""

from __future__ import annotations

import functools
import json
import math
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from datakiln.errors import UserError
from datakiln.plots.grids import ACROSS, grid, save_animation, save_grid
from datakiln.sampling.room import BLOCK, check_room
from datakiln.sampling.synthesizer import Synthesizer, fingerprint
from datakiln.sampling.unfinished import Unfinished, UnfinishedFolder
from datakiln.spec import PLAIN, Sampling
from datakiln.storage import replacing

Draw = Callable[..., Iterator[np.ndarray]]  # pieces of pictures, from the one on that holds picture `done`
MOST_IN_GRID = 4096
NAMED = 3  # folders of another name than their class that are named; others are counted
MAKER = "datakiln"  # what numbered PNGs say that made them
KINDS = "grid.png for one picture of all, FOLDER/ for numbered PNGs, x.npz for an array"


def write_images(
    synthesizer: Synthesizer,
    n: int,
    out: str,
    condition: Mapping[str, Any],
    seed: int,
    options: Sampling = PLAIN,
    interpolate: bool = False,
    overwrite: bool = False,
) -> None:
    """Writes n pictures as the name of `out` says: `x.png` a grid, `x.npz` an array, anything else a folder of PNGs.

    Arguments:
        synthesizer: A trained model of pictures.
        n: Pictures, or steps of a walk.
        out: Where to.
        condition: {"class": name}, or empty.
        seed: Same seed, same pictures.
        options: See `Sampling`; recorded in every file.
        interpolate: Whether the pictures are steps of a closed walk, written as a strip and an animated GIF.
        overwrite: Whether a walk's files are replaced, and a folder's PNGs as far as an earlier sample left them.

    Raises:
        UserError: An option that the model or the kind of file cannot follow, or a file that would be lost.
    """
    asked = {"seed": seed, "condition": {name: str(value) for name, value in condition.items()}, **options.given()}
    whole = {"model": fingerprint(synthesizer), "device": synthesizer.model.device.type, "n": n, **asked}
    path = Path(out)
    suffix = "" if out.endswith("/") or path.is_dir() else path.suffix.lower()
    if interpolate:
        if suffix not in ("", ".png", ".gif"):
            raise UserError(f"out={out}: a walk goes to walk.png and walk.gif; give one of the names, or a folder")
        base = path / "walk" if suffix == "" else path.with_suffix("")
        files = base.with_name(f"{base.name}.png"), base.with_name(f"{base.name}.gif")
        write_walk(synthesizer, n, files, condition, seed, options, overwrite)
        return
    draw = functools.partial(synthesizer.pictures, n, condition, seed, options)
    if suffix == ".png":
        _write_grid(draw(), n, path, asked)
    elif suffix == ".npz":
        with Unfinished(path, whole, n, overwrite) as unfinished:
            _write_array(draw, synthesizer, condition, seed, unfinished, asked)
    elif suffix == "":
        _write_files(draw, n, synthesizer.codec.chunk, path, overwrite, asked, whole)
    else:
        raise UserError(f"out={out}: pictures go to {KINDS}")


def is_by_class(synthesizer: Synthesizer, out: str, condition: Mapping[str, Any]) -> bool:
    """Whether a sample goes to a folder for each class: one to a folder, of a model that is told the class."""
    is_folder = out.endswith("/") or Path(out).is_dir() or not Path(out).suffix
    return is_folder and not condition and synthesizer.model.conditioning == "label"


def write_by_class(
    synthesizer: Synthesizer,
    n: int,
    out: str,
    per_class: int | None,
    seed: int,
    options: Sampling = PLAIN,
    overwrite: bool = False,
) -> int:
    """Writes a folder of PNGs for each class, which `data=image_folder` reads back with its classes; returns how many.

    Arguments:
        synthesizer: A trained model of pictures that is told the class.
        n: Pictures in all, by the classes' shares among the training pictures, where `per_class` is None.
        out: The folder that holds the classes' folders.
        per_class: Pictures of each class.
        seed: Same seed, same pictures; each class has its own.
        options: See `Sampling`.
        overwrite: See `write_images`.

    Raises:
        UserError: The model is told no class, `out` is no folder, two classes would have the same folder, or pictures
            are there among which those of this sample could not be told.
    """
    spec = synthesizer.codec.spec
    if synthesizer.model.conditioning != "label":
        told = f"per_class={per_class}: {type(synthesizer.model).__name__} is told no class"
        raise UserError(f"{told}; train one with conditional=true, or say n=")
    if not is_by_class(synthesizer, out, {}):
        raise UserError(f"out={out}: per_class= makes a folder for each class; give out=FOLDER/")
    folders = [_folder_name(name) for name in spec.classes]
    doubled = next((name for name in folders if folders.count(name) > 1), None)
    if doubled is not None:
        raise UserError(
            f"two classes would both go to the folder {doubled}; sample them by condition.class= one by one"
        )
    counts = class_counts(spec.class_shares, n) if per_class is None else [per_class] * len(folders)
    asked = {"model": fingerprint(synthesizer), "n": n, "per_class": per_class, "seed": seed, **options.given()}
    unfinished = UnfinishedFolder(Path(out), asked, len(folders), "classes", overwrite)
    if unfinished.is_of_another:
        told = f"out={out} holds an unfinished sample of another command"
        raise UserError(f"{told}, as {unfinished.note.name} there says; give that one to go on, or overwrite=true")
    none_of = [Path(out) / name for name, count in zip(folders, counts, strict=True) if not count]
    stale = [path for place in (Path(out), *none_of) for path in _left(place, overwrite, unfinished.was_left)]
    with unfinished:
        for k in range(unfinished.done, len(folders)):
            folder, condition = Path(out) / folders[k], {"class": spec.classes[k]}
            # complete, but the process was killed before that was noted
            again = unfinished.was_left and folder.is_dir() and not (folder / unfinished.note.name).exists()
            if counts[k]:
                own = seed * len(counts) + k
                write_images(
                    synthesizer, counts[k], f"{folder}/", condition, own, options, overwrite=overwrite or again
                )
            unfinished.advance(k + 1)
        for path in stale:
            path.unlink()
    return sum(counts)


def class_counts(shares: Sequence[float], n: int) -> list[int]:
    """How many of n pictures are of each class: its share, rounded so that all together are n."""
    ends = np.rint(np.cumsum(shares) * n).astype(int)
    return np.diff(ends, prepend=0).tolist()  # type: ignore[no-any-return]


def renamed(classes: Sequence[str]) -> str:
    """Which classes have folders of another name, in words; empty if none has."""
    found = [f"{name} in {folder}" for name in classes if (folder := _folder_name(name)) != name]
    more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return f" (those of {', '.join(found[:NAMED])}{more}: not every system has such names)" if found else ""


def _folder_name(name: str) -> str:
    """A class as the name of a folder: none that leads elsewhere, and none that is hidden."""
    plain = "".join("_" if c in '/\\:*?"<>|' or ord(c) < 32 else c for c in name).strip() or "_"
    return f"_{plain[1:]}" if plain.startswith(".") else plain


def _write_grid(pictures: Iterator[np.ndarray], n: int, path: Path, asked: Mapping[str, Any]) -> None:
    if n > MOST_IN_GRID:
        raise UserError(f"n={n} is too many for one grid (at most {MOST_IN_GRID}); use out=FOLDER/ or out=x.npz")
    save_grid(np.concatenate(list(pictures)), path, f"{n} synthetic pictures.", note=note(asked))


def _write_files(
    draw: Draw, n: int, chunk: int, folder: Path, overwrite: bool, asked: Mapping[str, Any], whole: Mapping[str, Any]
) -> None:
    """Numbered PNGs that say of themselves who made them: only such ones are replaced, or removed beyond n."""
    unfinished = UnfinishedFolder(folder, whole, n, "pictures", overwrite)
    if unfinished.is_of_another:
        told = f"out={folder} holds an unfinished sample of another command"
        raise UserError(f"{told}, as {unfinished.note.name} there says; give that one to go on, or overwrite=true")
    before = _left(folder, overwrite, unfinished.was_left)
    text = note(asked)
    digits = max(5, len(str(n - 1)))
    with unfinished:
        first = unfinished.done
        number = first - first % chunk
        for piece in draw(done=first):
            for picture in piece:
                if number >= first:
                    path = folder / f"{number:0{digits}d}.png"
                    with replacing(path) as partial:
                        to_image(picture).save(partial, format="PNG", pnginfo=text)
                    if number == first:
                        each = math.ceil(path.stat().st_size / BLOCK) * BLOCK
                        check_room(folder, n - first, each, files=True)
                    unfinished.advance(number + 1)
                number += 1
        for path in before:
            if int(path.stem) >= n or len(path.stem) != digits:
                path.unlink()


def _left(folder: Path, overwrite: bool, was_left: bool) -> list[Path]:
    """PNGs that an earlier sample left in a folder; refuses those of anyone else, and all that may not be replaced."""
    before = sorted(folder.glob("*.png"))
    if before and not overwrite and not was_left:
        raise UserError(
            f"out={folder} holds PNGs already; choose another folder, or overwrite=true for those of a sample"
        )
    for path in before:
        if not (path.stem.isdigit() and is_sample(path)):
            raise UserError(f"out={folder} holds {path.name}, which is of no sample; choose another folder")
    return before


def is_sample(path: Path) -> bool:
    """Whether a file is a PNG that says of itself that a sample made it."""
    try:
        with Image.open(path) as picture:
            return picture.info.get("Software") == MAKER
    except OSError:
        return False


def to_image(picture: np.ndarray) -> Image.Image:
    """A picture (C, H, W) of levels as Pillow's."""
    return Image.fromarray(picture[0] if len(picture) == 1 else np.ascontiguousarray(picture.transpose(1, 2, 0)))


def _write_array(
    draw: Draw,
    synthesizer: Synthesizer,
    condition: Mapping[str, Any],
    seed: int,
    unfinished: Unfinished,
    asked: Mapping[str, Any],
) -> None:
    """`images`, uint8 (n, H, W, C), written piece by piece; `class` where one was asked for.

    Of a model that is told the classes also `labels` (n,) and the names of the `classes`, as a run's own array. How it
    was sampled is `sampling`, JSON in text. An archive cannot be added to: until all are there, pixels are kept plain.
    """
    channels, height, width = synthesizer.codec.spec.shape
    n, path = unfinished.total, unfinished.path
    for piece in draw(done=unfinished.done) if unfinished.done < n else ():
        content = np.ascontiguousarray(piece.transpose(0, 2, 3, 1)).tobytes()
        if unfinished.done == 0:
            each = (len(content) + len(zlib.compress(content))) / len(piece)
            check_room(path, n, each)
        unfinished.write(content, unfinished.done + len(piece), None)
    unfinished.check_name()
    header = {"descr": "|u1", "fortran_order": False, "shape": (n, height, width, channels)}
    with replacing(path) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("images.npy", "w", force_zip64=True) as file, unfinished.partial.open("rb") as made:
            np.lib.format.write_array_header_1_0(file, header)
            shutil.copyfileobj(made, file, 1 << 20)
        told = {**_told(synthesizer, n, condition, seed), "sampling": np.array(json.dumps(asked, sort_keys=True))}
        for name, array in told.items():
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, array, allow_pickle=False)
    unfinished.discard()


def _told(synthesizer: Synthesizer, n: int, condition: Mapping[str, Any], seed: int) -> dict[str, np.ndarray]:
    """What the model was told of its pictures."""
    labels = synthesizer.labels(n, condition, seed)
    told = {} if labels is None else {"labels": labels, "classes": np.array(synthesizer.codec.spec.classes)}
    return {**told, "class": np.array(str(condition["class"]))} if "class" in condition else told


def write_walk(
    synthesizer: Synthesizer,
    n: int,
    files: tuple[Path, Path],
    condition: Mapping[str, Any],
    seed: int,
    options: Sampling = PLAIN,
    overwrite: bool = False,
) -> None:
    """A closed walk of n steps through the latent space: a strip (PNG) and an animation (GIF) side by side.

    Between random latents it goes along great circles, where the Gaussian's mass is (White, 2016); every eighth step,
    the first of each row of the strip, is such a latent. The class stays the same.
    """
    if n < ACROSS:
        raise UserError(f"n={n}: a walk has at least {ACROSS} steps")
    if n > MOST_IN_GRID:
        raise UserError(f"n={n}: a walk has at most {MOST_IN_GRID} steps")
    for path in files:
        if path.exists() and not overwrite:
            raise UserError(f"out={path} exists, and a walk writes it; choose another name, or overwrite=true")
    if not synthesizer.model.can_walk:
        raise UserError(f"interpolate needs a model with a latent space, not {type(synthesizer.model).__name__}")
    synthesizer.model.check_options(options)
    strip, animation = files
    generator = torch.Generator().manual_seed(abs(seed))
    latent_dim: Any = synthesizer.model.latent_dim  # every model that walks has one
    z = circle(torch.randn(math.ceil(n / ACROSS), latent_dim, generator=generator), n)
    given = synthesizer.given_class(condition)
    y = synthesizer.classes(1, given, (seed, 0, 0))
    parts = z.split(synthesizer.codec.chunk)
    told = [None if y is None else y.expand(len(part)) for part in parts]
    steps = np.concatenate([_walked(synthesizer, part, of, options) for part, of in zip(parts, told, strict=True)])
    asked = {"seed": seed, "condition": {name: str(value) for name, value in condition.items()}, **options.given()}
    save_grid(steps, strip, f"A walk of {n} steps through the latent space.", ACROSS, note=note(asked))
    frames = [Image.fromarray(grid(step[None], 1, tile=128)) for step in steps]
    save_animation(frames, animation, even=True)


def circle(keys: Tensor, n: int) -> Tensor:
    """Gives n latents on the way from key to key and back to the first, by spherical interpolation, (n, latent)."""
    place = torch.arange(n, dtype=torch.float64) * len(keys) / n
    first = place.long()
    share = (place - first).unsqueeze(1)
    start, stop = keys[first].double(), keys[(first + 1) % len(keys)].double()
    cosine = torch.nn.functional.cosine_similarity(start, stop, dim=1).clamp(-1 + 1e-9, 1 - 1e-9).unsqueeze(1)
    angle = torch.arccos(cosine)
    between = (torch.sin((1 - share) * angle) * start + torch.sin(share * angle) * stop) / torch.sin(angle)
    # with a single key the way has no length
    return torch.where(angle < 1e-3, start, between).float()


@torch.no_grad()
def _walked(synthesizer: Synthesizer, z: Tensor, y: Tensor | None, options: Sampling) -> np.ndarray:
    model = synthesizer.model
    with torch.random.fork_rng(devices=[model.device] if model.device.type == "cuda" else []):
        torch.manual_seed(0)  # of what a decoder draws beside z
        x = model.walk(z.to(model.device), None if y is None else y.to(model.device), options)
    return synthesizer.codec.decode(x, np.random.default_rng(0))


def note(asked: Mapping[str, Any]) -> PngInfo:
    """What a PNG says of itself: who made it, and how."""
    text = PngInfo()
    text.add_text("Software", MAKER)
    text.add_text("Sampling", json.dumps(asked, sort_keys=True))
    return text
