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
        """The package's spec; None for every other name.

        Raises:
            ImportError: The package is asked for as a part of `src`, which would load all of it a second time.
        """
        if fullname == f"{__name__}.datakiln":
            raise ImportError(f"{fullname} is imported as datakiln")
        if fullname != "datakiln":
            return None
        return importlib.util.spec_from_file_location(
            fullname, PACKAGE / "__init__.py", submodule_search_locations=[str(PACKAGE)]
        )


_loaded = getattr(sys.modules.get("datakiln"), "__file__", None)
if _loaded is not None and Path(_loaded).resolve().parent != PACKAGE:
    raise ImportError(f"datakiln was imported from {Path(_loaded).parent} before {PACKAGE}; import src first")
sys.meta_path.insert(0, Clone())
