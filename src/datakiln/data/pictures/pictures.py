"""Pictures from any source: split, kept as uint8, served in model space."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from datakiln.codecs.pictures import ImageCodec
from datakiln.data.base import GenerativeData, Provenance, StepReport
from datakiln.data.pictures import protected
from datakiln.data.pictures.domains import (
    BesideLoader,
    PartnerLoader,
    apart,
    channels_of,
    made_equal,
    name_of,
    of_classes,
    side_of,
    source_of,
)
from datakiln.data.pictures.files import PictureFiles
from datakiln.data.pictures.labelled_sample import labelled_sample, spread_by_class
from datakiln.data.pictures.loaders import ImageLoader, Middles, PoissonImageLoader, middle
from datakiln.data.pictures.sources import Pictures, RawImages, binary
from datakiln.errors import UserError
from datakiln.privacy.budget import Privacy
from datakiln.spec import DataSpec, LabelledImages
from datakiln.wording import counted

CROP_MARGIN = 8  # pictures that are cropped at random are kept larger by one part in this many: 72 px for 64
DTYPES = {"bf16-true": torch.bfloat16, "16-true": torch.float16, "64-true": torch.float64}
UNSEEN = 4  # times the training batch, of pictures that nothing is learnt from
Split = Literal["train", "val", "test"]
MOST_JUDGED = 10_000  # synthetic pictures, unless more are asked for


class ImageData(GenerativeData):
    """Square pictures of one size; what the source has as test pictures is the holdout.

    Arguments:
        source: Reads the pictures; called with `data_dir` and the side to resize to, if there is one.
        data_dir: Folder with downloaded data sets, or None.
        batch_size: Pictures a training batch.
        side: Height and width of the pictures a model sees; None for those of the source.
        crop: Whether training sees random windows of slightly larger pictures instead of their middle.
        flip: Whether training sees half the pictures mirrored.
        validation: Share of the training pictures set aside for validation.
        holdout: Share of all pictures held out as test pictures where the source has none.
        seed: Of the splits, the order, the crops and the mirrorings.
        labelled: How many training pictures tell the model their class, drawn by class and seed; of the others, and of
            the validation pictures, it is hidden. Judges of samples see every label. None for all.
        private: The options of `privacy=`: see `datakiln.privacy.budget.Privacy` and `protected`.
        classes: Names of the classes that are learnt from; None for all. Pictures of the others are in no split.
        without: The same said the other way round: classes that are held out.
        other: A second set of pictures, for models that translate: a name of conf/data, or a folder. It is brought to
            the side of the first; where one is grey and the other is not, both are given three channels.
        other_classes: See `classes`, of the second set.
        partners: Whether each training picture comes with another one of its class.
        binarised: Whether every pixel is made black or white, see `binary`.

    Attributes:
        second: The second set of pictures, with splits of its own; None where there is none.
    """

    kind = "image"
    codec: ImageCodec
    second: ImageData | None = None

    def __init__(
        self,
        source: Callable[[str | None, int | None], RawImages],
        data_dir: str | None = None,
        batch_size: int = 128,
        side: int | None = None,
        crop: bool = False,
        flip: bool = False,
        validation: float = 0.1,
        holdout: float = 0.15,
        seed: int = 0,
        labelled: int | None = None,
        private: dict[str, Any] | None = None,
        classes: Sequence[str | int] | None = None,
        without: Sequence[str | int] | None = None,
        other: str | None = None,
        other_classes: Sequence[str | int] | None = None,
        partners: bool = False,
        binarised: bool = False,
    ) -> None:
        """See the class; raises `UserError` for values that cannot work together."""
        super().__init__()
        self.privacy = Privacy.of(private)
        if self.privacy.is_on:
            protected.rows_of(self.privacy)
            asked = {"other": other, "classes": classes, "without": without, "partners": partners or None}
            odd = next((name for name, value in asked.items() if value is not None), None)
            if odd is not None:
                raise UserError(f"data.{odd}={asked[odd]} is not known under privacy=; leave one of them out")
        if other is None and other_classes is not None:
            raise UserError("data.other_classes= is of the pictures of data.other=; give that too")
        if binarised and other is not None:
            raise UserError("data.binarised=true is not known with data.other=; leave one of them out")
        if other is not None and partners:
            raise UserError("data.partners=true and data.other= are for different models; leave one of them out")
        if labelled is not None and partners:
            told = f"data.labelled={labelled} hides classes, and data.partners=true pairs pictures of a class"
            raise UserError(f"{told}; set it to null")
        if batch_size < 2:
            raise UserError(f"batch_size={batch_size} must be at least 2: pictures are learnt in batches")
        if side is not None and (isinstance(side, bool) or not isinstance(side, int) or side < 2):
            raise UserError(f"data.side={side} must be a whole number of pixels, at least 2")
        if crop and side is None:
            raise UserError("data.crop=true needs data.side, the side of the windows")
        if labelled is not None and self.privacy.is_on:
            raise UserError(f"data.labelled={labelled} hides labels, and privacy= protects all of them; set it to null")
        for name, share in (("validation", validation), ("holdout", holdout)):
            if not 0.0 < share < 0.9:
                raise UserError(f"data.{name}={share} must lie between 0 and 0.9")
        self.source, self.data_dir, self.batch_size = source, data_dir, batch_size
        self.side, self.crop, self.flip, self.binarised = side, crop, flip, binarised
        self.validation, self.holdout, self.seed = validation, holdout, seed
        self.n_labelled = labelled
        self.told: dict[str, Tensor] = {}  # labels as the model is told them, where some are hidden
        self.classes, self.without, self.partners = classes, without, partners
        self.other, self.other_classes = other, other_classes
        self.domains: tuple[str, ...] = ()
        self.raw: RawImages | None = None

    def prepare_data(self) -> None:
        """Reads the pictures, once."""
        if self.raw is None:
            kept = self.side + self.side // CROP_MARGIN if self.side and self.crop else self.side
            self.raw = of_classes(self.source(self.data_dir, kept), self.classes, self.without)
            self._pair()
            if self.binarised:
                self.raw = binary(self.raw)
            self.provenance: Provenance = self.raw.provenance
            self.originals = self.raw.inputs
            if self.privacy.is_on:
                self.provenance, self.originals = protected.named(self.provenance, self.privacy), None

    def _pair(self) -> None:
        """Reads the second set, and makes sides and channels of both equal."""
        assert self.raw is not None
        if self.partners and self.raw.train.y is None:
            raise UserError(
                "data.partners=true needs pictures with classes: subfolders of data.path, or a labelled set"
            )
        if self.other is None:
            return
        source = source_of(self.other, self.data_dir, self.source)
        side = self.side or side_of(self.raw)
        shares = (self.validation, self.holdout, self.seed)
        second = ImageData(
            source, self.data_dir, self.batch_size, side, self.crop, self.flip, *shares, classes=self.other_classes
        )
        raw = of_classes(source(self.data_dir, side_of(self.raw)), self.other_classes, None, "data.other_")
        self.domains = apart(name_of(self.source, self.raw), name_of(source, raw))
        told = channels_of(raw), side
        self.raw, second.raw = made_equal(self.raw, raw, told, self.domains[1])
        second.provenance, second.originals = raw.provenance, raw.inputs
        self.second = second

    @property
    def target(self) -> ImageData:
        """The pictures that made ones are to look like: those of the second set, where there are two."""
        return self if self.second is None else self.second

    def setup(self, stage: str) -> None:
        """Splits by class, seeded, and publishes the spec."""
        if hasattr(self, "pictures"):
            return
        self.prepare_data()
        assert self.raw is not None
        if self.privacy.is_on:
            self._setup_protected()
            return
        train, test, self.raw = self.raw.train, self.raw.test, _emptied(self.raw)
        _check_count(len(train.x), [self.validation] if test is not None else [self.holdout, self.validation])
        if test is None:
            train, test = _separate(train, self.holdout, self.seed)
        train, val = _separate(train, self.validation, self.seed + 1)
        self.pictures: dict[str, Pictures] = {"train": train, "val": val, "test": test}
        self.reports = [*self.raw.reports, self._split_report()]
        if self.n_labelled is not None:
            self.told = hidden_labels(self.pictures, self.raw.classes, self.n_labelled, self.seed)
            self.reports.append(StepReport("labelled", f"{self.n_labelled} training pictures tell their class"))
        self.codec = ImageCodec(self._shape(), self.raw.classes, self._shares(), len(train.x), self.domains)
        if self.second is not None:
            self.second.setup(stage)
            shape = self.second.spec.shape
            assert shape == self.spec.shape
            self.reports += [
                dataclasses.replace(one, name=f"{self.domains[1]}: {one.name}") for one in self.second.reports
            ]

    def _setup_protected(self) -> None:
        """The same under differential privacy: the spec tells what is public, and a number that was paid for."""
        assert self.raw is not None
        train, test, self.raw = self.raw.train, self.raw.test, _emptied(self.raw)
        if test is None:
            train, test = protected.apart(train, self.holdout, self.seed)
        self.pictures = {"train": train, "val": test, "test": test}
        self.count = protected.counted(self.privacy, self.provenance, len(train.x))
        classes = self.raw.classes if train.y is not None else ()
        self.reports = [StepReport("declared", f"side, channels and {counted(len(classes), 'class', 'classes')}")]
        self.codec = ImageCodec(self._shape(), classes, tuple([1.0 / len(classes)] * len(classes)), self.count)

    @property
    def paid_share(self) -> float:
        """See `GenerativeData`."""
        return protected.SHARE

    @property
    def released_cost(self) -> tuple[float, float]:
        """See `GenerativeData`."""
        return (protected.SHARE * self.privacy.budget, 0.0) if self.privacy.is_on else (0.0, 0.0)

    @property
    def poisson(self) -> tuple[float, int]:
        """See `GenerativeData`."""
        rate = min(self.batch_size / self.count, 1.0)
        return rate, max(round(1.0 / rate), 1)

    @property
    def expected(self) -> float:
        """See `GenerativeData`."""
        return self.poisson[0] * self.count

    def _split_report(self) -> StepReport:
        counts = ", ".join(f"{len(part.x):,} {name}" for name, part in self.pictures.items())
        assert self.raw is not None
        classes = len(self.raw.classes)
        drawn = "official test" if self.raw.test is not None else "drawn by class" if classes else "drawn at random"
        told = f"; {counted(classes, 'class', 'classes')}" if classes else ""
        return StepReport("split", f"{counts} pictures ({drawn}){told}")

    def _shape(self) -> tuple[int, int, int]:
        x = self.pictures["train"].x
        channels, height = (x.shape[1], x.shape[2]) if isinstance(x, Tensor) else (x.channels, x.side)
        side = self.side or height
        if side > height:
            raise UserError(f"data.side={side}: these pictures have only {height} px; use data.side={height} or null")
        return channels, side, side

    def _shares(self) -> tuple[float, ...]:
        y = self.pictures["train"].y
        if y is None or self.raw is None:
            return ()
        y = self.told.get("train", y)
        y = y[y >= 0]
        counts = torch.bincount(y, minlength=len(self.raw.classes)).double()
        return tuple((counts / counts.sum()).tolist())

    @property
    def spec(self) -> DataSpec:  # type: ignore[override]
        """What one encoded picture looks like."""
        return self.codec.spec

    @property
    def n_synthetic(self) -> int:
        """As many as training pictures, but no more than any figure looks at: the slower models draw a few a second."""
        return min(self.spec.size, MOST_JUDGED)

    def loader(self, name: Split, batch_size: int, shuffle: bool) -> ImageLoader:
        """Batches of one split on the device that trains, in the type that the training step computes in."""
        part, device = self.pictures[name], self.device
        x = part.x.to(device) if isinstance(part.x, Tensor) else part.x
        y = None if part.y is None else self.told.get(name, part.y).to(device)
        precision = str(self.trainer.precision) if self.trainer is not None else ""
        dtype = DTYPES.get(precision, torch.float32)
        parts = (x, y, batch_size, shuffle, self.spec.shape[1], self.flip, device, dtype, self.seed)
        if self.partners:
            return PartnerLoader(*parts)
        if self.second is None:
            return ImageLoader(*parts)
        others = self.second.pictures[name].x
        return BesideLoader(others.to(device) if isinstance(others, Tensor) else others, *parts)

    def train_dataloader(self) -> ImageLoader:
        """Shuffled training batches."""
        if self.privacy.is_on:
            made = self.loader("train", self.batch_size, shuffle=True)
            shown = (made.x, made.y, self.batch_size, True, made.side, made.flip, made.device, made.dtype, self.seed)
            return PoissonImageLoader(*self.poisson, *shown)
        return self.loader("train", self.batch_size, shuffle=True)

    @property
    def unseen_batch(self) -> int:
        """Pictures of a batch that nothing is learnt from: more than of one that is, as memory allows.

        But few enough that a model which is slow for a picture can be measured on one batch in a short `budget=`.
        """
        return max(self.batch_size, min(self.codec.chunk, UNSEEN * self.batch_size))

    def val_dataloader(self) -> ImageLoader:
        """Validation batches, of `unseen_batch` pictures."""
        return self.loader("val", self.unseen_batch, shuffle=False)

    def test_dataloader(self) -> ImageLoader:
        """Test batches, of `unseen_batch` pictures."""
        return self.loader("test", self.unseen_batch, shuffle=False)

    @property
    def fingerprint(self) -> tuple[str, str]:
        """What statistics of the training pictures depend on: the data as it was read, and how it was cut and split."""
        shape = "x".join(map(str, self.spec.shape))
        kept = "crop" if self.crop else "whole"
        shares = f"validation {self.validation:g}, holdout {self.holdout:g}, seed {self.seed}"
        some = "" if self.classes is None and self.without is None else f" classes {', '.join(self.spec.classes)}"
        levels = " binarised" if self.binarised else ""
        return f"{self.provenance.sha256} {shape} {kept}{some}{levels}", f"train of {shares}"

    def labelled(self, name: Split = "train") -> LabelledImages | None:
        """Training pictures with their classes, for a classifier; None without classes or where files hold them."""
        part = self.pictures[name]
        if part.y is None or not isinstance(part.x, Tensor):
            return None
        return LabelledImages(middle(part.x, self.spec.shape[1]), part.y, " ".join(self.fingerprint))

    def labelled_sample(self) -> LabelledImages | None:
        """All training pictures with their classes, or a bounded sample of those in files; None without classes."""
        return self.labelled() or labelled_sample(
            self.pictures["train"], self.spec.shape[1], " ".join(self.fingerprint), self.seed
        )

    def batches(self, name: Split, n: int | None = None, batch_size: int = 256) -> Iterator[Tensor]:
        """Pictures of one split in a fixed random order, uint8 (B, C, side, side), for metrics and grids."""
        part = self.pictures[name]
        order = torch.randperm(len(part.x), generator=torch.Generator().manual_seed(self.seed))
        for at in order[:n].split(batch_size):
            yield middle(part.x[at], self.spec.shape[1])

    def examples(self, name: Split, n: int) -> tuple[Tensor, Tensor | None]:
        """The first n pictures that `batches` gives, and their label indices."""
        part = self.pictures[name]
        order = torch.randperm(len(part.x), generator=torch.Generator().manual_seed(self.seed))[:n]
        return middle(part.x[order], self.spec.shape[1]), None if part.y is None else part.y[order]

    def stacked(self, name: Split, n: int) -> tuple[Tensor | Middles, Tensor | None]:
        """The same as `examples`, but those in files are decoded when they are asked for."""
        part = self.pictures[name]
        if isinstance(part.x, Tensor):
            return self.examples(name, n)
        order = torch.randperm(len(part.x), generator=torch.Generator().manual_seed(self.seed))[:n]
        return Middles(part.x.subset(order), self.spec.shape[1]), None if part.y is None else part.y[order]

    def inputs(self, split: Split, n: int, shape: tuple[int, ...]) -> Tensor:
        """See `GenerativeData`; a smaller side by the mean of the pixels it covers."""
        x = self.codec.encode(self.examples(split, n)[0])
        if shape[0] != x.shape[1] or len(shape) != 3:
            return super().inputs(split, n, shape)
        return x if tuple(x.shape[1:]) == tuple(shape) else F.interpolate(x, shape[1:], mode="area")


class FolderData(ImageData):
    """A person's own folder of pictures.

    Arguments:
        path: The folder.
        labels: See `FolderImages`, as for the next three.
        channels: See there.
        on_bad_image: See there.
        memory_mb: See there.
        **options: See `ImageData`.
    """

    reads: ClassVar[str] = "pictures"  # what its path names

    def __init__(
        self,
        path: str | None,
        labels: bool = True,
        channels: Literal[1, 3] | None = None,
        on_bad_image: Literal["skip", "error"] = "skip",
        memory_mb: float = 2000,
        **options: object,
    ) -> None:
        """See the class."""
        from datakiln.data.pictures.folder import FolderImages

        super().__init__(FolderImages(path, labels, channels, on_bad_image, memory_mb), **options)  # type: ignore[arg-type]


def _check_count(n: int, shares: list[float]) -> None:
    """Refuses pictures too few to set each share of what is left aside, and says how many are needed."""
    if _is_enough(n, shares):
        return
    least, left = 3, 1.0
    for share in shares:
        least = max(least, int(0.5 / (share * left)) - 6)  # from just below, for rounding can go either way
        left *= 1 - share
    while not _is_enough(least, shares):
        least += 1
    parts = "validation" if len(shares) == 1 else "test and validation"
    told = f"{counted(n, 'picture')} {'is' if n == 1 else 'are'} too few to set some aside for {parts}"
    raise UserError(f"{told}; at least {least} are needed")


def _is_enough(n: int, shares: list[float]) -> bool:
    for share in shares:
        aside = round(share * n)
        if aside < 1 or n - aside < 2:
            return False
        n -= aside
    return True


def _separate(pictures: Pictures, share: float, seed: int) -> tuple[Pictures, Pictures]:
    """Sets a share of every class aside, drawn by the seed; order is kept."""
    n = len(pictures.x)
    aside = round(share * n)
    chosen = torch.zeros(n, dtype=torch.bool)
    chosen[spread_by_class(pictures.y, n, aside, seed)] = True
    return _take(pictures, (~chosen).nonzero().squeeze(1)), _take(pictures, chosen.nonzero().squeeze(1))


def hidden_labels(pictures: dict[str, Pictures], classes: Sequence[str], count: int, seed: int) -> dict[str, Tensor]:
    """Labels of the training pictures, -1 but for `count` of them, and of the validation pictures, all -1.

    Each class has its share of them, and at least one.

    Raises:
        UserError: There are no classes, fewer labels than classes, or fewer labelled pictures than that.
    """
    y = pictures["train"].y
    if y is None or not classes:
        raise UserError(f"data.labelled={count}: these pictures have no classes; set it to null")
    sizes = torch.bincount(y[y >= 0], minlength=len(classes))
    there = int((sizes > 0).sum())
    if isinstance(count, bool) or count < there:
        few = f"data.labelled={count} is fewer than the {there} classes"
        raise UserError(f"{few}; give at least one for each, such as data.labelled={10 * there}, or null for all")
    if count > int(sizes.sum()):
        raise UserError(
            f"data.labelled={count}: only {sizes.sum()} training pictures have labels; give at most so many"
        )
    wanted = _dealt(sizes, count)
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed + 2))
    told = torch.full_like(y, -1)
    for k, many in enumerate(wanted.tolist()):
        rows = order[y[order] == k][:many]
        told[rows] = k
    val = pictures["val"].y
    return {"train": told} if val is None else {"train": told, "val": torch.full_like(val, -1)}


def _dealt(sizes: Tensor, count: int) -> Tensor:
    """How many of `count` go to each class: one, and of the rest its share, by largest remainders."""
    wanted = (sizes > 0).long()
    left = count - int(wanted.sum())
    free = (sizes - wanted).double()
    exact = left * free / free.sum().clamp(min=1.0)
    wanted += exact.long()
    rest = count - int(wanted.sum())
    wanted[(exact - exact.floor()).argsort(descending=True, stable=True)[:rest]] += 1
    return wanted


def _take(pictures: Pictures, rows: Tensor) -> Pictures:
    x = pictures.x.subset(rows) if isinstance(pictures.x, PictureFiles) else pictures.x[rows]
    return Pictures(x, None if pictures.y is None else pictures.y[rows])


def _emptied(raw: RawImages) -> RawImages:
    """The same without its pixels, which the splits hold."""
    empty = Pictures(torch.zeros(0))
    return dataclasses.replace(raw, train=empty, test=None if raw.test is None else empty)
