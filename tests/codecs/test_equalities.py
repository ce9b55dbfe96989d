"""Numbers that often are another, or the sum or difference of two."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from datakiln.codecs.tables import equalities
from datakiln.codecs.tables.bins import Bins
from datakiln.codecs.tables.table import TableCodec
from datakiln.data.tables.types import infer_schema
from datakiln.spec import DataSpec, sums_of


def columns(n: int = 3000, share: float = 0.3, seed: int = 0) -> dict[str, np.ndarray]:
    """Amounts with cents: `total` is net and tax together in some rows, `left` the total without what is paid."""
    rng = np.random.default_rng(seed)
    net, tax, paid, other, more = (np.exp(rng.normal(4, 1, n)).round(2) for _ in range(5))
    total = np.where(rng.random(n) < share, (net + tax).round(2), other)
    left = np.where(rng.random(n) < share, (total - paid).round(2), more)
    return {"net": net, "tax": tax, "total": total, "paid": paid, "left": left}


def test_sums_and_differences_are_found():
    values = columns()
    found = equalities.find(values, set(values))
    assert found == {"total": [((1, "net"), (1, "tax"))], "left": [((1, "total"), (-1, "paid"))]}
    for name, ((first, second),) in found.items():
        states = equalities.states(values, name, found[name])
        right = values[first[1]] + second[0] * values[second[1]]
        assert (np.abs(values[name] - right) < 1e-6)[states == 0].all()
        assert 0.28 < (states == 0).mean() < 0.32
        assert np.abs(equalities.added_up(found[name][0], values) - right).max() == 0


@pytest.mark.parametrize("order", [["tax", "total", "net"], ["total", "tax", "net"], ["net", "tax", "total"]])
def test_a_sum_is_found_whichever_column_comes_last(order):
    values = columns()
    found = equalities.find({name: values[name] for name in order}, set(order))
    ((first, second),) = found[order[-1]]
    assert {first[1], second[1]} == set(order[:-1]) and (found.keys() == {order[-1]})
    if order[-1] == "net":
        assert {first, second} == {(1, "total"), (-1, "tax")}


def test_what_chance_makes_is_no_sum():
    rng = np.random.default_rng(1)
    few = {name: rng.integers(0, 12, 3000).astype(float) for name in "abcdef"}
    assert equalities.find(few, set(few)) == {}
    near = {"a": rng.integers(0, 300, 3000).astype(float)}
    near |= {name: rng.choice([-3.0, -2.0, -1.0, 1.0, 2.0, 3.0], 3000) for name in "bc"}
    near["b"] += near["a"]
    assert equalities.find(near, set(near)) == {}, "b is often a + c, as it would be of any other c"


def test_a_part_of_nothing_is_no_sum():
    values = columns(share=0.0)
    values["none"] = np.where(np.arange(3000) % 10 > 0, 0.0, values["tax"])
    values["copy"] = np.where(np.arange(3000) % 2 > 0, values["net"], values["paid"])
    assert equalities.find(values, set(values)).get("copy") == [((1, "net"),), ((1, "paid"),)]


def test_columns_that_are_no_numbers_are_not_added_up():
    values = columns()
    assert "total" not in equalities.find(values, {"net", "total"})
    assert equalities.find(values, set()) == {}


def test_few_rows_and_seldom_sums_claim_nothing():
    assert equalities.find(columns(60), set(columns())) == {}
    assert equalities.find(columns(share=0.02), set(columns())) == {}


def test_states_are_read_again():
    found = [((1, "a"),), ((1, "b"), (-1, "c"))]
    assert sums_of(["a", [[1, "b"], [-1, "c"]]]) == sums_of(found) == found
    for wrong in ([[]], [[[2, "a"]]], [[["a", 1]]], [[[1, "a"]] * 3], [3], [[[1, 2]]], [[1, "a"]]):
        with pytest.raises(ValueError, match="is no s"):
            sums_of(wrong)


def test_a_state_of_single_columns_from_before_is_read():
    frame = pd.DataFrame(columns(1000)).assign(copy=lambda d: d["paid"].where(np.arange(1000) % 2 > 0, d["tax"]))
    codec = TableCodec(Bins, compact=True, places=True).fit(frame, infer_schema(frame, None, {}))
    singles = {name: found for name, found in codec.equal_to.items() if all(len(terms) == 1 for terms in found)}
    assert singles
    codec.equal_to = singles
    codec._lay_out(1000, ())
    plain, spec = json.loads(json.dumps(codec.state())), json.loads(json.dumps(codec.spec.state()))
    plain["equal_to"] = {name: [other for ((_, other),) in found] for name, found in singles.items()}
    for column in spec["columns"]:
        for block in column["blocks"]:
            block["equal_to"] = [other for ((_, other),) in block["equal_to"]]
    again = TableCodec.from_state(plain)
    assert again.spec.columns == codec.spec.columns
    assert [c.blocks[0].equal_to for c in DataSpec.from_state(spec).columns] == [
        c.blocks[0].equal_to for c in codec.spec.columns
    ]


def test_a_sum_beyond_the_column_keeps_the_cells_own_place():
    frame = pd.DataFrame(columns(1000))
    codec = TableCodec(Bins, compact=True, places=True).fit(frame, infer_schema(frame, None, {}))
    assert equalities.is_within(np.array([0.1 + 0.2, 0.0, np.nan]), (0.0, 0.3)).all()
    assert not equalities.is_within(np.array([-0.01, 0.31]), (0.0, 0.3)).any()
    rows = frame.head(2).assign(net=frame["net"].max(), tax=frame["tax"].max(), total=[10.0, 20.0])
    assert (rows["net"] + rows["tax"] > frame["total"].max()).all()
    x = codec.encode(rows)
    block = next(c.blocks[0] for c in codec.spec.columns if c.name == "total")
    x[:, block.start] = block.size - 1  # said to be the sum
    assert np.allclose(codec.decode(x, np.random.default_rng(0))["total"], [10.0, 20.0], rtol=1e-3)


@pytest.mark.parametrize("name", ["none", "total", "left", "kind"])
def test_a_state_that_cannot_be_is_refused(name):
    frame = pd.DataFrame({"kind": list("ab") * 500, **columns(1000)})
    state = TableCodec(Bins, compact=True, places=True).fit(frame, infer_schema(frame, None, {})).state()
    TableCodec.from_state(state)
    with pytest.raises(ValueError, match="total cannot equal"):
        TableCodec.from_state({**state, "equal_to": {"total": [name]}})
    with pytest.raises(ValueError, match="none is no column"):
        TableCodec.from_state({**state, "equal_to": {"none": ["net"]}})
