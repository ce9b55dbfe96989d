"""Gradients of single examples, clipped, summed, and hidden in noise from the system's secure source.

DP-SGD (Abadi et al., 2016, https://arxiv.org/abs/1607.00133, algorithm 1). Where all weights sit in linear layers, no
gradient of a single example is ever formed: the norm of its outer product of inputs and gradients of outputs is the
product of theirs (Goodfellow, 2015, https://arxiv.org/abs/1510.01799), and the clipped sum is one product of matrices
weighted by the clips (Bu et al., 2023, https://arxiv.org/abs/2210.00038). Elsewhere `torch.func` maps the loss of one
example over the batch, which asks for no rules and takes several times as long.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from datakiln.errors import UserError
from datakiln.nets.linear import Linear
from datakiln.spec import Batch

PLAIN = (nn.Linear, Linear)  # and none of their kind that masks weights or makes them of others
MOST = 2**25  # numbers of gradients held at once
SUMMED = (
    2  # Gaussians that are added up for each one, so that no bit pattern of a single one shows (Holohan and Braghin)
)
Loss = Callable[[Batch], Tensor]


class _Lossy(nn.Module):
    """A loss of a module as the module's forward, which `functional_call` needs."""

    def __init__(self, module: nn.Module, loss: Loss) -> None:
        super().__init__()
        self.module = module
        self._loss = loss

    def forward(self, batch: Batch) -> Tensor:
        return self._loss(batch)


class PrivateGradients:
    """Fills `.grad` of a module's parameters with a noisy mean of clipped gradients.

    Arguments:
        module: Whose parameters are trained.
        loss: Mean loss of a batch, computed with the module; of one example at a time here.
        clip: Largest norm of one example's gradient, over all parameters together.
        sigma: Standard deviation of the noise over the clip.
        expected: Size that a batch has on average: what sums are divided by, for the real size is private.
        is_mean: Whether the loss of a batch is the mean of losses that its examples would have alone.
        only: The parameters to train; None for all that the module would train.
    """

    def __init__(
        self,
        module: nn.Module,
        loss: Loss,
        clip: float,
        sigma: float,
        expected: float,
        is_mean: bool = False,
        only: Sequence[nn.Parameter] | None = None,
    ) -> None:
        """See the class."""
        self.module, self.clip, self.sigma, self.expected = module, clip, sigma, expected
        self.lossy = _Lossy(module, loss)
        wanted = None if only is None else {id(parameter) for parameter in only}
        trained = ((n, p) for n, p in self.lossy.named_parameters() if p.requires_grad)
        self.parameters = {n: p for n, p in trained if wanted is None or id(p) in wanted}
        self.size = sum(p.numel() for p in self.parameters.values())
        named = dict(self.lossy.named_modules())
        self.layers = {n: m for n, m in named.items() if type(m) in PLAIN and f"{n}.weight" in self.parameters}
        inside = {f"{n}.{part}" for n in self.layers for part in ("weight", "bias")}
        self.bare = [n for n in self.parameters if n not in inside]
        rowwise = {f"{n}.{p}" for n, m in named.items() for p in getattr(m, "rowwise", ())}
        self.is_kept = is_mean and set(self.bare) <= rowwise

        def one(parameters: dict[str, Tensor], parts: tuple[Tensor | None, ...]) -> Tensor:
            batch = Batch(*(None if part is None else part.unsqueeze(0) for part in parts))  # type: ignore[arg-type]
            found: Tensor = functional_call(self.lossy, parameters, (batch,))
            return found

        self._one = one

    def of_each(self, batch: Batch) -> dict[str, Tensor]:
        """The gradient of every example, by parameter, shape (B, *): not clipped."""
        there = {n: p.detach() for n, p in self.parameters.items()}
        dims = tuple(None if part is None else 0 for part in batch)
        try:
            return vmap(grad(self._one), in_dims=(None, dims), randomness="different")(there, tuple(batch))
        except RuntimeError as error:
            reason = (str(error).splitlines() or [""])[0][:120]
            told = f"privacy=dp_sgd: {type(self.module).__name__} has no gradient of a single example ({reason})"
            raise UserError(f"{told}; take model=vae, or privacy=marginals for tables") from error

    def clipped(self, batch: Batch) -> list[Tensor]:
        """The sum of clipped gradients, by parameter; every example moves it by at most `clip`."""
        if not len(batch.x):
            return [torch.zeros_like(p) for p in self.parameters.values()]
        return self._kept(batch) if self.is_kept else self._mapped(batch)

    def _mapped(self, batch: Batch) -> list[Tensor]:
        total = [torch.zeros_like(p) for p in self.parameters.values()]
        rows = max(MOST // max(self.size, 1), 1)
        for start in range(0, len(batch.x), rows):
            gradients = self.of_each(batch.rows(slice(start, start + rows)))
            parts = [gradients[name].flatten(1) for name in self.parameters]
            factor = self._factor(torch.stack([part.square().sum(dim=1) for part in parts]).sum(dim=0))
            for whole, part in zip(total, parts, strict=True):
                whole += (factor @ torch.nan_to_num(part, 0.0, 0.0, 0.0)).view_as(whole)
        return total

    def _factor(self, squares: Tensor) -> Tensor:
        """What each example's gradient is multiplied by, from its squared norm, shape (B,).

        One that is no number counts nothing: it must not spoil the sum, which all others are in.
        """
        norms = squares.sqrt()
        return torch.where(torch.isfinite(norms), self.clip / norms.clamp(min=self.clip), 0.0)

    def _kept(self, batch: Batch) -> list[Tensor]:
        """The same from what goes through the layers, for losses that are means over examples."""
        size = len(batch.x)
        bare = {n: self.parameters[n].detach().expand(size, -1).clone().requires_grad_() for n in self.bare}
        with self._watched(size) as seen:
            loss = functional_call(self.lossy, bare, (batch,)) if bare else self.lossy(batch)
            loss.backward()
        squares = torch.zeros(size, device=batch.x.device)
        found: dict[str, tuple[Tensor, Tensor]] = {}
        for name, (layer, calls) in seen.items():
            inputs, outputs = (torch.stack(parts, dim=1) for parts in zip(*calls, strict=True))  # (B, calls, width)
            outputs = outputs * size  # of the example's own loss, of which the batch's is the mean
            if inputs.shape[1] == 1:
                squares += inputs[:, 0].square().sum(dim=1) * outputs[:, 0].square().sum(dim=1)
            else:
                squares += ((inputs @ inputs.mT) * (outputs @ outputs.mT)).sum(dim=(1, 2))
            if layer.bias is not None:
                squares += outputs.sum(dim=1).square().sum(dim=1)
            found[name] = inputs, outputs
        gradients = {n: torch.zeros_like(p) if p.grad is None else p.grad * size for n, p in bare.items()}
        squares += sum(g.square().sum(dim=1) for g in gradients.values())
        factor = self._factor(squares)
        sums = {n: factor @ torch.nan_to_num(g, 0.0, 0.0, 0.0) for n, g in gradients.items()}
        for name, (inputs, outputs) in found.items():
            weighted = torch.nan_to_num(outputs, 0.0, 0.0, 0.0) * factor[:, None, None]
            flat = torch.nan_to_num(inputs, 0.0, 0.0, 0.0).flatten(0, 1)
            sums[f"{name}.weight"] = weighted.flatten(0, 1).T @ flat
            sums[f"{name}.bias"] = weighted.sum(dim=(0, 1))
        return [sums.get(n, torch.zeros_like(p)) for n, p in self.parameters.items()]

    @contextmanager
    def _watched(self, size: int) -> Iterator[dict[str, tuple[Any, list[list[Tensor]]]]]:
        """What goes into each linear layer and the gradient of what comes out, call by call."""
        seen: dict[str, tuple[Any, list[list[Tensor]]]] = {}

        def watch(name: str, layer: nn.Linear) -> Callable[..., Tensor]:
            def look(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
                if inputs[0].shape[:-1] != (size,):
                    raise UserError(
                        f"privacy=dp_sgd: layer {name} is given {tuple(inputs[0].shape)}, not rows of {size}"
                    )
                if not output.requires_grad:
                    output = output.detach().requires_grad_()
                call = [inputs[0].detach().float(), torch.zeros_like(output, dtype=torch.float32)]
                output.register_hook(lambda g: call.__setitem__(1, g.detach().float()))
                seen.setdefault(name, (layer, []))[1].append(call)
                return output

            return look

        with ExitStack() as stack:
            for parameter in self.parameters.values():  # their own gradients, of all examples together, are not wanted
                parameter.requires_grad_(False)
                stack.callback(parameter.requires_grad_, True)
            for name, layer in self.layers.items():
                stack.enter_context(_handled(layer.register_forward_hook(watch(name, layer))))
            yield seen

    def fill(self, batch: Batch) -> None:
        """One step's gradients: (sum of clipped ones + noise) / expected size; noise alone where the batch is empty."""
        noise = secure_normal(self.size).mul_(self.sigma * self.clip)
        sums = self.clipped(batch)
        noise = noise.to(sums[0].device, sums[0].dtype, non_blocking=True)
        start = 0
        for parameter, whole in zip(self.parameters.values(), sums, strict=True):
            part = noise[start : start + whole.numel()].view_as(whole)
            parameter.grad = (whole + part) / self.expected
            start += whole.numel()


@contextmanager
def _handled(handle: Any) -> Iterator[None]:  # noqa: ANN401 (of torch)
    try:
        yield
    finally:
        handle.remove()


def secure_normal(n: int) -> Tensor:
    """Standard normal numbers of the system's secure source, float64, shape (n,), by Box and Muller's method.

    Each is the scaled sum of `SUMMED`, which hides the gaps between the floating-point numbers that a single one can be
    (Holohan and Braghin, 2021, https://arxiv.org/abs/2107.10138).
    """
    count = SUMMED * n + (SUMMED * n) % 2
    words = np.frombuffer(os.urandom(8 * count), dtype=np.uint64)
    uniform = torch.from_numpy(((words >> np.uint64(11)) + 0.5) * 2.0**-53)
    radius, angle = uniform[: count // 2], uniform[count // 2 :]
    radius = radius.log_().mul_(-2.0).sqrt_()
    angle = angle.mul_(2.0 * math.pi)
    both = torch.cat([radius * angle.cos(), radius * angle.sin()])
    return both[: SUMMED * n].view(SUMMED, n).sum(dim=0).mul_(SUMMED**-0.5)


def poisson(n: int, rate: float) -> Tensor:
    """Rows of one step: each of n with probability `rate`, by the system's secure source, in order."""
    words = np.frombuffer(os.urandom(8 * n), dtype=np.uint64)
    return torch.from_numpy(np.flatnonzero((words >> np.uint64(11)) * 2.0**-53 < rate))


FORBIDDEN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def check_layers(modules: Sequence[tuple[str, nn.Module]], model: str) -> None:
    """Refuses layers in which the examples of a batch mix, or whose state looks at them without noise.

    Raises:
        UserError: The layer and the way out.
    """
    for name, module in modules:
        if isinstance(module, FORBIDDEN):
            told = f"privacy=dp_sgd: {model} has BatchNorm ({name}), which mixes the examples of a batch"
            raise UserError(f"{told}; take a model without it, such as model=vae or model=gan")
        if hasattr(module, "parametrizations") or hasattr(module, "weight_u"):
            told = f"privacy=dp_sgd: {model} has spectral norm ({name}), whose state follows weights between the steps"
            raise UserError(f"{told}; take a model without it, such as model=vae or model=gan")
