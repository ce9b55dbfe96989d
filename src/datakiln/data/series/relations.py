"""Relations of a series: between the columns of a step, between static ones, and what follows from the time alone."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd

from datakiln.codecs.series.series import Relations, Roles
from datakiln.codecs.tables.relations.expressions import column, worked_out
from datakiln.codecs.tables.relations.finding import find_calendar
from datakiln.codecs.tables.relations.relation import Relation
from datakiln.codecs.tables.values import to_numbers
from datakiln.data.tables.relation_texts import columns_named
from datakiln.data.tables.relations import chosen_relations
from datakiln.errors import UserError
from datakiln.schema import Schema

STEADY = 0.05  # more of the steps that a column stays in than its distance from another does: then that is not learnt


def chosen_of_series(
    option: str | Sequence[str],
    frame: pd.DataFrame,
    group: np.ndarray,
    schema: Schema,
    roles: Roles,
    stay: Collection[str] = (),
) -> Relations:
    """The relations that a codec is to keep.

    Arguments:
        option: See `chosen_relations`.
        frame: Training rows, those of one sequence together and in order.
        group: Sequence of each row.
        schema: Their columns.
        roles: What they are for.
        stay: Columns of declared constraints, which are rather not computed, and never from the time.

    Raises:
        UserError: A declared one does not hold, or goes across static columns, those of a step and the time.
    """
    taken = {roles.time, roles.entity, *roles.static}
    own = tuple(field for field in schema.fields if field.name not in taken)
    options: dict[str, str | list[str]] = dict.fromkeys(("static", "calendar", "steps"), "none")
    if isinstance(option, str):
        options = dict.fromkeys(options, option)
    else:
        options = {part: [text for text in option if text == "auto"] for part in options}
        for text in option:
            if text != "auto":
                options[_part(text, roles)].append(text)  # type: ignore[union-attr]
    calendar = _calendar(options["calendar"], frame, schema, [field.name for field in own], roles.time)
    targets = {relation.target for relation in calendar}
    steps = chosen_relations(options["steps"], frame, Schema(own), {*stay, *targets})
    steps = [r for r in steps if r.text or _holds_in_runs(r, frame, group, Schema(own))]
    held = set(stay)
    for relation in steps * len(steps):  # also by way of others
        held |= set(relation.columns) if held & set(relation.columns) else set()
    for relation in calendar:
        if relation.text and relation.target in held:
            told = f"data.constraints hold {relation.target} in each step, which is drawn before its time is known"
            raise UserError(f"data.relations: {relation.text!r}: {told}; leave one of them out")
    calendar = [relation for relation in calendar if relation.target not in held]
    targets = {relation.target for relation in calendar}
    steps = [kept for r in steps for kept in _where_steady(r, frame, group, schema)]
    steps = [r for r in steps if r.target not in targets and not (r.mode == "checked" and targets & set(r.columns))]
    label = schema.label if schema.label in roles.static else None
    first = frame[np.r_[True, group[1:] != group[:-1]]].reset_index(drop=True)
    whole = Schema(tuple(field for field in schema.fields if field.name in roles.static), label)
    static = chosen_relations(options["static"], first, whole, stay)
    # no sequence is drawn again, and putting an order right would move what a condition asked for
    return Relations(steps, [r for r in static if r.mode != "checked" or r.text], calendar)


def _holds_in_runs(relation: Relation, frame: pd.DataFrame, group: np.ndarray, schema: Schema) -> bool:
    """Whether it is found, too, where steps in which none of its columns changes count once.

    The age of a person stands in each step and is one piece of evidence.
    """
    names = list(relation.columns)
    cells = frame[names].reset_index(drop=True)
    before = cells.shift()
    is_new = ((cells != before) & ~(cells.isna() & before.isna())).any(axis=1).to_numpy()
    is_new = is_new | np.r_[True, group[1:] != group[:-1]]
    if 2 * is_new.sum() > len(cells):
        return True
    fields = tuple(field for field in schema.fields if field.name in names)
    found = chosen_relations("auto", cells[is_new].reset_index(drop=True), Schema(fields), ())
    return any(other.target == relation.target for other in found)


def _where_steady(relation: Relation, frame: pd.DataFrame, group: np.ndarray, schema: Schema) -> list[Relation]:
    """An order whose distance is learnt, or, where that would lose how often the column stays as it was, orders alone.

    A meter is read too often: it repeats what it said, its distance from another does not.
    """
    if (
        relation.text
        or relation.mode != "shifted"
        or relation.form != "order"
        or schema[relation.target].type == "datetime"
    ):
        return [relation]
    cells = {name: to_numbers(frame[name], schema[name]) for name in relation.columns}
    target = cells[relation.target]
    stays = [_share_of_same(values, group) for values in (target, target - worked_out(relation.tree, cells))]
    if stays[0] < stays[1] + STEADY:
        return [relation]
    pairs = [(relation.target, other) if relation.below else (other, relation.target) for other in relation.sources]
    return [Relation("order", high, column(low), "checked", 1.0, relation.tests) for low, high in pairs]


def _share_of_same(values: np.ndarray, group: np.ndarray) -> float:
    """Share of the steps, behind the first of a sequence, in which a number is what it was."""
    inside = group[1:] == group[:-1]
    same = np.isclose(values[1:], values[:-1], rtol=1e-9, atol=1e-12)
    return float(same[inside].mean()) if inside.any() else 0.0


def _part(text: str, roles: Roles) -> str:
    """Which columns a declared relation is between."""
    named = set(columns_named(text))
    if roles.time in named:
        return "calendar"
    if named & set(roles.static) and named - set(roles.static):
        one, other = sorted(named & set(roles.static))[0], sorted(named - set(roles.static))[0]
        told = f"{one} is static and {other} is not"
        raise UserError(f"data.relations: {text!r}: {told}; a relation of a series is among either, leave it out")
    return "static" if named <= set(roles.static) else "steps"


def _calendar(
    option: str | Sequence[str], frame: pd.DataFrame, schema: Schema, targets: Sequence[str], time: str | None
) -> list[Relation]:
    """Columns of a step that are computed from its time."""
    if time is None or option == "none":
        return []
    declared: list[Relation] = []
    if not isinstance(option, str):
        fields = Schema(tuple(field for field in schema.fields if field.name in (time, *targets)))
        declared = chosen_relations([text for text in option if text != "auto"], frame, fields)
        for relation in declared:
            if relation.sources != (time,) or relation.mode not in ("computed", "kept"):
                told = f"of the time, {time}, a series keeps only what follows from it alone"
                raise UserError(f"data.relations: {relation.text!r}: {told}; leave it out")
    if schema[time].type != "datetime" or "auto" not in option:
        return declared
    known = {relation.target for relation in declared}
    return [*declared, *find_calendar(frame, schema, time, [name for name in targets if name not in known])]
