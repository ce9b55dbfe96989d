"""A small table of every dtype, and everything of a process that a call must leave as it was."""

from __future__ import annotations

import logging
import os
import random
import signal
import warnings

import matplotlib
import numpy as np
import pandas as pd
import torch
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

from datakiln.api.process import flushes_denormals

SHAPE = "{_target_:datakiln.metrics.tables.fidelity.shape,_partial_:true}"
FEW_FIGURES = {"~metrics.table": None, "+metrics.table.shape": SHAPE}  # where it is not the figures that are tested


def people(rows: int = 200, seed: int = 0) -> pd.DataFrame:
    """Columns of every dtype that a model can learn, with missing cells where the dtype holds them."""
    rng = np.random.default_rng(seed)
    some = rng.random(rows) < 0.1
    start, paris = pd.Timestamp("2020-01-01"), pd.Timestamp("2020-01-01", tz="Europe/Paris")
    age = rng.integers(18, 90, rows)
    return pd.DataFrame(
        {
            "age": age.astype("int16"),
            "income": pd.Categorical(
                np.where(age > rng.integers(20, 80, rows), "high", "low"), ["low", "high", "never"]
            ),
            "grade": pd.Categorical(rng.choice(["a", "b", "c"], rows), ["a", "b", "c", "d"], ordered=True),
            "stars": pd.Categorical(rng.choice([1, 2, 3], rows), [1, 2, 3, 5]),
            "kids": pd.array(np.where(some, None, rng.integers(0, 5, rows)), dtype="Int64"),
            "agrees": pd.array(np.where(some, None, rng.random(rows) < 0.5), dtype="boolean"),
            "owner": rng.random(rows) < 0.3,
            "since": start + pd.to_timedelta(rng.integers(0, 900, rows), unit="D"),
            "seen": paris + pd.to_timedelta(rng.integers(0, 900, rows), unit="h"),
            "weight": rng.normal(70, 10, rows).astype("float32"),
            "town": np.where(some, None, rng.choice(["Ulm", "Rom"], rows)),
            "same": pd.Categorical(["k"] * rows, ["k", "l"]),
            "count": pd.array(rng.integers(0, 50, rows), dtype="UInt8"),
        },
        index=pd.RangeIndex(5, 5 + rows),
    )


def of_the_process() -> dict[str, object]:
    """What must be the same before and after."""
    state = np.random.get_state()
    loggers = {name: log for name, log in logging.root.manager.loggerDict.items() if isinstance(log, logging.Logger)}
    return {
        "python": random.getstate(),
        "numpy": (state[0], state[1].tolist(), *state[2:]),
        "torch": torch.get_rng_state().tolist(),
        "threads": torch.get_num_threads(),
        "denormals": flushes_denormals(),
        "matmul": torch.get_float32_matmul_precision(),
        "cudnn": (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic, torch.backends.cudnn.allow_tf32),
        "grad": torch.is_grad_enabled(),
        "handlers": [signal.getsignal(number) for number in sorted(signal.valid_signals())],
        "warnings": list(warnings.filters),
        "levels": {name: log.level for name, log in {"root": logging.root, **loggers}.items()},
        "root handlers": list(logging.root.handlers),
        "hydra": (GlobalHydra.instance().hydra, HydraConfig.instance().cfg),
        "environment": dict(os.environ),
        "matplotlib": {key: dict.__getitem__(matplotlib.rcParams, key) for key in matplotlib.rcParams},
        "folder": os.getcwd(),
    }
