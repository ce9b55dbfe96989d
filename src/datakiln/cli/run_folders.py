"""Where runs and sweeps are put, and where an unfinished one is found again."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from datakiln.cli.choices import LOADER
from datakiln.errors import UserError
from datakiln.jobs.lengths import LENGTHS
from datakiln.storage import small_text

SWEEP_VARIABLE = "DATAKILN_SWEEP_DIR"  # tells parallel workers which folder their sweep writes to
MOST_YAML = 4_000_000  # bytes of a config, at most
CONFIG_FILES = ("config.yaml", "overrides.yaml")  # in the folder `config` of every run
PRUNED_FILE = "pruned.txt"  # in the folder of a job that a pruner has ended, with the reason
NOT_IDENTITY = ("ckpt_path=", "hydra.", "debug=", "tags=")  # options that do not make another run
SWEEPER = ("hydra.sweeper.", "hydra/sweeper")  # options of Hydra's that make another sweep, but for the next two:
NOT_SWEEPER = ("hydra.sweeper.n_trials=", "hydra.sweeper.n_jobs=")  # how many jobs there are, and how many at a time


def run_dir(root: str, name: str, ckpt_path: str | None, overrides: Any) -> str:  # noqa: ANN401 (OmegaConf list)
    """The folder of a run: a new one, or with ckpt_path=last that of the newest unfinished run with these options."""
    return _run_dir(root, name, ckpt_path == "last", tuple(overrides))


@functools.cache
def _run_dir(root: str, name: str, go_on: bool, overrides: tuple[str, ...]) -> str:
    if go_on:
        return str(unfinished_run(Path(root), name, overrides))
    return str(fresh_folder(Path(root), name))


def sweep_dir(root: str) -> str:
    """The folder of a sweep, the same in all its worker processes."""
    if SWEEP_VARIABLE not in os.environ:
        os.environ[SWEEP_VARIABLE] = str(fresh_folder(Path(root), "sweep"))
    return os.environ[SWEEP_VARIABLE]


def sweep_name() -> str | None:
    """The name of the running sweep, None outside one."""
    return Path(os.environ[SWEEP_VARIABLE]).name if SWEEP_VARIABLE in os.environ else None


def forget() -> None:
    """Starts anew: the next run or sweep of this process gets a folder of its own."""
    os.environ.pop(SWEEP_VARIABLE, None)
    _run_dir.cache_clear()


def fresh_folder(root: Path, name: str) -> Path:
    """Makes `root/<date>/<time>-<name>`, with a number behind it where that exists already."""
    day, moment = time.strftime("%Y-%m-%d"), time.strftime("%H-%M-%S")
    for suffix in ("", *(f"-{i}" for i in range(2, 1000))):
        folder = root / day / f"{moment}-{name}{suffix}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise UserError(f"{root / day} is full of runs of this second; try again")


def unfinished_run(root: Path, name: str, overrides: Sequence[str]) -> Path:
    """The newest run below root with this name and these overrides that has no result yet.

    Raises:
        UserError: There is none.
    """
    wanted = identity(overrides)
    for folder in sorted(root.glob(f"*/*-{name}*"), reverse=True):
        stored = folder / "config" / "overrides.yaml"
        if stored.is_file() and not (folder / "result.json").exists():
            if identity(stored_yaml(stored) or ()) == wanted:
                return folder
    told = " ".join(sorted(wanted)) or "the default options"
    raise UserError(
        f"ckpt_path=last: no unfinished run with {told} below {root}; give hydra.run.dir=FOLDER or a .ckpt file"
    )


def unfinished_sweep(root: Path, overrides: Sequence[str], total: int) -> Path:
    """The newest sweep below root with these overrides that has less than `total` jobs done, or one that failed.

    Raises:
        UserError: There is none.
    """
    wanted = sweep_identity(overrides)
    for folder in sorted(root.glob("*/*-sweep*"), reverse=True):
        if len(jobs_done(folder)) < total and sweep_identity(sweep_overrides(folder)) == wanted:
            return folder
    told = " ".join(sorted(wanted)) or "the default options"
    raise UserError(f"ckpt_path=last: no unfinished sweep with {told} below {root}; give hydra.sweep.dir=FOLDER")


def sweep_overrides(folder: Path) -> list[str]:
    """The command line of a sweep, its options before Hydra's; empty for a folder that holds none."""
    stored = folder / "multirun.yaml"
    if not stored.is_file():
        return []
    try:
        overrides = stored_yaml(stored)["hydra"]["overrides"]
        return [str(word) for word in (*overrides["task"], *overrides["hydra"])]
    except (KeyError, TypeError):
        raise UserError(f"{stored} is not what a sweep leaves there; take it away") from None


class _NoAliases(LOADER):  # type: ignore[misc,valid-type]
    """A few aliases can stand for more values than a memory holds; what the program writes has none."""

    def compose_node(self, parent: Any, index: Any) -> Any:  # noqa: ANN401
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it has an alias")
        return super().compose_node(parent, index)


def stored_yaml(path: Path) -> Any:  # noqa: ANN401 (any yaml value)
    """What a yaml file of a run's folder says, as plain values: nothing in it is built, looked up or resolved.

    Raises:
        UserError: There is no such file, or it is not what the program writes.
    """
    try:
        return yaml.load(small_text(path, MOST_YAML), _NoAliases)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); give the folder of a finished run") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path} is damaged, or not what a run leaves there ({reason}); take it away") from None


def jobs_done(folder: Path) -> set[str]:
    """The jobs of a sweep that need no other start: they have a result, or a pruner has ended them."""
    done = {path.parent.name for name in ("result.json", PRUNED_FILE) for path in folder.glob(f"*/{name}")}
    return done - {path.parent.name for path in folder.glob("*/error.txt")}


def sweep_identity(overrides: Sequence[str]) -> set[str]:
    """The overrides that tell one sweep from another."""
    hydra = {str(o) for o in overrides if str(o).startswith(("hydra.", "hydra/"))}
    own = {word for word in hydra if word.startswith(SWEEPER) and not word.startswith(NOT_SWEEPER)}
    return own | (identity(overrides) - hydra)


def identity(overrides: Iterable[Any]) -> set[str]:
    """The overrides that tell one run from another."""
    return {str(o) for o in overrides if not str(o).startswith(NOT_IDENTITY)}


def remove_if_empty(folder: Path, refused: bool = False) -> None:
    """Takes back the folder of a run or sweep, and its day's, if no job has written to them.

    Arguments:
        folder: Of the run or sweep.
        refused: Whether the run was refused, so that the config it left there is of no use to anybody.
    """
    stored = [folder / "config" / name for name in CONFIG_FILES]
    if refused and {*folder.rglob("*")} <= {folder / "config", *stored}:
        for path in stored:
            path.unlink(missing_ok=True)
        if (folder / "config").is_dir():
            (folder / "config").rmdir()
    if [path.name for path in folder.iterdir()] == ["multirun.yaml"]:
        (folder / "multirun.yaml").unlink()
    for path in (folder, folder.parent):
        if any(path.iterdir()):
            return
        path.rmdir()


def unless_told(value: Any, option: str | None = None) -> Any:  # noqa: ANN401 (any yaml value)
    """A setting that steps back, as 0, where a person has given an option, or the length of training if none is named.

    With `epochs=3`, three epochs are meant; with `batch_size=256`, 256 rows.
    """
    from hydra.core.hydra_config import HydraConfig

    told = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    names = LENGTHS if option is None else (f"{option}=", f"data.{option}=")
    return 0 if any(str(word).lstrip("+").startswith(names) for word in told) else value


def register_resolvers() -> None:
    """Makes `${run_dir:...}`, `${unless_told:...}` and their like known to OmegaConf."""
    for resolver in (run_dir, sweep_dir, sweep_name):
        OmegaConf.register_new_resolver(resolver.__name__, resolver, replace=True)
    OmegaConf.register_new_resolver("unless_told", unless_told, replace=True)
    OmegaConf.register_new_resolver("stem", lambda path: Path(str(path)).stem if path else "", replace=True)


register_resolvers()  # at import, so that the worker processes of a parallel sweep know them too
