"""result.json and the comparison of many runs."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from datakiln.cli.report import main
from datakiln.console import Console
from datakiln.data.tables.types import ColumnRow
from datakiln.errors import UserError
from datakiln.jobs.announce import announce_result, columns_table
from datakiln.reports.comparison import COSTS, collect, compare, csv_text, write_comparison
from datakiln.reports.groups import spread_text
from datakiln.reports.terminal import lacking
from datakiln.results import (
    Objective,
    RunResult,
    Score,
    Source,
    Trial,
    headlines,
    machine,
    package_versions,
    peak_memory_mb,
)
from datakiln.storage import replacing

ROOT = Path(__file__).resolve().parents[2]


def run(folder, auc=0.5, seed=0, **changes):
    """Saves the result of a run and returns it; its objective is utility/auc, higher is better."""
    values = {
        "model": "vae", "data": "iris", "seed": seed, "provenance": Source("files", "x.csv", "ab" * 32),
        "figures": [Score("utility/auc", auc, "higher", 0, 1, 0.9, 0.5), Score("fidelity/error", 1 - auc, "lower")],
        "objective": Objective("utility/auc", auc, "higher"), "created": f"2025-01-01T00:00:{seed:02d}+00:00",
    }  # fmt: skip
    result = RunResult(**{**values, **changes})
    folder.mkdir(parents=True)
    result.save(folder / "result.json")
    return result


@pytest.fixture
def sweep(tmp_path):
    """Two latent dimensions with three seeds each, the larger one better."""
    for dim, base in ((2, 0.6), (8, 0.8)):
        for seed in range(3):
            run(tmp_path / f"{dim}-{seed}", base + 0.01 * seed, seed, overrides=[f"latent_dim={dim}", f"seed={seed}"])
    return tmp_path


def comparison(*paths, **options):
    return compare(*collect(paths), **options)


def test_a_result_survives_its_file(tmp_path):
    score = Score("a/b", 0.5, "higher", 0, 1, detail={"x": 1.0, "y": None}, ideal=0.5, n=3, note="n")
    score.trials, score.finding = [Trial("a", "b", {"AUC": [0.5, 0.4, 0.6]}, {"members": 3}, "")], "weak"
    saved = run(tmp_path / "r", figures=[score], wall_seconds={"fit": 1.5}, best_epoch=3, machine=machine())
    assert RunResult.load(tmp_path / "r" / "result.json") == saved


def test_the_file_is_strict_json(tmp_path):
    figures = [
        Score("a/b", float("nan"), detail={"x": float("inf"), "y": np.float32(0.5)}),
        Score("a/c", np.float64(1.5)),
    ]
    run(tmp_path / "r", figures=figures, fit_cpu_seconds=float("nan"))
    text = (tmp_path / "r" / "result.json").read_text()
    state = json.loads(text, parse_constant=lambda token: pytest.fail(f"{token} in the file"))
    assert state["figures"][0]["value"] is None and state["figures"][0]["why"] == "came out as nan"
    assert state["figures"][0]["detail"] == {"x": None, "y": 0.5} and state["figures"][1]["value"] == 1.5
    assert [path.name for path in (tmp_path / "r").iterdir()] == ["result.json"]


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "r" / "result.json"
    result, old = run(path.parent), path.read_text()
    with path.open() as reader:  # a reader keeps the file it opened
        result.model = "other"
        result.save(path)
        assert reader.read() == old
    assert RunResult.load(path).model == "other"
    with pytest.raises(RuntimeError), replacing(path) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert RunResult.load(path).model == "other" and list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no JSON"),
        ('{"model": "vae", ', "no JSON"),
        ('{"model": NaN}', "the token NaN"),
        ("[]", "the whole file is"),
        ('{"format": 99}', "format 99 is newer"),
        ('{"model": "vae"}', "data is missing"),
        ('{"model": "vae", "data": "d", "seed": "x", "provenance": {}}', "seed is"),
        ('{"model": "vae", "data": "d", "seed": true, "provenance": {}}', "seed is true"),
        ('{"model": "vae", "data": "d", "seed": 1, "provenance": {"kind": "k"}}', "provenance.detail is missing"),
        (
            '{"model": "m", "data": "d", "seed": 1, "provenance": {"kind": "k", "detail": "", "sha256": ""},'
            ' "figures": [{"name": "a", "value": "high"}]}',
            "figures[0].value is",
        ),
        (
            '{"model": "m", "data": "d", "seed": 1, "provenance": {"kind": "k", "detail": "", "sha256": ""},'
            ' "figures": [{"name": "a", "value": 1, "better": "up"}]}',
            'better is "up"',
        ),
    ],
)
def test_a_bad_file_is_told_in_one_line(tmp_path, text, said):
    path = tmp_path / "result.json"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        RunResult.load(path)
    assert said in str(error.value) and str(path) in str(error.value) and "\n" not in str(error.value)


def test_a_missing_file_is_told_in_one_line(tmp_path):
    with pytest.raises(UserError, match=r"gone\.json: cannot be read"):
        RunResult.load(tmp_path / "gone.json")


def test_standing_lies_between_floor_and_ceiling():
    assert Score("a", 0.75, "higher", ceiling=1.0, floor=0.5).standing == pytest.approx(0.5)
    assert Score("a", 0.2, "lower", ceiling=0.1, floor=0.5).standing == pytest.approx(0.75)
    assert Score("a", 0.4, "higher", ceiling=1.0, floor=0.5).standing < 0
    # closeness to the ideal counts: 0.4 is as far from 0.5 as 0.6
    assert Score("a", 0.4, "lower", ceiling=0.5, floor=0.9, ideal=0.5).standing == pytest.approx(0.75)
    assert Score("a", 0.4, "lower", ceiling=0.2, floor=0.6, ideal=0.5).standing is None
    for other in (
        Score("a", None, "higher", ceiling=1.0, floor=0.5),
        Score("a", 0.5, "none", ceiling=1.0, floor=0.5),
        Score("a", 0.5, "higher", ceiling=0.5, floor=0.5),
        Score("a", 0.5, "higher", ceiling=0.4, floor=0.5),
        Score("a", 0.5, "lower", ceiling=0.6, floor=0.5),
        Score("a", 0.5, "higher", floor=0.5),
    ):
        assert other.standing is None


def test_headlines_take_the_first_of_each_group_with_a_direction():
    names = ["a/1", "a/2", "a/3", "b/1", "b/x"]
    scores = [Score(name, 1.0, "none" if name == "a/1" else "higher") for name in names]
    assert [score.name for score in headlines(scores, 1)] == ["a/2", "b/1"]


def test_memory_and_machine_are_measured():
    code = "from datakiln.results import *; a = peak_memory_mb(); b = b'x' * 150_000_000; print(a, peak_memory_mb())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    before, after = map(float, done.stdout.split())
    assert 140 < after - before < 160 and peak_memory_mb() > 10
    assert machine()["cores"] >= 1 and machine()["device"] == "cpu"
    versions = package_versions()
    assert versions["numpy"] == np.__version__ and versions["python"] == sys.version.split()[0]


def test_runs_are_grouped_over_seeds_and_ranked(sweep):
    table = comparison(sweep)
    assert table.keys == ["model", "data", "latent_dim"] and table.objective == "utility/auc"
    best, worst = table.groups
    assert best.key["latent_dim"] == "8" and [r.result.seed for r in best.runs] == [0, 1, 2]
    auc = worst.figures["utility/auc"]
    assert (auc.mean, auc.median, auc.n) == (pytest.approx(0.61), pytest.approx(0.61), 3)
    assert auc.deviation == pytest.approx(0.01)  # of 0.60, 0.61, 0.62 with n - 1
    assert table.is_best(best, "utility/auc") and table.is_best(best, "fidelity/error")
    assert not table.is_best(worst, "utility/auc")


def test_a_lower_objective_ranks_the_other_way(sweep):
    for path in sweep.rglob("result.json"):
        result = RunResult.load(path)
        result.objective = Objective("fidelity/error", result.figures[1].value, "lower")
        result.save(path)
    assert [group.key["latent_dim"] for group in comparison(sweep).groups] == ["8", "2"]
    for path in sweep.rglob("result.json"):
        result = RunResult.load(path)
        result.objective = Objective("utility/auc", result.figures[0].value, "lower")
        result.save(path)
    assert [group.key["latent_dim"] for group in comparison(sweep).groups] == ["2", "8"]


def test_models_and_data_sets_never_share_a_row(tmp_path):
    run(tmp_path / "a")
    run(tmp_path / "b", model="tvae")
    run(tmp_path / "c", data="wine", auc=0.1)
    run(tmp_path / "d", stand_in=True, provenance=Source("stand-in", "simulated", "cd" * 32))
    table = comparison(tmp_path)
    assert [group.label for group in table.groups] == ["tvae, iris", "vae, iris", "vae, iris (stand-in)", "vae, wine"]
    assert not table.is_best(table.groups[3], "utility/auc")  # alone on its data: no contest
    assert [group.is_stand_in for group in table.groups] == [False, False, True, False]


def test_changed_data_is_another_row_but_generated_data_is_not(tmp_path):
    run(tmp_path / "a", seed=0)
    run(tmp_path / "b", seed=1, provenance=Source("files", "x.csv", "cd" * 32))
    assert [group.key["content"] for group in comparison(tmp_path).groups] == ["abababab", "cdcdcdcd"]
    run(tmp_path / "g" / "a", data="toy", seed=0, provenance=Source("generated", "", "11"))
    run(tmp_path / "g" / "b", data="toy", seed=1, provenance=Source("generated", "", "22"))
    (group,) = comparison(tmp_path / "g").groups
    assert len(group.runs) == 2 and "content" not in group.key


def test_options_that_change_nothing_learnt_do_not_split_a_group(tmp_path):
    run(tmp_path / "a", seed=0, overrides=["logger=csv", "hydra.run.dir=x", "output_dir=y", "model=vae"])
    run(tmp_path / "b", seed=1, overrides=["logger=wandb", "+debug=true"])
    (group,) = comparison(tmp_path).groups
    assert group.key == {"model": "vae", "data": "iris"}
    run(tmp_path / "c", seed=1, overrides=["+model.beta=2"])
    assert {group.key["model.beta"] for group in comparison(tmp_path).groups} == {"(default)", "2"}


def test_a_repeated_run_counts_once_and_the_newest_wins(tmp_path):
    run(tmp_path / "old", 0.1, created="2025-01-01T00:00:00+00:00")
    run(tmp_path / "new", 0.9, created="2025-01-02T00:00:00+00:00")
    table = comparison(tmp_path, tmp_path / "new")  # the second path names a run that was found already
    assert table.groups[0].figures["utility/auc"].values == (0.9,) and table.repeated == 1


def test_a_figure_that_some_runs_lack_says_so(tmp_path):
    run(tmp_path / "a", 0.5, seed=0)
    lacking = [Score("utility/auc", None, "higher", why="one class")]
    run(tmp_path / "b", seed=1, figures=lacking, objective=Objective("utility/auc", None, "higher"))
    (group,) = comparison(tmp_path).groups
    found = group.figures["utility/auc"]
    assert found.n == 1 and found.deviation is None and spread_text(found, len(group.runs)) == "0.5000 (1 of 2)"


def test_figures_of_different_names_never_share_a_column(tmp_path):
    run(tmp_path / "a", seed=0, figures=[Score("fid/inception/n5000", 10.0, "lower")])
    run(tmp_path / "b", seed=1, figures=[Score("fid/pixels/n5000", 99.0, "lower")])
    rows = list(csv.DictReader(csv_text(comparison(tmp_path)).splitlines()))
    assert rows[0]["fid/inception/n5000 mean"] == "10.0" and rows[0]["fid/pixels/n5000 mean"] == "99.0"
    assert rows[0]["fid/inception/n5000 n"] == "1"


def judged(folder, mark, seed, value, model="vae", **changes):
    """A run whose pictures were judged by a classifier of that hash."""
    name = f"fid/classifier@{mark}-clean-exact/n270"
    changes.setdefault("created", f"2025-01-01T00:00:{seed:02d}+00:00")
    run(folder, seed=seed, model=model, figures=[Score(name, value, "lower", 0, None, 2.0)],
        objective=Objective(f"best/val/{name}", value, "lower"), **changes)  # fmt: skip


def test_judges_that_differ_by_seed_alone_share_a_column(tmp_path):
    for seed, mark in enumerate(("0a0a0a0a", "0b0b0b0b", "0c0c0c0c")):
        judged(tmp_path / f"a{seed}", mark, seed, 10.0 + seed)
        judged(tmp_path / f"b{seed}", mark, seed, 5.0 + seed, "dcgan")
    column = "fid/classifier@each-seed-clean-exact/n270"
    # neither an older run of another judge that a newer one replaces nor another data set changes anything
    judged(tmp_path / "old", "0d0d0d0d", 0, 1.0, created="2024-01-01T00:00:00+00:00")
    judged(tmp_path / "mnist", "0e0e0e0e", 0, 3.0, data="mnist")
    table = comparison(tmp_path, figures=["fid/classifier@0a0a0a0a-clean-exact/n270"])
    assert table.columns == [column], "a name copied from the report of one run"
    first = [group for group in table.groups if group.key["data"] == "iris"]
    assert [group.key["model"] for group in first] == ["dcgan", "vae"], "the best first, by all three seeds"
    assert [group.figures[column].values for group in first] == [(5.0, 6.0, 7.0), (10.0, 11.0, 12.0)]
    assert table.references("iris", column)[0].values == (2.0,) * 6
    assert table.caveat.endswith("by a classifier of that seed's own split")
    assert "fid/classifier@0e0e0e0e-clean-exact/n270" in table.all_figures, "one judge keeps its name"


def test_judges_keep_their_names_where_rows_would_not_compare(tmp_path):
    judged(tmp_path / "a" / "0", "0a0a0a0a", 0, 10.0)
    judged(tmp_path / "a" / "1", "0b0b0b0b", 1, 5.0, "dcgan")
    apart = comparison(tmp_path)  # no seed in common
    assert not apart.caveat and not any("each-seed" in name for name in apart.all_figures)
    judged(tmp_path / "b" / "0", "0c0c0c0c", 0, 1.0, "dcgan")
    assert not comparison(tmp_path).caveat, "two judges of one seed"
    judged(tmp_path / "c" / "2", "0f0f0f0f", 2, 1.0)
    judged(tmp_path / "c" / "3", "0e0e0e0e", 3, 2.0)
    judged(tmp_path / "c" / "4", "0e0e0e0e", 3, 2.0, "dcgan")
    assert comparison(tmp_path / "c").caveat.endswith("and not all rows have the same seeds")


def test_columns_can_be_chosen(sweep):
    assert comparison(sweep, figures=["fidelity/error"]).columns == ["fidelity/error"]
    assert comparison(sweep).columns == ["utility/auc", "fidelity/error"]
    with pytest.raises(UserError, match=r"figures=fidelity/eror: .* did you mean 'fidelity/error'"):
        comparison(sweep, figures=["fidelity/eror"])


def test_failed_jobs_are_listed_unless_a_later_try_ended_well(tmp_path):
    run(tmp_path / "a")
    for name in ("a", "b"):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "error.txt").write_text("latent_dim=-1 seed=0\nmust be positive\n\nTraceback\n")
    (failure,) = comparison(tmp_path).failures
    assert (failure.folder, failure.overrides, failure.message) == (
        tmp_path / "b",
        "latent_dim=-1 seed=0",
        "must be positive",
    )


def test_files_go_to_the_folder_and_leave_reports_alone(sweep, capsys):
    (sweep / "2-0" / "report.html").write_text("mine")
    (sweep / "failed").mkdir()
    (sweep / "failed" / "error.txt").write_text("latent_dim=<b>\nit <i>broke</i>\n")
    main([str(sweep), "figures=utility/auc"])
    said = capsys.readouterr().out
    assert "0.8100 ± 0.0100" in said and said.index("0.810") < said.index("0.610") and "it <i>broke</i>" in said
    assert (sweep / "2-0" / "report.html").read_text() == "mine" and not (sweep / "report.html").exists()
    rows = list(csv.DictReader((sweep / "comparison.csv").read_text().splitlines()))
    assert rows[0]["latent_dim"] == "8" and rows[0]["seeds"] == "0 1 2" and rows[0]["runs"] == "3"
    assert float(rows[0]["utility/auc mean"]) == pytest.approx(0.81)
    assert float(rows[0]["utility/auc std"]) == pytest.approx(0.01)
    assert float(rows[0]["fidelity/error median"]) == pytest.approx(0.19)
    page = (sweep / "comparison.html").read_text()
    assert "0.8100 ±\u00a00.0100" in page and "it &lt;i&gt;broke&lt;/i&gt;" in page and "<i>broke" not in page


def test_a_run_folder_several_paths_and_out(sweep, tmp_path_factory):
    main([str(sweep / "2-0")])
    assert (sweep / "2-0" / "comparison.csv").exists()
    main([str(sweep / "2-0" / "result.json"), str(sweep / "8-1")])
    assert len((sweep / "comparison.csv").read_text().splitlines()) == 3
    out = tmp_path_factory.mktemp("out") / "deeper"
    main([str(sweep), f"out={out}"])
    assert sorted(path.name for path in out.iterdir()) == ["comparison.csv", "comparison.html"]


def test_only_failures_still_make_a_page(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "error.txt").write_text("")
    table = comparison(tmp_path)
    assert table.groups == [] and table.failures[0].message == "(the error file is empty)"
    write_comparison(table, tmp_path)
    assert "1 failed job" in (tmp_path / "comparison.html").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "no folder given"),
        (["{}/nothing"], "does not exist"),
        (["{}/2-O"], "did you mean"),
        (["{}", "figurs=x"], "did you mean 'figures'"),
        (["{}", "--out"], "did you mean 'out'"),
        (["{}", "out="], "out= has no value"),
        (["{}", "out={}/2-0/result.json"], "is a file"),
        (["{}", "figures=nope"], "no run has this figure"),
        (["{}/empty"], r"no result.json below"),
        (["{}/broken"], "damaged"),
    ],
)
def test_mistakes_are_told(sweep, words, said):
    (sweep / "empty").mkdir()
    if words == ["{}/broken"]:
        (sweep / "broken").mkdir()
        (sweep / "broken" / "result.json").write_text("{")
    with pytest.raises(UserError) as error:
        main([word.format(sweep) for word in words])
    assert said in str(error.value) and "\n" not in str(error.value)


def test_the_command_answers_in_one_line_and_help_loads_nothing():
    def command(*words):
        return subprocess.run(
            [sys.executable, "-m", "src.report", *words], capture_output=True, text=True, cwd=ROOT, check=False
        )

    wrong = command("nowhere")
    assert wrong.returncode == 2 and wrong.stdout == "" and len(wrong.stderr.splitlines()) == 1
    assert "Traceback" in command("nowhere", "debug=true").stderr
    assert command("--help").stdout.startswith("python -m src.report PATH")
    code = "import sys, src.report, datakiln.reports.comparison; print({'torch', 'pandas', 'numpy'} & set(sys.modules))"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True).stdout
        == "set()\n"
    )


def shown(result, width):
    console = Console(width=width, record=True, file=io.StringIO())
    announce_result(result, Path("report.html"), console)
    return console.export_text()


def a_run(**changes):
    """A run with figures of all kinds, some without a value."""
    figures = [
        Score("fidelity/shape", 0.91, "higher", 0, 1, 0.95, 0.8, ceiling_range=[0.94, 0.96], floor_range=[0.7, 0.9]),
        Score("fidelity/alpha_precision", 0.9, "higher", 0, 1, 0.9, 0.9, ceiling_range=[0.8, 1], floor_range=[0.8, 1]),
        Score("fidelity/beta_recall", 0.5, "higher", 0, 1, 0.5, 0.1, ceiling_range=[0.4, 0.6], floor_range=[0.0, 0.1]),
        *(Score(f"utility/{name}", None, "higher", why="not computed: no [bold]target[/] column") for name in "abcde"),
        Score("utility/augmented_auc", None, "higher", why="one class"),
        Score("privacy/copies", 0.0, "lower", 0, 1, 0.0, 0.0, n=400, ceiling_range=[0.0, 0.0], floor_range=[0.0, 0.0]),
        Score("privacy/closer_to_train", 0.5, "lower", 0, 1, 0.5, 0.5, ideal=0.5, n=400, ceiling_range=[0.4, 0.6]),
        Score("best/val/fid/classifier@10aa0123456789-exact-clean/n2000", 123.4, "lower"),
    ]  # fmt: skip
    values = {
        "figures": figures, "n_holdout": 400, "provenance": Source("files", "/data/customers.csv", "h"),
        "objective": Objective("val/fid/classifier@10aa0123456789-exact-clean/n2000", 123.4),
    }  # fmt: skip
    return RunResult("vae", "csv", 0, **{**values, **changes})


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_end_of_a_run_is_told_in_few_lines_of_whole_words(width):
    said = shown(a_run(), width)
    lines = said.splitlines()
    assert lines[0].startswith("vae on csv, seed 0") and max(map(len, lines)) <= width and len(lines) < 26
    words = " ".join(said.split())
    for sentence in (
        "seed 0 Synthetic rows of customers.csv: nearly faithful, use not measured, safe by what was measured",
        "Synthetic rows of customers.csv are close to real ones; 1 of 3 key figures is worse by more than chance.",
        "not computed: 5 figures, no [bold]target[/] column",
        "not computed: utility/augmented_auc, one class",
        "0.94–0.96",
        "as real",
        "undecided",
    ):
        assert sentence in words
    known = "alpha_precision beta_recall shape copies closer_to_train fid".split()
    assert all(name in words for name in known) and "classifier@" not in words and "…" not in words
    assert ("floor" in words) == (width > 60) and "\x1b" not in said


def test_stand_in_data_is_told_before_anything_else():
    assert shown(a_run(stand_in=True), 80).splitlines()[0].strip().endswith("(stand-in data)")


def test_a_run_of_figures_that_no_verdict_rests_on_still_shows_them():
    said = shown(a_run(figures=[Score("mine/[red]own", 0.4, "higher", 0, 1, 0.9, 0.5)]), 100)
    assert "mine/[red]own ↑" in " ".join(said.replace("\xa0", " ").split()) and "below the floor" in said
    assert "nothing" not in said


def test_figures_that_could_not_be_computed_are_counted_by_reason():
    figures = [
        Score("fid/a@1/n9", None, why="not computed: too few"),
        Score("kid/a@1/n9", None, why="not computed: too few"),
        Score("auc", None, why="one class"),
        *(Score(f"x{i}", None, why="no target") for i in range(3)),
        Score("shape", 0.4, why="no ceiling: none"),
    ]
    result = RunResult("vae", "iris", 0, Source("s", "d", "h"), figures=figures)
    assert lacking(result).splitlines() == [
        "not computed: fid, kid, too few",
        "not computed: auc, one class",
        "not computed: 3 figures, no target",
    ]
    assert lacking(RunResult("vae", "iris", 0, Source("s", "d", "h"), figures=figures[-1:])) == ""


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_columns_of_a_table_take_a_line_each(width):
    rows = [ColumnRow(f"amount of item {i}", "numeric", 0, 35, "4.3 to 7.9", "35 distinct numbers") for i in range(50)]
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(columns_table("150 rows, 50 columns", rows, width))
    lines = console.export_text().splitlines()
    assert len([line for line in lines if line.strip()]) == 1 + 2 + 40 + 1 and max(map(len, lines)) <= width
    assert "and 10 more columns" in lines[-1] and "missing" not in lines[1]
    assert ("35 distinct numbers" in " ".join(lines)) == (width > 80)


def test_costs_can_be_shown_and_the_median_is_what_counts(tmp_path):
    for seed, (seconds, value) in enumerate([(1.0, 0.5), (2.0, 0.6), (30.0, 0.1)]):
        run(tmp_path / str(seed), value, seed=seed, wall_seconds={"fit": seconds, "sample": 1.0}, peak_memory_mb=100.0)
    found = comparison(tmp_path, figures=["cost"])
    (group,) = found.groups
    assert found.columns == list(COSTS)
    assert "cost/cpu_seconds" not in group.figures, "older results do not say"
    assert group.figures["cost/wall_seconds"].median == 3.0
    assert spread_text(group.figures["cost/wall_seconds"], 3) == "3.000 ± 16.462"
    assert group.figures["cost/peak_memory_mb"].median == 100.0


def test_evaluations_and_studies_inside_a_run_are_no_runs_but_where_they_are_named(tmp_path):
    """One of the samples of another seed would else take the place of the run that was trained with that seed."""
    for seed in range(3):
        run(tmp_path / f"runs/{seed}", 0.5 + seed / 10, seed)
    own = run(tmp_path / "runs/0/evaluation-1", 0.9, 1, created="2026-01-01T00:00:00+00:00")
    run(tmp_path / "runs/2/study-utility", 0.9, 2, created="2026-01-01T00:00:00+00:00")
    (group,) = compare(collect([tmp_path])[0]).groups
    assert sorted(run.folder.name for run in group.runs) == ["0", "1", "2"]
    assert group.figures["utility/auc"].values == (0.5, 0.6, 0.7)
    ((named,), _) = collect([tmp_path / "runs/0/evaluation-1"])
    assert named.result == own


def test_groups_that_nothing_ranks_stand_in_the_order_of_their_numbers(tmp_path):
    for steps in (9, 250, 10):
        run(tmp_path / str(steps), 0.5, sampling={"steps": steps}, objective=None)
    assert [group.key["steps"] for group in compare(collect([tmp_path])[0]).groups] == ["9", "10", "250"]


def test_a_number_beyond_any_float_is_no_result(tmp_path):
    run(tmp_path / "a")
    path = tmp_path / "a/result.json"
    path.write_text(path.read_text().replace("0.5", "9" * 400))
    with pytest.raises(UserError, match="result.json"):
        collect([tmp_path])
