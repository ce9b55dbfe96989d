"""Broken uploads are refused in one line, and never stop the server."""

from __future__ import annotations

import numpy as np
import pytest

from datakiln.serve.settings import Settings
from datakiln.serve.uploads import take_in


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


def test_days_in_digits_are_not_said_to_be_kept_as_text(tmp_path):
    path = tmp_path / "upload" / "received"
    path.parent.mkdir()
    path.write_text("day,zip\n" + "".join(f"{k % 28 + 1:02d}03{2000 + k % 30},{k:05d}\n" for k in range(120)))
    upload = take_in("a", path, Settings(tmp_path, ()), holds=lambda size: True)
    assert upload.columns[0]["type"] == "datetime"
    assert upload.notes == ["column 'zip' has leading zeros: kept as text"]
