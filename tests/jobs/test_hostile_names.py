"""Names, categories, notes and paths that hold markup and escape sequences go through a whole run, shown literally."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest

from datakiln.api.launch import train
from datakiln.console import Console
from datakiln.errors import UserError
from tests.test_saying import STEERS

ESCAPE = "\x1b[2J\x1b]0;owned\x07"


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    rng = np.random.default_rng(0)
    columns = {
        "[/]": rng.integers(0, 50, 60),
        "[red]x[/red]": rng.choice(["[/]", "[bold]y[/bold]", "z"], 60),
        f"{ESCAPE}a": rng.normal(size=60).round(2),
        "\u202eleft": [f"[/]{ESCAPE}"] * 60,  # a note tells of it
        "_price $x$": rng.choice([f"{ESCAPE}k", "[/red]", "plain"], 60),
    }
    folder = tmp_path_factory.mktemp("a") / "[red]x["
    folder.mkdir()
    pd.DataFrame(columns).to_csv(folder / "red].csv", index=False)
    return folder / "red].csv"


@pytest.mark.journey
@pytest.mark.parametrize("plots", ["false", pytest.param("true", marks=pytest.mark.slow)])
def test_a_run_of_hostile_names(path, tmp_path, plots):
    out = io.StringIO()
    train(
        ["data=csv", f"data.path='{path}'", "data.target='[red]x[/red]'", "model=bootstrap", f"plots={plots}"],
        tmp_path / "run",
        Console(file=out, width=200),
    )
    told = out.getvalue()
    assert "[/]" in told and "[red]x[/red]" in told and str(path.parent.name) in told
    assert r"\x1b[2J\x1b]0;owned\x07" in told and r"\u202eleft" in told
    assert not STEERS.search(told)
    for file in (tmp_path / "run").rglob("*"):
        if file.suffix in (".html", ".json", ".yaml", ".txt", ".log") or file.name == "metrics.csv":
            assert "\x1b" not in file.read_text(encoding="utf-8"), file
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "[red]x[/red]" in page and not STEERS.search(page)


def test_errors_of_hostile_names(path, tmp_path):
    with pytest.raises(UserError) as caught:
        train(["data=csv", f"data.path='{path}'", "data.target=nothing", "model=bootstrap"], tmp_path / "run")
    assert "[red]x[/red]" in str(caught.value) and not STEERS.search(str(caught.value))
