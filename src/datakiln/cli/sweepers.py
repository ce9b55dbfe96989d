"""Sweepers of our own: Hydra looks for sweepers in one package only, `hydra_plugins`, and imports none by name."""

from __future__ import annotations

from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from omegaconf import DictConfig


def target_of(sweeper: type[Sweeper]) -> str:
    """What files in `conf/hydra/sweeper` call it."""
    return f"hydra_plugins.datakiln.{sweeper.__name__}"


def register(sweeper: type[Sweeper]) -> None:
    """Makes it known to Hydra."""
    plugins = Plugins.instance()
    plugins.register(sweeper)
    plugins.class_name_to_class[target_of(sweeper)] = sweeper


def is_chosen(sweeper: type[Sweeper], node: DictConfig) -> bool:
    """Whether this `hydra.sweeper` is that one."""
    return bool(node.get("_target_") == target_of(sweeper))
