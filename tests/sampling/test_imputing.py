"""Holes of tables whose given cells are computed from others: what is drawn for these lies where training rows do."""

import numpy as np
import pandas as pd
import pytest

from datakiln.codecs.tables.relations.finding import find_relations
from datakiln.codecs.tables.table import TableCodec
from datakiln.constraints import Rules
from datakiln.data.tables.types import infer_schema
from datakiln.sampling import agreeing
from datakiln.sampling.imputing import Imputing

ROWS, HOLED = 400, 60


def days(rng: np.random.Generator) -> pd.DatetimeIndex:
    return pd.Timestamp("2021-01-01") + pd.to_timedelta(rng.integers(0, 500, ROWS), unit="D")


def imputing(frame: pd.DataFrame) -> Imputing:
    """With a model that draws training rows, whatever is given."""
    schema = infer_schema(frame, None, {})
    codec = TableCodec().fit(frame, schema, relations=find_relations(frame, schema))

    def draw(gaps: pd.DataFrame, key: tuple[int, int, int]) -> pd.DataFrame:
        return frame.iloc[np.random.default_rng(key).integers(0, len(frame), len(gaps))].reset_index(drop=True)

    return Imputing(codec, Rules((), schema), draw)


def dated(kind: str, rng: np.random.Generator) -> pd.DatetimeIndex:
    if kind == "minutes":
        return days(rng) + pd.to_timedelta(rng.integers(8 * 60, 18 * 60, ROWS), unit="min")
    if kind == "two":  # nothing lies between
        return days(rng) + pd.to_timedelta(rng.choice([9, 17], ROWS), unit="h")
    hour = {"midnight": "0h", "nine": "9h"}[kind]
    return (days(rng) + pd.Timedelta(hour)).tz_localize("Europe/Berlin")


@pytest.mark.parametrize("kind", ["minutes", "two", "midnight", "nine"])
def test_picked_dates_have_the_times_of_day_of_training_rows(kind):
    """By the clocks of their zone, which the column's cells show while its holes are being filled, too."""
    stamps = dated(kind, np.random.default_rng(0))
    frame = pd.DataFrame({"at": stamps, "weekday": stamps.day_name(), "month": stamps.month.astype("int64")})
    given = frame.head(HOLED).assign(at=None)
    filled = pd.DatetimeIndex(imputing(frame).filled(given, 0)["at"])
    assert (filled.day_name() == given["weekday"]).all() and (filled.month == given["month"]).all()
    assert set(filled.time) <= set(stamps.time)
    assert stamps.min() <= filled.min() and filled.max() <= stamps.max()


def test_what_follows_from_picked_dates_stays_in_the_training_range():
    rng = np.random.default_rng(0)
    start, span = days(rng), rng.integers(0, 40, ROWS)
    frame = pd.DataFrame({"start": start, "weekday": start.day_name(), "month": start.month.astype("int64")})
    frame = frame.assign(days=span, end=start + pd.to_timedelta(span, unit="D"))
    filled = imputing(frame).filled(frame.head(HOLED).assign(start=pd.NaT, days=np.nan), 0)
    assert (filled["end"] == frame["end"].head(HOLED)).all() and filled["days"].between(0, 39).all()
    started = pd.DatetimeIndex(filled["start"])
    assert (started.day_name() == filled["weekday"]).all() and (started.month == filled["month"]).all()
    assert (started + pd.to_timedelta(filled["days"].astype(float), unit="D") == filled["end"]).all()


def test_quantities_are_tried_in_pieces(monkeypatch):
    monkeypatch.setattr(agreeing, "AT_ONCE", 4 * agreeing.TRIED)
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"quantity": rng.integers(1, 9, ROWS), "price": rng.integers(1, 99, ROWS)})
    frame = frame.assign(total=frame["quantity"] * frame["price"])
    given = frame.head(HOLED).astype(float).assign(quantity=np.nan, price=np.nan)
    made = agreeing.Agreeing(imputing(frame).codec, lambda: frame).picked(given, rng)
    assert (made["quantity"] * made["price"] == frame["total"].head(HOLED)).all()
