"""Every model in conf/model, by existing: builds, learns, samples, and comes back from its checkpoint unchanged."""

from __future__ import annotations

import functools
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from hydra.utils import get_class, instantiate
from omegaconf import OmegaConf

from datakiln.api.config import composed
from datakiln.callbacks.bundle import Bundle
from datakiln.callbacks.making import examples_of
from datakiln.cli import choices
from datakiln.errors import UserError
from datakiln.sampling.checkpoints import FORMAT, model_arguments
from datakiln.sampling.synthesizer import Synthesizer
from datakiln.storage import CONF

TOYS = {"table": "toy", "image": "digits", "series": "toy_series"}  # a small data set of each kind
BATCH = {"table": 50, "image": 12, "series": 50}
FEW_STEPS = "model.sampling_steps"  # where a model draws by steps, four show what fifty would
MODELS = sorted(path.stem for path in (CONF / "model").glob("**/*.yaml") if path.stem != "auto")
EPOCHS, STEPS = 3, 2


def target(model: str) -> str:
    """The class that a model's yaml names, read without composing: every worker asks for all of them."""
    return str(choices.keys("model", model)["model._target_"])


def beside(model: str) -> list[str]:
    """The second set of pictures that a model which translates cannot do without."""
    return ["data.other=digits"] if get_class(target(model)).beside == "domain" else []


def kinds(model: str) -> list[str]:
    return sorted(get_class(target(model)).supports)


PAIRS = [(model, kind) for model in MODELS for kind in kinds(model) if kind in TOYS]
# one group a pair: parallel workers then train each model once
CASES = [pytest.param(*pair, marks=pytest.mark.xdist_group("-".join(pair)), id="-".join(pair)) for pair in PAIRS]


def test_every_model_has_a_case():
    assert {model for model, _ in PAIRS} == set(MODELS)


@functools.cache
def trained(model_name: str, kind: str):
    """Model and data after three epochs of two steps, with a checkpoint of them in a folder that outlives the test."""
    words = [f"model={model_name}", f"data={TOYS[kind]}", "output_dir=unused", f"epochs={EPOCHS}"]
    words += [f"batch_size={BATCH[kind]}", *beside(model_name)]
    words += [f"{FEW_STEPS}=4"] if FEW_STEPS in choices.keys("model", model_name) else []
    with composed(words) as cfg:
        return trained_by(cfg)


def trained_by(cfg):
    import tempfile

    L.seed_everything(0, verbose=False)
    data = instantiate(cfg.data, _convert_="all")
    data.prepare_data()
    data.setup("fit")
    if data.spec.kind == "image":  # one small batch, where a run would take as many as its memory holds
        data.val_dataloader = functools.partial(data.loader, "val", data.batch_size, shuffle=False)
    model = instantiate(cfg.model, _partial_=True, _convert_="all")(spec=data.spec)
    seen: dict[str, bool] = {}
    folder = Path(tempfile.mkdtemp())
    identity = {
        "format": FORMAT,
        "model": model_arguments(OmegaConf.to_container(cfg.model, resolve=True)),
        "spec": data.spec.state(),
        "codec": {"kind": data.codec.kind, "state": data.codec.state()},
        "origin": {},
    }
    # the FID of `watch` is not part of this test: any figure of every epoch will do in its place
    monitor = "val/generator_loss" if cfg.monitor == "val/fid" else cfg.monitor
    bundle = Bundle(folder / "checkpoints", identity, monitor, cfg.mode)
    trainer = L.Trainer(
        max_epochs=cfg.trainer.max_epochs, limit_train_batches=STEPS, limit_val_batches=1, accelerator="cpu",
        logger=False, callbacks=[Gradients(seen, cfg.monitor), bundle], enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0, use_distributed_sampler=False,
    )  # fmt: skip
    trainer.fit(model, datamodule=data)
    return model, data, folder, seen


class Gradients(L.Callback):
    """Notes which parameters have ever had a gradient that is not zero, and that none was NaN."""

    def __init__(self, seen: dict[str, bool], monitor: str) -> None:
        self.seen = seen
        self.figures = (monitor,)  # stands in for the callbacks that measure now and then, which six steps do not need

    def on_before_optimizer_step(self, trainer, pl_module, optimizer) -> None:
        for name, parameter in pl_module.named_parameters():
            gradient = parameter.grad
            assert gradient is None or torch.isfinite(gradient).all(), name
            moved = gradient is not None and bool(gradient.abs().sum() > 0)
            self.seen[name] = self.seen.get(name, False) or moved


@pytest.mark.parametrize(("model_name", "kind"), CASES)
def test_learns_from_finite_losses(model_name, kind):
    model, _, _, seen = trained(model_name, kind)
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    idle = {name for name in trainable if not seen.get(name)}
    assert not idle, f"parameters that never had a gradient: {sorted(idle)}"
    losses = {name: value for name, value in model.fresh.items() if name.startswith(("train/", "val/"))}
    assert any(name.startswith("train/") for name in losses)
    assert all(torch.isfinite(torch.tensor(value)) for value in losses.values())


@pytest.mark.parametrize(("model_name", "kind"), CASES)
def test_epochs_that_are_given_are_as_many(model_name, kind):
    """No model makes training longer or shorter than a person says."""
    trainer = trained(model_name, kind)[0].trainer
    assert trainer.current_epoch == trainer.max_epochs == EPOCHS


@pytest.mark.parametrize(("model_name", "kind"), CASES)
def test_samples_have_the_shape_and_the_seed_decides_them(model_name, kind):
    model, data, _, _ = trained(model_name, kind)
    draws = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        draws.append(examples_of(model, data, 20))
    assert draws[0].shape == (20, *data.spec.shape)
    assert torch.isfinite(draws[0]).all()
    assert torch.equal(draws[0], draws[1])
    assert not (model.can_draw and torch.equal(draws[0], draws[2]))
    if kind == "image":
        low, high = data.spec.bounds
        assert draws[0].min() >= low and draws[0].max() <= high


@pytest.mark.parametrize(("model_name", "kind"), [case for case in CASES if case.values[1] == "table"])
def test_rows_are_well_formed(model_name, kind):
    model, data, _, _ = trained(model_name, kind)
    torch.manual_seed(0)
    x = examples_of(model, data, 200)
    x = x.flatten(0, 1)[:200] if kind == "series" else x  # steps, of which each is a row
    for block in data.spec.blocks:
        part = x[:, block.start : block.stop]
        if block.kind == "choice":
            assert torch.equal(part.sum(dim=1), torch.ones(200)), "a choice must be one-hot"
            assert ((part == 0) | (part == 1)).all()
        elif block.kind == "code":
            assert torch.equal(part, part.round()) and part.min() >= 0 and part.max() < block.size
        elif block.gate is not None:
            assert (part[x[:, block.gate] == 0] == 0).all(), "a closed gate leaves 0"


@pytest.mark.parametrize(("model_name", "kind"), CASES)
def test_condition_is_delivered(model_name, kind):
    model, data, folder, _ = trained(model_name, kind)
    synthesizer = Synthesizer.load(folder)
    if not model.can_draw:
        return
    if kind == "table":
        label, value = data.schema.label, data.spec.classes[1]
        frame = synthesizer.sample(30, {label: value}, seed=3)
        assert (frame[label].astype(str) == value).all()
    elif model.conditioning == "label":
        assert len(synthesizer.sample(8, {"class": data.spec.classes[1]}, seed=3)) == 8


@pytest.mark.parametrize(("model_name", "kind"), CASES)
def test_comes_back_from_its_checkpoint(model_name, kind):
    model, data, folder, _ = trained(model_name, kind)
    one, two = (Synthesizer.load(folder / "checkpoints" / "last.ckpt", raw=True) for _ in range(2))
    weights = model.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in one.model.state_dict().items())
    if not model.can_draw:
        given = one.codec.decode(data.inputs("test", 50, model.takes), np.random.default_rng(0))
        assert (np.asarray(one.transform(given, seed=5)) == np.asarray(two.transform(given, seed=5))).all()
        return
    n = 50 if kind == "table" else 20
    first, second = one.sample(n, seed=5), two.sample(n, seed=5)
    if kind != "image":
        assert first.equals(second)
        assert list(first.columns) == list(data.frames["train"].columns)
        assert (first.dtypes == data.frames["train"].dtypes).all()
        assert not first.equals(one.sample(n, seed=6))
    else:
        assert (first == second).all() and not (first == one.sample(n, seed=6)).all()


@pytest.mark.parametrize(("model_name", "kind"), CASES)
def test_says_what_it_can_do(model_name, kind):
    """Abilities are what the class has: one that is claimed works, one that is not ends in one line."""
    model, data, _, _ = trained(model_name, kind)
    assert model.can_draw or model.can_transform
    x = examples_of(model, data, 8)
    if model.likelihood == "none":
        with pytest.raises(UserError, match="has no likelihood"):
            model.log_prob(x)
    else:
        assert model.log_prob(x).shape == (8,)
    if model.can_walk:
        assert model.walk(torch.zeros(3, model.latent_dim), None).shape == (3, *data.spec.shape)
    else:
        with pytest.raises(UserError, match="needs a model with a latent space"):
            model.walk(torch.zeros(3, 2), None)
    batch = next(iter(data.train_dataloader()))
    if model.can_encode:
        assert model.can_walk
        latents = model.latents_of(batch)
        assert latents.shape == (len(batch.x), model.latent_dim) and latents.isfinite().all()
    else:
        with pytest.raises(UserError, match="no way from an example back"):
            model.latents_of(batch)
    if model.hidden_layer:
        assert not model.can_walk and model.hidden_of(batch).dim() == 2
        other = batch._replace(y=None if batch.y is None else batch.y.flip(0))
        assert torch.equal(model.hidden_of(batch), model.hidden_of(other)), "the class is withheld"
    else:
        with pytest.raises(UserError, match="names no hidden layer"):
            model.hidden_of(batch)
    if not model.can_transform:
        with pytest.raises(UserError, match="takes no input"):
            model.transformed(x)
