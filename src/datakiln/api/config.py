"""Options given in Python as a composed config, with the messages of the command line."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from omegaconf import DictConfig, open_dict

from datakiln.cli import choices
from datakiln.cli.explain import explain
from datakiln.cli.free_names import spell_out
from datakiln.cli.run_folders import forget
from datakiln.errors import UserError
from datakiln.storage import CONF

PLAIN = re.compile(r"[A-Za-z_/.][\w./+-]*", flags=re.ASCII)
WORDS = ("null", "true", "false", "nan", "inf", "yes", "no", "on", "off")  # what would not be read as text
OWN_ARGUMENTS = ("data", "model", "seed", "epochs")  # of `fit`, and no options beside them
ARGUMENTS = (*OWN_ARGUMENTS, "target", "folder", "progress", "options")
SHELL_ONLY = {  # options of the command line that mean nothing to one run inside a program
    "sweep": "run datakiln train in a shell to sweep",
    "debug": "errors always have their traceback here",
    "output_dir": "give folder=",
    "root": "give folder=",
}


def words(options: Mapping[str, Any]) -> list[str]:
    """Options as the words of a command line.

    Arguments:
        options: By full name, such as {"model.width": 64}. Text is read as on the command line, so that "8e-3" is a
            number; True, None, lists and dictionaries become what they are called there. "~NAME": None takes away.
    """
    return [key if key.startswith("~") else f"{key}={_written(value)}" for key, value in options.items()]


def quoted(text: str) -> str:
    """Text that is to stay text whatever it looks like, such as the name of a file."""
    if PLAIN.fullmatch(text) and text.lower() not in WORDS:
        return text
    escaped = re.sub(r'(\\*)"', r'\1\1\\"', text)  # only before a quote does a backslash need another one
    trailing = len(escaped) - len(escaped.rstrip("\\"))
    return '"' + escaped.replace("${", r"\${") + "\\" * trailing + '"'


def _written(value: Any) -> str:  # noqa: ANN401 (any value of an option)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{quoted(str(key))}:{_inside(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_inside, value)) + "]"
    if isinstance(value, str) and not value:
        return "''"
    return str(value)


def _inside(value: Any) -> str:  # noqa: ANN401 (any value of an option)
    return quoted(value) if isinstance(value, str) else _written(value)


def gathered(options: Mapping[str, Any] | None, top_level: Mapping[str, Any]) -> dict[str, Any]:
    """Options of both kinds together.

    Raises:
        UserError: One is given twice, has an argument of its own, or is for the command line alone.
    """
    if options is not None and not isinstance(options, Mapping):
        raise UserError(f'options={options!r} must be a dictionary, such as options={{"model.width": 64}}')
    found = {**top_level, **(options or {})}
    for key in found:
        name = key.lstrip("+~") if isinstance(key, str) else ""
        if not name:
            raise UserError(f"options: {key!r} is no name of an option; names are text, such as 'model.width'")
        if name in top_level and name in (options or {}):
            raise UserError(f"{name} is given twice, as {name}= and in options; leave one out")
        if name in OWN_ARGUMENTS:
            raise UserError(f"options: {name} has an argument of its own; write {name}=...")
        if name in SHELL_ONLY:
            raise UserError(f"{name}= is an option of the command line alone; {SHELL_ONLY[name]}")
        if key in top_level and (meant := _argument_meant(name)):
            raise UserError(f"unknown option {name!r}; did you mean {meant!r}?")
        if name.startswith("hydra"):
            raise UserError(f"{name} is of Hydra's own options, which are for the command line alone")
    return found


def _argument_meant(name: str) -> str:
    """The argument of `fit` that a name resembles more than any option; "" where there is none."""
    known = {*choices.config_keys("train"), *choices.groups()}
    matches = difflib.get_close_matches(name, [*ARGUMENTS, *sorted(known - {*ARGUMENTS})], n=1)
    return matches[0] if matches and matches[0] in ARGUMENTS and name not in known else ""


@contextmanager
def composed(overrides: Sequence[str]) -> Iterator[DictConfig]:
    """The config of a command line; while it is in use, Hydra's `hydra:` values are those of this run.

    Raises:
        UserError: An option is unknown or misspelt.
    """
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.errors import HydraException

    forget()
    outer = GlobalHydra.instance().hydra  # of a program that runs under Hydra itself, which allows but one
    GlobalHydra.instance().hydra = None
    hydra = HydraConfig.instance()
    before = hydra.cfg
    try:
        try:
            with initialize_config_dir(str(CONF), version_base="1.3"):
                cfg = compose("train", overrides=spell_out(overrides), return_hydra_config=True)
        except HydraException as error:
            raise UserError(explain(error, overrides)) from None
        finally:
            GlobalHydra.instance().hydra = outer
        hydra.set_config(cfg.copy())
        with open_dict(cfg):
            del cfg["hydra"]
        yield cfg
    finally:
        hydra.cfg = before
