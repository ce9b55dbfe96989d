"""Dates that keep to a place in the calendar are not learnt as a distance that would not find it again."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from datakiln.codecs.tables.relations.finding import find_relations
from datakiln.data.tables.types import infer_schema

RNG = np.random.default_rng(0)
ROWS = 300
ANY = pd.Series(pd.Timestamp("2000-01-01") + pd.to_timedelta(RNG.integers(0, 8000, ROWS), "D"))
MONTH = ANY.dt.to_period("M").dt.to_timestamp()
SOON = pd.Series(pd.to_timedelta(RNG.integers(1, 60, ROWS), "D"))
NOON = pd.Timedelta(hours=12)
MINUTES = pd.Series(pd.to_timedelta(RNG.integers(0, 1440, ROWS), "min"))
PLACED = {  # an earlier and a later date, and whether the later one is learnt as a distance from the other
    "end of the month": (ANY, MONTH + pd.offsets.MonthEnd(1), False),
    "end of the year": (ANY, ANY.dt.to_period("Y").dt.to_timestamp() + pd.offsets.YearEnd(1), False),
    "first of the next month": (ANY, MONTH + pd.offsets.MonthBegin(1), False),
    "a Monday": (ANY, ANY + SOON + pd.to_timedelta(7 - (ANY + SOON).dt.day_of_week, "D"), False),
    "a day after a stamp": (ANY + MINUTES, ANY + SOON, False),
    "nine or noon after a stamp": (ANY + MINUTES, ANY + SOON + NOON * (1 - (ANY.index % 2) / 4), False),
    "any day": (ANY, ANY + SOON, True),
    "noon after midnight": (ANY, ANY + SOON + NOON, True),
    "a stamp after a day": (ANY, ANY + SOON + MINUTES, True),
    "a Monday after a Monday": (ANY - pd.to_timedelta(ANY.dt.day_of_week, "D"),
                                ANY - pd.to_timedelta(ANY.dt.day_of_week, "D") + 7 * SOON, True),
}  # fmt: skip


@pytest.mark.parametrize("name", PLACED)
def test_a_place_in_the_calendar_is_kept(name: str) -> None:
    early, late, is_learnt = PLACED[name]
    frame = pd.DataFrame({"early": early, "late": late})
    (relation,) = find_relations(frame, infer_schema(frame, None, {}))
    assert (relation.form, relation.mode) == ("order", "shifted" if is_learnt else "checked")
