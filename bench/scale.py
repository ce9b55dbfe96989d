"""Cost against rows: Adult repeated with noise, ten and a hundred times as many rows, in memory and from disk.

    python -m bench scale
    SCALE_ROWS=32000,320000 SCALE_MODELS=tvae,mixture python -m bench scale

Each measurement is a process of its own on one thread: reading the table and fitting the codec, then one epoch. The
model is tvae at its usual sizes and batch, whose epoch costs least of the models with gradients. Peak memory is that of
the whole process, torch and pandas included, some 850 MB before a row is read. From disk it grows until sample and
buffer are full, at some 300,000 rows, and then no more.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    import pyarrow as pa

from bench._process import Cost, Row, alone, memory

ROWS = "32000,320000,3200000"
PIECE = 1 << 16
NOISE = {"fnlwgt": 0.1, "capital-gain": 0.05, "capital-loss": 0.05}  # relative; other numbers move by one at most


def run() -> list[Row]:
    """Every size in memory and from disk, beside the smallest."""
    sizes = [int(n) for n in os.environ.get("SCALE_ROWS", ROWS).split(",")]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for n in sizes:
            write_table(Path(folder) / f"{n}.parquet", n)
        for model in os.environ.get("SCALE_MODELS", "tvae").split(","):
            for streaming in (False, True):
                costs = {
                    n: alone("bench.scale", f"train({f'{folder}/{n}.parquet'!r}, {streaming}, {model!r})")
                    for n in sizes
                }
                rows += [_row(model, streaming, n, costs[n], costs[sizes[0]], n / sizes[0]) for n in sizes]
    return rows


def _row(model: str, streaming: bool, n: int, cost: Cost, first: Cost, times: float) -> Row:
    where = "from disk" if streaming else "in memory"
    epoch, data = f"{cost['epoch']:.2f} CPU-s an epoch ({n / cost['epoch']:,.0f} rows/s)", f"{cost['data']:.1f} before"
    return {
        "what": f"{model} on {n:,} rows, {where}",
        "ours": f"{epoch}, {data}, {cost['peak']:.0f} MB",
        "peer": f"{first['epoch'] * times:.2f} if linear, {first['peak']:.0f} MB",
        "ratio": f"{cost['epoch'] / first['epoch'] / times:.2f}, {cost['peak'] / first['peak']:.2f}",
        "wanted": "about 1" + (", memory flat" if streaming else ""),
    }


def write_table(path: Path, n: int) -> None:
    """Adult's rows over and over, each number moved a little, no two copies alike."""
    import pyarrow.parquet as pq

    writer: pq.ParquetWriter | None = None
    for table in pieces(n):
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    if writer is not None:
        writer.close()


def pieces(n: int) -> Iterator[pa.Table]:
    """These rows, some at a time."""
    import pyarrow as pa

    from datakiln.data.sets.adult import AdultTable

    frame = AdultTable()(os.environ.get("DATA_DIR")).frame
    rng = np.random.default_rng(0)
    for start in range(0, n, PIECE):
        at = np.arange(start, min(start + PIECE, n)) % len(frame)
        yield pa.Table.from_pandas(_moved(frame.take(at).reset_index(drop=True), rng), preserve_index=False)


def _moved(frame: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    for name in frame.columns[[pd.api.types.is_numeric_dtype(dtype) for dtype in frame.dtypes]]:
        values = frame[name].to_numpy(dtype=np.float64)
        noise = values * NOISE.get(name, 0.0) * rng.normal(size=len(values))
        step = noise if name in NOISE else rng.integers(-1, 2, len(values))
        frame[name] = np.maximum(np.round(values + step), 0).astype(np.int64)
    return frame


def train(path: str, streaming: bool | str, model: str) -> dict[str, Any]:
    """CPU-seconds of reading and fitting the codec, of one epoch, and the process's peak memory in MB."""
    import logging
    import warnings

    import lightning as L
    import torch
    from hydra import compose, initialize_config_dir
    from hydra.utils import instantiate

    from datakiln.cli.run_folders import register_resolvers
    from datakiln.storage import CONF

    register_resolvers()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    options = [f"model={model}", "data=csv", f"data.path='{path}'", "data.target=income"]
    with initialize_config_dir(str(CONF), version_base="1.3"):  # nothing is written to the run's folder
        cfg = compose("train", overrides=[*options, f"data.streaming={streaming}", "output_dir=unused"])
    start = time.process_time()
    data = instantiate(cfg.data, _convert_="all")
    data.setup("fit")
    before = time.process_time() - start
    net = instantiate(cfg.model, _partial_=True, _convert_="all")(spec=data.spec)
    trainer = L.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0, use_distributed_sampler=False, limit_val_batches=0,
    )  # fmt: skip
    start = time.process_time()
    trainer.fit(net, datamodule=data)
    return {"data": before, "epoch": time.process_time() - start, "peak": memory("VmHWM")}
