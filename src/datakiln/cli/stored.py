"""What a finished run left: its model, its result, its data and its metrics, built from plain values."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from datakiln.errors import UserError
from datakiln.storage import CONF

if TYPE_CHECKING:
    from datakiln.data.base import GenerativeData
    from datakiln.results import RunResult
    from datakiln.sampling.synthesizer import Synthesizer


# what values raise that no class checks, for a person's own come from yaml files that are
FAULTS = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError, MemoryError)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:100]


def opened_run(cfg: DictConfig, run: Path) -> tuple[Synthesizer, RunResult, GenerativeData, list[Any]]:
    """A finished run: its model, its result, its data after `setup`, and its metrics.

    Raises:
        UserError: The folder is no finished run, or its data has changed since.
    """
    from datakiln.results import RunResult
    from datakiln.sampling.registry import register_named
    from datakiln.sampling.synthesizer import Synthesizer

    if cfg.register is not None:
        register_named(cfg.register)
    synthesizer = Synthesizer.load(run)
    result = RunResult.load(run / "result.json")
    data, metrics = stored_parts(run / "config" / "config.yaml")
    try:
        data.prepare_data()
        if data.refits:
            data.train_on_all()  # as the model that was kept
        data.setup("fit")
    except FAULTS as error:
        path = run / "config" / "config.yaml"
        raise UserError(f"{path}: its data cannot be made as it says ({_first_line(error)}); train again") from error
    is_told = not data.privacy.is_on  # else the hash is a keyed one, whose key stays where the run was made
    if is_told and data.provenance.sha256 != result.provenance.sha256:
        raise UserError(
            f"the data of {run} has changed since ({data.provenance.detail} has sha256 {data.provenance.sha256[:12]}, "
            f"the run had {result.provenance.sha256[:12]}); bring the old data back, or train again"
        )
    return synthesizer, result, data, metrics


def stored_parts(path: Path) -> tuple[GenerativeData, list[Any]]:
    """The data module and the metrics of a run, from its config: plain values that are built by our own registry.

    Raises:
        UserError: The file is not what a run leaves there, or names anything else than data sets and metrics.
    """
    from datakiln.cli.run_folders import stored_yaml
    from datakiln.data.base import GenerativeData
    from datakiln.sampling.registry import build
    from datakiln.storage import cache_dir

    stored = stored_yaml(path)
    config, lists = (_mapping(stored, name, path) for name in ("data", "metrics"))
    cache = Path(str(config.get("cache") or "."))
    if "cache" in config and (cache.is_absolute() or ".." in cache.parts):  # only a person says where to write
        config["cache"] = str(cache_dir() / "tables")
    if isinstance(config.get("private"), dict):  # what the run gave away is read again, and nothing is spent
        config["private"] = {**config["private"], "folder": str(path.parent.parent), "ledger": ""}
    try:
        data = build(config, "data")
        if not isinstance(data, GenerativeData):
            raise UserError(f"the stored data is a {type(data).__name__}, which is no data module; refused")
        nodes = {} if lists.get(data.kind) is None else _mapping(lists, data.kind, path)
        return data, [build(node, "metric") for node in nodes.values()]
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except FAULTS as error:  # how classes refuse a value of theirs, or fail with it
        told = f"{path} is damaged, or of another version of the program ({_first_line(error)})"
        raise UserError(f"{told}; train again") from error


def stored_config(path: Path) -> dict[str, Any]:
    """The config of a run as plain values, in which nothing is resolved."""
    from datakiln.cli.run_folders import stored_yaml

    return _mapping({"config": stored_yaml(path)}, "config", path)


def _mapping(stored: Any, name: str, path: Path) -> dict[Any, Any]:  # noqa: ANN401 (any yaml value)
    """A part of a stored config; raises `UserError` where it is none of named values."""
    part = stored.get(name) if isinstance(stored, dict) else None
    if not isinstance(part, dict):
        raise UserError(f"{path} is damaged: its {name} is {str(part)[:40]!r}, no mapping; train again")
    return dict(part)


def default_metrics(kind: str) -> list[Any]:
    """The metrics of `conf/metrics` for a kind of data."""
    from hydra.utils import instantiate

    return [instantiate(node) for node in OmegaConf.load(CONF / "metrics" / f"{kind}.yaml").values()]
