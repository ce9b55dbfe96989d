"""Principal axes of examples; a latent space: where rows lie in it, and which of its dimensions carry anything."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from datakiln.plots.marginals import Floats
from datakiln.plots.style import (
    MUTED,
    PALETTE,
    REAL,
    SEQUENTIAL,
    SYNTHETIC,
    colours,
    legend_on_top,
    new_figure,
    save,
    shorten,
    styled,
)


def principal_axes(x: Floats, count: int = 2) -> tuple[Floats, Floats, Floats]:
    """Principal components of the rows of x, shape (n, d), by an eigendecomposition of their covariance.

    Returns:
        The mean, shape (d,); the axes as columns, shape (d, count), each with its largest entry positive so that a
        picture does not flip between runs; and the share of the variance along each, shape (count,).
    """
    mean = x.mean(0)
    centred = x - mean
    variance, axes = np.linalg.eigh(centred.T @ centred / max(len(x) - 1, 1))
    axes = axes[:, ::-1][:, :count]
    axes = axes * np.where(np.take_along_axis(axes, np.abs(axes).argmax(0)[None], 0)[0] < 0, -1.0, 1.0)
    return mean, axes, variance[::-1][:count].clip(min=0) / max(variance.clip(min=0).sum(), 1e-300)


MOST_POINTS, MOST_CLASSES = 4_000, 20
CLOUD = 1_500  # points of real, and of synthetic examples
ACTIVE_NATS = 0.01


@styled
def clouds_plot(x: Floats, y: Floats, counts: tuple[int, int], noun: str, path: Path, caption: str) -> Path:
    """Real and synthetic examples along the first two principal axes of the real ones, apart and together.

    Arguments:
        x: Features of real examples, (n, d).
        y: Of synthetic ones, (m, d).
        counts: Numbers of examples that these are of.
        noun: What they are called.
        path: The PNG to write.
        caption: What is seen, without a full stop.
    """
    mean, axes, shares = principal_axes(x)
    rng = np.random.default_rng(0)
    clouds = [((cloud - mean) @ axes)[rng.permutation(len(cloud))[:CLOUD]] for cloud in (x, y)]
    figure = new_figure(10.5, 3.9)
    left, middle, right = figure.subplots(1, 3, sharex=True, sharey=True)
    for panel, title in ((left, "Real"), (middle, "Synthetic"), (right, "Both")):
        panel.set(title=title, xlabel=f"axis 1 ({shares[0]:.0%} of the variance)")
    left.set_ylabel(f"axis 2 ({shares[1]:.0%})" if len(shares) > 1 else "")
    _scatter(left, clouds[:1], [REAL])
    _scatter(middle, clouds[1:], [SYNTHETIC])
    _scatter(right, clouds, [REAL, SYNTHETIC])
    legend_on_top(figure, *counts, noun)
    return save(figure, path, f"{caption}, at most {CLOUD:,} points of each.")


def _scatter(axes: Axes, clouds: list[Floats], colours: list[str]) -> None:
    """Points of all clouds in one shuffled layer, so that neither hides the other."""
    points = np.concatenate(clouds)
    shades = np.repeat(colours, [len(cloud) for cloud in clouds])
    order = np.random.default_rng(1).permutation(len(points))
    size = float(np.clip(6000 / max(len(points), 1), 5, 16))
    axes.scatter(points[order, 0], points[order, 1], s=size, c=shades[order], alpha=0.55, linewidths=0)


@styled
def latent_plot(z: Floats, labels: NDArray[np.generic] | None, path: Path, title: str = "label") -> Path:
    """Latent codes coloured by label: the dimensions as they are, or the first two principal axes of more than two.

    Arguments:
        z: One finite code a row, shape (n, latent).
        labels: One label a row; more than 20 different numbers become a colour scale.
        path: The PNG to write.
        title: What the labels are called.
    """
    chosen = np.random.default_rng(0).permutation(len(z))[:MOST_POINTS]
    plane, names, which = _plane(np.asarray(z, dtype=np.float64))
    figure = new_figure(7.4, 5.2)
    axes = figure.subplots()
    axes.set(xlabel=names[0], ylabel=names[1])
    if z.shape[1] == 1:
        axes.set_yticks([])
    if labels is None:
        axes.scatter(
            plane[chosen, 0], plane[chosen, 1], s=_size(len(chosen)), color=PALETTE[0], alpha=0.6, linewidths=0
        )
    else:
        _coloured(figure, axes, plane[chosen], np.asarray(labels)[chosen], title)
    drawn = f"{len(chosen):,} of {len(z):,} rows" if len(chosen) < len(z) else f"{len(z):,} rows"
    by = "" if labels is None else f", coloured by {title}"
    return save(figure, path, f"Latent space{by}: {which}; {drawn}.")


@styled
def kl_plot(kl_per_dim: Floats, path: Path, active: NDArray[np.bool_] | None = None) -> Path:
    """KL divergence of each latent dimension from the prior, in nats, largest first, active units in colour.

    Arguments:
        kl_per_dim: Mean over rows, shape (latent,).
        path: The PNG to write.
        active: Which units are active, shape (latent,); None for those above 0.01 nats.
    """
    kl = np.asarray(kl_per_dim, dtype=np.float64)
    used = kl > ACTIVE_NATS if active is None else np.asarray(active, dtype=bool)
    order = np.argsort(-kl, kind="stable")
    figure = new_figure(float(np.clip(2.2 + 0.42 * len(kl), 5.0, 12.0)), 3.4)
    axes = figure.subplots()
    bars = axes.bar(np.arange(len(kl)), kl[order], 0.72, color=[PALETTE[0] if used[i] else "#c3ccd5" for i in order])
    axes.set_xticks(np.arange(len(kl)), [f"z{i}" for i in order], fontsize=8 if len(kl) <= 24 else 5)
    found = f"{used.sum()} of {len(kl)} units active, {kl.sum():.2f} nats in all"
    axes.set(ylabel="KL, nats", title=found)
    axes.set_xlim(-0.7, len(kl) - 0.3)
    axes.grid(axis="x", visible=False)
    if len(kl) <= 24:
        axes.margins(y=0.12)
        axes.bar_label(bars, [f"{value:.2f}" for value in kl[order]], padding=2, fontsize=8, color=MUTED)
    rule = f"above {ACTIVE_NATS} nats" if active is None else "by the variance of their means"
    caption = f"KL divergence of each latent dimension from the prior: {found}; active units ({rule}) in blue."
    return save(figure, path, caption)


def _plane(z: Floats) -> tuple[Floats, tuple[str, str], str]:
    """Points of shape (n, 2), the names of both axes, and which view this is."""
    if z.shape[1] == 1:
        spread = np.random.default_rng(0).uniform(-1, 1, len(z))
        return np.column_stack([z[:, 0], spread]), ("z0", "(spread at random)"), "its only dimension"
    if z.shape[1] == 2:
        return z, ("z0", "z1"), "both dimensions"
    mean, axes, shares = principal_axes(z)
    names = (f"principal axis 1 ({shares[0]:.0%})", f"principal axis 2 ({shares[1]:.0%})")
    return (z - mean) @ axes, names, f"the first two principal axes of {z.shape[1]} dimensions"


def _coloured(figure: Figure, axes: Axes, points: Floats, labels: NDArray[np.generic], title: str) -> None:
    codes, names = pd.factorize(labels, sort=True)
    if np.issubdtype(labels.dtype, np.number) and len(names) > MOST_CLASSES:
        cloud = axes.scatter(
            points[:, 0], points[:, 1], s=_size(len(points)), c=labels, cmap=SEQUENTIAL, alpha=0.75, linewidths=0
        )
        figure.colorbar(cloud, ax=axes, label=title, aspect=30).outline.set_visible(False)
        return
    counts = np.bincount(codes[codes >= 0], minlength=len(names))
    kept = np.sort(np.argsort(-counts, kind="stable")[:MOST_CLASSES])
    shades = dict(zip(kept, colours(len(kept)), strict=True))
    entries = [(shades[i], f"{shorten(names[i])} ({counts[i]:,})") for i in kept]
    if others := len(codes) - counts[kept].sum():
        entries.append((MUTED, f"others ({others:,})"))
    points_in = [shades.get(code, MUTED) for code in codes]
    axes.scatter(points[:, 0], points[:, 1], s=_size(len(points)), c=points_in, alpha=0.7, linewidths=0)
    handles = [Line2D([], [], marker="o", linestyle="", color=shade, markersize=6) for shade, _ in entries]
    figure.legend(handles, [text for _, text in entries], loc="outside right upper", title=shorten(title))


def _size(points: int) -> float:
    return float(np.clip(9_000 / max(points, 1), 6, 24))
