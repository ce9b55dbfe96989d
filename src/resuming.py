"""Where a run goes on from, and what of an earlier folder comes along."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from rich.console import Console

from src.errors import UserError


def checkpoint_to_go_on_from(wanted: str | None, folder: Path, console: Console) -> str | None:
    """The checkpoint for `ckpt_path=`, or None to start from the beginning.

    Arguments:
        wanted: None, "last" for the one in the run's own folder, or the path of a `last.ckpt` elsewhere, whose best
            checkpoint and figures are then copied into the folder.
        folder: The run's folder.
        console: Where to say what happens.

    Raises:
        UserError: The path does not exist, or holds weights for sampling only.
    """
    if wanted is None:
        return None
    if wanted == "last":
        last = folder / "checkpoints" / "last.ckpt"
        found = (
            f"going on from {last}" if last.exists() else f"{folder} has no checkpoint yet: starting from the beginning"
        )
        console.print(found, highlight=False)
        return str(last) if last.exists() else None
    path = Path(wanted)
    if not path.is_file():
        raise UserError(f"ckpt_path={wanted} does not exist; give last or the path of a last.ckpt")
    if "loops" not in torch.load(path, map_location="cpu", weights_only=True):
        raise UserError(f"ckpt_path={wanted} holds weights for sampling only; give the last.ckpt beside it to go on")
    _bring_along(path, folder)
    return str(path)


def _bring_along(path: Path, folder: Path) -> None:
    for source, target in (
        (path.parent / "best.ckpt", folder / "checkpoints" / "best.ckpt"),
        (path.parent.parent / "metrics.csv", folder / "metrics.csv"),
    ):
        if source.exists() and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
