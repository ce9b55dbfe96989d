"""What rows asked for under a condition are worth: whether they meet it, and whether the rest goes with it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from datakiln.metrics.base import MetricError
from datakiln.metrics.tables.columns import Coded, Tables, encode
from datakiln.metrics.tables.fidelity import shape_scores
from datakiln.schema import Schema

OWN = 0.9  # share of the rows of either condition of two, below which the other one adds something
COMMON = 5  # categories of a column that may be asked for, the most frequent ones
UPPER = 2 / 3  # quantile of a number above which rows are asked for
RAREST, COMMONEST = 0.02, 0.6  # shares of the training rows between which a condition tells something
SEEN = 2000  # rows by which conditions are chosen


def rest_error(t: Tables, *columns: str) -> float:
    """Mean distance of all columns but some between the first and the last table: 1 less `fidelity/shape`.

    Kolmogorov-Smirnov of numbers and total variation of categories; a column without a value in the last table counts
    as 1, one without a value in the first is left out.

    Arguments:
        t: Real rows that meet conditions on the columns, and others in their place.
        *columns: Those that were asked for, which say nothing.

    Raises:
        MetricError: No other column has a value.
    """
    scores = {name: score for name, score in shape_scores(t).items() if name not in columns}
    known = [(~np.isnan(t.train.numbers)).any(axis=0), (t.train.codes >= 0).any(axis=0)]
    there = dict(zip((*t.numeric, *t.choices), np.concatenate(known).tolist(), strict=True))
    errors = [1.0 if math.isnan(score) else 1.0 - score for name, score in scores.items() if there[name]]
    if not errors:
        raise MetricError(f"no column but {', '.join(columns)} has a value")
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


def pairs_to_ask(
    schema: Schema, train: pd.DataFrame, met: Mapping[str, NDArray[np.bool_]], seed: int
) -> list[tuple[str, str]]:
    """Columns whose conditions are asked for together: first those whose rows differ most from all in the others.

    Left out are pairs that hardly any row or nearly all meet, and those of which one follows from the other.

    Arguments:
        schema: Of the table.
        train: Training rows.
        met: Which of them meet the condition on a column, by column.
        seed: Of the rows that are looked at.
    """
    at = np.random.default_rng([seed, 35]).permutation(len(train))[:SEEN]
    t, order = encode(schema, (train.take(at),)), []
    if len(t.numeric) + len(t.choices) < 3:
        return []
    for one, other in itertools.combinations(met, 2):
        first, second = met[one][at], met[other][at]
        both = first & second
        if not RAREST <= both.mean() <= COMMONEST or both.sum() > OWN * min(first.sum(), second.sum()):
            continue
        pair = Tables(t.numeric, t.choices, t.categories, t.known, (t.train, t.train.take(np.flatnonzero(both))))
        order.append((-rest_error(pair, one, other), (one, other)))
    return [names for _, names in sorted(order)]


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
