"""A plan's parts are the same whoever makes them, into a folder or a store, however often somebody is killed."""

from __future__ import annotations

import hashlib
import json

import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from datakiln.cli.sample import main as sample
from datakiln.errors import UserError
from datakiln.sampling import plan as plans
from datakiln.sampling.plan import Plan
from datakiln.sampling.synthesizer import Synthesizer
from tests.stub_tables import redrawing

N, PARTS = 101, 7


@pytest.fixture(autouse=True)
def command(monkeypatch):
    monkeypatch.setattr(Synthesizer, "load", classmethod(lambda cls, *args, **options: redrawing()))


def run(out, *words: str) -> None:
    sample(["run=any", f"out={out}/", f"n={N}", f"parts={PARTS}", *words])


def contents(folder) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_rows_are_shared_out_without_a_gap():
    for n, parts in ((10, 3), (7, 7), (10**12, 1000)):
        plan = Plan(n, parts)
        assert sum(plan.rows(part) for part in range(parts)) == n
        assert {plan.rows(part) for part in range(parts)} <= {n // parts, n // parts + 1}
        shared = [part for worker in (1, 2, 3) for part in Plan(n, parts, worker, 3).mine()]
        assert sorted(shared) == list(range(parts))


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_the_whole_is_the_plan_whatever_the_workers(tmp_path, workers):
    run(tmp_path / "one")
    for worker in range(workers, 0, -1):
        run(tmp_path / "several", f"worker={worker}/{workers}")
    assert contents(tmp_path / "several") == contents(tmp_path / "one")
    manifest = json.loads((tmp_path / "one" / "_manifest.json").read_text())
    for file in manifest["files"]:
        path = tmp_path / "one" / file["file"]
        assert hashlib.sha256(path.read_bytes()).hexdigest() == file["sha256"]
        assert pq.read_metadata(path).num_rows == file["rows"]
    whole = pq.read_table(tmp_path / "one")
    assert whole.num_rows == N and len(set(whole["id"].to_pylist())) == N


@pytest.mark.parametrize("kill", range(0, 2 * PARTS, 3))
def test_killed_between_any_two_files_and_finished_by_the_same_command(tmp_path, monkeypatch, kill):
    run(tmp_path / "whole")
    put, count = plans._put, iter(range(kill))

    def killed(*given):
        if next(count, None) is None:
            raise SystemExit("killed")
        put(*given)

    with monkeypatch.context() as patch:
        patch.setattr(plans, "_put", killed)
        with pytest.raises(SystemExit):
            run(tmp_path / "x")
    assert not (tmp_path / "x" / "_manifest.json").exists()
    run(tmp_path / "x")
    assert contents(tmp_path / "x") == contents(tmp_path / "whole")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["seed=1"], "holds parts with seed=0 and not 1"),
        (["worker=3/2"], "worker=3/2 must be i/k"),
        (["worker=x"], "worker=x must be i/k"),
        (["overwrite=true"], "parts=7 and overwrite=True do not go together"),
    ],
)
def test_plans_that_cannot_be(tmp_path, words, told):
    run(tmp_path / "x")
    with pytest.raises(UserError, match=told):
        run(tmp_path / "x", *words)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["out=x/", "n=5", "parts=6"], "parts=6 must be between 1 and n=5"),
        (["out=x.csv", "n=5", "parts=2"], "must be a folder"),
        (["out=x/", "n=5", "worker=1/2"], "worker=1/2 needs parts="),
        (["out=s3://bucket/x/", "n=5"], "needs parts="),
    ],
)
def test_words_that_cannot_be(words, told):
    with pytest.raises(UserError, match=told):
        sample(["run=any", *words])


@pytest.mark.journey
def test_an_object_store_holds_what_a_folder_would(tmp_path, monkeypatch):
    server = pytest.importorskip("moto.server", reason="needs moto[s3,server]").ThreadedMotoServer(port=0)
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "x"),
        ("AWS_SECRET_ACCESS_KEY", "x"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ):
        monkeypatch.setenv(name, value)
    server.start()
    try:
        host, port = server.get_host_and_port()
        place = (
            f"s3://bucket/x/?endpoint_override={host}:{port}&scheme=http&region=us-east-1&allow_bucket_creation=true"
        )
        words = ["run=any", f"n={N}", f"parts={PARTS}"]
        run(tmp_path / "x")
        for worker in ("2/2", "1/2", "1/2"):
            sample([*words, f"out={place}", f"worker={worker}"])
        store, root = fs.FileSystem.from_uri(place)
        found = store.get_file_info(fs.FileSelector(root, recursive=True))
        files = {file.path: store.open_input_stream(file.path).read() for file in found if file.is_file}
        assert {path.removeprefix("bucket/x/"): data for path, data in files.items()} == contents(tmp_path / "x")
    finally:
        server.stop()
