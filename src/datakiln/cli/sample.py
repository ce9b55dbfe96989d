"""`datakiln sample run=outputs/... n=1000 out=x.csv`: synthetic data from a trained run, at constant memory."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from datakiln.cli import latent
from datakiln.cli.calling import called_as
from datakiln.cli.commands import command, given_twice, options
from datakiln.cli.spreading import LAUNCHERS, spread
from datakiln.data.pictures.finding import FORMATS
from datakiln.errors import UserError
from datakiln.sampling.room import check_room
from datakiln.sampling.unfinished import may_go_on
from datakiln.saying import say
from datakiln.spec import NOUNS, Sampling
from datakiln.storage import no_room
from datakiln.wording import counted

if TYPE_CHECKING:
    from datakiln.console import Console
    from datakiln.sampling.synthesizer import Synthesizer

Maker = Callable[..., str]
WHOLE_FILES = ("fill", "score", "translate", "upscale", "vary", "forecast")  # options that name what to work on
WORDS = {"fill": "filling", "upscale": "drawing"}
ONE_FILE = {*FORMATS, ".npz", ".npy", ".csv", ".parquet", ".zip"}
LEAST = 1  # bytes that a row or picture takes at the very least: what no disk holds is refused before anything is read
MOST_WORKERS = 10_000
DEFAULT_ROWS, DEFAULT_PICTURES, DEFAULT_STEPS = 1000, 64, 32  # of a table, of a grid or folder, of a walk
THAT_FILL = {"table": "tabar or mixture", "series": "tsar, tsflow or tsdiff", "image": "pixelcnn, ddpm or ppca"}
DEFAULT_HORIZON, DEFAULT_PATHS = 24, 100  # steps ahead of a forecast, continuations of each sequence


def main(argv: list[str]) -> None:
    """Checks the options, then samples.

    Raises:
        UserError: An option is missing, unknown or impossible, or `out` exists already.
    """
    cfg = options(argv, "sample")
    _check(cfg)
    if cfg.workers is not None:
        spread(argv, cfg.launcher or "local", int(cfg.workers))
        return
    say(f"sampling from {cfg.run} into {cfg.out}")
    # torch takes seconds to import: a wrong option should not wait for it
    from datakiln.console import Console
    from datakiln.sampling.registry import register_named
    from datakiln.sampling.synthesizer import Synthesizer

    if cfg.register is not None:
        register_named(cfg.register)
    console = Console()
    synthesizer = Synthesizer.load(cfg.run, device=str(cfg.device), raw=cfg.weights == "raw")
    try:
        done = _write(cfg, synthesizer, console)
    except OSError as error:
        if error.filename is not None and str(error.filename) in (str(cfg[key]) for key in WHOLE_FILES):
            raise
        if (full := no_room(error)) is not None:
            raise UserError(f"{full}; make room there, or choose another place") from error
        path = Path(str(cfg.out))
        file = next((p for p in (path, *path.parents) if p.is_file()), None)
        told = error.strerror or str(error) if file in (None, path) else f"{file} is a file, no folder"
        raise UserError(f"out={cfg.out} cannot be written ({told}); choose another place") from error
    console.print(f"{done} written to {cfg.out}", soft_wrap=True)


def _write(cfg: DictConfig, synthesizer: Synthesizer, console: Console) -> str:
    """Makes what was asked for; says what that was."""
    kind = synthesizer.codec.kind
    options = Sampling.of(cfg)
    condition = {str(name): value for name, value in cfg.condition.items()}
    if kind != "image":
        condition = by_column(condition, synthesizer.codec.schema.names)  # type: ignore[attr-defined]
    if kind != "series" and (key := next((key for key in ("length", "forecast") if cfg[key] is not None), None)):
        raise UserError(f"{key}={cfg[key]} is for series; this run has learnt {NOUNS[kind]}s")
    if kind != "table" and cfg.parts is not None:
        raise UserError(f"parts={cfg.parts} is for tables; this run has learnt {NOUNS[kind]}s, which are made at once")
    if kind == "series" and cfg.interpolate:
        raise UserError("interpolate=true is for pictures and tables; leave it out")
    if latent.is_asked(cfg, kind):
        return latent.write(cfg, synthesizer, condition, options)
    for key, makers in (
        ("fill", FILLERS), ("score", SCORERS), ("translate", TRANSLATORS), ("upscale", UPSCALERS), ("vary", VARIERS)
    ):  # fmt: skip
        if cfg[key] is not None:
            _check_ability(key, synthesizer)
            if key == "score" and (given := options.given()):
                name, value = next(iter(given.items()))
                raise UserError(f"score={cfg[key]} draws nothing, so that {name}={value} changes nothing; leave it out")
            if kind != "image" and cfg.mask is not None:
                raise UserError(f"mask={cfg.mask} is for pictures; a table's missing cells are what fill= draws")
            maker = _of_kind(makers, kind, f"{key}={cfg[key]}")
            if kind == "image" and key != "score":
                _check_folder(str(cfg.out), key)
            if kind != "image" or key not in ("fill", "upscale"):
                return maker(cfg, synthesizer, condition, options)
            with console.work(WORDS[key], 1) as work, synthesizer.watched(_pictures_in(cfg[key], key), work.part):
                work.step()
                return maker(cfg, synthesizer, condition, options)
    return _of_kind(WRITERS, kind, "sampling")(cfg, synthesizer, condition, options, console)


def _check_folder(out: str, option: str) -> None:
    """A name that ends as a file's is likelier a mistake than the name of a folder to be made."""
    path = Path(out)
    if path.suffix.lower() in ONE_FILE and not path.is_dir() and not out.endswith("/"):
        raise UserError(f"out={out}: what is made of {option}= goes to a folder; say out={path.with_suffix('')}/")


def _pictures_in(source: str, option: str) -> int:
    from datakiln.data.pictures.finding import find_pictures

    return len(find_pictures(Path(str(source)), labels=False, option=option)[0])


def by_column(condition: Mapping[str, Any], columns: Sequence[str]) -> dict[str, Any]:
    """Conditions under the columns' names, which may hold "=": the first sign behind which a column ends counts.

    Arguments:
        condition: As the command line was split, at the first "=" of each word.
        columns: Of the table.

    Raises:
        UserError: A column is named twice.
    """
    found: dict[str, Any] = {}
    for name, value in condition.items():
        word = f"{name}={value}"
        ends = [match.start() for match in re.finditer("=", word) if word[: match.start()] in columns]
        column, told = (word[: ends[0]], word[ends[0] + 1 :]) if ends else (name, value)
        if column in found:
            raise given_twice(f"condition.{column}")
        found[column] = value if column == name else told
    return found


def _check_ability(key: str, synthesizer: Synthesizer) -> None:
    """Whether the model can do what is asked is another question than what kind of data it is of."""
    model = synthesizer.model
    if key == "fill" and not model.can_fill:
        told = f"fill=: {type(model).__name__} cannot be told a part of an example and draw the rest"
        raise UserError(f"{told}; train model={THAT_FILL[synthesizer.codec.kind]}")
    if key == "score" and synthesizer.codec.kind != "image":  # pictures are scored in other ways as well
        synthesizer.check_likelihood()
    if key == "upscale" and not model.can_enlarge and model.enlarges == 1:
        told = f"upscale=: {type(model).__name__} cannot be told a smaller picture and draw a larger one"
        raise UserError(f"{told}; take a model=upscaler, flow_matching or ddpm run")
    if key in ("translate", "vary") and not model.can_transform:
        raise UserError(f"{key}=: {type(model).__name__} takes no input, it draws; leave {key}= out")


def _of_kind(makers: Mapping[str, Maker], kind: str, what: str) -> Maker:
    if kind not in makers:
        raise UserError(
            f"{what} is not there for {NOUNS[kind]}s; it is for {' and '.join(NOUNS[k] + 's' for k in makers)}"
        )
    return makers[kind]


def _fill_table(cfg: DictConfig, synthesizer: Synthesizer, condition: dict[str, Any], options: Sampling) -> str:
    from datakiln.sampling.filling import fill_file

    return fill_file(synthesizer, str(cfg.fill), str(cfg.out), int(cfg.seed)) + ";"


def _score_table(cfg: DictConfig, synthesizer: Synthesizer, condition: dict[str, Any], options: Sampling) -> str:
    from datakiln.sampling.filling import score_file

    return score_file(synthesizer, str(cfg.score), str(cfg.out)) + ";"


def _fill_pictures(cfg: DictConfig, synthesizer: Synthesizer, condition: dict[str, Any], options: Sampling) -> str:
    from datakiln.sampling.completing import fill_folder

    mask = None if cfg.mask is None else str(cfg.mask)
    source, out = Path(str(cfg.fill)), Path(str(cfg.out))
    return fill_folder(synthesizer, source, out, mask, int(cfg.seed), options, bool(cfg.overwrite))


def _score_pictures(cfg: DictConfig, synthesizer: Synthesizer, condition: dict[str, Any], options: Sampling) -> str:
    from datakiln.sampling.anomalies import score_pictures
    from datakiln.sampling.completing import score_folder

    write = score_folder if synthesizer.model.likelihood != "none" else score_pictures
    return write(synthesizer, Path(str(cfg.score)), str(cfg.out))


def _translate_pictures(cfg: DictConfig, synthesizer: Synthesizer, condition: dict[str, Any], options: Sampling) -> str:
    from datakiln.sampling.pictures_to_pictures import translate_folder

    source, out, to = Path(str(cfg.translate)), Path(str(cfg.out)), None if cfg.to is None else str(cfg.to)
    return translate_folder(synthesizer, source, out, condition, int(cfg.seed), options, bool(cfg.overwrite), to)


def _upscale_pictures(cfg: DictConfig, synthesizer: Synthesizer, condition: dict[str, Any], options: Sampling) -> str:
    from datakiln.sampling import completing, pictures_to_pictures

    source, out, overwrite = Path(str(cfg.upscale)), Path(str(cfg.out)), bool(cfg.overwrite)
    if synthesizer.model.enlarges > 1:
        return pictures_to_pictures.upscale_folder(synthesizer, source, out, condition, options, overwrite)
    return completing.upscale_folder(synthesizer, source, out, condition, int(cfg.seed), options, overwrite)


def _vary_pictures(cfg: DictConfig, synthesizer: Synthesizer, condition: dict[str, Any], options: Sampling) -> str:
    from datakiln.sampling.pictures_to_pictures import vary_folder

    source, out, per = Path(str(cfg.vary)), Path(str(cfg.out)), 10 if cfg.per is None else int(cfg.per)
    return vary_folder(synthesizer, source, out, per, int(cfg.seed), options, bool(cfg.overwrite))


def _write_table(
    cfg: DictConfig, synthesizer: Synthesizer, condition: dict[str, Any], options: Sampling, console: Console
) -> str:
    from datakiln.codecs.tables.table import TableCodec
    from datakiln.sampling.rejection import target_to_balance
    from datakiln.sampling.writing import write_table

    n = DEFAULT_ROWS if cfg.n is None else int(cfg.n)
    balance = None if cfg.balance is None else str(cfg.balance)
    if cfg.per_class is not None:
        assert isinstance(synthesizer.codec, TableCodec)
        balance = balance or target_to_balance(synthesizer.codec, int(cfg.per_class))
        n = int(cfg.per_class) * len(synthesizer.request(condition, balance).classes)
    if cfg.parts is not None:
        return _write_plan(cfg, synthesizer, n, condition, options, console, balance)
    write_table(synthesizer, n, str(cfg.out), condition, int(cfg.seed), console, balance, cfg.overwrite, options)
    return counted(n, "sample")


def _write_plan(
    cfg: DictConfig,
    synthesizer: Synthesizer,
    n: int,
    condition: dict[str, Any],
    options: Sampling,
    console: Console,
    balance: str | None,
) -> str:
    from datakiln.sampling.plan import Plan, write_plan

    plan = Plan.of(n, int(cfg.parts), cfg.worker)
    made = write_plan(synthesizer, plan, str(cfg.out), condition, int(cfg.seed), console, balance, options)
    return f"{counted(made, 'part')} of {plan.parts:,} ({plan.n:,} rows)"


def _write_pictures(
    cfg: DictConfig, synthesizer: Synthesizer, condition: dict[str, Any], options: Sampling, console: Console
) -> str:
    if cfg.balance is not None:
        raise UserError(f"balance={cfg.balance} is for tables; for pictures say per_class= or condition.class=...")
    from datakiln.sampling.pictures import is_by_class, renamed, write_by_class, write_images

    n = int(cfg.n or (DEFAULT_STEPS if cfg.interpolate else DEFAULT_PICTURES))
    if cfg.per_class is not None or (not cfg.interpolate and is_by_class(synthesizer, str(cfg.out), condition)):
        if cfg.interpolate or condition:
            other = "interpolate=true" if cfg.interpolate else "condition.class="
            raise UserError(f"per_class={cfg.per_class} makes pictures of every class; leave out {other}")
        each = None if cfg.per_class is None else int(cfg.per_class)
        whole = n if each is None else each * max(len(synthesizer.codec.spec.classes), 1)
        with console.work("sampling", 1) as work, synthesizer.watched(whole, work.part):
            work.step()
            made = write_by_class(synthesizer, n, str(cfg.out), each, int(cfg.seed), options, bool(cfg.overwrite))
        return f"{counted(made, 'sample')}{renamed(synthesizer.codec.spec.classes)}"
    walk = {"interpolate": cfg.interpolate, "overwrite": cfg.overwrite}
    with console.work("sampling", 1) as work, synthesizer.watched(n, work.part):
        work.step()
        write_images(synthesizer, n, str(cfg.out), condition, int(cfg.seed), options, **walk)
    return counted(n, "sample")


def _write_series(
    cfg: DictConfig, synthesizer: Synthesizer, condition: dict[str, Any], options: Sampling, console: Console
) -> str:
    from datakiln.sampling.series import forecast_file, write_endless, write_sequences

    if cfg.balance is not None or cfg.per_class is not None:
        raise UserError(f"balance={cfg.balance}, per_class={cfg.per_class}: for series say condition.COLUMN=VALUE")
    out, seed = Path(str(cfg.out)), int(cfg.seed)
    if cfg.forecast is not None:
        usual = DEFAULT_PATHS if Path(str(cfg.out)).suffix == ".csv" else 1  # of text or sound
        horizon, paths = int(cfg.horizon or DEFAULT_HORIZON), int(cfg.paths or usual)
        return forecast_file(synthesizer, str(cfg.forecast), out, horizon, paths, seed, options)
    if cfg.length is not None:
        return write_endless(synthesizer, int(cfg.n or 1), int(cfg.length), out, condition, seed, options)
    return write_sequences(synthesizer, cfg.n, out, condition, seed, options)


def _fill_series(cfg: DictConfig, synthesizer: Synthesizer, condition: dict[str, Any], options: Sampling) -> str:
    from datakiln.sampling.series_filling import fill_file

    return fill_file(synthesizer, str(cfg.fill), Path(str(cfg.out)), int(cfg.seed), options)


def _score_series(cfg: DictConfig, synthesizer: Synthesizer, condition: dict[str, Any], options: Sampling) -> str:
    from datakiln.sampling.series import score_file

    return score_file(synthesizer, str(cfg.score), Path(str(cfg.out)))


# by kind of data; a kind that is not named here is refused by name
WRITERS: dict[str, Maker] = {"table": _write_table, "image": _write_pictures, "series": _write_series}
FILLERS: dict[str, Maker] = {"table": _fill_table, "image": _fill_pictures, "series": _fill_series}
SCORERS: dict[str, Maker] = {"table": _score_table, "image": _score_pictures, "series": _score_series}
TRANSLATORS: dict[str, Maker] = {"image": _translate_pictures}
UPSCALERS: dict[str, Maker] = {"image": _upscale_pictures}
VARIERS: dict[str, Maker] = {"image": _vary_pictures}


def _check(cfg: DictConfig) -> None:
    for key in ("run", "out"):
        if OmegaConf.is_missing(cfg, key):
            raise UserError(f"{key}= is missing; usage: {called_as('sample')} run=FOLDER n=1000 out=x.csv")
    for key in ("n", "per_class"):
        if cfg[key] is not None and "://" not in str(cfg.out):
            check_room(str(cfg.out), cfg[key], LEAST, f"{key}={cfg[key]}")
    if cfg.n is not None and cfg.per_class is not None:
        raise UserError(f"n={cfg.n} and per_class={cfg.per_class} cannot both be met; give one of them")
    for key in WHOLE_FILES:
        others = [
            other
            for other in ("n", "per_class", "balance", "length", *WHOLE_FILES)
            if other != key and cfg[other] is not None
        ]
        told = cfg.condition and key not in ("translate", "upscale")
        if cfg[key] is not None and (others or told):
            what = f"works on what is in there; leave out {(*others, 'condition')[0]}="
            raise UserError(f"{key}={cfg[key]} {what}")
    for key, of in (("to", "translate"), ("per", "vary"), ("horizon", "forecast"), ("paths", "forecast")):
        if cfg[key] is not None and cfg[of] is None:
            what = "FILE" if of == "forecast" else "DIR"
            raise UserError(f"{key}={cfg[key]} is of {of}=; give {of}={what} too, or leave it out")
    if cfg.mask is not None and cfg.fill is None:
        raise UserError(f"mask={cfg.mask} says what fill= hides in pictures; give fill=FOLDER/ too, or leave it out")
    latent.check(cfg)
    if cfg.parts is None and (cfg.worker is not None or "://" in str(cfg.out)):
        key = "worker" if cfg.worker is not None else "out"
        raise UserError(f"{key}={cfg[key]} needs parts=; say parts=1000")
    if cfg.parts is not None and "://" not in str(cfg.out) and not str(cfg.out).endswith("/"):
        raise UserError(f"parts={cfg.parts} makes several files, so out={cfg.out} must be a folder and end in /")
    _check_workers(cfg)
    taken = [key for key in (*WHOLE_FILES, "interpolate", "overwrite") if cfg.parts is not None and cfg[key]]
    if taken:
        raise UserError(f"parts={cfg.parts} and {taken[0]}={cfg[taken[0]]} do not go together; leave one of them out")
    if not isinstance(cfg.seed, int):
        raise UserError(f"seed={cfg.seed} must be a whole number")
    Sampling.of(cfg)  # refuses values that no model could use
    for key in ("interpolate", "overwrite"):
        if not isinstance(cfg[key], bool):
            raise UserError(f"{key}={cfg[key]} must be true or false")
    if cfg.weights not in ("average", "raw"):
        raise UserError(f"weights={cfg.weights} must be average or raw")
    out = Path(str(cfg.out))
    if out.is_file() and not cfg.overwrite and not may_go_on(out):
        raise UserError(f"out={cfg.out} exists; choose another name, or overwrite=true")


def _check_workers(cfg: DictConfig) -> None:
    if cfg.launcher is not None and (cfg.launcher not in LAUNCHERS or cfg.workers is None):
        raise UserError(f"launcher={cfg.launcher} must be {', '.join(LAUNCHERS)} and needs workers=; say workers=4")
    if cfg.workers is None:
        return
    if not isinstance(cfg.workers, int) or isinstance(cfg.workers, bool) or not 1 <= cfg.workers <= MOST_WORKERS:
        raise UserError(f"workers={cfg.workers} must be a whole number from 1 to {MOST_WORKERS}")
    if cfg.parts is None or cfg.worker is not None:
        raise UserError(f"workers={cfg.workers} starts processes for parts; give parts= and leave out worker=")


def run() -> None:
    """The command."""
    command(main)
