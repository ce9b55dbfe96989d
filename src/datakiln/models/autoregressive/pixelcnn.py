"""Gated PixelCNN (van den Oord et al., 2016, https://arxiv.org/abs/1606.05328), with dilated kernels.

Departures: a pixel is a mixture of logistics (see `PixelByPixel`); dilated kernels, so that few layers see all of it.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from datakiln.models.autoregressive.pixels import PixelByPixel, Walker
from datakiln.nets.gated import GatedStacks
from datakiln.spec import Batch, DataSpec


class PixelCNN(PixelByPixel):
    """Vertical and horizontal stacks of gated convolutions.

    Arguments:
        spec: A picture's spec.
        width: Channels of each of the two stacks.
        layers: Of gated convolutions, besides the first.
        components: Of the mixture of logistics.
        **shared: See `PictureModel`.
    """

    hidden_layer = "horizontal stack of the last gated layer, mean over pixels"
    net: GatedStacks

    def __init__(
        self,
        spec: DataSpec,
        width: int = 32,
        layers: int = 8,
        components: int = 10,
        **shared: Any,  # noqa: ANN401
    ) -> None:
        """See the class."""
        make = lambda classes, outputs: GatedStacks(spec.shape, width, layers, classes, outputs)  # noqa: E731
        super().__init__(spec, components, make, **shared)
        self.head.begin(self.net.last)

    @property
    def activations(self) -> int:
        """Those of a row of all layers, which sampling works on; a few hundred pictures keep the processor busy."""
        return self.net.width * self.spec.shape[2] * len(self.net.layers)

    def hidden_of(self, batch: Batch) -> Tensor:
        """See `hidden_layer`."""
        return self.net.features(batch.x, self.told(None, len(batch.x))).mean(dim=(2, 3))

    def walker(self, n: int, y: Tensor | None) -> Walker:
        """Each layer's work on earlier pixels is kept."""
        return self.net.walker(n, self.spec.shape[1:], y)
