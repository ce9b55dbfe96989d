"""datakiln: deep generative models for tables, images and time series.

    import datakiln as dk
    model = dk.fit(df, target="income")
    model.sample(1000)

What is named here is imported when it is first used: `import datakiln` alone takes no time.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datakiln.api.evaluation import evaluate
    from datakiln.api.fitting import fit
    from datakiln.api.model import Model, load
    from datakiln.api.report import Report
    from datakiln.errors import UserError as Error
    from datakiln.sampling.registry import register

__version__ = "0.1.0"
__all__ = ["Error", "Model", "Report", "evaluate", "fit", "load", "register"]

_PLACES = {
    "Error": "datakiln.errors.UserError",
    "Model": "datakiln.api.model.Model",
    "Report": "datakiln.api.report.Report",
    "evaluate": "datakiln.api.evaluation.evaluate",
    "fit": "datakiln.api.fitting.fit",
    "load": "datakiln.api.model.load",
    "register": "datakiln.sampling.registry.register",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 (whatever has that name)
    """What is imported late, once."""
    if name not in _PLACES:
        raise AttributeError(f"module 'datakiln' has no attribute {name!r}")
    process = importlib.import_module("datakiln.api.process")
    module, _, own = _PLACES[name].rpartition(".")
    with process.as_it_was():  # importing the libraries draws random numbers, adds warning filters and sets variables
        found = globals()[name] = getattr(importlib.import_module(module), own)
    return found


def __dir__() -> list[str]:
    """The names above too, so that they are offered for completion before they are imported."""
    return sorted({*globals(), *_PLACES})
