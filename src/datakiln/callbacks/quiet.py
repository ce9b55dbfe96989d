"""Many small fits in one process say nothing of themselves: the trainer's talk would come again with each."""

from __future__ import annotations

import logging
import warnings


def quiet_lightning() -> None:
    """Keeps the trainer from telling of devices and workers at every one of many fits."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
