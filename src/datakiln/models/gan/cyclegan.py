"""CycleGAN (Zhu et al., 2017, https://arxiv.org/abs/1703.10593): pictures of one domain to another and back, unpaired.

With the semantic loss of CyCADA (Hoffman et al., 2018, https://arxiv.org/abs/1711.03213, eq. 4) where it is asked for:
a classifier that learns from the labels of the first domain alone holds a picture and its translation to one class.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from datakiln.errors import UserError
from datakiln.models.gan.labels import known_accuracy, known_entropy
from datakiln.models.gan.picture_to_picture import PictureToPicture, variety
from datakiln.nets.losses import LeastSquares
from datakiln.nets.moving import moved
from datakiln.nets.translators import Classifier, PatchCritic, Translator
from datakiln.spec import PLAIN, Batch, DataSpec, Sampling

RAMP = 0.1  # share of training over which the semantic loss rises, while its classifier learns


class CycleGAN(PictureToPicture):
    """Two translators, two critics of patches, a cycle that must come back to where it began.

    Arguments:
        spec: What one picture looks like, with the names of two domains.
        width: Channels of the largest map of every net.
        blocks: Residual blocks of a translator.
        cycle: Weight lambda of |F(G(a)) - a| + |G(F(b)) - b| (eq. 2).
        identity: Weight of |G(b) - b| + |F(a) - a|, as a share of `cycle` (section 5.2); 0 for none.
        semantic: Weight of CyCADA's semantic loss; 0 for none, and then no label is looked at.
        buffer: Translations that each critic is shown again later (Shrivastava et al., 2017); 0 for none.
        **training: See `AdversarialModel`.

    Raises:
        UserError: Data of one domain; a semantic loss without classes in the first.
    """

    beside = "domain"
    generator: nn.ModuleDict
    critic: nn.ModuleDict
    remedy = "try lower learning rates (model.critic_optimizer.lr, model.generator_optimizer.lr)"
    directions = {"cycle": "lower"}

    def __init__(
        self,
        spec: DataSpec,
        width: int = 32,
        blocks: int = 4,
        cycle: float = 10.0,
        identity: float = 0.5,
        semantic: float = 0.0,
        buffer: int = 50,
        **training: Any,  # noqa: ANN401
    ) -> None:
        """See the class."""
        if len(spec.domains) != 2:
            raise UserError("CycleGAN translates between two sets of pictures; give the second one, data.other=")
        for name, value in (("cycle", cycle), ("identity", identity), ("semantic", semantic), ("buffer", buffer)):
            if value < 0:
                raise ValueError(f"{name}={value} must not be negative")
        if semantic and not spec.classes:
            told = f"model.semantic={semantic:g} needs pictures with classes in the first set ({spec.domains[0]})"
            raise UserError(f"{told}; use subfolders as classes, or model.semantic=0")
        generator = nn.ModuleDict({way: Translator(spec.shape, width, blocks) for way in ("there", "back")})
        critic = nn.ModuleDict({of: PatchCritic(spec.shape, width) for of in ("first", "second")})
        super().__init__(spec, generator, critic, LeastSquares(), **training)
        self.cycle, self.identity, self.semantic = cycle, identity * cycle, semantic
        self.classifier = Classifier(spec.shape, len(spec.classes)) if semantic else None
        self.shown = {name: Buffer(buffer) for name in critic}
        self.width = width

    @property
    def activations(self) -> int:
        """Of the first map of a translator."""
        return self.width * self.spec.shape[1] * self.spec.shape[2]

    def rate(self) -> float:
        """Even over the first half of training, then falling to 0 along a line (section 4)."""
        return min(1.0, 2.0 * (1.0 - self.progress))

    def transform(self, x: Tensor, target: Tensor | None, options: Sampling = PLAIN) -> Tensor:
        """Pictures of the other domain; target 1 (or None) is the second one, 0 the first."""
        if target is None:
            return self.generator["there"](x).float()
        to_second = (target == 1).cpu()
        made = torch.empty_like(x, dtype=torch.float32)
        for name, rows in (("there", to_second), ("back", ~to_second)):
            if rows.any():
                made[rows.to(x.device)] = self.generator[name](x[rows.to(x.device)]).float()
        return made

    def critic_parameters(self) -> list[nn.Parameter]:
        """Those of both critics, and of the classifier, which learns from real pictures in their turn."""
        return super().critic_parameters() + ([] if self.classifier is None else list(self.classifier.parameters()))

    def critic_losses(self, batch: Batch) -> dict[str, Tensor]:
        """Both critics on real pictures of their domain and on translations into it, some of earlier updates."""
        first, second = batch.x, self._other(batch)
        with torch.no_grad():
            made = {"second": self.generator["there"](first), "first": self.generator["back"](second)}
        torch.clear_autocast_cache()  # as in `detached_fakes`
        total = first.new_zeros(())
        figures: dict[str, Tensor] = {}
        for name, real in (("first", first), ("second", second)):
            fake = self.shown[name].mixed(made[name]) if self.training else made[name]
            of_real, of_fake = self.critic[name](real), self.critic[name](fake)
            total = total + self.loss.critic(of_real, of_fake)
            figures |= {f"{name}_{key}": value for key, value in self.judged(of_real, of_fake).items()}
        for key in ("real_accuracy", "fake_accuracy"):  # a critic has won where both have
            figures[key] = torch.minimum(figures[f"first_{key}"], figures[f"second_{key}"])
        figures["diversity"] = torch.minimum(variety(made["first"], first), variety(made["second"], second))
        if self.classifier is not None and batch.y is not None:
            # moved, so that it knows them in another hand, too, whose pictures and translations it is asked of
            logits = self.classifier(moved(first) if self.training else first)
            total = total + known_entropy(logits, batch.y)
            figures |= known_accuracy("classifier_accuracy", logits, batch.y)
        return {"loss": total, **figures}

    def generator_losses(self, batch: Batch) -> dict[str, Tensor]:
        """What the critics make of translations, how far the ways there and back miss, and how the identity fares."""
        first, second = batch.x, self._other(batch)
        there, back = self.generator["there"], self.generator["back"]
        in_second, in_first = there(first), back(second)
        loss = self.loss.generator(self.critic["second"](in_second)) + self.loss.generator(
            self.critic["first"](in_first)
        )
        cycle = F.l1_loss(back(in_second), first) + F.l1_loss(there(in_first), second)
        figures = {"cycle": cycle}
        loss = loss + self.cycle * cycle
        if self.identity:
            figures["identity"] = F.l1_loss(there(second), second) + F.l1_loss(back(first), first)
            loss = loss + self.identity * figures["identity"]
        if self.classifier is not None:
            figures["semantic"] = self._semantic(batch, in_second, in_first)
            ramp = min(self.progress / RAMP, 1.0) if self.training else 1.0
            loss = loss + self.semantic * ramp * figures["semantic"]
        return {"loss": loss, **figures}

    def _semantic(self, batch: Batch, in_second: Tensor, in_first: Tensor) -> Tensor:
        """Translations are of the class of what they were made of, in the eyes of the classifier.

        That of the first domain is its label where it is known, and what the classifier says of it elsewhere; that of
        the second domain is what the classifier says of it, since its labels are nobody's.
        """
        assert self.classifier is not None
        with torch.no_grad():
            said = self.classifier(batch.x).argmax(dim=1)
            said_of_other = self.classifier(self._other(batch)).argmax(dim=1)
        y = said if batch.y is None else torch.where(batch.y >= 0, batch.y, said)
        return F.cross_entropy(self.classifier(in_second).float(), y) + F.cross_entropy(
            self.classifier(in_first).float(), said_of_other
        )

    def _other(self, batch: Batch) -> Tensor:
        if batch.other is None:
            raise UserError("CycleGAN learns from two sets of pictures; give the second one, data.other=")
        return batch.other

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keeps what the critics are shown again, beside what the base keeps."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["shown"] = {name: buffer.kept for name, buffer in self.shown.items()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restores it."""
        super().on_load_checkpoint(checkpoint)
        for name, kept in checkpoint["shown"].items():
            self.shown[name].kept = kept


class Buffer:
    """Translations of earlier updates: half of what a critic is shown comes from here, and is replaced by the newest.

    Arguments:
        size: How many are kept; 0 for none.
    """

    def __init__(self, size: int) -> None:
        """See the class."""
        self.size = size
        self.kept: Tensor | None = None

    def mixed(self, fresh: Tensor) -> Tensor:
        """As many pictures as are given, (B, C, H, W); those given until as many as are kept are there."""
        fresh = fresh.detach()
        if not self.size:
            return fresh
        kept = fresh[:0] if self.kept is None else self.kept.to(fresh.device, fresh.dtype)
        if len(kept) < self.size:
            self.kept = torch.cat([kept, fresh[: self.size - len(kept)]])
            return fresh
        count = min(len(fresh), self.size)
        at = torch.randperm(self.size, device=fresh.device)[:count]
        swaps = (torch.rand(count, device=fresh.device) < 0.5).view(-1, 1, 1, 1)
        old, new = kept[at], fresh[:count]
        self.kept = kept.index_copy(0, at, torch.where(swaps, new, old))
        return torch.cat([torch.where(swaps, old, new), fresh[count:]])
