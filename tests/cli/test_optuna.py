"""Sweeps whose jobs Optuna chooses; most jobs only pretend to train."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from statistics import median

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from datakiln.callbacks.pruning import Pruned, judged_by
from datakiln.cli.explain import unknown_option
from datakiln.cli.free_names import spell_out
from datakiln.cli.run_folders import register_resolvers
from datakiln.errors import Interrupted
from datakiln.storage import CONF
from tests.cli.pretending import pretend, pretend_to_learn, results

optuna = pytest.importorskip("optuna", reason="the extra [sweep] is not installed")

WORDS = ("sweep=optuna", "hydra.sweeper.params=null", "latent_dim=range(6,14)", "hydra.sweeper.n_trials=6")


def study(folder: Path) -> optuna.Study:
    backend = optuna.storages.journal.JournalFileBackend(str(folder / "study.journal"))
    return optuna.load_study(study_name="sweep", storage=optuna.storages.JournalStorage(backend))


def values(folder: Path) -> dict[str, str]:
    return {name: result["overrides"][0] for name, result in results(folder).items()}


def told(trial: optuna.trial.FrozenTrial) -> tuple[int, str]:
    return trial.params["latent_dim"], trial.state.name


def stopping_at(job: int):
    """A task that somebody asks to stop in this job."""

    def task(cfg: DictConfig) -> float:
        if Path(cfg.output_dir).name.startswith(f"{job}-"):
            raise Interrupted("SIGTERM")
        return pretend(cfg)

    return task


def test_the_name_that_people_know():
    assert spell_out(["hparams_search=optuna", "seed=1"]) == ["sweep=optuna", "seed=1"]
    assert spell_out(["+hparams_search=optuna"]) == ["sweep=optuna"]
    assert "did you mean 'hparams_search'?" in unknown_option("hparam_search")
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", overrides=spell_out(["hparams_search=optuna"]), return_hydra_config=True)
    assert cfg.hydra.sweeper.n_trials == 20 and cfg.hydra.mode.name == "MULTIRUN"


def test_a_plain_run_never_imports_it():
    program = (
        "import sys; from datakiln.cli.commands import run_hydra; sys.argv = ['train', '--cfg', 'job'];"
        "run_hydra(print, 'train', print); print(sorted({'optuna', 'numpy', 'sqlalchemy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", f"import src; {program}"], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_no_second_package_is_needed():
    assert "optuna.yaml" not in ConfigStore.instance().repo["hydra"]["sweeper"], "ours is a file below conf/"
    assert (CONF / "hydra" / "sweeper" / "optuna.yaml").is_file()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["hydra.sweeper.n_trials=0"], "hydra.sweeper.n_trials=0 must be a whole number of at least 1"),
        (["hydra.sweeper.n_jobs=0"], "hydra.sweeper.n_jobs=0 must be a whole number of at least 1 or null"),
        (["hydra.sweeper.sampler=tpee"], "hydra.sweeper.sampler=tpee is not known; did you mean 'tpe'?; known: tpe, "),
        (["hydra.sweeper.sampler=grid"], "every combination is tried without sweep=optuna"),
        (["hydra.sweeper.pruner=medain"], "hydra.sweeper.pruner=medain is not known; did you mean 'median'?"),
        (
            ["hydra.sweeper.direction=down"],
            "hydra.sweeper.direction=down is not known; known: minimize, maximize",
        ),
        (["hydra.sweeper.pruner=median", "epochs=5"], "prune_after=10 leaves no epoch to end a job of epochs=5"),
        (["hydra.sweeper.storage=3"], "hydra.sweeper.storage=3 must be text or null"),
        (["hydra.sweeper.storage=no/x.journal"], "hydra.sweeper.storage=no/x.journal cannot be opened (No such file"),
        (
            ["hydra.sweeper.storage=sqlite:///no/x.db"],
            "cannot be opened (unable to open database file); give sqlite:///",
        ),
        (["hydra.sweeper.storage=oracel://x"], "hydra.sweeper.storage=oracel://x cannot be opened (Can't load plugin"),
        (["hydra.sweeper.params=null"], "hydra.sweeper.params is empty: nothing is left to choose"),
        (["latent_dim=interval(9,1)"], "latent_dim=interval(9,1) is no range to choose from: `low <= high` must hold"),
        (["latent_dim=tag(lag,range(1,3))"], "latent_dim=tag(lag,range(1,3)): the only tag is log"),
        (["model=vae,vaee"], "model=vaee is not known; did you mean 'vae'?"),
        (["hydra.sweeper.n_trial=3"], "unknown option 'hydra.sweeper.n_trial'; did you mean 'hydra.sweeper.n_trials'?"),
        (["hydra/sweeper/sampler=tpe"], "did you mean 'hydra.sweeper.sampler'?"),
        (
            ["+hydra.sweeper.n_trails=3"],
            "hydra.sweeper.n_trails is no option of hydra/sweeper=optuna; did you mean",
        ),
        (["hydra.sweeper.sampler={_target_:optuna.samplers.TPESampler,sed:1}"], "unexpected keyword argument 'sed'"),
        (["hydra.sweeper.pruner={_target_:optuna.samplers.TPESampler}"], "TPESampler is no pruner of Optuna's"),
        (["ckpt_path=last"], "ckpt_path=last: no unfinished sweep with sweep=optuna below outputs"),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, list) else "",
)
def test_an_impossible_option_is_refused_in_one_line_and_leaves_nothing(sweep, tmp_path, words, told):
    done = sweep("sweep=optuna", *words, task=lambda cfg: pytest.fail("the task was called"))
    assert done.code == 2
    assert done.err.startswith("error: ") and done.err.count("\n") == 1
    assert told in done.err
    assert not list(tmp_path.glob("outputs/*/*"))


def test_its_options_are_told_where_it_is_not_chosen():
    assert unknown_option("hydra.sweeper.n_trials").endswith("it is one of sweep=optuna")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2,5,8", optuna.distributions.CategoricalDistribution([2, 5, 8])),
        ("a,null,true,0.5", optuna.distributions.CategoricalDistribution(["a", "null", True, 0.5])),
        ("choice([8],[16,8])", optuna.distributions.CategoricalDistribution(["[8]", "[16,8]"])),
        ("range(2,17)", optuna.distributions.IntDistribution(2, 16)),
        ("range(2,17,5)", optuna.distributions.IntDistribution(2, 12, step=5)),
        ("range(0,1,0.25)", optuna.distributions.FloatDistribution(0, 0.75, step=0.25)),
        ("interval(0,1)", optuna.distributions.FloatDistribution(0, 1)),
        ("int(interval(1,9))", optuna.distributions.IntDistribution(1, 9)),
        ("tag(log,interval(1e-4,1e-2))", optuna.distributions.FloatDistribution(1e-4, 1e-2, log=True)),
        ("tag(log,int(interval(1,64)))", optuna.distributions.IntDistribution(1, 64, log=True)),
        ("shuffle(range(2,5))", optuna.distributions.IntDistribution(2, 4)),
    ],
)
def test_what_may_be_chosen_is_written_as_for_hydra(written, meant):
    from hydra.core.override_parser.overrides_parser import OverridesParser

    from datakiln.cli.search_space import SearchSpace

    space = SearchSpace.read({"x": "range(0,3)", "y": 3}, [f"x={written}", "z=4"], None)
    assert space.chosen == {"x": meant}, "the command line wins"
    assert space.fixed == ["y=3", "z=4"]
    value = meant.choices[0] if hasattr(meant, "choices") else meant.low
    (word, *_) = space.overrides({"x": value})
    back = OverridesParser.create().parse_override(word).value()
    assert back == value or str(back).replace(" ", "") == value


@pytest.mark.journey
def test_a_stopped_sweep_ends_as_one_that_never_was(sweep):
    words = (*WORDS[:3], "hydra.sweeper.n_trials=3")
    whole = sweep(*words)
    assert whole.code == 0 and len(results(whole.folder)) == 3
    first = sweep(*words, task=stopping_at(1))
    assert first.code == 143 and set(results(first.folder)) == {"0-vae-iris"}
    waiting = study(first.folder).trials[1]
    assert waiting.state.name == "RUNNING"
    second = sweep(*words[::-1], "ckpt_path=last")
    assert (second.code, second.err, second.folder) == (0, "", first.folder)
    assert second.out.splitlines()[0].endswith(": 1 of 3 jobs are finished")
    assert values(first.folder) == values(whole.folder), "the same choices, in the same folders"
    assert [trial.state.name for trial in study(first.folder).trials] == ["COMPLETE"] * 3
    assert study(first.folder).trials[1].params == waiting.params
    assert second.out.splitlines()[-1] == whole.out.splitlines()[-1]
    done = sweep(*words, "ckpt_path=last")
    assert done.code == 2 and "no unfinished sweep with" in done.err
    more = sweep(*words[:3], "hydra.sweeper.n_trials=4", "ckpt_path=last")
    assert more.code == 0 and more.folder == first.folder and len(results(first.folder)) == 4


@pytest.mark.slow
def test_a_failed_trial_is_tried_again(sweep):
    def broken(cfg: DictConfig) -> float:
        if Path(cfg.output_dir).name.startswith("1-"):
            raise ValueError("the disk is full")
        return pretend(cfg)

    first = sweep(*WORDS, task=broken)
    assert first.code == 2 and len(results(first.folder)) == 5
    second = sweep(*WORDS, "ckpt_path=last")
    assert (second.code, second.folder) == (0, first.folder)
    assert len(results(first.folder)) == 6 and not list(first.folder.glob("*/error.txt"))
    states = [(trial.user_attrs["job"], trial.state.name) for trial in study(first.folder).trials]
    assert states == [(0, "COMPLETE"), (1, "FAIL"), *((job, "COMPLETE") for job in (2, 3, 4, 5, 1))]
    trials = study(first.folder).trials
    assert trials[1].params == trials[6].params


@pytest.mark.slow
def test_a_torn_journal_and_a_lock_that_nobody_holds_are_mended(sweep):
    first = sweep(*WORDS, task=stopping_at(3))
    journal = first.folder / "study.journal"
    with journal.open("a") as file:
        file.write('{"op_code": 4, "wor')
    (first.folder / "study.journal.lock").symlink_to(journal)
    assert sweep(*WORDS, "ckpt_path=last").code == 0
    assert len(results(first.folder)) == 6


@pytest.mark.slow
def test_trials_in_a_database_and_another_name_for_the_study(sweep, tmp_path):
    words = (*WORDS, f"hydra.sweeper.storage=sqlite:///{tmp_path}/all.db", "hydra.sweeper.study_name=mine")
    first = sweep(*words, task=stopping_at(2))
    assert first.code == 143 and not (first.folder / "study.journal").exists()
    again = sweep(*words)
    assert again.code == 2 and "the study mine is in sqlite:///" in again.err and "ckpt_path=last" in again.err
    assert sweep(*words, "ckpt_path=last").code == 0
    found = optuna.load_study(study_name="mine", storage=f"sqlite:///{tmp_path}/all.db")
    assert [trial.state.name for trial in found.trials] == ["COMPLETE"] * 6


@pytest.mark.parametrize(
    "sampler",
    [
        "random",
        pytest.param("cmaes", marks=pytest.mark.slow),
        pytest.param("gp", marks=pytest.mark.slow),
        pytest.param("{_target_:optuna.samplers.QMCSampler,seed:3}", marks=pytest.mark.slow),
    ],
)
def test_every_sampler_chooses(sweep, sampler):
    done = sweep(*WORDS[:3], "seed=range(0,3)", f"hydra.sweeper.sampler={sampler}", "hydra.sweeper.n_trials=6")
    assert (done.code, done.err) == (0, "")
    assert len(set(values(done.folder).values())) > 2


@pytest.mark.journey
def test_a_pruned_trial_is_no_failure(sweep):
    words = (*WORDS[:3], "hydra.sweeper.n_trials=16", "epochs=4", "hydra.sweeper.pruner=median")
    words = (*words, "hydra.sweeper.prune_after=2")
    done = sweep(*words, task=pretend_to_learn)
    assert (done.code, done.err) == (0, "")
    pruned = {path.parent.name for path in done.folder.glob("*/pruned.txt")}
    assert 0 < len(pruned) < 11, "the first five are never pruned"
    assert set(results(done.folder)) | pruned == {f"{i}-vae-iris" for i in range(16)}
    assert not list(done.folder.glob("*/error.txt"))
    lines = [line for line in done.out.splitlines() if "pruned after epoch 2: val/loss" in line]
    assert len(lines) == len(pruned)
    assert f"best of 16 trials, {len(pruned)} of them pruned: latent_dim=9 (" in done.out
    states = {f"{trial.user_attrs['job']}-vae-iris": trial.state.name for trial in study(done.folder).trials}
    assert {name for name, state in states.items() if state == "PRUNED"} == pruned
    assert (done.folder / "comparison.html").is_file()
    assert sweep(*words, "ckpt_path=last").code == 2, "nothing is left to do"


@pytest.mark.slow
def test_a_pruned_trial_is_not_run_again(sweep):
    """Not even where a kill came before the study was told."""

    def killed(cfg: DictConfig) -> float:
        if (job := Path(cfg.output_dir)).name.startswith("1-"):
            (job / "pruned.txt").write_text("latent_dim=3\npruned after epoch 2: val/loss 3\n")
        return stopping_at(1)(cfg)

    def rest(cfg: DictConfig) -> float:
        assert not Path(cfg.output_dir).name.startswith(("0-", "1-"))
        return pretend(cfg)

    first = sweep(*WORDS, task=killed)
    assert study(first.folder).trials[1].state.name == "RUNNING"
    done = sweep(*WORDS, "ckpt_path=last", task=rest)
    assert (done.code, done.err, done.folder) == (0, "", first.folder)
    assert done.out.splitlines()[1].startswith("[2/6] latent_dim=") and "pruned before" in done.out
    assert [trial.state.name for trial in study(done.folder).trials] == ["COMPLETE", "PRUNED", *["COMPLETE"] * 4]


@pytest.mark.journey
def test_nothing_but_pruned_trials(sweep):
    pruner = "hydra.sweeper.pruner={_target_:optuna.pruners.ThresholdPruner,upper:-1}"
    done = sweep(*WORDS, "epochs=2", pruner, task=pretend_to_learn)
    assert done.code == 2
    assert done.err == "error: all 6 jobs were pruned; let them train longer, or add hydra.sweeper.pruner=none\n"


@pytest.mark.slow
def test_pruning_goes_by_the_monitor_also_where_more_of_the_objective_is_better(sweep):
    words = (*WORDS[:3], "hydra.sweeper.n_trials=16", "epochs=4", "hydra.sweeper.pruner=median")
    words = (*words, "hydra.sweeper.prune_after=2", "objective=quality", "hydra.sweeper.direction=maximize")
    done = sweep(*words, task=pretend_to_learn)
    assert done.code == 0
    trials = study(done.folder).trials
    pruned = [trial for trial in trials if told(trial)[1] == "PRUNED"]
    assert pruned
    for trial in trials:
        before = [abs(size - 9) for size, state in map(told, trials[: trial.number]) if state == "COMPLETE"]
        size, state = told(trial)
        if state == "PRUNED":
            assert abs(size - 9) > median(before), "a worse loss than most, though a higher objective"


@pytest.mark.slow
def test_parallel_trials_are_pruned_by_their_storage(sweep):
    words = (*WORDS[:3], "hydra.sweeper.n_trials=14", "epochs=4", "hydra.sweeper.pruner=median")
    words = (*words, "hydra.sweeper.prune_after=2", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    done = sweep(*words, task=pretend_to_learn)
    assert (done.code, done.err) == (0, "")
    states = [trial.state.name for trial in study(done.folder).trials]
    assert len(states) == 14 and set(states) == {"COMPLETE", "PRUNED"}


TINY = ["model=vae", "data=iris", "epochs=4", "metrics.table=null", "+model.hidden=[8]", "watch.table=null"]


def losses(folder: Path) -> list[str]:
    with (folder / "metrics.csv").open(newline="") as file:
        return [row["val/loss"] for row in csv.DictReader(file)]


def test_a_real_run_is_pruned_after_a_measurement_and_leaves_its_state(tmp_path):
    from datakiln.api.launch import train

    asked: list[tuple[int, float]] = []

    def judge(epochs: int, score: float) -> bool:
        asked.append((epochs, score))
        return epochs == 2

    with judged_by(judge), pytest.raises(Pruned, match="pruned after epoch 2: val/loss "):
        train(TINY, tmp_path)
    assert [epochs for epochs, _ in asked] == [1, 2]
    assert losses(tmp_path) == [repr(score) for _, score in asked]
    assert (tmp_path / "checkpoints" / "last.ckpt").is_file()
    assert not (tmp_path / "result.json").exists()


@pytest.mark.slow
def test_being_judged_changes_no_figure(tmp_path):
    from datakiln.api.launch import train

    train(TINY, tmp_path / "alone")
    with judged_by(lambda epochs, score: False):
        train(TINY, tmp_path / "judged")
    assert losses(tmp_path / "alone") == losses(tmp_path / "judged") and len(losses(tmp_path / "alone")) == 4


@pytest.mark.slow
def test_the_best_is_kept_beside_the_trials(sweep):
    done = sweep(*WORDS)
    best = OmegaConf.load(done.folder / "optimization_results.yaml")
    found = min(result["objective"]["value"] for result in results(done.folder).values())
    assert best.best_value == found
    assert json.loads((done.folder / "study.journal").read_text().splitlines()[0])["study_name"] == "sweep"
