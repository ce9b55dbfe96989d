"""What was measured of synthetic data: figures between floor and ceiling, as a frame, a page, or pictures."""

from __future__ import annotations

import html
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datakiln.api.process import as_it_was
from datakiln.errors import UserError, near
from datakiln.results import RunResult, Score, headlines
from datakiln.wording import ARROWS, counted, number

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from datakiln.metrics.base import EvalData

COLUMNS = ("value", "better", "floor", "ceiling", "standing", "n", "why")
WIDTH = 100  # characters, where the output is no terminal
OVERVIEW = "columns"
MOST_PANELS = 12


class Report:
    """Figures of synthetic data beside what real data and a naive resampling reach on them.

    Arguments:
        result: The figures.
        draw: Draws pictures into the folder `plots` of a folder, and gives their paths.
        table: The rows that were measured, where the data is a table and the rows are here.
        preview: A few synthetic rows for the page.
        history: Figures of every epoch for the page.
        config: The run's options as YAML for the page.
        left: Files that `draw` looks for in its folder, by relative path.
        is_public: Whether the page leaves out what depends on single training rows, as `report.public=true` asks.
    """

    def __init__(
        self,
        result: RunResult,
        draw: Callable[[Path], Sequence[Path]],
        table: EvalData | None = None,
        preview: pd.DataFrame | None = None,
        history: pd.DataFrame | None = None,
        config: str | None = None,
        left: Mapping[Path, bytes] | None = None,
        is_public: bool = False,
    ) -> None:
        """See the class."""
        self.result, self.table = result, table
        self._draw, self._preview, self._history, self._config = draw, preview, history, config
        self._left, self._is_public = dict(left or {}), is_public
        self._pictures: dict[str, bytes] | None = None

    @property
    def figures(self) -> pd.DataFrame:
        """Every figure, one row each.

        `value` lies between `floor` (columns resampled independently) and `ceiling` (other real data); `standing` says
        where, from 0 to 1. `better` is "higher", "lower" or "none"; `n` the examples it was measured on; `why` the
        reason for what is missing.
        """
        import pandas as pd

        rows = [[getattr(score, name) for name in COLUMNS] for score in self.result.figures]
        names = pd.Index([score.name for score in self.result.figures], name="figure")
        numbers = dict.fromkeys(("value", "floor", "ceiling", "standing"), "float64")
        return pd.DataFrame(rows, index=names, columns=list(COLUMNS)).astype({**numbers, "n": "Int64"})

    def detail(self, figure: str) -> pd.Series:
        """The parts of a figure, such as one value for each column; raises `UserError` for a figure without any."""
        import pandas as pd

        parts = {score.name: score.detail for score in self.result.figures if score.detail}
        if figure not in parts:
            hint = near(figure, parts) or f"; known: {', '.join(parts)}"
            raise UserError(f"{figure!r} is no figure with parts{hint}")
        return pd.Series(parts[figure], name=figure, dtype="float64").rename_axis("part")

    def show(self) -> None:
        """Prints the main figures."""
        from datakiln.console import Console
        from datakiln.reports.terminal import lacking, terminal_table

        console = Console(force_jupyter=False)
        if not console.is_terminal:
            console = Console(force_terminal=False, force_jupyter=False, width=WIDTH)
        console.print(terminal_table(self.result))
        if told := lacking(self.result):
            console.print(told, soft_wrap=True)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes a page that can be mailed (.html: pictures inside, nothing fetched), or the figures (.json).

        Raises:
            UserError: The path ends otherwise.
        """
        target = Path(path)
        if target.suffix.lower() not in (".html", ".json"):
            raise UserError(f"path={str(target)!r} must end in .html for a page or in .json for the figures")
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.suffix.lower() == ".json":
            self.result.save(target)
            return
        from datakiln.reports.page import write_page

        with temporary({Path(f"{name}.png"): picture for name, picture in self._drawn().items()}) as folder:
            plots = [folder / f"{name}.png" for name in self._drawn()]
            told = (self._preview, self._history, target, self._config, self._is_public)
            write_page(self.result, plots, *told)

    def plot(self, name: str | None = None) -> Figure:
        """A matplotlib figure: one column, or one of the page's pictures such as "correlations"; None for an overview.

        Raises:
            UserError: There is no such column or picture.
        """
        with as_it_was():
            if self.table is not None:
                from datakiln.plots.table import column_figure, shown_columns

                columns = shown_columns(self.table.schema)
                if name is None:
                    columns, name = columns[:MOST_PANELS], ""
                if name in ("", *columns):
                    shown = [name] if name else columns
                    return column_figure(self.table.schema, shown, self.table.train, self.table.synthetic)
            else:
                columns = []
            pictures = self._drawn()
            if name is None and pictures:
                name = OVERVIEW if OVERVIEW in pictures else next(iter(pictures))
            if name not in pictures:
                raise UserError(self._no_plot(str(name), columns, list(pictures)))
            return _as_figure(pictures[name])

    def _no_plot(self, name: str, columns: list[str], pictures: list[str]) -> str:
        if self.table is not None and name in self.table.schema.names:
            kind = self.table.schema[name].type
            return f"column {name!r} has no picture: it is of type {kind}, which is made anew and not learnt"
        what = "is no column and no picture" if columns else "is no picture"
        known = ", ".join([*columns[:MOST_PANELS], *(["..."] if len(columns) > MOST_PANELS else []), *pictures])
        return f"{name!r} {what} of this report{near(name, [*columns, *pictures]) or f'; known: {known}'}"

    def _drawn(self) -> dict[str, bytes]:
        """The page's pictures as PNG files by name, drawn once, in the order to show them."""
        if self._pictures is None:
            with as_it_was(), temporary(self._left) as folder:
                self._pictures = {path.stem: path.read_bytes() for path in self._draw(folder)}
        return self._pictures

    def __repr__(self) -> str:
        """The main figures, one a line."""
        lines = [f"Report on {self._title()}"]
        width = max((len(score.name) for score in self._headlines()), default=0)
        for score in self._headlines():
            value = number(score.value) if score.value is not None else score.why
            between = f"floor {number(score.floor)}, ceiling {number(score.ceiling)}"
            lines.append(f"  {score.name:<{width}} {ARROWS[score.better]} {value:>8}  ({between})")
        rest = len(self.result.figures) - len(self._headlines())
        return "\n".join([*lines, f"  {counted(rest, 'more figure')} in .figures"] if rest else lines)

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{name}</th>" for name in ("figure", "", "synthetic", "floor", "ceiling"))
        rows = "".join(
            f"<tr><td style='text-align:left'>{html.escape(s.name)}</td><td>{ARROWS[s.better]}</td>"
            f"<td><b>{number(s.value)}</b></td><td>{number(s.floor)}</td><td>{number(s.ceiling)}</td></tr>"
            for s in self._headlines()
        )
        return f"<p>{html.escape(self._title())}</p><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"

    def _title(self) -> str:
        found = self.result
        stand_in = " (stand-in data)" if found.stand_in else ""
        sizes = f"{found.n_synthetic:,} synthetic beside {found.n_train:,} training and {found.n_holdout:,} unseen ones"
        return f"{found.model} on {found.data}{stand_in}, seed {found.seed}: {sizes}"

    def _headlines(self) -> list[Score]:
        return headlines(self.result.figures)


@contextmanager
def temporary(files: Mapping[Path, bytes] | None = None) -> Iterator[Path]:
    """A folder with these files, by relative path, that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="datakiln-") as name:
        folder = Path(name)
        for path, content in (files or {}).items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        yield folder


def _as_figure(picture: bytes) -> Figure:
    """A PNG, at its own size, as a figure."""
    import io

    import numpy as np
    from PIL import Image

    from datakiln.plots.style import DPI, plain_figure

    with Image.open(io.BytesIO(picture)) as image:
        dpi: Any = image.info.get("dpi", (DPI, DPI))
        pixels = np.asarray(image.convert("RGB"))
    return plain_figure(pixels, dpi[0])
