"""What clients may say: names with types and ranges, and nothing else; a key that is not here is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr

from datakiln.errors import UserError, near
from datakiln.spec import Sampling


def _whole(value: object) -> object:
    """JSON knows no integers: 3.0 is one."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_whole)
Text = Annotated[StrictStr, Field(max_length=200)]
ColumnKind = Literal["numeric", "integer", "boolean", "category", "ordinal", "datetime", "id", "text", "drop"]
TABLE_MODELS = ("copula", "mixture", "tabar", "tvae", "vae", "ctgan", "tabddpm", "tabsyn", "nsf", "bootstrap")
PICTURE_MODELS = ("dcgan", "sngan", "cvae", "vae")
ModelName = Literal[
    "copula", "mixture", "tabar", "tvae", "vae", "ctgan", "tabddpm", "tabsyn", "nsf", "bootstrap", "dcgan", "sngan",
    "cvae",
]  # fmt: skip
Format = Literal["csv", "parquet", "arrow", "jsonl", "png", "zip"]
Seed = Annotated[StrictInt, Field(ge=0, le=2**31 - 1), WHOLE]
Cell = StrictBool | StrictInt | Annotated[StrictFloat, Field(allow_inf_nan=False)] | Text


class Strict(BaseModel):
    """No key but those declared."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class SampleRequest(Strict):
    """What is to be drawn."""

    n: Annotated[StrictInt, Field(ge=1, le=10**12), WHOLE] = 1000
    condition: Annotated[dict[Text, Cell], Field(max_length=100)] = {}
    balance: Text | None = None
    seed: Seed = 0
    format: Format | None = Field(None, description="null: csv of tables, png of pictures")
    escape_formulas: StrictBool = Field(False, description="CSV: a quote before cells that a spreadsheet would run")
    steps: Annotated[StrictInt, Field(ge=1, le=10_000), WHOLE] | None = None
    guidance: Annotated[StrictFloat, Field(ge=-100, le=100)] | None = None
    temperature: Annotated[StrictFloat, Field(gt=0, le=100)] | None = None
    truncation: Annotated[StrictFloat, Field(ge=0, le=2)] | None = None

    def options(self) -> Sampling:
        """As the models take them."""
        return Sampling(self.steps, self.guidance, self.temperature, self.truncation)


class TypesRequest(Strict):
    """Corrections of what was found."""

    types: Annotated[dict[Text, ColumnKind], Field(max_length=4096)] = {}
    target: Text | None = None


class RowsRequest(Strict):
    """Which upload to fill or to score."""

    upload: Text
    seed: Seed = 0
    escape_formulas: StrictBool = False


class TrainRequest(Strict):
    """A training job."""

    upload: Text
    model: ModelName = "tabar"
    epochs: Annotated[StrictInt, Field(ge=1, le=100_000), WHOLE] | None = None
    budget_minutes: Annotated[StrictInt, Field(ge=1, le=100_000), WHOLE] | None = Field(
        None, description="most CPU time that training may take"
    )
    batch_size: Annotated[StrictInt, Field(ge=1, le=65_536), WHOLE] | None = None
    side: Literal[8, 16, 28, 32, 64, 128] = Field(32, description="of pictures, in pixels")
    plots: StrictBool = True
    seed: Seed = 0


class KeyRequest(Strict):
    """A key, for the page."""

    key: Text


def known_model(name: str, kind: str) -> None:
    """Refuses a model of the other kind of data; raises `UserError`."""
    known = TABLE_MODELS if kind == "table" else PICTURE_MODELS
    if name not in known:
        told = f"model={name} does not learn {'tables' if kind == 'table' else 'pictures'}"
        raise UserError(f"{told}; try {', '.join(known)}{near(name, known)}")


def words(asked: TrainRequest, kind: str, path: Path, folder: Path, types: TypesRequest) -> list[str]:
    """The job's command line. All text of a client is percent-encoded JSON: nothing in it is part of any grammar.

    Arguments:
        asked: By the client.
        kind: "table" or "image".
        path: Of the upload.
        folder: Of the run.
        types: Of the upload's columns, as corrected.
    """
    known_model(asked.model, kind)
    said = [f"model={asked.model}", f"data={'csv' if kind == 'table' else 'image_folder'}"]
    said += [
        f"data.path={_text(str(path))}",
        f"hydra.run.dir={_text(str(folder))}",
        f"root={_text(str(folder.parent))}",
    ]
    said += [f"seed={asked.seed}", f"plots={str(asked.plots).lower()}"]
    said += [f"{name}={value}" for name in ("epochs", "batch_size") if (value := getattr(asked, name)) is not None]
    said += [] if asked.budget_minutes is None else [f"budget={asked.budget_minutes}m"]
    if kind == "image":
        return [*said, f"data.side={asked.side}", f"data.labels={str(_has_classes(path)).lower()}"]
    if types.target is not None:
        said.append(f"data.target={_text(types.target)}")
    return [*said, *([f"++data.types={_text(types.types)}"] if types.types else [])]


def _text(value: str | dict[str, ColumnKind]) -> str:
    return f"${{from_json:{quote(json.dumps(value), safe='')}}}"


def _has_classes(folder: Path) -> bool:
    return any(part.is_dir() for part in folder.iterdir())
