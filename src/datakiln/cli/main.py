"""`datakiln train model=vae data=iris`: the commands of an installed package."""

from __future__ import annotations

import sys

from datakiln.cli.commands import one_line_errors
from datakiln.errors import UserError, near

COMMANDS = {
    "train": "train a model, or sweep",
    "sample": "synthetic data from a trained run",
    "evaluate": "measure a run again, or two tables, or two folders of pictures",
    "report": "compare finished runs",
}
USAGE = "\n".join(
    [
        "datakiln COMMAND [OPTION=VALUE ...]",
        "",
        *(f"  {name:<10}{meaning}" for name, meaning in COMMANDS.items()),
        "  version   the version of this program and of what decides its figures",
        "",
        "datakiln COMMAND --help tells the options; datakiln train model=vae data=iris is a first run.",
    ]
)


def main() -> None:
    """The console command: hands the other words to one of the commands."""
    words = sys.argv[1:]
    if not words or words[0] in ("-h", "--help", "help"):
        print(USAGE)
        return
    name = words[0]
    if name in ("version", "--version", "-V"):
        _version()
        return
    with one_line_errors(words, ""):
        if name not in COMMANDS:
            raise UserError(f"unknown command {name!r}{near(name, [*COMMANDS, 'version'])}; datakiln --help lists them")
    sys.argv = [f"datakiln {name}", *words[1:]]
    if name == "train":
        from datakiln.cli.train import run
    elif name == "sample":
        from datakiln.cli.sample import run
    elif name == "evaluate":
        from datakiln.cli.evaluate import run
    else:
        from datakiln.cli.report import run
    run()


def _version() -> None:
    from datakiln import __version__
    from datakiln.results import package_versions

    print(f"datakiln {__version__}")
    for name, version in package_versions().items():
        print(f"  {name} {version}")
