"""Numbers rounded to the left of the point stay so."""

import numpy as np
import pandas as pd
import pytest
import torch

from datakiln.codecs.tables import grid
from datakiln.codecs.tables.bins import Bins
from datakiln.codecs.tables.scaling import MinMax
from datakiln.codecs.tables.table import TableCodec
from datakiln.data.tables.types import infer_schema


@pytest.mark.parametrize("encoder", [MinMax, Bins])
@pytest.mark.parametrize("step", [10, 100, 1000])
@pytest.mark.parametrize("dtype", ["int64", "float64"])
def test_rounding_to_tens_hundreds_and_thousands_is_kept(encoder, step, dtype):
    rng = np.random.default_rng(0)
    pay = np.where(rng.random(3000) < 0.3, 0, rng.integers(1, 2000, 3000)).astype(dtype) * step
    frame = pd.DataFrame({"pay": pay, "free": rng.integers(0, 9000, 3000)})
    fitted = TableCodec(encoder).fit(frame, infer_schema(frame, None, {}))
    codec = TableCodec.from_state(fitted.state())
    x = codec.encode(frame)
    made = codec.decode(x + 0.01 * torch.randn(x.shape, generator=torch.manual_seed(0)), np.random.default_rng(0))
    assert (made.pay % step == 0).all() and (made.pay % (10 * step) != 0).any() and made.pay.dtype == dtype
    assert made.pay.between(0, pay.max()).all() and abs((made.pay == 0).mean() - (pay == 0).mean()) < 0.05
    assert (made.free % 10 != 0).mean() > 0.8


@pytest.mark.parametrize(("step", "first"), [(900, 0), (30, 0), (7 * 86_400, 4 * 86_400), (3_600, 1_800)])
def test_dates_and_times_stay_on_their_steps(step, first):
    rng = np.random.default_rng(0)
    seconds = rng.integers(0, 50, 2000) * step + first
    frame = pd.DataFrame({"at": pd.to_datetime(seconds, unit="s")})
    codec = TableCodec(Bins).fit(frame, infer_schema(frame, None, {}))
    x = codec.encode(frame)
    made = codec.decode(x + 0.01 * torch.randn(x.shape, generator=torch.manual_seed(0)), np.random.default_rng(0))
    since = (made["at"] - pd.Timestamp("1970-01-01")).dt.total_seconds()
    assert ((since - first) % step == 0).all()
    assert since.nunique() > 40


def test_few_times_are_no_step():
    assert grid.find(np.tile([0.0, 900.0, 1800.0], 40), None, is_date=True).step == 60
