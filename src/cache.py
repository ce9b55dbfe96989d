"""Where downloads and what is worked out once are kept between runs."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """`$DATAKILN_CACHE`, or `datakiln` in the user's cache folder; not created here."""
    chosen = os.environ.get("DATAKILN_CACHE")
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "datakiln"
