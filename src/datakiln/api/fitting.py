"""`dk.fit(data, model="tabar", target="income")`: a trained model from whatever the data is in."""

from __future__ import annotations

import signal
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, open_dict, read_write

from datakiln.api.config import composed, gathered, quoted, words
from datakiln.api.process import as_it_was, numbers_as_they_were, quietly
from datakiln.cli import choices, signatures
from datakiln.cli.checks import check, check_arguments
from datakiln.data.tables.finding import is_store, parts_of
from datakiln.errors import UserError, near
from datakiln.storage import cache_dir, leaving_no_trace

if TYPE_CHECKING:
    import os

    import pandas as pd

    from datakiln.api.model import Model

DEFAULTS = {"table": "tabar", "image": "vae", "series": "tsar"}  # models by kind of data
TABLES = (".csv", ".tsv", ".txt", ".parquet", ".pq", ".gz")
FRAME = "frame"  # what a run calls data that is a DataFrame


def fit(
    data: pd.DataFrame | str | os.PathLike[str],
    model: str | None = None,
    target: str | None = None,
    epochs: int | None = None,
    seed: int = 0,
    folder: str | os.PathLike[str] | None = None,
    progress: bool = False,
    options: Mapping[str, Any] | None = None,
    **top_level: Any,
) -> Model:
    """Trains a model; the process and the disk are afterwards as they were before.

    Ctrl-C ends the training and gives the model of the best epoch so far, if there is one.

    Arguments:
        data: A DataFrame, whose dtypes samples come back with; a CSV, TSV or Parquet file; a folder of Parquet files,
            or the address of one in an object store; a folder of pictures; or the name of a data set, such as "iris"
            (see `datakiln train --help`).
        model: Its name, such as "tabar", "ctgan" or "vae"; None for "tabar" on tables and "vae" on pictures.
        target: Label column of the table, for conditional models and for figures of utility.
        epochs: Passes over the training rows; None for what the model's own settings say.
        seed: Of everything: split, weights, batches.
        folder: Where to leave the run, with its figures and report, as `datakiln train` does; None to leave nothing.
        progress: Whether to show how far it is.
        options: Options of the command line by full name, such as {"model.width": 64}.
        **top_level: Options without a dot, such as latent_dim=5, batch_size=64 or conditional=True.

    Returns:
        The model of the epoch that was best by the monitor on the validation rows.

    Raises:
        UserError: The data cannot be used, or an option is unknown, misspelt or impossible; in one line.
        KeyboardInterrupt: Ctrl-C before any epoch was measured.
    """
    given = gathered(options, top_level)
    with as_it_was(), ExitStack() as stack:
        source = source_of(data, target, given.get("data_dir"))
        told = {} if epochs is None else {"epochs": epochs}
        chosen = {"model": model or DEFAULTS[source.kind], "seed": seed, **told}
        stack.enter_context(nullcontext() if folder is not None else leaving_no_trace())
        enter_source = stack.enter_context(source.lent())
        cfg = stack.enter_context(composed([*source.words, *words(chosen), *words(given)]))
        enter_source(cfg)
        place = stack.enter_context(_placed(folder))
        with open_dict(cfg):
            cfg.output_dir = str(place)
            if folder is None:
                cfg.root = str(place)  # where a table that stays on disk keeps a copy of itself
                if cfg.privacy.get("ledger") == f"{place}/privacy-ledger.jsonl":  # what was spent outlasts the place
                    cfg.privacy.ledger = str(cache_dir() / "privacy-ledger.jsonl")
        check(cfg)
        stack.enter_context(numbers_as_they_were())  # only now is torch needed
        stack.enter_context(quietly())
        from datakiln.api.running import trained

        check_arguments(cfg)  # those of other packages' classes too, which are imported for it
        outcome = trained(cfg, progress, keep=folder is not None)
    if outcome.stopped_by == "SIGTERM":
        signal.raise_signal(signal.SIGTERM)  # the process is asked to end, not this training alone
        raise UserError("stopped by SIGTERM, which this program caught; the model is not kept")
    if outcome.model is None:
        raise KeyboardInterrupt
    if outcome.note:
        warnings.warn(outcome.note, stacklevel=2)
    return outcome.model


@dataclass(frozen=True)
class DataSource:
    """What a person gave as data, as the command line would be told of it.

    Attributes:
        kind: "table" or "image".
        words: Options that choose it.
        frame: The rows themselves, where no file holds them.
        target: Label column of the frame.
    """

    kind: str
    words: list[str]
    frame: pd.DataFrame | None = None
    target: str | None = None

    @contextmanager
    def lent(self) -> Iterator[Callable[[DictConfig], None]]:
        """For as long as the block lasts, a config can be told of the frame by what is given, and will find it."""
        if self.frame is None:
            yield lambda cfg: None
            return
        from datakiln.data.tables.memory import FrameTable, held

        with held(self.frame) as sha256:
            label = None if self.target is None else self.target.replace("${", r"\${")
            target = f"{FrameTable.__module__}.{FrameTable.__qualname__}"
            yield lambda cfg: _enter(cfg, {"_target_": target, "sha256": sha256, "target": label})


def _enter(cfg: DictConfig, source: dict[str, Any]) -> None:
    from hydra.core.hydra_config import HydraConfig

    with open_dict(cfg):
        cfg.data.source = source
    told: Any = HydraConfig.instance().cfg
    with read_write(told.hydra), open_dict(told.hydra):
        told.hydra.runtime.choices.data = FRAME


def source_of(data: Any, target: str | None = None, data_dir: Any = None) -> DataSource:  # noqa: ANN401 (what a person gave)
    """What the data is.

    Arguments:
        data: See `fit`.
        target: See `fit`.
        data_dir: Folder that relative paths are looked for in as well; None for `$DATA_DIR`.

    Raises:
        UserError: It is nothing that could be learnt from, or the target is no column.
    """
    import os

    if isinstance(data, str | os.PathLike):
        return _named_or_file(os.fspath(data), target, data_dir or os.environ.get("DATA_DIR"), isinstance(data, str))
    import pandas as pd

    if not isinstance(data, pd.DataFrame):
        way_out = "give a pandas DataFrame, the path of a table or of a folder of pictures, or a name such as 'iris'"
        raise UserError(f"data is of type {type(data).__name__}; {way_out}")
    from datakiln.data.tables.memory import check_target, checked

    frame = checked(data, "the DataFrame")
    check_target(frame, target, "the DataFrame")
    return DataSource("table", ["data=table"], frame, target)


def _named_or_file(text: str, target: str | None, data_dir: Any, may_be_name: bool) -> DataSource:  # noqa: ANN401
    named = [name for name in choices.names("data") if choices.is_complete("data", name) and not _wants_path(name)]
    if may_be_name and text in named:
        if target is not None:
            raise UserError(f"target={target!r} is for tables of your own; data={text!r} has the label it has")
        kind = signatures.attribute(str(choices.keys("data", text)["data._target_"]), "kind")
        return DataSource(str(kind), [f"data={text}"])
    label = [] if target is None else [f"data.target={quoted(str(target))}"]
    if is_store(text):
        return DataSource("table", ["data=csv", f"data.path={quoted(text)}", *label])
    path = Path(text).expanduser()
    if not path.exists() and data_dir is not None and (Path(str(data_dir)) / path).exists():
        path = Path(str(data_dir)) / path
    if not path.exists():
        raise UserError(_nowhere(text, path, named))
    if path.is_dir() and parts_of(path) is None:
        if target is not None:
            raise UserError(f"target={target!r} is for tables; the classes of pictures are the subfolders they lie in")
        return DataSource("image", ["data=image_folder", f"data.path={quoted(str(path))}"])
    return DataSource("table", ["data=csv", f"data.path={quoted(str(path))}", *label])


def _wants_path(name: str) -> bool:
    return choices.keys("data", name).get("data.path", "") == "???"


def _nowhere(text: str, path: Path, named: list[str]) -> str:
    siblings = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
    if path.suffix.lower() in TABLES or len(path.parts) > 1:
        return f"data={text!r}: there is no such file or folder{near(path.name, siblings)}"
    hint = near(text, [*named, *siblings]) or f"; known data sets: {', '.join(named)}"
    return f"data={text!r} is no file, no folder and no data set{hint}"


@contextmanager
def _placed(folder: Any) -> Iterator[Path]:  # noqa: ANN401 (a path or None)
    """The folder of a run; a temporary one, removed whatever happens, where none is wanted."""
    if folder is not None:
        yield Path(folder)
        return
    with tempfile.TemporaryDirectory(prefix="datakiln-") as name:
        yield Path(name)
