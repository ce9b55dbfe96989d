"""A sample that is stopped, by a signal, a kill or a full disk, goes on to the bytes of one that never was."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import shutil
import threading
import time
from collections import namedtuple
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from datakiln.cli.sample import main
from datakiln.constraints import Unique
from datakiln.errors import Interrupted, UserError
from datakiln.sampling import rejection, room, unfinished, writing
from datakiln.sampling.synthesizer import Synthesizer
from datakiln.sampling.unfinished import UNFINISHED, Unfinished, UnfinishedFolder, partial_of, told_of
from tests.later import later
from tests.sampling.test_pictures import synthesizer as drawing
from tests.stub_tables import redrawing

N = 500
CONDITIONS = {
    "all rows": [],
    "some rows": ["condition.sex=Female"],
    "balanced": ["balance=city"],
}


@pytest.fixture
def sample(monkeypatch):
    """The command, in small pieces that are all noted, on a model of tables or of pictures."""
    monkeypatch.setattr(rejection, "PIECE", 64)
    monkeypatch.setattr(rejection, "FEWEST", 64)
    monkeypatch.setattr(writing, "PART_ROWS", 128)
    monkeypatch.setattr(unfinished, "EVERY", 0.0)
    monkeypatch.setattr(unfinished, "COST", 0.0)

    def call(out: Path | str, *words: str, pictures: bool = False, constraints=()) -> None:
        made = drawing(conditional=True) if pictures else redrawing(constraints=constraints)
        monkeypatch.setattr(type(made.codec), "chunk", 16 if pictures else 64)
        monkeypatch.setattr(Synthesizer, "load", lambda *_, **__: made)
        main(["run=any", f"out={out}", *words])

    return call


@contextlib.contextmanager
def broken_off(error: BaseException, after: int):
    """Raises the error before one piece more than so many is written."""
    count = iter(range(after))
    write, advance = Unfinished.write, UnfinishedFolder.advance

    def stop(wrapped):
        def call(*given):
            if next(count, None) is None:
                raise error
            wrapped(*given)

        return call

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Unfinished, "write", stop(write))
        patch.setattr(UnfinishedFolder, "advance", stop(advance))
        yield


class Killed(BaseException):
    """Nothing of ours sees it, as SIGKILL."""


@contextlib.contextmanager
def killed(after: int):
    """Nothing is tidied up."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed), broken_off(Killed(), after):
        patch.setattr(Unfinished, "__exit__", lambda self, *_: self.file.close())
        patch.setattr(UnfinishedFolder, "__exit__", lambda *_: None)
        yield


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("words", CONDITIONS.values(), ids=CONDITIONS)
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("after", [4, *later(1)])
def test_a_table_that_was_stopped_and_killed_ends_the_same(sample, tmp_path, suffix, words, after):
    whole, out = tmp_path / f"whole{suffix}", tmp_path / f"x{suffix}"
    sample(whole, f"n={N}", *words)
    with pytest.raises(Interrupted) as stop, broken_off(Interrupted("SIGTERM"), after):
        sample(out, f"n={N}", *words)
    assert stop.value.exit_code == 143
    assert str(partial_of(out)) in str(stop.value) and "the same command goes on" in str(stop.value)
    assert names(tmp_path) == sorted([whole.name, partial_of(out).name, told_of(out).name])
    with killed(1):
        sample(out, f"n={N}", *words)
    sample(out, f"n={N}", *words)
    assert out.read_bytes() == whole.read_bytes()
    assert names(tmp_path) == sorted([whole.name, out.name])


@pytest.mark.parametrize("ends", [None, RuntimeError("it broke")])
def test_whoever_stops_before_the_end_waits_for_nobody(ends):
    """The last word of the thread that makes pieces, too, needs a place in the queue, which nobody empties then."""

    def pieces():
        yield from range(writing.AHEAD + 1)
        made.set()
        if ends is not None:
            raise ends

    made = threading.Event()
    ahead = writing._ahead(pieces())
    assert next(ahead) == 0 and made.wait(10)
    time.sleep(0.05)
    closing = threading.Thread(target=ahead.close, daemon=True)
    closing.start()
    closing.join(10)
    assert not closing.is_alive()


def test_what_is_there_of_a_csv_is_a_csv_and_keys_stay_unique(sample, tmp_path):
    unique = (Unique(["age", "sex", "city"]),)
    sample(tmp_path / "whole.csv", "n=150", constraints=unique)
    with killed(1):
        sample(tmp_path / "x.csv", "n=150", constraints=unique)
    assert 64 <= len(pd.read_csv(tmp_path / "x.csv.partial")) < 150
    sample(tmp_path / "x.csv", "n=150", constraints=unique)
    made = pd.read_csv(tmp_path / "x.csv")
    assert len(made) == 150 and not made.duplicated(["age", "sex", "city"]).any()
    assert (tmp_path / "x.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_a_parquet_file_killed_while_it_is_put_together(sample, tmp_path, monkeypatch):
    sample(tmp_path / "whole.parquet", f"n={N}")
    with (
        monkeypatch.context() as patch,
        pytest.raises(Interrupted, match=f"holds {N} of {N}; the same command goes on"),
    ):
        patch.setattr(writing, "_write_tables", lambda *_: (_ for _ in ()).throw(Interrupted("SIGTERM")))
        sample(tmp_path / "x.parquet", f"n={N}")
    sample(tmp_path / "x.parquet", f"n={N}")
    assert (tmp_path / "x.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert names(tmp_path) == ["whole.parquet", "x.parquet"]


@pytest.mark.parametrize("out", ["parts/", "made/", "x.npz"])
@pytest.mark.parametrize("after", [0, 2])
def test_parts_and_pictures_that_were_stopped_end_the_same(sample, tmp_path, out, after):
    options = {"n": "n=500"} if out == "parts/" else {"n": "n=70", "pictures": True}
    words = [options.pop("n")]
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    sample(f"{tmp_path}/a/{out}", *words, **options)
    with pytest.raises(Interrupted, match="the same command"), broken_off(Interrupted("SIGTERM"), after):
        sample(f"{tmp_path}/b/{out}", *words, **options)
    if after and out.endswith("/"):
        assert (tmp_path / "b" / out / UNFINISHED).exists()
    with killed(1):
        sample(f"{tmp_path}/b/{out}", *words, **options)
    sample(f"{tmp_path}/b/{out}", *words, **options)
    assert names(tmp_path / "a") == names(tmp_path / "b")
    for path in (tmp_path / "a").rglob("*.*"):
        other = tmp_path / "b" / path.relative_to(tmp_path / "a")
        if path.suffix == ".npz":  # an archive holds the time at which it was made
            with np.load(path) as left, np.load(other) as right:
                assert all((left[key] == right[key]).all() for key in left.files) and len(right["images"]) == 70
        else:
            assert path.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("out", ["x.csv", "x.parquet"])
def test_another_command_is_told_and_begins_anew_only_when_asked(sample, tmp_path, out):
    with pytest.raises(Interrupted), broken_off(Interrupted("SIGINT"), 2):
        sample(tmp_path / out, f"n={N}")
    before = names(tmp_path)
    for words, told in (
        ([f"n={N}", "seed=1"], "seed=0 and not 1"),
        (["n=400"], "n=500 and not 400"),
        ([f"n={N}", "condition.sex=Female"], 'condition={} and not {"sex": "Female"}'),
    ):
        with pytest.raises(UserError, match="another sample.*overwrite=true begins anew") as error:
            sample(tmp_path / out, *words)
        assert told in str(error.value) and "\n" not in str(error.value)
    assert names(tmp_path) == before
    sample(tmp_path / out, "n=400", "overwrite=true")
    sample(tmp_path / f"other-{out}", "n=400")
    assert (tmp_path / out).read_bytes() == (tmp_path / f"other-{out}").read_bytes()


def test_a_file_to_be_replaced_stays_until_the_other_is_complete(sample, tmp_path):
    out = tmp_path / "x.csv"
    sample(out, "n=10")
    before = out.read_bytes()
    with pytest.raises(UserError, match="exists"):
        sample(out, f"n={N}")
    with pytest.raises(Interrupted, match="without overwrite=true"), broken_off(Interrupted("SIGTERM"), 3):
        sample(out, f"n={N}", "overwrite=true")
    assert out.read_bytes() == before
    sample(out, f"n={N}")
    assert len(pd.read_csv(out)) == N


def test_a_file_that_comes_meanwhile_is_not_replaced(sample, tmp_path):
    out = tmp_path / "x.csv"
    with pytest.raises(Interrupted), broken_off(Interrupted("SIGTERM"), 2):
        sample(out, f"n={N}")

    class Comes(Unfinished):
        def finish(self):
            out.write_text("of somebody else")
            super().finish()

    with pytest.MonkeyPatch.context() as patch, pytest.raises(UserError, match="has come there meanwhile"):
        patch.setattr(writing, "Unfinished", Comes)
        sample(out, f"n={N}")
    assert out.read_text() == "of somebody else"
    out.unlink()
    sample(out, f"n={N}")
    assert len(pd.read_csv(out)) == N


def test_a_file_without_its_note_and_one_that_was_cut(sample, tmp_path):
    out = tmp_path / "x.csv"
    with pytest.raises(Interrupted), broken_off(Interrupted("SIGTERM"), 2):
        sample(out, f"n={N}")
    os.truncate(partial_of(out), 10)
    with pytest.raises(UserError, match="shorter than when it was left; overwrite=true begins anew"):
        sample(out, f"n={N}")
    told_of(out).write_text("{")
    with pytest.raises(UserError, match="nothing says how it was made; overwrite=true begins anew"):
        sample(out, f"n={N}")
    sample(out, f"n={N}", "overwrite=true")
    assert names(tmp_path) == ["x.csv"]


def test_two_commands_do_not_write_one_file(sample, tmp_path):
    out = tmp_path / "x.csv"
    with Unfinished(out, {}, 1), pytest.raises(UserError, match="being written by another command"):
        sample(out, "n=10", "overwrite=true")


@contextlib.contextmanager
def small_disk(size: int):
    """No file can grow beyond so many bytes: the system refuses to write on, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("out", ["x.csv", "x.parquet"])
def test_a_full_disk_loses_nothing(sample, tmp_path, out):
    sample(tmp_path / f"whole-{out}", f"n={N}")
    with small_disk(20_000), pytest.raises(UserError, match=f"{out}.partial cannot be written: .*make room") as error:
        sample(tmp_path / out, f"n={N}")
    assert "\n" not in str(error.value) and "the same command goes on" in str(error.value)
    assert names(tmp_path) == sorted([f"whole-{out}", f"{out}.partial", f"{out}.partial.json"])
    sample(tmp_path / out, f"n={N}")
    assert (tmp_path / out).read_bytes() == (tmp_path / f"whole-{out}").read_bytes()


def test_a_disk_so_full_that_not_even_a_note_fits(sample, tmp_path, monkeypatch):
    out = tmp_path / "x.csv"
    sample(tmp_path / "whole.csv", f"n={N}")
    full = OSError(errno.ENOSPC, "No space left on device")
    with monkeypatch.context() as patch, pytest.raises(UserError, match="no space is left; make room"):
        note = Unfinished._note
        patch.setattr(Unfinished, "_note", lambda self: (_ for _ in ()).throw(full) if self.done > 128 else note(self))
        sample(out, f"n={N}")
    sample(out, f"n={N}")
    assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes()


@pytest.mark.parametrize("count", ["1e6", "1_000_000", "1000000", "1E6", "1e+6", "1000000.0"])
def test_counts_in_any_writing(count):
    from datakiln.cli.commands import options
    from datakiln.cli.sample import _check

    cfg = options(["run=any", "out=x.csv", f"n={count}"], "sample")
    _check(cfg)
    assert cfg.n == 1_000_000


@pytest.mark.parametrize("count", ["1.5", "-1", "0", "inf", ".inf", "nan", ".nan", "true", "many", "[1]", "1e-3"])
@pytest.mark.parametrize("key", ["n", "per_class"])
def test_counts_that_are_none(sample, tmp_path, key, count):
    with pytest.raises(UserError, match=rf"^{key}=.* must be a whole number of at least 1( or null)?$"):
        sample(tmp_path / "x.csv", f"{key}={count}")


@pytest.mark.parametrize("count", ["1e16", "1e30", "10000000000000000"])
@pytest.mark.parametrize("out", ["x.csv", "x.parquet", "parts/", "x.npz"])
def test_what_no_disk_holds_is_refused_at_once(tmp_path, monkeypatch, out, count):
    monkeypatch.setattr(Synthesizer, "load", lambda *_, **__: pytest.fail("the model was read"))
    with pytest.raises(UserError, match=r"^n=\d+ would take about .* are free; ask for at most \d+, or choose"):
        main(["run=any", f"out={tmp_path}/{out}", f"n={count}"])
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("out", "pictures"), [("x.csv", False), ("x.parquet", False), ("parts/", False), ("made/", True), ("x.npz", True)]
)
def test_what_this_disk_does_not_hold_is_told_by_the_first_piece(sample, tmp_path, monkeypatch, out, pictures):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(room.shutil, "disk_usage", lambda _: usage(0, 0, 20_000))
    with pytest.raises(
        UserError, match=r"^n=\d+ would take about \d.* [kM]B in .* 20 kB are free; ask for at most \d+"
    ):
        sample(f"{tmp_path}/{out}", "n=6000", pictures=pictures)
    assert [name for name in names(tmp_path) if "partial" in name or name.endswith((".csv", ".parquet", ".npz"))] == []


def test_room_is_asked_where_the_file_goes(tmp_path):
    free = shutil.disk_usage(tmp_path).free
    room.check_room(tmp_path / "a" / "b" / "x.csv", 10, 1)
    with pytest.raises(UserError, match="n=10 would take"):
        room.check_room(tmp_path / "a" / "b" / "x.csv", 10, free)
