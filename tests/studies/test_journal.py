"""Studies go on where they stopped, stop where the budget ends, and never go on with another study's cells."""

import pytest

from datakiln.cli.commands import options
from datakiln.cli.studying import _keep_figures, _kept_figures, wish_of
from datakiln.console import Console
from datakiln.errors import Interrupted, UserError
from datakiln.results import Score, Trial
from datakiln.studies import journal as journals
from datakiln.studies.base import Wish
from datakiln.studies.journal import FILE, Cell, Journal, run_cells, seconds_of

QUIET = Console(quiet=True)


def cells(done):
    return [Cell(f"tree/{i}", lambda i=i: done.append(i) or {"value": i}) for i in range(4)]


def test_a_study_goes_on_where_it_was_killed(tmp_path):
    done = []
    first = cells(done)
    first[2] = Cell("tree/2", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run_cells(first, Journal(tmp_path, {"seed": 0}), None, QUIET)
    with (tmp_path / FILE).open("a") as file:
        file.write('{"cell": "tree/2", "con')  # what a killed process leaves
    outcome = run_cells(cells(done), Journal(tmp_path, {"seed": 0}), None, QUIET)
    assert done == [0, 1, 2, 3]  # each once
    assert outcome.done == {f"tree/{i}": {"value": i} for i in range(4)}
    assert Journal(tmp_path, {"seed": 0}).done == outcome.done


def test_who_interrupts_a_study_is_told_that_it_goes_on(tmp_path):
    def stopped():
        raise Interrupted("SIGTERM")

    cells = [Cell("a", lambda: {"value": 1}), Cell("b", stopped)]
    with pytest.raises(Interrupted, match="1 fit of 2 is kept in .*; the same command goes on"):
        run_cells(cells, Journal(tmp_path, {}), None, Console(quiet=True))


def test_a_budget_ends_before_the_cell_that_would_pass_it_and_is_said(tmp_path, monkeypatch):
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(journals.time, "monotonic", lambda: next(clock))
    done = []
    outcome = run_cells(cells(done), Journal(tmp_path, {}), 25.0, QUIET)
    assert outcome.capped
    assert 1 <= len(done) < 4
    assert "the same command goes on" in outcome.notes[0]
    assert f"{len(done)} of 4 fits" in outcome.notes[0]


def test_cells_of_other_data_are_not_gone_on_with(tmp_path):
    Journal(tmp_path, {"seed": 0, "data": "a"})
    Journal(tmp_path, {"seed": 0, "data": "b"})  # a misspelt wish that was refused leaves nothing in the way
    Journal(tmp_path, {"seed": 0, "data": "a"}).add("tree/0", {"value": 0})
    with pytest.raises(UserError, match="another data; choose another out="):
        Journal(tmp_path, {"seed": 0, "data": "b"})


def test_the_usual_figures_of_a_study_are_kept_whole(tmp_path):
    trial = Trial("nearest", "all rows", {"AUC": [0.5, 0.4, 0.6]}, {"members": 10})
    figures = [Score("membership/auc", 0.5, "lower", trials=[trial]), Score("fidelity/shape", 0.9, "higher")]
    _keep_figures(figures, tmp_path / "figures.json", "a")
    assert _kept_figures(tmp_path / "figures.json", "a") == figures
    assert _kept_figures(tmp_path / "figures.json", "b") is None, "of other tables"


@pytest.mark.parametrize("line", [b"nonsense", b"[]", b'{"cell": 3, "content": {}}', b'{"cell": "a"}', b'"\xff"'])
def test_a_damaged_journal_is_one_line(tmp_path, line):
    Journal(tmp_path, {"seed": 0}).add("tree/0", {"value": 0})
    with (tmp_path / FILE).open("ab") as file:
        file.write(line + b"\n")
    with pytest.raises(UserError, match="damaged"):
        Journal(tmp_path, {"seed": 0})


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("2m", 120), ("1.5h", 5400), (None, None)])
def test_budgets_are_times(text, seconds):
    assert seconds_of(text) == seconds


@pytest.mark.parametrize(
    ("wish", "told"),
    [
        (Wish("utilty"), "study=utilty is not known"),
        (Wish("utility", budget="2 minutes"), "budget=2 minutes must be a time"),
        (Wish("utility", budget="0s"), "budget=0s"),
        (Wish("utility", tuning=9), "tuning=9 must be 1"),
        (Wish("utility", repeats=1), "repeats=1 must be 2 to 100"),
        (Wish("utility", protected="sex"), "data.protected=sex is for study=fairness"),
        (Wish("fairness"), "data.protected=sex"),
    ],
)
def test_what_cannot_be_meant_is_refused(wish, told):
    with pytest.raises(UserError, match=told):
        wish.check()


def test_options_of_the_command_become_a_wish():
    given = options(["run=x", "study=fairness", "data.protected=sex", "tuning=1", "budget=60s"], "evaluate")
    assert wish_of(given) == Wish("fairness", "60s", 1, None, "sex")
    assert wish_of(options(["run=x"], "evaluate")) is None
    for alone in ("budget=2m", "tuning=2", "data.protected=sex"):
        with pytest.raises(UserError, match="is for studies"):
            wish_of(options(["run=x", alone], "evaluate"))
