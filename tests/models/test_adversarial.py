"""The adversarial loop and its losses against what is known of them in closed form."""

from __future__ import annotations

import functools
import logging
import re

import lightning as L
import pytest
import torch

from datakiln.callbacks.bundle import Bundle
from datakiln.callbacks.ema import Ema
from datakiln.data.base import TensorLoader
from datakiln.data.pictures.pictures import ImageData
from datakiln.data.pictures.sources import SklearnDigits
from datakiln.errors import UserError
from datakiln.loggers.csv import Csv
from datakiln.models.gan.cyclegan import CycleGAN
from datakiln.models.gan.gan import GAN
from datakiln.models.gan.health import Health, diversity
from datakiln.models.gan.r3gan import R3GAN
from datakiln.models.gan.sngan import SNGAN
from datakiln.models.gan.wgan import WGAN
from datakiln.models.gan.wgan_gp import WGANGP
from datakiln.nets.losses import Hinge, LeastSquares, Minimax, NonSaturating, Wasserstein, gradient_penalty, r1_penalty
from datakiln.sampling.checkpoints import FORMAT
from datakiln.spec import Batch, DataSpec
from tests.jobs.test_resume import differences, load

ADAM = functools.partial(torch.optim.Adam, lr=1e-3, betas=(0.5, 0.9))
SPEC = DataSpec("image", (1, 8, 8), classes=tuple("0123456789"), class_shares=(0.1,) * 10, size=1374)


@functools.cache
def digits(batch_size: int = 170) -> ImageData:
    data = ImageData(SklearnDigits(), batch_size=batch_size)
    data.setup("fit")
    return data


def trainer(epochs: int, **options) -> L.Trainer:
    return L.Trainer(
        max_epochs=epochs, accelerator="cpu", enable_progress_bar=False, enable_model_summary=False,
        num_sanity_val_steps=0, use_distributed_sampler=False,
        **{"logger": False, "enable_checkpointing": False, **options},
    )  # fmt: skip


def test_gradient_penalty_of_a_linear_critic():
    # the gradient of a linear score is its weight wherever it is taken: (|w| - 1)^2, whatever the samples
    w = torch.tensor([1.0, -2.0, 2.0])
    real, fake = torch.randn(7, 3), torch.randn(7, 3)
    assert gradient_penalty(lambda x: x @ w, real, fake).item() == pytest.approx((3.0 - 1.0) ** 2, rel=1e-6)
    assert r1_penalty(lambda x: x @ w, real).item() == pytest.approx(0.5 * 9.0, rel=1e-6)


def test_gradient_penalty_of_a_quadratic_critic_lies_between_the_samples():
    # the gradient of |x|^2 / 2 is x itself: from fake (all 0) to real (norm 4) its norm is uniform in [0, 4]
    real = torch.tensor([[4.0, 0.0]]).expand(40_000, 2)
    found = gradient_penalty(lambda x: 0.5 * x.square().sum(dim=1), real, torch.zeros_like(real)).item()
    expected = ((4 - 1) ** 3 + 1) / (3 * 4)  # mean of (u - 1)^2 over u in [0, 4]
    assert found == pytest.approx(expected, rel=0.03)  # standard error of 40,000 draws: 0.6 %


def test_penalties_reach_the_critic_and_not_the_generator():
    critic = torch.nn.Linear(3, 1)
    fake = torch.randn(5, 3, requires_grad=True)
    gradient_penalty(critic, torch.randn(5, 3), fake).backward()
    assert critic.weight.grad.abs().sum() > 0
    assert fake.grad is None


def test_losses_agree_with_their_papers():
    real, fake = torch.tensor([2.0, -1.0, 0.3]), torch.tensor([0.5, -3.0, 1.5])
    p, q = torch.sigmoid(real), torch.sigmoid(fake)
    close = functools.partial(torch.testing.assert_close, rtol=1e-6, atol=1e-6)
    close(NonSaturating().critic(real, fake), -(p.log().mean() + (1 - q).log().mean()))
    close(NonSaturating().generator(fake), -q.log().mean())
    close(Minimax().generator(fake), (1 - q).log().mean())
    close(NonSaturating(0.1).critic(real, fake), -((0.9 * p.log() + 0.1 * (1 - p).log()).mean() + (1 - q).log().mean()))
    close(LeastSquares().critic(real, fake), 0.5 * ((real - 1) ** 2).mean() + 0.5 * (fake**2).mean())
    close(LeastSquares(0.2).critic(real, fake), 0.5 * ((real - 0.8) ** 2).mean() + 0.5 * (fake**2).mean())
    close(LeastSquares().generator(fake), 0.5 * ((fake - 1) ** 2).mean())
    close(Wasserstein().critic(real, fake), fake.mean() - real.mean())
    close(Hinge().critic(real, fake), (0 + 2 + 0.7) / 3 * torch.ones(()) + torch.tensor((1.5 + 0 + 2.5) / 3))
    close(Hinge().generator(fake), -fake.mean())
    with pytest.raises(ValueError, match="smoothing=0.7"):
        NonSaturating(0.7)


def test_critic_turns_are_counted_over_epochs():
    """8 batches an epoch and 5 critic steps: 80 critic updates in 10 epochs, so 16 of the generator, not 10."""
    loader = TensorLoader(torch.rand(24, 1, 8, 8), torch.arange(24) % 10, batch_size=3, shuffle=True)
    assert len(loader) == 8
    model = WGAN(SPEC, width=4, critic_steps=5, generator_optimizer=ADAM, critic_optimizer=ADAM)
    run = trainer(10)
    run.fit(model, loader)
    assert (model.critic_updates, model.steps, run.global_step) == (80, 16, 16)


def test_max_steps_means_generator_updates():
    model = GAN(SPEC, hidden=(8,), critic_steps=2, generator_optimizer=ADAM, critic_optimizer=ADAM)
    run = trainer(-1, max_steps=6, limit_val_batches=0)
    run.fit(model, datamodule=digits())
    assert (model.steps, model.critic_updates) == (6, 12)


def test_no_side_touches_the_other():
    """The critic's update leaves the generator's gradients alone, and the other way round."""
    model = GAN(SPEC, hidden=(8,))
    batch = Batch(torch.rand(6, 1, 8, 8), torch.arange(6))
    model.critic_losses(batch)["loss"].backward()
    assert all(p.grad is None for p in model.generator.parameters())
    model.zero_grad()
    model.critic.requires_grad_(False)
    model.generator_losses(batch)["loss"].backward()
    assert all(p.grad is None for p in model.critic.parameters())
    assert all(p.grad is not None for p in model.generator.parameters())


def test_clipping_holds_every_weight():
    model = WGAN(SPEC, width=4, clip=0.005, generator_optimizer=ADAM, critic_optimizer=ADAM)
    trainer(1, limit_val_batches=0).fit(model, datamodule=digits())
    assert max(p.abs().max() for p in model.critic.parameters()) <= 0.005


def test_spectral_norm_is_one():
    torch.manual_seed(0)
    model = SNGAN(SPEC, width=8)
    for _ in range(50):  # power iterations
        model.critic(torch.rand(4, 1, 8, 8))
    model.critic.eval()
    weights = [m.weight.flatten(1) for m in model.critic.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    largest = [torch.linalg.matrix_norm(w, 2).item() for w in weights]
    assert largest == pytest.approx([1.0] * len(largest), abs=0.02)


def test_accumulation_gives_the_gradients_of_the_whole_batch():
    """Without batch statistics or noise in the critic, four pieces add up to one batch."""
    weights = []
    for pieces in (1, 4):
        torch.manual_seed(0)
        model = SNGAN(SPEC, width=4, accumulate=pieces, generator_optimizer=ADAM, critic_optimizer=ADAM)
        # the same fakes however the batch is cut: what differs otherwise is only which noise meets which picture
        model.detached_fakes = lambda z, y: torch.zeros(len(z), 1, 8, 8)
        model.critic.eval()  # holds the power iteration still
        model.train = lambda mode=True, model=model: model
        run = trainer(1, limit_train_batches=1, limit_val_batches=0)
        run.fit(model, datamodule=digits())
        weights.append(torch.cat([p.grad.flatten() for p in model.critic.parameters()]))
    assert weights[0].abs().sum() > 0
    torch.testing.assert_close(weights[0], weights[1], rtol=1e-4, atol=1e-6)


class Kill(L.Callback):
    """Ends the process without any clean-up before a given critic update."""

    def __init__(self, update: int) -> None:
        self.update = update

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        if pl_module.critic_updates == self.update:
            raise SystemExit("killed")


def fit(folder, kill: int | None = None, resume: bool = False, precision: str = "32-true") -> None:
    """Two and a half generator updates an epoch: epochs end between a critic's turns."""
    L.seed_everything(0, verbose=False)
    decay = functools.partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.9)
    model = WGANGP(
        SPEC, latent_dim=8, width=4, critic_steps=3, conditional=True, diffaugment=["color", "translation", "cutout"],
        generator_optimizer=ADAM, critic_optimizer=ADAM, generator_scheduler=decay, critic_scheduler=decay,
    )  # fmt: skip
    data = ImageData(SklearnDigits(), batch_size=170, flip=True)
    bundle = Bundle(folder / "checkpoints", {"format": FORMAT}, monitor="val/critic_loss", every_seconds=0.0)
    callbacks = [Ema(0.9), bundle, *([Kill(kill)] if kill is not None else [])]
    run = trainer(3, logger=[Csv(folder / "metrics.csv")], callbacks=callbacks, enable_checkpointing=True,
                  precision=precision)  # fmt: skip
    last = bundle.last_path
    run.fit(model, datamodule=data, ckpt_path=str(last) if resume else None, weights_only=True)


@pytest.fixture(scope="module")
def never_killed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    fit(folder)
    return folder


@pytest.mark.parametrize("update", [8, 10, *(pytest.param(at, marks=pytest.mark.slow) for at in (2, 23))])
def test_killed_and_resumed_equals_never_killed(tmp_path, never_killed, update):
    with pytest.raises(SystemExit, match="killed"):
        fit(tmp_path, kill=update)
    fit(tmp_path, resume=True)
    whole, ours = (load(folder / "checkpoints" / "last.ckpt") for folder in (never_killed, tmp_path))
    assert differences(whole, ours) == []
    assert whole["adversarial"] == {**whole["adversarial"], "critic_updates": 24, "generator_updates": 8}
    assert len(whole["optimizer_states"]) == len(whole["lr_schedulers"]) == 2
    assert (tmp_path / "metrics.csv").read_text() == (never_killed / "metrics.csv").read_text()


def test_bf16_trains_every_weight(tmp_path):
    """Autocast must not hand the generator's update a copy of weights that was made without gradients, or long ago."""
    fit(tmp_path, precision="bf16-mixed")
    state = load(tmp_path / "checkpoints" / "last.ckpt")
    L.seed_everything(0, verbose=False)
    fresh = WGANGP(SPEC, latent_dim=8, width=4, conditional=True).state_dict()
    moved = {name: not torch.equal(value, fresh[name]) for name, value in state["state_dict"].items()}
    assert all(moved.values()), [name for name, is_moved in moved.items() if not is_moved]
    assert all(value.dtype != torch.bfloat16 for value in state["state_dict"].values())


def test_average_is_of_the_generator_alone(tmp_path, never_killed):
    state = load(never_killed / "checkpoints" / "last.ckpt")
    raw = {name: value for name, value in state["state_dict"].items() if name.startswith("generator.")}
    assert {f"generator.{name}" for name in state["averaged"]} == set(raw)
    averaged = {f"generator.{name}": value for name, value in state["averaged"].items()}
    assert any(not torch.equal(averaged[name], value) for name, value in raw.items())


def test_fp16_is_refused():
    model = GAN(SPEC, hidden=(8,), generator_optimizer=ADAM, critic_optimizer=ADAM)
    model.trainer = type("T", (), {"precision": "16-mixed"})()
    with pytest.raises(UserError, match="bf16-mixed"):
        model.on_fit_start()


def test_trouble_is_told_once_in_plain_words(caplog):
    health, sure = Health(GAN.has_option), {"real_accuracy": 1.0, "fake_accuracy": 0.995, "diversity": 0.9}
    with caplog.at_level(logging.WARNING):
        health.look({"diversity": 0.01}, 100)  # an untrained generator makes one grey
        for steps in (200, 400, 600, 650):
            health.look(sure, steps)
        assert not caplog.records
        health = copy_of(health)
        for steps in (800, 900, 1000):
            health.look(sure, steps)
        assert len(caplog.records) == 1 and "discriminator has won: for 5 epochs" in caplog.text
        health.look({"diversity": 0.05}, 1100)
    assert "samples have collapsed" in caplog.text and "5 % as much" in caplog.text
    assert len(caplog.records) == 2


def test_pairs_and_divergence_are_told_too(caplog):
    health = Health(GAN.has_option)
    with caplog.at_level(logging.WARNING):
        for steps in (100, 600, 700, 800, 900, 1200):
            health.look({"pair_accuracy": 1.0, "critic_gradient": 2.0}, steps)
    assert "discriminator has won" in caplog.text and "model.critic_optimizer.lr" in caplog.text
    caplog.clear()
    health = copy_of(health)
    with caplog.at_level(logging.WARNING):
        health.look({"critic_gradient": 150.0}, 1300)
        assert not caplog.records, "75 times is much, and has passed by itself"
        health.look({"critic_gradient": 900.0}, 1400)
        health.look({"critic_gradient": 900.0}, 1500)
    assert len(caplog.records) == 1 and "training is diverging" in caplog.text and "450 times" in caplog.text
    fresh = Health(GAN.has_option)
    fresh.look({"critic_gradient": 1e-3}, 10)  # a beginning
    with caplog.at_level(logging.WARNING):
        fresh.look({"critic_gradient": 1.0}, 600)
    assert len(caplog.records) == 1


def test_only_knobs_that_the_model_has_are_advised(caplog):
    """R3GAN refuses r1 and weighs its penalties by gamma; a translator has neither labels to smooth nor latents."""
    figures = {"real_accuracy": 1.0, "fake_accuracy": 1.0, "diversity": 0.01}
    told = {}
    for model in (GAN, R3GAN, WGANGP, CycleGAN):
        caplog.clear()
        health = Health(model.has_option)
        with caplog.at_level(logging.WARNING):
            for steps in range(0, 4000, 500):
                health.look(figures, steps)
        assert len(caplog.records) == 2
        told[model] = caplog.text
        for option in re.findall(r"model[.](\w+)", caplog.text):
            assert model.has_option(option)
    assert "model.label_smoothing" in told[GAN] and "model.r1" in told[GAN]
    assert "model.gamma" in told[R3GAN] and "model.r1" not in told[R3GAN] and "label_smoothing" not in told[R3GAN]
    assert "model.penalty" in told[WGANGP] and "r3gan" not in told[WGANGP] + told[CycleGAN]


def copy_of(health: Health) -> Health:
    """As a resumed run has it."""
    other = Health(GAN.has_option)
    other.load(health.state())
    return other


def test_diversity_is_the_mean_distance():
    x = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 0.0]])
    assert diversity(x).item() == pytest.approx((5 + 0 + 5) / 3)
    assert diversity(x[:1]).item() == 0.0


def test_collapse_is_seen_in_a_run(caplog):
    """A generator whose last layer is dead makes one picture; the run says so."""
    model = GAN(
        SPEC, hidden=(8,), generator_optimizer=functools.partial(torch.optim.SGD, lr=0.0), critic_optimizer=ADAM
    )
    torch.nn.init.zeros_(model.generator.layers[-2].weight)
    model.generator_updates = 500
    with caplog.at_level(logging.WARNING, logger="datakiln.models.gan.health"):
        trainer(1, limit_val_batches=0).fit(model, datamodule=digits())
    assert "samples have collapsed" in caplog.text
