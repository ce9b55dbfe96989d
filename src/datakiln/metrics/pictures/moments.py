"""What a pass over images leaves behind: mergeable moments, summed class probabilities, a bounded sample of features.

Each part is a `torchmetrics.Metric`, so its state follows the device and is gathered over processes by `compute`. The
classes of torchmetrics itself are not used: its KID, Inception Score and MIFID keep every feature, and its FID keeps
plain sums of products, which lose digits where the mean is large beside the spread.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat


class Gaussian(NamedTuple):
    """Sample mean and covariance, float64.

    Attributes:
        n: Number of rows seen.
        mean: Shape (d,).
        cov: Unbiased covariance, shape (d, d); zero when n = 1.
    """

    n: int
    mean: Tensor
    cov: Tensor


def pool_moments(n: Tensor, mean: Tensor, scatter: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Moments of the union of k disjoint sets (Chan, Golub and LeVeque 1983, eq. 2.1 for k sets).

    Arguments:
        n: Sizes, shape (k,).
        mean: Means, shape (k, d).
        scatter: Sums of squared deviations from the own mean, shape (k, d, d).

    Returns:
        Size (), mean (d,) and scatter (d, d) of the union.
    """
    total = n.sum()
    share = (n / total.clamp(min=1))[:, None]
    pooled = (share * mean).sum(0)
    shift = (mean - pooled) * n.sqrt()[:, None]
    return total, pooled, scatter.sum(0) + shift.T @ shift


class Moments(Metric):
    """Mean and covariance of features, float64, whatever the size of the chunks or the number of processes."""

    full_state_update: bool | None = False
    n: Tensor
    mean: Tensor
    scatter: Tensor

    def __init__(self, dim: int, sync: bool = True) -> None:
        """Takes the number of features, and whether `compute` gathers the other processes."""
        super().__init__(sync_on_compute=sync)
        self.add_state("n", torch.zeros((), dtype=torch.float64), dist_reduce_fx=None)
        self.add_state("mean", torch.zeros(dim, dtype=torch.float64), dist_reduce_fx=None)
        self.add_state("scatter", torch.zeros(dim, dim, dtype=torch.float64), dist_reduce_fx=None)

    def update(self, features: Tensor) -> None:
        """Adds rows, shape (B, d).

        The step between the two means enters the product as one more row, so the matrix is passed over once.
        """
        if len(features) == 0:
            return
        rows = features.detach().to(self.mean)
        centre = rows.mean(0)
        total = self.n + len(rows)
        step = (centre - self.mean) * (self.n * len(rows) / total).sqrt()
        rows = torch.cat([rows - centre, step[None]])
        self.scatter.addmm_(rows.T, rows)
        self.mean = self.mean + (centre - self.mean) * (len(rows) - 1) / total
        self.n = total

    def compute(self) -> Gaussian:
        """The moments of all rows of all processes."""
        n, mean, scatter = self.n, self.mean, self.scatter
        if n.dim():  # gathered: one leading entry a process
            n, mean, scatter = pool_moments(n, mean, scatter)
        return Gaussian(int(n), mean.clone(), scatter / (n - 1).clamp(min=1))


def _mix(index: Tensor, seed: int) -> Tensor:
    """A pseudo-random int64 in [0, 2^62) for each index: the finaliser of SplitMix64 (Steele et al. 2014)."""

    def shift(x: Tensor, by: int) -> Tensor:
        return (x >> by) & ((1 << (64 - by)) - 1)  # int64 has no logical shift of its own

    def multiply(x: Tensor, factor: int) -> Tensor:
        return x * (factor - (1 << 64) if factor >> 63 else factor)

    x = multiply(index + 1 + (seed << 32), 0x9E3779B97F4A7C15)
    x = multiply(x ^ shift(x, 30), 0xBF58476D1CE4E5B9)
    x = multiply(x ^ shift(x, 27), 0x94D049BB133111EB)
    return (x ^ shift(x, 31)) & ((1 << 62) - 1)


class Reservoir(Metric):
    """A uniform sample of at most `capacity` rows, the same for any chunking and any number of processes.

    Every row gets a key from its index in the whole set, and the smallest keys stay: samples of parts merge into the
    sample of the union (bottom-k sampling; Cohen and Kaplan 2007).

    Arguments:
        dim: Features a row.
        capacity: Rows kept at most; memory is 4 * capacity * dim bytes.
        seed: Chooses the sample.
    """

    full_state_update: bool | None = False
    rows: list[Tensor]
    keys: list[Tensor]
    EMPTY = torch.iinfo(torch.int64).max

    def __init__(self, dim: int, capacity: int, seed: int = 0) -> None:
        """See the class."""
        super().__init__()
        self.dim, self.capacity, self.seed = dim, capacity, seed
        # Lists of one buffer each: only list states may differ in length between processes.
        self.add_state("rows", [], dist_reduce_fx="cat")
        self.add_state("keys", [], dist_reduce_fx="cat")
        self.reset()

    def reset(self) -> None:
        """Forgets every row."""
        super().reset()
        self.rows = [torch.zeros(0, self.dim, device=self.device)]
        self.keys = [torch.zeros(0, dtype=torch.int64, device=self.device)]

    def _make_room(self, more: int) -> None:
        rows, keys = self.rows[0], self.keys[0]
        filled = int((keys != self.EMPTY).sum())
        if filled + more <= len(keys) or len(keys) == self.capacity:
            return
        extra = min(self.capacity, max(filled + more, 2 * len(keys))) - len(keys)
        self.rows = [torch.cat([rows, rows.new_zeros(extra, self.dim)])]
        self.keys = [torch.cat([keys, keys.new_full((extra,), self.EMPTY)])]

    def update(self, features: Tensor, index: Tensor) -> None:
        """Offers rows, shape (B, d), with their places in the whole set, int64 of shape (B,)."""
        self._make_room(len(features))
        rows, keys = self.rows[0], self.keys[0]
        offered = torch.cat([keys, _mix(index.to(keys.device), self.seed)])
        stay = torch.zeros(len(offered), dtype=torch.bool, device=keys.device)
        stay[offered.topk(len(keys), largest=False).indices] = True
        freed, taken = (~stay[: len(keys)]).nonzero()[:, 0], stay[len(keys) :].nonzero()[:, 0]
        rows[freed] = features.detach()[taken].to(rows)
        keys[freed] = offered[len(keys) :][taken]

    def compute(self) -> Tensor:
        """The kept rows in random order, so any first m of them are a uniform sample too; float32, (<= capacity, d)."""
        rows, keys = dim_zero_cat(self.rows), dim_zero_cat(self.keys)
        order = keys.argsort()[: self.capacity]
        return rows[order[keys[order] != self.EMPTY]]


class Scores(NamedTuple):
    """Sums over images of class probabilities p, in `splits` interleaved parts, float64.

    Attributes:
        images: Number of images in each part, shape (S,).
        probability: Sum of p, shape (S, K).
        negentropy: Sum of sum_k p_k log p_k, shape (S,).
    """

    images: Tensor
    probability: Tensor
    negentropy: Tensor


class ScoreSums(Metric):
    """What the Inception Score needs of the class probabilities; image i belongs to part i modulo `splits`."""

    full_state_update: bool | None = False
    images: Tensor
    probability: Tensor
    negentropy: Tensor

    def __init__(self, classes: int, splits: int = 10) -> None:
        """Takes the number of classes and of parts."""
        super().__init__()
        self.add_state("images", torch.zeros(splits, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("probability", torch.zeros(splits, classes, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("negentropy", torch.zeros(splits, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, probabilities: Tensor, index: Tensor) -> None:
        """Adds rows that sum to 1, shape (B, K), with their places in the whole set, shape (B,)."""
        p = probabilities.detach().to(self.probability)
        part = index.to(p.device) % len(self.images)
        self.images.index_add_(0, part, torch.ones_like(part, dtype=p.dtype))
        self.probability.index_add_(0, part, p)
        self.negentropy.index_add_(0, part, torch.special.xlogy(p, p).sum(1))

    def compute(self) -> Scores:
        """The sums of all processes."""
        return Scores(self.images.clone(), self.probability.clone(), self.negentropy.clone())
