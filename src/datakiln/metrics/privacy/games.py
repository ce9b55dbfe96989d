"""A membership game: scores of real records say who was among the training records, and how surely that is known.

An attacker gives every real record a score, higher where they believe that the generator has learnt from it. Members
are records it did learn from, non-members real records of the same kind that it did not see; synthetic records are
never scored. AUC is the chance that a member scores above a non-member (ties count half); the true-positive rate at a
false-positive rate of 1 % is the share of members above a threshold that 1 % of the non-members pass, ties broken at
random (Carlini et al., 2022, section III, https://arxiv.org/abs/2112.03570, on why low rates matter). Intervals of
rates are those of Clopper and Pearson (1934).

Who looks at several attacks and reports the strongest finds something by chance. So each of m games is asked at level
0.05 / m (Bonferroni), in its interval and in its verdict: together they raise a false alarm in one audit of twenty at
most.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from datakiln.metrics.base import MetricError
from datakiln.results import Finding, Trial

Scores = NDArray[np.float64]
LEVEL = 0.05  # of a false alarm, in all games together
RATES = (0.01, 0.001)  # false-positive rates at which true positives are counted
LEAST = 20  # records of each kind: of fewer no game is played
LEAST_AT = {0.01: 100, 0.001: 1000}  # non-members for a rate: fewer have no record, or less than one, above it
MATTERS = 0.05  # AUC above one half that a game must be able to see
POWER = 0.8  # how surely
LEAK = 0.6  # lower end of the AUC, from which on membership can be told
LEAK_RATE = 0.05  # lower end of the true-positive rate at 1 %, five times that of a guess


@dataclass(frozen=True)
class Rate:
    """A true-positive rate.

    Attributes:
        value: Share of members above the threshold.
        low: Lower end of its Clopper-Pearson interval.
        high: Upper end.
        false: Share of non-members above it, at most the rate that was asked for.
        p: How likely so many members above as many non-members are by chance, one-sided and exact.
    """

    value: float
    low: float
    high: float
    false: float
    p: float


@dataclass(frozen=True)
class Game:
    """One attack on one group of records.

    Attributes:
        name: Of the attack.
        group: Of the records.
        auc: Chance that a member scores above a non-member.
        low: Lower end of its interval.
        high: Upper end.
        p: How likely such an AUC is by chance, one-sided.
        rates: True positives by false-positive rate; those with too few non-members are left out.
        members: Records.
        others: Non-members.
        why: Which rates are refused, and why.
    """

    name: str
    group: str
    auc: float
    low: float
    high: float
    p: float
    rates: dict[float, Rate]
    members: int
    others: int
    why: str = ""

    @property
    def evidence(self) -> float:
        """The smallest p of its figures, times their number."""
        found = [self.p, *(rate.p for rate in self.rates.values())]
        return min(min(found) * len(found), 1.0)

    def trial(self) -> Trial:
        """As `result.json` keeps it."""
        figures = {"AUC": [self.auc, self.low, self.high]}
        figures |= {rate_name(rate): [r.value, r.low, r.high] for rate, r in self.rates.items()}
        return Trial(self.name, self.group, figures, {"members": self.members, "non-members": self.others}, self.why)


def rate_name(rate: float) -> str:
    """What a true-positive rate is called, such as "TPR at 1 % FPR"."""
    return f"TPR at {100 * rate:g} % FPR"


def clopper_pearson(hits: int, n: int, level: float = LEVEL) -> tuple[float, float]:
    """The exact two-sided interval of a share, which holds the true one with probability 1 - level at least.

    Clopper and Pearson (1934): its ends are quantiles of Beta(hits, n - hits + 1) and Beta(hits + 1, n - hits).
    """
    from scipy.stats import beta

    low = 0.0 if hits == 0 else float(beta.ppf(level / 2, hits, n - hits + 1))
    high = 1.0 if hits == n else float(beta.ppf(1 - level / 2, hits + 1, n - hits))
    return low, high


def play(
    name: str, group: str, members: Scores, others: Scores, looks: int = 1, rng: np.random.Generator | None = None
) -> Game:
    """One game.

    Arguments:
        name: Of the attack.
        group: Of the records.
        members: Scores of members, shape (n,).
        others: Scores of non-members, shape (m,).
        looks: Games played in all, by whose number the level is divided.
        rng: Breaks ties at a threshold.

    Raises:
        MetricError: Fewer than 20 of either, or a score that is no number.
    """
    for what, scores in (("members", members), ("non-members", others)):
        if len(scores) < LEAST:
            raise MetricError(f"{len(scores)} {what} are too few for a game; {LEAST} are needed")
        if np.isnan(scores).any():
            raise MetricError(f"attack {name}: {int(np.isnan(scores).sum())} scores are no numbers")
    n, m, level = len(members), len(others), LEVEL / looks
    auc, null, error = auc_of(members, others)
    from scipy.stats import norm

    reach = float(norm.ppf(1 - level / 2))
    p = float(norm.sf((auc - 0.5) / null)) if null else 1.0
    rng = rng or np.random.default_rng(0)
    rates = {rate: _rate(members, others, rate, level, rng) for rate in RATES if m >= LEAST_AT[rate]}
    refused = [rate for rate in RATES if rate not in rates]
    why = "; ".join(f"{rate_name(rate)} needs {LEAST_AT[rate]:,} non-members, there are {m:,}" for rate in refused)
    low, high = max(auc - reach * error, 0.0), min(auc + reach * error, 1.0)
    return Game(name, group, auc, low, high, p, rates, n, m, why)


def auc_of(members: Scores, others: Scores) -> tuple[float, float, float]:
    """AUC, its standard error if nothing could be told (Mann and Whitney, with ties), and that of the estimate itself.

    The last one is that of DeLong et al. (1988): from the variance, over the records of each kind, of the share of the
    other kind that lies below; never less than what one record more could change.
    """
    from scipy.stats import rankdata

    n, m = len(members), len(others)
    both = np.concatenate([members, others])
    ranks = rankdata(both)
    auc = float((ranks[:n].sum() - n * (n + 1) / 2) / (n * m))
    _, ties = np.unique(both, return_counts=True)
    total = n + m
    tied = float((ties.astype(np.float64) ** 3 - ties).sum()) / (total * (total - 1))
    null = math.sqrt(max((total + 1 - tied) / (12 * n * m), 0.0))
    below = (ranks[:n] - rankdata(members)) / m
    above = 1 - (ranks[n:] - rankdata(others)) / n
    error = math.sqrt(below.var(ddof=1) / n + above.var(ddof=1) / m)
    return auc, null, max(error, 1 / (2 * min(n, m) * math.sqrt(3)))


def _rate(members: Scores, others: Scores, rate: float, level: float, rng: np.random.Generator) -> Rate:
    from scipy.stats import hypergeom

    n, m = len(members), len(others)
    both = np.concatenate([members, others])
    order = np.lexsort((rng.random(n + m), both))[::-1]  # the highest first, ties in random order
    is_member = order < n
    allowed = int(rate * m + 1e-9)
    last = int(np.flatnonzero(~is_member)[allowed])  # the first non-member that may not pass
    hits = int(is_member[:last].sum())
    low, high = clopper_pearson(hits, n, level)
    # the first `last` of all n + m in random order hold so many members, or more
    p = float(hypergeom.sf(hits - 1, n + m, n, hits + allowed)) if hits else 1.0
    return Rate(hits / n, low, high, allowed / m, p)


@dataclass(frozen=True)
class Outcome:
    """Several games and what they come to.

    Attributes:
        games: The strongest first.
        finding: See `judge`.
        needed: Non-members that would be needed to tell, and members where these are fewer.
        missing: Attacks that were not tried, and why.
    """

    games: list[Game]
    finding: Finding
    needed: int
    missing: dict[str, str] = field(default_factory=dict)

    @property
    def strongest(self) -> Game:
        """The game with the least chance of having come about by chance."""
        return self.games[0]

    def trials(self) -> tuple[Trial, ...]:
        """As `result.json` keeps them; those not tried come last."""
        tried = [game.trial() for game in self.games]
        return (*tried, *(Trial(name, "", {}, {}, why) for name, why in self.missing.items()))


def play_all(
    scores: Mapping[str, tuple[Scores, Scores]],
    groups: Mapping[str, tuple[NDArray[np.bool_], NDArray[np.bool_]]],
    missing: Mapping[str, str],
    seed: int = 0,
) -> Outcome:
    """Every attack on every group, corrected for their number.

    Arguments:
        scores: Of members and of non-members, by attack; NaN for those that an attack was not tried on.
        groups: Which members and which non-members, by the name of the group.
        missing: Attacks that were not tried, and why.
        seed: Breaks ties.
    """
    if not scores:
        raise MetricError("; ".join(dict.fromkeys(missing.values())) or "no attack was tried")
    tried = {g: at for g, at in groups.items() if min(at[0].sum(), at[1].sum()) >= LEAST}
    left_out = {
        f"all attacks on {name}": f"{int(min(a.sum(), b.sum()))} records are fewer than {LEAST}"
        for name, (a, b) in groups.items()
        if name not in tried
    }
    pairs = {}
    for group, (inside, outside) in tried.items():
        for name, (members, others) in scores.items():
            asked = _known(members[inside]), _known(others[outside])
            if min(map(len, asked)) >= LEAST:
                pairs[name, group] = asked
            else:
                left_out[f"{name} on {group}"] = f"{min(map(len, asked))} records are fewer than {LEAST}"
    rng = np.random.default_rng([seed, 21])
    games = [play(name, group, a, b, len(pairs), rng) for (name, group), (a, b) in pairs.items()]
    if not games:
        raise MetricError("; ".join(left_out.values()))
    games.sort(key=lambda game: (game.evidence, -game.auc))
    finding, needed = judge(games)
    return Outcome(games, finding, needed, {**missing, **left_out})


def _known(scores: Scores) -> Scores:
    return np.asarray(scores[~np.isnan(scores)])


def judge(games: Sequence[Game]) -> tuple[Finding, int]:
    """What several games come to, and how many non-members would be needed where they are too weak to tell.

    A "leak": beyond chance, the AUC's corrected interval lies above 0.6, or that of the true-positive rate at 1 % above
    5 %. "slight": beyond chance but for less. "nothing": nothing beyond chance, and an AUC of 0.55 would have been seen
    in four audits of five. "weak": nothing beyond chance, but such an AUC would have gone unseen.
    """
    looks = len(games)
    largest = max(games, key=lambda game: game.members * game.others / (game.members + game.others))
    needed = others_needed(largest.members, looks)
    beyond = [game for game in games if game.evidence * looks < LEVEL]
    if any(game.low > LEAK or 0.01 in game.rates and game.rates[0.01].low > LEAK_RATE for game in beyond):
        return "leak", needed
    if beyond:
        return "slight", needed
    return ("nothing" if is_enough(largest, looks) else "weak"), needed


def is_enough(game: Game, looks: int) -> bool:
    """Whether an AUC of 0.55 would be seen with a probability of 80 %."""
    from scipy.stats import norm

    reach = float(norm.ppf(1 - LEVEL / looks) + norm.ppf(POWER))
    return (game.members + game.others + 1) / (12 * game.members * game.others) <= (MATTERS / reach) ** 2


def others_needed(members: int, looks: int) -> int:
    """Non-members, beside so many members, by which an AUC of 0.55 is seen with a probability of 80 %.

    The Mann-Whitney statistic has variance (n + m + 1) / (12 n m) by chance; solved for m. Where no number of them
    suffices, since the members are too few, it is the number by which as many members and non-members would.
    """
    from scipy.stats import norm

    reach = float(norm.ppf(1 - LEVEL / looks) + norm.ppf(POWER))
    c = 12 * (MATTERS / reach) ** 2
    alone = (members + 1) / (c * members - 1) if c * members > 1 else math.inf
    equal = (1 + math.sqrt(1 + c)) / c  # of (2 n + 1) / n^2 = c
    return math.ceil(alone if equal <= members else equal)
