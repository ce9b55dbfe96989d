"""CycleGAN, the upscaler and DAGAN: who sees what, what must be nothing, and runs that were killed and gone on with."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import nn

from datakiln.data.pictures.pictures import ImageData
from datakiln.data.pictures.sources import SklearnDigits
from datakiln.errors import UserError
from datakiln.models.gan.cyclegan import Buffer, CycleGAN
from datakiln.models.gan.dagan import DAGAN
from datakiln.models.gan.upscaler import Upscaler
from datakiln.spec import Batch, DataSpec, Sampling
from tests.later import later
from tests.models.resuming import check_killed_and_gone_on_with

ADAM = functools.partial(torch.optim.Adam, lr=1e-3)
SPEC = DataSpec("image", (1, 8, 8), classes=("a", "b", "c"), class_shares=(0.4, 0.3, 0.3), size=24, domains=("p", "q"))
PLAIN_SPEC = DataSpec("image", (1, 8, 8), classes=("a", "b"), class_shares=(0.5, 0.5), size=24)


def pictures(seed: int, n: int = 8, channels: int = 1, side: int = 8) -> torch.Tensor:
    return torch.rand(n, channels, side, side, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def pair() -> Batch:
    return Batch(pictures(0), torch.arange(8) % 3, other=pictures(1))


class Always(nn.Module):
    """Makes the same flat picture of everything."""

    def __init__(self, level: float) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.tensor(level))

    def forward(self, x):
        return torch.zeros_like(x) + self.level


class TestCycleGAN:
    def test_a_critic_sees_its_own_domain_and_translations_into_it(self):
        model, batch = CycleGAN(SPEC, width=4, blocks=1), pair()
        model.generator["there"], model.generator["back"] = Always(0.7), Always(-0.7)
        seen: dict[str, list] = {"first": [], "second": []}
        for name, critic in model.critic.items():
            critic.register_forward_pre_hook(lambda _, given, name=name: seen[name].append(given[0].detach()))
        for _ in range(3):
            model.critic_losses(batch)
            model.generator_losses(batch)
        for name, real, level in (("first", batch.x, -0.7), ("second", batch.other, 0.7)):
            flat = [x for x in seen[name] if not torch.equal(x, real)]
            assert len(flat) < len(seen[name]) and flat
            assert all(torch.equal(x, torch.full_like(x, level)) for x in flat), name

    def test_the_identity_costs_neither_cycle_nor_identity(self):
        model = CycleGAN(SPEC, width=4, blocks=1)
        model.generator["there"] = model.generator["back"] = nn.Identity()
        figures = model.generator_losses(pair())
        assert figures["cycle"] == 0 and figures["identity"] == 0
        model.generator["back"] = Always(0.0)
        batch = pair()
        figures = model.generator_losses(batch)
        wanted = batch.x.abs().mean() + batch.other.abs().mean()  # back(there(a)) = 0, and there(back(b)) = 0
        assert torch.isclose(figures["cycle"], wanted)

    def test_weights_are_what_they_say(self):
        losses = {}
        for name, options in (("none", {"cycle": 0}), ("cycle", {"cycle": 3, "identity": 0}), ("both", {"cycle": 3})):
            torch.manual_seed(0)
            losses[name] = CycleGAN(SPEC, width=4, blocks=1, **options).eval().generator_losses(pair())
        cycle, identity = losses["both"]["cycle"], losses["both"]["identity"]
        assert torch.isclose(losses["cycle"]["loss"] - losses["none"]["loss"], 3 * cycle)
        assert torch.isclose(losses["both"]["loss"] - losses["cycle"]["loss"], 1.5 * identity)

    def test_the_semantic_loss_looks_at_labels_of_the_first_set_alone(self):
        model = CycleGAN(SPEC, width=4, blocks=1, semantic=1.0).eval()
        model.generator["there"] = model.generator["back"] = nn.Identity()
        batch = pair()
        logits, other = model.classifier(batch.x), model.classifier(batch.other)
        entropy = nn.functional.cross_entropy
        wanted = entropy(logits, batch.y) + entropy(other, other.argmax(dim=1))
        assert torch.isclose(model.generator_losses(batch)["semantic"], wanted)
        unknown = model.generator_losses(batch._replace(y=torch.full((8,), -1)))["semantic"]
        assert torch.isclose(unknown, entropy(logits, logits.argmax(dim=1)) + entropy(other, other.argmax(dim=1)))
        moved = {id(p) for p in model.critic_parameters()}
        assert {id(p) for p in model.classifier.parameters()} <= moved, "learns with the critics, still for translators"
        assert not {id(p) for p in model.generator_parameters()} & moved

    def test_unknown_labels_make_no_figure(self):
        model = CycleGAN(SPEC, width=4, blocks=1, semantic=1.0).eval()
        known, unknown = (model.critic_losses(pair()._replace(y=y)) for y in (pair().y, torch.full((8,), -1)))
        assert "classifier_accuracy" in known and "classifier_accuracy" not in unknown
        assert all(value.isfinite() for value in unknown.values())

    def test_without_it_no_label_is_looked_at(self):
        model = CycleGAN(SPEC, width=4, blocks=1).eval()
        one, two = model.losses(pair())["loss"], model.losses(pair()._replace(y=torch.full((8,), 10**6)))["loss"]
        assert torch.equal(one, two) and model.classifier is None

    def test_targets_are_domains(self):
        model = CycleGAN(SPEC, width=4, blocks=1).eval()
        x, target = pictures(2), torch.tensor([1, 0] * 4)
        made = model.transform(x, target)
        there, back = (model.transform(x, torch.full((8,), k)) for k in (1, 0))
        assert torch.allclose(made[::2], there[::2], atol=1e-6) and torch.allclose(made[1::2], back[1::2], atol=1e-6)
        assert torch.equal(model.transform(x, None), there) and not torch.equal(there, back)

    def test_what_it_cannot_do_without(self):
        with pytest.raises(UserError, match="give the second one, data.other="):
            CycleGAN(PLAIN_SPEC)
        with pytest.raises(UserError, match=r"model.semantic=1 needs pictures with classes in the first set \(p\)"):
            CycleGAN(DataSpec("image", (1, 8, 8), domains=("p", "q")), semantic=1)


def test_a_buffer_shows_half_of_what_was_before_and_loses_nothing():
    torch.manual_seed(0)
    buffer, made = Buffer(6), torch.arange(400.0).view(100, 4, 1, 1, 1)
    shown = [buffer.mixed(batch) for batch in made]
    assert torch.equal(shown[0], made[0]) and len(buffer.kept) == 6
    old = torch.cat([(s != m).flatten() for s, m in zip(shown[2:], made[2:], strict=True)]).float().mean()
    assert 0.4 < old < 0.6
    given = torch.cat([made[0], made[1][:2], *made[2:]]).flatten()  # those of the second batch that still fitted in
    left = torch.cat([*shown[2:], buffer.kept]).flatten()
    assert torch.equal(left.sort().values, given.sort().values), "each is shown once more, or kept"
    assert Buffer(0).mixed(made[0]) is not None and Buffer(0).kept is None


class TestUpscaler:
    @pytest.mark.parametrize(("side", "factor", "channels"), [(8, 2, 1), (28, 4, 1), (32, 8, 3), (128, 4, 3)])
    def test_any_side_and_any_input(self, side, factor, channels):
        model = Upscaler(DataSpec("image", (channels, side, side)), factor=factor, width=8, blocks=1).eval()
        assert model.takes == (channels, side // factor, side // factor) and model.enlarges == factor
        made = model.transform(pictures(0, 2, channels, 9)[..., :5], None)
        assert made.shape == (2, channels, 9 * factor, 5 * factor)

    def test_a_pixel_depends_on_no_more_than_the_reach(self):
        model = Upscaler(DataSpec("image", (1, 32, 32)), factor=2, width=4, blocks=1)
        nn.init.normal_(model.generator.leave.weight)
        x = pictures(0, 1, 1, 33).requires_grad_(True)
        model.generator(x)[0, 0, 33, 33].backward()
        rows = x.grad[0, 0].abs().sum(dim=1).nonzero().squeeze(1)
        assert 16 - rows.min() <= model.generator.reach and rows.max() - 16 <= model.generator.reach

    def test_refusals(self):
        with pytest.raises(UserError, match="model.factor=3 must be one of 2, 4, 8"):
            Upscaler(PLAIN_SPEC, factor=3)
        with pytest.raises(UserError, match="model.factor=8 does not divide the side of 28 px"):
            Upscaler(DataSpec("image", (1, 28, 28)), factor=8)

    def test_without_a_critic_there_is_none(self):
        model = Upscaler(PLAIN_SPEC, factor=2, width=4, blocks=1)
        assert not list(model.critic.parameters()) and not model.critic_parameters()
        with pytest.raises(UserError, match="judges no single examples"):
            model.judgement(Batch(pictures(0)))
        with_critic = Upscaler(PLAIN_SPEC, factor=2, width=4, blocks=1, adversarial=0.5)
        assert with_critic.judgement(Batch(pictures(0))).shape == (8,)


class TestDAGAN:
    def test_the_critic_sees_pairs_that_begin_with_the_picture(self):
        model, batch = DAGAN(PLAIN_SPEC, latent_dim=3, width=4), pair()
        seen = []
        model.critic.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach()))
        model.critic_losses(batch)
        model.generator_losses(batch)
        assert torch.equal(seen[0], torch.cat([batch.x, batch.other], dim=1))
        assert all(torch.equal(pairs[:, :1], batch.x) for pairs in seen), "of both, and where gradients are penalised"
        assert not any(torch.equal(pairs[:, 1:], batch.x) for pairs in seen)

    def test_noise_varies_and_truncation_calms(self):
        model = DAGAN(PLAIN_SPEC, latent_dim=8, width=8).eval()
        x = pictures(0, 1).expand(16, -1, -1, -1)
        wide, narrow = (model.transform(x, None, Sampling(truncation=t)).std(dim=0).mean() for t in (1.0, 0.1))
        assert wide > 2 * narrow > 0

    def test_pictures_without_classes(self):
        with pytest.raises(UserError, match="DAGAN learns from pairs of a class"):
            DAGAN(DataSpec("image", (1, 8, 8)))


BOTH = {"generator_optimizer": ADAM, "critic_optimizer": ADAM}
RUNS = {
    "cyclegan": (functools.partial(CycleGAN, width=4, blocks=1, semantic=1.0, buffer=20), {"other": "digits"}),
    "upscaler": (functools.partial(Upscaler, factor=2, width=4, blocks=1), {}),
    "sharp": (functools.partial(Upscaler, factor=2, width=4, blocks=1, adversarial=0.1, accumulate=2), {}),
    "dagan": (functools.partial(DAGAN, latent_dim=4, width=4, critic_steps=2, lazy=2), {"partners": True}),
}


def made(name):
    make, options = RUNS[name]
    data = ImageData(SklearnDigits(), batch_size=32, **options)
    data.setup("fit")
    return data, make(data.spec, **BOTH)


@pytest.mark.parametrize("name", [*sorted(RUNS.keys() - {"cyclegan"}), *later("cyclegan")])
def test_killed_and_gone_on_with(name, tmp_path):
    check_killed_and_gone_on_with(functools.partial(made, name), tmp_path, "val/generator_loss")


@pytest.mark.parametrize(("channels", "side"), [(1, 8), (3, 16), (1, 28), (3, 32), (3, 64), (1, 128)])
def test_every_side_and_both_colours(channels, side):
    spec = DataSpec("image", (channels, side, side), classes=("a", "b"), class_shares=(0.5, 0.5), domains=("p", "q"))
    batch = Batch(pictures(0, 2, channels, side), torch.tensor([0, 1]), other=pictures(1, 2, channels, side))
    for model in (
        CycleGAN(spec, width=4, blocks=1, semantic=1.0), DAGAN(spec, latent_dim=2, width=4),
        Upscaler(spec, factor=4, width=4, blocks=1, adversarial=0.1),
    ):  # fmt: skip
        loss = model.losses(batch)["loss"]
        loss.backward()
        assert torch.isfinite(loss)
        x = batch.x[..., : model.takes[1], : model.takes[2]]
        assert model.transformed(x).shape == batch.x.shape
