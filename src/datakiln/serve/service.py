"""What the routes share: who asks, whose things they are, and how many samples are drawn at a time."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any, TypeVar

from fastapi import Depends, HTTPException, Request
from fastapi.security import APIKeyCookie, HTTPAuthorizationCredentials, HTTPBearer

from datakiln.serve import models, uploads
from datakiln.serve.jobs import Job, Jobs
from datakiln.serve.owners import Owner, Owners
from datakiln.serve.settings import Settings
from datakiln.serve.streams import Models

SESSION = "datakiln"
T = TypeVar("T")


class Gate:
    """Samples drawn at a time, and as many that may wait.

    Arguments:
        most: At a time.
    """

    def __init__(self, most: int) -> None:
        """See the class."""
        self.most, self.inside = most, 0
        self.turn = asyncio.Semaphore(most)

    async def enter(self) -> None:
        """Waits for its turn; raises 429 where too many wait."""
        if self.inside >= 2 * self.most:
            raise HTTPException(429, "too many samples at a time; try again", headers={"Retry-After": "1"})
        self.inside += 1
        try:
            await self.turn.acquire()
        except BaseException:
            self.inside -= 1
            raise

    def leave(self) -> None:
        """Lets the next one in."""
        self.inside -= 1
        self.turn.release()


class Service:
    """What the routes share.

    Arguments:
        settings: Of the server.
    """

    def __init__(self, settings: Settings) -> None:
        """See the class."""
        self.settings = settings
        self.owners = Owners(settings)
        self.jobs = Jobs(settings)
        self.models = Models(settings.models)
        self.gate = Gate(settings.streams)
        self.threads = ThreadPoolExecutor(settings.streams, "samples")
        self.sessions: dict[str, str] = {}
        self.counts: Counter[tuple[str, int]] = Counter()
        self.sent, self.since = 0, time.time()

    async def do(self, task: Callable[..., T], *values: Any) -> T:  # noqa: ANN401
        """What takes long, beside the loop."""
        return await asyncio.get_running_loop().run_in_executor(self.threads, task, *values)

    def run(self, name: str, owner: Owner) -> Path:
        """A model's folder; raises 404."""
        if (folder := models.folder_of(name, owner)) is None:
            raise HTTPException(404, "there is no such model")
        return folder

    def upload(self, name: str, owner: Owner) -> uploads.Upload:
        """An upload; raises 404."""
        if (upload := uploads.find(name, owner)) is None:
            raise HTTPException(404, "there is no such upload")
        return upload

    def job(self, name: str, owner: Owner) -> Job:
        """A job; raises 404."""
        if (job := self.jobs.of(name, owner.name)) is None:
            raise HTTPException(404, "there is no such job")
        return job


BEARER = HTTPBearer(auto_error=False, description="A key that the operator made")
COOKIE = APIKeyCookie(name=SESSION, auto_error=False, description="A session of the page")


def asking(
    request: Request,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(BEARER)] = None,
    session: Annotated[str | None, Depends(COOKIE)] = None,
) -> Owner:
    """Who asks, within the rate."""
    service: Service = request.app.state.service
    name = service.sessions.get(session or "")
    owner = service.owners.named(name) if name and bearer is None else None
    owner = owner or service.owners.of_key(bearer.credentials if bearer else None)
    client = request.client.host if request.client else "-"
    wait = service.owners.wait(owner.name if owner else f"without a key: {client}")
    if wait:
        raise HTTPException(429, "too many requests; slow down", headers={"Retry-After": str(int(wait) + 1)})
    if owner is None:
        raise HTTPException(401, "give a key: Authorization: Bearer KEY", headers={"WWW-Authenticate": "Bearer"})
    return owner


def serving(request: Request) -> Service:
    """What the routes share."""
    return request.app.state.service  # type: ignore[no-any-return]


Asking = Annotated[Owner, Depends(asking)]
Serving = Annotated[Service, Depends(serving)]
