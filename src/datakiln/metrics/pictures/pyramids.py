"""Sliced Wasserstein distance between patches of Laplacian pyramids (Karras et al., 2018, section 5): by no network.

A witness that nothing was trained for: what a network does not look at it cannot see, and what a model was trained
with it cannot judge. Each level of a pyramid shows structures of one size, and is judged by itself.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional as F

from datakiln.metrics.base import Figure, MetricError, metric
from datakiln.metrics.pictures.sets import Deal, ImageSets, pieces

PATCH = 7  # side of a patch in pixels
SMALLEST = 16  # side of the smallest level; smaller pictures have one level
BINOMIAL = (1.0, 4.0, 6.0, 4.0, 1.0)  # of the filter of Burt and Adelson (1983)
THOUSAND = 1000.0  # the distance is told in thousandths, as in the paper


@metric("swd", deals=True)
def swd(sets: ImageSets, n: int = 1000, patches: int = 32, projections: int = 128) -> list[Figure]:
    """The distance at each level of the pyramid and its mean, in thousandths of a patch's deviation.

    Patches of judged pictures and of as many training pictures are normalised by channel, by mean and deviation of the
    training ones, and projected on random directions; the distance is the mean absolute difference of sorted values.

    Arguments:
        sets: The pictures.
        n: Pictures of either kind at most.
        patches: Of a picture, at each level.
        projections: Directions.

    Raises:
        MetricError: Pictures smaller than a patch.
    """
    count = min(n, len(sets.judged), sets.n_train)
    side = sets.judged.shape[2]
    if side < PATCH:
        raise MetricError(f"pictures of {side} px are smaller than the {PATCH} px of a patch")
    real, made = (
        _patches((part.to(sets.device) for part in source), patches, sets.seed, count)
        for source in (sets.train(count), pieces(sets.judged, count))
    )
    if sets.deal is not None:
        real, made = _dealt(real, made, patches, sets.deal, sets.seed)
    generator = torch.Generator().manual_seed(sets.seed)
    found = {}
    for level, of_real in real.items():
        directions = torch.randn(of_real[0].numel(), projections, generator=generator)
        directions = (directions / directions.norm(dim=0)).to(sets.device)
        found[f"{level} px"] = THOUSAND * distance(of_real, made[level], directions)
    mean = sum(found.values()) / len(found)
    note = f"{patches} patches of {PATCH} x {PATCH} px a picture and level, {projections} directions; no network"
    return [Figure(f"swd/n{count}", mean, "lower", 0.0, None, found, n=count, note=note)]


def _dealt(
    real: dict[int, Tensor], made: dict[int, Tensor], each: int, deal: Deal, seed: int
) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
    """The patches of all pictures, shuffled by picture and dealt anew."""
    count = len(next(iter(real.values()))) // each
    generator = torch.Generator().manual_seed(seed + 1 + deal.turn)
    order = torch.randperm(2 * count, generator=generator)
    sides: tuple[dict[int, Tensor], dict[int, Tensor]] = {}, {}
    for level, of_real in real.items():
        pool = torch.cat([of_real, made[level]]).unflatten(0, (2 * count, each))
        for side, part in zip(sides, order.split(count), strict=True):
            side[level] = pool[part[: max(count >> deal.level, 1)].to(pool.device)].flatten(0, 1)
    return sides


def distance(real: Tensor, made: Tensor, directions: Tensor) -> float:
    """Of patches (N, C, 7, 7) from as many others, along unit directions (C * 49, P)."""
    deviation, mean = torch.std_mean(real, dim=(0, 2, 3), keepdim=True)
    one, other = ((part - mean) / deviation.clamp(min=1e-6) for part in (real, made))
    total = real.new_zeros((), dtype=torch.float64)
    for some in directions.split(32, dim=1):  # sorted values of all directions at once would take much memory
        sorted_one = (one.flatten(1) @ some).sort(dim=0).values
        total += (sorted_one - (other.flatten(1) @ some).sort(dim=0).values).abs().mean(dim=0).double().sum()
    return float(total / directions.shape[1])


def pyramid(x: Tensor) -> list[Tensor]:
    """Pictures (B, C, H, W) as differences of neighbouring scales, the largest first, and what is left at the last."""
    levels = []
    while min(x.shape[2:]) // 2 >= SMALLEST:
        smaller = _blurred(x)[:, :, ::2, ::2]
        levels.append(x - enlarged(smaller, x.shape[2:]))
        x = smaller
    return [*levels, x]


def enlarged(x: Tensor, size: tuple[int, ...]) -> Tensor:
    """Every second pixel of a picture (B, C, *size) brought back to it by the filter it was smoothed with."""
    spread = x.new_zeros((*x.shape[:2], *size))
    spread[:, :, ::2, ::2] = x
    return 4.0 * _blurred(spread)


def _blurred(x: Tensor) -> Tensor:
    line = torch.tensor(BINOMIAL, device=x.device) / 16.0
    kernel = (line[:, None] * line).expand(x.shape[1], 1, 5, 5)
    return F.conv2d(F.pad(x, (2, 2, 2, 2), mode="reflect"), kernel, groups=x.shape[1])


def _patches(batches: Iterable[Tensor], each: int, seed: int, count: int) -> dict[int, Tensor]:
    """Random patches of every picture by side of the level, (count * each, C, 7, 7)."""
    generator = torch.Generator().manual_seed(seed)
    found: dict[int, list[Tensor]] = {}
    seen = 0
    for batch in batches:
        batch = batch[: count - seen]
        seen += len(batch)
        for level in pyramid(batch.float() / 255.0):
            height, wide = level.shape[2:]
            top = torch.randint(0, height - PATCH + 1, (len(level), each), generator=generator).to(level.device)
            left = torch.randint(0, wide - PATCH + 1, (len(level), each), generator=generator).to(level.device)
            reach = torch.arange(PATCH, device=level.device)
            rows = (top[:, :, None] + reach)[:, :, :, None]
            columns = (left[:, :, None] + reach)[:, :, None, :]
            which = torch.arange(len(level), device=level.device)[:, None, None, None]
            cut = level.permute(0, 2, 3, 1)[which, rows, columns]  # (B, each, 7, 7, C)
            found.setdefault(height, []).append(cut.flatten(0, 1).permute(0, 3, 1, 2))
    return {side: torch.cat(parts) for side, parts in found.items()}
