"""What can be chosen on the command line, read from the yaml files alone, which takes milliseconds."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from datakiln.cli.signatures import arguments
from datakiln.storage import CONF

ALIASES = {"hparams_search": "sweep"}  # groups under the names that people know them by from elsewhere
GLOBAL = "# @package _global_"
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C where the yaml library brings it


def names(group: str) -> list[str]:
    """The choices of a group, such as the models for "model"."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def groups() -> list[str]:
    """Every group that has a choice."""
    return sorted(path.name for path in CONF.iterdir() if path.is_dir() and names(path.name))


def is_complete(group: str, name: str) -> bool:
    """Whether a choice can be taken, and is no mere base of others: its class gets all it cannot do without."""
    declared = keys(group, name)
    known = arguments(str(declared.get(f"{group}._target_", "")))
    return all(default or arg == "spec" or f"{group}.{arg}" in declared for arg, (default, _) in known.items())


def title(group: str, name: str) -> str:
    """What a choice says of itself: its file's first comment."""
    for line in (CONF / group / f"{name}.yaml").read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# @"):
            return line.lstrip("# ").strip()
    return ""


def defaults(config_name: str) -> dict[str, list[str]]:
    """The choices a config makes by itself, by group."""
    found: dict[str, list[str]] = {}
    for entry in _load(CONF / f"{config_name}.yaml").get("defaults", []):
        if isinstance(entry, dict):
            group, choice = next(iter(entry.items()))
            found[str(group).partition("@")[0]] = _several(choice)
    return found


def chosen(argv: Sequence[str], config_name: str) -> dict[str, list[str]]:
    """The choices of a command line, by group: its defaults, those of its presets, its own."""
    found = defaults(config_name)
    named = {key.lstrip("+"): value.strip("[]") for key, sign, value in (arg.partition("=") for arg in argv) if sign}
    for preset in ("experiment", "sweep"):
        if named.get(preset) in names(preset):
            found |= _overridden(preset, named[preset])
    return found | {group: value.split(",") for group, value in named.items() if group in groups()}


def keys(group: str, name: str) -> dict[str, Any]:
    """Every option of a choice by full name, such as "latent_dim" or "data.path", with its value in yaml."""
    path = CONF / group / f"{name}.yaml"
    content = _load(path)
    found: dict[str, Any] = {}
    for entry in content.pop("defaults", []):
        if isinstance(entry, str) and entry != "_self_" and "/" not in entry and entry in names(group):
            found |= keys(group, entry)
    prefix = "" if GLOBAL in path.read_text(encoding="utf-8") else f"{group}."
    return found | dict(_flatten(content, prefix))


def comments(group: str, name: str) -> dict[str, str]:
    """What a choice's yaml, and those it builds on, say behind their options."""
    path = CONF / group / f"{name}.yaml"
    found: dict[str, str] = {}
    for entry in _load(path).get("defaults", []):
        if isinstance(entry, str) and entry in names(group):
            found |= comments(group, entry)
    text = path.read_text(encoding="utf-8")
    above = [] if GLOBAL in text else [group]
    for indent, key, comment in re.findall(r"^((?:  )*)(\w+):[^#\n]*(?:# *(.+))?$", text, flags=re.MULTILINE):
        above = [*above[: len(indent) // 2 + (GLOBAL not in text)], key]
        found |= {".".join(above): comment.strip()} if comment else {}
    return found


def config_keys(config_name: str) -> dict[str, Any]:
    """Every option that a config has whatever is chosen, by full name, and its groups."""
    content = _load(CONF / f"{config_name}.yaml")
    content.pop("defaults", None)
    return {**dict.fromkeys(defaults(config_name)), **dict(_flatten(content))}


def _overridden(group: str, name: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for entry in _load(CONF / group / f"{name}.yaml").get("defaults", []):
        if isinstance(entry, dict):
            key, choice = next(iter(entry.items()))
            found[str(key).removeprefix("override ").strip("/ ")] = _several(choice)
    return found


def _several(choice: Any) -> list[str]:  # noqa: ANN401 (yaml: a name, a list of names, null)
    return [str(part) for part in (choice if isinstance(choice, list) else [choice]) if part is not None]


def _load(path: Path) -> dict[str, Any]:
    return yaml.load(path.read_text(encoding="utf-8"), LOADER) or {}


def _flatten(node: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        yield f"{prefix}{key}", value
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
