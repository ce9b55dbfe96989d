"""Trained models of one owner: runs with a result, under names that lead nowhere else."""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

from datakiln import strictjson
from datakiln.sampling.exporting import export
from datakiln.serve.owners import Owner
from datakiln.storage import small_text

PART, DEEPEST = r"\w[\w.=,-]{0,199}", 3  # <date>/<run>, <date>/<sweep>/<job>, or a folder that a person named
NAME = re.compile(rf"{PART}(?:~{PART}){{0,{DEEPEST - 1}}}", re.ASCII)
MOST_RESULT = 20 << 20  # bytes of a result.json


def folder_of(name: str, owner: Owner) -> Path | None:
    """The run's folder; None for a name that is none of the owner's."""
    if not NAME.fullmatch(name):
        return None
    folder = owner.runs.joinpath(*name.split("~"))
    inside = folder.resolve().is_relative_to(owner.runs.resolve())
    return folder if inside and _is_model(folder) else None


def name_of(folder: Path) -> str:
    """A run's name in the API."""
    return f"{folder.parent.name}~{folder.name}"


def _is_model(folder: Path) -> bool:
    return (folder / "result.json").is_file() and (folder / "checkpoints").is_dir()


def every(owner: Owner) -> dict[str, Path]:
    """An owner's models by name, the newest first; other folders than those of dates come before."""
    found = [path.parent for depth in range(1, DEEPEST + 1) for path in owner.runs.glob("*/" * depth + "result.json")]
    names = ("~".join(path.relative_to(owner.runs).parts) for path in sorted(found, reverse=True))
    return {name: folder for name in names if (folder := folder_of(name, owner))}


def card(name: str, folder: Path) -> dict[str, Any]:
    """Name, model, data, objective and figures of a run; a result that cannot be read says so."""
    told: dict[str, Any] = {
        "id": name,
        "model": "",
        "data": "",
        "seed": None,
        "objective": None,
        "figures": [],
    }
    path = folder / "result.json"
    try:
        result = strictjson.parse(small_text(path, MOST_RESULT))
        told |= {name: result[name] for name in ("model", "data", "seed", "objective")}
        keys = ("name", "value", "better", "ceiling", "floor")
        told["figures"] = [{key: score.get(key) for key in keys} for score in result["figures"]]
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        told["fault"] = f"its result cannot be read ({type(error).__name__})"
    return told


def exported(folder: Path) -> bytes:
    """The exported model as a ZIP of one folder."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, content in export(folder).items():
            archive.writestr(zipfile.ZipInfo(f"model/{name}"), content)
    return file.getvalue()


def curves(folder: Path, after: int) -> tuple[list[dict[str, float | None]], int]:
    """Rows of metrics.csv from the one numbered `after` on, and the number of the next; whole lines only."""
    path = folder / "metrics.csv"
    if not path.is_file():
        return [], after
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    lines = [line.rstrip("\n") for line in lines if line.endswith("\n")]
    if not lines:
        return [], after
    names = lines[0].split(",")
    rows = []
    for line in lines[1 + after :]:
        cells = dict(zip(names, line.split(","), strict=False))
        rows.append({name: float(cell) for name, cell in cells.items() if cell})
    return json.loads(json.dumps(strictjson.plain(rows))), max(after, len(lines) - 1)
