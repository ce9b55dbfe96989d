"""`data.validation=refit`: a length is chosen with the validation rows apart, then all rows are fitted for as long."""

from __future__ import annotations

import io
from pathlib import Path

import lightning as L
import pandas as pd
import pytest
import torch
from hydra import compose, initialize_config_dir

from datakiln.cli import run_folders  # noqa: F401 (its resolvers)
from datakiln.console import Console
from datakiln.errors import UserError
from datakiln.jobs import announce
from datakiln.jobs.run import Run
from datakiln.sampling.checkpoints import read_checkpoint
from datakiln.sampling.synthesizer import Synthesizer
from datakiln.storage import CONF

TABAR = ("model=tabar", "model.width=8", "model.hidden=8", "model.min_updates=0")
MIXTURE = ("model=mixture", "model.classes=[1,3]", "model.smoothing=[1,8]", "batch_size=32")


class Kill(L.Callback):
    """Ends the process before a step of one of the two fits, as SIGKILL would."""

    def __init__(self, run: Run, fit: int, step: int) -> None:
        self.run, self.fit, self.step = run, fit, step

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        if (self.run.chosen is None) == (self.fit == 1) and trainer.global_step == self.step:
            raise SystemExit("killed")


class Killed(Run):
    at = (1, 0)

    def _callbacks(self) -> list[L.Callback]:
        return [Kill(self, *self.at), *super()._callbacks()]


def fitted(
    folder: Path, *options: str, kind: type[Run] = Run, told: io.StringIO | None = None, model: tuple[str, ...] = TABAR
) -> Run:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        words = [
            *model,
            "epochs=5",
            "save_every_seconds=0",
            "data=iris",
            "data.outliers=null",
            "data.validation=refit",
            f"output_dir={folder}",
            "trainer.accelerator=cpu",
        ]
        cfg = compose("train", overrides=[*words, *options])
    run = kind(cfg, Console(file=told or io.StringIO(), width=300))
    run.check()
    run.load_data()
    run.fit()
    return run


def state(run: Run) -> dict[str, torch.Tensor]:
    return read_checkpoint(run.bundle.best_path)["state_dict"]


def same(a: Run, b: Run) -> bool:
    ours, theirs = state(a), state(b)
    assert ours.keys() == theirs.keys()
    files = [(run.folder / "metrics.csv").read_text() for run in (a, b)]
    return all(torch.equal(ours[name], theirs[name]) for name in ours) and files[0] == files[1]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Run:
    return fitted(tmp_path_factory.mktemp("whole"))


@pytest.mark.journey
def test_the_second_fit_is_as_long_as_the_first_was_best_and_sees_all_rows(whole):
    chosen = whole.chosen
    assert chosen is not None and chosen.epochs == chosen.best_epoch + 1 and chosen.ran == 5
    assert whole.trainer.current_epoch == chosen.epochs == whole.trainer.max_epochs
    frames = whole.data.frames
    assert len(frames["train"]) == whole.data.spec.size == 149 - len(frames["test"])
    assert len(frames["train"].merge(frames["val"]).drop_duplicates()) == len(frames["val"].drop_duplicates())
    kept = read_checkpoint(whole.bundle.best_path)
    assert kept["datakiln"]["codec"]["state"]["size"] == whole.data.spec.size and kept["epoch"] == chosen.epochs
    assert kept["datakiln"]["model"]["min_updates"] == 0
    assert len(Synthesizer.load(whole.folder).sample(7, seed=0)) == 7


@pytest.mark.journey
def test_it_is_the_fit_that_these_rows_alone_would_give(tmp_path, whole):
    """The same as a fit on all rows from the start, with that many epochs: nothing of the first fit is left in it."""
    alone = fitted(tmp_path, "data.validation=shared", f"epochs={whole.chosen.epochs}")
    ours, theirs = state(whole), read_checkpoint(alone.bundle.last_path)["state_dict"]
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.journey
def test_both_fits_stand_in_one_file_of_figures(whole):
    rows = pd.read_csv(whole.folder / "metrics.csv")
    first, second = rows.iloc[:5], rows.iloc[5:]
    assert rows["epoch"].tolist() == list(range(5 + whole.chosen.epochs))
    assert first["val/loss"].notna().all() and first["refit/loss"].isna().all()
    assert second["refit/loss"].notna().all() and second[["val/loss", "train/loss"]].isna().all(axis=None)
    assert rows["step"].is_monotonic_increasing
    assert rows["val/loss"].idxmin() == whole.bundle.best_epoch


@pytest.mark.journey
@pytest.mark.parametrize(
    "at",
    [
        pytest.param((1, 2), marks=pytest.mark.slow, id="in the first fit"),
        pytest.param((2, 0), marks=pytest.mark.slow, id="between"),
        pytest.param((2, 1), id="in the second"),
    ],
)
def test_a_run_killed_in_either_fit_goes_on(tmp_path, whole, at):
    with pytest.raises(SystemExit, match="killed"):
        fitted(tmp_path, kind=type("At", (Killed,), {"at": at}))
    assert same(fitted(tmp_path, "ckpt_path=last"), whole)
    if at == (2, 1):
        assert same(fitted(tmp_path, "ckpt_path=last"), whole), "and once more after the end of both"


@pytest.mark.journey
def test_the_second_fit_is_not_gone_on_with_by_another_kind_of_run(tmp_path, whole):
    with pytest.raises(UserError, match=r"second fit, on all rows; go on with data\.validation=refit"):
        fitted(tmp_path, "data.validation=apart", f"ckpt_path={whole.bundle.last_path}")


def test_a_mixture_chooses_its_classes_first(tmp_path):
    run = fitted(tmp_path, model=MIXTURE)
    (classes,), (smoothing,) = run.chosen.options["classes"], run.chosen.options["smoothing"]
    rows = pd.read_csv(run.folder / "metrics.csv")
    best = rows.iloc[run.bundle.best_epoch]
    assert (classes, smoothing) == (best["val/classes"], best["val/smoothing"])
    assert len(run.model.sizes) == classes and float(run.model.sizes.sum()) == pytest.approx(
        run.data.spec.size, rel=1e-3
    )


@pytest.mark.journey
@pytest.mark.parametrize("patience", ["null", "1"], ids=["epochs= wins", "epochs= is a bound"])
def test_epochs_that_a_person_gives(tmp_path, monkeypatch, patience):
    monkeypatch.setattr(announce, "overrides", lambda: ["epochs=5"])
    told = io.StringIO()
    run = fitted(tmp_path, "mode=max", f"patience={patience}", told=told)  # the loss falls: the first epoch is best
    best = run.bundle.best_epoch + 1
    assert best < run.chosen.ran
    assert run.trainer.current_epoch == (5 if patience == "null" else best)
    again = "as many as epochs= says (5)" if patience == "null" else f"{best} epoch"
    assert f"best epoch {best} of {run.chosen.ran} by val/loss" in told.getvalue() and again in told.getvalue()


def test_a_single_fit_says_which_epoch_it_keeps(tmp_path):
    told = io.StringIO()
    run = fitted(tmp_path, "data.validation=apart", "epochs=2", told=told)
    assert f"best epoch {run.bundle.best_epoch + 1} of 2 by val/loss" in told.getvalue()
    assert "its weights are kept" in told.getvalue()


def test_shared_says_what_it_risks(tmp_path):
    told = io.StringIO()
    fitted(tmp_path, "data.validation=shared", "epochs=1", told=told)
    assert "memorising goes unseen" in told.getvalue()
