"""The single door from a checkpoint to synthetic data: for evaluation, notebooks, the command line and the API."""

from __future__ import annotations

import functools
import hashlib
import importlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from datakiln.codecs.base import Codec
from datakiln.codecs.pictures import ImageCodec
from datakiln.codecs.series.series import SeriesCodec
from datakiln.codecs.tables.table import TableCodec
from datakiln.codecs.tables.values import choice_dtype, with_columns
from datakiln.constraints import Rules
from datakiln.errors import UserError, near
from datakiln.models.base import GenerativeModel
from datakiln.models.vae.vae import VAE
from datakiln.sampling.checkpoints import find_checkpoint, load_model, read_checkpoint
from datakiln.sampling.imputing import Imputing
from datakiln.sampling.rejection import NOTHING, Account, Allowed, Request, Seeds
from datakiln.sampling.steps import StepRules
from datakiln.schema import GENERATED_TYPES
from datakiln.spec import PLAIN, DataSpec, Sampling


def usable_device(name: str) -> torch.device:
    """The device of that name; raises `UserError` for one that is unknown or that this machine does not have."""
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda", "mps"):
        raise UserError(f"device={name} is not known; write cpu, cuda, cuda:1 or mps")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device.type == "cuda" and (device.index or 0) >= count:
        raise UserError(
            f"device={name}: torch finds {count or 'no'} CUDA device{'s' * (count != 1)} here; use device=cpu"
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UserError(f"device={name}: torch finds no such device here; use device=cpu")
    return device


CODECS = {  # by kind; a kind's codec is imported when a checkpoint holds one
    "table": "datakiln.codecs.tables.table.TableCodec",
    "image": "datakiln.codecs.pictures.ImageCodec",
    "series": "datakiln.codecs.series.series.SeriesCodec",
}

# what parts of a checkpoint raise that do not fit together
DAMAGE = (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError, AssertionError, ArithmeticError)
REDRAWS, REDRAWN = 20, 4.0  # draws, and rows for each row, until relations hold: hopeless models must not take hours
LIKELY = {  # models that have a likelihood, by kind
    "table": "tabar, mixture or nsf", "image": "pixelcnn, realnvp or glow", "series": "tsar or wavenet"
}  # fmt: skip


def codec_of(kind: str) -> type[Codec]:
    """The codec of a kind of data."""
    module, _, name = CODECS[kind].rpartition(".")
    return getattr(importlib.import_module(module), name)


class Synthesizer:
    """A trained model with its codec: samples in user units.

    Arguments:
        model: Trained.
        codec: Fitted on the model's training data.
        origin: What the checkpoint says of its run (data source, model name, ...).
        constraints: What every row of a table must meet, as `Rules.state` gives it.
    """

    def __init__(
        self,
        model: GenerativeModel,
        codec: Codec,
        origin: Mapping[str, Any] | None = None,
        constraints: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """See the class."""
        self.model, self.codec = model.eval(), codec
        self.origin = dict(origin or {})
        if isinstance(codec, TableCodec | SeriesCodec):
            self.rules = Rules.from_state(constraints, codec.schema)
        if isinstance(codec, SeriesCodec) and constraints:
            model.accepts = StepRules(codec, self.rules)

    @classmethod
    def load(cls, run: str | Path, device: str = "cpu", raw: bool = False) -> Synthesizer:
        """Reads a run folder (its best checkpoint) or a checkpoint file.

        Arguments:
            run: Folder or file.
            device: Where the model samples: "cpu", "cuda", "cuda:1" or "mps".
            raw: Whether to take the raw weights where an average (EMA) was kept beside them.

        Raises:
            UserError: See `datakiln.sampling.checkpoints`; or this machine has no such device.
        """
        place = usable_device(device)
        path = find_checkpoint(run)
        content = read_checkpoint(path)
        own = content["datakiln"]
        try:
            codec = codec_of(own["codec"]["kind"]).from_state(own["codec"]["state"])
            if codec.spec != DataSpec.from_state(own["spec"]):
                raise ValueError("its spec is not that of its codec")
            synthesizer = cls(load_model(content, raw).to(place), codec, own["origin"], own.get("constraints", ()))
        except UserError as error:
            raise UserError(f"checkpoint {path}: {error}") from None
        except DAMAGE as error:
            told = f"checkpoint {path} is damaged, or of another version of the program: its parts do not fit together"
            reason = (str(error).splitlines() or [type(error).__name__])[0][:80]
            raise UserError(f"{told} ({reason}); use another") from error
        return synthesizer

    def sample(
        self,
        n: int,
        condition: Mapping[str, Any] | None = None,
        seed: int = 0,
        balance: str | None = None,
        options: Sampling = PLAIN,
    ) -> Any:  # noqa: ANN401
        """Synthetic data in user units: a frame for tables, an array for images and series.

        Arguments:
            n: Rows, pictures or series.
            condition: {column: value or comparison} that every row must meet, such as {"sex": "Female", "age": ">60"}:
                see `Domain.read`. A model that can be told is told; others are asked again until enough rows fit.
            seed: Same seed, same data on the same machine.
            balance: Column of a table whose categories come equally often; "label" for its label.
            options: See `Sampling`; those that the model does not follow are refused.

        Raises:
            UserError: n is not positive, an option changes nothing, or a condition is unknown, impossible or
                practically never met.
        """
        chunks = list(self.chunks(n, condition, seed, balance=balance, options=options))
        if isinstance(chunks[0], pd.DataFrame):
            return pd.concat(chunks, ignore_index=True) if len(chunks) > 1 else chunks[0]
        return np.concatenate(chunks)

    def chunks(
        self,
        n: int,
        condition: Mapping[str, Any] | None = None,
        seed: int = 0,
        part: int = 0,
        first_row: int = 0,
        balance: str | None = None,
        options: Sampling = PLAIN,
    ) -> Iterator[Any]:
        """The same data in pieces, so that memory stays constant however large n is; wrong requests raise at once.

        Arguments:
            n: See `sample`.
            condition: See `sample`.
            seed: See `sample`.
            part: A further seed, for parts of one large sample that are made apart.
            first_row: Rows made before this part, so that ids do not repeat.
            balance: See `sample`.
            options: See `sample`.
        """
        if n <= 0:
            raise UserError(f"n={n} must be at least 1")
        self.check(options)
        if isinstance(self.codec, TableCodec):
            return self.rows(self.request(condition, balance), n, seed, part, first_row, options)
        if balance is not None:
            raise UserError(f"balance={balance} is for tables")
        if isinstance(self.codec, SeriesCodec):
            return self._sequences(self.codec, n, condition or {}, (seed, part), first_row, options)
        return self._examples(n, self.given_class(condition or {}), (seed, part), first_row, options)

    def check(self, options: Sampling = PLAIN) -> None:
        """Refuses to draw from a model that only transforms, and options that it does not follow."""
        if not self.model.can_draw:
            told = f"{type(self.model).__name__} draws nothing by itself: it takes an input"
            raise UserError(f"{told}; give some with {self.model.way_in}=DIR")
        self.model.check_options(options)

    def transform(
        self,
        data: Any,  # noqa: ANN401
        condition: Mapping[str, Any] | None = None,
        seed: int = 0,
        options: Sampling = PLAIN,
        part: int = 0,
    ) -> Any:  # noqa: ANN401
        """Examples made from others by a model that takes an input: translated, upscaled, restored.

        Arguments:
            data: Inputs in user units; pictures uint8 (n, C, H, W) of the shape `model.takes`.
            condition: {"domain": name} of what they are to become, where the model has a choice.
            seed: Same seed, same results on the same machine.
            options: See `sample`.
            part: A further seed, for parts of one large input that are made apart.

        Raises:
            UserError: The model takes no input, or an option or the condition changes nothing.
        """
        if not self.model.can_transform:
            raise UserError(f"{type(self.model).__name__} takes no input, it draws; leave out translate=")
        target_of = self.target(condition or {})
        parts = []
        for i, start in enumerate(range(0, len(data), self.codec.chunk)):
            x = self.codec.encode(data[start : start + self.codec.chunk]).to(self.model.device)
            target = None if target_of is None else torch.full((len(x),), target_of, device=x.device)
            with self.seeded((seed, part, i)):
                made = self.model.transformed(x, target, options)
            parts.append(self.codec.decode(made, _generator((seed, part, i)), start))
        return pd.concat(parts, ignore_index=True) if isinstance(parts[0], pd.DataFrame) else np.concatenate(parts)

    def target(self, condition: Mapping[str, Any]) -> int | None:
        """Index of the domain that examples are to become; None for none.

        Raises:
            UserError: There is no such domain, or a class is asked for, which no model that takes an input is told.
        """
        for name, value in condition.items():
            if name != "domain" or not isinstance(self.codec, ImageCodec):
                way_out = "say to=DOMAIN" if self.codec.spec.domains else "leave it out"
                told = f"condition.{name}={value}: {type(self.model).__name__} is told no class of what it is to make"
                raise UserError(f"{told}; {way_out}")
        return self.codec.domain_index(condition["domain"]) if condition else None  # type: ignore[attr-defined]

    @torch.no_grad()
    def picture_log_prob(self, pictures: np.ndarray, seeds: Sequence[int] = (0,)) -> np.ndarray:
        """Log-probability of pictures, uint8 (n, C, H, W) of the model's shape, in nats, shape (n,).

        Arguments:
            pictures: In user units.
            seeds: Of what a bound draws; an exact likelihood draws nothing.

        Raises:
            UserError: The model has no likelihood, or the pictures have another shape.
        """
        self.check_likelihood()
        if pictures.shape[1:] != self.codec.spec.shape:
            told = f"pictures of shape {tuple(pictures.shape[1:])} (channels, height, width)"
            raise UserError(f"{told}, and the model's are {self.codec.spec.shape}; resize them")
        parts = []
        with self.seeded(seeds), self.model.evaluating():
            for part in torch.from_numpy(np.ascontiguousarray(pictures)).split(self.model.rows_at_once):
                parts.append(self.model.log_prob(self.codec.encode(part).to(self.model.device)).cpu().numpy())
        return np.concatenate(parts)

    @torch.no_grad()
    def complete(
        self, pictures: np.ndarray, hidden: np.ndarray, seeds: Sequence[int], options: Sampling = PLAIN
    ) -> np.ndarray:
        """Pictures with their hidden parts drawn, uint8 (n, C, H, W); what is shown stays as it is.

        Arguments:
            pictures: uint8 (n, C, H, W), of the model's shape.
            hidden: Which pixels are drawn, bool (H, W).
            seeds: Same seeds, same pictures on the same machine.
            options: See `sample`.

        Raises:
            UserError: The model cannot be told a part of a picture, or an option that it does not follow.
        """
        self.model.check_options(options)
        at, parts = torch.from_numpy(hidden), []
        with self.seeded(seeds), self.model.evaluating():
            for part in torch.from_numpy(np.ascontiguousarray(pictures)).split(self.model.rows_at_once):
                x = self.codec.encode(part).masked_fill(at, float("nan")).to(self.model.device)
                with self.model.making(len(part)):
                    parts.append(self.codec.decode(self.model.complete(x, None, options), _generator(seeds)))
        return np.where(hidden, np.concatenate(parts), pictures)

    @contextmanager
    def watched(self, n: int, watch: Callable[[int, int], None]) -> Iterator[None]:
        """Inside, `watch` is told how many of n examples are made, also of a model that takes long for each."""
        done = 0.0

        def tell(more: float) -> None:
            nonlocal done
            done += more
            watch(min(int(done + 1e-6), n), n)

        self.model.watcher = tell
        try:
            yield
        finally:
            self.model.watcher = None

    @torch.no_grad()
    def enlarge(
        self,
        pictures: np.ndarray,
        condition: Mapping[str, Any],
        seeds: Sequence[int],
        options: Sampling = PLAIN,
    ) -> np.ndarray:
        """Pictures of the model's side, uint8 (n, C, H, W), drawn given smaller ones.

        Arguments:
            pictures: uint8 (n, C, H / k, W / k) for a whole k.
            condition: See `sample`; the class that all of them are told to be of.
            seeds: Same seeds, same pictures on the same machine.
            options: See `sample`.

        Raises:
            UserError: The model draws no larger pictures, an option that it does not follow, or a class unknown to it.
        """
        self.model.check_options(options)
        given, parts = self.given_class(condition), []
        with self.seeded(seeds), self.model.evaluating():
            for part in torch.from_numpy(np.ascontiguousarray(pictures)).split(self.model.rows_at_once):
                y = None if given is None else torch.full((len(part),), given, device=self.model.device)
                x = self.codec.encode(part).to(self.model.device)
                with self.model.making(len(part)):
                    parts.append(self.codec.decode(self.model.enlarge(x, y, options), _generator(seeds)))
        return np.concatenate(parts)

    def request(self, condition: Mapping[str, Any] | None = None, balance: str | None = None) -> Request:
        """What is wanted of a table, checked; raises `UserError` for what it cannot give."""
        assert isinstance(self.codec, TableCodec)
        model = self.model
        return Request(self.codec, model.conditioning, condition or {}, balance, self.rules, model.restricts)

    def rows(
        self,
        request: Request,
        n: int,
        seed: int,
        part: int = 0,
        first_row: int = 0,
        options: Sampling = PLAIN,
        parts: int = 1,
    ) -> Iterator[pd.DataFrame]:
        """The rows of a checked request, in pieces; arguments as for `chunks`, and the number of parts."""
        return request.rows(n, functools.partial(self._chunk, options=options), seed, part, first_row, parts)

    def tried(self, n: int, condition: Mapping[str, Any], seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
        """One draw of n rows of a table by a model told the condition as far as it can be, and which rows meet it.

        Rows that do not are not drawn again: see `sample` for that.
        """
        return self.request(condition).once(n, self._chunk, seed)

    def accounted(
        self, request: Request, account: Account, seed: int, options: Sampling = PLAIN
    ) -> Iterator[tuple[pd.DataFrame, Account]]:
        """The rows that an account still lacks, in pieces, each with the account after it."""
        return request.accounted(account, functools.partial(self._chunk, options=options), seed)

    def impute(self, frame: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
        """A table with its missing cells filled by a draw given the known cells of their row; known cells stay.

        Where missing is itself likely for a cell, it is drawn again, `FILL_TRIES` times at most, then left missing. So
        is a row whose filled cells break a constraint or a relation of columns, if the known ones leave it a choice;
        sources of what is given are at last drawn from among the values that give it.

        Raises:
            UserError: The model cannot be told columns, or the table lacks one that the model uses.
        """
        if not self.model.can_fill:
            raise UserError(f"{type(self.model).__name__} cannot be told columns; train model=tabar or model=mixture")
        codec = self._with_columns(frame, ())
        names = [name for name in codec.schema.names if name in frame]  # ids, text and constants are not needed
        filled = Imputing(codec, self.rules, self._drawn_beside).filled(frame[names].reset_index(drop=True), seed)
        fields = [codec.schema[name] for name in names]
        dtypes = {field.name: choice_dtype(field, []) if field.categories else field.dtype for field in fields}
        return filled.astype(dtypes).set_axis(frame.index)

    def _drawn_beside(self, gaps: pd.DataFrame, key: Seeds) -> pd.DataFrame:
        """Rows of a table drawn by a model that is told the cells that are there."""
        assert isinstance(self.codec, TableCodec)
        return self.codec.decode(self._draw(len(gaps), self.codec.encode_gaps(gaps), key), _generator(key))

    def log_prob(self, frame: pd.DataFrame, unknown: Sequence[str] = ()) -> pd.Series:
        """Log-probability of each row in nats, bins of numbers counted as categories; the lowest are anomalies.

        A category never seen in training counts as unknown, a number outside its range as the nearest within. A model
        of whole rows gives NaN for a row with a missing cell where no training row had one.

        Arguments:
            frame: Rows in user units.
            unknown: Columns that are left out of account, whatever their cells.

        Raises:
            UserError: The model has no such likelihood, or the table lacks a column that the model uses.
        """
        self.check_likelihood()
        whole = self.model.likelihood == "whole"
        if whole and unknown:
            name = type(self.model).__name__
            raise UserError(f"the table lacks the column {unknown[0]!r}, and {name} scores whole rows; try model=tabar")
        codec = self._with_columns(frame, unknown)
        cells = {name: frame[name] for name in codec.modelled if name not in unknown and name in frame}
        cells = dict(codec.with_sources(cells))
        with torch.no_grad():
            if whole:
                x = self._whole_rows(codec, frame)
            else:
                x = codec.encode_known(cells, len(frame))
            nats = self.model.log_prob(x.to(self.model.device))
        scores = pd.Series(nats.cpu().numpy(), index=frame.index, name="log_prob")
        return scores.mask(self._has_gaps(codec, frame)) if whole else scores

    def check_likelihood(self) -> None:
        """Refuses a model that cannot tell how likely an example is; raises `UserError`."""
        if self.model.likelihood == "none":
            raise UserError(f"{type(self.model).__name__} has no likelihood; train model={LIKELY[self.codec.kind]}")

    def _whole_rows(self, codec: TableCodec, frame: pd.DataFrame) -> Tensor:
        """Rows of a model whose likelihood is of whole rows alone; columns that it does not use may lack."""
        return codec.encode(frame.reindex(columns=list(codec.schema.names)))

    def _has_gaps(self, codec: TableCodec, frame: pd.DataFrame) -> pd.Series:
        """Rows with a missing cell where no training row had one."""
        read = set(codec.modelled)
        whole = [c.field.name for c in codec.columns if c.field.name in read and not getattr(c, "missing", True)]
        return frame[[name for name in whole if name in frame]].isna().any(axis=1)

    def _with_columns(self, frame: pd.DataFrame, unknown: Sequence[str]) -> TableCodec:
        assert isinstance(self.codec, TableCodec)
        read = [name for name in self.codec.modelled if name not in self.codec.plan.computed]
        lacking = [name for name in read if name not in frame and name not in unknown]
        if lacking:
            raise UserError(f"the table lacks the column {lacking[0]!r}{near(lacking[0], map(str, frame.columns))}")
        return self.codec

    def pictures(
        self, n: int, condition: Mapping[str, Any], seed: int, options: Sampling = PLAIN, done: int = 0
    ) -> Iterator[np.ndarray]:
        """The same pictures as `chunks` gives, from the piece that holds picture `done` on."""
        self.check(options)
        return self._examples(n, self.given_class(condition), (seed, 0), 0, options, done // self.codec.chunk)

    def _examples(
        self, n: int, given: int | None, seeds: tuple[int, int], first_row: int, options: Sampling, first: int = 0
    ) -> Iterator[Any]:
        for i, start in enumerate(range(0, n, self.codec.chunk)):
            if i < first:
                continue
            size = min(self.codec.chunk, n - start)
            told = self.classes(size, given, (*seeds, i))
            yield self._chunk(size, told, (*seeds, i), first_row + start, options=options)

    def _sequences(
        self,
        codec: SeriesCodec,
        n: int,
        condition: Mapping[str, Any],
        seeds: tuple[int, int],
        first_row: int,
        options: Sampling,
    ) -> Iterator[pd.DataFrame]:
        """Rows of whole sequences, each of its own length, in pieces of some thousand."""
        codec.told(condition, 1, _generator(seeds))  # wrong requests raise at once
        if condition and self.model.conditioning != "columns":
            name = next(iter(condition))
            raise UserError(f"condition.{name}: {type(self.model).__name__} cannot be told; train model=tsar")
        return self._sequence_pieces(codec, n, condition, seeds, first_row, options)

    def _sequence_pieces(
        self,
        codec: SeriesCodec,
        n: int,
        condition: Mapping[str, Any],
        seeds: tuple[int, int],
        first_row: int,
        options: Sampling,
    ) -> Iterator[pd.DataFrame]:
        length = codec.spec.shape[0]
        longest = 1 if codec.spec.ends else max(codec.lengths)
        each = max(codec.chunk * 32 // max(longest, 32), 1)
        done = 0
        for i, start in enumerate(range(0, n, each)):
            size, at, rng = min(each, n - start), (*seeds, i), _generator((*seeds, i))
            x = self._draw(size, codec.told(condition, size, rng), at, options)
            wanted = None
            if not codec.spec.ends:
                wanted = rng.choice(codec.lengths, size)
                if (more := int(wanted.max()) - length) > 0 and self.model.can_unroll:
                    with self.seeded((*at, 4)):
                        x = torch.cat([x, *self.model.unroll(x, more, options)], dim=1)
                wanted = np.minimum(wanted, x.shape[1])
            frame = codec.decode(x.cpu(), rng, first_row + start, wanted, done)
            done += len(frame)
            yield frame

    def classes(self, n: int, given: int | None, seeds: Seeds) -> Tensor | None:
        """Class indices of one piece of pictures, (n,): that given, else drawn by shares; None for an untold model.

        Drawn here and not by the model, so that they are known of every picture.
        """
        if self.model.conditioning != "label":
            return None
        if given is not None:
            return torch.full((n,), given, dtype=torch.long)
        shares = np.asarray(self.codec.spec.class_shares, dtype=np.float64)
        return torch.from_numpy(_generator((*seeds, 1)).choice(len(shares), size=n, p=shares / shares.sum()))

    def labels(self, n: int, condition: Mapping[str, Any] | None = None, seed: int = 0) -> np.ndarray | None:
        """Class indices of the pictures that `sample` gives for the same arguments, (n,); None for an untold model."""
        given, chunk = self.given_class(condition or {}), self.codec.chunk
        parts = [self.classes(min(chunk, n - start), given, (seed, 0, i)) for i, start in enumerate(range(0, n, chunk))]
        return np.concatenate([part.numpy() for part in parts if part is not None]) if parts[0] is not None else None

    def given_class(self, condition: Mapping[str, Any]) -> int | None:
        """Class index of `condition.class`, the only condition that pictures and series know."""
        for name in condition:
            if name != "class":
                raise UserError(f"condition.{name} is unknown; for this data it is condition.class=...")
        if "class" not in condition:
            return None
        if self.model.conditioning != "label":
            if not self.codec.spec.classes:
                self.codec.class_index(condition["class"])  # says that there were none
            told = f"condition.class={condition['class']}: this model was not told the classes"
            takes_it = self.model.has_option("conditional") and not isinstance(self.model, VAE)
            way_out = "conditional=true" if takes_it else "model=cvae"
            raise UserError(f"{told}; train with {way_out}")
        return self.codec.class_index(condition["class"])

    def _chunk(
        self,
        n: int,
        told: Tensor | None,
        seeds: Seeds,
        first_row: int,
        allowed: Allowed = NOTHING,
        options: Sampling = PLAIN,
    ) -> Any:  # noqa: ANN401
        """One draw of the model in user units; `told` is what `GenerativeModel.draw` takes as its condition."""
        made = self.codec.decode(self._draw(n, told, seeds, options, allowed), _generator(seeds), first_row)
        if isinstance(self.codec, TableCodec) and self.codec.plan.relations:
            return self._related(self.codec, made, told, seeds, options, allowed)
        return made

    def _related(
        self,
        codec: TableCodec,
        frame: pd.DataFrame,
        told: Tensor | None,
        seeds: Seeds,
        options: Sampling,
        allowed: Allowed,
    ) -> pd.DataFrame:
        """The rows, those drawn again that break a relation which the codec cannot compute, such as an order."""
        columns, left = codec.by_name(), REDRAWN * len(frame)
        own = [field.name for field in codec.schema.fields if field.type in GENERATED_TYPES]
        for i in range(REDRAWS):
            at = np.flatnonzero(codec.plan.unmet(frame, columns))
            if not len(at) or len(at) > left:
                break
            left -= len(at)
            again = (*seeds, 3, i)
            known = None if told is None else told[torch.from_numpy(at)]
            drawn = self._draw(len(at), known, again, options, allowed)
            place = np.arange(len(frame))
            place[at] = len(frame) + np.arange(len(at))
            both = pd.concat([frame, codec.decode(drawn, _generator(again))], ignore_index=True)
            frame = with_columns(both.take(place).reset_index(drop=True), {name: frame[name] for name in own})
        frame = codec.plan.repaired(frame)
        whole = {name: codec.schema[name].dtype for name in codec.plan.made if codec.schema[name].is_numeric}
        return frame.astype({name: dtype for name, dtype in whole.items() if frame[name].notna().all()})

    def _draw(
        self,
        n: int,
        told: Tensor | None,
        seeds: Sequence[int],
        options: Sampling = PLAIN,
        allowed: Allowed = NOTHING,
    ) -> Tensor:
        with self.seeded(seeds), self.model.within(allowed):
            return self.model.sample(n, None if told is None else told.to(self.model.device), options)

    @contextmanager
    def seeded(self, seeds: Sequence[int]) -> Iterator[None]:
        """Torch's generators at these seeds; the caller's own afterwards."""
        with torch.random.fork_rng(devices=[self.model.device] if self.model.device.type == "cuda" else []):
            torch.manual_seed(int(_generator(seeds).integers(2**62)))
            yield


def fingerprint(synthesizer: Synthesizer) -> str:
    """SHA-256 of everything that samples depend on besides seed and request: weights, codec and constraints."""
    digest = hashlib.sha256()
    for name, value in sorted(synthesizer.model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    rules = synthesizer.rules.state() if isinstance(synthesizer.codec, TableCodec) else []
    learnt = [synthesizer.codec.state(), rules]
    digest.update(json.dumps(learnt, sort_keys=True, default=str).encode())
    return digest.hexdigest()


def _generator(seeds: Sequence[int]) -> np.random.Generator:
    return np.random.default_rng([abs(int(seed)) for seed in seeds])
