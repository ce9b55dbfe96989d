"""The membership battery on a table: can it be told which real rows the generator has learnt from?

What a good distance never shows a game may prove: the figures are of attacks that were tried, see
`datakiln.metrics.privacy.battery`. A guess scores 0.5, and 1 % at a false-positive rate of 1 %, whatever the table.
Beside them stand the same battery with held-out rows in place of the synthetic ones, which shows what looking at so
many games finds by chance, and with copies of the training rows, which shows that it finds what is there to be found.
Both are played with a thousand rows of each kind at most. What chance finds falls as one over the root of the number of
records, mn / (m + n) of m members and n others, and is told for as many as the figure has.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from datakiln.errors import UserError
from datakiln.metrics.base import Drawn, EvalData, Figure, Incomplete, MetricError, Plan, metric
from datakiln.metrics.privacy.battery import ALL, OUTLIERS, Audit, fewer, play_battery
from datakiln.metrics.privacy.closest import closest
from datakiln.metrics.privacy.games import LEAST, Game, Outcome, Scores, play, rate_name
from datakiln.metrics.privacy.privacy import need_holdout
from datakiln.metrics.privacy.records import TableSpace
from datakiln.metrics.tables.columns import Tables, encode
from datakiln.schema import Schema

NAMES = (
    "privacy/membership_auc",
    "privacy/membership_tpr1",
    "privacy/membership_tpr01",
    "privacy/membership_outliers_auc",
    "privacy/membership_outliers_tpr1",
)
STANDING_IN = "battery of a reference"  # in `EvalData.cache`: no model made those rows; what chance shrinks by
JUDGED = 1_000  # rows of each kind in such a battery
LIRA = 8  # shadow models from which on two distributions can be told for each row


@dataclass(frozen=True)
class Exchanged(Plan):
    """Held-out rows in place of the synthetic ones, judged with other held-out rows; or copies of training rows."""

    draws: int = 1
    floors: int = 1
    decides: bool = False

    def draw(self, data: EvalData, n: int, turn: int, is_naive: bool, level: int = 0) -> Drawn | None:
        """One of the two, of a thousand rows of each kind at most."""
        if level:
            return None
        rng = np.random.default_rng([data.seed, 29, turn])
        train, holdout = (
            part.iloc[rng.permutation(len(part))].reset_index(drop=True) for part in (data.train, data.holdout)
        )
        cut = 0 if is_naive else len(holdout) // 2
        synthetic = (train if is_naive else holdout[:cut]).head(JUDGED)
        others = holdout[cut:].head(JUDGED).reset_index(drop=True)
        drawn = EvalData(data.schema, train.head(JUDGED), others, synthetic, data.seed, unscored=data.unscored)
        drawn.cache[STANDING_IN] = 1.0 if is_naive else _shrunk(drawn, data)
        return Drawn(drawn, None)


def _shrunk(drawn: EvalData, data: EvalData) -> float:
    """What chance finds among the records of the whole, as a share of what it finds among those drawn."""
    weights = []
    for each in (drawn, data):
        m, n = map(len, fewer(len(each.train), len(each.holdout), len(each.synthetic), each.seed))
        weights.append(m * n / max(m + n, 1))
    return min(math.sqrt(weights[0] / weights[1]), 1.0) if weights[1] else 1.0


@metric(*NAMES, plan=Exchanged())
def membership(data: EvalData, shadows: int = 0) -> list[Figure]:
    """The strongest attack of the battery on all rows, and on the tenth of the rows that are farthest from others.

    Value and interval of every attack are in `trials`. `n` is the number of non-members.

    Arguments:
        data: The tables.
        shadows: Models like the one under attack that are trained for comparison, an even number: two for attacks
            against a reference model, eight or more for LiRA too. Each takes as long as the model itself did.

    Raises:
        MetricError: No holdout, or fewer than 20 rows of a kind.
    """
    need_rows(data)
    if shadows < 0 or shadows % 2:
        raise UserError(
            f"shadows={shadows} must be an even number of models, since each has the other half of the rows"
        )
    if STANDING_IN in data.cache:
        outcome = play_battery(table_audit(data))
        return figures_of(outcome, len(data.synthetic), "rows", chance=data.cache[STANDING_IN])
    if shadows and (data.retrain is None or not data.scorers):
        raise UserError(f"shadows={shadows}: there is no model here that scores rows and could be trained again")
    return figures_of(play_battery(table_audit(data, shadows)), len(data.synthetic), "rows")


def need_rows(data: EvalData) -> None:
    """Raises `MetricError` where there is no holdout, or a table has fewer than 20 rows."""
    need_holdout(data)
    for name, frame in (("training", data.train), ("holdout", data.holdout), ("synthetic", data.synthetic)):
        if len(frame) < LEAST:
            raise MetricError(f"{len(frame)} {name} rows are fewer than {LEAST}: no attack can be judged")


def table_audit(data: EvalData, shadows: int = 0) -> Audit:
    """The rows as records, at most as many real ones as can be compared, and what the model says of these."""
    frames = [data.train, data.holdout, data.synthetic]
    frames += [] if data.unscored is None or not len(data.unscored) else [data.unscored]
    t = encode(data.schema, frames)
    made = len(data.synthetic)
    members, others = fewer(len(data.train), len(data.holdout), made, data.seed)
    parts = [t.parts[0].take(members), t.parts[1].take(others), *t.parts[2:]]
    space = TableSpace.fit(t, [part for i, part in enumerate(parts) if i != 2], data.seed)
    records = [space(part) for part in parts]
    asked = (data.train.iloc[members], data.holdout.iloc[others])
    told, why = {}, {}
    for name, scorer in data.scorers.items():
        try:
            told[name] = (scorer(asked[0]), scorer(asked[1]))
        except UserError as error:
            why[name] = str(error)
    if shadows:
        told |= shadowed(data, asked, told, shadows)
    reference = records[3] if len(records) > 3 else None
    return Audit(records[0], records[1], records[2], reference, told, why, _categories(t), data.seed)


def shadowed(
    data: EvalData,
    asked: tuple[pd.DataFrame, pd.DataFrame],
    told: Mapping[str, tuple[Scores, Scores]],
    count: int,
) -> dict[str, tuple[Scores, Scores]]:
    """What the model says of each row beside what shadow models say of it (Carlini et al., 2022).

    Against a reference model: its score less the mean of those that have not learnt from the row. LiRA, from eight
    models on: log N(score; those that have) - log N(score; those that have not), their section VI.A, with one variance
    for all rows, as for few models.

    Arguments:
        data: Gives the way to train.
        asked: Members and non-members.
        told: The model's own scores of these.
        count: Shadow models.
    """
    assert data.retrain is not None
    pool = pd.concat(asked, ignore_index=True)
    rng, n = np.random.default_rng([data.seed, 27]), len(asked[0])
    said: dict[str, list[Scores]] = {name: [] for name in told}
    inside = []
    for turn in range(count // 2):
        half = rng.permutation(len(pool)) % 2 == 0
        for side in (half, ~half):
            scorers = data.retrain(pool[side], 2 * turn + int(side[0]))
            inside.append(side)
            for name in told:
                said[name].append(scorers[name](pool))
    learnt, found = np.array(inside), {}
    for name, pair in told.items():
        own, others = np.concatenate(pair), np.array(said[name])
        means = [(others * mask).sum(axis=0) / mask.sum(axis=0) for mask in (learnt, ~learnt)]
        plain = own - means[1]
        found[f"{name}, against {count} reference model{'s' if count > 1 else ''}"] = (plain[:n], plain[n:])
        if count >= LIRA:
            spread = [
                np.nanstd((others - mean)[mask]) + 1e-9 for mean, mask in zip(means, (learnt, ~learnt), strict=True)
            ]
            logs = [-0.5 * ((own - m) / s) ** 2 - np.log(s) for m, s in zip(means, spread, strict=True)]
            ratio = logs[0] - logs[1]
            found[f"{name}, LiRA with {count} shadow models"] = (ratio[:n], ratio[n:])
    return found


def _categories(t: Tables) -> np.ndarray:
    """Which columns of the plain records are categories that the boosting can take as such."""
    return np.array([False] * len(t.numeric) + [size < 120 for size in t.sizes], dtype=bool)


def figures_of(outcome: Outcome, made: int, noun: str, made_of: str = "", chance: float = 1.0) -> list[Figure]:
    """The figures of a battery.

    Arguments:
        outcome: Its games.
        made: Synthetic records that it was played with.
        noun: What is judged, in the plural.
        made_of: What the synthetic records are, where they are something else.
        chance: What the distance from a guess is multiplied by, where it is told for more records than were judged.
    """

    def told_for(value: float, guess: float) -> float:
        return guess + chance * (value - guess)

    found = []
    for group, stem in ((ALL, "privacy/membership"), (OUTLIERS, "privacy/membership_outliers")):
        games = [game for game in outcome.games if game.group == group]
        if not games:
            continue
        best = games[0]
        told = f"strongest of {len(outcome.games)} games, with {made:,} synthetic {made_of or noun}: {best.name}"
        note = f"{told}; {counts(best, noun)}"
        if group == ALL:
            note += f"; {conclusion(outcome, noun)}"
        finding = outcome.finding if group == ALL else None
        trials = outcome.trials() if group == ALL else ()
        found.append(
            Figure(
                f"{stem}_auc",
                told_for(best.auc, 0.5),
                "lower",
                ideal=0.5,
                n=best.others,
                note=note,
                trials=trials,
                finding=finding,
            )
        )
        for rate, end in ((0.01, "tpr1"), (0.001, "tpr01")):
            if rate in best.rates and f"{stem}_{end}" in NAMES:
                r = best.rates[rate]
                note = f"{best.name}; {r.low:.3f} to {r.high:.3f}, corrected for {len(outcome.games)} games"
                found.append(
                    Figure(f"{stem}_{end}", told_for(r.value, rate), "lower", ideal=rate, n=best.others, note=note)
                )
    missing = {name: _refused(outcome, name) for name in NAMES if name not in {figure.name for figure in found}}
    if missing:
        raise Incomplete(found, missing)
    return found


def _refused(outcome: Outcome, name: str) -> str:
    group = OUTLIERS if "outliers" in name else ALL
    games = [game for game in outcome.games if game.group == group]
    if not games:
        return outcome.missing.get(f"all attacks on {group}", "no attack was tried")
    rate = 0.001 if name.endswith("01") else 0.01
    return next((why for why in games[0].why.split("; ") if why.startswith(f"{rate_name(rate)} ")), games[0].why)


def counts(game: Game, noun: str) -> str:
    """Interval of the AUC, and how many were judged."""
    told = f"{game.members:,} members and {game.others:,} {noun} of a holdout"
    return f"AUC {game.low:.3f} to {game.high:.3f} of {told}"


def conclusion(outcome: Outcome, noun: str) -> str:
    """What the games come to, in words."""
    if outcome.finding == "leak":
        return f"membership can be told: it is no secret which {noun} the generator has learnt from"
    if outcome.finding == "slight":
        return "membership can be told a little better than by guessing"
    if outcome.finding == "nothing":
        return "none of these attacks told members beyond chance"
    most = max(game.members for game in outcome.games)
    more = f" beside as many members (there are {most:,})" if most < outcome.needed else ""
    return f"too weak to tell: {outcome.needed:,} holdout {noun}{more} would be needed to see an AUC of 0.55"


def simplest_game(schema: Schema, members: pd.DataFrame, others: pd.DataFrame, made: pd.DataFrame, seed: int) -> Game:
    """The distance game alone, for watching while a model trains.

    Arguments:
        schema: Types of the columns.
        members: Rows that are learnt from.
        others: Real rows that are not.
        made: Synthetic rows.
        seed: Of ties.
    """
    t = encode(schema, (members, others, made))
    space = TableSpace.fit(t, list(t.parts[:2]), seed)
    known, unknown, synthetic = (space(part).space for part in t.parts)
    near = [-closest(part, synthetic, 1).distance[:, 0].astype(np.float64) for part in (known, unknown)]
    return play("distance", ALL, near[0], near[1])
