"""Pictures of series: what is drawn is what is there, and each file says what it shows."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from datakiln.plots import latent, series

T = 16


@pytest.fixture
def kept(monkeypatch):
    """Figures as they are written."""
    found = []
    for module in (series, latent):
        write = module.save

        def save(figure, path, caption, write=write):
            found.append(figure)
            return write(figure, path, caption)

        monkeypatch.setattr(module, "save", save)
    return found


@pytest.fixture
def windows():
    """Real and synthetic windows (n, T, 3) of a walk, a number of millions, and a state."""
    rng = np.random.default_rng(0)
    parts = []
    for n in (40, 30):
        state = rng.random((n, T)) < 0.25
        parts.append(np.stack([rng.normal(size=(n, T)).cumsum(axis=1), 1e7 * rng.random((n, T)), state], axis=2))
    return parts


def test_paths_are_drawn_side_by_side_and_states_in_lanes(kept, windows, tmp_path):
    path = series.paths_plot(("walk", "volume", "state is on"), *windows, tmp_path / "paths.png")
    grid = np.array(kept[0].axes).reshape(3, 2)
    for side, part in enumerate(windows):
        drawn = [line.get_ydata() for line in grid[0, side].lines]
        assert len(drawn) == series.PATHS and np.array_equal(drawn[0], part[0, :, 0])
        assert np.array_equal(drawn[-1], part[-1, :, 0])
        lanes = [patch.get_data() for patch in grid[2, side].patches]
        assert np.array_equal(lanes[0].values > lanes[0].baseline, part[0, :, 2] == 1.0)
    assert [axes.get_title("left") for axes in grid[0]] == ["Real", "Synthetic"]
    assert "M" in grid[1, 0].yaxis.get_major_formatter()(20_000_000.0)  # and no power of ten beside the axis
    assert "sample paths" in Image.open(path).info["Description"]


def test_bands_are_quantiles_and_of_states_shares(kept, windows, tmp_path):
    series.bands_plot(("walk", "volume", "state is on"), *windows, tmp_path / "bands.png")
    for at, told in ((0, np.median), (2, np.mean)):
        lines = kept[0].axes[at].lines
        for line, part in zip(lines, windows, strict=True):
            assert np.allclose(line.get_ydata(), told(part[..., at], axis=0))


def test_spectra_are_drawn_over_cycles_of_a_step(kept, tmp_path):
    real, made = np.arange(8.0)[:, None], np.ones((8, 1))
    path = series.spectra_plot(("wave",), real, made, T, tmp_path / "spectra.png")
    first, second = kept[0].axes[0].lines
    assert first.get_xdata()[-1] == 0.5 and first.get_xdata()[0] == 1 / T
    assert np.array_equal(first.get_ydata(), real[:, 0]) and np.array_equal(second.get_ydata(), made[:, 0])
    assert "power spectra" in Image.open(path).info["Description"]


def test_windows_lie_along_the_axes_of_the_real_ones(kept, windows, tmp_path):
    """Windows that differ in their level alone lie on a line, that of the first axis; of far ones there is one too."""
    level = np.random.default_rng(0).normal(size=(200, 1, 1))
    real = np.repeat(level, T, axis=1)
    path = series.windows_plot(real, real[:50] + 100.0, tmp_path / "windows.png")
    left, middle, _ = kept[0].axes
    x, y = (np.asarray(axes.collections[0].get_offsets()) for axes in (left, middle))
    assert "100% of the variance" in left.get_xlabel() and np.allclose(x[:, 1], 0.0, atol=1e-6)
    assert abs(y[:, 0].mean() - x[:, 0].mean()) == pytest.approx(100.0 / level.std() * T**0.5, rel=0.02)
    series.windows_plot(*windows, tmp_path / "more.png")
    assert "principal axes" in Image.open(path).info["Description"]
