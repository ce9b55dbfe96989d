"""`model=auto budget=5m`: candidates are tried within a budget, one is chosen for a reason, and its run goes on."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import lightning as L
import numpy as np
import pandas as pd
import pytest
import torch
from hydra.errors import InstantiationException
from omegaconf import OmegaConf

from datakiln.api.config import composed
from datakiln.api.fitting import fit
from datakiln.callbacks import budget as budgets
from datakiln.callbacks.budget import Budget, Probe
from datakiln.callbacks.bundle import Bundle
from datakiln.callbacks.stopping import Stopped
from datakiln.cli.checks import check
from datakiln.cli.train import complete
from datakiln.console import Console
from datakiln.errors import UserError
from datakiln.jobs import trials
from datakiln.jobs.affordable import Affordable
from datakiln.jobs.announce import announce_precision
from datakiln.jobs.lengths import budget_seconds
from datakiln.jobs.run import Run
from datakiln.jobs.trials import choose, decided
from datakiln.results import Candidate, RunResult, candidates_of
from datakiln.sampling.checkpoints import read_checkpoint
from datakiln.sampling.synthesizer import Synthesizer

TABAR = ("model=tabar", "data=iris", "model.width=8", "model.hidden=8", "save_every_seconds=0")
AUTO = (
    "model=auto",
    "data=iris",
    "data.outliers=null",
    "model.candidates=[copula,mixture]",
    "~metrics.table",
    "plots=false",
)


class Clock:
    """A processor of whose time each look takes a hundredth of a second."""

    def __init__(self) -> None:
        self.now = 0.0

    def process_time(self) -> float:
        self.now += 0.01
        return self.now


def fitted(folder: Path, *options: str, told: io.StringIO | None = None) -> Run:
    with composed([*TABAR, "trainer=cpu", *options]) as cfg:
        cfg.output_dir = str(folder)
        run = Run(cfg, Console(file=told or io.StringIO(), width=200))
        run.check()
        run.load_data()
        run.fit()
    return run


@pytest.mark.parametrize(
    ("told", "seconds"), [("30s", 30), ("5m", 300), ("1h", 3600), ("1.5 m", 90), (90, 90), ("0.5", 0.5), (None, None)]
)
def test_a_budget_is_seconds_minutes_or_hours(told, seconds):
    assert budget_seconds(told) == seconds


@pytest.mark.parametrize("told", ["", "0", "-3s", "5 days", "m", "nan", "1e3", True])
def test_what_is_no_time_is_refused(told):
    with pytest.raises(UserError, match=r"^budget=.* such as 30s, 5m, 1h"):
        budget_seconds(told)


def test_what_is_affordable_is_whole_epochs_or_ten_that_are_alike():
    probe = Probe(1.0)
    probe.per_batch, probe.batches, probe.validating, probe.epochs = 0.1, 10, 0.5, 100
    assert probe.affordable(16.1) == (10, None, None)
    assert probe.affordable(6.1) == (5, 7, None)  # 5 * (0.7 + 0.5) = 6.0: of ten, validation would take most
    assert probe.affordable(1.05) == (1, 5, None)
    assert probe.affordable(0.01) == (1, 1, None)
    probe.epochs = 4
    assert probe.affordable(6.1) == (4, None, None)
    probe.epochs, probe.validating, probe.batches = 6, 0.05, 1000
    assert probe.affordable(60.4) == (6, 100, None), "no more epochs than the fit has"
    probe.epochs, probe.validating = 100, 0.001
    assert probe.affordable(60.4) == (10, 60, None)
    assert probe.affordable(0.35) == (3, 1, None), "no more epochs than there are batches"


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("has", [True, False])
def test_a_precision_that_the_processor_only_imitates_is_told(precision, has, monkeypatch):
    told: list[str] = []
    monkeypatch.setattr("datakiln.jobs.announce.is_faster_in_bf16", lambda device: has)
    console = SimpleNamespace(print=lambda text: told.append(str(text)))
    announce_precision(OmegaConf.create({"precision": precision, "accelerator": "cpu"}), console)
    assert len(told) == (precision == "bf16-mixed" and not has)
    assert all("trainer.precision=bf16-mixed" in text and "32-true" in text for text in told)


@pytest.mark.parametrize("limits", [{"batches": None}, {"batches": 3}, {"batches": 3, "unseen": 1}])
def test_what_is_affordable_is_kept_for_the_run_that_goes_on(tmp_path, limits):
    made = Affordable(epochs=4, usual=10, epoch=1.5, whole=9, **limits)
    made.save(tmp_path / "affordable.json")
    assert made.tested == (4 if "unseen" in limits else None), "once, for as long as all validations"
    assert Affordable.load(tmp_path / "affordable.json") == made and Affordable.load(tmp_path / "none.json") is None
    for name in ("epochs", "batches", "unseen"):
        replace(made, **{name: 0}).save(tmp_path / "bad.json")
        with pytest.raises(UserError, match="no length of training"):
            Affordable.load(tmp_path / "bad.json")


def test_validation_takes_a_tenth_of_an_epoch_that_is_too_long():
    probe = Probe(1.0)
    probe.per_batch, probe.batches, probe.validating, probe.epochs = 1.0, 400, 100.0, 100
    probe.unseen, probe.per_unseen = 50, 2.0
    assert probe.affordable(100.0) == (5, 18, 1)  # 5 * (18 + 2.0): a single batch in each of ten took too much
    assert probe.affordable(5.0) == (1, 3, 1)  # one batch at least
    assert probe.affordable(5000.0) == (10, None, None)
    assert probe.affordable(400.0) == (10, 36, 2)
    probe.per_batch = 50.0
    assert probe.affordable(15000.0) == (10, 28, None), "it takes less than a tenth"


@pytest.mark.journey
def test_a_run_of_limited_epochs_that_was_stopped_goes_on_to_the_same_weights(tmp_path, monkeypatch):
    options = ("epochs=4", "model.min_updates=0", "+trainer.limit_train_batches=2", "batch_size=32")
    whole = fitted(tmp_path / "a", *options)
    monkeypatch.setattr(Bundle, "_is_due", property(lambda bundle: True))
    keep = Bundle.save

    def stops(bundle, trainer):
        bundle.stop_requested = "SIGTERM" if trainer.current_epoch == 2 and bundle._between_epochs else None
        keep(bundle, trainer)

    monkeypatch.setattr(Bundle, "save", stops)
    with pytest.raises(Stopped):
        fitted(tmp_path / "b", *options)
    monkeypatch.undo()
    again = fitted(tmp_path / "b", *options, "ckpt_path=last")
    ours, theirs = (read_checkpoint(run.bundle.last_path)["state_dict"] for run in (whole, again))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.journey
def test_training_is_as_long_as_its_budget_and_rates_fall_over_that_length(tmp_path, monkeypatch):
    monkeypatch.setattr(budgets, "time", Clock())
    told = io.StringIO()
    run = fitted(tmp_path, "budget=4s", told=told)
    planned = run.affordable
    assert planned.is_shorter and run.trainer.current_epoch == run.trainer.max_epochs == planned.epochs
    assert f"budget=4s: {planned.epochs} of {planned.usual} epochs" in told.getvalue()
    assert run.budget.spent < 4.0 and run.budget.spent > 2.0
    rate = run.trainer.optimizers[0].param_groups[0]
    assert rate["lr"] < 0.05 * rate["peak"]


@pytest.mark.journey
def test_a_budget_that_turns_out_too_small_ends_training_and_stays_spent(tmp_path, monkeypatch):
    monkeypatch.setattr(budgets, "time", Clock())
    monkeypatch.setattr(budgets.Probe, "affordable", lambda probe, seconds: (probe.epochs, None, None))
    run = fitted(tmp_path, "budget=2s")
    assert 0 < run.trainer.current_epoch < run.affordable.epochs and run.budget.left == 0
    assert run.bundle.best_path.exists()
    steps = read_checkpoint(run.bundle.last_path)["global_step"]
    again = fitted(tmp_path, "budget=2s", "ckpt_path=last")
    assert read_checkpoint(again.bundle.last_path)["global_step"] == steps


@pytest.mark.journey
def test_a_budget_that_is_not_needed_changes_nothing(tmp_path):
    options = ("epochs=2", "model.min_updates=0")
    free, bound = fitted(tmp_path / "a", *options), fitted(tmp_path / "b", *options, "budget=1h")
    ours, theirs = (read_checkpoint(run.bundle.best_path)["state_dict"] for run in (free, bound))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours) and not bound.affordable.is_shorter


def tried(model: str, auc: float | None, memory: float = 0.5, **more) -> Candidate:
    return replace(
        Candidate(model, twosample=auc, with_relations=auc, noise=0.01, memory=memory, memory_noise=0.01), **more
    )


def test_the_best_by_unseen_rows_is_chosen():
    found = choose([tried("a", 0.6), tried("b", 0.52), tried("c", 0.55)])
    assert [trial.is_chosen for trial in found] == [False, True, False]
    assert found[1].why == "told from unseen rows least"
    assert found[0].why == "told from unseen rows better than b"


def test_relations_count_as_much_as_the_rest():
    found = choose([tried("a", 0.52, with_relations=0.9), tried("b", 0.56, with_relations=None)])
    assert found[1].is_chosen and found[0].score == pytest.approx(0.71)


def test_one_that_remembers_training_rows_is_not_chosen_however_good():
    found = choose([tried("a", 0.5, memory=0.9), tried("b", 0.7)])
    assert found[1].is_chosen and found[0].why == "remembers training rows"
    alone = choose([tried("a", 0.5, memory=0.9), tried("b", 0.7, memory=0.95)])
    assert alone[0].is_chosen and "all candidates remember training rows" in alone[0].why


def test_of_those_that_chance_does_not_tell_apart_one_without_memory_is_chosen():
    found = choose([tried("a", 0.52, memory=0.57), tried("b", 0.525), tried("c", 0.54)])
    assert found[1].is_chosen and "as good as a within chance" in found[1].why
    assert found[0].why == "no better than b, beyond chance"


def test_below_one_half_is_no_better():
    assert tried("a", 0.41).score == 0.5


def test_where_nothing_could_be_trained_each_reason_is_told():
    with pytest.raises(UserError, match=r"a: too little; b: odd\); give a larger budget"):
        choose([Candidate("a", why="too little"), Candidate("b", why="odd")])


def searched(folder: Path, *options: str) -> tuple[RunResult, str]:
    told = io.StringIO()
    console = Console(file=told, width=200)
    with composed([*AUTO, "trainer=cpu", *options]) as cfg:
        cfg.output_dir = str(folder)
        complete(Run(decided(cfg, console), console))
    return RunResult.load(folder / "result.json"), told.getvalue()


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> tuple[Path, RunResult, str]:
    folder = tmp_path_factory.mktemp("auto")
    return folder, *searched(folder, "budget=1m")


@pytest.mark.journey
def test_what_is_left_is_an_ordinary_run_of_the_chosen_model(found):
    folder, result, told = found
    chosen = next(trial for trial in result.candidates if trial.is_chosen)
    assert result.model == chosen.model and [trial.model for trial in result.candidates] == ["copula", "mixture"]
    assert result.candidates == candidates_of(folder) and all(trial.rows == 22 for trial in result.candidates)
    synthesizer = Synthesizer.load(folder)
    assert type(synthesizer.model).__name__.lower() == chosen.model and len(synthesizer.sample(5, seed=0)) == 5
    assert f"chosen: {chosen.why}" in told and "distance attack" in told
    report = (folder / "report.html").read_text(encoding="utf-8")
    assert "Models tried" in report and f"{chosen.model} (chosen)" in report
    assert (folder / "synthetic.csv").exists() and chosen.model in (folder / "log.txt").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_kill_and_the_same_command_go_on(tmp_path, found, monkeypatch):
    judged = trials._Search._judged

    def kill(self, name: str, run: Run):
        if name == "mixture":
            raise SystemExit("killed")
        return judged(self, name, run)

    monkeypatch.setattr(trials._Search, "_judged", kill)
    with pytest.raises(SystemExit, match="killed"):
        searched(tmp_path, "budget=1m")
    first = tmp_path / "candidates" / "copula" / "trial.json"
    stamp = first.stat().st_mtime_ns
    assert not (tmp_path / "candidates" / "mixture" / "trial.json").exists()
    monkeypatch.undo()
    with pytest.raises(UserError, match="unfinished run; go on with ckpt_path=last"):
        searched(tmp_path, "budget=1m")
    result, _ = searched(tmp_path, "budget=1m", "ckpt_path=last")
    assert first.stat().st_mtime_ns == stamp
    same = ("model", "why", "twosample", "memory", "epochs", "is_chosen")
    ours, theirs = ([[getattr(t, name) for name in same] for t in r.candidates] for r in (result, found[1]))
    assert ours == theirs


@pytest.mark.slow
def test_a_candidate_without_time_is_left_out_with_its_reason(tmp_path, monkeypatch):
    monkeypatch.setattr(budgets, "time", Clock())
    result, _ = searched(tmp_path, "budget=3s", "model.candidates=[copula,tabar]")
    assert result.model == "copula" and "a fit takes about" in result.candidates[1].why


@pytest.mark.slow
def test_the_chosen_one_is_fitted_on_all_rows_afterwards(tmp_path):
    result, told = searched(tmp_path, "data.validation=refit")
    assert result.n_train == 149 - result.n_holdout and "a second fit, on all rows" in told


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ("data.validation=shared", "leaves model=auto no unseen rows"),
        ("ckpt_path=other.ckpt", "goes on with ckpt_path=last alone"),
        ("model.candidates=[]", "must name a model or more"),
        ("model.least=2", "must be a share"),
        ("model.rows=10", "at least 100"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, option, reason):
    with pytest.raises((UserError, InstantiationException), match=reason):
        searched(tmp_path, option)


def test_spent_time_is_in_the_checkpoint():
    checkpoint: dict = {}
    budget = Budget(10.0)
    budget.add(4.0)
    budget.on_save_checkpoint(None, None, checkpoint)  # type: ignore[arg-type]
    other = Budget(10.0)
    other.on_load_checkpoint(None, None, checkpoint)  # type: ignore[arg-type]
    assert other.left == pytest.approx(6.0)
    assert isinstance(other, L.Callback)


@pytest.mark.parametrize(
    "options",
    [("model=auto", "privacy=marginals"), ("model=vae", "budget=5m", "privacy=dp_sgd")],
    ids=["auto", "budget"],
)
def test_what_looks_at_rows_without_paying_is_refused_under_differential_privacy(options):
    words = [*options, "data=iris", "privacy.epsilon=1"]
    with composed(words) as cfg, pytest.raises(UserError, match=r"privacy=\w+ does not pay for; .*(model|epochs)="):
        check(cfg)


@pytest.mark.slow
def test_rows_in_memory_find_their_model_too():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=300), "b": rng.choice(["x", "y"], 300)})
    model = fit(frame, model="auto", options={"model.candidates": ["copula"], "budget": "20s"})
    assert list(model.sample(7, seed=0).columns) == ["a", "b"]
