"""When callbacks that watch have their turn."""

from types import SimpleNamespace

import pytest

from datakiln.callbacks.fidelity import TableFidelity
from datakiln.callbacks.series import SeriesFidelity
from datakiln.callbacks.turns import is_due


def turns(length: int, every: int, times: int | None, fn: str = "fit") -> list[int]:
    def run(epoch: int) -> SimpleNamespace:
        return SimpleNamespace(state=SimpleNamespace(fn=fn), current_epoch=epoch - 1, max_epochs=length)

    return [epoch for epoch in range(1, length + 1) if is_due(run(epoch), every, times)]


def test_every_so_many_epochs_or_so_many_times_in_all_and_at_the_end():
    assert turns(10, 4, None) == [4, 8, 10]
    assert turns(100, 4, 10) == list(range(10, 101, 10)), "times= takes the place of every="
    assert turns(3, 25, 10) == [1, 2, 3] and turns(25, 1, 10)[-1] == 25
    assert turns(10, 1, None, "validate") == []


@pytest.mark.parametrize(("callback", "kind"), [(TableFidelity, "table"), (SeriesFidelity, "series")])
@pytest.mark.parametrize("name", ["every", "times"])
def test_turns_that_never_come_are_refused(callback, kind, name):
    with pytest.raises(ValueError, match=rf"watch\.{kind}\.fidelity\.{name}=0"):
        callback(None, **{name: 0})
