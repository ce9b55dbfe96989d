"""Numbers with what they count."""

from __future__ import annotations


def with_article(noun: str) -> str:
    """A noun after "a" or "an"."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def counted(n: int, one: str, several: str | None = None) -> str:
    """A number and its noun: "1 row", "2 rows"; `several` where that takes more than an s."""
    return f"{n} {one}" if n == 1 else f"{n} {several or one + 's'}"
