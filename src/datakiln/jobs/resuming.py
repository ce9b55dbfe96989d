"""Where a run goes on from, and what of an earlier folder comes along."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datakiln.console import Console
from datakiln.errors import UserError
from datakiln.sampling.checkpoints import read_checkpoint


def checkpoint_to_go_on_from(
    wanted: str | None, folder: Path, console: Console, identity: Mapping[str, Any]
) -> str | None:
    """The checkpoint for `ckpt_path=`, or None to start from the beginning.

    Arguments:
        wanted: None, "last" for the one in the run's own folder, or the path of a `last.ckpt` elsewhere, whose best
            checkpoint and figures are then copied into the folder.
        folder: The run's folder.
        console: Where to say what happens.
        identity: What the run's own checkpoints say of themselves.

    Raises:
        UserError: The path does not exist, is damaged, of another model or other data, or holds weights for sampling
            only.
    """
    if wanted is None:
        return None
    if wanted == "last":
        last = folder / "checkpoints" / "last.ckpt"
        found = (
            f"going on from {last}" if last.exists() else f"{folder} has no checkpoint yet: starting from the beginning"
        )
        console.print(found)
        if not last.exists():
            return None
        _check(last, wanted, identity)
        return str(last)
    path = Path(wanted)
    if not path.is_file():
        raise UserError(f"ckpt_path={wanted} does not exist; give last or the path of a last.ckpt")
    _check(path, wanted, identity)
    _bring_along(path, folder)
    return str(path)


def _check(path: Path, wanted: str, identity: Mapping[str, Any]) -> None:
    content = read_checkpoint(path)
    if "loops" not in content:
        raise UserError(f"ckpt_path={wanted} holds weights for sampling only; give the last.ckpt beside it to go on")
    found, own = (str(of["model"]["_target_"]).rpartition(".")[2] for of in (content["datakiln"], identity))
    if found != own:
        raise UserError(f"ckpt_path={wanted} is of the model {found}, this run's is {own}; go on with the same model=")
    if list(content["datakiln"]["spec"]["shape"]) != list(identity["spec"]["shape"]):
        raise UserError(f"ckpt_path={wanted} is of data of another shape; go on with the same data= and encoding=")


def _bring_along(path: Path, folder: Path) -> None:
    for source, target in (
        (path.parent / "best.ckpt", folder / "checkpoints" / "best.ckpt"),
        (path.parent.parent / "metrics.csv", folder / "metrics.csv"),
    ):
        if source.exists() and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
