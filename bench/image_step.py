"""A training step of pictures through the framework beside plain loops of the same nets, and batches of MNIST.

Three ways of the same step, batch included: ours (`src.train`'s model, loader, averaging and precision), the best plain
loop (autocast, channels last, no graph of the generator in critic steps and no gradients of the critic in generator
steps), and the naive one (float32, channels first, one optimizer call after another on whatever has gradients).
"""

from __future__ import annotations

import gzip
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench._process import Cost, Row, alone, row

MODELS = {"dcgan": (32, 128), "wgan_gp": (64, 64)}  # side and batch of each
CRITIC_STEPS = {"dcgan": 12, "wgan_gp": 5}  # batches that are timed; every fifth of wgan_gp's moves the generator
WARM_UP = 3
WANTED = {"dcgan": ">= 2", "wgan_gp": ">= 2.5"}
PENALTY = 10.0
REPEATS = 1  # the two take two minutes of CPU together; more makes the ratios steadier
PICTURES = 1024
MNIST_BATCHES = 100


def run() -> list[Row]:
    """Each measurement as a row; MNIST only where DATA_DIR has it."""
    rows = [line for name in MODELS for line in step(name)]
    folder = Path(os.environ.get("DATA_DIR", "")) / "MNIST" / "raw"
    return [*rows, *(batches() if os.environ.get("DATA_DIR") and folder.is_dir() else [])]


def step(name: str, count: int | None = None, repeats: int = REPEATS) -> list[Row]:
    """CPU-seconds of a batch's updates; peers and ours turn by turn, medians of `repeats`."""
    count = count or CRITIC_STEPS[name]
    ways = ("ours('bf16-mixed', ", "ours('32-true', ", "best(True, ", "best(False, ", "naive(")
    found: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(repeats):
        for way in ways:
            found[way].append(alone("bench.image_step", f"{way}'{name}', {count})")["seconds"])
    half, full, best_half, best_full, naive = (statistics.median(found[way]) for way in ways)
    side, batch = MODELS[name]
    what = f"{name} {side}x{side} batch {batch}, CPU-ms a batch"
    lines = [
        (f"{what}, bf16, against the best plain loop", half, best_half, "best plain loop", half / best_half, "<= 1.05"),
        (f"{what}, fp32, against the best plain loop", full, best_full, "best plain loop", full / best_full, "<= 1.05"),
        (f"{what}, bf16, times faster", half, naive, "naive fp32 loop", naive / half, WANTED[name]),
        (f"{what}, fp32, times faster", full, naive, "naive fp32 loop", naive / full, ""),
    ]
    return [row(w, f"{a * 1e3:.0f}", f"{b * 1e3:.0f} {peer}", ratio, wanted) for w, a, b, peer, ratio, wanted in lines]


def ours(precision: str, name: str, count: int) -> Cost:
    """A batch of `src.train`'s loop: its loader, model, averaging, precision and figures."""
    import lightning as L
    import torch

    from datakiln.callbacks.ema import Ema

    torch.set_flush_denormal(True)
    model, loader = built(name)
    clock = _clock(count)
    trainer = L.Trainer(
        max_epochs=-1, max_steps=-1, limit_val_batches=0, accelerator="cpu", precision=precision, logger=False,  # type: ignore[arg-type]
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
        use_distributed_sampler=False, callbacks=[Ema(0.999), clock],
    )  # fmt: skip
    trainer.fit(model, train_dataloaders=loader)
    return {"seconds": clock.seconds}


def _clock(count: int) -> Any:  # noqa: ANN401 (a Lightning callback, which is imported late)
    import lightning as L

    class Clock(L.Callback):
        """Times `count` batches after the first few, then ends training."""

        done, start, seconds = 0, 0.0, 0.0

        def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:  # noqa: ANN401
            self.done += 1
            if self.done == WARM_UP:
                self.start = time.process_time()
            elif self.done == WARM_UP + count:
                self.seconds = (time.process_time() - self.start) / count
                trainer.should_stop = True

    return Clock()


def built(name: str) -> tuple[Any, Any]:
    """The model of conf/model, and a loader of random pictures of its size."""
    import torch
    from hydra import compose, initialize_config_dir
    from hydra.utils import instantiate

    from datakiln.cli.run_folders import register_resolvers
    from datakiln.data.pictures.loaders import ImageLoader
    from datakiln.spec import DataSpec
    from datakiln.storage import CONF

    side, batch = MODELS[name]
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", overrides=[f"model={name}", "data=digits", "output_dir=unused"])
    torch.manual_seed(0)
    spec = DataSpec("image", (3, side, side), bounds=(-1.0, 1.0), size=PICTURES)
    model = instantiate(cfg.model, _partial_=True, _convert_="all")(spec=spec)
    x = torch.randint(0, 256, (PICTURES, 3, side, side), dtype=torch.uint8)
    return model, ImageLoader(x, None, batch, shuffle=True, side=side)


def best(half: bool, name: str, count: int) -> Cost:
    """A batch of the fastest loop we know in plain PyTorch, average of the generator included."""
    import torch

    torch.set_flush_denormal(True)
    model, loader = built(name)
    generator, critic = model.generator, model.critic
    to_critic, to_generator = (make(net.parameters()) for make, net in _optimizers(model, fused=True))
    average = [p.detach().clone() for p in generator.parameters()]
    turns = model.critic_steps

    def update(i: int, x: torch.Tensor) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            with torch.no_grad():
                fake = generator(model.latents(len(x)))
        torch.clear_autocast_cache()
        to_critic.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss = _critic_loss(name, critic, x, fake)
        loss.backward()
        to_critic.step()
        torch.clear_autocast_cache()
        if (i + 1) % turns:
            return
        critic.requires_grad_(False)
        to_generator.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss = _generator_loss(name, critic(generator(model.latents(len(x)))).score)
        loss.backward()
        to_generator.step()
        torch.clear_autocast_cache()
        critic.requires_grad_(True)
        with torch.no_grad():
            torch._foreach_lerp_(average, list(generator.parameters()), 0.001)

    return {"seconds": _timed(update, loader, count)}


def naive(name: str, count: int) -> Cost:
    """A batch of the loop one writes first: float32, contiguous, graphs and gradients wherever they arise."""
    import torch

    model, loader = built(name)
    generator = model.generator.to(memory_format=torch.contiguous_format)
    critic = model.critic.to(memory_format=torch.contiguous_format)
    generator.memory_format = critic.memory_format = torch.contiguous_format
    to_critic, to_generator = (make(net.parameters()) for make, net in _optimizers(model, fused=False))
    turns = model.critic_steps

    def update(i: int, x: torch.Tensor) -> None:
        to_critic.zero_grad()
        _critic_loss(name, critic, x, generator(model.latents(len(x)))).backward()
        to_critic.step()
        if (i + 1) % turns == 0:
            to_generator.zero_grad()
            _generator_loss(name, critic(generator(model.latents(len(x)))).score).backward()
            to_generator.step()

    return {"seconds": _timed(update, loader, count)}


def _optimizers(model: Any, fused: bool) -> Iterator[tuple[Callable[..., Any], Any]]:  # noqa: ANN401
    """Makers of Adam with the rates of the configs, and the nets they are for."""
    import functools

    for factory, net in zip(model.optimizer_factories, (model.critic, model.generator), strict=True):
        yield functools.partial(factory.func, **{**factory.keywords, "fused": fused}), net


def _timed(update: Callable[[int, Any], None], loader: Any, count: int) -> float:  # noqa: ANN401
    done, start = 0, 0.0
    while True:
        for batch in loader:
            if done == WARM_UP:
                start = time.process_time()
            if done == WARM_UP + count:
                return (time.process_time() - start) / count
            update(done, batch.x)
            done += 1


def _critic_loss(name: str, critic: Any, real: Any, fake: Any) -> Any:  # noqa: ANN401
    """Written out, apart from the framework's own losses."""
    import torch
    from torch.nn import functional as F

    of_real, of_fake = critic(real).score.float(), critic(fake).score.float()
    if name == "dcgan":
        return F.softplus(-of_real).mean() + F.softplus(of_fake).mean()
    share = torch.rand(len(real), 1, 1, 1)
    between = (share * real + (1 - share) * fake.detach().float()).requires_grad_(True)
    (gradients,) = torch.autograd.grad(critic(between).score.sum(), between, create_graph=True)
    penalty = (gradients.float().flatten(1).norm(dim=1) - 1).square().mean()
    return of_fake.mean() - of_real.mean() + PENALTY * penalty


def _generator_loss(name: str, score: Any) -> Any:  # noqa: ANN401
    from torch.nn import functional as F

    return F.softplus(-score.float()).mean() if name == "dcgan" else -score.float().mean()


def batches(count: int = MNIST_BATCHES) -> list[Row]:
    """Batches of 128 digits, shuffled and normalised: the data module beside torchvision's data set in a DataLoader."""
    peer = alone("bench.image_step", f"torchvision_batches({count})")["seconds"]
    mine = alone("bench.image_step", f"our_batches({count})")["seconds"]
    what = f"MNIST, {count} batches of 128, CPU-ms a batch"
    return [row(what, f"{mine * 1e3:.2f}", f"{peer * 1e3:.1f} torchvision in a DataLoader", peer / mine, ">= 20")]


def our_batches(count: int) -> Cost:
    """A batch of `data=mnist`."""
    from hydra import compose, initialize_config_dir
    from hydra.utils import instantiate

    from datakiln.cli.run_folders import register_resolvers
    from datakiln.storage import CONF

    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", overrides=["data=mnist", "model=dcgan", "output_dir=unused", "batch_size=128"])
    data = instantiate(cfg.data, _convert_="all")
    data.prepare_data()
    data.setup("fit")
    return {"seconds": _drawn(data.train_dataloader(), count)}


def torchvision_batches(count: int) -> Cost:
    """A batch of torchvision's MNIST with its transforms, loaded in the process itself."""
    from torch.utils.data import DataLoader
    from torchvision import transforms
    from torchvision.datasets import MNIST

    normalised = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))])
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "MNIST" / "raw"
        raw.mkdir(parents=True)
        for path in (Path(os.environ["DATA_DIR"]) / "MNIST" / "raw").iterdir():  # which torchvision wants unpacked
            content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
            (raw / path.name.removesuffix(".gz")).write_bytes(content)
        digits = MNIST(folder, train=True, transform=normalised)
        return {"seconds": _drawn(DataLoader(digits, batch_size=128, shuffle=True, drop_last=True), count)}


def _drawn(loader: Any, count: int) -> float:  # noqa: ANN401
    """CPU-seconds a batch, the first two left out."""
    start = 0.0
    for i, batch in enumerate(loader):
        float(batch[0].mean() if isinstance(batch, list | tuple) else batch.x.mean())
        if i == 1:
            start = time.process_time()
        if i == count + 1:
            return (time.process_time() - start) / count
    raise RuntimeError(f"the data has fewer than {count + 2} batches")
