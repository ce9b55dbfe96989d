"""`workers=` makes the parts that one process would have made."""

from __future__ import annotations

import pytest

from datakiln.cli import spreading
from datakiln.cli.commands import options
from datakiln.cli.sample import _check
from datakiln.cli.spreading import spread
from datakiln.errors import UserError

WORDS = ["run=r", "n=10", "out=parts/", "parts=5"]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["workers=0"], "workers=0 must be a whole number from 1"),
        (["workers=two"], "workers=two must be a whole number"),
        (["workers=2", "worker=1/2"], "workers=2 starts processes for parts; give parts= and leave out worker="),
        (["launcher=slurm"], "launcher=slurm must be local, slurm, ray and needs workers="),
        (["workers=2", "launcher=pbs"], "launcher=pbs must be local, slurm, ray"),
    ],
)
def test_workers_that_cannot_be(more, told):
    with pytest.raises(UserError, match=told):
        _check(options([*WORDS, *more], "sample"))


def test_every_worker_gets_the_command_and_a_failure_is_told(monkeypatch, capsys):
    seen = []

    def work(words, place):
        seen.append(words)
        return (2, "error: no room") if words[-1] == "worker=2/3" else (0, "2 parts written")

    monkeypatch.setattr(spreading, "work", work)
    with pytest.raises(UserError, match="worker 2: error: no room; the same command goes on"):
        spread([*WORDS, "workers=3", "launcher=local"], "local", 3)
    assert sorted(seen) == [[*WORDS, f"worker={i}/3"] for i in (1, 2, 3)]
    assert "worker 3 of 3: 2 parts written" in capsys.readouterr().out
