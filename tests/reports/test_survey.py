"""The survey's page: places, scores, agreement, and what runs with known answers come to."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from datakiln.cli.survey_sweeper import length, rates
from datakiln.errors import UserError
from datakiln.reports.comparison import Failure, collect
from datakiln.reports.survey.cells import Cell, cells_of, family_of
from datakiln.reports.survey.measures import DIMENSIONS, Measured, measure
from datakiln.reports.survey.opinion import OPINIONS, standing
from datakiln.reports.survey.page import survey_of, write_survey
from datakiln.reports.survey.scale import (
    area,
    by_chance,
    interval,
    log_place,
    pairs_alike,
    place,
    resampled,
    score,
    spearman,
)
from datakiln.reports.watched import Curve, curve_of, watched_plots
from datakiln.results import NOT_OFFERED, Objective, RunResult, Score, Source

ROOT = Path(__file__).resolve().parents[2]
CLASSES = {
    "tvae": "datakiln.models.vae.tvae.TVAE",
    "ctgan": "datakiln.models.gan.ctgan.CTGAN",
    "tabar": "datakiln.models.autoregressive.tabar.TabAR",
}


def leave(root: Path, model: str, seed: int, auc: float | None, recall: float = 0.4, lr: float | None = None) -> Path:
    """A run's folder with a two-sample AUC between a floor of 1 and a ceiling of 0.5."""
    folder = root / f"{len(list(root.glob('*')))}-{model}-adult"
    words = [f"model={model}", "data=adult", f"seed={seed}", *([f"model.optimizer.lr={lr}"] if lr else [])]
    figures = [
        Score("twosample/boosting_auc", auc, "lower", floor=1.0, ceiling=0.5, why="" if auc else "came out as nan"),
        Score("fidelity/beta_recall", recall, "higher", floor=0.0, ceiling=0.5),
        Score("utility/tstr_auc", 0.9, "higher", floor=0.5, ceiling=0.95, floor_range=[0.4, 0.6]),
    ]
    result = RunResult(
        model=model, data="adult", seed=seed, provenance=Source("files", "adult", "0" * 64), overrides=words,
        objective=Objective("twosample/boosting_auc", auc), figures=figures, n_synthetic=100,
        fit_cpu_seconds=10.0, cpu_seconds={"sample": 0.5 if model == "tvae" else 5.0}, peak_memory_mb=500.0,
        machine={"cpu": "a processor"}, n_steps=10,
    )  # fmt: skip
    (folder / "config").mkdir(parents=True)
    config = f"model:\n  _target_: {CLASSES[model]}\n  optimizer:\n    lr: {lr or 0.001}\n"
    (folder / "config" / "config.yaml").write_text(config)
    result.save(folder / "result.json")
    return folder


def named(measured, dimension, start, model="tvae"):
    (found,) = [one for one in measured if one.dimension == dimension and one.name.startswith(start) and
                one.cell.model == model]  # fmt: skip
    return found


def test_places_and_scores():
    assert place(0.75, 1.0, 0.5) == 0.5 and place(2.0, 1.0, 1.0) is None
    assert [score(at) for at in (-3.0, 0.0, 0.5, 1.0, 7.0)] == [1.0, 1.0, 5.5, 10.0, 10.0]
    assert log_place(10.0, [1.0, 10.0, 100.0], higher=True) == pytest.approx(0.5)
    assert log_place(1.0, [1.0, 100.0], higher=False) == pytest.approx(1.0)
    assert log_place(1.0, [1.0, 1.0], higher=True) is None


def test_the_interval_is_students():
    low, high = interval([1.0, 2.0, 3.0]) or (0.0, 0.0)
    assert (low, high) == (
        pytest.approx(2 - 4.302653 / 3**0.5, abs=1e-5),
        pytest.approx(2 + 4.302653 / 3**0.5, abs=1e-5),
    )
    assert interval([1.0]) is None


def test_the_area_of_steps():
    assert area([(0.0, 1.0)], 10.0) == 1.0
    assert area([(5.0, 1.0)], 10.0) == 0.5, "nothing before its first value"
    assert area([(0.0, 0.2), (5.0, 0.6), (20.0, 1.0)], 10.0) == pytest.approx(0.4), "what comes later does not count"
    assert area([], 10.0) == 0.0


def test_rank_correlation_and_how_little_three_families_tell():
    assert spearman([1, 2, 3], [10, 20, 40]) == pytest.approx(1.0) and spearman([1, 2, 3], [3, 2, 1]) == pytest.approx(
        -1
    )
    assert spearman([1, 1, 1], [1, 2, 3]) is None and spearman([1], [1]) is None
    assert spearman([1.0, 2.0, 3.0], [7, 9, 7]) == pytest.approx(0.0)
    assert by_chance([1, 2, 3], [4, 5, 6]) == pytest.approx(1 / 6)
    assert by_chance([1, 2, 3], [6, 5, 4]) == 1.0
    assert resampled([[1.0, 1.1], [5.0, 5.1], [9.0, 9.1]], [1, 2, 3]) == (pytest.approx(1.0), pytest.approx(1.0))
    assert resampled([[1.0], [5.0, 5.1]], [1, 2]) is None
    low, high = resampled([[1.0, 9.0], [1.0, 9.0], [1.0, 9.0]], [1, 2, 3]) or (0.0, 0.0)
    assert low < -0.5 and high > 0.5
    assert pairs_alike([1, 2, 3], [7, 9, 7]) == (1, 2)


def test_runs_are_sorted_by_family_rate_and_seed(tmp_path):
    for seed in (1, 0):
        leave(tmp_path, "tvae", seed, 0.75)
    leave(tmp_path, "tvae", 0, 0.6, lr=0.004)
    leave(tmp_path, "tvae", 0, 0.8, lr=0.00025)
    leave(tmp_path, "ctgan", 0, 1.0)
    runs, _ = collect([tmp_path])
    lost = Failure(tmp_path, "model=ctgan data=adult seed=1", "it broke")
    vae, gan = sorted(cells_of(runs, [lost]), key=lambda cell: cell.model, reverse=True)
    assert (vae.family, vae.kind, [run.result.seed for run in vae.runs], list(vae.rates)) == (
        "vae",
        "table",
        [0, 1],
        [0.25, 4],
    )
    assert (gan.family, len(gan.runs), len(gan.failures)) == ("gan", 1, 1)


def test_a_model_of_which_every_job_failed_is_shown(tmp_path):
    for seed in (0, 1):
        leave(tmp_path, "tvae", seed, 0.75)
    runs, _ = collect([tmp_path])
    folder = tmp_path / "lost"
    (folder / "config").mkdir(parents=True)
    (folder / "config" / "config.yaml").write_text(f"model:\n  _target_: {CLASSES['ctgan']}\n")
    lost = [Failure(folder, f"model=ctgan data=adult seed={seed}", "it broke") for seed in (0, 1)]
    cells = cells_of(runs, lost)
    assert [(cell.model, cell.family, cell.kind) for cell in cells] == [
        ("tvae", "vae", "table"),
        ("ctgan", "gan", "table"),
    ]
    measured = measure(cells)
    share = named(measured, "training stability", "share of runs diverged or collapsed", "ctgan")
    assert share.median == 1.0 and share.score == 1.0
    assert all(one.why for one in measured if one.cell.model == "ctgan" and one is not share)
    write_survey(survey_of(runs, lost), tmp_path)
    assert "ctgan" in (tmp_path / "survey.html").read_text()


def test_a_config_that_would_grow_without_end_names_no_family(tmp_path):
    (tmp_path / "config").mkdir()
    grown = "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30))
    text = f"a0: &a0 [x]\n{grown}model:\n  _target_: *a29\n"
    (tmp_path / "config" / "config.yaml").write_text(text)
    assert family_of(tmp_path) == "other"
    (tmp_path / "config" / "config.yaml").write_text("model:\n  _target_: datakiln.models.\n")
    assert family_of(tmp_path) == "other"


@pytest.mark.parametrize("row", ["9,x", "1.5,0.2", "9", "9,nan", "9,1,2,3", "9" * 400 + ",1", "9," + "1" * 200_000])
def test_a_curve_that_no_run_wrote_is_not_measured(tmp_path, row):
    folder = leave(tmp_path, "tvae", 0, 0.75)
    (run,), _ = collect([tmp_path])
    (folder / "metrics.csv").write_text("step,val/fidelity\n5,0.5\n")
    assert curve_of(run, "val/fidelity") == Curve([(5.0, 0.5)])
    (folder / "metrics.csv").write_text(
        "step,val/fid/a/n500,val/fid/a/n1900,val/fid/a/n2000\n1,9.0,,\n2,,7.0,\n3,,,\n5,,,8.0\n"
    )
    assert curve_of(run, "val/fid") == Curve([(2.0, 7.0), (5.0, 8.0)], 2000), "an FID of far fewer is another figure"
    (folder / "metrics.csv").write_text(f"step,val/fidelity\n{row}\n")
    assert curve_of(run, "val/fidelity") == Curve([])


def test_an_fid_of_few_samples_stands_between_no_ends_and_is_told_in_the_plot(tmp_path):
    for model, n in (("ctgan", 128), ("tvae", 2000)):
        folder = leave(tmp_path, model, 0, 0.75)
        result = json.loads((folder / "result.json").read_text())
        fid = {**result["figures"][0], "name": f"fid/a/n{n}", "value": 50.0, "floor": 100.0, "ceiling": 0.0}
        result |= {"figures": [fid], "n_synthetic": 2500}
        (folder / "result.json").write_text(json.dumps(result))
        (folder / "metrics.csv").write_text(f"step,val/fid/a/n{n}\n1,90.0\n5,60.0\n10,50.0\n")
    cells = cells_of(collect([tmp_path])[0])
    found = {cell.model: named(measure(cells), "computational efficiency", "area", cell.model) for cell in cells}
    assert found["tvae"].median == pytest.approx(0.1 * 0.4 + 0.4 * 0.5 + 0.5 * 0)  # from 1, 5 and 10 seconds of 10
    assert found["ctgan"].median is None and "too few samples" in found["ctgan"].why
    (plot,) = watched_plots({cell.model: cell.runs for cell in cells})
    lines = {series.label: series.line for series in plot.series}
    assert set(lines) == {"ctgan (n = 128)", "tvae"} and len(lines["tvae"].split()) == 3
    assert plot.x_ticks[0].text == "0" and plot.figure == "val/fid"
    assert not watched_plots({"tvae": []})


def test_a_steady_trainer_and_one_that_diverges_and_collapses(tmp_path):
    for seed in range(3):
        leave(tmp_path, "tvae", seed, 0.5)
    leave(tmp_path, "tvae", 0, 0.5, lr=0.004)
    leave(tmp_path, "ctgan", 0, 0.75)
    leave(tmp_path, "ctgan", 1, None)  # its samples could not be told from anything
    leave(tmp_path, "ctgan", 2, 1.0, recall=0.01)  # one sample again and again
    leave(tmp_path, "ctgan", 0, 0.5, lr=0.004)
    runs, _ = collect([tmp_path])
    found = measure(cells_of(runs, [Failure(tmp_path, "model=ctgan data=adult seed=3", "NaN")]))
    stability = "training stability"
    assert [named(found, stability, start).score for start in ("spread", "share", "regret")] == [10.0, 10.0, 10.0]
    assert named(found, stability, "share", "ctgan").median == pytest.approx(3 / 5)
    assert named(found, stability, "spread", "ctgan").median == pytest.approx(0.5)
    assert named(found, stability, "regret", "ctgan").median == pytest.approx(0.5), "another rate reaches the ceiling"
    (quality,) = [one for one in found if one.name == "twosample/boosting_auc" and one.cell.model == "ctgan"]
    assert quality.values == {0: 0.75, 2: 1.0} and quality.median == 0.875


def test_what_tells_nothing_says_so_and_has_no_score(tmp_path):
    for seed, auc in enumerate((0.4, 1.1)):
        leave(tmp_path, "tvae", seed, auc)
    found = measure(cells_of(collect([tmp_path])[0]))
    quality = named(found, "data quality", "twosample/boosting_auc")
    assert quality.covers and quality.score is None
    assert standing([quality]).blind and "covers floor to ceiling" in standing([quality]).why
    lacking = named(found, "latent space", "latent space")
    assert lacking.why and not lacking.values and not standing([lacking]).blind


def test_hidden_states_are_shown_beside_the_latent_space_and_have_no_score(tmp_path):
    leave(tmp_path, "tvae", 0, 0.75)
    path = next(tmp_path.glob("*/result.json"))
    result = RunResult.load(path)
    result.figures += [
        Score("latent/probe_r2", None, why="TabAR has no latent space to go about in"),
        Score("latent/hidden_probe", 0.8, "higher", ceiling=1.0, floor=0.1),
    ]
    result.save(path)
    found = measure(cells_of(collect([tmp_path])[0]))
    hidden = named(found, "latent space", "latent/hidden_probe")
    assert hidden.median == 0.8 and hidden.score is None and "no latents" in hidden.blind
    assert named(found, "latent space", "latent/probe_r2").why


@pytest.mark.parametrize("floor", [0.0, None], ids=["as tables have it", "as series have none"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.51, 1.0])
def test_copies_count_against_and_their_absence_does_not_count(tmp_path, share, floor):
    leave(tmp_path, "tvae", 0, 0.75)
    path = next(tmp_path.glob("*/result.json"))
    result = RunResult.load(path)
    if floor is None:  # and no repeated draws of real ones
        real = Score("privacy/copies", share, "lower", ceiling=0.02)
    else:
        real = Score("privacy/copies", share, "lower", floor=floor, ceiling=0.01, ceiling_range=[0.0, 0.02])
    result.figures.append(real)
    result.save(path)
    found = named(measure(cells_of(collect([tmp_path])[0])), "diversity", "privacy/copies")
    assert found.values == {0: share} and (found.floor, found.ceiling) == (1.0, 0.02)
    if share <= 0.02:
        assert found.score is None and "only count against" in found.blind
    else:
        assert found.score == pytest.approx(1 + 9 * (1 - share) / 0.98)


def test_a_use_that_is_not_offered_beats_nothing_and_one_not_measured_is_left_out(tmp_path):
    leave(tmp_path, "tvae", 0, 0.75)
    path = next(tmp_path.glob("*/result.json"))
    result = RunResult.load(path)
    result.figures += [
        Score("uses/filling_error", None, why=f"{NOT_OFFERED}: TVAE cannot be told columns"),
        Score("uses/balancing", None, why="not computed: a label of three classes"),
        Score("gain/rows_auc", 0.01, "higher", ceiling=0.02, floor=0.0),
        Score("control/met", 0.9, "higher", ceiling=1.0, floor=0.2, floor_range=[0.1, 0.3]),
    ]
    result.save(path)
    found = measure(cells_of(collect([tmp_path])[0]))
    filling, balancing, conditions = (
        named(found, "applications", name) for name in ("fill", "balancing", "conditions")
    )
    assert filling.values == {0: 0.0} and "cannot be told columns" in filling.reference
    assert not balancing.values and balancing.why == "not computed: a label of three classes"
    assert conditions.values == {0: 1.0} and named(found, "flexibility and control", "control/met").values == {0: 0.9}
    assert "no equal terms" in named(found, "data augmentation", "gain/rows_auc").reference
    (tmp_path / "other").mkdir()
    leave(tmp_path / "other", "tvae", 0, 0.75)
    plain = measure(cells_of(collect([tmp_path / "other"])[0]))
    why = named(plain, "data augmentation", "data augmentation").why
    assert why.startswith("its runs had no measure_uses=true")


def test_costs_are_placed_between_the_models_that_were_run(tmp_path):
    leave(tmp_path, "tvae", 0, 0.5)
    leave(tmp_path, "ctgan", 0, 0.5)
    found = measure(cells_of(collect([tmp_path])[0]))
    assert named(found, "computational efficiency", "samples").score == 10.0
    assert named(found, "computational efficiency", "samples", "ctgan").score == 1.0
    assert named(found, "computational efficiency", "peak").blind, "both took the same"


def test_the_page_and_the_table_trace_every_value_to_a_folder(tmp_path):
    for seed in range(2):
        for model, auc in (("tvae", 0.6), ("ctgan", 0.55), ("tabar", 0.57)):
            leave(tmp_path, model, seed, auc + 0.01 * seed)
    runs, failures = collect([tmp_path])
    table, first, page = write_survey(survey_of(runs, failures), tmp_path)
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    measured = [row for row in rows if row["measure"] != "score"]
    assert all((row["score"] == "") == (row["why not"] != "") for row in measured), "a score, or the reason for none"
    for row in measured:
        assert row["runs"] and all((tmp_path / folder / "result.json").is_file() for folder in row["runs"].split())
    opinions = {(row["dimension"], row["family"]): row["opinion"] for row in rows if row["measure"] == "score"}
    assert opinions["data quality", "gan"] == "9" and len(opinions) == 3 * len(DIMENSIONS)
    (quality,) = [a for a in survey_of(runs).agreements if a.dimension == "data quality"]
    assert (
        quality.correlation == pytest.approx(1.0) and quality.chance == pytest.approx(1 / 6) and quality.pairs == (3, 3)
    )
    head, rule, *lines = first.read_text().splitlines()
    assert len(lines) == len(DIMENSIONS) and {line.count("|") for line in (head, rule, *lines)} == {5}
    said = {
        row["family"]: row["score"] for row in rows if (row["dimension"], row["measure"]) == ("data quality", "score")
    }
    assert [float(said[name]) for name in ("gan", "vae", "autoregressive")] == pytest.approx(
        [float(cell) for cell in re.findall(r"\| ([\d.]+), ", lines[0])], abs=0.05
    ), "the first table says what the CSV does"
    assert "(opinion 9)" in lines[0]
    text = page.read_text()
    assert "not measured" in text and "one of six" in text
    targets = set(re.findall(r'href="#(run\d+)"', text))
    assert targets == set(re.findall(r'id="(run\d+)"', text)) == {f"run{i}" for i in range(1, 7)}


def test_the_opinions_are_those_of_the_survey():
    assert tuple(OPINIONS) == DIMENSIONS
    assert [sum(row) for row in zip(*OPINIONS.values(), strict=True)] == [51, 63, 57]


def test_an_area_is_over_the_time_of_the_slowest_and_of_curves_that_begin_early(tmp_path):
    """Of two fits of 10 and 40 seconds, each with its figure at once, the shorter one is good for nearly all of it."""
    for model, seconds, steps in (("tvae", 10.0, (1, 10)), ("ctgan", 40.0, (1, 10)), ("tabar", 40.0, (10,))):
        folder = leave(tmp_path, model, 0, 0.5)
        result = json.loads((folder / "result.json").read_text())
        result["fit_cpu_seconds"] = seconds
        watched = {**result["figures"][0], "name": "watch/fidelity", "floor": 0.5, "ceiling": 1.0, "better": "higher"}
        result["figures"].append(watched)
        (folder / "result.json").write_text(json.dumps(result))
        rows = "".join(f"{step},0.75\n" for step in steps)
        (folder / "metrics.csv").write_text(f"step,val/fidelity\n{rows}")
    found = measure(cells_of(collect([tmp_path])[0]))
    area = [named(found, "computational efficiency", "area under", model) for model in ("tvae", "ctgan", "tabar")]
    assert [one.median for one in area] == [pytest.approx(0.5 * 39 / 40), pytest.approx(0.5 * 36 / 40), None]
    assert "not watched from early on" in area[2].why
    for file in tmp_path.glob("*/result.json"):
        result = json.loads(file.read_text())
        result["figures"][-1] |= {"floor_range": [0.4, 0.8], "ceiling_range": [0.7, 1.0]}
        file.write_text(json.dumps(result))
    found = measure(cells_of(collect([tmp_path])[0]))
    assert named(found, "computational efficiency", "area under").median is None, "chance covers floor to ceiling"


def test_no_interval_reaches_where_no_value_can_be():
    one = Measured(Cell("m", "d", "gan", "table"), "diversity", "a", {0: 0.01, 1: 0.5, 2: 0.99}, low=0.0, high=1.0)
    assert one.interval == (0.0, 1.0)
    free = Measured(one.cell, "diversity", "a", one.values)
    assert free.interval is not None and free.interval[0] < -0.5 and free.interval[1] > 1.5


def test_learning_rates_are_multiplied_where_there_are_any():
    assert rates("tvae", 4) == ["model.optimizer.lr=0.004"]
    assert rates("dcgan", 0.25) == ["model.generator_optimizer.lr=5e-05", "model.critic_optimizer.lr=5e-05"]
    assert rates("copula", 4) == []


def test_a_model_that_is_fitted_in_closed_form_keeps_its_length():
    assert length("ppca") == ["epochs=1"] and length("copula") == ["epochs=15"] and length("dcgan") == []


def test_nothing_to_survey_is_refused():
    with pytest.raises(UserError, match="sweep=survey"):
        cells_of([])


@pytest.mark.slow
def test_two_models_from_the_sweep_to_the_page(tmp_path):
    words = [
        "survey.budget=10s",
        "survey.models=[tvae,copula]",
        "survey.data=[toy]",
        "survey.seeds=[0]",
        "survey.rates=[4]",
    ]
    command = [sys.executable, "-m", "src.train", "sweep=survey", *words, f"root={tmp_path}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src")}
    options = {"cwd": ROOT, "env": environment, "capture_output": True, "text": True, "timeout": 300, "check": False}
    done = subprocess.run(command, **options)
    assert done.returncode == 0, done.stderr
    (folder,) = tmp_path.glob("*/*-sweep")
    page = (folder / "survey.html").read_text()
    assert {path.parent.name for path in folder.glob("*/result.json")} == {"0-tvae-toy", "1-tvae-toy", "2-copula-toy"}
    assert "statistical" in page and "× 4" in page and "0-tvae-toy" in page
    seconds = [json.loads(path.read_text())["fit_cpu_seconds"] for path in folder.glob("*-tvae-*/result.json")]
    assert all(3 < value < 20 for value in seconds), "about the budget, as the runs measured it"
    (folder / "2-copula-toy" / "result.json").unlink()  # as if it had been stopped there
    again = subprocess.run([*command, "ckpt_path=last"], **options)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("finished before") == 2 and (folder / "2-copula-toy" / "result.json").exists()
