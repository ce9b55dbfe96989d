"""Privacy figures: copies, distances by hand, and the share nearer to train than to the holdout."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from datakiln.metrics.base import EvalData, MetricError
from datakiln.metrics.evaluate import evaluate_table
from datakiln.metrics.privacy import privacy
from datakiln.metrics.tables.columns import encode
from datakiln.metrics.tables.nearest import Nearest, nearest, windowed
from datakiln.metrics.tables.space import Points, Space
from datakiln.schema import Field, Schema
from tests.metrics.metrics_tables import MIXED, independent, mixed_table, numbers_schema


def normal(n: int, seed: int) -> pd.DataFrame:
    return pd.DataFrame(np.random.default_rng(seed).normal(size=(n, 3)), columns=["a", "b", "c"])


def normals(train: int = 600, holdout: int = 300, synthetic: int = 600) -> EvalData:
    return EvalData(numbers_schema("a", "b", "c"), normal(train, 0), normal(holdout, 1), normal(synthetic, 2))


def figures(found) -> dict[str, float]:
    return {figure.name: figure.value for figure in found}


def test_copies_are_found_and_are_nought_apart() -> None:
    train = mixed_table(200, 0)
    data = EvalData(MIXED, train, mixed_table(150, 2), train.sample(frac=1.0, random_state=0))
    assert privacy.copies(data)[0].value == 1.0
    assert figures(privacy.dcr(data)) == {"privacy/dcr_median": 0.0, "privacy/dcr_p5": 0.0}
    assert privacy.dcr_ratio(data)[0].value == 0.0
    assert privacy.closer_to_train(data)[0].value > 0.8
    assert privacy.copies(replace(data, synthetic=independent(data).synthetic))[0].value < 0.05


def test_a_copy_must_be_equal_in_every_cell_missing_ones_too() -> None:
    schema = Schema((Field("x", "numeric", "float64"), Field("c", "category", "str")))
    train = pd.DataFrame({"x": [1.0, np.nan, 0.0], "c": pd.Series(["a", None, "b"], dtype="str")})
    made = pd.DataFrame(
        {"x": [1.0, np.nan, -0.0, np.nan, 1.0], "c": pd.Series(["a", None, "b", "a", "b"], dtype="str")}
    )
    assert privacy.copies(EvalData(schema, train, train, made))[0].value == pytest.approx(3 / 5)


def test_distances_by_hand() -> None:
    schema = Schema((Field("x", "numeric", "float64"), Field("c", "category", "str")))
    train = pd.DataFrame({"x": [0.0, 10.0], "c": ["a", "b"]})
    made = pd.DataFrame({"x": [2.0, 10.0, np.nan], "c": ["a", "a", "b"]})
    t = encode(schema, (train, made))
    space = Space.by_range(t)
    found = nearest(space, space.points(t.synthetic), space.points(t.train))
    # 0.2 to the first; the second row is 1 from both; a missing number stands at the median 5 and costs 1 more
    np.testing.assert_allclose(found.first, [0.2, 1.0, 1.5], rtol=1e-6)
    np.testing.assert_allclose(found.second, [1.8, 1.0, 2.5], rtol=1e-6)
    assert found.index.tolist()[0] == 0


def test_blocks_and_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    t = encode(MIXED, (mixed_table(700, 0), mixed_table(600, 1)))
    space = Space.by_range(t)
    base, queries = space.points(t.train), space.points(t.synthetic)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    whole = nearest(space, queries, base)
    expected = by_plain_numpy(queries, base)
    np.testing.assert_allclose(whole.first, expected.min(axis=1), atol=1e-5)
    np.testing.assert_allclose(whole.second, np.sort(expected, axis=1)[:, 1], atol=1e-5)
    monkeypatch.setattr("datakiln.metrics.tables.space.BLOCK", 5000)
    monkeypatch.setattr("datakiln.metrics.tables.nearest.BLOCK", 5000)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    same_nearest(whole, nearest(space, queries, base))


@pytest.mark.parametrize("power", [1, 2])
def test_fewest_mismatches_first_changes_nothing(power: int, monkeypatch: pytest.MonkeyPatch) -> None:
    t = encode(MIXED, (mixed_table(700, 0), mixed_table(600, 1)))
    space = Space.by_range(t, power, float(power))
    base, queries = space.points(t.train), space.points(t.synthetic)
    starts = np.array([0, 200, 500])
    found = {}
    for share in (0.0, 2.0):  # never, and always
        monkeypatch.setattr("datakiln.metrics.tables.nearest.FEW", share)
        others = nearest(space, base, base, exclude_self=True)
        found[share] = nearest(space, queries, base), others, windowed(space, queries, base, 300, starts)
    same_nearest(found[0.0][0], found[2.0][0])
    same_nearest(found[0.0][1], found[2.0][1])
    np.testing.assert_array_equal(found[0.0][2], found[2.0][2])
    assert (found[0.0][0].first <= found[0.0][2].min(axis=0)).all()


def same_nearest(one: Nearest, other: Nearest) -> None:
    for name in ("first", "second", "index"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def by_plain_numpy(queries: Points, base: Points) -> np.ndarray:
    numbers = np.abs(queries.numbers[:, :, None] - base.numbers[:, None, :]).sum(axis=0)
    return numbers + (np.array(queries.codes)[:, :, None] != np.array(base.codes)[:, None, :]).sum(axis=0)


def test_windows_go_round_the_end() -> None:
    base = Points(np.array([[0.0, 1.0, 2.0, 3.0]], dtype=np.float32), ())
    query = Points(np.array([[0.0]], dtype=np.float32), ())
    space = Space(np.zeros(1), np.ones(1), np.zeros(1), np.ones(1, dtype=bool))
    assert windowed(space, query, base, 2, np.arange(4))[:, 0].tolist() == [0.0, 1.0, 2.0, 0.0]


def test_nearer_to_train_only_where_train_was_copied() -> None:
    fair = normals()
    # 600 rows: a share of one half has a standard error of 0.02, and the 300 holdout rows are one draw
    assert privacy.closer_to_train(fair)[0].value == pytest.approx(0.5, abs=0.1)
    noisy = fair.train + np.random.default_rng(3).normal(0, 0.01, fair.train.shape)
    leaky = privacy.closer_to_train(replace(fair, synthetic=noisy))[0]
    assert leaky.value == pytest.approx(0.75, abs=0.05)  # its own row is in the random half of train every other time
    assert leaky.ideal == 0.5
    equal = EvalData(fair.schema, fair.train, fair.holdout, fair.holdout)
    assert privacy.closer_to_train(equal)[0].value == 0.0


def test_ties_count_half() -> None:
    data = normals()
    same = replace(data, holdout=data.train)
    assert privacy.closer_to_train(same)[0].value == 0.5


def test_ratio_to_the_holdout() -> None:
    fair = normals(2000, 1000, 1000)
    ratio = privacy.dcr_ratio(fair)[0]
    assert ratio.value == pytest.approx(1.0, abs=0.15)
    assert ratio.value == pytest.approx(ratio.detail["synthetic"] / ratio.detail["holdout"])
    assert privacy.dcr_ratio(replace(fair, synthetic=fair.holdout))[0].value == 1.0
    near = fair.train[:1000] + 0.001
    assert privacy.dcr_ratio(replace(fair, synthetic=near), percentile=5)[0].value < 0.2


def test_neighbour_ratio_singles_out() -> None:
    schema = numbers_schema("x")
    train = pd.DataFrame({"x": [0.0, 10.0, 10.0]})
    made = pd.DataFrame({"x": [0.0, 10.0, 5.0, 2.5]})
    data = EvalData(schema, train, train, made)
    # a copy of a single row, a copy of a doubled one, the middle, a quarter of the way (2.5 against 7.5)
    assert figures(privacy.nndr(data))["privacy/nndr_median"] == pytest.approx(np.median([0, 1, 1, 1 / 3]))


def test_no_holdout_no_claim() -> None:
    data = replace(normals(50, 50, 50), holdout=normal(0, 0))
    for metric in (privacy.copies, privacy.closer_to_train, privacy.dcr, privacy.dcr_ratio, privacy.nndr):
        with pytest.raises(MetricError, match="no privacy claim"):
            metric(data)


def test_a_holdout_of_copies_has_no_ratio() -> None:
    data = normals(50, 50, 50)
    with pytest.raises(MetricError, match="no ratio"):
        privacy.dcr_ratio(replace(data, holdout=data.train))


def test_seed_decides_the_cuts() -> None:
    data = normals()
    first, again, other = (privacy.closer_to_train(d)[0].value for d in (data, replace(data), replace(data, seed=5)))
    assert first == again
    assert first != other


def test_more_rows_than_asked_for_are_cut() -> None:
    found = privacy.dcr(normals(), rows=100)
    assert found[0].n == 100
    assert found[0].value > privacy.dcr(normals())[0].value  # fewer training rows are farther away


def test_what_copies_of_train_would_score_is_told() -> None:
    fair = normals()
    fair = replace(fair, holdout=fair.holdout.iloc[: len(fair.train) // 3])
    found = privacy.closer_to_train(replace(fair, synthetic=fair.train.copy()))[0]
    assert found.note.endswith("copies of train would score 0.67")
    # 600 rows, and which of them the cut leaves in
    assert found.value == pytest.approx(2 / 3, abs=0.06)


def test_nearly_unique_numbers_hide_no_copies() -> None:
    rng = np.random.default_rng(0)
    n = 400

    def rows(seed: int) -> pd.DataFrame:
        some = np.random.default_rng(seed)
        codes = {name: pd.Series(some.integers(0, 9, n).astype(str), dtype="str") for name in "abcd"}
        return pd.DataFrame({"weight": some.normal(size=n), **codes})

    schema = Schema((*numbers_schema("weight").fields, *(Field(name, "category", "str") for name in "abcd")))
    train = rows(0)
    redrawn = train.assign(weight=rng.normal(size=n))
    found = privacy.copies(EvalData(schema, train, rows(1), redrawn))[0]
    assert found.value == 1.0 and "ignored: weight" in found.note
    assert found.detail == {"but for weight": 1.0, "in every column": 0.0}
    assert privacy.copies(EvalData(schema, train, rows(1), rows(2)))[0].value < 0.15
    (told,) = evaluate_table(EvalData(schema, train, rows(1), redrawn), [privacy.copies])
    assert told.ceiling is not None and told.ceiling_range is not None and told.ceiling_range[1] < 0.2
    # what is left without them tells too little: all columns count
    few = [numbers_schema("weight").fields[0], Field("a", "category", "str")]
    found = privacy.copies(EvalData(Schema(tuple(few)), train, rows(1), redrawn))[0]
    assert found.value == 0.0 and found.note == "" and found.detail is None
    numbers = normals()
    assert privacy.copies(replace(numbers, synthetic=numbers.train))[0].value == 1.0
