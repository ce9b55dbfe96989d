"""The figures of a run for TensorBoard."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger
from omegaconf import OmegaConf

from datakiln.loggers.about import Samples
from datakiln.results import RunResult


class TensorBoard(TensorBoardLogger):
    """Curves over epochs, pictures, the config and the result, as event files in `tensorboard/` of the run's folder.

    Results are columns of HPARAMS, and no curves of one point; pictures can be seen while a run trains.

    Arguments:
        folder: The run's folder; `tensorboard --logdir` of it, or of the folder above all runs, shows them.
    """

    def __init__(self, folder: str | Path) -> None:
        """See the class."""
        super().__init__(str(folder), name="tensorboard", version="", default_hp_metric=False)
        self.curves: set[str] = set()

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        """Shows the config as text; `conclude` adds it as hyperparameters, beside the figures they led to."""
        self.config: dict[str, Any] = dict(params) if isinstance(params, dict) else vars(params)
        if tags := self.config.get("tags"):
            self.experiment.add_text("tags", "".join(f"    {tag}\n" for tag in tags))
        text = OmegaConf.to_yaml(OmegaConf.create(self.config))
        self.experiment.add_text("config", "".join(f"    {line}\n" for line in text.splitlines()))

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Adds a point to each curve, over epochs."""
        epoch = int(metrics["epoch"])
        for name, value in metrics.items():
            if name != "epoch":
                self.experiment.add_scalar(name, value, epoch)
                self.curves.add(name)

    def log_pictures(self, pictures: Sequence[Path], epoch: int) -> None:
        """Shows each picture under its file's name, at once."""
        from matplotlib.image import imread

        for path in pictures:
            self.experiment.add_image(f"plots/{path.stem}", imread(path), epoch, dataformats="HWC")
        self.experiment.flush()

    def conclude(
        self, result: RunResult, plots: Sequence[Path], checkpoint: Path, report: Path, samples: Samples
    ) -> str:
        """Adds the pictures, and the figures of the result beside the hyperparameters; says nothing.

        A metric of HPARAMS is the last point of a curve: the objective, where it is one. All other results are columns.
        """
        from torch.utils.tensorboard.summary import hparams

        last = max(result.epochs - 1, 0)
        self.log_pictures(plots, last)
        figures = {f"result/{score.name}": score.value for score in result.figures if score.value is not None}
        curve = self._curve(result)
        for part in hparams({**_flat(self.config), **figures}, {curve: 0.0} if curve else {}):
            self.experiment.file_writer.add_summary(part)
        self.experiment.close()
        return ""

    def _curve(self, result: RunResult) -> str | None:
        """The curve whose end a table of runs is best ordered by."""
        objective = result.objective.name if result.objective is not None else ""
        return next((name for name in (objective, "val/loss", "train/loss") if name in self.curves), None)

    def finalize(self, status: str) -> None:
        """Writes what there is; a run that went well has more to come."""
        self.experiment.flush() if status == "success" else self.experiment.close()


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested names joined by dots; what TensorBoard has no type for, as text."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value if isinstance(value, bool | int | float | str) else str(value)
    return flat
