"""Cases of a test that `make test` leaves to its first ones."""

from __future__ import annotations

from typing import Any

import pytest


def later(*cases: Any) -> list[Any]:
    """The cases, marked: dearer siblings of a case that stays."""
    each = [case if isinstance(case, tuple) else (case,) for case in cases]
    return [pytest.param(*values, marks=pytest.mark.journey) for values in each]
