"""The figures of a run at Weights & Biases, online or as files for later; wandb itself is left to Lightning."""

from __future__ import annotations

import os
import secrets
import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

from lightning.pytorch.loggers import WandbLogger

from datakiln.errors import UserError
from datakiln.loggers.about import About, Samples
from datakiln.results import RunResult

LONGEST_NAME = 120  # characters of a run's name
PATIENCE = 20  # seconds to wait for the server
WAYS_OUT = "log in once with `wandb login`, set WANDB_API_KEY, or work without an account: logger.wandb.offline=true"


class Wandb(WandbLogger):
    """One row an epoch at Weights & Biases, its pictures, samples, report and result; all of it in the run's folder.

    Columns of the table of runs are the model, the data, the seed, the learning rate and what the person chose; the
    whole config lies under "config". A run is named by what varies in its sweep, else after model, data and seed.

    Arguments:
        folder: The run's folder; W&B adds `wandb/` to it.
        project: W&B project.
        entity: W&B team or user; None for the account's own.
        group: What runs of one sweep have in common.
        tags: Words to find the run by.
        offline: Write files only, for `wandb sync` later; needs no account. `WANDB_MODE=offline` does the same.
        log_model: Whether the best checkpoint goes along as an artifact.

    Raises:
        UserError: W&B cannot be reached, or knows no account (when the first thing is logged).
    """

    _open_run: ClassVar[Wandb | None] = None  # W&B knows one run a process, and would go on with a failed job's

    def __init__(
        self,
        folder: str | Path,
        project: str = "datakiln",
        entity: str | None = None,
        group: str | None = None,
        tags: Sequence[str] = (),
        offline: bool = False,
        log_model: bool = False,
    ) -> None:
        """See the class."""
        self.folder, self.wants_model = Path(folder).resolve(), log_model
        self.row: dict[str, Any] = {}
        self.about: About | None = None
        self._outside: dict[str, str | None] = {}
        quiet = {"silent": True, "console": "off", "init_timeout": PATIENCE}
        mode = "offline" if offline else None  # not Lightning's offline=, which changes later runs' environment
        super().__init__(
            name=self.folder.name, save_dir=str(self.folder), id=self._run_id(), project=project, entity=entity,
            group=group, tags=[str(tag) for tag in tags], settings=quiet, mode=mode,
        )  # fmt: skip
        self._wandb_init.pop("anonymous", None)  # newer W&B warns about it

    def _run_id(self) -> str:
        """A resumed run goes on under the id of its first part."""
        file = self.folder / "wandb" / "run-id"
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(secrets.token_hex(4), encoding="utf-8")
        return file.read_text(encoding="utf-8").strip()

    @property
    def experiment(self) -> Any:  # noqa: ANN401 (a wandb.Run)
        """The W&B run, started at first use."""
        if self._experiment is None:
            if Wandb._open_run is not None:
                Wandb._open_run.close(exit_code=1)
            with self._own_folders(), _nobody_to_ask():
                try:
                    run = super().experiment
                except Exception as error:
                    raise UserError(f"logger=wandb: {_first_line(error)}; {WAYS_OUT}") from error
            run.define_metric("epoch")
            run.define_metric("*", step_metric="epoch")
            Wandb._open_run = self
        return self._experiment

    def introduce(self, about: About) -> None:
        """Names the run, and the columns of it, before the first thing is logged."""
        self.about = about
        self._wandb_init["name"] = about.name[:LONGEST_NAME]

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        """Plain columns, and the whole config below one name."""
        config = dict(params) if isinstance(params, dict) else vars(params)
        plain = {} if self.about is None else self.about.columns
        super().log_hyperparams({**plain, "config": config})

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Gathers what one epoch measures, which comes in parts, into one row."""
        epoch = metrics.get("epoch", self.row.get("epoch", 0))
        if epoch != self.row.get("epoch", epoch):
            self._send()
        self.row.update({**metrics, "epoch": epoch}, **({} if step is None else {"step": step}))

    def _send(self) -> None:
        if self.row:
            self.experiment.log(self.row)
            self.row = {}

    def log_pictures(self, pictures: Sequence[Path], epoch: int) -> None:
        """Shows each picture in a panel named after its file."""
        for path in pictures:
            self.log_metrics({"epoch": epoch})
            self.log_image(f"plots/{path.stem}", [str(path)])

    def conclude(
        self, result: RunResult, plots: Sequence[Path], checkpoint: Path, report: Path, samples: Samples
    ) -> str:
        """Adds pictures, samples, report, result and, if asked, the checkpoint; then ends the W&B run.

        Returns:
            Where the run is, in a line for the person; "" where W&B is switched off.
        """
        self.log_pictures(plots, self.row.get("epoch", max(result.epochs - 1, 0)))
        self._show(samples)
        self._send()
        self.experiment.summary.update(summary(result))
        self.experiment.log_artifact(str(report), name=f"report-{self.version}", type="report")
        if self.wants_model:
            aliases = ["best", f"epoch-{result.best_epoch}"]
            self.experiment.log_artifact(str(checkpoint), name=f"model-{self.version}", type="model", aliases=aliases)
        run, files = self.experiment, Path(self.experiment.dir).parent
        mode = run.settings.mode
        place = run.url if mode == "online" else f"wandb sync {os.path.relpath(files)}"
        self.close()
        return "" if mode == "disabled" else f"W&B, {mode}: {place}"

    def _show(self, samples: Samples) -> None:
        """A table of samples: the columns of rows, or a picture a row with its class."""
        self.log_metrics({"epoch": self.row.get("epoch", 0)})
        if samples.rows is not None:
            shown = samples.rows.astype(object).where(samples.rows.notna(), None)
            cells = [[_cell(value) for value in row] for row in shown.itertuples(index=False, name=None)]
            self.log_table("samples", columns=[str(name) for name in shown.columns], data=cells)
        if samples.pictures is not None:
            image = sys.modules[type(self.experiment).__module__.partition(".")[0]].Image  # W&B itself is not ours
            labels = samples.labels or ("",) * len(samples.pictures)
            rows = [
                [image(picture[..., 0] if picture.shape[-1] == 1 else picture), label]
                for picture, label in zip(samples.pictures, labels, strict=True)
            ]
            self.log_table("samples", columns=["picture", "class"], data=rows)

    def finalize(self, status: str) -> None:
        """Ends a run that failed; one that went well goes on until `conclude`."""
        if status != "success":
            self.close(exit_code=1)

    def close(self, exit_code: int = 0) -> None:
        """Sends what is left and ends the W&B run."""
        if self._experiment is not None:
            self._send()
            self._experiment.finish(exit_code=exit_code)
            self._experiment = Wandb._open_run = None
            _set_environment(self._outside)

    @contextmanager
    def _own_folders(self) -> Iterator[None]:
        """Keeps what W&B stages and caches in the run's folder while the run is open, unless the person said where."""
        places = {"WANDB_CACHE_DIR": "cache", "WANDB_DATA_DIR": "data"}
        self._outside = {name: os.environ.get(name) for name in places}
        inside = {name: str(self.folder / "wandb" / place) for name, place in places.items()}
        _set_environment({name: self._outside[name] or path for name, path in inside.items()})
        try:
            yield
        except BaseException:
            _set_environment(self._outside)
            raise


def summary(result: RunResult) -> dict[str, Any]:
    """Every figure under its name, and all else the result holds under "result"."""
    facts = {name: value for name, value in asdict(result).items() if name != "figures"}
    return {**{score.name: score.value for score in result.figures if score.value is not None}, "result": facts}


def _cell(value: Any) -> Any:  # noqa: ANN401 (of any column)
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _set_environment(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        os.environ.pop(name, None) if value is None else os.environ.update({name: value})


@contextmanager
def _nobody_to_ask() -> Iterator[None]:
    """Hides the terminal: where W&B finds no account it must fail and not wait for an answer."""
    terminal = sys.stdin
    with open(os.devnull, encoding="utf-8") as nothing:
        sys.stdin = nothing
        try:
            yield
        finally:
            sys.stdin = terminal


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].partition(". ")[0].rstrip(".")
