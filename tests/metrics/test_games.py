"""Membership games: their statistics against closed forms, and the teeth of the battery."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom, binomtest

from datakiln.metrics.base import EvalData, Incomplete, MetricError
from datakiln.metrics.evaluate import evaluate_table
from datakiln.metrics.privacy.battery import ALL, BINS, OUTLIERS, Audit, _binned, fewer, play_battery
from datakiln.metrics.privacy.closest import closest
from datakiln.metrics.privacy.games import auc_of, clopper_pearson, judge, others_needed, play, play_all
from datakiln.metrics.privacy.membership import STANDING_IN, Exchanged, membership, simplest_game
from datakiln.metrics.privacy.records import Records, TableSpace
from datakiln.metrics.tables.columns import encode
from tests.metrics.metrics_tables import MIXED, PEOPLE, mixed_table, people


def figures_of(data: EvalData):
    try:
        return {figure.name: figure for figure in membership(data)}, {}
    except Incomplete as error:
        return {figure.name: figure for figure in error.found}, error.missing


@pytest.fixture(scope="module")
def copied():
    return figures_of(EvalData(PEOPLE, people(500, 0), people(300, 1), people(500, 0)))


def test_a_model_that_copies_fails_every_attack(copied) -> None:
    found, _ = copied
    best = found["privacy/membership_auc"]
    assert best.value > 0.99 and best.finding == "leak" and "membership can be told" in best.note
    on_all = {trial.name: trial for trial in best.trials if trial.group == ALL}
    assert len(on_all) == 7
    for name, trial in on_all.items():
        value, low, _ = trial.figures["AUC"]
        assert value > 0.6 and low > 0.5, name
    assert found["privacy/membership_tpr1"].value > 0.99
    assert found["privacy/membership_outliers_auc"].value > 0.99


def test_rates_that_the_holdout_is_too_small_for_are_refused(copied) -> None:
    found, missing = copied
    assert "privacy/membership_tpr01" not in found
    assert missing["privacy/membership_tpr01"] == "TPR at 0.1 % FPR needs 1,000 non-members, there are 300"
    members, others = np.arange(1500) + 0.5, np.arange(1000) / 1.0
    assert set(play("a", ALL, members, others).rates) == {0.01, 0.001}
    assert set(play("a", ALL, members, others[:-1]).rates) == {0.01}
    assert not play("a", ALL, members, others[:99]).rates


def test_holdout_in_place_of_synthetic_passes() -> None:
    data = EvalData(PEOPLE, people(1500, 0), people(1500, 1), people(1500, 2))
    found, _ = figures_of(data)
    best = found["privacy/membership_auc"]
    assert best.finding == "nothing", best.note
    assert abs(best.value - 0.5) < 0.05


def test_beside_a_game_stand_unseen_rows_and_a_copier() -> None:
    data = EvalData(PEOPLE, people(300, 0), people(300, 1), people(300, 2))
    found = {result.name: result for result in evaluate_table(data, [functools.partial(membership, shadows=0)])}
    auc = found["privacy/membership_auc"]
    assert auc.floor.value > 0.99  # copies of the training rows in place of the synthetic ones
    assert abs(auc.ceiling.value - 0.5) < 0.1  # one half of the holdout, judged with the other
    assert abs(auc.value - 0.5) < 0.1


def test_what_chance_finds_is_told_for_as_many_records_as_were_judged() -> None:
    """The battery of the reference is of half the holdout here: what it finds is for 100 others, the figure has 200."""
    data = EvalData(PEOPLE, people(300, 0), people(200, 1), people(300, 2))
    drawn = Exchanged().draw(data, 300, 0, is_naive=False)
    shrunk = np.sqrt((300 * 100 / 400) / (300 * 200 / 500))
    assert drawn.data.cache[STANDING_IN] == pytest.approx(shrunk)
    told, _ = figures_of(drawn.data)
    drawn.data.cache[STANDING_IN] = 1.0
    found, _ = figures_of(drawn.data)
    for name, guess in (("privacy/membership_auc", 0.5), ("privacy/membership_tpr1", 0.01)):
        assert told[name].value - guess == pytest.approx(shrunk * (found[name].value - guess)), name
    assert Exchanged().draw(data, 300, 0, is_naive=True).data.cache[STANDING_IN] == 1.0  # a leak is one at any size


def test_shuffled_labels_give_one_half() -> None:
    train, holdout = people(400, 0), people(400, 1)
    both = np.concatenate([np.zeros(400), np.ones(400)])
    told = np.random.default_rng(0).permutation(both)
    rows = pd.concat([train, holdout], ignore_index=True)
    data = EvalData(PEOPLE, rows[told == 0], rows[told == 1], train)  # a copy of rows that are half in either
    found, _ = figures_of(data)
    assert abs(found["privacy/membership_auc"].value - 0.5) < 0.1
    assert found["privacy/membership_auc"].finding in ("nothing", "weak")
    for trial in found["privacy/membership_auc"].trials:
        if trial.figures:
            assert trial.figures["AUC"][1] < 0.5 < trial.figures["AUC"][2]


def test_overtrained_ranks_above_early_stopped() -> None:
    """Samples of a model are its training rows with noise: the less of it, the longer it has trained."""
    rng = np.random.default_rng(0)
    members, others = (Records(rng.normal(size=(400, 5)).astype(np.float32)) for _ in range(2))
    values = []
    for noise in (1.0, 0.5, 0.2):
        made = members.space + noise * rng.normal(size=members.space.shape).astype(np.float32)
        outcome = play_battery(Audit(members, others, Records(made)))
        values.append(max(game.auc for game in outcome.games if game.group == ALL))
    assert values[0] < values[1] < values[2]


def test_few_non_members_are_too_few_to_tell_but_enough_to_see_a_copy() -> None:
    unseen = people(20, 1)
    found, missing = figures_of(EvalData(PEOPLE, people(500, 0), unseen, people(500, 2)))
    best = found["privacy/membership_auc"]
    assert best.finding == "weak"
    looks = sum(bool(trial.figures) for trial in best.trials)
    assert f"{others_needed(500, looks):,} holdout rows" in best.note
    assert missing["privacy/membership_outliers_auc"] == "2 records are fewer than 20"
    found, _ = figures_of(EvalData(PEOPLE, people(500, 0), unseen, people(500, 0)))
    assert found["privacy/membership_auc"].finding == "leak"


def test_too_few_rows_and_no_holdout_are_one_line() -> None:
    with pytest.raises(MetricError, match="^19 holdout rows are fewer than 20: no attack can be judged$"):
        membership(EvalData(PEOPLE, people(300, 0), people(19, 1), people(300, 2)))
    with pytest.raises(MetricError, match="^without a holdout there is no privacy claim"):
        membership(EvalData(PEOPLE, people(300, 0), people(300, 1)[:0], people(300, 2)))


def test_the_model_s_own_scores_are_attacks_too() -> None:
    train = people(300, 0)
    known = set(train["a"])

    def likelihood(frame):
        return np.array([float(value in known) for value in frame["a"]])

    def silent(frame):
        return np.full(len(frame), np.nan)

    data = EvalData(PEOPLE, train, people(300, 1), people(300, 2))
    data = replace(data, scorers={"likelihood of the model": likelihood, "loss of the model": silent})
    found, _ = figures_of(data)
    best = found["privacy/membership_auc"]
    assert best.finding == "leak" and best.trials[0].name == "likelihood of the model"
    assert best.value == 1.0
    left = {trial.name: trial.why for trial in best.trials if not trial.figures}
    assert left[f"loss of the model on {ALL}"] == "0 records are fewer than 20"


@pytest.mark.journey
def test_auc_and_its_chance_are_those_of_the_literature() -> None:
    rng = np.random.default_rng(0)
    members, others = rng.integers(0, 9, 70).astype(float), rng.integers(0, 8, 50).astype(float)
    auc, null, error = auc_of(members, others)
    pairs = members[:, None] - others[None]
    assert auc == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean())
    both, drawn = np.concatenate([members, others]), []
    for _ in range(2000):
        mixed = rng.permutation(both)
        drawn.append(auc_of(mixed[:70], mixed[70:])[0])
    assert null == pytest.approx(np.std(drawn), rel=0.06)
    again = [auc_of(rng.choice(members, 70), rng.choice(others, 50))[0] for _ in range(2000)]
    assert error == pytest.approx(np.std(again), rel=0.08)


def test_intervals_are_clopper_and_pearson_s() -> None:
    for hits, n in ((0, 20), (3, 40), (40, 40)):
        ours, theirs = clopper_pearson(hits, n, 0.05), binomtest(hits, n).proportion_ci(0.95, "exact")
        assert ours == pytest.approx((theirs.low, theirs.high))
    low, high = clopper_pearson(3, 40, 0.05)
    assert binom.sf(2, 40, low) == pytest.approx(0.025) and binom.cdf(3, 40, high) == pytest.approx(0.025)


def test_rates_count_members_above_the_allowed_non_members() -> None:
    others, members = np.arange(200.0), np.array([197.5] * 30 + [198.5] * 10 + [0.5] * 60)
    rate = play("a", ALL, members, others).rates[0.01]  # two of 200 may pass: the threshold is 197
    assert (rate.value, rate.false) == (0.4, 0.01)
    assert rate.p < 1e-12
    tied = play("a", ALL, np.zeros(1000), np.zeros(1000)).rates[0.01]
    assert tied.value < 0.03  # ties are no knowledge


def test_false_alarms_are_as_rare_as_they_should_be() -> None:
    rng = np.random.default_rng(1)
    alarms = 0
    for _ in range(200):
        scores = {name: (rng.normal(size=120), rng.normal(size=120)) for name in "abcd"}
        groups = {ALL: (np.ones(120, bool), np.ones(120, bool))}
        alarms += play_all(scores, groups, {}).finding in ("leak", "slight")
    assert alarms <= 18  # 5 % of 200 are 10, and 18 are exceeded once in a hundred times


def test_the_needed_holdout_is_what_the_power_asks_for() -> None:
    needed = others_needed(5000, 12)
    rng = np.random.default_rng(2)
    shift = 0.1777  # of a normal: AUC 0.55
    seen = 0
    for _ in range(100):
        game = play("a", ALL, rng.normal(size=5000) + shift, rng.normal(size=needed), 12)
        seen += game.p * 12 < 0.05
    assert 65 <= seen <= 95
    assert others_needed(100, 12) > 100  # more members are needed too
    games = [play("a", ALL, rng.normal(size=5000), rng.normal(size=2 * needed), 12)]
    assert judge(games)[0] == "nothing"


def test_entities_are_judged_and_dealt_whole() -> None:
    rng = np.random.default_rng(0)
    entity = np.repeat(np.arange(60), 5)
    points = [rng.normal(size=(300, 4)).astype(np.float32) for _ in range(2)]
    members, others = (Records(p, entity=entity) for p in points)
    outcome = play_battery(Audit(members, others, Records(points[0])))
    assert {game.members for game in outcome.games if game.group == ALL} == {60}
    assert outcome.finding == "leak"
    assert min(game.others for game in outcome.games if game.group == ALL) == 60


def test_nearest_rows_are_exact_and_copies_nought_apart() -> None:
    rng = np.random.default_rng(0)
    queries, base = (rng.normal(size=(n, 7)).astype(np.float32) + 100 for n in (50, 3000))
    queries[:5] = base[100:105]
    found = closest(queries, base, 6)
    distances = np.sqrt(((queries[:, None].astype(float) - base[None]) ** 2).sum(axis=2))
    order = np.argsort(distances, axis=1)[:, :6]
    assert (found.index == order).all()
    assert found.distance == pytest.approx(np.take_along_axis(distances, order, axis=1), abs=1e-5)
    assert (found.distance[:5, 0] == 0).all()


def test_a_table_s_rows_are_points_with_a_distance_of_one_between_categories() -> None:
    t = encode(MIXED, (mixed_table(100, 0), mixed_table(100, 1)))
    space = TableSpace.fit(t, [t.parts[0]])
    codes = space.codes[0]
    assert np.linalg.norm(codes[1] - codes[2]) == pytest.approx(1.0)
    records = space(t.parts[1])
    assert np.isfinite(records.space).all() and len(records) == 100
    wide = TableSpace.fit(replace(t, categories=(t.categories[0].append(t.categories[0]),) * 3), [t.parts[0]])
    assert len(wide.codes[0]) == 2 * len(t.categories[0]) + 1


def test_all_synthetic_records_count_and_members_are_cut() -> None:
    assert [len(rows) for rows in fewer(32_561, 16_281, 32_561, 0)] == [32_561, 16_281]
    members, others = (len(rows) for rows in fewer(10**6, 10**6, 10**6, 0))
    assert members == others == 5_000


def test_the_watched_game_is_the_distance_game() -> None:
    train = people(200, 0)
    game = simplest_game(PEOPLE, train, people(100, 1), train, 0)
    assert game.auc > 0.99 and game.name == "distance"
    assert abs(simplest_game(PEOPLE, train, people(100, 1), people(200, 2), 0).auc - 0.5) < 0.12
    assert OUTLIERS == "outlier decile"


def test_binned_numbers_keep_their_order_and_what_is_missing() -> None:
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.normal(size=500), rng.integers(0, 4, 500), np.full(500, np.nan)])
    x[::7, 0] = np.nan
    seen, asked = _binned(x, x[:40], np.array([False, True, False]))
    known = ~np.isnan(x[:, 0])
    assert np.isnan(seen[~known, 0]).all() and len(np.unique(seen[known, 0])) == BINS
    order = np.argsort(x[known, 0])
    assert (np.diff(seen[known, 0][order]) >= 0).all()
    assert np.bincount(seen[known, 0].astype(int)).max() <= np.ceil(known.sum() / BINS) + 1
    assert np.array_equal(seen[:, 1], x[:, 1]) and (seen[:, 2] == 0).all()
    assert np.array_equal(asked, seen[:40], equal_nan=True)
