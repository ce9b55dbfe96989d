"""The end of a run, whatever the data: synthetic data, figures, pictures."""

from __future__ import annotations

import abc
import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig

from datakiln.console import Console
from datakiln.data.base import GenerativeData
from datakiln.loggers.about import Samples
from datakiln.metrics.base import Figure
from datakiln.metrics.evaluate import Result
from datakiln.results import RunResult, Score
from datakiln.sampling.synthesizer import Synthesizer
from datakiln.spec import PLAIN

Measured = tuple[RunResult, list[Path], pd.DataFrame | None]  # figures, plots, and a few rows if it has rows
KINDS = {
    "table": "datakiln.proof.tables.TableProof",
    "image": "datakiln.proof.pictures.ImageProof",
    "series": "datakiln.proof.series.SeriesProof",
}


class Proof(abc.ABC):
    """Shows how good synthetic data is, beside real data the model never saw and a naive floor.

    Arguments:
        data: The run's data module, after `setup`.

    Attributes:
        synthesizer: The trained model, for attacks that hold it; None for those by its samples alone.
        secret: Column that an attacker wants to learn, or None.
        sampling: How samples are drawn.
        shadows: Trains models like the run's own on other examples, or None.
    """

    def __init__(self, data: GenerativeData) -> None:
        """See the class."""
        self.data = data
        self.synthesizer: Synthesizer | None = None
        self.secret: str | None = None
        self.sampling = PLAIN
        self.shadows: Any = None

    @property
    @abc.abstractmethod
    def n_holdout(self) -> int:
        """Number of real examples that neither model nor codec has seen."""

    def trained_as(self, config: Mapping[str, Any], epochs: int) -> None:  # noqa: B027 (most kinds train none again)
        """Says how the model was trained, for attacks that train others like it.

        Arguments:
            config: Of the run, as plain values.
            epochs: How many it was trained for.
        """

    def check(self, cfg: DictConfig) -> None:  # noqa: B027 (most kinds have nothing to refuse)
        """Refuses, before anything is trained, what could not be measured afterwards; raises `UserError`."""

    @abc.abstractmethod
    def write_synthetic(self, synthesizer: Synthesizer, n: int, seed: int, folder: Path) -> Any:  # noqa: ANN401
        """Samples n examples, writes them into the folder, returns them in user units."""

    @abc.abstractmethod
    def figures(self, synthetic: Any, metrics: Sequence[Any], seed: int, console: Console) -> list[Score]:  # noqa: ANN401
        """All figures of the synthetic data, each with ceiling and floor."""

    def latent(self, seed: int) -> list[Score]:
        """Figures of the model's latent space; none where this kind of data has no tools for it."""
        return []

    @abc.abstractmethod
    def plots(self, synthesizer: Synthesizer, synthetic: Any, folder: Path) -> list[Path]:  # noqa: ANN401
        """Draws into `folder/plots`."""

    @abc.abstractmethod
    def preview(self, synthetic: Any) -> pd.DataFrame | None:  # noqa: ANN401
        """A few rows for the report, if rows are what the data has."""

    def samples(self, synthetic: Any) -> Samples:  # noqa: ANN401
        """Some of the examples, for loggers that show them; rows unless a kind has something else."""
        return Samples(rows=self.preview(synthetic))

    def history(self, path: Path) -> pd.DataFrame | None:
        """The curves of the run, if it left any."""
        return pd.read_csv(path) if path.exists() else None


def scores(results: Sequence[Result]) -> list[Score]:
    """Metric results as rows of result.json; one that could not be computed stays, with its reason."""
    return [_score(result) for result in results]


def _score(result: Result) -> Score:
    figure, (ceiling, ceiling_n), (floor, floor_n) = result.figure, _read(result.ceiling), _read(result.floor)
    seconds = round(result.seconds, 3)
    if figure is None:
        return Score(
            result.name, None, why=result.why, seconds=seconds,
            ceiling=ceiling, floor=floor, ceiling_n=ceiling_n, floor_n=floor_n,
        )  # fmt: skip
    found = (figure, result.ceiling, result.floor)
    noises = [other.noise for other in found if other is not None and other.noise is not None]
    return Score(
        figure.name, figure.value, figure.better, figure.low, figure.high, ceiling, floor, result.why,
        detail=None if figure.detail is None else dict(figure.detail), ideal=figure.ideal, n=figure.n, note=figure.note,
        ceiling_n=ceiling_n, floor_n=floor_n, seconds=seconds, noise=max(noises, default=None),
        ceiling_range=_ends(result.ceiling_range), floor_range=_ends(result.floor_range), draws=result.draws,
        trials=list(figure.trials) or None, finding=figure.finding,
    )  # fmt: skip


def _ends(ends: tuple[float, float] | None) -> list[float] | None:
    return None if ends is None else list(ends)


def _read(figure: Figure | None) -> tuple[float | None, int | None]:
    """A reference's value and the number of examples behind it."""
    return (None, None) if figure is None else (figure.value, figure.n)


def build_proof(data: GenerativeData) -> Proof:
    """The proof for this kind of data; imported late, since each kind needs other heavy libraries."""
    module, _, name = KINDS[data.kind].rpartition(".")
    return getattr(importlib.import_module(module), name)(data)
