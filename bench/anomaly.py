"""Anomalies among pictures: how well what a model says of a picture tells those of a class it has never seen.

    python -m bench.anomaly data=digits out=8 models=vae,dcgan,pixelcnn,realnvp budget=30s
    python -m bench.anomaly data=mnist out=4 budget=3m
    python -m bench.anomaly data=fashion_mnist other=mnist budget=3m

`train=` takes further words of `src.train` for the models, such as train="batch_size=32".

AUROC of pictures of the class that was left out (`out=`), or of another set (`other=`), against test pictures of those
learnt: 0.5 is a guess, below that the strange ones are called usual. Beside plain baselines that learn
nothing: the distance from the nearest training picture, and what principal components cannot rebuild. The interval is
1.96 standard errors (Hanley and McNeil, 1982). Nothing is chosen by these figures.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from rich.table import Table

from bench._pictures import options, trained
from bench._process import Row, row
from datakiln.console import Console

MODELS = "vae,dcgan,pixelcnn,realnvp"
DEFAULTS = {
    "data": "digits", "out": "8", "other": "", "models": MODELS, "budget": "30s", "seed": "0", "data_dir": "",
    "train": "",
}  # fmt: skip
MOST, MOST_LEARNT, COMPONENTS = 1000, 10_000, 50


class Sides(NamedTuple):
    """Pictures uint8 (n, C, H, W): those learnt from, unseen usual ones, and strange ones."""

    learnt: np.ndarray
    usual: np.ndarray
    strange: np.ndarray


def run() -> list[Row]:
    """The digits with one left out, in half a CPU-minute a model."""
    found = list(measured(DEFAULTS))
    best = max(value for name, value, _ in found if name.startswith(("pixels", "PCA")))
    return [row(f"AUROC of {name}", f"{value:.3f}", f"{best:.3f} plain", value / best, "") for name, value, _ in found]


def measured(asked: dict[str, str]) -> Iterator[tuple[str, float, float]]:
    """Score, AUROC and half the width of its interval, the baselines first."""
    sides = sides_of(asked)
    for name, (usual, strange) in baselines(sides).items():
        yield name, *auroc(usual, strange)
    for model in asked["models"].split(","):
        for name, (usual, strange) in scored(model, asked, sides).items():
            yield f"{model}: {name}", *auroc(usual, strange)


def sides_of(asked: dict[str, str]) -> Sides:
    """What is learnt from, and both sides of the test; the other set at the side and channels of the first."""
    from datakiln.data.pictures.domains import source_of
    from datakiln.data.pictures.pictures import ImageData

    folder, seed = asked["data_dir"] or None, int(asked["seed"])
    other, out = asked["other"] or None, [asked["out"]]
    told: dict[str, Any] = {"other": other} if other else {"without": out}
    data = ImageData(source_of(asked["data"], folder), folder, seed=seed, **told)
    data.setup("fit")
    if data.second is not None:
        strange = data.second.examples("test", MOST)[0]
    else:
        apart = ImageData(source_of(asked["data"], folder), folder, seed=seed, classes=out)
        apart.setup("fit")
        strange = apart.examples("test" if len(apart.pictures["test"].x) >= 100 else "train", MOST)[0]
    learnt, usual = data.examples("train", MOST_LEARNT)[0], data.examples("test", MOST)[0]
    return Sides(learnt.numpy(), usual.numpy(), strange.numpy())


def baselines(sides: Sides) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Scores of both sides, higher for what is stranger, by what learns nothing of pictures."""
    from sklearn.decomposition import PCA
    from sklearn.neighbors import NearestNeighbors

    learnt, *both = (part.reshape(len(part), -1).astype(np.float32) for part in sides)
    near = NearestNeighbors(n_neighbors=1).fit(learnt)
    axes = PCA(min(COMPONENTS, *learnt.shape), random_state=0).fit(learnt)
    lost = [np.linalg.norm(x - axes.inverse_transform(axes.transform(x)), axis=1) for x in both]
    distances = [near.kneighbors(x)[0][:, 0] for x in both]
    return {"pixels, nearest training picture": (distances[0], distances[1]), "PCA, what is lost": (lost[0], lost[1])}


def scored(model: str, asked: dict[str, str], sides: Sides) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Trains a model on the usual classes, and scores both sides by everything it says of a picture."""
    from datakiln.sampling.anomalies import scorer_of

    synthesizer = trained(model, asked, None if asked["other"] else asked["out"])
    scorer = scorer_of(synthesizer)
    usual, strange = (scorer(part, (0, 0)) for part in (sides.usual, sides.strange))
    return {name: (usual[name], strange[name]) for name in usual if name != "png_bits_per_dim"}


def auroc(usual: np.ndarray, strange: np.ndarray) -> tuple[float, float]:
    """Area under the curve, and 1.96 standard errors of it (Hanley and McNeil, 1982)."""
    from sklearn.metrics import roc_auc_score

    truth = np.r_[np.zeros(len(usual)), np.ones(len(strange))]
    area = float(roc_auc_score(truth, np.r_[usual, strange]))
    first, second = area / (2 - area), 2 * area**2 / (1 + area)
    spread = (len(strange) - 1) * (first - area**2) + (len(usual) - 1) * (second - area**2)
    error = max(area * (1 - area) + spread, 0.0) / (len(usual) * len(strange))
    return area, 1.96 * error**0.5


def main(words: list[str]) -> None:
    """Prints the table of one task."""
    asked = options(words, DEFAULTS)
    against = (
        f"{asked['other']} against {asked['data']}" if asked["other"] else f"{asked['data']} without {asked['out']}"
    )
    table = Table(title=f"AUROC, {against}, {asked['budget']} of CPU a model, seed {asked['seed']}")
    for head in ("score", "AUROC", "+-"):
        table.add_column(head)
    for name, area, half in measured(asked):
        table.add_row(name, f"{area:.3f}", f"{half:.3f}")
    Console().print(table)


if __name__ == "__main__":
    main(sys.argv[1:])
