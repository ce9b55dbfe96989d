"""The server: `create(settings)` gives an ASGI application of the API and the page."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as StarletteError

from datakiln.errors import UserError
from datakiln.serve import uploads
from datakiln.serve.guard import Guard
from datakiln.serve.page import page
from datakiln.serve.routes import router
from datakiln.serve.service import Service
from datakiln.serve.settings import Settings
from datakiln.storage import no_room

NO_PAGES: dict[str, Any] = {"docs_url": None, "redoc_url": None}  # FastAPI's own fetch scripts from elsewhere


def create(settings: Settings) -> FastAPI:
    """The application; its jobs run while it does.

    Raises:
        UserError: Others reach the server and there are no keys.
    """
    service = Service(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.jobs.start()
        yield
        service.jobs.close()
        service.threads.shutdown(wait=False, cancel_futures=True)

    app = FastAPI(title="datakiln", version="1", openapi_url="/v1/openapi.json", lifespan=lifespan, **NO_PAGES)
    app.state.service = service
    app.include_router(router)
    app.include_router(page)
    app.add_middleware(Guard, settings=settings, counts=service.counts)

    @app.exception_handler(UserError)
    async def mistake(request: Request, error: UserError) -> JSONResponse:
        told = str(error)
        for place in (settings.root.resolve(), settings.root):
            told = told.replace(f"{place}/", "")
        return JSONResponse({"detail": told}, 413 if isinstance(error, uploads.TooLarge) else 422)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            return JSONResponse({"detail": f"the body is no JSON: {first['ctx']['error']}"}, 422)
        loc = [str(part) for part in first["loc"] if part != "body"]
        if loc[:1] == ["condition"] and len(loc) > 2:  # the way into each of several types, none of which it is
            return JSONResponse({"detail": f"condition.{loc[1]}: a number, a truth or a text of 200 at most"}, 422)
        where = ".".join(loc)
        return JSONResponse({"detail": f"{where or 'the body'}: {first['msg']}"}, 422)

    @app.exception_handler(StarletteError)
    async def refused(request: Request, error: StarletteError) -> JSONResponse:
        return JSONResponse({"detail": str(error.detail)}, error.status_code, error.headers)

    @app.exception_handler(OSError)
    async def full(request: Request, error: OSError) -> JSONResponse:
        if no_room(error) is None:
            raise error
        return JSONResponse({"detail": "no room is left on the server; tell its operator"}, 507)

    return app
