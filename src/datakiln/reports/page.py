"""HTML pages that a person can mail: one file each, pictures inside, no script, nothing fetched from anywhere."""

from __future__ import annotations

import base64
import mimetypes
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from datakiln.reports.bars import bar_of
from datakiln.reports.breakdown import column_table, other_tables, relation_table
from datakiln.reports.chapters import chapters_of, study_pictures
from datakiln.reports.groups import spread_text
from datakiln.reports.meanings import meaning, short_name
from datakiln.reports.safe import public, safe_section, showable
from datakiln.reports.verdict import ADJECTIVES, KEY, difference, judged, key_figures, mood, standing_word
from datakiln.results import RunResult, Score, headlines
from datakiln.saying import visible
from datakiln.storage import replacing
from datakiln.wording import ARROWS, duration, moment, number

if TYPE_CHECKING:
    import pandas as pd

PREVIEW_ROWS, SPARK_POINTS = 10, 80
TEMPLATES = Path(__file__).parent / "templates"


def write_page(
    result: RunResult,
    plots: list[Path],
    sample: pd.DataFrame | None,
    history: pd.DataFrame | None,
    path: Path,
    config: str | None = None,
    is_public: bool = False,
) -> None:
    """Writes the report of one run.

    Arguments:
        result: Its figures.
        plots: Pictures in the order to show them; their captions are read from the files.
        sample: Synthetic rows, the first ten of which are shown; None where the data has no rows.
        history: The rows of metrics.csv, or None.
        path: The HTML file.
        config: The composed config as YAML, shown folded away.
        is_public: Whether to leave out what depends on single training rows, and the config with its paths.
    """
    if is_public:
        result, plots, config = public(result), showable(plots), None
    noun = "pictures" if sample is None else "rows"
    groups: dict[str, list[Score]] = {}
    for score in result.figures:
        groups.setdefault(score.name.partition("/")[0], []).append(score)
    columns = [] if sample is None else [str(name) for name in sample.columns]
    verdict = judged(result, "pictures" if sample is None else "rows")
    shown = study_pictures(result, path.parent)
    text = render(
        "run.html",
        run=result,
        total=sum(result.wall_seconds.values()),
        verdict=verdict,
        chapters=chapters_of(result, verdict),
        study_pictures={name: [picture(plot) for plot in drawn] for name, drawn in shown.items()},
        adjectives=ADJECTIVES,
        safe=safe_section(result, noun, is_public),
        headlines=main_figures(result),
        pictures=[picture(plot) for plot in plots],
        columns=column_table(result.figures, columns),
        relations=relation_table(result.figures),
        parts=other_tables(result.figures, columns),
        sample=None if sample is None else {"names": columns, "rows": _cells(sample.head(PREVIEW_ROWS))},
        curves=[] if history is None else _curves(history),
        groups=groups,
        config=config,
    )
    write_text(text, path)


def main_figures(result: RunResult) -> list[Score]:
    """The figures to show first: those of each group, and whatever a verdict rests on that is worse than real data."""
    worse = [score for topic in KEY for score in key_figures(result, topic) if difference(score) == "worse"]
    return [score for score in result.figures if score in worse or score in headlines(result.figures)]


def render(template: str, **values: Any) -> str:
    """A template filled in; everything is escaped, and a name the template misspells is an error."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, finalize=_visible
    )
    environment.trim_blocks = environment.lstrip_blocks = True
    environment.filters |= {
        "number": number,
        "count": lambda value: f"{value:,}",
        "share": _share,
        "percent": lambda value: f"{value:.0%}",
        "duration": duration,
        "spread": spread_text,
        "moment": moment,
        "breakable": lambda name: Markup("<wbr>").join(re.split(r"(?<=[/_])", str(name))),
        "meaning": meaning,
        "short": short_name,
        "standing": standing_word,
        "mood": mood,
        "bar": bar_of,
        "words": lambda name: str(name).replace("_", " "),
    }
    environment.globals["arrows"] = ARROWS
    return environment.get_template(template).render(**values)


def _visible(value: Any) -> Any:  # noqa: ANN401 (whatever a template holds)
    return visible(value, lines=True) if type(value) is str else value  # not what is marked as safe already


def write_text(text: str, path: Path) -> None:
    """Writes a page atomically; characters that no file can hold become question marks."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8", errors="replace")


@dataclass(frozen=True)
class Picture:
    """A picture as a page holds it: its bytes as a data URI, its caption, and its width on a screen in CSS pixels."""

    source: str
    caption: str
    width: int


def picture(path: Path) -> Picture:
    """Reads a picture; its caption is what its file says of itself (PNG description), or the file's name in words.

    Raises:
        ValueError: The file's name does not end like a picture's.
    """
    from PIL import Image

    kind = mimetypes.guess_type(path.name)[0] or ""
    if not kind.startswith("image/"):
        raise ValueError(f"{path} is no picture: its name does not end like one")
    with Image.open(path) as image:
        described = str(image.info.get("Description", ""))
        width = round(image.width * 96 / image.info.get("dpi", (96,))[0])
    name = path.stem.replace("_", " ").replace("-", " ").strip()
    source = f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
    return Picture(source, described or name[:1].upper() + name[1:], width)


def _share(value: float | None) -> str:
    """A share of rows; all and none are written only where it is all or none."""
    if value is None:
        return "–"
    return "< 0.1 %" if 0 < value < 0.001 else "> 99.9 %" if 0.999 < value < 1 else f"{100 * value:.3g} %"


def _cells(rows: pd.DataFrame) -> list[list[str | None]]:
    import pandas as pd

    def show(value: Any) -> str | None:
        if pd.api.types.is_scalar(value) and pd.isna(value):
            return None
        return f"{value:.6g}" if isinstance(value, float) else str(value)[:200]

    return [[show(value) for value in row] for row in rows.astype(object).itertuples(index=False, name=None)]


def _curves(history: pd.DataFrame) -> list[dict[str, Any]]:
    """First, lowest, highest and last value of each curve and its course; elements of vectors are for the pictures."""
    import pandas as pd

    curves = []
    for name in history.columns.drop(["epoch", "step"], errors="ignore"):
        values = pd.to_numeric(history[name], errors="coerce").dropna()
        if str(name).rpartition("/")[2].isdigit() or len(values) < 2:
            continue
        low, high = float(values.min()), float(values.max())
        shown = values.iloc[:: max(1, len(values) // SPARK_POINTS)].to_numpy(dtype=float)
        heights = 19 - 18 * (shown - low) / ((high - low) or 1.0)
        points = " ".join(f"{100 * i / max(len(shown) - 1, 1):.1f},{y:.1f}" for i, y in enumerate(heights))
        first, last = float(values.iloc[0]), float(values.iloc[-1])
        curves.append({"name": name, "first": first, "low": low, "high": high, "last": last, "points": points})
    return curves
