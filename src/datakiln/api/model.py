"""A trained model in a person's hands: it samples, fills, scores, tells of itself, and goes to a file and back."""

from __future__ import annotations

import html
import numbers
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from datakiln.api.process import as_it_was, quietly
from datakiln.codecs.series.series import SeriesCodec
from datakiln.codecs.tables.table import TableCodec
from datakiln.data.tables.memory import checked
from datakiln.errors import UserError, near
from datakiln.results import RunResult
from datakiln.sampling.checkpoints import find_checkpoint, read_checkpoint
from datakiln.sampling.filling import fill_frame, score_frame
from datakiln.sampling.synthesizer import Synthesizer
from datakiln.spec import NOUNS, Sampling
from datakiln.storage import replacing, small_text
from datakiln.wording import counted, number

if TYPE_CHECKING:
    from datakiln.api.report import Report

SAMPLING = tuple(Sampling.__dataclass_fields__)
SHOWN_COLUMNS = 12


class Model:
    """A trained model; `datakiln.fit` and `datakiln.load` give one.

    Arguments:
        synthesizer: The model with its codec.
        checkpoint: The content of its file.
        history: Figures of every epoch; None where no run's folder is at hand.
        measure: Makes the report; None where the data it was trained on is not at hand.
    """

    def __init__(
        self,
        synthesizer: Synthesizer,
        checkpoint: bytes,
        facts: Mapping[str, Any],
        history: pd.DataFrame | None = None,
        measure: Callable[[], Report] | None = None,
    ) -> None:
        """See the class; facts: what the checkpoint tells besides weights."""
        self.synthesizer, self.measure = synthesizer, measure
        self._checkpoint, self._facts = checkpoint, dict(facts)
        self._history = history
        self._report: Report | None = None

    @property
    def name(self) -> str:
        """What the model is called as an option, such as "tabar"."""
        return str(self.synthesizer.origin.get("model", type(self.synthesizer.model).__name__))

    @property
    def kind(self) -> str:
        """Of its data: "table", "image" or "series"."""
        return str(self.synthesizer.codec.spec.kind)

    def sample(
        self,
        n: int,
        condition: Mapping[str, Any] | None = None,
        seed: int = 0,
        balance: str | None = None,
        **options: Any,
    ) -> Any:  # noqa: ANN401 (a frame or an array)
        """Synthetic data: a DataFrame with the dtypes of the training rows, or pictures as uint8 (n, H, W, C).

        Arguments:
            n: Rows or pictures.
            condition: What every row meets, such as {"sex": "Female", "age": ">60", "job": ["nurse", "cook"]}; for
                pictures {"class": name}.
            seed: Same seed, same data on the same machine.
            balance: Column of a table whose categories come equally often.
            **options: How samples are drawn, of those that the model follows: steps, guidance, temperature, truncation,
                mean.

        Raises:
            UserError: A condition that is unknown or cannot be met, or an option that changes nothing.
        """
        _check_whole("n", n, 1)
        _check_whole("seed", seed, 0)
        for key in options:
            if key not in SAMPLING:
                known = ("n", "condition", "seed", "balance", *SAMPLING)
                hint = near(key, known) or f"; known: {', '.join(known)}"
                raise UserError(f"sample has no option {key!r}{hint}")
        if condition is not None and not isinstance(condition, Mapping):
            raise UserError(f'condition={condition!r} must be a dictionary, such as condition={{"age": ">60"}}')
        with as_it_was(), quietly():
            made = self.synthesizer.sample(int(n), condition, int(seed), balance, Sampling(**options))
        return made.transpose(0, 2, 3, 1) if isinstance(made, np.ndarray) and self.kind == "image" else made

    def log_prob(self, rows: pd.DataFrame | np.ndarray) -> pd.Series | np.ndarray:
        """How likely each row is, in nats; the lowest are anomalies, minus infinity is what no training row could be.

        Of pictures, uint8 (n, H, W, C) of the model's size, an array of shape (n,).

        Arguments:
            rows: A table with columns of the training table; unknown cells and columns are left out of account by
                models that can do so.

        Raises:
            UserError: The model has no likelihood, or the rows do not fit.
        """
        with as_it_was(), quietly():
            if self.kind == "image" and isinstance(rows, np.ndarray) and rows.ndim == 4 and rows.dtype == np.uint8:
                return self.synthesizer.picture_log_prob(rows.transpose(0, 3, 1, 2))
            scores = score_frame(self.synthesizer, self._rows(rows))
            return scores.set_axis(rows.index) if isinstance(rows, pd.DataFrame) else scores

    def fill(self, rows: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
        """The rows with their missing cells drawn given the known cells of their row; a given cell never changes.

        Columns of the training table that the rows lack are added; others stay as they are.

        Arguments:
            rows: A table with columns of the training table.
            seed: Same seed, same cells on the same machine.

        Raises:
            UserError: The model cannot be told columns (tabar and mixture can), or the rows do not fit.
        """
        _check_whole("seed", seed, 0)
        with as_it_was(), quietly():
            self._rows(rows)
            return fill_frame(self.synthesizer, rows.reset_index(drop=True), int(seed)).set_axis(rows.index)

    def _rows(self, rows: Any) -> pd.DataFrame:  # noqa: ANN401 (what a person gave)
        if self.kind != "table":
            noun = NOUNS[self.synthesizer.codec.spec.kind]
            way = "; the command sample has fill= and score= for series" if self.kind == "series" else ""
            raise UserError(f"{self.name} was trained on {noun}s; rows are for models of tables{way}")
        if not isinstance(rows, pd.DataFrame):
            raise UserError(f"rows are of type {type(rows).__name__}; give a pandas DataFrame")
        return checked(rows, "the table", least=1)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes a checkpoint, whole or not at all, that `datakiln.load` and `datakiln sample run=PATH` read.

        Raises:
            UserError: The path is a folder.
        """
        target = Path(path)
        if target.is_dir():
            raise UserError(f"path={str(target)!r} is a folder; give a file, such as {str(target / 'model.ckpt')!r}")
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as partial:
            partial.write_bytes(self._checkpoint)

    @property
    def report(self) -> Report:
        """Figures of a sample as large as the training data, measured when first asked for.

        Raises:
            UserError: The model comes from a checkpoint alone, without the data it was trained on.
        """
        if self._report is None:
            if self.measure is None:
                told = "this model was loaded from a checkpoint, which holds no data to measure with"
                raise UserError(f"{told}; use datakiln.evaluate(real, model.sample(len(real)))")
            self._report = self.measure()
        return self._report

    @property
    def history(self) -> pd.DataFrame:
        """Losses and figures of every epoch, one row each.

        Raises:
            UserError: The model comes from a checkpoint alone.
        """
        if self._history is None:
            raise UserError("a checkpoint keeps no history; load the run's folder, where metrics.csv lies")
        return self._history.copy()

    def __repr__(self) -> str:
        """What it is, of what, how good, and what it can do."""
        return "\n".join([f"Model {self.name} of {self._data()}", *(f"  {key}: {text}" for key, text in self._told())])

    def _repr_html_(self) -> str:
        cells = "".join(
            f"<tr><th style='text-align:left'>{html.escape(key)}</th>"
            f"<td style='text-align:left'>{html.escape(text)}</td></tr>"
            for key, text in self._told()
        )
        head = f"Model <b>{html.escape(self.name)}</b> of {html.escape(self._data())}"
        return f"<p>{head}</p><table><tbody>{cells}</tbody></table>"

    def _data(self) -> str:
        source = self.synthesizer.origin.get("source")
        return str(source[1]) if source else "unknown data"

    def _told(self) -> list[tuple[str, str]]:
        spec, model = self.synthesizer.codec.spec, self.synthesizer.model
        told = [("trained on", f"{counted(spec.size, NOUNS[spec.kind])} of {self._shape()}")]
        if "score" in self._facts:
            score = f"{self._facts['monitor']} {number(self._facts['score'])}"
            told.append(("best epoch", f"{int(self._facts['epoch']) + 1} ({score})"))
        told.append(("size", f"{sum(p.numel() for p in model.parameters()):,} parameters"))
        return [*told, ("can", ", ".join(self._abilities()))]

    def _shape(self) -> str:
        spec = self.synthesizer.codec.spec
        if spec.kind == "image":
            channels, height, width = spec.shape
            classes = f", {counted(len(spec.classes), 'class', 'classes')}" if spec.classes else ""
            return f"{height} x {width} px, {'grey' if channels == 1 else 'colour'}{classes}"
        assert isinstance(self.synthesizer.codec, TableCodec | SeriesCodec)
        names = self.synthesizer.codec.schema.names
        shown = ", ".join(names[:SHOWN_COLUMNS]) + (", ..." if len(names) > SHOWN_COLUMNS else "")
        return f"{counted(len(names), 'column')} ({shown})"

    def _abilities(self) -> list[str]:
        model = self.synthesizer.model
        abilities = ["sample"] if model.can_draw else []
        abilities += ["log_prob"] if model.likelihood != "none" else []
        abilities += ["fill"] if model.can_fill and self.kind == "table" else []
        told = {"label": "is told the label", "categories": "is told categories", "columns": "is told any column"}
        return abilities + ([told[model.conditioning]] if model.conditioning in told else [])


def _check_whole(name: str, value: Any, least: int) -> None:  # noqa: ANN401 (what a person gave)
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
        raise UserError(f"{name}={value!r} must be a whole number of at least {least}")


def model_of(path: Path, device: str, history: pd.DataFrame | None = None) -> Model:
    """The model of a checkpoint file."""
    content = read_checkpoint(path)
    facts = {str(key): content[key] for key in ("epoch", "monitor", "score") if key in content}
    return Model(Synthesizer.load(path, device), path.read_bytes(), facts, history)


def load(path: str | os.PathLike[str], device: str = "cpu") -> Model:
    """A model from its checkpoint or from the folder of a run, which has its history and report too.

    Arguments:
        path: What `Model.save` wrote, or a run's folder.
        device: Where it samples: "cpu", "cuda", "cuda:1" or "mps".

    Raises:
        UserError: There is no checkpoint, it is damaged or of another program, or there is no such device.
    """
    folder = Path(path)
    with as_it_was(), quietly():
        curves = folder / "metrics.csv"
        model = model_of(find_checkpoint(folder), device, pd.read_csv(curves) if curves.is_file() else None)
        if (folder / "result.json").is_file():
            model.measure = lambda: _stored(folder)
    return model


def _stored(folder: Path) -> Report:
    """The report that a run has left."""
    from datakiln.api.report import Report

    result = RunResult.load(folder / "result.json")
    plots = sorted(folder.glob("plots/*.png"))
    curves, rows, config = (folder / name for name in ("metrics.csv", "synthetic.csv", "config/config.yaml"))
    return Report(
        result,
        lambda _: plots,
        preview=pd.read_csv(rows, nrows=10) if rows.is_file() else None,
        history=pd.read_csv(curves) if curves.is_file() else None,
        config=small_text(config) if config.is_file() else None,
    )
