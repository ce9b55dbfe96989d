"""What differential privacy allows of a config: options that would look at rows without paying are refused or off."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf, flag_override

from datakiln.cli import signatures
from datakiln.errors import UserError
from datakiln.privacy.budget import Privacy
from datakiln.saying import say
from datakiln.wording import with_article

ROWS = {  # options of a table whose effect on one row depends on others, and what each is without it
    "duplicates": (False, "false"),
    "outliers": (None, "null"),
    "balance": ("none", "none"),
    "validation": ("apart", "apart"),
}


WITH_GRADIENTS = "vae, cvae, tvae, tabddpm, gan or cgan"


def check_privacy(cfg: DictConfig) -> None:
    """Refuses what no guarantee could cover, and switches off what only a yaml file, not the person, has asked for.

    Raises:
        UserError: The option, its value and the way out.
    """
    options = cfg.get("privacy") or {}
    if isinstance(options, DictConfig):  # the run itself resolves what leads to other options
        keys = [key for key in options if not OmegaConf.is_interpolation(options, str(key))]
        Privacy.of({str(key): options[key] for key in keys})
    mechanism = str(options.get("mechanism", "none"))
    if mechanism == "none" or options.get("epsilon") is None:
        return
    if "candidates" in cfg.model:
        told = f"model=auto chooses by rows that privacy={mechanism} does not pay for"
        raise UserError(f"{told}; name the model: model=mixture with privacy=marginals, or one of {WITH_GRADIENTS}")
    if cfg.get("budget") is not None and mechanism == "dp_sgd":
        told = f"budget={cfg.budget} tries training out, which privacy={mechanism} does not pay for"
        raise UserError(f"{told}; say how long with epochs=")
    target = str(cfg.data._target_)
    kind = signatures.attribute(target, "kind")
    if mechanism == "marginals" and kind not in (None, "table"):
        told = f"privacy=marginals counts the rows of a table, but this data is {with_article(str(kind))}"
        raise UserError(f"{told}; take a table, or privacy=dp_sgd")
    if "private" not in cfg.data:
        told = f"privacy={mechanism}: {target.rpartition('.')[2]} reads its data without paying"
        raise UserError(f"{told}; its yaml must take private: ${{privacy}}, as conf/data/table.yaml does")
    if kind == "table":
        _check_rows(cfg, mechanism)
    if signatures.attribute(target, "reads") == "pictures":
        _check_pictures(cfg)
    if mechanism == "dp_sgd":
        _check_gradients(cfg)
    if cfg.get("patience") is not None and mechanism == "dp_sgd":
        raise UserError(
            f"patience={cfg.patience} needs a validation loss, which dp_sgd does not pay for; set patience=null"
        )


def _check_rows(cfg: DictConfig, mechanism: str) -> None:
    told = _told()
    for name, (off, written) in ROWS.items():
        value = cfg.data.get(name, off)
        if value == off:
            continue
        if any(word.startswith(f"data.{name}=") for word in told):
            why = "looks at several rows at once, so that one row may change the others"
            raise UserError(f"data.{name}={value} {why}; with privacy={mechanism} set data.{name}={written}")
        say(f"privacy={mechanism}: data.{name}={value} of the yaml is off, for it looks at several rows at once")
        _set(cfg.data, name, off)
    if cfg.data.get("missing") == "impute":
        why = "fills cells with what other rows hold"
        raise UserError(f"data.missing=impute {why}; with privacy={mechanism} take data.missing=model or drop")
    relations = cfg.data.get("relations", "none")
    if mechanism == "dp_sgd" and relations != "none":
        if any(word.startswith("data.relations=") for word in told):
            raise UserError(
                f"data.relations={relations} are checked against rows; with privacy=dp_sgd set them to none"
            )
        _set(cfg.data, "relations", "none")


def _check_pictures(cfg: DictConfig) -> None:
    """A folder's own side, channels and classes would be found in its pictures."""
    ways = {"side": "data.side=64", "channels": "data.channels=3"}
    for key, way in ways.items():
        if cfg.data.get(key) is None:
            raise UserError(f"privacy=dp_sgd: the {key} of the pictures is not declared; write {way}")
    if cfg.data.get("labels"):
        raise UserError("privacy=dp_sgd: the names of classes are found in the folder, unpaid; write data.labels=false")


def _check_gradients(cfg: DictConfig) -> None:
    """Nothing is measured on rows while training; the last epoch is kept, which `train/epsilon` is highest in."""
    target = str(cfg.model._target_)
    if signatures.is_ours(target) and not signatures.attribute(target, "is_mean"):
        why = signatures.attribute(target, "mixes") or "a loss that is no mean over single examples"
        told = f"privacy=dp_sgd: {target.rpartition('.')[2]} has {why}"
        raise UserError(f"{told}; take model={WITH_GRADIENTS}, or privacy=marginals for tables")
    for key, wanted in (("monitor", "train/epsilon"), ("mode", "max")):
        if cfg.get(key) != wanted:
            if any(word.startswith(f"{key}=") for word in _told()):
                why = "dp_sgd pays for no measurement to choose an epoch by"
                raise UserError(f"{key}={cfg[key]}: {why}, and keeps the last one; leave {key}= out")
            _set(cfg, key, wanted)
    _set(cfg, "watch", {})
    batches, clip = (cfg.trainer.get(key) for key in ("accumulate_grad_batches", "gradient_clip_val"))
    if batches not in (None, 1):
        told = f"trainer.accumulate_grad_batches={batches}: dp_sgd counts each batch as a step of its own"
        raise UserError(f"{told}; leave it at 1 and raise batch_size")
    if cfg.model.get("accumulate", 1) not in (None, 1):
        raise UserError(f"model.accumulate={cfg.model.accumulate}: dp_sgd adds up no batches; set model.accumulate=1")
    if clip:
        told = f"trainer.gradient_clip_val={clip} clips the gradient of a batch, after the noise"
        raise UserError(f"{told}; leave it out and set privacy.clip=")


def _set(node: DictConfig, key: str, value: Any) -> None:  # noqa: ANN401 (any yaml value)
    with flag_override(node, "readonly", False):
        node[key] = value


def _told() -> Sequence[str]:
    from hydra.core.hydra_config import HydraConfig

    words = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    return [str(word).lstrip("+") for word in words]
