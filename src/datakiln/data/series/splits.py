"""Series split into training, validation and test: by entity, or by blocks of time with a gap of one window."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from datakiln.errors import UserError

NAMES = ("train", "val", "test")
MOST_BLOCKS = 60  # of time: the more, the more alike the parts are, and the more rows the gaps take
FEWEST = 2  # steps of a window
WINDOWS = 5  # that a block is long at least, where the series is long enough


def by_entity(group: np.ndarray, shares: Sequence[float], seed: int, entity: str) -> dict[str, np.ndarray]:
    """Rows of each part, whole entities each.

    Raises:
        UserError: There are fewer than three entities.
    """
    count = int(group.max()) + 1
    if count < len(NAMES):
        told = f"data.entity={entity} has {count} {'value' if count == 1 else 'values'}"
        way = "leave it out: one long series is split by time" if count == 1 else "bring more"
        raise UserError(f"{told}, too few to be split into training, validation and test; {way}")
    order = np.random.default_rng(seed).permutation(count)
    judged = [max(1, round(count * share)) for share in shares[1:]]
    train = max(1, count - sum(judged))
    ends = np.cumsum([train, judged[0]])
    parts = np.split(order, ends)
    return {name: np.flatnonzero(np.isin(group, part)) for name, part in zip(NAMES, parts, strict=True)}


def by_time(rows: int, window: int, shares: Sequence[float], seed: int) -> dict[str, list[tuple[int, int]]]:
    """Runs of rows of each part, from block to block of time; where the part changes, one window of rows is left out.

    A window on both sides of a border would be a leak: its steps would be trained on and judged by. Blocks are dealt
    in a random order and not one part after the other, since a series that drifts has no other part like its end.

    Raises:
        UserError: The series is too short for windows of that length.
    """
    if window > rows:
        raise UserError(f"data.window={window} is longer than the series, of {rows} rows; choose a shorter one")
    least = 2 * window + 1
    if rows < len(NAMES) * (2 * FEWEST + 1):
        told = f"{rows} rows are too few for training, validation and test of one long series"
        raise UserError(f"{told}; at least {len(NAMES) * (2 * FEWEST + 1)} are needed")
    if rows < len(NAMES) * least:
        told = f"data.window={window} and {rows} rows: training, validation and test need {least} rows each"
        raise UserError(
            f"{told}, one window and a gap of another; choose data.window={(rows // len(NAMES) - 1) // 2} or less"
        )
    count = int(np.clip(rows // (WINDOWS * window), len(NAMES), MOST_BLOCKS))
    judged = [max(1, round(count * share)) for share in shares[1:]]
    part = np.zeros(count, dtype=np.int64)
    if count > len(NAMES):
        order = np.random.default_rng(seed).permutation(count)
        part[order[: judged[0]]], part[order[judged[0] : sum(judged)]] = 1, 2
    else:
        part = np.arange(count)
    edges = np.linspace(0, rows, count + 1).round().astype(int)
    runs: dict[str, list[tuple[int, int]]] = {name: [] for name in NAMES}
    for i in range(count):
        own, start = runs[NAMES[part[i]]], int(edges[i])
        if i and part[i] != part[i - 1]:
            start += window
        elif i:
            start, _ = own.pop()
        own.append((start, int(edges[i + 1])))
    return runs
