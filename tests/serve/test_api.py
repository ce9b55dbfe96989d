"""The API: samples are those of the command, nothing of a client reaches a grammar, and no key sees another's."""

from __future__ import annotations

import asyncio
import io
import json
import shutil
import time
import zipfile

import httpx
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from starlette.requests import ClientDisconnect

from datakiln.cli.sample import main as sample_command
from datakiln.errors import UserError
from datakiln.sampling.synthesizer import Synthesizer
from datakiln.schema import Field, Schema
from datakiln.serve.owners import Owners, new_key, read_keys
from datakiln.serve.requests import TrainRequest, TypesRequest, words
from datakiln.serve.settings import Settings
from datakiln.serve.streams import escaped, jsonl_bytes
from tests.serve.conftest import MODEL, run_folder
from tests.stub_series import STEPS, redrawing_steps

SAMPLE = f"/v1/models/{MODEL}/sample"


def until(client, job: str, *wanted: str) -> dict:
    for _ in range(400):
        told = client.get(f"/v1/jobs/{job}").json()
        if told["status"] in wanted:
            return told
        time.sleep(0.05)
    raise AssertionError(told)


def begin(client, table: bytes, **options) -> tuple[str, str]:
    upload = client.post("/v1/uploads", content=table).json()["id"]
    asked = {"upload": upload, "model": "copula", "epochs": 3, **options}
    return upload, client.post("/v1/jobs", json=asked).json()["id"]


@pytest.mark.parametrize("asked", [{"n": 200}, {"n": 70, "seed": 5, "condition": {"sex": "Female"}}])
def test_a_sample_has_the_rows_of_the_command(served, tmp_path, asked):
    told = served().post(SAMPLE, json=asked)
    out = tmp_path / "x.csv"
    condition = [f"condition.{name}={value}" for name, value in asked.get("condition", {}).items()]
    sample_command(
        [f"run={tmp_path}/outputs", f"out={out}", f"n={asked['n']}", f"seed={asked.get('seed', 0)}", *condition]
    )
    assert told.content == out.read_bytes()


def test_formats_hold_the_same_rows(served):
    client = served()
    got = {form: client.post(SAMPLE, json={"n": 200, "format": form}).content for form in ("parquet", "arrow", "jsonl")}
    parquet = pq.read_table(io.BytesIO(got["parquet"]))
    assert parquet.num_rows == 200 and pa.ipc.open_stream(got["arrow"]).read_all().equals(parquet)
    lines = [json.loads(line) for line in got["jsonl"].splitlines()]
    assert len(lines) == 200 and [line["city"] for line in lines] == parquet["city"].to_pylist()


def test_json_has_the_cells_of_the_csv_numbers_and_truths_bare():
    frame = pd.DataFrame(
        {
            "total": [83.73, -7248.71],
            "whole": [7.0, np.nan],
            "yes": pd.array(["True", None], dtype="str"),
            "paid": [True, False],
            "at": pd.to_datetime(["2020-04-20 23:10:07", None]).tz_localize("Europe/Berlin"),
            "day": ["2021-03-15", "none yet"],
            "price": ["1,234.50", "3.00"],
            "word": ['say "ä"', ""],
        }
    )
    fields = [Field("total", "numeric", "float64", 2), Field("whole", "integer", "float64", 0)]
    schema = Schema(
        (*fields, Field("yes", "boolean", "str"), Field("price", "numeric", "str", 2, format="#,##0.00")), None
    )
    first, second = jsonl_bytes(frame, schema).decode().splitlines()
    assert first == (
        '{"total":83.73,"whole":7,"yes":true,"paid":true,"at":"2020-04-20 23:10:07+02:00","day":"2021-03-15",'
        '"price":"1,234.50","word":"say \\"ä\\""}'
    )
    assert json.loads(second) == {
        **{"total": -7248.71, "whole": None, "yes": None, "paid": False, "at": None, "day": "none yet"},
        **{"price": "3.00", "word": ""},
    }
    assert jsonl_bytes(frame[["whole"]], schema) == b'{"whole":7}\n{"whole":null}\n'


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"n": 0}, "n: "),
        ({"n": "5"}, "n: "),
        ({"n": 10**9}, "more than this server gives"),
        ({"condition": {"nowhere": 1}}, "nowhere"),
        ({"condition": {"_target_": "os.system"}}, "_target_"),
        ({"_target_": "os.system"}, "_target_"),
        ({"format": "png"}, "format=png is not there for this model"),
        ({"format": "arrow", "escape_formulas": True}, "escape_formulas is for format=csv"),
        ({"balance": "nowhere"}, "nowhere"),
        ({"steps": 3}, "steps=3 changes nothing"),
    ],
)
def test_samples_that_cannot_be(served, asked, told):
    answer = served().post(SAMPLE, json=asked)
    assert answer.status_code == 422 and told in answer.json()["detail"]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"n": ', "the body is no JSON: "),
        (b'{"condition": {"sex": ["Female"]}}', "condition.sex: a number, a truth or a text"),
        (b'{"condition": {"sex": null}}', "condition.sex: a number, a truth or a text"),
        (b'{"condition": 5}', "condition: "),
    ],
)
def test_bodies_that_cannot_be_say_what_is_wrong(served, body, told):
    answer = served().post(SAMPLE, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422 and answer.json()["detail"].startswith(told)


def test_words_of_a_client_are_part_of_no_grammar(tmp_path):
    odd = 'a=b,c:{d} "e" ${oc.env:HOME} ü'
    types = TypesRequest(types={odd: "category"}, target="${oc.env:HOME}")
    said = words(TrainRequest(upload="x"), "table", tmp_path, tmp_path / "run", types)
    for word in said:
        assert not set(word.partition("=")[2].removeprefix("${from_json:").removesuffix("}")) & set("${},:=\"' ")


@pytest.mark.parametrize(
    "asked",
    [
        {"model": "copula", "_target_": "os.system"},
        {"model": "${oc.env:HOME}"},
        {"model": "dcgan"},
        {"model": "copula", "epochs": "${oc.env:HOME}"},
        {"model": "copula", "data.path": "/etc/passwd"},
    ],
)
def test_jobs_that_cannot_be(served, table, asked):
    client = served()
    upload = client.post("/v1/uploads", content=table).json()["id"]
    assert client.post("/v1/jobs", json={"upload": upload, **asked}).status_code == 422
    assert client.get("/v1/jobs").json() == []


def test_types_are_shown_and_corrected(served, table):
    client = served()
    upload = client.post("/v1/uploads", content=table).json()
    found = {column["name"]: column["type"] for column in upload["columns"]}
    assert found["sex"] == "category"
    path = f"/v1/uploads/{upload['id']}/types"
    told = client.put(path, json={"types": {"sex": "drop"}, "target": "kind"}).json()
    assert {column["name"]: column["type"] for column in told["columns"]} == found | {"sex": "drop"}
    for wrong in ({"types": {"sex": "numeric"}}, {"types": {"nowhere": "id"}}, {"target": "${oc.env:HOME}"}):
        assert client.put(path, json=wrong).status_code == 422
    assert client.get(f"/v1/uploads/{upload['id']}").json()["target"] == "kind"
    assert client.delete(f"/v1/uploads/{upload['id']}").status_code == 204
    assert client.get(f"/v1/uploads/{upload['id']}").status_code == 404


def test_a_job_tells_figures_and_ends_as_a_model(served, table):
    client = served()
    _, job = begin(client, table)
    events = client.get(f"/v1/jobs/{job}/events").text
    assert events.count("event: figures") == 3 and '"status":"done"' in events
    trained = client.get(f"/v1/jobs/{job}").json()["trained"]
    assert trained in [card["id"] for card in client.get("/v1/models").json()]


def test_a_job_that_fails_says_why(served, table):
    client = served()
    _, job = begin(client, table, seed=13)
    assert until(client, job, "failed", "done")["why"] == "seed=13 brings bad luck; take another"


@pytest.mark.journey
def test_a_job_is_cancelled_and_resumed(served, table):
    client = served()
    upload, job = begin(client, table, epochs=60)
    until(client, job, "running")
    assert client.delete(f"/v1/uploads/{upload}").status_code == 409
    assert client.post(f"/v1/jobs/{job}/cancel").json()["status"] == "cancelled"
    assert client.post(f"/v1/jobs/{job}/resume").json()["status"] in ("waiting", "running")
    until(client, job, "done")
    assert client.get(f"/v1/jobs/{job}/events").text.count("event: figures") == 60


def test_a_job_is_resumed_only_where_a_new_one_may_wait(served, table, monkeypatch):
    client = served()
    _, job = begin(client, table, seed=13)
    until(client, job, "failed")
    jobs = client.app.state.service.jobs
    with monkeypatch.context() as crowded:
        crowded.setattr(jobs, "waiting", lambda _: 20)
        assert client.post(f"/v1/jobs/{job}/resume").status_code == 429
    with monkeypatch.context() as full:
        full.setattr("datakiln.serve.owners.Owner.used", lambda _: 2**60)
        assert client.post(f"/v1/jobs/{job}/resume").status_code == 413
    assert client.get(f"/v1/jobs/{job}").json()["status"] == "failed"


@pytest.mark.journey
def test_jobs_go_on_with_the_next_server(served, table):
    first = served()
    _, job = begin(first, table, epochs=60)
    until(first, job, "running")
    first.__exit__(None, None, None)
    first.__exit__ = lambda *_: None
    second = served()
    assert until(second, job, "done")["trained"]
    assert second.get(f"/v1/jobs/{job}/events").text.count("event: figures") == 60


@pytest.mark.journey
def test_a_killed_job_is_started_again(served, table):
    client = served()
    _, job = begin(client, table, epochs=60)
    until(client, job, "running")
    next(iter(client.app.state.service.jobs.running.values())).kill()
    until(client, job, "done")
    assert client.get(f"/v1/jobs/{job}/events").text.count("event: figures") == 60


def test_no_key_sees_anything_of_another(served, table, tmp_path):
    keys = tmp_path / "keys.json"
    anna, ben = ({"Authorization": f"Bearer {new_key(keys, name)}"} for name in ("anna", "ben"))
    client = served(keys=keys)
    run_folder(tmp_path / "outputs" / "served" / "anna" / "runs")
    upload = client.post("/v1/uploads", content=table, headers=anna).json()["id"]
    job = client.post("/v1/jobs", json={"upload": upload, "model": "copula", "epochs": 1}, headers=anna).json()["id"]
    for path in (f"/v1/uploads/{upload}", f"/v1/jobs/{job}", f"/v1/models/{MODEL}/report"):
        assert client.get(path, headers=anna).status_code == 200
        assert client.get(path, headers=ben).status_code == 404
        assert client.get(path).status_code == 401
        assert client.get(path, headers={"Authorization": "Bearer wrong"}).status_code == 401
    for path in ("/v1/uploads", "/v1/jobs", "/v1/models"):
        # the job of anna may have ended by now, and left a second model
        assert len(client.get(path, headers=anna).json()) in (1, 2) and client.get(path, headers=ben).json() == []
    assert client.post("/v1/jobs", json={"upload": upload}, headers=ben).status_code == 404
    key = anna["Authorization"].partition(" ")[2]
    assert key not in keys.read_text() and set(read_keys(keys)) == {"anna", "ben"}
    assert client.post("/v1/session", json={"key": key}).status_code == 204
    assert len(client.get("/v1/uploads").json()) == 1  # by the cookie


def test_others_need_a_key(tmp_path):
    with pytest.raises(UserError, match="host=0.0.0.0 can be reached by others"):
        Owners(Settings(tmp_path, (), host="0.0.0.0"))


def test_other_sites_are_refused(served):
    client = served()
    assert client.get("/v1/models", headers={"host": "evil.example"}).status_code == 421
    for headers in ({"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}):
        assert client.post(SAMPLE, json={"n": 1}, headers=headers).status_code == 403
    assert "script-src 'self'" in client.get("/").headers["content-security-policy"]


@pytest.mark.parametrize("headers", [{"host": "["}, {"origin": "http://["}])
def test_what_is_no_address_is_refused(served, headers):
    answer = served().post(SAMPLE, json={"n": 1}, headers=headers)
    assert answer.status_code == 400 and answer.json()["detail"] == "host or origin is no address"


def test_names_lead_nowhere_else(served):
    client = served()
    for name in ("..%2f..%2fetc", "2026-01-02~..", "2026-01-02~.", "%00", "2026-01-02~nowhere"):
        assert client.get(f"/v1/models/{name}/report").status_code == 404
        assert client.get(f"/v1/uploads/{name}").status_code == 404


def test_runs_are_found_wherever_they_were_put_below_root(served, tmp_path):
    client = served()
    names = ["mine", "2026-01-02~multi~0-vae-iris", "2026-01-02~run", MODEL]
    for name in names[:-1]:
        folder = tmp_path / "outputs" / name.replace("~", "/")
        shutil.copytree(tmp_path / "outputs" / MODEL.replace("~", "/"), folder)
    shutil.copytree(tmp_path / "outputs" / "mine", tmp_path / "outputs" / "served" / "anna" / "runs" / "day" / "run")
    shutil.copytree(tmp_path / "outputs" / "mine", tmp_path / "elsewhere" / "run")
    (tmp_path / "outputs" / "away").symlink_to(tmp_path / "elsewhere")
    assert [card["id"] for card in client.get("/v1/models").json()] == ["mine", "2026-01-02~run", names[1], MODEL]
    assert all(client.post(f"/v1/models/{name}/sample", json={"n": 3}).status_code == 200 for name in names)
    assert client.get("/v1/models/served~anna~runs~day~run").status_code == 404


def test_series_are_served_as_rows(served, tmp_path, monkeypatch):
    made = redrawing_steps()
    client = served(rows=STEPS * 50)
    monkeypatch.setattr(Synthesizer, "load", lambda *_, **__: made)
    ask = client.get(f"/v1/models/{MODEL}").json()["ask"]
    assert ask["kind"] == "series" and ask["formats"] == ["csv", "parquet", "arrow", "jsonl"]
    assert [column["name"] for column in ask["columns"]] == ["city"] and not (ask["can_fill"] or ask["can_score"])
    told = client.post(SAMPLE, json={"n": 5, "seed": 3, "condition": {"city": "Ulm"}})
    sample_command([f"run={tmp_path}/outputs", f"out={tmp_path}/x.csv", "n=5", "seed=3", "condition.city=Ulm"])
    assert told.content == (tmp_path / "x.csv").read_bytes() and told.text.count("Ulm") == 5 * STEPS
    rows = pq.read_table(io.BytesIO(client.post(SAMPLE, json={"n": 5, "format": "parquet"}).content))
    assert rows.num_rows == 5 * STEPS
    for asked in ({"n": 51}, {"format": "png"}, {"balance": "city"}, {"condition": {"price": 3}}):
        assert client.post(SAMPLE, json=asked).status_code == 422
    upload = client.post("/v1/uploads", content=rows.to_pandas().to_csv(index=False).encode()).json()["id"]
    answer = client.post(f"/v1/models/{MODEL}/fill", json={"upload": upload})
    assert answer.status_code == 422 and "the model makes series" in answer.json()["detail"]


def test_rate_and_size_and_quota(served, table):
    client = served(burst=3, rate=0.001)
    answers = [client.get("/v1/models") for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert int(answers[-1].headers["retry-after"]) > 0
    client = served(upload_mb=1)
    assert client.post("/v1/uploads", content=iter([b"a,b\n"] * 2**19)).status_code == 413
    assert client.post("/v1/uploads", content=b"x" * (2**20 + 1)).status_code == 413
    assert client.get("/v1/uploads").json() == []
    long = client.post(SAMPLE, content=iter([b" " * 2**19] * 3), headers={"content-type": "application/json"})
    assert long.status_code == 413 and long.json()["detail"] == "the body has more than 1,048,576 bytes; send less"
    assert served(columns=2).post("/v1/uploads", content=table).status_code == 422
    assert served(rows=20).post("/v1/uploads", content=table).status_code == 413


def test_uploads_at_a_time_share_the_quota(served, table, tmp_path):
    client = served(quota_mb=1)
    part = b"a,b\n" + b"1,2\n" * (6 * 2**20 // 40)  # 0.6 of the quota

    async def both() -> list[httpx.Response]:
        """The second comes whole while the first is on its way."""
        transport, answers = httpx.ASGITransport(client.app, raise_app_exceptions=False), []
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as sender:

            async def first():
                yield b"a,b\n"
                answers.append(await sender.post("/v1/uploads", content=part))
                yield part

            return [await sender.post("/v1/uploads", content=first()), *answers]

    refused, taken = client.portal.call(both)
    assert taken.status_code == 201
    assert refused.status_code == 413 and "the quota is used up" in refused.json()["detail"]
    assert len(list((tmp_path / "outputs" / "served" / "local" / "uploads").iterdir())) == 1
    assert client.post("/v1/uploads", content=table).status_code == 201


def test_a_zip_unpacks_to_no_more_than_the_quota(served):
    zipped = packed({"a.png": bytes(2**19), "b.png": bytes(2**20)})
    answer = served(quota_mb=1, zip_ratio=10**6).post("/v1/uploads", content=zipped)
    assert answer.status_code == 413 and "the ZIP unpacks to more than the quota" in answer.json()["detail"]


def test_scoring_is_off_unless_switched_on(served, table):
    client = served()
    upload = client.post("/v1/uploads", content=table).json()["id"]
    assert client.post(f"/v1/models/{MODEL}/score", json={"upload": upload}).status_code == 403
    told = served(scoring=True).post(f"/v1/models/{MODEL}/score", json={"upload": upload})
    assert told.status_code == 422 and "has no likelihood" in told.json()["detail"]
    filled = client.post(f"/v1/models/{MODEL}/fill", json={"upload": upload})
    assert filled.status_code == 422 and "cannot be told columns" in filled.json()["detail"]


def pictures(count: int = 12, side: int = 8) -> list[bytes]:
    rng, made = np.random.default_rng(0), []
    for _ in range(count):
        file = io.BytesIO()
        Image.fromarray(rng.integers(0, 255, (side, side, 3), dtype=np.uint8)).save(file, format="PNG")
        made.append(file.getvalue())
    return made


def packed(members: dict[str, bytes], way: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", way) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def test_a_zip_of_pictures_is_unpacked_under_our_names(served, tmp_path):
    client = served()
    names = [
        f"{'cats' if i % 2 else '../../dogs'}/../x{i}.png" if i == 0 else f"{'cats' if i % 2 else 'dogs'}/x.png.{i}.png"
        for i in range(12)
    ]
    told = client.post("/v1/uploads", content=packed(dict(zip(names, pictures(), strict=True)) | {"cats/y.png": b"no"}))
    assert (
        told.json()["kind"] == "image"
        and told.json()["rows"] == 12
        and "left out: picture 13" in told.json()["notes"][0]
    )
    files = [path for path in (tmp_path / "outputs" / "served").rglob("*.png")]
    assert len(files) == 12 and all(path.stem.isdigit() for path in files)


def test_no_two_classes_of_a_zip_share_a_folder(served, tmp_path):
    names = [f"{('x-2', 'x', 'x!')[i % 3]}/{i}.png" for i in range(12)]
    notes = served().post("/v1/uploads", content=packed(dict(zip(names, pictures(), strict=True)))).json()["notes"]
    assert notes == ["x-2: x-2", "x: x", "x-3: x!"]
    assert len({path.parent for path in (tmp_path / "outputs" / "served").rglob("*.png")}) == 3


def damaged(way: int) -> bytes:
    """A ZIP of pictures in which the packed bytes of the first are not what they should be."""
    whole = bytearray(packed({f"{i}.png": data for i, data in enumerate(pictures())}, way))
    begin = 30 + len("0.png")  # behind the local header
    whole[begin + 4 : begin + 60] = b"\xff" * 56
    return bytes(whole)


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (packed({"bomb.png": b"\0" * 10**7}), 413),
        (packed({f"{i}.png": b"no picture" for i in range(20)}), 422),
        (packed({f"{i}.png": data for i, data in enumerate(pictures(12, 40))}), 413),
        (packed({"a.txt": b"no picture"}), 422),
        (b"PK\x03\x04" + b"\xff" * 100, 422),
        (damaged(zipfile.ZIP_DEFLATED), 422),
        (damaged(zipfile.ZIP_BZIP2), 422),
        (damaged(zipfile.ZIP_LZMA), 422),
        (b"PAR1" + b"\0" * 100, 422),
        (b"", 422),
        (b"\x1f\x8b\x08broken", 422),
        (b"a,b\n", 422),
    ],
)
def test_uploads_that_are_refused_leave_nothing(served, tmp_path, content, status):
    client = served(zip_ratio=100, pixels=1000)
    assert client.post("/v1/uploads", content=content).status_code == status
    assert not list((tmp_path / "outputs" / "served" / "local" / "uploads").iterdir())


def test_formulas_are_escaped():
    frame = pd.DataFrame({"=a": ["=1+1", "@x", "plain", None], "n": [-1.0, 2.0, 3.0, 4.0]})
    told = escaped(frame)
    assert list(told) == ["'=a", "n"] and told["'=a"].tolist()[:3] == ["'=1+1", "'@x", "plain"]
    assert told["n"].tolist() == frame["n"].tolist()


def test_too_many_samples_are_answered_429(served):
    client = served(streams=1)
    gate = client.app.state.service.gate
    gate.inside = 2
    answer = client.post(SAMPLE, json={"n": 5})
    assert answer.status_code == 429 and answer.headers["retry-after"]
    gate.inside = 0
    assert client.post(SAMPLE, json={"n": 5}).status_code == 200 and gate.inside == 0


def test_health_and_metrics_name_nobody(served):
    client = served()
    client.post(SAMPLE, json={"n": 5})
    assert client.get("/healthz").json() == {"status": "ok"}
    told = client.get("/metrics").text
    assert 'datakiln_requests_total{method="POST",status="200"} 1' in told and MODEL not in told


@pytest.mark.journey
def test_drawing_ends_when_the_client_leaves(served):
    """As uvicorn tells it: a send that fails."""
    client, pieces = served(), []
    service = client.app.state.service

    async def leave(message):
        if message["type"] == "http.response.body" and message.get("body"):
            pieces.append(message["body"])
            if len(pieces) == 2:
                raise OSError("gone")

    body = iter([{"type": "http.request", "body": json.dumps({"n": 10**7}).encode()}])

    async def receive():
        return next(body, None) or await asyncio.sleep(3600)

    head = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]
    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.4"}, "method": "POST", "path": SAMPLE,
        "raw_path": SAMPLE.encode(), "query_string": b"", "headers": head, "http_version": "1.1", "scheme": "http",
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80), "root_path": "",
    }  # fmt: skip
    with pytest.raises(ClientDisconnect):
        client.portal.call(client.app, scope, receive, leave)
    assert len(pieces) == 2 and service.gate.inside == 0
