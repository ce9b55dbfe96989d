"""What the autoregressive models of pictures share: a picture as a product over its pixels in reading order.

log p(x) = sum over pixels of log p(pixel | pixels before), exact for 8-bit levels. Each factor is a mixture of
logistics over levels, as in PixelCNN++ (Salimans et al., 2017), where earlier papers have 256 separate classes: a tenth
of the outputs, and neighbouring levels need not be learnt one by one.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from datakiln.errors import UserError
from datakiln.models.pictures import PictureModel
from datakiln.nets.levels import MixtureOfLogistics
from datakiln.nets.linear import half_precision
from datakiln.spec import PLAIN, Batch, DataSpec, Sampling


class Walker(Protocol):
    """Works a net out pixel by pixel, for pictures that come about on the way."""

    def start(self, r: int, wide: int) -> None:
        """Goes to row r, all rows above being known."""
        ...

    def at(self, c: int) -> Tensor:
        """What the net says of pixel c of the row, those before it being known: (n, outputs)."""
        ...

    def put(self, r: int, c: int, pixel: Tensor) -> None:
        """Pixel (r, c) is known from now on, (n, C)."""
        ...


class PixelByPixel(PictureModel, abc.ABC):
    """Exact likelihood, told the class where there is one; sampling goes pixel by pixel.

    The loss is in bits a dimension (a channel of a pixel), given the class where the model is told it.

    Arguments:
        spec: A picture's spec, grey or colour.
        components: Of the mixture of logistics.
        make: Makes the net of the number of its outputs: pictures (B, C, H, W) and labels (B,) to (B, outputs, H, W).
        bf16: Whether the net trains with products in bfloat16; None for yes where the processor is faster with them.
        **shared: See `PictureModel`.
    """

    options = frozenset({"temperature"})
    likelihood = "whole"
    directions = {"loss": "lower", "bits_per_dim": "lower"}

    def __init__(
        self,
        spec: DataSpec,
        components: int,
        make: Callable[[int, int], nn.Module],
        bf16: bool | None = False,
        **shared: Any,  # noqa: ANN401
    ) -> None:
        """See the class."""
        super().__init__(spec, **shared)
        if spec.shape[0] not in (1, 3):
            raise UserError(f"{type(self).__name__} models grey and colour pictures, not {spec.shape[0]} channels")
        self.head = MixtureOfLogistics(spec.shape[0], components)
        self.net = make(self.classes, self.head.width)
        self.bf16 = bf16

    @abc.abstractmethod
    def walker(self, n: int, y: Tensor | None) -> Walker:
        """A walk through n pictures of labels (n,)."""

    def pixel_log_prob(self, x: Tensor, y: Tensor | None) -> Tensor:
        """Of every pixel given those before it and labels (B,): pictures (B, C, H, W) to (B, H, W), in nats."""
        with half_precision(self.device, self.bf16 if self.training else False):
            told = self.net(x, y)
        flat = self.head.log_prob(told.permute(0, 2, 3, 1).flatten(0, 2), x.permute(0, 2, 3, 1).flatten(0, 2))
        return flat.view(len(x), *x.shape[2:])

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Bits a dimension; outside training under that name too, by which models compare."""
        log_prob = self.pixel_log_prob(batch.x, self.told(batch.y, len(batch.x))).flatten(1).sum(dim=1)
        bits = -log_prob.mean() / (math.prod(self.spec.shape) * math.log(2))
        return {"loss": bits} if self.training else {"loss": bits, "bits_per_dim": bits}

    def log_prob(self, x: Tensor) -> Tensor:
        """Exact log-probability in nats, shape (B,); of a model that is told the class, summed over the classes."""
        if not self.classes:
            return self.pixel_log_prob(x, None).flatten(1).sum(dim=1)
        return self._given_classes(x, torch.ones_like(x[:, 0], dtype=torch.bool)).logsumexp(dim=1)

    def _given_classes(self, x: Tensor, known: Tensor) -> Tensor:
        """Log of share times probability of the known pixels (B, H, W), for every class: (B, classes)."""
        found = []
        for k in range(self.classes):
            of_pixel = self.pixel_log_prob(x, torch.full((len(x),), k, device=x.device))
            found.append(torch.where(known, of_pixel, 0.0).flatten(1).sum(dim=1))
        return torch.stack(found, dim=1) + self.class_shares.log()

    def draw(self, n: int, condition: Tensor | None, options: Sampling = PLAIN) -> Tensor:
        """Pixel by pixel, each layer's work on earlier ones kept, shape (n, C, H, W)."""
        empty = torch.full((n, *self.spec.shape), float("nan"), device=self.device)
        return self._walk(empty, self.wanted(condition, n), options)

    def complete(self, x: Tensor, y: Tensor | None, options: Sampling = PLAIN) -> Tensor:
        """Pictures with their unknown pixels drawn, in reading order; see `GenerativeModel.complete`.

        The class, where it is not given, is drawn from what the known pixels say of it.

        Raises:
            UserError: A known pixel comes after an unknown one: it would have no say in what is drawn.
        """
        known = torch.isfinite(x).all(dim=1)
        order = known.flatten(1).long()
        if bool((order.diff(dim=1) > 0).any()):
            told = f"{type(self).__name__} draws in reading order: a mask must show pixels only before all it hides"
            raise UserError(f"{told}, as the lower half does; use a model=flow_matching run for other masks")
        if self.classes and y is None:
            y = self._given_classes(x.nan_to_num(0.0), known).softmax(dim=1).multinomial(1).squeeze(1)
        return self._walk(x, y, options)

    def _walk(self, x: Tensor, y: Tensor | None, options: Sampling) -> Tensor:
        """Draws what is NaN, shape (n, C, H, W)."""
        temperature = 1.0 if options.temperature is None else options.temperature
        height, wide = self.spec.shape[1:]
        known = torch.isfinite(x).all(dim=1)
        walker, x = self.walker(len(x), y), x.nan_to_num(0.0)
        for r in range(height):
            walker.start(r, wide)
            for c in range(wide):
                drawn = self.head.draw(walker.at(c), temperature)
                x[:, :, r, c] = torch.where(known[:, r, c, None], x[:, :, r, c], drawn)
                walker.put(r, c, x[:, :, r, c])
            self.tell(len(x) / height)
        return x
