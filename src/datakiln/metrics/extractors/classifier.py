"""A small network trained once on the data's own labels: features and a judge that no model was tuned against."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datakiln.metrics.base import MetricError
from datakiln.metrics.extractors.base import Backbone, Extractor, hash_of
from datakiln.metrics.extractors.resize import resize, three_channels
from datakiln.spec import LabelledImages
from datakiln.storage import cache_dir, read_state, write_atomically

log = logging.getLogger(__name__)

DIM, PEAK_RATE = 128, 4e-3
MOST_SEEN = 120_000  # pictures in training
HELD_OUT, SHARE_HELD_OUT = 5_000, 0.1


class ConvNorm(nn.Module):
    """3 x 3 convolution, BatchNorm, ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        """Takes channels and stride."""
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H / stride, W / stride)."""
        return F.relu(self.bn(self.conv(x)))


class SmallNet(nn.Module):
    """Five convolutions, the last at a fourth of the side; features are a 4 x 4 pooled map brought to `DIM`."""

    def __init__(self) -> None:
        """Builds the network with random weights."""
        super().__init__()
        self.convolutions = nn.Sequential(
            ConvNorm(3, 16),
            ConvNorm(16, 32, 2),
            ConvNorm(32, 32),
            ConvNorm(32, 64, 2),
            ConvNorm(64, 64),
        )
        self.project = nn.Linear(64 * 16, DIM)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [-1, 1] to features (B, DIM), not below zero."""
        return F.relu(self.project(F.adaptive_avg_pool2d(self.convolutions(x), 4).flatten(1)))


class Residual(nn.Module):
    """Two convolutions beside a shortcut (He et al., 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        """Takes channels and stride."""
        super().__init__()
        self.first = ConvNorm(inputs, outputs, stride)
        self.conv = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1:
            self.shortcut = nn.Sequential(
                nn.AvgPool2d(stride, ceil_mode=True),
                nn.Conv2d(inputs, outputs, 1, bias=False),
                nn.BatchNorm2d(outputs),
            )

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H / stride, W / stride)."""
        return F.relu(self.bn(self.conv(self.first(x))) + self.shortcut(x))


class ResidualNet(nn.Module):
    """Seven convolutions beside shortcuts; features are mean and maximum of the last map, brought to `DIM`."""

    def __init__(self, width: int = 24) -> None:
        """Takes the channels of the largest map."""
        super().__init__()
        self.convolutions = nn.Sequential(
            ConvNorm(3, width),
            Residual(width, width),
            Residual(width, 2 * width, 2),
            Residual(2 * width, 4 * width, 2),
        )
        self.dropout = nn.Dropout(0.2)
        self.project = nn.Linear(8 * width, DIM)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [-1, 1] to features (B, DIM), not below zero."""
        h = self.convolutions(x.contiguous(memory_format=torch.channels_last))
        return F.relu(self.project(self.dropout(torch.cat([h.mean(dim=(2, 3)), h.amax(dim=(2, 3))], dim=1))))


def _seen(images: Tensor, side: int, device: torch.device) -> Tensor:
    return three_channels(resize((images.to(device).float() - 127.5) / 127.5, "clean", side, -1.0, 1.0))


def _shifted(x: Tensor, generator: torch.Generator) -> Tensor:
    """Each batch moved by up to a fourteenth of its side, black coming in: handwriting is never quite centred."""
    reach = x.shape[-1] // 14  # none at 8 x 8, where digits fill the frame
    down, right = torch.randint(0, 2 * reach + 1, (2,), generator=generator).tolist()
    return F.pad(x, (reach,) * 4, value=-1.0)[..., down : down + x.shape[-2], right : right + x.shape[-1]]


def _cropped(x: Tensor, generator: torch.Generator) -> Tensor:
    """Each picture mirrored or not, and a window of 60 to 100 % of its side brought to all of it."""
    n = len(x)
    share = 0.6 + 0.4 * torch.rand(n, generator=generator)
    sign = 2.0 * torch.randint(0, 2, (n,), generator=generator) - 1.0
    place = (2.0 * torch.rand(n, 2, generator=generator) - 1.0) * (1.0 - share)[:, None]
    maps = torch.zeros(n, 2, 3)
    maps[:, 0, 0], maps[:, 1, 1], maps[:, :, 2] = sign * share, share, place
    grid = F.affine_grid(maps.to(x.device), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)


@dataclass(frozen=True)
class Recipe:
    """How a classifier is trained.

    Attributes:
        number: To be raised when training changes: it is part of the key of what is kept.
        body: Makes the network without its head.
        moved: Changes a batch of pictures in ways that leave their class, by a generator.
        batch: Pictures a step.
        passes: Over the training pictures, unless these come to fewer than `least` or more than `MOST_SEEN`.
        least: Pictures in training, at least.
        smoothing: Share of each label that is spread over all classes.
        side: Of the pictures that it sees, at most.
    """

    number: int
    body: Callable[[], nn.Module]
    moved: Callable[[Tensor, torch.Generator], Tensor]
    batch: int
    passes: int
    least: int
    smoothing: float
    side: int


GREY = Recipe(1, SmallNet, _shifted, batch=128, passes=4, least=30_000, smoothing=0.0, side=64)
# of photographs there are few, so that each is seen often and never twice the same; chosen on a tenth of the flowers
COLOUR = Recipe(2, ResidualNet, _cropped, batch=64, passes=16, least=20_000, smoothing=0.1, side=32)


def recipe_of(data: LabelledImages) -> Recipe:
    """That of grey pictures or of those in colour."""
    return GREY if data.images.shape[1] == 1 else COLOUR


def _split(data: LabelledImages, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    order = torch.randperm(len(data.images), generator=generator)
    held_out = min(HELD_OUT, round(SHARE_HELD_OUT * len(order)))
    return order[held_out:], order[:held_out]


def _train(net: nn.Sequential, data: LabelledImages, rows: Tensor, generator: torch.Generator) -> None:
    device, recipe = next(net.parameters()).device, recipe_of(data)
    steps = -(-min(max(recipe.passes * len(rows), recipe.least), MOST_SEEN) // recipe.batch)
    side = min(data.side, recipe.side)
    optimizer = torch.optim.AdamW(net.parameters(), lr=PEAK_RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, total_steps=steps)
    net.train()
    for _ in range(steps):
        at = rows[torch.randint(len(rows), (recipe.batch,), generator=generator)]
        x = recipe.moved(_seen(data.images[at], side, device), generator)
        loss = F.cross_entropy(net(x), data.labels[at].to(device), label_smoothing=recipe.smoothing)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    net.eval()


@torch.no_grad()
def _accuracy(net: nn.Module, data: LabelledImages, rows: Tensor) -> float:
    device, side = next(net.parameters()).device, min(data.side, recipe_of(data).side)
    right = 0
    for at in torch.split(rows, 1024):
        right += int((net(_seen(data.images[at], side, device)).argmax(1).cpu() == data.labels[at]).sum())
    return right / max(len(rows), 1)


def _fit(data: LabelledImages, device: torch.device) -> tuple[nn.Sequential, float]:
    generator = torch.Generator().manual_seed(0)
    torch.default_generator.manual_seed(0)  # draws the first weights; `build_extractor` restores it
    with torch.enable_grad():
        net = nn.Sequential(recipe_of(data).body(), nn.Linear(DIM, data.classes)).to(device)
        rows, held_out = _split(data, generator)
        log.info("training the classifier on %s pictures; it is cached afterwards", f"{len(rows):,}")
        _train(net, data, rows, generator)
    return net, _accuracy(net, data, held_out)


def classifier_backbone(data: LabelledImages, device: torch.device) -> Backbone:
    """The classifier of this data, from the cache or trained now: on one core a minute for MNIST, five for flowers.

    Its hash is that of its own weights, so figures of two trainings never meet; `facts` holds its accuracy on a tenth
    of the rows (at most 5,000), which it was not trained on.
    """
    recipe = recipe_of(data)
    text = f"classifier {recipe.number} {data.sha256} {len(data.images)} {data.side} {data.classes}"
    path = cache_dir() / "classifiers" / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.pt"
    state = read_state(path)
    net = nn.Sequential(recipe.body(), nn.Linear(DIM, data.classes))
    if state is None:
        trained, accuracy = _fit(data, device)
        state = {"net": {name: value.cpu() for name, value in trained.state_dict().items()}, "accuracy": accuracy}
        write_atomically(path, state)
    net.load_state_dict(state["net"])
    log.info("classifier: accuracy %.4f on images it was not trained on", state["accuracy"])
    return Backbone(
        name="classifier",
        hash=hash_of(net),
        net=net[0],
        side=min(data.side, recipe.side),
        dim=DIM,
        shift=127.5,
        scale=127.5,
        batch=512,
        head=net[1],
        facts={"accuracy": state["accuracy"]},
        trained_on="the training pictures themselves and their labels",
    )


def class_probabilities(judge: Extractor, images: Tensor) -> Tensor:
    """Class probabilities of images, uint8 (B, C, H, W) to (B, K).

    Raises:
        MetricError: If the extractor has no classes.
    """
    if judge.probabilities is None:
        raise MetricError(f"{judge.tag} has no classes; use the extractor 'classifier'")
    return judge.probabilities(judge(images))


def class_choices(judge: Extractor, features: Tensor) -> Tensor:
    """The likeliest class of each row of features, (B, dim) to (B,).

    Raises:
        MetricError: If the extractor has no classes.
    """
    if judge.probabilities is None:
        raise MetricError(f"{judge.tag} has no classes; use the extractor 'classifier'")
    return judge.probabilities(features.to(judge.device)).argmax(1)


def judged_accuracy(judge: Extractor, images: Tensor, labels: Tensor) -> float:
    """Share of images that the judge gives their label; uint8 (B, C, H, W) and int64 (B,)."""
    return float((class_probabilities(judge, images).argmax(1).cpu() == labels.cpu()).double().mean())


def judged_shares(judge: Extractor, images: Tensor) -> Tensor:
    """Share of each class among images, by the judge's first choice; float64, shape (K,)."""
    probabilities = class_probabilities(judge, images)
    counts = torch.bincount(probabilities.argmax(1).cpu(), minlength=probabilities.shape[1])
    return counts.double() / len(images)
