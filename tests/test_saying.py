"""What a stranger's text may do to a terminal: nothing."""

from __future__ import annotations

import ast
import io
import logging
import re
import sys
import warnings
from pathlib import Path

import pytest
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

import datakiln
from datakiln import saying
from datakiln.console import Console, Work, styled
from datakiln.errors import UserError
from datakiln.saying import listen, say, visible

PACKAGE = Path(datakiln.__file__).parent
PLACES = {PACKAGE / "saying.py", PACKAGE / "console.py"}
HOSTILE = {
    "\x1b[2J\x1b]0;owned\x07": r"\x1b[2J\x1b]0;owned\x07",
    "\x9b31mred": r"\x9b31mred",
    "user\u202etxt.exe": r"user\u202etxt.exe",
    "zero\u200bwidth\ufeff": r"zero\u200bwidth\ufeff",
    "over\rwritten\x08\x7f": r"over\rwritten\x08\x7f",
    "\udce9": r"\udce9",  # of a file's name that is no UTF-8
    "\u2028line": r"\u2028line",
    "\U000e0041tag": r"\U000e0041tag",
    "prix € 表 1\u00a0000": "prix € 表 1\u00a0000",
    "[/]": "[/]",
    "[red]x[/red] :smile: [link=file:///x]": "[red]x[/red] :smile: [link=file:///x]",
}
STEERS = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff\U000e0000-\U000e007f]"
)
FORBIDDEN = (
    r"sys\.std(?:out|err)\.write|from_markup|\[/\w*\]\"",
    r"(?:from|import) rich\.(?:console|markup|status|prompt|logging)",
    r"from rich\.progress import .*\btrack\b",
)


@pytest.mark.parametrize("text", HOSTILE)
def test_every_way_of_saying_shows_it_literally(text, capsys):
    out = io.StringIO()
    console = Console(file=out, width=100)
    table = Table(text, title=text)
    table.add_row(text)
    table.add_row(Text(text))
    table.add_row(styled(("x", "dim"), text))
    for shown in (text, styled(text), Text(text), Panel(text), table):
        console.print(shown)
        console.print(shown, markup=True, highlight=True, emoji=True)
    list(console.tracked([1], text))
    with console.work(text, 2) as work:
        work.step(text)
    say(text)
    say(text, error=True)
    out.write("".join(capsys.readouterr()))
    assert not STEERS.search(out.getvalue())
    assert out.getvalue().count(HOSTILE[text]) >= 15
    assert str(UserError(f"column {text}")) == f"column {HOSTILE[text]}"


@pytest.mark.parametrize("text", HOSTILE)
def test_on_a_terminal_nothing_but_styles_and_cursor_steers(text):
    out = io.StringIO()
    console = Console(file=out, width=100, force_terminal=True, color_system=None)
    with console.work(text, 2) as work:
        work.step(text)
    list(console.tracked([1], text))
    console.print(styled((text, "bold red")), text)
    own = r"\x1b\[(\?25[lh]|[0-9;]*[mAGK])|\r"  # cursor off and on, a line up, erased
    assert not STEERS.search(re.sub(own, "", out.getvalue()))
    assert HOSTILE[text] in out.getvalue()


def test_line_breaks_are_ours_alone():
    assert visible("a\nb\tc") == r"a\nb\tc" and visible("a\nb\tc", lines=True) == "a\nb\\tc"


def test_log_records_warnings_and_tracebacks(capsys, monkeypatch):
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    listen()
    record = logging.LogRecord("x", logging.WARNING, "", 0, "skipped: %s", ("\x1b[2Ja.png",), None)
    assert logging.lastResort.formatter.format(record) == r"skipped: \x1b[2Ja.png"
    warnings.showwarning(UserWarning("column \x1b[2J"), UserWarning, "x.py", 1)
    try:
        raise ValueError("column \x1b[2J")
    except ValueError as error:
        sys.excepthook(ValueError, error, error.__traceback__)
    told = capsys.readouterr().err
    assert not STEERS.search(told) and told.count(r"\x1b[2J") >= 2 and "Traceback" in told


def _calls(path: Path):
    """Calls by the plain name of what is called, which `print`, `input` and Rich's classes are known by."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node, node.func.id


def test_nothing_prints_but_the_one_place():
    """No print, no console of Rich's own, nothing that reads markup, in all of the package."""
    wrong = []
    for path in sorted(set(PACKAGE.rglob("*.py")) - PLACES):
        text = path.read_text(encoding="utf-8")
        calls = list(_calls(path))
        wrong += [f"{path.name}:{node.lineno} {name}" for node, name in calls if name in ("print", "input")]
        wrong += [f"{path.name} {found}" for pattern in FORBIDDEN for found in re.findall(pattern, text)]
        columns = [node for node, name in calls if name == "TextColumn"]
        for node in columns:
            literal = isinstance(node.args[0], ast.Constant) and "{" not in node.args[0].value
            if not literal and not any(word.arg == "markup" for word in node.keywords):
                wrong.append(f"{path.name}:{node.lineno} TextColumn reads markup")
    assert wrong == []
    assert {path for path in PLACES if path.is_file()} == PLACES and saying.__doc__


class Clock:
    """A clock that a test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_time_left_is_what_the_steps_so_far_took(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("datakiln.console.time.monotonic", clock)
    with Work(Console(file=io.StringIO()), "measuring", 4) as work:
        assert work.line() == "measuring"
        work.step("a")
        assert work.line("a") == "measuring 1 of 4: a"  # nothing to judge by
        clock.now = 30.0
        work.step("b")
        assert work.line("b") == "measuring 2 of 4: b, about 1 min 30 s left"
        clock.now = 40.0
        work.step("c")
        assert work.line("c") == "measuring 3 of 4: c, about 40.0 s left"
        clock.now = 40.5
        work.step("d")
        work.started += 40.0  # 0.5 s for three steps
        assert work.line("d") == "measuring 4 of 4: d"  # "about 0.00 s left" would be no estimate
        work.step("e")  # more than were told
        assert work.line("e") == "measuring 5 of 4: e"


def test_work_knows_the_time_left_before_its_first_step_ends():
    with Work(Console(file=io.StringIO()), "measuring", 4) as work:
        work.step("fid")
        assert work.left() is None
        work.started -= 10.0
        work.part(500, 1000)
        assert 69.0 < work.left() < 71.0  # an eighth took 10 s
        assert work.line("fid").startswith("measuring 1 of 4: fid, about ")
        work.step("judge")
        assert work.done == 0.0
