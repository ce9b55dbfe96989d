"""Models of pictures with one loss: a training step through the framework beside a plain loop, and what samples cost.

The plain loop draws batches from a tensor, and has the same net, optimizer and average of the weights. Samples are of
the default sampler of conf/model, all at once; those of the plain loop come one after another, as a script draws them,
and pixel by pixel with the whole net asked for each. All on random grey pictures of 28 x 28.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

from bench._process import Cost, Row, alone, row

MODELS = {  # batch of each
    "flow_matching": 32, "ddpm": 32, "latent_diffusion": 32, "pixelcnn": 16, "pixelrnn": 32, "realnvp": 64, "glow": 64,
}  # fmt: skip
COUNT, WARM_UP, REPEATS = 8, 3, 1
PICTURES = 1024
SAMPLES, PLAIN_SAMPLES = 64, 4
SIDE = 28


def run() -> list[Row]:
    """Two rows a model: a step and a sample beside plain loops."""
    return [line for name in MODELS for line in measured(name)]


def measured(name: str) -> list[Row]:
    """Medians of `REPEATS`, ours and the plain loop turn by turn."""
    found: dict[str, list[float]] = {"ours": [], "plain": []}
    for _ in range(REPEATS):
        for way, seconds in found.items():
            seconds.append(alone("bench.picture_models", f"{way}('{name}')")["seconds"])
    mine, plain = (statistics.median(found[way]) for way in ("ours", "plain"))
    sampled, singly = (alone("bench.picture_models", f"{way}('{name}')")["seconds"] for way in ("samples", "singly"))
    what = f"{name} {SIDE}x{SIDE} batch {MODELS[name]}, CPU-ms a step"
    rate = f"{MODELS[name] / mine:.0f} pictures a CPU-second trained, {1 / sampled:.1f} sampled"
    beside = f"{plain * 1e3:.0f} plain loop"
    return [
        row(f"{what}, against a plain loop", f"{mine * 1e3:.0f}", beside, mine / plain, "<= 1.05"),
        row(
            f"{name}: {rate}; CPU-ms a sample, times faster",
            f"{sampled * 1e3:.1f}",
            f"{singly * 1e3:.0f} plain loop",
            singly / sampled,
            ">= 1",
        ),
    ]


def ours(name: str) -> Cost:
    """A batch of `src.train`'s loop: loader, model, average and figures."""
    import lightning as L
    import torch

    from bench.image_step import _clock
    from datakiln.callbacks.ema import Ema

    torch.set_flush_denormal(True)
    model, loader = built(name)
    clock = _clock(COUNT)
    trainer = L.Trainer(
        max_epochs=-1, max_steps=-1, limit_val_batches=0, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0, use_distributed_sampler=False,
        callbacks=[Ema(0.999), clock],
    )  # fmt: skip
    trainer.fit(model, train_dataloaders=loader)
    return {"seconds": clock.seconds}


def plain(name: str) -> Cost:
    """A batch of the same updates without the framework."""
    import torch

    from datakiln.spec import Batch

    torch.set_flush_denormal(True)
    model, loader = built(name)
    x, y, batch = loader.x.float() / 127.5 - 1.0, loader.y, MODELS[name]
    optimizer = model.optimizer_factory(model.trainable())
    parameters = list(model.averaged().parameters())
    average = [p.detach().clone() for p in parameters]
    start = 0.0
    for i in range(WARM_UP + COUNT):
        if i == WARM_UP:
            start = time.process_time()
        rows = torch.randint(0, len(x), (batch,))
        optimizer.zero_grad(set_to_none=True)
        model.losses(Batch(x[rows], y[rows]))["loss"].backward()
        optimizer.step()
        torch._foreach_lerp_(average, [p.detach() for p in parameters], 0.001)
    return {"seconds": (time.process_time() - start) / COUNT}


def samples(name: str) -> Cost:
    """A picture, of a chunk as `sample` draws it."""
    import torch

    torch.set_flush_denormal(True)
    model, _ = built(name)
    model.sample(4)
    start = time.process_time()
    model.sample(SAMPLES)
    return {"seconds": (time.process_time() - start) / SAMPLES}


def singly(name: str) -> Cost:
    """A picture, of a few drawn one after another."""
    import torch

    from datakiln.models.autoregressive.pixels import PixelByPixel

    torch.set_flush_denormal(True)
    model, _ = built(name)
    start = time.process_time()
    with torch.inference_mode():
        for _ in range(PLAIN_SAMPLES):
            label = torch.randint(0, 10, (1,))
            if not isinstance(model, PixelByPixel):
                model.draw(1, label)
                continue
            x = torch.zeros(1, *model.spec.shape)
            for place in range(SIDE**2):
                r, c = divmod(place, SIDE)
                x[:, :, r, c] = model.head.draw(model.net(x, label)[:, :, r, c], 1.0)
    return {"seconds": (time.process_time() - start) / PLAIN_SAMPLES}


def built(name: str) -> tuple[Any, Any]:
    """The model of conf/model, and a loader of random pictures of ten classes."""
    import torch
    from hydra import compose, initialize_config_dir
    from hydra.utils import instantiate

    from datakiln.cli.run_folders import register_resolvers
    from datakiln.data.pictures.loaders import ImageLoader
    from datakiln.spec import DataSpec
    from datakiln.storage import CONF

    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", overrides=[f"model={name}", "data=digits", "output_dir=unused"])
    torch.manual_seed(0)
    classes, shares = tuple("0123456789"), (0.1,) * 10
    spec = DataSpec("image", (1, SIDE, SIDE), classes=classes, class_shares=shares, bounds=(-1.0, 1.0), size=PICTURES)
    model = instantiate(cfg.model, _partial_=True, _convert_="all")(spec=spec)
    x = torch.randint(0, 256, (PICTURES, 1, SIDE, SIDE), dtype=torch.uint8)
    return model, ImageLoader(x, torch.arange(PICTURES) % 10, MODELS[name], shuffle=True, side=SIDE)
