"""A constraint that a person writes as a condition on a row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from src.constraints.base import Constraint
from src.constraints.formula import Formula
from src.schema import Schema


class Expression(Constraint):
    """A condition on a row in pandas' `eval` grammar: see `src.constraints.formula`.

    Arguments:
        text: Such as "age >= 18 or job == 'pupil'".
    """

    def __init__(self, text: str) -> None:
        """Raises `UserError` for anything but a condition on columns."""
        self.text = str(text)
        self.formula = Formula(self.text)
        self.columns = self.formula.columns

    def holds(self, frame: pd.DataFrame, schema: Schema) -> np.ndarray:
        """Where it is true; a comparison with a missing cell is not."""
        return self.formula.holds(frame, schema)

    def arguments(self) -> dict[str, Any]:
        """As given."""
        return {"text": self.text}

    def __str__(self) -> str:
        """Itself."""
        return self.text
