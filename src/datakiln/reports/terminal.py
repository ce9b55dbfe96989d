"""The figures of one run, and the comparison of many, for a terminal of any width, a pipe, or a log.

No word is broken: names are shortened to what tells them apart, and columns are left out where there is no room.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from datakiln.console import styled
from datakiln.reports.bars import bar_of
from datakiln.reports.groups import REFERENCES, Comparison, spread_text
from datakiln.reports.meanings import short_names
from datakiln.reports.verdict import (
    DECIDES_NOTHING,
    Claim,
    Tone,
    Topic,
    difference,
    judged,
    key_figures,
    mood,
    standing_word,
)
from datakiln.results import RunResult, Score, headlines
from datakiln.wording import ARROWS, brief, counted, number

COLOURS: dict[Tone, str] = {"good": "green", "fair": "yellow", "bad": "red", "unknown": "yellow"}
MARKS: dict[Tone, str] = {"good": "+", "fair": "~", "bad": "!", "unknown": "?"}
SHORT_WORDS = {"worse": "worse", "same": "as real", "better": "better"}
MOST_FIGURES: dict[Topic, int] = {"faithful": 5, "useful": 2, "safe": 3}
ROOMY, WIDE = 72, 100  # characters from which on a column of floors and one of bars have room
NAMED = 2  # figures of one reason that are named; more are counted


@dataclass(frozen=True)
class Summary:
    """What a run came to: the verdict with its sentences, then the key figures between floor and real data.

    Arguments:
        result: Its figures.
    """

    result: RunResult

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:  # noqa: ANN401 (Rich's interface)
        """Its lines, as wide as there is room."""
        yield from self.sentences()
        yield figure_table(self.result, options.max_width)

    def sentences(self) -> Iterator[Text | Padding]:
        """What it is about, the verdict, and a sentence for each claim."""
        result, verdict = self.result, judged(self.result)
        made = f"{result.model} on {result.data}, seed {result.seed}"
        yield styled((made, "dim"), (" (stand-in data)" if result.stand_in else "", "bold yellow"))
        yield styled((f"{verdict.subject}: {verdict.headline}", f"bold {COLOURS[verdict.tone]}"))
        for claim in verdict.claims:
            yield _sentence(claim)


def terminal_table(result: RunResult) -> Summary:
    """What a run came to, for a terminal: see `Summary`."""
    return Summary(result)


def figure_table(result: RunResult, width: int) -> Table:
    """The key figures of a run in at most so many characters."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("figure", overflow="ellipsis", no_wrap=True)
    for head in ("synthetic", "real data", *(["floor"] if width >= ROOMY else [])):
        table.add_column(head, justify="right", no_wrap=True)
    if width >= WIDE:
        table.add_column("floor to real", no_wrap=True)
    table.add_column("", no_wrap=True)
    scores = _shown(result)
    names = _names(scores, width)
    for score in scores:
        colour = _colour(score)
        name = styled(names[score.name], (f"\N{NO-BREAK SPACE}{ARROWS[score.better]}".rstrip(), "dim"))
        cells = [name, styled((number(score.value), colour)), styled(_real(score))]
        cells += [styled(number(score.floor))] if width >= ROOMY else []
        cells += [_meter(score, colour)] if width >= WIDE else []
        table.add_row(*cells, styled((_word(score), colour)))
    return table


def lacking(result: RunResult) -> str:
    """One line for each reason that figures could not be computed for, and how many they are; "" if there are none."""
    by_reason: dict[str, list[str]] = {}
    for score in result.figures:
        if score.value is None:
            why = score.why.removeprefix("not computed: ") or "no reason is known"
            by_reason.setdefault(why, []).append(score.name)
    short = short_names(name for names in by_reason.values() for name in names)
    return "\n".join(
        f"not computed: {', '.join(short[n] for n in names) if len(names) <= NAMED else counted(len(names), 'figure')}"
        f", {why}"
        for why, names in by_reason.items()
    )


def survey_table(rows: Sequence[Sequence[str]]) -> Table:
    """A head and rows of words; see `datakiln.reports.survey.page.rows_of`."""
    table = Table(title=styled("scores of 1 to 10 over seeds, lowest to highest, beside a survey's opinions"),
                  title_justify="left", show_lines=True)  # fmt: skip
    for head in rows[0]:
        table.add_column(styled(head), overflow="fold")
    for row in rows[1:]:
        table.add_row(*(styled(cell) for cell in row))
    return table


def comparison_table(comparison: Comparison, width: int | None = None) -> Table:
    """The groups, best first within each data set, with the figures to show.

    Arguments:
        comparison: The groups.
        width: Characters to fit into; figures that have no room are left out and counted. None for all of them.
    """
    columns = _fitting(comparison, width)
    short = short_names(comparison.all_figures)
    ranked = f", best first by {short.get(comparison.objective, comparison.objective)}" if comparison.objective else ""
    title = f"median ± standard deviation over seeds{ranked}" + (f"; {told}" if (told := comparison.caveat) else "")
    table = Table(title=styled(title), title_justify="left")
    for name in comparison.keys:
        table.add_column(styled(name.replace(".", ".\n")), overflow="fold")
    table.add_column("seeds", justify="right")
    for name in columns:
        arrow = (f" {ARROWS[comparison.better.get(name, 'none')]}", "dim")
        table.add_column(styled(short[name].replace("/", "/\n"), arrow), justify="right")  # keeps columns narrow
    for data, groups in comparison.by_data.items():
        table.add_section()
        for group in groups:
            cells = [spread_text(group.figures.get(name), len(group.runs)) for name in columns]
            best = [comparison.is_best(group, name) for name in columns]
            styles = ["bold green" if is_best else "" for is_best in best]
            marked = [styled(pair) for pair in zip(cells, styles, strict=True)]
            table.add_row(*(styled(value) for value in group.key.values()), str(len(group.runs)), *marked)
        for i, label in enumerate(REFERENCES):
            of_side = [comparison.references(data, name)[i] for name in columns]
            if any(found is not None for found in of_side):
                cells = ["" if found is None else number(found.median) for found in of_side]
                table.add_row(label, *[""] * len(comparison.keys), *cells, style="dim")
    if left_out := len(comparison.columns) - len(columns):
        table.caption = styled(f"{counted(left_out, 'more figure')} in comparison.html")
        table.caption_justify = "left"
    return table


def _fitting(comparison: Comparison, width: int | None) -> list[str]:
    """The first figures that have room beside the keys, at least one."""
    groups, short = comparison.groups, short_names(comparison.all_figures)
    room = sum(
        max(map(len, [*name.split("."), *(g.key[name] for g in groups)]), default=0) + 4 for name in comparison.keys
    )
    room += len("seeds") + 4
    chosen: list[str] = []
    for name in comparison.columns:
        cells = [spread_text(group.figures.get(name), len(group.runs)) for group in groups]
        room += max(map(len, [*(f"{part}/" for part in short[name].split("/")), *cells])) + 3
        if width is not None and room > width and chosen:
            break
        chosen.append(name)
    return chosen


def _sentence(claim: Claim) -> Padding:
    mark = styled((f"{MARKS[claim.tone]} ", f"bold {COLOURS[claim.tone]}"))
    table = Table.grid(padding=0)
    table.add_column(no_wrap=True)
    table.add_column()
    table.add_row(mark, styled(claim.sentence))
    return Padding(table, (0, 0, 0, 1), expand=False)


def _shown(result: RunResult) -> list[Score]:
    """Some key figures of each claim, those that are worse than real data first in line, and the objective."""
    chosen: list[Score] = []
    for topic, most in MOST_FIGURES.items():
        chosen += sorted(key_figures(result, topic), key=lambda score: difference(score) != "worse")[:most]
    if not chosen:
        chosen = [score for score in headlines(result.figures) if score.value is not None]
    objective = result.objective.name if result.objective is not None else ""
    chosen += [score for score in result.figures if score.name in (objective, f"best/{objective}")][:1]
    shown = {id(score) for score in chosen}
    return [score for score in result.figures if id(score) in shown]


def _names(scores: Sequence[Score], width: int) -> dict[str, str]:
    """Short names; where there is little room, without their group, unless two would be the same."""
    short = short_names(score.name for score in scores)
    last = [name.rpartition("/")[2] for name in short.values()]
    if width >= ROOMY:
        return short
    return {full: end if last.count(end) == 1 else short[full] for full, end in zip(short, last, strict=True)}


def _real(score: Score) -> str:
    if score.ceiling_range is not None:
        low, high = (brief(end) for end in (min(score.ceiling_range), max(score.ceiling_range)))
        return low if low == high else f"{low} to {high}" if "−" in low + high else f"{low}–{high}"
    return number(score.ceiling) + (f" (n{score.other_ceiling_n})" if score.other_ceiling_n else "")


def _word(score: Score) -> str:
    differs = difference(score)
    if mood(score) == "nothing":
        return "undecided" if standing_word(score) == DECIDES_NOTHING else "farther"
    return SHORT_WORDS[differs] if differs is not None else ""


def _colour(score: Score) -> str:
    differs, at = difference(score), score.standing
    if differs is not None:
        return {"worse": "red", "nothing": "default"}.get(mood(score), "green")
    return "default" if at is None else "green" if at >= 0.9 else "yellow" if at >= 0.5 else "red"


def _meter(score: Score, colour: str, width: int = 10) -> Text:
    """A bar of a figure's standing."""
    bar = bar_of(score)
    if bar is None:
        return styled("")
    if bar.beyond:
        return styled(("below the floor" if bar.beyond == "below" else "beyond", colour))
    full = round(bar.at * width / 100)
    return styled(("━" * full, colour), ("─" * (width - full), "dim"), f" {bar.standing:.0%}")
