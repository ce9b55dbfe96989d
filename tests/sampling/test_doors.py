"""Whatever is in a checkpoint or a run's folder: it runs nothing, writes nothing, and loads whole or not at all."""

from __future__ import annotations

import copy
import os
import pickle
import random
import re
import shutil
import signal
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from torch import nn

from datakiln.cli.explain import explain
from datakiln.cli.run_folders import stored_yaml, sweep_overrides
from datakiln.cli.stored import stored_parts
from datakiln.codecs.tables.bins import Bins
from datakiln.codecs.tables.generators import Pattern
from datakiln.codecs.tables.table import TableCodec
from datakiln.data.tables.files import read_table_file
from datakiln.data.tables.metadata import read_metadata
from datakiln.data.tables.types import infer_schema
from datakiln.errors import UserError
from datakiln.reports.comparison import collect, compare
from datakiln.results import RunResult
from datakiln.sampling import registry
from datakiln.sampling.archive import read_archive
from datakiln.sampling.checkpoints import BoundedBy
from datakiln.sampling.registry import build, register_named
from datakiln.sampling.synthesizer import Synthesizer
from datakiln.storage import CONF, read_state, seal, seal_holds, write_atomically
from tests.jobs.test_faults import run
from tests.later import later
from tests.test_conformance import trained as trained_pair

WRITES = {"os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "socket.connect", "os.remove",
          "os.rename", "os.mkdir", "os.rmdir", "shutil.rmtree", "shutil.move", "os.putenv", "os.symlink"}  # fmt: skip
_watching: list[list[str]] = []


def _note(event: str, arguments: tuple) -> None:
    if not _watching:
        return
    opened = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
    if (event in WRITES or opened) and "__pycache__" not in str(arguments[0]):
        _watching[-1].append(f"{event} {arguments[:2]}")


sys.addaudithook(_note)  # it cannot be taken back: outside of `nothing_happens` it does nothing


@contextmanager
def nothing_happens() -> Iterator[None]:
    """Fails if anything is written, started or connected to inside."""
    _watching.append([])
    try:
        yield
    finally:
        seen = _watching.pop()
    assert not seen, seen


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return run(tmp_path_factory.mktemp("run")).folder


@pytest.fixture(scope="module")
def content(trained):
    return torch.load(trained / "checkpoints" / "best.ckpt", weights_only=True)


@pytest.fixture(scope="module")
def weights(trained):
    return Synthesizer.load(trained).model.state_dict()


def refused(path: Path) -> str:
    """The one line that a checkpoint is refused with; empty if it loads."""
    try:
        with nothing_happens():
            Synthesizer.load(path)
    except UserError as error:
        told = explain(error)
        assert "\n" not in told and len(told) < 600, told
        return told
    return ""


def damaged(raw: bytes, rng: random.Random) -> bytes:
    """The bytes of a file after an accident."""
    at, found = rng.randrange(len(raw)), bytearray(raw)
    how = rng.choice(["bit", "bit", "bit", "byte", "cut", "hole", "more", "swap"])
    if how == "bit":
        found[at] ^= 1 << rng.randrange(8)
    elif how == "byte":
        found[at] = (found[at] + rng.randrange(1, 256)) % 256
    elif how == "cut":
        del found[at:]
    elif how == "hole":
        del found[at : at + rng.randrange(1, 200)]
    elif how == "more":
        found[at:at] = rng.randbytes(rng.randrange(1, 200))
    else:
        part = rng.randbytes(min(64, len(raw) - at))
        found[at : at + len(part)] = part
    return bytes(found)


EVIL = [
    {"_target_": "os.system", "command": "touch {canary}"},
    {"_target_": "builtins.eval", "_args_": ["__import__('os').system('touch {canary}')"]},
    {"_target_": "datakiln.storage.write_atomically", "path": "{canary}", "state": 1},
    {"_target_": "datakiln.nets.schedules.os.system", "command": "touch {canary}"},
    {"_target_": "pandas.read_pickle", "filepath_or_buffer": "{canary}"},
    {"_target_": "torch.hub.load", "repo_or_dir": "{canary}", "model": "x"},
    "${oc.create:{_target_:os.system,command:touch {canary}}}",
    "${oc.env:HOME}",
    "${run_dir:{canary},x,null,[]}",
    "{canary}",
    "https://localhost:1/x.csv",
    10**9, 10**12, 10**30, -1, 0, 1.5, float("nan"), float("inf"), -(10**9),
    "", "x" * 100_000, None, True, [], {}, [[[[[[[[]]]]]]]], {"": {}}, b"bytes",
    torch.zeros(1).expand(10**6, 10**6), torch.zeros(3), torch.zeros(2, 2).to_sparse(),
]  # fmt: skip


def placed(value: object, canary: Path) -> object:
    if isinstance(value, str):
        return value.replace("{canary}", str(canary))
    if isinstance(value, dict):
        return {key: placed(part, canary) for key, part in value.items()}
    return [placed(part, canary) for part in value] if isinstance(value, list) else value


def places(value: object, path: tuple = ()) -> Iterator[tuple]:
    if isinstance(value, dict):
        for key, part in value.items():
            yield (*path, key)
            yield from places(part, (*path, key))
    elif isinstance(value, list):
        for i, part in enumerate(value[:40]):
            yield (*path, i)
            yield from places(part, (*path, i))


def changed(config: dict, rng: random.Random, canary: Path) -> dict:
    """The same with one place changed as somebody would who means harm."""
    found = copy.deepcopy(config)
    path = rng.choice(list(places(found)))
    holder = found
    for key in path[:-1]:
        holder = holder[key]
    how = rng.choice(["evil"] * 5 + ["drop", "more", "key"])
    if how == "evil" or isinstance(holder, list):
        holder[path[-1]] = placed(rng.choice(EVIL), canary)
    elif how == "drop":
        del holder[path[-1]]
    elif how == "more":
        holder[rng.choice(["_target_", "_partial_", "_args_", "_recursive_", "extra", 7])] = placed(
            rng.choice(EVIL), canary
        )
    else:
        holder[f"{path[-1]}_"] = holder.pop(path[-1])
    return found


@pytest.mark.parametrize("count", [30, pytest.param(200, marks=pytest.mark.slow)])
def test_no_damage_goes_unnoticed(count, trained, tmp_path):
    raw = (trained / "checkpoints" / "best.ckpt").read_bytes()
    rng, path = random.Random(count), tmp_path / "damaged.ckpt"
    for i in range(count):
        bad = damaged(raw, rng)
        path.write_bytes(bad)
        assert bad == raw or refused(path), i


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("of", ["state_dict", "averaged"])
def test_weights_that_are_no_numbers_are_refused(value, of, content, tmp_path):
    """What a training that diverged left, or somebody wrote: nothing could be drawn from them."""
    path, weights = tmp_path / "changed.ckpt", {name: part.clone() for name, part in content["state_dict"].items()}
    name = next(name for name, part in weights.items() if part.is_floating_point() and part.numel())
    weights[name].view(-1)[-1] = value
    torch.save({**content, of: weights}, path)
    seal(path)
    told = refused(path)
    assert "changed.ckpt" in told and name in told and "no finite numbers" in told


@pytest.mark.parametrize("count", [40, pytest.param(500, marks=pytest.mark.slow)])
def test_what_somebody_wrote_into_a_checkpoint_is_data(count, content, weights, tmp_path):
    rng, path, canary = random.Random(count), tmp_path / "changed.ckpt", tmp_path / "canary"
    loaded = 0
    for i in range(count):
        found = changed({"datakiln": content["datakiln"]}, rng, canary)
        torch.save({**content, **found}, path)
        seal(path)
        if refused(path):
            continue
        loaded += 1
        now = Synthesizer.load(path).model.state_dict()
        assert all(torch.equal(value, weights[name]) for name, value in now.items()), i
    assert not canary.exists()
    assert loaded < count / 2  # names, shares and the like may be others; what is built may not


@pytest.mark.parametrize("count", [6, pytest.param(100, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("model", "kind"),
    [("mixture", "table"), ("tabsyn", "table"), ("var", "series"), ("cvae", "image"),
     *later(("tabar", "table"), ("tsar", "series"), ("flow_matching", "image"))],
)  # fmt: skip
def test_whatever_is_in_a_checkpoint_of_any_kind_draws_or_is_refused(model, kind, count, tmp_path):
    """What still loads is drawn from: no value of a codec or a net stops the program, fills memory or takes minutes."""
    content = torch.load(trained_pair(model, kind)[2] / "checkpoints" / "last.ckpt", weights_only=True)
    rng, path, canary = random.Random(f"{model}{count}"), tmp_path / "changed.ckpt", tmp_path / "canary"
    for i in range(count):
        part = rng.choice(["model", "codec", "spec", "codec"])
        own = {**content["datakiln"], **changed({part: content["datakiln"][part]}, rng, canary)}
        torch.save({**content, "datakiln": own}, path)
        seal(path)
        try:
            with nothing_happens(), no_longer_than(20):
                Synthesizer.load(path).sample(2)
        except UserError as error:
            assert "\n" not in explain(error) and len(explain(error)) < 600, (i, part)
    assert not canary.exists()


class TooLateError(BaseException):
    """No error of a damaged checkpoint, which are caught where one is loaded."""


@contextmanager
def no_longer_than(seconds: int) -> Iterator[None]:
    def late(*_: object) -> None:
        raise TooLateError(f"it takes longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("count", [60, pytest.param(500, marks=pytest.mark.slow)])
def test_what_somebody_wrote_into_the_folder_of_a_run_is_data(count, trained, tmp_path):
    stored = yaml.safe_load((trained / "config" / "config.yaml").read_text())
    stored = {key: stored[key] for key in ("data", "metrics")}
    rng, path, canary = random.Random(count), tmp_path / "config.yaml", tmp_path / "canary"
    for _ in range(count):
        found = changed(stored, rng, canary)
        path.write_text(yaml.dump(found, Dumper=yaml.Dumper))  # python tags and all
        try:
            with nothing_happens():
                stored_parts(path)
        except UserError as error:
            assert "\n" not in explain(error) and "config.yaml" in explain(error)
    assert not canary.exists()


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['touch {canary}']",
        "data: !!python/name:os.system ''",
        "a: &a [x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a]\nc: [*b, *b, *b, *b, *b, *b, *b, *b]",
        "[" * 100_000,
        "data: {",
        "\x00\x01",
        "",
        "just text",
    ],
)
def test_yaml_is_read_as_plain_values(text, tmp_path):
    path, canary = tmp_path / "config.yaml", tmp_path / "canary"
    path.write_text(text.replace("{canary}", str(canary)))
    with nothing_happens(), pytest.raises(UserError, match="config.yaml") as caught:
        stored_parts(path)
    assert "\n" not in explain(caught.value) and not canary.exists()


def test_a_large_yaml_file_and_none(tmp_path):
    large = tmp_path / "large.yaml"
    large.write_text("a: " + "x" * 5_000_000)
    for path, told in ((large, "more than 4,000,000 bytes"), (tmp_path / "none.yaml", "cannot be read")):
        with pytest.raises(UserError, match=told):
            stored_yaml(path)
    (tmp_path / "multirun.yaml").write_text("hydra: 3")
    with pytest.raises(UserError, match="multirun.yaml"):
        sweep_overrides(tmp_path)


@pytest.mark.parametrize("how", ["pipe", "device", "folder"])
def test_what_never_ends_is_not_read(how, tmp_path):
    """Reading a pipe that nobody writes to waits for ever, and a device may give more than any memory holds."""
    for name, read in (
        ("config.yaml", stored_parts),
        ("result.json", RunResult.load),
        ("best.ckpt", Synthesizer.load),
        ("table.csv", read_table_file),
        ("metadata.json", lambda path: read_metadata(path, pd.DataFrame({"x": [1]}))),
    ):
        folder = tmp_path / name.partition(".")[0]
        folder.mkdir()
        if how == "pipe":
            os.mkfifo(folder / name)
        elif how == "device":
            (folder / name).symlink_to("/dev/zero")
        else:
            (folder / name).mkdir()
        with pytest.raises(UserError, match=folder.name) as caught:
            read(folder / name)
        assert "\n" not in str(caught.value)
    (tmp_path / "table" / "table.csv").rename(tmp_path / "table" / "error.txt")
    assert "no regular file" in collect([tmp_path / "table"])[1][0].message


class Runs:
    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple:
        return Path.touch, (self.canary,)


class Fills:
    def __reduce__(self) -> tuple:
        return bytearray, (10**13,)


def test_archives_that_are_no_checkpoints(content, tmp_path):
    canary, path = tmp_path / "canary", tmp_path / "odd.ckpt"
    nested: list = []
    for _ in range(5000):
        nested = [nested]

    def packed(method: int = zipfile.ZIP_STORED, more: dict[str, bytes] | None = None) -> None:
        torch.save(content, tmp_path / "plain.ckpt")
        with zipfile.ZipFile(tmp_path / "plain.ckpt") as source, zipfile.ZipFile(path, "w", method) as target:
            for member in source.infolist():
                target.writestr(member.filename, source.read(member))
            for name, raw in (more or {}).items():
                target.writestr(name, raw)

    for make, told in (
        (lambda: torch.save({**content, "more": Runs(canary)}, path), "holds code"),
        (lambda: torch.save({**content, "more": Fills()}, path), "holds code"),
        (lambda: path.write_bytes(pickle.dumps(Runs(canary))), "holds code"),
        (lambda: packed(zipfile.ZIP_DEFLATED, {"plain/data/zeros": bytes(10**7)}), "more than its own size"),
        (lambda: packed(more={"other/data.pkl": b"."}), "not written by datakiln"),
        (lambda: torch.save({**content, "more": torch.zeros(1).expand(10**6, 10**6)}, path), "without the bytes"),
        (lambda: torch.save({**content, "more": torch.zeros(2, 2).to_sparse()}, path), "holds code"),
        (lambda: torch.save({**content, "more": {1.5: 2}}, path), "which no checkpoint holds"),
        (lambda: torch.save([content], path), "not written by datakiln"),
        (lambda: torch.save(content, path), "has lost the hash"),
        (lambda: torch.save({**content, "datakiln": {**content["datakiln"], "format": 2}}, path), "before checkpoints"),
    ):
        make()
        assert told in refused(path), told
    assert not canary.exists()


def test_a_model_is_no_larger_than_its_weights(content, tmp_path):
    path = tmp_path / "large.ckpt"
    for options in ({"hidden": [10**6, 10**6]}, {"hidden": [2] * 100_000}, {"latent_dim": 10**9}):
        own = copy.deepcopy(content["datakiln"])
        own["model"].update(options)
        torch.save({**content, "datakiln": own}, path)
        seal(path)
        assert "refused" in refused(path)


def test_a_model_of_many_columns_is_none_too_large():
    """Each column of `tabar` has small tensors of its own that are computed, not loaded."""
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(300, 400)).round(3)).add_prefix("x")
    codec = TableCodec(lambda: Bins(bins=4), compact=True, places=True).fit(frame, infer_schema(frame, None, {}))
    config = {"_target_": "datakiln.models.autoregressive.tabar.TabAR"}
    weights = build(config, spec=codec.spec).state_dict()
    with BoundedBy(weights):
        build(config, spec=codec.spec)


def test_copied_layers_are_bounded():
    """They are registered nowhere, so their number is no weight's."""
    with pytest.raises(UserError, match="larger than the weights"), BoundedBy({}):
        nn.TransformerEncoder(nn.TransformerEncoderLayer(1, 1, 1), 100_000, enable_nested_tensor=False)


def test_a_seal_is_part_of_the_file(tmp_path):
    path = tmp_path / "x.pt"
    torch.save({"x": torch.arange(5)}, path)
    assert seal_holds(path) is None
    seal(path)
    assert seal_holds(path) is True
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None and archive.comment.startswith(b"datakiln sha256 ")
    content, sealed = read_archive(path)
    assert sealed and torch.equal(content["x"], torch.arange(5))
    with pytest.raises(ValueError, match="already"):
        seal(path)


def test_a_damaged_cache_is_named_and_made_again(tmp_path, caplog):
    path = tmp_path / "cache.pt"
    assert write_atomically(path, {"x": torch.arange(100)})
    raw, rng = path.read_bytes(), random.Random(0)
    for _ in range(30):
        bad = damaged(raw, rng)
        path.write_bytes(bad)
        caplog.clear()
        assert bad == raw or (read_state(path) is None and "cache.pt" in caplog.text)
    path.write_bytes(raw)
    assert torch.equal(read_state(path)["x"], torch.arange(100))


def test_only_what_is_meant_to_be_named_is_built():
    for target, room in (
        ("datakiln.models.base.LikelihoodModel.load_from_checkpoint", "model"),
        ("datakiln.models.vae.vae.torch", "model"),
        ("datakiln.data.tables.sources.frame_sha256", "data"),
        ("datakiln.data.sets.adhd.write_figures", "data"),
        ("datakiln.metrics.base.metric", "metric"),
        ("datakiln.metrics.tables.fidelity.np.save", "metric"),
        ("datakiln.metrics.extractors.weights.sha256_of", "metric"),
    ):
        with pytest.raises(UserError, match="not datakiln's; refused"):
            build({"_target_": target}, room)
    with pytest.raises(UserError, match="nothing is fetched"):
        build({"_target_": "datakiln.data.sets.adhd.AdhdTable", "address": "http://localhost:1"}, "data")
    with pytest.raises(UserError, match=r"data.rows is 'many', of type str, which ToyTable does not take"):
        build({"_target_": "datakiln.data.sets.toy.ToyTable", "rows": "many"}, "data")
    with pytest.raises(UserError, match="row_count"):
        build({"_target_": "datakiln.data.sets.toy.ToyTable", "row_count": 3}, "data")


@pytest.mark.parametrize(
    ("target", "options"),
    [
        ("toy.ToyTable", {"rows": 10**10}),
        ("toy.ToyRelations", {"rows": 10**10}),
        ("series.Sines", {"sequences": 10**10}),
        ("series.Sines", {"sequences": 10**6, "steps": 10**6}),
        ("series.ToySeries", {"entities": 10**10}),
        ("series.ToySeries", {"longest": 10**10}),
    ],
)
def test_no_source_makes_more_than_a_memory_holds(target, options):
    with pytest.raises(UserError, match="at most"):
        build({"_target_": f"datakiln.data.sets.{target}", **options}, "data")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"batch_size": []}, "batch_size is '[]', of type list, which SeriesFile does not take"),
        ({"seed": "${oc.env:HOME}"}, "seed is '${oc.env:HOME}', of type str"),
        ({"batch_sise": 3}, "batch_sise"),
        ({"crop": "many"}, "crop is 'many', of type str"),
    ],
)
def test_arguments_that_a_class_passes_on_are_checked_too(options, told, trained, tmp_path):
    stored = {"_target_": "datakiln.data.series.series.SeriesFile", "path": "x.csv"}
    codec = {"_target_": "datakiln.codecs.series.series.SeriesCodec"}
    (tmp_path / "config.yaml").write_text(yaml.dump({"data": {**stored, "codec": codec, **options}, "metrics": {}}))
    with pytest.raises(UserError) as caught:
        stored_parts(tmp_path / "config.yaml")
    assert told in str(caught.value) and "config.yaml" in str(caught.value)


@pytest.mark.parametrize(("key", "value"), [("seed", "-1"), ("canaries", "1000000000000"), ("split", "[2, -1, 0]")])
def test_a_run_whose_data_cannot_be_made_is_told_by_its_file_or_option(key, value, trained, tmp_path):
    copied = shutil.copytree(trained, tmp_path / "copy")
    path = copied / "config" / "config.yaml"
    stored = yaml.safe_load(path.read_text())
    stored["data"][key] = yaml.safe_load(value)
    path.write_text(yaml.dump(stored))
    from datakiln.cli.evaluate import main as evaluate

    with pytest.raises(UserError, match=f"config.yaml|data.{key}") as caught:
        evaluate([f"run={copied}", f"out={tmp_path}/out"])
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


@pytest.mark.parametrize("piece", [[["a", 1.5], 1, 2], ["ab", 1, 2], [["a"], 1, 10**9], [["a"], 3, 1], [[], 1, 1]])
def test_a_pattern_of_a_checkpoint_is_of_texts_of_some_length(piece):
    with pytest.raises(ValueError, match="a pattern with the piece"):
        Pattern.from_state([[["a", "b"], 1, 2], piece])
    assert str(Pattern.from_state([[["a", "b"], 1, 2]])) == str(Pattern([(["a", "b"], 1, 2)]))


def test_own_classes_are_registered_by_name(tmp_path, monkeypatch):
    (tmp_path / "mine_of_test.py").write_text(
        "class Model:\n    def __init__(self, a: int) -> None:\n        self.a = a\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UserError, match="add register=mine_of_test.Model"):
        build({"_target_": "mine_of_test.Model", "a": 3})
    register_named("mine_of_test.Model")
    assert build({"_target_": "mine_of_test.Model", "a": 3}).a == 3
    for name in ("mine_of_test.Nothing", "nowhere.Model", "Model", "mine_of_test.__name__"):
        with pytest.raises(UserError, match="register="):
            register_named(name)


def test_a_run_folder_is_evaluated_without_its_config_being_run(trained, tmp_path):
    data, metrics = stored_parts(trained / "config" / "config.yaml")
    assert data.kind == "table" and [m.func.__name__ for m in metrics] == ["shape", "copies"]
    copied = shutil.copytree(trained, tmp_path / "copy")
    path = copied / "config" / "config.yaml"
    canary = tmp_path / "canary"
    path.write_text(path.read_text().replace("datakiln.data.sets.toy.ToyTable", "os.system"))
    from datakiln.cli.evaluate import main as evaluate

    with pytest.raises(UserError, match=r"'os.system', which is not datakiln's; refused"):
        evaluate([f"run={copied}", f"out={tmp_path}/out"])
    assert not canary.exists() and not (tmp_path / "out").exists()


@pytest.mark.slow
def test_an_evaluation_of_a_run_draws_other_samples_unless_it_is_given_the_seed(trained, tmp_path, capsys):
    from datakiln.cli.evaluate import main as evaluate

    seed = RunResult.load(trained / "result.json").seed
    drawn = {}
    for name, options in (("fresh", []), ("same", [f"seed={seed}"])):
        evaluate([f"run={trained}", f"out={tmp_path}/{name}", *options])
        drawn[name] = (tmp_path / name / "synthetic.csv").read_bytes()
        assert f"seed={seed + (name != 'same')};" in capsys.readouterr().out
        assert RunResult.load(tmp_path / name / "result.json").seed == seed + (name != "same")
    own = (trained / "synthetic.csv").read_bytes()
    assert drawn["same"] == own != drawn["fresh"]
    with pytest.raises(UserError, match="holdout=x.csv is for real= and synthetic="):
        evaluate([f"run={trained}", "holdout=x.csv"])


def test_a_run_is_evaluated_on_samples_drawn_otherwise(trained, tmp_path):
    from datakiln.cli.evaluate import main as evaluate

    for name, options in (("own", []), ("narrow", ["truncation=0.1", "mean=true"])):
        evaluate([f"run={trained}", "seed=0", "n=60", f"out={tmp_path}/{name}", *options])
    assert (tmp_path / "own/synthetic.csv").read_bytes() != (tmp_path / "narrow/synthetic.csv").read_bytes()
    assert RunResult.load(tmp_path / "narrow/result.json").sampling == {"truncation": 0.1, "mean": True}
    assert "truncation=0.1" in (tmp_path / "narrow/report.html").read_text()
    groups = compare(collect([tmp_path])[0]).groups
    assert sorted(group.key["truncation"] for group in groups) == ["(default)", "0.1"]
    for options, told in (
        (["steps=5"], "steps=5.*VAE.*truncation"),
        (["truncation=9"], "truncation=9"),
        (["temperature=0"], "temperature=0 must be above 0"),
        (["truncation=0.5", "study=utility"], "truncation=0.5 and study=utility do not go together"),
    ):
        with pytest.raises(UserError, match=told):
            evaluate([f"run={trained}", f"out={tmp_path}/no", *options])
        assert not (tmp_path / "no").exists()
    with pytest.raises(UserError, match="steps=5 needs a model that draws: give run=FOLDER"):
        evaluate(["real=a.csv", "synthetic=b.csv", "steps=5"])


def test_what_the_program_writes_by_itself_is_known_again():
    """All that configs may name: what conf names, and constraints by the short names of the documentation."""
    from datakiln import constraints

    for name in constraints.__all__:
        if name != "Constraint":
            assert registry.find(f"datakiln.constraints.{name}", "data") is getattr(constraints, name)
    rooms = {"data": "data", "metrics": "metric", "model": "model"}
    for folder, room in rooms.items():
        text = "\n".join(path.read_text(encoding="utf-8") for path in (CONF / folder).glob("*.yaml"))
        targets = set(re.findall(r"_target_: (datakiln\.[\w.]+)", text))
        assert targets
        for target in targets:
            # model=auto writes down the model that it chose
            assert target == "datakiln.jobs.trials.Auto" or registry.find(target, room) is not None, target
    for target in ("datakiln.models.base.torch", "datakiln.data.base.Path", "datakiln.constraints.base.re"):
        assert registry.find(target, "data") is None and registry.find(target, "model") is None
