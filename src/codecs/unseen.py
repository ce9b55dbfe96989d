"""Cells that no row of the fitted kind could have: categories never seen in training, numbers far outside its range."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from src.codecs.choice import ChoiceColumn
from src.codecs.column import ColumnCodec
from src.codecs.number import NumberColumn
from src.codecs.values import to_numbers

FAR = 0.1  # of the training range: new rows often reach a little beyond the old ones, seldom as far as that


def unseen_cells(columns: Sequence[ColumnCodec], frame: pd.DataFrame) -> pd.DataFrame:
    """Which cells are impossible, one boolean column for each modelled column of the frame; missing cells never are.

    Arguments:
        columns: Fitted.
        frame: Rows in user units, with some of the columns.
    """
    found = {c.field.name: _unseen(c, frame[c.field.name]) for c in columns if c.field.name in frame}
    return pd.DataFrame(found, index=frame.index, dtype=bool)


def _unseen(column: ColumnCodec, series: pd.Series) -> np.ndarray:
    there = series.notna().to_numpy()
    if isinstance(column, ChoiceColumn):
        return there & (column.codes(series) < 0)
    if not isinstance(column, NumberColumn) or column.limits is None:
        return np.zeros(len(series), dtype=bool)
    low, high = column.limits
    margin, values = FAR * (high - low), to_numbers(series, column.field)
    return there & ~((values >= low - margin) & (values <= high + margin))
