"""What rows keep of a table's constraints and relations, where the answer is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from datakiln.codecs.tables.relations.finding import find_relations
from datakiln.constraints import Range, Rules
from datakiln.data.tables.types import infer_schema
from datakiln.studies.uses.constraints import constraint_score

BOUND = 40


def orders(n: int, seed: int) -> pd.DataFrame:
    """A sum of two numbers, a country that follows from its city, and a number with a bound."""
    rng = np.random.default_rng(seed)
    price, fee, city = rng.integers(1, 500, n), rng.integers(1, 90, n), rng.choice(["Paris", "Lyon", "Rome"], n)
    country = np.where(city == "Rome", "Italy", "France")
    size = rng.integers(0, BOUND, n)
    return pd.DataFrame(
        {"price": price, "fee": fee, "total": price + fee, "city": city, "country": country, "size": size}
    )


TRAIN, TEST = orders(2000, 0), orders(800, 1)
SCHEMA = infer_schema(TRAIN, None, {})
RULES = Rules([Range("size", high=BOUND)], SCHEMA)
RELATIONS = find_relations(TRAIN, SCHEMA, ())


def score(made: pd.DataFrame):
    return constraint_score(SCHEMA, RULES, RELATIONS, (TRAIN, TEST, made), 0)


def test_rows_that_keep_all_some_and_none():
    perfect = score(orders(1000, 2))
    assert perfect.value == perfect.ceiling == 1.0 and perfect.floor is not None and perfect.floor < 0.05
    assert perfect.decides
    rng = np.random.default_rng(0)
    shuffled = pd.DataFrame({name: rng.permutation(TRAIN[name]) for name in TRAIN})
    assert score(shuffled).standing == pytest.approx(0.0, abs=0.02)
    half = orders(1000, 3)
    half.loc[:499, "total"] += 7
    half.loc[250:749, "size"] = BOUND + 1
    some = score(half)
    assert some.value == pytest.approx(0.25), "a row must keep them all"
    detail = some.detail or {}
    assert detail[str(RULES.constraints[0])] == pytest.approx(0.5)
    assert {value for name, value in detail.items() if "->" in name} == {1.0}


def test_a_table_without_rules_or_with_such_as_shuffled_rows_keep_is_not_judged():
    free = TRAIN[["price", "fee", "size"]]
    schema = infer_schema(free, None, {})
    parts = (free, TEST[list(free)], free)
    assert "no constraint" in constraint_score(schema, Rules([], schema), [], parts, 0).why
    trivial = constraint_score(schema, Rules([Range("size", high=BOUND)], schema), [], parts, 0)
    assert trivial.value is None and "shuffled" in trivial.why
