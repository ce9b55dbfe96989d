"""Two tables from anywhere: what is said of memory with a holdout and without, and which holdouts are none."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
import pytest

from datakiln.errors import UserError
from datakiln.metrics.base import EvalData
from datakiln.metrics.evaluate import evaluate_table
from datakiln.metrics.privacy import privacy
from datakiln.metrics.tables import fidelity, twosample
from datakiln.metrics.utility import utility
from datakiln.proof.base import scores
from datakiln.proof.pair import paired
from datakiln.results import Score
from tests.metrics.metrics_tables import people

PRIVACY = [privacy.copies, privacy.closer_to_train, privacy.dcr, privacy.dcr_ratio, privacy.nndr]

LINEAR = functools.partial(utility.tstr, learner="linear")


def judged(data: EvalData, metrics) -> dict[str, Score]:
    return {score.name: score for score in scores(evaluate_table(data, metrics))}


def test_without_a_holdout_copies_count_against_all_rows_and_no_memory_is_claimed() -> None:
    real = people(200, 0)
    data, lines = paired(real, real.sample(frac=1.0, random_state=0), "y", 0)
    told = judged(data, [*PRIVACY, fidelity.shape, twosample.logistic, LINEAR])
    assert lines == [] and (len(data.train), len(data.holdout)) == (200, 0)
    assert told["privacy/copies"].value == 1.0 and told["privacy/copies"].differs == "worse"
    assert told["fidelity/shape"].value == 1.0
    assert told["privacy/closer_to_train"].value == 1.0  # nothing is nearer to a row than the row itself
    for name in ("dcr_median", "dcr_ratio", "nndr_p5"):
        score = told[f"privacy/{name}"]
        assert score.value is None and "holdout=FILE" in score.why, name
    for name in ("twosample/logistic_auc", "utility/tstr_linear_auc"):
        assert told[name].value is not None and "may have seen" in told[name].note
        assert told[name].ceiling_range is not None


def test_without_a_holdout_nearness_is_told_of_nothing_but_copies() -> None:
    real = people(200, 0)
    made = {"all but one": pd.concat([real[:199], people(1, 3)]), "doubled": real[:100], "one changed": real.copy()}
    made["one changed"].iloc[7, 0] += 0.5
    beside = {"doubled": pd.concat([real[:100], real[:150]], ignore_index=True)}
    told = {name: judged(paired(beside.get(name, real), rows, None, 0)[0], PRIVACY) for name, rows in made.items()}
    assert told["doubled"]["privacy/closer_to_train"].value == 0.5  # each may as well come among unseen rows
    for name in ("all but one", "one changed"):
        score = told[name]["privacy/closer_to_train"]
        assert score.value is None and "holdout=FILE" in score.why, name


def test_with_a_holdout_a_copy_is_told_and_fresh_rows_are_cleared() -> None:
    real, holdout = people(300, 0), people(300, 1)
    copied = judged(paired(real, real, None, 0, holdout)[0], PRIVACY)
    fresh = judged(paired(real, people(300, 2), None, 0, holdout)[0], PRIVACY)
    assert copied["privacy/copies"].value == copied["privacy/closer_to_train"].value == 1.0
    assert {copied[name].differs for name in ("privacy/copies", "privacy/closer_to_train")} == {"worse"}
    assert {fresh[name].differs for name in ("privacy/copies", "privacy/closer_to_train")} == {"same"}


def test_a_holdout_of_real_rows_is_refused_and_chance_is_not() -> None:
    real = people(300, 0)
    half = pd.concat([real[:50], people(50, 1)], ignore_index=True)
    with pytest.raises(UserError, match="holdout: 50 of its 100 rows are rows of real too .chance explains 0."):
        paired(real, people(100, 2), None, 0, half)
    with pytest.raises(UserError, match="holdout: 3 of its 3 rows are rows of real too"):
        paired(real, people(100, 2), None, 0, real[:3])
    data, lines = paired(real, people(100, 2), None, 0, pd.concat([real[:1], people(99, 1)], ignore_index=True))
    assert lines == ["holdout: 1 of 100 row is a row of real too, no more than chance"] and len(data.holdout) == 100
    rng = np.random.default_rng(0)
    dice, more = (pd.DataFrame({"a": rng.integers(1, 7, 200), "b": rng.choice(list("xy"), 200)}) for _ in range(2))
    _, lines = paired(dice, more, None, 0, more)
    assert lines == ["holdout: 200 of 200 rows are rows of real too, no more than chance"]


def test_the_holdout_is_read_as_the_real_table_is() -> None:
    days = pd.Series(pd.date_range("2024-01-01", periods=100, freq="D"))
    real, made, holdout = (
        people(100, i).assign(day=(days + pd.Timedelta(days=i)).dt.strftime(form))
        for i, form in enumerate(("%Y-%m-%d", "%d/%m/%Y", "%d.%m.%Y"))
    )
    data, lines = paired(real, made, None, 0, holdout, ("real=a.csv", "synthetic=b.csv", "holdout=c.csv"))
    assert [line.split(":")[0] for line in lines] == ["synthetic=b.csv", "holdout=c.csv"]
    assert pd.api.types.is_datetime64_any_dtype(data.holdout["day"].dtype)
    assert judged(data, [fidelity.shape])["fidelity/shape"].detail["day"] > 0.95


def test_columns_that_the_real_table_lacks_are_left_out_and_said():
    real, made = people(60, 0), people(60, 1).assign(extra=1, other=2)
    data, lines = paired(real, made, None, 0, None, ("real=a.csv", "synthetic=b.csv", "holdout=c.csv"))
    assert lines == ["synthetic=b.csv: 2 columns left out that real=a.csv lacks: extra, other"]
    assert list(data.synthetic.columns) == list(real.columns)
