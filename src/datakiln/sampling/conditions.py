"""What a person asks of synthetic rows: {column: value or comparison}, all of which every row must meet."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from datakiln.codecs.tables.choice import ChoiceColumn
from datakiln.codecs.tables.companions import Companion
from datakiln.codecs.tables.table import TableCodec
from datakiln.constraints import Rules
from datakiln.domains import Domain, Region, build_domain
from datakiln.domains.base import SIGNS
from datakiln.domains.intervals import Interval
from datakiln.errors import UserError, near
from datakiln.sampling.related import told_cells
from datakiln.wording import counted

SELDOM = 50  # training rows of a category, below which a person who asks for it is told


class Conditions:
    """Checked conditions on the columns of a fitted table.

    Arguments:
        codec: Fitted.
        wanted: {column: what `Domain.read` understands}.
        rules: Constraints that rows meet as well.

    Attributes:
        regions: What is left of each column.

    Raises:
        UserError: An unknown column or category, or what no row could ever meet.
    """

    def __init__(self, codec: TableCodec, wanted: Mapping[str, Any], rules: Rules) -> None:
        """See the class."""
        self.codec, self.wanted = codec, dict(wanted)
        self.domains: dict[str, Domain] = {}
        self.regions: dict[str, Region] = {}
        for name, value in self.wanted.items():
            self._add(name, value)
        self._check_rules(rules)
        self._check_relations()

    def _check_relations(self) -> None:
        """Refuses what follows from the condition but lies outside of what its column can hold."""
        for name, cell in self.known().items():
            if name not in self.regions and cell.notna().all():
                domain = domain_of(self.codec, name, name)
                if not domain.holds(domain.everything, cell).all():
                    value = f"{name}={cell.iloc[0]}"
                    raise UserError(f"the condition {self} asks for {value}, but {name} is {domain.describe()}")

    def _add(self, name: str, value: Any) -> None:
        domain = self.domains[name] = domain_of(self.codec, name, f"condition.{name}={value}")
        self.regions[name] = domain.read(value) & domain.everything
        if self.regions[name].is_empty:
            raise UserError(f"condition.{name}={value} cannot be met: {name} is {domain.describe()}")

    def _check_rules(self, rules: Rules) -> None:
        hulls = {
            name: _hull(region) for name, region in self.regions.items() if region.intervals and not region.missing
        }
        name = rules.impossible(hulls)
        if name is not None:
            raise UserError(f"the condition {self} leaves no value for {name} under the constraints {rules.limiting}")
        for constraint in rules.constraints:
            known = constraint.combinations(rules.schema) if set(constraint.columns) & set(self.regions) else None
            if known is not None and not self.holds(known).any():
                raise UserError(f"the condition {self} cannot be met under the constraint '{constraint}'")

    def __str__(self) -> str:
        """As given, such as sex=Female, age>60."""
        return ", ".join(f"{name}{'' if str(v).startswith(SIGNS) else '='}{v}" for name, v in self.wanted.items())

    def holds(self, frame: pd.DataFrame) -> np.ndarray:
        """Which rows meet all of them; columns that the frame lacks are not judged."""
        met = np.ones(len(frame), dtype=bool)
        for name, region in self.regions.items():
            if name in frame:
                met &= self.domains[name].holds(region, frame[name])
        return met

    def known(self) -> dict[str, pd.Series]:
        """The modelled columns whose value is settled, each as a series of that one cell."""
        modelled = {column.name for column in self.codec.spec.columns} | set(self.codec.plan.made)
        cells = {name: self.domains[name].single(region) for name, region in self.regions.items() if name in modelled}
        return told_cells(self.codec, {name: cell for name, cell in cells.items() if cell is not None}, str(self))

    def seldom(self) -> list[str]:
        """A line for each asked category that few training rows had: what goes with it can hardly have been learnt."""
        lines = []
        for name, region in self.regions.items():
            column = self.codec.by_name()[name]
            if not isinstance(column, ChoiceColumn) or not column.rows or region.missing or not region.positions:
                continue
            rows = sum(column.rows[place] for place in region.positions)
            if rows < SELDOM:
                told = f"condition.{name}={self.wanted[name]}: {counted(rows, 'training row')} had it"
                lines.append(f"{told}; what goes with it is known from {'this' if rows == 1 else 'these'} alone")
        return lines

    def companion(self) -> Companion | None:
        """What goes with the one rare category that is asked for, if nothing else is."""
        if len(self.regions) != 1:
            return None
        ((name, region),) = self.regions.items()
        column = self.codec.by_name()[name]
        if not isinstance(column, ChoiceColumn) or region.missing or len(region.positions) != 1:
            return None
        (place,) = region.positions
        value = str([*column.values, *column.pool][place])
        return next((c for c in self.codec.companions if (c.column, c.value) == (name, value)), None)

    def classes(self, name: str) -> list[int]:
        """Positions of the allowed categories of a choice column, "missing" being the last; all if not asked."""
        domain = domain_of(self.codec, name, name)
        region = self.regions.get(name, domain.everything)
        last = [len(domain.everything.positions)] if region.missing else []
        return sorted(region.positions) + last


def domain_of(codec: TableCodec, name: str, asked: str) -> Domain:
    """The domain of the column of that name; raises `UserError` that begins with what was asked."""
    for column in codec.columns:
        if column.field.name == name:
            return build_domain(column)
    head = re.split("[<>=!]", name)[0].strip()
    if head != name and head in codec.schema.names:
        raise UserError(f"{asked}: the comparison belongs behind the =, as in condition.{head}='>60'")
    raise UserError(f"{asked}: no such column{near(name, codec.schema.names)}")


def _hull(region: Region) -> Interval:
    """The smallest interval around all of the region's."""
    lows = [(interval.low, interval.open_low) for interval in region.intervals]
    highs = [(interval.high, not interval.open_high) for interval in region.intervals]
    (low, open_low), (high, closed) = min(lows), max(highs)
    return Interval(low, high, open_low, not closed)
