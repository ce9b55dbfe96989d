"""Least-squares GAN (Mao et al., 2017, https://arxiv.org/abs/1611.04076)."""

from __future__ import annotations

from datakiln.models.gan.conv import ConvGAN
from datakiln.nets.losses import LeastSquares


class LSGAN(ConvGAN):
    """The nets of `DCGAN`, trained on squared distances from the targets 0 and 1; see `ConvGAN` for its arguments."""

    make_loss = LeastSquares
