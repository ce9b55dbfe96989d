"""A table under differential privacy: what is given away of its rows, and rows drawn from that in their place.

Whoever trains, encodes, validates or watches sees the drawn rows alone. The real ones are kept for what measures them,
which is covered by no guarantee, and says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from datakiln.codecs.tables.bins import Bins as BinEncoder
from datakiln.codecs.tables.choice import ChoiceColumn
from datakiln.codecs.tables.column import ColumnCodec
from datakiln.codecs.tables.generated import GeneratedColumn
from datakiln.codecs.tables.grid import Grid
from datakiln.codecs.tables.number import NumberColumn
from datakiln.codecs.tables.table import TableCodec
from datakiln.codecs.tables.values import from_numbers, with_columns
from datakiln.data.base import Provenance, StepReport
from datakiln.data.tables.public import Public, declared, joined, read_public
from datakiln.data.tables.sources import RawTable
from datakiln.errors import UserError
from datakiln.nets.codes import Strata, invert
from datakiln.privacy.accounting import zcdp_epsilon, zcdp_rho
from datakiln.privacy.budget import Privacy
from datakiln.privacy.cells import PublicColumn
from datakiln.privacy.ledger import Ledger, reserve
from datakiln.privacy.marginals import Release, histograms_only, release
from datakiln.storage import replacing
from datakiln.wording import counted

RELEASED = "released.pt"
TEST = 0.15  # share of rows that only measure, where no split is given and the data set has no holdout of its own
SHARE = 0.1  # of the epsilon of dp_sgd, for the histograms that the encoding goes by


@dataclass(frozen=True)
class Real:
    """Real rows as the declaration lets them be seen: those that were counted, and those that were not."""

    train: pd.DataFrame
    test: pd.DataFrame


def public_of(
    raw: RawTable, privacy: Privacy, metadata: str | None = None, types: dict[str, Any] | None = None
) -> Public:
    """What is declared of a table: by its source, a metadata file, types, and last by `privacy.public`.

    Raises:
        UserError: Something is not declared; with the line to write.
    """
    known = joined(read_public(_of(raw.public, list(map(str, raw.frame.columns)))), read_public(metadata))
    said = joined(joined(known, read_public({"columns": types or {}})), read_public(privacy.public))
    return declared(said, [str(name) for name in raw.frame.columns], raw.label, privacy.mechanism)


def _of(known: Mapping[str, Any] | None, names: list[str]) -> dict[str, Any] | None:
    """What a source declares of the columns that are used."""
    if known is None:
        return None
    kept = {key: {n: said for n, said in known.get(key, {}).items() if n in names} for key in ("columns", "bounds")}
    return {**known, **kept}


def apart(frame: pd.DataFrame, share: float, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows to count and rows to test, each row by itself: one row more or less moves no other."""
    is_test = np.random.default_rng(seed).random(len(frame)) < share
    return frame[~is_test].reset_index(drop=True), frame[is_test].reset_index(drop=True)


def named(provenance: Provenance, privacy: Privacy) -> Provenance:
    """Where the rows come from, without what their hash or their number would tell."""
    table = Ledger(privacy.ledger).table(provenance.sha256) if privacy.ledger else "0" * 64
    return Provenance(provenance.kind, "a table under differential privacy, whose source is not told", table)


def released(privacy: Privacy, table: str, public: Public, train: pd.DataFrame) -> Release:
    """What is given away: as an earlier start of this run has measured it, else measured now, and paid for."""
    path = Path(privacy.folder) / "checkpoints" / RELEASED
    columns = public.modelled
    if path.exists():
        return _read(path, columns, privacy)
    if not privacy.ledger:
        raise UserError(f"{path} is not there, and to measure again would cost privacy again")
    cells = np.stack([column.cells(train[column.field.name]) for column in columns], axis=1)
    if privacy.mechanism == "marginals":
        rho = zcdp_rho(privacy.budget, privacy.delta)
        reserve(privacy, table, rho)
        label = public.label if privacy.label else None
        made = release(cells, columns, rho, label, privacy.adaptive, privacy.classes)
    else:
        rho = zcdp_rho(SHARE * privacy.budget, SHARE * privacy.delta)
        reserve(privacy, table, 0.0)
        made = histograms_only(cells, columns, rho)
    if public.rows is not None:
        made = replace(made, rows=float(public.rows))
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial_path:
        torch.save({"epsilon": privacy.budget, "delta": privacy.delta, **made.state()}, partial_path)
    return made


def _read(path: Path, columns: list[PublicColumn], privacy: Privacy) -> Release:
    content = torch.load(path, weights_only=True)
    same = (content["epsilon"], content["delta"]) == (privacy.budget, privacy.delta)
    if not same or content["names"] != [column.field.name for column in columns]:
        raise UserError(f"{path} was measured with other columns or another budget; begin anew without ckpt_path=")
    return Release.from_state(content, columns)


def codec_of(made: Release, public: Public, like: TableCodec) -> TableCodec:
    """A codec of the declared categories and of the bins that noisy counts gave, whose codes are those of the release.

    Arguments:
        made: The release.
        public: The declaration.
        like: With its options.
    """
    columns = [_column(column, made) for column in public.columns]
    starts = np.concatenate([[0], np.cumsum(made.sizes)])
    names = [column.field.name for column in made.columns]
    shares: tuple[float, ...] = ()
    if public.label in names:
        at = names.index(public.label)
        if made.columns[at].field.is_choice:
            found = made.theta[starts[at] : starts[at + 1]] @ made.pi
            shares = tuple((found / found.sum()).tolist())
    return like.declare(columns, public.schema, max(round(made.rows), 1), shares)


def _column(column: PublicColumn, made: Release) -> ColumnCodec:
    field = column.field
    if field.is_choice:
        return ChoiceColumn(field, list(column.categories), column.missing, [], [])
    if not field.is_numeric:
        return GeneratedColumn(field, None, 1 if field.type == "id" else None, field.generator)
    knots = made.bins[field.name].knots
    low = column.low % column.unit if field.type == "datetime" else 0.0
    grid = Grid(column.unit, low, is_rough=True) if field.type == "datetime" else Grid()
    return NumberColumn(field, BinEncoder.of_knots(knots), [], column.missing, (column.low, column.high), grid)


def draw(made: Release, n: int, seed: int) -> torch.Tensor:
    """Codes of rows drawn evenly from the release, shape (n, columns), float32; by a seed: they hide nothing."""
    starts = np.concatenate([[0], np.cumsum(made.sizes)])
    theta, pi = torch.tensor(made.theta), torch.tensor(made.pi)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        strata = Strata(n, torch.device("cpu"))
        end = pi.cumsum(0)
        kinds = torch.searchsorted(end, strata.uniforms().double() * end[-1], right=True).clamp_(max=len(pi) - 1)
        strata.sort(kinds)
        x = torch.empty(n, len(made.sizes))
        for j, (start, stop) in enumerate(zip(starts[:-1], starts[1:], strict=True)):
            drawn = invert(theta[start:stop].float().T.contiguous(), kinds, strata.uniforms())
            strata.sort(drawn)
            x[:, j] = drawn
    return x


def rows(made: Release, public: Public, n: int, seed: int) -> pd.DataFrame:
    """Rows in user units, drawn from the release."""
    codec = codec_of(made, public, TableCodec(partial(BinEncoder), compact=True))
    return codec.decode(draw(made, n, seed), np.random.default_rng([seed, 1]))


def cost(made: Release, privacy: Privacy) -> tuple[float, float]:
    """Epsilon and delta of the release."""
    delta = privacy.delta if privacy.mechanism == "marginals" else SHARE * privacy.delta
    return zcdp_epsilon(made.rho, delta), delta


def shares_codes(codec: TableCodec) -> bool:
    """Whether a codec asks for the very codes that a release has: those of categories and of bins, without places."""
    return codec.compact and not codec.places and isinstance(codec.numeric(), BinEncoder)


def with_all_categories(frame: pd.DataFrame, public: Public) -> pd.DataFrame:
    """Drawn rows and a few more, in which every declared category and gap is met: real rows may have any of them."""
    most = max(column.size for column in public.modelled)
    more = frame.iloc[np.arange(most) % len(frame)].reset_index(drop=True)
    for column in public.modelled:
        name = column.field.name
        if column.field.is_choice:
            cells = [*column.categories, *([None] if column.missing else [])]
            more[name] = pd.Series([cells[i % len(cells)] for i in range(most)], dtype=column.field.dtype)
        elif column.missing:
            more.loc[0, name] = None
    return pd.concat([frame, more], ignore_index=True).astype(frame.dtypes)


def filled(frame: pd.DataFrame, public: Public) -> pd.DataFrame:
    """Rows without a cell that was not declared: such a one becomes the first category, or the lower bound."""
    whole = {}
    for column in public.modelled:
        if not column.missing:
            series = frame[column.field.name]
            lowest = None if column.field.is_choice else from_numbers(np.array([column.low]), column.field)
            dtype: Any = column.field.dtype
            first = column.categories[0] if lowest is None else lowest.iloc[0]
            whole[column.field.name] = series.fillna(first).astype(dtype)
    return with_columns(frame, whole)


def reports(made: Release, privacy: Privacy, public: Public) -> list[StepReport]:
    """What was declared and what was measured, for the report."""
    categories = sum(column.field.is_choice for column in public.modelled)
    numbers = len(public.modelled) - categories
    anew = len(public.columns) - len(public.modelled)
    told = f"{counted(categories, 'column')} by categories, {counted(numbers, 'column')} by bounds, {anew} made anew"
    sizes = sorted({len(one.columns) for one in made.measured})
    each = [sum(len(one.columns) == size for one in made.measured) for size in sizes]
    parts = ", ".join(f"{count} of {counted(size, 'column')}" for count, size in zip(each, sizes, strict=True))
    epsilon, delta = cost(made, privacy)
    spent = f"{parts}, with discrete Gaussian noise: {made.rho:.4g}-zCDP, epsilon {epsilon:.4g} at delta {delta:.2g}"
    return [StepReport("declared", told), StepReport("marginals", spent)]
