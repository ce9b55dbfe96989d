"""Pictures: the numbers they are drawn from, and files that hold what they promise."""

import subprocess
import sys
import warnings

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle
from PIL import Image, ImageColor
from scipy import stats

from datakiln.plots import training
from datakiln.plots.association import associations, codes, correlation_ratios, cramers_v, levels
from datakiln.plots.columns import draw_column
from datakiln.plots.latent import kl_plot, latent_plot, principal_axes
from datakiln.plots.marginals import apart, category_shares, density, numbers, spikes, view
from datakiln.plots.style import REAL, SYNTHETIC, compact, panels, shorten
from datakiln.plots.table import _most_apart, column_plots, correlation_plot, embedding_plot
from datakiln.plots.training import collect, loss_curves, wrapped
from datakiln.schema import Field, Schema

MOST_BYTES = 200_000


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def mixed(rng, rows):
    """A table with everything that is awkward to draw, and its schema."""
    dates = pd.Timestamp("2015-01-01") + pd.to_timedelta(rng.integers(0, 3000, rows), "D")
    frame = pd.DataFrame(
        {
            "price ($)": rng.lognormal(3, 1.5, rows),
            "a_$b$_{": rng.normal(size=rows),
            "日本語": rng.normal(size=rows),
            "gaps": np.where(rng.random(rows) < 0.4, np.nan, rng.normal(size=rows)),
            "all missing": np.full(rows, np.nan),
            "constant": np.ones(rows),
            "infinite": np.where(rng.random(rows) < 0.1, np.inf, rng.normal(size=rows)),
            "when": dates,
            "when as text": dates.strftime("%d.%m.%Y"),
            "flag": pd.array(np.where(rng.random(rows) < 0.1, None, rng.random(rows) < 0.3), dtype="boolean"),
            "town": [f"town {i}" for i in rng.zipf(1.3, rows).clip(0, 10_000)],
            "size": pd.Categorical(rng.choice(["small", "large"], rows)),
            "_under": rng.choice(["_a", "_b", ""], rows),
            "count": pd.array(np.where(rng.random(rows) < 0.1, pd.NA, rng.poisson(3, rows)), dtype="Int64"),
            "sticky": np.where(
                rng.random(rows) < 0.5, 0, np.where(rng.random(rows) < 0.5, 99, rng.normal(50, 9, rows))
            ),
            "id": np.arange(rows),
        }
    )
    types = "numeric " * 7 + "datetime datetime boolean category ordinal category integer numeric id"
    fields = [Field(name, kind, "") for name, kind in zip(frame, types.split(), strict=True)]
    fields[8] = Field("when as text", "datetime", "str", format="%d.%m.%Y")
    fields[11] = Field("size", "ordinal", "category", order=("small", "large"))
    return Schema(tuple(fields)), frame


def share_of_colour(path, colour):
    """Share of pixels within 40 of a colour's red, green and blue; solid shapes are drawn with an opacity of 0.8."""
    wanted = 0.8 * np.array(ImageColor.getrgb(colour)) + 0.2 * 255
    pixels = np.asarray(Image.open(path).convert("RGB"), dtype=float)
    return (np.abs(pixels - wanted) < 40).all(-1).mean()


def test_density_is_scipys_with_the_same_bandwidth(rng):
    sample = np.concatenate([rng.normal(0, 1, 300), rng.normal(5, 0.5, 200)])
    grid, height = density(sample, sample.min(), sample.max())
    q1, q3 = np.quantile(sample, (0.25, 0.75))
    bandwidth = 0.9 * min(sample.std(), (q3 - q1) / 1.349) * len(sample) ** -0.2
    exact = stats.gaussian_kde(sample, bw_method=bandwidth / sample.std(ddof=1))(grid)
    # values are moved to a grid of about a tenth of the bandwidth: linear binning errs by its square
    assert np.abs(height - exact).max() < 0.01 * exact.max()
    assert np.trapezoid(height, grid) == pytest.approx(1, abs=0.01)


def test_density_of_a_constant_is_finite():
    grid, height = density(np.full(10, 3.0), 3.0, 3.0)
    assert np.isfinite(height).all() and abs(grid[height.argmax()] - 3.0) < 1e-6


def test_spikes_are_values_that_stand_out(rng):
    gains = np.where(rng.random(2000) < 0.9, 0.0, rng.lognormal(8, 1, 2000))
    smooth = rng.normal(size=2000).round(1)
    assert spikes(gains, gains).tolist() == [0.0]
    assert spikes(smooth, smooth).tolist() == []
    assert spikes(smooth, smooth.clip(max=0.0)).tolist() == [0.0]  # a model that piles up at a bound is shown as such


def test_the_view_leaves_out_long_tails_only(rng):
    short = rng.uniform(0, 1, 1000)
    assert view(short, short) == (short.min(), short.max())
    tailed = np.append(short, 1e6)
    assert view(short, tailed)[1] <= 1.0


def test_numbers_of_dates_texts_and_gaps():
    texts = pd.Series(["02.01.1970", None, "nonsense"])
    days = numbers(texts, Field("d", "datetime", "str", format="%d.%m.%Y"))
    assert days[0] == 1.0 and np.isnan(days[1:]).all()
    stamps = pd.Series(pd.to_datetime(["1970-01-03 12:00", None]))
    assert numbers(stamps, Field("d", "datetime", ""))[0] == 2.5
    values = numbers(pd.Series([1.0, np.inf, None, "x"], dtype=object), Field("v", "numeric", ""))
    assert values[0] == 1.0 and np.isnan(values[1:]).all()


def test_category_shares_pool_rare_ones_and_keep_the_missing():
    real = pd.Series([f"c{i % 30:02d}" for i in range(300)] + ["c00"] * 100 + [None] * 100)
    shares = category_shares(real, pd.Series(["c00", "new", None, None]))
    assert shares.index[0] == "c00" and shares.index[-1] == "(missing)"
    assert shares.index[-2] == "11 others"  # 30 known and one new category, 20 of them shown
    assert shares.sum().tolist() == pytest.approx([1, 1])
    assert shares.loc["(missing)"].tolist() == pytest.approx([0.2, 0.5])


def test_categories_are_in_their_own_order():
    sizes = pd.Series(["large", "large", "small", "medium"])
    assert category_shares(sizes, sizes, ("small", "medium", "large")).index.tolist() == ["small", "medium", "large"]
    numbered = pd.Series([10.0, 10.0, 2.0, np.nan])
    assert category_shares(numbered, numbered).index.tolist() == ["2", "10", "(missing)"]


def test_correlation_ratio_is_the_between_share_of_the_variance(rng):
    groups = rng.integers(0, 3, 200)
    values = np.column_stack([groups * 2.0, groups + rng.normal(size=200), np.ones(200)])
    values[:20, 1] = np.nan
    exact, noisy, constant = correlation_ratios(groups, values)
    kept = pd.DataFrame({"g": groups, "v": values[:, 1]}).dropna()
    fitted = kept.groupby("g")["v"].transform("mean")
    assert exact == pytest.approx(1) and np.isnan(constant)
    assert noisy == pytest.approx(np.sqrt(fitted.var(ddof=0) / kept["v"].var(ddof=0)))


def test_cramers_v(rng):
    a = rng.integers(0, 4, 5000)
    assert cramers_v(a, (a * 7 + 1) % 4) == pytest.approx(1)
    assert cramers_v(a, rng.integers(0, 4, 5000)) < 0.05
    assert np.isnan(cramers_v(a, np.zeros(5000, dtype=int)))
    small = [cramers_v(*rng.integers(0, 8, (2, 60))) for _ in range(20)]
    assert np.mean(small) < 0.15  # without the correction chance alone gives 0.34
    b = np.where(rng.random(5000) < 0.5, a, rng.integers(0, 4, 5000))
    table = pd.crosstab(a, b)
    plain = stats.contingency.association(table, method="cramer")
    assert cramers_v(a, b) == pytest.approx(plain, abs=0.005)  # the bias correction is of order 9 / 5000


def test_pairs_are_measured_where_both_cells_are_there(rng):
    schema, frame = mixed(rng, 300)
    names, real, _ = associations(schema, frame, frame)
    both = frame[["gaps", "infinite"]].replace([np.inf], np.nan).dropna()
    i, j = names.index("gaps"), names.index("infinite")
    assert real[i, j] == pytest.approx(np.corrcoef(both["gaps"], both["infinite"])[0, 1])
    assert np.isnan(real[names.index("constant")]).all()
    np.testing.assert_allclose(real, real.T)
    assert names == [*schema.numeric, *schema.choices] and "id" not in names


def test_codes_pool_what_is_not_known():
    known = levels(pd.Series(["a", "a", "b", None]))
    assert codes(pd.Series(["b", "a", "z", None]), known).tolist() == [1, 0, 2, -1]


def test_principal_axes_are_the_singular_vectors(rng):
    x = rng.normal(size=(200, 4)) * [3.0, 1.0, 0.5, 0.1] + 7
    mean, axes, shares = principal_axes(x)
    _, singular, vectors = np.linalg.svd(x - x.mean(0), full_matrices=False)
    np.testing.assert_allclose(np.abs(axes.T @ vectors[:2].T), np.eye(2), atol=1e-8)
    np.testing.assert_allclose(shares, singular[:2] ** 2 / (singular**2).sum())
    assert (np.take_along_axis(axes, np.abs(axes).argmax(0)[None], 0) > 0).all()
    np.testing.assert_allclose(mean, x.mean(0))


@pytest.mark.slow
def test_an_awkward_table_is_drawn_in_pages_without_a_warning(rng, tmp_path):
    schema, real = mixed(rng, 300)
    _, synthetic = mixed(rng, 250)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pages = column_plots(schema, real, synthetic, tmp_path)
        others = [
            correlation_plot(schema, real, synthetic, tmp_path / "c.png"),
            embedding_plot(schema, real, synthetic, tmp_path / "e.png"),
        ]
    assert [page.name for page in pages] == ["columns-01.png", "columns-02.png"]  # 15 columns; the id is generated
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c.png", "columns-01.png", "columns-02.png", "e.png"]
    assert all(path.stat().st_size < MOST_BYTES for path in [*pages, *others])
    assert all("Description" in Image.open(path).info for path in [*pages, *others])
    assert "Cramér's V" in Image.open(others[0]).info["Description"]


@pytest.mark.journey
def test_of_many_columns_those_are_drawn_that_differ_most(rng, tmp_path):
    names = [f"x{i}" for i in range(60)]
    schema = Schema((*(Field(name, "numeric", "float64") for name in names), Field("c", "category", "str")))
    real = pd.DataFrame(rng.normal(size=(200, 60)), columns=names).assign(c=rng.choice(["a", "b"], 200))
    synthetic = real.assign(c="b", x59=real.x59 + 3.0, x58=np.nan)
    pages = column_plots(schema, real, synthetic, tmp_path)
    assert [page.name for page in pages] == [f"columns-0{k}.png" for k in (1, 2, 3, 4)]
    assert Image.open(pages[0]).info["Description"].startswith("The 48 of 61 columns that differ most, real against")
    shown = _most_apart(schema, [*names, "c"], real, synthetic, 48)
    assert shown[-3:] == ["x58", "x59", "c"] and shown[:45] == names[:45]
    far = [apart(schema[name], real[name], synthetic[name]) for name in ("x0", "x58", "c")]
    assert far == pytest.approx([0.0, 1.0, (real.c == "a").mean()])


def test_bars_have_the_colours_of_real_and_synthetic(tmp_path):
    schema = Schema((Field("f", "boolean", "bool"),))
    frame = pd.DataFrame({"f": [True, False]})
    (path,) = column_plots(schema, frame, frame, tmp_path)
    both = share_of_colour(path, REAL), share_of_colour(path, SYNTHETIC)
    assert path.name == "columns.png" and min(both) > 0.05
    (path,) = column_plots(schema, frame, frame.iloc[:0], tmp_path)
    assert share_of_colour(path, SYNTHETIC) < 0.2 * both[1]  # the legend's patch is left


def drawn(field, real, synthetic):
    """Bars by colour, and curves by colour, of one panel and of those inside it."""
    figure, (panel,) = panels(1, 2.6)
    draw_column(panel, field, pd.Series(real), pd.Series(synthetic))
    bars, curves = {}, {}
    for axes in [panel, *panel.child_axes]:
        for bar in axes.patches:
            if isinstance(bar, Rectangle):
                size = bar.get_width() if field.is_choice else bar.get_height()
                bars.setdefault(to_hex(bar.get_facecolor()).upper(), []).append(size)
        for line in axes.lines:
            curves[line.get_color()] = line.get_xydata()
    return bars, curves


def test_each_panel_shows_both_samples_in_their_colours(rng):
    bars, _ = drawn(Field("n", "integer", "int64"), [1, 1, 2, 3], [2, 2, 2, 2])
    assert bars == {REAL: [0.5, 0.25, 0.25], SYNTHETIC: [0, 1, 0]}
    bars, _ = drawn(Field("c", "category", "str"), ["a", "a", "b", None], ["b"])
    assert bars == {REAL: [0.5, 0.25, 0.25], SYNTHETIC: [0, 1, 0]}  # a, b, missing
    sticky = np.where(rng.random(1000) < 0.7, 0.0, rng.normal(50, 9, 1000))
    bars, _ = drawn(Field("x", "numeric", "float64"), sticky, sticky[:500] + 1)
    assert bars[REAL] == [(sticky == 0).mean(), 0] and bars[SYNTHETIC] == [0, (sticky[:500] == 0).mean()]
    _, curves = drawn(Field("x", "numeric", "float64"), rng.normal(0, 1, 500), rng.normal(3, 1, 500))
    means = [np.average(curves[colour][:, 0], weights=curves[colour][:, 1]) for colour in (REAL, SYNTHETIC)]
    assert means == pytest.approx([0, 3], abs=0.15)  # three standard errors of a mean of 500


@pytest.mark.journey
def test_a_table_of_one_row_is_drawn(rng, tmp_path):
    schema, frame = mixed(rng, 40)
    assert len(column_plots(schema, frame.iloc[:2], frame.iloc[:1], tmp_path)) == 2
    assert correlation_plot(schema, frame.iloc[:1], frame.iloc[:1], tmp_path / "c.png")
    assert embedding_plot(schema, frame.iloc[:1], frame.iloc[:1], tmp_path / "e.png")


def test_pictures_that_would_be_empty_are_not_drawn(tmp_path):
    frame = pd.DataFrame({"id": [1, 2], "x": [1.0, 2.0]})
    generated = Schema((Field("id", "id", "int64"),))
    single = Schema((Field("x", "numeric", "float64"),))
    assert column_plots(generated, frame, frame, tmp_path) == []
    assert correlation_plot(single, frame, frame, tmp_path / "c.png") is None
    assert embedding_plot(single, frame, frame, tmp_path / "e.png") is None
    assert list(tmp_path.iterdir()) == []


def history():
    epochs = np.repeat(np.arange(4), 2)  # the training and the validation row of each epoch
    frame = pd.DataFrame({"epoch": epochs, "step": np.arange(8)})
    is_train = np.arange(8) % 2 == 0
    for name, value in (("loss", 10.0 - epochs), ("kl_dim/0", epochs), ("kl_dim/1", epochs / 2)):
        frame[f"train/{name}"] = np.where(is_train, value, np.nan)
        frame[f"val/{name}"] = np.where(is_train, np.nan, value + 1)
    frame.loc[5, "val/loss"] = 0.5
    frame["test/loss"] = np.where(np.arange(8) == 7, 3.0, np.nan)
    frame["test/iwae"] = frame["test/loss"]
    frame["lr"] = np.where(is_train, 0.1, np.nan)
    return frame


def test_curves_are_grouped_by_figure():
    curves, unit = collect(history())
    assert unit == "epoch" and list(curves) == ["loss", "kl_dim", "lr"]  # test/iwae alone is a number, not a curve
    assert {stage: len(lines) for stage, lines in curves["kl_dim"].items()} == {"train": 2, "val": 2}
    assert curves["loss"]["train"][0].tolist() == [10, 9, 8, 7] and curves["loss"]["val"][0].idxmin() == 3
    assert curves["loss"]["train"][0].index.tolist() == [1, 2, 3, 4]  # the history counts from 0, people from 1
    assert set(curves["loss"]) == {"train", "val", "test"}


def test_several_rows_of_an_epoch_count_as_their_mean():
    curves, _ = collect(pd.DataFrame({"epoch": [0, 0, 1], "train/loss": [4.0, 2.0, 1.0]}))
    assert curves["loss"]["train"][0].tolist() == [3.0, 1.0]


def test_a_single_epoch_is_drawn_by_step(tmp_path):
    frame = pd.DataFrame({"epoch": 0, "step": [10, 20, 30], "train/loss": [3.0, 2.0, np.inf]})
    curves, unit = collect(frame)
    assert unit == "step" and curves["loss"]["train"][0].index.tolist() == [10, 20]
    assert loss_curves(frame, tmp_path / "l.png").stat().st_size < MOST_BYTES


@pytest.mark.parametrize(("given", "best"), [(None, 3), (0, 1)])
def test_the_best_epoch_is_counted_from_one(tmp_path, monkeypatch, given, best):
    figures = []
    monkeypatch.setattr(training, "save", lambda figure, path, caption: figures.append(figure))
    loss_curves(history(), tmp_path / "l.png", given)
    assert f"best epoch ({best})" in [text.get_text() for text in figures[0].legends[0].get_texts()]
    (line,) = (line for line in figures[0].axes[0].lines if line.get_linestyle() == "--")
    assert list(line.get_xdata()) == [best, best]


def test_long_names_of_figures_keep_their_middle():
    assert wrapped("wasserstein") == "wasserstein"
    assert wrapped("fid/classifier@10aa0b1c2d3e-clean-exact/n2000") == "fid/classifier@10aa0b1c2d3e-\nclean-exact/n2000"
    names = [wrapped(f"fid/classifier@10aa0b1c2d3e4f50-{how}-exact/n2000") for how in ("clean", "tf1", "half_pixel")]
    assert len(set(names)) == 3 and all("…" not in name for name in names)
    assert wrapped("a" * 50).count("a") == 35 and "…" in wrapped("a" * 50)  # nowhere to break


def test_loss_curves_need_a_figure(tmp_path):
    assert loss_curves(history(), tmp_path / "l.png").exists()
    with pytest.raises(ValueError, match="no figure"):
        loss_curves(pd.DataFrame({"epoch": [0], "step": [0], "train/loss": [np.nan]}), tmp_path / "x.png")
    assert [p.name for p in tmp_path.iterdir()] == ["l.png"]


@pytest.mark.parametrize(
    ("latent", "said"), [(1, "its only dimension"), (2, "both dimensions"), (6, "principal axes of 6")]
)
def test_the_latent_picture_says_what_it_shows(rng, tmp_path, latent, said):
    labels = rng.choice(["_a", "b"], 50)
    path = latent_plot(rng.normal(size=(50, latent)), labels, tmp_path / "z.png", "group")
    assert said in Image.open(path).info["Description"] and "group" in Image.open(path).info["Description"]


@pytest.mark.parametrize("labels", [None, np.arange(100.0), np.array([f"class {i}" for i in range(100)])])
def test_latent_labels_of_any_kind(rng, tmp_path, labels):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert latent_plot(rng.normal(size=(100, 3)), labels, tmp_path / "z.png").stat().st_size < MOST_BYTES


def test_kl_marks_active_units(tmp_path):
    path = kl_plot(np.array([1.0, 0.001, 0.5]), tmp_path / "kl.png")
    assert "2 of 3 units active, 1.50 nats" in Image.open(path).info["Description"]
    path = kl_plot(np.array([1.0, 0.001, 0.5]), tmp_path / "kl.png", active=np.array([True, False, False]))
    assert "1 of 3 units active" in Image.open(path).info["Description"]


@pytest.mark.journey
def test_the_look_stays_inside_and_pyplot_outside(tmp_path):
    before = dict(matplotlib.rcParams)
    kl_plot(np.ones(2), tmp_path / "kl.png")
    assert dict(matplotlib.rcParams) == before
    modules = "datakiln.plots.table, datakiln.plots.latent, datakiln.plots.training"
    code = f"import sys, {modules}; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_failed_drawing_leaves_the_old_picture(tmp_path, monkeypatch):
    path = kl_plot(np.ones(2), tmp_path / "kl.png")
    old = path.read_bytes()
    monkeypatch.setattr(Image.Image, "save", lambda *args, **options: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        kl_plot(np.zeros(3), path)
    assert path.read_bytes() == old and list(tmp_path.iterdir()) == [path]


def test_labels_are_short():
    assert (
        compact(150_000) == "150k"
        and compact(2_000_000) == "2M"
        and compact(1234) == "1234"
        and compact(-0.5) == "−0.5"
    )
    assert len(shorten("a very long column name that goes on", 20)) == 20 and shorten("  ") == "(blank)"
