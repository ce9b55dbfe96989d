"""The commands of a clone: `python -m src.train ...` runs the package in the folder beside this file.

Whatever else is installed (nothing, a wheel, the editable install of another clone), `datakiln` is then this clone's.
`src/` itself does not join the module search path: `evaluate` and its neighbours are common names of other packages.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

PACKAGE = Path(__file__).resolve().parent / "datakiln"


class Clone(importlib.abc.MetaPathFinder):
    """Finds `datakiln` beside this file, and nothing else; its rooms are then found through the package."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The package's spec; None for every other name."""
        if fullname != "datakiln":
            return None
        return importlib.util.spec_from_file_location(
            fullname, PACKAGE / "__init__.py", submodule_search_locations=[str(PACKAGE)]
        )


if not any(type(finder).__qualname__ == "Clone" and type(finder).__module__ == __name__ for finder in sys.meta_path):
    sys.meta_path.insert(0, Clone())
