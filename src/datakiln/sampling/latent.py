"""The latent space of a trained model: points in it, traversals, edits, mixtures of styles, pictures found again.

A point is the style of a model: its latents z themselves, standard normal, or what it makes of them (w of `stylegan2`).
"""

from __future__ import annotations

import dataclasses
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from datakiln.errors import UserError
from datakiln.sampling.synthesizer import Synthesizer
from datakiln.spec import NOUNS, PLAIN, Batch, Sampling

RIDGE = 0.01  # of the mean square of styles: keeps a direction from leaning on what hardly varies
STARTS, ITERATIONS, RATE = 64, 200, 0.05  # draws that a search begins with, its updates, and its rate
LEAST = 20  # examples of either kind, or values, that a direction is drawn from


@dataclass(frozen=True)
class Points:
    """Places in a latent space.

    Attributes:
        styles: Shape (n, latent_dim), or (n, layers, latent_dim) where each layer has its own.
        y: Class indices of what is shown there, (n,); None for a model that is told none.
    """

    styles: Tensor
    y: Tensor | None = None

    def __len__(self) -> int:
        """How many."""
        return len(self.styles)

    def moved(self, by: Tensor) -> Points:
        """The same, each moved by its own (n, latent_dim) or all by one step (latent_dim,)."""
        return Points(self.styles + by.to(self.styles), self.y)

    def repeated(self, times: int) -> Points:
        """Each as often, side by side."""
        y = None if self.y is None else self.y.repeat_interleave(times)
        return Points(self.styles.repeat_interleave(times, dim=0), y)


@dataclass(frozen=True)
class Direction:
    """Where an attribute grows.

    Attributes:
        step: One standard deviation of styles that way, (latent_dim,).
        told: Correlation between how far an example lies that way and its attribute, on examples apart, in [-1, 1].
    """

    step: Tensor
    told: float


def check_latent(synthesizer: Synthesizer) -> None:
    """Raises `UserError` for a model without a latent space, or of series."""
    model, kind = synthesizer.model, synthesizer.codec.kind
    if kind == "series":
        raise UserError(f"latent tools are for tables and pictures; this run has learnt {NOUNS[kind]}s")
    if not model.can_walk:
        told = f"{type(model).__name__} has no latent space to go about in"
        raise UserError(f"{told}; train {'model=vae or tvae' if kind == 'table' else 'a GAN of pictures or model=vae'}")


def classes_of(synthesizer: Synthesizer, n: int, condition: Mapping[str, Any], seed: int) -> Tensor | None:
    """Class indices of n points: that of the condition, else drawn by shares; None for a model that is told none."""
    spec = synthesizer.codec.spec
    if synthesizer.codec.kind == "image":
        return synthesizer.classes(n, synthesizer.given_class(condition), (seed, 0, 0))
    label = getattr(spec.label, "name", None) or "the label"
    wrong = next((name for name in condition if name != label), None)
    if condition and (synthesizer.model.conditioning != "label" or wrong is not None):
        raise UserError(f"condition.{wrong or label}: in its latent space this model cannot be told; leave it out")
    given = None if not condition else next((i for i, c in enumerate(spec.classes) if c == str(condition[label])), -1)
    if given == -1:
        raise UserError(f"condition.{label}={condition[label]} is unknown; known: {', '.join(spec.classes)}")
    return synthesizer.classes(n, given, (seed, 0, 0))


@torch.no_grad()
def points(
    synthesizer: Synthesizer,
    n: int,
    condition: Mapping[str, Any] | None = None,
    seed: int = 0,
    options: Sampling = PLAIN,
) -> Points:
    """Random points, as samples have them; each the same whatever n is.

    Raises:
        UserError: The model has no latent space, or an option or condition that it does not follow.
    """
    check_latent(synthesizer)
    synthesizer.model.check_options(options)
    y = classes_of(synthesizer, n, condition or {}, seed)
    return points_of(synthesizer, normal(synthesizer, n, seed), y, options)


def normal(synthesizer: Synthesizer, n: int, seed: int) -> Tensor:
    """Latents z ~ N(0, I), (n, latent_dim); the first are the same whatever n is."""
    size: Any = synthesizer.model.latent_dim  # every model that walks has one
    return torch.from_numpy(np.random.default_rng(abs(seed)).standard_normal((n, size), dtype=np.float32))


@torch.no_grad()
def points_of(synthesizer: Synthesizer, z: Tensor, y: Tensor | None, options: Sampling = PLAIN) -> Points:
    """The points of latents (n, latent_dim)."""
    model = synthesizer.model
    with model.evaluating():
        styles = model.styles(z.to(model.device), None if y is None else y.to(model.device), options)
    return Points(styles.float().cpu(), y)


@torch.no_grad()
def shown(synthesizer: Synthesizer, at: Points, options: Sampling = PLAIN, seed: int = 0) -> Any:  # noqa: ANN401
    """What lies at points, in user units: a frame, by default of what is likeliest; or pictures uint8 (n, C, H, W).

    What is drawn beside the latents is drawn from the same numbers whatever the points are.
    """
    model = synthesizer.model
    if synthesizer.codec.kind == "table" and options.mean is None and "mean" in model.options:
        options = dataclasses.replace(options, mean=True)
    parts = []
    for start in range(0, len(at), synthesizer.codec.chunk):
        rows = slice(start, start + synthesizer.codec.chunk)
        y = None if at.y is None else at.y[rows].to(model.device)
        with synthesizer.seeded((seed, 0, 0)), model.evaluating():
            x = model.of_styles(at.styles[rows].to(model.device), y, options)
        parts.append(synthesizer.codec.decode(x.cpu(), np.random.default_rng(abs(seed)), start))
    return pd.concat(parts, ignore_index=True) if isinstance(parts[0], pd.DataFrame) else np.concatenate(parts)


@torch.no_grad()
def latents_of(synthesizer: Synthesizer, batch: Batch) -> Tensor:
    """Latents (n, latent_dim) of examples in model space, of a model that can tell them."""
    return _in_pieces(synthesizer, synthesizer.model.latents_of, batch)


@torch.no_grad()
def hidden_of(synthesizer: Synthesizer, batch: Batch) -> Tensor:
    """States (n, H) of the hidden layer that the model names, for examples in model space."""
    return _in_pieces(synthesizer, synthesizer.model.hidden_of, batch)


def _in_pieces(synthesizer: Synthesizer, told: Callable[[Batch], Tensor], batch: Batch) -> Tensor:
    size, parts = synthesizer.model.rows_at_once, []
    with synthesizer.model.evaluating():
        for start in range(0, len(batch.x), size):
            part = batch.each(operator.itemgetter(slice(start, start + size)))
            parts.append(told(part.to(synthesizer.model.device)).float().cpu())
    return torch.cat(parts)


def traversal(
    synthesizer: Synthesizer,
    dimensions: Sequence[int],
    steps: int,
    reach: float,
    n: int = 1,
    condition: Mapping[str, Any] | None = None,
    seed: int = 0,
    options: Sampling = PLAIN,
) -> tuple[Points, np.ndarray]:
    """Points along single dimensions of z, all else the same: for every start and dimension a row of `steps`.

    Arguments:
        synthesizer: A model with a latent space.
        dimensions: Of z.
        steps: From -reach to reach.
        reach: In standard deviations of z.
        n: Random starts.
        condition: See `points`, as for the next two.
        seed: See there.
        options: See there.

    Returns:
        (n * len(dimensions) * steps) points, and the value of the dimension in each.

    Raises:
        UserError: There is no such dimension, or see `points`.
    """
    check_latent(synthesizer)
    synthesizer.model.check_options(options)
    size: Any = synthesizer.model.latent_dim
    wrong = next((d for d in dimensions if not 0 <= d < size), None)
    if wrong is not None:
        raise UserError(f"traverse={wrong}: the latent space has {size} dimensions, 0 to {size - 1}")
    z, y = normal(synthesizer, n, seed), classes_of(synthesizer, n, condition or {}, seed)
    values = torch.linspace(-reach, reach, steps)
    z = z.repeat_interleave(len(dimensions) * steps, dim=0)
    place = torch.tensor(list(dimensions)).repeat_interleave(steps).repeat(n)
    z[torch.arange(len(z)), place] = values.repeat(n * len(dimensions))
    y = None if y is None else y.repeat_interleave(len(dimensions) * steps)
    return points_of(synthesizer, z, y, options), values.repeat(n * len(dimensions)).numpy()


def around(at: Points, dimensions: Sequence[int], steps: int, reach: float) -> tuple[Points, np.ndarray]:
    """The same about points that are given, along single dimensions of styles, by so much more or less."""
    size = at.styles.shape[1]
    wrong = next((d for d in dimensions if not 0 <= d < size), None)
    if wrong is not None:
        raise UserError(f"traverse={wrong}: the latent space has {size} dimensions, 0 to {size - 1}")
    values = torch.linspace(-reach, reach, steps)
    moved = at.repeated(len(dimensions) * steps)
    by = torch.zeros(len(moved), size)
    place = torch.tensor(list(dimensions)).repeat_interleave(steps).repeat(len(at))
    by[torch.arange(len(moved)), place] = values.repeat(len(at) * len(dimensions))
    return moved.moved(by), by.sum(dim=1).numpy()


def walk(
    synthesizer: Synthesizer,
    n: int,
    condition: Mapping[str, Any] | None = None,
    seed: int = 0,
    options: Sampling = PLAIN,
    every: int = 8,
) -> Points:
    """A closed walk of n steps along great circles between random latents, one every so many steps."""
    from datakiln.sampling.pictures import circle

    check_latent(synthesizer)
    synthesizer.model.check_options(options)
    y = classes_of(synthesizer, 1, condition or {}, seed)
    z = circle(normal(synthesizer, math.ceil(n / every), seed), n)
    return points_of(synthesizer, z, None if y is None else y.expand(n), options)


def direction(at: Points, attribute: np.ndarray) -> Direction:
    """Where an attribute grows, by ridge regression of it on styles; what it tells is measured on a half kept apart.

    Of two kinds of examples this is Fisher's discriminant (as hyperplanes of a support vector machine in Shen et al.,
    2020).

    Arguments:
        at: Random points.
        attribute: A number for each, or 0 and 1; NaN where it is not known.

    Raises:
        UserError: Too few of either kind.
    """
    value = torch.from_numpy(np.array(attribute, dtype=np.float64))
    known = torch.isfinite(value)
    value, styles = value[known], at.styles[known].double()
    kinds, counts = value.unique(return_counts=True)
    if len(value) < 2 * LEAST or len(kinds) < 2 or (len(kinds) == 2 and int(counts.min()) < LEAST):
        few = int(counts.min()) if len(kinds) > 1 else 0
        lacking = f"attribute: of {len(value)} drawn examples only {few} have it, or lack it, and {LEAST} must"
        raise UserError(f"{lacking}; ask for another one, or of a model that draws it more often")
    half = torch.arange(len(value)) % 2 == 0
    told = _correlation((styles[~half] - styles[half].mean(dim=0)) @ _slope(styles[half], value[half]), value[~half])
    slope = _slope(styles, value)
    unit = slope / slope.norm().clamp(min=1e-12)
    spread = ((styles - styles.mean(dim=0)) @ unit).std()
    return Direction((unit * spread).float(), told)


def _slope(styles: Tensor, value: Tensor) -> Tensor:
    x, y = styles - styles.mean(dim=0), value - value.mean()
    gram = x.T @ x / len(x)
    ridge = RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    return torch.linalg.solve(gram + ridge, x.T @ y / len(x))


def _correlation(a: Tensor, b: Tensor) -> float:
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / (a.norm() * b.norm()).clamp(min=1e-12))


def mixed(synthesizer: Synthesizer, coarse: Points, fine: Points, layer: int) -> Points:
    """Every coarse point with every fine one, which run fastest: its style before a layer, the other's from it on.

    Raises:
        UserError: The model has one place for styles, or not so many.
    """
    layers = synthesizer.model.style_layers
    if layers == 1:
        told = f"mix={layer}: {type(synthesizer.model).__name__} has one place for its latents, and nothing to mix"
        raise UserError(f"{told}; train model=stylegan2")
    if not 0 < layer < layers:
        raise UserError(f"mix={layer}: styles enter at {layers} layers; give one of 1 to {layers - 1}")
    first, second = coarse.repeated(len(fine)), fine.styles.repeat(len(coarse), 1)
    styles = [first.styles if i < layer else second for i in range(layers)]
    return Points(torch.stack(styles, dim=1), first.y)


def projected(
    synthesizer: Synthesizer,
    picture: np.ndarray,
    condition: Mapping[str, Any] | None = None,
    seed: int = 0,
    options: Sampling = PLAIN,
) -> tuple[Points, float]:
    """The point whose picture is nearest to one, from the best of random ones by gradients (Karras et al., 2020, D).

    Nearest by squared differences at the picture's side and at halves of it; the paper looks through a network, which a
    model of any pictures has not.

    Arguments:
        synthesizer: A model of pictures with a latent space.
        picture: uint8 (C, H, W), of the model's shape.
        condition: See `points`, as for the next two.
        seed: See there.
        options: See there.

    Returns:
        The point, and the root mean square of the difference in grey levels.
    """
    start = points(synthesizer, STARTS, condition, seed, options)
    found = search(synthesizer, picture[None], start, seed, options)
    made = shown(synthesizer, found, options, seed)[0].astype(np.float64)
    return found, float(np.sqrt(np.square(made - picture).mean()))


def search(
    synthesizer: Synthesizer,
    pictures: np.ndarray,
    start: Points,
    seed: int = 0,
    options: Sampling = PLAIN,
    updates: int = ITERATIONS,
) -> Points:
    """For each picture the point nearest to it, from the best of its own starts by gradients; see `projected`.

    Arguments:
        synthesizer: A model of pictures with a latent space.
        pictures: uint8 (n, C, H, W), of the model's shape.
        start: Where the search begins: as many points for each picture, those of one behind each other.
        seed: Of what is drawn beside the latents.
        options: See `points`.
        updates: Steps of Adam.
    """
    model, each = synthesizer.model, len(start) // len(pictures)
    target = synthesizer.codec.encode(torch.from_numpy(pictures.copy())).to(model.device)
    with torch.no_grad(), synthesizer.seeded((seed, 0, 0)), model.evaluating():
        y = None if start.y is None else start.y.to(model.device)
        x = model.of_styles(start.styles.to(model.device), y, options)
        best = _apart(x, target.repeat_interleave(each, dim=0)).view(-1, each).argmin(dim=1).cpu()
    best = best + each * torch.arange(len(pictures))
    y = None if start.y is None else start.y[best].to(model.device)
    styles = start.styles[best].to(model.device).clone().requires_grad_(True)
    spread = float(start.styles.std(dim=0).mean().clamp(min=1e-3))
    optimizer = torch.optim.Adam([styles], lr=RATE * spread)
    least, nearest = torch.full((len(pictures),), math.inf, device=model.device), styles.detach().clone()
    with torch.enable_grad(), synthesizer.seeded((seed, 0, 0)), model.evaluating():
        for i in range(updates):
            optimizer.param_groups[0]["lr"] = RATE * spread * 0.5 * (1.0 + math.cos(math.pi * i / updates))
            apart = _apart(model.of_styles(styles, y, options), target)
            is_nearer = apart.detach() < least
            least = torch.where(is_nearer, apart.detach(), least)
            nearest[is_nearer] = styles.detach()[is_nearer]
            (styles.grad,) = torch.autograd.grad(apart.sum(), [styles])
            optimizer.step()
    return Points(nearest.cpu(), None if y is None else y.cpu())


def _apart(x: Tensor, target: Tensor) -> Tensor:
    """Mean squares of differences at every side down to 4, added up, (B,)."""
    difference = x.float() - target
    total = difference.square().mean(dim=(1, 2, 3))
    while difference.shape[2] >= 8 and difference.shape[2] % 2 == 0:
        difference = F.avg_pool2d(difference, 2)
        total = total + difference.square().mean(dim=(1, 2, 3))
    return total
