"""Dates that are learnt as parts, beside dates that are one number: tables whose rule is known, tabar's whole command.

    python -m bench dates
    DATES_SEEDS=0,1,2 python -m bench dates

Two-sample AUC of boosting on unseen rows, and with differences and parts of dates: 0.5 is as real rows are, and of 600
unseen rows chance gives 0.04 more or less.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from bench._process import Cost, Row, alone

ROWS = 4_000
Rng = np.random.Generator
FIGURES = ("twosample/boosting_auc", "twosample/boosting_relations")


def _days(rng: Rng, first: str, span: int) -> pd.DatetimeIndex:
    return pd.Timestamp(first) + pd.to_timedelta(rng.integers(0, span, ROWS), unit="D")


def nothing(rng: Rng) -> pd.DataFrame:
    """Stamps of three years at any second, and two columns that have nothing to do with them."""
    at = _days(rng, "2020-01-01", 1095) + pd.to_timedelta(rng.integers(0, 86_400, ROWS), unit="s")
    return pd.DataFrame({"at": at, "x": rng.normal(size=ROWS).round(3), "g": rng.choice(list("abc"), ROWS)})


def sensor(rng: Rng) -> pd.DataFrame:
    """Hours of three years, each once: a temperature of season and hour, a load of hour, weekday and temperature."""
    hours = np.sort(rng.choice(3 * 365 * 24, ROWS, replace=False))
    at = pd.DatetimeIndex(pd.Timestamp("2019-01-01") + pd.to_timedelta(hours, unit="h"))
    season, day = 2 * np.pi * at.day_of_year.to_numpy() / 365, 2 * np.pi * (at.hour.to_numpy() - 9) / 24
    warm = 10 - 8 * np.cos(season) + 5 * np.sin(day) + rng.normal(0, 1.5, ROWS)
    load = 50 + 20 * ((at.hour > 7) & (at.hour < 20)) - 15 * (at.day_of_week > 4) - warm + rng.normal(0, 3, ROWS)
    return pd.DataFrame({"at": at, "temperature": warm.round(1), "load": np.round(load, 1)})


def payments(rng: Rng) -> pd.DataFrame:
    """Rents on the first, wages on the fifteenth, others on any day."""
    months = pd.date_range("2018-01-01", periods=60, freq="MS")[rng.integers(0, 60, ROWS)]
    day = np.where(rng.random(ROWS) < 0.5, 1, np.where(rng.random(ROWS) < 0.6, 15, rng.integers(1, 29, ROWS)))
    kind = np.where(day == 1, "rent", np.where(day == 15, "wage", "other"))
    amount = np.exp(rng.normal(np.where(day == 15, 7.5, 6.5), 0.3)).round(2)
    return pd.DataFrame({"on": months + pd.to_timedelta(day - 1, unit="D"), "kind": kind, "amount": amount})


def stays(rng: Rng) -> pd.DataFrame:
    """Admission, discharge some days later or not yet, and a birthday."""
    admitted, days = _days(rng, "2021-01-01", 700), rng.geometric(0.2, ROWS)
    left = pd.Series(admitted + pd.to_timedelta(days, unit="D")).mask(rng.random(ROWS) < 0.1)
    born, cost = _days(rng, "1930-01-01", 27_000), (days * rng.gamma(5, 100, ROWS)).round(2)
    return pd.DataFrame({"admitted": admitted, "left": left, "born": born, "cost": cost})


def visits(rng: Rng) -> pd.DataFrame:
    """On workdays from 8 to 18; an amount and a channel hang on the hour, the end follows some minutes later."""
    hour = rng.integers(8, 19, ROWS)
    at = pd.bdate_range("2022-01-03", periods=520)[rng.integers(0, 520, ROWS)]
    at = at + pd.to_timedelta(hour * 3600 + rng.integers(0, 3600, ROWS), unit="s")
    amount = np.exp(rng.normal(3 + 0.15 * (hour - 8), 0.4)).round(2)
    channel = np.where(rng.random(ROWS) < np.where(hour < 12, 0.8, 0.2), "web", "shop")
    end = at + pd.to_timedelta((rng.gamma(2, 20, ROWS) * 60).astype(int), unit="s")
    return pd.DataFrame({"start": at, "end": end, "amount": amount, "channel": channel})


TABLES: tuple[Callable[[Rng], pd.DataFrame], ...] = (nothing, sensor, payments, stays, visits)


def run() -> list[Row]:
    """Medians over the seeds."""
    seeds = [int(seed) for seed in os.environ.get("DATES_SEEDS", "0,1").split(",")]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for make in TABLES:
            path = f"{folder}/{make.__name__}.csv"
            make(np.random.default_rng(0)).to_csv(path, index=False)
            parts, whole = (
                [alone("bench.dates", f"judged({path!r}, {folder!r}, {seed}, {apart})") for seed in seeds]
                for apart in (True, False)
            )
            rows.append(
                {"what": f"{make.__name__}, {ROWS:,} rows, {len(seeds)} seeds", "ours": _told(parts),
                 "peer": _told(whole), "ratio": "", "wanted": "0.5, 0.5"}
            )  # fmt: skip
    return rows


def judged(path: str, folder: str, seed: int, apart: bool) -> Cost:
    """The figures of a run; with dates as one number if they are not taken apart."""
    from datakiln.api.launch import train
    from datakiln.codecs.tables import table
    from datakiln.console import Console
    from datakiln.results import RunResult

    if not apart:
        table.taken_apart = lambda *_: None  # type: ignore[assignment]
    words = ["model=tabar", "data=csv", f"data.path={path}", f"seed={seed}", "plots=false", "~metrics.table.membership"]
    done = train(words, Path(folder) / f"{Path(path).stem}-{seed}-{apart}", Console(quiet=True))
    found = {score.name: score.value for score in RunResult.load(done.folder / "result.json").figures}
    return {name: float(found[name] or 0.0) for name in FIGURES}


def _told(costs: list[Cost]) -> str:
    return ", ".join(f"{np.median([cost[name] for cost in costs]):.3f}" for name in FIGURES)
