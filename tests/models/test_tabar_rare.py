"""Conditions on a class of a dozen rows bring what goes with it."""

import numpy as np
import pandas as pd
import torch

from datakiln.codecs.tables.bins import Bins
from datakiln.codecs.tables.table import TableCodec
from datakiln.data.tables.types import infer_schema
from datakiln.models.autoregressive.tabar import TabAR
from datakiln.spec import Batch


def claims(n: int = 1200) -> pd.DataFrame:
    """Twelve false claims, whose amounts lie near 20,000; all others lie below 9,000."""
    rng = np.random.default_rng(0)
    kind = np.where(np.arange(n) < 12, "false", "true")
    amount = np.where(kind == "false", rng.normal(20_000, 200, n), np.minimum(np.exp(rng.normal(4.5, 1.5, n)), 9000))
    frame = pd.DataFrame({"kind": kind, "amount": amount.round(2), "age": rng.normal(40, 9, n).round(1)})
    return frame.sample(frac=1, random_state=0).reset_index(drop=True)


def test_a_class_of_a_dozen_rows_has_its_amounts_before_the_first_update() -> None:
    frame = claims()
    codec = TableCodec(Bins, compact=True, places=True).fit(frame, infer_schema(frame, "kind", {}))
    torch.manual_seed(0)
    model = TabAR(codec.spec, width=16).eval()
    model._count([Batch(codec.encode(frame))])
    asked = codec.encode_known({"kind": pd.Series(["false"])}, 300)
    made = codec.decode(model.sample(300, asked), np.random.default_rng(0))
    assert (made["kind"] == "false").all()
    assert (made["amount"] > 15_000).mean() > 0.8
    usual = codec.decode(model.sample(2000), np.random.default_rng(0))
    assert abs((usual["kind"] == "false").mean() - 0.01) < 0.01
    assert ((usual["amount"] > 15_000) == (usual["kind"] == "false")).mean() > 0.98


def test_a_category_of_a_dozen_rows_that_is_told_brings_the_column_before_it() -> None:
    """Of a thousand soldiers' sector there are other rows too: it tells little, but the dozen all have it."""
    rng, n = np.random.default_rng(0), 12_000
    job = np.array(["clerk", "cook", "smith", "nurse", "pilot"], dtype=object)[rng.integers(5, size=n)]
    sector = np.where(np.arange(n) < 500, "public", "private").astype(object)
    job[:12] = "soldier"
    frame = pd.DataFrame({"sector": sector, "job": job}).sample(frac=1, random_state=0).reset_index(drop=True)
    codec = TableCodec(Bins, compact=True, places=True).fit(frame, infer_schema(frame, None, {}))
    torch.manual_seed(0)
    model = TabAR(codec.spec, width=16).eval()
    model._count([Batch(codec.encode(frame))])
    assert model.rank.tolist() == [0, 1]  # the sector is drawn first
    asked = codec.encode_known({"job": pd.Series(["soldier"])}, 300)
    made = codec.decode(model.sample(300, asked), np.random.default_rng(0))
    assert (made["sector"] == "public").mean() > 0.6  # 4 % of all rows
    usual = codec.decode(model.sample(4000), np.random.default_rng(0))
    assert abs((usual["sector"] == "public").mean() - 500 / n) < 0.01
