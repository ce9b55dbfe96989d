"""`datakiln train model=vae data=iris`: the commands of an installed package."""

from __future__ import annotations

import os
import sys

from datakiln.cli.calling import program
from datakiln.saying import say

COMMANDS = {
    "train": "train a model, or sweep",
    "sample": "synthetic data from a trained run",
    "evaluate": "measure a run again, or two tables, or two folders of pictures",
    "report": "compare finished runs",
    "serve": "a web page and an API over what is here",
    "version": "the version of this program and of what decides its figures",
    "completion": 'for the shell: eval "$(datakiln completion bash)"; also zsh and fish',
}
USAGE = """\
{program} COMMAND [OPTION=VALUE ...]

{commands}

{program} COMMAND --help tells the options; {program} train model=vae data=iris is a first run.
Classes of your own, _target_: mine.Model, are found in the current folder after all that is installed."""


def main() -> None:
    """The console command: hands the other words to one of the commands."""
    words = sys.argv[1:]
    if not words or words[0] in ("-h", "--help", "help"):
        listed = "\n".join(f"  {name:<12}{meaning}" for name, meaning in COMMANDS.items())
        say(USAGE.format(program=program(), commands=listed))
        return
    name, rest = {"--version": "version", "-V": "version"}.get(words[0], words[0]), words[1:]
    if name == "completion":
        _complete(rest)
        return
    from datakiln.cli.commands import one_line_errors

    with one_line_errors(words, ""):
        _refuse(name)
    if name == "version":
        _version()
        return
    sys.argv = [f"{program()} {name}", *rest]
    _find_own_classes()
    if name == "train":
        from datakiln.cli.train import run
    elif name == "sample":
        from datakiln.cli.sample import run
    elif name == "evaluate":
        from datakiln.cli.evaluate import run
    elif name == "serve":
        from datakiln.cli.serve import run
    else:
        from datakiln.cli.report import run
    run()


def _refuse(name: str) -> None:
    from datakiln.errors import UserError, near

    if name not in COMMANDS:
        raise UserError(f"unknown command {name!r}{near(name, COMMANDS)}; {program()} --help lists them")


def _find_own_classes() -> None:
    """The current folder comes last: what lies there by chance, such as a `src` or an `evaluate`, shadows nothing."""
    here = os.getcwd()
    if not sys.flags.safe_path and here not in sys.path:
        sys.path.append(here)


def _complete(words: list[str]) -> None:
    from datakiln.cli.completion import answer, script

    if words[:1] == ["answer"]:  # asked by the scripts
        for found in answer(" ".join(words[1:]), COMMANDS):
            say(found)
        return
    from datakiln.cli.commands import one_line_errors

    with one_line_errors(words, ""):
        say(script(" ".join(words)))


def _version() -> None:
    from datakiln.results import package_versions

    versions = package_versions()
    say(f"datakiln {versions.pop('datakiln')}")
    for name, version in versions.items():
        say(f"  {name} {version}")
