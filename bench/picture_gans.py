"""An update of models of pictures that double maps, beside the same nets that double first and convolve then.

    python -m bench picture_gans

`projected_gan` (Flowers, 64 x 64) and `biggan` (28 x 28), both sides' losses and their gradients, a batch of random
pictures, on one thread. The plain way is torch's own modules: nearest neighbours and a convolution of the large map,
frozen features with their BatchNorms, autocast throughout.
"""

from __future__ import annotations

import time
from typing import Any

from bench._process import Cost, Row, alone, row

MODELS = {"projected_gan": ((3, 64, 64), 16), "biggan": ((1, 28, 28), 64)}
UPDATES, WARM_UP = 6, 2


def run() -> list[Row]:
    """CPU-milliseconds an update, ours and plain turn by turn."""
    rows = []
    for name, (shape, batch) in MODELS.items():
        for precision in ("bf16", "fp32"):
            ways = [alone("bench.picture_gans", f"update('{name}', '{precision}', {plain})") for plain in (False, True)]
            ours, plain = (way["seconds"] * 1e3 for way in ways)
            what = f"{name} {shape[1]}x{shape[2]} batch {batch}, {precision}, CPU-ms an update"
            rows.append(row(what, f"{ours:.0f}", f"{plain:.0f} torch's modules", ours / plain))
    return rows


def update(name: str, precision: str, plain: bool) -> Cost:
    """Both sides' losses and gradients."""
    import torch

    torch.set_flush_denormal(True)
    if plain:
        _as_plain()
    model, batch = _built(name)
    spent = 0.0
    for i in range(WARM_UP + UPDATES):
        start = time.process_time()
        for losses in (model.critic_losses, model.generator_losses):
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                loss = losses(batch)["loss"]
            loss.backward()
            model.zero_grad(set_to_none=True)
        spent += time.process_time() - start if i >= WARM_UP else 0.0
    return {"seconds": spent / UPDATES}


def _built(name: str) -> Any:  # noqa: ANN401 (a model and a batch)
    import torch

    from datakiln.models.gan.biggan import BigGAN
    from datakiln.models.gan.projected_gan import ProjectedGAN
    from datakiln.spec import Batch, DataSpec

    shape, n = MODELS[name]
    torch.manual_seed(0)
    classes = tuple("0123456789")
    spec = DataSpec("image", shape, classes=classes, class_shares=(0.1,) * 10, size=n)
    kind: Any = {"projected_gan": ProjectedGAN, "biggan": BigGAN}[name]
    return kind(spec, channels_last=True).train(), Batch(torch.rand(n, *shape) * 2 - 1, torch.arange(n) % 10)


def _as_plain() -> None:
    """Puts torch's own way in the place of ours."""
    from torch import nn
    from torch.nn import functional as F

    from datakiln.models.gan.projected_gan import Features
    from datakiln.nets.resized import DoublingConv

    def doubled(self: Any, x: Any) -> Any:  # noqa: ANN401
        return nn.Conv2d.forward(self, F.interpolate(x, scale_factor=2.0))

    DoublingConv.forward = doubled  # type: ignore[method-assign]
    Features.network = property(lambda self: (self.stem, *self.stages))  # type: ignore[assignment, method-assign]
    Features.forward = Features._mixed  # type: ignore[method-assign]
