from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the extra [serve]")
from fastapi.testclient import TestClient  # noqa: E402

from datakiln import strictjson  # noqa: E402
from datakiln.sampling.synthesizer import Synthesizer  # noqa: E402
from datakiln.serve.app import create  # noqa: E402
from datakiln.serve.settings import Settings  # noqa: E402
from tests.stub_tables import people, redrawing  # noqa: E402

MODEL = "2026-01-02~10-00-00-copula-x"
# what a job runs in these tests: it takes the words of a real one, and goes on from what an earlier start left
JOB = """
import pathlib, sys, time, urllib.parse, json
words = dict(word.split("=", 1) for word in sys.argv[1:])
folder = pathlib.Path(json.loads(urllib.parse.unquote(words["hydra.run.dir"][len("${from_json:"):-1])))
assert words["ckpt_path"] == "last"
file = folder / "metrics.csv"
done = len(file.read_text().splitlines()) - 1 if file.exists() else 0
if not done:
    file.write_text("epoch,val/loss\\n")
for epoch in range(done, int(words["epochs"])):
    with file.open("a") as out:
        out.write(f"{epoch},{1 / (epoch + 1)}\\n")
    time.sleep(0.03)
if words["seed"] == "13":
    print("error: seed=13 brings bad luck; take another", file=sys.stderr)
    sys.exit(2)
(folder / "result.json").write_text('{"model": "copula", "data": "csv", "seed": 0, "objective": null, "figures": []}')
(folder / "checkpoints").mkdir(exist_ok=True)
"""


def run_folder(runs: Path) -> None:
    folder = runs / MODEL.replace("~", "/")
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "best.ckpt").write_bytes(b"stands for one")
    (folder / "report.html").write_text("<p>report")
    figures = [{"name": "fidelity/shape", "value": 0.9, "better": "higher", "ceiling": 1.0, "floor": 0.5}]
    told = {"model": "copula", "data": "toy", "seed": 0, "objective": {"name": "val/loss"}, "figures": figures}
    strictjson.write(told, folder / "result.json")


@pytest.fixture
def table() -> bytes:
    return people(60).to_csv(index=False).encode()


@pytest.fixture
def served(tmp_path, monkeypatch):
    """`served(option=...)`: a client of a server with one model of a stub, whose jobs run `JOB`."""
    made = redrawing()
    monkeypatch.setattr(type(made.codec), "chunk", 64)
    monkeypatch.setattr(Synthesizer, "load", lambda *_, **__: made)
    open_clients = []

    def start(keys: Path | None = None, **options) -> TestClient:
        root = tmp_path / "outputs"
        if not (root / "2026-01-02").exists():
            run_folder(root)
        options = {"rate": 1e6, "burst": 10**6} | options
        app = create(Settings(root, (sys.executable, "-c", JOB), keys=keys, **options))
        client = TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False)
        client.__enter__()
        open_clients.append(client)
        return client

    yield start
    for client in open_clients:
        client.__exit__(None, None, None)
