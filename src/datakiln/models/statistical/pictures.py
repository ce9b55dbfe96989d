"""Probabilistic principal component analysis (Tipping and Bishop, 1999) of the pictures of each class.

With x the pixels of a picture and z ~ N(0, I) of fewer dimensions,

    x = mu + W z + sigma e,  e ~ N(0, I):  x ~ N(mu, W W' + sigma^2 I)        (eq. 2 and 5 there),

whose likelihood is greatest where mu is the mean, W holds the leading principal axes, and sigma^2 is the mean variance
along all others (eq. 7 and 8). All of it follows from one pass over the pictures. Levels are a step apart, and u,
uniform within a step, makes them continuous: that adds step^2 / 12 to every variance, and

    log p(level) >= E_u log p(x + u) + D log step        (Theis et al., 2016, https://arxiv.org/abs/1511.01844)

is a bound in closed form, since log p is quadratic in u.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from datakiln.errors import UserError
from datakiln.models.base import scaled
from datakiln.models.statistical.closed_form import WithoutGradients
from datakiln.nets.paths import with_means
from datakiln.spec import PLAIN, Batch, DataSpec, Sampling

STEP = 2 / 255  # between levels, in model space
LEVEL = STEP**2 / 12  # variance of a uniform number within a step
SPARE = 16  # directions that are followed beside the leading ones while pictures come in, so that these are exact
CELLS = 2**26  # most numbers of the directions of all classes


class Moments(NamedTuple):
    """Of pictures: how many, their mean, and their scatter about it, as the leading directions and its trace.

    Attributes:
        n: Shape ().
        mean: Shape (D,).
        rows: Orthogonal, longest first; the sum of their outer products is about the scatter. Shape (r, D).
        energy: Trace of the scatter, exact, shape ().
    """

    n: Tensor
    mean: Tensor
    rows: Tensor
    energy: Tensor

    @classmethod
    def of(cls, x: Tensor) -> Moments:
        """Those of pictures (B, D), every one a direction."""
        mean = x.mean(dim=0)
        return cls(torch.tensor(float(len(x)), device=x.device), mean, x - mean, (x - mean).square().sum())

    def weighing(self, count: float) -> Moments:
        """The same as if they were of so many pictures."""
        share = count / self.n
        return Moments(self.n * share, self.mean, self.rows * share.sqrt(), self.energy * share)

    def joined(self, other: Moments, rank: int) -> Moments:
        """Those of both together, with `rank` directions (Ross et al., 2008, https://doi.org/10.1007/s11263-007-0075-7).

        The scatter about the common mean is the sum of both and of what lies between their means.
        """
        count = self.n + other.n
        share = other.n / count
        apart = (self.n * share).sqrt() * (other.mean - self.mean)
        rows = _leading(torch.cat([self.rows, other.rows, apart[None]]), rank)
        return Moments(
            count, self.mean.lerp(other.mean, share), rows, self.energy + other.energy + apart.square().sum()
        )


class PPCA(WithoutGradients):
    """A Gaussian of pixels for each class, fitted in one pass; the loss is a bound in bits a dimension.

    Arguments:
        spec: A picture's spec, of any side and channels.
        components: Dimensions of z; at most half those of a picture, and no more than fit into memory for all classes.
        conditional: Whether each class has a Gaussian of its own, where there are classes; pictures whose class is
            hidden are then left out.
        pseudo: Pictures of no class in particular, with the moments of all, that every class is credited with: a class
            of few pictures then varies as all do in the directions that its own say nothing of.
    """

    supports = frozenset({"image"})
    options = frozenset({"mean", "truncation"})
    likelihood = "whole"
    directions = {"loss": "lower", "bits_per_dim": "lower"}
    mixes = "no gradients: it is fitted by moments"
    alone = "adding up a batch is less work than telling another process of it"
    class_shares: Tensor
    gathered: Tensor
    count: Tensor
    centre: Tensor
    rows: Tensor
    energy: Tensor
    mean: Tensor
    axes: Tensor
    variances: Tensor
    noise: Tensor

    def __init__(self, spec: DataSpec, components: int = 64, conditional: bool = True, pseudo: float = 5.0) -> None:
        """See the class."""
        super().__init__(spec)
        if components < 1:
            raise UserError(f"model.components={components} must be at least 1")
        if not 0.0 < pseudo <= 1e6:
            raise UserError(f"model.pseudo={pseudo} must be above 0 and at most 1e6")
        self.pseudo = pseudo
        self.classes = len(spec.classes) if conditional else 0
        self.conditioning = "label" if self.classes else "none"
        kinds, size = max(self.classes, 1), math.prod(spec.shape)
        self.rank = min(components + SPARE, size, max(CELLS // (kinds * size), 2))
        self.latent_dim = max(min(components, self.rank, size // 2), 1)  # sigma^2 is to be a mean over many others
        shares = torch.tensor(spec.class_shares if self.classes else (1.0,), dtype=torch.float32)
        self.register_buffer("class_shares", shares, persistent=False)
        for name, value in {
            "gathered": torch.zeros((), dtype=torch.long),
            "count": torch.zeros(kinds),  # sums of this pass
            "centre": torch.zeros(kinds, size),
            "rows": torch.zeros(kinds, self.rank, size),
            "energy": torch.zeros(kinds),
            "mean": torch.zeros(kinds, size),  # parameters
            "axes": torch.zeros(kinds, self.latent_dim, size),
            "variances": torch.ones(kinds, self.latent_dim),  # along the axes
            "noise": torch.ones(kinds),  # sigma^2, along all others
        }.items():
            self.register_buffer(name, value)

    @property
    def steps(self) -> int:
        """Batches gathered so far."""
        return int(self.gathered)

    @torch.no_grad()
    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Adds up moments; the last batch of a pass settles it, since validation comes before the end of the epoch."""
        self.gather(batch)
        self.gathered += 1
        if self.trainer.is_last_batch:
            self.settle()
            self.meter.add("train", self.losses(batch), len(batch.x))

    def gather(self, batch: Batch) -> None:
        """Adds pictures to the moments of their classes."""
        x, y = batch.x.flatten(1), self._kinds(batch.y, len(batch.x))
        for k in y[y >= 0].unique().tolist():
            self._keep(k, self._kept(k).joined(Moments.of(x[y == k]), self.rank))

    def settle(self) -> None:
        """Turns the moments of a pass into parameters (eq. 7 and 8) and clears them."""
        seen = self.count.nonzero()[:, 0].tolist()
        if not seen:
            raise UserError("model=ppca: no training picture tells its class; take conditional=false or labelled ones")
        pooled = self._kept(seen[0])
        for k in seen[1:]:
            pooled = pooled.joined(self._kept(k), self.rank)
        for k in range(len(self.count)):
            found = self._kept(k).joined(pooled.weighing(self.pseudo), self.rank)
            self._put(k, found)
        for sums in (self.count, self.centre, self.rows, self.energy):
            sums.zero_()

    def _put(self, k: int, found: Moments) -> None:
        size, leading = self.mean.shape[1], found.rows[: self.latent_dim]
        lengths = leading.square().sum(dim=1)
        left = (found.energy - lengths.sum()).clamp(min=0.0) / found.n / max(size - self.latent_dim, 1)
        self.mean[k], self.noise[k] = found.mean, left + LEVEL
        self.variances[k] = torch.maximum(lengths / found.n + LEVEL, self.noise[k])
        self.axes[k] = leading / lengths.sqrt().clamp(min=1e-12)[:, None]  # one without length stays the origin

    def _kept(self, k: int) -> Moments:
        return Moments(self.count[k], self.centre[k], self.rows[k], self.energy[k])

    def _keep(self, k: int, found: Moments) -> None:
        for kept, value in zip((self.count, self.centre, self.rows, self.energy), found, strict=True):
            kept[k] = value

    def _kinds(self, y: Tensor | None, n: int) -> Tensor:
        """Which Gaussian each of n examples is of, shape (n,); -1 where that is hidden."""
        if not self.classes:
            return torch.zeros(n, dtype=torch.long, device=self.device)
        return torch.full((n,), -1, device=self.device) if y is None else y

    def log_density(self, x: Tensor, k: int) -> Tensor:
        """Of pixels (B, D) under the Gaussian of class k, in nats, shape (B,)."""
        centred = x - self.mean[k]
        along = centred @ self.axes[k].T
        across = (centred - along @ self.axes[k]).square().sum(dim=1)
        distance = (along.square() / self.variances[k]).sum(dim=1) + across / self.noise[k]
        rest = x.shape[1] - self.latent_dim
        volume = self.variances[k].log().sum() + rest * self.noise[k].log()
        return -0.5 * (distance + volume + x.shape[1] * math.log(2 * math.pi))

    def bound(self, x: Tensor) -> Tensor:
        """The bound on log p(x | class) in nats, x at level centres in [-1, 1]: shape (B, K), K = 1 without classes."""
        pixels = x.flatten(1)
        size = pixels.shape[1]
        each = [self.log_density(pixels, k) for k in range(len(self.noise))]
        spread = (1.0 / self.variances).sum(dim=1) + (size - self.latent_dim) / self.noise  # trace of the inverse
        return torch.stack(each, dim=1) - 0.5 * LEVEL * spread + size * math.log(STEP)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Bits a dimension, given the class where it is known."""
        each, y = self.bound(batch.x), self._kinds(batch.y, len(batch.x))
        whole = (each + self.class_shares.log()).logsumexp(dim=1)
        nats = torch.where(y >= 0, each.gather(1, y.clamp(min=0)[:, None])[:, 0], whole)
        bits = -nats.mean() / (self.mean.shape[1] * math.log(2))
        return {"loss": bits} if self.training else {"loss": bits, "bits_per_dim": bits}

    def log_prob(self, x: Tensor) -> Tensor:
        """The bound in nats, summed over the classes, shape (B,); samples are clipped, of which it knows nothing."""
        return (self.bound(x) + self.class_shares.log()).logsumexp(dim=1)

    def draw(self, n: int, condition: Tensor | None, options: Sampling = PLAIN) -> Tensor:
        """Pictures (n, C, H, W) of latents drawn from N(0, I)."""
        return self.walk(torch.randn(n, self.latent_dim, device=self.device), condition, options)

    def walk(self, keys: Tensor, condition: Tensor | None, options: Sampling = PLAIN) -> Tensor:
        """Pictures of these latents: mu + W z, and sigma e where `mean` is false, clipped to the range of pixels."""
        if not self.classes or condition is None:
            condition = torch.multinomial(self.class_shares, len(keys), replacement=True)
        return self._pictures(scaled(keys, options), condition, options).clamp(*self.spec.bounds)

    def _pictures(self, z: Tensor, y: Tensor, options: Sampling) -> Tensor:
        """Of latents and classes, not clipped, shape (n, C, H, W)."""
        x = self.mean[y]
        for k in y.unique().tolist():
            x[y == k] += z[y == k] @ self._loading(k)
        if options.mean is False:
            x = x + self.noise[y].sqrt()[:, None] * torch.randn_like(x)
        return x.unflatten(1, self.spec.shape)

    def _loading(self, k: int) -> Tensor:
        """W' of class k, shape (latent_dim, D)."""
        return (self.variances[k] - self.noise[k]).clamp(min=0.0).sqrt()[:, None] * self.axes[k]

    def complete(self, x: Tensor, y: Tensor | None, options: Sampling = PLAIN) -> Tensor:
        """Pictures with their unknown pixels drawn given the known ones, exactly but for the clipping."""
        known, made = torch.isfinite(x), torch.empty_like(x)
        masks, which = known.flatten(1).unique(dim=0, return_inverse=True)
        for i, mask in enumerate(masks):
            rows = which == i
            loadings = [self._loading(k)[:, mask] for k in range(len(self.noise))]
            told = None if y is None else y[rows]
            z, kinds = self._given(x[rows].flatten(1)[:, mask], self.mean[:, mask], loadings, self.noise, told)
            made[rows] = self._pictures(scaled(z, options), kinds, options)
        return torch.where(known, x, made.clamp(*self.spec.bounds))

    def enlarge(self, x: Tensor, y: Tensor | None, options: Sampling = PLAIN) -> Tensor:
        """Pictures of which x are the means over blocks, drawn given these."""
        factor = self.spec.shape[1] // x.shape[2]

        def small(rows: Tensor) -> Tensor:
            return F.avg_pool2d(rows.unflatten(1, self.spec.shape), factor).flatten(1)

        loadings = [small(self._loading(k)) for k in range(len(self.noise))]
        z, kinds = self._given(x.flatten(1), small(self.mean), loadings, self.noise / factor**2, y)
        return with_means(self._pictures(scaled(z, options), kinds, options), x, self.spec.bounds)

    def _given(
        self, seen: Tensor, mean: Tensor, loadings: list[Tensor], noise: Tensor, y: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Draws latents (B, latent_dim) and classes (B,) given numbers seen of pictures, themselves Gaussian.

        With M = I + W'W / sigma^2, z given x is N(M^-1 W'(x - mu) / sigma^2, M^-1) (eq. 6 of Tipping and Bishop).

        Arguments:
            seen: Shape (B, S).
            mean: Of each class, shape (K, S).
            loadings: W' of each class, shape (latent_dim, S).
            noise: sigma^2 of each class, shape (K,).
            y: Classes; None for drawing them by how likely they make what is seen.
        """
        n, size = seen.shape
        y = self._kinds(y, n)
        hidden = bool((y < 0).any())
        z, log_p = seen.new_empty(len(noise), n, self.latent_dim), seen.new_zeros(n, len(noise))
        fresh = torch.randn(n, self.latent_dim, device=seen.device)
        for k in range(len(noise)) if hidden else y.unique().tolist():
            eye = torch.eye(self.latent_dim, device=seen.device)
            factor = torch.linalg.cholesky(eye + loadings[k] @ loadings[k].T / noise[k])
            centred = seen - mean[k]
            middle = torch.cholesky_solve(loadings[k] @ centred.T / noise[k], factor).T
            z[k] = middle + torch.linalg.solve_triangular(factor.T, fresh.T, upper=True).T
            left = (centred - middle @ loadings[k]).square().sum(dim=1) / noise[k] + middle.square().sum(dim=1)
            log_p[:, k] = -0.5 * (left + size * noise[k].log()) - factor.diagonal().log().sum()
        if hidden:
            drawn = torch.multinomial((log_p + self.class_shares.log()).softmax(dim=1), 1)[:, 0]
            y = torch.where(y < 0, drawn, y)
        return z[y, torch.arange(n, device=seen.device)], y


def _leading(rows: Tensor, rank: int) -> Tensor:
    """Orthogonal directions, longest first, whose outer products add up to the leading ones of these rows, (rank, D).

    Those of rows A are U' A with U the eigenvectors of A A', or V' sqrt(l) with V, l those of A' A, whichever is less.
    """
    exact = rows.double()  # products square what is large and small
    if len(rows) <= rows.shape[1]:
        found = torch.linalg.eigh(exact @ exact.T)[1].flip(1)[:, :rank].T @ exact
    else:
        lengths, axes = torch.linalg.eigh(exact.T @ exact)
        found = (axes * lengths.clamp(min=0.0).sqrt()).T.flip(0)[:rank]
    return F.pad(found.to(rows.dtype), (0, 0, 0, rank - len(found)))
