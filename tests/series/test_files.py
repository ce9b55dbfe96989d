"""A person's files of series beside a model: columns that lack."""

from __future__ import annotations

import pandas as pd
import pytest

from datakiln.sampling.series import forecast_file
from datakiln.spec import PLAIN
from tests.stub_series import STEPS, orders, redrawing_steps


def given(rows: pd.DataFrame, folder) -> str:
    rows.to_csv(folder / "given.csv", index=False)
    return str(folder / "given.csv")


@pytest.mark.parametrize("city", [None, "Rome"])
def test_a_forecast_of_a_city_that_is_not_told_or_was_never_seen(city, tmp_path):
    """A column that lacks is none of the forecast; one that is given comes back as it is."""
    rows = orders().head(2 * STEPS).drop(columns="city")
    rows = rows if city is None else rows.assign(city=city)
    forecast_file(redrawing_steps(), given(rows, tmp_path), tmp_path / "ahead.csv", 3, 4, 1, PLAIN)
    paths = pd.read_csv(tmp_path / "ahead_paths.csv")
    assert len(paths) == 24 and paths["shop"].nunique() == 2
    assert "city" not in paths if city is None else (paths["city"] == city).all()
