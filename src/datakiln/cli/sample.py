"""`python -m src.sample run=outputs/... n=1000 out=x.csv`: synthetic data from a trained run, at constant memory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from datakiln.cli.commands import command, options
from datakiln.errors import UserError
from datakiln.wording import counted

if TYPE_CHECKING:
    from rich.console import Console

    from datakiln.sampling.synthesizer import Synthesizer

DEFAULT_ROWS, DEFAULT_PICTURES, DEFAULT_STEPS = 1000, 64, 32  # of a table, of a grid or folder, of a walk


def main(argv: list[str]) -> None:
    """Checks the options, then samples.

    Raises:
        UserError: An option is missing, unknown or impossible, or `out` exists already.
    """
    cfg = options(argv, "sample")
    _check(cfg)
    # torch takes seconds to import: a wrong option should not wait for it
    from rich.console import Console

    from datakiln.sampling.synthesizer import Synthesizer

    console = Console()
    synthesizer = Synthesizer.load(cfg.run, device=str(cfg.device), raw=cfg.weights == "raw")
    try:
        done = _write(cfg, synthesizer, console)
    except OSError as error:
        if error.filename is not None and str(error.filename) in (str(cfg.fill), str(cfg.score)):
            raise
        path = Path(str(cfg.out))
        file = next((p for p in (path, *path.parents) if p.is_file()), None)
        told = error.strerror or str(error) if file in (None, path) else f"{file} is a file, no folder"
        raise UserError(f"out={cfg.out} cannot be written ({told}); choose another place") from error
    console.print(f"{done} written to {cfg.out}", highlight=False, soft_wrap=True)


def _write(cfg: DictConfig, synthesizer: Synthesizer, console: Console) -> str:
    """Makes what was asked for; says what that was."""
    from datakiln.codecs.tables.table import TableCodec
    from datakiln.sampling.rejection import target_to_balance
    from datakiln.sampling.writing import write_table

    if cfg.fill is not None or cfg.score is not None:
        from datakiln.sampling.filling import fill_file, score_file

        if cfg.fill is not None:
            return fill_file(synthesizer, str(cfg.fill), str(cfg.out), int(cfg.seed)) + ";"
        return score_file(synthesizer, str(cfg.score), str(cfg.out)) + ";"
    condition = {str(name): value for name, value in cfg.condition.items()}
    is_table = synthesizer.codec.kind == "table"
    default = DEFAULT_ROWS if is_table else DEFAULT_STEPS if cfg.interpolate else DEFAULT_PICTURES
    n = default if cfg.n is None else int(cfg.n)
    if is_table:
        balance = None if cfg.balance is None else str(cfg.balance)
        if cfg.per_class is not None:
            assert isinstance(synthesizer.codec, TableCodec)
            balance = balance or target_to_balance(synthesizer.codec, int(cfg.per_class))
            n = int(cfg.per_class) * len(synthesizer.request(condition, balance).classes)
        write_table(synthesizer, n, str(cfg.out), condition, int(cfg.seed), console, balance, cfg.overwrite)
    else:
        for key in ("balance", "per_class"):
            if cfg[key] is not None:
                raise UserError(f"{key}={cfg[key]} is for tables; for pictures say condition.class=...")
        from datakiln.sampling.pictures import write_images

        walk = {"truncation": cfg.truncation, "interpolate": cfg.interpolate, "overwrite": cfg.overwrite}
        write_images(synthesizer, n, str(cfg.out), condition, int(cfg.seed), **walk)
    return counted(n, "sample")


def _check(cfg: DictConfig) -> None:
    for key in ("run", "out"):
        if OmegaConf.is_missing(cfg, key):
            raise UserError(f"{key}= is missing; usage: python -m src.sample run=FOLDER n=1000 out=x.csv")
    for key in ("n", "per_class"):
        if cfg[key] is not None and (not isinstance(cfg[key], int) or isinstance(cfg[key], bool) or cfg[key] < 1):
            raise UserError(f"{key}={cfg[key]} must be a whole number of at least 1")
    if cfg.n is not None and cfg.per_class is not None:
        raise UserError(f"n={cfg.n} and per_class={cfg.per_class} cannot both be met; give one of them")
    for key in ("fill", "score"):
        others = [other for other in ("n", "per_class", "balance", "score") if other != key and cfg[other] is not None]
        if cfg[key] is not None and (others or cfg.condition):
            raise UserError(f"{key}={cfg[key]} works on the rows of that file; leave out {(*others, 'condition')[0]}=")
    if not isinstance(cfg.seed, int):
        raise UserError(f"seed={cfg.seed} must be a whole number")
    if cfg.truncation is not None and (isinstance(cfg.truncation, bool) or not isinstance(cfg.truncation, int | float)):
        raise UserError(f"truncation={cfg.truncation} must be a number between 0 and 2, or null")
    for key in ("interpolate", "overwrite"):
        if not isinstance(cfg[key], bool):
            raise UserError(f"{key}={cfg[key]} must be true or false")
    if cfg.weights not in ("average", "raw"):
        raise UserError(f"weights={cfg.weights} must be average or raw")
    out = Path(str(cfg.out))
    if out.is_file() and not cfg.overwrite:
        raise UserError(f"out={cfg.out} exists; choose another name, or overwrite=true")


def run() -> None:
    """The command."""
    command(main)
