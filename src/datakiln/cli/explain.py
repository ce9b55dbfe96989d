"""Any error as one line for a person: what is wrong and, where it can be told, the way out."""

from __future__ import annotations

import re
from collections.abc import Sequence

from omegaconf.errors import OmegaConfBaseException

from datakiln.cli import choices, signatures
from datakiln.errors import UserError, near
from datakiln.storage import no_room


def is_mistake(error: BaseException) -> bool:
    """Whether the person can mend it: exit code 2, and no hint at a traceback."""
    return isinstance(error, UserError | OmegaConfBaseException) or type(error).__module__.startswith(
        ("hydra.", "yaml.")
    )


def explain(error: BaseException, argv: Sequence[str] = (), config_name: str = "train") -> str:
    """One line.

    Arguments:
        error: What was raised, by us, by Hydra or by a library.
        argv: The command line, to tell what an option could have meant.
        config_name: The config it was meant for.
    """
    name, text = type(error).__name__, " ".join(str(error).split())
    if isinstance(error, UserError) or hasattr(error, "exit_code"):
        return text
    if isinstance(error, OSError) and (told := no_room(error)) is not None:
        return f"{told}; make room there, and the same command begins anew"
    if isinstance(error.__cause__, UserError):
        return _with_key(error, text)
    if match := re.match(r"\w+ raised while resolving interpolation: (.*?)(?: full_key: .*)?$", text):
        return match[1]
    if name == "InstantiationException" and error.__cause__ is not None:
        return _with_key(error, text)
    if match := re.search(r"Sweeping over Hydra's configuration is not supported : '(.*)'$", text):
        return f"{match[1]}: Hydra's own options are not swept; sweep over those of the run, such as data=iris,toy -m"
    if name == "ConfigCompositionException" and "'" in text:
        return _composition(text, argv, config_name)
    if name == "MissingConfigException" and "'" in text:
        return _missing_choice(text, argv)
    if name == "OverrideParseException":
        return _unreadable(text, argv, config_name)
    if name == "MissingMandatoryValue":
        key = text.rpartition("full_key: ")[2].split()[0]
        return f"{key}= is missing; for example {key}=VALUE"
    if isinstance(error, ValueError | OSError) or is_mistake(error):
        return text or name
    return f"{name}: {text} (debug=true shows where)"


def unknown_option(key: str, argv: Sequence[str] = (), config_name: str = "train") -> str:
    """What is wrong with an option that the composed config does not have."""
    if key.startswith(("hydra.sweeper.", "hydra/sweeper/")):
        optuna = [name.replace("/", ".") for name in choices.keys("hydra/sweeper", "optuna")]
        hint = "; it is one of sweep=optuna" if key in optuna else near(key.replace("/", "."), optuna)
        if hint:
            return f"unknown option {key!r}{hint}"
    if key.startswith("hydra."):
        return f"unknown option {key!r}; --hydra-help lists Hydra's own"
    folders = choices.folders(argv)
    chosen = choices.chosen(argv, config_name, folders)
    known = choices.config_keys(config_name) | choices.ALIASES
    for group, current in chosen.items():
        for name in set(current) & set(choices.names(group, folders)):
            known |= choices.keys(group, name, folders)
    if key in known and f"~{key}" in argv:
        return f"~{key}: it is null already; leave this option out"
    if key in choices.groups(folders):
        taken = " ".join(f"{group}={','.join(chosen[group])}" for group in ("model", "data") if group in chosen)
        return f"{key}= is no choice of {taken}"
    parent, _, last = key.rpartition(".")
    target = str(known.get(f"{parent}._target_", ""))
    if last in signatures.arguments(target):
        fitting = _with_option(key, chosen, folders)
        return f"{key} is left at its default by the yaml; to set it write +{key}=VALUE{fitting and f', or {fitting}'}"
    if f"model.{key}" in known:
        return f"unknown option {key!r}; did you mean 'model.{key}'?"
    if fitting := _with_option(f"model.{key}", chosen, folders):
        return f"unknown option {key!r}; choose {fitting}"
    for group, current in chosen.items():
        others = [n for n in choices.names(group, folders) if n not in current and key in _own(group, n, folders)]
        if others:
            return f"{key} is no option of {group}={','.join(current)}; {group}= with it: {', '.join(others)}"
    groups = [group for group in choices.groups(folders) if _value(key, argv) in choices.names(group, folders)]
    options = [name for name in known if not name.rpartition(".")[2].startswith("_")]
    hint = _same_end(key, options) or _sibling(key, options, folders)
    if not hint and (
        meant := near(last, signatures.arguments(target))
    ):  # of those that the yaml leaves at their default
        hint = meant.replace("'", f"'+{parent}.", 1)
    hint = hint or near(key, groups) or near(key, options)
    hint = hint or _near_end(last, options)
    if target and not target.startswith("datakiln."):
        return f"unknown option {key!r}{hint}; other arguments of {target} are written +{key}=VALUE"
    return f"unknown option {key!r}{hint or '; --help lists the options'}"


def _with_option(key: str, chosen: dict[str, list[str]], folders: choices.Folders) -> str:
    """A choice of the same class whose yaml sets the option, such as "model=cvae" for model.conditional; or ""."""
    group = key.partition(".")[0]
    current = chosen.get(group, [])
    names = choices.names(group, folders)
    targets = {choices.keys(group, name, folders).get(f"{group}._target_") for name in current if name in names}
    for name in names if targets else []:
        declared = choices.keys(group, name, folders)
        if name not in current and key in declared and declared.get(f"{group}._target_") in targets:
            return f"{group}={name}"
    return ""


def _own(group: str, name: str, folders: choices.Folders) -> set[str]:
    return set(choices.keys(group, name, folders)) - {group}


def _value(key: str, argv: Sequence[str]) -> str:
    values = (word.partition("=")[2] for word in argv if word.lstrip("+~").startswith(f"{key}="))
    return next(values, "").partition(",")[0]


def _same_end(key: str, known: Sequence[str]) -> str:
    """A hint at options further inside that end alike, "model.optimizer.lr" for "lr", or that only begin so."""
    parent, _, last = key.rpartition(".")
    inside = [name for name in known if name.startswith((parent,) if parent else ("model.", "data."))]
    inside = [name for name in inside if name.endswith(f".{last}")] or [n for n in known if n.startswith(f"{key}_")]
    return f"; did you mean {' or '.join(map(repr, inside))}?" if 0 < len(inside) <= 3 else ""


def _sibling(key: str, known: Sequence[str], folders: choices.Folders) -> str:
    """A hint at an option of the same group that is spelt alike, first of what is chosen, then of another choice."""
    group, dot, last = key.rpartition(".")
    if not dot:
        return ""
    own = [name.rpartition(".")[2] for name in known if name.rpartition(".")[0] == group]
    if hint := near(last, own):
        return hint.replace("'", f"'{group}.", 1)
    for name in choices.names(group, folders):
        there = [one.rpartition(".")[2] for one in choices.keys(group, name, folders) if one.count(".") == 1]
        others = [one for one in there if not one.startswith("_")]
        if hint := near(last, others):
            return f"{hint.replace(chr(39), f'{chr(39)}{group}.', 1)[:-1]}, of {group}={name}?"
    return ""


def _near_end(name: str, known: Sequence[str] | dict[str, object]) -> str:
    """A hint at an option whose last part is meant, such as "lr" for "model.optimizer.lr"."""
    ends: dict[str, str] = {}
    for key in known:
        ends.setdefault(key.rpartition(".")[2], key)
    match = near(name, ends).removeprefix("; did you mean '").removesuffix("'?")
    return f"; did you mean {ends[match]!r}?" if match else ""


def _composition(text: str, argv: Sequence[str], config_name: str) -> str:
    key = text.split("'")[1]
    if text.startswith("Ambiguous value"):
        return f"{key} names several values; add -m to run one job for each combination"
    if text.startswith("Could not append"):
        return f"{key} exists already: write {key}=VALUE, without +"
    return unknown_option(key.lstrip("+~").partition("@")[0], argv, config_name)


def _missing_choice(text: str, argv: Sequence[str]) -> str:
    path = text.split("'")[3 if text.startswith("In '") else 1]
    group, _, name = path.rpartition("/")
    listed = re.search(r"Available options in '[^']*': (.*?) Config search path", text)
    folders = choices.folders(argv)
    ours = choices.names(group, folders)
    known = listed.group(1).split() if listed else ours
    known = [one for one in known if one not in ours or choices.is_complete(group, one, folders)]
    return f"{group}={name} is not known{near(name, known)}; known: {', '.join(known) or 'none'}"


def _unreadable(text: str, argv: Sequence[str], config_name: str) -> str:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    for word in argv:
        key, sign, value = word.partition("=")
        try:
            OverridesParser.create().parse_override(word)
        except HydraException:
            if not sign:
                return f"{word!r} is not name=value{near(word, choices.config_keys(config_name))}"
            return f"{word!r} cannot be read; quote what has special characters: '{key}=\"{value}\"'"
    return text


def _with_key(error: BaseException, text: str) -> str:
    """The cause's line, after the place in the config that it came from, where the line does not tell."""
    assert error.__cause__ is not None
    line = explain(error.__cause__)
    key = text.rpartition("full_key: ")[2].split()[0] if "full_key: " in text else ""
    key = re.sub(r"^(data\.constraints)(\d+)", r"\1[\2]", key)  # Hydra names the place in a list without brackets
    return line if not key or key.startswith("hydra.") or key.partition(".")[0] in line else f"{key}: {line}"
