"""Diffusion and autoregressive models of pictures: losses that compare, classes, options, and hidden parts."""

from __future__ import annotations

import math

import pytest
import torch

from datakiln.errors import UserError
from datakiln.models.autoregressive.pixelcnn import PixelCNN
from datakiln.models.autoregressive.pixelrnn import PixelRNN
from datakiln.models.autoregressive.pixels import PixelByPixel
from datakiln.models.diffusion.ddpm import DDPM
from datakiln.models.diffusion.flow_matching import FlowMatching
from datakiln.models.diffusion.latent_diffusion import LatentDiffusion
from datakiln.models.pictures import cosine_rate
from datakiln.nets.paths import preconditioning
from datakiln.spec import Batch, DataSpec, Sampling

DIFFUSION = (FlowMatching, DDPM)


def spec(side: int = 8, classes: int = 3, channels: int = 1) -> DataSpec:
    names = tuple("abc"[:classes])
    return DataSpec("image", (channels, side, side), classes=names, class_shares=(0.5, 0.3, 0.2)[:classes])


def built(model, classes: int = 3, channels: int = 1, **options):
    """A small net that has left its beginnings, where half of its layers are zero."""
    torch.manual_seed(0)
    sizes = {"width": 8, "layers": 4} if issubclass(model, PixelByPixel) else {"width": 8, "middle": 1}
    net = model(spec(8, classes, channels), **{**sizes, **options}).eval().requires_grad_(False)
    for parameter in net.parameters():
        if not parameter.abs().sum():
            torch.nn.init.normal_(parameter, 0, 0.1)
    return net


def pictures(n: int, channels: int = 1) -> torch.Tensor:
    return torch.randint(0, 256, (n, channels, 8, 8)) / 127.5 - 1


@pytest.mark.parametrize("model", DIFFUSION)
def test_losses_outside_training_compare(model):
    net, batch = built(model), Batch(pictures(6), torch.arange(6) % 3)
    assert net.losses(batch)["loss"] == net.losses(batch)["loss"]
    net.train()
    assert net.losses(batch)["loss"] != net.losses(batch)["loss"]


@pytest.mark.parametrize("model", DIFFUSION)
def test_a_net_that_says_nothing_has_the_loss_of_its_target(model):
    """Mean square of the noise is 1, that of x_1 - x_0 one more than the mean square of the data."""
    net, x = built(model), pictures(400)
    torch.nn.init.zeros_(net.net.leave.weight)
    torch.nn.init.zeros_(net.net.leave.bias)
    wanted = 1.0 if model is DDPM else 1.0 + x.square().mean().item()
    assert net.losses(Batch(x, torch.zeros(400, dtype=torch.long)))["loss"].item() == pytest.approx(wanted, rel=0.02)


@pytest.mark.parametrize("model", DIFFUSION)
def test_scaled_by_the_deviation_a_net_that_says_nothing_has_the_best_line(model):
    """Of normal pixels: its loss is the variance that x_t leaves of the target, a mean over the times."""
    net, x = built(model, deviation=0.5), 0.5 * torch.randn(400, 1, 8, 8)
    torch.nn.init.zeros_(net.net.leave.weight)
    torch.nn.init.zeros_(net.net.leave.bias)
    _, ranks = net._noise_and_ranks(x)
    left = preconditioning(net.path, net.target, 0.5, net.times(ranks))[2].square().mean()
    assert float(net.losses(Batch(x))["loss"]) == pytest.approx(float(left), rel=0.05)
    assert net.draw(2, None, Sampling(steps=2)).isfinite().all()


def test_a_deviation_that_is_none_is_refused():
    with pytest.raises(ValueError, match="deviation=0.0 must be above 0"):
        built(FlowMatching, deviation=0.0)


@pytest.mark.parametrize("model", [*DIFFUSION, LatentDiffusion])
def test_without_classes_the_net_is_told_the_group_that_a_picture_looks_like(model):
    """Dark and bright pictures, three to one: samples are drawn of both groups as often, and may be pushed."""
    x = torch.cat([torch.full((60, 1, 8, 8), -0.9), torch.full((20, 1, 8, 8), 0.9)])
    net = built(model, classes=0, groups=2)
    assert net.wanted(None, 4).tolist() == [-1] * 4
    net.groups.find([x])
    dark, bright = net.groups.of(x[[0, -1]]).tolist()
    assert {dark, bright} == {0, 1}
    assert net.groups.shares[[dark, bright]].tolist() == pytest.approx([0.75, 0.25])
    assert (net.wanted(None, 4000) == dark).float().mean().item() == pytest.approx(0.75, abs=0.03)
    assert net._labels(Batch(x)).tolist() == [dark] * 60 + [bright] * 20
    plain, pushed = (net.sample(4, None, Sampling(guidance=push, steps=2)) for push in (0.0, 2.0))
    assert plain.shape == pushed.shape
    assert net.ways()[0] == Sampling(guidance=0.0)
    assert built(model, classes=3, groups=2).groups is None


@pytest.mark.parametrize("model", DIFFUSION)
def test_guidance_pushes_along_what_the_class_changes(model):
    net = built(model)
    x, t, y = torch.randn(3, 1, 8, 8), torch.tensor(0.4), torch.tensor([0, 1, 2])
    told, untold = net.field(y, 0.0)(x, t), net.field(torch.full((3,), -1), 0.0)(x, t)
    assert (told - untold).abs().max() > 1e-3
    assert torch.allclose(net.field(y, 2.0)(x, t), told + 2.0 * (told - untold), atol=1e-5)


@pytest.mark.parametrize("model", DIFFUSION)
def test_every_option_changes_samples(model):
    net, y = built(model), torch.arange(4) % 3

    def drawn(**options):
        torch.manual_seed(1)
        return net.sample(4, y, Sampling(**options))

    plain = drawn()
    assert torch.equal(plain, drawn()) and plain.abs().max() <= 1
    for options in ({"steps": 2}, {"guidance": 3.0}, {"temperature": 0.5}):
        assert not torch.equal(drawn(**options), plain), options
    assert drawn(steps=1).isfinite().all()


@pytest.mark.parametrize("model", DIFFUSION)
def test_guidance_of_a_model_that_was_not_told_is_refused(model):
    for net in (built(model, classes=0), built(model, conditional=False)):
        assert net.conditioning == "none"
        with pytest.raises(UserError, match="guidance=2: .* told neither class nor group.*model.groups=50"):
            net.sample(2, None, Sampling(guidance=2))
        assert net.sample(2).shape == (2, 1, 8, 8)
    with pytest.raises(UserError, match="steps=0"):
        Sampling(steps=0)


def test_solvers_that_are_none_are_refused():
    with pytest.raises(ValueError, match="solver=rk4 must be euler, heun, midpoint"):
        built(FlowMatching, solver="rk4")
    with pytest.raises(ValueError, match="eta=2"):
        built(DDPM, eta=2)


@pytest.mark.parametrize("model", DIFFUSION)
def test_half_precision_is_close(model):
    """Products in bfloat16 leave the loss within a hundredth of that in float32."""
    full, half, batch = built(model, bf16=False), built(model, bf16=True), Batch(pictures(32), torch.arange(32) % 3)
    assert half.losses(batch)["loss"] == pytest.approx(full.losses(batch)["loss"].item(), rel=0.01)


@pytest.mark.parametrize("model", (*DIFFUSION, PixelCNN, PixelRNN))
def test_what_is_shown_stays_and_the_rest_is_drawn(model):
    net, x = built(model), pictures(5)
    holes = x.clone()
    holes[:, :, 4:] = float("nan")
    torch.manual_seed(0)
    made = net.complete(holes, None)
    assert torch.equal(made[:, :, :4], x[:, :, :4]) and made.isfinite().all() and made.abs().max() <= 1
    assert net.can_fill and not torch.equal(made[0, :, 4:], made[1, :, 4:])


def test_pixelcnn_refuses_to_look_ahead():
    holes = pictures(2)
    holes[:, :, 2, 3] = float("nan")
    with pytest.raises(UserError, match="reading order.*model=flow_matching"):
        built(PixelCNN).complete(holes, None)


def test_pixelcnn_finds_the_class_from_what_is_shown():
    """Of a net that calls the first class certain of dark and the others of light pictures."""
    net = built(PixelCNN)
    dark, light = torch.full((50, 1, 8, 8), -1.0), torch.full((50, 1, 8, 8), 1.0)
    net.pixel_log_prob = lambda x, y: torch.where((x[:, 0] < 0) == (y == 0)[:, None, None], 0.0, -50.0)
    known = torch.ones(50, 8, 8, dtype=torch.bool)
    assert (net._given_classes(dark, known).argmax(dim=1) == 0).all()
    posterior = net._given_classes(light, known).softmax(dim=1)[0]
    assert posterior.tolist() == pytest.approx([0.0, 0.6, 0.4], abs=1e-5)  # by their shares, 0.3 and 0.2


@pytest.mark.parametrize(("channels", "classes"), [(1, 0), (3, 0), (1, 3)])
def test_pixelcnn_has_the_likelihood_of_its_factors(channels, classes):
    """The sum over pixels of the mixture's log-probability, each from the pixels before it alone."""
    net, x = built(PixelCNN, classes, channels), pictures(2, channels)
    y = torch.tensor([0, 2]) if classes else None
    walker, total = net.net.walker(2, (8, 8), y), torch.zeros(2)
    for r in range(8):
        walker.start(r, 8)
        for c in range(8):
            total += net.head.log_prob(walker.at(c), x[:, :, r, c])
            walker.put(r, c, x[:, :, r, c])
    assert torch.allclose(net.pixel_log_prob(x, y).flatten(1).sum(dim=1), total, rtol=1e-5)
    bits = net.losses(Batch(x, y))["loss"]
    assert bits == pytest.approx(-total.mean().item() / (channels * 64 * math.log(2)), rel=1e-5)


def test_pixelcnn_sums_over_the_classes():
    net, x = built(PixelCNN), pictures(2)
    each = [net.pixel_log_prob(x, torch.full((2,), k)).flatten(1).sum(dim=1) for k in range(3)]
    wanted = torch.logsumexp(torch.stack(each) + torch.tensor([0.5, 0.3, 0.2]).log()[:, None], dim=0)
    assert torch.allclose(net.log_prob(x), wanted, rtol=1e-6)


def test_temperature_makes_pixelcnn_likelier():
    net = built(PixelCNN, classes=0)
    with torch.no_grad():
        net.net.last.bias.zero_()  # all components about grey

    def bits(temperature: float) -> float:
        torch.manual_seed(0)
        return float(net.losses(Batch(net.sample(40, None, Sampling(temperature=temperature))))["loss"])

    assert bits(0.3) < bits(1.0) < bits(3.0)


@pytest.mark.parametrize("channels", [1, 3])
def test_components_begin_all_over_the_levels(channels):
    net = built(PixelCNN, channels=channels)
    x = torch.rand(2, channels, 8, 8) * 2 - 1
    told = net.net(x, torch.tensor([0, 1])).permute(0, 2, 3, 1).flatten(0, 2)
    _, location, *_ = net.head._parts(told)
    assert (location - torch.linspace(-1, 1, 10)[:, None]).abs().max() < 0.2


@pytest.mark.parametrize("model", [PixelCNN, PixelRNN])
def test_only_training_is_in_half_precision(model):
    net, x, y = built(model, bf16=True), pictures(4), torch.arange(4) % 3
    exact = net.eval().pixel_log_prob(x, y)
    rounded = net.train().pixel_log_prob(x, y)
    assert exact.dtype == rounded.dtype == torch.float32
    assert not torch.equal(exact, rounded) and torch.allclose(exact, rounded, atol=0.1, rtol=0.05)
    net.bf16 = False
    assert torch.equal(net.pixel_log_prob(x, y), exact)


def test_the_rate_rises_and_falls():
    assert cosine_rate(0.0, 0.1) == pytest.approx(1e-3) and cosine_rate(0.05, 0.1) == pytest.approx(0.5)
    assert cosine_rate(0.1, 0.1) == pytest.approx(1.0) and cosine_rate(0.55, 0.1) == pytest.approx(0.5)
    assert cosine_rate(1.0, 0.1) == pytest.approx(0.0, abs=1e-9) and cosine_rate(0.0, 0.0) == 1.0


def test_latents_are_decoded_to_pictures():
    net = built(LatentDiffusion, vae_width=8)
    assert net.denoised == (4, 2, 2) and net.spec.shape == (1, 8, 8)
    assert net.sample(3, torch.tensor([0, 1, 2])).shape == (3, 1, 8, 8)
    assert not net.can_fill and net.can_draw
    odd = LatentDiffusion(spec(13), width=8, middle=1, vae_width=8)
    assert odd.denoised == (4, 4, 4) and odd.sample(2, torch.tensor([0, 1])).shape == (2, 1, 13, 13)
    assert odd.eval().losses(Batch(torch.zeros(2, 1, 13, 13), torch.tensor([0, 1])))["reconstruction"].isfinite()
    with pytest.raises(ValueError, match="vae_share=1"):
        LatentDiffusion(spec(8), vae_share=1.0)
    with pytest.raises(UserError, match="not for a table"):
        LatentDiffusion(DataSpec("table", (5,)))


def test_no_epoch_is_best_while_the_vae_moves(monkeypatch):
    """An untrained VAE tells little, so that the velocity of its latents is easily told: 1.1 where 1.7 is the least."""
    net = built(LatentDiffusion, vae_width=8, vae_share=0.5).eval()
    batch = Batch(pictures(20), torch.arange(20) % 3)
    last = float(net.losses(batch)["loss"])
    monkeypatch.setattr(LatentDiffusion, "progress", 0.3)
    early = net.losses(batch)
    assert last < early["loss"] == 2.0 and early["reconstruction"].isfinite()


def test_latents_that_are_denoised_are_standardised():
    """Running moments of a stage at rest: latents of data then have mean 0 and variance 1, channel by channel."""
    net, x = built(LatentDiffusion, vae_width=8), pictures(100)
    net.train()
    for _ in range(250):
        net._vae_losses(x)
    mean, log_var = net.vae.encode(x)
    u = net._standardised(mean + torch.randn_like(mean) * torch.exp(0.5 * log_var))
    assert u.mean(dim=(0, 2, 3)).abs().max() < 0.2 and (u.std(dim=(0, 2, 3)) - 1).abs().max() < 0.2
