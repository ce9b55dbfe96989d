"""A thousand clients that sample at the same time from a server on this machine: right answers or 429, memory bounded.

    python -m bench serve
    SERVE_CLIENTS=200 python -m bench serve

The server is a process of its own with one thread of torch; each client asks for rows of its own seed until it gets
them, waiting as `Retry-After` says. Every answer is compared with the rows that the same seed gives alone.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from bench._process import Row

ROWS, SEEDS = 200, 10
LONGEST = 240.0  # seconds in all
OPEN = 256  # connections that the clients hold at a time: each is a file of this process


def run() -> list[Row]:
    """Trains a small model, starts a server, and sends the clients."""
    clients = int(os.environ.get("SERVE_CLIENTS", "1000"))
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        words = ["model=copula", "data=toy", "epochs=1", "plots=false", f"root={folder}"]
        subprocess.run([sys.executable, "-m", "src.train", *words], env=environment, check=True, capture_output=True)
        options = [f"root={folder}", "port=0", "rate=100000", "burst=100000"]
        server = subprocess.Popen(
            [sys.executable, "-m", "src.serve", *options],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        try:
            return [asyncio.run(_measured(server, clients))]
        finally:
            server.terminate()
            server.wait()


async def _measured(server: subprocess.Popen[bytes], clients: int) -> Row:
    import httpx

    assert server.stdout is not None
    found = re.search(rb"http://[\d.:]+", server.stdout.readline())
    if found is None:
        raise RuntimeError("the server did not start")
    limits = httpx.Limits(max_connections=OPEN)
    async with httpx.AsyncClient(base_url=found[0].decode(), limits=limits, timeout=LONGEST) as client:
        model = (await client.get("/v1/models")).json()[0]["id"]
        path = f"/v1/models/{model}/sample"

        async def ask(seed: int) -> tuple[int, str, float]:
            answer = await client.post(path, json={"n": ROWS, "seed": seed})
            return (
                answer.status_code,
                hashlib.sha256(answer.content).hexdigest(),
                float(answer.headers.get("retry-after", 0)),
            )

        alone = {seed: (await ask(seed))[1] for seed in range(SEEDS)}
        before, since = _memory(server.pid), time.monotonic()
        seen: Counter[str] = Counter()

        async def come(number: int) -> None:
            while time.monotonic() - since < LONGEST:
                status, content, wait = await ask(number % SEEDS)
                if status == 200:
                    seen["right" if content == alone[number % SEEDS] else "wrong"] += 1
                    return
                seen[str(status)] += 1
                await asyncio.sleep(wait * (1 + number % 7 / 7))

        await asyncio.gather(*(come(number) for number in range(clients)))
        took, after = time.monotonic() - since, _memory(server.pid)
    told = ", ".join(f"{count:,} {what}" for what, count in sorted(seen.items()))
    return {
        "what": f"{clients:,} clients at a time, {ROWS} rows each",
        "ours": f"{told}; {took:.0f} s, {clients / took:.0f} samples/s, {after:.0f} MB",
        "peer": f"{before:.0f} MB before them",
        "ratio": f"{after / before:.2f}",
        "wanted": f"{clients:,} right, none wrong, no 5xx",
    }


def _memory(process: int) -> float:
    text = Path(f"/proc/{process}/status").read_text()
    found: Any = re.search(r"VmHWM:\s+(\d+) kB", text)
    return int(found[1]) / 1024
