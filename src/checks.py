"""What can be told of a config before any data is read: values out of range, and options that reach nothing."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from src import choices
from src.errors import UserError, near

WHOLE = {"seed": 0, "epochs": 1, "batch_size": 1, "latent_dim": 1, "n_synthetic": 1, "patience": 1}  # lowest value
MAY_BE_NULL = ("n_synthetic", "patience", "ema")
GIVEN = ("spec",)  # arguments that the program adds to what the yaml says


def check_values(cfg: DictConfig) -> None:
    """Refuses options without a value and values no model could use; imports nothing.

    Raises:
        UserError: The option, its value and what it may be.
    """
    missing = sorted(OmegaConf.missing_keys(cfg))
    if missing:
        raise UserError(f"{missing[0]}= is missing; for example {missing[0]}=VALUE")
    for key, low in WHOLE.items():
        _check(cfg, key, f"a whole number of at least {low}", lambda v, low=low: isinstance(v, int) and v >= low)
    _check(cfg, "ema", "a number between 0 and 1", lambda v: isinstance(v, int | float) and 0 < v < 1)
    _check(cfg, "save_every_seconds", "a number of seconds", lambda v: isinstance(v, int | float) and v >= 0)
    _check(cfg, "mode", "min or max", lambda v: v in ("min", "max"))


def check_arguments(cfg: DictConfig) -> None:
    """Refuses an option that is no argument of the class it is for, and a class that lacks one.

    Raises:
        UserError: The option, the class, and the argument that was meant.
    """
    for path, node in _targets(OmegaConf.to_container(cfg, resolve=False)):
        known, required, is_open = _signature(str(node["_target_"]))
        for key in node:
            if not str(key).startswith("_") and key not in known and not is_open:
                raise UserError(f"{path}.{key} is no argument of {node['_target_']}{near(str(key), known)}")
        lacking = [] if node.get("_partial_") else sorted(required - set(node) - set(GIVEN))
        if lacking and not node.get("_args_"):
            raise UserError(f"{path}.{lacking[0]} is missing: {node['_target_']} cannot do without it")


def check_pairing(model_target: str, data_target: str, names: tuple[str, str]) -> None:
    """Refuses a model on a kind of data that it cannot model.

    Arguments:
        model_target: Class of the model.
        data_target: Class of the data module.
        names: What the person calls them.

    Raises:
        UserError: The pair, and the models that fit the data.
    """
    from hydra.utils import get_class

    supports, kind = _supports(model_target), get_class(data_target).kind  # type: ignore[attr-defined]
    if kind in supports:
        return
    targets = {name: choices.keys("model", name)["model._target_"] for name in choices.names("model")}
    fitting = [name for name, target in targets.items() if kind in _supports(str(target))]
    kinds = " or ".join(sorted(supports))
    model, data = names
    raise UserError(
        f"model={model} is for {kinds} data, but data={data} is a {kind}; models for it: {', '.join(fitting)}"
    )


def _supports(target: str) -> frozenset[str]:
    from hydra.utils import get_class

    return get_class(target).supports  # type: ignore[attr-defined]


def _check(cfg: DictConfig, key: str, what: str, is_good: Any) -> None:  # noqa: ANN401 (a predicate)
    if key not in cfg or (cfg[key] is None and key in MAY_BE_NULL):
        return
    if isinstance(cfg[key], bool) or not is_good(cfg[key]):
        raise UserError(f"{key}={cfg[key]} must be {what}{' or null' if key in MAY_BE_NULL else ''}")


def _targets(node: Any, path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:  # noqa: ANN401 (any yaml value)
    if isinstance(node, list):
        for i, part in enumerate(node):
            yield from _targets(part, f"{path}[{i}]")
    if isinstance(node, dict):
        if "_target_" in node:
            yield path, node
        for key, part in node.items():
            yield from _targets(part, f"{path}.{key}".lstrip("."))


def _signature(target: str) -> tuple[set[str], set[str], bool]:
    """Argument names, those without a default, and whether any other name is taken as well."""
    from hydra.utils import get_object

    made = get_object(target)
    parameters = _parameters(made)
    known = {p.name for p in parameters}
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    required = {p.name for p in parameters if p.default is p.empty and p.kind in named}
    return known, required, any(p.kind == p.VAR_KEYWORD for p in parameters)


def _parameters(made: Any) -> list[inspect.Parameter]:  # noqa: ANN401 (a class or function)
    """A class that hands its further keywords to its base takes the base's arguments too, except that it fills some."""
    own = list(inspect.signature(made).parameters.values())
    base = made.__mro__[1] if inspect.isclass(made) and made.__module__.startswith("src.") else object
    if not any(p.kind == p.VAR_KEYWORD for p in own) or base is object:
        return own
    inherited = [p for p in _parameters(base) if p.default is not p.empty or p.kind == p.VAR_KEYWORD]
    return [p for p in own if p.kind != p.VAR_KEYWORD] + [p for p in inherited if p.name not in {o.name for o in own}]
