"""Training in several processes: each takes its share of every batch, and all take the same step.

Every process holds the same model, reads the same batches in the same order and draws the same random numbers, as many
as the whole batch needs, of which it uses its own: so that two processes take the very steps of one. Gradients are
summed before each step, in one message; the statistics of BatchNorm are those of the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from datakiln import processes
from datakiln.models.base import GenerativeModel
from datakiln.nets.gathered import Summed
from datakiln.spec import Batch


class Shared(SingleDeviceStrategy):
    """One of several processes on one device, in the way that a process by itself trains.

    Not Lightning's DDP, which wraps the model: models of several optimizers and backward passes a step, as GANs are,
    then need to be told of parameters that rest. Here nothing is wrapped, and messages are not overlapped with the
    backward pass, which on nets of this size costs less than it saves.

    Arguments:
        device: Where this process computes.
    """

    def __init__(self, device: torch.device) -> None:
        """See the class."""
        super().__init__(device=device)
        self._weight = 1.0
        self._gathered: set[int] = set()

    def setup(self, trainer: Any) -> None:  # noqa: ANN401 (Lightning's trainer)
        """Begins with the weights of the first process, and sees to it that no optimizer moves before gradients met."""
        super().setup(trainer)
        model = self.lightning_module
        assert isinstance(model, GenerativeModel)
        for value in [*model.parameters(), *model.buffers()]:
            dist.broadcast(value.detach(), src=0)
        model.gather_gradients = self.gather
        if not model.automatic_optimization:
            for optimizer in self.optimizers:
                optimizer.register_step_pre_hook(self._before_step)

    def training_step(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 (as Lightning's)
        """On this process's share of the batch."""
        with self._sharing(args[0]) as batch:
            return super().training_step(batch, *args[1:], **kwargs)

    def validation_step(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 (as Lightning's)
        """The same."""
        with self._sharing(args[0]) as batch:
            return super().validation_step(batch, *args[1:], **kwargs)

    def test_step(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 (as Lightning's)
        """The same."""
        with self._sharing(args[0]) as batch:
            return super().test_step(batch, *args[1:], **kwargs)

    @contextmanager
    def _sharing(self, batch: Batch) -> Iterator[Batch]:
        model = self.lightning_module
        assert isinstance(model, GenerativeModel)
        whole, meter = len(batch.x), model.meter
        if whole < processes.count():  # too few to go round: all do the same, and each counts for a part
            self._weight = meter.scale = 1.0 / processes.count()
            yield batch
            return
        own = share(whole)
        self._weight, meter.scale = (own.stop - own.start) / whole, 1.0
        with processes.sharing(own, whole), WholeBatch():
            yield batch.rows(own)

    def backward(self, closure_loss: Tensor, optimizer: Any, *args: Any, **kwargs: Any) -> Tensor:  # noqa: ANN401
        """Of the part that this share has in the mean over the whole batch."""
        return super().backward(closure_loss * self._weight, optimizer, *args, **kwargs)

    def optimizer_step(self, optimizer: Any, closure: Callable[[], Any], *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        """A step by the gradient of the whole batch."""
        if not self.lightning_module.automatic_optimization:  # type: ignore[union-attr]
            return super().optimizer_step(optimizer, closure, *args, **kwargs)

        def whole() -> Any:  # noqa: ANN401 (what the closure gives)
            result = closure()
            self.gather(optimizer)
            self._gathered.clear()
            return result

        return super().optimizer_step(optimizer, whole, *args, **kwargs)

    def gather(self, optimizer: torch.optim.Optimizer) -> None:
        """Gives every parameter of an optimizer the gradient of the whole batch, once before its step."""
        optimizer = getattr(optimizer, "optimizer", optimizer)  # not what Lightning wraps it in
        if id(optimizer) in self._gathered:
            return
        self._gathered.add(id(optimizer))
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if not gradients:
            return
        flat = torch.cat([gradient.reshape(-1).float() for gradient in gradients])
        dist.all_reduce(flat)
        parts = flat.split([gradient.numel() for gradient in gradients])
        torch._foreach_copy_(gradients, [p.view_as(g) for p, g in zip(parts, gradients, strict=True)])

    def _before_step(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:  # noqa: ANN401 (its arguments)
        self.gather(optimizer)
        self._gathered.discard(id(optimizer))


def share(whole: int) -> slice:
    """The rows of a batch that are this process's: as many as any other's, or one more."""
    count, rank = processes.count(), processes.rank()
    return slice(whole * rank // count, whole * (rank + 1) // count)


class WholeBatch(TorchFunctionMode):
    """Inside, what is drawn for a share of a batch is the share's part of what would be drawn for the whole batch.

    A draw is for the batch if it has as many rows as the share, or a multiple, one after the other for each example.
    Anything else, such as a choice of columns, is drawn alike by all processes. BatchNorm takes the statistics of the
    whole batch. Which rows are this process's, `processes.sharing` says.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        """Every call of torch; see the class."""
        handler = HANDLERS.get(func)
        if handler is None or processes.shared() is None:
            return func(*args, **(kwargs or {}))
        return handler(self, func, args, kwargs or {})

    @property
    def _share(self) -> tuple[slice, int]:
        share = processes.shared()
        assert share is not None
        return share

    @property
    def first(self) -> int:
        """Rows of the batch before this process's."""
        return self._share[0].start

    @property
    def own(self) -> int:
        """Rows of the batch that are this process's."""
        return self._share[0].stop - self.first

    @property
    def whole(self) -> int:
        """Rows of the batch."""
        return self._share[1]

    def rows(self, own: int) -> int | None:
        """Rows of the whole draw of which this process has `own`; None for what is no draw for the batch."""
        times, rest = divmod(own, self.own)
        if rest or times == 0 or (self.own == 1 and times > 1):
            return None
        return times * self.whole

    def part(self, drawn: Tensor, own: int) -> Tensor:
        """This process's rows of the whole draw."""
        start = self.first * (own // self.own)
        return drawn[start : start + own]

    def like(self, own: Tensor, fill: float = 0.0) -> Tensor | None:
        """A tensor for the whole batch whose own rows are these; None for what is no draw for the batch."""
        rows = self.rows(len(own)) if own.dim() else None
        if rows is None:
            return None
        # numbers are drawn in the order of memory: the dimensions of the whole must lie in it as those of the share do
        lying = sorted(range(1, own.dim()), key=own.stride, reverse=True)
        whole = own.new_full((rows, *(own.shape[j] for j in lying)), fill)
        whole = whole.permute(0, *(1 + lying.index(j) for j in range(1, own.dim())))
        self.part(whole, len(own)).copy_(own.detach())
        return whole


def _of_size(mode: WholeBatch, func: Any, args: Any, kwargs: Any) -> Any:  # noqa: ANN401 (any call of torch)
    """rand, randn: (n, ...), ((n, ...)) or size=(n, ...)."""
    given = kwargs.get("size", args[0] if args and not isinstance(args[0], int) else args)
    size = tuple(given)
    rows = mode.rows(size[0]) if size else None
    if rows is None:
        return func(*args, **kwargs)
    rest = {name: value for name, value in kwargs.items() if name != "size"}
    return mode.part(func((rows, *size[1:]), **rest), size[0])


def _of_integers(mode: WholeBatch, func: Any, args: Any, kwargs: Any) -> Any:  # noqa: ANN401 (any call of torch)
    """randint: (high, size), (low, high, size), or by name."""
    bounds = [value for value in args if isinstance(value, int)]
    size = tuple(kwargs.get("size", args[-1] if args and not isinstance(args[-1], int) else ()))
    rows = mode.rows(size[0]) if size else None
    if rows is None:
        return func(*args, **kwargs)
    rest = {name: value for name, value in kwargs.items() if name != "size"}
    return mode.part(func(*bounds, size=(rows, *size[1:]), **rest), size[0])


def _like(mode: WholeBatch, func: Any, args: Any, kwargs: Any) -> Any:  # noqa: ANN401 (any call of torch)
    """rand_like, and draws by parameters of each element: bernoulli, normal, multinomial by rows, poisson."""
    own = next(value for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
    if func in (torch.multinomial, Tensor.multinomial) and own.dim() == 1:
        return _chosen(mode, func, args, kwargs)
    made = {id(value): mode.like(value, 0.5) for value in (*args, *kwargs.values()) if isinstance(value, Tensor)}
    if any(value is None for value in made.values()):
        return func(*args, **kwargs)
    called = [made.get(id(value), value) for value in args]
    named = {name: made.get(id(value), value) for name, value in kwargs.items()}
    return mode.part(func(*called, **named), len(own))


def _chosen(mode: WholeBatch, func: Any, args: Any, kwargs: Any) -> Any:  # noqa: ANN401 (any call of torch)
    """Multinomial of one row of weights: the number of samples is that of examples."""
    named = {**dict(zip(("input", "num_samples", "replacement"), args, strict=False)), **kwargs}
    own = named["num_samples"]
    rows = mode.rows(own)
    if rows is None or not named.get("replacement", False):
        return func(*args, **kwargs)
    weights = named.pop("input")
    return mode.part(func(weights, **{**named, "num_samples": rows}), own)


def _in_place(mode: WholeBatch, func: Any, args: Any, kwargs: Any) -> Any:  # noqa: ANN401 (any call of torch)
    """normal_, uniform_, exponential_, ...: of a tensor's own rows."""
    own = args[0]
    whole = mode.like(own)
    if whole is None:
        return func(*args, **kwargs)
    with torch.no_grad():
        own.copy_(mode.part(func(whole, *args[1:], **kwargs), len(own)))
    return own


def _dropout(mode: WholeBatch, func: Any, args: Any, kwargs: Any) -> Any:  # noqa: ANN401 (any call of torch)
    """dropout: what falls out of a whole batch of ones."""
    named = {**dict(zip(("input", "p", "training", "inplace"), args, strict=False)), **kwargs}
    own, p = named["input"], named.get("p", 0.5)
    ones = mode.like(torch.ones_like(own), 1.0) if named.get("training", True) and p else None
    if ones is None:
        return func(*args, **kwargs)
    return own * mode.part(func(ones, p, True), len(own))


def _batch_norm(mode: WholeBatch, func: Any, args: Any, kwargs: Any) -> Any:  # noqa: ANN401 (any call of torch)
    """Ioffe and Szegedy (2015) with mean and variance of the whole batch."""
    names = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
    named = {**dict(zip(names, args, strict=False)), **kwargs}
    x: Tensor = named["input"]
    if not named.get("training", False) or mode.rows(len(x)) is None:
        return func(*args, **kwargs)
    over = [0, *range(2, x.dim())]
    shape = [1, -1] + [1] * (x.dim() - 2)
    n = x.numel() // x.shape[1] * mode.whole / mode.own
    wide = x.float()
    mean = Summed.apply(wide.sum(over)) / n
    centred = wide - mean.view(shape)
    variance = Summed.apply(centred.square().sum(over)) / n
    with torch.no_grad():
        momentum = named.get("momentum", 0.1)
        for running, value in (("running_mean", mean), ("running_var", variance * (n / (n - 1)))):
            if named.get(running) is not None:
                named[running].lerp_(value.to(named[running].dtype), momentum)
    y = centred * (variance + named.get("eps", 1e-5)).rsqrt().view(shape)
    if named.get("weight") is not None:
        y = y * named["weight"].view(shape) + named["bias"].view(shape)
    return y.to(x.dtype)


HANDLERS: dict[Any, Callable[..., Any]] = {
    **dict.fromkeys((torch.rand, torch.randn), _of_size),
    torch.randint: _of_integers,
    **dict.fromkeys((torch.rand_like, torch.randn_like, torch.randint_like, torch.bernoulli, Tensor.bernoulli), _like),
    **dict.fromkeys((torch.normal, torch.multinomial, Tensor.multinomial, torch.poisson), _like),
    **{
        getattr(Tensor, name): _in_place
        for name in (
            "normal_", "uniform_", "exponential_", "bernoulli_", "random_", "cauchy_", "log_normal_", "geometric_",
        )
    },
    **dict.fromkeys((functional.dropout, torch.dropout), _dropout),
    **dict.fromkeys((functional.dropout1d, functional.dropout2d, functional.dropout3d), _dropout),
    functional.batch_norm: _batch_norm,
}  # fmt: skip
