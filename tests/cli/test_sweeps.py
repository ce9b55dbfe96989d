"""Sweeps under Hydra, in this process where possible; most jobs only pretend to train."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from datakiln.cli import choices
from datakiln.cli.survey_sweeper import has_own_way
from datakiln.cli.sweeps import _share_cores
from datakiln.errors import Interrupted
from datakiln.storage import CONF
from tests.cli.pretending import BEST, pretend, pretend_with_threads, results
from tests.loggers.wandb_files import WandbFile, no_account  # noqa: F401 (a fixture)


def test_a_failed_job_is_told_and_the_others_finish(sweep):
    done = sweep("-m", "model=vae", "data=iris", "latent_dim=2,5,8", "seed=0,1")
    assert done.code == 2
    assert set(results(done.folder)) == {f"{i}-vae-iris" for i in (0, 1, 4, 5)}
    lines = done.out.splitlines()
    assert lines[0] == f"6 jobs, each with its log.txt, go to {done.folder.relative_to(Path.cwd())}"
    assert lines[1].startswith("[1/6] latent_dim=2 seed=0  val/loss 49  (")
    failed, also, error = done.err.splitlines()
    assert failed == "[3/6] latent_dim=5 seed=0  failed: five does not work"
    assert also == "[4/6] latent_dim=5 seed=1  failed: five does not work"
    assert error == "error: 2 of 6 jobs failed (2-vae-iris, 3-vae-iris); see error.txt in their folders"
    told = (done.folder / "2-vae-iris" / "error.txt").read_text()
    assert told.startswith("model=vae data=iris latent_dim=5 seed=0\nfive does not work\n")
    assert "Traceback" in told and "in pretend" in told
    assert (done.folder / "0-vae-iris" / "log.txt").read_text() == "training 2\n"
    assert "training" not in done.out
    table = [line for line in lines if line.startswith("│ vae")]
    assert [line.split("│")[3].strip() for line in table] == ["8", "2"], "best first"
    assert "± 0.0707" in table[0], "the spread of the objective over seeds 0 and 1: 0.1 / sqrt(2)"
    assert (done.folder / "comparison.html").exists()


@pytest.mark.journey
def test_the_latent_sweep_compares_sizes_over_seeds(sweep):
    done = sweep("sweep=latent", "model=vae", "data=adhd", "seed=1")
    found = results(done.folder).values()
    drawn = {(int(o["overrides"][0].rpartition("=")[2]), o["seed"]) for o in found}
    assert drawn == {(size, seed) for size in (2, 3, 8, 16) for seed in (1,)}  # 5 fails, as pretended
    assert "kl" in (done.folder / "comparison.html").read_text()
    assert done.out.count("│ vae") == 4


def test_a_sweep_goes_on_where_it_was_stopped(sweep, tmp_path):
    ran: list[int] = []

    def stopped(cfg: DictConfig) -> float:
        if cfg.latent_dim == 3:
            raise Interrupted("SIGTERM")
        return pretend(cfg)

    def counted(cfg: DictConfig) -> float:
        ran.append(cfg.latent_dim)
        return pretend(cfg)

    words = ("-m", "model=vae", "latent_dim=2,3,4", f"hydra.sweep.dir={tmp_path / 'here'}")
    first = sweep(*words, task=stopped)
    assert first.code == 143, "a request to stop ends the sweep, not just its job"
    assert set(results(tmp_path / "here")) == {"0-vae-iris"}
    second = sweep(*words, "ckpt_path=last", task=counted)
    assert second.code == 0
    assert ran == [3, 4]
    assert "[1/3] latent_dim=2  val/loss 49  (finished before)" in second.out
    assert set(results(tmp_path / "here")) == {"0-vae-iris", "1-vae-iris", "2-vae-iris"}


@pytest.mark.slow
def test_a_sweep_is_found_again_by_its_options(sweep):
    """The newest unfinished one, in whatever order they are given; what failed is tried again."""
    ran: list[tuple[int, Path]] = []

    def stopped(cfg: DictConfig) -> float:
        if cfg.latent_dim == 5:
            raise ValueError("five does not work yet")
        if cfg.latent_dim == 8:
            raise Interrupted("SIGTERM")
        return pretend(cfg)

    def repaired(cfg: DictConfig) -> float:
        ran.append((cfg.latent_dim, Path(cfg.output_dir)))
        assert cfg.ckpt_path == "last"
        return pretend(OmegaConf.merge(cfg, {"latent_dim": 6 if cfg.latent_dim == 5 else cfg.latent_dim}))

    words = ("-m", "model=vae", "latent_dim=2,5,8,3")
    first = sweep(*words, task=stopped)
    assert first.code == 143 and first.err.splitlines()[-1].endswith("ckpt_path=last with the same options goes on")
    other = sweep("-m", "model=vae", "latent_dim=2,3")
    assert other.code == 0 and other.folder != first.folder
    second = sweep("-m", "ckpt_path=last", "latent_dim=2,5,8,3", "model=vae", task=repaired)
    assert (second.code, second.err) == (0, "")
    lines = second.out.splitlines()
    assert lines[0] == f"going on in {first.folder.relative_to(Path.cwd())}: 1 of 4 jobs are finished"
    assert lines[1].startswith("[1/4] latent_dim=2  val/loss 49  (finished before)")
    folders = {path.relative_to(first.folder).name: size for size, path in ran}
    assert folders == {"1-vae-iris": 5, "2-vae-iris": 8, "3-vae-iris": 3}
    assert not list(first.folder.glob("*/error.txt"))
    third = sweep("-m", "ckpt_path=last", *words[1:])
    assert (third.code, third.out) == (2, "")
    assert third.err == (
        "error: ckpt_path=last: no unfinished sweep with latent_dim=2,5,8,3 model=vae below outputs; "
        "give hydra.sweep.dir=FOLDER\n"
    )


def test_a_sweep_with_values_without_end_is_refused(sweep):
    done = sweep("-m", "latent_dim=interval(1,2)")
    assert (done.code, done.folder) == (2, None)
    assert done.err == (
        "error: latent_dim=interval(1,2): an interval has no end of values; sweep=optuna chooses among them\n"
    )


@pytest.mark.slow
def test_parallel_jobs_share_the_cores(sweep, monkeypatch):
    import joblib

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    done = sweep(
        "-m", "latent_dim=2,5,8", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", task=pretend_with_threads
    )
    assert done.code == 2 and "1 of 3 jobs failed (1-vae-iris)" in done.err
    told = [result["versions"]["threads"] for result in results(done.folder).values()]
    assert len(told) == 2
    for threads, _, process in (words.partition(" in ") for words in told):
        assert int(threads) * 2 <= max(joblib.cpu_count(), 2)
        assert int(process) != os.getpid()
    assert len({result["seed"] for result in results(done.folder).values()}) == 1


@pytest.mark.parametrize(("n_jobs", "most"), [(1, 4), (2, 2), (4, 1), (8, 1)])
def test_threads_times_processes_stay_within_the_cores(monkeypatch, n_jobs, most):
    import joblib
    import torch

    monkeypatch.setattr(joblib, "cpu_count", lambda: 4)
    monkeypatch.setattr(joblib, "effective_n_jobs", lambda n: n)
    torch.set_num_threads(4)
    _share_cores(OmegaConf.create({"n_jobs": n_jobs}))
    assert torch.get_num_threads() == most
    torch.set_num_threads(3)
    _share_cores(OmegaConf.create({"_target_": "BasicLauncher"}))
    assert torch.get_num_threads() == 3


@pytest.mark.journey
def test_optuna_survives_failing_trials(sweep):
    pytest.importorskip("optuna", reason="the extra [sweep] is not installed")
    done = sweep("sweep=optuna", "hydra.sweeper.params={latent_dim:'range(4,7)'}", "hydra.sweeper.n_trials=5")
    tried = {int(result["overrides"][0].rpartition("=")[2]) for result in results(done.folder).values()}
    failed = list(done.folder.glob("*/error.txt"))
    assert len(results(done.folder)) + len(failed) == 5
    assert failed and done.code == 2, "this seed tries latent_dim=5; the sweep says so and goes on"
    best = OmegaConf.load(done.folder / "optimization_results.yaml")
    assert best.best_value == min((size - BEST) ** 2 for size in tried)
    assert f"best of 5 trials: latent_dim={best.best_params.latent_dim} model.optimizer.lr=" in done.out
    assert not [line for line in done.err.splitlines() if not line.startswith(("[", "error: "))], "no noise"


@pytest.mark.journey
def test_optuna_with_nothing_but_failures_says_what_failed(sweep):
    pytest.importorskip("optuna", reason="the extra [sweep] is not installed")
    done = sweep("-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=2", "latent_dim=5", "seed=0,1")
    assert done.code == 2
    assert "error: 2 of 2 jobs failed (0-vae-iris, 1-vae-iris)" in done.err
    assert "Traceback" not in done.err


def test_optuna_is_not_sent_the_wrong_way(sweep):
    pytest.importorskip("optuna", reason="the extra [sweep] is not installed")
    done = sweep("sweep=optuna", "objective=quality", "hydra.sweeper.params={latent_dim:'range(8,9)'}")
    assert done.code == 2
    assert done.err.splitlines()[-1] == (
        "objective=quality is better higher, but hydra.sweeper.direction=minimize; add hydra.sweeper.direction=maximize"
    )
    assert len(results(done.folder)) == 1


@pytest.mark.parametrize("words", [["sweep=optuna"], ["-m", "hydra/sweeper=optuna", "seed=1,2"]], ids=" ".join)
def test_a_missing_extra_is_named(sweep, monkeypatch, words):
    monkeypatch.setitem(sys.modules, "optuna", None)  # as if it were not installed
    done = sweep(*words)
    assert done.code == 2
    assert done.err == "error: hydra/sweeper=optuna needs the extra [sweep]: pip install -e '.[sweep]'\n"


@pytest.mark.slow
@pytest.mark.usefixtures("no_account")
def test_a_real_sweep_is_one_group_at_wandb(sweep):
    from datakiln.cli.train import train

    words = ("-m", "data=iris", "seed=0,1", "epochs=2", "+model.hidden=[8]", "metrics.table=null")
    done = sweep(*words, "logger=[wandb,tensorboard]", "logger.wandb.offline=true", task=train)
    assert (done.code, done.err) == (0, "")
    told = {name: WandbFile.read(done.folder / name) for name in ("0-vae-iris", "1-vae-iris")}
    assert [file.group for file in told.values()] == [done.folder.name] * 2
    for name, file in told.items():
        folder = done.folder / name
        result = json.loads((folder / "result.json").read_text())
        assert file.name == f"seed={result['seed']}" and file.exit_code == 0
        assert (
            file.config["seed"] == result["seed"]
            and file.config["model"] == "vae"
            and file.config["config"]["model"]["hidden"] == [8]
        )
        assert [row["epoch"] for row in file.rows] == [0, 1]
        assert all({"train/loss", "val/loss"} <= set(row) for row in file.rows)
        pictures = {path.stem for path in folder.glob("plots/*.png")}
        assert pictures and pictures == {key.split("/")[1] for key in file.rows[-1] if key.startswith("plots/")}
        measured = {score["name"]: score["value"] for score in result["figures"]}
        assert file.summary["test/loss"] == pytest.approx(measured["test/loss"])
        assert len((folder / "metrics.csv").read_text().splitlines()) == 3
        assert list(folder.glob("tensorboard/events.*"))


def test_the_sweep_of_picture_models_has_all_that_can_be_told_the_class():
    """But those that its comment names: the list is written out, and a new model must not be forgotten."""
    listed = choices.keys("sweep", "picture_models")["hydra"]["sweeper"]["params"]["model"].split(",")
    models = [path.stem for path in (CONF / "model").glob("*.yaml")]
    told = {name for name in models if choices.keys("model", name).get("conditional") is not None}
    same = {"gan", "acgan"}  # which under conditional=true are cgan and dcgan
    assert set(listed) == (told | {"cvae"}) - {"ppca"} - same and len(listed) == len(set(listed))


def test_a_survey_leaves_a_model_its_own_way_of_being_told_the_class():
    assert has_own_way("acgan", "++conditional=true") and not has_own_way("dcgan", "++conditional=true")
    assert not has_own_way("pixelcnn", "++conditional=true") and not has_own_way("acgan", "mode=min")
