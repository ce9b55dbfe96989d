"""What was spent is counted over all runs on a table, and a limit for all of them together holds."""

import pytest

from datakiln.errors import UserError
from datakiln.privacy.accounting import zcdp_rho
from datakiln.privacy.budget import Privacy
from datakiln.privacy.ledger import Ledger, reserve, together


def promised(tmp_path, run, table="t", epsilon=1.0, mechanism="marginals", **options):
    ledger = str(tmp_path / "ledger.jsonl")
    privacy = Privacy(mechanism, epsilon, 1e-6, ledger=ledger, folder=run, **options)
    reserve(privacy, table, zcdp_rho(epsilon, 1e-6) if mechanism == "marginals" else 0.0)
    return Ledger(ledger).of(table)


def test_runs_on_a_table_add_up(tmp_path):
    assert together(promised(tmp_path, "a"), 1e-6)[0] == pytest.approx(1.0)
    both = promised(tmp_path, "b")
    epsilon, delta = together(both, 1e-6)
    assert len(both) == 2 and 1.3 < epsilon < 2.0 and delta == 1e-6  # the rho of marginals add up, which is tighter
    epsilon, delta = together(promised(tmp_path, "c", mechanism="dp_sgd"), 1e-6)
    assert 2.3 < epsilon < 3.0 and delta == 2e-6
    assert len(promised(tmp_path, "x", table="another")) == 1


def test_a_run_that_goes_on_is_counted_once(tmp_path):
    promised(tmp_path, "a")
    assert len(promised(tmp_path, "a")) == 1


def test_a_limit_for_all_runs_together_holds(tmp_path):
    promised(tmp_path, "a")
    with pytest.raises(UserError, match=r"privacy.epsilon=1 after 1 by 1 earlier runs.*more than privacy.total=1.2"):
        promised(tmp_path, "b", total=1.2)
    assert len(Ledger(tmp_path / "ledger.jsonl").of("t")) == 1


def test_tables_are_told_apart_without_their_hashes(tmp_path):
    first, second = Ledger(tmp_path / "a.jsonl"), Ledger(tmp_path / "b.jsonl")
    assert first.table("hash") == first.table("hash") != second.table("hash")
    assert "hash" not in (tmp_path / "a.jsonl").read_text()


def test_a_damaged_ledger_is_no_new_one(tmp_path):
    path = tmp_path / "ledger.jsonl"
    path.write_text("nothing\n")
    with pytest.raises(UserError, match="does not begin with its key"):
        Ledger(path).table("x")
    path.write_text('{"key": "00"}\n{"table": 1}\n')
    with pytest.raises(UserError, match="line 2, is no promise"):
        Ledger(path).of("x")


@pytest.mark.parametrize(
    "options, words",
    [
        ({"epsilon": -1}, "epsilon=-1"),
        ({"delta": 0}, "delta=0"),
        ({"mechanism": "marginal"}, "mechanism=marginal"),
        ({"clip": 0.0}, "clip=0"),
        ({"epsilom": 1}, "epsilom"),
    ],
)
def test_options_that_promise_nothing_are_refused(options, words):
    with pytest.raises(UserError, match=words):
        Privacy.of(options)
