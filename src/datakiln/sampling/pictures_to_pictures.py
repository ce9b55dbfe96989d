"""A folder of pictures in, a folder of pictures out, under the same names: translated, enlarged, or varied."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from datakiln.console import Console
from datakiln.data.pictures.files import BadPicture, read_picture, square
from datakiln.data.pictures.finding import find_pictures
from datakiln.errors import UserError
from datakiln.sampling.pictures import is_sample, note, to_image
from datakiln.sampling.synthesizer import Synthesizer, fingerprint
from datakiln.sampling.unfinished import UnfinishedFolder
from datakiln.spec import PLAIN, Sampling
from datakiln.storage import remove_left_over, replacing
from datakiln.wording import counted

Pixels = list[np.ndarray]
Make = Callable[[Pixels, int], list[list[np.ndarray]]]  # pictures and the number of the first file to what each became
NAMED = 3  # files that are named among those left out; the others are counted
MOST_PIXELS = 178_956_970  # of one made picture: as many as Pillow reads without a warning
TILE = 96  # side of a piece of a large picture that is enlarged at once
MOST_PER = 1000  # variations of one picture


def translate_folder(
    synthesizer: Synthesizer,
    source: Path,
    out: Path,
    condition: Mapping[str, Any],
    seed: int,
    options: Sampling = PLAIN,
    overwrite: bool = False,
    to: str | None = None,
) -> str:
    """Writes what the model makes of each picture of a folder, under the same name; says how many.

    Pictures are cut to the middle square and brought to the side that the model takes. Those that cannot be read are
    named and left out.

    Arguments:
        synthesizer: A trained model that takes pictures.
        source: The folder.
        out: Where to.
        condition: What else they are to become, for whoever asks for it to be told that there is nothing.
        seed: Same seed, same pictures.
        options: See `Sampling`.
        overwrite: Whether what an earlier sample left there is replaced.
        to: Name of the domain that they are to become; None for the second of two.

    Raises:
        UserError: No such folder, no usable picture in it, files that would be lost, or an unknown domain.
    """
    asked: dict[str, Any] = options.given()
    told = dict(condition)
    if to is not None:
        told["domain"] = asked["to"] = to
    synthesizer.target(told)  # refuses before a file is there

    def make(pictures: Pixels, first: int) -> list[list[np.ndarray]]:
        return [[one] for one in synthesizer.transform(np.stack(pictures), told, seed, options, part=first)]

    folder = Folder(synthesizer, source, out, "translate", {"seed": seed, **asked}, overwrite)
    return f"{folder.write(make, _squares(synthesizer))} translated{folder.left_out};"


def vary_folder(
    synthesizer: Synthesizer,
    source: Path,
    out: Path,
    per: int,
    seed: int,
    options: Sampling = PLAIN,
    overwrite: bool = False,
) -> str:
    """Writes `per` further pictures of the class of each picture of a folder, as `name-01.png` and so on.

    Subfolders stay, so that classes do: the outcome can be read as the folder can.

    Raises:
        UserError: A model without noise, `per` out of range, and as for `translate_folder`.
    """
    if not synthesizer.model.varies:
        told = f"vary={source}: {type(synthesizer.model).__name__} makes one picture of another, or none"
        raise UserError(f"{told}; train model=dagan")
    if not 1 <= per <= MOST_PER:
        raise UserError(f"per={per} must be between 1 and {MOST_PER}")

    def make(pictures: Pixels, first: int) -> list[list[np.ndarray]]:
        repeated = np.repeat(np.stack(pictures), per, axis=0)
        made = synthesizer.transform(repeated, {}, seed, options, part=first)
        return [list(made[i * per : (i + 1) * per]) for i in range(len(pictures))]

    folder = Folder(synthesizer, source, out, "vary", {"seed": seed, "per": per, **options.given()}, overwrite, per)
    return f"{per} variations of each of {folder.write(make, _squares(synthesizer))}{folder.left_out};"


def upscale_folder(
    synthesizer: Synthesizer,
    source: Path,
    out: Path,
    condition: Mapping[str, Any],
    options: Sampling = PLAIN,
    overwrite: bool = False,
) -> str:
    """Writes each picture of a folder as many times larger as the model was trained to enlarge, whatever its size.

    Raises:
        UserError: A model that enlarges nothing, and as for `translate_folder`.
    """
    synthesizer.target(condition)
    factor = synthesizer.model.enlarges
    if factor == 1:
        raise UserError(f"upscale={source}: {type(synthesizer.model).__name__} enlarges nothing; train model=upscaler")
    synthesizer.model.check_options(options)
    channels = synthesizer.codec.spec.shape[0]

    def read(path: Path) -> np.ndarray:
        picture = read_picture(path)[0]
        width, height = picture.size
        if width * height * factor**2 > MOST_PIXELS:
            raise BadPicture(f"would become {width * factor} x {height * factor} px, which is too large", "large")
        pixels = np.asarray(picture.convert("L" if channels == 1 else "RGB"))
        return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)

    def make(pictures: Pixels, first: int) -> list[list[np.ndarray]]:
        return [[one] for one in enlarged(synthesizer, pictures, factor, options)]

    folder = Folder(synthesizer, source, out, "upscale", {"factor": factor, **options.given()}, overwrite)
    return f"{folder.write(make, read)} made {factor} times as large{folder.left_out};"


@torch.no_grad()
def enlarged(synthesizer: Synthesizer, pictures: Pixels, factor: int, options: Sampling = PLAIN) -> Pixels:
    """Pictures (C, h, w) of any sizes to (C, factor * h, factor * w), those of one size together.

    A large one is worked through in pieces that overlap as far as the net sees, so that the seams cannot be seen: each
    pixel is what it would be of the whole.
    """
    made: Pixels = [np.empty(0)] * len(pictures)
    groups: dict[tuple[int, ...], list[int]] = {}
    for i, picture in enumerate(pictures):
        groups.setdefault(picture.shape, []).append(i)
    for shape, members in groups.items():
        if max(shape[1:]) <= TILE:
            for i, one in zip(members, _transformed(synthesizer, [pictures[i] for i in members], options), strict=True):
                made[i] = one
            continue
        for i in members:
            made[i] = _in_pieces(synthesizer, pictures[i], factor, options)
    return made


def _in_pieces(synthesizer: Synthesizer, picture: np.ndarray, factor: int, options: Sampling) -> np.ndarray:
    channels, height, width = picture.shape
    reach: Any = synthesizer.model.generator.reach  # type: ignore[union-attr]
    made = np.empty((channels, height * factor, width * factor), dtype=np.uint8)
    for top in range(0, height, TILE):
        for left in range(0, width, TILE):
            bottom, right = min(top + TILE, height), min(left + TILE, width)
            above, before = max(top - reach, 0), max(left - reach, 0)
            piece = picture[:, above : bottom + reach, before : right + reach]
            large = _transformed(synthesizer, [piece], options)[0]
            down, across = (top - above) * factor, (left - before) * factor
            inner = large[:, down : down + (bottom - top) * factor, across : across + (right - left) * factor]
            made[:, top * factor : bottom * factor, left * factor : right * factor] = inner
    return made


def _transformed(synthesizer: Synthesizer, pictures: Pixels, options: Sampling) -> Pixels:
    return list(synthesizer.transform(np.stack(pictures), {}, 0, options))


def _squares(synthesizer: Synthesizer) -> Callable[[Path], np.ndarray]:
    channels, side = synthesizer.model.takes[0], synthesizer.model.takes[1]
    return lambda path: square(read_picture(path)[0], side, channels)


class Folder:
    """What becomes of the pictures of a folder, in another one: names kept, nothing lost, resumable.

    Arguments:
        synthesizer: Whose model it is.
        source: The folder.
        out: Where to.
        option: The option that named the folder.
        asked: What the pictures depend on, which each says of itself.
        overwrite: Whether what an earlier sample left there is replaced.
        per: Pictures made of each.

    Raises:
        UserError: No such folder, no picture in it, or files that would be lost.
    """

    def __init__(
        self,
        synthesizer: Synthesizer,
        source: Path,
        out: Path,
        option: str,
        asked: Mapping[str, Any],
        overwrite: bool,
        per: int = 1,
    ) -> None:
        """See the class."""
        self.source, self.out, self.option, self.asked = source, out, option, dict(asked)
        if out.resolve() == source.resolve():
            raise UserError(f"out={out} is the folder of {option}= itself; choose another one")
        found, _, _ = find_pictures(source, labels=False, option=option)
        self.files = _not_made(found, source.resolve(), out.resolve())
        if not self.files:
            told = f"{option}={source} holds no picture but what an earlier sample left in out={out}"
            raise UserError(f"{told}; choose another folder for one of the two")
        self.names = names_of([path.relative_to(source) for path in self.files], per if option == "vary" else None)
        self.chunk = max(1, synthesizer.codec.chunk // per)
        self.bad: list[str] = []
        whole = {"model": fingerprint(synthesizer), "device": synthesizer.model.device.type, "from": str(source)}
        n = len(self.files)
        self.unfinished = UnfinishedFolder(out, {**whole, **asked, "n": n}, n, "pictures", overwrite)
        if self.unfinished.is_of_another:
            told = f"out={out} holds an unfinished sample of another command"
            raise UserError(f"{told}, as {self.unfinished.note.name} there says; give that one, or overwrite=true")
        left = [name for names in self.names[self.unfinished.done :] for name in names if (out / name).exists()]
        taken = [name for name in left if not (overwrite and is_sample(out / name))]
        if taken and not self.unfinished.was_left:
            raise UserError(
                f"out={out} holds {taken[0]} already; choose another folder, or overwrite=true for a sample's"
            )

    def write(self, make: Make, read: Callable[[Path], np.ndarray]) -> str:
        """Reads, makes and writes piece by piece; says how many pictures were read.

        Pieces are drawn whole, so that a picture does not depend on where a command was stopped.

        Raises:
            UserError: None could be.
        """
        first = self.unfinished.done - self.unfinished.done % self.chunk  # whole pieces, whose noise is theirs
        done = 0
        starts = range(0, len(self.files), self.chunk)
        with self.unfinished:
            for place in {(self.out / name).parent for names in self.names for name in names}:
                remove_left_over(place)  # of a command that was killed
            for start in Console(stderr=True).tracked(starts, self.option, len(starts)):
                good, pixels = [], []
                for i in range(start, min(start + self.chunk, len(self.files))):
                    try:
                        pixels.append(read(self.files[i]))
                        good.append(i)
                    except BadPicture as fault:
                        self.bad.append(f"{self.files[i].relative_to(self.source)} {fault}")
                done += len(good)
                if start < first:
                    continue
                for i, made in zip(good, make(pixels, start) if good else (), strict=True):
                    self._save(i, made)
                self.unfinished.advance(min(start + self.chunk, len(self.files)))
            if not done:
                raise UserError(f"{self.option}={self.source}: no picture could be used ({self.bad[0]})")
        return counted(done, "picture")

    def _save(self, i: int, made: Sequence[np.ndarray]) -> None:
        text = note({**self.asked, "from": str(self.files[i].relative_to(self.source))})
        for name, picture in zip(self.names[i], made, strict=True):
            path = self.out / name
            path.parent.mkdir(parents=True, exist_ok=True)
            image: Image.Image = to_image(picture)
            with replacing(path) as partial:
                image.save(partial, format="PNG", pnginfo=text)

    @property
    def left_out(self) -> str:
        """Which files were no pictures, in words."""
        if not self.bad:
            return ""
        more = f" and {len(self.bad) - NAMED} more" if len(self.bad) > NAMED else ""
        return f"; left out: {', '.join(self.bad[:NAMED])}{more}"


def _not_made(files: list[Path], source: Path, out: Path) -> list[Path]:
    """Without what an earlier sample left in `out`, where that lies in the folder itself, or a link there leads to it.

    What was made is no input of the next command.

    Arguments:
        files: Found in the folder.
        source: The folder, links resolved.
        out: Where what is made goes, links resolved.
    """
    if out in source.parents:  # all of them are in there
        return files
    places = {folder: folder.resolve() for folder in {path.parent for path in files}}
    made = {folder for folder, place in places.items() if place == out or out in place.parents}
    return [path for path in files if not (path.parent in made and is_sample(path))]


def names_of(paths: Sequence[Path], per: int | None = None) -> list[list[Path]]:
    """Names of what is made of each picture, all different: its own, as PNG, where no other one has it too.

    Arguments:
        paths: Of the pictures, from their folder.
        per: How many are made of each, numbered from 1; None for one of the same name.
    """
    taken = Counter(path.with_suffix(".png") for path in paths)
    found = []
    for path in paths:
        plain = path.with_suffix(".png")
        name = plain if taken[plain] == 1 else path.with_name(f"{path.name}.png")  # a.jpg beside a.png
        digits = max(2, len(str(per or 0)))
        numbers = [""] if per is None else [f"-{k:0{digits}d}" for k in range(1, per + 1)]
        found.append([name.with_name(f"{name.stem}{number}.png") for number in numbers])
    if len({name for names in found for name in names}) < sum(map(len, found)):  # a-01.jpg beside a.jpg, in two folders
        doubled = next(name for name, count in Counter(n for names in found for n in names).items() if count > 1)
        raise UserError(f"two pictures would both become {doubled}; rename one of them")
    return found
