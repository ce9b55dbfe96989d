"""Near-copies: pictures that are training pictures again, but for a shift, a mirror, a compression, brightness.

Candidates are found among all training pictures in features that a shift and a change of brightness leave alone: the
magnitudes of low frequencies, of the picture and of its mirror. Each is then compared pixel by pixel, at the best of
some shifts, the mean level taken away. What counts is how much nearer the nearest is than the other candidates: a
picture of few details is near to many, a copy to one. A picture is a near-copy where that ratio is smaller than for all
but a few training pictures, each compared with the others, so that the share of false alarms is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from datakiln.metrics.base import MetricError
from datakiln.metrics.extractors.base import full_float32

SIDE = 32  # larger pictures are compared at this side
FREQUENCIES = 6  # in each direction
REACH, TINY = 2, 16  # pixels of a shift; half as many below this side, lest little be left to compare
CANDIDATES = 8  # each way round
LEAST = 20  # training pictures: of fewer it is not known how near two of them usually are
CALIBRATED = 1000  # real pictures behind the threshold
FALSE_ALARMS = 0.01
FEW_ALARMS, MOST_ALARMS = 3, 0.05  # pictures at least, but no larger a share
LOWEST, HIGHEST = 0.2, 0.5  # thresholds: pictures that repeat in real data lower it, and half as far is far yet
CHUNK, ROWS = 64, 1024


@dataclass(frozen=True)
class Gallery:
    """Training pictures as they are compared: bounded in memory by their number.

    Attributes:
        small: uint8 (n, C, S, S) with S of at most `SIDE`.
        features: Float32 (n, d).
    """

    small: Tensor
    features: Tensor

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.small)

    def first(self, n: int) -> Gallery:
        """The first n of them."""
        return Gallery(self.small[:n], self.features[:n])


class Collector:
    """Passes batches of training pictures on and keeps of them what a gallery needs."""

    def __init__(self) -> None:
        """Begins with none."""
        self.small: list[Tensor] = []

    def passed(self, batches: Iterable[Tensor]) -> Iterator[Tensor]:
        """The same batches."""
        for batch in batches:
            self.small.append(_small(batch))
            yield batch

    def gallery(self) -> Gallery:
        """What was collected."""
        small = torch.cat(self.small)
        return Gallery(small, torch.cat([_features(part.float()) for part in small.split(ROWS)]))


def calibrated(gallery: Gallery) -> float:
    """The ratio below which lie `FALSE_ALARMS` of the training pictures, each compared with all others.

    Raises:
        MetricError: They are too few.
    """
    if len(gallery) < LEAST:
        raise MetricError(f"near-copies are looked for among at least {LEAST} training pictures, not {len(gallery)}")
    ratio = ratios(gallery.small[:CALIBRATED], gallery, own=True)
    share = min(max(FALSE_ALARMS, FEW_ALARMS / len(ratio)), MOST_ALARMS)  # the nearest of few is a matter of luck
    return min(max(float(torch.quantile(ratio, share)), LOWEST), HIGHEST)


def near_copies(pictures: Tensor, gallery: Gallery, threshold: float) -> Tensor:
    """Which pictures are near-copies of training pictures.

    Arguments:
        pictures: uint8 (n, C, H, W).
        gallery: The training pictures.
        threshold: See `calibrated`.

    Returns:
        bool (n,).
    """
    return ratios(torch.cat([_small(part) for part in pictures.split(ROWS)]), gallery) < threshold


def ratios(small: Tensor, gallery: Gallery, own: bool = False) -> Tensor:
    """How near the nearest training picture is beside the other candidates.

    Arguments:
        small: Those that are asked about, uint8 (n, C, S, S).
        gallery: The training pictures.
        own: Whether the pictures are the gallery's first ones: none is compared with itself.

    Returns:
        Distance of the nearest by that of the middle one, in [0, 1], shape (n,).
    """
    parts = [_compared(small[at : at + CHUNK], gallery, at if own else None) for at in range(0, len(small), CHUNK)]
    return torch.cat(parts) if parts else torch.zeros(0)


def _compared(small: Tensor, gallery: Gallery, start: int | None) -> Tensor:
    asked = small.float()
    found = []
    for view in (asked, asked.flip(3)):
        features = _features(view)
        with full_float32(features.device):
            norms = gallery.features.square().sum(1)
            squares = torch.addmm(norms, features, gallery.features.T, alpha=-2.0)
        if start is not None:
            rows = torch.arange(len(small))
            squares[rows, rows + start] = torch.inf
        others = len(gallery) - (start is not None)
        at = squares.topk(min(CANDIDATES, others), largest=False).indices
        found.append(_aligned(view, gallery.small[at]))
    distances = torch.cat(found, dim=1)
    nearest, usual = distances.amin(1), distances.median(1).values
    return torch.where(usual > 0, nearest / usual.clamp(min=1e-9), torch.zeros(()))


def _small(pictures: Tensor) -> Tensor:
    """At most `SIDE` wide; blurred where pixels of different places were brought together, as a shift would do."""
    if pictures.shape[2] <= SIDE:
        return pictures
    x = F.interpolate(pictures.float(), (SIDE, SIDE), mode="area")
    return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False).round_().to(torch.uint8)


def _features(x: Tensor) -> Tensor:
    """Square roots of the magnitudes of low frequencies, (n, d); the rim counts less, where a shift lets pixels in."""
    window = torch.sin(torch.pi * (torch.arange(x.shape[2]) + 0.5) / x.shape[2]).sqrt()
    magnitudes = torch.fft.rfft2(_centred(x) * window[:, None] * window, norm="ortho").abs()
    height, width = magnitudes.shape[2:]
    rows = [i for i in range(height) if min(i, height - i) < FREQUENCIES]
    return magnitudes[:, :, rows, : min(FREQUENCIES, width)].sqrt().flatten(1)


def _aligned(asked: Tensor, found: Tensor) -> Tensor:
    """Root mean square differences of each picture to those found for it, at the best of all shifts, (n, k)."""
    reach = REACH if asked.shape[2] >= TINY else min(REACH // 2, (asked.shape[2] - 1) // 3)
    side = asked.shape[2] - 2 * reach
    inner = _centred(found[..., reach : reach + side, reach : reach + side].float())
    best = torch.full(inner.shape[:2], torch.inf)
    for y in range(2 * reach + 1):
        for x in range(2 * reach + 1):
            shifted = _centred(asked[:, None, :, y : y + side, x : x + side])
            best = torch.minimum(best, (shifted - inner).square().flatten(2).mean(2))
    return best.sqrt()


def _centred(x: Tensor) -> Tensor:
    return x - x.mean(dim=(-3, -2, -1), keepdim=True)
