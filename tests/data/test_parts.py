"""Tables of several Parquet files in folders and object stores: what is read, what folders tell, what is wrong."""

from __future__ import annotations

import os
import urllib.request
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from pyarrow import fs

from datakiln.api.config import composed
from datakiln.api.fitting import source_of
from datakiln.codecs.tables.bins import Bins
from datakiln.codecs.tables.table import TableCodec
from datakiln.data.stored import Stored
from datakiln.data.tables import loaders
from datakiln.data.tables.parts import parts_in
from datakiln.data.tables.tables import FileData
from datakiln.errors import UserError

KEYS = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_EC2_METADATA_DISABLED": "true"}


def people(rows: int = 120, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    kind = rng.choice(["a", "b"], rows)
    return pd.DataFrame({"kind": kind, "size": np.where(kind == "a", 1, 5) + rng.normal(size=rows).round(2)})


def hive(root: Path, folders: list[str], rows: int = 120) -> None:
    """A file of so many rows in each folder, in groups of 40."""
    for i, folder in enumerate(folders):
        (root / folder).mkdir(parents=True)
        people(rows, i).to_parquet(root / folder / "part-0.parquet", row_group_size=40, index=False)


def data_of(path, **options) -> FileData:
    given = {"target": "kind", "split": (0.8, 0.1, 0.1), "batch_size": 32, **options}
    return FileData(str(path), TableCodec(Bins, compact=True), **given)


def refused(path, **options) -> str:
    with pytest.raises(UserError) as caught:
        data_of(path, **options).setup("fit")
    assert "\n" not in str(caught.value)
    return str(caught.value)


# What folders tell

FOLDERS = {
    "whole numbers": ([f"year={2001 + i}" for i in range(24)], "integer", set(range(2001, 2025))),
    "few whole numbers": (["year=2023", "year=-1"], "category", {2023, -1}),
    "numbers": (["rate=1", *(f"rate={i}.5" for i in range(24))], "numeric", {1.0, *(i + 0.5 for i in range(24))}),
    "codes": (["zone=01", "zone=02"], "category", {"01", "02"}),
    "days": ([f"day=2024-01-{i + 1:02d}" for i in range(12)], "datetime", None),
    "what folders cannot be named": (["place=a%2Fb%20c", "place=%C3%BC"], "category", {"a/b c", "ü"}),
    "what would be looked up": (["who=${oc.env:HOME}", "who=plain"], "category", {"${oc.env:HOME}", "plain"}),
    "a column that begins with a line": (["_x=u", "_x=v"], "category", {"u", "v"}),
    "a missing number": (["year=2023", "year=__HIVE_DEFAULT_PARTITION__"], None, {2023.0}),
    "a missing word": (["place=x", "place=y", "place=__HIVE_DEFAULT_PARTITION__"], "category", {"x", "y"}),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_folders_are_columns(name, tmp_path):
    folders, kind, values = FOLDERS[name]
    hive(tmp_path / "t", folders, 40)
    column = folders[0].partition("=")[0]
    data = data_of(tmp_path / "t", types={"year": "integer"} if "missing number" in name else {})
    frame = data.read().frame
    assert len(frame) == 40 * len(folders) and list(frame.columns) == ["kind", "size", column]
    if kind is not None:
        assert data.schema[column].type == kind
    if values is not None:
        assert set(frame[column].dropna()) == values
    counts = frame[column].value_counts(dropna=False)
    assert len(counts) == len(folders) and (counts == 40).all()
    data.setup("fit")
    assert len(next(iter(data.train_dataloader())).x) == 32


def test_folders_in_folders_and_files_that_are_no_data(tmp_path):
    root = tmp_path / "t"
    hive(root, ["year=2023/month=1", "year=2023/month=2", "year=2024/month=1"], 40)
    for name in ("_SUCCESS", ".part-0.parquet.crc", "_marks/0.parquet", ".hidden/x.parquet"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"")
    (root / "readme.txt").write_text("made by x")
    (root / "circle").symlink_to(root, target_is_directory=True)
    people(40).iloc[:0].to_parquet(root / "year=2024" / "month=1" / "empty.parquet", index=False)  # no rows: no harm
    parts, notes = parts_in(root)
    assert [part.name for part in parts] == [
        "year=2023/month=1/part-0.parquet", "year=2023/month=2/part-0.parquet",
        "year=2024/month=1/empty.parquet", "year=2024/month=1/part-0.parquet",
    ]  # fmt: skip
    assert notes == ["what is no Parquet file is passed over: circle, readme.txt"]
    raw = data_of(root).read()
    pairs = raw.frame[["year", "month"]].value_counts()
    assert dict(pairs) == {(2023, 1): 40, (2023, 2): 40, (2024, 1): 40}
    assert {"columns told by the names of folders: year, month", *notes} <= set(raw.notes)
    assert data_of(root / "year=2023").read().frame.columns.tolist() == ["kind", "size", "month"]
    assert data_of(root / "year=*" / "month=1" / "part-*.parquet").read().frame.year.value_counts().to_dict() == {
        2023: 40, 2024: 40
    }  # fmt: skip
    (tmp_path / "plain" / "in" / "in").mkdir(parents=True)
    for i, place in enumerate((".", "in", "in/in")):
        people(40, i).to_parquet(tmp_path / "plain" / place / "x.parquet", index=False)
    assert data_of(tmp_path / "plain").read().frame.columns.tolist() == ["kind", "size"]
    assert data_of(tmp_path / "plain").read().rows == 120


def test_a_folder_in_memory_has_the_rows_that_are_read_from_disk(tmp_path):
    hive(tmp_path / "t", ["year=2023", "year=2024"])
    whole, streamed = (data_of(tmp_path / "t", streaming=how) for how in (False, "auto"))
    pd.testing.assert_frame_equal(whole.read().frame, streamed.read().frame)
    assert whole.read().store is None and whole.schema == streamed.schema
    data = data_of(tmp_path / "t", streaming=False, outliers=3.0, duplicates=True)
    data.setup("fit")
    assert data.originals.is_read_again is False and len(data.frames["train"]) > 150


def test_from_python_folders_in_folders_and_addresses_are_tables(tmp_path):
    hive(tmp_path / "t", ["year=2023"])
    (tmp_path / "pictures" / "cats").mkdir(parents=True)
    address = "s3://bucket/x/?endpoint_override=127.0.0.1:9&scheme=http"
    for place, kind, data in (
        (tmp_path / "t", "table", "csv"),
        (tmp_path / "pictures", "image", "image_folder"),
        (address, "table", "csv"),
    ):
        source = source_of(str(place))
        assert source.kind == kind and f"data={data}" in source.words
        with composed(["model=vae", *source.words]) as cfg:
            assert cfg.data.path == str(place)


def test_of_very_many_files_one_is_open_at_a_time(tmp_path, monkeypatch):
    import resource

    hive(tmp_path / "t", [f"k={i}" for i in range(60)], 40)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(list(Path("/proc/self/fd").iterdir()))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 30, before[1]))
    try:
        assert sum(len(frame) for _, frame in data_of(tmp_path / "t").read().store.frames()) == 2400
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


# What is wrong


def test_faults_name_the_file_and_the_way_out(tmp_path):
    root = tmp_path / "t"
    hive(root, ["year=2023", "year=2024"])
    first, second = root / "year=2023" / "part-0.parquet", root / "year=2024" / "part-0.parquet"
    content = second.read_bytes()

    def told() -> str:
        said = refused(root)
        second.write_bytes(content)
        return said

    second.write_bytes(b"")
    assert told() == "year=2024/part-0.parquet: the file is empty (0 bytes); write it again or delete it"
    second.write_bytes(content[:-20])
    assert "year=2024/part-0.parquet: the Parquet file is damaged or cut off; write or download" in told()
    second.write_bytes(b"a,b\n1,2\n" * 9)
    assert "year=2024/part-0.parquet: the Parquet file is damaged" in told()
    people().assign(more=1).to_parquet(second, index=False)
    assert told() == "year=2024/part-0.parquet: its columns are not those of year=2023/part-0.parquet ('more')"
    people().assign(size="x").to_parquet(second, index=False)
    assert "year=2024/part-0.parquet: column 'size' is" in (said := told()) and "with the same types" in said
    people().assign(size=np.inf).to_parquet(second, index=False)
    assert "year=2024/part-0.parquet: column 'size' has 120 infinite cells" in told()
    (root / "z.parquet").write_bytes(content)
    assert "z.parquet: its folders (NAME=VALUE) tell no column, those of year=2023/part-0.parquet 'year'" in told()
    (root / "z.parquet").unlink()
    for path in (first, second):
        people().assign(year=1).to_parquet(path, index=False)
    assert "the column 'year' is in the file and in the name of its folder; rename the folder" in told()
    hive(tmp_path / "twice", ["a=1/a=2"])
    assert "a=1/a=2/part-0.parquet: two of its folders are of a column 'a'" in refused(tmp_path / "twice")
    (tmp_path / "none" / "in").mkdir(parents=True)
    assert "this is a folder, not a table file" in refused(tmp_path / "none")
    people(4).to_parquet(tmp_path / "none" / "few.parquet", index=False)
    for streaming in ("auto", False):
        assert "few.parquet: 4 rows are too few" in refused(tmp_path / "none", streaming=streaming)


def test_a_changed_folder_is_noticed(tmp_path):
    root = tmp_path / "t"
    hive(root, ["year=2023", "year=2024"])
    data = data_of(root)
    data.setup("fit")
    sha256 = data.provenance.sha256
    assert data.changed_input() is None and data_of(root).read().provenance.sha256 == sha256
    (root / "year=2024").rename(root / "year=2025")  # the same bytes, other rows
    assert data.changed_input() == root / "year=2024" / "part-0.parquet"
    assert data_of(root).read().provenance.sha256 != sha256
    (root / "year=2025").rename(root / "year=2024")
    assert data.changed_input() is None
    people(seed=7).to_parquet(root / "year=2024" / "part-0.parquet", index=False)
    assert data.changed_input() == root / "year=2024" / "part-0.parquet"
    people(seed=1).to_parquet(root / "year=2024" / "part-0.parquet", row_group_size=40, index=False)
    assert data.changed_input() is None  # written again, the same
    people().to_parquet(root / "year=2024" / "part-1.parquet", index=False)
    assert data_of(root).read().provenance.sha256 != sha256  # at resuming


# Row groups by process


@pytest.mark.parametrize("count", [2, 3, 5])
def test_processes_share_out_the_groups_and_have_the_same_batches(tmp_path, monkeypatch, count):
    """Groups of a buffer in turns: none is read twice, none is left out, and every process has every batch."""
    monkeypatch.setattr(loaders, "BUFFER_GROUPS", 4)
    hive(tmp_path / "t", ["year=2023", "year=2024", "year=2025"], 110)
    data = data_of(tmp_path / "t")
    data.setup("fit")
    alone = [(batch.x, batch.y) for batch in data.train_dataloader()]
    read, kept = {}, {}
    for rank in reversed(range(count)):
        loader = data.train_dataloader()
        plain, mine = loader.read, []

        def reads(group, plain=plain, mine=mine):
            mine.append(group)
            return plain(group)

        loader.read = reads
        calls = iter(range(10**6))

        def spread(value, reader, rank=rank, calls=calls):
            """What the processes with a higher number have left, or with a lower one are to."""
            place = next(calls)
            if reader == rank:
                kept[place] = value.clone()
            elif place in kept:
                value.copy_(kept[place])

        monkeypatch.setattr(loaders.processes, "count", lambda: count)
        monkeypatch.setattr(loaders.processes, "rank", lambda rank=rank: rank)
        monkeypatch.setattr(loaders.processes, "spread", spread)
        batches = list(loader)
        read[rank] = mine
    assert sorted(group for mine in read.values() for group in mine) == list(range(9))
    assert max(map(len, read.values())) - min(map(len, read.values())) <= 3
    for batch, (x, y) in zip(batches, alone, strict=True):  # the first process comes last and lacks nothing
        assert torch.equal(batch.x, x) and torch.equal(batch.y, y)


# Object stores


@pytest.fixture
def bucket(monkeypatch):
    """A bucket of moto's server, and how an address in it is written."""
    server = pytest.importorskip("moto.server", reason="needs moto[s3,server]").ThreadedMotoServer(port=0)
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    server.start()
    host, port = server.get_host_and_port()
    options = f"endpoint_override={host}:{port}&scheme=http&region=us-east-1&allow_bucket_creation=true"

    def address(prefix: str, name: str = "bucket") -> str:
        return f"s3://{name}/{prefix}?{options}"

    yield address
    urllib.request.urlopen(f"http://127.0.0.1:{port}/moto-api/reset", data=b"").close()  # it is one for all servers
    server.stop()


def put(folder: Path, address: str) -> None:
    store, root = fs.FileSystem.from_uri(address)
    store.create_dir(root, recursive=True)
    fs.copy_files(str(folder), root.rstrip("/"), destination_filesystem=store)


@pytest.mark.journey
def test_a_store_gives_what_a_folder_gives(tmp_path, bucket):
    root = tmp_path / "t"
    hive(root, ["year=2023", "year=2024"])
    (root / "_SUCCESS").write_bytes(b"")
    (root / "readme.txt").write_text("made by x")
    put(root, bucket("x/"))
    here, there = data_of(root), data_of(bucket("x/"))
    for data in (here, there):
        data.setup("fit")
    assert there.provenance.sha256 == here.provenance.sha256 and there.schema == here.schema
    assert there.codec.state() == here.codec.state() and there.read().rows == 240
    for mine, other in zip(here.train_dataloader(), there.train_dataloader(), strict=True):
        assert torch.equal(mine.x, other.x) and torch.equal(mine.y, other.y)
    assert there.changed_input() is None
    pd.testing.assert_frame_equal(data_of(bucket("x/"), streaming=False).read().frame, here.read().frame)
    assert data_of(bucket("x/year=2023/part-0.parquet")).read().rows == 120
    people(seed=5).to_parquet(root / "year=2024" / "part-0.parquet", row_group_size=40, index=False)
    put(root / "year=2024", bucket("x/year=2024/"))
    assert str(there.changed_input()) == "s3://bucket/x/year=2024/part-0.parquet"
    with pytest.raises(UserError, match="year=2024/part-0.parquet: the file is empty"):
        store = fs.FileSystem.from_uri(bucket("x/"))[0]
        store.open_output_stream("bucket/x/year=2024/part-0.parquet").close()
        list(there.read().store.frames())


@pytest.mark.journey
def test_what_is_wrong_with_a_store_is_told_in_one_line(tmp_path, bucket):
    hive(tmp_path / "t", ["year=2023"])
    (tmp_path / "t" / "table.csv").write_text("a\n1\n")
    put(tmp_path / "t", bucket("x/"))
    assert "there is nothing under this prefix; check its spelling" in refused(bucket("y/"))
    assert "there is no bucket of this name" in refused(bucket("x/", "nowhere"))
    assert "no Parquet file (.parquet, .pq) under this prefix; there is table.csv" in refused(bucket("x/table.csv"))
    assert "the store cannot be read (Unexpected query parameter" in refused("s3://bucket/x/?key=1")
    store, _ = fs.FileSystem.from_uri(bucket("x/"))
    store.open_output_stream("bucket/x/year=2023/part-1.parquet").close()
    assert refused(bucket("x/")) == "year=2023/part-1.parquet: the file is empty (0 bytes); write it again or delete it"


@pytest.mark.journey
def test_a_store_that_refuses_the_keys_says_where_they_belong(tmp_path, bucket):
    hive(tmp_path / "t", ["year=2023"])
    put(tmp_path / "t", address := bucket("x/"))
    server = "http://" + address.partition("endpoint_override=")[2].partition("&")[0]

    def refuse_after(requests: bytes) -> None:
        kind = {"Content-Type": "text/plain"}
        urllib.request.urlopen(urllib.request.Request(f"{server}/moto-api/reset-auth", requests, kind)).close()

    refuse_after(b"0")
    try:
        told = refused(address)
    finally:
        refuse_after(b"inf")
    assert told.startswith("data.path=s3://bucket/x/: the store refuses these credentials, or there are none (")
    assert told.endswith("; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE")


def test_keys_in_an_address_are_refused():
    told = refused("s3://key:secret@bucket/x/")
    assert "secret" not in told and "AWS_SECRET_ACCESS_KEY" in told


def test_a_file_of_a_store_is_told_by_its_address():
    file = Stored(fs.LocalFileSystem(), "bucket/x/y.parquet", "s3")
    assert (str(file), file.name) == ("s3://bucket/x/y.parquet", "y.parquet")
    with pytest.raises(FileNotFoundError):
        file.stat()


def test_what_a_folder_cannot_be_read_from_is_told_at_once(tmp_path):
    """A pipe would be waited for without end."""
    for name, told in (("pipe", "a pipe or a device"), ("link", "a link to what is not there")):
        folder = tmp_path / name
        folder.mkdir()
        pq.write_table(pa.table({"x": [1.0, 2.0]}), folder / "a.parquet")
        if name == "pipe":
            os.mkfifo(folder / "b.parquet")
        else:
            (folder / "b.parquet").symlink_to(tmp_path / "nowhere")
        with pytest.raises(UserError, match=f"b.parquet: this is {told}"):
            parts_in(folder)
