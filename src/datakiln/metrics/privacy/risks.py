"""The three risks of the European guideline (Article 29 Working Party, 2014, opinion 05/2014), as attacks by samples.

They follow Giomi et al. (2023, https://arxiv.org/abs/2211.10459): an attacker who has the synthetic rows guesses about
persons whose rows were learnt from, and, as a control group, about persons who were held out. What both groups suffer
is what the table tells of anybody; only what the first suffers more is the generator's doing. With success rates t and
c, the risk is (t - c) / (1 - c) (their eq. 3). Intervals are those of Clopper and Pearson at a level that is divided by
the number of attacks; whether t is larger than c at all is asked by Fisher's exact test.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from datakiln.metrics.base import EvalData, Figure, MetricError, metric
from datakiln.metrics.privacy.closest import Matrix, closest
from datakiln.metrics.privacy.games import LEAST, LEVEL, clopper_pearson
from datakiln.metrics.privacy.membership import need_rows
from datakiln.metrics.privacy.records import TableSpace
from datakiln.metrics.tables.columns import Coded, Tables, tables
from datakiln.metrics.tables.references import Alone
from datakiln.results import Finding, Trial

MOST = 100_000  # synthetic rows that an attacker looks through, for each of thousands of persons
TARGETS = 2_000  # persons of each group that are attacked
GUESSES, TRIES = 2_000, 10_000  # descriptions of one synthetic row that are used, and that are looked at
WIDTHS = (2, 5)  # columns of a description of several
SPLITS = 3  # ways to deal the columns to two parties
SECRETS = 12  # columns that are taken for secret in turn, where none is named
NEAR = 0.05  # of the range between the 5th and the 95th percentile: a number told so well is told
MOST_NEEDED = 1_000_000  # persons beyond which nobody counts
CLEAR, SEEN = 0.05, 0.1  # lower end of a clear risk; upper end below which a risk is too small to matter


@dataclass(frozen=True)
class Attack:
    """Successes against persons whose rows were learnt from, and against others.

    Attributes:
        name: Of the attack, in words.
        hits: Among the learnt.
        tried: Guesses about these.
        control_hits: Among those held out.
        control: Guesses about these.
        group: What was attacked, in words.
    """

    name: str
    hits: int
    tried: int
    control_hits: int
    control: int
    group: str = "all records"

    @property
    def p(self) -> float:
        """How likely so large a difference is by chance, one-sided: Fisher's exact test."""
        from scipy.stats import hypergeom

        total = self.tried + self.control
        return float(hypergeom.sf(self.hits - 1, total, self.hits + self.control_hits, self.tried))

    def rates(self, looks: int) -> dict[str, list[float]]:
        """Success among learnt and others, and the risk, each with its ends."""
        level = LEVEL / looks / 2  # both intervals hold at once
        t, c = self.hits / self.tried, self.control_hits / self.control
        of_t, of_c = (
            clopper_pearson(*pair, level) for pair in ((self.hits, self.tried), (self.control_hits, self.control))
        )
        risk = [_risk(t, c), _risk(of_t[0], of_c[1]), _risk(of_t[1], of_c[0])]
        return {"learnt": [t, *of_t], "control": [c, *of_c], "risk": risk}


def _risk(t: float, c: float) -> float:
    """Giomi et al. (2023), eq. 3, from -1 to 1; below 0 it is none."""
    return max((t - c) / (1 - c), -1.0) if c < 1 else 0.0


@metric("privacy/singling_out", plan=Alone())
def singling_out(data: EvalData) -> list[Figure]:
    """Descriptions that fit one synthetic row only: is the one real person they fit more often a learnt one?

    A description says of one column that it has a value which one synthetic row has, or of two to five that they lie on
    this side of the median or in this category. It singles a person out if it fits exactly one of all real rows, learnt
    and held out together. Rates are persons singled out for each person there is, so that sizes need not match.
    """
    t, looked = _checked(data)
    real = Coded(np.concatenate([t.train.numbers, t.holdout.numbers]), np.concatenate([t.train.codes, t.holdout.codes]))
    rng = np.random.default_rng([data.seed, 31])
    found = []
    for name, hits in (("one column", _single(t.synthetic, real, rng)), ("several columns", _several(t, real, rng))):
        people = np.unique(hits)
        learnt = int((people < len(t.train)).sum())
        found.append(Attack(name, learnt, len(t.train), len(people) - learnt, len(t.holdout)))
    return [figure("privacy/singling_out", found, "single out", looked)]


@metric("privacy/linkability", plan=Alone())
def linkability(data: EvalData) -> list[Figure]:
    """Two parties know one half of a person's columns each: is the nearest synthetic row of both halves the same one?

    Columns are dealt to the two at random, three times.

    Raises:
        MetricError: Fewer than two columns.
    """
    t, looked = _checked(data)
    width = len(t.numeric) + len(t.choices)
    if width < 2:
        raise MetricError("to link two halves takes two columns")
    rng = np.random.default_rng([data.seed, 32])
    groups = [_some(part, TARGETS, rng) for part in (t.train, t.holdout)]
    found = []
    for i in range(SPLITS if width > 2 else 1):
        order = rng.permutation(width)
        halves = [np.sort(order[: width // 2]), np.sort(order[width // 2 :])]
        counts = []
        for group in groups:
            near = [_nearest(t, group, half, data.seed) for half in halves]
            counts += [int((near[0] == near[1]).sum()), len(group)]
        hits, tried, control_hits, control = counts
        found.append(Attack(f"split {i + 1}", hits, tried, control_hits, control))
    return [figure("privacy/linkability", found, "link halves of", looked)]


@metric("privacy/inference", plan=Alone())
def inference(data: EvalData) -> list[Figure]:
    """All columns of a person but one are known: does the nearest synthetic row tell the secret one?

    The secret is the column named by `secret=`; without one, every column in turn, twelve at most. A category is told
    if it is the same, a number if it is off by a twentieth of the usual range at most.

    Raises:
        MetricError: The secret is no column that could be compared, or there is no other.
    """
    t, looked = _checked(data)
    names = [*t.numeric, *t.choices]
    if data.secret is not None and data.secret not in names:
        raise MetricError(f"secret={data.secret} is no column that could be compared; known: {', '.join(names)}")
    if len(names) < 2:
        raise MetricError("there is no column but the secret one")
    rng = np.random.default_rng([data.seed, 33])
    groups = [_some(part, TARGETS, rng) for part in (t.train, t.holdout)]
    found = []
    for name in [data.secret] if data.secret is not None else names[:SECRETS]:
        at = names.index(name)
        others = np.delete(np.arange(len(names)), at)
        counts = []
        for group in groups:
            near = _nearest(t, group, others, data.seed)
            is_told = _is_told(t, group, t.synthetic.take(near), at)
            counts += [int(is_told.sum()), len(is_told)]
        hits, tried, control_hits, control = counts
        if min(tried, control) >= LEAST:
            found.append(Attack("nearest synthetic row", hits, tried, control_hits, control, f"secret {name}"))
    if not found:
        raise MetricError(f"fewer than {LEAST} rows have a value of the secret column")
    return [figure("privacy/inference", found, "tell a secret of", looked)]


def figure(name: str, attacks: Sequence[Attack], verb: str, looked: str = "") -> Figure:
    """The strongest of some attacks, by the chance that it is none; all of them are its trials.

    Arguments:
        name: Of the figure.
        attacks: See above.
        verb: What synthetic rows do to persons.
        looked: At how many of the synthetic rows was looked, in words; empty for all.
    """
    looks = len(attacks)
    best = min(attacks, key=lambda attack: (attack.p, -attack.hits / attack.tried))
    rates = {id(attack): attack.rates(looks) for attack in attacks}
    t, c, risk = rates[id(best)].values()
    finding: Finding
    if best.p * looks < LEVEL:
        finding = "leak" if risk[1] > CLEAR else "slight"
    else:
        finding = "nothing" if max(r["risk"][2] for r in rates.values()) < SEEN else "weak"
    needed = _needed(attacks) if finding == "weak" else 0
    told = {
        "leak": f"synthetic rows {verb} learnt persons more surely than others",
        "slight": f"synthetic rows {verb} learnt persons a little more surely than others",
        "nothing": "no more surely than of persons who were held out",
        "weak": f"too weak to tell: {needed:,} persons of each kind would be needed to see a risk of {SEEN}",
    }[finding]
    note = f"{best.name} on {best.group}: {t[0]:.1%} of learnt and {c[0]:.1%} of held-out persons; {told}"
    note += f"; {looked}" if looked else ""
    order = sorted(attacks, key=lambda attack: (attack is not best, attack.p))
    trials = tuple(Trial(a.name, a.group, rates[id(a)], {"learnt": a.tried, "control": a.control}) for a in order)
    value = max(risk[0], 0.0)
    return Figure(name, value, "lower", ideal=0.0, n=best.control, note=note, trials=trials, finding=finding)


def _needed(attacks: Sequence[Attack]) -> int:
    """Persons of each group by whom no risk as large as `SEEN` would go unseen, if both groups fare alike.

    The fewest n, to two digits, for which every attack's interval of the risk ends below `SEEN` where both groups have
    its common rate of success.
    """
    rates = [(a.hits + a.control_hits) / (a.tried + a.control) for a in attacks]

    def is_enough(n: int) -> bool:
        alike = (Attack("", round(p * n), n, round(p * n), n) for p in rates)
        return all(attack.rates(len(attacks))["risk"][2] < SEEN for attack in alike)

    high = 100
    while not is_enough(high) and high < MOST_NEEDED:
        high *= 2
    low = high // 2
    while high - low > max(high // 100, 1):
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return int(float(f"{high:.2g}"))


def _checked(data: EvalData) -> tuple[Tables, str]:
    """All tables, and which of the synthetic rows an attacker looks through, in words; all where there is nothing."""
    need_rows(data)
    t = tables(data)
    n = len(t.synthetic)
    if n <= MOST:
        return t, ""
    some = _some(t.synthetic, MOST, np.random.default_rng([data.seed, 34]))
    return replace(t, parts=(*t.parts[:-1], some)), f"looked for in {MOST:,} of {n:,} synthetic rows"


def _some(part: Coded, n: int, rng: np.random.Generator) -> Coded:
    return part.take(np.sort(rng.permutation(len(part))[:n]))


def _columns(part: Coded) -> NDArray[np.float64]:
    """All columns as numbers, categories by code, NaN for missing, shape (n, columns)."""
    codes = np.where(part.codes < 0, np.nan, part.codes.astype(np.float64))
    return np.concatenate([part.numbers, codes], axis=1)


def _single(made: Coded, real: Coded, rng: np.random.Generator) -> NDArray[np.int64]:
    """Real rows that alone have a value which one synthetic row alone has."""
    found = []
    for own, theirs in zip(_columns(made).T, _columns(real).T, strict=True):
        values, counts = np.unique(own[~np.isnan(own)], return_counts=True)
        guesses = values[counts == 1]
        guesses = guesses[np.sort(rng.permutation(len(guesses))[:GUESSES])]
        known, first, times = np.unique(theirs, return_index=True, return_counts=True)
        found.append(first[(times == 1) & np.isin(known, guesses)])
    return np.concatenate(found) if found else np.empty(0, dtype=np.int64)


def _several(t: Tables, real: Coded, rng: np.random.Generator) -> NDArray[np.int64]:
    """Real rows that alone fit a description of two to five columns which one synthetic row alone fits."""
    own, theirs = _columns(t.synthetic), _columns(real)
    width, numbers = own.shape[1], len(t.numeric)
    if width < 2:
        return np.empty(0, dtype=np.int64)
    with np.errstate(all="ignore"):
        middle = np.array([np.median(c[~np.isnan(c)]) if (~np.isnan(c)).any() else 0.0 for c in own.T])
    found, used = [], 0
    for _ in range(TRIES):
        row = own[rng.integers(len(own))]
        some = rng.permutation(width)[: int(rng.integers(WIDTHS[0], min(WIDTHS[1], width) + 1))]
        some = some[~np.isnan(row[some])]
        if len(some) and _fit(own, row, some, middle, numbers).sum() == 1:
            used += 1
            fits = np.flatnonzero(_fit(theirs, row, some, middle, numbers))
            if len(fits) == 1:
                found.append(int(fits[0]))
            if used == GUESSES:
                break
    return np.array(found, dtype=np.int64)


def _fit(
    rows: NDArray[np.float64],
    row: NDArray[np.float64],
    some: NDArray[np.int64],
    middle: NDArray[np.float64],
    numbers: int,
) -> NDArray[np.bool_]:
    """Which rows fit: numbers at least as far from the middle as the row's, categories the same."""
    fits = np.ones(len(rows), dtype=bool)
    for j in some.tolist():
        cells = rows[:, j]
        is_number = j < numbers
        fits &= (cells == row[j]) if not is_number else (cells >= row[j]) if row[j] > middle[j] else (cells <= row[j])
    return fits


def _nearest(t: Tables, queries: Coded, columns: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """The synthetic row nearest to each by some columns alone."""
    numbers = columns[columns < len(t.numeric)]
    choices = columns[columns >= len(t.numeric)] - len(t.numeric)
    parts = [Coded(part.numbers[:, numbers], part.codes[:, choices]) for part in (queries, t.synthetic, *t.parts[:2])]
    named = Tables(
        tuple(t.numeric[i] for i in numbers), tuple(t.choices[i] for i in choices),
        tuple(t.categories[i] for i in choices), tuple(t.known[i] for i in choices), tuple(parts),
    )  # fmt: skip
    space = TableSpace.fit(named, parts[2:], seed)
    places: list[Matrix] = [space(part).space for part in parts[:2]]
    return closest(places[0], places[1], 1).index[:, 0]


def _is_told(t: Tables, truth: Coded, guess: Coded, at: int) -> NDArray[np.bool_]:
    """Whether the cell of a column is told, for the rows that have one."""
    if at >= len(t.numeric):
        is_same = truth.codes[:, at - len(t.numeric)] == guess.codes[:, at - len(t.numeric)]
        return np.asarray(is_same[truth.codes[:, at - len(t.numeric)] >= 0])
    real, told = (part.numbers[:, at] for part in (truth, guess))
    known = t.train.numbers[:, at]
    low, high = np.quantile(known[~np.isnan(known)], [0.05, 0.95]) if (~np.isnan(known)).any() else (0.0, 0.0)
    return np.asarray((np.abs(real - told) <= NEAR * (high - low))[~np.isnan(real)])
