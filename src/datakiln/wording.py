"""How numbers, times and what they count are written where people read them."""

from __future__ import annotations

from datetime import datetime


def with_article(noun: str) -> str:
    """A noun after "a" or "an"."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def counted(n: int, one: str, several: str | None = None) -> str:
    """A number and its noun: "1 row", "2 rows"; `several` where that takes more than an s."""
    return f"{n} {one}" if n == 1 else f"{n} {several or one + 's'}"


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


def brief(value: float) -> str:
    """A figure without the zeros at its end."""
    text = number(value)
    return text.rstrip("0").rstrip(".") if "." in text and "e" not in text else text


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
