"""Deep convolutional GAN (Radford et al., 2016, https://arxiv.org/abs/1511.06434)."""

from __future__ import annotations

from datakiln.models.gan.conv import ConvGAN
from datakiln.nets.losses import NonSaturating


class DCGAN(ConvGAN):
    """The nets and settings of the paper, trained on the loss of the original GAN; see `ConvGAN` for its arguments."""

    make_loss = NonSaturating
