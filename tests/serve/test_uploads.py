"""Broken uploads are refused in one line, and never stop the server."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.mark.parametrize("seed", range(5))
def test_broken_uploads_never_stop_the_server(served, table, seed):
    client, rng = served(), np.random.default_rng(seed)
    for _ in range(12):
        broken = bytearray(table)
        for at in rng.integers(0, len(broken), rng.integers(1, 40)):
            broken[at] = rng.integers(0, 256)
        cut = bytes(broken[: rng.integers(1, len(broken))])
        assert client.post("/v1/uploads", content=cut).status_code in (201, 413, 422)
    assert client.get("/healthz").status_code == 200
