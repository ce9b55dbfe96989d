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


class ToyRelations:
    """Columns that hang together in a known way, one of each kind, and `alone`, which hangs on nothing.

    | column | is |
    | --- | --- |
    | `code` | a copy of `city`'s initial, one to one; `country` follows from `city` |
    | `fahrenheit` | 1.8 `celsius` + 32 |
    | `net`, `tax`, `gross` | gross = net + tax, in cents |
    | `quantity`, `price`, `total` | total = quantity price, in cents |
    | `share_a`, `share_b`, `share_c` | add up to 1 |
    | `part`, `whole` | part <= whole |
    | `start`, `end`, `days` | end after start, and the days between them |
    | `weekday`, `month` | of start: a name, a number |
    | `clicks`, `views`, `rate` | rate = 100 clicks / views, with two decimals |
    | `refund` | a copy of `net` that is missing in a tenth of the rows |

    Arguments:
        rows: Number of rows.
        seed: Of the draw.
    """

    def __init__(self, rows: int = 4000, seed: int = 0) -> None:
        """Raises `UserError` for too few rows, or more than a memory is sure to hold."""
        if not 20 <= rows <= MOST_ROWS:
            raise UserError(f"data.source.rows={rows} must be at least 20 and at most {MOST_ROWS:,}")
        self.rows, self.seed = rows, seed

    def __call__(self, data_dir: str | None = None) -> RawTable:
        """Draws the table; `data_dir` is not needed."""
        rng, n = np.random.default_rng(self.seed), self.rows
        city = pd.Series(rng.choice(["Rome", "Oslo", "Lima", "Bari", "Delhi"], n, p=[0.35, 0.25, 0.15, 0.15, 0.1]))
        celsius = rng.normal(15, 8, n).round(1)
        net, tax = rng.gamma(3, 100, n).round(2), rng.gamma(2, 20, n).round(2)
        quantity, price = rng.integers(1, 20, n), rng.gamma(3, 5, n).round(2) + 0.01
        shares = rng.dirichlet([2, 3, 4], n).round(4)
        whole = rng.gamma(2, 500, n).round(2) + 1
        start = pd.Series(pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 700, n), unit="D"))
        days, views = rng.integers(1, 30, n), rng.integers(100, 5000, n)
        clicks = rng.binomial(views, rng.beta(2, 30, n))
        frame = pd.DataFrame(
            {
                "alone": rng.normal(0, 1, n).round(3),
                "city": city,
                "code": city.str[:1],
                "country": city.map({"Rome": "IT", "Oslo": "NO", "Lima": "PE", "Bari": "IT", "Delhi": "IN"}),
                "celsius": celsius,
                "fahrenheit": (1.8 * celsius + 32).round(2),
                "net": net,
                "tax": tax,
                "gross": (net + tax).round(2),
                "quantity": quantity,
                "price": price.round(2),
                "total": (quantity * price).round(2),
                "share_a": shares[:, 0],
                "share_b": shares[:, 1],
                "share_c": (1 - shares[:, 0] - shares[:, 1]).round(4),
                "whole": whole.round(2),
                "part": (whole * rng.beta(2, 2, n)).round(2),
                "start": start.dt.strftime("%Y-%m-%d"),
                "end": (start + pd.to_timedelta(days, unit="D")).dt.strftime("%Y-%m-%d"),
                "days": days,
                "weekday": start.dt.day_name(),
                "month": start.dt.month,
                "views": views,
                "clicks": clicks,
                "rate": (100 * clicks / views).round(2),
                "refund": np.where(rng.random(n) < 0.1, np.nan, net),
            }
        )
        source = Provenance(
            "generated", f"table of {n} rows with known relations, seed {self.seed}", frame_sha256(frame)
        )
        return RawTable(frame, None, source)
