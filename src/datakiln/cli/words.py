"""What the words of a command line tell before Hydra reads any config, so that a slip is answered at once.

What presets, folders of a person's own and sweeps bring is left to the composed config: see `datakiln.cli.checks`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import yaml

from datakiln.cli import choices, kinds
from datakiln.cli.explain import unknown_option
from datakiln.cli.options import declared
from datakiln.errors import UserError

PRESETS = ("experiment", "sweep", "debugging")  # groups that may bring options of any kind
SCALAR = re.compile(r"[\w.+/:-]+", flags=re.ASCII)  # no list, no sweep, no interpolation
FLOAT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)[eE][+-]?\d+")  # which yaml 1.1 takes for text, and Hydra for a number


def check_words(argv: Sequence[str], config_name: str) -> None:
    """Refuses options that nothing has, and plain values of a type that they are not declared to have.

    Raises:
        UserError: The first of them, its value and what it must be.
    """
    folders = choices.folders(argv)
    chosen = choices.chosen(argv, config_name, folders)
    known = choices.config_keys(config_name) | dict.fromkeys([*choices.groups(folders), *choices.ALIASES])
    for group, current in chosen.items():
        for name in current:
            if name in choices.names(group, folders):
                known |= choices.keys(group, name, folders)
            elif group in ("model", "data"):
                return  # Hydra lists those that there are
    can_tell = folders == choices.OURS and not any(chosen.get(preset) for preset in PRESETS)
    typed = {word.partition("=")[0].lstrip("+") for word in argv}
    for key, value in known.items() if can_tell else ():
        if value == "???" and key not in typed:
            raise UserError(f"{key}= is missing; for example {key}=VALUE")
    for word in argv:
        key, sign, value = word.partition("=")
        if not sign or not re.fullmatch(r"[a-z]\w*(\.\w+)*", key) or key.startswith("hydra"):
            continue
        if can_tell and key not in known and ("." not in key or key.startswith(("model.", "data."))):
            if not _is_below(key, known):
                raise UserError(unknown_option(key, argv, config_name))
        parent, _, last = key.rpartition(".")
        target = str(known.get(f"{parent}._target_", "")) if parent else declared(config_name)
        for one in [] if value.startswith(("[", "{")) else value.split(","):  # several are a sweep
            if SCALAR.fullmatch(one):
                kinds.checked(_read(one), target, last, key)


def _is_below(key: str, known: dict[str, Any]) -> bool:
    """Whether an option is inside of one whose names are free, such as data.types, or that another group fills."""
    parents = [key[:at] for at in range(len(key)) if key[at] == "." and "." in key[:at]]
    return any(parent in known and not (isinstance(known[parent], dict) and known[parent]) for parent in parents)


def _read(value: str) -> Any:  # noqa: ANN401 (any yaml value)
    return float(value) if FLOAT.fullmatch(value) else yaml.load(value, choices.LOADER)
