"""`datakiln serve root=outputs`: a web page and an API over the models and commands of this program."""

from __future__ import annotations

import logging
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from datakiln.cli import kinds
from datakiln.cli.calling import shim, with_extra
from datakiln.cli.commands import command, options
from datakiln.errors import Interrupted, UserError, near
from datakiln.saying import say

if TYPE_CHECKING:
    from datakiln.serve.settings import Settings

LIMITS = (
    "streams", "rate", "burst", "upload_mb", "quota_mb", "rows", "columns", "pictures", "pixels", "zip_ratio", "models",
)  # fmt: skip
JOBS = ("parallel", "memory_mb", "minutes")
OPTIONS_FILE = "datakiln.cli.options"


def main(argv: list[str]) -> None:
    """Serves until stopped, or makes a key.

    Raises:
        UserError: An option is wrong, the extra is not installed, or the port is taken.
    """
    cfg = options(argv, "serve")
    try:
        import fastapi  # noqa: F401
        import uvicorn
    except ImportError as error:
        raise UserError(f"serving needs {error.name}; install it: {with_extra('serve')}") from None
    from datakiln.serve.owners import Owners, new_key

    keys = None if cfg["keys"] is None else Path(str(cfg["keys"])).expanduser()  # cfg.keys is a method
    if cfg.new_key is not None:
        if keys is None:
            raise UserError(f"new_key={cfg.new_key} needs a file: keys=FILE")
        say(f"{new_key(keys, str(cfg.new_key))}\nthis key is told once: {keys} keeps its hash only")
        return
    settings = _settings(cfg, keys)
    Owners(settings)  # refuses what it will refuse before torch is imported
    listening = _listen(str(cfg.host), int(cfg.port))
    port = listening.getsockname()[1]
    from datakiln.serve.app import create

    app = create(settings)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(name)s %(message)s")
    say(f"serving {cfg.root} at http://{cfg.host}:{port}; Ctrl-C stops, and jobs go on at the next start")
    config = uvicorn.Config(
        app, log_config=None, access_log=False, server_header=False, timeout_keep_alive=10, timeout_graceful_shutdown=5
    )
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    try:
        uvicorn.Server(config).run(sockets=[listening])
    except Interrupted as stop:
        raise Interrupted(stop.reason, "jobs go on at the next start") from None


def _settings(cfg: DictConfig, keys: Path | None) -> Settings:
    from datakiln.serve.settings import Settings

    module = "src.train" if shim() else "datakiln"
    train = (sys.executable, "-m", module, *(() if shim() else ("train",)))
    limits = {name: cfg[name] for name in LIMITS}
    unknown = next((str(name) for name in cfg.jobs if name not in JOBS), None)
    if unknown is not None:
        raise UserError(f"unknown option jobs.{unknown}{near(unknown, JOBS)}; known: {', '.join(JOBS)}")
    jobs = {
        str(key): kinds.checked(value, f"{OPTIONS_FILE}.Jobs", key, f"jobs.{key}") for key, value in cfg.jobs.items()
    }
    own = {"host": str(cfg.host), "keys": keys, "scoring": cfg.scoring}
    return Settings(Path(str(cfg.root)).expanduser(), train, **own, **limits, **jobs)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except (OSError, OverflowError) as error:
        listening.close()
        told = getattr(error, "strerror", None) or str(error)
        raise UserError(f"host={host} port={port} cannot be listened at ({told}); choose another port=") from None
    return listening


def run() -> None:
    """The command."""
    command(main)
