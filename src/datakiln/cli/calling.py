"""How this program was called, and so how its messages tell a person to call it."""

from __future__ import annotations

import sys

from datakiln.storage import CONF, PACKAGE

IN_A_CLONE = "python -m src."  # as the first comments of the yaml files are written, too


def shim() -> bool:
    """Whether this is `python -m src.train` or a sibling, in a clone; in its worker processes too."""
    return _main().startswith("src.")


def called_as(command: str) -> str:
    """What runs a command: `python -m src.train` in a clone, else `datakiln train`."""
    if shim():
        return f"{IN_A_CLONE}{command}"
    return f"{program()} {command}"


def program() -> str:
    """What precedes a command outside a clone."""
    return "python -m datakiln" if _main() == "datakiln.__main__" else "datakiln"


def as_called(text: str) -> str:
    """A text that tells the commands of a clone, with those that this program was called by."""
    return text if shim() else text.replace(IN_A_CLONE, f"{program()} ")


def with_extra(extra: str) -> str:
    """The command that brings an extra's packages."""
    in_a_clone = CONF.parent != PACKAGE
    return f"pip install -e '.[{extra}]'" if in_a_clone else f"pip install 'datakiln[{extra}]'"


def _main() -> str:
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    return str(getattr(spec, "name", ""))
