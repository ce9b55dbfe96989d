"""A small table of every kind of column whose distribution is known: for tests, and to try a model in seconds."""

from __future__ import annotations

import numpy as np
import pandas as pd

from datakiln.data.base import Provenance
from datakiln.data.tables.sources import RawTable, frame_sha256
from datakiln.errors import UserError

MOST_ROWS = 10_000_000


class ToyTable:
    """Two groups that differ in every other column, with missing cells, a spike, integers and a boolean.

    Given the group g in {0, 1}: `height` is normal around 3 g, `spent` is 0 with probability 0.6 and else log-normal,
    `visits` is Poisson of 2 + 4 g, `colour` favours "red" or "blue", `member` follows g, a tenth of `height` misses.

    Arguments:
        rows: Number of rows.
        seed: Of the draw.
    """

    def __init__(self, rows: int = 500, seed: int = 0) -> None:
        """Raises `UserError` for too few rows, or more than a memory is sure to hold."""
        if not 20 <= rows <= MOST_ROWS:
            raise UserError(f"data.source.rows={rows} must be at least 20 and at most {MOST_ROWS:,}")
        self.rows, self.seed = rows, seed

    def __call__(self, data_dir: str | None = None) -> RawTable:
        """Draws the table; `data_dir` is not needed."""
        rng = np.random.default_rng(self.seed)
        group = rng.integers(0, 2, self.rows)
        height = np.where(rng.random(self.rows) < 0.1, np.nan, rng.normal(3.0 * group, 1.0).round(3))
        spent = np.where(rng.random(self.rows) < 0.6, 0.0, rng.lognormal(group, 0.5, self.rows).round(2))
        colours = np.array(["red", "green", "blue"])
        shares = np.array([[0.6, 0.3, 0.1], [0.1, 0.3, 0.6]])
        picks = (rng.random((self.rows, 1)) > shares[group].cumsum(axis=1)).sum(axis=1)
        frame = pd.DataFrame(
            {
                "height": height,
                "spent": spent,
                "visits": rng.poisson(2.0 + 4.0 * group),
                "colour": pd.Series(colours[picks], dtype="str"),
                "member": rng.random(self.rows) < np.where(group == 1, 0.9, 0.2),
                "group": pd.Series(np.array(["a", "b"])[group], dtype="str"),
            }
        )
        source = Provenance("generated", f"toy table of {self.rows} rows, seed {self.seed}", frame_sha256(frame))
        return RawTable(frame, "group", source)
