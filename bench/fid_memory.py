"""The job that once ran out of memory: all figures of generated images against the 8,189 flowers.

    python -m bench fid_memory

Real flowers where DATA_DIR holds them, noise elsewhere; their statistics are made once and cached. The largest table
takes about ten minutes of one core; `DATAKILN_BENCH_SIZES="1000 8189"` shortens it.
"""

from __future__ import annotations

import itertools
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from bench._process import Cost, Row, alone, memory, row
from bench.fid import SIDE, images, random_inception

SIZES = "1000 8189 50000"
FEW_BATCHES = 16


class _Generator(nn.Module):
    """The shape and cost of a small convolutional generator; what it draws does not matter here."""

    def __init__(self) -> None:
        super().__init__()
        widths = (128, 256, 128, 64, 32)
        steps = [nn.ConvTranspose2d(a, b, 4, 2, 1) for a, b in zip(widths, widths[1:], strict=False)]
        self.steps = nn.Sequential(*(part for step in steps for part in (step, nn.ReLU())))
        self.last = nn.Conv2d(32, 3, 3, 1, 1)

    @torch.no_grad()
    def draw(self, n: int) -> Tensor:
        from datakiln.metrics.pictures.statistics import to_uint8

        return to_uint8(torch.tanh(self.last(self.steps(torch.randn(n, 128, 4, 4)))))


def _flowers() -> Iterator[Tensor]:
    """The real flowers, squares of 64 pixels, decoded as they are needed; noise where DATA_DIR has none."""
    import numpy as np
    from PIL import Image

    files = sorted(Path(os.environ.get("DATA_DIR", "."), "flowers-102", "jpg").glob("*.jpg"))
    for start in range(0, len(files), 64):
        pictures = [Image.open(file).convert("RGB") for file in files[start : start + 64]]
        squares = [picture.crop((0, 0, 96, 96)).resize((SIDE, SIDE)) for picture in pictures]
        yield torch.from_numpy(np.stack([np.asarray(square) for square in squares])).permute(0, 3, 1, 2)
    if not files:
        yield from torch.split(images(2048), 64)


def job(name: str, n: int) -> Cost:
    """All figures of n generated images against the flowers, in this process alone."""
    from datakiln.metrics.extractors.build import build_extractor
    from datakiln.metrics.extractors.checks import checked_extractor
    from datakiln.metrics.extractors.inception import as_backbone
    from datakiln.metrics.pictures.feature_cache import StatisticsKey, cached_statistics
    from datakiln.metrics.pictures.images import image_figures
    from datakiln.metrics.pictures.statistics import STORE, feature_statistics, generated

    cpu = torch.device("cpu")
    if name == "inception":
        extractor = checked_extractor(as_backbone(random_inception(), "random", cpu), "clean", "exact", cpu)
    else:
        extractor = build_extractor(name)
    batches = FEW_BATCHES if name == "inception" else None  # nine minutes of one core for all, to the same memory
    key = StatisticsKey("flowers", "all", extractor.tag, batches, STORE)
    start = time.process_time()
    real = cached_statistics(key, lambda: feature_statistics(extractor, itertools.islice(_flowers(), batches)))
    made = time.process_time() - start
    torch.manual_seed(0)
    start = time.process_time()
    fake = feature_statistics(extractor, generated(_Generator().draw, n, 64))
    figures = {figure.name.split("/")[0]: figure.value for figure in image_figures(real, fake)}
    seconds = time.process_time() - start
    return {"seconds": seconds, "peak": memory("VmHWM"), "made": made, "n_real": real.n, "value": figures["fid"]}


def run() -> list[Row]:
    """Peak memory of the whole process as images grow; the real statistics are in the cache by then."""
    sizes = [int(size) for size in os.environ.get("DATAKILN_BENCH_SIZES", SIZES).split()]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, ns in (("efficientnet_lite0", sizes), ("inception", sizes[:1])):
            real = alone("bench.fid_memory", f"job({name!r}, 64)", DATAKILN_CACHE=folder)  # fills the cache
            first = 0.0
            for n in ns:
                done = alone("bench.fid_memory", f"job({name!r}, {n})", DATAKILN_CACHE=folder)
                first = first or done["peak"]
                what = f"all figures, {name}, {n:,} fakes against {int(done['n_real']):,} cached, peak memory and CPU-s"
                rows.append(
                    row(
                        what,
                        f"{done['peak']:.0f} MB, {done['seconds']:.0f}",
                        f"{first:.0f} MB at {ns[0]:,}; real set {real['made']:.0f} CPU-s once",
                        done["peak"] / first,
                        "< 1500 MB, flat",
                    )
                )
    return rows
