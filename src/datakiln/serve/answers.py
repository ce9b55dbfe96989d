"""What the API answers with, as its contract names it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel


class Problem(BaseModel):
    """What is wrong, and the way out, in one line."""

    detail: str


class Figure(BaseModel):
    """One figure beside what real data and a naive floor reach."""

    name: str
    value: float | None
    better: str
    ceiling: float | None
    floor: float | None


class Card(BaseModel):
    """A trained model."""

    id: str
    model: str
    data: str
    seed: int | None
    objective: dict[str, Any] | None
    figures: list[Figure]
    fault: str | None = None


class Ask(BaseModel):
    """What a model can be asked for."""

    kind: Literal["table", "image", "series"]
    formats: list[str]
    columns: list[dict[str, Any]]
    classes: list[str]
    can_fill: bool
    can_score: bool


class Details(Card):
    """A trained model, and what it can be asked for."""

    ask: Ask


class Column(BaseModel):
    """What was found of a column, and why."""

    name: str
    type: str
    missing: int
    distinct: int
    example: str
    why: str


class UploadTold(BaseModel):
    """An upload."""

    id: str
    kind: str
    rows: int
    columns: list[Column]
    target: str | None
    notes: list[str]


class JobTold(BaseModel):
    """A job."""

    id: str
    model: str
    status: Literal["waiting", "running", "done", "failed", "cancelled"]
    why: str
    upload: str
    created: float
    started: float | None
    ended: float | None
    trained: str | None


ERRORS: dict[int | str, dict[str, Any]] = {
    # not as "model": FastAPI would say that a refusal has the type of the route's own answer, such as text/html
    code: {"content": {"application/json": {"schema": Problem.model_json_schema()}}, "description": told}
    for code, told in {
        400: "The request cannot be read.",
        401: "No key, or a wrong one.",
        403: "Not switched on, or asked by another site.",
        404: "There is no such thing, or it is not yours.",
        409: "Not now.",
        413: "Larger than a limit.",
        422: "It cannot be done as asked; the detail says why.",
        429: "Too much at a time; Retry-After says when to come again.",
        507: "No room is left on the server.",
    }.items()
}
