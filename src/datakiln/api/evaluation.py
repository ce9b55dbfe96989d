"""`dk.evaluate(real, synthetic)`: synthetic data from anywhere measured against real data."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datakiln.api.process import as_it_was, numbers_as_they_were, quietly
from datakiln.errors import UserError
from datakiln.storage import leaving_no_trace

if TYPE_CHECKING:
    import pandas as pd

    from datakiln.api.report import Report

    Data = pd.DataFrame | str | os.PathLike[str]

NAMES = {"real": "real data", "synthetic": "synthetic data"}  # of what comes from no file


def evaluate(
    real: Data, synthetic: Data, holdout: Data | None = None, target: str | None = None, seed: int = 0
) -> Report:
    """Measures synthetic data against real data: two tables, or two folders of pictures.

    Arguments:
        real: Rows that the generator may have learnt from: a DataFrame or a table file; or a folder of pictures.
        synthetic: What is judged, of the same kind, with all columns of the real table.
        holdout: Real rows that the generator has never seen; None where there are none, and then nothing is claimed
            about memory. All of `real` counts as what the generator has learnt from.
        target: Label column of the tables, for figures of utility.
        seed: Of every resampling.

    Returns:
        The report: `figures`, `show()`, `save("r.html")`, `plot("age")`.

    Raises:
        UserError: The data cannot be read, or the two do not belong together; in one line.
    """
    given = {"real": real, "synthetic": synthetic, "holdout": holdout}
    for name, data in given.items():
        if name != "holdout" or data is not None:
            _check(name, data)
    folders = {name: _is_folder(data) for name, data in given.items() if data is not None}
    if folders["real"] != folders["synthetic"]:
        raise UserError("real and synthetic must be two tables or two folders of pictures")
    with as_it_was(), leaving_no_trace(), numbers_as_they_were(), quietly():
        if not folders["real"]:
            return _tables(real, synthetic, holdout, target, seed)
        for name, value in (("holdout", holdout), ("target", target)):
            if value is not None:
                raise UserError(f"{name}={value!r} is for tables; leave it out for folders of pictures")
        return _folders(real, synthetic, seed)


def _check(name: str, data: Any) -> None:  # noqa: ANN401 (what a person gave)
    if isinstance(data, str | os.PathLike):
        if not Path(data).expanduser().exists():
            raise UserError(f"{name}={os.fspath(data)!r} does not exist")
        return
    import pandas as pd

    if not isinstance(data, pd.DataFrame):
        told = f"{name} is of type {type(data).__name__}"
        raise UserError(f"{told}; give a DataFrame, a table file, or a folder of pictures")


def _is_folder(data: Any) -> bool:  # noqa: ANN401 (what a person gave)
    return isinstance(data, str | os.PathLike) and Path(data).expanduser().is_dir()


def _tables(real: Any, synthetic: Any, holdout: Any, target: str | None, seed: int) -> Report:  # noqa: ANN401
    from datakiln.api.report import Report
    from datakiln.cli.evaluate import default_metrics
    from datakiln.data.tables.memory import check_target
    from datakiln.data.tables.sources import frame_sha256
    from datakiln.metrics.evaluate import evaluate_table
    from datakiln.proof.base import scores
    from datakiln.proof.pair import draw, paired, result_of
    from datakiln.results import Source

    left, right = _read("real", real), _read("synthetic", synthetic)
    unseen = None if holdout is None else _read("holdout", holdout, least=1)
    check_target(left, target, "real")
    data, lines = paired(left, right, target, seed, unseen)
    _warn(lines)
    found = scores(evaluate_table(data, default_metrics("table")))
    kind = "memory" if _name("real", real) == NAMES["real"] else "files"
    source = Source(kind, _name("real", real), frame_sha256(left))
    result = result_of(data, found, (_name("real", real), _name("synthetic", synthetic)), source)
    return Report(result, lambda folder: draw(data, folder), table=data, preview=data.synthetic.head(10))


def _read(name: str, data: Any, least: int = 10) -> pd.DataFrame:  # noqa: ANN401 (a frame or a path)
    from datakiln.data.tables.files import read_table_file
    from datakiln.data.tables.limits import check_room
    from datakiln.data.tables.memory import checked

    if isinstance(data, str | os.PathLike):
        path = Path(data).expanduser()
        check_room(path)
        return read_table_file(path, least=least).frame
    return checked(data, name, least)


def _name(name: str, data: Any) -> str:  # noqa: ANN401 (a frame or a path)
    return Path(data).name if isinstance(data, str | os.PathLike) else NAMES[name]


def _warn(lines: list[str]) -> None:
    import warnings

    for line in lines:
        warnings.warn(line, stacklevel=4)


def _folders(real: Any, synthetic: Any, seed: int) -> Report:  # noqa: ANN401 (paths)
    from omegaconf import OmegaConf

    from datakiln.api.progress import quiet_console
    from datakiln.api.report import Report, temporary
    from datakiln.cli.evaluate import default_metrics
    from datakiln.proof.folders import evaluate_folders

    paths = {"real": str(Path(real).expanduser()), "synthetic": str(Path(synthetic).expanduser())}
    cfg = OmegaConf.create({**paths, "n": None, "seed": int(seed)})
    with temporary() as folder:
        result, plots, _ = evaluate_folders(cfg, default_metrics("image"), folder, quiet_console())
        drawn = {Path("plots") / path.name: path.read_bytes() for path in plots}
    return Report(result, lambda folder: [folder / path for path in drawn], left=drawn)
