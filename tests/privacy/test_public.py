"""What is declared of a table, what is refused without it, and rows seen through it alone."""

import json

import numpy as np
import pandas as pd
import pytest

from datakiln.data.tables.public import declared, joined, read_public
from datakiln.errors import UserError
from datakiln.privacy.cells import MOST, Bins, PublicColumn, onto_simplex
from datakiln.schema import Field

SAID = {
    "columns": {
        "age": "integer",
        "sex": ["F", "M"],
        "grade": {"type": "ordinal", "categories": [1, 2, 3], "missing": True},
        "height": {"type": "numeric", "decimals": 1},
        "joined": "datetime",
        "who": "id",
    },
    "bounds": {"age": [0, 100], "height": [0.5, 2.5], "joined": ["2000-01-01", "2020-12-31"]},
}


def public(said=SAID, label="sex"):
    return declared(read_public(said), list(said["columns"]), label, "marginals")


def frame():
    return pd.DataFrame(
        {
            "age": [5, 300, -1, 40],
            "sex": ["F", "M", "X", "F"],
            "grade": [1.0, np.nan, 3.0, 7.0],
            "height": ["1.23", "9", "?", "0.7"],
            "joined": ["2001-05-06", "1999-01-01", "never", "2020-12-31"],
            "who": [1, 2, 3, 4],
        }
    )


def test_rows_are_seen_through_the_declaration_alone():
    seen = public().seen(frame())
    assert list(seen["age"]) == [5, 100, 0, 40] and str(seen["age"].dtype) == "int64"
    assert list(seen["sex"].isna()) == [False, False, True, False]  # X was not declared
    assert [v if isinstance(v, str) else None for v in seen["grade"]] == ["1", None, "3", None]
    assert list(seen["height"].round(3).fillna(-1)) == [1.2, 2.5, -1, 0.7]
    assert list(seen["joined"].fillna("")) == ["2001-05-06", "2000-01-01", "", "2020-12-31"]


def test_cells_that_were_not_declared_count_nowhere():
    made = public()
    seen = made.seen(frame())
    cells = {c.field.name: list(c.cells(seen[c.field.name])) for c in made.modelled}
    assert cells["sex"] == [0, 1, -1, 0]
    assert cells["grade"] == [0, 3, 2, 3]  # 7 is as missing as the gap is: the declaration has a place for that
    assert cells["age"] == [5, 100, 0, 40] and cells["height"][2] == -1
    assert "who" not in cells


@pytest.mark.parametrize(
    "change, words",
    [
        ({"columns": {"sex": ["F", "M"]}}, ["age", "privacy.public.columns.age=integer", "bounds.age=[LOW,HIGH]"]),
        ({"bounds": {"height": [0, 3]}}, ["bounds of 'age'", "write privacy.public.bounds.age=[LOW,HIGH]"]),
        ({"bounds": {**SAID["bounds"], "age": [9, 9]}}, ["bounds.age=['9', '9']", "below"]),
        ({"bounds": {**SAID["bounds"], "age": [0, "x"]}}, ["bounds.age", "two numbers"]),
        ({"columns": {**SAID["columns"], "sex": ["F"]}}, ["'sex' is declared with one value, 'F'", "data.columns="]),
        ({"columns": {**SAID["columns"], "sex": "category"}}, ["values of 'sex'", "columns.sex=[VALUE,VALUE]"]),
        ({"columns": {**SAID["columns"], "age": "integre"}}, ["columns.age=integre", "integer"]),
        ({"column": {}}, ["column is not one of", "columns"]),
        ({"rows": 0}, ["rows=0", "at least 1"]),
    ],
)
def test_what_is_neither_declared_nor_possible_is_refused_with_the_line_to_write(change, words):
    with pytest.raises(UserError) as refused:
        declared(read_public({**SAID, **change}), list(SAID["columns"]), "sex", "marginals")
    assert "\n" not in str(refused.value) and all(word in str(refused.value) for word in words)


def test_a_refusal_shows_no_cell():
    with pytest.raises(UserError) as refused:
        declared(read_public({"columns": {}}), ["age", "sex"], None, "marginals")
    assert "300" not in str(refused.value) and "'age' and 1 more column are not declared" in str(refused.value)


def test_a_target_that_is_made_anew_is_refused():
    with pytest.raises(UserError, match="who=id, but it is the target"):
        public(label="who")


def test_declarations_come_from_files_too(tmp_path):
    ours, schema = tmp_path / "public.yaml", tmp_path / "schema.json"
    ours.write_text("columns: {age: integer, sex: [F, M]}\nbounds: {age: [0, 100]}\nrows: 500\n")
    fields = [
        {"name": "age", "type": "integer", "constraints": {"minimum": 0, "maximum": 100, "required": True}},
        {"name": "sex", "type": "string", "constraints": {"enum": ["F", "M"], "required": True}},
    ]
    schema.write_text(json.dumps({"fields": fields}))
    found = [declared(read_public(str(path)), ["age", "sex"], "sex", "marginals") for path in (ours, schema)]
    assert found[0].columns == found[1].columns and (found[0].rows, found[1].rows) == (500, None)
    with pytest.raises(UserError, match="cannot be read"):
        read_public(str(tmp_path / "none.yaml"))


def test_the_second_declaration_wins():
    first, second = read_public(SAID), read_public({"bounds": {"age": [10, 20]}, "rows": 7})
    both = joined(first, second)
    assert both["bounds"]["age"] == [10, 20] and both["bounds"]["height"] == [0.5, 2.5] and both["rows"] == 7


def test_a_wide_number_has_cells_of_its_own_for_bounds_and_zero():
    column = PublicColumn(Field("gain", "integer", "int64", decimals=0), (), -1000.0, 99_999.0)
    cells = column.cells(pd.Series([-1000, 0, 1, 99_999, 50_000]))
    widths = np.diff(column.starts)
    assert column.size <= MOST + 3 and len(set(cells)) == 5
    assert widths[cells[0]] == widths[cells[1]] == widths[cells[3]] == 1 < widths[cells[4]]


def test_bins_hold_about_equal_counts_and_a_spike_alone():
    column = PublicColumn(Field("x", "integer", "int64", decimals=0), (), 0.0, 99.0)
    counts = np.full(100, 10.0)
    counts[40] = 500.0
    made = Bins.of(column, counts, 10)
    held = np.add.reduceat(counts, made.first[:-1])
    assert [40, 41] in [list(made.first[i : i + 2]) for i in range(len(made))]
    assert held.min() > 40 and 6 <= len(made) <= 12
    assert (np.diff(made.knots.ravel()) >= -1e-9).all()
    assert list(made.codes(np.array([-1, 0, 40, 99]))) == [-1, 0, list(made.first).index(40), len(made) - 1]


def test_the_nearest_plausible_counts():
    found = onto_simplex(np.array([5.0, -3.0, 2.0]), 6.0)
    assert found.sum() == pytest.approx(6.0) and found.min() >= 0 and list(found) == [4.5, 0.0, 1.5]
