"""Latent-class model (Lazarsfeld and Henry, 1968): a mixture of products of categoricals, fitted by EM in seconds.

EM goes on-line (Cappe and Moulines, 2009, https://arxiv.org/abs/0712.4273): every batch moves the expected counts a
step, and the parameters follow at once. Several numbers of classes and strengths of smoothing are fitted side by side,
and the likelihood of the validation rows chooses among them after every pass: with too many classes the model copies.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from datakiln.models.statistical.closed_form import ClosedFormModel
from datakiln.nets.codes import Strata, invert
from datakiln.spec import PLAIN, Batch, DataSpec, Sampling

DECAY = 0.7  # the step of update t is (t + 2) to the power of minus this, but at least the batch's share of the rows
START = 0.3  # how far a class begins from the columns' own shares towards the row it is seeded with
PSEUDO = 0.1  # rows that every class is credited with, so that none dies
ROWS = 4096  # rows whose class probabilities are held at once
TINY = 1e-12  # least probability of a code or class that is adopted
CHUNK = 2**17  # rows of a sample that are spread evenly together


class Mixture(ClosedFormModel):
    """p(x) = sum over classes k of pi_k times the product over columns j of theta_jk(x_j).

    Every conditional, marginal and likelihood is exact. theta is smoothed towards the column's own shares, with the
    weight of `smoothing` rows in every class.

    Arguments:
        spec: A table of code blocks.
        classes: Numbers of classes to choose among.
        smoothing: Strengths of smoothing to choose among.
        even: Whether the rows of a sample are spread evenly (see `Strata`) instead of drawn independently.
    """

    adopts = True
    counts: Tensor  # expected number of rows of each class with each code, (T, K) for all candidates side by side
    sizes: Tensor  # expected number of rows of each class, (K,)
    log_theta: Tensor
    log_pi: Tensor
    seen: Tensor  # rows with each code so far, (T,)
    alpha: Tensor
    chosen: Tensor
    pass_loss: Tensor
    pass_rows: Tensor
    adopted: Tensor

    def __init__(
        self,
        spec: DataSpec,
        classes: Sequence[int] = (32, 128, 512),
        smoothing: Sequence[float] = (8.0, 32.0),
        even: bool = True,
    ) -> None:
        """See the class."""
        super().__init__(spec)
        if not classes or not smoothing or min(classes) < 1 or min(smoothing) <= 0:
            raise ValueError(f"classes={list(classes)} and smoothing={list(smoothing)} must be positive, one at least")
        self.candidates = list(itertools.product(classes, smoothing))
        self.even = even
        self.widths = [k for k, _ in self.candidates]
        total, codes = sum(self.widths), self.codes.total
        alpha = torch.repeat_interleave(torch.tensor([a for _, a in self.candidates]), torch.tensor(self.widths))
        self.register_buffer("alpha", alpha, persistent=False)
        for name, value in {
            "counts": torch.zeros(codes, total),
            "sizes": torch.zeros(total),
            "log_theta": torch.zeros(codes, total),
            "log_pi": torch.zeros(total),
            "seen": torch.zeros(codes),
            "chosen": torch.zeros((), dtype=torch.long),
            "pass_loss": torch.zeros(len(self.candidates)),
            "pass_rows": torch.zeros(()),
            "adopted": torch.zeros((), dtype=torch.bool),
        }.items():
            self.register_buffer(name, value)

    @torch.no_grad()
    def adopt(self, theta: Any, pi: Any) -> None:  # noqa: ANN401 (arrays or tensors)
        """Takes parameters that were found without its rows, which then only measure: training changes nothing.

        Arguments:
            theta: Probability of each code in each class, shape (T, K); the only candidate must have K classes.
            pi: Probability of each class, shape (K,).
        """
        if tuple(self.log_theta.shape) != tuple(theta.shape):
            raise ValueError(f"parameters of shape {tuple(theta.shape)} for a model of {tuple(self.log_theta.shape)}")
        self.log_theta.copy_(torch.as_tensor(theta).clamp(min=TINY).log())
        self.log_pi.copy_(torch.as_tensor(pi).clamp(min=TINY).log())
        self.adopted.fill_(True)

    @property
    def rows_at_once(self) -> int:
        """Many: the more rows, the more evenly they can be spread."""
        return CHUNK

    def _part(self, candidate: int) -> slice:
        start = sum(self.widths[:candidate])
        return slice(start, start + self.widths[candidate])

    def _joint(self, codes: Tensor, known: Tensor, part: slice) -> Tensor:
        """Log of pi_k and of p(known cells | k), added, shape (B, K)."""
        weights = known.to(self.log_theta.dtype)
        table = self.log_theta[:, part]
        return functional.embedding_bag(codes, table, per_sample_weights=weights, mode="sum") + self.log_pi[part]

    def gather(self, x: Tensor) -> None:
        """One step of on-line EM with these rows; the first rows seed the classes."""
        codes, known = self.codes.read(x)
        if bool(self.adopted):
            self.pass_loss += self._losses(x) * len(x)
            self.pass_rows += len(x)
            return
        self.seen += self.codes.counts(codes, known)
        if int(self.gathered) == 0:
            self._seed(codes, known)
        joint = self._joint(codes, known, slice(None))
        parts = joint.split(self.widths, dim=1)
        losses = [-torch.logsumexp(part, dim=1).sum() for part in parts]
        self.pass_loss += torch.stack(losses)
        self.pass_rows += len(x)
        share = torch.cat([part.softmax(dim=1) for part in parts], dim=1)
        counts = torch.zeros_like(self.counts)
        for j in range(len(self.codes)):
            counts.index_add_(0, codes[:, j], share * known[:, j : j + 1])
        scale = max(self.spec.size, 1) / len(x)
        step = max((int(self.gathered) + 2.0) ** -DECAY, 1.0 / scale)  # 1 where the batch is all there is: plain EM
        self.counts.lerp_(counts * scale, step)
        self.sizes.lerp_(share.sum(dim=0) * scale, step)
        self._maximise()

    def _seed(self, codes: Tensor, known: Tensor) -> None:
        """Every class starts at the columns' shares, drawn some way towards a row of its own."""
        total = len(self.sizes)
        rows = torch.cat([torch.randperm(len(codes)) for _ in range(-(-total // len(codes)))])[:total]
        rows = rows.to(codes.device)
        own = torch.zeros_like(self.counts).scatter_(0, codes[rows].T, known[rows].T.to(self.counts.dtype))
        self.sizes.copy_(self.spec.size / torch.tensor(self.widths).repeat_interleave(torch.tensor(self.widths)))
        self.counts.copy_(self.sizes * (START * own + (1.0 - START) * self._shares()[:, None]))
        self._maximise()

    def _shares(self) -> Tensor:
        """Every column's own shares over all rows so far, shape (T,), none of them 0."""
        smoothed = self.seen + PSEUDO
        return smoothed / self.codes.sums(smoothed)[self.codes.column]

    def _maximise(self) -> None:
        """The M step: theta and pi from the expected counts.

        Small classes are smoothed most, which shifts the columns' shares; the last step moves them back.
        """
        rows = self.codes.sums(self.counts)[self.codes.column]  # unknown cells count in no column
        shares = self._shares()[:, None]
        theta = (self.counts + self.alpha * shares) / (rows + self.alpha)
        for part in map(self._part, range(len(self.candidates))):
            pi = (self.sizes[part] + PSEUDO) / (self.sizes[part] + PSEUDO).sum()
            theta[:, part] *= shares / (theta[:, part] @ pi)[:, None]
            self.log_pi[part] = pi.log()
        self.log_theta.copy_((theta / self.codes.sums(theta)[self.codes.column]).log_())

    def settle(self) -> dict[str, Tensor]:
        """The parameters follow every batch: only the figures of the pass are left."""
        losses = self.pass_loss / self.pass_rows
        self.pass_loss.zero_()
        self.pass_rows.zero_()
        return {"loss": losses[self.chosen]}

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """The loss of every candidate on the validation split."""
        self.meter.add("val", {"candidate": self._losses(batch.x)}, len(batch.x))

    def _losses(self, x: Tensor) -> Tensor:
        codes, known = self.codes.read(x)
        parts = self._joint(codes, known, slice(None)).split(self.widths, dim=1)
        return torch.stack([-torch.logsumexp(part, dim=1).mean() for part in parts])

    def on_validation_epoch_end(self) -> None:
        """Chooses the candidate that the validation rows fit best."""
        figures = self.meter.pop("val")
        losses = [figures[f"candidate/{i}"] for i in range(len(self.candidates))]
        best = min(range(len(losses)), key=losses.__getitem__)
        self.chosen.fill_(best)
        classes, smoothing = self.candidates[best]
        self.publish("val", {"loss": losses[best], "classes": float(classes), "smoothing": float(smoothing)})

    def chosen_options(self) -> dict[str, Any]:
        """The one candidate that the validation rows fit best."""
        classes, smoothing = self.candidates[int(self.chosen)]
        return {"classes": [classes], "smoothing": [smoothing]}

    def log_prob(self, x: Tensor) -> Tensor:
        """See `ClosedFormModel`."""
        part = self._part(int(self.chosen))
        rows = x.split(ROWS)
        return torch.cat([torch.logsumexp(self._joint(*self.codes.read(piece), part), dim=1) for piece in rows])

    def draw(self, n: int, condition: Tensor | None, options: Sampling = PLAIN) -> Tensor:
        """A class from its probability given the known cells, then the unknown cells given the class."""
        strata = Strata(n, self.device, self.even)
        part = self._part(int(self.chosen))
        if condition is None:
            end = self.log_pi[part].exp().cumsum(0)
            classes = torch.searchsorted(end, strata.uniforms() * end[-1], right=True).clamp_(max=len(end) - 1)
        else:
            classes = self._classes(condition, part, strata.uniforms())
        strata.sort(classes)
        x = torch.empty(n, len(self.codes), device=self.device)
        for j in range(len(self.codes)):
            drawn = invert(self.log_theta[self.codes.part(j), part].exp().T, classes, strata.uniforms())
            strata.sort(drawn)
            x[:, j] = drawn
        return x if condition is None else torch.where(torch.isnan(condition), x, condition)

    def _classes(self, condition: Tensor, part: slice, uniforms: Tensor) -> Tensor:
        drawn = []
        for rows, u in zip(condition.split(ROWS), uniforms.split(ROWS), strict=True):
            end = self._joint(*self.codes.read(rows), part).softmax(dim=1).cumsum(dim=1)
            drawn.append((end <= u[:, None] * end[:, -1:]).sum(dim=1))
        return torch.cat(drawn).clamp_(max=part.stop - part.start - 1)
