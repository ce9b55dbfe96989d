"""The end of a run, whatever the data: synthetic data, figures, pictures."""

from __future__ import annotations

import abc
import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from src.data.base import GenerativeData
from src.metrics.base import Result
from src.results import Score
from src.synthesizer import Synthesizer

KINDS = {"table": "src.proof.table.TableProof", "image": "src.proof.image.ImageProof"}


class Proof(abc.ABC):
    """Shows how good synthetic data is, beside real data the model never saw and a naive floor.

    Arguments:
        data: The run's data module, after `setup`.
    """

    def __init__(self, data: GenerativeData) -> None:
        """See the class."""
        self.data = data

    @property
    @abc.abstractmethod
    def n_holdout(self) -> int:
        """Number of real examples that neither model nor codec has seen."""

    @abc.abstractmethod
    def write_synthetic(self, synthesizer: Synthesizer, n: int, seed: int, folder: Path) -> Any:  # noqa: ANN401
        """Samples n examples, writes them into the folder, returns them in user units."""

    @abc.abstractmethod
    def figures(self, synthetic: Any, metrics: Sequence[Any], seed: int, console: Console) -> list[Score]:  # noqa: ANN401
        """All figures of the synthetic data, each with ceiling and floor."""

    @abc.abstractmethod
    def plots(self, synthesizer: Synthesizer, synthetic: Any, folder: Path) -> list[Path]:  # noqa: ANN401
        """Draws into `folder/plots`."""

    @abc.abstractmethod
    def preview(self, synthetic: Any) -> pd.DataFrame | None:  # noqa: ANN401
        """A few rows for the report, if rows are what the data has."""

    def history(self, path: Path) -> pd.DataFrame | None:
        """The curves of the run, if it left any."""
        return pd.read_csv(path) if path.exists() else None


def scores(results: Sequence[Result]) -> list[Score]:
    """Metric results as rows of result.json."""
    return [
        Score(
            r.figure.name, r.figure.value, r.figure.better, r.figure.low, r.figure.high, r.ceiling, r.floor, r.why,
            r.figure.detail,
        )
        for r in results
    ]  # fmt: skip


def build_proof(data: GenerativeData) -> Proof:
    """The proof for this kind of data; imported late, since each kind needs other heavy libraries."""
    module, _, name = KINDS[data.kind].rpartition(".")
    return getattr(importlib.import_module(module), name)(data)
