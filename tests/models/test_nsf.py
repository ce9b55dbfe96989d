"""Neural spline flow: a normalised density, its Jacobian, its inverse, and the dequantisation around it."""

import functools
import math

import pytest
import torch

from datakiln.codecs.tables.dequantised import Dequantised
from datakiln.models.flow.nsf import NSF, invert
from datakiln.nets.dequantise import Dequantise
from datakiln.spec import Batch, Block, Column, DataSpec
from tests.toy_tables import assert_follows_the_label, assert_learns, toy_data

ADAM = functools.partial(torch.optim.Adam, lr=3e-3)


def spec(*blocks: Block, classes: int = 0) -> DataSpec:
    names = tuple(f"c{i}" for i in range(classes))
    columns = tuple(Column(f"x{i}", (block,)) for i, block in enumerate(blocks))
    return DataSpec("table", (blocks[-1].stop,), columns, names, tuple([1 / classes] * classes) if classes else ())


def value(i: int) -> Block:
    return Block(i, i + 1, "value")


def shaken(model: NSF) -> NSF:
    """A flow far from the identity, as training would leave it."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.flow.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


@pytest.mark.parametrize("classes", [0, 2])
def test_one_dimensional_density_integrates_to_one(classes):
    torch.manual_seed(0)
    model = shaken(NSF(spec(value(0), classes=classes), hidden=(16,)))
    grid = torch.linspace(-4, 4, 400_001)[:, None]  # in model space a third of a normal score: 12 deviations either way
    y = torch.ones(len(grid), dtype=torch.long) if classes else None
    with torch.no_grad():
        density = model.log_likelihood(Batch(grid, y)).exp()
    assert float(torch.trapezoid(density, grid[:, 0])) == pytest.approx(1.0, abs=1e-3)  # steep bins need the fine grid
    assert density.std() > 0.1


def test_two_dimensional_density_integrates_to_one():
    torch.manual_seed(0)
    model = shaken(NSF(spec(value(0), value(1)), transforms=2, bins=4, hidden=(16,)))
    axis = torch.linspace(-3, 3, 601)
    x = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        density = model.log_likelihood(Batch(x)).exp().view(601, 601)
    total = torch.trapezoid(torch.trapezoid(density, axis), axis)
    assert float(total) == pytest.approx(1.0, abs=5e-3)


def test_under_independent_normal_features_the_bound_is_the_product_of_shares_and_densities():
    net = Dequantise([Block(0, 3, "choice"), Block(3, 5, "choice"), Block(5, 6, "value", gate=3), Block(6, 7, "value")])
    net.count(torch.tensor([1.0, 2.0, 7.0, 4.0, 6.0, 0.0, 0.0]))
    x = torch.tensor(
        [
            [0, 0, 1, 1, 0, 0.3, -0.2],
            [0, 1, 0, 0, 1, 0.0, 0.1],  # closed gate: the first value does not count
            [0, 0, 0, 1, 0, 0.3, 0.0],  # a category never seen: nothing of it counts
        ]
    )
    v, log_q = net(x)
    normal = torch.distributions.Normal(0.0, 1.0)
    bound = normal.log_prob(v).sum(dim=1) - log_q
    scaled = torch.distributions.Normal(0.0, 1 / 3)
    expected = torch.tensor(
        [
            math.log(0.7 * 0.4) + scaled.log_prob(x[0, 5]) + scaled.log_prob(x[0, 6]),
            math.log(0.2 * 0.6) + scaled.log_prob(x[1, 6]),
            math.log(0.4) + scaled.log_prob(x[2, 5]) + scaled.log_prob(x[2, 6]),
        ]
    )
    assert torch.allclose(bound, expected, atol=1e-4)


@pytest.mark.parametrize("passes", [None, 2])
def test_jacobian_is_that_of_autograd(passes):
    model = shaken(NSF(spec(*(value(i) for i in range(4)), classes=2), hidden=(16,), passes=passes)).double()
    context = torch.eye(2, dtype=torch.float64)[[1]]
    v = torch.randn(1, 4, dtype=torch.float64)
    transform = model.flow(context).transform
    jacobian = torch.autograd.functional.jacobian(lambda row: transform(row), v).reshape(4, 4)
    _, claimed = transform.call_and_ladj(v)
    assert float(claimed.sum().detach()) == pytest.approx(float(torch.linalg.slogdet(jacobian).logabsdet), abs=1e-8)


@pytest.mark.parametrize("passes", [None, 2])
@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("features", [1, 5])
def test_our_inverse_undoes_the_flow(features, classes, passes):
    model = shaken(NSF(spec(*(value(i) for i in range(features)), classes=classes), hidden=(16,), passes=passes))
    model = model.double()
    context = torch.eye(3, dtype=torch.float64)[torch.arange(60) % 3] if classes else None
    v = 2 * torch.randn(60, features, dtype=torch.float64)
    with torch.no_grad():
        there = back = model.flow(context).transform(v) if classes else model.flow().transform(v)
        for transform in reversed(model.flow.transform.transforms):
            back = invert(transform, back, context)
    assert not torch.allclose(there, v, atol=0.1)
    assert torch.allclose(back, v, atol=1e-6)


def test_dequantised_rows_come_back():
    torch.manual_seed(0)
    net = Dequantise([Block(0, 3, "choice"), Block(3, 4, "value", gate=1), Block(4, 6, "choice"), Block(6, 7, "value")])
    net.count(torch.tensor([900.0, 1.0, 99.0, 0.0, 400.0, 600.0, 0.0]))
    x = torch.zeros(5000, 7)
    x.scatter_(1, torch.multinomial(torch.tensor([0.9, 0.001, 0.099]), 5000, True)[:, None], 1.0)
    x[0, :3] = torch.tensor([0.0, 1.0, 0.0])  # the rare category is there at least once
    x.scatter_(1, 4 + torch.randint(2, (5000, 1)), 1.0)
    x[:, 6] = torch.randn(5000)
    x[:, 3] = torch.randn(5000) * x[:, 1]
    v, log_q = net(x)
    assert v.shape == (5000, 4) and torch.isfinite(v).all() and torch.isfinite(log_q).all()
    assert torch.allclose(net.inverse(v), x, atol=1e-5)
    assert abs(float(v[:, 0].mean())) < 0.05 and abs(float(v[:, 0].std()) - 1) < 0.05  # normal by its share


@pytest.fixture(scope="module")
def data():
    return toy_data(Dequantised)


@pytest.fixture(scope="module")
def trained(data):
    return assert_learns(lambda: NSF(data.spec, transforms=2, hidden=(48,), optimizer=ADAM), data, epochs=12)


@pytest.mark.journey
def test_learns_and_delivers_the_label(trained, data):
    assert_follows_the_label(trained, data)


def test_likelihood_tells_real_rows_from_shuffled_ones(trained, data):
    x, y = data.tensors["test"]
    torch.manual_seed(0)
    with torch.no_grad():
        real = trained.log_likelihood(Batch(x, y)).mean()
        wrong = trained.log_likelihood(Batch(x, 1 - y)).mean()
    assert real > wrong + 1.0


@pytest.mark.parametrize("classes", [0, 2])
def test_a_row_has_one_score_whatever_rows_stand_beside_it(classes):
    blocks = [value(0), Block(1, 4, "choice"), Block(4, 5, "value", gate=1), Block(5, 7, "choice")]
    columns = tuple(Column(f"x{i}", (block,), is_label=classes > 0 and i == 3) for i, block in enumerate(blocks))
    shares = {"classes": ("a", "b"), "class_shares": (0.3, 0.7)} if classes else {}
    model = shaken(NSF(DataSpec("table", (7,), columns, **shares), hidden=(16,)))
    x = torch.zeros(40, 7)
    x[:, 0] = torch.randn(40)
    for first, width in ((1, 3), (5, 2)):
        x[torch.arange(40), first + torch.arange(40) % width] = 1.0
    with torch.no_grad():
        scores = model.log_prob(x)
        assert torch.equal(model.log_prob(x), scores)
        assert torch.allclose(model.log_prob(x[30:].flip(0)), scores[30:].flip(0), atol=1e-5)
        if not classes:  # a closer bound than that of one draw
            drawn = torch.stack([model.log_likelihood(Batch(x)) for _ in range(200)])
            assert drawn.std(dim=0).max() > 1.0 and (scores > drawn.mean(dim=0)).all()
