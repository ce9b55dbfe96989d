"""Semi-supervised GAN (Salimans et al., 2016, https://arxiv.org/abs/1606.03498): a classifier that also sees no labels.

Of K + 1 classes the last is "generated". Its logit is held at 0 (section 5), so that with Z = sum_k exp(l_k) a picture
is real with probability D(x) = Z / (Z + 1).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import weight_norm

from datakiln.errors import UserError
from datakiln.models.gan.pictures import ImageGAN
from datakiln.nets.conv import Verdict
from datakiln.nets.dense import DenseGenerator
from datakiln.nets.linear import Linear
from datakiln.nets.losses import NonSaturating
from datakiln.spec import Batch, DataSpec

EPS = 1e-3  # least deviation of a value over pictures
BEGINNING = 500  # pictures that decide where layers begin
NOISE_IN, NOISE = 0.6, 0.5  # standard deviations before the first and the later layers; pixels are in [-1, 1]


class SGAN(ImageGAN):
    """Fully connected nets, a critic with weight normalisation and noise, a generator that matches its features.

    Labels of the training pictures may be unknown (-1), as with `data.labelled=100`: each update then draws a further
    batch of those that are known. The same net on those labels alone is trained beside it, for comparison; it takes no
    part in anything else.

    Arguments:
        spec: What one picture looks like; it must have classes.
        latent_dim: Size of z.
        hidden: Widths of the critic's layers; the last are the features that the generator matches.
        generator_hidden: Widths of the generator's.
        labelled_batch: Labelled pictures of each update, where some labels are unknown.
        unlabelled: Weight of telling real from generated pictures beside telling the classes.
        beside: Whether the same net is trained on the labels alone, too.
        **options: See `ImageGAN`.

    Raises:
        UserError: Pictures without classes.
    """

    doubles = False
    reads_labels = True
    mixes = "feature matching, which compares means over a batch"
    alone = "it draws its labelled pictures itself"
    directions = {"error": "lower", "error_alone": "lower"}

    def __init__(
        self,
        spec: DataSpec,
        latent_dim: int = 100,
        hidden: Sequence[int] = (1000, 500, 250, 250, 250),
        generator_hidden: Sequence[int] = (500, 500),
        labelled_batch: int = 100,
        unlabelled: float = 1.0,
        beside: bool = True,
        **options: Any,  # noqa: ANN401
    ) -> None:
        """See the class."""
        if not spec.classes:
            raise UserError(
                "sgan learns classes; it needs pictures with some: subfolders of data.path, or labelled data"
            )
        if labelled_batch < 1:
            raise ValueError(f"model.labelled_batch={labelled_batch} must be at least 1")
        generator = DenseGenerator(spec.shape, latent_dim, generator_hidden)
        critic = NoisyCritic(spec.shape, hidden, len(spec.classes))
        super().__init__(spec, generator, critic, NonSaturating(), latent_dim, "none", **options)
        self.unaided = copy.deepcopy(critic) if beside else None
        self.labelled_batch, self.unlabelled = labelled_batch, unlabelled
        self._known: Tensor | None = None

    def averaged(self) -> nn.Module:
        """All of it: the average classifies better, too."""
        return self

    def critic_parameters(self) -> list[nn.Parameter]:
        """Those of the net beside it as well, whose loss shares nothing with the critic's."""
        beside = [] if self.unaided is None else list(self.unaided.parameters())
        return [*super().critic_parameters(), *(parameter for parameter in beside if parameter.requires_grad)]

    def on_train_start(self) -> None:
        """Finds the labelled pictures, where some are not; lets the data decide where layers begin."""
        super().on_train_start()
        loader = self.trainer.train_dataloader
        y = getattr(loader, "y", None)
        if self.critic_updates == 0 and loader is not None:
            rows = torch.randperm(len(loader.x))[:BEGINNING]
            for net in (self.critic, self.unaided):
                if net is not None:
                    net.begin(loader.take(rows).x)  # type: ignore[operator]
        if y is not None and bool((y < 0).any()):
            self._known = (y >= 0).nonzero().squeeze(1)
            if not len(self._known):
                raise UserError("sgan: no training picture has a label; set data.labelled to some, or null for all")

    def critic_losses(self, batch: Batch) -> dict[str, Tensor]:
        """Half the cross-entropies of telling real from generated (the paper's code), and those of the classes."""
        told = self._labelled(batch)
        real, fake = self.augment(batch.x), self.augment(self.detached_fakes(self.latents(len(batch.x))))
        parts = [real, fake] if told is None else [real, fake, told.x]
        verdict, n = self.critic(torch.cat(parts)), len(real)
        scores = verdict.score[:n], verdict.score[n : 2 * n]
        penalties = self.penalties(real, fake, None) if self.is_penalty_due else {}
        figures = {**self._judged(*scores), **penalties}
        loss = self.unlabelled * 0.5 * (self.loss.critic(*scores) + sum(self.lazy * one for one in penalties.values()))
        if told is not None and told.y is not None:
            figures["class_loss"] = class_loss(verdict.rows(slice(2 * n, None)).logits, told.y)
            loss = loss + figures["class_loss"]
            if self.unaided is not None:
                loss = loss + class_loss(self.unaided(told.x).logits, told.y)
        return {"loss": loss, **figures}

    def generator_losses(self, batch: Batch) -> dict[str, Tensor]:
        """Squared distance between the mean features of real and of generated pictures (section 3.1)."""
        made = self.augment(self.generator(self.latents(len(batch.x))))
        with parametrize.cached():  # the critic's weights rest: both passes share them
            fake = self.critic(made).told.float()
            with torch.no_grad():
                real = self.critic(self.augment(batch.x)).told.float()
        return {"loss": (real.mean(dim=0) - fake.mean(dim=0)).square().mean()}

    def _labelled(self, batch: Batch) -> Batch | None:
        """Pictures whose class is known: of those of all training while some are unknown there, else of the batch."""
        if self.training and self._known is not None:
            at = torch.randint(len(self._known), (self.labelled_batch,), device=self._known.device)
            return self.trainer.train_dataloader.take(self._known[at])  # type: ignore[union-attr, no-any-return]
        return None if batch.y is None else batch

    def _measure(self, stage: str, batch: Batch) -> None:
        super()._measure(stage, batch)
        known = None if batch.y is None else batch.y >= 0
        if known is None or batch.y is None or not bool(known.any()):
            return
        nets = {"error": self.critic, "error_alone": self.unaided}
        for name, net in nets.items():
            if net is not None:
                wrong = net(batch.x).logits[known].argmax(dim=1) != batch.y[known]
                self.meter.add(stage, {name: wrong.float().mean()}, int(known.sum()))

    def on_validation_epoch_end(self) -> None:
        """Also the epoch's number, by which the last is kept: hidden labels of validation pictures choose nothing."""
        self.meter.add("val", {"epoch": torch.tensor(float(self.current_epoch + 1))}, 1)
        super().on_validation_epoch_end()


def class_loss(logits: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy among the K real classes, a scalar; pictures without a label (-1) do not count."""
    known = (y >= 0).sum().clamp(min=1)
    return F.cross_entropy(logits.float(), y, ignore_index=-1, reduction="sum") / known


class Noise(nn.Module):
    """Adds normal noise while training.

    Arguments:
        scale: Its standard deviation.
    """

    def __init__(self, scale: float) -> None:
        """See the class."""
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return x + self.scale * torch.randn_like(x) if self.training else x


class NoisyCritic(nn.Module):
    """Pictures to logits of the classes; the score is log Z, and `told` the features before the logits.

    Weights of the hidden layers keep the lengths that they begin with, as in the paper's code: only their directions
    and biases are learnt.

    Arguments:
        shape: (C, H, W) of a picture.
        hidden: Widths of the layers.
        classes: K.
    """

    def __init__(self, shape: tuple[int, ...], hidden: Sequence[int], classes: int) -> None:
        """See the class."""
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten()]
        inputs = math.prod(shape)
        for i, width in enumerate(hidden):
            layers += [Noise(NOISE if i else NOISE_IN), _normed(inputs, width), nn.ReLU()]
            inputs = width
        self.layers = nn.Sequential(*layers)
        for layer in layers:
            if isinstance(layer, nn.Linear):
                _length(layer).requires_grad_(False)
        self.classify = nn.Sequential(Noise(NOISE), _normed(inputs, classes))

    @torch.no_grad()
    def begin(self, x: Tensor) -> None:
        """Lengths and biases with which pictures (B, C, H, W) lead to values of mean 0 and deviation 1 in every layer.

        See Salimans and Kingma, 2016, eq. 5 and 6: pictures are mostly background, which would drown all else.
        """
        for layer in (*self.layers, *self.classify):
            if isinstance(layer, nn.Linear):
                values = layer(x)
                spread = values.std(dim=0).clamp(min=EPS)
                _length(layer).div_(spread[:, None])
                layer.bias.sub_(values.mean(dim=0)).div_(spread)
            x = layer(x)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Verdict:
        """Pictures, shape (B, C, H, W), to a verdict."""
        features = self.layers(x)
        logits = self.classify(features)
        return Verdict(torch.logsumexp(logits.float(), dim=1), logits, features)


def _normed(inputs: int, outputs: int) -> nn.Module:
    """A layer whose weights are a direction times a length (Salimans and Kingma, 2016)."""
    layer = Linear(inputs, outputs)
    nn.init.kaiming_normal_(layer.weight)
    nn.init.zeros_(layer.bias)
    return weight_norm(layer)


def _length(layer: nn.Linear) -> nn.Parameter:
    """The lengths of a layer's weights, (outputs, 1)."""
    return layer.parametrizations.weight.original0  # type: ignore[union-attr, return-value]
