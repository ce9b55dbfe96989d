"""Made-up rows planted among the training rows, to measure how surely single rows come back (Carlini et al., 2019).

A canary has in each column the value of some training row, each of another one: its cells are as usual as any, and no
person has them together. As many are planted once as ten times and a hundred times; further ones, made alike and never
planted, are what the planted ones are compared with (https://arxiv.org/abs/1802.08232, on exposure).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from datakiln.data.base import StepReport
from datakiln.errors import UserError

TIMES = (1, 10, 100)
CONTROLS = 1_000


@dataclass(frozen=True)
class Planted:
    """Canaries of a table.

    Attributes:
        rows: One row for each canary.
        times: How often each was planted, shape (rows,).
        control: Rows made alike that were not.
    """

    rows: pd.DataFrame
    times: np.ndarray
    control: pd.DataFrame


def planted(train: pd.DataFrame, count: int, seed: int) -> tuple[pd.DataFrame, Planted, StepReport]:
    """Training rows with canaries among them.

    Arguments:
        train: Training rows.
        count: Canaries of each number of times.
        seed: Of the canaries, and of where they stand.

    Raises:
        UserError: There would be more canaries than rows.
    """
    if count > len(train):
        raise UserError(f"data.canaries={count} is more than the {len(train):,} training rows; plant fewer")
    rng = np.random.default_rng([seed, 41])
    rows = _mixed(train, count * len(TIMES), rng)
    times = np.repeat(TIMES, count)
    control = _mixed(train, CONTROLS, rng)
    copies = rows.iloc[np.repeat(np.arange(len(rows)), times)]
    together = pd.concat([train, copies], ignore_index=True)
    mixed = together.iloc[rng.permutation(len(together))].reset_index(drop=True)
    told = f"{count} made-up rows planted once, {count} 10 times, {count} 100 times: an audit, do not release its rows"
    return mixed, Planted(rows, times, control), StepReport("canaries", told, rows=int(times.sum()))


def _mixed(train: pd.DataFrame, n: int, rng: np.random.Generator) -> pd.DataFrame:
    """Rows whose every cell is of another training row; dtypes stay."""
    columns = {name: column.take(rng.integers(len(train), size=n)) for name, column in train.items()}
    return pd.DataFrame({name: column.reset_index(drop=True) for name, column in columns.items()})
