"""The odd tables: one column of either kind, wider than long, a class with one row, no label, mostly missing."""

import numpy as np
import pandas as pd
import pytest
import torch

from datakiln.codecs.tables.table import TableCodec
from datakiln.data.base import Provenance
from datakiln.data.tables.sources import RawTable
from datakiln.data.tables.tables import TableData
from tests.models.test_resume import MODELS
from tests.toy_tables import fit


def one_number(rng):
    return pd.DataFrame({"size": rng.normal(size=80)}), None


def one_category(rng):
    return pd.DataFrame({"colour": pd.Series(rng.choice(["red", "blue"], 80), dtype="str")}), None


def wide(rng):
    return pd.DataFrame(rng.normal(size=(60, 50)), columns=[f"x{i}" for i in range(50)]), None


def lonely_class(rng):
    kind = pd.Series(["a"] * 40 + ["b"] * 39 + ["c"], dtype="str")
    return pd.DataFrame({"size": rng.normal(size=80), "kind": kind}), "kind"


def mostly_missing(rng):
    size = np.where(rng.random(80) < 0.9, np.nan, rng.normal(size=80))
    return pd.DataFrame({"size": size, "colour": pd.Series(rng.choice(["red", "blue"], 80), dtype="str")}), None


def repeated_number(rng):
    return pd.DataFrame({"size": rng.choice([1.0, 2.0], 80), "other": np.r_[np.full(79, 5.0), 6.0]}), None


@pytest.mark.parametrize("table", [one_number, one_category, wide, lonely_class, mostly_missing, repeated_number])
@pytest.mark.parametrize("name", sorted(MODELS))
def test_odd_tables_train_and_come_back_in_their_own_terms(name, table):
    encoder, make = MODELS[name]
    frame, label = table(np.random.default_rng(0))
    source = RawTable(frame, label, Provenance("generated", "odd", "0" * 64))
    data = TableData(lambda folder: source, TableCodec(numeric=encoder), batch_size=20, duplicates=False)
    data.setup("fit")
    torch.manual_seed(0)
    model = fit(make(data.spec), data, 2)
    made = data.codec.decode(model.sample(50), np.random.default_rng(0))
    assert list(made.columns) == list(frame.columns)
    assert (made.dtypes == frame.dtypes).all()
    for column in data.schema.choices:
        assert set(made[column].dropna()) <= set(frame[column].dropna())
    for column in data.schema.numeric:
        assert made[column].dropna().between(frame[column].min(), frame[column].max()).all()
