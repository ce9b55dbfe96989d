"""The answer to `--help`, made of the yaml files and docstrings it describes; takes milliseconds."""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from datakiln.cli import choices, signatures
from datakiln.cli.calling import as_called

EXAMPLES = """\
datakiln trains a generative model, samples it, measures and draws the samples, and writes a report: one command.

  python -m src.train model=vae data=adhd latent_dim=5
  python -m src.train model=cvae data=csv data.path=FILE.csv data.target=COLUMN data.types.COLUMN=category
  python -m src.train -m model=vae data=iris,adhd latent_dim=2,5,8 seed=0,1,2 hydra/launcher=joblib
  python -m src.train sweep=latent data=adhd
  python -m src.train model=vae --help                 the options of one model; likewise data=csv --help
  python -m src.train model=vae data=iris --cfg job    the whole config, as it would run
"""
FLAGS = """\
Flags
  -m                        one job for each combination of values with commas between them
  --cfg job                 print the whole config and stop
  --config-dir DIR          your own DIR/model/NAME.yaml, DIR/data/NAME.yaml, DIR/experiment/NAME.yaml are choices too
  --hydra-help              Hydra's own flags and groups
  debug=true                show where an error came from
  eval "$(datakiln completion bash)"     completes commands, choices and options in this shell; also zsh and fish

Afterwards, each with its own --help
  python -m src.sample      run=outputs/... n=1000 out=x.csv
  python -m src.evaluate    run=outputs/...
  python -m src.report      outputs/..."""
PLACE = 28  # column of the explanations
WRITTEN = {"None": "null", "True": "true", "False": "false"}
FIRST = ("model", "data", "experiment", "sweep")
HIDDEN = ("watch", "metrics")  # made for the others, seldom chosen by hand


def usage(argv: Sequence[str], config_name: str) -> str:
    """The whole page, with the options of those models and data sets that the command line names."""
    named, folders = dict(arg.partition("=")[::2] for arg in argv), choices.folders(argv)
    defaults = choices.defaults(config_name)
    parts = [EXAMPLES, "Choices, name=value; * is taken where nothing is chosen"]
    groups = sorted(set(choices.groups(folders)) - {*FIRST, *HIDDEN})
    parts += [_group(group, defaults.get(group, []), folders) for group in (*FIRST, *groups)]
    parts += ["Options, name=value", *_commented(config_name), ""]
    for group in ("model", "data"):
        if named.get(group) in choices.names(group, folders):
            parts += [f"Options of {group}={named[group]}", *_options(group, named[group], folders), ""]
    return as_called("\n".join([*parts, FLAGS]))


def _group(group: str, default: Sequence[str], folders: choices.Folders) -> str:
    lines = [f"  {group}"]
    for name in choices.names(group, folders):
        if choices.is_complete(group, name, folders):
            lines += _line(f"  {'*' if name in default else ' '} {name}", choices.title(group, name, folders))
    return "\n".join([*lines, ""])


def _commented(config_name: str) -> Iterator[str]:
    """Top-level options as the yaml file explains them."""
    for line in (choices.CONF / f"{config_name}.yaml").read_text(encoding="utf-8").splitlines():
        if match := re.match(r"(\w+): +((?!\${hydra)[^ #]+)(?: +# (.+))?$", line):
            yield from _line(f"  {match[1]}={match[2]}", match[3] or "")
        elif match := re.match(r"(\w+): \{(\w+): ([^ ,}]+)\} +# (.+)$", line):
            yield from _line(f"  {match[1]}.{match[2]}={match[3]}", match[4])


def _options(group: str, name: str, folders: choices.Folders) -> Iterator[str]:
    """Options that the yaml of a choice declares, then those its class has besides."""
    declared = {key: value for key, value in choices.keys(group, name, folders).items() if key != group}
    known = signatures.arguments(str(declared.get(f"{group}._target_", "")))
    said = choices.comments(group, name, folders)
    for key, value in declared.items():
        linked = isinstance(value, str) and value.startswith("${")  # set by the top-level option of that name
        if not (isinstance(value, dict) and value) and not linked and not key.rpartition(".")[2].startswith("_"):
            meaning = known.get(key.removeprefix(f"{group}."), ("", ""))[1]
            yield from _line(f"  {key}={_plain(value)}", said.get(key) or meaning)
    for argument, (default, meaning) in known.items():
        if default and f"{group}.{argument}" not in declared and not meaning.startswith("See "):
            yield from _line(f"  +{group}.{argument}={WRITTEN.get(default, default).replace(' ', '')}", meaning)


def _plain(value: Any) -> str:  # noqa: ANN401 (any yaml value)
    return WRITTEN.get(str(value), str(value).replace(" ", ""))


def _line(head: str, text: str) -> list[str]:
    """A head and its explanation, in two columns."""
    width = min(shutil.get_terminal_size((120, 24)).columns, 120)
    wrapped = textwrap.wrap(as_called(text), max(width - PLACE, 30)) or [""]  # before lines break inside of a command
    first = f"{head:<{PLACE - 1}} {wrapped[0]}".rstrip() if len(head) < PLACE else head
    rest = wrapped[1:] if len(head) < PLACE else wrapped
    return [first, *(" " * PLACE + line for line in rest if line)]
