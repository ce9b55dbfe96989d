"""Whatever a client sends, within the contract or not: no answer is a 5xx, and each is one that the contract names."""

from __future__ import annotations

import pytest
import torch

from datakiln.serve.owners import new_key
from tests.serve.conftest import run_folder

EXAMPLES = 15  # of each operation


def running(app):
    """The application, whose start and end are somebody else's."""

    async def asked(scope, receive, send) -> None:
        if scope["type"] != "lifespan":
            await app(scope, receive, send)
            return
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": f"{message['type']}.complete"})
        await send({"type": "lifespan.shutdown.complete"})

    return asked


@pytest.mark.slow
def test_the_contract_holds(served, table, tmp_path):
    schemathesis = pytest.importorskip("schemathesis", reason="needs schemathesis")  # seconds, of every worker
    from hypothesis import HealthCheck, Phase, given, settings

    torch.set_flush_denormal(False)  # hypothesis tries numbers that small
    keys = tmp_path / "keys.json"
    headers = {"host": "127.0.0.1", "Authorization": f"Bearer {new_key(keys, 'anna')}"}
    client = served(keys=keys)
    run_folder(tmp_path / "outputs" / "served" / "anna" / "runs")
    assert client.post("/v1/uploads", content=table, headers=headers).status_code == 201
    schema = schemathesis.openapi.from_asgi("/v1/openapi.json", running(client.app), headers=headers)
    # no schema says which bytes are a table: of uploads, refusals with a reason are right answers
    semantic = [schemathesis.specs.openapi.checks.positive_data_acceptance]
    streams = {"/v1/jobs/{name}/events"}  # tested by itself: it ends with its job
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) > 15
    for operation in operations:
        if operation.path in streams:
            continue

        @settings(
            max_examples=EXAMPLES, deadline=None, derandomize=True, phases=[Phase.generate], database=None,
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(case=operation.as_strategy())
        def check(case):
            case.call_and_validate(headers=headers, excluded_checks=semantic if case.path == "/v1/uploads" else [])

        check()
