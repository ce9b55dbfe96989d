"""Times of what goes on: forecasts and endless series of even, uneven and local times, and where starts lie."""

from __future__ import annotations

import numpy as np
import pandas as pd

from datakiln.sampling.series import forecast_file, write_endless
from datakiln.spec import PLAIN
from tests.series.test_sampling import repeating


def uneven(rows: int = 60) -> pd.DataFrame:
    """One series with steps of 1 to 4 and a number."""
    rng = np.random.default_rng(0)
    return pd.DataFrame({"t": np.cumsum(rng.integers(1, 5, rows)), "v": rng.normal(size=rows).round(2)})


def test_forecasts_of_uneven_times_begin_a_step_behind_the_history(tmp_path):
    """The first step counts, and every path begins anew: all of them repeat the last step here."""
    rows = uneven()
    rows["t"] = np.r_[rows["t"][:-1], rows["t"].iloc[-2] + 3]
    rows.to_csv(tmp_path / "x.csv", index=False)
    forecast_file(repeating(rows, time="t"), str(tmp_path / "x.csv"), tmp_path / "ahead.csv", 3, 2, 0, PLAIN)
    paths = pd.read_csv(tmp_path / "ahead_paths.csv")
    assert paths["t"].tolist() == [rows["t"].iloc[-1] + ahead for ahead in (3, 6, 9)] * 2


def test_no_time_repeats_where_a_piece_of_an_endless_series_begins(tmp_path):
    synthesizer = repeating(uneven(), time="t")
    write_endless(synthesizer, 1, 20, tmp_path / "x.csv", {}, 0, PLAIN)
    times = pd.read_csv(tmp_path / "x.csv")["t"]
    assert len(times) == 20 and times.diff().dropna().min() >= 1
