"""The figures of a run as a table beside its checkpoints."""

from __future__ import annotations

import csv
from argparse import Namespace
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger

from datakiln.storage import replacing


class Csv(Logger):
    """One row an epoch in `metrics.csv`, one column a figure, written whole and atomically whenever a run saves.

    Arguments:
        path: The file; rows of an earlier part of the same run are kept when it is resumed.
    """

    def __init__(self, path: str | Path) -> None:
        """See the class."""
        super().__init__()
        self.path = Path(path)
        self.rows: dict[int, dict[str, str]] = {}

    @property
    def name(self) -> str:
        """Folder name, by Lightning's contract."""
        return self.path.parent.name

    @property
    def version(self) -> str:
        """None needed: every run has its folder."""
        return ""

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        """The run's config lies beside the file already."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Adds figures to their epoch's row; `epoch` is always among them."""
        figures = dict(metrics)
        epoch = int(figures.pop("epoch"))
        row = self.rows.setdefault(epoch, {"epoch": str(epoch)})
        row["step"] = str(step)
        row.update({name: repr(float(value)) for name, value in figures.items()})

    def resume(self, epoch: int) -> None:
        """Reads back the rows of the epochs before `epoch`; later ones will be made again."""
        if self.path.exists():
            with self.path.open(newline="", encoding="utf-8") as file:
                rows = [{k: v for k, v in row.items() if v != ""} for row in csv.DictReader(file)]
            self.rows = {int(row["epoch"]): row for row in rows if int(row["epoch"]) < epoch}

    def write(self) -> None:
        """Writes the file; Lightning's own `save` comes with every figure and would cost more than training."""
        if not self.rows:  # a run that goes on after its last epoch has read none back, and must not empty the file
            return
        names = dict.fromkeys(name for row in self.rows.values() for name in row)
        with replacing(self.path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(names), restval="")
            writer.writeheader()
            writer.writerows(self.rows[epoch] for epoch in sorted(self.rows))

    def finalize(self, status: str) -> None:
        """Writes the file a last time."""
        self.write()
