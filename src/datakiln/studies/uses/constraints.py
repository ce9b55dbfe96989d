"""Whether free synthetic rows keep what all training rows keep: declared constraints, and relations of columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from datakiln.codecs.tables.relations.relation import Relation
from datakiln.constraints import Rules
from datakiln.metrics.tables.columns import encode
from datakiln.metrics.tables.relations import FEW, find
from datakiln.results import Score
from datakiln.schema import Schema
from datakiln.studies.uses.base import between, not_computed

KEPT = "control/constraints"
ALL = 0.995  # share of the training rows that must keep a rule for it to count as one of the table
JUDGED, DEALS = 5000, 8  # rows at most, and draws of rows for floor and ceiling

Kept = Callable[[pd.DataFrame], NDArray[np.bool_]]


def constraint_score(
    schema: Schema,
    rules: Rules,
    relations: Sequence[Relation],
    tables: tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame],
    seed: int,
) -> Score:
    """Share of synthetic rows that keep every rule of the table that practically all training rows keep.

    Rules are the declared constraints, the relations that the codec found, and those that `fidelity/relations` goes by,
    which no model is told. The floor are training rows with shuffled columns, the ceiling held-out ones.

    Arguments:
        schema: Of the table.
        rules: Declared constraints.
        relations: Of the codec.
        tables: Training, held-out and synthetic rows.
        seed: Of the rows that are looked at.
    """
    train, test, made = (part.sample(min(JUDGED, len(part)), random_state=seed) for part in tables)
    rng = np.random.default_rng([seed, 36])
    shuffled = [_shuffled(train.head(len(made)), rng) for _ in range(DEALS)]
    parts = [part.reset_index(drop=True) for part in (train, test, made, *shuffled)]
    found = {name: [holds(part) for part in parts] for name, holds in _declared(schema, rules, relations).items()}
    found |= _seen(schema, parts, seed)
    found = {name: kept for name, kept in found.items() if kept[0].mean() >= ALL}
    if not found:
        return not_computed(KEPT, f"no constraint or relation holds in {ALL:.1%} of the training rows")
    _, real, own, *floors = (np.logical_and.reduce(kept) for kept in zip(*found.values(), strict=True))
    plain = [float(part.mean()) for part in floors]
    ceilings = [float(real[rng.integers(len(real), size=len(own))].mean()) for _ in range(DEALS)]
    if max(plain) >= min(ceilings):
        return not_computed(KEPT, "rows with shuffled columns keep all constraints and relations as often as real ones")
    detail = {name: float(kept[2].mean()) for name, kept in found.items()}
    note = f"all of {len(found)} constraints and relations that practically every training row keeps; the floor are "
    note += "training rows with shuffled columns; those that a codec computes are kept by whatever model"
    return between(KEPT, float(own.mean()), "higher", plain, ceilings, n=len(own), note=note, detail=detail)


def _shuffled(frame: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    return pd.DataFrame({name: frame[name].array.take(rng.permutation(len(frame))) for name in frame})


def _declared(schema: Schema, rules: Rules, relations: Sequence[Relation]) -> Mapping[str, Kept]:
    """Tests of rows by the name of the constraint, or of the relation of the codec."""
    found: dict[str, Kept] = {str(one): lambda rows, one=one: ~one.breaks(rows, schema) for one in relations}  # type: ignore[misc]
    return found | {str(one): lambda rows, one=one: one.holds(rows, schema) for one in rules.rowwise}  # type: ignore[misc]


def _seen(schema: Schema, parts: Sequence[pd.DataFrame], seed: int) -> dict[str, list[NDArray[np.bool_]]]:
    """By relation that is found in the first table, which rows of each keep it; those that lack a cell do."""
    if len(parts[0]) < FEW:
        return {}
    t = encode(schema, tuple(parts))
    quantities, relations = find(schema, t, seed)
    values = [quantities(part) for part in t.parts]
    return {one.name: [one.holds(part) != 0.0 for part in values] for one in relations}
