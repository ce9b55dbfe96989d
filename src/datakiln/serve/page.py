"""The page, and what tells an operator how the server is."""

from __future__ import annotations

import time
from pathlib import Path

from fastapi import APIRouter, HTTPException, Response
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse
from jinja2 import Environment, FileSystemLoader, select_autoescape

from datakiln.serve.requests import PICTURE_MODELS, TABLE_MODELS
from datakiln.serve.service import Serving

HERE = Path(__file__).parent
STATIC = {"app.js": "text/javascript; charset=utf-8", "app.css": "text/css; charset=utf-8"}
page = APIRouter(include_in_schema=False)
TEMPLATES = Environment(loader=FileSystemLoader(HERE / "templates"), autoescape=select_autoescape(default=True))


@page.get("/")
def show_page(service: Serving) -> HTMLResponse:
    """The page; whose models there are, its script asks for."""
    told = {"with_keys": service.settings.keys is not None, "limit": service.settings.upload_mb}
    models_of = {"table_models": TABLE_MODELS, "picture_models": PICTURE_MODELS}
    return HTMLResponse(TEMPLATES.get_template("page.html").render(**told, **models_of))


@page.get("/static/{name}")
def static(name: str) -> Response:
    """The page's script and style."""
    if name not in STATIC:
        raise HTTPException(404, "there is no such file")
    return FileResponse(HERE / "static" / name, media_type=STATIC[name])


@page.get("/healthz")
def healthz(service: Serving) -> JSONResponse:
    """Whether jobs are looked after."""
    well = service.jobs.thread.is_alive()
    return JSONResponse({"status": "ok" if well else "the jobs' thread has ended"}, 200 if well else 503)


@page.get("/metrics")
def metrics(service: Serving) -> Response:
    """For Prometheus: counts, no names."""
    lines = ["# TYPE datakiln_requests_total counter"]
    lines += [
        f'datakiln_requests_total{{method="{method}",status="{status}"}} {count}'
        for (method, status), count in sorted(service.counts.items())
    ]
    lines.append("# TYPE datakiln_jobs gauge")
    lines += [f'datakiln_jobs{{status="{status}"}} {count}' for status, count in service.jobs.counts().items()]
    for name, kind, value in (
        ("datakiln_samples_active", "gauge", service.gate.inside),
        ("datakiln_sent_bytes_total", "counter", service.sent),
        ("datakiln_models_loaded", "gauge", len(service.models.kept)),
        ("datakiln_up_seconds", "gauge", round(time.time() - service.since, 1)),
    ):
        lines += [f"# TYPE {name} {kind}", f"{name} {value}"]
    return Response("\n".join(lines) + "\n", media_type="text/plain; version=0.0.4")
