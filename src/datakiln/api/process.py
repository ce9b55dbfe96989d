"""The caller's process as it was: whatever a run changes around it is put back when it is over, also when it fails."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

CHATTER = ("lightning.pytorch", "lightning.fabric", "datakiln.callbacks.fid")  # the last tells how often it measures
DENORMAL = 1e-310  # half of it is another number, or 0 where denormal floats are flushed


@contextmanager
def as_it_was() -> Iterator[None]:
    """Puts back all of a process that a run may change, and imports nothing for it.

    These are random states, threads and precisions of the libraries that are there; signal handlers, warning filters,
    loggers, environment variables, the current folder, Hydra's globals and matplotlib's parameters. What is imported
    inside for the first time is left as its import made it: see `numbers_as_they_were`.
    """
    with contextlib.ExitStack() as stack:
        for kept in (_folder, _environment, _loggers, warnings.catch_warnings, _signals, _hydra, _matplotlib):
            stack.enter_context(kept())
        stack.enter_context(numbers_as_they_were(imported="torch" in sys.modules))
        yield


@contextmanager
def numbers_as_they_were(imported: bool = True) -> Iterator[None]:
    """Puts back what decides the numbers of Python, NumPy and torch: random states, threads, precisions, denormals.

    Arguments:
        imported: Whether torch is looked at; where it is not there yet, a block inside that needs it does.
    """
    state = random.getstate()
    with contextlib.ExitStack() as stack:
        if imported:
            stack.enter_context(_torch())
        arrays = sys.modules.get("numpy")  # torch brings it
        drawn = None if arrays is None else arrays.random.get_state()
        try:
            yield
        finally:
            random.setstate(state)
            if arrays is not None:
                arrays.random.set_state(drawn)


@contextmanager
def quietly() -> Iterator[None]:
    """Remarks of Lightning, of callbacks on their pace and of picture files on odd metadata are not shown."""
    import lightning  # noqa: F401 (sets the levels of its loggers itself, when it is imported)

    levels = {name: logging.getLogger(name).level for name in CHATTER}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
        try:
            for name in CHATTER:
                logging.getLogger(name).setLevel(logging.ERROR)
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)


@contextmanager
def _torch() -> Iterator[None]:
    import torch

    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() and torch.cuda.is_initialized() else []
    states, flushed = torch.get_rng_state(), flushes_denormals()
    before = _torch_settings()
    try:
        yield
    finally:
        torch.set_rng_state(states)
        if cuda:
            torch.cuda.set_rng_state_all(cuda)
        if flushes_denormals() != flushed:
            torch.set_flush_denormal(flushed)
        _set_torch(before)


def flushes_denormals() -> bool:
    """Whether numbers below the smallest normal one count as 0 in this thread; there is no other way to ask."""
    import torch

    return float(torch.tensor([DENORMAL], dtype=torch.float64).mul(0.5)[0]) == 0.0


def _torch_settings() -> dict[str, Any]:
    import torch

    return {
        "threads": torch.get_num_threads(),
        "grad": torch.is_grad_enabled(),
        "dtype": torch.get_default_dtype(),
        "matmul": torch.get_float32_matmul_precision(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "warn_only": torch.is_deterministic_algorithms_warn_only_enabled(),
        "cudnn": {name: getattr(torch.backends.cudnn, name) for name in ("enabled", "benchmark", "deterministic")},
        "tf32": torch.backends.cudnn.allow_tf32,
    }


def _set_torch(before: dict[str, Any]) -> None:
    """Sets what differs, since some setters warn or cost."""
    import torch

    now = _torch_settings()
    setters: dict[str, Any] = {
        "threads": torch.set_num_threads,
        "grad": torch.set_grad_enabled,
        "dtype": torch.set_default_dtype,
        "matmul": torch.set_float32_matmul_precision,
    }
    for name, put in setters.items():
        if now[name] != before[name]:
            put(before[name])
    if (now["deterministic"], now["warn_only"]) != (before["deterministic"], before["warn_only"]):
        torch.use_deterministic_algorithms(before["deterministic"], warn_only=before["warn_only"])
    for name, value in before["cudnn"].items():
        if now["cudnn"][name] != value:
            setattr(torch.backends.cudnn, name, value)
    if now["tf32"] != before["tf32"]:
        torch.backends.cudnn.allow_tf32 = before["tf32"]


@contextmanager
def _folder() -> Iterator[None]:
    before = os.getcwd()
    try:
        yield
    finally:
        if os.getcwd() != before:
            os.chdir(before)


@contextmanager
def _environment() -> Iterator[None]:
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in set(os.environ) - set(before):
            del os.environ[name]
        for name, value in before.items():
            if os.environ.get(name) != value:
                os.environ[name] = value


@contextmanager
def _loggers() -> Iterator[None]:
    """Levels and handlers of the loggers that are there; one that an import adds is that import's affair."""
    there = [log for log in logging.root.manager.loggerDict.values() if isinstance(log, logging.Logger)]
    before = [(log, log.level, log.disabled, log.propagate, list(log.handlers)) for log in (logging.root, *there)]
    disabled = logging.root.manager.disable
    try:
        yield
    finally:
        for log, level, off, propagate, handlers in before:
            if log.level != level:
                log.setLevel(level)
            log.disabled, log.propagate, log.handlers[:] = off, propagate, handlers
        if logging.root.manager.disable != disabled:
            logging.disable(disabled)


@contextmanager
def _signals() -> Iterator[None]:
    """Gives a notebook its interrupt key back: a run that trains takes SIGINT and SIGTERM for itself."""
    if threading.current_thread() is not threading.main_thread():
        yield  # where handlers cannot be set
        return
    before = {number: signal.getsignal(number) for number in signal.valid_signals()}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None and signal.getsignal(number) is not handler:
                signal.signal(number, handler)


@contextmanager
def _hydra() -> Iterator[None]:
    """Hydra keeps one config and one instance for all of a process."""
    if "hydra" not in sys.modules:
        yield
        return
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig

    instance, config = GlobalHydra.instance(), HydraConfig.instance()
    outer, cfg = instance.hydra, config.cfg
    try:
        yield
    finally:
        GlobalHydra.instance().hydra, HydraConfig.instance().cfg = outer, cfg


@contextmanager
def _matplotlib() -> Iterator[None]:
    """Parameters, the backend among them, which is not chosen by being looked at."""
    matplotlib: Any = sys.modules.get("matplotlib")
    if matplotlib is None:
        yield
        return
    before = {key: dict.__getitem__(matplotlib.rcParams, key) for key in list(matplotlib.rcParams)}
    try:
        yield
    finally:
        for key, value in before.items():
            if dict.get(matplotlib.rcParams, key) != value:
                dict.__setitem__(matplotlib.rcParams, key, value)
