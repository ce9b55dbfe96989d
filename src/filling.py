"""A person's rows and a model that can be told columns: missing cells filled in, or a log-likelihood for every row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from src.atomic import replacing
from src.codecs.table import TableCodec
from src.data.sources import TableFile
from src.errors import UserError
from src.schema import Field, Schema
from src.synthesizer import Synthesizer
from src.writing import for_csv

SCORE = "log_prob"


def fill_file(synthesizer: Synthesizer, source: str, out: str, seed: int) -> str:
    """Writes the table with its missing cells drawn given the known cells of their row; says how many there were.

    Columns that the model does not know stay as they are.

    Raises:
        UserError: The file cannot be read or does not fit the model, or the model cannot be told columns.
    """
    frame, known = _read(synthesizer, source)
    filled = synthesizer.impute(known, seed)
    holes, left = int(known.isna().to_numpy().sum()), int(filled.isna().to_numpy().sum())
    _write(frame.assign(**{name: filled[name] for name in filled.columns}), out, _schema(synthesizer))
    rest = f"; {left} are left missing, as the model expects them to be" if left else ""
    return f"{holes - left} of {holes} missing cells filled in {len(frame)} rows{rest}"


def score_file(synthesizer: Synthesizer, source: str, out: str) -> str:
    """Writes the table with one more column, the log-likelihood of each row in nats, lowest first; says the lowest.

    Raises:
        UserError: See `fill_file`; or the table has a column of that name.
    """
    frame, known = _read(synthesizer, source)
    if SCORE in frame:
        raise UserError(f"score={source} has a column {SCORE!r} already; rename it")
    nats = synthesizer.log_prob(known)
    order = np.argsort(nats.to_numpy(), kind="stable")
    _write(frame.assign(**{SCORE: nats}).iloc[order], out, _schema(synthesizer))
    return f"{len(frame)} rows scored, from {nats.min():.1f} to {nats.max():.1f} nats, the least likely first"


def _schema(synthesizer: Synthesizer) -> Schema:
    if not isinstance(synthesizer.codec, TableCodec):
        raise UserError("fill= and score= are for tables; this run's model makes pictures")
    return synthesizer.codec.schema


def _read(synthesizer: Synthesizer, source: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The file's table, and its columns that the model knows, in the dtypes of the training table."""
    schema = _schema(synthesizer)
    frame = TableFile(source, streaming=False)(None).frame
    known = pd.DataFrame({f.name: _cast(frame[f.name], f, source) for f in schema.fields if f.name in frame})
    return frame, known


def _cast(series: pd.Series, field: Field, source: str) -> pd.Series:
    dtype = pd.api.types.pandas_dtype(field.dtype)
    if pd.api.types.is_integer_dtype(dtype) and series.isna().any():
        dtype = np.dtype("float64")  # what pandas keeps whole numbers with holes as
    try:
        return series.astype(dtype)
    except (ValueError, TypeError) as error:
        raise UserError(
            f"{source}: column {field.name!r} is not {field.type} as in the training table ({error})"
        ) from None


def _write(frame: pd.DataFrame, out: str, schema: Schema) -> None:
    path = Path(out)
    if path.suffix not in (".csv", ".parquet"):
        raise UserError(f"out={out} must end in .csv or .parquet")
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        if path.suffix == ".csv":
            for_csv(frame, schema).to_csv(partial, index=False)
        else:
            frame.to_parquet(partial, index=False)
