"""The proof for pictures: synthetic.npz, a grid, distances and a judge, neighbours, samples over the epochs, curves."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from omegaconf import DictConfig
from torch import Tensor

from datakiln.callbacks.fid import MONITOR, training_sets
from datakiln.codecs.pictures import to_levels
from datakiln.console import Console
from datakiln.data.pictures.pictures import ImageData
from datakiln.data.pictures.sources import KnownFactors, resized
from datakiln.errors import UserError
from datakiln.loggers.about import Samples
from datakiln.metrics.base import Figure
from datakiln.metrics.extractors.build import check_extractor
from datakiln.metrics.pictures.evaluate import STEPS, evaluate_images, nearest
from datakiln.metrics.pictures.sets import BATCH, ImageSets, Told
from datakiln.models.vae.vae import VAE
from datakiln.plots.grids import ACROSS, save_grid
from datakiln.plots.images import beside, filmstrip, neighbours
from datakiln.plots.latent import kl_plot, latent_plot
from datakiln.plots.training import loss_curves
from datakiln.proof.base import Proof, scores
from datakiln.proof.latent import DISENTANGLED, Reading, disentanglement_scores, latent_scores
from datakiln.proof.readings import picture_reading
from datakiln.proof.transformed import source_labels, transformed_plot, transformed_scores
from datakiln.results import Score
from datakiln.sampling.pictures import class_counts
from datakiln.sampling.scoring import scorers_of
from datakiln.sampling.synthesizer import Synthesizer
from datakiln.spec import PLAIN, Batch, Sampling
from datakiln.storage import replacing

SHOWN, NEIGHBOURS, ASKED, SAMPLED = ACROSS * ACROSS, 4, 16, 36
MOST_HELD_OUT = 10_000
TOLD = 2**27  # numbers of the pictures that a model is asked about, half a gigabyte
ENCODED, FACTORED = 4000, 1000  # pictures encoded to be drawn, and those whose factors are known
EXTRACTOR = {"extractor": "auto", "precision": "exact", "resize": "clean"}  # options, and what their absence means
WEIGHTS = "weights"
Metric = Callable[[ImageSets], list[Figure]]


@dataclass(frozen=True)
class Made:
    """Synthetic pictures, uint8 (n, C, H, W), the classes asked for, (n,), or None, and the model's `networks`."""

    pictures: np.ndarray
    labels: np.ndarray | None = None
    networks: frozenset[str] = frozenset()

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.pictures)


class ImageProof(Proof):
    """See `Proof`."""

    data: ImageData

    @property
    def n_holdout(self) -> int:
        """Test pictures."""
        return len(self.data.pictures["test"].x)

    def check(self, cfg: DictConfig) -> None:
        """Names and weights of every extractor that will measure, while training or afterwards."""
        if cfg.get("secret") is not None:
            raise UserError(f"secret={cfg.secret} is for tables: pictures have no columns")
        labelled = bool(self.data.spec.classes)
        own = self.data.labelled() is not None and self.data.spec.shape[0] == 1
        for group in ("watch", "metrics"):
            for name, node in ((cfg.get(group) or {}).get("image") or {}).items():
                how = {key: str((node or {}).get(key, default)) for key, default in EXTRACTOR.items()}
                if node and EXTRACTOR.keys() & node.keys():
                    _check_extractor(f"{group}.image.{name}", how, labelled, own, node.get(WEIGHTS))

    def write_synthetic(self, synthesizer: Synthesizer, n: int, seed: int, folder: Path) -> Made:
        """Writes `synthetic.png` and `synthetic.npz`: images (n, H, W, C), and labels where the model was told them.

        A model that only transforms makes them of the held-out pictures.
        """
        made = (
            sampled(synthesizer, n, seed, self.sampling)
            if synthesizer.model.can_draw
            else self._transformed(synthesizer, n, seed)
        )
        content: dict[str, Any] = {"images": made.pictures.transpose(0, 2, 3, 1)}
        if made.labels is not None:
            content |= {"labels": made.labels, "classes": np.array(self.data.target.spec.classes)}
        with replacing(folder / "synthetic.npz") as partial, partial.open("wb") as file:
            np.savez_compressed(file, **content)
        first = made.pictures[:SHOWN]
        save_grid(first, folder / "synthetic.png", f"The first {len(first)} of {len(made):,} synthetic pictures.")
        return replace(made, networks=synthesizer.model.networks)

    def _transformed(self, synthesizer: Synthesizer, n: int, seed: int) -> Made:
        """What a model that takes an input makes of the held-out pictures, as many as there are."""
        x = to_levels(self.data.inputs("test", n, synthesizer.model.takes))
        return Made(synthesizer.transform(x, seed=seed), source_labels(self.data, len(x)))

    def figures(self, synthetic: Made, metrics: Sequence[Metric], seed: int, console: Console) -> list[Score]:
        """Every metric of the config, with a progress line on a terminal."""
        target = self.data.target
        holdout, labels = target.stacked("test", MOST_HELD_OUT)
        sets = replace(
            training_sets(target, self.data.device, sampled=True), judged=torch.from_numpy(synthetic.pictures),
            labels=None if synthetic.labels is None else torch.from_numpy(synthetic.labels),
            holdout=holdout, holdout_labels=labels, seed=seed, trained_with=synthetic.networks,
            told=None if self.synthesizer is None else self._told,
        )  # fmt: skip
        with console.work("measuring", STEPS * len(metrics)) as work:
            found = scores(evaluate_images(replace(sets, watch=work.part), metrics, work.step))
            if metrics and self.synthesizer is not None and not self.synthesizer.model.can_draw:
                found += transformed_scores(self.data, self.synthesizer, sets, seed)
            return found

    def latent(self, seed: int) -> list[Score]:
        """Probes of slant, width, brightness and class, and paths in the features that judge pictures."""
        assert self.synthesizer is not None

        def read() -> Reading:
            judge = training_sets(self.data.target, self.data.device, sampled=True).judging("auto", "exact", "clean")
            return picture_reading(self.data, lambda pictures: features(judge, pictures))

        def features(network: Any, pictures: np.ndarray) -> np.ndarray:  # noqa: ANN401
            parts = torch.from_numpy(pictures).to(self.data.device).split(BATCH)
            return torch.cat([network(part).double().cpu() for part in parts]).numpy()

        found = latent_scores(self.synthesizer, read, seed)
        if isinstance(self.data.source, KnownFactors):
            found += self._disentangled(self.data.source, seed)
        return found

    @torch.no_grad()
    def _disentangled(self, source: KnownFactors, seed: int) -> list[Score]:
        """Gap and disentanglement of pictures whose factors are known, but for one that the model is told."""
        assert self.synthesizer is not None
        model = self.synthesizer.model
        if not isinstance(model, VAE):
            told = f"not computed: {type(model).__name__} has no encoder"
            return [Score(name, None, why=told) for name in DISENTANGLED]
        pictures, factors = source.known(FACTORED, seed + 1)
        labels = torch.from_numpy(factors[:, 0])
        first = 1 if model.conditioning == "label" else 0
        x = self.data.codec.encode(resized(pictures, self.data.spec.shape[1]))
        parts = []
        with model.evaluating():
            for at in torch.arange(len(x)).split(BATCH):
                batch = Batch(x[at], labels[at] if first else None).to(model.device)
                parts.append(model.encode(batch)[0].double().cpu())
        return disentanglement_scores(torch.cat(parts).numpy(), factors[:, first:], source.factors[first:], seed)

    def _told(self, members: int, others: int) -> Told:
        """What the model says of training pictures and of held-out ones; NaN for those that are too many for memory."""
        assert self.synthesizer is not None
        most = max(TOLD // math.prod(self.data.spec.shape), 100)
        found = {}
        for name, scorer in scorers_of(self.synthesizer).items():
            sides = []
            splits: tuple[tuple[Literal["train", "test"], int], ...] = (("train", members), ("test", others))
            for split, n in splits:
                pictures, labels = self.data.examples(split, min(n, most))
                scores = scorer(Batch(self.data.codec.encode(pictures), labels))
                sides.append(np.concatenate([scores, np.full(n - len(scores), np.nan)]))
            found[name] = (sides[0], sides[1])
        return found

    def plots(self, synthesizer: Synthesizer, synthetic: Made, folder: Path) -> list[Path]:
        """Samples, real beside synthetic, neighbours, samples over the epochs, curves."""
        target = folder / "plots"
        target.mkdir(exist_ok=True)
        pictures = synthetic.pictures
        real = self.data.target.examples("train", SHOWN)[0].numpy()
        drawn: list[Path | None] = [beside(real, pictures[:SHOWN], target / "beside.png")]
        if not synthesizer.model.can_draw:
            drawn.append(transformed_plot(self.data, synthesizer, target / "transformed.png"))
        drawn.append(self._neighbours(torch.from_numpy(pictures[:ASKED]), target / "neighbours.png"))
        if synthetic.labels is not None:
            drawn.append(_by_class(synthetic, self.data.target.spec.classes, target / "classes.png"))
        drawn.append(filmstrip(sorted((folder / "samples").glob("epoch-*.png")), target / "epochs.png"))
        if isinstance(synthesizer.model, VAE):
            drawn += self._latent_plots(synthesizer.model, target)
        history = self.history(folder / "metrics.csv")
        if history is not None and len(history):
            drawn.append(loss_curves(history, target / "curves.png", _best_epoch(history)))
        return [path for path in drawn if path is not None]

    def _neighbours(self, samples: Tensor, path: Path) -> Path:
        distances, found = nearest(samples, self.data.target.batches("train"), NEIGHBOURS)
        return neighbours(samples.numpy(), found.numpy(), distances.numpy(), path)

    @torch.no_grad()
    def _latent_plots(self, model: VAE, target: Path) -> list[Path]:
        pictures, y = self.data.examples("train", ENCODED)
        labels = None if y is None else y.to(model.device)
        mean, log_var = model.encode(Batch(self.data.codec.encode(pictures).to(model.device), labels))
        kl = 0.5 * (mean.square() + log_var.exp() - 1.0 - log_var).mean(dim=0)
        names = None if y is None else np.asarray(self.data.spec.classes)[y.numpy()]
        return [
            latent_plot(mean.cpu().numpy(), names, target / "latent.png", title="class"),
            kl_plot(kl.cpu().numpy(), target / "kl_per_dimension.png"),
        ]

    def samples(self, synthetic: Made) -> Samples:
        """The first pictures, with the class that each was asked to show."""
        first, labels = synthetic.pictures[:SAMPLED], synthetic.labels
        names = () if labels is None else tuple(str(self.data.target.spec.classes[k]) for k in labels[:SAMPLED])
        return Samples(pictures=first.transpose(0, 2, 3, 1), labels=names)

    def preview(self, synthetic: Made) -> None:
        """Pictures are no rows."""


def _check_extractor(path: str, how: dict[str, str], labelled: bool, own: bool, weights: str | None) -> None:
    name = "classifier" if how["extractor"] == "auto" and own else how["extractor"]
    try:
        check_extractor(name, how["precision"], how["resize"], labelled, weights)
    except UserError as error:
        told = str(error)
        key = "" if told.startswith(tuple(f"{key}=" for key in (*how, WEIGHTS))) else f"extractor={how['extractor']}: "
        raise UserError(f"{path}.{key}{told}") from None


def sampled(synthesizer: Synthesizer, n: int, seed: int, options: Sampling = PLAIN) -> Made:
    """Samples n pictures; of a model that is told the class, as many of each as among the training pictures."""
    spec = synthesizer.codec.spec
    if synthesizer.model.conditioning != "label":
        return Made(synthesizer.sample(n, seed=seed, options=options))
    counts = class_counts(spec.class_shares, n)
    asked = [(k, count) for k, count in enumerate(counts) if count]
    parts = [
        synthesizer.sample(count, {"class": spec.classes[k]}, seed=seed * len(counts) + k, options=options)
        for k, count in asked
    ]
    labels = np.repeat([k for k, _ in asked], [count for _, count in asked])
    order = np.random.default_rng(seed).permutation(len(labels))
    return Made(np.concatenate(parts)[order], labels[order])


def _best_epoch(history: pd.DataFrame) -> int | None:
    """The epoch with the lowest distance; None where none was measured."""
    measured = next((name for name in history if str(name).startswith(f"{MONITOR}/")), None)
    lowest = history[measured].min() if measured is not None else float("nan")
    return None if lowest != lowest else int(history["epoch"][history[measured] == lowest].iloc[0])


def _by_class(made: Made, classes: Sequence[str], path: Path) -> Path:
    """A row of samples for each of the first ten classes."""
    assert made.labels is not None
    rows = [np.flatnonzero(made.labels == k)[:ACROSS] for k in range(min(len(classes), 10))]
    full = [row for row in rows if len(row) == ACROSS]
    chosen = np.concatenate(full) if full else np.arange(min(SHOWN, len(made)))
    names = ", ".join(classes[: len(rows)])
    return save_grid(made.pictures[chosen], path, f"Samples by the class asked for, a row each: {names}.", ACROSS)
