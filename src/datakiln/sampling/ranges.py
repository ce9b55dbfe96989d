"""Conditions that leave a column several values, such as age > 60: the codes that a model may draw it from."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from datakiln.codecs.tables.bins import Bins
from datakiln.codecs.tables.choice import ChoiceColumn
from datakiln.codecs.tables.column import ColumnCodec
from datakiln.codecs.tables.dates import Dates
from datakiln.codecs.tables.number import NumberColumn
from datakiln.codecs.tables.table import TableCodec
from datakiln.domains import Region


def codes_within(codec: TableCodec, regions: Mapping[str, Region]) -> dict[int, Tensor]:
    """Which codes of a column a row in the region could have, by the column's place among those with codes.

    A code that only partly lies in the region counts, so that what is drawn is still to be looked at. Distances to
    another column are left out, for their place tells nothing of the value.

    Arguments:
        codec: Fitted; of a model that reads codes.
        regions: By name of the column.
    """
    columns = {column.field.name: column for column in codec.inner}
    found: dict[int, Tensor] = {}
    places = (part for part in codec.spec.columns if part.blocks[0].kind == "code")
    for place, part in enumerate(places):
        if part.name not in regions or part.name in codec.plan.shifted:
            continue
        allowed = _codes(columns[part.name], regions[part.name], codec.dates.get(part.name))
        if allowed is None:
            continue
        equal = part.blocks[0].size - len(allowed)  # states of equality with another column, whatever its value
        whole = torch.from_numpy(np.concatenate([allowed, np.ones(equal, dtype=bool)]))
        if not whole.all() and whole.any():
            found[place] = whole
    return found


def _codes(column: ColumnCodec, region: Region, dates: Dates | None) -> np.ndarray | None:
    if isinstance(column, ChoiceColumn):
        allowed = np.zeros(column.width, dtype=bool)
        own = [position for position in region.positions if position < len(column.values)]
        allowed[own] = True
        if column.missing:
            allowed[len(column.values)] = region.missing
        for position in region.positions:
            if position >= len(column.values):
                allowed[column.shared_code(position - len(column.values))] = True
        return allowed
    if not isinstance(column, NumberColumn) or not isinstance(column.encoder, Bins):
        return None
    near = column.grid.step  # what is rounded to a value may lie in the code beside it
    low, high = column.encoder.knots[:, 0] - near, column.encoder.knots[:, -1] + near
    low, high = (np.where(column.encoder.is_single, column.encoder.knots[:, 0], ends) for ends in (low, high))
    if dates is not None:  # whole weeks or months of the dates asked for
        low, high = dates.began(low), dates.began(high + 1)
    inside = [(high >= interval.low) & (low <= interval.high) for interval in region.intervals]
    allowed = np.logical_or.reduce(inside) if inside else np.zeros(len(low), dtype=bool)
    return np.append(allowed, region.missing) if column.missing else allowed
