"""Numbers of the any-order model: densities that integrate to one, draws that follow them, relations that hold."""

import math
import random

import numpy as np
import pandas as pd
import pytest
import torch

from datakiln.codecs.tables.bins import Bins
from datakiln.codecs.tables.table import TableCodec
from datakiln.data.base import Provenance
from datakiln.data.tables.sources import RawTable
from datakiln.data.tables.tables import TableData
from datakiln.data.tables.types import infer_schema
from datakiln.models.autoregressive.tabar import TabAR, levels
from datakiln.nets.codes import Codes
from datakiln.nets.numbers import Numbers, fitted_weights
from datakiln.nets.references import TRIED, Reference, most_told
from datakiln.spec import Batch, Block


def ledger(n: int = 2000, seed: int = 0) -> pd.DataFrame:
    """`paid` is the bill in three rows of ten, `bill` half lies at 0, `near` is the bill and a little.

    `due` is the bill less what is paid in two rows of ten.
    """
    rng = np.random.default_rng(seed)
    bill = np.where(rng.random(n) < 0.3, 0, np.round(np.exp(rng.normal(7, 1, n)))).astype(int)
    near = np.round(bill + rng.normal(0, 20, n), 1)
    other = np.round(np.exp(rng.normal(6, 1, n))).astype(int)
    paid = np.where(rng.random(n) < 0.3, bill, other)
    kind, due = rng.choice(list("ab"), n), np.where(rng.random(n) < 0.2, bill - paid, rng.normal(0, 500, n))
    return pd.DataFrame({"kind": kind, "bill": bill, "near": near, "paid": paid, "due": due.round(2)})


@pytest.fixture(scope="module")
def codec() -> TableCodec:
    frame = ledger()
    return TableCodec(lambda: Bins(bins=16), compact=True, places=True).fit(frame, infer_schema(frame, None, {}))


@pytest.fixture(scope="module")
def strange(codec: TableCodec) -> TabAR:
    """An untrained network with weights at random: whatever it says must be a density."""
    torch.manual_seed(0)
    model = TabAR(codec.spec, width=32, bf16=False)  # two computations agree, on any processor
    x = codec.encode(ledger())
    model._count([Batch(rows) for rows in x.split(500)])
    with torch.no_grad():
        for parameter in model.net.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return model.eval()


def test_cells_come_back_as_they_were(codec):
    frame = ledger(seed=1)
    assert codec.equal_to == {"paid": [((1, "bill"),)], "due": [((1, "bill"), (-1, "paid"))]}
    back = codec.decode(codec.encode(frame), np.random.default_rng(0))
    trained, inside = ledger(), np.ones(len(frame), dtype=bool)
    for name in ("bill", "near", "paid", "due"):  # what lies beyond the training rows is clipped
        low, high = trained.loc[trained[name] != 0, name].agg(["min", "max"])
        inside &= ((frame[name] >= low) & (frame[name] <= high)) | (frame[name] == 0)
    assert inside.mean() > 0.98
    due = back.pop("due")[inside] - frame.pop("due")[inside]
    assert (due.abs() <= 1e-4 * (frame["bill"] + frame["paid"])[inside] + 1).all(), "as near as what it is made of"
    pd.testing.assert_frame_equal(back[inside], frame[inside], check_dtype=False, rtol=1e-4)
    equal = frame["bill"] == frame["paid"]
    assert (back["bill"] == back["paid"])[equal].all()


def test_references_are_found_in_training_rows(strange, codec):
    numbers = strange.net.numbers
    names = [codec.spec.columns[j].name for j in numbers.columns]
    i, j = names.index("near"), names.index("bill")
    alone = [place for place in range(4) if numbers.reference[i, place].tolist() == [j, -1]]
    assert alone
    slope = float(numbers.slope[i, alone[0], 0]) * numbers.spread[i] / numbers.spread[j]
    assert slope == pytest.approx(1.0, abs=0.02)


def test_a_difference_of_two_columns_is_a_reference():
    """Also where it holds in part of the rows only."""
    rng = np.random.default_rng(0)
    begin, length = rng.integers(0, 20_000, 3000), rng.integers(1, 9000, 3000)
    end = begin + length + np.where(rng.random(3000) < 0.5, rng.integers(-3000, 3000, 3000), 0)
    frame = pd.DataFrame({"begin": begin, "length": length, "end": end})
    codec = TableCodec(Bins, compact=True, places=True).fit(frame, infer_schema(frame, None, {}))
    model = TabAR(codec.spec, width=16)
    model._count([Batch(codec.encode(frame))])
    numbers = model.net.numbers
    last = numbers.place[int(model.rank.argmax())]
    assert sorted(numbers.reference[last, 0].tolist()) == [k for k in range(3) if k != last]
    slopes = numbers.slope[last, 0] * numbers.spread[last] / torch.tensor(numbers.spread)[numbers.reference[last, 0]]
    assert torch.allclose(slopes.abs(), torch.ones(2), atol=0.02)


def chained(n: int = 3000, seed: int = 0) -> pd.DataFrame:
    """Each bill is the last one less what was paid and what was spent since: nothing in one row of seven."""
    rng = np.random.default_rng(seed)
    columns = {"bill1": rng.gamma(2.0, 3000.0, n).round()}
    for month in (1, 2):
        bill = columns[f"bill{month}"]
        paid = (bill * rng.choice([0.03, 0.1, 0.5, 1.0], n) * rng.uniform(0.9, 1.0, n)).round()
        spent = np.where(rng.random(n) < 1 / 7, 0.0, rng.gamma(0.8, 800.0, n)).round()
        columns |= {f"paid{month}": paid, f"bill{month + 1}": bill - paid + spent}
    return pd.DataFrame(columns).astype(int)


def counted(frame: pd.DataFrame) -> tuple[TabAR, TableCodec, list[str]]:
    codec = TableCodec(Bins, compact=True, places=True).fit(frame, infer_schema(frame, None, {}))
    torch.manual_seed(0)
    model = TabAR(codec.spec, width=32)
    model._count([Batch(codec.encode(frame))])
    return model, codec, [codec.spec.columns[j].name for j in model.net.numbers.columns]


def test_numbers_come_behind_the_pairs_that_tell_them():
    """Though one column alone tells nearly as much of a bill, and nothing at all is spent in few rows."""
    model, codec, names = counted(chained())
    numbers = model.net.numbers
    order = [codec.spec.columns[j].name for j in model.rank.argsort().tolist()]
    for month in (1, 2):
        parts = {f"bill{month}", f"paid{month}", f"bill{month + 1}"}
        last = max(parts, key=order.index)
        found = [{names[k] for k in pair if k >= 0} for pair in numbers.reference[names.index(last)].tolist()]
        assert parts - {last} in found, (order, last, found)
        assert any(len(pair) == 1 for pair in found)  # the best column alone has its place too


def test_an_order_is_left_only_for_a_clear_gain():
    def told(loss, *columns):
        return Reference(loss, columns, tuple(1.0 for _ in columns), 0.0, False, 1.0)

    a_third = [[], [], [told(-2.0, 0, 3), told(-0.5, 0)], [told(-0.2, 0)]]
    assert most_told([0, 1, 2, 3], a_third, list) == [0, 1, 3, 2]
    assert most_told([0, 1, 2, 3], [[], [], [told(-0.6, 0, 3), told(-0.5, 0)], []], list) == [0, 1, 2, 3]
    assert most_told([0, 1, 2, 3], a_third, lambda order: sorted(order, key=lambda k: k == 3)) == [0, 1, 2, 3]


def test_the_order_of_many_numbers_costs_no_more_than_it_may():
    """Where every number is told by pairs of any others, looking for the best order would have no end."""
    rng, n = random.Random(0), 150
    found = []
    for i in range(n):
        pairs = [rng.sample([j for j in range(n) if j != i], 2) for _ in range(20)]
        found.append(sorted(Reference(-rng.random(), (a, b), (1.0, 1.0), 0.0, False, 1.0) for a, b in pairs))
    asked = []

    def settle(order):
        asked.append(order)
        return order

    order = most_told(list(range(n)), found, settle)
    assert sorted(order) == list(range(n)) != order
    assert len(asked) * n < 2 * TRIED


@torch.no_grad()
def test_a_context_hears_what_references_predict_where_they_are_seen(strange, codec):
    x, names = codec.encode(ledger(6, seed=3)), [column.name for column in codec.spec.columns]
    near, bill = names.index("near"), names.index("bill")
    place = torch.arange(len(names))
    seen = torch.where(place == near, len(names), torch.where(place == bill, -1, place))[None]
    unseen = torch.where(place == near, -1, place)[None]  # near comes first: it is told nothing
    moved = x.clone()
    for block in codec.spec.columns[bill].blocks:
        moved[:, block.start : block.stop] = x[:, block.start : block.stop].roll(1, dims=0)
    assert not torch.allclose(*(strange._log_probs(rows, seen)[:, near] for rows in (x, moved)), atol=1e-2)
    torch.testing.assert_close(*(strange._log_probs(rows, unseen)[:, near] for rows in (x, moved)), atol=1e-3, rtol=0.0)
    hints = strange.net.numbers.hints
    kept, heard = hints.clone(), [strange._log_probs(x, rank)[:, near] for rank in (seen, unseen)]
    hints.zero_()
    silent = [strange._log_probs(x, rank)[:, near] for rank in (seen, unseen)]
    hints.copy_(kept)
    assert not torch.allclose(heard[0], silent[0], atol=1e-2)
    torch.testing.assert_close(heard[1], silent[1])


@torch.no_grad()
def test_the_density_of_a_number_integrates_to_one(strange, codec):
    """Over all codes, places and states of the column that is drawn last, whatever the others are."""
    last = int(strange.rank.argmax())
    code, place = (block.start for block in codec.spec.columns[last].blocks)
    block = codec.spec.columns[last].blocks[0]
    steps = 3000
    inner = torch.arange(block.ordered)[:, None] + (torch.arange(steps) + 0.5) / steps
    knots = torch.tensor(block.knots)
    is_lump = knots[:, -1] == knots[:, 0]
    for row in codec.encode(ledger(3, seed=2)):
        cells = row.expand(inner.numel(), -1).clone()
        cells[:, place] = inner.flatten()
        cells[:, code] = cells[:, place].floor()
        alone = row.clone()[None]
        alone[:, [code, place]] = torch.nan
        density = (strange.log_prob(cells) - strange.log_prob(alone)).exp().view_as(inner)
        total = torch.where(is_lump, density[:, steps // 2], density.mean(dim=1)).sum()
        for state in range(block.ordered, block.size):
            there = row.clone()[None]
            there[:, code] = state
            total += (strange.log_prob(there) - strange.log_prob(alone)).exp()[0]
        assert total.item() == pytest.approx(1.0, abs=5e-3)


@torch.no_grad()
def test_draws_follow_the_density_and_both_ways_of_asking_for_it_agree(strange):
    torch.manual_seed(1)
    strange.even = False
    x = strange.sample(4000)
    codes, _ = strange.codes.read(x)
    by_columns = strange._ancestral().log_prob(codes - strange.codes.first, strange.codes.places(x))
    assert torch.allclose(by_columns, strange.log_prob(x), atol=1e-3)
    other = strange.sample(4000)
    # the mean log-density of draws is the same for any two sets of them, and above that of rows with cells exchanged
    ours, theirs = strange.log_prob(x), strange.log_prob(other)
    error = float((ours.var() / 4000 + theirs.var() / 4000).sqrt())
    assert float((ours.mean() - theirs.mean()).abs()) < 4 * error
    # importance weights of draws: E[q/p] = 1 over the support, here with q the same density of a colder model
    told = torch.full((4000, strange.codes.width), torch.nan)
    drawn, log_q = strange._drawn(told, strange._ancestral())
    assert torch.allclose(log_q, strange._ancestral().log_prob(*drawn), atol=1e-3)


@torch.no_grad()
def test_equal_cells_are_equal_to_the_digit_in_samples(strange, codec):
    torch.manual_seed(2)
    x = strange.sample(2000)
    frame = codec.decode(x, np.random.default_rng(0))
    for name, right in (("paid", frame["bill"]), ("due", (frame["bill"] - frame["paid"]).round(2))):
        block = next(c.blocks[0] for c in codec.spec.columns if c.name == name)
        is_equal = (x[:, block.start] == block.size - 1).numpy()
        assert is_equal.any() and not is_equal.all()
        assert (frame[name] == right)[is_equal].all()


@torch.no_grad()
def test_a_sum_beyond_the_values_of_its_column_is_drawn_again(strange, codec):
    """Nothing less the largest payment is below all that was ever due."""
    torch.manual_seed(3)
    codes, numbers = strange.codes, strange.net.numbers
    due = next(j for j in range(len(codes)) if len(codes.needed(j)) > 1)
    ((state, terms),) = codes.states(due)
    x = codec.encode(ledger().assign(bill=0, paid=ledger()["paid"].max()).head(50))
    coordinates, own = codes.places(x), state - codes.part(due).start
    assert numbers.is_beyond(numbers.place[due], terms, coordinates).all()
    assert not numbers.is_beyond(numbers.place[due], terms, codes.places(codec.encode(ledger().head(50)))).any()
    shares, at = torch.zeros(1, codes.sizes[due]), torch.zeros(50, dtype=torch.long)
    drawn = strange._ancestral()._within(torch.full((50,), own), due, shares.log_softmax(dim=1), at, coordinates)
    assert (drawn != own).all() and len(drawn.unique()) > 3
    kept = torch.arange(50) % own
    assert torch.equal(strange._ancestral()._within(kept, due, shares, at, coordinates), kept)


@torch.no_grad()
def test_a_cell_equals_none_that_is_not_seen(strange):
    """Without the bill, all probability of `paid` is that of its own codes, and so is that of `due` without either."""
    net, columns = strange.net, len(strange.codes)
    paid, due = (j for j in range(columns) if strange.codes.equal_to[j])
    ((bill,), _), *_ = strange.codes.equal_to[paid]
    features = torch.randn(6, columns, 32)
    cells, lifted = (torch.zeros(6, columns, dtype=torch.long) for _ in range(2))
    sees = torch.ones(6, columns, columns, dtype=torch.bool)
    sees[:3, paid, bill] = False
    logits = net.logits(features[:, paid], paid, lifted[:, paid])
    _, totals = net.scores(features, cells, lifted, sees)
    _, all_seen = net.scores(features, cells, lifted)
    assert torch.allclose(totals[:3, paid], logits[:3, :-1].logsumexp(dim=1), atol=1e-5)
    assert torch.allclose(totals[3:, paid], logits[3:].logsumexp(dim=1), atol=1e-5)
    others = torch.arange(columns) != paid
    assert torch.equal(totals[:, others], all_seen[:, others])
    for one in (bill, paid):
        sees = torch.ones(6, columns, columns, dtype=torch.bool)
        sees[:3, due, one] = False
        _, of_due = net.scores(features, cells, lifted, sees)
        own = net.logits(features[:, due], due, lifted[:, due])[:3, :-1].logsumexp(dim=1)
        assert torch.allclose(of_due[:3, due], own, atol=1e-5) and torch.equal(of_due[3:, due], all_seen[3:, due])
    sees = torch.ones(6, columns, columns, dtype=torch.bool)
    sees[:3, paid, bill] = False
    cells[:, paid] = strange.codes.sizes[paid] - 1
    picked, _ = net.scores(features, cells, lifted, sees)
    assert ((picked - totals)[:3, paid] < -20).all()


@torch.no_grad()
def test_equal_rows_are_as_likely_wherever_they_stand(strange, codec):
    rows = pd.concat([ledger(40), ledger(40).iloc[::-1]], ignore_index=True)
    for x in (codec.encode(rows), codec.encode_known(dict(rows.items()), len(rows))):
        likely = strange.log_prob(x)
        assert torch.allclose(likely[:40], likely[40:].flip(0), atol=1e-5)
    assert torch.equal(codec.encode(rows), codec.encode_known(dict(rows.items()), len(rows)))
    spread = codec.encode(rows, dequantise=True)
    assert not torch.equal(spread[:40], spread[40:].flip(0))
    again = codec.decode(spread, np.random.default_rng(0))
    pd.testing.assert_frame_equal(again, codec.decode(codec.encode(rows), np.random.default_rng(0)), rtol=1e-3)


def test_one_told_cell_can_equal_many(codec):
    bills = ledger(30)["bill"]
    x = codec.encode_known({"bill": bills, "paid": pd.Series([int(bills[bills > 0].iloc[0])])}, 30)
    block = next(c.blocks[0] for c in codec.spec.columns if c.name == "paid")
    assert ((x[:, block.start] == block.size - 1).numpy() == (bills == bills[bills > 0].iloc[0])).all()


@torch.no_grad()
def test_a_number_given_behind_its_reference_is_met(strange, codec):
    frame = ledger(50, seed=3)
    told = codec.encode_known({"paid": frame["paid"]}, 50)
    made = codec.decode(strange.sample(50, told), np.random.default_rng(0))
    assert np.allclose(made["paid"], frame["paid"].clip(upper=ledger()["paid"].max()), rtol=1e-3)


def test_frequent_codes_keep_vectors_of_their_own(codec, strange):
    shares = strange.net.bias.exp()
    level = levels(strange.codes, torch.full((strange.codes.total,), 1e-3), 16)
    for j, knots in enumerate(strange.codes.knots):
        part = level[strange.codes.part(j)]
        assert len(part.unique()) <= (16 if knots is not None and len(knots) > 16 else len(part)) + len(part) - (
            len(knots) if knots is not None else len(part)
        )
    assert len(shares) == strange.codes.total


@pytest.mark.journey
def test_training_learns_equal_cells_and_nearness():
    frame = ledger(3000)
    source = Provenance("generated", "test", "")
    data = TableData(
        lambda _: RawTable(frame, None, source),
        TableCodec(lambda: Bins(bins=32), compact=True, places=True),
        batch_size=128,
    )
    data.setup("fit")
    torch.manual_seed(0)
    model = TabAR(data.spec, width=64)
    loader = data.train_dataloader()
    model._count(loader)
    optimizer = torch.optim.AdamW(model.net.parameters(), lr=5e-3)
    model.train()
    for _ in range(8):
        for batch in loader:
            optimizer.zero_grad()
            model.losses(batch)["loss"].backward()
            optimizer.step()
    model.eval()
    made = data.codec.decode(model.sample(3000), np.random.default_rng(0))
    assert abs((made["paid"] == made["bill"]).mean() - (frame["paid"] == frame["bill"]).mean()) < 0.04
    gap = (made["near"] - made["bill"]).abs()
    assert gap.quantile(0.9) < 4 * (frame["near"] - frame["bill"]).abs().quantile(0.9)


def test_a_reference_is_straight_where_errors_are_of_one_size_among_values():
    """And not where they grow with the values, as the codes of a skewed number do."""
    rng = np.random.default_rng(0)
    base = np.exp(rng.normal(7, 1, 2000))
    frame = pd.DataFrame(
        {
            "base": base.round(1),
            "even": (base + rng.normal(0, 50, 2000)).round(1),
            "grown": (base * np.exp(rng.normal(0, 0.05, 2000))).round(1),
        }
    )
    codec = TableCodec(Bins, compact=True, places=True).fit(frame, infer_schema(frame, None, {}))
    model = TabAR(codec.spec, width=16)
    model._count([Batch(codec.encode(frame))])
    numbers = model.net.numbers
    kinds = {}
    for i, name in enumerate(frame):
        for place in range(4):
            columns = [frame.columns[j] for j in numbers.reference[i, place].tolist() if j >= 0]
            if len(columns) == 1:
                kinds[name, columns[0]] = bool(numbers.straight[i, place])
    assert kinds["even", "base"]
    assert not kinds["grown", "base"]


def test_weights_of_components_fit_the_rows():
    """Where a part of share p has a density g times that of the codes, and the rest none: w = (pg - 1) / (g - 1)."""
    share, times = 0.5, 20.0
    gain = torch.full((1000, 1, 1), -30.0)
    gain[:500] = math.log(times)
    weights = fitted_weights(gain, torch.ones(1000, 1, dtype=torch.bool))
    assert weights[0, 1].item() == pytest.approx((share * times - 1) / (times - 1), abs=1e-3)
    assert weights.sum().item() == pytest.approx(1.0)


@torch.no_grad()
def test_before_training_the_components_fit_better_than_the_codes_alone():
    frame = ledger(3000)
    codec = TableCodec(Bins, compact=True, places=True).fit(frame, infer_schema(frame, None, {}))
    x = codec.encode(frame, dequantise=True)
    torch.manual_seed(0)
    model = TabAR(codec.spec, width=16).eval()
    model._count([Batch(x)])
    with_them = float(model.log_prob(x).mean())
    model.net.numbers.reference.fill_(-1)
    model.net.numbers.has_plane.fill_(False)
    assert with_them > float(model.log_prob(x).mean()) + 1.0


@pytest.mark.parametrize("location", [-300.0, -25.0, -1.0, 7.3, 21.0, 45.0, 300.0])
@pytest.mark.parametrize("straight", [False, True])
def test_a_component_is_a_law_wherever_its_location_lies(location, straight):
    """Far beyond the ends too, where a logistic has next to no mass left: over all codes it sums to one."""
    knots = tuple((float(v), float(v)) for v in range(20))
    codes = Codes((Block(0, 1, "code", size=20, ordered=20, knots=knots), Block(1, 2, "place")), ["hour"])
    numbers = Numbers(codes, 8)
    numbers.straight[:] = straight
    numbers.set_shares(torch.full((20,), 1 / 20))
    at = torch.arange(20)[:, None] + 0.5
    middle = numbers.values(torch.tensor([[0.5]])).item() if straight else 0.0
    where = location * float(numbers.rate[0]) + middle if straight else location
    width = 0.2 * (float(numbers.rate[0]) if straight else 1.0)
    place = torch.full((20, 1, 5), where)
    found = numbers.log_densities(at, place, torch.full_like(place, width), slice(None))[:, 0, 0]
    assert found.exp().sum().item() == pytest.approx(1.0, abs=1e-3)
    uniforms = torch.linspace(0.0005, 0.9995, 1000)
    drawn = numbers.drawn(torch.full((1000,), where), torch.full((1000,), width), uniforms, 0, torch.zeros(1000).long())
    shares = torch.bincount(drawn.long(), minlength=20) / 1000
    assert torch.allclose(shares, found.exp(), atol=2e-3)
