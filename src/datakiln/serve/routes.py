"""The API, version 1."""

from __future__ import annotations

import asyncio
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, StreamingResponse
from starlette.types import Receive, Scope, Send

from datakiln.codecs.series.series import SeriesCodec
from datakiln.codecs.tables.table import TableCodec
from datakiln.domains import may_be_asked
from datakiln.errors import UserError
from datakiln.sampling.filling import fill_file, score_file
from datakiln.sampling.synthesizer import Synthesizer
from datakiln.serve import models, uploads
from datakiln.serve.answers import ERRORS, Ask, Card, Details, JobTold, UploadTold
from datakiln.serve.jobs import OVER, Job
from datakiln.serve.owners import Owner
from datakiln.serve.requests import (
    KeyRequest,
    RowsRequest,
    SampleRequest,
    TrainRequest,
    TypesRequest,
    known_model,
    words,
)
from datakiln.serve.service import SESSION, Asking, Service, Serving
from datakiln.serve.settings import MEGA, Settings
from datakiln.serve.streams import FORMATS, MEDIA, Drawing, escaped_csv, json_text, sampled

POLL = 0.5  # seconds between two looks at a job
MOST_WAITING = 20  # jobs of one key that are not over
REPORT_POLICY = (
    "sandbox allow-scripts; default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
)
router = APIRouter(prefix="/v1", responses=ERRORS)


class Pieces(StreamingResponse):
    """A stream that is closed however it ends, also when the client leaves."""

    def __init__(self, pieces: AsyncIterator[bytes], **options: Any) -> None:  # noqa: ANN401
        super().__init__(pieces, **options)
        self.pieces: Any = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends, then closes."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self.pieces.aclose()


@router.get("/models", tags=["models"])
def list_models(owner: Asking, service: Serving) -> list[Card]:
    """Models trained here, the newest first."""
    return [Card(**models.card(name, folder)) for name, folder in models.every(owner).items()]


@router.get("/models/{name}", tags=["models"])
async def show_model(name: str, owner: Asking, service: Serving) -> Details:
    """A model's card, and what it can be asked for."""
    folder = service.run(name, owner)
    synthesizer = await service.do(service.models.load, folder)
    return Details(**models.card(name, folder), ask=_ask(synthesizer, service.settings))


def _ask(synthesizer: Synthesizer, settings: Settings) -> Ask:
    codec, model = synthesizer.codec, synthesizer.model
    columns: list[dict[str, Any]] = []
    asked = codec if isinstance(codec, TableCodec) else None
    if isinstance(codec, SeriesCodec) and model.conditioning == "columns":
        asked = codec.static
    for column in filter(may_be_asked, asked.columns if asked else ()):
        values = [str(value) for value in getattr(column, "values", ())][:50] if column.field.is_choice else []
        columns.append({"name": column.field.name, "type": column.field.type, "values": values})
    by_row = not isinstance(codec, SeriesCodec)
    return Ask(
        kind=codec.kind,  # type: ignore[arg-type]
        formats=list(FORMATS[codec.kind]),
        columns=columns,
        classes=[str(name) for name in codec.spec.classes],
        can_fill=by_row and model.can_fill,
        can_score=by_row and settings.scoring and model.likelihood != "none",
    )


@router.get("/models/{name}/report", tags=["models"], response_class=HTMLResponse)
def report(name: str, owner: Asking, service: Serving) -> Response:
    """The run's report, a page that can reach nothing."""
    path = service.run(name, owner) / "report.html"
    if not path.is_file():
        raise HTTPException(404, "this run has no report")
    return FileResponse(path, media_type="text/html", headers={"Content-Security-Policy": REPORT_POLICY})


ZIPPED: dict[int | str, dict[str, Any]] = {200: {"content": {MEDIA["zip"]: {}}, "description": "The ZIP."}}


@router.get("/models/{name}/export", tags=["models"], response_class=Response, responses=ZIPPED)
async def export(name: str, owner: Asking, service: Serving) -> Response:
    """A ZIP of one folder: config.json, weights.safetensors, metadata.json."""
    content = await service.do(models.exported, service.run(name, owner))
    return Response(content, media_type=MEDIA["zip"], headers=_attached("model.zip"))


CONTENT: dict[int | str, dict[str, Any]] = {
    200: {"content": {media.split(";")[0]: {} for media in MEDIA.values()}, "description": "The sample."}
}


@router.post("/models/{name}/sample", tags=["models"], response_class=Response, responses=CONTENT)
async def sample(name: str, asked: SampleRequest, owner: Asking, service: Serving) -> Response:
    """Synthetic rows or pictures, streamed; drawing ends when the client leaves."""
    folder = service.run(name, owner)
    await service.gate.enter()
    try:
        synthesizer = await service.do(service.models.load, folder)
        drawing = Drawing(sampled(synthesizer, asked, service.models.lock, service.settings))
        first = await service.do(drawing.take)  # so that what cannot be drawn is no broken stream
    except BaseException:
        service.gate.leave()
        raise
    form = asked.format or FORMATS[synthesizer.codec.kind][0]
    return Pieces(_sent(service, first, drawing), media_type=MEDIA[form], headers=_attached(f"sample.{form}"))


async def _sent(service: Service, first: bytes | None, drawing: Drawing) -> AsyncIterator[bytes]:
    try:
        piece = first
        while piece is not None:
            service.sent += len(piece)
            yield piece
            piece = await service.do(drawing.take)
    finally:
        service.threads.submit(drawing.close)  # not here: a piece may be in the making
        service.gate.leave()


def _attached(name: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{name}"'}


@router.post("/models/{name}/fill", tags=["models"], response_class=Response, responses=CONTENT)
async def fill(name: str, asked: RowsRequest, owner: Asking, service: Serving) -> Response:
    """An uploaded table with its missing cells drawn given the others of their row, as CSV."""
    return await _worked(fill_file, name, asked, owner, service, (asked.seed,))


@router.post("/models/{name}/score", tags=["models"], response_class=Response, responses=CONTENT)
async def score(name: str, asked: RowsRequest, owner: Asking, service: Serving) -> Response:
    """An uploaded table with each row's log-likelihood; off unless the operator says scoring=true."""
    if not service.settings.scoring:
        raise HTTPException(403, "scoring is off: likelihoods tell training rows of small tables from others")
    return await _worked(score_file, name, asked, owner, service, ())


async def _worked(
    work: Callable[..., str], name: str, asked: RowsRequest, owner: Owner, service: Service, more: tuple[int, ...]
) -> Response:
    folder, upload = service.run(name, owner), service.upload(asked.upload, owner)
    if upload.kind != "table":
        raise UserError("this works on rows; upload a table")

    def made() -> bytes:
        synthesizer = service.models.load(folder)
        if not isinstance(synthesizer.codec, TableCodec):
            made = "series" if isinstance(synthesizer.codec, SeriesCodec) else "pictures"
            raise UserError(f"this works on rows of a table, and the model makes {made}; use the command sample")
        if work is fill_file and not synthesizer.model.can_fill:
            raise UserError(f"{type(synthesizer.model).__name__} cannot be told columns; train model=tabar or mixture")
        if work is score_file:
            synthesizer.check_likelihood()
        with tempfile.TemporaryDirectory() as place, service.models.lock:
            out = Path(place) / "made.csv"
            work(synthesizer, str(owner.uploads / upload.id / upload.file), str(out), *more)
            return escaped_csv(out) if asked.escape_formulas else out.read_bytes()

    await service.gate.enter()
    try:
        content = await service.do(made)
    finally:
        service.gate.leave()
    return Response(content, media_type=MEDIA["csv"], headers=_attached("made.csv"))


BINARY = {"schema": {"type": "string", "format": "binary"}}
BODY = {"requestBody": {"required": True, "content": {"application/octet-stream": BINARY}}}


@router.post("/uploads", tags=["uploads"], status_code=201, openapi_extra=BODY)
async def upload_file(request: Request, owner: Asking, service: Serving) -> UploadTold:
    """Takes a table (CSV, TSV, Parquet) or a ZIP of pictures as the body, and tells what each column seems to be."""
    holds = await service.do(service.owners.room, owner)
    name, path = await uploads.receive(request.stream(), owner, service.settings, holds)
    upload = await service.do(uploads.take_in, name, path, service.settings, holds)
    return UploadTold(**vars(upload))


@router.get("/uploads", tags=["uploads"])
def list_uploads(owner: Asking, service: Serving) -> list[UploadTold]:
    """What was uploaded."""
    return [UploadTold(**vars(upload)) for upload in uploads.every(owner)]


@router.get("/uploads/{name}", tags=["uploads"])
def show_upload(name: str, owner: Asking, service: Serving) -> UploadTold:
    """An upload, and what each column is taken for."""
    return UploadTold(**vars(service.upload(name, owner)))


@router.put("/uploads/{name}/types", tags=["uploads"])
async def correct(name: str, asked: TypesRequest, owner: Asking, service: Serving) -> UploadTold:
    """Sets column types and the target; what the values cannot bear is refused."""
    upload = service.upload(name, owner)
    return UploadTold(**vars(await service.do(uploads.corrected, upload, asked, owner, service.settings)))


@router.delete("/uploads/{name}", tags=["uploads"], status_code=204)
def forget(name: str, owner: Asking, service: Serving) -> None:
    """Removes an upload that no unfinished job reads."""
    upload = service.upload(name, owner)
    if any(job.upload == name and job.status not in OVER for job in service.jobs.all(owner.name)):
        raise HTTPException(409, "a job still reads this upload; cancel it first")
    uploads.remove(upload, owner)


@router.post("/jobs", tags=["jobs"], status_code=201)
def train(asked: TrainRequest, owner: Asking, service: Serving) -> JobTold:
    """Puts a training job in the queue."""
    upload = service.upload(asked.upload, owner)
    known_model(asked.model, upload.kind)
    _check_room(owner, service)
    now = time.localtime()
    own = f"{time.strftime('%H-%M-%S', now)}-{asked.model}-{secrets.token_hex(4)}"
    folder = owner.runs.resolve() / time.strftime("%Y-%m-%d", now) / own
    path = (owner.uploads / upload.id / upload.file).resolve()
    said = words(
        asked, upload.kind, path, folder, TypesRequest.model_validate({"types": upload.types, "target": upload.target})
    )
    return _told(service.jobs.add(owner.name, asked.model, said, folder, upload.id))


def _check_room(owner: Owner, service: Service) -> None:
    """Raises 429 or 413 where no further job may wait."""
    if service.jobs.waiting(owner.name) >= MOST_WAITING:
        raise HTTPException(429, "too many jobs wait already", headers={"Retry-After": "60"})
    if owner.used() > service.settings.quota_mb * MEGA:
        raise HTTPException(413, "the quota is used up; delete an upload")


@router.get("/jobs", tags=["jobs"])
def list_jobs(owner: Asking, service: Serving) -> list[JobTold]:
    """All jobs, the newest first."""
    return [_told(job) for job in service.jobs.all(owner.name)]


@router.get("/jobs/{name}", tags=["jobs"])
def show_job(name: str, owner: Asking, service: Serving) -> JobTold:
    """How a job stands."""
    return _told(service.job(name, owner))


@router.post("/jobs/{name}/cancel", tags=["jobs"])
def cancel(name: str, owner: Asking, service: Serving) -> JobTold:
    """Stops a job; what it has learnt is kept, and resume goes on from there."""
    service.job(name, owner)
    service.jobs.cancel(name, owner.name)
    return _told(service.job(name, owner))


@router.post("/jobs/{name}/resume", tags=["jobs"])
def resume(name: str, owner: Asking, service: Serving) -> JobTold:
    """Lets a cancelled or failed job go on."""
    if service.job(name, owner).status == "done":
        raise HTTPException(409, "the job is done")
    service.upload(service.job(name, owner).upload, owner)
    _check_room(owner, service)
    service.jobs.resume(name, owner.name)
    return _told(service.job(name, owner))


EVENTS: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {}}, "description": "status and figures as they come"}
}


@router.get("/jobs/{name}/events", tags=["jobs"], response_class=Response, responses=EVENTS)
async def events(name: str, owner: Asking, service: Serving) -> Response:
    """Server-sent events: `status` whenever it changes, `figures` with each epoch's, until the job is over."""
    job = service.job(name, owner)
    return Pieces(_events(service, job, owner), media_type="text/event-stream")


async def _events(service: Service, job: Job, owner: Owner) -> AsyncIterator[bytes]:
    seen, status = 0, ""
    while True:
        now = service.jobs.of(job.id, owner.name)
        if now is None:
            return
        rows, seen = models.curves(Path(now.folder), seen)
        for row in rows:
            yield f"event: figures\ndata: {json_text(row)}\n\n".encode()
        if now.status != status:
            status = now.status
            yield f"event: status\ndata: {_told(now).model_dump_json()}\n\n".encode()
        if status in OVER:
            return
        yield b": still here\n\n"
        await asyncio.sleep(POLL)


def _told(job: Job) -> JobTold:
    kept = {name: getattr(job, name) for name in JobTold.model_fields if name != "trained"}
    return JobTold(**kept, trained=models.name_of(Path(job.folder)) if job.status == "done" else None)


@router.post("/session", tags=["page"], status_code=204)
def sign_in(asked: KeyRequest, request: Request, response: Response, service: Serving) -> None:
    """Gives the page a cookie in place of the key."""
    owner = service.owners.of_key(asked.key)
    client = request.client.host if request.client else "-"
    if wait := service.owners.wait(f"without a key: {client}"):
        raise HTTPException(429, "too many requests; slow down", headers={"Retry-After": str(int(wait) + 1)})
    if owner is None:
        raise HTTPException(401, "this key is not known")
    session = secrets.token_urlsafe(32)
    service.sessions[session] = owner.name
    is_secure = request.url.scheme == "https"
    response.set_cookie(SESSION, session, httponly=True, samesite="strict", secure=is_secure, path="/")
