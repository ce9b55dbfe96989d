"""How numbers are written where people read them: in tables on a terminal and on pages."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from src.run_groups import Spread

ARROWS = {"higher": "↑", "lower": "↓", "none": ""}


def number(value: float | None) -> str:
    """A figure in about four digits, "–" for none."""
    if value is None:
        return "–"
    size = abs(value)
    if size == 0:
        return "0"
    if size < 5e-5 or size >= 1e7:
        return f"{value:.2e}".replace("-", "−")
    digits = 4 if size < 1 else 3 if size < 100 else 1 if size < 10_000 else 0
    return f"{value:,.{digits}f}".replace("-", "−")


def spread(found: Spread | None, runs: int) -> str:
    """Median ± standard deviation, and over how many of the runs where some lack the figure."""
    if found is None:
        return "–"
    text = number(found.median)
    if found.deviation is not None:
        hidden = 0 < found.deviation < 5e-5 <= abs(found.median)  # below the digits that the median shows
        text += " ± <0.0001" if hidden else f" ± {number(found.deviation)}"
    return text if found.n == runs else f"{text} ({found.n} of {runs})"


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 60:
        return f"{seconds:.{2 if seconds < 1 else 1}f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def moment(created: str) -> str:
    """An ISO 8601 time as a person writes it; other text as it is."""
    try:
        return datetime.fromisoformat(created).strftime("%Y-%m-%d %H:%M %Z").strip()
    except ValueError:
        return created
