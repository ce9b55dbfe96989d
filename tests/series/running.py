"""A whole run of series inside this process, for tests that need its folder."""

from __future__ import annotations

from pathlib import Path

from datakiln.api.config import composed
from datakiln.cli.checks import check
from datakiln.console import Console
from datakiln.jobs.run import Run
from datakiln.results import Score


def ran(tmp_path: Path, *words: str, model: str = "wavenet") -> tuple[dict[str, Score], Path]:
    """Its figures by name, and its folder."""
    folder = tmp_path / "run"
    with composed([f"model={model}", f"output_dir={folder}", *words]) as cfg:
        check(cfg)
        run = Run(cfg, Console(quiet=True))
        run.check()
        run.load_data()
        run.fit()
        run.synthesize()
        run.prove()
        run.finish()
    return {figure.name: figure for figure in run.figures}, folder
