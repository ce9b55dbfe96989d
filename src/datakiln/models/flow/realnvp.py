"""RealNVP (Dinh et al., 2017, https://arxiv.org/abs/1605.08803): affine couplings of chessboards and of channels.

Departures: the first maps are halved at once, which is four times as fast; scales and shifts of channels in place of
batch normalisation, which makes a picture's likelihood depend on its batch; dequantisation is learnt (Ho et al., 2019).
"""

from __future__ import annotations

from datakiln.models.flow.pictures import PictureFlow
from datakiln.nets.couplings import ActNorm, Coupling, Invertible


class RealNVP(PictureFlow):
    """Two steps of chessboards and two of channels in turn, at every scale; arguments as of `PictureFlow`."""

    def step(self, channels: int, width: int, i: int) -> list[Invertible]:
        """Four kinds of halves in turn."""
        halves = Coupling(channels, width, self.classes, is_checkered=i % 4 < 2, is_other=bool(i % 2))
        return [ActNorm(channels), halves]
