"""The page of a sweep draws figures against what was swept: numbers to scale, choices side by side."""

import re

import pytest

from datakiln.reports.comparison import collect, compare, write_comparison
from datakiln.reports.sweep_plots import BOTTOM, LEFT, RIGHT, TOP, sweep_plots, value_axis
from datakiln.reports.terminal import comparison_table
from datakiln.results import Score
from tests.reports.test_page import Page
from tests.reports.test_report import run


def swept(folder, jobs, seeds=2, **changes):
    """Saves a run for each job and seed; a job is what it overrides, and the figure rises with its number."""
    for i, overrides in enumerate(jobs):
        for seed in range(seeds):
            run(folder / f"{i}-{seed}", 0.5 + 0.1 * i + 0.02 * seed, seed, overrides=overrides, **changes)
    return compare(*collect([folder]), figures=["utility/auc"])


def plots_of(found):
    (groups,) = found.by_data.values()
    return sweep_plots(found, groups)


def test_numbers_are_drawn_to_scale_with_a_line_and_a_band_over_seeds(tmp_path):
    found = swept(tmp_path, [[f"latent_dim={dim}"] for dim in (2, 4, 10)])
    (plot,) = plots_of(found)
    assert (plot.option, plot.figure, plot.is_numeric, plot.is_log) == ("latent_dim", "utility/auc", True, False)
    (series,) = plot.series
    points = [tuple(map(float, point.split(","))) for point in series.line.split()]
    assert (points[1][0] - points[0][0]) / (points[2][0] - points[0][0]) == pytest.approx(0.25, abs=0.01)
    assert points[0][1] > points[1][1] > points[2][1], "higher values stand higher"
    assert len(series.dots) == 6 and len(series.band.split()) == 6
    assert all(LEFT <= x <= RIGHT and TOP <= y <= BOTTOM for x, y in series.dots)
    assert [tick.text for tick in plot.x_ticks] == ["2", "4", "10"]
    marks = [float(tick.text) for tick in plot.y_ticks]
    assert 2 <= len(marks) <= 8 and marks == sorted(marks) and all(mark == round(mark, 2) for mark in marks)


def test_numbers_of_several_magnitudes_get_a_log_axis(tmp_path):
    (plot,) = plots_of(swept(tmp_path, [[f"model.optimizer.lr={lr}"] for lr in ("1e-4", "1e-3", "1e-2")]))
    assert plot.is_log
    points = [float(point.split(",")[0]) for point in plot.series[0].line.split()]
    assert points[1] - points[0] == pytest.approx(points[2] - points[1], abs=0.2)


def test_choices_are_dots_with_their_median(tmp_path):
    (plot,) = plots_of(swept(tmp_path, [["encoding=minmax"], ["encoding=<b>quantile</b>"], ["a=1"]], seeds=3))[:1]
    (series,) = plot.series[:1]
    assert not plot.is_numeric and not series.line and len(series.dots) >= 3 and series.medians
    assert "(default)" in {tick.title for tick in plot.x_ticks}


def test_what_else_varies_gets_a_colour_each_until_there_are_too_many(tmp_path):
    jobs = [[f"latent_dim={dim}", f"encoding={name}"] for dim in (2, 4) for name in ("minmax", "quantile")]
    found = swept(tmp_path / "grid", jobs)
    by_dim = next(plot for plot in plots_of(found) if plot.option == "latent_dim")
    assert [series.label for series in by_dim.series] == ["encoding=quantile", "encoding=minmax"]
    assert all(series.line for series in by_dim.series)
    trials = [[f"latent_dim={i}", f"model.optimizer.lr={1e-4 * (i + 1)}"] for i in range(20)]
    random = plots_of(swept(tmp_path / "random", trials, seeds=1))
    assert all(len(plot.series) == 1 and not plot.series[0].line for plot in random), "a zigzag says nothing"
    assert len(random[0].series[0].dots) == 20


def test_nothing_is_drawn_where_nothing_was_swept_or_measured(tmp_path):
    none = [Score("utility/auc", None, "higher", why="one class")]
    assert plots_of(swept(tmp_path / "one", [["latent_dim=2"]])) == []
    assert plots_of(swept(tmp_path / "few", [["latent_dim=2"], ["latent_dim=3"]], objective=None, figures=none)) == []


def test_equal_values_and_zeros_can_be_drawn(tmp_path):
    for i, value in enumerate((0.0, 0.0, 0.0)):
        run(tmp_path / "zero" / str(i), value, 0, overrides=[f"latent_dim={i}"])
    (plot,) = plots_of(compare(*collect([tmp_path / "zero"]), figures=["utility/auc"]))
    assert plot.y_ticks and all(TOP <= y <= BOTTOM for _, y in plot.series[0].dots)


def test_the_page_holds_the_plots_beside_the_table_and_escapes_what_was_typed(tmp_path):
    found = swept(tmp_path, [["note=<script>alert(1)</script>"], ["note=b"]])
    write_comparison(found, tmp_path)
    text = (tmp_path / "comparison.html").read_text()
    page = Page(text)
    assert page.open == [] and not {"script", "link", "a"} & {tag for tag, _ in page.tags}
    assert "Against what was swept" in page.text and "utility/auc" in page.text
    assert "<script" not in text and "&lt;script&gt;" in text and not re.search(r"https?://", text)
    assert [attrs for tag, attrs in page.tags if tag == "svg" and "utility/auc by note" in attrs.get("aria-label", "")]


def test_the_time_of_training_is_drawn_with_a_line_a_model(tmp_path):
    jobs = [(model, budget) for model in ("vae", "gan") for budget in (10, 60)]
    for i, (model, budget) in enumerate(jobs):
        run(tmp_path / str(i), 0.5 + 0.1 * i, model=model, overrides=[f"budget={budget}s"], fit_cpu_seconds=budget + i)
    found = compare(*collect([tmp_path]), figures=["utility/auc"])
    plot = plots_of(found)[0]
    assert (plot.option, plot.figure, plot.is_numeric) == ("cost/fit_cpu_seconds", "utility/auc", True)
    assert [series.label for series in plot.series] == ["gan", "vae"]
    for series in plot.series:
        (x, y), (later, higher) = sorted(series.dots)
        assert later > x and higher < y and series.end == (later, higher, series.label) and series.line
    write_comparison(found, tmp_path / "page")
    page = (tmp_path / "page/comparison.html").read_text()
    assert ">gan</text>" in page and "real data" in page and "naive floor" in page


def test_real_data_and_the_floor_stand_below_the_models(tmp_path):
    found = swept(tmp_path, [["latent_dim=2"], ["latent_dim=3"]])
    real, naive = found.references("iris", "utility/auc")
    assert real.median == 0.9 and naive.median == 0.5
    assert found.references("iris", "cost/parameters") == (None, None)
    table = comparison_table(found)
    assert list(table.columns[0].cells)[-2:] == ["real data", "naive floor"]
    assert [str(cell) for cell in list(table.columns[-1].cells)[-2:]] == ["0.9000", "0.5000"]


def test_figures_beyond_any_axis_are_drawn_at_its_ends():
    place, ticks = value_axis([-1e308, 0.0, 1e308])
    assert place(1e308) < place(0.0) < place(-1e308) and ticks


@pytest.mark.parametrize(
    ("values", "texts"),
    [([60, 10_000], ["100", "1,000", "10,000"]), ([3, 70], ["5", "10", "20", "50"]), ([1e-9, 1e9], None)],
)
def test_a_logarithmic_axis_has_round_marks(values, texts):
    _, ticks = value_axis(values, 20)
    found = [tick.text for tick in ticks]
    assert found == texts if texts else 3 <= len(found) <= 7
    assert all(BOTTOM >= one.at > other.at >= TOP for one, other in zip(ticks, ticks[1:], strict=False))
