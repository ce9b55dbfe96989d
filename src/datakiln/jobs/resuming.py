"""Where a run goes on from, and what of an earlier folder comes along."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from datakiln.callbacks.chosen import Chosen
from datakiln.console import Console
from datakiln.data.stored import Stored
from datakiln.errors import UserError
from datakiln.jobs.training_state import check_training_state
from datakiln.sampling.checkpoints import read_checkpoint

# options of models that their yaml has by now, and what those were that do not name them
WAS = {
    "saturates": True,
    "holding": False,
    "paced": False,
    "pasts": False,
    "beats": False,
    "groups": 0,
    "depth": 0,
    "changes": 0,
}


def checkpoint_to_go_on_from(
    wanted: str | None, folder: Path, console: Console, identity: Mapping[str, Any], files: Sequence[Path | Stored] = ()
) -> str | None:
    """The checkpoint for `ckpt_path=`, or None to start from the beginning.

    Arguments:
        wanted: None, "last" for the one in the run's own folder, or the path of a `last.ckpt` elsewhere, whose best
            checkpoint and figures are then copied into the folder.
        folder: The run's folder.
        console: Where to say what happens.
        identity: What the run's own checkpoints say of themselves.
        files: Those that the data was read from, to name the one that has changed.

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
        _check(last, wanted, identity, files)
        return str(last)
    path = Path(wanted)
    if not path.is_file():
        raise UserError(f"ckpt_path={wanted} does not exist; give last or the path of a last.ckpt")
    _check(path, wanted, identity, files)
    _bring_along(path, folder)
    return str(path)


def fit_on_all_rows(wanted: str | None, folder: Path) -> Chosen | None:
    """What the first of two fits has chosen, if the checkpoint for `ckpt_path=` is of the second one.

    Arguments:
        wanted: See `checkpoint_to_go_on_from`.
        folder: The run's folder.

    Raises:
        UserError: It is damaged.
    """
    path = folder / "checkpoints" / "last.ckpt" if wanted == "last" else Path(str(wanted))
    if wanted is None or not path.is_file():
        return None
    state = read_checkpoint(path).get("refit")
    if state is None:
        return None
    if not isinstance(state, dict):
        raise UserError(f"checkpoint {path}: its refit is a {type(state).__name__}, not a dict; use another")
    return Chosen.from_state(state, f"checkpoint {path}")


def _check(path: Path, wanted: str, identity: Mapping[str, Any], files: Sequence[Path | Stored]) -> None:
    content = read_checkpoint(path)
    if "loops" not in content:
        raise UserError(f"ckpt_path={wanted} holds weights for sampling only; give the last.ckpt beside it to go on")
    check_training_state(path, content)
    was, now = (of["origin"]["source"] for of in (content["datakiln"], identity))
    if was[2] != now[2]:
        of = "" if was[1] == now[1] else f" of {was[1]}"
        told = f"ckpt_path={wanted}: {now[1]} has changed since (sha256 {now[2][:12]}, trained on {was[2][:12]}{of})"
        raise UserError(f"{told}{_newer(files, path)}; bring the old data back, or begin anew without ckpt_path=")
    found, own = (str(of["model"]["_target_"]).rpartition(".")[2] for of in (content["datakiln"], identity))
    if found != own:
        raise UserError(f"ckpt_path={wanted} is of the model {found}, this run's is {own}; go on with the same model=")
    if list(content["datakiln"]["spec"]["shape"]) != list(identity["spec"]["shape"]):
        raise UserError(f"ckpt_path={wanted} is of data of another shape; go on with the same data= and encoding=")
    for option, default in WAS.items():
        before, since = (of["model"].get(option, default) for of in (content["datakiln"], identity))
        if before != since:
            told = f"ckpt_path={wanted} was trained with model.{option}={str(before).lower()}"
            raise UserError(f"{told}; say so to go on, or leave out ckpt_path= to begin anew")
    if not _alike(content["datakiln"]["codec"], identity["codec"]):
        told = f"ckpt_path={wanted} learnt another encoding of the same data"
        raise UserError(f"{told}; go on with the same seed, encoding and data options, or leave out ckpt_path=")


def _alike(a: Any, b: Any) -> bool:  # noqa: ANN401 (any part of a state)
    """Whether two states are the same, but for what another machine rounds differently."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(_alike(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(_alike, a, b))
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape == b.shape and torch.allclose(a.double(), b.double(), rtol=1e-6, atol=0.0, equal_nan=True)
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=1e-6) or (math.isnan(a) and math.isnan(b))
    return bool(a == b)


def _newer(files: Sequence[Path | Stored], checkpoint: Path) -> str:
    """Names a file of several that was written after the checkpoint; "" where there is none, or only one."""
    since = checkpoint.stat().st_mtime
    newer = [file for file in files if file.exists() and file.stat().st_mtime > since]
    return f": {newer[0]} is newer than the checkpoint" if newer and len(files) > 1 else ""


def _bring_along(path: Path, folder: Path) -> None:
    for source, target in (
        (path.parent / "best.ckpt", folder / "checkpoints" / "best.ckpt"),
        (path.parent.parent / "metrics.csv", folder / "metrics.csv"),
    ):
        if source.exists() and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
