"""Random tables through whole runs: read, trained on for a moment, sampled, measured; or a line for the person."""

from __future__ import annotations

import csv
import io
import warnings
from pathlib import Path

import pytest

from datakiln.api.config import composed, words
from datakiln.cli.checks import check
from datakiln.cli.train import complete
from datakiln.console import Console
from datakiln.errors import UserError
from datakiln.jobs.run import Run
from datakiln.results import RunResult
from tests.data.fuzzed_tables import written
from tests.data.test_fuzzed_tables import FREE, shape

MODELS = ("tabar", "copula", "mixture", "tvae")
METRICS = ("shape", "trend", "relations", "boosting", "tstr", "copies", "closer_to_train")
SMALL = {"tabar": ["model.width=8", "model.hidden=8"], "tvae": ["model.hidden=[8]", "latent_dim=4"]}


def check_run(seed: int, folder: Path) -> None:
    """A whole run on a table of its own for each seed; what it makes looks like what was there."""
    odd = written(folder, seed)
    model, place = MODELS[seed % len(MODELS)], folder / f"run{seed}"
    others = [name for name in composed_metrics() if name not in METRICS]
    said = {f"data.{name}": "tab" if value == "\t" else value for name, value in odd.options.items()}
    options = words({"data.path": str(odd.path), **said})
    target = [] if seed % 3 else words({"data.target": '"' + _escaped(next(iter(odd.cells))) + '"'})
    tiny = ["epochs=2", "plots=false", "trainer=cpu", f"seed={seed}", *SMALL.get(model, [])]
    left_out = [f"~metrics.table.{name}" for name in others]
    try:
        with composed([f"model={model}", "data=csv", *options, *target, *tiny, *left_out]) as cfg:
            cfg.output_dir = str(place)
            check(cfg)
            run = Run(cfg, Console(file=io.StringIO(), width=120))
            complete(run)
    except UserError as error:
        assert "\n" not in str(error), (seed, odd.kinds)
        return
    result = RunResult.load(place / "result.json")
    assert result.figures and all(score.value is not None or score.why for score in result.figures), seed
    with (place / "synthetic.csv").open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert header == list(odd.cells) and len(rows) == result.n_synthetic, (seed, odd.kinds)
    for name, *new in zip(header, *(row or [""] for row in rows), strict=True):
        field, cells = run.data.schema[name], odd.cells[name]  # type: ignore[attr-defined]
        if odd.kinds[name] not in FREE and field.type not in ("id", "text"):
            strange = {shape(cell) for cell in new if cell} - {shape(cell) for cell in cells}
            assert not strange, (seed, name, odd.kinds[name], cells[:5], sorted(strange)[:3], field)


def composed_metrics() -> list[str]:
    """Names of the metrics of tables."""
    with composed(["data=iris"]) as cfg:
        return [str(name) for name in cfg.metrics.table]


def _escaped(name: str) -> str:
    return name.replace("\\", "\\\\").replace('"', '\\"').replace("${", r"\${")


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, 200, 20))
def test_whole_runs(first: int, tmp_path: Path) -> None:
    with warnings.catch_warnings(action="ignore"):
        for seed in range(first, first + 20):
            check_run(seed, tmp_path)
