"""Tab completion of the console command: `eval "$(datakiln completion bash)"`, and what the shell then asks for.

Only yaml and sources are read: a key press must not wait for a library.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Sequence
from typing import Any

from datakiln.cli import choices, signatures
from datakiln.errors import UserError, near

BASH = """\
_datakiln() {
  local line=${COMP_LINE:0:COMP_POINT} typed before= found
  typed=${line##*[[:space:]]}
  # readline replaces only what follows the last "=", where that divides words
  [[ $COMP_WORDBREAKS == *=* && $typed == *=* ]] && before=${typed%"${typed##*=}"}
  COMPREPLY=()
  while IFS= read -r found; do
    COMPREPLY+=("${found#"$before"}")
  done < <("${1/#\\~/$HOME}" completion answer "$line" 2>/dev/null)
}
complete -o default -o nospace -F _datakiln datakiln"""
ZSH = """\
#compdef datakiln
_datakiln() {
  local -a found
  found=("${(@f)$("${words[1]}" completion answer "${(j: :)words[1,CURRENT-1]} $PREFIX" 2>/dev/null)}")
  if [[ -n ${found[1]} ]]; then
    compadd -Q -S '' -- "${found[@]}"
  else
    compset -P '*='
    _files
  fi
}
compdef _datakiln datakiln"""
FISH = """\
function __datakiln_answers
    datakiln completion answer (commandline -cp | string collect) 2>/dev/null | string trim --right
end
complete -c datakiln -n 'test -n (__datakiln_answers | string collect; or echo)' -f -a '(__datakiln_answers)'"""
SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}
FLAGS = ("--help", "--multirun", "--cfg", "--config-dir", "--hydra-help")
NOT_OURS = {"hydra/launcher": ("basic", "joblib"), "hydra/sweeper": ("basic", "optuna")}  # groups of Hydra, by choice
HIDDEN = re.compile(r"hydra\b|override |\w+@|output_dir")  # in the config, and not to be set by hand
LISTED = re.compile(r"(\w+(?: \| \w+)+)")  # how the comments of yaml files list the values of an option


def script(shell: str) -> str:
    """What a shell is to evaluate.

    Raises:
        UserError: There is none for this shell.
    """
    if shell not in SCRIPTS:
        told = f"no completion for {shell!r}{near(shell, SCRIPTS)}" if shell else "no shell given"
        raise UserError(f'{told}; one of {", ".join(SCRIPTS)}, as in eval "$(datakiln completion bash)"')
    return SCRIPTS[shell]


def answer(line: str, commands: Iterable[str]) -> list[str]:
    """What the last word of a command line could become; what is whole ends in a space. Nothing: let it be a file.

    Arguments:
        line: The command line up to the cursor, with the program's name.
        commands: The commands there are.
    """
    try:
        words = [os.path.expanduser(word) for word in shlex.split(line)[1:]]
    except ValueError:  # an open quote
        return []
    last = "" if line[-1:].isspace() or not words else words.pop()
    if not words:
        return [f"{name} " for name in commands if name.startswith(last)]
    command, given = words[0], words[1:]
    if command == "completion":
        return [f"{shell} " for shell in SCRIPTS if shell.startswith(last)]
    if command == "report":
        return [key for key in ("out=", "figures=", "debug=true ") if last and key.startswith(last)]
    if command in ("sample", "evaluate"):
        return _plain(command, last)
    return _train(given, last) if command == "train" else []


def _plain(command: str, last: str) -> list[str]:
    key, sign, value = last.partition("=")
    known = choices.config_keys(command)
    if sign:
        return _whole(key, "", value, _values(known.get(key), choices.config_comments(command).get(key, "")))
    return _steps(last, known)


def _train(given: Sequence[str], last: str) -> list[str]:
    before = given[-1] if given else ""
    if before in choices.OWN_FOLDER:
        return []
    if before in ("--cfg", "-c"):
        return [f"{what} " for what in ("job", "hydra", "all") if what.startswith(last)]
    if last.startswith("-"):
        return [f"{flag} " for flag in FLAGS if flag.startswith(last)]
    try:
        folders = choices.folders(given)
    except UserError:
        folders = choices.OURS
    sigil = last[: len(last) - len(last.lstrip("+~"))]
    key, sign, value = last[len(sigil) :].partition("=")
    known, said = _options(given, folders, undeclared="+" in sigil)
    if not sign:
        return [sigil + word for word in _steps(key, known)]
    if key in NOT_OURS or key in choices.groups(folders):
        found = NOT_OURS.get(key) or [
            name for name in choices.names(key, folders) if choices.is_complete(key, name, folders)
        ]
    else:
        found = _values(known.get(key), said.get(key, ""))
    done = value[: max(value.rfind(","), value.rfind("[")) + 1]
    return _whole(sigil + key, done, value[len(done) :], found)


def _options(given: Sequence[str], folders: choices.Folders, undeclared: bool) -> tuple[dict[str, Any], dict[str, str]]:
    """Options by full name with their values, and what is said of them, of a command line's choices.

    Arguments:
        given: The words before.
        folders: Where choices are.
        undeclared: Whether arguments that the yaml leaves at their defaults, written with a +, are meant.
    """
    known = {key: value for key, value in choices.config_keys("train").items() if not HIDDEN.match(key)}
    known |= dict.fromkeys([*NOT_OURS, *choices.groups(folders)])
    said = choices.config_comments("train")
    for group, names in choices.chosen(given, "train", folders).items():
        for name in set(names) & set(choices.names(group, folders)):
            declared = choices.keys(group, name, folders)
            known |= {key: value for key, value in declared.items() if key not in known}
            said |= choices.comments(group, name, folders)
            taken = signatures.arguments(str(declared.get(f"{group}._target_", ""))) if undeclared else {}
            known |= {f"{group}.{arg}": None for arg, (default, _) in taken.items() if default}
    return known, said


def _steps(typed: str, known: dict[str, Any]) -> list[str]:
    """Options that begin so, up to their next dot."""
    found: dict[str, None] = {}
    for key, value in known.items():
        parent, _, name = key.rpartition(".")
        linked = parent and str(value).startswith("${")  # set by the top-level option of that name
        if not key.startswith(typed) or name.startswith("_") or linked or (isinstance(value, dict) and value):
            continue
        head, dot, _ = key[len(typed) :].partition(".")
        found[typed + head + (dot or ("." if value == {} else "="))] = None  # {}: names from the data follow
    return list(found)


def _values(value: Any, comment: str) -> list[str]:  # noqa: ANN401 (any yaml value)
    if listed := LISTED.match(comment):
        return listed[1].split(" | ")
    return ["true", "false"] if isinstance(value, bool) else []


def _whole(key: str, done: str, typed: str, values: Iterable[str]) -> list[str]:
    return [f"{key}={done}{value} " for value in values if value.startswith(typed)]
