"""Gaussians of pictures: moments, densities and conditionals against those that are known."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import LowRankMultivariateNormal, MultivariateNormal

from datakiln.data.pictures.pictures import ImageData
from datakiln.data.pictures.sources import SklearnDigits
from datakiln.errors import UserError
from datakiln.models.statistical.pictures import LEVEL, PPCA, STEP, Moments
from datakiln.spec import Batch, DataSpec, Sampling
from tests.models.resuming import check_killed_and_gone_on_with

SIZE = 2 * 4 * 4
SPEC = DataSpec("image", (2, 4, 4), classes=("a", "b"), class_shares=(0.75, 0.25))


def levels(n: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures at level centres, of two classes with means and three directions of their own, and some noise."""
    generator = torch.Generator().manual_seed(seed)
    shape = torch.Generator().manual_seed(9)
    y = (torch.rand(n, generator=generator) < 0.25).long()
    mean = 0.3 * torch.randn(2, SIZE, generator=shape)
    loading = 0.1 * torch.randn(2, 3, SIZE, generator=shape)
    z, e = torch.randn(n, 3, generator=generator), 0.02 * torch.randn(n, SIZE, generator=generator)
    x = mean[y] + (z[:, None] @ loading[y])[:, 0] + e
    return (((x + 1) / STEP).round().clamp(0, 255) * STEP - 1).view(n, 2, 4, 4), y


def fitted(x: torch.Tensor, y: torch.Tensor | None, **options) -> PPCA:
    model = PPCA(SPEC, **{"pseudo": 1e-6, **options})
    for start in range(0, len(x), 100):
        model.gather(Batch(x[start : start + 100], None if y is None else y[start : start + 100]))
    model.settle()
    return model.eval()


def covariance(model: PPCA, k: int) -> torch.Tensor:
    loading = model._loading(k)
    return loading.T @ loading + model.noise[k] * torch.eye(SIZE)


def test_moments_that_come_in_batches_are_those_of_all():
    x = levels(1000)[0].flatten(1)
    found = Moments.of(x[:100])
    for part in x[100:].split(90):
        found = found.joined(Moments.of(part), SIZE)
    centred = x - x.mean(dim=0)
    assert found.n == 1000 and torch.allclose(found.mean, x.mean(dim=0), atol=1e-5)
    assert torch.allclose(found.rows.T @ found.rows, centred.T @ centred, atol=1e-2)
    assert found.energy.item() == pytest.approx(centred.square().sum().item(), rel=1e-5)
    few = Moments.of(x[:100])
    for part in x[100:].split(90):
        few = few.joined(Moments.of(part), 8)
    assert few.energy.item() == pytest.approx(found.energy.item(), rel=1e-5)
    assert torch.allclose(few.rows[:3].norm(dim=1), found.rows[:3].norm(dim=1), rtol=1e-3)


@pytest.mark.parametrize("k", [0, 1])
def test_the_gaussians_are_the_likeliest_of_their_rank(k):
    """Mean, leading variances and the mean of all others are those of the class, with that of a level's step."""
    x, y = levels(3000)
    model = fitted(x, y, components=3)
    own = x[y == k].flatten(1)
    variances = torch.linalg.eigvalsh(torch.cov(own.T, correction=0)).flip(0)
    assert torch.allclose(model.mean[k], own.mean(dim=0), atol=1e-5)
    assert torch.allclose(model.variances[k], variances[:3] + LEVEL, rtol=1e-3)
    assert model.noise[k].item() == pytest.approx(variances[3:].mean().item() + LEVEL, rel=1e-3)


def test_samples_have_the_moments_of_the_data():
    x, y = levels(4000)
    model = fitted(x, y, components=8)
    torch.manual_seed(0)
    for k in (0, 1):
        made = model.sample(20_000, torch.full((20_000,), k), Sampling(mean=False)).flatten(1)
        own = x[y == k].flatten(1)
        assert (made.mean(dim=0) - own.mean(dim=0)).abs().max() < 0.02
        assert (torch.cov(made.T) - torch.cov(own.T)).abs().max() < 0.01
    model_of_all = fitted(x, None, conditional=False, components=12)
    z, y_of_all = torch.randn(20_000, model_of_all.latent_dim), torch.zeros(20_000, dtype=torch.long)
    untold = model_of_all._pictures(z, y_of_all, Sampling(mean=False)).flatten(1)  # not clipped, which changes moments
    assert (torch.cov(untold.T) - torch.cov(x.flatten(1).T)).abs().max() < 0.02
    shares = model.sample(4000).flatten(1)  # of no class in particular: classes by their shares
    assert (shares.mean(dim=0) - x.flatten(1).mean(dim=0)).abs().max() < 0.03
    assert shares.abs().max() <= 1


def test_the_density_is_that_of_its_gaussian():
    x, y = levels(500)
    model, pixels = fitted(x, y, components=5), levels(20, seed=3)[0].flatten(1)
    for k in (0, 1):
        gaussian = LowRankMultivariateNormal(model.mean[k], model._loading(k).T, model.noise[k].expand(SIZE))
        assert torch.allclose(model.log_density(pixels, k), gaussian.log_prob(pixels), rtol=1e-3, atol=1e-2)


def test_the_bound_is_the_mean_over_what_is_added_to_the_levels():
    """And bits a dimension are that of the class where it is known; without it, classes are summed over."""
    x, y = levels(500)
    model, few = fitted(x, y, components=5), levels(4, seed=3)[0]
    torch.manual_seed(0)
    added = few.flatten(1) + STEP * (torch.rand(20_000, 4, SIZE) - 0.5)
    each = torch.stack([model.log_density(added.flatten(0, 1), k).view(-1, 4).mean(dim=0) for k in (0, 1)], dim=1)
    each += SIZE * math.log(STEP)
    assert torch.allclose(model.bound(few), each, atol=0.3, rtol=1e-3)
    whole = torch.logsumexp(model.bound(few) + torch.tensor([0.75, 0.25]).log(), dim=1)
    assert torch.allclose(model.log_prob(few), whole)
    told, untold = (model.losses(Batch(few, y))["bits_per_dim"] for y in (torch.zeros(4, dtype=torch.long), None))
    assert told.item() == pytest.approx(-model.bound(few)[:, 0].mean().item() / SIZE / math.log(2), rel=1e-5)
    assert untold.item() == pytest.approx(-whole.mean().item() / SIZE / math.log(2), rel=1e-5)


def test_hidden_pixels_follow_the_known_ones():
    """Mean and covariance of what is drawn are those of the conditional Gaussian."""
    x, y = levels(3000)
    model = fitted(x, y, components=3)
    holes = x[:1].clone()
    holes[:, :, 2:] = torch.nan
    known = torch.isfinite(holes).flatten()
    k = int(y[0])
    torch.manual_seed(0)
    made = model.complete(holes.expand(20_000, -1, -1, -1), y[:1].expand(20_000), Sampling(mean=False)).flatten(1)
    assert torch.equal(made[:, known], x[:1].flatten(1)[:, known].expand(20_000, -1))
    whole = covariance(model, k)
    gain = whole[~known][:, known] @ torch.linalg.inv(whole[known][:, known])
    mean = model.mean[k, ~known] + gain @ (x[0].flatten()[known] - model.mean[k, known])
    left = whole[~known][:, ~known] - gain @ whole[known][:, ~known]
    assert (made[:, ~known].mean(dim=0) - mean).abs().max() < 0.01
    assert (torch.cov(made[:, ~known].T) - left).abs().max() < 0.001


def test_the_class_is_found_from_what_is_shown():
    x, y = levels(3000)
    model = fitted(x, y, components=3)
    half = x.clone()
    half[:, :, 2:] = torch.nan
    seen = torch.isfinite(half[0]).flatten()
    torch.manual_seed(0)
    kinds = model._given(
        x.flatten(1)[:, seen], model.mean[:, seen], [model._loading(k)[:, seen] for k in (0, 1)], model.noise, None
    )[1]
    gaussians = [MultivariateNormal(model.mean[k, seen], covariance(model, k)[seen][:, seen]) for k in (0, 1)]
    log_p = torch.stack([g.log_prob(x.flatten(1)[:, seen]) for g in gaussians], dim=1) + model.class_shares.log()
    assert (kinds == log_p.argmax(dim=1)).float().mean() > 0.99 and (kinds == y).float().mean() > 0.95
    assert model.complete(half[:5], None).isfinite().all()


def test_larger_pictures_have_the_means_they_were_told():
    x, y = levels(3000)
    model = fitted(x, y, components=3)
    small = torch.nn.functional.avg_pool2d(x[:50], 2)
    torch.manual_seed(0)
    for told in (y[:50], None):
        made = model.enlarge(small, told)
        assert (torch.nn.functional.avg_pool2d(made, 2) - small).abs().max() < 1e-5 and made.abs().max() <= 1
        assert (made - x[:50]).abs().mean() < 0.5 * (model.sample(50, y[:50]) - x[:50]).abs().mean()


def test_classes_of_few_pictures_or_none_take_after_all():
    x, y = levels(400)
    model = fitted(x, torch.zeros_like(y), pseudo=5.0)  # none of the second class
    assert torch.allclose(model.mean[1], x.flatten(1).mean(dim=0), atol=1e-4)
    assert model.sample(3, torch.tensor([1, 0, 1])).isfinite().all()
    left_out = fitted(x, torch.where(y == 0, y, -1))
    assert torch.allclose(left_out.mean[0], x[y == 0].flatten(1).mean(dim=0), atol=1e-4)
    with pytest.raises(UserError, match="no training picture tells its class"):
        fitted(x, None)
    for option in ({"components": 0}, {"pseudo": 0.0}):
        with pytest.raises(UserError, match=next(iter(option))):
            PPCA(SPEC, **option)


def test_options_change_samples():
    model = fitted(*levels(400))

    def drawn(**options):
        torch.manual_seed(1)
        return model.sample(4, torch.tensor([0, 1, 0, 1]), Sampling(**options))

    assert torch.equal(drawn(), drawn(mean=True)) and not torch.equal(drawn(), drawn(mean=False))
    still = drawn(truncation=0)
    assert torch.allclose(still.flatten(1), model.mean[[0, 1, 0, 1]].clamp(-1, 1))


@pytest.mark.parametrize(("side", "channels", "classes"), [(1, 1, 0), (8, 3, 0), (13, 3, 2), (28, 1, 2)])
def test_any_side_and_channels(side, channels, classes):
    spec = DataSpec("image", (channels, side, side), classes=("a", "b")[:classes], class_shares=(0.5, 0.5)[:classes])
    model, x = PPCA(spec), torch.randint(0, 256, (30, channels, side, side)) / 127.5 - 1
    model.gather(Batch(x, torch.arange(30) % 2 if classes else None))
    model.settle()
    assert model.sample(3).shape == (3, *spec.shape)
    assert model.log_prob(x).isfinite().all()


def test_killed_and_gone_on_with(tmp_path):
    def made():
        data = ImageData(SklearnDigits(), batch_size=32)
        data.setup("fit")
        return data, PPCA(data.spec)

    check_killed_and_gone_on_with(made, tmp_path, "val/loss", averages=False)
