"""R3GAN, InfoGAN, SGAN, BigGAN, StyleGAN2 and Projected GAN against what is known of them in closed form."""

from __future__ import annotations

import functools
import math

import lightning as L
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from datakiln.callbacks.bundle import Bundle
from datakiln.callbacks.fid import Fid
from datakiln.codecs.pictures import to_levels
from datakiln.data.pictures.pictures import ImageData, hidden_labels
from datakiln.data.pictures.sources import Pictures, SklearnDigits
from datakiln.errors import UserError
from datakiln.metrics.base import MetricError
from datakiln.models.gan import biggan, infogan, projected_gan, r3gan, sgan, stylegan2
from datakiln.nets.conv import Verdict
from datakiln.nets.moving import moved
from datakiln.pretrained.efficientnet import published_efficientnet
from datakiln.spec import Batch, DataSpec, Sampling
from tests.later import later
from tests.models.resuming import check_killed_and_gone_on_with

ADAM = functools.partial(torch.optim.Adam, lr=1e-3)
CLASSES = tuple("0123456789")
SPEC = DataSpec("image", (1, 8, 8), classes=CLASSES, class_shares=(0.1,) * 10, size=100)
SMALL = {
    "r3gan": functools.partial(r3gan.R3GAN, latent_dim=6, width=8),
    "infogan": functools.partial(infogan.InfoGAN, latent_dim=6, width=4, hidden=8),
    "sgan": functools.partial(sgan.SGAN, latent_dim=6, hidden=(16, 8), generator_hidden=(8,), labelled_batch=7),
    "biggan": functools.partial(biggan.BigGAN, latent_dim=12, width=4, embedding=3),
    "stylegan2": functools.partial(stylegan2.StyleGAN2, latent_dim=6, width=4, path_lazy=2, r1=1.0, lazy=2),
    "projected_gan": functools.partial(projected_gan.ProjectedGAN, latent_dim=6, width=4, mixed=4),
}
TOLD = ("r3gan", "biggan", "stylegan2", "projected_gan")  # those that can be told the class


def batch(n: int = 8, shape: tuple[int, ...] = (1, 8, 8)) -> Batch:
    return Batch(torch.rand(n, *shape, generator=torch.Generator().manual_seed(0)) * 2 - 1, torch.arange(n) % 10)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 20, 20), (1, 28, 28), (3, 128, 128)])
@pytest.mark.parametrize("name", sorted(SMALL))
def test_every_side_and_colour(name, shape):
    spec = DataSpec("image", shape, classes=CLASSES, class_shares=(0.1,) * 10, size=100)
    torch.manual_seed(0)
    model = SMALL[name](spec, **({"conditional": True} if name in TOLD else {}))
    with torch.autocast("cpu", torch.bfloat16, enabled=shape[1] == 28):
        losses = model.losses(batch(4, shape))
    losses["loss"].backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())
    assert model.sample(2).shape == (2, *shape)


def made(name):
    data = ImageData(SklearnDigits(), batch_size=24, labelled=30 if name == "sgan" else None)
    data.setup("fit")
    return data, SMALL[name](data.spec, generator_optimizer=ADAM, critic_optimizer=ADAM)


@pytest.mark.parametrize("name", [*sorted(SMALL.keys() - {"projected_gan"}), *later("projected_gan")])
def test_killed_and_gone_on_with(name, tmp_path):
    check_killed_and_gone_on_with(functools.partial(made, name), tmp_path, "val/generator_loss", batches=4)


class Score(nn.Module):
    """A critic whose score is known."""

    def __init__(self, score) -> None:
        super().__init__()
        self.of = score

    def forward(self, x, y=None):
        return Verdict(self.of(x))


def saturated(name, **options):
    """A model whose generator draws black pictures, far beyond black."""
    torch.manual_seed(0)
    model = SMALL[name](SPEC, **options)
    with torch.no_grad():
        if name == "r3gan":
            model.generator.output.bias.fill_(-20.0)
        else:
            for show in model.generator.show:
                show.bias.fill_(-20.0)
    return model


@pytest.mark.parametrize("name", ["r3gan", "stylegan2"])
def test_generators_without_a_norm_find_back_from_black(name):
    def slope(model):
        model.generator_losses(batch(8))["loss"].backward()
        return max(p.grad.abs().max().item() for p in model.generator.parameters() if p.grad is not None)

    assert slope(saturated(name, saturates=False)) > 1e-3
    assert slope(saturated(name)) < 1e-9, "checkpoints that do not say saturate, and that is where they stay"
    assert (to_levels(saturated(name, saturates=False).sample(4)) == 0).all(), "what lies beyond black is black"


class TestR3GAN:
    def test_penalties_of_a_linear_critic(self):
        w = torch.randn(1, 8, 8)
        model = r3gan.R3GAN(SPEC, gamma=3.0)
        model.critic = Score(lambda x: (x * w).sum(dim=(1, 2, 3)))
        real, fake = torch.randn(5, 1, 8, 8), torch.randn(5, 1, 8, 8)
        of_real, of_fake, found = model.verdicts(real, fake, None)
        wanted = 0.5 * 3.0 * w.square().sum()
        assert torch.isclose(found["r1_penalty"], wanted) and torch.isclose(found["r2_penalty"], wanted)
        assert torch.allclose(of_real.score, (real * w).sum(dim=(1, 2, 3)))
        assert torch.allclose(of_fake.score, (fake * w).sum(dim=(1, 2, 3)))

    def test_r1_is_at_real_and_r2_at_generated_pictures(self):
        model = r3gan.R3GAN(SPEC, gamma=2.0)
        model.critic = Score(lambda x: 0.5 * x.square().sum(dim=(1, 2, 3)))  # the gradient is x itself
        real, fake = torch.randn(5, 1, 8, 8), 3 * torch.randn(5, 1, 8, 8)
        found = model.penalties(real, fake, None)
        assert torch.isclose(found["r1_penalty"], real.square().sum(dim=(1, 2, 3)).mean())
        assert torch.isclose(found["r2_penalty"], fake.square().sum(dim=(1, 2, 3)).mean())

    def test_both_are_in_the_loss_of_pairs(self):
        model = r3gan.R3GAN(SPEC, width=8)
        model.detached_fakes = lambda z, y: batch(8).x.flip(0)
        losses = model.critic_losses(batch(8))
        score = model.critic(batch(8).x).score
        pairs = F.softplus(score.flip(0) - score).mean()
        assert torch.isclose(losses["loss"], pairs + losses["r1_penalty"] + losses["r2_penalty"], atol=1e-5)
        assert losses["r1_penalty"] > 0 and losses["r2_penalty"] > 0

    def test_blocks_begin_as_nothing(self):
        block = r3gan.ResidualBlock(8, depth=4)
        x = torch.randn(2, 8, 4, 4)
        assert torch.equal(block(x), x)

    @pytest.mark.parametrize("options", [{"r1": 1.0}, {"gamma": 0.0}, {"blocks": 0}])
    def test_refuses(self, options):
        with pytest.raises(ValueError, match=r"gamma|blocks"):
            r3gan.R3GAN(SPEC, **options)


class TestInfoGAN:
    def model(self, **options):
        torch.manual_seed(0)
        return infogan.InfoGAN(SPEC, latent_dim=4, width=4, hidden=8, **options)

    def test_a_perfect_reader_knows_all_of_the_code_and_a_blind_one_nothing(self):
        model = self.model(continuous=0)
        z = model.latents(50)
        code = model.generator.code(z)[:, 4:]
        perfect = model.latent_losses(Verdict(z[:, 0], told=100 * code), z)
        assert perfect["information"].item() == pytest.approx(math.log(10), abs=1e-5)
        assert perfect["loss"].item() == pytest.approx(-math.log(10), abs=1e-5)
        blind = model.latent_losses(Verdict(z[:, 0], told=torch.zeros(50, 10)), z)
        assert blind["information"].item() == pytest.approx(0.0, abs=1e-5)
        wrong = model.latent_losses(Verdict(z[:, 0], told=5 * code.roll(1, dims=1)), z)
        assert wrong["information"] < 0, "a bound may lie below 0"

    def test_continuous_codes_are_read_by_a_normal(self):
        model = self.model(codes=(), continuous=2, slope=1.0)
        z = model.latents(7)
        code = model.generator.code(z)[:, 4:]
        mean, log_scale = torch.randn(7, 2), torch.randn(7, 2)
        found = model.latent_losses(Verdict(z[:, 0], told=torch.cat([mean, log_scale], dim=1)), z)["loss"]
        density = torch.distributions.Normal(mean, log_scale.exp()).log_prob(code).sum(dim=1).mean()
        assert torch.isclose(found, -density - math.log(2 * math.pi), atol=1e-5)  # less the constant of two normals

    def test_codes_are_functions_of_normal_latents(self):
        model = self.model()
        z = model.latents(4000)
        code = model.generator.code(z)
        assert torch.equal(code[:, :4], z[:, :4])
        assert torch.equal(code[:, 4:14].sum(dim=1), torch.ones(4000))
        shares = code[:, 4:14].mean(dim=0)
        assert (shares - 0.1).abs().max() < 4 * (0.09 / 4000) ** 0.5
        even = code[:, 14:].flatten().sort().values
        assert (even - torch.linspace(-1, 1, 8000)).abs().max() < 2 * 1.95 / 8000**0.5, "Kolmogorov's distance"
        model.eval()
        larger = z.clone()
        larger[:, 4:14] *= 3.0  # the largest stays the largest
        assert torch.equal(model.decode(z[:4]), model.decode(larger[:4]))

    def test_a_checkpoint_of_before_has_no_hidden_layers(self):
        model = infogan.InfoGAN(SPEC, latent_dim=4, width=4)
        names = set(model.state_dict())
        assert "generator.input.weight" in names and "generator.input.0.weight" not in names
        first = model.critic.reader[0].weight
        assert first.shape[1] == model.critic.head.score.in_features
        model.draw(2, None)

    def test_a_hidden_layer_stands_between_latents_and_maps_and_one_before_all_readings(self):
        model = self.model().eval()
        first, (a, b) = model.generator.input, torch.randn(2, 1, 16)
        assert first(a).shape == (1, 4 * 4 * 4)
        assert not torch.allclose(first(a + b) + first(0 * a), first(a) + first(b), rtol=1e-2), "no sum of templates"
        seen = []
        for layer in (model.critic.head.score, model.critic.reader[0]):
            layer.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        model.critic(batch(3).x)
        assert seen[0].shape == (3, 8) and torch.equal(*seen)

    def test_matching_is_the_best_there_is(self):
        assert infogan.matched_accuracy(torch.eye(10)[torch.randperm(10)] * 7) == 1.0
        assert infogan.matched_accuracy(torch.tensor([[5.0, 4.0], [6.0, 0.0]])) == pytest.approx(10 / 15)

    def test_what_two_codes_share_is_known_for_equal_and_for_independent_ones(self):
        hot = torch.eye(10)[torch.arange(1000) % 10]
        assert float(infogan.shared_information(hot, hot)) == pytest.approx(math.log(10), abs=1e-4)
        other = torch.eye(10)[torch.arange(1000) // 100]
        assert float(infogan.shared_information(hot, other)) == pytest.approx(0.0, abs=1e-4)
        one = torch.eye(10)[torch.zeros(1000, dtype=torch.long)]
        assert float(infogan.shared_information(one, one)) == pytest.approx(0.0, abs=1e-4), "a code of one value"

    def test_moved_pictures_are_near_what_they_were(self):
        torch.manual_seed(0)
        x = torch.full((64, 1, 28, 28), -1.0)
        x[:, :, 10:18, 10:18] = 1.0
        y = moved(x)
        assert y.shape == x.shape and y.min() >= -1.0 and y.max() <= 1.0
        rows = torch.arange(28.0)[None, None, :, None]
        middles = [((part + 1) * rows).sum(dim=(1, 2, 3)) / (part + 1).sum(dim=(1, 2, 3)) for part in (x, y)]
        assert (middles[1] - middles[0]).abs().max() < 4.0 and middles[1].std() > 0.5
        assert len({float(part.sum()) for part in y}) > 60, "each is moved by itself"
        assert torch.allclose(moved(torch.full((3, 2, 8, 8), 0.3)), torch.full((3, 2, 8, 8), 0.3))

    def test_a_weight_on_it_makes_the_code_of_a_picture_that_of_the_moved_one(self):
        """Blobs left and right of the middle, which moving hardly mixes: without labels the code becomes the side."""
        torch.manual_seed(0)
        model = infogan.InfoGAN(SPEC, latent_dim=4, width=4, hidden=8, codes=[2], invariance=1.0)
        x = torch.full((64, *SPEC.shape), -1.0)
        side = torch.arange(64) % 2
        half = SPEC.shape[2] // 2
        x[side == 0, :, :, : half - 1], x[side == 1, :, :, half + 1 :] = 1.0, 1.0
        optimizer = torch.optim.Adam(model.critic.parameters(), lr=3e-3)
        for _ in range(150):
            losses = model.critic_losses(Batch(x, None))
            optimizer.zero_grad()
            losses["loss"].backward()
            optimizer.step()
        assert losses["shared_information"] > 0.4
        read = torch.bincount(model.eval().read(x) * 2 + side, minlength=4).view(2, 2)
        assert infogan.matched_accuracy(read) > 0.95
        plain = infogan.InfoGAN(SPEC, latent_dim=4, width=4, hidden=8)
        assert "shared_information" not in plain.critic_losses(Batch(x, None))

    @pytest.mark.parametrize("options", [{"invariance": -1.0}, {"invariance": 1.0, "codes": []}])
    def test_a_weight_that_cannot_be_is_refused(self, options):
        with pytest.raises(ValueError, match=r"model\.invariance"):
            infogan.InfoGAN(SPEC, latent_dim=4, width=4, **options)

    def test_a_code_that_is_the_class_is_found_to_be(self, tmp_path):
        model = self.model()
        data = ImageData(SklearnDigits(), batch_size=100)
        data.setup("fit")
        model.read = lambda x: (model.seen_y + 3) % 10  # every digit under another name
        measure = model._measure

        def watched(stage, batch):
            model.seen_y = batch.y
            measure(stage, batch)

        model._measure = watched
        trainer = L.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False,
                            enable_model_summary=False, use_distributed_sampler=False)  # fmt: skip
        trainer.test(model, data.test_dataloader(), verbose=False)
        assert model.fresh["test/code_accuracy"] == 1.0

    def test_refuses(self):
        with pytest.raises(ValueError, match="codes"):
            self.model(codes=(), continuous=0)


class TestSGAN:
    def test_losses_are_those_of_one_more_class(self):
        torch.manual_seed(0)
        model = sgan.SGAN(SPEC, hidden=(16,), beside=False).eval()  # without noise
        model.detached_fakes = lambda z: batch(8).x.flip(0) * 0.5
        found = model.critic_losses(batch(8))
        given, fakes = model.critic(batch(8).x), model.critic(batch(8).x.flip(0) * 0.5)

        def probabilities(logits):  # of K classes and of "generated", whose logit is 0
            return torch.softmax(torch.cat([logits, torch.zeros(len(logits), 1)], dim=1), dim=1)

        real, fake = probabilities(given.logits), probabilities(fakes.logits)
        supervised = -(real[torch.arange(8), batch(8).y] / (1 - real[:, 10])).log().mean()
        unsupervised = -(1 - real[:, 10]).log().mean() - fake[:, 10].log().mean()
        assert torch.isclose(found["loss"], supervised + 0.5 * unsupervised, atol=1e-5)
        assert torch.isclose(found["class_loss"], supervised, atol=1e-5)

    def test_the_generator_matches_means_of_features(self):
        torch.manual_seed(0)
        model = sgan.SGAN(SPEC, hidden=(16,)).eval()
        model.generator = nn.Identity()
        model.latents = lambda n: batch(n).x.flip(0)  # the same pictures in another order: means agree
        assert model.generator_losses(batch(8))["loss"].item() == pytest.approx(0.0, abs=1e-10)
        model.latents = lambda n: batch(n).x + 1.0
        told = [model.critic(x).told.mean(dim=0) for x in (batch(8).x, batch(8).x + 1.0)]
        assert torch.isclose(model.generator_losses(batch(8))["loss"], (told[0] - told[1]).square().mean())

    def test_only_known_labels_are_learnt_from(self):
        torch.manual_seed(0)
        model = sgan.SGAN(SPEC, hidden=(16,))
        y = torch.tensor([3, -1, 5, -1, -1, -1, -1, -1])
        found = sgan.class_loss(model.critic.eval()(batch(8).x).logits, y)
        logits = model.critic(batch(8).x).logits
        assert torch.isclose(found, F.cross_entropy(logits[[0, 2]], y[[0, 2]]))
        assert sgan.class_loss(logits, torch.full((8,), -1)) == 0.0

    def test_further_batches_are_of_the_labelled_pictures(self):
        data = ImageData(SklearnDigits(), batch_size=100, labelled=20)
        data.setup("fit")
        model = SMALL["sgan"](data.spec, generator_optimizer=ADAM, critic_optimizer=ADAM)
        seen = []
        take = model._labelled
        model._labelled = lambda batch: seen.append(take(batch)) or seen[-1]
        L.Trainer(max_epochs=1, limit_train_batches=3, accelerator="cpu", logger=False, enable_progress_bar=False,
                  enable_checkpointing=False, enable_model_summary=False, use_distributed_sampler=False,
                  limit_val_batches=1, num_sanity_val_steps=0).fit(model, datamodule=data)  # fmt: skip
        known = data.told["train"] >= 0
        pictures = {bytes(x.numpy().tobytes()) for x in data.codec.encode(data.pictures["train"].x[known])}
        assert [len(part.x) for part in seen[:3]] == [7, 7, 7]
        assert all(bytes(x.numpy().tobytes()) in pictures for part in seen[:3] for x in part.x)
        assert all(int(part.y.min()) >= 0 for part in seen[:3])
        assert model.fresh["val/epoch"] == 1.0
        assert "val/error" not in model.fresh, "labels of validation pictures are hidden, too"

    def test_data_decides_where_layers_begin(self):
        torch.manual_seed(0)
        critic = sgan.NoisyCritic((1, 8, 8), (16, 12), 10).eval()
        x = batch(50).x * 0.3 - 0.6
        seen = []
        layers = [m for m in critic.modules() if isinstance(m, nn.Linear)]
        critic.begin(x)
        for layer in layers:
            layer.register_forward_hook(lambda _, given, out: seen.append(out))
        critic(x)
        assert len(seen) == 3
        for out in seen:
            assert out.mean(dim=0).abs().max() < 1e-4 and (out.std(dim=0) - 1).abs().max() < 1e-3

    def test_hidden_layers_learn_directions_alone(self):
        torch.manual_seed(0)
        model = sgan.SGAN(SPEC, hidden=(16, 12), generator_hidden=(8,))
        layers = [net.layers[at] for net in (model.critic, model.unaided) for at in (2, 5)]
        last = model.critic.classify[1]
        before = {layer: layer.weight.detach().clone() for layer in (*layers, last)}
        optimizer, other = ADAM(model.critic_parameters()), ADAM(model.generator_parameters())
        for _ in range(5):
            with model._resting(optimizer, other):
                pass  # a turn of the generator gives back gradients only to what had them
            optimizer.zero_grad()
            model.critic_losses(batch(8))["loss"].backward()
            optimizer.step()
        for layer, old in before.items():
            assert (F.cosine_similarity(layer.weight, old, dim=1) < 1 - 1e-6).any()
            kept = torch.allclose(layer.weight.norm(dim=1), old.norm(dim=1), rtol=1e-5)
            assert kept == (layer is not last)

    def test_needs_classes(self):
        with pytest.raises(UserError, match="needs pictures with some"):
            sgan.SGAN(DataSpec("image", (1, 8, 8)))


class TestLabelled:
    def parts(self, sizes=(50, 30, 2)):
        y = torch.repeat_interleave(torch.arange(3), torch.tensor(sizes))
        return {"train": Pictures(torch.zeros(len(y), 1), y), "val": Pictures(torch.zeros(4, 1), torch.zeros(4).long())}

    def test_each_class_has_its_share_and_at_least_one(self):
        told = hidden_labels(self.parts(), "abc", 9, seed=0)
        kept = told["train"][told["train"] >= 0]
        assert torch.bincount(kept).tolist() == [5, 3, 1]
        assert (told["train"] == self.parts()["train"].y)[told["train"] >= 0].all()
        assert (told["val"] == -1).all()
        assert not torch.equal(told["train"], hidden_labels(self.parts(), "abc", 9, seed=1)["train"])
        assert torch.equal(told["train"], hidden_labels(self.parts(), "abc", 9, seed=0)["train"])

    @pytest.mark.parametrize("count", range(3, 83))
    def test_as_many_as_asked_for(self, count):
        told = hidden_labels(self.parts(), "abc", count, seed=0)["train"]
        kept = torch.bincount(told[told >= 0], minlength=3)
        assert int(kept.sum()) == count and (kept <= torch.tensor([50, 30, 2])).all() and kept.min() >= 1

    def test_refuses(self):
        with pytest.raises(UserError, match="data.labelled=2 is fewer than the 3 classes; give at least one for each"):
            hidden_labels(self.parts(), "abc", 2, seed=0)
        with pytest.raises(UserError, match="only 82 training pictures have labels"):
            hidden_labels(self.parts(), "abc", 83, seed=0)
        with pytest.raises(UserError, match="have no classes"):
            hidden_labels({"train": Pictures(torch.zeros(3, 1))}, (), 2, seed=0)

    def test_judges_see_every_label_and_models_do_not(self):
        data = ImageData(SklearnDigits(), batch_size=50, labelled=12)
        data.setup("fit")
        y = torch.cat([batch.y for batch in data.val_dataloader()])
        assert (y == -1).all() and int((data.train_dataloader().y >= 0).sum()) == 12
        assert (data.labelled().labels >= 0).all() and all(int(b.y.min()) >= 0 for b in data.test_dataloader())
        assert sum(data.spec.class_shares) == pytest.approx(1.0)


class TestStyleGAN2:
    def test_weights_of_before_are_refused_and_not_drawn_otherwise(self):
        model = SMALL["stylegan2"](SPEC)
        weights = model.state_dict()
        model.load_state_dict(weights)
        del weights["resized_inside"]
        with pytest.raises(UserError, match="train it again"):
            model.load_state_dict(weights)

    def test_demodulated_weights_have_norm_one(self):
        weight, style = torch.randn(5, 4, 3, 3), torch.randn(7, 4)
        scale = stylegan2.demodulation(weight, style)
        whole = weight[None] * style[:, None, :, None, None] * scale[:, :, None, None, None]
        assert torch.allclose(whole.square().sum(dim=(2, 3, 4)), torch.ones(7, 5), atol=1e-5)

    def test_scaling_maps_is_scaling_the_weights_of_each_picture(self):
        torch.manual_seed(0)
        layer = stylegan2.StyledConv(4, 5, 3, latent_dim=6)
        x, w = torch.randn(3, 4, 8, 8), torch.randn(3, 6)
        style, weight = layer.style(w), layer.conv.weight * layer.conv.scale
        own = weight[None] * style[:, None, :, None, None]
        own = own / own.square().sum(dim=(2, 3, 4), keepdim=True).add(1e-8).sqrt()
        one_by_one = torch.cat([F.conv2d(x[i : i + 1], own[i], padding=1) for i in range(3)])
        assert torch.allclose(layer(x, w), F.leaky_relu(one_by_one, 0.2) * 2**0.5, atol=1e-5)

    def test_path_lengths_of_a_linear_generator(self):
        torch.manual_seed(0)
        a = torch.randn(3 * 4 * 4, 6)
        n = 20_000
        found = stylegan2.path_lengths(lambda w: (w[:, 0] @ a.T).view(n, 3, 4, 4), torch.randn(n, 1, 6))
        # E |A^T y|^2 = |A|^2 / (H W), for y ~ N(0, I) / sqrt(H W)
        assert found.square().mean().item() == pytest.approx(a.square().sum().item() / 16, rel=0.03)
        two = stylegan2.path_lengths(lambda w: (w.sum(dim=1) @ a.T).view(n, 3, 4, 4), torch.randn(n, 2, 6))
        assert two.square().mean().item() == pytest.approx(a.square().sum().item() / 16, rel=0.03), "a mean over layers"

    def test_a_path_is_regularised_in_its_turn_and_as_much_heavier(self):
        model = stylegan2.StyleGAN2(SPEC, width=4, path=1.0, path_lazy=3)
        found = [("path_penalty" in model.generator_losses(batch(8))) for model.generator_updates in range(4)]
        assert found == [True, False, False, True]
        model.generator_updates = 0
        torch.manual_seed(0)
        with_path = model.generator_losses(batch(8))
        model.path = 0.0
        torch.manual_seed(0)
        plain = model.generator_losses(batch(8))["loss"]
        assert torch.isclose(with_path["loss"] - plain, 3 * with_path["path_penalty"], atol=1e-4)

    def test_the_mean_length_follows(self):
        model = stylegan2.StyleGAN2(SPEC, width=4)
        model.generator_losses(batch(8))
        once = model.path_mean.item()
        assert once > 0
        model.eval()
        model.generator_losses(batch(8))
        assert model.path_mean.item() == once, "measuring validation pictures moves nothing"

    def test_truncation_leads_to_the_mean_style(self):
        torch.manual_seed(0)
        model = stylegan2.StyleGAN2(SPEC, width=4, mapping=2).eval()
        model.generator.mean_style.copy_(torch.randn(64))
        z = torch.randn(5, 64)
        styles = [model.styles(z, None, Sampling(truncation=t)) for t in (0.0, 0.5, 1.0)]
        assert torch.allclose(styles[0], model.generator.mean_style.expand(5, -1))
        assert torch.allclose(styles[1], 0.5 * (styles[0] + styles[2]), atol=1e-6)
        assert torch.allclose(styles[2], model.styles(z, None))
        pictures = model.walk(z, None, Sampling(truncation=0.0))
        assert torch.allclose(pictures, pictures[:1].expand_as(pictures), atol=1e-6), "of one style and one noise"

    def test_styles_are_mixed_at_a_layer(self):
        model = stylegan2.StyleGAN2(SPEC, width=4, mixing=1.0)
        styles = model.generator.mixed(model.latents(200), None)
        changes = (styles[:, 1:] != styles[:, :-1]).all(dim=2).sum(dim=1)
        assert (changes == 1).all(), "every picture crosses over once"
        model.eval()
        assert (model.generator.mixed(model.latents(5), None).diff(dim=1) == 0).all(), "samples have one style"

    def test_deviations(self):
        x = torch.zeros(4, 2, 3, 3)
        x[:2] = 1.0  # half of each channel's values: deviation 0.5
        assert torch.allclose(stylegan2.deviations(x), torch.full((4, 1, 3, 3), 0.5), atol=1e-3)
        assert stylegan2.deviations(torch.ones(6, 2, 3, 3)).shape == (6, 1, 3, 3)


class TestBigGAN:
    def test_truncated_values_are_those_of_a_truncated_normal(self):
        z = torch.randn(20_000, generator=torch.Generator().manual_seed(0))
        found = biggan.truncated(z, 0.7)
        assert found.abs().max() <= 0.7
        kept = z[z.abs() <= 0.7]  # what drawing again gives
        at = torch.linspace(-0.7, 0.7, 41)
        shares = [(part[None] <= at[:, None]).float().mean(dim=1) for part in (found, kept)]
        assert (shares[0] - shares[1]).abs().max() < 1.95 * (1 / len(found) + 1 / len(kept)) ** 0.5
        assert torch.equal(found.argsort(), z.argsort()), "in the same order: a walk stays one"

    def test_nothing_overlaps_in_orthogonal_rows(self):
        weight = torch.empty(6, 8)
        nn.init.orthogonal_(weight)
        assert biggan.overlap(3.0 * weight).item() == pytest.approx(0.0, abs=1e-5)
        rows = torch.tensor([[1.0, 2.0], [3.0, -1.0]])
        assert biggan.overlap(rows).item() == pytest.approx(2 * (1 * 3 - 2 * 1) ** 2)

    def test_weights_begin_orthogonal(self):
        model = SMALL["biggan"](SPEC)
        for weight in model.generator.matrices():
            rows = weight.flatten(1)
            rows = rows if rows.shape[0] <= rows.shape[1] else rows.T
            assert torch.allclose(rows @ rows.T, torch.eye(len(rows)), atol=1e-4)
        losses = model.generator_losses(batch(8))
        assert losses["orthogonal_penalty"] > 0, "rows more than columns cannot be orthogonal"

    def test_standing_statistics_are_those_of_truncated_samples_and_leave_nothing_behind(self):
        torch.manual_seed(0)
        model = SMALL["biggan"](SPEC).eval()
        before = {name: value.clone() for name, value in model.state_dict().items()}
        state = torch.get_rng_state()
        with model.standing(0.5):
            assert torch.equal(torch.get_rng_state(), state)
            inside = model.generator.norm.running_mean.clone()
            seen = []
            hook = model.generator.norm.register_forward_pre_hook(lambda _, x: seen.append(x[0].mean(dim=(0, 2, 3))))
            model.decode(biggan.truncated(model.latents(4000), 0.5))
            hook.remove()
        assert not torch.equal(inside, before["generator.norm.running_mean"])
        assert torch.allclose(seen[0], inside, atol=0.05 * inside.abs().max() + 0.02)
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
        assert not any(module.training for module in model.modules())

    def test_classes_share_one_embedding(self):
        model = SMALL["biggan"](SPEC, conditional=True).eval()
        z, y = model.latents(1).expand(10, -1), torch.arange(10)
        assert not torch.allclose(model.decode(z, y)[0], model.decode(z, y)[1])
        nn.init.zeros_(model.generator.embedding.weight)
        shown = model.decode(z, y)
        assert torch.allclose(shown, shown[:1].expand_as(shown), atol=1e-5)


class TestProjectedGAN:
    @pytest.mark.journey
    def test_frozen_means_frozen(self, tmp_path):
        data = ImageData(SklearnDigits(), batch_size=24)
        data.setup("fit")
        torch.manual_seed(0)
        model = SMALL["projected_gan"](data.spec, generator_optimizer=ADAM, critic_optimizer=ADAM)
        hashes = model.frozen_hashes()
        statistics = {n: b.clone() for n, b in model.critic.features.named_buffers()}
        bundle = Bundle(tmp_path, {}, "val/generator_loss", every_seconds=0.0)
        trainer = L.Trainer(max_epochs=1, limit_train_batches=2, accelerator="cpu", logger=False, callbacks=[bundle],
                            enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False,
                            limit_val_batches=1, num_sanity_val_steps=0)  # fmt: skip
        trainer.fit(model, datamodule=data)
        assert model.frozen_hashes() == hashes and set(hashes) == {"critic.features"}
        assert all(torch.equal(b, statistics[n]) for n, b in model.critic.features.named_buffers())
        assert all(p.grad is None and not p.requires_grad for p in model.critic.features.parameters())
        stored = torch.load(tmp_path / "last.ckpt", weights_only=True)
        assert not [name for name in stored["state_dict"] if "features" in name]
        assert stored["frozen"] == hashes
        assert SMALL["projected_gan"](data.spec).frozen_hashes() == hashes, "built again they are the very same"

    def test_gradients_reach_the_generator_through_it(self):
        model = SMALL["projected_gan"](SPEC)
        model.generator_losses(batch(8))["loss"].backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.generator.parameters())

    def test_it_looks_through_the_published_network(self):
        features, published = projected_gan.Features(4).eval(), published_efficientnet().eval()
        x = batch(2, (3, 64, 64)).x
        maps = []
        for i, across in enumerate(features.across_channels):
            across.register_forward_pre_hook(lambda _, given, i=i: maps.append((i, given[0])))
        shown = features(x)
        assert [m.shape[1:] for _, m in maps] == [(24, 16, 16), (40, 8, 8), (112, 4, 4), (320, 2, 2)]
        assert [m.shape[1:] for m in shown] == [(4, 16, 16), (4, 8, 8), (8, 4, 4), (16, 2, 2)]
        with torch.no_grad():
            deepest = published.blocks(published.stem(((x + 1) * 127.5 - 127) / 128))
        assert torch.allclose(maps[3][1], deepest, atol=1e-4)

    def test_gradients_are_those_of_the_network_with_its_norms(self):
        features = projected_gan.Features(4).requires_grad_(False).eval()
        plain = projected_gan.Features(4).requires_grad_(False).eval()
        plain._folded = (plain.stem, *plain.stages)
        with torch.inference_mode():  # where the network is looked through first; gradients are wanted afterwards
            features(batch(2, (3, 64, 64)).x)
        x = batch(2, (3, 64, 64)).x
        slopes = []
        for net in (features, plain):
            for precision in (torch.float32, torch.bfloat16):
                given = x.clone().requires_grad_(True)
                with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
                    loss = sum(m.float().square().mean() for m in net(given))
                slopes.append(torch.autograd.grad(loss, given)[0])
        size = slopes[2].abs().mean()
        assert all((found - slopes[2]).abs().mean() < 1e-3 * size for found in slopes)

    def test_a_change_below_is_seen_at_the_largest_scale(self):
        features = projected_gan.Features(4).eval()
        x = batch(1, (3, 64, 64)).x
        plain = features(x)[0]
        features.across_channels[3].weight.data *= 2.0
        assert not torch.allclose(features(x)[0], plain), "scales are mixed"

    def test_its_own_network_decides_nothing(self):
        data = ImageData(SklearnDigits(), batch_size=24)
        data.setup("fit")
        model = SMALL["projected_gan"](data.spec)
        with pytest.raises(
            MetricError, match="the model was trained with efficientnet_lite0, which can decide nothing"
        ):
            Fid(data, extractor="efficientnet_lite0")._reference(model)
