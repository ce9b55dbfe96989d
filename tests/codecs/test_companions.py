"""What goes with a rare category is kept, and told where rows made for it do not have it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from datakiln.codecs.tables.companions import Companion
from datakiln.codecs.tables.table import TableCodec
from datakiln.console import Console
from datakiln.data.tables.types import infer_schema
from datakiln.sampling.synthesizer import Synthesizer
from datakiln.sampling.writing import write_table
from tests.stub_tables import Redraws, fitted


def soldiers(linked: bool = True, n: int = 3000) -> pd.DataFrame:
    """Fourteen soldiers, all of the public sector, which one row in twenty is of."""
    rng = np.random.default_rng(0)
    job = np.array(["clerk", "cook", "smith"], dtype=object)[rng.integers(3, size=n)]
    sector = np.where(rng.random(n) < 0.05, "public", "private").astype(object)
    job[:14] = "soldier"
    if linked:
        sector[:14] = "public"
    return pd.DataFrame({"job": job, "sector": sector, "pay": rng.normal(size=n).round(2)})


def written(made: pd.DataFrame, condition: dict[str, str], folder) -> list[str]:
    """What is said of a sample of a model that was trained on soldiers and draws these rows."""
    codec = fitted(None, soldiers())
    codec = TableCodec.from_state(codec.state())
    lines: list[str] = []
    console = Console(quiet=True)
    console.print = lambda text, **_: lines.append(str(text))  # type: ignore[method-assign]
    synthesizer = Synthesizer(Redraws(codec, made, "columns"), codec)
    for out in ("x.csv", "parts/"):
        write_table(synthesizer, 200, f"{folder}/{out}", condition, 0, console)
    return [line for line in lines if "not learnt" in line]


def test_a_class_of_fourteen_rows_has_a_companion_and_chance_makes_none() -> None:
    assert TableCodec.from_state(fitted(None, soldiers()).state()).companions == [
        Companion("job", "soldier", 14, "sector", "public", 1.0, pytest.approx(0.05, abs=0.01))
    ]
    assert not fitted(None, soldiers(linked=False)).companions


def test_a_link_that_is_not_learnt_is_told_in_one_line_for_each_sample(tmp_path) -> None:
    lines = written(soldiers(linked=False), {"job": "soldier"}, tmp_path)
    assert len(lines) == 2  # of a file and of a folder
    assert lines[0].startswith("condition.job=soldier: sector=public is in ")
    assert "in 100% of the 14 training rows that had it and in 6% of all" in lines[0] and "another model" in lines[0]


def test_nothing_is_told_where_it_is_learnt_or_more_is_asked_for(tmp_path) -> None:
    assert not written(soldiers(), {"job": "soldier"}, tmp_path / "a")
    assert not written(soldiers(linked=False), {"job": "cook"}, tmp_path / "b")
    assert not written(soldiers(linked=False), {"job": "soldier", "pay": "<5"}, tmp_path / "c")


def test_rows_that_were_drawn_leave_no_companions_behind() -> None:
    codec = TableCodec().fit(soldiers(), infer_schema(soldiers(), None, {}))
    codec.forget_rows()
    assert not codec.companions and not TableCodec.from_state(codec.state()).companions


def test_a_checkpoint_with_a_broken_companion_is_refused() -> None:
    state = fitted(None, soldiers()).state()
    for broken in (["job", "soldier"], ["job", 3, 14, "sector", "public", 1.0, 0.05], "soldier"):
        with pytest.raises((ValueError, TypeError)):
            TableCodec.from_state({**state, "companions": [broken]})
