"""The any-order autoregressive model: a normalised density, exact draws from it, and conditions that are delivered."""

import functools
import itertools

import lightning as L
import numpy as np
import pandas as pd
import pytest
import torch

from datakiln.callbacks.ema import Ema
from datakiln.codecs.tables.bins import Bins
from datakiln.codecs.tables.table import TableCodec
from datakiln.data.base import Provenance
from datakiln.data.tables.sources import RawTable
from datakiln.data.tables.tables import TableData
from datakiln.errors import UserError
from datakiln.models.autoregressive.tabar import TabAR, one_cycle
from datakiln.models.statistical.bootstrap import Bootstrap
from datakiln.nets.anyorder import CodeTable
from datakiln.nets.codes import Codes, Strata, resample
from datakiln.sampling.synthesizer import Synthesizer
from datakiln.spec import Block
from tests.code_tables import assert_resumes, cells, data_of, related, shares, spec_of, train, variation

NAN = float("nan")
ADAM = functools.partial(torch.optim.AdamW, lr=8e-3, weight_decay=0.3)


@pytest.fixture(scope="module")
def strange() -> TabAR:
    """An untrained network whose weights are all random, so that every column depends on every other."""
    torch.manual_seed(3)
    model = TabAR(spec_of(2, 3, 4), width=16, hidden=32, bf16=False).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.7)
        model.net.source.copy_(torch.tensor([-1, 0, 1]))
        model.net.lift[1:] = torch.randn_like(model.net.lift[1:])
    return model


@pytest.mark.parametrize("rank", itertools.permutations(range(3)))
def test_probabilities_of_all_rows_add_up_to_one(strange, rank):
    strange.rank.copy_(torch.tensor(rank))
    with torch.no_grad():
        total = strange.log_prob(cells(strange.spec)).logsumexp(0)
    strange.rank.copy_(torch.arange(3))
    assert total.item() == pytest.approx(0.0, abs=1e-5)


@torch.no_grad()
def test_unknown_cells_are_summed_out(strange):
    rows = cells(strange.spec)
    joint = strange.log_prob(rows).exp()
    last_unknown = rows.clone()
    last_unknown[:, 2] = NAN
    summed = joint.view(6, 4).sum(dim=1).repeat_interleave(4)
    assert torch.allclose(strange.log_prob(last_unknown).exp(), summed, atol=1e-6)
    assert strange.log_prob(torch.full((2, 3), NAN)).tolist() == [0.0, 0.0]


@torch.no_grad()
@pytest.mark.parametrize("even", [False, True])
def test_rows_are_drawn_as_often_as_they_are_probable(strange, even):
    strange.even = even
    torch.manual_seed(1)
    drawn = shares(strange.sample(40_000), strange.spec)
    # 24 cells of 40,000 independent rows: a mean total variation of about 0.01
    assert variation(drawn, strange.log_prob(cells(strange.spec)).exp()) < 0.02


@torch.no_grad()
@pytest.mark.parametrize("given", [{2: 1}, {1: 2}, {0: 1, 2: 3}])
def test_given_columns_stay_and_the_others_follow(strange, given):
    strange.even, strange.candidates = True, 1
    condition = torch.full((40_000, 3), NAN)
    for column, code in given.items():
        condition[:, column] = code
    torch.manual_seed(2)
    x = strange.sample(40_000, condition)
    strange.candidates = 16
    assert all((x[:, column] == code).all() for column, code in given.items())
    # p(others | given) is what the network says with the given columns in front
    rank = torch.tensor([j - 3 * (j in given) for j in range(3)])
    whole = cells(strange.spec)
    logs = strange._log_probs(whole, rank.expand(1, -1))
    free = [j for j in range(3) if j not in given]
    fits = torch.stack([cells(strange.spec)[:, j] == code for j, code in given.items()]).all(dim=0)
    wanted = torch.where(fits, logs[:, free].sum(dim=1).exp(), 0.0)
    assert wanted.sum().item() == pytest.approx(1.0, abs=1e-5)
    assert variation(shares(x, strange.spec), wanted) < 0.02


@torch.no_grad()
@pytest.mark.parametrize("given", [{2: 1}, {1: 2}])
def test_many_candidates_bring_the_conditional_of_the_whole_row(strange, given):
    """An untrained net's answers out of order contradict its likelihood of rows, which is what counts.

    Less where its counts help: what a category says of a column before it is told out of order, too.
    """
    ((column, code),) = given.items()
    condition = torch.full((4000, 3), NAN)
    condition[:, column] = code
    joint = strange.log_prob(cells(strange.spec)).exp() * (cells(strange.spec)[:, column] == code)
    distances = []
    for strange.candidates in (1, 256):
        torch.manual_seed(2)
        distances.append(variation(shares(strange.sample(4000, condition), strange.spec), joint / joint.sum()))
    strange.candidates = 16
    assert distances[0] > 0.05 and distances[1] < 0.04, distances


@torch.no_grad()
def test_cells_that_the_model_holds_impossible_stay_all_the_same(strange):
    bias = strange.net.bias.clone()
    strange.net.bias[0] = -1e4  # of code 0 in column 0
    torch.manual_seed(4)
    condition = torch.tensor([[0.0, NAN, NAN], [1.0, NAN, 2.0], [0.0, 1.0, NAN]]).repeat(30, 1)
    x = strange.sample(90, condition)
    strange.net.bias.copy_(bias)
    known = ~torch.isnan(condition)
    assert torch.equal(x[known], condition[known])


@torch.no_grad()
def test_every_row_can_have_its_own_known_cells(strange):
    condition = torch.tensor([[1.0, NAN, NAN], [NAN, 2.0, 3.0], [NAN, NAN, NAN], [0.0, 1.0, 2.0]]).repeat(50, 1)
    x = strange.sample(200, condition)
    known = ~torch.isnan(condition)
    assert torch.equal(x[known], condition[known]) and torch.isfinite(x).all()
    torch.manual_seed(3)
    once = strange.sample(200, condition)
    torch.manual_seed(3)
    assert torch.equal(once, strange.sample(200, condition))


def test_evenly_spread_numbers_are_uniform_and_vary_less():
    codes = torch.arange(1000) % 4
    means, hits = [], []
    for seed in range(200):
        torch.manual_seed(seed)
        strata = Strata(1000, torch.device("cpu"))
        strata.sort(codes)
        u = strata.uniforms()
        means.append(u[0])
        hits.append([(u[codes == c] < 0.3).sum().item() for c in range(4)])
    # one row's number is uniform over the seeds: mean 1/2 with a standard error of 0.02
    assert abs(torch.stack(means).mean() - 0.5) < 0.07
    # 250 rows of a code: independent draws would vary by 7 rows
    assert np.std(hits) < 1.0 and np.mean(hits) == pytest.approx(75.0, abs=0.3)


@functools.cache
def trained() -> tuple[TabAR, object]:
    torch.manual_seed(0)
    data = data_of(related(), "kind", batch_size=100)
    return train(TabAR(data.spec, width=32, hidden=64, optimizer=ADAM), data, 40).eval(), data


@pytest.mark.journey
def test_beats_independent_columns_by_the_relations():
    model, data = trained()
    floor = train(Bootstrap(data.spec), data, 1)
    x = data.tensors["test"][0]
    with torch.no_grad():
        gain = (model.log_prob(x) - floor.log_prob(x)).mean().item()
    # what there is to gain is the mutual information, 1.28 nats of the twin and 0.4 of the size; the bins of the
    # numbers cost some of it: they have nothing to tell, and fifteen training rows each to learn it from
    assert 1.3 < gain < 1.85


@pytest.mark.journey
def test_a_deterministic_relation_is_filled_in_both_ways():
    model, data = trained()
    x = data.tensors["test"][0]
    for column in (0, 1):
        gaps = x.clone()
        gaps[:, column] = NAN
        torch.manual_seed(4)
        filled = model.impute(gaps)
        assert (filled[:, column] == x[:, column]).float().mean() > 0.95
        assert torch.equal(filled[:, [2, 3]], x[:, [2, 3]])


def test_conditions_on_any_column_give_the_right_conditional():
    model, data = trained()
    synthesizer = Synthesizer(model, data.codec)
    frame = synthesizer.sample(4000, {"size": 3}, seed=1)
    assert (frame["size"] == 3).all()
    # p(kind = d | size = 3) = 0.1 (2/3 + 1/12) / (0.1 * 2/3 + 1/12) = 0.5
    assert (frame["kind"] == "d").mean() == pytest.approx(0.5, abs=0.08)
    assert (frame["twin"] == frame["kind"].map(dict(zip("abcd", "dcba", strict=True)))).mean() > 0.95
    two = synthesizer.sample(500, {"twin": "a", "size": "<2"}, seed=1)
    assert (
        (two["twin"] == "a").all() and (two["size"] < 2).all() and (two["kind"] == "d").mean() > 0.8
    )  # two rows in a hundred are so
    value = float(data.frames["train"]["noise"].iloc[0])
    exact = synthesizer.sample(50, {"noise": value, "kind": "b"}, seed=1)
    assert (exact["noise"] == value).all() and (exact["kind"] == "b").all(), "one number of a bin of many"


def test_a_table_is_filled_and_judged_in_user_units():
    model, data = trained()
    synthesizer, test = Synthesizer(model, data.codec), data.frames["test"]
    gaps = test.set_axis(range(7, 7 + len(test)))
    gaps.loc[gaps.index % 2 == 0, "twin"] = None
    gaps.loc[gaps.index % 3 == 0, "noise"] = NAN
    filled = synthesizer.impute(gaps, seed=1)
    assert filled.notna().all(axis=None) and (filled.dtypes == test.dtypes).all() and filled.index.equals(gaps.index)
    assert filled.where(gaps.notna()).equals(gaps.where(gaps.notna())), "known cells stay"
    assert (filled["twin"].to_numpy() == test["twin"].to_numpy()).mean() > 0.95
    assert filled.equals(synthesizer.impute(gaps, seed=1)) and not filled.equals(synthesizer.impute(gaps, seed=2))
    wrong = test.assign(twin=test["kind"])  # never so in training
    assert (synthesizer.log_prob(wrong) < synthesizer.log_prob(test).to_numpy() - 1.0).mean() > 0.95
    with pytest.raises(UserError, match="lacks the column 'twin'"):
        synthesizer.impute(test.drop(columns="twin"))


def test_missing_cells_that_training_knew_are_filled_too():
    frame = related(1500)
    frame.loc[frame.index % 3 == 0, "twin"] = None
    data = data_of(frame, "kind", batch_size=100)
    torch.manual_seed(0)
    model = train(TabAR(data.spec, width=16, hidden=32, optimizer=ADAM), data, 10)
    filled = Synthesizer(model, data.codec).impute(data.frames["test"])
    assert filled["twin"].notna().all()


def test_order_and_biases_come_from_the_training_rows():
    model, data = trained()
    assert model.rank.tolist()[-1] == 3, "the numbers in bins have most entropy"
    assert model.rank.argsort().tolist()[0] in (0, 1)
    fresh = TabAR(data.spec, optimizer=ADAM)
    fresh._count(data.train_dataloader())
    counts = data.frames["train"]["kind"].value_counts(normalize=True).sort_index()
    share = fresh.net.bias[fresh.codes.part(0)].softmax(0).detach().numpy()
    assert np.abs(share - counts.to_numpy()).max() < 1e-3


def test_small_tables_get_more_epochs():
    data = data_of(related(200), "kind")
    model = train(TabAR(data.spec, width=8, hidden=8, min_updates=30, optimizer=ADAM), data, 2)
    assert 30 <= model.steps <= 30 + len(data.train_dataloader())


def test_large_tables_get_fewer_epochs():
    data = data_of(related(600), "kind", batch_size=20)
    batches = len(data.train_dataloader())
    for most, epochs in ((0, 4), (2 * batches + 1, 2), (1, 1), (100 * batches, 4)):
        model = train(TabAR(data.spec, width=8, hidden=8, most_updates=most, optimizer=ADAM), data, 4)
        assert model.steps == epochs * batches, most
    assert model.chosen_options()["most_updates"] == 0, "a length that was chosen is kept"


def test_resumes_in_the_middle_of_an_epoch(tmp_path):
    data = data_of(related(600), "kind", batch_size=100)
    assert_resumes(lambda: TabAR(data.spec, width=8, hidden=8, optimizer=ADAM), data, 3, 6, tmp_path)


def test_rate_goes_up_then_down():
    assert one_cycle(0.0) == pytest.approx(0.1) and one_cycle(0.1) == pytest.approx(1.0)
    assert one_cycle(1.0) == pytest.approx(0.001) and one_cycle(0.5) > one_cycle(0.6)


def test_one_column_tables_work():
    for frame in (pd.DataFrame({"x": np.random.default_rng(0).normal(size=80)}), pd.DataFrame({"g": list("ab") * 40})):
        data = data_of(frame)
        model = train(TabAR(data.spec, width=8, hidden=8, optimizer=ADAM), data, 2)
        assert model.sample(10).shape == (10, 1)


def test_encodings_it_cannot_read_are_refused():
    from datakiln.codecs.tables.scaling import MinMax
    from tests.toy_tables import toy_data

    with pytest.raises(UserError, match="encoding=bins data.codec.compact=true"):
        TabAR(toy_data(MinMax).spec)


@torch.no_grad()
@pytest.mark.parametrize("given", [{}, {0: 1}])
def test_columns_drawn_from_some_codes_are_drawn_as_the_rows_with_these_codes_are(strange, given):
    strange.even = True
    allowed = {1: torch.tensor([True, False, True]), 2: torch.tensor([False, True, True, False])}
    condition = torch.full((20_000, 3), NAN)
    for column, code in given.items():
        condition[:, column] = code
    torch.manual_seed(2)
    with strange.within(allowed):
        x = strange.sample(20_000, condition if given else None)
    assert strange.allowed == {} and all(codes[x[:, j].long()].all() for j, codes in allowed.items())
    rows = cells(strange.spec)
    wanted = strange.log_prob(rows).exp()
    for j, codes in allowed.items():
        wanted = wanted * codes[rows[:, j].long()]
    for j, code in given.items():
        wanted = wanted * (rows[:, j] == code)
    assert variation(shares(x, strange.spec), wanted / wanted.sum()) < 0.03


def test_no_candidate_is_chosen_twice_while_there_are_others():
    torch.manual_seed(0)
    log_odds = torch.cat([torch.full((4,), 9.0), torch.rand(396), torch.full((32,), -200.0)])
    log_odds[-1] = 0.0
    group = torch.tensor([0] * 400 + [1] * 32)
    chosen = resample(log_odds, group, 27)
    assert torch.bincount(group[chosen]).tolist() == [25, 2]
    assert len(chosen[:25].unique()) == 25 and set(range(4)) <= set(chosen.tolist())
    assert chosen[25:].unique().numel() == 2


def test_resampling_gives_every_group_its_rows_by_the_odds():
    torch.manual_seed(0)
    group = torch.tensor([0] * 4000 + [1] * 4 + [2] * 4000)
    odds, kind = torch.tensor([0.0, 0.7, -50.0, 2.0]), torch.randint(4, (4000,))
    log_odds = torch.cat([odds[kind], torch.tensor([0.0, 300.0, 0.0, 0.0]), torch.zeros(4000)])
    chosen = resample(log_odds, group, 2001)
    assert torch.bincount(group[chosen]).tolist() == [1000, 1, 1000]
    assert chosen[1000].item() == 4001, "all the odds"
    wanted = torch.bincount(kind, odds[kind].exp(), minlength=4)
    share = torch.bincount(kind[chosen[:1000]], minlength=4) / 1000
    assert torch.allclose(share, (wanted / wanted.sum()).float(), atol=0.03)
    assert (chosen[1001:].diff() == 4).all(), "evenly, where all have the same odds"


def test_codes_of_a_number_start_near_their_neighbours():
    """The vectors of an ordered column change smoothly from code to code; those of a category do not."""
    torch.manual_seed(0)
    blocks = [Block(0, 1, "code", size=31, ordered=30), Block(1, 2, "code", size=30)]
    table = CodeTable(Codes(blocks), width=64, scale=1.0)
    number, category = table.of(0), table.of(1)
    assert torch.equal(table(), torch.cat([number, category])) and number.shape == (31, 64)

    def likeness(vectors: torch.Tensor) -> float:
        return torch.cosine_similarity(vectors[:-1], vectors[1:]).mean().item()

    assert likeness(number[:30]) > 0.6 and abs(likeness(category)) < 0.1
    assert abs(torch.cosine_similarity(number[29], number[30], dim=0).item()) < 0.4, "missing is near to no number"


def test_two_numbers_of_a_small_table_go_together():
    """800 rows teach how two numbers go together, and of an unrelated one that it does not."""
    rng = np.random.default_rng(0)
    a = rng.normal(40, 12, 800)
    frame = pd.DataFrame({"a": a, "b": 900 * a + rng.normal(0, 6000, 800), "c": rng.normal(0, 1, 800)})
    data = data_of(frame, batch_size=100)
    torch.manual_seed(0)
    model = train(TabAR(data.spec, width=48, hidden=64, optimizer=ADAM), data, 15).eval()
    made = data.codec.decode(model.sample(2000), np.random.default_rng(0))
    assert np.corrcoef(a, frame["b"])[0, 1] > 0.85
    assert made["a"].corr(made["b"]) > 0.5 and abs(made["a"].corr(made["c"])) < 0.15


def expected_shares(model: TabAR, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Of codes of numbers and categories: how often found among rows, how often expected."""
    codes, _ = model.codes.read(x)
    found, expected = model._ancestral().shares(codes - model.codes.first, model.codes.places(x))
    return found[0] / len(x), expected[0] / len(x)


def rates(n: int = 1500) -> pd.DataFrame:
    """Numbers and categories that hang on each other."""
    rng = np.random.default_rng(0)
    size = rng.normal(size=n)
    kind = np.array(list("abcdefgh"))[np.clip((size * 2 + rng.normal(size=n) + 4).astype(int), 0, 7)]
    return pd.DataFrame({"size": size, "price": np.exp(size) + rng.gamma(2, size=n), "kind": kind})


def test_codes_are_expected_as_often_as_the_training_rows_have_them(monkeypatch):
    """Of averaged weights, trained with dropout; the checkpoint has what validation saw."""
    gaps = {}
    calibrate = TabAR.calibrate
    for is_asked in (True, False):
        monkeypatch.setattr(TabAR, "calibrate", calibrate if is_asked else lambda *_: None)
        data = TableData(
            lambda _: RawTable(rates(), None, Provenance("generated", "test", "")),
            TableCodec(Bins, compact=True, places=True), batch_size=64, relations="none",
        )  # fmt: skip
        data.setup("fit")
        torch.manual_seed(0)
        model, ema = TabAR(data.spec, dropout=0.4, optimizer=functools.partial(torch.optim.AdamW, lr=8e-3)), Ema(0.99)
        L.Trainer(
            max_epochs=10, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
            num_sanity_val_steps=0, callbacks=[ema],
        ).fit(model, datamodule=data)  # fmt: skip
        raw = model.net.bias.clone()
        model.net.load_state_dict(ema.average)
        found, expected = expected_shares(model.eval(), data.tensors["train"][0])
        assert expected.sum().item() < len(model.codes) + 1e-3  # the rest is of components
        gaps[is_asked] = float((found - expected).abs().sum())
        assert not torch.equal(raw, model.net.bias)
    assert gaps[True] < 0.6 * gaps[False]


@torch.no_grad()
def test_expected_shares_are_those_of_probabilities(strange):
    """Against sums over all rows, each row given up to the column."""
    x = strange.sample(500)
    found, expected = expected_shares(strange, x)
    codes, _ = strange.codes.read(x)
    assert torch.allclose(found, torch.bincount(codes.flatten(), minlength=strange.codes.total) / 500)
    by_hand = torch.zeros(strange.codes.total)
    order = strange.rank.argsort().tolist()
    for place, j in enumerate(order):
        for code in range(strange.codes.sizes[j]):
            rows = x.clone()
            rows[:, order[place + 1 :]] = torch.nan
            before = rows.clone()
            before[:, j], rows[:, j] = torch.nan, code
            share = (strange.log_prob(rows) - strange.log_prob(before)).exp().mean()
            by_hand[int(strange.codes.first[j]) + code] = share
    assert torch.allclose(expected, by_hand, atol=1e-4)
