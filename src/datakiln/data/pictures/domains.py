"""A second set of pictures beside the first, pictures of some classes alone, and what is paired with a picture.

What a model learns from is decided here: pictures of classes that were left out are gone before anything is split.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import yaml
from torch import Tensor

from datakiln.data.base import StepReport
from datakiln.data.pictures.files import PictureFiles
from datakiln.data.pictures.finding import check_pictures, find_folder
from datakiln.data.pictures.folder import FolderImages
from datakiln.data.pictures.loaders import ImageLoader, middle, randomly_cut
from datakiln.data.pictures.sources import Pictures, RawImages
from datakiln.errors import UserError, near
from datakiln.storage import CONF
from datakiln.wording import counted

Source = Callable[[str | None, int | None], RawImages]
OWN = 7_368_787  # keeps the order of the second set apart from that of the first, under the same seed


def named_sources() -> dict[str, str]:
    """Names of the sets of pictures in conf/data that need no path, and the file that says where each is from."""
    found = {}
    for path in sorted((CONF / "data").glob("*.yaml")):
        source = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("source")
        if source and str(source.get("_target_", "")).startswith(
            ("datakiln.data.pictures.", "datakiln.data.sets.flowers")
        ):
            found[path.stem] = str(path)
    return found


def source_of(other: str, data_dir: str | None, first: object = None) -> Source:
    """What reads a second set of pictures.

    Arguments:
        other: A name of conf/data, or a folder; `./name` is a folder whatever its name.
        data_dir: Where a relative folder is looked for too.
        first: What reads the first set, whose wish for grey or colour holds for a second folder too.

    Raises:
        UserError: Neither, or a folder without pictures.
    """
    channels = first.channels if isinstance(first, FolderImages) else None
    known = named_sources()
    if other in known:
        node = yaml.safe_load(Path(known[other]).read_text(encoding="utf-8"))["source"]
        module, _, name = node.pop("_target_").rpartition(".")
        made: Source = getattr(importlib.import_module(module), name)(**node)
        return made
    folder = find_folder(other, data_dir)
    if not folder.is_dir():
        told = f"data.other={other} is no folder of pictures and no set of them ({', '.join(known)})"
        raise UserError(f"{told}{near(other, known)}")
    check_pictures(folder, labels=True, option="data.other")
    return FolderImages(other, channels=channels)


def of_classes(
    raw: RawImages, kept: Sequence[str | int] | None, left_out: Sequence[str | int] | None, option: str = "data."
) -> RawImages:
    """The pictures of some classes alone; those of the others are in no split.

    Arguments:
        raw: All of them.
        kept: Names of classes to keep; None for all.
        left_out: Names of classes to leave out; None for none.
        option: What errors call the options before their names.

    Raises:
        UserError: An unknown class, both at once, none left, or pictures without classes.
    """
    asked = kept if kept is not None else left_out
    name = "classes" if kept is not None else "without"
    if kept is not None and left_out is not None:
        raise UserError(f"{option}classes= and {option}without= say the same thing twice; give one of them")
    if asked is None:
        return raw
    names = [str(one) for one in asked]
    if raw.train.y is None:
        raise UserError(f"{option}{name}={_listed(names)}: these pictures have no classes; use subfolders as classes")
    unknown = next((one for one in names if one not in raw.classes), None)
    if unknown is not None:
        known = ", ".join(raw.classes[:20]) + (", ..." if len(raw.classes) > 20 else "")
        raise UserError(
            f"{option}{name}={_listed(names)}: {unknown!r} is no class here ({known}){near(unknown, raw.classes)}"
        )
    stay = [one for one in raw.classes if (one in names) == (kept is not None)]
    if not stay:
        raise UserError(f"{option}{name}={_listed(names)} leaves no class to learn from; {option}classes= names those")
    at = torch.full((len(raw.classes),), -1)
    at[torch.tensor([raw.classes.index(one) for one in stay])] = torch.arange(len(stay))
    train, test = _only(raw.train, at), None if raw.test is None else _only(raw.test, at)
    gone = [one for one in raw.classes if one not in stay]
    told = f"{_some(stay)} kept; held out: {_some(gone)}" if gone else f"all {len(stay)} kept"
    report = StepReport("classes", told, rows=len(raw.train.x) - len(train.x))
    return dataclasses.replace(raw, train=train, test=test, classes=tuple(stay), reports=(*raw.reports, report))


def _only(pictures: Pictures, at: Tensor) -> Pictures:
    assert pictures.y is not None
    y = at[pictures.y]
    rows = (y >= 0).nonzero().squeeze(1)
    x = pictures.x.subset(rows) if isinstance(pictures.x, PictureFiles) else pictures.x[rows]
    return Pictures(x, y[rows])


def _listed(names: Sequence[str]) -> str:
    return f"[{','.join(names)}]"


def _some(names: Sequence[str]) -> str:
    told = ", ".join(names[:12])
    return f"{told} and {len(names) - 12} more" if len(names) > 12 else told


def name_of(source: object, raw: RawImages) -> str:
    """What a domain is called: its only class, the name of its folder, or that of the set."""
    if len(raw.classes) == 1:
        return raw.classes[0]
    detail = raw.provenance.detail
    return Path(detail).name if isinstance(source, FolderImages) else detail.split(",")[0]


def apart(first: str, second: str) -> tuple[str, str]:
    """Two names that differ."""
    return (first, second) if first != second else (first, f"{second}_2")


def coloured(raw: RawImages) -> RawImages:
    """Grey pictures with their one channel three times, which changes no value and takes no memory."""
    test = None if raw.test is None else _in_three(raw.test)
    return dataclasses.replace(raw, train=_in_three(raw.train), test=test)


def _in_three(pictures: Pictures) -> Pictures:
    return Pictures(_three(pictures.x), pictures.y)


def _three(x: Tensor | PictureFiles) -> Tensor | PictureFiles:
    if isinstance(x, PictureFiles):
        return PictureFiles(x.paths, x.side, 3)
    return x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x


def channels_of(raw: RawImages) -> int:
    """1 or 3."""
    return int(raw.train.x.shape[1])


def side_of(raw: RawImages) -> int:
    """Height and width as they are kept."""
    return int(raw.train.x.shape[2])


def made_equal(first: RawImages, second: RawImages, own: tuple[int, int], name: str) -> tuple[RawImages, RawImages]:
    """Both with the channels of the one that has more, and what was done to the second one said.

    Arguments:
        first: The pictures of the first domain.
        second: Those of the second, at the side of the first.
        own: Channels of the second, and the side it was brought to.
        name: Of the second domain.
    """
    channels, side = own
    most = max(channels_of(first), channels)
    made = [coloured(one) if channels_of(one) < most else one for one in (first, second)]
    colours = {1: "grey", 3: "colour"}
    told = f"{name}: {counted(len(second.train.x), 'picture')} brought to {side} x {side} px"
    if channels != most:
        told += f", {colours[channels]} made {colours[most]}"
    if channels_of(first) != most:
        told += f"; the first domain, {colours[channels_of(first)]}, made {colours[most]}"
    report = StepReport("second domain", told)
    return dataclasses.replace(made[0], reports=(*made[0].reports, report)), made[1]


class BesideLoader(ImageLoader):
    """Batches of a set of pictures, each with as many of a second set, in `Batch.other`, paired by chance alone.

    The second set has an order of its own, another in every epoch, and begins anew where it is the smaller one. Its
    labels are in no batch.

    Arguments:
        others: Pictures of the second set, as x of `ImageLoader`.
        *parts: See `ImageLoader`.
    """

    def __init__(self, others: Tensor | PictureFiles, *parts: object) -> None:
        """See the class."""
        super().__init__(*parts)  # type: ignore[arg-type]
        self.others = others
        self._shuffled: tuple[int, Tensor] | None = None

    def beside(self, i: int, at: slice | Tensor) -> Tensor | None:
        """See `ImageLoader`."""
        count = len(at) if isinstance(at, Tensor) else len(range(*at.indices(len(self.x))))
        rows = self.order()[i * self.batch_size : i * self.batch_size + count]
        return self.cut(self.others[rows.to(self.others.device)].to(self.device), i)

    def order(self) -> Tensor:
        """Rows of the second set, one for each row of this epoch's pass."""
        n, m = len(self) * self.batch_size, len(self.others)
        if not self.shuffle:
            return torch.arange(n) % m
        if self._shuffled is None or self._shuffled[0] != self.epoch:
            generator = torch.Generator().manual_seed((self.seed * 1_000_003 + self.epoch) ^ OWN)
            turns = [torch.randperm(m, generator=generator) for _ in range(-(-n // m))]
            self._shuffled = self.epoch, torch.cat(turns)[:n]
        return self._shuffled[1]

    def cut(self, pictures: Tensor, i: int) -> Tensor:
        """A window of each picture, by chance in training."""
        if not self.shuffle:
            return middle(pictures, self.side)
        generator = torch.Generator().manual_seed(((self.seed * 1_000_003 + self.epoch) * 1_000_003 + i) ^ OWN)
        return randomly_cut(pictures, self.side, self.flip, generator)


class PartnerLoader(BesideLoader):
    """Batches of pictures, each with another picture of its own class, in `Batch.other`.

    A class of a single picture gives that one. Outside training the partner is the next picture of the class.

    Arguments:
        *parts: See `ImageLoader`.
    """

    def __init__(self, *parts: object) -> None:
        """See the class."""
        super().__init__(parts[0], *parts)  # type: ignore[arg-type]
        assert self.y is not None
        y = self.y.cpu()
        self.by_class = y.argsort(stable=True)
        self.place = torch.empty_like(self.by_class)  # of each picture, in that order
        self.place[self.by_class] = torch.arange(len(y))
        self.counts = torch.bincount(y)
        self.first = self.counts.cumsum(0) - self.counts
        self.labels = y

    def beside(self, i: int, at: slice | Tensor) -> Tensor | None:
        """See `ImageLoader`."""
        rows = at.cpu() if isinstance(at, Tensor) else torch.arange(*at.indices(len(self.x)))
        return self.cut(self.others[self.partners(rows, i).to(self.others.device)].to(self.device), i)

    def partners(self, rows: Tensor, i: int) -> Tensor:
        """Rows of other pictures of the same classes, (B,), for batch i of this epoch."""
        y = self.labels[rows]
        count, first = self.counts[y], self.first[y]
        step = torch.ones(len(rows), dtype=torch.long)
        if self.shuffle:
            generator = torch.Generator().manual_seed(((self.seed * 1_000_003 + self.epoch) * 1_000_003 + i) ^ OWN)
            step += (torch.rand(len(rows), generator=generator) * (count - 1)).long().clamp(min=0)
        return self.by_class[first + (self.place[rows] - first + step) % count]
