"""All searches in turn."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pandas as pd

from datakiln.codecs.tables.relations.clocks import find_clocks, find_distances
from datakiln.codecs.tables.relations.functions import find_date_parts, find_functions
from datakiln.codecs.tables.relations.linear import find_linear
from datakiln.codecs.tables.relations.orders import find_orders
from datakiln.codecs.tables.relations.products import find_products
from datakiln.codecs.tables.relations.relation import Relation
from datakiln.codecs.tables.relations.search import TESTS, Search
from datakiln.schema import Schema


def find_relations(
    frame: pd.DataFrame, schema: Schema, stay: Collection[str] = (), seed: int = 0, declared: Sequence[Relation] = ()
) -> list[Relation]:
    """What holds between the columns in (nearly) all training rows, an order of computing: sources come first.

    Claimed is only what at least `TESTS` (50) rows could have broken, would the columns not depend on each other, and
    what is no matter of coarse rounding. Formulas hold in all rows, or in most, and the distance is learnt;
    functions and orders hold in all rows.

    Arguments:
        frame: Training rows.
        schema: Their columns.
        stay: Columns that are rather not computed from others.
        seed: Of the choice of rows that are looked at first.
        declared: Relations that are kept whatever is found.
    """
    search = Search(frame, schema, stay, seed)
    for relation in declared:
        search.add(relation)
    if len(frame) < TESTS:
        return in_order(list(search.found.values()))
    find_date_parts(search)
    find_clocks(search)
    find_linear(search)
    find_products(search)
    find_functions(search)
    find_distances(search)
    find_orders(search)
    return in_order([*search.found.values(), *(order for order in search.orders if order.mode == "checked")])


def find_calendar(frame: pd.DataFrame, schema: Schema, date: str, targets: Collection[str]) -> list[Relation]:
    """Those of the columns that are, or follow from, a part of a date in all training rows.

    Arguments:
        frame: Training rows.
        schema: Their columns.
        date: The column of dates.
        targets: Columns that may be computed.
    """
    fields = tuple(f for f in schema.fields if f.name == date or (f.name in targets and f.type != "datetime"))
    search = Search(frame, Schema(fields))
    if len(frame) >= TESTS:
        find_date_parts(search)
    return list(search.found.values())


def in_order(relations: Sequence[Relation]) -> list[Relation]:
    """Each after those that compute its sources, checks last."""
    targets = {relation.target: relation for relation in relations if relation.mode != "checked"}
    done: dict[str, Relation] = {}

    def visit(relation: Relation) -> None:
        for source in relation.sources:
            if source in targets and source not in done:
                visit(targets[source])
        done[relation.target] = relation

    for target, relation in targets.items():
        if target not in done:
            visit(relation)
    return [*done.values(), *(relation for relation in relations if relation.mode == "checked")]
