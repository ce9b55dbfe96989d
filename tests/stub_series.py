"""Series with relations between the columns of a step, and a model that draws training steps again: nothing learnt."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from datakiln.codecs.series.series import Relations, Roles, SeriesCodec
from datakiln.constraints import Rules
from datakiln.data.tables.relations import chosen_relations
from datakiln.data.tables.types import infer_schema
from datakiln.models.base import GenerativeModel
from datakiln.sampling.synthesizer import Synthesizer
from datakiln.schema import Schema

STEPS, SHOPS = 8, 40


def orders(seed: int = 0) -> pd.DataFrame:
    """Shops of a city each, whose days have total = price * qty and first <= last; a mood is often not told."""
    rng = np.random.default_rng(seed)
    n = STEPS * SHOPS
    frame = pd.DataFrame(
        {
            "shop": np.repeat([f"s{i:03}" for i in range(SHOPS)], STEPS),
            "day": np.tile(np.arange(STEPS), SHOPS),
            "city": np.repeat(np.array(["Ulm", "Bonn"])[np.arange(SHOPS) % 2], STEPS),
            "price": rng.integers(100, 900, n) / 100,
            "qty": rng.integers(1, 9, n),
            "first": rng.integers(0, 50, n),
            "mood": np.where(rng.random(n) < 0.3, None, rng.choice(["good", "bad"], n)),
        }
    )
    frame["total"] = (frame["price"] * frame["qty"]).round(2)
    frame["last"] = frame["first"] + rng.integers(0, 50, n)
    return frame


class RedrawnSteps(GenerativeModel):
    """Draws for each step a training step of those that fit most of what is known.

    Arguments:
        codec: Fitted.
        frame: The training rows.
    """

    supports = frozenset({"series"})
    reads = frozenset({"code", "place", "choice", "value"})
    likelihood = "partial"

    def __init__(self, codec: SeriesCodec, frame: pd.DataFrame) -> None:
        super().__init__(codec.spec)
        self.conditioning = "columns"
        self.rows = codec.encode(frame).flatten(0, 1)
        self.draws = 0

    def losses(self, batch):
        raise NotImplementedError

    def draw(self, n, condition, options=None):
        self.draws += 1
        if condition is None:
            condition = torch.full((n, *self.spec.shape), torch.nan)
        if condition.shape[1] == 1:  # static columns
            condition = condition.expand(-1, self.spec.shape[0], -1)
        told = condition.flatten(0, 1)
        known = ~torch.isnan(told)
        fits = (((self.rows - told.nan_to_num()[:, None]).abs() < 1e-6) & known[:, None]).sum(dim=2)
        picked = self.rows[(fits + torch.rand(fits.shape)).argmax(dim=1)]
        return torch.where(known, told, picked).view(condition.shape)

    def unroll(self, start, steps, options=None):
        made = self.rows[torch.randint(len(self.rows), (len(start), steps))]
        static = self.spec.columns[self.spec.static - 1].blocks[-1].stop
        made[:, :, :static] = start[:, :1, :static]
        yield made

    def log_probs(self, x):
        return torch.full(x.shape[:2], -1.0)


def redrawing_steps(constraints=()) -> Synthesizer:
    """A synthesizer of the orders."""
    frame = orders()
    schema = infer_schema(frame, None, {"shop": "id"})
    group = np.repeat(np.arange(SHOPS), STEPS)
    own = Schema(tuple(field for field in schema.fields if field.name not in ("shop", "day", "city")))
    relations = chosen_relations("auto", frame, own, {"first", "last"})
    roles = Roles("day", "shop", ("city",))
    codec = SeriesCodec(compact=True).fit(
        frame, group, schema, roles, STEPS, False, SHOPS, [STEPS] * SHOPS, relations=Relations(relations)
    )
    rules = Rules(list(constraints), schema)
    rules.fit(frame)
    return Synthesizer(RedrawnSteps(codec, frame), codec, constraints=rules.state())
