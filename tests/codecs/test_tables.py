"""Every column type through fit, encode, decode and the stored state, in every dtype a table may come in."""

import io
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import torch

from datakiln.codecs.tables.scaling import MinMax, NumericEncoder, Quantile, Standard
from datakiln.codecs.tables.table import TableCodec
from datakiln.data.tables.types import infer_schema
from datakiln.errors import UserError

N = 120
CYCLE = np.arange(N)
ENCODERS = [MinMax, Standard, Quantile]


def with_gaps(values: pd.Series) -> pd.Series:
    """Every seventh cell missing."""
    return values.where(pd.Series(CYCLE % 7 != 0))


def some(*values: object, dtype: object = None) -> pd.Series:
    return pd.Series([values[i % len(values)] for i in CYCLE], dtype=dtype)


# what must come back exactly from an untouched encoding, in its own dtype
EXACT: dict[str, pd.Series] = {
    "int64": pd.Series(CYCLE * 3 % 47),
    "int8": pd.Series((CYCLE % 50 - 25).astype(np.int8)),
    "uint16": pd.Series((CYCLE * 31 % 997).astype(np.uint16)),
    "integer floats with gaps": with_gaps(pd.Series(CYCLE * 1.0)),
    "Int64 with gaps": with_gaps(pd.Series(CYCLE, dtype="Int64")),
    "two decimals": pd.Series(CYCLE % 37 / 100 + 5),
    "two decimals with gaps": with_gaps(pd.Series(CYCLE % 37 / 100 + 5)),
    "Float64 with gaps": with_gaps(pd.Series(CYCLE % 37 / 4, dtype="Float64")),
    "float32 tenths": pd.Series((CYCLE % 37 / 10).astype(np.float32)),
    "spike": pd.Series(np.where(CYCLE % 3 == 0, 0, CYCLE * 11)),
    "spike with gaps": with_gaps(pd.Series(np.where(CYCLE % 3 == 0, 0.0, CYCLE * 11.0))),
    "bool": some(True, False, False),
    "boolean with gaps": with_gaps(some(True, False, False, dtype="boolean")),
    "boolean without gaps": some(True, False, False, dtype="boolean"),
    "objects true, false, none": some(True, False, None, dtype=object),
    "zero and one": some(0, 1, 1),
    "zero and one with gaps": with_gaps(some(0.0, 1.0, 1.0)),
    "text": some("a", "b", "ü 名", dtype="str"),
    "text with gaps": with_gaps(some("a", "b", "c", "d", dtype="str")),
    "python strings": some("a", "b", None, dtype=object),
    "string dtype": with_gaps(some("a", "b", "c", "d", dtype="string")),
    "mixed objects": some("a", 1, 2.5, dtype=object),
    "categorical": some("x", "y", dtype="category"),
    "categorical with gaps": with_gaps(some("x", "y", "z", dtype="category")),
    "categorical of numbers": some(3, 1, 2, dtype="category"),
    "ordered categorical": pd.Series(
        pd.Categorical(some("low", "high", "mid"), categories=["low", "mid", "high"], ordered=True)
    ),
    "one value or missing": with_gaps(some("only", dtype="str")),
    "one number or missing": with_gaps(some(5.0)),
    "constant text": some("same", dtype="str"),
    "constant number": some(7),
    "constant float": some(0.5),
    "constant bool": some(True),
    "constant date": some(pd.Timestamp("2020-02-29"), dtype="datetime64[us]"),
    "constant categorical": some("same", dtype="category"),
    "all missing floats": pd.Series([np.nan] * N),
    "all missing text": pd.Series([None] * N, dtype="str"),
    "all missing objects": pd.Series([None] * N, dtype=object),
    "all missing dates": pd.Series([pd.NaT] * N),
    "dates": pd.Series(pd.Timestamp("2020-01-31") + pd.to_timedelta(CYCLE, unit="D")),
    "dates in nanoseconds": pd.Series(pd.date_range("2020-01-31", periods=N, freq="7D", unit="ns")),
    "dates in seconds": pd.Series(pd.date_range("1969-12-01", periods=N, freq="h", unit="s")),
    "dates with gaps": with_gaps(pd.Series(pd.date_range("1999-01-01", periods=N, freq="D"))),
    "dates with a zone": pd.Series(pd.date_range("2021-03-27", periods=N, freq="h", tz="Europe/Paris")),
    "dates in text": pd.Series(pd.date_range("2020-01-31", periods=N)).dt.strftime("%d/%m/%Y").astype("str"),
    "times in text with gaps": with_gaps(
        pd.Series(pd.date_range("2020-01-31", periods=N, freq="min")).dt.strftime("%Y-%m-%d %H:%M").astype("str")
    ),
}


def fitted(series: pd.Series, encoder: Callable[[], NumericEncoder] = MinMax, **options: object) -> TableCodec:
    frame = pd.DataFrame({"column": series, "y": some(1.5, 2.5, 3.5, 4.25)})
    return TableCodec(numeric=encoder, **options).fit(frame, infer_schema(frame, None, {}))


def there_and_back(codec: TableCodec, series: pd.Series) -> pd.Series:
    encoded = codec.encode(pd.DataFrame({"column": series, "y": some(1.5, 2.5, 3.5, 4.25)}))
    assert encoded.dtype == torch.float32 and encoded.shape == (N, *codec.spec.shape)
    assert torch.isfinite(encoded).all()
    return codec.decode(encoded, np.random.default_rng(0))["column"]


@pytest.mark.parametrize("encoder", ENCODERS, ids=lambda e: e.__name__)
@pytest.mark.parametrize("name", EXACT)
def test_what_is_discrete_comes_back_exactly(name: str, encoder: type[NumericEncoder]) -> None:
    series = EXACT[name].rename("column")
    codec = fitted(series, encoder)
    back = there_and_back(codec, series)
    pd.testing.assert_series_equal(back, series, check_freq=False)


@pytest.mark.parametrize("encoder", ENCODERS, ids=lambda e: e.__name__)
def test_unrounded_numbers_come_back_to_single_precision(encoder: type[NumericEncoder]) -> None:
    series = pd.Series(np.random.default_rng(1).normal(3.0, 2.0, N))
    back = there_and_back(fitted(series, encoder), series)
    # one float32 step of [-1, 1] is 6e-8 of the half range; a quantile's tails are up to 1e-4 of the ranks away
    tolerance = 1e-5 if encoder is not Quantile else 2e-2
    assert np.abs(back - series).max() < tolerance * np.ptp(series)


@pytest.mark.parametrize("name", EXACT)
def test_state_survives_a_weights_only_file(name: str) -> None:
    series = EXACT[name].rename("column")
    codec = fitted(series)
    buffer = io.BytesIO()
    torch.save(codec.state(), buffer)
    buffer.seek(0)
    again = TableCodec.from_state(torch.load(buffer, weights_only=True))
    assert again.spec == codec.spec and again.schema == codec.schema
    pd.testing.assert_series_equal(there_and_back(again, series), there_and_back(codec, series))


@pytest.mark.parametrize("name", EXACT)
def test_random_positions_decode_to_values_of_the_column(name: str) -> None:
    series = EXACT[name].rename("column")
    codec = fitted(series)
    noise = torch.randn(500, *codec.spec.shape, generator=torch.Generator().manual_seed(0))
    back = codec.decode(noise, np.random.default_rng(0))["column"]
    assert back.dtype == series.dtype
    field = codec.schema["column"]
    if field.is_choice or field.type == "constant":
        assert set(back.dropna().unique()) <= set(series.dropna().unique())
    elif field.format is None:
        assert back.min() >= series.min() and back.max() <= series.max()
    if not series.isna().any():
        assert not back.isna().any()


def test_days_stay_days() -> None:
    series = EXACT["dates"]
    codec = fitted(series)
    back = codec.decode(torch.rand(200, *codec.spec.shape) * 2 - 1, np.random.default_rng(0))["column"]
    assert (back == back.dt.normalize()).all() and back.nunique() > 50


def test_numbers_may_leave_the_range_only_without_clip_and_never_the_dtype() -> None:
    series = pd.Series((CYCLE % 100).astype(np.int8))
    far = torch.full((10, 2), 5.0)
    assert fitted(series).decode(far, np.random.default_rng(0))["column"].max() == 99
    free = fitted(series, clip=False).decode(far, np.random.default_rng(0))["column"]
    assert free.dtype == np.int8 and (free == 127).all()


def test_many_categories_are_pooled_and_drawn_back_by_frequency() -> None:
    rng = np.random.default_rng(0)
    words = np.array([f"w{i}" for i in range(10_000)])
    series = pd.Series(rng.choice(words, 60_000, p=np.arange(10_000, 0, -1) / 50_005_000), dtype="str")
    frame = pd.DataFrame({"w": series, "y": rng.normal(size=60_000)})
    codec = TableCodec(max_categories=256).fit(frame, infer_schema(frame, None, {}))
    assert codec.spec.shape == (257,)
    back = codec.decode(codec.encode(frame), np.random.default_rng(1))
    assert back["w"].dtype == frame["w"].dtype and set(back["w"]) <= set(words)
    kept = frame["w"].isin(codec.columns[0].values)
    assert (back.loc[kept, "w"] == frame.loc[kept, "w"]).all()
    drawn, true = (pd.Series(f.loc[~kept, "w"]).value_counts(normalize=True).head(2000) for f in (back, frame))
    # frequencies of rare words agree as well as two samples of them do: total variation near that of a redraw
    assert drawn.sub(true, fill_value=0).abs().sum() / 2 < 0.25


def test_ids_are_new_unique_and_of_the_same_dtype() -> None:
    frame = pd.DataFrame({"user_id": CYCLE + 500, "key": [f"k-{i}" for i in CYCLE], "x": CYCLE / 7})
    frame["key"] = frame["key"].astype("str")
    codec = TableCodec().fit(frame, infer_schema(frame, None, {}))
    assert [field.type for field in codec.schema.fields[:2]] == ["id", "id"]
    rng = np.random.default_rng(0)
    parts = [codec.decode(codec.encode(frame), rng, first_row) for first_row in (0, N)]
    back = pd.concat(parts)
    for name in ("user_id", "key"):
        assert back[name].is_unique and not set(back[name]) & set(frame[name])
        assert back[name].dtype == frame[name].dtype


def test_a_float_id_with_gaps_can_be_decoded() -> None:
    frame = pd.DataFrame({"id": with_gaps(pd.Series(CYCLE * 5.0 + 1000)), "x": CYCLE / 7})
    codec = TableCodec().fit(frame, infer_schema(frame, None, {"id": "id"}))
    back = codec.decode(codec.encode(frame), np.random.default_rng(0))
    assert back["id"].dtype == np.float64 and back["id"].is_unique and back["id"].min() > frame["id"].max()


def test_an_unused_category_is_not_learnt() -> None:
    series = pd.Series(pd.Categorical(some("x", "y"), categories=["x", "y", "never"]))
    codec = fitted(series)
    assert codec.columns[0].values == ["x", "y"]


def test_missing_stays_missing_only_where_training_had_it() -> None:
    whole, gaps = pd.Series(CYCLE * 1.0), with_gaps(pd.Series(CYCLE * 1.0))
    assert not there_and_back(fitted(whole), gaps).isna().any()
    assert there_and_back(fitted(gaps), gaps).isna().equals(gaps.isna())


@pytest.mark.parametrize("kind", ["integer", "numeric"])
def test_numbers_in_text_become_numbers_by_override(kind: str) -> None:
    frame = pd.DataFrame({"column": pd.Series([f"{i:03d}" for i in CYCLE % 60], dtype="str"), "y": CYCLE / 7})
    schema = infer_schema(frame, None, {"column": kind})
    codec = TableCodec().fit(frame, schema)
    back = codec.decode(codec.encode(frame), np.random.default_rng(0))["column"]
    assert back.tolist() == (CYCLE % 60).tolist()
    assert pd.api.types.is_integer_dtype(back.dtype) == (kind == "integer")


def test_ordinal_keeps_its_order() -> None:
    frame = pd.DataFrame({"column": some("mid", "low", "high", dtype="str"), "y": CYCLE / 7})
    schema = infer_schema(frame, None, {"column": {"type": "ordinal", "order": ["low", "mid", "high"]}})
    codec = TableCodec().fit(frame, schema)
    assert codec.columns[0].values == ["low", "mid", "high"]
    assert codec.decode(codec.encode(frame), np.random.default_rng(0))["column"].equals(frame["column"])


@pytest.mark.parametrize("zone", [None, "Europe/Paris"])
def test_dates_as_categories_by_override(zone: str | None) -> None:
    days = some(*pd.date_range("2020-01-01", periods=4, tz=zone))
    frame = pd.DataFrame({"column": with_gaps(days), "y": CYCLE / 7})
    codec = TableCodec().fit(frame, infer_schema(frame, None, {"column": "category"}))
    buffer = io.BytesIO()
    torch.save(codec.state(), buffer)
    buffer.seek(0)
    codec = TableCodec.from_state(torch.load(buffer, weights_only=True))
    pd.testing.assert_series_equal(
        codec.decode(codec.encode(frame), np.random.default_rng(0))["column"], frame["column"]
    )


def test_dates_in_numbers_by_override() -> None:
    days = pd.Series(pd.date_range("2020-01-31", periods=N)).dt.strftime("%Y%m%d").astype("int64")
    frame = pd.DataFrame({"column": days, "y": CYCLE / 7})
    schema = infer_schema(frame, None, {"column": {"type": "datetime", "format": "%Y%m%d"}})
    codec = TableCodec().fit(frame, schema)
    assert codec.decode(codec.encode(frame), np.random.default_rng(0))["column"].equals(days.rename("column"))


def test_numbers_too_large_to_reckon_with_are_named_before_training():
    frame = pd.DataFrame({"big": np.arange(300) * 1e298, "x": np.arange(300) % 7})
    with pytest.raises(UserError, match=r"column 'big' holds numbers up to 2.99e\+300 in size.*data.types.big=drop"):
        TableCodec().fit(frame, infer_schema(frame, None, {}))
    frame["big"] /= 1e280
    TableCodec().fit(frame, infer_schema(frame, None, {}))
