"""Preprocessing of a table in user units: each step a function from rows to rows and a report of what it touched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd

from datakiln.codecs.tables.values import to_numbers
from datakiln.data.base import StepReport
from datakiln.errors import UserError
from datakiln.schema import Field, Schema
from datakiln.wording import counted

Frames = dict[str, pd.DataFrame]
SHARES = (0.7, 0.15, 0.15)  # of train, validation and test
MOST_JUDGING = 4_000  # rows kept from training to validate, and as many to test: an AUC of them is known to 0.006
Balance = Literal["none", "over", "under"]
Validation = Literal["apart", "refit", "shared"]
VALIDATION: dict[str, str] = {  # and what is said of the last two
    "apart": "",
    "refit": "refit: chosen with the validation rows apart, then fitted again on them too",
    "shared": "shared: the best epoch is chosen on rows that are trained on, so that memorising goes unseen; "
    "data.validation=refit chooses on unseen rows first",
}
DANGEROUS = (
    16_000  # training rows: with fewer of Adult's, members were told from unseen rows where validation is shared
)


def danger(validation: str, rows: int) -> StepReport | None:
    """A warning where validation rows train too, and there are so few rows that members have been told from others.

    The number is measured for "shared" alone; "refit" has a length chosen on unseen rows, and may be safe with fewer.

    Arguments:
        validation: What `data.validation` says.
        rows: Training rows, those of validation among them.
    """
    if validation == "apart" or rows >= DANGEROUS:
        return None
    why = {
        "shared": "in experiments an attacker told them from unseen ones",
        "refit": "no rows are left to see memory begin in the second fit",
    }[validation]
    told = f"data.validation={validation} with {rows:,} training rows, fewer than {DANGEROUS:,}: {why}"
    return StepReport("warning", f"{told}; take data.validation=apart, and look at the report's section Safe")


def refuse_on_disk(duplicates: bool, missing: str, outliers: float | None, balance: str) -> None:
    """Raises `UserError` for a step that would need all rows at once, where the table stays on disk."""
    wanted = {
        "data.duplicates=true": duplicates,
        "data.missing=impute": missing == "impute",
        f"data.outliers={outliers}": outliers is not None,
        f"data.balance={balance}": balance != "none",
    }
    refused = next((option for option, is_wanted in wanted.items() if is_wanted), None)
    if refused is not None:
        raise UserError(
            f"{refused} needs all rows in memory, but the table is on disk; leave it out, or set data.streaming=false"
        )


def drop_duplicates(frame: pd.DataFrame) -> tuple[pd.DataFrame, StepReport]:
    """Keeps the first of equal rows, before the split: the same row in train and test would be a leak."""
    kept = frame[~frame.duplicated()].reset_index(drop=True)
    return kept, StepReport("duplicates", "keep the first of equal rows", rows=len(frame) - len(kept))


def drop_missing(frames: Frames, schema: Schema) -> tuple[Frames, StepReport]:
    """Leaves out every row with a missing cell in a modelled column, in all splits."""
    columns = _modelled(schema)
    kept = {name: frame.dropna(subset=columns).reset_index(drop=True) for name, frame in frames.items()}
    gone = sum(len(frames[name]) - len(kept[name]) for name in frames)
    cells = sum(int(frame[columns].isna().to_numpy().sum()) for frame in frames.values())
    return kept, StepReport("missing", "drop: rows with a missing cell are left out", rows=gone, cells=cells)


def impute_missing(frames: Frames, schema: Schema) -> tuple[Frames, StepReport]:
    """Fills missing cells with the training median (numbers) or the most frequent training value (choices).

    A target is not made up: rows without one stay without.
    """
    filled, cells = {name: frame.copy() for name, frame in frames.items()}, 0
    for column in _modelled(schema):
        if column == schema.label:
            continue
        missing = {name: frame[column].isna() for name, frame in frames.items()}
        if not any(mask.any() for mask in missing.values()):
            continue
        present = frames["train"][column].dropna()
        if present.empty:
            raise UserError(
                f"column {column!r} has no value in the training rows to impute from; use data.missing=model"
            )
        fill = _middle(present, schema[column]) if schema[column].is_numeric else present.mode().iloc[0]
        for name, frame in filled.items():
            frame.loc[missing[name], column] = fill
            cells += int(missing[name].sum())
    detail = "impute: training median for numbers, most frequent value for categories"
    if schema.label in _modelled(schema) and any(frame[schema.label].isna().any() for frame in frames.values()):
        detail += f"; not for {schema.label}, the target"
    return filled, StepReport("missing", detail, cells=cells)


def _middle(present: pd.Series, field: Field) -> Any:  # noqa: ANN401 (any cell value)
    """The cell at the median, in whatever writing or dtype it has."""
    order = np.argsort(to_numbers(present, field), kind="stable")
    return present.iloc[order[round((len(order) - 1) * 0.5)]]


def keep_missing(frames: Frames, schema: Schema) -> tuple[Frames, StepReport]:
    """Touches nothing: the codec gives missing cells a state of their own, which the model learns."""
    cells = sum(int(frame[_modelled(schema)].isna().to_numpy().sum()) for frame in frames.values())
    learnt = f"{counted(cells, 'missing cell')} {'is' if cells == 1 else 'are'} learnt and reproduced"
    return frames, StepReport("missing", f"model: {learnt if cells else 'no cell is missing'}")


MISSING = {"drop": drop_missing, "impute": impute_missing, "model": keep_missing}


def drop_outliers(train: pd.DataFrame, schema: Schema, threshold: float) -> tuple[pd.DataFrame, StepReport]:
    """Leaves out training rows with a number further than `threshold` standard deviations from its column's mean.

    Only training rows: validation and test stay as the world is.
    """
    outlying = np.zeros(len(train), dtype=bool)
    cells = 0
    for name in schema.numeric:
        values = to_numbers(train[name], schema[name])
        deviation = np.nanstd(values) if np.isfinite(values).any() else 0.0
        if deviation > 0:
            far = np.abs(values - np.nanmean(values)) > threshold * deviation
            outlying |= far
            cells += int(far.sum())
    detail = f"z-score above {threshold:g} in a numeric column, training rows only"
    return train[~outlying].reset_index(drop=True), StepReport(
        "outliers", detail, rows=int(outlying.sum()), cells=cells
    )


def balance_classes(train: pd.DataFrame, schema: Schema, how: Balance, seed: int) -> tuple[pd.DataFrame, StepReport]:
    """Repeats rows of rare classes ("over") or leaves out rows of frequent ones ("under") until all are equal."""
    if schema.label is None:
        raise UserError(f"data.balance={how} needs a label; set data.target")
    counts = train[schema.label].value_counts()
    size = int(counts.max() if how == "over" else counts.min())
    rng = np.random.default_rng(seed)
    parts = []
    for value in counts.index:
        rows = np.flatnonzero(train[schema.label] == value)
        if how == "under":
            parts.append(rng.choice(rows, size, replace=False))
        else:
            parts.append(np.concatenate([rows, rng.choice(rows, size - len(rows), replace=True)]))
    parts.append(np.flatnonzero(train[schema.label].isna()))  # of no class: they stay as they are
    balanced = train.iloc[rng.permutation(np.concatenate(parts))].reset_index(drop=True)
    detail = f"{how}sampling every class of {schema.label} to {counted(size, 'training row')}"
    return balanced, StepReport("balance", detail, rows=abs(len(balanced) - len(train)))


def shares_of(split: Sequence[float] | None, rows: int, has_holdout: bool = False) -> tuple[float, float, float]:
    """Shares of train, validation and test: those given, or `SHARES` with no more than `MOST_JUDGING` rows a judge.

    Arguments:
        split: What was given; None for the rule.
        rows: To be split.
        has_holdout: Whether the test rows are not among them.
    """
    if split is not None:
        return (split[0], split[1], split[2])
    val, test = (min(share, MOST_JUDGING / max(rows, 1)) for share in SHARES[1:])
    test = 0.0 if has_holdout else test
    return (1.0 - val - test, val, test)


def split(frame: pd.DataFrame, schema: Schema, shares: tuple[float, float, float], seed: int) -> Frames:
    """Train, validation and test rows, stratified by the label, seeded, made before anything is fitted.

    A class with fewer than three rows goes to training whole. A numeric label is stratified by tenths of its range of
    ranks. Raises `UserError` when there are too few rows for three parts.
    """
    if len(frame) < 10:
        raise UserError(
            f"{len(frame)} rows are too few to split into train, validation and test; at least 10 are needed"
        )
    frames = _parts(frame, schema, (shares[1], shares[2]), seed)
    for name, part in frames.items():
        if part.empty:
            raise UserError(f"{len(frame)} rows leave no {name} rows in some or all classes; add rows or set no target")
    return frames


def split_with_holdout(
    frame: pd.DataFrame, holdout: pd.DataFrame, schema: Schema, shares: tuple[float, float, float], seed: int
) -> Frames:
    """As `split`, with the holdout as the test rows; the shares of train and validation keep their proportion."""
    frames = _parts(frame, schema, (shares[1] / (shares[0] + shares[1]), 0.0), seed)
    if frames["val"].empty:
        raise UserError(f"{len(frame)} rows leave no val rows; raise data.split[1]")
    return {**frames, "test": holdout}


def _parts(frame: pd.DataFrame, schema: Schema, shares: tuple[float, float], seed: int) -> Frames:
    rng = np.random.default_rng(seed)
    strata = _strata(frame, schema)
    parts: dict[str, list[np.ndarray]] = {"train": [], "val": [], "test": []}
    carry = np.zeros(2)  # what rounding owes to validation and test, so that many small strata still give their shares
    for stratum in np.unique(strata):
        rows = rng.permutation(np.flatnonzero(strata == stratum))
        if len(rows) < 3:
            parts["train"].append(rows)
            continue
        carry += np.array(shares) * len(rows)
        n_val, n_test = (int(c) for c in np.floor(carry + 0.5))
        carry -= (n_val, n_test)
        parts["val"].append(rows[:n_val])
        parts["test"].append(rows[n_val : n_val + n_test])
        parts["train"].append(rows[n_val + n_test :])
    places = {name: np.sort(np.concatenate([*rows, np.zeros(0, dtype=np.int64)])) for name, rows in parts.items()}
    return {name: frame.iloc[place].reset_index(drop=True) for name, place in places.items()}


def _strata(frame: pd.DataFrame, schema: Schema) -> np.ndarray:
    if schema.label is None:
        return np.zeros(len(frame), dtype=np.int64)
    if schema[schema.label].is_numeric:
        numbers = pd.Series(to_numbers(frame[schema.label], schema[schema.label]))
        ranks = numbers.rank(pct=True, method="first").fillna(0.0)
        return np.minimum((ranks.to_numpy() * 10).astype(np.int64), 9)
    return frame[schema.label].astype("category").cat.codes.to_numpy(dtype=np.int64)


def _modelled(schema: Schema) -> list[str]:
    return [field.name for field in schema.fields if field.is_numeric or field.is_choice]


def check_options(
    missing: str,
    balance: str,
    outliers: float | None,
    split: Any,  # noqa: ANN401
    batch_size: int,
    validation: str,
    sample: int,
) -> None:
    """Raises `UserError` for an option of `TableData` that no table could follow."""
    if missing not in MISSING:
        raise UserError(f"data.missing={missing} must be one of {', '.join(MISSING)}")
    if validation not in VALIDATION:
        raise UserError(f"data.validation={validation} must be one of {', '.join(VALIDATION)}")
    if sample < 100:
        raise UserError(f"data.sample={sample} must be at least 100")
    if balance not in ("none", "over", "under"):
        raise UserError(f"data.balance={balance} must be one of none, over, under")
    if outliers is not None and outliers <= 0:
        raise UserError(f"data.outliers={outliers} must be positive, or null to keep all rows")
    if split is not None and (len(split) != 3 or min(split) <= 0 or abs(sum(split) - 1) > 1e-6):
        raise UserError(f"data.split={list(split)} must be three positive shares that add up to 1")
    if batch_size < 1:
        raise UserError(f"data.batch_size={batch_size} must be at least 1")
