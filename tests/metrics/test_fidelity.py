"""Fidelity figures against SDMetrics' own numbers on fixed tables, and against hand-made counts."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from datakiln.metrics.base import EvalData, MetricError
from datakiln.metrics.tables import association, fidelity, manifold
from datakiln.metrics.tables.columns import encode
from datakiln.metrics.tables.pairs import (
    contingency,
    correlation_ratio,
    correlations,
    cramers_v,
    joint_distances,
    quantile_edges,
    theils_u,
    total_variation,
)
from datakiln.proof.pair import unreadable
from datakiln.schema import Field, Schema
from tests.metrics.metrics_tables import MIXED, independent, mixed_table, numbers_schema

REAL, SYNTHETIC = mixed_table(240, 0), mixed_table(200, 1)
DATA = EvalData(MIXED, REAL, mixed_table(120, 2), SYNTHETIC)

# sdmetrics 0.32.0 (report properties, no subsampling) on REAL and SYNTHETIC, with thresholds of 0 for "trend", of 0.5
# and 0.3 for "strong_trend"
SDMETRICS = {
    "shape": 0.9362307509339045,
    "trend": 0.880838936818382,
    "strong_trend": 0.9468412024015594,
    "coverage": 0.9681017790181969,
    "boundary_adherence": 0.9676801279929382,
    "category_adherence": 0.9933333333333333,
    "missing_similarity": 0.9983333333333333,
}
SDMETRICS_SHAPES = {
    "height": 0.9766666666666667,
    "gain": 0.9533333333333334,
    "weight": 0.9508201397803452,
    "score": 0.8559056933056736,
    "when": 0.9491666666666667,
    "city": 0.9268575481225911,
    "level": 0.9554292929292929,
    "member": 0.9216666666666666,
}
SDMETRICS_PAIRS = {
    "height / gain": 0.9852308710785603,
    "height / score": 0.8527224086953646,
    "weight / score": 0.8230783396081987,
    "score / when": 0.8546254150206398,
    "weight / city": 0.7475,
    "score / city": 0.7324999999999999,
    "when / level": 0.8325,
    "gain / member": 0.8825,
    "city / level": 0.8608333333333333,
    "level / member": 0.9166666666666666,
}
# the same with a synthetic "gain" that is 7 throughout and a synthetic "score" that is missing throughout; shape and
# coverage are means of seven columns there, and here of eight, since what only the synthetic table lacks counts as 0
SDMETRICS_BROKEN = {
    "shape": 0.8412771877379376 * 7 / 8,
    "coverage": 0.82548671931084 * 7 / 8,
    "boundary_adherence": 0.9879020467836257,
    "missing_similarity": 0.8989583333333333,
}
# Adult: adult.data as the real table, adult.test as the synthetic one, "?" a category; then with "?" as missing
SDMETRICS_ADULT = {
    "shape": (0.9936708745867535, 0.9939414654235695),
    "trend": (0.9821597319140959, 0.9821597319140959),
    "strong_trend": (0.9863501694802079, 0.9863501694802079),
    "coverage": (0.9893895765456499, 0.9893508618727888),
    "boundary_adherence": (0.9999897631185636, 0.9999897631185636),
    "missing_similarity": (1.0, 0.9995620561453531),
}


def value(name: str, data: EvalData) -> float:
    return getattr(fidelity, name)(data)[0].value


@pytest.mark.parametrize("name", SDMETRICS)
def test_equal_to_sdmetrics(name: str) -> None:
    assert value(name, DATA) == pytest.approx(SDMETRICS[name], abs=1e-6)


def test_equal_to_sdmetrics_by_column_and_pair() -> None:
    assert fidelity.shape(DATA)[0].detail == pytest.approx(SDMETRICS_SHAPES, abs=1e-6)
    pairs = fidelity.trend(DATA)[0].detail
    assert len(pairs) == 28
    assert {pair: pairs[pair] for pair in SDMETRICS_PAIRS} == pytest.approx(SDMETRICS_PAIRS, abs=1e-6)


@pytest.mark.parametrize("name", SDMETRICS_BROKEN)
def test_equal_to_sdmetrics_where_columns_collapse(name: str) -> None:
    data = replace(DATA, synthetic=SYNTHETIC.assign(gain=7, score=np.nan))
    assert value(name, data) == pytest.approx(SDMETRICS_BROKEN[name], abs=1e-6)


def test_what_train_lacks_is_left_out_and_said() -> None:
    data = replace(DATA, train=REAL.assign(gain=7, score=np.nan))
    assert fidelity.shape(data)[0].note.startswith("1 of 8 columns left out")
    assert fidelity.trend(data)[0].note.startswith("7 of 28 pairs left out")


def test_what_only_the_synthetic_table_lacks_counts_as_0() -> None:
    whole = fidelity.trend(DATA)[0].detail
    data = replace(DATA, synthetic=SYNTHETIC.assign(gain=7, score=np.nan, level=None))
    shape, trend = fidelity.shape(data)[0], fidelity.trend(data)[0]
    assert not shape.note and not trend.note
    assert set(list(shape.detail)[:2]) == {"score", "level"} and shape.detail["score"] == shape.detail["level"] == 0.0
    assert shape.value == pytest.approx(sum(shape.detail.values()) / 8)
    lost = {pair for pair in whole if {"score", "level"} & set(pair.split(" / "))}
    lost |= {f"{a} / {b}" for a, b in (("height", "gain"), ("gain", "weight"), ("gain", "when"))}
    assert {pair for pair, part in trend.detail.items() if part == 0.0} == lost
    kept = [pair for pair in whole if pair not in lost and "gain" not in pair]
    assert {pair: trend.detail[pair] for pair in kept} == pytest.approx({pair: whole[pair] for pair in kept})


def test_cells_that_cannot_be_read_are_said() -> None:
    made = SYNTHETIC.assign(height=SYNTHETIC.height.astype(str) + " cm", score=np.nan)
    told = unreadable(MIXED, made)
    assert told[0].startswith("200 of 200 cells of column 'height' could not be read as numeric (such as '1")
    assert told[1:] == ["column 'score' has no value at all; it counts as 0"]
    shapes = fidelity.shape(replace(DATA, synthetic=made))[0].detail
    assert list(shapes.values())[:3] == [0.0, 0.0, min(list(shapes.values())[2:])] and shapes["height"] == 0.0
    assert unreadable(MIXED, SYNTHETIC) == []


@pytest.mark.parametrize("missing", [False, True])
def test_equal_to_sdmetrics_on_adult(missing: bool) -> None:
    folder = Path(os.environ.get("DATA_DIR", "missing")) / "tabular" / "adult"
    if not folder.exists():
        pytest.skip(f"DATA_DIR has no tabular/adult (looked in {folder})")
    names = [f"c{i}" for i in range(15)]
    read = {"header": None, "names": names, "skipinitialspace": True}
    real, other = pd.read_csv(folder / "adult.data", **read), pd.read_csv(folder / "adult.test", skiprows=1, **read)
    other["c14"] = other["c14"].str.rstrip(".")
    if missing:
        real, other = real.replace("?", None), other.replace("?", None)
    numeric = {name for name in names if pd.api.types.is_numeric_dtype(real[name])}
    fields = tuple(Field(n, "integer" if n in numeric else "category", str(real[n].dtype)) for n in names)
    data = EvalData(Schema(fields), real, other, other)
    got = {name: value(name, data) for name in SDMETRICS_ADULT}
    assert got == pytest.approx({name: pair[missing] for name, pair in SDMETRICS_ADULT.items()}, abs=1e-6)


def test_identical_tables_are_perfect() -> None:
    same = replace(DATA, synthetic=REAL)
    for name in SDMETRICS:
        assert value(name, same) == pytest.approx(1.0, abs=1e-12), name
    for metric in (
        association.wasserstein,
        association.correlation_distance,
        association.theils_u_difference,
        association.correlation_ratio_difference,
    ):
        assert metric(same)[0].value == pytest.approx(0.0, abs=1e-12)


def test_independent_columns_keep_shape_and_lose_trend() -> None:
    data = EvalData(MIXED, mixed_table(4000, 0), mixed_table(10, 0), mixed_table(4000, 0))
    floor = independent(data)
    assert value("shape", floor) > 0.98
    assert value("trend", floor) < 0.95
    assert value("strong_trend", floor) < 0.8
    assert association.correlation_distance(floor)[0].value > 0.2


def test_quick_fidelity_is_shape_and_trend() -> None:
    quick = fidelity.quick_fidelity(MIXED, REAL, SYNTHETIC)
    assert quick["shape"] == pytest.approx(SDMETRICS["shape"], abs=1e-6)
    assert quick["trend"] == pytest.approx(SDMETRICS["trend"], abs=1e-6)
    assert quick["fidelity"] == pytest.approx((quick["shape"] + quick["trend"]) / 2)


def test_quick_fidelity_does_not_reward_collapse() -> None:
    data = replace(DATA, synthetic=SYNTHETIC.assign(gain=7, score=np.nan))
    quick = fidelity.quick_fidelity(MIXED, REAL, data.synthetic)
    assert quick["shape"] == pytest.approx(SDMETRICS_BROKEN["shape"], abs=1e-6)  # the lost column counts as 0
    constant = pd.DataFrame({"a": np.ones(50), "b": np.ones(50)})
    line = pd.DataFrame({"a": np.arange(50.0), "b": np.arange(50.0)})
    assert fidelity.quick_fidelity(numbers_schema("a", "b"), line, constant)["trend"] == pytest.approx(0.5)


def test_quick_fidelity_of_one_column() -> None:
    line = pd.DataFrame({"a": np.arange(50.0)})
    assert fidelity.quick_fidelity(numbers_schema("a"), line, line) == {"shape": 1.0, "fidelity": 1.0}


def test_contingency_by_hand() -> None:
    first = (np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1]))
    second = (np.array([0, 1, 0, 1]), np.array([0, 2, 2, 2]))
    cells = contingency(first, second, size=3)
    places = zip(cells.first.tolist(), cells.second.tolist(), strict=True)
    counts = dict(zip(places, zip(cells.real, cells.synthetic, strict=True), strict=True))
    assert counts == {(0, 0): (1, 1), (0, 1): (1, 0), (1, 0): (1, 0), (1, 1): (1, 0), (1, 2): (0, 3)}
    assert total_variation(cells.real, cells.synthetic) == pytest.approx(0.75)
    assert cramers_v(cells.real, cells.first, cells.second) == pytest.approx(0.0)
    assert cramers_v(cells.synthetic, cells.first, cells.second) == pytest.approx(1.0)


def test_many_categories_take_the_sparse_way_to_the_same_counts() -> None:
    rng = np.random.default_rng(0)
    first = tuple(rng.integers(0, 3000, 500) for _ in range(2))
    second = tuple(rng.integers(0, 3000, 500) for _ in range(2))  # nine million cells for a thousand rows
    cells = contingency(first, second, size=3000)
    assert len(cells.real) <= 1000
    assert cells.real.sum() == cells.synthetic.sum() == 500
    expected = pd.DataFrame({"a": first[0], "b": second[0]}).value_counts()
    counts = pd.Series(cells.real, index=pd.MultiIndex.from_arrays([cells.first, cells.second]))
    assert dict(counts[counts > 0]) == dict(expected)


def test_correlations_equal_pandas_on_pairwise_complete_rows() -> None:
    columns = encode(MIXED, (REAL,)).train.numbers
    np.testing.assert_allclose(correlations(columns), pd.DataFrame(columns).corr().to_numpy(), atol=1e-10)
    odd = np.column_stack([np.full(9, 0.1), np.arange(9.0), 1e15 + np.arange(9.0)])
    assert np.isnan(correlations(odd)[0]).all()
    assert correlations(odd)[1, 2] == pytest.approx(1.0, abs=1e-9)


def test_theils_u_and_correlation_ratio_by_hand() -> None:
    a, b = np.array([0, 0, 1, 1]), np.array([0, 1, 2, 3])
    cells = contingency((a, a), (b, b), size=4)
    assert theils_u(cells.real, cells.first, cells.second) == pytest.approx(1.0)  # b tells a
    assert theils_u(cells.real, cells.second, cells.first) == pytest.approx(0.5)  # a tells one of the two bits of b
    assert math.isnan(theils_u(np.array([4.0]), np.array([0]), np.array([0])))
    assert correlation_ratio(np.array([1.0, 3.0, 5.0, 7.0]), a) == pytest.approx(math.sqrt(16 / 20))
    assert math.isnan(correlation_ratio(np.ones(4), a))


def test_wasserstein_is_in_standard_deviations() -> None:
    real = pd.DataFrame({"a": np.arange(101.0)})
    data = EvalData(numbers_schema("a"), real, real, real + 10.0)
    assert association.wasserstein(data)[0].value == pytest.approx(10.0 / real["a"].std(ddof=0))


def test_a_column_without_a_value_is_not_left_out_of_wasserstein() -> None:
    real = pd.DataFrame({"a": np.arange(101.0), "b": np.arange(101.0)})
    lost = real.assign(b=np.nan)
    (found,) = association.wasserstein(EvalData(numbers_schema("a", "b"), real, real, lost))
    each = np.abs(real["b"] - 50.0).mean() / real["b"].std(ddof=0)
    assert found.value == pytest.approx(each / 2) and found.detail == {"b": pytest.approx(each), "a": 0.0}


def test_rare_categories() -> None:
    schema = Schema((Field("c", "category", "str"),))
    real = pd.DataFrame({"c": ["a"] * 997 + ["x", "y", "z"]})
    made = pd.DataFrame({"c": ["a"] * 99 + ["y"]})
    figure = association.rare_coverage(EvalData(schema, real, real, made))[0]
    assert figure.value == pytest.approx(1 / 3)
    with pytest.raises(MetricError, match="rarer"):
        association.rare_coverage(EvalData(schema, real[:997], real, made))


def test_mmd_is_around_zero_for_equals_and_far_for_others() -> None:
    rng = np.random.default_rng(0)
    a, b, c = (pd.DataFrame({"a": rng.normal(m, 1, 600), "b": rng.normal(0, 1, 600)}) for m in (0, 0, 2))
    near = manifold.mmd(EvalData(numbers_schema("a", "b"), a, a, b))[0].value
    far = manifold.mmd(EvalData(numbers_schema("a", "b"), a, a, c))[0].value
    assert abs(near) < 0.01  # three times its standard deviation, about 2/n
    assert far > 0.2


def test_mmd_equals_the_double_sum() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(0, 1, (40, 2)), rng.normal(0.5, 1, (40, 2))
    frames = [pd.DataFrame(v, columns=["a", "b"]) for v in (x, y)]
    got = manifold.mmd(EvalData(numbers_schema("a", "b"), frames[0], frames[0], frames[1]))[0].value
    scale = x.std(axis=0)
    square = lambda p, q: (((p[:, None] - q[None]) / scale) ** 2).sum(axis=2)  # noqa: E731
    width = np.median(square(x, x)[np.triu_indices(40, k=1)])
    kernel = lambda p, q: np.exp(-square(p, q) / (2 * width))  # noqa: E731
    off = ~np.eye(40, dtype=bool)
    expected = kernel(x, x)[off].mean() + kernel(y, y)[off].mean() - 2 * kernel(x, y).mean()
    assert got == pytest.approx(expected, abs=1e-5)  # distances are float32


def test_alpha_precision_and_beta_recall_follow_the_published_protocol() -> None:
    data = replace(DATA, train=REAL.dropna()[:90], synthetic=SYNTHETIC.dropna()[:90])
    got = [figure.value for figure in manifold.precision_recall(data)]
    assert got == pytest.approx(naive_precision_recall(data), abs=1e-5)


def test_precision_recall_holds_any_number_of_categories() -> None:
    for size in (255, 256, 300):  # codes of one byte, of just more, and of two
        frame = pd.DataFrame({"c": [f"k{i}" for i in range(size)] * 2}).astype("str")
        data = EvalData(Schema((Field("c", "category", "str"),)), frame, frame, frame)
        assert [f.value for f in manifold.precision_recall(data)] == pytest.approx(
            [-1 / 29, -1 / 29]
        )  # all at one radius


def naive_precision_recall(data: EvalData) -> tuple[float, float]:
    """Plain loops over one-hot matrices, after Alaa et al. (2022) and the naive variant in synthcity."""
    t = encode(data.schema, (data.train, data.synthetic))
    low, high = t.train.numbers.min(axis=0), t.train.numbers.max(axis=0)
    x, y = (
        np.concatenate(
            [(p.numbers - low) / (high - low), *(np.eye(n)[c] for c, n in zip(p.codes.T, t.sizes, strict=True))], axis=1
        )
        for p in t.parts
    )
    alphas = np.linspace(0, 1, 30)
    radii = np.quantile(np.linalg.norm(x - x.mean(axis=0), axis=1), alphas)
    precision = [(np.linalg.norm(y - x.mean(axis=0), axis=1) <= r + 1e-9).mean() for r in radii]
    own, found, reach = [], [], []
    for i, row in enumerate(x):
        own.append(min(np.linalg.norm(row - other) for j, other in enumerate(x) if j != i))
        gaps = [np.linalg.norm(row - other) for other in y]
        found.append(min(gaps))
        reach.append(np.linalg.norm(y[int(np.argmin(gaps))] - y.mean(axis=0)))
    near, reach = np.array(found) <= np.array(own), np.array(reach)
    recall = [(near & (reach <= r + 1e-9)).mean() for r in np.quantile(reach, alphas)]
    step = alphas[1] - alphas[0]
    return tuple(1 - 2 * np.abs(alphas - curve).sum() * step for curve in (precision, recall))


def test_generated_columns_do_not_count() -> None:
    fields = (*MIXED.fields, Field("id", "id", "int64"), Field("note", "text", "str"), Field("k", "constant", "int64"))
    more = [f.assign(id=np.arange(len(f)) + 1000 * i, note=f"n{i}", k=i) for i, f in enumerate((REAL, SYNTHETIC))]
    data = EvalData(Schema(fields), more[0], more[0], more[1])
    assert value("shape", data) == pytest.approx(SDMETRICS["shape"], abs=1e-6)
    with pytest.raises(MetricError, match="no column"):
        value("shape", EvalData(Schema(fields[-3:]), more[0], more[0], more[1]))


@pytest.mark.parametrize("name", SDMETRICS)
def test_constant_and_empty_columns_give_a_number_or_a_reason(name: str) -> None:
    schema = Schema((Field("a", "numeric", "float64"), Field("b", "category", "str"), Field("c", "numeric", "float64")))
    empty = pd.DataFrame({"a": [np.nan] * 4, "b": pd.Series([None] * 4, dtype="str"), "c": [1.0, 1.0, 1.0, 1.0]})
    try:
        assert 0.0 <= value(name, EvalData(schema, empty, empty, empty)) <= 1.0
    except MetricError as error:
        assert str(error)


def test_references_change_only_the_synthetic_rows() -> None:
    floor = independent(DATA)
    assert len(floor.synthetic) == len(DATA.synthetic)
    assert floor.synthetic.dtypes.equals(DATA.train.dtypes)
    pd.testing.assert_frame_equal(floor.synthetic, independent(DATA).synthetic)
    assert not floor.synthetic.equals(independent(replace(DATA, seed=1)).synthetic)
    assert set(floor.synthetic["city"].dropna()) <= set(REAL["city"].dropna())


def test_quantile_bins_are_not_moved_by_a_tail() -> None:
    rng = np.random.default_rng(0)
    schema = Schema((Field("x", "numeric", "float64"), Field("c", "category", "str")))

    def rows(n: int) -> pd.DataFrame:
        kind = rng.integers(0, 2, n)
        x = rng.uniform(0.0, 6.0, n) + 4.0 * kind
        return pd.DataFrame({"x": x, "c": pd.Series(np.array(["a", "b"])[kind]).astype("str")})

    train, other = rows(2000), rows(2000)
    tail = other.assign(x=other["x"].where(np.arange(2000) > 0, 1e6))  # one value of the same table
    data = EvalData(schema, train, other, tail)
    equal_width, quantiles = fidelity.trend(data)[0].value, fidelity.trend_quantiles(data)[0].value
    assert equal_width < 0.6 and quantiles > 0.9
    assert fidelity.trend_quantiles(independent(data))[0].value < 0.85


@pytest.mark.parametrize("sizes", [(3, 5, 4), (3, 90, 70), (80, 2, 90)])
def test_joint_tables_all_at_once_are_those_of_pairs(sizes: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    real, made = ([rng.integers(0, size, n) for size in sizes] for n in (5000, 300))
    found = joint_distances(real, made, sizes)
    for i in range(3):
        for j in range(i + 1, 3):
            cells = contingency((real[i], made[i]), (real[j], made[j]), sizes[j])
            assert found[i, j] == pytest.approx(total_variation(cells.real, cells.synthetic), abs=1e-9)


def test_edges_of_quantiles_with_repeated_and_missing_values() -> None:
    assert quantile_edges(np.array([np.nan, np.nan]), 10).size == 0
    assert quantile_edges(np.array([0.0] * 95 + [1.0, 2.0, 3.0, 4.0, 5.0]), 10).tolist() == [0.0]
    assert quantile_edges(np.arange(100.0), 4).tolist() == [25.0, 50.0, 75.0]
    one = numbers_schema("a")
    with pytest.raises(MetricError, match="no pairs"):
        fidelity.trend_quantiles(EvalData(one, *3 * [pd.DataFrame({"a": [1.0, 2.0]})]))


def test_the_kernel_of_many_numbers_is_summed_by_matrix_products(monkeypatch):
    rng = np.random.default_rng(0)
    names = [f"x{i}" for i in range(40)]
    schema = Schema((*(Field(name, "numeric", "float64") for name in names), Field("c", "category", "str")))
    frames = []
    for scale in (1.0, 1.3):
        frame = pd.DataFrame(rng.normal(size=(300, 40)) * scale, columns=names)
        frames.append(frame.mask(rng.random(frame.shape) < 0.02).assign(c=rng.choice(["a", "b"], 300)))
    data = [EvalData(schema, frames[0], frames[0].iloc[:0], frames[1]) for _ in range(2)]
    (product,) = manifold.mmd(data[0])
    monkeypatch.setattr(manifold, "MANY_NUMBERS", 1_000)
    (plain,) = manifold.mmd(data[1])
    assert product.value == pytest.approx(plain.value, rel=1e-4) and plain.value > 1e-3
