"""PixelRNN (van den Oord et al., 2016, https://arxiv.org/abs/1601.06759): LSTMs along rows or along diagonals.

Departure: a pixel is a mixture of logistics (see `PixelByPixel`), and its colours are told apart there, not by masks.
"""

from __future__ import annotations

from typing import Any, Literal, cast

from torch import Tensor, nn

from datakiln.models.autoregressive.pixels import PixelByPixel, Walker
from datakiln.nets.pixel_lstm import PixelLSTM
from datakiln.spec import DataSpec


class PixelRNN(PixelByPixel):
    """Layers of one kind of LSTM, each beside a shortcut.

    Arguments:
        spec: A picture's spec.
        kind: "row", which goes row by row and sees a triangle of what came before, or "diagonal", which sees all of it
            and takes four times as long.
        width: Channels.
        layers: LSTMs one upon another.
        components: Of the mixture of logistics.
        **shared: See `PictureModel`.
    """

    net: PixelLSTM

    def __init__(
        self,
        spec: DataSpec,
        kind: Literal["row", "diagonal"] = "row",
        width: int = 32,
        layers: int = 2,
        components: int = 10,
        **shared: Any,  # noqa: ANN401
    ) -> None:
        """See the class."""
        make = lambda classes, outputs: PixelLSTM(spec.shape[0], kind, width, layers, classes, outputs)  # noqa: E731
        super().__init__(spec, components, make, **shared)
        self.head.begin(cast("nn.Conv2d", self.net.leave[-1]))

    @property
    def activations(self) -> int:
        """Those of a row of all layers, which sampling works on; a few hundred pictures keep the processor busy."""
        return self.net.width * self.spec.shape[2] * len(self.net.layers)

    def walker(self, n: int, y: Tensor | None) -> Walker:
        """Each layer's states of the row above are kept."""
        return self.net.walker(n, self.spec.shape[1:], y)
