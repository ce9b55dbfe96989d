"""Names from the data and from the file system, as people type them, in Hydra's grammar.

Hydra knows only options that the config declares, and takes few special characters without quotes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, unquote

from omegaconf import OmegaConf

from datakiln.cli.choices import ALIASES, keys, names
from datakiln.errors import UserError, near

PARENTS = ("data.types", "privacy.public.columns", "privacy.public.bounds")  # their names are columns
SERIES_FILE, SERIES_ROOM = "data=series_csv", "datakiln.data.series."
TRUTHS = ("true", "false", "True", "False")
SHARED_WEIGHTS = ("fsdp", "deepspeed")
PLAIN = re.compile(r"[\w./:+ -]*", flags=re.ASCII)  # values that need no look
HYDRA = re.compile(r"[\[{(\"']|(choice|range|interval|glob|sort|shuffle|tag|int|float|str|bool|json_str|extend_list)\(")
REGEX = "=regex("
SPECIAL = re.compile(r"([\\()\[\]{}:=,])")


def spell_out(argv: Sequence[str]) -> list[str]:
    """The command line with `data.types.NAME=TYPE` as one override of `data.types`, and odd values in quotes.

    Groups get our names for them: `hparams_search=optuna` is `sweep=optuna`, and `debug=limit` is `debugging=limit`:
    Hydra takes no truth value for a group, which `debug=true` would give it.

    Raises:
        UserError: A word that means nothing, or what does not work yet.
    """
    rest, spelt = _of_series([_renamed(word) for word in argv]), []
    for parent in PARENTS:
        found: dict[str, str] = {}
        for word in list(rest):
            key, sign, value = _split(word)
            name = key.lstrip("+").removeprefix(f"{parent}.")
            if sign and name and key.lstrip("+").startswith(f"{parent}."):
                found[name] = value
                rest.remove(word)
        spelt += [f"++{parent}={_dictionary(found)}"] if found else []
    return [_quoted(word) for word in rest] + spelt


def _of_series(argv: list[str]) -> list[str]:
    """With `data.time=` a file is a series and no table; series are learnt by tsar or wavenet unless told."""
    named = {key.lstrip("+"): value for key, _, value in (word.partition("=") for word in argv)}
    is_series = {named.get("data.time"), named.get("data.entity")} - {None, "null", ""}
    words = [SERIES_FILE if word == "data=csv" and is_series else word for word in argv]
    data = next((word.partition("=")[2] for word in words if word.startswith("data=")), "")
    is_plain = data in names("data") and not any(key in named for key in ("model", "experiment", "sweep"))
    target = str(keys("data", data).get("data._target_", "")) if is_plain else ""
    if target.startswith(SERIES_ROOM):
        words.append("model=wavenet" if target.startswith(f"{SERIES_ROOM}media.") else "model=tsar")
    return words


def _split(word: str) -> tuple[str, str, str]:
    """Key, sign and value of an override; a regular expression may hold any sign."""
    key, sign, rest = word.partition(REGEX)
    return (key, "=", f"{REGEX[1:]}{rest}") if sign else word.rpartition("=")


def _renamed(word: str) -> str:
    key, sign, value = word.partition("=")
    if key.lstrip("+") == "debug" and value not in TRUTHS:
        return f"debugging={_one_of('debug', value, [*names('debugging'), 'true', 'false'])}"
    if key == "trainer" and value.startswith(SHARED_WEIGHTS):
        told = f"trainer={value}: processes share batches here, not weights"
        raise UserError(f"{told}; trainer=ddp trains in several processes, trainer=gpu on one GPU")
    own = ALIASES.get(key.lstrip("+"))
    return f"{own}={value}" if sign and own else word


def _one_of(key: str, value: str, known: Sequence[str]) -> str:
    if value not in known:
        raise UserError(f"{key}={value} must be one of {', '.join(known)}{near(value, known)}")
    return value


def _quoted(word: str) -> str:
    """Leaves what Hydra can read or was meant for it; `data.path=my file (1).csv` gets quotes."""
    key, sign, value = word.partition("=")
    if not sign or key.startswith("-") or PLAIN.fullmatch(value) or HYDRA.match(value):
        return word
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        OverridesParser.create().parse_override(f"key={value}")
    except HydraException:
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'{key}="{escaped}"'
    return word


def _dictionary(names: dict[str, str]) -> str:
    if all(name.isascii() for name in names):
        return "{" + ",".join(f"{SPECIAL.sub(_escape, name)}:{_value(value)}" for name, value in names.items()) + "}"
    return f"${{from_json:{quote(json.dumps(names), safe='')}}}"


def _value(value: str) -> str:
    """As given, but for a regular expression in quotes, since it is full of Hydra's own signs."""
    if not value.startswith(REGEX[1:]):
        return value
    return "'" + value.replace("'", "\\'") + "'"


def _escape(match: re.Match[str]) -> str:
    return "\\" + match.group(1)


def from_json(text: str) -> Any:  # noqa: ANN401 (any JSON value)
    """The value of percent-encoded JSON."""
    return json.loads(unquote(text))


OmegaConf.register_new_resolver("from_json", from_json, replace=True)
