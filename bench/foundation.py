"""The foundation: a small VAE beside a plain loop, how fast the command line answers, rows a minute."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

EPOCHS = 300
REPEATS = 3


def run() -> list[dict[str, Any]]:
    """Each measurement as a row."""
    return [*training(), *answers(), *sampling()]


def training() -> list[dict[str, Any]]:
    """300 epochs of the VAE on Iris: the fit of `src.train` against the same nets, losses and data in a plain loop."""
    ours, plain = [], []
    for _ in range(REPEATS):
        with tempfile.TemporaryDirectory() as folder:
            _command("src.train", "model=vae", "data=iris", f"epochs={EPOCHS}", f"hydra.run.dir={folder}/run")
            ours.append(json.loads((Path(folder) / "run" / "result.json").read_text())["fit_cpu_seconds"])
        code = "from bench.foundation import plain_loop; print(plain_loop())"
        plain.append(float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout))
    ratios = sorted(a / b for a, b in zip(ours, plain, strict=True))
    what = f"VAE on Iris, {EPOCHS} epochs, CPU-s of the fit (validation, fidelity, checkpoints and logs included)"
    return [_row(what, f"{_median(ours):.2f}", f"{_median(plain):.2f} plain loop", ratios[len(ratios) // 2], "<= 2")]


def plain_loop() -> float:
    """CPU-seconds of the same training written plainly: model, Adam, shuffled batches, a validation loss each epoch."""
    import functools

    import torch

    from datakiln.codecs.tables.table import TableCodec
    from datakiln.data.tables.sources import SklearnTable
    from datakiln.data.tables.tables import TableData
    from datakiln.models.vae.vae import VAE
    from datakiln.nets.schedules import Linear

    torch.set_flush_denormal(True)
    data = TableData(SklearnTable("iris"), TableCodec(), outliers=3)
    data.setup("fit")
    torch.manual_seed(0)
    model = VAE(data.spec, 5, annealing=Linear(), optimizer=functools.partial(torch.optim.Adam, lr=1e-3, fused=True))
    optimizer = model.configure_optimizers()
    train, (x_val, y_val) = data.train_dataloader(), data.tensors["val"]
    val = type(next(iter(train)))(x_val, y_val)
    start = time.process_time()
    for _ in range(EPOCHS):
        model.train()
        total = 0.0
        for batch in train:
            loss = model.losses(batch)["loss"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        model.eval()
        with torch.no_grad():
            model.losses(val)["loss"].item()
        model.meter.pop("units")
    return time.process_time() - start


def answers() -> list[dict[str, Any]]:
    """How long --help and a wrong option take, against `import torch`."""
    torch = _median([_cpu([sys.executable, "-c", "import torch"]) for _ in range(REPEATS)])
    rows = []
    for arguments, most in ((["--help"], 0.25), (["latent_dimm=5"], 0.25), (["model.optimizer.lr=fast"], 0.25)):
        ours = _median([_cpu([sys.executable, "-m", "src.train", *arguments]) for _ in range(REPEATS)])
        what = f"python -m src.train {arguments[0]}, CPU-s"
        rows.append(_row(what, f"{ours:.2f}", f"{torch:.2f} import torch", ours / torch, f"<= {most}"))
    return rows


def sampling() -> list[dict[str, Any]]:
    """Rows a minute of the ADHD VAE, decoded and written to Parquet, and that memory does not grow with them."""
    rows, peaks = [], {}
    with tempfile.TemporaryDirectory() as folder:
        _command("src.train", "model=vae", "data=adhd", "epochs=20", f"hydra.run.dir={folder}/run")
        for n in (1_000_000, 20_000_000):
            code = f"from bench.foundation import sample; sample({folder!r}, {n})"
            out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout
            seconds, cpu, peaks[n] = json.loads(out)
        rate = 20e6 / seconds * 60 / 1e6
        what = "ADHD VAE to Parquet, million rows a minute (wall, two cores; CPU-s in brackets)"
        rows.append({"what": what, "ours": f"{rate:.1f} ({cpu:.0f})", "peer": "", "ratio": "", "wanted": ">= 20"})
        growth = peaks[20_000_000] / peaks[1_000_000]
        what = "peak memory of sampling 20 M rows against 1 M rows, MB"
        rows.append(_row(what, f"{peaks[20_000_000]:.0f}", f"{peaks[1_000_000]:.0f}", growth, "about 1"))
    return rows


def sample(folder: str, n: int) -> None:
    """Samples into a file and prints seconds, CPU-seconds and peak megabytes; the model is loaded beforehand."""
    from datakiln.console import Console
    from datakiln.results import peak_memory_mb
    from datakiln.sampling.synthesizer import Synthesizer
    from datakiln.sampling.writing import write_table

    synthesizer = Synthesizer.load(f"{folder}/run")
    start, cpu = time.perf_counter(), time.process_time()
    write_table(synthesizer, n, f"{folder}/{n}.parquet", {}, 0, Console(stderr=True))
    print(json.dumps([time.perf_counter() - start, time.process_time() - cpu, peak_memory_mb()]))


def _command(module: str, *arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", module, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{module} {' '.join(arguments)} failed: {done.stderr}")


def _cpu(command: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, capture_output=True, check=False, env=os.environ)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def _row(what: str, ours: str, peer: str, ratio: float, wanted: str) -> dict[str, Any]:
    return {"what": what, "ours": ours, "peer": peer, "ratio": f"{ratio:.2f}", "wanted": wanted}
