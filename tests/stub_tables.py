"""A table of every kind of column, and a model of it that draws its rows again: its distribution is known exactly."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from datakiln.codecs.tables.table import TableCodec
from datakiln.constraints import Constraint, Rules
from datakiln.data.tables.types import infer_schema
from datakiln.models.base import GenerativeModel
from datakiln.sampling.synthesizer import Synthesizer

ROWS = 600


def people(rows: int = ROWS) -> pd.DataFrame:
    """Rows whose columns depend on each other; one row of class "rare", one column without any value."""
    rng = np.random.default_rng(0)
    age = rng.integers(18, 80, rows)
    sex = np.where(rng.random(rows) < 0.3 + 0.4 * (age > 60), "Female", "Male")
    city = rng.choice(["Paris", "Lyon", "Rome"], rows)
    pay = rng.integers(1, 90, rows)
    kind = np.where(rng.random(rows) < 0.8, "often", "seldom").astype(object)
    kind[7] = "rare"
    part = rng.integers(0, 3, rows)
    return pd.DataFrame(
        {
            "id": np.arange(1, rows + 1),
            "age": age,
            "sex": sex,
            "income": np.where(rng.random(rows) < 0.25, ">50K", "<=50K"),
            "city": city,
            "country": np.where(city == "Rome", "Italy", "France"),
            "min_pay": pay,
            "max_pay": pay + rng.integers(0, 10, rows),
            "score": np.where(rng.random(rows) < 0.2, np.nan, rng.normal(size=rows).round(2)),
            "day": (pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 300, rows), unit="D")).strftime(
                "%Y-%m-%d"
            ),
            "member": rng.random(rows) < 0.5,
            "size": rng.choice(["S", "M", "L"], rows),
            "a": (part == 0).astype(int),
            "b": (part == 1).astype(int),
            "c": (part == 2).astype(int),
            "dept": rng.choice(["R&D", "Ops|Sales", "HR"], rows),
            "empty": np.full(rows, np.nan),
            "kind": kind,
        }
    )


def fitted(label: str | None = "kind", frame: pd.DataFrame | None = None, clip: bool = True) -> TableCodec:
    """The codec of the table."""
    frame = people() if frame is None else frame
    types = {"size": {"type": "ordinal", "order": ["S", "M", "L"]}} if "size" in frame else {}
    return TableCodec(clip=clip).fit(frame, infer_schema(frame, label, types))


@functools.cache
def _fitted_once(label: str | None) -> TableCodec:
    return fitted(label)


class Redraws(GenerativeModel):
    """Draws the given rows with equal chance: all of them, those of a class, or those that fit what is known.

    Arguments:
        codec: Fitted.
        frame: The rows.
        conditioning: What it can be told.

    Attributes:
        told: Every condition it was given.
        drawn: Rows drawn so far.
    """

    supports = frozenset({"table"})

    def __init__(self, codec: TableCodec, frame: pd.DataFrame, conditioning: str = "none") -> None:
        super().__init__(codec.spec)
        self.conditioning = conditioning  # type: ignore[assignment]
        self.rows, self.y = codec.encode(frame), codec.labels(frame)
        self.told: list[torch.Tensor] = []
        self.drawn = 0

    def losses(self, batch):
        raise NotImplementedError

    def draw(self, n, condition, options=None):
        self.drawn += n
        if condition is None:
            return self.rows[torch.randint(len(self.rows), (n,))]
        self.told.append(condition)
        if self.conditioning == "categories":  # as bad at it as a model may be
            return self.rows[torch.randint(len(self.rows), (n,))]
        if self.conditioning == "label":
            fits = self.y == condition[:, None]
        else:
            known = ~torch.isnan(condition)
            same = (self.rows - condition.nan_to_num()[:, None]).abs() < 1e-6
            fits = (same | ~known[:, None]).all(dim=2)
        return self.rows[torch.where(fits, torch.rand(fits.shape), -1.0).argmax(dim=1)]


def redrawing(
    conditioning: str = "none", label: str | None = "kind", constraints: Sequence[Constraint] = (), frame=None
) -> Synthesizer:
    """A synthesizer of the table, or of another frame."""
    codec = _fitted_once(label) if frame is None else fitted(label, frame)
    frame = people() if frame is None else frame
    rules = Rules(constraints, codec.schema)
    rules.fit(frame)
    return Synthesizer(Redraws(codec, frame, conditioning), codec, constraints=rules.state())
