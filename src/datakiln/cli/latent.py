"""What `sample` does in a model's latent space: traverse, edit, mix and project; and walks between rows of a table."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from datakiln.errors import UserError, near
from datakiln.spec import Sampling
from datakiln.wording import counted, number

if TYPE_CHECKING:
    import numpy as np

    from datakiln.sampling.latent import Points
    from datakiln.sampling.synthesizer import Synthesizer

OPTIONS = (
    "traverse",
    "attribute",
    "mix",
    "curve",
)  # of which one is asked for at a time; `project` goes with the first two
ROWS, SHOWN, MIXED, STEPS = (
    1000,
    8,
    6,
    9,
)  # edited rows; edited pictures; mixed ones of either kind; steps of a traversal
DRAWN_ROWS, DRAWN_PICTURES = 4000, 1000  # examples that the direction of an attribute is found from


def check(cfg: DictConfig) -> None:
    """Refuses options that do not go together; imports nothing heavy.

    Raises:
        UserError: The options, and which to leave out.
    """
    asked = [name for name in OPTIONS if cfg[name] is not None]
    if len(asked) > 1:
        raise UserError(f"{asked[0]}= and {asked[1]}= cannot both be followed; give one of them")
    if cfg.project is not None and asked and asked[0] in ("mix", "curve"):
        raise UserError(f"project= goes with traverse= or attribute=, not with {asked[0]}=; leave one of them out")
    if (cfg.attribute is None) != (cfg.edit is None):
        one, other = ("attribute", "edit") if cfg.edit is None else ("edit", "attribute")
        example = "edit=+2, in standard deviations" if cfg.edit is None else "attribute=COLUMN, or a class of pictures"
        raise UserError(f"{one}={cfg[one]} needs {other}=; say {example}")
    if cfg.project is not None and cfg.n is not None:
        raise UserError(f"n={cfg.n} and project=, which starts from one picture, cannot both be followed; leave n= out")
    if cfg.curve is not None:
        _truncations(cfg.curve)
    if cfg.reach is not None and cfg.traverse is None:
        raise UserError(f"reach={cfg.reach} is how far traverse= goes; give traverse=0 too, or leave it out")
    if not asked and cfg.project is None:
        return
    others = ("fill", "score", "translate", "upscale", "vary", "forecast", "length", "parts", "per_class", "balance")
    name = next((other for other in others if cfg[other] is not None), "interpolate" if cfg.interpolate else None)
    if name is not None:
        raise UserError(f"{(*asked, 'project')[0]}= and {name}= cannot both be followed; leave one of them out")


def is_asked(cfg: DictConfig, kind: str) -> bool:
    """Whether something here is to be done; a walk of pictures is done elsewhere, as a strip and an animation."""
    is_walk = bool(cfg.interpolate) and kind == "table"
    return is_walk or cfg.project is not None or any(cfg[name] is not None for name in OPTIONS)


def write(cfg: DictConfig, synthesizer: Synthesizer, condition: Mapping[str, Any], options: Sampling) -> str:
    """Makes what was asked for; says what that was."""
    from datakiln.sampling import latent

    if cfg.curve is None:
        latent.check_latent(synthesizer)
    kind = synthesizer.codec.kind
    wanted = ("csv", "parquet") if kind == "table" else ("png", "csv") if cfg.curve is not None else ("png",)
    suffix = Path(str(cfg.out)).suffix.lower().lstrip(".")
    if suffix not in wanted:
        raise UserError(f"out={cfg.out}: this goes to x.{' or x.'.join(wanted)}")
    if cfg.project is not None and kind != "image":
        raise UserError(f"project={cfg.project} is for pictures; this run has learnt rows")
    given = None if cfg.project is None else _project(cfg, synthesizer, condition, options)
    doing = next((name for name in OPTIONS if cfg[name] is not None), None)
    if doing is None:
        return (
            _walk(cfg, synthesizer, condition, options) if given is None else _found(cfg, synthesizer, given, options)
        )
    makers: dict[str, Callable[..., str]] = {"traverse": _traverse, "attribute": _edit, "mix": _mix, "curve": _curve}
    return makers[doing](cfg, synthesizer, condition, options, given)


def _traverse(
    cfg: DictConfig, synthesizer: Synthesizer, condition: Mapping[str, Any], options: Sampling, given: Given | None
) -> str:
    from datakiln.sampling import latent
    from datakiln.schema import free_name

    size: Any = synthesizer.model.latent_dim
    dimensions = _dimensions(cfg.traverse, size)
    reach = 2.0 if cfg.reach is None else float(cfg.reach)
    steps, n = STEPS, int(cfg.n or 1)
    if synthesizer.codec.kind == "image":
        _check_grid(n * len(dimensions) * steps)
    if given is None:
        at, values = latent.traversal(synthesizer, dimensions, steps, reach, n, condition, int(cfg.seed), options)
    else:
        at, values = latent.around(given.at, dimensions, steps, reach)
    made = latent.shown(synthesizer, at, options, int(cfg.seed))
    told = f"{counted(len(dimensions), 'dimension')} from {number(-reach)} to {number(reach)};"
    if synthesizer.codec.kind == "table":
        names = [free_name(name, made.columns) for name in ("dimension", "value")]
        made.insert(0, names[1], values)
        made.insert(0, names[0], [d for _ in range(n) for d in dimensions for _ in range(steps)])
        return _save_rows(cfg, made, told)
    changes = _changes(made.reshape(-1, len(dimensions), steps, *made.shape[1:]), dimensions)
    _save_grid(cfg, made, steps, f"Traversal of {told.rstrip(';')}, a dimension a row.")
    return f"{told}{changes}"


def _changes(pictures: np.ndarray, dimensions: list[int]) -> str:
    """How slant and width differ between the ends of a row, of those dimensions where they differ most."""
    import numpy as np

    from datakiln.metrics.pictures.shapes import slant, width

    found: list[str] = []
    for name, measure, unit in (("slant", slant, "degrees"), ("width", width, "px")):
        ends = [measure(pictures[:, :, at].reshape(-1, *pictures.shape[3:])) for at in (0, -1)]
        change = np.nanmean((ends[1] - ends[0]).reshape(len(pictures), -1), axis=0)
        if np.isfinite(change).any():
            most = int(np.nanargmax(np.abs(change)))
            found.append(f" {name} changes most along {dimensions[most]}, by {change[most]:+.1f} {unit};")
    return "".join(found)


def _dimensions(asked: Any, size: int) -> list[int]:  # noqa: ANN401 (a number, a list or a word)
    plain = OmegaConf.to_container(asked) if OmegaConf.is_config(asked) else asked
    if plain == "all":
        return list(range(size))
    found = plain if isinstance(plain, list) else [plain]
    if not found or not all(isinstance(d, int) and not isinstance(d, bool) for d in found):
        raise UserError(f"traverse={asked} must be a dimension, a list such as [0,1,2], or all")
    return list(found)


def _edit(
    cfg: DictConfig, synthesizer: Synthesizer, condition: Mapping[str, Any], options: Sampling, given: Given | None
) -> str:
    from datakiln.sampling import latent

    is_table = synthesizer.codec.kind == "table"
    if not is_table:
        _check_grid(int(cfg.n or SHOWN) * STEPS)
    read, name = _of_column(cfg, synthesizer) if is_table else _of_class(cfg, synthesizer)
    n = DRAWN_ROWS if is_table else DRAWN_PICTURES
    seed, amount = int(cfg.seed), float(cfg.edit)
    drawn = latent.points(synthesizer, n, condition, seed + 1, options)
    way = latent.direction(drawn, read(latent.shown(synthesizer, drawn, options, seed)))
    if given is None:
        start = latent.points(synthesizer, int(cfg.n or (ROWS if is_table else SHOWN)), condition, seed, options)
    else:
        start = given.at
    told = f"{name} edited by {amount:+g} standard deviations (the direction's correlation with it is {way.told:.2f});"
    if is_table:
        import pandas as pd

        from datakiln.schema import free_name

        before, after = (latent.shown(synthesizer, p, options, seed) for p in (start, start.moved(amount * way.step)))
        shares = [float(pd.Series(read(part)).mean()) for part in (before, after)]
        column = free_name("edit", before.columns)
        before.insert(0, column, 0.0)
        after.insert(0, column, amount)
        was, now = (_average(synthesizer, name, share) for share in shares)
        told = f"{told} it was {was} on average, and is {now};"
        return _save_rows(cfg, pd.concat([before, after]).sort_index(kind="stable").reset_index(drop=True), told)
    import torch

    amounts = torch.linspace(min(0.0, amount), max(0.0, amount), STEPS)
    moved = start.repeated(STEPS).moved(amounts.repeat(len(start))[:, None] * way.step)
    made = latent.shown(synthesizer, moved, options, seed)
    ends = made.reshape(len(start), STEPS, *made.shape[1:])
    least, most = (float(read(ends[:, at]).mean()) for at in (0, -1))
    first, last = (least, most) if amount > 0 else (most, least)
    _save_grid(cfg, made, STEPS, f"Edits of {name} from {amounts[0]:g} to {amounts[-1]:g} standard deviations.")
    return f"{told} {number(100 * first)} % show it before, {number(100 * last)} % after;"


def _average(synthesizer: Synthesizer, attribute: str, mean: float) -> str:
    """A mean in words: of dates it is one."""
    import numpy as np

    from datakiln.codecs.tables.values import from_numbers

    schema: Any = synthesizer.codec.schema  # type: ignore[attr-defined]
    if attribute in schema.names and schema[attribute].type == "datetime":
        return str(from_numbers(np.array([mean]), schema[attribute]).iloc[0])
    return number(mean)


def _of_column(cfg: DictConfig, synthesizer: Synthesizer) -> tuple[Callable[[Any], np.ndarray], str]:
    """What tells an attribute of rows: a number's value, or whether a cell is what was named, as in a condition."""
    import numpy as np

    from datakiln.codecs.tables.values import to_numbers
    from datakiln.sampling.conditions import domain_of

    schema: Any = synthesizer.codec.schema  # type: ignore[attr-defined]
    word = str(cfg.attribute)
    column, sign, value = word.partition("=")
    if word in schema.names:
        column, sign, value = word, "", ""
    if column not in schema.names:
        raise UserError(f"attribute={word}: there is no column {column}{near(column, schema.names)}")
    if column == schema.label and synthesizer.model.conditioning == "label":
        raise UserError(f"attribute={word}: that is what this model is told; say condition.{column}=VALUE instead")
    if column in schema.numeric and not sign:
        return (lambda frame: to_numbers(frame[column], schema[column])), column
    domain = domain_of(synthesizer.codec, column, f"attribute={word}")  # type: ignore[arg-type]
    known = list(getattr(domain, "values", []))
    if not sign and len(known) != 2:
        told = f"attribute={word}: {column} is {domain.describe()}"
        raise UserError(f"{told}; name what is to grow, as attribute={column}={known[0] if known else 'VALUE'}")
    value = value if sign else str(known[1])
    region = domain.read(value)

    def read(frame: Any) -> np.ndarray:  # noqa: ANN401 (a frame)
        cells = frame[column]
        return np.where(cells.isna(), np.nan, domain.holds(region, cells).astype(float))

    return read, f"{column}={value}"


def _of_class(cfg: DictConfig, synthesizer: Synthesizer) -> tuple[Callable[[Any], np.ndarray], str]:
    """What tells whether pictures show a class: a classifier of the run's own labelled pictures."""
    import torch

    from datakiln.cli.stored import opened_run
    from datakiln.metrics.extractors.build import build_extractor
    from datakiln.metrics.extractors.classifier import class_choices

    classes = synthesizer.codec.spec.classes
    name = str(cfg.attribute).removeprefix("class=")
    if name not in classes:
        told = f"known: {', '.join(classes[:10])}" if classes else "these pictures have no classes"
        raise UserError(f"attribute={cfg.attribute}: there is no class {name}{near(name, classes)}; {told}")
    if synthesizer.model.conditioning == "label":
        raise UserError(f"attribute={name}: this model is told the class; say condition.class={name} instead")
    run = Path(str(cfg.run))
    if not run.is_dir():
        raise UserError(f"run={run}: an attribute of pictures is told by their labels, which the run's folder leads to")
    data: Any = opened_run(cfg, run)[2]
    judge = build_extractor("classifier", data=data.labelled_sample())
    at = classes.index(name)

    def read(pictures: np.ndarray) -> np.ndarray:
        chosen = [class_choices(judge, judge(part)) for part in torch.from_numpy(pictures).split(256)]
        return (torch.cat(chosen) == at).cpu().numpy().astype(float)

    return read, name


def _mix(
    cfg: DictConfig, synthesizer: Synthesizer, condition: Mapping[str, Any], options: Sampling, given: Given | None
) -> str:
    import numpy as np

    from datakiln.sampling import latent

    n, seed = int(cfg.n or MIXED), int(cfg.seed)
    _check_grid((n + 1) ** 2)
    both = latent.points(synthesizer, 2 * n, condition, seed, options)
    coarse, fine = (dataclasses.replace(both, styles=both.styles[at]) for at in (slice(n), slice(n, None)))
    if both.y is not None:
        coarse, fine = dataclasses.replace(coarse, y=both.y[:n]), dataclasses.replace(fine, y=both.y[n:])
    made = latent.shown(synthesizer, latent.mixed(synthesizer, coarse, fine, int(cfg.mix)), options, seed)
    rows, columns = (latent.shown(synthesizer, part, options, seed) for part in (coarse, fine))
    empty = np.full_like(columns[:1], 255)
    sheet = [empty, columns]  # the fine ones on top, and before each row its coarse one
    for i in range(n):
        sheet += [rows[i : i + 1], made[i * n : (i + 1) * n]]
    _save_grid(cfg, np.concatenate(sheet), n + 1, f"Styles of rows before layer {cfg.mix}, of columns from it on.")
    of = synthesizer.model.style_layers
    return f"{n} x {n} pictures with the styles of two, crossing over at layer {cfg.mix} of {of},"


@dataclasses.dataclass(frozen=True)
class Given:
    """A picture that was given, and the point that is nearest to it."""

    picture: np.ndarray
    at: Points
    off: float


def _project(cfg: DictConfig, synthesizer: Synthesizer, condition: Mapping[str, Any], options: Sampling) -> Given:
    from datakiln.data.pictures.files import BadPicture, read_picture, square
    from datakiln.sampling import latent

    channels, side, _ = synthesizer.codec.spec.shape
    try:
        picture = square(read_picture(Path(str(cfg.project)))[0], side, channels)
    except BadPicture as fault:
        raise UserError(f"project={cfg.project} {fault}; give another picture") from None
    return Given(picture, *latent.projected(synthesizer, picture, condition, int(cfg.seed), options))


def _found(cfg: DictConfig, synthesizer: Synthesizer, given: Given, options: Sampling) -> str:
    import numpy as np

    from datakiln.sampling import latent

    made = latent.shown(synthesizer, given.at, options, int(cfg.seed))
    _save_grid(cfg, np.concatenate([given.picture[None], made]), 2, "A picture, and the nearest that the model makes.")
    return f"{cfg.project} and the nearest the model makes, {given.off:.1f} of 255 levels off (root mean square),"


def _walk(cfg: DictConfig, synthesizer: Synthesizer, condition: Mapping[str, Any], options: Sampling) -> str:
    """A closed walk between random rows of a table."""
    from datakiln.sampling import latent
    from datakiln.schema import free_name

    n, seed = int(cfg.n or 32), int(cfg.seed)
    made = latent.shown(synthesizer, latent.walk(synthesizer, n, condition, seed, options), options, seed)
    made.insert(0, free_name("step", made.columns), range(n))
    return _save_rows(cfg, made, f"{n} steps of a walk;")


def _curve(
    cfg: DictConfig, synthesizer: Synthesizer, condition: Mapping[str, Any], options: Sampling, given: Given | None
) -> str:
    from datakiln.cli.stored import opened_run
    from datakiln.metrics.base import MetricError
    from datakiln.proof.truncation import curve, save_curve

    if synthesizer.codec.kind != "image":
        raise UserError(f"curve={cfg.curve} is for pictures; this run has learnt rows")
    if options.truncation is not None:
        raise UserError(f"truncation={options.truncation} and curve= cannot both be followed; leave one of them out")
    if condition:
        told = f"condition.{next(iter(condition))}={next(iter(condition.values()))}"
        raise UserError(f"{told} and curve=, which compares with pictures of all classes, cannot both be followed")
    data: Any = opened_run(cfg, Path(str(cfg.run)))[2]
    try:
        found = curve(synthesizer, data, _truncations(cfg.curve), int(cfg.n or 1000), int(cfg.seed))
    except MetricError as fault:
        raise UserError(f"curve=: {fault}{'' if cfg.n is None else '; ask for more n='}") from None
    save_curve(found, Path(str(cfg.out)))
    rows = ", ".join(f"{p.truncation:g}: {p.precision:.2f} and {p.recall:.2f}" for p in found)
    return f"precision and recall by truncation ({rows}; {found[0].network}, n={found[0].n})"


def _truncations(asked: Any) -> list[float]:  # noqa: ANN401 (a number or a list)
    plain = OmegaConf.to_container(asked) if OmegaConf.is_config(asked) else asked
    values: list[Any] = plain if isinstance(plain, list) else [plain]
    if not values or not all(isinstance(v, int | float) and not isinstance(v, bool) and 0 < v <= 2 for v in values):
        raise UserError(f"curve={asked} must be truncations above 0 and at most 2, such as [0.3,0.5,0.7,1]")
    return [float(v) for v in values]


def _save_rows(cfg: DictConfig, frame: Any, told: str) -> str:  # noqa: ANN401 (a frame)
    from datakiln.storage import replacing

    path = Path(str(cfg.out))
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        frame.to_parquet(partial, index=False) if path.suffix.lower() == ".parquet" else frame.to_csv(
            partial, index=False
        )
    return f"{told} {counted(len(frame), 'row')}"


def _check_grid(count: int) -> None:
    """Before they are drawn, which takes its time."""
    from datakiln.sampling.pictures import MOST_IN_GRID

    if count > MOST_IN_GRID:
        raise UserError(f"{count:,} pictures are too many for one grid (at most {MOST_IN_GRID:,}); lower n=")


def _save_grid(cfg: DictConfig, pictures: np.ndarray, columns: int, caption: str) -> None:
    from datakiln.plots.grids import save_grid
    from datakiln.sampling.pictures import note

    names = ("seed", "traverse", "reach", "attribute", "edit", "mix", "project")
    asked = {name: str(cfg[name]) for name in names if cfg[name] is not None}
    save_grid(pictures, Path(str(cfg.out)), caption, columns, note=note(asked))
