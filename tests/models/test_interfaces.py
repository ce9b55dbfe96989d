"""What every model to come can rely on: batches of more fields, options of sampling, abilities, parts held still."""

from __future__ import annotations

import functools
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import get_class
from PIL import Image
from torch import Tensor, nn

from datakiln.callbacks.ema import Ema
from datakiln.cli.run_folders import register_resolvers
from datakiln.cli.sample import main as sample
from datakiln.cli.train import complete
from datakiln.console import Console
from datakiln.data.base import TensorLoader
from datakiln.errors import UserError
from datakiln.jobs.run import Run
from datakiln.models.base import GenerativeModel, LikelihoodModel
from datakiln.models.gan.conv import ConvGAN
from datakiln.models.vae.vae import VAE
from datakiln.nets.losses import NonSaturating, Relativistic
from datakiln.sampling.registry import register
from datakiln.sampling.synthesizer import Synthesizer
from datakiln.spec import PLAIN, Batch, DataSpec, Sampling
from datakiln.storage import CONF
from tests.test_conformance import trained

PICTURES = DataSpec(kind="image", shape=(1, 8, 8), classes=("a", "b", "c"), class_shares=(0.5, 0.3, 0.2), size=40)
ADAM = functools.partial(torch.optim.Adam, lr=1e-2)


@functools.cache
def config(model: str, data: str):
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", overrides=[f"model={model}", f"data={data}", "output_dir=unused", "batch_size=50"])


def pictures(n: int = 24) -> Tensor:
    return torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1


class TestBatch:
    FULL = Batch(
        torch.arange(10.0).view(5, 2), torch.arange(5), torch.ones(5, 2, dtype=torch.bool), torch.arange(5),
        torch.zeros(5, 3), torch.ones(5, 4),
    )  # fmt: skip

    def test_moving_slicing_and_accumulating_treat_all_fields(self):
        at = torch.tensor([3, 1])
        assert all(torch.equal(part, whole[at]) for part, whole in zip(self.FULL.rows(at), self.FULL, strict=True))
        pieces = self.FULL.pieces(2)
        assert [len(piece.x) for piece in pieces] == [3, 2]
        assert all(torch.equal(a, b) for a, b in zip(Batch.joined(pieces), self.FULL, strict=True))
        assert all(part.device.type == "meta" for part in self.FULL.to("meta"))
        assert Batch(self.FULL.x).pieces(2)[1][1:] == (None,) * 5

    def test_lightning_moves_them_all(self):
        model = VAE(PICTURES, latent_dim=2)
        moved = model.transfer_batch_to_device(self.FULL, torch.device("meta"), 0)
        assert all(part.device.type == "meta" for part in moved)
        assert model.transfer_batch_to_device(self.FULL, torch.device("cpu"), 0) is self.FULL


class TestSampling:
    @pytest.mark.parametrize(
        ("options", "told"),
        [
            ({"steps": 0}, "steps=0 must be between 1"),
            ({"steps": 2.5}, "steps=2.5 must be a whole number"),
            ({"temperature": 0}, "temperature=0 must be above 0"),
            ({"truncation": 3}, "truncation=3 must be between 0 and 2"),
            ({"truncation": float("nan")}, "truncation=nan must be between"),
            ({"guidance": True}, "guidance=True must be a number"),
            ({"mean": 1}, "mean=1 must be true"),
        ],
    )
    def test_values_no_model_could_use(self, options, told):
        with pytest.raises(UserError, match=told):
            Sampling(**options)

    @pytest.mark.parametrize("name", ["vae", "tvae", "tabar", "tabsyn", "tabddpm", "nsf"])
    def test_an_option_is_followed_or_refused(self, name):
        """Each option that a model says it follows changes its samples; each other one is refused."""
        model, *_ = trained(name, "table")
        values = {"steps": 2, "guidance": 1.5, "temperature": 0.3, "truncation": 0.2, "mean": True}
        torch.manual_seed(1)
        plain = model.sample(60)
        for option, value in values.items():
            options = Sampling(**{option: value})
            torch.manual_seed(1)
            if option in model.options:
                assert not torch.equal(model.sample(60, options=options), plain), option
            else:
                with pytest.raises(UserError, match=f"{option}={value} changes nothing"):
                    model.sample(60, options=options)
        assert model.options, "and each of these follows some"

    def test_a_low_temperature_finds_the_likeliest_rows(self):
        model, *_ = trained("tabar", "table")
        torch.manual_seed(0)
        cold, warm = (model.log_prob(model.sample(300, options=o)).mean() for o in (Sampling(temperature=0.2), PLAIN))
        assert cold > warm + 1

    def test_a_mean_has_no_noise(self):
        model = VAE(PICTURES, latent_dim=2).eval()
        z = torch.zeros(2, 2)
        mean = model.decode(z, options=Sampling(mean=True))
        assert torch.equal(model.decode(z), mean), "what is shown of pictures unless draws are asked for"
        noisy = Sampling(mean=False)
        assert torch.equal(mean[0], mean[1]) and not torch.equal(*model.decode(z, options=noisy))
        draws = torch.stack([model.decode(z, options=noisy)[0] for _ in range(400)]).mean(dim=0)
        assert (draws - mean[0]).abs().mean() < 0.2, "draws scatter around it"


@pytest.mark.parametrize(
    ("name", "way"), [("gan", True), ("dcgan", True), ("dcgan", "acgan"), ("sngan", True), ("cvae", True)]
)
def test_labels_may_be_unknown(name, way):
    target = get_class(config(name, "digits").model._target_)
    torch.manual_seed(0)
    model = target(PICTURES, latent_dim=3, conditional=way)
    y = torch.arange(24) % 3
    for unknown in (y, torch.where(torch.arange(24) % 2 == 0, -1, y), torch.full((24,), -1)):
        loss = model.losses(Batch(pictures(), unknown))["loss"]
        assert torch.isfinite(loss)
        loss.backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())


@register
class Paired(ConvGAN):
    """A GAN on pairs, which asks the critic of real pictures in the generator's turn too."""

    make_loss = staticmethod(lambda smoothing: Relativistic())


@register
class Informed(ConvGAN):
    """A part of the critic's side that trains with the generator, and frozen features within either side."""

    make_loss = NonSaturating

    def __init__(self, spec: DataSpec, **options) -> None:
        super().__init__(spec, latent_dim=3, width=4, **options)
        with torch.random.fork_rng():
            torch.manual_seed(7)
            self.critic.features = nn.Conv2d(1, 1, 3, padding=1)
            self.generator.features = nn.Conv2d(1, 1, 3, padding=1)
        self.critic.q = nn.Linear(64, 3)
        self.hold_still("critic.features", "generator.features")

    def critic_parameters(self):
        return [p for name, p in self.critic.named_parameters() if p.requires_grad and not name.startswith("q.")]

    def generator_parameters(self):
        return [*super().generator_parameters(), *self.critic.q.parameters()]

    def generator_losses(self, batch: Batch):
        losses = super().generator_losses(batch)
        guess = self.critic.q(self.critic.features(self.generator(self.latents(len(batch.x)))).flatten(1))
        return {**losses, "loss": losses["loss"] + guess.square().mean()}


def fit(model: GenerativeModel, epochs: int = 2, **options) -> L.Trainer:
    trainer = L.Trainer(
        max_epochs=epochs, logger=False, enable_progress_bar=False, enable_checkpointing=False,
        enable_model_summary=False, accelerator="cpu", use_distributed_sampler=False, **options,
    )  # fmt: skip
    trainer.fit(model, TensorLoader(pictures(), torch.arange(24) % 3, 8, shuffle=False))
    return trainer


class TestAdversarial:
    def test_relativistic_losses_are_what_the_paper_says(self):
        real, fake = torch.tensor([1.0, 2.0]), torch.tensor([0.0, 3.0])
        sigmoid = torch.sigmoid(real - fake)
        assert torch.isclose(Relativistic().critic(real, fake), -sigmoid.log().mean())
        assert torch.isclose(Relativistic().generator(fake, real), -(1 - sigmoid).log().mean())

    def test_a_loss_sees_real_and_fake(self):
        model = Paired(PICTURES, latent_dim=3, width=4, generator_optimizer=ADAM, critic_optimizer=ADAM)
        seen = []
        judge = model.critic.forward
        model.critic.forward = lambda x, y=None: seen.append(x) or judge(x, y)
        assert torch.isfinite(model.generator_losses(Batch(pictures()))["loss"])
        assert len(seen) == 2 and any(torch.equal(x, pictures()) for x in seen)
        fit(model)

    def test_the_generator_side_may_hold_parts_of_the_critic_and_frozen_parts_stay(self, tmp_path):
        torch.manual_seed(0)
        model = Informed(PICTURES, generator_optimizer=ADAM, critic_optimizer=ADAM)
        hashes, q = model.frozen_hashes(), model.critic.q.weight.detach().clone()
        ema = Ema(0.9)
        trainer = fit(model, callbacks=[ema])
        assert model.frozen_hashes() == hashes and set(hashes) == {"critic.features", "generator.features"}
        assert not torch.equal(model.critic.q.weight, q), "trained with the generator"
        moved = [{id(p) for group in o.param_groups for p in group["params"]} for o in trainer.optimizers]
        assert id(model.critic.q.weight) in moved[1] and not moved[0] & moved[1]
        held = {id(p) for part in (model.critic.features, model.generator.features) for p in part.parameters()}
        assert not held & (moved[0] | moved[1])
        assert all(p.requires_grad == (id(p) not in held) for p in model.parameters()), "and after its turn too"
        assert not [name for name in (*model.state_dict(), *ema.average) if "features" in name]
        again = Informed(PICTURES)
        again.load_state_dict(model.state_dict())
        again.check_frozen(hashes)
        again.critic.features.weight.data += 1
        with pytest.raises(UserError, match="the frozen part critic.features of Informed has other weights"):
            again.check_frozen(hashes)
        model.train()
        assert not model.critic.features.training and model.critic.training

    def test_lazy_penalties_count_critic_updates(self):
        config = {"latent_dim": 3, "width": 4, "r1": 1.0, "lazy": 3, "critic_steps": 2, "accumulate": 2}
        model = Paired(PICTURES, **config, generator_optimizer=ADAM, critic_optimizer=ADAM)
        paid, penalties = [], model.penalties
        model.penalties = lambda *of: paid.append(model.critic_updates) or penalties(*of)
        fit(model, 3)
        assert model.critic_updates == 9 and paid == [0, 0, 3, 3, 6, 6], "once for each of two pieces"
        one = Paired(PICTURES, latent_dim=3, width=4, r1=1000.0)  # so that it is no small part of the loss
        torch.manual_seed(0)
        plain = one.critic_losses(Batch(pictures()))
        one.lazy = 4
        torch.manual_seed(0)
        lazy = one.critic_losses(Batch(pictures()))
        assert torch.isclose(lazy["loss"] - plain["loss"], 3 * plain["r1_penalty"]), "as much heavier as it is rarer"
        with pytest.raises(ValueError, match="lazy=2 spaces out a penalty, and there is none"):
            Paired(PICTURES, lazy=2)


@register
class Restorer(LikelihoodModel):
    """Takes a picture of half the side and makes the whole one: `transform` and no `draw`."""

    supports = frozenset({"image"})

    def __init__(self, spec: DataSpec, optimizer=None) -> None:
        super().__init__(spec, optimizer)
        self.net = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.SiLU(), nn.ConvTranspose2d(16, 1, 2, 2))

    @property
    def takes(self):
        channels, height, width = self.spec.shape
        return channels, height // 2, width // 2

    def losses(self, batch: Batch):
        small = torch.nn.functional.interpolate(batch.x, self.takes[1:], mode="area")
        return {"loss": (self.net(small) - batch.x).square().mean()}

    def transform(self, x: Tensor, target: Tensor | None, options: Sampling = PLAIN) -> Tensor:
        return self.net(x).clamp(-1, 1)


@register
class Second(LikelihoodModel):
    """A model over the latents of a trained first stage, which it keeps inside."""

    supports = frozenset({"image"})

    def __init__(self, spec: DataSpec, first_stage: VAE, optimizer=None) -> None:
        super().__init__(spec, optimizer)
        self.first_stage = first_stage
        self.mean = nn.Parameter(torch.zeros(first_stage.latent_dim))
        self.hold_still("first_stage", in_checkpoint=True)

    def losses(self, batch: Batch):
        return {"loss": (self.first_stage.encode(batch)[0] - self.mean).square().mean()}

    def draw(self, n: int, condition: Tensor | None, options: Sampling = PLAIN) -> Tensor:
        z = self.mean + torch.randn(n, self.first_stage.latent_dim, device=self.device)
        return self.first_stage.decode(z)


def run(folder: Path, cls: type | None = None, **arguments: str) -> Run:
    """A run of the VAE, or of another class in its place."""
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        options = ["model=vae", "data=digits", "epochs=1", "batch_size=100", "watch.image.fid=null", "latent_dim=3"]
        cfg = compose("train", overrides=[*options, f"output_dir={folder}"])
    cfg.metrics.image = {}
    if cls is not None:
        target = f"{cls.__module__}.{cls.__qualname__}"
        cfg.model = {"_target_": target, "optimizer": cfg.model.optimizer, **arguments}
    done = Run(cfg, Console(quiet=True))
    complete(done)
    return done


@pytest.fixture(scope="module")
def restored(tmp_path_factory) -> Run:
    return run(tmp_path_factory.mktemp("restored") / "run", Restorer)


class TestTransform:
    def test_a_run_transforms_the_held_out_inputs(self, restored):
        made = np.load(restored.folder / "synthetic.npz")["images"]
        assert len(made) == restored.proof.n_holdout and made.shape[1:] == (8, 8, 1)
        assert (restored.folder / "samples").is_dir() and (restored.folder / "report.html").exists()
        assert not restored.model.can_draw and restored.model.can_transform

    def test_same_seed_same_result_and_the_shape_is_the_specs(self, restored):
        synthesizer = Synthesizer.load(restored.folder)
        small = np.full((3, 1, 4, 4), 128, dtype=np.uint8)
        made = synthesizer.transform(small, seed=1)
        assert made.shape == (3, 1, 8, 8) and (made == synthesizer.transform(small, seed=1)).all()
        with pytest.raises(UserError, match="Restorer draws nothing by itself"):
            synthesizer.sample(4)

    def test_the_command_translates_a_folder(self, restored, tmp_path):
        (tmp_path / "in" / "deep").mkdir(parents=True)
        for name in ("one.png", "deep/two.jpg"):
            Image.fromarray(np.full((9, 12), 90, dtype=np.uint8)).save(tmp_path / "in" / name)
        (tmp_path / "in" / "bad.png").write_bytes(b"no picture")
        words = [f"run={restored.folder}", f"translate={tmp_path / 'in'}", f"out={tmp_path / 'out'}"]
        sample(words)
        found = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.png"))
        assert found == ["deep/two.png", "one.png"]
        with Image.open(tmp_path / "out" / "one.png") as picture:
            assert picture.size == (8, 8) and '"seed": 0' in picture.info["Sampling"]
        with pytest.raises(UserError, match="holds .* already"):
            sample(words)
        sample([*words, "overwrite=true"])
        with pytest.raises(UserError, match="translate=.*nowhere: no such folder"):
            sample([f"run={restored.folder}", "translate=nowhere", f"out={tmp_path / 'x'}"])
        with pytest.raises(UserError, match="Restorer draws nothing by itself"):
            sample([f"run={restored.folder}", f"out={tmp_path / 'x.png'}"])


@pytest.mark.journey
def test_a_first_stage_is_kept_inside(tmp_path):
    first = run(tmp_path / "first")
    done = run(tmp_path / "second", Second, first_stage=str(first.folder))
    weights = {name: value.clone() for name, value in done.model.first_stage.state_dict().items()}
    for path in (first.folder / "checkpoints").iterdir():
        path.unlink()
    again = Synthesizer.load(done.folder)
    stage = again.model.first_stage.state_dict()
    assert all(torch.equal(value, stage[name]) for name, value in weights.items())
    best = Synthesizer.load(done.folder)
    assert (again.sample(5, seed=2) == best.sample(5, seed=2)).all()
    assert not any(p.requires_grad for p in again.model.first_stage.parameters())


def test_a_class_that_was_not_registered_is_not_built(tmp_path):
    from datakiln.sampling import registry

    done = run(tmp_path / "run", Restorer)
    name = f"{Restorer.__module__}.{Restorer.__qualname__}"
    kept = registry._REGISTERED.pop(name)
    try:
        with pytest.raises(UserError, match="wants to build .*Restorer.*refused"):
            Synthesizer.load(done.folder)
    finally:
        registry._REGISTERED[name] = kept
