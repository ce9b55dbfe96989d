"""Bad tables, options and checkpoints: a right result or one line naming file, column and way out."""

from __future__ import annotations

import itertools
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hydra import compose, initialize_config_dir

from datakiln.cli.checks import check
from datakiln.cli.evaluate import main as evaluate
from datakiln.cli.explain import explain
from datakiln.cli.run_folders import register_resolvers
from datakiln.cli.sample import main as sample
from datakiln.console import Console
from datakiln.errors import UserError
from datakiln.jobs.run import Run
from datakiln.models.base import Diverged
from datakiln.sampling.synthesizer import Synthesizer
from datakiln.storage import CONF, seal

ROWS = 60
RNG = np.random.default_rng(0)
counter = itertools.count()


def run(folder: Path, path: Path | None = None, *overrides: str, model: str = "vae") -> Run:
    """One short run of everything but most metrics, inside this process."""
    register_resolvers()
    data = ["data=toy"] if path is None else ["data=csv", f"data.path='{path}'"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        options = [
            f"model={model}",
            *data,
            f"output_dir={folder / f'run{next(counter)}'}",
            "epochs=2",
            "plots=false",
            *overrides,
        ]
        cfg = compose("train", overrides=options)
    cfg.metrics.table = {name: cfg.metrics.table[name] for name in ("shape", "copies")}
    check(cfg)
    run = Run(cfg, Console(quiet=True))
    run.check()
    run.load_data()
    run.fit()
    run.synthesize()
    run.prove()
    run.finish()
    return run


def table(**columns: object) -> pd.DataFrame:
    return pd.DataFrame({"x": RNG.normal(size=ROWS).round(3), "g": RNG.choice(["a", "b"], ROWS), **columns})


GOOD_ENOUGH = {
    "constant column": table(c=7),
    "all-missing column": table(c=np.nan),
    "thousands of categories": pd.DataFrame(
        {"x": RNG.normal(size=3_000).round(2), "c": [f"v{i % 2_500}" for i in range(3_000)]}
    ),
    "id-like column": table(customer=[f"C-{i:05d}" for i in range(ROWS)]),
    "integer id": table(id=np.arange(1, ROWS + 1)),
    "dates": table(day=pd.date_range("2020-01-01", periods=ROWS).strftime("%Y-%m-%d")),
    "booleans": table(b=RNG.random(ROWS) < 0.5),
    "unicode": table(**{"größe 😀": RNG.normal(size=ROWS).round(2), "名": RNG.choice(["東京", "大阪"], ROWS)}),
    "mixed types": table(m=[1 if i % 3 else "one" for i in range(ROWS)]),
    "one numeric column": table()[["x"]],
    "one category column": table()[["g"]],
    "missing cells": table(m=np.where(RNG.random(ROWS) < 0.3, np.nan, RNG.normal(size=ROWS).round(2))),
    "one row of a class": table(t=["rare"] + ["often"] * (ROWS - 1)),
    "more columns than rows": pd.DataFrame(RNG.normal(size=(60, 50)).round(2), columns=[f"c{i}" for i in range(50)]),
    "dots and spaces in names": table(**{"a.b c": RNG.normal(size=ROWS).round(2)}),
}


FIRST = {"missing cells", "mixed types", "unicode"}  # of most tables
# of which tests/sampling/test_table_faults.py has the like for every model, though without a file
ELSEWHERE = {
    "constant column", "booleans", "one numeric column", "one category column", "one row of a class",
    "more columns than rows",
}  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name in ELSEWHERE) + [pytest.mark.journey] * (name not in FIRST))
        for name in GOOD_ENOUGH
    ],
)
def test_odd_tables_come_out_right(tmp_path, name):
    frame = GOOD_ENOUGH[name]
    frame.to_csv(tmp_path / "t.csv", index=False)
    done = run(tmp_path, tmp_path / "t.csv", *(["data.target=t"] if "t" in frame else []))
    read = pd.read_csv(tmp_path / "t.csv")
    made = pd.read_csv(done.folder / "synthetic.csv")
    assert list(made.columns) == list(read.columns)
    assert len(made) == done.data.spec.size
    for column in read:
        if column in ("customer", "id"):
            assert made[column].is_unique and not set(made[column]) & set(read[column])
        elif read[column].isna().all():
            assert made[column].isna().all()
        elif pd.api.types.is_numeric_dtype(read[column]) and read[column].dtype != bool:
            assert made[column].min() >= read[column].min() and made[column].max() <= read[column].max()
        elif column == "day":
            assert pd.to_datetime(made[column], format="%Y-%m-%d").between("2020-01-01", "2020-02-29").all()
        else:
            assert set(made[column].dropna().astype(str)) <= set(read[column].dropna().astype(str))
    if name == "missing cells":
        assert made["m"].isna().any() and made["m"].notna().any()


CSV = "x,g\n" + "".join(f"{i / 7:.3f},{'ab'[i % 2]}\n" for i in range(40))
BAD_FILES = {
    "empty file": (b"", "empty"),
    "header only": (b"x,g\n", "row"),
    "one row": (b"x,g\n1,a\n", "row"),
    "infinities": (CSV.replace("0.143", "inf").encode(), "'?x'?"),
    "duplicated names": (CSV.replace("x,g", "x,x", 1).encode(), "'?x'?"),
    "not UTF-8": (CSV.replace("a", "ä").encode("latin-1"), "encoding"),
    "ragged rows": (CSV.replace("0.143,b", "0.143,b,c,d").encode(), "line 3"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_are_refused_in_one_line(tmp_path, name):
    content, told = BAD_FILES[name]
    path = tmp_path / "bad.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=told) as caught:
        run(tmp_path, path)
    assert "bad.csv" in str(caught.value)
    assert "\n" not in explain(caught.value)


def test_missing_file_and_target(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.csv"):
        run(tmp_path, tmp_path / "nowhere.csv")
    (tmp_path / "t.csv").write_text(CSV)
    with pytest.raises(UserError, match="did you mean 'g'"):
        run(tmp_path, tmp_path / "t.csv", "data.target=gg")


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Run:
    return run(tmp_path_factory.mktemp("finished"))


@pytest.mark.journey
def test_sampling_options_are_checked(finished, tmp_path):
    folder = f"run={finished.folder}"
    for options, told in (
        ([folder, "n=0", f"out={tmp_path}/x.csv"], "n=0"),
        ([folder, "n=-5", f"out={tmp_path}/x.csv"], "n=-5"),
        ([folder, "n=10", f"out={tmp_path}/x.txt"], r"\.csv or \.parquet"),
        ([folder, "n=10", f"out={tmp_path}/x.csv", "condition.group=c"], r"group=c .*\(a, b\)"),
        ([folder, "n=10", f"out={tmp_path}/x.csv", "condition.grop=a"], "did you mean 'group'"),
        ([folder, "m=10", f"out={tmp_path}/x.csv"], "unknown option 'm'"),
        ([folder, "n=10"], "out= is missing"),
        (["n=10", f"out={tmp_path}/x.csv"], "run= is missing"),
        ([f"run={tmp_path}/none", "n=10", f"out={tmp_path}/x.csv"], "does not exist"),
    ):
        with pytest.raises(UserError, match=told):
            sample(options)
    assert not list(tmp_path.iterdir())


def test_sampling_writes_what_was_asked_and_overwrites_nothing(finished, tmp_path):
    out = tmp_path / "x.csv"
    sample([f"run={finished.folder}", "n=50", f"out={out}", "condition.group=a", "seed=3"])
    first = out.read_bytes()
    assert (pd.read_csv(out)["group"] == "a").all() and len(pd.read_csv(out)) == 50
    with pytest.raises(UserError, match="exists"):
        sample([f"run={finished.folder}", "n=50", f"out={out}"])
    sample([f"run={finished.folder}", "n=50", f"out={tmp_path}/y.csv", "condition.group=a", "seed=3"])
    sample([f"run={finished.folder}", "n=50", f"out={tmp_path}/z.csv", "condition.group=a", "seed=4"])
    assert (tmp_path / "y.csv").read_bytes() == first != (tmp_path / "z.csv").read_bytes()


def test_parquet_equals_csv_and_parts_resume(finished, tmp_path, monkeypatch):
    monkeypatch.setattr("datakiln.sampling.writing.PART_ROWS", 40)
    options = [f"run={finished.folder}", "n=100"]
    sample([*options, f"out={tmp_path}/x.parquet"])
    sample([*options, f"out={tmp_path}/x.csv"])
    pd.testing.assert_frame_equal(
        pd.read_parquet(tmp_path / "x.parquet"), pd.read_csv(tmp_path / "x.csv"), check_dtype=False
    )
    sample([*options, f"out={tmp_path}/parts/"])
    parts = sorted((tmp_path / "parts").glob("*.parquet"))
    assert [len(pd.read_parquet(part)) for part in parts] == [40, 40, 20]
    content = parts[1].read_bytes()
    parts[1].unlink()
    sample([*options, f"out={tmp_path}/parts/"])
    assert parts[1].read_bytes() == content


def test_a_finished_run_is_never_overwritten(finished):
    with pytest.raises(UserError, match="finished run"):
        Run(finished.cfg, Console(quiet=True)).check()


@pytest.mark.journey
def test_same_seed_same_data_other_seed_other_data(finished, tmp_path):
    again = run(tmp_path)
    other = run(tmp_path, None, "seed=1")
    made = [(r.folder / "synthetic.csv").read_bytes() for r in (finished, again, other)]
    assert made[0] == made[1] != made[2]


def test_diverging_loss_names_epoch_step_and_checkpoint(tmp_path, monkeypatch):
    from datakiln.models.vae.vae import VAE

    losses = VAE.losses

    def broken(self, batch):
        found = losses(self, batch)
        return {**found, "loss": found["loss"] * float("nan")} if self.training and self.global_step == 9 else found

    monkeypatch.setattr(VAE, "losses", broken)
    with pytest.raises(UserError, match=r"epoch \d+, step 9.*last\.ckpt|epoch \d+, step 9.*none was written"):
        run(tmp_path, None, "epochs=5")
    assert issubclass(Diverged, UserError)


class Bomb:
    """Unpickling this would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def sealed(content: dict, path: Path) -> None:
    """As somebody writes a checkpoint who knows how."""
    torch.save(content, path)
    seal(path)


def test_checkpoints_that_cannot_be_trusted(finished, tmp_path):
    good = finished.folder / "checkpoints" / "best.ckpt"
    content = torch.load(good, weights_only=True)
    bomb, plain_bomb, cut, text, foreign, older, evil = (tmp_path / f"{i}.ckpt" for i in range(7))
    torch.save({**content, "extra": Bomb(tmp_path / "exploded")}, bomb)
    plain_bomb.write_bytes(pickle.dumps(Bomb(tmp_path / "exploded")))
    cut.write_bytes(good.read_bytes()[:2000])
    text.write_text("not a checkpoint")
    sealed({"state_dict": {}}, foreign)
    sealed({**content, "datakiln": {**content["datakiln"], "format": 0}}, older)
    before = tmp_path / "before.ckpt"
    old = {**content["datakiln"], "format": 1, "model": {"_target_": "src.models.vae.VAE"}}
    sealed({**content, "datakiln": old}, before)
    sealed(
        {**content, "datakiln": {**content["datakiln"], "model": {"_target_": "os.system", "command": "true"}}}, evil
    )
    for path, told in (
        (bomb, "refused, not executed"),
        (plain_bomb, "refused, not executed"),
        (cut, "cut short|damaged"),
        (text, "no checkpoint"),
        (foreign, "not written by datakiln"),
        (older, "older format"),
        (before, r"before this package was called datakiln \(src.models.vae.VAE is now datakiln.models.vae.vae.VAE\)"),
        (evil, "'os.system'.*refused"),
    ):
        with pytest.raises(UserError, match=told) as caught:
            Synthesizer.load(path)
        assert path.name in str(caught.value) or path is evil
        assert "\n" not in explain(caught.value)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.journey
def test_checkpoints_that_training_cannot_go_on_from(finished, tmp_path):
    last = finished.folder / "checkpoints" / "last.ckpt"
    content = torch.load(last, weights_only=True)
    cut, empty, other, text, weights, foreign, torn, free, told_more = (tmp_path / f"{i}.ckpt" for i in range(9))
    cut.write_bytes(last.read_bytes()[:3000])
    empty.touch()
    other.write_bytes(pickle.dumps({"rows": [1, 2, 3]}))
    text.write_text("not a checkpoint")
    sealed({key: value for key, value in content.items() if key != "loops"}, weights)
    named = {**content["datakiln"]["model"], "_target_": "datakiln.models.vae.tvae.TVAE"}
    sealed({**content, "datakiln": {**content["datakiln"], "model": named}}, foreign)
    sealed({**content, "state_dict": {}, "datakiln": {**content["datakiln"], "codec": {"kind": "?"}}}, torn)
    for path, option in ((free, {"saturates": False}), (told_more, {"pasts": True})):
        unlike = {**content["datakiln"]["model"], **option}
        sealed({**content, "datakiln": {**content["datakiln"], "model": unlike}}, path)
    for path, told in (
        (cut, "cut short|damaged"),
        (empty, "cut short|damaged"),
        (other, "no checkpoint|not written by datakiln"),
        (text, "no checkpoint"),
        (weights, "sampling only"),
        (foreign, "is of the model TVAE, this run's is VAE"),
        (free, "was trained with model.saturates=false; say so to go on"),
        (told_more, "was trained with model.pasts=true; say so to go on"),
    ):
        with pytest.raises(UserError, match=told) as caught:
            run(tmp_path, None, f"ckpt_path={path}")
        assert "\n" not in explain(caught.value)
    with pytest.raises(UserError, match="of another shape"):
        run(tmp_path, None, f"ckpt_path={last}", "encoding=modes")
    for path in (cut, empty, other, text, torn):
        for command in (sample, evaluate):
            with pytest.raises(UserError, match=r"\.ckpt") as caught:
                command([f"run={path}", f"out={tmp_path}/x.csv", "n=5"])
            assert "\n" not in explain(caught.value)
    assert not (tmp_path / "x.csv").exists()


def test_impossible_options_are_refused_before_data_is_read(tmp_path):
    with pytest.raises(UserError, match="latent_dim=9 does not reach the model"):
        run(tmp_path, tmp_path / "nowhere.csv", "latent_dim=9", "model.latent_dim=4")


@pytest.mark.parametrize(
    ("kind", "there", "way_out"),
    [("gpu", (), "trainer=cpu"), ("mps", ("cuda",), "trainer.accelerator=cuda"), ("mps", (), "trainer=cpu")],
)
def test_a_processor_that_is_not_there_is_one_line(tmp_path, monkeypatch, kind, there, way_out):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: "cuda" in there)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: "mps" in there)
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", overrides=["model=vae", "data=toy", f"trainer={kind}", f"output_dir={tmp_path}/run"])
    check(cfg)
    with pytest.raises(UserError, match=rf"^trainer\.accelerator={kind}: there is none here.*; take {way_out}$"):
        Run(cfg, Console(quiet=True)).check()
    assert not (tmp_path / "run").exists()


def test_what_a_stored_class_fails_with_is_told_and_kept_as_the_cause(tmp_path, monkeypatch):
    """Values that no class checks raise anything; debug=true shows where."""
    from datakiln.cli.stored import stored_parts
    from datakiln.data.sets.toy import ToyTable

    path = tmp_path / "config.yaml"
    path.write_text("data: {_target_: datakiln.data.sets.toy.ToyTable}\nmetrics: {}\n")
    with pytest.raises(UserError, match=r"config\.yaml: the stored data is a ToyTable, which is no data module"):
        stored_parts(path)
    for text, told in (("data: 3\nmetrics: {}", "its data is '3'"), ("data: {}", "its metrics is 'None'")):
        path.write_text(text)
        with pytest.raises(UserError, match=told):
            stored_parts(path)

    def faulty(self, **options):
        raise TypeError("a fault of ours")

    path.write_text("data: {_target_: datakiln.data.sets.toy.ToyTable}\nmetrics: {}\n")
    monkeypatch.setattr(ToyTable, "__init__", faulty)
    with pytest.raises(UserError, match=r"config\.yaml is damaged, .*\(a fault of ours\)") as caught:
        stored_parts(path)
    assert isinstance(caught.value.__cause__, TypeError)
