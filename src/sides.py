"""Which sides of a picture convolutional nets reach by doubling; without torch, so that a wrong one is told at once."""

from __future__ import annotations

from src.errors import UserError


def doublings(side: int) -> tuple[int, int]:
    """(base, k) with side = base * 2^k and a base of 4 to 7; raises `UserError` for a side that has none."""
    base, count = side, 0
    while base % 2 == 0 and base > 7:
        base, count = base // 2, count + 1
    if not 4 <= base <= 7 or count < 1:
        raise UserError(f"these nets do not fit pictures of {side} px; set data.side to 8, 16, 28, 32, 64 or 128")
    return base, count
