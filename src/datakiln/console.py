"""A terminal with colours, tables and bars that shows every text literally: see `datakiln.saying`.

Rich reads `[red]` in a plain text as markup, drops what it takes for a tag and stops at `[/]`. Here no text is markup:
what has a style is built from parts by `styled`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import rich.console
from rich.control import Control
from rich.markup import escape
from rich.progress import track
from rich.segment import Segment
from rich.spinner import Spinner
from rich.status import Status
from rich.text import Text

from datakiln.saying import visible
from datakiln.wording import duration

T = TypeVar("T")


def styled(*parts: str | tuple[str, str], **options: Any) -> Text:  # noqa: ANN401 (options of a Rich text)
    """A text from its parts, each literal, some with a style: `styled("data: ", (name, "dim"))`."""
    told = [(visible(part, True), "") if isinstance(part, str) else (visible(part[0], True), part[1]) for part in parts]
    return Text.assemble(*told, **options)


class Console(rich.console.Console):
    """Rich's console without markup, guessed highlights and emoji codes.

    Arguments:
        **options: Those of Rich's.
    """

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 (options of Rich's console)
        """See the class."""
        super().__init__(**options, markup=False, highlight=False, emoji=False)

    def render_str(self, text: str, **options: Any) -> Text:  # type: ignore[override] # noqa: ANN401 (as Rich's)
        """A plain text of anybody's, such as a cell of a table, as a literal one."""
        literal = {"markup": False, "emoji": False, "highlight": False, "highlighter": None}
        return super().render_str(visible(text, lines=True), **{**options, **literal})

    def render(
        self, renderable: rich.console.RenderableType, options: rich.console.ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """The segments to be written; none but Rich's own control segments steers the terminal."""
        for segment in super().render(renderable, options):
            plain = segment.control or segment.text == "\n" or segment.text.isprintable()
            yield segment if plain else segment._replace(text=visible(segment.text, lines=True))

    def work(self, what: str, total: int | None = None) -> Work:
        """A line that says what is being done, on a terminal and for as long as the block lasts.

        Arguments:
            what: Such as "measuring".
            total: Number of steps that `Work.step` will tell of; None where they are not counted.
        """
        return Work(self, what, total)

    @contextmanager
    def heard_by(self, listener: Callable[[list[Any]], None]) -> Iterator[None]:
        """Tells the listener of everything that is printed inside, and of no bar or line that is only drawn again."""
        self.push_render_hook(_Hook(listener))
        try:
            yield
        finally:
            self.pop_render_hook()

    def tracked(self, work: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
        """The same, one by one, with a bar on a terminal."""
        yield from track(work, escape(visible(what)), total, console=self, transient=True, disable=not self.is_terminal)


class _Hook(rich.console.RenderHook):
    """Passes on what a console is about to show."""

    def __init__(self, listener: Callable[[list[Any]], None]) -> None:
        self.listener = listener

    def process_renderables(self, renderables: list[rich.console.ConsoleRenderable]) -> list[Any]:
        said = [item for item in renderables if not isinstance(item, Control)]
        if said:
            self.listener(said)
        return renderables


class Work:
    """A line about work in steps: which one is being done, of how many, and how long the others will take.

    The time left is what the steps so far took, on average, for each that is still to do; of a step that tells its
    parts, what is done of it counts too. See `Console.work`.
    """

    def __init__(self, console: rich.console.Console, what: str, total: int | None = None) -> None:
        """Arguments: console: where to show it; what: is done; total: number of steps, where they are counted."""
        self.console, self.what, self.total = console, what, total
        self.begun = 0  # steps
        self.done = 0.0  # of the step that has begun
        self._name = ""
        self.started = time.monotonic()
        self._status: Status | None = None

    def __enter__(self) -> Work:
        """Shows the line, if there is a terminal."""
        self.started = time.monotonic()
        if self.console.is_terminal:
            self._status = Status("", console=self.console)
            self._status.start()
            self._show("")
        return self

    def __exit__(self, *_: object) -> None:
        """Takes it away."""
        if self._status is not None:
            self._status.stop()
            self._status = None

    def step(self, name: str = "") -> None:
        """The next step begins."""
        self.begun += 1
        self.done, self._name = 0.0, name
        self._show(name)

    def part(self, done: int, of: int) -> None:
        """So much of the step is done: the time left is known before the first step ends."""
        self.done = min(done / max(of, 1), 1.0)
        self._show(self._name)

    def line(self, name: str = "") -> str:
        """What is shown during the step of that name."""
        if not self.begun:
            return self.what
        of = f" {self.begun} of {self.total}" if self.total else ""
        told = f"{self.what}{of}: {name}" if name else f"{self.what}{of}"
        left = self.left()
        return told if left is None or round(left) < 1 else f"{told}, about {duration(round(left))} left"

    def left(self) -> float | None:
        """Seconds until all is done; None where nothing is done yet or no steps are counted."""
        done = self.begun - 1 + self.done
        if not self.total or not done > 0 or self.begun > self.total:
            return None
        passed = time.monotonic() - self.started
        return passed / done * (self.total - done)

    def _show(self, name: str) -> None:
        if self._status is not None:
            spinner = self._status.renderable
            assert isinstance(spinner, Spinner)
            spinner.text = styled(self.line(name))
