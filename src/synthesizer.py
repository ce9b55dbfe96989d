"""The single door from a checkpoint to synthetic data: for evaluation, notebooks, the command line and the API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from hydra.utils import instantiate
from torch import Tensor

from src.checkpoints import check_targets, find_checkpoint, read_checkpoint
from src.codecs.base import Codec
from src.codecs.image import ImageCodec
from src.codecs.table import TableCodec
from src.errors import UserError, near
from src.models.base import GenerativeModel
from src.spec import DataSpec

TRIES = 200  # rejection gives up after drawing this many times the rows asked for, and at least 200 chunks of them

Seeds = tuple[int, int, int]  # seed, part, chunk

CODECS: dict[str, type[Codec]] = {TableCodec.kind: TableCodec, ImageCodec.kind: ImageCodec}


class Synthesizer:
    """A trained model with its codec: samples in user units.

    Arguments:
        model: Trained.
        codec: Fitted on the model's training data.
        origin: What the checkpoint says of its run (data source, model name, ...).
    """

    def __init__(self, model: GenerativeModel, codec: Codec, origin: Mapping[str, Any] | None = None) -> None:
        """See the class."""
        self.model, self.codec = model.eval(), codec
        self.origin = dict(origin or {})

    @classmethod
    def load(cls, run: str | Path, device: str = "cpu", raw: bool = False) -> Synthesizer:
        """Reads a run folder (its best checkpoint) or a checkpoint file.

        Arguments:
            run: Folder or file.
            device: Where the model samples.
            raw: Whether to take the raw weights where an average (EMA) was kept beside them.

        Raises:
            UserError: See `src.checkpoints`.
        """
        path = find_checkpoint(run)
        content = read_checkpoint(path)
        own = content["datakiln"]
        check_targets(own["model"])
        model = instantiate(own["model"], _partial_=True, _convert_="all")(spec=DataSpec.from_state(own["spec"]))
        model.load_state_dict(content["state_dict"])
        if content.get("averaged") and not raw:
            model.averaged().load_state_dict(content["averaged"])
        codec = CODECS[own["codec"]["kind"]].from_state(own["codec"]["state"])
        return cls(model.to(device), codec, own.get("origin"))

    def sample(self, n: int, condition: Mapping[str, Any] | None = None, seed: int = 0) -> Any:  # noqa: ANN401
        """Synthetic data in user units: a frame for tables, an array for images and series.

        Arguments:
            n: Rows, pictures or series.
            condition: {column: value} that every row must meet; a model that knows the label is told, others are asked
                again until enough rows fit.
            seed: Same seed, same data on the same machine; a longer sample begins with the shorter one.

        Raises:
            UserError: n is not positive, or a condition is unknown or practically never met.
        """
        chunks = list(self.chunks(n, condition, seed))
        if isinstance(chunks[0], pd.DataFrame):
            return pd.concat(chunks, ignore_index=True) if len(chunks) > 1 else chunks[0]
        return np.concatenate(chunks)

    def chunks(
        self, n: int, condition: Mapping[str, Any] | None = None, seed: int = 0, part: int = 0, first_row: int = 0
    ) -> Iterator[Any]:
        """The same data in pieces, so that memory stays constant however large n is.

        Arguments:
            n: See `sample`.
            condition: See `sample`.
            seed: See `sample`.
            part: A further seed, for parts of one large sample that are made apart.
            first_row: Rows made before this part, so that ids do not repeat.
        """
        if n <= 0:
            raise UserError(f"n={n} must be at least 1")
        condition = dict(condition or {})
        given = self._given(condition)
        if condition and given is None:
            yield from self._rejected(n, condition, seed, part, first_row)
            return
        for i, start in enumerate(range(0, n, self.codec.chunk)):
            yield self._chunk(min(self.codec.chunk, n - start), given, (seed, part, i), first_row + start)

    def _given(self, condition: Mapping[str, Any]) -> int | None:
        """Class index if the condition is just the label and the model can be told it; checks every name and value."""
        if not isinstance(self.codec, TableCodec):
            return self.given_class(condition)
        schema = self.codec.schema
        for name, value in condition.items():
            if name not in schema.names:
                raise UserError(f"condition.{name}={value}: no such column{near(name, schema.names)}")
            self.codec.check_value(name, value)
        if set(condition) == {schema.label} and self.model.conditioning == "label":
            return self.codec.class_index(condition[schema.label])
        return None

    def given_class(self, condition: Mapping[str, Any]) -> int | None:
        """Class index of `condition.class`, the only condition that pictures and series know."""
        for name in condition:
            if name != "class":
                raise UserError(f"condition.{name} is unknown; for this data it is condition.class=...")
        if "class" not in condition:
            return None
        if self.model.conditioning != "label":
            raise UserError("condition.class: this model was not told the classes; train it with conditional=true")
        assert isinstance(self.codec, ImageCodec)
        return self.codec.class_index(condition["class"])

    def _chunk(self, n: int, given: int | None, seeds: Seeds, first_row: int) -> Any:  # noqa: ANN401
        y = None if given is None else torch.full((n,), given, dtype=torch.long, device=self.model.device)
        return self.codec.decode(self._draw(n, y, seeds), _generator(seeds), first_row)

    def _draw(self, n: int, y: Tensor | None, seeds: Seeds) -> Tensor:
        cuda = [self.model.device] if self.model.device.type == "cuda" else []
        with torch.random.fork_rng(devices=cuda):
            torch.manual_seed(int(_generator(seeds).integers(2**62)))
            return self.model.sample(n, y)

    def _rejected(self, n: int, condition: Mapping[str, Any], seed: int, part: int, first_row: int) -> Iterator[pd.DataFrame]:
        found = drawn = index = 0
        size = min(self.codec.chunk, max(1024, 4 * n))
        while found < n:
            frame = self._chunk(size, None, (seed, part, index), first_row + drawn)
            index, drawn = index + 1, drawn + size
            fits = np.ones(len(frame), dtype=bool)
            for name, value in condition.items():
                fits &= (frame[name].astype(str) == str(value)).to_numpy()
            rows = frame[fits].head(n - found).reset_index(drop=True)
            found += len(rows)
            if len(rows):
                yield rows
            if drawn > TRIES * max(n, size) and found < n:
                told = ", ".join(f"{k}={v}" for k, v in condition.items())
                raise UserError(f"{told} was met by only {found} of {drawn} rows drawn; ask for fewer, or train model=cvae")


def _generator(seeds: Seeds) -> np.random.Generator:
    return np.random.default_rng([abs(int(seed)) for seed in seeds])
