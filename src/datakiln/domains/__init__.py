"""What a column of a fitted table can hold, and which part of it a condition such as ">60" or "red|blue" allows."""

from datakiln.codecs.tables.choice import ChoiceColumn
from datakiln.codecs.tables.column import ColumnCodec
from datakiln.codecs.tables.generated import GeneratedColumn
from datakiln.codecs.tables.number import NumberColumn
from datakiln.domains.base import Domain, Region
from datakiln.domains.choices import ChoiceDomain
from datakiln.domains.numbers import NumberDomain, day_in, number_in
from datakiln.errors import UserError

__all__ = ["ChoiceDomain", "Domain", "NumberDomain", "Region", "build_domain", "day_in", "may_be_asked", "number_in"]


def may_be_asked(column: ColumnCodec) -> bool:
    """Whether a condition on the column chooses anything: ids and free text are made anew, constants never differ."""
    return not isinstance(column, GeneratedColumn)


def build_domain(column: ColumnCodec) -> Domain:
    """The domain of a fitted column; raises `UserError` for ids and free text, which are made anew for every row."""
    if isinstance(column, NumberColumn):
        return NumberDomain(column)
    if isinstance(column, ChoiceColumn):
        return ChoiceDomain(column.field, [*column.values, *column.pool], column.missing)
    assert isinstance(column, GeneratedColumn)
    name, kind = column.field.name, column.field.type
    if kind != "constant":
        what = "free text" if kind == "text" else "an id"
        raise UserError(f"condition.{name}: {name} is {what}, made anew for every row; ask for another column")
    return ChoiceDomain(column.field, [] if column.constant is None else [column.constant], column.constant is None)
