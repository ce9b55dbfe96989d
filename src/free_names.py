"""Options whose last part is a name from the data, such as `data.types.Verbal IQ=numeric`, in Hydra's grammar.

Hydra knows only names that the config declares, and no character outside ASCII in them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, unquote

from omegaconf import OmegaConf

PARENTS = ("data.types",)  # their names are columns
SPECIAL = re.compile(r"([\\()\[\]{}:=,])")


def spell_out(argv: Sequence[str]) -> list[str]:
    """The command line with `data.types.NAME=TYPE` as one override of `data.types`."""
    rest = list(argv)
    for parent in PARENTS:
        found: dict[str, str] = {}
        for word in list(rest):
            key, sign, value = word.rpartition("=")
            name = key.lstrip("+").removeprefix(f"{parent}.")
            if sign and name and key.lstrip("+").startswith(f"{parent}."):
                found[name] = value
                rest.remove(word)
        rest += [f"++{parent}={_dictionary(found)}"] if found else []
    return rest


def _dictionary(names: dict[str, str]) -> str:
    if all(name.isascii() for name in names):
        return "{" + ",".join(f"{SPECIAL.sub(_escape, name)}:{value}" for name, value in names.items()) + "}"
    return f"${{from_json:{quote(json.dumps(names), safe='')}}}"


def _escape(match: re.Match[str]) -> str:
    return "\\" + match.group(1)


def from_json(text: str) -> Any:  # noqa: ANN401 (any JSON value)
    """The value of percent-encoded JSON."""
    return json.loads(unquote(text))


OmegaConf.register_new_resolver("from_json", from_json, replace=True)
