"""Glow (Kingma and Dhariwal, 2018, https://arxiv.org/abs/1807.03039): channels are mixed before each coupling.

Departure: dequantisation is learnt (Ho et al., 2019); what leaves at a scale is standard normal, not predicted.
"""

from __future__ import annotations

from datakiln.models.flow.pictures import PictureFlow
from datakiln.nets.couplings import ActNorm, Coupling, Invertible, InvertibleConv


class Glow(PictureFlow):
    """Steps of a scale and shift, an invertible 1 x 1 convolution and a coupling; arguments as of `PictureFlow`."""

    def step(self, channels: int, width: int, i: int) -> list[Invertible]:
        """One step of figure 2a of the paper."""
        return [ActNorm(channels), InvertibleConv(channels), Coupling(channels, width, self.classes)]
