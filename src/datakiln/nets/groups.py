"""Groups of pictures that look alike, which a net is told where nothing says their class.

What a generative model of many kinds of pictures is told of the kind makes its samples better, whoever found the kinds
(Bao et al., 2022, https://arxiv.org/abs/2212.00362; Hu et al., 2023, https://arxiv.org/abs/2210.06462).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from sklearn.cluster import KMeans
from torch import Tensor, nn
from torch.nn import functional as F

from datakiln import processes

SIDE = 14  # to which pictures are made smaller before they are compared
SEEN = 10_000  # pictures at most among which groups are looked for
LEAST = 20  # pictures of a group on average: fewer would be known one by one
SEED = 0
FAR = 1e4  # a centre that no picture is near to


class Groups(nn.Module):
    """Centres of k-means over small copies of training pictures (Lloyd, 1982), and how often each is the nearest.

    Arguments:
        shape: (C, H, W) of a picture.
        count: How many groups at most.

    Attributes:
        shares: Of training pictures in each group, shape (count,); all zero before `find`.
    """

    centres: Tensor
    shares: Tensor

    def __init__(self, shape: tuple[int, ...], count: int) -> None:
        """See the class."""
        super().__init__()
        self.sides = min(shape[1], SIDE), min(shape[2], SIDE)
        size = shape[0] * self.sides[0] * self.sides[1]
        self.register_buffer("centres", torch.full((count, size), FAR))
        self.register_buffer("shares", torch.zeros(count))
        self.register_load_state_dict_pre_hook(_checked)

    @property
    def are_found(self) -> bool:
        """Whether `find` has been called."""
        return bool(self.shares.any())

    def _small(self, x: Tensor) -> Tensor:
        """Pictures (B, C, H, W) of any side as rows (B, C * sides); NaN where a part of them is unknown."""
        return F.adaptive_avg_pool2d(x, self.sides).flatten(1)

    @torch.no_grad()
    def find(self, pictures: Iterable[Tensor]) -> None:
        """Sets centres and shares from batches (B, C, H, W) of training pictures, of which the first are enough."""
        kept: list[Tensor] = []
        for x in pictures:
            kept.append(self._small(x.to(self.centres.device)))
            if sum(map(len, kept)) >= SEEN:
                break
        small = torch.cat(kept)[:SEEN]
        count = max(1, min(len(self.centres), len(small) // LEAST))
        found = KMeans(count, n_init=1, max_iter=50, random_state=SEED).fit(small.cpu().numpy())
        centres = torch.as_tensor(found.cluster_centers_, dtype=torch.float32)
        shares = torch.bincount(torch.as_tensor(found.labels_).long(), minlength=count) / len(small)
        centres, shares = (torch.tensor(processes.told(part.tolist())) for part in (centres, shares))
        self.centres[:count], self.shares[:count] = centres.to(self.centres), shares.to(self.shares)

    @torch.no_grad()
    def of(self, x: Tensor) -> Tensor:
        """The group of each picture (B, C, H, W) by what is known of it, shape (B,); -1 where nothing is."""
        small = self._small(x)
        known = torch.isfinite(small)
        centres, given = self.centres, small.nan_to_num(0.0)
        # |known (x - c)|^2 but for what all centres share
        apart = known.to(given) @ centres.square().T - 2.0 * given @ centres.T
        return torch.where(known.any(dim=1), apart.argmin(dim=1), -1)


def _checked(model: Groups, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Refuses shares that nothing can be drawn by."""
    shares = state.get(f"{prefix}shares")
    if shares is not None and not bool((torch.isfinite(shares) & (shares >= 0)).all()):
        raise ValueError(f"{prefix}shares must be finite and not below 0")
