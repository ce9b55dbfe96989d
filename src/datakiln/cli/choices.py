"""What can be chosen on the command line, read from the yaml files alone, which takes milliseconds.

Every function takes the folders to look in, first one first, as Hydra does: ours, then a person's own (`folders`).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from datakiln.cli.signatures import arguments
from datakiln.errors import UserError
from datakiln.storage import CONF

Folders = tuple[Path, ...]
OURS: Folders = (CONF,)
OWN_FOLDER = ("--config-dir", "-cd")  # Hydra's flag
ALIASES = {"hparams_search": "sweep"}  # groups under the names that people know them by from elsewhere
GLOBAL = "# @package _global_"
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C where the yaml library brings it


def folders(argv: Sequence[str]) -> Folders:
    """Where the choices of a command line are: in `conf`, and in the person's own `--config-dir DIR`.

    Raises:
        UserError: There is no such folder, or a file in it that Hydra would pass over for ours of the same name.
    """
    own = own_folder(argv)
    if own is None:
        return OURS
    if not own.is_dir():
        raise UserError(f"--config-dir={own}: no such folder (looked from {Path.cwd()})")
    if own.resolve() == CONF:
        return OURS
    for path in sorted(own.glob("*/*.yaml")):
        group, name = path.parent.name, path.stem
        if name in names(group):
            raise UserError(f"{path} would never be read: {group}={name} is datakiln's own; give it another name")
    return (CONF, own.resolve())


def own_folder(argv: Sequence[str]) -> Path | None:
    """What `--config-dir DIR`, in any of its spellings, says; None without.

    Raises:
        UserError: The flag comes without a folder.
    """
    found = None
    for i, word in enumerate(argv):
        flag, sign, value = word.partition("=")
        if flag in OWN_FOLDER:
            found = value if sign else next(iter(argv[i + 1 :]), "")
            if not found:
                raise UserError(f"{flag} needs a folder: {flag} DIR")
    return None if found is None else Path(found)


def names(group: str, folders: Folders = OURS) -> list[str]:
    """The choices of a group, such as the models for "model"."""
    return sorted({path.stem for folder in folders for path in (folder / group).glob("*.yaml")})


def groups(folders: Folders = OURS) -> list[str]:
    """Every group that has a choice."""
    found = {path.name for folder in folders for path in folder.iterdir() if path.is_dir()}
    return sorted(group for group in found if names(group, folders))


def file(group: str, name: str, folders: Folders = OURS) -> Path:
    """The yaml of a choice."""
    paths = [folder / group / f"{name}.yaml" for folder in folders]
    return next((path for path in paths if path.is_file()), paths[0])


def is_complete(group: str, name: str, folders: Folders = OURS) -> bool:
    """Whether a choice can be taken, and is no mere base of others: its class gets all it cannot do without."""
    declared = keys(group, name, folders)
    known = arguments(str(declared.get(f"{group}._target_", "")))
    return all(default or arg == "spec" or f"{group}.{arg}" in declared for arg, (default, _) in known.items())


def title(group: str, name: str, folders: Folders = OURS) -> str:
    """What a choice says of itself: its file's first comment."""
    for line in file(group, name, folders).read_text(encoding="utf-8").splitlines():
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
            name, _, place = str(group).partition("@")
            found[name] = [*(found.get(name, []) if place else []), *_several(choice)]
    return found


@functools.cache
def place(group: str, name: str) -> str:
    """Where the config has the options of a choice: "metrics.table" for that of metrics, else the group's own name."""
    for entry in _load(CONF / "train.yaml").get("defaults", []):
        key, choice = next(iter(entry.items())) if isinstance(entry, dict) else (entry, None)
        if str(key).startswith(f"{group}@") and choice == name:
            return str(key).partition("@")[2]
    return group


def chosen(argv: Sequence[str], config_name: str, folders: Folders = OURS) -> dict[str, list[str]]:
    """The choices of a command line, by group: its defaults, those of its presets, its own."""
    found = defaults(config_name)
    named = {key.lstrip("+"): value.strip("[]") for key, sign, value in (arg.partition("=") for arg in argv) if sign}
    for preset in ("experiment", "sweep"):
        if named.get(preset) in names(preset, folders):
            found |= _overridden(file(preset, named[preset], folders))
    known = groups(folders)
    return found | {group: value.split(",") for group, value in named.items() if group in known}


def keys(group: str, name: str, folders: Folders = OURS) -> dict[str, Any]:
    """Every option of a choice by full name, such as "latent_dim" or "data.path", with its value in yaml."""
    path = file(group, name, folders)
    content = _load(path)
    found: dict[str, Any] = {}
    for entry in content.pop("defaults", []):
        if isinstance(entry, str) and entry not in ("_self_", name) and entry in names(group, folders):
            found |= keys(group, entry, folders)
    prefix = "" if GLOBAL in path.read_text(encoding="utf-8") else f"{place(group, name)}."
    return found | dict(_flatten(content, prefix))


def comments(group: str, name: str, folders: Folders = OURS) -> dict[str, str]:
    """What a choice's yaml, and those it builds on, say behind their options."""
    path = file(group, name, folders)
    found: dict[str, str] = {}
    for entry in _load(path).get("defaults", []):
        if isinstance(entry, str) and entry != name and entry in names(group, folders):
            found |= comments(group, entry, folders)
    text = path.read_text(encoding="utf-8")
    return found | _said(text, [] if GLOBAL in text else place(group, name).split("."))


def config_comments(config_name: str) -> dict[str, str]:
    """What a config says behind the options that it has whatever is chosen."""
    return _said((CONF / f"{config_name}.yaml").read_text(encoding="utf-8"), [])


def _said(text: str, above: list[str]) -> dict[str, str]:
    """Comments behind options, by full name; `above` is the group they belong to."""
    found: dict[str, str] = {}
    depth = len(above)
    for indent, key, comment in re.findall(r"^((?:  )*)(\w+):[^#\n]*(?:# *(.+))?$", text, flags=re.MULTILINE):
        above = [*above[: len(indent) // 2 + depth], key]
        found |= {".".join(above): comment.strip()} if comment else {}
    return found


def config_keys(config_name: str) -> dict[str, Any]:
    """Every option that a config has whatever is chosen, by full name, and its groups."""
    content = _load(CONF / f"{config_name}.yaml")
    content.pop("defaults", None)
    return {**dict.fromkeys(defaults(config_name)), **dict(_flatten(content))}


def _overridden(preset: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for entry in _load(preset).get("defaults", []):
        if isinstance(entry, dict):
            key, choice = next(iter(entry.items()))
            found[str(key).removeprefix("override ").strip("/ ")] = _several(choice)
    return found


def _several(choice: Any) -> list[str]:  # noqa: ANN401 (yaml: a name, a list of names, null)
    return [str(part) for part in (choice if isinstance(choice, list) else [choice]) if part is not None]


def _load(path: Path) -> dict[str, Any]:
    """A yaml file; a person's own may be anything."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), LOADER) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark else ""
        raise UserError(f"{path}{place}: no yaml ({getattr(error, 'problem', None) or error})") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} must hold options, each as name: value")
    return content


def _flatten(node: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        yield f"{prefix}{key}", value
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
