"""TabDDPM: reverse steps against brute force, a bound that is tight where the answer is known, learning, conditions."""

import functools

import pytest
import torch

from datakiln.codecs.tables.dequantised import Dequantised
from datakiln.models.diffusion.tabddpm import TabDDPM
from datakiln.nets.denoiser import cosine_alpha_bar
from datakiln.spec import Batch, Block, Column, DataSpec
from tests.toy_tables import assert_follows_the_label, assert_learns, toy_data

ADAM = functools.partial(torch.optim.Adam, lr=3e-3)


def spec(*blocks: Block) -> DataSpec:
    columns = tuple(Column(f"x{i}", (block,)) for i, block in enumerate(blocks))
    return DataSpec("table", (blocks[-1].stop,), columns)


def silent(model: TabDDPM) -> TabDDPM:
    """A net that adds nothing: numbers are standard normal, categories uniform."""
    with torch.no_grad():
        model.denoiser.leave.weight.zero_()
        model.denoiser.leave.bias.zero_()
    return model.eval()


def test_noise_schedule_falls_from_all_signal_to_none():
    a = cosine_alpha_bar(100)
    assert a[0] == 1 and (a[1:] < a[:-1]).all() and 0 < a[-1] < 1e-3


def test_reverse_step_is_the_mixture_of_posteriors_by_brute_force():
    torch.manual_seed(0)
    model = TabDDPM(spec(Block(0, 3, "choice")), hidden=(8,), steps=20, sampling_steps=5)
    logits, c_t = torch.randn(1, 3), torch.tensor([[0.0, 1.0, 0.0]])
    for s, t in ((0, 3), (4, 5), (2, 17)):
        a_s, a_t = model.a[s].view(1, 1), model.a[t].view(1, 1)
        kept = float(a_t / a_s)
        step = kept * torch.eye(3) + (1 - kept) / 3  # q(x_t | x_s)
        begin = float(a_s) * torch.eye(3) + (1 - float(a_s)) / 3  # q(x_s | x_0)
        joint = begin * step[:, 1]  # x_0 by x_s, for the x_t seen
        posterior = joint / joint.sum(dim=1, keepdim=True)
        expected = logits.softmax(dim=1) @ posterior
        assert torch.allclose(model._reverse(c_t, logits, a_s, a_t), expected, atol=1e-5)
        for k in range(3):
            clean = torch.eye(3)[[k]]
            kl = (posterior[k] * (posterior[k].clamp(min=1e-30).log() - expected[0].log())).sum()
            assert torch.allclose(model._step_kl(clean, c_t, logits, a_s, a_t)[0, 0], kl, atol=1e-5)


def test_bound_of_standard_normals_and_uniform_categories_is_near_their_entropy():
    # a net that adds nothing is the true reverse process here: the bound loses only to the coarse first steps, about
    # (change of log signal-to-noise)^2 / 4 each, 0.3 nats a number in all
    torch.manual_seed(0)
    model = silent(TabDDPM(spec(Block(0, 1, "value"), Block(1, 5, "choice")), hidden=(8,), sampling_steps=10))
    x = torch.cat([torch.randn(40_000, 1) / 3, torch.eye(4)[torch.randint(4, (40_000,))]], dim=1)
    with torch.no_grad():
        losses = model.losses(Batch(x))
    entropy = 0.5 * (1 + torch.log(torch.tensor(2 * torch.pi)) - 2 * torch.log(torch.tensor(3.0)))
    assert -0.05 < float(losses["gaussian"]) - float(entropy) < 0.45
    assert float(losses["multinomial"]) == pytest.approx(1.386, abs=0.1)


def test_few_strides_keep_the_distribution_of_a_known_process():
    torch.manual_seed(0)
    model = silent(TabDDPM(spec(Block(0, 1, "value"), Block(1, 5, "choice")), hidden=(8,), sampling_steps=10))
    x = model.sample(20_000)
    assert float((3 * x[:, 0]).std()) == pytest.approx(1.0, abs=0.03)
    assert torch.allclose(x[:, 1:].mean(dim=0), torch.full((4,), 0.25), atol=0.015)  # five standard errors


@pytest.fixture(scope="module")
def data():
    return toy_data(Dequantised)


@pytest.fixture(scope="module")
def trained(data):
    make = functools.partial(TabDDPM, data.spec, hidden=(64, 64), sampling_steps=20, optimizer=ADAM)
    return assert_learns(make, data, epochs=40)


@pytest.mark.journey
def test_learns_and_delivers_the_label(trained, data):
    assert_follows_the_label(trained, data)


def test_more_strides_than_steps_are_refused(data):
    with pytest.raises(ValueError, match="sampling_steps=50"):
        TabDDPM(data.spec, steps=20, sampling_steps=50)
