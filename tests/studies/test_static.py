"""Series asked for by a static column where the answer is known: obeyed, ignored, obeyed at the cost of the rest."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from datakiln.codecs.series.series import SeriesCodec
from datakiln.data.series.series import SeriesData
from datakiln.data.sets.series import ToySeries
from datakiln.errors import UserError
from datakiln.studies.base import Wish
from datakiln.studies.runs import study_data
from datakiln.studies.uses.static import Entities, _entities, apart, static_between, static_scores, values_to_ask


def entities(n: int, seed: int, share: float = 0.4) -> Entities:
    """Women, fewer than men, whose first mean is 4 higher; the other goes with nothing."""
    rng = np.random.default_rng(seed)
    is_female = rng.random(n) < share
    means = np.stack([rng.normal(4.0 * is_female, 1.0), rng.normal(size=n)], axis=1)
    return Entities(pd.DataFrame({"sex": np.where(is_female, "F", "M"), "one": "x"}), means)


TRAIN, TEST = entities(400, 0), entities(150, 1)
ASKED = ("sex", "F")


def test_values_are_asked_that_change_the_means_and_not_what_all_have():
    assert values_to_ask(TRAIN, TEST) == [ASKED]
    assert values_to_ask(TRAIN, entities(10, 2, share=0.1)) == [], "too few held-out ones have it"
    assert apart(TRAIN.means, TRAIN.means) == 0.0 and apart(TRAIN.means, TRAIN.means + 99.0) == 1.0
    assert apart(TRAIN.means, np.full((5, 2), np.nan)) == 1.0


def test_a_model_that_obeys_one_that_ignores_and_one_whose_means_are_of_others():
    met, rest = static_between(TRAIN, TEST, {ASKED: entities(100, 3, share=1.0)}, 0)
    assert met.value == met.ceiling == 1.0 and met.floor == pytest.approx(0.4, abs=0.06)
    assert rest.standing == pytest.approx(1.0, abs=0.3) and rest.decides
    met, rest = static_between(TRAIN, TEST, {ASKED: entities(100, 4)}, 0)
    assert met.standing == pytest.approx(0.0, abs=0.15)
    other = entities(100, 5)
    labelled = Entities(other.static.assign(sex="F"), other.means)
    met, rest = static_between(TRAIN, TEST, {ASKED: labelled}, 0)
    assert met.value == 1.0 and rest.standing == pytest.approx(0.0, abs=0.3), "a name stuck on means of any sex"
    met, rest = static_between(TRAIN, TEST, {ASKED: entities(100, 6, share=0.0)}, 0)
    assert met.value == 0.0 and rest.standing == pytest.approx(0.0) and "hardly ever" in rest.note
    assert "held-out entities" in static_between(TRAIN, TEST, {}, 0)[0].why


class Told:
    """Real patients that have what is asked for, as a model that knows them all would draw."""

    def __init__(self, data: SeriesData, conditioning: str) -> None:
        self.data, self.model, self.conditioning = data, self, conditioning

    def sample(self, n: int, condition: dict[str, str], seed: int) -> pd.DataFrame:
        frame = self.data.frames["train"]
        ((column, value),) = condition.items()
        return frame[frame[column] == value].reset_index(drop=True)


def test_patients_of_known_law_and_series_without_static_columns():
    data = SeriesData(ToySeries(400, 6, 8), SeriesCodec(), time="date", entity="patient", seed=0)
    data.setup("fit")
    met, rest = static_scores(data, Told(data, "columns"), 0)  # type: ignore[arg-type]
    assert met.value == 1.0 and list(met.detail or {})[0].startswith("sex=") and rest.standing is not None
    assert rest.standing > 0.5
    deaf = static_scores(data, Told(data, "none"), 0)  # type: ignore[arg-type]
    assert all(score.value is None and score.why.startswith("not offered") for score in deaf)
    found = _entities(data, data.frames["test"], data.group["test"], ["sex"])
    first = data.frames["test"][data.group["test"] == 0]
    assert (
        found.means[0, 0] == pytest.approx(first["level"].mean())
        and found.static["sex"].iloc[0] == first["sex"].iloc[0]
    )
    data.roles = type(data.roles)(data.roles.time, data.roles.entity, ())
    assert [score.why for score in static_scores(data, Told(data, "columns"), 0)] == [  # type: ignore[arg-type]
        "not computed: no static columns"
    ] * 2


def test_a_study_of_a_run_of_series_is_refused(tmp_path):
    data = SimpleNamespace(kind="series", privacy=SimpleNamespace(is_on=False))
    made = SimpleNamespace(model=SimpleNamespace(can_draw=True))
    with pytest.raises(UserError, match="study=utility is for tables and pictures, not for series"):
        study_data(Wish("utility"), data, made, 9, 0, tmp_path / "x", None, None)
    assert not (tmp_path / "x").exists()
