"""Two folders of pictures from anywhere: real ones, and synthetic ones to be judged by them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor

from datakiln.console import Console
from datakiln.data.pictures.files import Head, PictureFiles
from datakiln.data.pictures.finding import find_pictures, first_beside
from datakiln.data.pictures.folder import channels_of, decode, headers, report_of, without_empty
from datakiln.data.pictures.forms import differences
from datakiln.data.pictures.labelled_sample import labelled_sample
from datakiln.data.pictures.sources import Pictures
from datakiln.errors import UserError
from datakiln.metrics.base import traits
from datakiln.metrics.pictures.evaluate import STEPS, evaluate_images, nearest
from datakiln.metrics.pictures.sets import BATCH, ImageSets, Stack, first
from datakiln.plots.grids import ACROSS
from datakiln.plots.images import beside, neighbours
from datakiln.proof.base import Measured, scores
from datakiln.results import RunResult, Score, Source, Step, machine, package_versions
from datakiln.spec import LabelledImages
from datakiln.wording import counted

LEAST, MOST = 8, 299  # no extractor sees more pixels than Inception
MEMORY_MB = 1000
LEAST_PICTURES = 4  # of either folder
ASKED, NEIGHBOURS = 16, 4
MOST_SET_ASIDE = 10_000  # no metric judges more
FORMS = "the two folders keep their pictures in different forms, which counts as a difference"


@dataclass(frozen=True)
class Folder:
    """The good pictures of a folder, their classes and labels where subfolders give them, and what reading them did."""

    x: Tensor | PictureFiles
    y: Tensor | None
    classes: tuple[str, ...]
    sha256: str
    steps: tuple[Step, ...]

    def batches(self, rows: Tensor) -> Iterator[Tensor]:
        """Pictures by index, in batches."""
        for at in rows.split(BATCH):
            yield self.x[at]


def evaluate_folders(cfg: DictConfig, metrics: Sequence[Any], folder: Path, console: Console) -> Measured:
    """All metrics of pictures; for the ceiling, some real pictures are set aside and judged in place of the synthetic.

    Where there are at least twice as many real ones as synthetic ones, as many as these are set aside, and both are
    compared with the others: the distances depend on n. Copies are looked for among all real ones. Where there are
    fewer, the synthetic ones are compared with all real ones, one half of these with the other, and the ceiling is
    carried on to the n of the figure.

    Both folders are cut to the middle square and brought to one side: the usual shorter side
    (see `_common`), at most 299 px. Of both, pictures are taken in a fixed random order, so that n= and every bounded
    figure see all classes.

    Raises:
        UserError: A folder holds no usable pictures, or the real one too few.
    """
    paths = [Path(str(cfg.real)), Path(str(cfg.synthetic))]
    names = ("real", "synthetic")
    found = [find_pictures(path, first_beside(path) is None, name) for path, name in zip(paths, names, strict=True)]
    heads = [headers(files) for files, _, _ in found]
    side, channels = _common([files for files, _, _ in found], heads)
    forms = differences(*([head for head in part if head] for part in heads))
    if forms:
        console.print(f"{FORMS}: {'; '.join(forms)}", style="yellow", soft_wrap=True)
    with console.work("reading pictures"):
        real, made = (_read(path, *parts, side, channels) for path, parts in zip(paths, found, strict=True))
    made = _shuffled(made, int(cfg.seed))
    for name, path, usable in zip(names, paths, (real.x, made.x), strict=True):
        if len(usable) < LEAST_PICTURES:
            told = f"{name}={path} holds {counted(len(usable), 'usable picture')}"
            raise UserError(f"{told}; at least {LEAST_PICTURES} are needed")
    order = torch.randperm(len(real.x), generator=torch.Generator().manual_seed(int(cfg.seed)))
    judged = made.x if cfg.n is None else first(made.x, int(cfg.n))
    aside = _set_aside(len(order), len(judged))
    others = len(order) - aside  # a prefix of the order
    is_enough = aside == min(len(judged), MOST_SET_ASIDE)
    sets = _sets(real, order, others, judged, _matched(made, real.classes, len(judged)), int(cfg.seed))
    with console.work("measuring", STEPS * len(metrics)) as work:
        sets = replace(sets, watch=work.part)
        last = order[others:]
        labels = None if real.y is None else real.y[last]
        unseen = replace(sets, n_train=others, judged=_taken(real.x, last), labels=labels)
        beside = replace(sets, n_train=others) if is_enough else sets
        results = evaluate_images(beside, [m for m in metrics if not _is_of_copies(m)], work.step, unseen)
        copies = [m for m in metrics if _is_of_copies(m)]
        results += evaluate_images(sets, copies, work.step, unseen)  # of any real picture
    plots = _plots(real, order, made, folder / "plots")
    result = RunResult(
        model=paths[1].name,
        data=paths[0].name,
        seed=int(cfg.seed),
        provenance=Source("files", str(paths[0].resolve()), real.sha256),
        figures=_noted(scores(results), forms),
        n_train=len(real.x),
        n_synthetic=len(judged),
        steps=[*real.steps, *made.steps, *_form_steps(forms), _ceiling_step(len(order), aside, is_enough)],
        versions=package_versions(),
        machine=machine(),
    )
    return result, plots, None


def _common(folders: list[list[Path]], found: list[list[Head | None]]) -> tuple[int, int]:
    """A side and a number of channels for the pictures of both folders; those that cannot be used have no say.

    The side is the smaller of the folders' medians of shorter sides, within limits: a single small picture changes it
    little, and no folder is judged by detail that most pictures of the other cannot have. One channel if all are grey.
    """
    medians = [statistics.median_low([head.size[0] for head in part if head]) for part in found if any(part)]
    return max(LEAST, min([MOST, *medians])), max(map(channels_of, folders, found))


def _form_steps(forms: list[str]) -> list[Step]:
    return [Step("files in another form", f"{'; '.join(forms)}: figures measure that too")] if forms else []


def _noted(figures: list[Score], forms: list[str]) -> list[Score]:
    """The same, with what differs in the files beside each figure of content."""
    for figure in figures if forms else ():
        if figure.value is not None and not figure.name.startswith("memorisation/"):
            figure.note = "; ".join(filter(None, [figure.note, f"{FORMS}: {'; '.join(forms)}"]))
    return figures


def _read(
    path: Path, files: list[Path], labels: list[int], classes: tuple[str, ...], side: int, channels: int
) -> Folder:
    decoded = decode(path, files, side, channels, "skip", MEMORY_MB)
    y, classes = without_empty(labels, classes, decoded.kept)
    reports = report_of(decoded, side, MEMORY_MB, "skip")
    steps = tuple(Step(f"{path.name}: {report.name}", report.detail, report.rows) for report in reports)
    return Folder(decoded.x, y, classes, decoded.sha256, steps)


def _shuffled(folder: Folder, seed: int) -> Folder:
    """The same in a fixed random order: files come sorted by class, so the first ones would be of one class."""
    order = torch.randperm(len(folder.x), generator=torch.Generator().manual_seed(seed))
    return replace(folder, x=_taken(folder.x, order), y=None if folder.y is None else folder.y[order])


def _taken(x: Tensor | PictureFiles, rows: Tensor) -> Tensor | PictureFiles:
    """Some pictures; those in files stay there."""
    return x[rows] if isinstance(x, Tensor) else x.subset(rows)


def _sets(
    real: Folder, order: Tensor, others: int, judged: Tensor | Stack, labels: Tensor | None, seed: int
) -> ImageSets:
    """The real side, with a classifier that learns from all real pictures but those set aside: they must be unseen."""
    labelled, learnt = None, order[:others].sort().values
    sha256 = f"{real.sha256} {tuple(real.x.shape)}, {others} of seed {seed}"
    if real.y is not None and len(real.classes) > 1:
        x, y = _taken(real.x, learnt), real.y[learnt]
        if isinstance(x, Tensor):
            labelled = LabelledImages(x, y, sha256)
        else:
            labelled = labelled_sample(Pictures(x, y), real.x.shape[2], sha256, seed)
    return ImageSets(
        train=lambda n: real.batches(order[:n]),
        n_train=len(real.x),
        judged=judged,
        labels=labels,
        labelled=labelled,
        classes=real.classes,
        fingerprint=(f"{real.sha256} {tuple(real.x.shape)}", f"folder, seed {seed}"),
        seed=seed,
    )


def _matched(made: Folder, classes: tuple[str, ...], n: int) -> Tensor | None:
    """Labels of the synthetic pictures in the real folder's order of classes; None unless the classes are the same."""
    if made.y is None or not set(made.classes) <= set(classes):
        return None
    return torch.tensor([classes.index(name) for name in made.classes])[made.y][:n]


def _set_aside(n_real: int, n_judged: int) -> int:
    """How many real pictures stand in for the synthetic ones to give the ceiling: as many, or else half."""
    return min(n_judged, MOST_SET_ASIDE, n_real // 2)


def _is_of_copies(metric: Callable[..., Any]) -> bool:
    return traits(metric).figures[0].startswith("memorisation/")


def _ceiling_step(n_real: int, aside: int, is_enough: bool) -> Step:
    compared = f"figures compare with the other {n_real - aside:,}, those of copies with all"
    fewer = "compared with the others, and their figures carried on to as many as there are synthetic ones"
    return Step("ceiling", f"{aside:,} real pictures set aside; {compared if is_enough else fewer}")


def _plots(real: Folder, order: Tensor, made: Folder, target: Path) -> list[Path]:
    target.mkdir(exist_ok=True)
    shown = ACROSS * ACROSS
    drawn = [beside(real.x[order[:shown]].numpy(), made.x[:shown].numpy(), target / "beside.png")]
    samples = made.x[:ASKED]
    distances, found = nearest(samples, real.batches(order), NEIGHBOURS)
    drawn.append(neighbours(samples.numpy(), found.numpy(), distances.numpy(), target / "neighbours.png"))
    return drawn
