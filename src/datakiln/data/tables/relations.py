"""Relations between the columns of a table: found in its training rows, declared by a person, or none."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd

from datakiln.codecs.tables.relations.calendar import BEHIND, PARTS
from datakiln.codecs.tables.relations.cells import is_clock, is_date, is_reckoned
from datakiln.codecs.tables.relations.clocks import clock_distance, clock_later, clock_passed
from datakiln.codecs.tables.relations.expressions import EXTREMES, Tree, column, columns_of
from datakiln.codecs.tables.relations.finding import find_relations, in_order
from datakiln.codecs.tables.relations.functions import declared_function, may_pair
from datakiln.codecs.tables.relations.orders import shifted
from datakiln.codecs.tables.relations.relation import Relation
from datakiln.codecs.tables.relations.search import PARTLY, TESTS, Search
from datakiln.data.tables.relation_texts import WAYS, Text, read
from datakiln.errors import UserError, near
from datakiln.schema import Schema


def check_relations(option: object) -> None:
    """Raises `UserError` for a value of `data.relations` that no table could follow."""
    if option in ("auto", "none"):
        return
    if not isinstance(option, list | tuple) or not all(isinstance(text, str) for text in option):
        raise UserError(f"data.relations={option}: {WAYS}")
    for text in option:
        if text != "auto":
            read(text)


def chosen_relations(
    option: str | Sequence[str], frame: pd.DataFrame, schema: Schema, stay: Collection[str] = ()
) -> list[Relation]:
    """The relations that a codec is to keep, each after those that compute its sources.

    Arguments:
        option: "auto" to find them; "none"; or a list of declared ones, in which "auto" stands for those found beside.
        frame: Training rows.
        schema: Their columns.
        stay: Columns that are rather not computed from others.

    Raises:
        UserError: A declared one names no column, or does not hold in the training rows.
    """
    if option == "none":
        return []
    if option == "auto":
        return find_relations(frame, schema, stay)
    declared = [_declared(text, frame, schema) for text in option if text != "auto"]
    targets: dict[str, Relation] = {}
    for relation in declared:
        if relation.mode == "checked":
            continue
        if relation.target in targets:
            raise UserError(f"data.relations: {relation.text!r} computes {relation.target!r} a second time; keep one")
        targets[relation.target] = relation
    _check_circles(targets)
    found = find_relations(frame, schema, stay, declared=list(targets.values())) if "auto" in option else declared
    orders = [relation for relation in declared if relation.mode == "checked" and relation not in found]
    return in_order([*found, *orders])


def _check_circles(targets: dict[str, Relation]) -> None:
    def visit(name: str, above: tuple[str, ...]) -> None:
        if name in above:
            raise UserError(f"data.relations: {targets[name].text!r} goes round in a circle; leave one of them out")
        for source in targets[name].sources if name in targets else ():
            visit(source, (*above, name))

    for name in targets:
        visit(name, ())


def _declared(text: str, frame: pd.DataFrame, schema: Schema) -> Relation:
    """The relation that a text declares, checked against the training rows."""
    said = read(text)
    if said.form == "function":
        return _declared_function(said, text, frame, schema)
    for name in (said.target, *columns_of(said.tree)):
        _check_column(text, name, schema)
        if not is_reckoned(schema[name]):
            raise UserError(f"data.relations: {text!r} reckons with {name}, which is of type {schema[name].type}")
        if frame[name].isna().all():
            raise UserError(f"data.relations: {text!r} cannot be checked: no training row has a {name}")
    _check_parts(said.tree, text, schema)
    if said.target in columns_of(said.tree):
        raise UserError(f"data.relations: {text!r} computes {said.target} from itself")
    search = Search(frame, schema)
    if said.form != "order" and search.is_class(said.target):
        raise UserError(f"data.relations: {text!r} computes the target; solve it for another column")
    if said.form in ("later", "passed", "distance"):
        return _declared_clock(said, text, frame, search)
    if said.form == "order":
        relation = Relation("order", said.target, said.tree, "checked", strict=said.strict, below=said.below, text=text)
    else:
        mode = search.mode(said.target, columns_of(said.tree))
        relation = Relation("formula", said.target, said.tree, mode, text=text)
    share, tests = _share(relation, frame, schema)
    if share < (1.0 if said.form == "order" else PARTLY):
        least = "every one" if said.form == "order" else f"{PARTLY:.0%}"
        raise UserError(f"data.relations: {text!r} {_told(share)}, not in {least}; mend the rows, or leave it out")
    relation = relation.changed(share=share, tests=tests)
    if said.form == "order" and said.tree[0] in EXTREMES:
        learnt = shifted(search, relation)
        if learnt is None:
            told = f"needs the distance of {said.target} to be learnt, which it cannot be"
            raise UserError(f"data.relations: {text!r} {told}; write it under data.constraints")
        return learnt.changed(strict=said.strict)
    if share < 1.0:
        if not search.may_shift(said.target, columns_of(said.tree)):
            raise UserError(
                f"data.relations: {text!r} has exceptions and other missing cells than {said.target}; leave it out"
            )
        relation = relation.changed(mode="shifted")
    return relation


def _declared_function(said: Text, text: str, frame: pd.DataFrame, schema: Schema) -> Relation:
    whole = said.source
    tree = column(whole) if whole in schema.names else said.tree  # a name with a comma in it
    sources = columns_of(tree)
    asked = [part for part in whole.split(",") if part.strip()]
    if len(sources) == 1 and sources[0] not in schema.names and len(asked) > 1:
        told = "one column twice" if len(asked) == 2 else f"{len(asked)} columns"
        raise UserError(f"data.relations: {text!r} looks a value up by {told}; take one or two")
    for name in (*sources, said.target):
        _check_column(text, name, schema)
    _check_parts(tree, text, schema)
    wrong = next((name for name in sources if not may_pair(schema[name])), None)
    if len(sources) == 2 and wrong is not None:
        told = f"data.relations: {text!r} looks pairs up by {wrong}, of type {schema[wrong].type}"
        raise UserError(f"{told}; say data.types.{wrong}=category")
    found = declared_function(Search(frame, schema), tree, said.target)
    if found is None:
        raise UserError(f"data.relations: {text!r} does not hold: some {whole} has several values of {said.target}")
    return found.changed(text=text)


def _declared_clock(said: Text, text: str, frame: pd.DataFrame, search: Search) -> Relation:
    """A time of day, or what lies between two of them, that goes round the clock; it must hold in every row."""
    try:
        if said.form == "distance":
            start = columns_of(said.tree)[0]
            return clock_distance(search, start, said.target).changed(text=text)
        first, second = columns_of(said.tree)
        fields = search.schema[said.target], search.schema[second]
        if (
            said.form == "later"
            and said.per < 0
            and not said.has_unit
            and [is_clock(f) for f in fields] == [True, False]
        ):
            said = said._replace(form="passed", per=1.0)  # between times as 2350 lies what is written as 01:30
        if said.form == "later":
            tree = clock_later(search, said.target, first, second, said.per)
        else:
            tree = clock_passed(search, said.target, second, first, said.per)
    except ValueError as error:
        raise UserError(f"data.relations: {text!r} {error}") from None
    relation = Relation("formula", said.target, tree, search.mode(said.target, columns_of(tree)), text=text)
    share, tests = _share(relation, frame, search.schema)
    if share < 1.0:
        unit = "" if said.has_unit else "name a unit, such as minutes; or "
        raise UserError(f"data.relations: {text!r} {_told(share)}, not in every one; {unit}leave it out")
    return relation.changed(share=share, tests=tests)


def _share(relation: Relation, frame: pd.DataFrame, schema: Schema) -> tuple[float, int]:
    """In how much of the rows that have all of its columns it holds, and how many these are."""
    there = np.logical_and.reduce([frame[name].notna().to_numpy() for name in relation.columns])
    return float(1 - relation.breaks(frame, schema)[there].mean()) if there.any() else 0.0, int(there.sum())


def _told(share: float) -> str:
    return f"holds in {int(share * 1e4) / 100:g} % of the training rows"


def _check_parts(tree: Tree, text: str, schema: Schema) -> None:
    """That what a part is read from is a date, or for an hour and the like a time of day."""
    if not isinstance(tree, list):
        return
    if tree[0] == "part":
        part, field = tree[1].partition(BEHIND)[0], schema[tree[2]]
        told = f"reads {part} of {field.name}, which is"
        if field.type != "datetime":
            ways = f"of type {field.type} and no date; say data.types.{field.name}=datetime"
            raise UserError(f"data.relations: {text!r} {told} {ways}")
        if part not in PARTS and not is_date(field):
            raise UserError(f"data.relations: {text!r} {told} a time of day and no date; leave it out")
    for operand in tree[1:]:
        _check_parts(operand, text, schema)


def _check_column(text: str, name: str, schema: Schema) -> None:
    if name not in schema.names:
        raise UserError(f"data.relations: {text!r} names no column {name!r}{near(name, schema.names)}")
    if not (schema[name].is_numeric or schema[name].is_choice):
        raise UserError(f"data.relations: {text!r} names {name}, which is of type {schema[name].type}: it is made anew")


def described(relations: Sequence[Relation]) -> str:
    """One line on how many there are and what is done with them."""
    modes = [relation.mode for relation in relations]
    parts = [
        f"{modes.count('computed') + modes.count('kept')} computed" if {"computed", "kept"} & set(modes) else "",
        f"{modes.count('shifted')} learnt as a distance" if "shifted" in modes else "",
        f"{modes.count('checked')} checked" if "checked" in modes else "",
    ]
    return ", ".join(part for part in parts if part) or f"none that {TESTS} rows prove"
