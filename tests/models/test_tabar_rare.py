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
