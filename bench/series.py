"""Cost of series against steps and columns: a step of training and of sampling, beside a plainly written loop.

    python -m bench series
    SERIES_LENGTHS=24,96 SERIES_COLUMNS=4,8 SERIES_MODELS=tsar python -m bench series

Each measurement is a process of its own on one thread. The plain loop is what one writes first: a recurrent net over
the codes of whole steps, a head for each column that sees the columns before it, and the whole sequence again for each
step that is drawn. Widths are those that the model has by itself at the first size.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench._process import Cost, Row, alone, memory, row

LENGTHS, COLUMNS, MODELS = "24,96,384", "4,8,16", "tsar,wavenet"
LENGTH, WIDE = 24, 4  # where the other one grows
STEPS = 20_000  # rows of the file
LEARNT = 1536  # steps of a batch
CODES, WIDTH = 128, 192  # of the plain loop
DRAWN = 64  # sequences that are drawn together
ENDLESS = (1_000, 10_000)  # steps of one series


def run() -> list[Row]:
    """Every size beside what it would be if costs grew with steps and columns, and beside the plain loop."""
    lengths, columns = (_sizes(*told) for told in (("SERIES_LENGTHS", LENGTHS), ("SERIES_COLUMNS", COLUMNS)))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for wide in {WIDE, *columns}:
            generated(STEPS, wide).to_csv(Path(folder) / f"{wide}.csv", index=False)
        for model in os.environ.get("SERIES_MODELS", MODELS).split(","):
            sizes = [(length, WIDE) for length in lengths], [(LENGTH, wide) for wide in columns]
            for word, group in zip(("steps", "columns"), sizes, strict=True):
                rows += _grown(model, word, group, folder)
            rows += _endless(model, folder)
    return rows


def _sizes(name: str, usual: str) -> list[int]:
    return [int(n) for n in os.environ.get(name, usual).split(",")]


def _grown(model: str, word: str, sizes: list[tuple[int, int]], folder: str) -> list[Row]:
    rows = []
    first: Cost = {}
    for length, wide in sizes:
        ours = alone("bench.series", f"ours({model!r}, {f'{folder}/{wide}.csv'!r}, {length})")
        peer = alone("bench.series", f"plain({length}, {wide})")
        first = first or ours
        per = wide / sizes[0][1]  # a step has so many times the columns of the first one
        for what in ("training", "sampling"):
            told = f"{model}, {what} of {length} steps x {wide} columns, CPU-µs a step"
            linear = ours[what] / first[what] / per
            also = f"{peer[what] * 1e6:,.0f} plain loop"
            wanted = f"about 1 in {word}" if what == "training" else f"<= 1 in {word}"
            rows.append(row(told, f"{ours[what] * 1e6:,.0f}", also, linear, wanted))
    return rows


def _endless(model: str, folder: str) -> list[Row]:
    short, long = (alone("bench.series", f"endless({model!r}, {f'{folder}/{WIDE}.csv'!r}, {n})") for n in ENDLESS)
    what = f"{model}, one series of {ENDLESS[1]:,} steps beside {ENDLESS[0]:,}"
    rate, megabytes = (f"{ENDLESS[1] / long['seconds']:,.0f}", f"{ENDLESS[0] / short['seconds']:,.0f}"), "megabytes"
    return [
        row(f"{what}, steps per CPU-second", *rate, long["seconds"] / short["seconds"] / 10, "about 1"),
        row(
            f"{what}, MB more at its peak than after 300",
            f"{long[megabytes]:.0f}",
            f"{short[megabytes]:.0f}",
            "",
            "as many",
        ),
    ]


def generated(steps: int, columns: int) -> pd.DataFrame:
    """Autoregressive numbers, each also drawn towards the one before it, with even times."""
    rng = np.random.default_rng(0)
    x = np.zeros((steps, columns))
    for t in range(1, steps):
        x[t] = 0.9 * x[t - 1] + 0.1 * np.roll(x[t - 1], 1) * 0.5 + rng.normal(0.0, 0.3, columns)
    frame = pd.DataFrame(x.round(3), columns=[f"x{j}" for j in range(columns)])
    frame.insert(0, "t", np.arange(steps))
    return frame


def built(model: str, path: str, length: int) -> tuple[Any, Any]:
    """The model of conf/model, untrained, and the data module of a file in windows of `length` steps."""
    import logging
    import warnings

    import torch
    from hydra import compose, initialize_config_dir
    from hydra.utils import instantiate

    from datakiln.cli.run_folders import register_resolvers
    from datakiln.storage import CONF

    register_resolvers()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    options = [f"model={model}", "data=series_csv", f"data.path='{path}'", "data.time=t", f"data.window={length}"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", overrides=[*options, "output_dir=unused"])
    data = instantiate(cfg.data, _convert_="all")
    data.setup("fit")
    return instantiate(cfg.model, _partial_=True, _convert_="all")(spec=data.spec), data


def ours(model: str, path: str, length: int) -> Cost:
    """CPU-seconds of a step of training, batches and updates included, and of a step that is drawn."""
    import lightning as L

    net, data = built(model, path, length)
    clock = _clock(4)
    trainer = L.Trainer(
        max_epochs=-1, limit_val_batches=0, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0, use_distributed_sampler=False,
        callbacks=[clock],
    )  # fmt: skip
    trainer.fit(net, datamodule=data)
    net.eval()
    return {"training": clock.seconds / data.train_dataloader().batch_size / length, "sampling": _drawn(net, length)}


def _clock(count: int, warm_up: int = 2) -> Any:  # noqa: ANN401 (a Lightning callback, which is imported late)
    import lightning as L

    class Clock(L.Callback):
        """Seconds a batch, of some behind the first few, then ends training; rates as at the begin of a long run."""

        done, start, seconds = 0, 0.0, 0.0

        def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:  # noqa: ANN401
            self.done += 1
            if self.done == warm_up:
                self.start = time.process_time()
            elif self.done == warm_up + count:
                self.seconds = (time.process_time() - self.start) / count
                trainer.should_stop = True

    return Clock()


def _drawn(net: Any, length: int) -> float:  # noqa: ANN401 (a model, which is imported late)
    net.sample(2)
    return _seconds(lambda: net.sample(DRAWN)) / DRAWN / length


def _seconds(work: Callable[[], Any]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def endless(model: str, path: str, steps: int) -> Cost:
    """CPU-seconds of one series of so many steps, and the MB that it added at its peak."""
    net, data = built(model, path, LENGTH)
    net.eval()
    first = data.inputs("train", 1, data.spec.shape)
    for _ in net.unroll(first, 300):
        pass
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = memory("VmRSS")
    seconds = _seconds(lambda: sum(len(piece) for piece in net.unroll(first, steps)))
    return {"seconds": seconds, "megabytes": memory("VmHWM") - before}


def plain(length: int, columns: int) -> Cost:
    """The same of the plain loop: a batch of as many steps, and as many sequences drawn."""
    import torch
    from torch import nn
    from torch.nn import functional

    torch.set_num_threads(1)
    torch.manual_seed(0)
    embeddings = nn.ModuleList([nn.Embedding(CODES, WIDTH) for _ in range(columns)])
    gru = nn.GRU(WIDTH, WIDTH, batch_first=True)
    heads = nn.ModuleList([nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU()) for _ in range(columns)])
    outs = nn.ModuleList([nn.Linear(WIDTH, CODES) for _ in range(columns)])
    parameters = [p for part in (embeddings, gru, heads, outs) for p in part.parameters()]
    optimizer = torch.optim.Adam(parameters)

    def told(x: Any) -> Any:  # noqa: ANN401 (tensors, which are imported late)
        inside = sum(embedding(x[:, :, j]) for j, embedding in enumerate(embeddings))
        begin = torch.zeros(len(x), 1, WIDTH)
        return gru(torch.cat([begin, inside], dim=1))[0]

    def update() -> None:
        x = torch.randint(CODES, (max(LEARNT // length, 1), length, columns))
        context, loss = told(x)[:, :-1], torch.zeros(())
        for j in range(columns):
            loss = loss + functional.cross_entropy(outs[j](heads[j](context)).transpose(1, 2), x[:, :, j])
            context = context + embeddings[j](x[:, :, j])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    @torch.no_grad()
    def draw(n: int, steps: int) -> None:
        x = torch.zeros(n, 0, columns, dtype=torch.long)
        for _ in range(steps):
            context, made = told(x)[:, -1], []
            for j in range(columns):
                shares = outs[j](heads[j](context)).softmax(dim=1)
                made.append(torch.multinomial(shares, 1))
                context = context + embeddings[j](made[-1][:, 0])
            x = torch.cat([x, torch.cat(made, dim=1)[:, None]], dim=1)

    update()
    training = sum(_seconds(update) for _ in range(4)) / 4
    draw(2, 2)
    drawn = _seconds(lambda: draw(DRAWN, length))
    return {"training": training / max(LEARNT // length, 1) / length, "sampling": drawn / DRAWN / length}
