"""Singling out, linkability and inference, each against persons who were held out."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from datakiln.metrics.base import EvalData, MetricError
from datakiln.metrics.privacy.risks import Attack, figure, inference, linkability, singling_out
from tests.metrics.metrics_tables import PEOPLE, people

UNSEEN = EvalData(PEOPLE, people(600, 0), people(300, 1), people(600, 2))
COPIED = replace(UNSEEN, synthetic=people(600, 0))


@pytest.mark.parametrize("risk", [singling_out, linkability, inference])
def test_copies_put_learnt_persons_at_risk_and_fresh_rows_do_not(risk) -> None:
    (copied,), (fresh,) = risk(COPIED), risk(UNSEEN)
    assert copied.finding == "leak" and copied.value > 0.9
    assert copied.trials[0].figures["control"][0] < 0.5 < copied.trials[0].figures["learnt"][0]
    assert fresh.finding in ("nothing", "weak"), fresh.note
    low = fresh.trials[0].figures["risk"][1]
    assert low < 0.05


def test_the_secret_is_the_one_that_is_named() -> None:
    (found,) = inference(replace(COPIED, secret="city"))
    assert [trial.group for trial in found.trials] == ["secret city"]
    with pytest.raises(MetricError, match="secret=cty is no column that could be compared; known: a, b, c, y, city"):
        inference(replace(COPIED, secret="cty"))


def test_a_risk_is_what_learnt_persons_suffer_beyond_others() -> None:
    rates = Attack("a", 60, 100, 20, 100).rates(1)
    assert rates["risk"][0] == pytest.approx((0.6 - 0.2) / (1 - 0.2))
    assert rates["risk"][1] < 0.5 < rates["risk"][2]
    assert Attack("a", 60, 100, 20, 100).p < 1e-6
    assert Attack("a", 20, 100, 20, 100).p > 0.4


def test_too_weak_names_a_number_that_would_do_and_that_is_more_than_there_are() -> None:
    weak = figure("privacy/inference", [Attack("a", 1557, 2000, 1589, 2000)], "tell a secret of")
    needed = int(re.search(r"([\d,]+) persons of each kind", weak.note).group(1).replace(",", ""))
    assert weak.finding == "weak" and needed > 2000
    alike = Attack("a", round(0.7865 * needed), needed, round(0.7865 * needed), needed)
    assert figure("privacy/inference", [alike], "tell a secret of").finding == "nothing"


def test_no_control_group_no_claim() -> None:
    for risk in (singling_out, linkability, inference):
        with pytest.raises(MetricError, match="without a holdout there is no privacy claim"):
            risk(replace(UNSEEN, holdout=UNSEEN.holdout[:0]))
        with pytest.raises(MetricError, match="19 holdout rows are fewer than 20"):
            risk(replace(UNSEEN, holdout=UNSEEN.holdout[:19]))


@pytest.mark.parametrize("risk", [singling_out, linkability, inference])
def test_of_very_many_synthetic_rows_some_are_looked_through_and_that_is_said(risk, monkeypatch) -> None:
    monkeypatch.setattr("datakiln.metrics.privacy.risks.MOST", 300)
    (copied,), (again,) = risk(COPIED), risk(COPIED)
    assert copied.note.endswith("; looked for in 300 of 600 synthetic rows") and copied == again
    assert copied.finding == "leak" and 0.2 < copied.value < 0.7, "half of the copies are looked at"
    monkeypatch.setattr("datakiln.metrics.privacy.risks.MOST", 600)
    assert "looked for" not in risk(COPIED)[0].note
