"""The section on safety: what was tried and found in plain words, and what a public report leaves out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from datakiln.reports.page import write_page
from datakiln.reports.safe import public, safe_section, showable
from datakiln.reports.verdict import judged
from datakiln.results import RunResult, Score, Source, Trial

SOURCE = Source("files", "/mine/customers.csv", "ab" * 32)


def trial(name: str, low: float, group: str = "all records") -> Trial:
    figures = {"AUC": [low + 0.05, low, low + 0.1], "TPR at 1 % FPR": [0.3, 0.25, 0.35]}
    return Trial(
        name, group, figures, {"members": 1400, "non-members": 300}, "TPR at 0.1 % FPR needs 1,000 non-members"
    )


def run(finding: str, *trials: Trial) -> RunResult:
    words = {"leak": "membership can be told", "weak": "too weak to tell: 560 holdout rows would be needed"}
    note = f"strongest of 2 games; AUC 0.7 to 0.8; {words.get(finding, 'none of these attacks told members')}"
    game = Score(
        "privacy/membership_auc", trials[0].figures["AUC"][0], "lower", 0, 1, ideal=0.5, n=300, note=note,
        trials=list(trials), finding=finding,
    )  # fmt: skip
    adherence = Score("fidelity/boundary_adherence", 0.99, "higher", 0, 1, detail={"age": 0.9})
    shape = Score("fidelity/shape", 0.9, "higher", 0, 1, 0.95, 0.5, detail={"city = Ulm": 0.9})
    figures = [game, adherence, shape]
    return RunResult("tabar", "csv", 0, SOURCE, figures=figures, n_train=1400, n_holdout=300, n_synthetic=1400)


def test_a_leak_is_told_at_the_top_and_in_the_section() -> None:
    found = run("leak", trial("distance", 0.8), trial("likelihood of the model", 0.9))
    claim = judged(found, "rows").claims[2]
    assert claim.tone == "bad" and claim.sentence.startswith("Membership can be told: warning")
    section = safe_section(found, "rows")
    assert section.answer.startswith("Do not release") and section.tone == "bad"
    text = " ".join(section.rules)
    assert "2 attacks in 2 games on 1,400 learnt and 300 held-out rows, with all 1,400 synthetic rows" in text
    assert "is itself private" in text and "anonym" not in (text + section.answer).lower()


def test_attacks_that_hold_the_model_are_told_from_those_by_samples() -> None:
    section = safe_section(run("leak", trial("likelihood of the model", 0.9), trial("distance", 0.45)), "rows")
    assert any("the checkpoint must stay where the real rows are" in rule for rule in section.rules)
    section = safe_section(run("leak", trial("likelihood of the model", 0.9), trial("distance", 0.8)), "rows")
    assert not any("checkpoint must stay" in rule for rule in section.rules)


def test_nothing_found_is_no_licence_for_more_rows_and_weak_is_no_safety() -> None:
    good = safe_section(run("nothing", trial("distance", 0.45)), "rows")
    assert good.tone == "good" and any("no more than the 1,400 rows" in rule for rule in good.rules)
    weak = run("weak", trial("distance", 0.45))
    assert safe_section(weak, "rows").tone == "unknown"
    claim = judged(weak, "rows").claims[2]
    assert claim.tone == "unknown" and "560 holdout rows would be needed" in claim.sentence
    assert safe_section(replace(weak, figures=weak.figures[1:]), "rows") is None


def test_a_public_report_leaves_out_what_depends_on_single_rows(tmp_path: Path) -> None:
    found = run("leak", trial("distance", 0.8))
    found = replace(found, overrides=["model=vae", "data=csv", "data.path=/mine/customers.csv", "+condition.name=Ann"])
    left = public(found)
    assert left.overrides == ["model=vae", "data=csv"]
    by_name = {score.name: score for score in left.figures}
    assert by_name["fidelity/boundary_adherence"].value is None
    assert by_name["fidelity/shape"].value == 0.9 and by_name["fidelity/shape"].detail is None
    assert by_name["privacy/membership_auc"].trials
    write_page(found, [], None, None, tmp_path / "public.html", "data: {path: /mine/customers.csv}", is_public=True)
    write_page(found, [], None, None, tmp_path / "private.html", "data: {path: /mine/customers.csv}")
    page, private = ((tmp_path / name).read_text() for name in ("public.html", "private.html"))
    for secret in ("ab" * 32, "/mine/", "Ulm"):
        assert secret not in page and secret in private
    assert "left out of this report" in page and "is itself private" in private
    for text in (page, private):
        assert "anonym" not in text.lower() and '<section id="safe"' in text


@pytest.mark.parametrize(
    ("name", "kept"), [("curves", True), ("columns-01", False), ("embedding", False), ("kl_per_dimension", True)]
)
def test_plots_with_real_examples_are_not_public(name: str, kept: bool) -> None:
    assert bool(showable([Path(f"{name}.png")])) is kept
