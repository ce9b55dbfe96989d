"""How strange a trained model calls pictures: a VAE by what it cannot rebuild, a GAN by its critic's features.

Models with an exact likelihood are asked in `datakiln.sampling.completing`. Every score here is higher for what is
stranger. None of them has seen an anomaly: they know what is usual, and nothing else.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from datakiln.codecs.pictures import to_levels
from datakiln.console import Console
from datakiln.data.pictures.finding import find_pictures
from datakiln.errors import UserError
from datakiln.models.base import GenerativeModel
from datakiln.models.gan.pictures import ImageGAN
from datakiln.models.vae.vae import VAE
from datakiln.sampling.completing import left_out, own_side, png_bits, read_all
from datakiln.sampling.synthesizer import Synthesizer
from datakiln.spec import Batch
from datakiln.storage import replacing

Scores = Mapping[str, np.ndarray]
Scorer = Callable[[np.ndarray, tuple[int, ...]], Scores]  # pictures uint8 (n, C, H, W) and seeds to columns (n,)
DRAWS = 16  # of z, for the bound on a picture's likelihood
USUAL, NEAREST = 1000, 5  # samples that stand for what is usual, and how many of them a distance is the mean of


def scorer_of(synthesizer: Synthesizer) -> Scorer:
    """What scores pictures by this model; the first column is the one to go by.

    Raises:
        UserError: A model that tells nothing of a given picture.
    """
    model = synthesizer.model
    if model.likelihood != "none":
        return functools.partial(_by_likelihood, synthesizer)
    if isinstance(model, VAE):
        return functools.partial(_by_vae, synthesizer, model)
    if isinstance(model, ImageGAN):
        return _Critic(synthesizer, model)
    synthesizer.check_likelihood()
    raise AssertionError("a model without a likelihood has been refused")


def score_pictures(synthesizer: Synthesizer, source: Path, out: str) -> str:
    """Writes a CSV with the scores of each picture of a folder, the strangest first; says how many.

    Raises:
        UserError: A model that cannot tell, no usable picture, or `out` is no CSV.
    """
    if not isinstance(synthesizer.model, VAE | ImageGAN):
        synthesizer.check_likelihood()
    if not out.endswith(".csv"):
        raise UserError(f"out={out}: scores go to a CSV; give out=x.csv")
    files, _, _ = find_pictures(source, labels=False, option="score")
    scorer = scorer_of(synthesizer)
    parts, left, chunk = [], [], synthesizer.codec.chunk
    starts = range(0, len(files), chunk)
    for start in Console(stderr=True).tracked(starts, "score", len(starts)):
        good, pixels, bad = read_all(files[start : start + chunk], own_side(synthesizer))
        left += bad
        if pixels:
            names = [str(files[start + i].relative_to(source)) for i in good]
            parts.append(pd.DataFrame({"file": names, **scorer(np.stack(pixels), (0, start))}))
    if not parts:
        raise UserError(f"score={source}: no picture could be read ({left[0]})")
    table = pd.concat(parts, ignore_index=True)
    by = table.columns[1]
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    with replacing(Path(out)) as partial:
        table.sort_values(by, ascending=False, kind="stable").to_csv(partial, index=False, float_format="%.5f")
    return f"{len(table):,} pictures scored, the strangest by {by} first{left_out(left)};"


def _by_likelihood(synthesizer: Synthesizer, pictures: np.ndarray, seeds: tuple[int, ...]) -> Scores:
    """Code lengths in bits a dimension: what the model's exceeds a PNG's by, which is a likelihood ratio, and alone."""
    each = math.prod(pictures.shape[1:])
    bits = -synthesizer.picture_log_prob(pictures, seeds) / (each * math.log(2))
    return _beside_png(bits, pictures)


def _beside_png(bits: np.ndarray, pictures: np.ndarray) -> dict[str, np.ndarray]:
    each = math.prod(pictures.shape[1:])
    png = np.array([png_bits(picture) / each for picture in pictures])
    return {"surprise": bits - png, "bits_per_dim": bits, "png_bits_per_dim": png}


@torch.no_grad()
def _by_vae(synthesizer: Synthesizer, model: VAE, pictures: np.ndarray, seeds: tuple[int, ...]) -> Scores:
    """What is lost of a picture through the latent space, in grey levels (RMS), and the bound on its likelihood."""
    each, losses, bits = math.prod(pictures.shape[1:]), [], []
    with synthesizer.seeded(seeds), model.evaluating():
        for part in torch.from_numpy(np.ascontiguousarray(pictures)).split(model.rows_at_once):
            batch = _told(model, synthesizer.codec.encode(part).to(model.device))
            made = model.decode(model.encode(batch)[0], batch.y)
            losses.append((to_levels(made).float() - to_levels(batch.x).float()).square().flatten(1).mean(dim=1).sqrt())
            bits.append(-model.log_likelihood(batch, DRAWS) / (each * math.log(2)))
    lost = torch.cat(losses).double().cpu().numpy()
    return {"reconstruction": lost, **_beside_png(torch.cat(bits).double().cpu().numpy(), pictures)}


class _Critic:
    """Distance from usual pictures in the features that the critic goes by, and its own verdict.

    What is usual is what the generator draws: a checkpoint holds no training picture.
    """

    def __init__(self, synthesizer: Synthesizer, model: ImageGAN) -> None:
        self.synthesizer, self.model = synthesizer, model
        rows = torch.cat([self._looked(part)[0] for part in self._usual()])
        self.mean, self.scale = rows.mean(dim=0), rows.std(dim=0).clamp(min=1e-4)
        self.usual = self._scaled(rows)

    def _usual(self) -> list[Tensor]:
        pictures = torch.from_numpy(self.synthesizer.sample(USUAL, seed=0))
        return list(self.synthesizer.codec.encode(pictures).split(self.model.rows_at_once))

    def __call__(self, pictures: np.ndarray, seeds: tuple[int, ...]) -> Scores:
        distances, verdicts = [], []
        parts = torch.from_numpy(np.ascontiguousarray(pictures)).split(self.model.rows_at_once)
        for part in parts:
            features, score = self._looked(self.synthesizer.codec.encode(part))
            near = torch.cdist(self._scaled(features), self.usual).topk(min(NEAREST, len(self.usual)), largest=False)
            distances.append(near.values.mean(dim=1))
            verdicts.append(-score)
        columns = {"critic_features": distances, "critic": verdicts}
        return {name: torch.cat(values).double().cpu().numpy() for name, values in columns.items()}

    def _scaled(self, rows: Tensor) -> Tensor:
        return (rows - self.mean) / self.scale / math.sqrt(rows.shape[1])

    @torch.no_grad()
    def _looked(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What enters the critic's last layer, (B, F), and its verdict, (B,)."""
        seen: list[Tensor] = []
        layers = [part for part in self.model.critic.modules() if isinstance(part, nn.Linear | nn.Conv2d)]
        hooks = [layer.register_forward_pre_hook(lambda _, given: seen.append(given[0])) for layer in layers]
        try:
            with self.model.evaluating():
                score = self.model.judgement(_told(self.model, x.to(self.model.device)))
        finally:
            for hook in hooks:
                hook.remove()
        return seen[-1].flatten(1).float(), score


def _told(model: GenerativeModel, x: Tensor) -> Batch:
    """Pictures whose class is unknown, as a model that is told it takes them."""
    y = torch.full((len(x),), -1, device=x.device) if model.conditioning == "label" else None
    return Batch(x, y)
