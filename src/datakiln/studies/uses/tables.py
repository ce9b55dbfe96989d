"""Uses of a model of tables: rows under conditions, cells filled, strange rows found; gains are in `gains`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from datakiln.codecs.tables.table import TableCodec
from datakiln.data.tables.tables import TableData
from datakiln.errors import UserError
from datakiln.metrics.base import MetricError
from datakiln.metrics.tables.columns import Coded, Tables, encode
from datakiln.metrics.tables.conditional import conditions_to_ask, pairs_to_ask, rest_error
from datakiln.metrics.tables.fidelity import quick_fidelity
from datakiln.metrics.tables.filling import filling_errors, hidden_cells
from datakiln.metrics.tables.shuffling import auc, distances_to_train, with_shuffled_cells
from datakiln.results import Score
from datakiln.sampling.conditions import Conditions
from datakiln.sampling.filling import fill_frame
from datakiln.sampling.synthesizer import Synthesizer
from datakiln.schema import Schema
from datakiln.studies.uses.base import between, mean, not_computed, not_offered
from datakiln.studies.uses.constraints import KEPT, constraint_score
from datakiln.studies.uses.gains import balancing_score, gain_score

ASKED, JOINT = 4, 2  # conditions on one column, and on two at once
DRAWN, LEAST = 400, 20  # rows drawn for each, and rows below which nothing is told of the rest
DEALS = 8  # of real rows, for floors and ceilings
FILLED, SCORED, BESIDE = 300, 1000, 5000  # rows filled, scored, and training rows that they are compared with
HIDDEN, FILLINGS, SHUFFLED, SHUFFLES = 0.2, 5, 0.3, 5
WATCHED, WATCHED_ROWS = "watch/fidelity", 5000  # as many as sweep=survey watches: pairs of fewer rows are mostly chance
CONTROL = ("control/met", "control/rest_error")


@dataclass(frozen=True)
class Asked:
    """Rows drawn under one condition.

    Attributes:
        name: The condition in words.
        columns: What it is on.
        met: Share of the rows drawn at once that meet it.
        base: Shares of real training rows that do, of as many rows each.
        rows: Rows that meet it, told or found among others.
        train: Training rows that meet it.
        test: Held-out rows that meet it.
    """

    name: str
    columns: tuple[str, ...]
    met: float
    base: list[float]
    rows: pd.DataFrame
    train: pd.DataFrame
    test: pd.DataFrame


def table_uses(data: TableData, synthesizer: Synthesizer, synthetic: pd.DataFrame, seed: int) -> list[Score]:
    """See `uses_of`; a model that only transforms rows has none."""
    if not synthesizer.model.can_draw:
        return []
    assert isinstance(synthesizer.codec, TableCodec)
    schema, train, test = data.schema, data.real["train"], data.real["test"]
    if len(test) < LEAST:
        return [not_computed(name, f"{len(test)} held-out rows are too few") for name in (*CONTROL, KEPT)]
    return [
        *watched_score(schema, data.frames.get("val"), data.frames["train"], synthetic, seed),
        *control_scores(schema, train, asked_rows(synthesizer, schema, train, test, synthetic, seed), seed),
        constraint_score(schema, synthesizer.rules, synthesizer.codec.plan.relations, (train, test, synthetic), seed),
        filling_score(synthesizer, schema, train, test, seed),
        scoring_score(synthesizer, schema, train, test, seed),
        balancing_score(schema, train, test, made_of_class(synthesizer, synthetic, seed), seed),
        gain_score(schema, train, test, synthetic, seed),
    ]


def watched_score(
    schema: Schema, val: pd.DataFrame | None, train: pd.DataFrame, synthetic: pd.DataFrame, seed: int
) -> list[Score]:
    """What training has watched, again, between what shuffled and other real rows come to, of as many rows.

    The floor are training rows, each column in an order of its own.
    """
    if val is None or len(val) < LEAST:
        return [not_computed(WATCHED, "there are no validation rows")]

    def fidelity(rows: pd.DataFrame) -> float:
        return quick_fidelity(schema, val, rows)["fidelity"]

    rng, floors, ceilings = np.random.default_rng([seed, 35]), [], []
    for _ in range(DEALS):
        some = train.iloc[rng.permutation(len(train))[:WATCHED_ROWS]]
        mixed = pd.DataFrame({name: some[name].to_numpy()[rng.permutation(len(some))] for name in some})
        ceilings.append(fidelity(some))
        floors.append(fidelity(mixed.astype(some.dtypes)))
    note = f"mean of shape and trend of at most {WATCHED_ROWS:,} rows beside {len(val):,} validation rows"
    some = synthetic.head(WATCHED_ROWS)
    return [between(WATCHED, fidelity(some), "higher", floors, ceilings, n=len(some), note=note)]


def asked_rows(
    synthesizer: Synthesizer,
    schema: Schema,
    train: pd.DataFrame,
    test: pd.DataFrame,
    synthetic: pd.DataFrame,
    seed: int,
) -> list[Asked]:
    """The rows that a model gives for each condition that enough held-out rows meet, on one column and on two at once.

    Those of `conditions_to_ask`, and up to two of `pairs_to_ask` from them. Of the rows that are drawn at once the ones
    that meet it, told as far as the model can be; where these are few, rows of its free sample that do are added, which
    is what rejection gives a model that cannot be told.
    """
    codec = synthesizer.codec
    assert isinstance(codec, TableCodec)
    found: list[Asked] = []

    def ask(wanted: dict[str, str]) -> bool:
        """Whether it could be asked for."""
        try:
            conditions = Conditions(codec, wanted, synthesizer.rules)
        except UserError:  # constraints leave no such row, or blanks around a category's name cannot be asked for
            return False
        held = conditions.holds(train)
        real, unseen = train[held], test[conditions.holds(test)]
        if min(len(real), len(unseen)) < LEAST:
            return False
        i = len(found)
        drawn, met = synthesizer.tried(DRAWN, wanted, seed * (ASKED + JOINT) + i)
        rows = pd.concat([drawn[met], synthetic[conditions.holds(synthetic)]], ignore_index=True).head(DRAWN)
        rng = np.random.default_rng([seed, 33, i])
        base = [float(held[rng.integers(len(train), size=DRAWN)].mean()) for _ in range(DEALS)]
        found.append(Asked(str(conditions), tuple(wanted), float(met.mean()), base, rows, real, unseen))
        return True

    single = {column: value for column, value in conditions_to_ask(schema, train, ASKED, seed) if ask({column: value})}
    met = {name: Conditions(codec, {name: value}, synthesizer.rules).holds(train) for name, value in single.items()}
    joint = 0
    for names in pairs_to_ask(schema, train, met, seed):
        joint += ask({name: single[name] for name in names})
        if joint == JOINT:
            break
    return found


def control_scores(schema: Schema, train: pd.DataFrame, asked: list[Asked], seed: int) -> list[Score]:
    """How often what was asked is met at once, and how far the rest of such rows is from that of real ones.

    The floor of the first is the share of real rows that meet a condition nobody told; of the second, training rows
    drawn whatever they meet, and the ceiling other real rows that meet it, both as many as were judged. A condition of
    which a model gives fewer than 20 rows counts as its floor.
    """
    if not asked:
        told = f"no condition is met by {LEAST} held-out rows"
        return [not_computed(name, told) for name in CONTROL]
    met, joint = {one.name: one.met for one in asked}, sum(len(one.columns) > 1 for one in asked)
    bases = np.mean([one.base for one in asked], axis=0).tolist()
    note = "share of the rows drawn at once that meet a condition; the floor is that of real rows, whatever is asked"
    note += f"; {joint} of {len(asked)} are on two columns at once" if joint else ""
    n = DRAWN * len(asked)
    scores = [between(CONTROL[0], mean(list(met.values())), "higher", bases, [1.0], n=n, note=note, detail=met)]
    values, floors, ceilings = {}, [], []
    for i, one in enumerate(asked):
        own, plain, real = _rest(schema, train, one, np.random.default_rng([seed, 34, i]))
        values[one.name] = own
        floors.append(plain)
        ceilings.append(real)
    few = [one.name for one in asked if len(one.rows) < LEAST]
    note = "mean distance of the other columns from those of held-out rows that meet the condition"
    note += f"; hardly ever met, counted as the floor: {', '.join(few)}" if few else ""
    sides = (np.mean(side, axis=0).tolist() for side in (floors, ceilings))
    value = mean(list(values.values()))
    return [*scores, between(CONTROL[1], value, "lower", *sides, n=n, note=note, detail=values)]


def _rest(
    schema: Schema, train: pd.DataFrame, one: Asked, rng: np.random.Generator
) -> tuple[float, list[float], list[float]]:
    """The error of the rest of the rows, of training rows drawn whatever they meet, and of those that meet it."""
    some = train.take(rng.permutation(len(train))[:BESIDE])
    t = encode(schema, (one.test, one.train, some, one.rows))
    real, free, made = t.parts[1:]
    n = min(DRAWN, len(made)) if len(made) >= LEAST else min(DRAWN, len(real))

    def error(part: Coded) -> float:
        return rest_error(replace(t, parts=(t.train, part)), *one.columns)

    floors = [error(free.take(rng.integers(len(free), size=n))) for _ in range(DEALS)]
    ceilings = [error(real.take(rng.integers(len(real), size=n))) for _ in range(DEALS)]
    return (error(made.take(slice(0, n))) if len(made) >= LEAST else mean(floors)), floors, ceilings


def filling_score(
    synthesizer: Synthesizer, schema: Schema, train: pd.DataFrame, test: pd.DataFrame, seed: int
) -> Score:
    """The error of hidden cells of held-out rows in units of that of the column's median or most frequent category."""
    name = "uses/filling_error"
    if not synthesizer.model.can_fill:
        return not_offered(name, f"{type(synthesizer.model).__name__} cannot be told columns")
    return filled_by(lambda rows, draw: fill_frame(synthesizer, rows, draw), schema, train, test, seed)


def filled_by(
    fill: Callable[[pd.DataFrame, int], pd.DataFrame],
    schema: Schema,
    train: pd.DataFrame,
    test: pd.DataFrame,
    seed: int,
) -> Score:
    """The same of anything that fills rows, given a seed."""
    name = "uses/filling_error"
    rows = test.sample(min(FILLED, len(test)), random_state=seed).reset_index(drop=True)
    hidden = hidden_cells(schema, rows, HIDDEN, seed)
    gaps = rows.copy()
    for column in hidden:
        if hidden[column].any():
            gaps[column] = rows[column].astype(object).mask(hidden[column])
    filled = [fill(gaps, seed * FILLINGS + draw) for draw in range(FILLINGS)]
    t = encode(schema, (train, rows, *filled))
    try:
        errors = filling_errors(t, hidden.to_numpy(), t.parts[2:])
    except MetricError as error:
        return not_computed(name, str(error))
    note = f"hidden cells of {len(rows)} held-out rows; in units of the error of the column's median or commonest value"
    return between(name, mean(list(errors.values())), "lower", [1.0], high=None, n=len(rows), note=note, detail=errors)


def scoring_score(
    synthesizer: Synthesizer, schema: Schema, train: pd.DataFrame, test: pd.DataFrame, seed: int
) -> Score:
    """AUC by which likelihood tells rows with shuffled cells, beside the distance to the nearest training row."""
    name = "uses/scoring_auc"
    if synthesizer.model.likelihood == "none":
        return not_offered(name, f"{type(synthesizer.model).__name__} has no likelihood")
    return scored_by(lambda rows: -np.asarray(synthesizer.log_prob(rows), np.float64), schema, train, test, seed)


def scored_by(
    strangeness: Callable[[pd.DataFrame], np.ndarray[Any, np.dtype[np.float64]]],
    schema: Schema,
    train: pd.DataFrame,
    test: pd.DataFrame,
    seed: int,
) -> Score:
    """The same of any score of rows, higher for stranger ones."""
    rows = test.sample(min(SCORED, len(test)), random_state=seed).reset_index(drop=True)
    base = train.sample(min(BESIDE, len(train)), random_state=seed)
    names = [*schema.numeric, *schema.choices]
    strange = [with_shuffled_cells(rows, names, SHUFFLED, seed * SHUFFLES + i) for i in range(SHUFFLES)]
    t: Tables = encode(schema, (base, rows, *strange))
    plain, *far = distances_to_train(t)
    usual = strangeness(rows)
    values = [auc(usual, strangeness(part)) for part in strange]
    note = "held-out rows against the same with about a third of their cells from other rows; the floor is the "
    note += "distance to the nearest training row"
    floors = [auc(plain, part) for part in far]
    return between("uses/scoring_auc", mean(values), "higher", floors, n=len(rows), note=note, is_mean=True, own=values)


def made_of_class(
    synthesizer: Synthesizer, synthetic: pd.DataFrame, seed: int
) -> Callable[[str, Any, int], pd.DataFrame]:
    """A function from a label, one of its classes and n to about so many rows of it, by one draw and the sample."""

    def made(label: str, value: Any, n: int) -> pd.DataFrame:  # noqa: ANN401 (a category)
        drawn, met = synthesizer.tried(n, {label: str(value)}, seed)
        rows = pd.concat([drawn[met], synthetic[synthetic[label] == value]], ignore_index=True)
        return rows.head(n)

    return made
