"""Training from many Parquet files in folders named NAME=VALUE, on this machine and in an object store: peak memory.

    python -m bench parts
    PARTS_ROWS=320000,1280000 python -m bench parts

The store is moto's server, in a process of its own. Otherwise as in `scale`: Adult repeated with noise, one epoch of
tvae in a process on one thread, whose whole memory is told. A file has 65,536 rows; four times the rows are four times
the files.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench._process import Cost, Row, alone
from bench.scale import pieces

ROWS = "320000,1280000"
SERVER = (
    "import time; from moto.server import ThreadedMotoServer as S; s = S('127.0.0.1', 0); s.start();"
    " print(s.get_host_and_port()[1], flush=True); time.sleep(3600)"
)
KEYS = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_EC2_METADATA_DISABLED": "true"}


def run() -> list[Row]:
    """Both places at each size, beside the smallest."""
    sizes = [int(n) for n in os.environ.get("PARTS_ROWS", ROWS).split(",")]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for n in sizes:
            _write(Path(folder) / str(n), n)
        costs = {n: _train(f"{folder}/{n}") for n in sizes}
        rows += [_row("a folder", n, costs[n], costs[sizes[0]]) for n in sizes]
        words = [sys.executable, "-W", "ignore", "-c", SERVER]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
            assert server.stdout is not None
            port = next(line for line in server.stdout if line.strip().isdigit()).strip()
            options = f"endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1&allow_bucket_creation=true"
            try:
                costs = {n: _from_store(f"{folder}/{n}", f"s3://bucket/{n}/?{options}") for n in sizes}
            finally:
                server.kill()
        rows += [_row("an object store", n, costs[n], costs[sizes[0]]) for n in sizes]
    return rows


def _write(folder: Path, n: int) -> None:
    import pyarrow.parquet as pq

    for i, table in enumerate(pieces(n)):
        place = folder / f"batch={i}"
        place.mkdir(parents=True)
        pq.write_table(table, place / "part-0.parquet", row_group_size=1 << 14)


def _from_store(folder: str, address: str) -> Cost:
    from pyarrow import fs

    os.environ.update(KEYS)
    store, root = fs.FileSystem.from_uri(address)
    store.create_dir(root, recursive=True)
    fs.copy_files(folder, root.rstrip("/"), destination_filesystem=store)
    return _train(address)


def _train(place: str) -> Cost:
    start = time.monotonic()
    cost = alone("bench.scale", f"train({place!r}, 'auto', 'tvae')", **KEYS)
    return {**cost, "seconds": time.monotonic() - start}


def _row(place: str, n: int, cost: Cost, first: Cost) -> Row:
    return {
        "what": f"tvae on {n:,} rows in {-(-n // (1 << 16))} files in {place}",
        "ours": f"{cost['peak']:.0f} MB, {cost['data'] + cost['epoch']:.0f} CPU-s, {cost['seconds']:.0f} s",
        "peer": f"{first['peak']:.0f} MB",
        "ratio": f"{cost['peak'] / first['peak']:.2f}",
        "wanted": "memory flat: about 1",
    }
