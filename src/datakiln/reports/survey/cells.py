"""The runs of a survey sorted: for each model and data set those with the default learning rate, and the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from datakiln.errors import UserError
from datakiln.reports.comparison import Failure, Run
from datakiln.results import Score
from datakiln.storage import small_text

FAMILIES = ("gan", "vae", "autoregressive", "flow", "diffusion", "statistical")  # rooms of datakiln.models
OTHER = "other"
KINDS = {"image": ("swd", "fid", "judge"), "series": ("series",), "table": ("fidelity",)}  # first words of figures
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
MOST = 4_000_000  # bytes of a config
RATES = ("lr", "vae_lr")  # how the options of learning rates end


@dataclass
class Cell:
    """One model on one data set.

    Attributes:
        model: Its name.
        family: The room it lives in, `OTHER` for a model of a person's own.
        data: Name of the data set.
        kind: "image", "table" or "series".
        runs: With the default learning rate, one a seed.
        rates: One run for each other learning rate, by its factor of the default.
        failures: Jobs that left no result.
    """

    model: str
    family: str
    data: str
    kind: str
    runs: list[Run] = field(default_factory=list)
    rates: dict[float, Run] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)

    @property
    def all_runs(self) -> list[Run]:
        """Those of the default rate first."""
        return [*self.runs, *self.rates.values()]


def cells_of(runs: Sequence[Run], failures: Sequence[Failure] = ()) -> list[Cell]:
    """The cells, in the order their first jobs ended; of runs with the same options and seed the newest.

    Raises:
        UserError: No run whose figures tell what kind of data it is of.
    """
    newest: dict[tuple[str, str, str, int], Run] = {}
    for run in sorted(runs, key=lambda run: run.result.created):
        words = " ".join(f"{name}={value}" for name, value in sorted(learning_rates(run.result.overrides).items()))
        newest[run.result.model, run.result.data, words, run.result.seed] = run
    cells: dict[tuple[str, str], Cell] = {}
    for (model, data, words, _), run in newest.items():
        kind = kind_of(run)
        if kind is None:
            continue
        cell = cells.setdefault((model, data), Cell(model, family_of(run.folder), data, kind))
        if not words:
            cell.runs.append(run)
    for (model, data, words, seed), run in newest.items():
        known = cells.get((model, data))
        if words and known is not None and (factor := _factor(run, known, seed)) is not None:
            known.rates[factor] = run
    kinds = {cell.data: cell.kind for cell in cells.values()}
    for failure in failures:  # a model of which every job failed has a column, too
        told = dict(word.partition("=")[::2] for word in failure.overrides.split())
        model, data = told.get("model", ""), told.get("data", "")
        if model and data in kinds:
            cell = cells.setdefault((model, data), Cell(model, family_of(failure.folder), data, kinds[data]))
            cell.failures.append(failure)
    if not cells:
        raise UserError("study=survey: no run of a model on a table, pictures or series; make some by sweep=survey")
    for cell in cells.values():
        cell.runs.sort(key=lambda run: run.result.seed)
        cell.rates = dict(sorted(cell.rates.items()))
    return list(cells.values())


def learning_rates(overrides: Sequence[str]) -> dict[str, float]:
    """The learning rates among options, by name."""
    found = {}
    for word in overrides:
        name, _, value = word.lstrip("+").partition("=")
        if name.startswith("model.") and name.rpartition(".")[2] in RATES:
            try:
                found[name] = float(value)
            except ValueError:
                continue
    return found


def kind_of(run: Run) -> str | None:
    """What kind of data a run is of, as its figures tell; None where they do not."""
    first = {score.name.partition("/")[0] for score in run.result.figures}
    return next((kind for kind, words in KINDS.items() if first & set(words)), None)


def family_of(folder: Path) -> str:
    """The family of a run's model, from the class that its config names."""
    model = stored_config(folder).get("model")
    target = model.get("_target_") if isinstance(model, Mapping) else None
    if not isinstance(target, str) or not target.startswith("datakiln.models."):
        return OTHER
    room = target.split(".")[2]
    return room if room in FAMILIES else OTHER


def stored_config(folder: Path) -> Mapping[str, Any]:
    """The config in a run's folder as plain values; empty where there is none that can be read."""
    path = folder / "config" / "config.yaml"
    try:
        found = yaml.load(small_text(path, MOST), LOADER)
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}


def _factor(run: Run, cell: Cell, seed: int) -> float | None:
    """How many times the default a run's learning rate is; None where no run with the default tells."""
    base = next((one for one in cell.runs if one.result.seed == seed), cell.runs[0] if cell.runs else None)
    name, value = next(iter(learning_rates(run.result.overrides).items()))
    node: Any = {} if base is None else stored_config(base.folder)
    for part in name.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    try:
        return float(f"{value / float(node):.4g}")
    except (TypeError, ValueError, ZeroDivisionError):
        return None


def score_of(run: Run, stem: str) -> Score | None:
    """The figure of that name, or the first whose path begins with it; None where the run has none."""
    return next((s for s in run.result.figures if s.name == stem or s.name.startswith(f"{stem}/")), None)
