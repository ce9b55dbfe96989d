"""Rules that hold between the columns of a row, declared or found in training rows, and how many rows break them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from datakiln.metrics.base import Figure, MetricError, metric, worst_first
from datakiln.metrics.series.sets import Floats, SeriesSets
from datakiln.metrics.tables.columns import encode
from datakiln.metrics.tables.relations import FEW, find
from datakiln.schema import Schema

HELD = 0.999  # share of the training rows in which a rule holds that was found
Holds = Callable[[pd.DataFrame], np.ndarray]  # which rows meet it, bool (n,)


@metric("series/rule_violations")
def rule_violations(data: SeriesSets) -> list[Figure]:
    """Share of the rows that break a rule, such as High >= Low, which is declared or holds in 99.9 % of training rows.

    In parts by rule; the floor is training rows whose columns are shuffled.

    Raises:
        MetricError: No rule is declared, and none found.
    """
    names, every = ((), {}) if data.rules is None else data.rules()
    if not names:
        raise MetricError("no rule is declared, and none was found to hold in training rows")
    broken = every[data.part]
    parts = dict(zip(names, broken.mean(axis=0).tolist(), strict=True))
    value = float(broken.any(axis=1).mean())
    return [Figure("series/rule_violations", value, "lower", detail=worst_first(parts, "lower"), n=len(broken))]


def broken_rules(
    frames: Mapping[str, pd.DataFrame], schema: Schema, declared: Mapping[str, Holds], seed: int
) -> tuple[tuple[str, ...], dict[str, Floats]]:
    """Names of the rules, and which rows break each of them, bool (N, rules), of every frame and of "naive" rows.

    Orders, equalities, sums, products and lines are looked for as `datakiln.metrics.tables.relations` does. A rule is
    not broken by a row that lacks one of its cells.

    Arguments:
        frames: "train" and others, in user units.
        schema: Of the columns that rules may be about.
        declared: What a person has said, by name.
        seed: Of the sample that rules are looked for in, and of the order of naive rows.
    """
    rng = np.random.default_rng([seed, 29])
    train = frames["train"]
    mixed = {name: train[name].iloc[rng.permutation(len(train))].reset_index(drop=True) for name in train}
    parts = {**frames, "naive": pd.DataFrame(mixed)}
    names = list(declared)
    columns = {name: [~holds(part) for holds in declared.values()] for name, part in parts.items()}
    if len(schema.numeric) > 1 and len(train) >= FEW:
        told = encode(schema, list(parts.values()))
        quantities, relations = find(schema, told, seed)
        values = {name: quantities(part) for name, part in zip(parts, told.parts, strict=True)}
        for relation in relations:
            if relation.name not in names and relation.share(values["train"]) >= HELD:
                names.append(relation.name)
                for name in parts:
                    columns[name].append(relation.holds(values[name]) == 0.0)
    return tuple(names), {name: _stacked(columns[name], len(part)) for name, part in parts.items()}


def _stacked(columns: list[np.ndarray], rows: int) -> Floats:
    return np.stack(columns, axis=1).astype(bool) if columns else np.zeros((rows, 0), dtype=bool)
