"""Hidden cells of real rows, and how far what fills them is from what they held."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from datakiln.metrics.base import MetricError
from datakiln.metrics.tables.columns import Coded, Floats, Ints, Tables
from datakiln.schema import Schema


def hidden_cells(schema: Schema, rows: pd.DataFrame, share: float, seed: int) -> pd.DataFrame:
    """Which known cells of numbers and categories are hidden, each with the same probability; bool, as the rows."""
    names = [*schema.numeric, *schema.choices]
    drawn = np.random.default_rng([seed, 31]).random((len(rows), len(names))) < share
    return pd.DataFrame(drawn, columns=names, index=rows.index) & rows[names].notna()


def filling_errors(t: Tables, hidden: NDArray[np.bool_], fillings: tuple[Coded, ...]) -> dict[str, float]:
    """By column the error of its hidden cells, over that of the training rows' median or most frequent category.

    Several fillings are drawn and what they say is put together, median of numbers and most frequent category: a draw
    from the right distribution is further from the truth than its middle is. 0 is the truth, 1 no better than the
    column alone. A cell that is left missing counts as 1, in the same units.

    Arguments:
        t: The training rows, then the rows as they are.
        hidden: Which cells were hidden, (n, columns), numbers before categories.
        fillings: The rows with these cells filled, at least one.

    Raises:
        MetricError: No hidden cell of a column that varies.
    """
    truth, found = t.parts[1], {}
    for i, name in enumerate(t.numeric):
        at = hidden[:, i]
        plain = float(np.nanmedian(t.train.numbers[:, i])) if at.any() else 0.0
        unit = float(np.abs(truth.numbers[at, i] - plain).mean()) if at.any() else 0.0
        if unit > 0:
            found[name] = _number_error(truth.numbers[at, i], [part.numbers[at, i] for part in fillings], unit)
    for i, name in enumerate(t.choices):
        at = hidden[:, len(t.numeric) + i]
        wrong = float((truth.codes[at, i] != 0).mean()) if at.any() else 0.0  # code 0 is the most frequent in training
        if wrong > 0:
            guess = _mode(np.stack([part.codes[at, i] for part in fillings], axis=1))
            found[name] = float((guess != truth.codes[at, i]).mean()) / wrong
    if not found:
        raise MetricError("no cell of a column that varies was hidden")
    return found


def _number_error(truth: Floats, drawn: list[Floats], unit: float) -> float:
    stacked = np.stack(drawn, axis=1)
    lost = np.isnan(stacked).all(axis=1)
    middle = np.zeros(len(truth))
    middle[~lost] = np.nanmedian(stacked[~lost], axis=1)
    return float(np.where(lost, 1.0, np.abs(truth - middle) / unit).mean())


def _mode(drawn: Ints) -> Ints:
    """The most frequent code of each row, the smaller of a tie; -1, missing, only where all are."""
    return np.array([np.bincount(row[row >= 0]).argmax() if (row >= 0).any() else -1 for row in drawn], dtype=np.int64)
