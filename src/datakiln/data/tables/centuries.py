"""Years of two digits: which hundred years they are taken from, so that a column's dates lie close together."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from datakiln.writings import dates_of

HUNDRED = 100
AHEAD = 20  # years to come that due dates lie within, where all of a column may be to come or long past


def years_of(values: pd.Series, format: str) -> set[int]:
    """The years of cells as `strptime` reads them, '68 as 2068 and '69 as 1969; none where years have four digits."""
    if "%y" not in format:
        return set()
    return set(dates_of(values, format).dropna().dt.year.unique().tolist())


def in_century(format: str, years: Iterable[int], today: int | None = None) -> str:
    """The format with the first of the hundred years that its two digits tell, where `strptime` reads them otherwise.

    Nothing is changed where no year would be one to come. Else it is those hundred years, which hold today's, in which
    the years lie closest together: people born from 1950 to 2018, contracts that end from 2020 to 2035. Of several it
    is those to come, if none of these is far ahead, else the past: cards that expire from 2027 to 2032, people born
    from 1930 to 1950.

    Arguments:
        format: Of `strptime`.
        years: Those of the cells; see `years_of`.
        today: The year; None for that of now.
    """
    plain = np.unique(np.fromiter(years, dtype=np.int64))
    now = pd.Timestamp.now().year if today is None else today
    if "%y" not in format or not len(plain) or plain[-1] <= now:
        return format
    firsts = np.arange(now - HUNDRED + 1, now + 1)
    read = firsts[:, None] + (plain - firsts[:, None]) % HUNDRED
    closest = read[np.ptp(read, axis=1) == np.ptp(read, axis=1).min()]
    chosen = closest[-1] if closest[-1].max() <= now + AHEAD else closest[0]
    low, high = int(chosen.min()), int(chosen.max())
    if low == plain[0] and high == plain[-1]:
        return format
    # as much room before the years as behind them, but none for years to come where there are none
    first = min((low + high - HUNDRED + 1) // 2, low) if high > now else min(max(now, high) - HUNDRED + 1, low)
    return format.replace("%y", f"%{first}y")
