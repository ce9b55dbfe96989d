"""Relations between columns: what is found, what is not claimed, and that it holds in what a codec decodes."""

import numpy as np
import pandas as pd
import pytest
import torch

from datakiln.codecs.tables.bins import Bins
from datakiln.codecs.tables.relations.finding import find_relations
from datakiln.codecs.tables.table import TableCodec
from datakiln.data.sets.toy import ToyRelations
from datakiln.data.tables.relations import chosen_relations
from datakiln.data.tables.types import infer_schema
from datakiln.errors import UserError


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return ToyRelations(2000)().frame


def texts(frame: pd.DataFrame, **options) -> dict[str, str]:
    return {str(r): r.mode for r in find_relations(frame, infer_schema(frame, None, {}), **options)}


def shuffled(frame: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Every column in an order of its own: nothing holds any more."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {name: frame[name].sample(frac=1, random_state=int(rng.integers(1e6))).to_numpy() for name in frame}
    )


def test_all_known_relations_are_found_and_no_other(table):
    assert texts(table) == {
        "weekday(start) -> weekday": "computed",
        "month = month(start)": "computed",
        "fahrenheit = 1.8 * celsius + 32": "computed",
        "gross = net + tax": "computed",
        "share_c = 1 - share_a - share_b": "computed",
        "end = start + days": "computed",
        "refund = net": "kept",
        "total = quantity * price": "computed",
        "rate = 100 * clicks / views": "computed",
        "city -> code": "computed",
        "city -> country": "computed",
        "part < whole": "checked",
    }


@pytest.mark.parametrize("rows", [40, 300, 2000])
def test_columns_that_do_not_depend_on_each_other_have_no_relation(table, rows):
    assert not texts(shuffled(table.head(rows)))


def test_what_few_rows_show_is_not_claimed(table):
    assert not texts(table.head(45))


def numbers(n: int = 600) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {name: rng.gamma(3, 50, n).round(2) for name in "abcd"} | {
        "k": rng.integers(1, 9, n),
        "h": rng.uniform(1, 3, n).round(2),
        "p": rng.integers(0, 40, n),
        "r": rng.choice([0.05, 0.1, 0.2], n),
    }


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (lambda x: x["a"], "z = a"),
        (lambda x: x["a"] + 7, "z = a + 7"),
        (lambda x: x["a"] - x["b"], "z = a - b"),
        (lambda x: x["a"] + x["b"] + x["c"] + x["d"], "z = a + b + c + d"),
        (lambda x: (x["a"] + x["b"] + x["c"]) / 3, "z = a / 3 + b / 3 + c / 3"),
        (lambda x: x["a"] * 0.45359237, "z = 0.45359237 * a"),
        (lambda x: x["a"] * x["k"] + 5, "z = a * k + 5"),
        (lambda x: x["a"] / x["h"] ** 2, "z = a / (h * h)"),
        (lambda x: 100 * x["a"] / (x["a"] + x["b"]), "z = 100 * a / (a + b)"),
        (lambda x: x["a"] * x["k"] * (1 - x["p"] / 100), "z = a * k * (1 - p / 100)"),
        (lambda x: x["a"] * (1 + x["r"]), "z = a * (1 + r)"),
    ],
)
def test_general_forms(made, expected):
    x = numbers()
    found = texts(pd.DataFrame(x).assign(z=np.round(made(x), 4 if "0.45" in expected else 2)))
    assert expected in found, found


def fractions(n: int = 2000) -> dict[str, tuple[dict[str, np.ndarray], str]]:
    """Tables of a ratio or product, each with the form that leaves the other forms true."""
    rng = np.random.default_rng(0)
    views, items, qty = rng.integers(100, 10_000, n), rng.integers(1, 20, n), rng.integers(1, 9, n)
    clicks, paid, price = rng.binomial(views, rng.beta(2, 20, n)), rng.integers(20, 400, n), rng.gamma(3, 20, n)
    return {
        "rate": ({"clicks": clicks, "views": views, "rate": (clicks / views).round(4)}, "rate = clicks / views"),
        "avg": ({"total": paid, "items": items, "avg": (paid / items).round(2)}, "avg = total / items"),
        "price": ({"total": qty * price.round(2), "qty": qty, "price": price.round(2)}, "total = qty * price"),
    }


@pytest.mark.parametrize("kind", ["rate", "avg", "price"])
def test_of_several_forms_the_one_is_computed_that_keeps_the_others(kind):
    cells, expected = fractions()[kind]
    frame = pd.DataFrame(cells)
    frame = frame.round(2) if kind == "price" else frame
    assert expected in texts(frame)
    codec, _ = there_and_back(frame)
    x = codec.encode(frame)
    torch.manual_seed(0)
    mixed = torch.stack([x[torch.randperm(len(x)), i] for i in range(x.shape[1])], dim=1)
    made = codec.decode(mixed, np.random.default_rng(0))
    if kind == "rate":
        kept = [(made.rate - made.clicks / made.views).abs() < 6e-5, (made.clicks - made.views * made.rate).abs() < 0.6]
    elif kind == "avg":
        kept = [
            (made.avg - made.total / made["items"]).abs() < 6e-3,
            (made.total - made["items"] * made.avg).abs() < 0.1,
        ]
    else:
        kept = [(made.total - made.qty * made.price).abs() < 6e-3, (made.price - made.total / made.qty).abs() < 6e-3]
    assert all(holds.mean() >= 0.99 for holds in kept)


def test_exceptions_become_a_distance_and_missing_cells_stay_where_they_are():
    x = numbers(3000)
    frame = pd.DataFrame(x).assign(z=(x["a"] + x["b"]).round(2))
    frame.loc[::100, "z"] += 3
    assert texts(frame)["z = a + b"] == "shifted"
    frame = pd.DataFrame(x).assign(z=(x["a"] + x["b"]).round(2))
    frame.loc[::7, "z"] = np.nan
    frame.loc[3::11, "a"] = np.nan
    codec, back = there_and_back(frame)
    assert codec.plan.kept and back.isna().equals(frame.isna())
    both = frame.notna().all(axis=1)
    assert (back.z - back.a - back.b)[both].abs().max() < 1e-6


def there_and_back(frame: pd.DataFrame, **options) -> tuple[TableCodec, pd.DataFrame]:
    """Through a codec and its stored state."""
    schema = infer_schema(frame, None, {})
    codec = TableCodec(**options).fit(frame, schema, relations=find_relations(frame, schema))
    codec = TableCodec.from_state(codec.state())
    return codec, codec.decode(codec.encode(frame), np.random.default_rng(0))


def test_an_untouched_table_comes_back_and_computed_columns_take_no_position(table):
    codec, back = there_and_back(table)
    assert back.dtypes.equals(table.dtypes) and list(back) == list(table)
    assert not {"fahrenheit", "gross", "total", "country", "weekday", "end"} & {c.name for c in codec.spec.columns}
    for name in ("fahrenheit", "country", "weekday", "month", "code"):
        assert back[name].equals(table[name]), name
    assert back["end"].equals(table["end"])


def test_relations_hold_in_rows_that_nobody_learnt(table):
    codec, _ = there_and_back(table)
    made = mixed(codec, table)
    for relation, broken in codec.plan.broken(made):
        assert relation.mode == "checked" or not broken.any(), str(relation)
    unmet = codec.plan.unmet(made, codec.by_name())
    assert 0 < unmet.sum() < len(made)
    assert not codec.plan.broken(made[~unmet])[-1][1].any()


@pytest.mark.parametrize("share", [0.93, 0.8, 0.65])
def test_what_holds_in_most_rows_becomes_a_distance(share):
    rng = np.random.default_rng(2)
    quantity, price = rng.integers(1, 9, 2000), rng.lognormal(2, 1, 2000).round(2)
    paid = np.where(rng.random(2000) < share, 1.0, rng.uniform(0.5, 0.95, 2000))
    frame = pd.DataFrame({"quantity": quantity, "price": price, "total": (quantity * price * paid).round(2)})
    assert texts(frame) == {"total = quantity * price": "shifted"}
    _, back = there_and_back(frame, numeric=Bins, compact=True, places=True)
    met = [((f["quantity"] * f["price"] - f["total"]).abs() < 0.006).mean() for f in (frame, back)]
    assert abs(met[0] - met[1]) < 0.01


def test_what_holds_only_where_all_is_zero_is_no_relation():
    rng = np.random.default_rng(3)
    a, b, c = (np.where(rng.random(2000) < 0.9, 0.0, rng.normal(50, 20, 2000).round(2)) for _ in range(3))
    frame = pd.DataFrame({"a": a, "b": b, "c": c})
    assert ((frame["a"] + frame["b"] - frame["c"]).abs() < 0.005).mean() > 0.7
    assert texts(frame) == {}


def by_two(rows: int = 2000, zips: int = 4) -> pd.DataFrame:
    """A state that follows from city and zip together, and from neither alone."""
    rng = np.random.default_rng(1)
    city, zip_code = rng.choice(["Springfield", "Salem", "Troy", "Rome"], rows), rng.integers(0, zips, rows)
    state = [["NY", "IL", "OR", "TX"][(len(c) * 3 + k * k) % 4] for c, k in zip(city, zip_code, strict=True)]
    return pd.DataFrame({"city": city, "zip": zip_code + 62_000, "state": state, "noise": rng.choice(["x", "y"], rows)})


def test_a_column_follows_from_two_together():
    frame = by_two()
    assert texts(frame) == {"city, zip -> state": "kept"}
    codec, back = there_and_back(frame)
    assert back["state"].equals(frame["state"])
    x = codec.encode(frame)
    torch.manual_seed(0)
    mixed = torch.stack([x[torch.randperm(len(x)), i] for i in range(x.shape[1])], dim=1)
    made = codec.decode(mixed, np.random.default_rng(0))
    ((relation, broken),) = codec.plan.broken(made)
    assert not broken.any() and made["state"].notna().all()
    assert relation.breaks(frame.assign(state="NY"), codec.schema).any()
    assert texts(shuffled(frame)) == {} and texts(by_two(60, 40)) == {}


def test_a_function_of_two_is_declared():
    frame = by_two()
    schema = infer_schema(frame, None, {})
    (relation,) = chosen_relations(["city, zip -> state"], frame, schema)
    assert relation.mode == "kept" and str(relation) == "city, zip -> state"
    with pytest.raises(UserError, match="does not hold"):
        chosen_relations(["city, noise -> state"], frame, schema)
    with pytest.raises(UserError, match="3 columns"):
        chosen_relations(["city, zip, noise -> state"], frame, schema)


def test_a_column_without_any_cell_is_no_key():
    frame = by_two().assign(x=pd.Series(np.nan, index=range(2000)), at=pd.Series(pd.NaT, index=range(2000)))
    schema = infer_schema(frame.assign(x=np.arange(2000) / 3, at=pd.Timestamp("2020-01-01")), None, {})
    assert [str(r) for r in find_relations(frame, schema)] == ["city, zip -> state"]


def test_declared_relations_are_read_checked_and_refused_in_one_line(table):
    schema = infer_schema(table, None, {})
    found = chosen_relations(["total = price*quantity", "part <= whole", "city -> country"], table, schema)
    assert [str(r) for r in found] == ["total = price * quantity", "city -> country", "part <= whole"]
    with pytest.raises(UserError, match=r"'total = price \+ quantity' holds in [\d.]+ % of the training rows"):
        chosen_relations(["total = price + quantity"], table, schema)
    with pytest.raises(UserError, match="no column 'prize'; did you mean 'price'"):
        chosen_relations(["total = prize * quantity"], table, schema)
    with pytest.raises(UserError, match="some weekday has several values of code"):
        chosen_relations(["weekday -> code"], table, schema)
    assert not chosen_relations("none", table, schema)


def timed(n: int = 1000) -> dict[str, pd.Series]:
    """Stamps to the second, what is written of them, and durations up to a day."""
    rng = np.random.default_rng(0)
    start = pd.Series(pd.Timestamp("2022-01-01") + pd.to_timedelta(rng.integers(0, 730 * 86_400, n), unit="s"))
    minutes = pd.Series(rng.integers(5, 700, n))
    written = {"clock": "%H:%M:%S", "short": "%H:%M", "month": "%Y-%m", "day": "%Y-%m-%d"}
    return {
        "start": start,
        "minutes": minutes,
        "end": start + pd.to_timedelta(minutes, unit="min"),
        "dur": minutes.map(lambda m: f"{m // 60}:{m % 60:02d}:00"),
        "later": start + pd.Timedelta(hours=8),
        "soon": start + pd.Timedelta(minutes=20),
        "thrice": start + pd.Timedelta(days=3),
        **{name: start.dt.strftime(format) for name, format in written.items()},
    }


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("start day clock", {"day = date(start)", "clock = time(start)"}),
        ("start short", {"short = time_to_minute(start)"}),
        ("day month", {"month = month_start(day)"}),
        ("start end minutes", {"end = start + minutes / 1440"}),
        ("start end dur", {"end = start + dur"}),
        ("start end minutes dur", {"minutes = minute_of_day(dur)", "end = minutes / 1440 + start"}),
        ("start later", {"later = start + 8 hours"}),
        ("start soon", {"soon = start + 20 minutes"}),
        ("start thrice", {"thrice = start + 3 days"}),
    ],
)
def test_times_of_day_and_durations_are_reckoned_with(names, expected):
    frame = pd.DataFrame({name: timed()[name] for name in names.split()})
    assert set(texts(frame)) == expected
    codec, back = there_and_back(frame)
    for name in codec.plan.computed:
        assert back[name].equals(frame[name].astype(back[name].dtype)), name
    x = codec.encode(frame)
    torch.manual_seed(0)
    mixed = torch.stack([x[torch.randperm(len(x)), i] for i in range(x.shape[1])], dim=1)
    made = codec.decode(mixed, np.random.default_rng(0))
    assert not any(broken.any() for _, broken in codec.plan.broken(made)) and made.notna().all(axis=None)


def test_what_would_be_no_time_of_day_is_drawn_again():
    rng = np.random.default_rng(0)
    begin = rng.integers(0, 1400, 1000)
    minutes = rng.integers(1, 1440 - begin)
    clocks = {k: [f"{m // 60:02d}:{m % 60:02d}" for m in v] for k, v in {"from": begin, "to": begin + minutes}.items()}
    frame = pd.DataFrame({**clocks, "minutes": minutes})
    codec, back = there_and_back(frame)
    assert [str(r) for r in codec.plan.relations] == ["to = from + minutes / 1440"] and back.equals(frame)
    x = codec.encode(frame)
    made = codec.decode(torch.stack([x[:, 0], *x.flip(0).T[1:]], dim=1), np.random.default_rng(0))
    hours = made["from"].str.split(":", expand=True).astype(int)
    late = (60 * hours[0] + hours[1] + made["minutes"] >= 1440).to_numpy()
    assert late.mean() > 0.2 and (made["to"].isna() == late).all()
    assert codec.plan.unmet(made, codec.by_name())[late].all()


def prices(n: int = 2500, seed: int = 0) -> pd.DataFrame:
    """Days of a share: High and Low lie beyond Open and Close, which are in no order."""
    rng = np.random.default_rng(seed)
    close = 100.0 + 0.5 * rng.normal(size=n).cumsum()
    opened = close + rng.normal(size=n)
    high = np.maximum(opened, close) + rng.exponential(0.5, n)
    low = np.minimum(opened, close) - rng.exponential(0.5, n)
    return pd.DataFrame({"Open": opened, "High": high, "Low": low, "Close": close}).round(2)


def test_a_column_beyond_several_others_is_learnt_as_its_distance_from_the_nearest():
    frame = prices()
    assert texts(frame) == {"max(Open, Close) <= High": "shifted", "Low <= min(Open, Close)": "shifted"}
    codec, back = there_and_back(frame)
    pd.testing.assert_frame_equal(back, frame)
    made = mixed(codec, frame)
    assert (made["High"] >= made[["Open", "Close"]].max(axis=1)).all()
    assert (made["Low"] <= made[["Open", "Close"]].min(axis=1)).all()
    low = next(r for r in codec.plan.relations if r.below)
    bad = frame.assign(Low=frame["Open"] + 1.0)
    assert low.breaks(bad, codec.schema).all() and not low.breaks(frame, codec.schema).any()


def test_two_distances_from_one_column_say_nothing_of_each_other():
    """Each of two lies below each of two others: no distance keeps it all, and rows that break one are drawn again."""
    frame = prices()
    rng = np.random.default_rng(1)
    ends = frame[["Open", "Close"]]
    frame.insert(0, "Low2", (ends.min(axis=1) - rng.exponential(0.5, len(frame))).round(2))
    frame.insert(0, "Low", frame.pop("Low"))
    frame["High2"] = (ends.max(axis=1) + rng.exponential(0.5, len(frame))).round(2)
    codec, _ = there_and_back(frame)
    assert sum(r.mode == "shifted" for r in codec.plan.relations) == 4
    made = mixed(codec, frame)
    kept = made[~codec.plan.unmet(made, codec.by_name())]
    assert len(kept) > 0.1 * len(made)
    for low in ("Low", "Low2"):
        assert (kept[low] <= kept[["Open", "Close"]].min(axis=1)).all()
        assert (kept[low.replace("Low", "High")] >= kept[["Open", "Close"]].max(axis=1)).all()


def mixed(codec: TableCodec, frame: pd.DataFrame) -> pd.DataFrame:
    """Rows whose encoded columns do not go together."""
    x = codec.encode(frame)
    torch.manual_seed(0)
    return codec.decode(
        torch.stack([x[torch.randperm(len(x)), i] for i in range(x.shape[1])], dim=1), np.random.default_rng(0)
    )


def test_a_column_that_hardly_moves_is_no_part_of_a_relation():
    """Most stays are a hundred and twentieth of their cost, and are no more by dividing by keys near each other."""
    rng = np.random.default_rng(0)
    days = rng.integers(1, 65, 400)
    keys = 4_000_000_000_000 + rng.integers(0, 10**11, 400)
    seconds = rng.uniform(0, 7200, 400).round(3)
    frame = pd.DataFrame(
        {"days": days, "cost": (120 * days + rng.normal(0, 50, 400)).round(2), "code": keys, "s": seconds}
    )
    assert not [text for text in texts(frame) if "code" in text]
