"""Relations of columns: those that are there are found, those that chance makes are not, and lost ones are seen."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from datakiln.metrics.base import EvalData, MetricError
from datakiln.metrics.evaluate import evaluate_table
from datakiln.metrics.tables.columns import tables
from datakiln.metrics.tables.references import resample_columns
from datakiln.metrics.tables.relations import FEW, Shares, figures_of, find, relations
from datakiln.schema import Field, Schema

CENTS = {name: 2 for name in ("net", "tax", "gross", "price", "total", "paid", "celsius", "fahrenheit")}


def orders(n: int, seed: int) -> pd.DataFrame:
    """Orders whose columns make every kind of relation, beside two numbers of few values that make none."""
    rng = np.random.default_rng(seed)
    net = rng.lognormal(3, 1, n).round(2)
    tax = (0.19 * net).round(2)
    price, quantity = rng.uniform(1, 99, n).round(2), rng.integers(2, 9, n)
    start = 1.6e9 + 86_400 * rng.integers(0, 300, n) + 3_600 * rng.integers(0, 24, n)
    celsius = rng.normal(12, 9, n).round(2)
    gross = (net + tax).round(2)
    frame = pd.DataFrame(
        {
            "net": net,
            "tax": tax,
            "gross": gross,
            "price": price,
            "quantity": quantity,
            "total": (price * quantity).round(2),
            "paid": np.where(rng.random(n) < 0.3, gross, (gross * rng.uniform(0, 0.9, n)).round(2)),
            "celsius": celsius,
            "fahrenheit": (1.8 * celsius + 32).round(2),
            "start": pd.to_datetime(start, unit="s").astype("datetime64[s]"),
            "end": pd.to_datetime(start + 3600 * rng.integers(1, 200, n), unit="s").astype("datetime64[s]"),
            "stars": rng.integers(1, 6, n),
            "rooms": rng.integers(1, 6, n),
        }
    )
    return frame.assign(month=frame["start"].dt.month.astype("int64"))


def kind(name: str) -> Field:
    if name in ("start", "end"):
        return Field(name, "datetime", "datetime64[s]")
    return Field(name, "numeric", "float64", CENTS[name]) if name in CENTS else Field(name, "integer", "int64", 0)


ORDERS = Schema(tuple(kind(str(name)) for name in orders(2, 0)))


@pytest.fixture(scope="module")
def data() -> EvalData:
    train = orders(1500, 0)
    return EvalData(ORDERS, train, orders(300, 1), resample_columns(train, 1500, np.random.default_rng(0)))


def test_every_kind_of_relation_is_found_and_none_that_chance_makes(data: EvalData) -> None:
    real = relations(data)[1].detail or {}
    for name in ("gross = net + tax", "total = price * quantity", "fahrenheit = 1.8 celsius + 32", "tax = 0.19 net"):
        assert real.get(name) == 1.0, name
    assert real["start <= end"] == real["month = month of start"] == 1.0
    assert real["gross = paid"] == pytest.approx(0.3, abs=0.04)
    assert not any(word in name for name in real for word in ("stars", "rooms", "start =", "quantity <="))


def test_independent_columns_lose_them_and_real_rows_keep_them(data: EvalData) -> None:
    kept, real, synthetic = relations(data)
    assert kept.detail is not None and real.detail is not None and synthetic.detail is not None
    assert set(kept.detail) == set(real.detail) == set(synthetic.detail)
    assert next(iter(kept.detail.values())) == min(kept.detail.values()) < 0.01 and kept.value < 0.5
    same = EvalData(ORDERS, data.train, data.holdout, orders(1500, 2))
    assert relations(same)[0].value > 0.95 and relations(same)[1].better == "none"


def test_missing_cells_count_for_nothing() -> None:
    train = orders(800, 0)
    holes = train.assign(gross=train["gross"].where(np.arange(800) % 3 > 0))
    kept, real, _ = relations(EvalData(ORDERS, holes, holes, train.assign(gross=np.nan)))
    assert (real.detail or {})["gross = net + tax"] == 1.0 and (kept.detail or {})["gross = net + tax"] == 0.0


def test_few_rows_and_tables_without_relations_say_so() -> None:
    few = orders(FEW - 1, 0)
    with pytest.raises(MetricError, match="49 training rows are fewer than the 50"):
        relations(EvalData(ORDERS, few, few, few))
    noise = pd.DataFrame(np.random.default_rng(0).normal(size=(300, 6)), columns=list("abcdef"))
    schema = Schema(tuple(Field(name, "numeric", "float64") for name in "abcdef"))
    with pytest.raises(MetricError, match="no relation of columns"):
        relations(EvalData(schema, noise, noise, noise))


@pytest.mark.parametrize("decimals", [0, 1])
def test_coarse_numbers_that_go_together_are_not_equal(decimals: int) -> None:
    # near each other they often are by chance, but no more often than one step apart
    for seed in range(5):
        rng = np.random.default_rng(seed)
        base = rng.normal(20, 4, 600)
        frame = pd.DataFrame({name: (base + rng.normal(0, 1, 600)).round(decimals) for name in "ab"})
        frame["c"] = (2 * base + rng.normal(0, 1, 600)).round(decimals)
        schema = Schema(tuple(Field(name, "numeric", "float64", decimals) for name in "abc"))
        found = find(schema, tables(EvalData(schema, frame, frame, frame)), 0)[1]
        assert not [r.name for r in found if "<=" not in r.name]


def test_ceiling_floor_and_a_list_of_somebody_else(data: EvalData) -> None:
    kept, real, _ = evaluate_table(data, [relations])
    assert not kept.why and kept.ceiling is not None and kept.ceiling.value > 0.9 and kept.ceiling_range is not None
    assert kept.floor is not None and kept.floor.value < 0.5 and real.value is not None
    made = figures_of([Shares("a = b", 0.3, 0.015), Shares("c sums to 1", 1.0, float("nan"))], 10)
    assert made[0].detail == {"c sums to 1": 0.0, "a = b": pytest.approx(0.05)} and made[2].value == 0.0075


def test_a_category_that_follows_from_another_is_found_and_its_loss_seen() -> None:
    rng = np.random.default_rng(0)
    city = rng.choice(["Bonn", "Ulm", "Lyon", "Nice", "Rome"], 1000)
    country = pd.Series(city).map({"Bonn": "DE", "Ulm": "DE", "Lyon": "FR", "Nice": "FR", "Rome": "IT"})
    frame = pd.DataFrame(
        {"city": city, "country": country, "code": country.str.lower(), "size": rng.choice(list("sml"), 1000)}
    )
    schema = Schema(tuple(Field(str(name), "category", "str") for name in frame))
    mixed = frame.assign(country=rng.permutation(country))
    detail = relations(EvalData(schema, frame, frame[:200], mixed))[2].detail
    assert set(detail) == {"city -> country", "city -> code", "country -> code"}
    assert detail["city -> code"] == 1.0 and detail["city -> country"] < 0.6
    new = frame.assign(city=frame["city"].where(frame.index % 2 == 0, "Oslo"))  # says nothing of the others
    assert relations(EvalData(schema, frame, frame[:200], new))[0].value == 1.0
    alone = pd.DataFrame({"city": [f"c{k}" for k in range(1000)], "country": rng.choice(["a", "b"], 1000)})
    schema = Schema(tuple(Field(str(name), "category", "str") for name in alone))
    with pytest.raises(MetricError, match="no relation"):  # each city once: nothing could have failed
        relations(EvalData(schema, alone, alone[:200], alone))
