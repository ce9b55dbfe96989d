"""Exact probabilities of pictures of 256 levels a channel, the levels of [-1, 1] in model space."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

HALF_LEVEL = 1 / 255  # half the distance of neighbouring levels in [-1, 1]
LOG_SCALE = -2.0  # of a logistic density before anything is learnt
LIMITS = -7.0, 3.0  # of the same


def level_log_prob(x: Tensor, location: Tensor, log_scale: Tensor) -> Tensor:
    """Log of the probability that a logistic density gives the interval of a level (Salimans et al., 2017, eq. 2).

    The lowest level takes all that lies below it, the highest all above, so the probabilities sum to 1. All arguments
    are broadcast against each other.
    """
    inverse = torch.exp(-log_scale)
    middle = (x - location) * inverse
    above, below = middle + HALF_LEVEL * inverse, middle - HALF_LEVEL * inverse
    # sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a)), which neither cancels nor overflows
    inner = torch.log(-torch.expm1(-2.0 * HALF_LEVEL * inverse))
    to_above, from_below = F.logsigmoid(above), F.logsigmoid(-below)
    is_lowest, is_highest = x < -1.0 + HALF_LEVEL, x > 1.0 - HALF_LEVEL
    return torch.where(is_lowest, to_above, torch.where(is_highest, from_below, to_above + from_below + inner))


def at_levels(x: Tensor) -> Tensor:
    """The nearest level of each number."""
    return ((x + 1.0) * 127.5).round().clamp(0, 255) / 127.5 - 1.0


class MixtureOfLogistics(nn.Module):
    """A pixel as a mixture of logistic densities over levels (Salimans et al., 2017, eq. 1 to 3).

    A channel's location in each component is linear in the channels before it, so that colours hang together.

    Arguments:
        channels: Of a pixel.
        components: Of the mixture.
    """

    def __init__(self, channels: int, components: int) -> None:
        """See the class."""
        super().__init__()
        if components < 1:
            raise ValueError(f"components={components} must be at least 1")
        self.channels, self.components = channels, components
        pairs = channels * (channels - 1) // 2
        self.sizes = [1, channels, channels, pairs]
        self.width = components * sum(self.sizes)

    @torch.no_grad()
    def begin(self, last: nn.Conv2d) -> None:
        """Spreads the components evenly over the levels, by the layer (width, ...) that says of them.

        Where all begin in the middle, they take hundreds of updates to part.
        """
        bias = last.bias
        assert bias is not None
        last.weight.mul_(0.1)
        for_each = bias.zero_().view(self.components, -1)
        for_each[:, 1 : 1 + self.channels] = torch.linspace(-1.0, 1.0, self.components)[:, None]

    def _parts(self, parameters: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(N, width) to log-weights (N, K), locations and log-scales (N, K, C), coefficients (N, K, pairs)."""
        of_each = parameters.float().unflatten(1, (self.components, -1))
        logit, location, log_scale, pairs = of_each.split(self.sizes, dim=2)
        return logit.squeeze(2).log_softmax(dim=1), location, (log_scale + LOG_SCALE).clamp(*LIMITS), pairs.tanh()

    def _location(self, location: Tensor, pairs: Tensor, x: Tensor, c: int) -> Tensor:
        """Of channel c in each component, (N, K), given the channels before it, x of shape (N, C)."""
        first = c * (c - 1) // 2
        return location[:, :, c] + torch.einsum("nkj,nj->nk", pairs[:, :, first : first + c], x[:, :c])

    def log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Of pixels x, (N, C), at level centres, given (N, width): shape (N,)."""
        total, location, log_scale, pairs = self._parts(parameters)
        for c in range(self.channels):
            at = self._location(location, pairs, x, c)
            total = total + level_log_prob(x[:, c, None], at, log_scale[:, :, c])
        return torch.logsumexp(total, dim=1)

    def draw(self, parameters: Tensor, temperature: float = 1.0) -> Tensor:
        """Pixels at level centres, (N, C), given (N, width); a temperature divides logits and multiplies scales."""
        logit, location, log_scale, pairs = self._parts(parameters)
        chosen = torch.multinomial((logit / temperature).softmax(dim=1), 1)
        x = location.new_zeros(len(location), self.channels)
        for c in range(self.channels):
            at = self._location(location, pairs, x, c).gather(1, chosen).squeeze(1)
            u = torch.rand_like(at).clamp(1e-6, 1 - 1e-6)
            x[:, c] = at_levels(at + temperature * log_scale[:, :, c].gather(1, chosen).squeeze(1).exp() * u.logit())
        return x
