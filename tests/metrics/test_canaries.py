"""Planted rows that come back, and those that do not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from datakiln.data.tables.canaries import TIMES, planted
from datakiln.metrics.base import Canaries, EvalData
from datakiln.metrics.privacy.canaries import canaries
from tests.metrics.metrics_tables import PEOPLE, people

TRAIN, MADE, REPORT = planted(people(300, 0), 6, 0)
UNSEEN = EvalData(PEOPLE, TRAIN, people(200, 1), people(400, 2), canaries=Canaries(MADE.rows, MADE.times, MADE.control))


def test_each_is_planted_as_often_as_it_says_and_has_cells_of_the_training_rows() -> None:
    assert len(TRAIN) == 300 + 6 * sum(TIMES) and REPORT.rows == 6 * sum(TIMES)
    counts = TRAIN.groupby(list(TRAIN.columns)).size()
    for times, (_, row) in zip(MADE.times, MADE.rows.iterrows(), strict=True):
        assert counts[tuple(row)] == times
    for name in TRAIN.columns:
        assert set(MADE.control[name]) <= set(people(300, 0)[name])
    assert (MADE.rows.dtypes == people(300, 0).dtypes).all()
    assert not MADE.rows.merge(MADE.control).size


def test_copies_bring_every_canary_back() -> None:
    (found,) = canaries(replace(UNSEEN, synthetic=TRAIN))
    assert found.value == 1.0 and found.finding == "leak"
    assert "stands once among the training rows comes back" in found.note
    assert [trial.group for trial in found.trials] == ["planted 1 time", "planted 10 times", "planted 100 times"]


def test_fresh_rows_bring_none_back() -> None:
    (found,) = canaries(UNSEEN)
    assert found.value < 0.4 and found.finding == "nothing"


def test_what_is_planted_often_comes_back_first() -> None:
    often = MADE.rows[MADE.times == 100]
    made = pd.concat([people(400, 2), often, often], ignore_index=True)
    (found,) = canaries(replace(UNSEEN, synthetic=made))
    back = {trial.group: trial.figures["come back"][0] for trial in found.trials}
    assert back["planted 100 times"] == 1.0 and back["planted 1 time"] < 0.4
    assert found.finding == "slight" and "rows planted 100 times or more come back" in found.note


def test_the_model_is_asked_about_them_and_without_any_there_is_no_figure() -> None:
    known = set(zip(MADE.rows["a"], MADE.rows["b"], strict=True))

    def likelihood(frame):
        return np.array([float(pair in known) for pair in zip(frame["a"], frame["b"], strict=True)])

    (found,) = canaries(replace(UNSEEN, scorers={"likelihood of the model": likelihood}))
    assert {trial.name for trial in found.trials} == {"distance", "likelihood of the model"}
    assert found.value > 0.5
    assert canaries(replace(UNSEEN, canaries=None)) == []
