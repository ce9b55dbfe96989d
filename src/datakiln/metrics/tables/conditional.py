"""What rows asked for under a condition are worth: whether they meet it, and whether the rest goes with it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from datakiln.metrics.base import MetricError
from datakiln.metrics.tables.columns import Coded, Tables, encode
from datakiln.metrics.tables.fidelity import shape_scores
from datakiln.schema import Schema

COMMON = 5  # categories of a column that may be asked for, the most frequent ones
UPPER = 2 / 3  # quantile of a number above which rows are asked for
RAREST, COMMONEST = 0.02, 0.6  # shares of the training rows between which a condition tells something
SEEN = 2000  # rows by which conditions are chosen


def rest_error(t: Tables, column: str) -> float:
    """Mean distance of all columns but one between the first and the last table: 1 less `fidelity/shape`.

    Kolmogorov-Smirnov of numbers and total variation of categories; a column without a value in the last table counts
    as 1, one without a value in the first is left out.

    Arguments:
        t: Real rows that meet a condition on the column, and others in their place.
        column: The column that was asked for, which says nothing.

    Raises:
        MetricError: No other column has a value.
    """
    scores = {name: score for name, score in shape_scores(t).items() if name != column}
    known = [(~np.isnan(t.train.numbers)).any(axis=0), (t.train.codes >= 0).any(axis=0)]
    there = dict(zip((*t.numeric, *t.choices), np.concatenate(known).tolist(), strict=True))
    errors = [1.0 if math.isnan(score) else 1.0 - score for name, score in scores.items() if there[name]]
    if not errors:
        raise MetricError(f"no column but {column} has a value")
    return float(np.mean(errors))


def conditions_to_ask(schema: Schema, train: pd.DataFrame, most: int, seed: int) -> list[tuple[str, str]]:
    """Columns and conditions on them, as `condition.column=...` takes them: the label's first, then what matters most.

    Of each column the common category, or the upper third of its numbers, whose rows differ most from all rows in
    their other columns; of the columns those where that is most. Training rows alone decide, so that every model of a
    table is asked the same.

    Arguments:
        schema: Of the table.
        train: Training rows.
        most: How many conditions.
        seed: Of the rows that are looked at.
    """
    rows = train.sample(min(SEEN, len(train)), random_state=seed).reset_index(drop=True)
    t = encode(schema, (rows,))
    found: dict[str, tuple[float, str]] = {}
    for column, value, met in _candidates(schema, rows, t.train):
        if not RAREST <= met.mean() <= COMMONEST or len(t.numeric) + len(t.choices) < 2:
            continue
        pair = Tables(t.numeric, t.choices, t.categories, t.known, (t.train, t.train.take(np.flatnonzero(met))))
        found[column] = max(found.get(column, (-1.0, "")), (rest_error(pair, column), value))
    order = sorted(found, key=lambda name: (name != schema.label, -found[name][0]))
    return [(name, found[name][1]) for name in order[:most]]


def _candidates(schema: Schema, rows: pd.DataFrame, part: Coded) -> Sequence[tuple[str, str, NDArray[np.bool_]]]:
    """Columns, conditions on them, and which rows meet each."""
    found: list[tuple[str, str, NDArray[np.bool_]]] = []
    for i, name in enumerate(schema.choices):
        cells = rows[name].astype(str).to_numpy()
        for code in range(min(int(part.codes[:, i].max(initial=-1)) + 1, COMMON)):
            met = part.codes[:, i] == code
            found.append((name, str(cells[met][0]), met))
    for i, name in enumerate(schema.numeric):
        values = part.numbers[:, i]
        if schema[name].type == "datetime" or np.isnan(values).all():
            continue
        limit = float(np.nanquantile(values, UPPER))
        found.append((name, f">{limit:.12g}", values > limit))
    return found
