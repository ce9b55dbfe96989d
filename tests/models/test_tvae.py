"""TVAE: learns mixed columns, delivers a label, and its bound is the negative ELBO."""

import functools

import pytest
import torch

from datakiln.codecs.tables.modes import Modes
from datakiln.models.vae.tvae import TVAE
from datakiln.spec import Batch
from tests.toy_tables import assert_follows_the_label, assert_learns, frame, toy_data

ADAM = functools.partial(torch.optim.Adam, lr=3e-3)


@pytest.fixture(scope="module")
def data():
    return toy_data(Modes)


@pytest.fixture(scope="module")
def trained(data):
    return assert_learns(lambda: TVAE(data.spec, latent_dim=16, hidden=(64, 64), optimizer=ADAM), data, epochs=40)


@pytest.mark.journey
def test_learns_and_delivers_the_label(trained, data):
    assert_follows_the_label(trained, data)


def test_labels_are_drawn_by_their_shares_when_none_is_asked_for(trained, data):
    share = (frame(trained, data)["group"] == data.spec.classes[0]).mean()
    assert share == pytest.approx(data.spec.class_shares[0], abs=0.04)  # 3.6 standard errors at 2,000 rows


def test_unconditional_models_the_label_as_a_column(data):
    model = TVAE(data.spec, latent_dim=4, hidden=(8,), conditional=False)
    assert model.conditioning == "none"
    assert model.head.width == data.spec.shape[0]
    with pytest.raises(ValueError, match="no condition"):
        model.sample(2, torch.zeros(2, dtype=torch.long))


def test_evaluation_reports_the_whole_kl_whatever_beta(data):
    torch.manual_seed(0)
    model = TVAE(data.spec, latent_dim=4, hidden=(8,), beta=0.25, bf16=False)
    batch = Batch(*(tensor[:200] for tensor in data.tensors["train"]))
    losses = {}
    for training in (True, False):
        torch.manual_seed(1)
        with torch.no_grad():
            losses[training] = {name: float(value) for name, value in model.train(training).losses(batch).items()}
    kl = losses[False]["kl"]
    assert losses[False]["loss"] == pytest.approx(-losses[False]["elbo"], rel=1e-6)
    assert losses[True]["loss"] == pytest.approx(losses[False]["loss"] - 0.75 * kl, rel=1e-5)


def test_values_behind_a_closed_gate_do_not_count(data):
    model = TVAE(data.spec, latent_dim=4, hidden=(8,)).eval()
    x, y = (tensor[:300].clone() for tensor in data.tensors["train"])
    part = model.rows.take(x)
    parameters = torch.randn(300, model.head.width)
    moved = parameters.clone()
    gated = [block for block in model.rows.blocks if block.gate is not None]
    assert gated
    for block in gated:
        closed = part[:, block.gate] == 0
        moved[closed, block.start : block.stop] += 5.0
    same = model.head.log_prob(parameters, part)
    assert torch.allclose(model.head.log_prob(moved, part), same, atol=1e-4)
