"""Whether a table model's samples begin to tell its training rows from validation rows, while it trains."""

from __future__ import annotations

import lightning as L
import pandas as pd

from datakiln.callbacks.table_watch import TableWatch
from datakiln.data.tables.tables import TableData
from datakiln.metrics.privacy.games import LEAST
from datakiln.metrics.privacy.membership import simplest_game


class TableMembership(TableWatch):
    """Logs `val/membership` every k epochs: AUC of the distance game, training against validation rows; 0.5 is a guess.

    It is the simplest game, by few samples: an AUC above one half is memory, one of a half no proof of none. Where
    validation rows are trained on, or are fewer than 20, there are no non-members, and it is not measured.

    Arguments:
        data: Gives the codec, and training and validation rows in user units.
        every: Epochs between two measurements; the last epoch is always measured.
        rows: Most rows of each kind, and samples.
        stop: Training ends when the lower end of the AUC's interval is above this; null: it never does.
        seed: Of the draws, the same at every measurement, so that a change is the model's.
    """

    figures: tuple[str, ...] = ("val/membership",)

    def __init__(
        self, data: TableData, every: int = 5, rows: int = 2000, stop: float | None = None, seed: int = 0
    ) -> None:
        """See the class; raises ValueError for a number out of range."""
        for name, value, least in (("every", every, 1), ("rows", rows, LEAST)):
            if value < least:
                raise ValueError(f"watch.table.membership.{name}={value} must be at least {least}")
        if stop is not None and not 0.5 <= stop < 1.0:
            raise ValueError(f"watch.table.membership.stop={stop} must be from 0.5 to below 1, or null")
        super().__init__(data, every, seed)
        self.stop = stop
        self.members, self.others = self.few("train", rows, 26), self.few("val", rows, 26)
        if data.validation == "shared" or min(len(self.members), len(self.others)) < LEAST:
            self.figures = ()  # never measured, and so no monitor to choose

    @property
    def drawn(self) -> int:
        """As many as there are members."""
        return len(self.members)

    def measure(self, made: pd.DataFrame, trainer: L.Trainer) -> dict[str, float]:
        """The AUC of the game; where it is surely above `stop`, training ends."""
        game = simplest_game(self.codec.schema, self.members, self.others, made, self.seed)
        if self.stop is not None and game.low > self.stop:
            trainer.should_stop = True
        return {"membership": game.auc}
