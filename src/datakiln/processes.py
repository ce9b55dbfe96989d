"""Several processes that train one model: which of them this one is, and what they tell each other.

Torch is imported by those who are several only. In one process every function is the identity and costs nothing.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from datakiln.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")
_share: tuple[slice, int] | None = None  # the rows of the running batch that are this process's, and how many it has
PATIENCE = timedelta(hours=2)  # one process may wait for another that measures
PORTS = 15_000  # first of those that jobs of SLURM meet at


@dataclass(frozen=True)
class Place:
    """One process among those that train together.

    Attributes:
        rank: Its number, from 0.
        count: How many there are.
        local: Its number on its machine, which is that of its GPU.
        meeting: Where they meet, as torch's `init_method`.
    """

    rank: int
    count: int
    local: int
    meeting: str


def started_as(environment: Mapping[str, str] = os.environ) -> Place | None:
    """The place that `torchrun` or SLURM's `srun` has started this process in; None for a process by itself.

    Raises:
        UserError: A variable that is no number.
    """
    if "RANK" in environment and "WORLD_SIZE" in environment:
        rank, count, local = (_whole(environment, name) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
        address = f"tcp://{environment.get('MASTER_ADDR', '127.0.0.1')}:{environment.get('MASTER_PORT', PORTS)}"
        return Place(rank, count, local, address) if count > 1 else None
    if "SLURM_PROCID" in environment and _whole(environment, "SLURM_NTASKS", "1") > 1:
        rank, count, local = (_whole(environment, f"SLURM_{name}") for name in ("PROCID", "NTASKS", "LOCALID"))
        host = environment.get("MASTER_ADDR") or _first_host(environment.get("SLURM_JOB_NODELIST", "127.0.0.1"))
        port = environment.get("MASTER_PORT") or PORTS + _whole(environment, "SLURM_JOB_ID") % 10_000
        return Place(rank, count, local, f"tcp://{host}:{port}")
    return None


def _whole(environment: Mapping[str, str], name: str, default: str = "0") -> int:
    value = environment.get(name, default)
    if not value.isdecimal():
        raise UserError(f"the environment variable {name}={value} must be a whole number; torchrun and srun set it")
    return int(value)


def _first_host(nodes: str) -> str:
    """The first of SLURM's list of hosts, such as "node[07-09,12],other"."""
    found = re.match(r"([^\[,]+)(?:\[(\d+))?", nodes)
    return "127.0.0.1" if found is None else found.group(1) + (found.group(2) or "")


def join(place: Place, is_on_gpus: bool) -> None:
    """Meets the other processes; every one of them calls it."""
    import torch.distributed as dist

    for name in ("SLURM_NTASKS", "TORCHELASTIC_RUN_ID"):
        os.environ.pop(name, None)  # read by now; Lightning, for which each process is by itself, would object
    if sys.platform == "linux" and (place.meeting.startswith("file://") or "//127.0.0.1" in place.meeting):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # all are here: no name of this machine must be known
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if is_on_gpus else "gloo",
        init_method=place.meeting,
        rank=place.rank,
        world_size=place.count,
        timeout=PATIENCE,
    )


def leave() -> None:
    """From now on this process is by itself."""
    if count() > 1:
        import torch.distributed as dist

        dist.destroy_process_group()


def meeting_in(folder: Path) -> str:
    """Where processes of one machine can meet: a file that is not there yet."""
    return f"file://{folder}/meeting"


def _are_several() -> bool:
    dist = sys.modules.get("torch.distributed")
    return dist is not None and dist.is_available() and dist.is_initialized()


def count() -> int:
    """How many processes train together."""
    return sys.modules["torch.distributed"].get_world_size() if _are_several() else 1


def rank() -> int:
    """The number of this one, from 0."""
    return sys.modules["torch.distributed"].get_rank() if _are_several() else 0


def total(value: Tensor) -> Tensor:
    """The sum over all processes of a tensor that each has its own of; without a gradient."""
    if count() == 1:
        return value
    import torch.distributed as dist

    summed = value.detach().clone()
    dist.all_reduce(summed)
    return summed


def spread(value: Tensor, reader: int) -> None:
    """Writes into a tensor of all processes what one of them has in it."""
    if count() > 1:
        import torch.distributed as dist

        dist.broadcast(value, src=reader)


def told(value: T) -> T:
    """What the first process says, for all of them; plain values."""
    if count() == 1:
        return value
    import torch.distributed as dist

    said: list[Any] = [value]
    dist.broadcast_object_list(said, src=0)
    return said[0]  # type: ignore[no-any-return]


@contextmanager
def sharing(own: slice, whole: int) -> Iterator[None]:
    """Inside, this process works on those rows of a batch of so many."""
    with _with((own, whole)):
        yield


@contextmanager
def by_itself() -> Iterator[None]:
    """Inside, every process works on the same rows, and draws the same numbers."""
    with _with(None):
        yield


@contextmanager
def smaller(n: int, times: int) -> Iterator[tuple[int, float]]:
    """Inside, this process works on its share of a batch so many times as small, one row at least.

    Arguments:
        n: Its rows of the batch that processes share.
        times: How much smaller.

    Yields:
        Its rows, and what a mean over them is multiplied by to count for as much as they are of the smaller batch.
    """
    if _share is None or part(n) == (0, n):
        yield max(n // times, 1), 1.0
        return
    fewer = _share[1] // times
    if fewer < count():  # too few to go round
        with by_itself():
            yield max(fewer, 1), 1.0
        return
    own = slice(fewer * rank() // count(), fewer * (rank() + 1) // count())
    rows = own.stop - own.start
    weight = (rows / fewer) / (n / _share[1])
    with sharing(own, fewer):
        yield rows, weight


@contextmanager
def _with(share: tuple[slice, int] | None) -> Iterator[None]:
    global _share
    before, _share = _share, share
    try:
        yield
    finally:
        _share = before


def shared() -> tuple[slice, int] | None:
    """This process's rows of the batch that processes share, and how many it has; None where they share none."""
    return _share


def part(n: int) -> tuple[int, int]:
    """Where n rows begin in the batch that processes share, and how many it has; (0, n) for rows of no such batch."""
    if _share is None or n != _share[0].stop - _share[0].start:
        return 0, n
    return _share[0].start, _share[1]


def mean_of(count: Tensor, n: int) -> Tensor:
    """What a sum over n rows of a shared batch is divided by, so that the mean over all of it comes out.

    Arguments:
        count: What is counted in these rows, such as steps of sequences, of which others may have more.
        n: Rows.
    """
    _, whole = part(n)
    return count if whole == n else total(count) * (n / whole)


def whole_mean(mean: Tensor, n: int) -> Tensor:
    """The mean over all of a shared batch of what this process has the mean of, over n rows; without a gradient."""
    _, whole = part(n)
    return mean if whole == n else total(mean * (n / whole))
