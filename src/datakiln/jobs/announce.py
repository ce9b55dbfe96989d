"""What a run tells the person at its terminal."""

from __future__ import annotations

from pathlib import Path

from rich.panel import Panel
from rich.table import Table

from datakiln.console import Console, styled
from datakiln.data.base import GenerativeData
from datakiln.data.tables.tables import TableData
from datakiln.data.tables.types import describe
from datakiln.results import RunResult
from datakiln.wording import counted


def announce_data(data: GenerativeData, console: Console) -> None:
    """Where the data is from, loudly if it is a stand-in, and what the columns of a table were found to be."""
    notes: tuple[str, ...] = ()
    if isinstance(data, TableData):
        notes = data.read().notes
    else:
        data.prepare_data()
    source = data.provenance
    console.print(styled(f"data: {source.detail} ", (f"({source.kind}, sha256 {source.sha256[:12]})", "dim")))
    for note in notes:
        told = styled(("note:", "yellow"), f" {note}")
        console.print(Panel(styled(note), style="bold yellow") if source.is_stand_in else told)
    if isinstance(data, TableData):
        raw = data.read()
        title = f"{counted(raw.rows, 'row')}, {counted(len(data.schema.fields), 'column')}"
        table = Table(title=title, title_justify="left")
        for head in ("column", "type", "missing", "distinct", "example", "why"):
            table.add_column(head, overflow="fold")
        for row in describe(data.schema, raw.frame, raw.facts):
            table.add_row(*(str(cell) for cell in row))
        console.print(table)


def announce_result(result: RunResult, report: Path, console: Console) -> None:
    """The main figures and where the report is."""
    from datakiln.reports.terminal import lacking, terminal_table

    console.print(terminal_table(result))
    if told := lacking(result):
        console.print(told, style="yellow", soft_wrap=True)
    console.print(f"report: {report}", soft_wrap=True)
