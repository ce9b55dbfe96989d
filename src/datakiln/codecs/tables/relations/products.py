"""Products, ratios and what is built of them: total = qty * price, rate = part / whole, depth = 200 * z / (x + y).

For each column all features of two or three others are laid out on a few rows; one that is correlated with the column
up to rounding is fitted, its numbers are shortened, and the relation is checked in all rows.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from datakiln.codecs.tables.relations.cells import is_date, tolerance
from datakiln.codecs.tables.relations.expressions import Tree, column, columns_of, worked_out
from datakiln.codecs.tables.relations.relation import Relation
from datakiln.codecs.tables.relations.search import LOOK, MOSTLY, TESTS, Search, short_forms, shortest_factor

FEW, SOME = 26, 40  # columns up to which features of three, and complements such as 1 - discount, are tried
MOST = 150  # columns beyond which no products are looked for
ROWS, TRIPLE_ROWS = 120, 60
CLOSE = 0.97  # correlation from which on a feature is tried
TRIES, FITTING, FIRST_HITS = 12, 4, 8
MATTERS = 0.9  # of the rows in which a relation holds may be left without a source of it
ENOUGH = 3  # relations for one target: others, of other columns, may be chosen instead


def find_products(search: Search) -> None:
    """Adds what it finds to the search."""
    names = [name for name in search.cells if not is_date(search.schema[name]) and search.varied(name) >= TESTS]
    if not 2 <= len(names) <= MOST:
        return
    found: list[Relation] = []
    whole, rows = _whole(search, names)
    for targets, operands, at in [(whole, whole, rows), *_apart(search, names, set(whole))]:
        free = [name for name in targets if name not in search.found and search.schema[name].is_numeric]
        few = {name: search.cells[name][at] for name in {*targets, *operands}}
        for target, trees in _close(search, free, operands, few).items():
            found += _proven(search, target, trees, at, few)
    alike: dict[frozenset[str], list[Relation]] = {}
    for relation in found:
        alike.setdefault(frozenset(relation.columns), []).append(relation)
    found.sort(key=lambda one: _quality(search, one, alike[frozenset(one.columns)]))
    taken: list[frozenset[str]] = []
    for relation in found:
        together = frozenset(relation.columns)
        if together not in taken and search.may_compute(relation.target, relation.sources):
            taken.append(together)
            search.add(relation)


def _whole(search: Search, names: list[str]) -> tuple[list[str], np.ndarray]:
    """Columns that are often there together, and some such rows."""
    there = np.ones(search.rows, dtype=bool)
    whole: list[str] = []
    for name in sorted(names, key=lambda name: int(search.missing[name].sum())):
        both = there & np.isfinite(search.cells[name])
        if both.sum() >= max(2 * TESTS, 0.3 * search.rows):
            there, whole = both, [*whole, name]
    return whole, _full(search, whole, there)


def _apart(search: Search, names: list[str], whole: set[str]) -> Iterator[tuple[list[str], list[str], np.ndarray]]:
    """Each of the other columns, with those that are there where it is."""
    for name in names if len(names) <= SOME else ():
        there = np.isfinite(search.cells[name])
        if name in whole or there.sum() < 2 * TESTS:
            continue
        others = [other for other in names if other != name and np.isfinite(search.cells[other][there]).mean() > 0.9]
        there = np.logical_and.reduce([there, *(np.isfinite(search.cells[other]) for other in others)])
        if others and there.sum() >= TESTS:
            yield [name], others, _full(search, [name, *others], there)


def _full(search: Search, names: list[str], there: np.ndarray) -> np.ndarray:
    """Rows where all of them are there, those with the fewest zeros: nothing divides by them."""
    rows = search.order[there[search.order]][:LOOK]
    zeros = sum((search.cells[name][rows] == 0).astype(np.int64) for name in names)
    return rows[np.argsort(zeros, kind="stable")][:ROWS] if len(names) else rows[:ROWS]


def _proven(
    search: Search, target: str, trees: list[Tree], rows: np.ndarray, few: dict[str, np.ndarray]
) -> Iterator[Relation]:
    """Relations of one target that all rows prove."""
    left = ENOUGH
    for tree in trees:
        relation = _fitted(search, target, tree, rows, few)
        if relation is not None:
            yield relation
            left -= 1
        if not left:
            return


def _close(search: Search, targets: list[str], names: list[str], few: dict[str, np.ndarray]) -> dict[str, list[Tree]]:
    """For each target the features of other columns that are most correlated with it."""
    close: dict[str, list[tuple[float, Tree]]] = {target: [] for target in targets}
    if not targets or len(names) < 2:
        return {}
    for block in _blocks(search, names, few):
        values = plain = block.values()
        with np.errstate(all="ignore"):
            values = values - values.mean(axis=1, keepdims=True)
            size = np.sqrt(np.einsum("ij,ij->i", values, values))
        for target in targets:
            aim = few[target][: values.shape[1]]
            aim = aim - aim.mean()
            with np.errstate(all="ignore"):
                likeness = np.abs(values @ aim) / (size * np.sqrt(aim @ aim))
            likeness = np.where(np.isfinite(likeness) & (size > 1e-12), likeness, 0.0)
            is_other = ~block.has(target)
            at = np.flatnonzero((likeness > CLOSE) & is_other)
            at = at[np.argsort(-likeness[at], kind="stable")][:TRIES]
            close[target] += [(-float(likeness[place]), block.tree(int(place))) for place in at]
            if block.places.shape[1] == 2:  # many exceptions hide a likeness, but not that most rows fit
                at, fits = _fitting(plain, few[target], tolerance(search.schema[target]))
                at, fits = at[is_other[at]], fits[is_other[at]]
                best = np.argsort(-fits, kind="stable")[:FITTING]
                close[target] += [(-1.0 - float(fits[i]), block.tree(int(at[i]))) for i in best]
    return {
        target: [tree for _, tree in sorted(trees, key=lambda pair: pair[0])[:TRIES]] for target, trees in close.items()
    }


def _fitting(values: np.ndarray, wanted: np.ndarray, step: float) -> tuple[np.ndarray, np.ndarray]:
    """Which features (features, rows) are what is wanted in most rows, and in what share of them.

    Of most features the first rows say that they are not: too few rows are left for them to make up for it.
    """
    near = step + 1e-9 * np.abs(wanted)
    misses = math.floor((1.0 - MOSTLY) * len(wanted))
    first = min(misses + FIRST_HITS, len(wanted))
    at = np.flatnonzero((np.abs(values[:, :first] - wanted[:first]) <= near[:first]).sum(axis=1) >= first - misses)
    fits = (np.abs(values[at] - wanted) <= near).mean(axis=1)
    return at[fits >= MOSTLY], fits[fits >= MOSTLY]


@dataclass(frozen=True)
class _Block:
    """Features of one shape: which operands each is made of.

    Attributes:
        shape: With "a", "b" and "c" for the operands.
        places: Of the operands, shape (features, 2 or 3).
        operands: Trees.
        cells: Their values, shape (operands, rows).
    """

    shape: Tree
    places: np.ndarray
    operands: list[Tree]
    cells: np.ndarray

    def values(self) -> np.ndarray:
        """Shape (features, rows)."""
        named = {letter: self.cells[self.places[:, i]] for i, letter in enumerate("abc"[: self.places.shape[1]])}
        return worked_out(self.shape, named)

    def has(self, name: str) -> np.ndarray:
        """Which features the column is part of."""
        owned = np.array([columns_of(operand) == (name,) for operand in self.operands])
        return owned[self.places].any(axis=1)

    def tree(self, at: int) -> Tree:
        """One feature over columns."""
        named = {letter: self.operands[place] for letter, place in zip("abc", self.places[at], strict=False)}
        return _filled_in(self.shape, named)


def _filled_in(shape: Tree, named: dict[str, Tree]) -> Tree:
    if not isinstance(shape, list):
        return shape
    return named[shape[1]] if shape[0] == "column" else [shape[0], *(_filled_in(part, named) for part in shape[1:])]


A, B, C = column("a"), column("b"), column("c")
SUMS: tuple[Tree, ...] = (["/", A, ["+", B, C]], ["/", A, ["-", B, C]], ["/", ["-", B, C], A], ["/", ["*", B, C], A],
                          ["*", A, ["+", B, C]], ["*", A, ["-", B, C]])  # fmt: skip


def _blocks(search: Search, names: list[str], few: dict[str, np.ndarray]) -> Iterator[_Block]:
    operands = [column(name) for name in names]
    parts = list(operands)
    if len(names) <= SOME:
        parts += [part for name in names for part in _complements(search, name)]
    owners = np.array([names.index(columns_of(part)[0]) for part in parts])
    cells = np.stack([np.asarray(worked_out(part, few), dtype=np.float64) for part in parts])
    k, n = len(parts), len(names)
    pairs = np.stack(np.triu_indices(k), axis=1)
    differ = owners[pairs[:, 0]] != owners[pairs[:, 1]]
    yield _Block(["*", A, B], pairs[differ | (pairs[:, 0] == pairs[:, 1])], parts, cells)
    both = pairs[differ]
    yield _Block(["/", A, B], np.concatenate([both, both[:, ::-1]]), parts, cells)
    twos = np.array(list(itertools.permutations(range(n), 2)))
    if n <= SOME:
        yield _Block(["/", A, ["+", A, B]], twos, parts, cells)
        yield _Block(["/", A, ["*", B, B]], twos, parts, cells)
        yield _Block(["*", A, ["*", B, B]], twos, parts, cells)
    if n > FEW or n < 3:
        return
    cells = cells[:, :TRIPLE_ROWS]
    triples = np.array(list(itertools.combinations(range(k), 3)))
    apart = owners[triples]
    apart = (apart[:, 0] != apart[:, 1]) & (apart[:, 1] != apart[:, 2]) & (apart[:, 0] != apart[:, 2])
    yield _Block(["*", ["*", A, B], C], triples[apart], parts, cells)
    threes = np.array([(a, b, c) for b, c in itertools.combinations(range(n), 2) for a in range(n) if a not in (b, c)])
    for shape in SUMS:
        yield _Block(shape, threes, parts, cells)


def _complements(search: Search, name: str) -> Iterator[Tree]:
    """1 - x and 1 + x of shares, and of per cents."""
    there = search.cells[name][np.isfinite(search.cells[name])]
    low, high = float(there.min()), float(there.max())
    if low < 0:
        return
    if high <= 1 and search.schema[name].decimals != 0:
        yield from (["-", 1.0, column(name)], ["+", 1.0, column(name)])
    elif high <= 100:
        yield from (["-", 1.0, ["/", column(name), 100.0]], ["+", 1.0, ["/", column(name), 100.0]])


def _fitted(search: Search, target: str, tree: Tree, rows: np.ndarray, few: dict[str, np.ndarray]) -> Relation | None:
    """The relation target = factor * tree + constant with short numbers."""
    made, wanted = np.broadcast_to(worked_out(tree, few), rows.shape), search.cells[target][rows]
    through = _robust_ratio(made, wanted)
    factors = [] if through is None else [float(form[0]) for form in short_forms(np.array([through])) if form[0]]
    fine = shortest_factor(made, wanted, tolerance(search.schema[target]))
    factors = factors if fine is None else [*factors[:5], fine, *factors[5:]]
    for factor in factors:
        relation = search.formula(target, _scaled(tree, factor, 0.0), exact=True)
        if relation is not None:
            return relation
    there = np.isfinite(made)
    if there.sum() < TESTS or np.ptp(made[there]) == 0:
        return None
    centred = made[there] - made[there].mean()
    slope = float(centred @ wanted[there] / (centred @ centred))
    for form in short_forms(np.array([slope]))[:6] if np.isfinite(slope) else ():
        factor, constant = float(form[0]), float(np.median(wanted[there] - form[0] * made[there]))
        if not factor:
            continue
        for digits in (0, 1, 2, 4):
            relation = search.formula(target, _scaled(tree, factor, round(constant, digits)), exact=True)
            if relation is not None:
                return relation
    for factor in factors[:5]:  # short ones
        relation = search.formula(target, _scaled(tree, factor, 0.0))
        if relation is not None and _all_matter(search, relation):
            return relation
    return None


def _all_matter(search: Search, relation: Relation) -> bool:
    """Whether the relation fails where a source is as it is on average: a column that hardly moves is no part of it."""
    there = np.logical_and.reduce([np.isfinite(search.cells[name]) for name in relation.columns])
    rows, field = search.order[there[search.order]][:LOOK], search.schema[relation.target]
    cells = {name: search.cells[name][rows] for name in relation.columns}
    whole = relation.holds(cells, field).mean()
    fixed = (cells | {name: np.full(len(rows), np.median(cells[name]))} for name in relation.sources)
    return all(relation.holds(some, field).mean() < MATTERS * whole for some in fixed)


def _robust_ratio(made: np.ndarray, wanted: np.ndarray) -> float | None:
    with np.errstate(all="ignore"):
        ratios = wanted / made
    ratios = ratios[np.isfinite(ratios)]
    if len(ratios) < TESTS:
        return None
    middle = float(np.median(ratios))
    heavy = np.abs(wanted) >= np.quantile(np.abs(wanted), 0.7)  # large values say most of the factor
    with np.errstate(all="ignore"):
        large = (wanted / made)[heavy & np.isfinite(wanted / made)]
    fine = float(np.median(large)) if len(large) else middle
    return fine if abs(fine - middle) <= 0.05 * abs(middle) else middle


def _scaled(tree: Tree, factor: float, constant: float) -> Tree:
    if factor == -1.0 and tree[0] == "*":
        tree = ["-", 0.0, tree]
    elif factor != 1.0:
        tree = ["/", ["*", factor, tree[1]], tree[2]] if tree[0] == "/" else ["*", factor, tree]
    return tree if not constant else ["+" if constant > 0 else "-", tree, abs(constant)]


def _quality(search: Search, relation: Relation, alike: list[Relation]) -> tuple[float, ...]:
    text = str(relation.tree)
    constants = sum(isinstance(part, float) for part in _leaves(relation.tree))
    stays = float(relation.target in search.stay)
    return (
        float(not relation.is_exact),
        -relation.share if not relation.is_exact else 0.0,
        stays,
        float(len(relation.sources)),
        -_kept(search, relation, [other for other in alike if other.target != relation.target]),
        float(text.count("'/'")),
        float(constants),
        -float(search.place[relation.target]),
    )


def _kept(search: Search, relation: Relation, others: list[Relation]) -> float:
    """The share of rows, in hundredths, in which the others hold where it is computed from any values of its sources.

    A rate of whole clicks and views gives the clicks back, but few rates of four digits are one of whole clicks.
    """
    others = [other for other in others if other.is_exact]
    if not (relation.is_exact and others):
        return 1.0
    there = np.logical_and.reduce([np.isfinite(search.cells[name]) for name in relation.columns])
    rows, rng = search.order[there[search.order]][:LOOK], np.random.default_rng(0)
    cells = {name: search.cells[name][rng.permutation(rows)] for name in relation.sources}
    field = search.schema[relation.target]
    made = np.broadcast_to(worked_out(relation.tree, cells), rows.shape)
    cells[field.name] = made if field.decimals is None else np.round(made, field.decimals)
    return round(min(float(other.holds(cells, search.schema[other.target]).mean()) for other in others), 2)


def _leaves(tree: Tree) -> Iterator[object]:
    if isinstance(tree, list):
        for part in tree[1:]:
            yield from _leaves(part)
    else:
        yield tree
