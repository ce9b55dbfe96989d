"""Of a `last.ckpt`, what only training reads: another key or type is one line."""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from datakiln.callbacks.ema import Ema
from datakiln.codecs.tables.scaling import MinMax
from datakiln.errors import UserError
from datakiln.jobs.training_state import check_training_state
from datakiln.models.vae.vae import VAE
from tests.toy_tables import toy_data

from .test_resume import fit, load


@pytest.fixture(scope="module")
def content(tmp_path_factory) -> dict[str, Any]:
    return load(fit(tmp_path_factory.mktemp("run"), every=0.0, step=None).last_path)


def places(part: Any, at: tuple = ()) -> list[tuple]:
    """Every key of nested mappings, and the first of every list of them."""
    found = [at] if at else []
    if isinstance(part, dict):
        for key, inner in part.items():
            found += places(inner, (*at, key))
    elif isinstance(part, list) and part and isinstance(part[0], dict):
        found += places(part[0], (*at, 0))
    return found


def put(content: dict, at: tuple, value: Any) -> dict:
    made = {**content, at[0]: copy.deepcopy(content[at[0]])}
    part: Any = made
    for key in at[:-1]:
        part = part[key]
    part[at[-1]] = value
    return made


def test_what_training_left_is_taken(content):
    check_training_state(Path("last.ckpt"), content)


def test_another_type_at_any_place_is_one_line(content):
    known = {k: v for k, v in content.items() if k not in ("datakiln", "pytorch-lightning_version", "callbacks")}
    rng, tried = random.Random(0), 0
    for at in places(known):
        if at[0] == "lr_schedulers" and len(at) > 2 or at[:2] == ("optimizer_states", 0) and "param_groups" in at[3:]:
            continue  # settings of torch's own classes, whatever they are
        if "param_groups" in at and at[-1] not in ("param_groups", "params"):
            continue
        if at[-1] in ("combined_loader", "position", 0):
            continue
        changed = put(content, at, rng.choice([b"bytes", [None]]))
        with pytest.raises(UserError, match=r"checkpoint last\.ckpt.*; begin anew") as error:
            check_training_state(Path("last.ckpt"), changed)
        assert "\n" not in str(error.value) and str(at[0]) in str(error.value)
        tried += 1
    assert tried > 60


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (("epoch",), -1),
        (("global_step",), True),
        (("best", "score"), "low"),
        (("random", "torch"), torch.zeros(3, dtype=torch.uint8)),
        (("random", "python"), [3, [1, 2], None]),
        (("loops", "fit_loop", "epoch_progress", "total", "ready"), -3),
        (("loops", "fit_loop", "epoch_progress", "current"), {}),
        (("optimizer_states", 0, "param_groups"), [{"lr": 0.1}]),
        (("optimizer_states", 0, "state", 0, "exp_avg"), "large"),
        (("lr_schedulers",), [{3: 4}]),
        (("meter",), {"train": {"loss": [(1.0, 2.0)]}}),
    ],
)
def test_values_of_the_wrong_kind_are_named(content, at, value):
    with pytest.raises(UserError, match=at[0]):
        check_training_state(Path("last.ckpt"), put(content, at, value))


@pytest.mark.parametrize("key", ["loops", "optimizer_states", "lr_schedulers", "random", "best", "meter"])
def test_a_key_that_is_lacking_is_named(content, key):
    with pytest.raises(UserError, match=f"lacks {key}"):
        check_training_state(Path("last.ckpt"), {name: part for name, part in content.items() if name != key})


def test_an_average_that_the_checkpoint_lacks():
    with pytest.raises(UserError, match=r"ema=0\.9: the checkpoint holds no average; go on with ema=null"):
        Ema(0.9).on_load_checkpoint(None, None, {})


@pytest.mark.parametrize("name", ["cpu_seconds", "fit_cpu_seconds", "peak_memory_mb"])
@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_times_that_no_clock_shows(content, name, value):
    with pytest.raises(UserError, match=f"its {name} is .*, which no training leaves"):
        check_training_state(Path("last.ckpt"), {**content, name: value})


def test_an_average_of_before_lacks_no_part_that_is_new():
    """A buffer that models had not when the checkpoint was written: its average begins with what it is."""
    model = VAE(toy_data(MinMax).spec)
    average = {name: value.clone() for name, value in model.averaged().state_dict().items()}
    lacking, kept = next(iter(average)), list(average)[1]
    del average[lacking]
    average[kept].fill_(7.0)
    ema = Ema(0.9)
    ema.on_load_checkpoint(None, model, {"averaged": average, "ema_updates": 3})
    ema.on_fit_start(None, model)
    assert torch.equal(ema.average[lacking], model.averaged().state_dict()[lacking])
    assert (ema.average[kept] == 7.0).all()
