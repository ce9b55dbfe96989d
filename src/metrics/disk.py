"""Files of the cache folder that are either whole or absent."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path
from typing import Any

import torch

from src.atomic import replacing

log = logging.getLogger(__name__)


def write_atomically(path: Path, state: Any) -> bool:
    """Saves tensors so that a reader sees the old file or the new one, never a part; False where that is impossible."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            torch.save(state, partial)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        log.warning("cannot write %s (%s); set DATAKILN_CACHE to a folder with room", path, error)
        return False
    return True


def read_state(path: Path) -> Any | None:
    """What `write_atomically` saved; None, said in the log, where the file is damaged."""
    if not path.is_file():
        return None
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        log.warning("%s is damaged (%s) and will be made again", path, str(error).splitlines()[0])
        return None
