"""The latent-class model: everything about it is a finite sum that can be checked."""

import functools

import numpy as np
import pandas as pd
import pytest
import torch

from datakiln.data.tables.sources import SklearnTable
from datakiln.models.statistical.bootstrap import Bootstrap
from datakiln.models.statistical.mixture import Mixture
from datakiln.sampling.synthesizer import Synthesizer
from tests.code_tables import assert_resumes, cells, data_of, related, shares, spec_of, train, variation

NAN = float("nan")


@pytest.fixture(scope="module")
def known() -> Mixture:
    """Three classes with random parameters."""
    torch.manual_seed(0)
    model = Mixture(spec_of(2, 3, 4), classes=[3], smoothing=[1.0])
    theta = torch.rand(9, 3).pow(3)
    model.log_theta.copy_((theta / model.codes.sums(theta)[model.codes.column]).log())
    model.log_pi.copy_(torch.tensor([0.5, 0.3, 0.2]).log())
    return model


def test_probabilities_of_all_rows_add_up_to_one(known):
    assert known.log_prob(cells(known.spec)).logsumexp(0).item() == pytest.approx(0.0, abs=1e-5)
    row, theta = torch.tensor([[1.0, 2.0, 0.0]]), known.log_theta.exp()
    by_hand = (known.log_pi.exp() * theta[1] * theta[2 + 2] * theta[5 + 0]).sum()
    assert known.log_prob(row).exp().item() == pytest.approx(by_hand.item(), rel=1e-5)


def test_unknown_cells_are_summed_out_whichever_they_are(known):
    rows = cells(known.spec)
    joint = known.log_prob(rows).exp().view(2, 3, 4)
    for column in range(3):
        gaps = rows.clone()
        gaps[:, column] = NAN
        summed = joint.sum(dim=column, keepdim=True).expand(2, 3, 4).flatten()
        assert torch.allclose(known.log_prob(gaps).exp(), summed, atol=1e-6)


@pytest.mark.parametrize("even", [False, True])
def test_rows_are_drawn_as_often_as_they_are_probable(known, even):
    known.even = even
    torch.manual_seed(1)
    drawn = shares(known.sample(40_000), known.spec)
    # 24 cells of 40,000 independent rows: a mean total variation of about 0.01
    assert variation(drawn, known.log_prob(cells(known.spec)).exp()) < 0.02


@pytest.mark.parametrize("given", [{0: 1}, {2: 3}, {0: 0, 2: 1}])
def test_given_columns_stay_and_the_others_follow(known, given):
    rows = cells(known.spec)
    condition = torch.full((40_000, 3), NAN)
    fits = torch.ones(len(rows), dtype=torch.bool)
    for column, code in given.items():
        condition[:, column] = code
        fits &= rows[:, column] == code
    wanted = torch.where(fits, known.log_prob(rows).exp(), 0.0)
    torch.manual_seed(2)
    x = known.sample(40_000, condition)
    assert all((x[:, column] == code).all() for column, code in given.items())
    assert variation(shares(x, known.spec), wanted / wanted.sum()) < 0.02


def two_classes(n: int, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Six binary columns that are 1 with probability 0.9 in one class and 0.2 in the other; log-likelihood of each."""
    rng = np.random.default_rng(seed)
    p = np.where(rng.random(n) < 0.4, 0.9, 0.2)[:, None]
    x = rng.random((n, 6)) < p
    ones = x.sum(axis=1)
    truth = np.log(0.4 * 0.9**ones * 0.1 ** (6 - ones) + 0.6 * 0.2**ones * 0.8 ** (6 - ones))
    return pd.DataFrame(np.where(x, "y", "n"), columns=list("abcdef")), truth


def test_em_finds_the_classes_that_made_the_rows():
    frame, _ = two_classes(4000, 0)
    data = data_of(frame)
    torch.manual_seed(0)
    model = train(Mixture(data.spec, classes=[2], smoothing=[0.5]), data, 15)
    fresh, truth = two_classes(4000, 1)
    # 13 parameters from 2,800 rows cost 13 / 5,600 = 0.002 nats a row; on-line EM still moves a little
    assert model.log_prob(data.codec.encode(fresh)).mean().item() == pytest.approx(truth.mean(), abs=0.02)
    assert sorted(model.log_pi.exp().tolist()) == pytest.approx([0.4, 0.6], abs=0.05)


def test_validation_rows_choose_the_number_of_classes():
    rng = np.random.default_rng(0)
    noise = pd.DataFrame(rng.choice(list("abc"), size=(2000, 6)), columns=list("uvwxyz"))
    for frame, few in ((noise, True), (related(), False)):
        data = data_of(frame)
        torch.manual_seed(0)
        model = train(Mixture(data.spec, classes=[1, 16], smoothing=[4.0]), data, 10)
        assert int(model.chosen) == (0 if few else 1)
        assert model.fresh["val/classes"] == (1.0 if few else 16.0)
        copy = Mixture(data.spec, classes=[1, 16], smoothing=[4.0])
        copy.load_state_dict(model.state_dict())
        x = data.tensors["test"][0]
        assert torch.equal(copy.log_prob(x), model.log_prob(x))


@functools.cache
def trained() -> tuple[Mixture, object]:
    torch.manual_seed(0)
    data = data_of(related(), "kind")
    return train(Mixture(data.spec, classes=[8, 32], smoothing=[2.0]), data, 12), data


def test_beats_independent_columns_and_keeps_their_shares():
    model, data = trained()
    floor = train(Bootstrap(data.spec), data, 1)
    x = data.tensors["test"][0]
    # there are 1.28 nats of the twin and 0.4 of the size to gain
    assert (model.log_prob(x) - floor.log_prob(x)).mean().item() > 1.3
    frame = Synthesizer(model, data.codec).sample(20_000, seed=1)
    for column in ("kind", "twin", "size"):
        ours, real = (f[column].value_counts(normalize=True).sort_index() for f in (frame, data.frames["train"]))
        assert np.abs(ours - real).max() < 0.01, "smoothing must not shift the shares"


def test_a_deterministic_relation_is_filled_in():
    model, data = trained()
    x = data.tensors["test"][0]
    gaps = x.clone()
    gaps[:, 1] = NAN
    torch.manual_seed(3)
    filled = model.impute(gaps)
    assert (filled[:, 1] == x[:, 1]).float().mean() > 0.95
    frame = Synthesizer(model, data.codec).sample(4000, {"size": 3}, seed=1)
    assert (frame["size"] == 3).all()
    assert (frame["kind"] == "d").mean() == pytest.approx(0.5, abs=0.08)


def test_copies_no_small_table():
    from datakiln.codecs.tables.bins import Bins
    from datakiln.codecs.tables.table import TableCodec
    from datakiln.data.tables.tables import TableData

    data = TableData(SklearnTable("iris"), TableCodec(Bins, compact=True))
    data.setup("fit")
    torch.manual_seed(0)
    model = train(Mixture(data.spec), data, 12)
    frame = Synthesizer(model, data.codec).sample(1000, seed=0)
    rows = set(map(tuple, data.frames["train"].to_numpy().tolist()))
    copied = np.mean([tuple(row) in rows for row in frame.to_numpy().tolist()])
    held_out = np.mean([tuple(row) in rows for row in data.frames["test"].to_numpy().tolist()])
    # 48 classes without a choice copy a fifth of the rows; real unseen rows repeat about as often as these may
    assert copied <= max(held_out, 0.03)
    assert (
        model.log_prob(data.tensors["test"][0]).mean()
        > train(Bootstrap(data.spec), data, 1).log_prob(data.tensors["test"][0]).mean()
    )


def test_resumes_in_the_middle_of_an_epoch(tmp_path):
    data = data_of(related(600), "kind", batch_size=100)
    assert_resumes(lambda: Mixture(data.spec, classes=[4], smoothing=[2.0]), data, 3, 6, tmp_path)
