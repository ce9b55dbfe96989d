"""Series with a name: Google's stock, the energy of a house, sines, and a toy set whose law is known."""

from __future__ import annotations

import numpy as np
import pandas as pd

from datakiln.data.base import Inputs, Provenance
from datakiln.data.tables.files import read_table_file
from datakiln.data.tables.sources import RawTable, frame_sha256
from datakiln.errors import UserError

FILES = {
    "stocks": "timeseries/google_stock/stock_data.csv",
    "energy": "timeseries/appliances_energy/energydata_complete.csv.gz",
}


class PublishedSeries:
    """A published series in the folder of data sets.

    Arguments:
        name: "stocks" (Google, daily, 2004 to 2019; Yoon et al., 2019) or "energy" (a house, every ten minutes;
            Candanedo et al., 2017).
    """

    def __init__(self, name: str) -> None:
        """Raises `UserError` for an unknown name."""
        if name not in FILES:
            raise UserError(f"data.source.name={name} must be one of {', '.join(FILES)}")
        self.name = name

    def __call__(self, data_dir: str | None = None) -> RawTable:
        """Reads the file; raises `UserError` where there is none."""
        from pathlib import Path

        path = Path(data_dir or ".") / FILES[self.name]
        if not path.is_file():
            told = f"data={self.name} needs {FILES[self.name]} in the folder of data sets"
            raise UserError(f"{told}: set data_dir=FOLDER (or DATA_DIR); data=sines needs nothing")
        inputs = Inputs([path])
        content = read_table_file(path)
        source = Provenance("files", str(path.resolve()), content.sha256)
        return RawTable(
            content.frame, None, source, notes=tuple(content.notes), writings=content.writings,
            storage=content.storage, inputs=inputs,
        )  # fmt: skip


MOST_CELLS = 50_000_000


def _check_size(what: str, cells: int) -> None:
    """Refuses more than a memory is sure to hold."""
    if cells > MOST_CELLS:
        raise UserError(f"data.source: {what} is {cells:,} and must be at most {MOST_CELLS:,}")


class Sines:
    """Sine waves of random frequency and phase, a sequence each (Yoon et al., 2019, section 5.1).

    Column j is (sin(2 pi eta t + theta) + 1) / 2 with eta and theta uniform on [0, 0.1] times 2 pi each, as in the
    published code: the argument is `eta * t + theta` with both in [0, 0.1].

    Arguments:
        sequences: Number of sequences.
        steps: Steps of each.
        columns: Waves of each.
        seed: Of the draw.
    """

    def __init__(self, sequences: int = 10_000, steps: int = 24, columns: int = 5, seed: int = 0) -> None:
        """Raises `UserError` for sizes that are none."""
        if min(sequences - 9, steps - 1, columns) < 1:
            raise UserError("data.source: at least 10 sequences, 2 steps and 1 column")
        _check_size("sequences * steps * columns", sequences * steps * columns)
        self.sequences, self.steps, self.columns, self.seed = sequences, steps, columns, seed

    def __call__(self, data_dir: str | None = None) -> RawTable:
        """Draws them; `data_dir` is not needed."""
        rng = np.random.default_rng(self.seed)
        frequency, phase = (rng.uniform(0.0, 0.1, (self.sequences, 1, self.columns)) for _ in range(2))
        t = np.arange(self.steps)[None, :, None]
        waves = ((np.sin(frequency * t + phase) + 1.0) / 2.0).reshape(-1, self.columns)
        frame = pd.DataFrame(waves, columns=[f"sine{j + 1}" for j in range(self.columns)])
        frame.insert(0, "wave", np.repeat(np.arange(1, self.sequences + 1), self.steps))
        told = f"{self.sequences} sequences of {self.columns} sines, seed {self.seed}"
        return RawTable(frame, None, Provenance("generated", told, frame_sha256(frame)))


class ToySeries:
    """Entities of different lengths whose law is known, with a category, a missing cell here and there, and dates.

    `sex` decides the mean of `level` (0 or 4), which is an autoregression of order 2 (0.6 and 0.2, noise of standard
    deviation 0.5) plus a season of 7 steps of amplitude 1; `state` stays with probability 0.9 and decides the scale of
    `shock` (1 or 3); a twentieth of `shock` is missing.

    Arguments:
        entities: Number of them.
        shortest: Least steps of one.
        longest: Most steps.
        seed: Of the draw.
    """

    def __init__(self, entities: int = 120, shortest: int = 12, longest: int = 30, seed: int = 0) -> None:
        """Raises `UserError` for sizes that are none."""
        if entities < 10 or not 2 <= shortest <= longest:
            raise UserError("data.source: at least 10 entities, of at least 2 steps, and the longest last")
        _check_size("entities * longest", entities * longest)
        self.entities, self.shortest, self.longest, self.seed = entities, shortest, longest, seed

    def __call__(self, data_dir: str | None = None) -> RawTable:
        """Draws it; `data_dir` is not needed."""
        rng = np.random.default_rng(self.seed)
        made = []
        for i in range(self.entities):
            steps, is_female = int(rng.integers(self.shortest, self.longest + 1)), bool(rng.random() < 0.5)
            noise, x = rng.normal(0.0, 0.5, steps + 50), np.zeros(steps + 50)
            for t in range(2, steps + 50):
                x[t] = 0.6 * x[t - 1] + 0.2 * x[t - 2] + noise[t]
            start = int(rng.integers(0, 700))
            season = np.sin(2.0 * np.pi * (np.arange(steps) + start) / 7.0)
            state = np.logical_xor.accumulate(np.r_[rng.random() < 0.5, rng.random(steps - 1) > 0.9])
            shock = rng.normal(0.0, np.where(state, 3.0, 1.0)).round(2)
            frame = {
                "patient": f"p{i + 1:04d}",
                "date": pd.Timestamp("2020-01-01") + pd.to_timedelta(start + np.arange(steps), unit="D"),
                "sex": "F" if is_female else "M",
                "level": (x[50:] + season + 4.0 * is_female).round(3),
                "state": np.where(state, "wild", "calm"),
                "shock": np.where(rng.random(steps) < 0.05, np.nan, shock),
            }
            made.append(pd.DataFrame(frame))
        whole = pd.concat(made, ignore_index=True).astype({"patient": "str", "sex": "str", "state": "str"})
        source = Provenance(
            "generated", f"toy series of {self.entities} patients, seed {self.seed}", frame_sha256(whole)
        )
        return RawTable(whole, "sex", source)
