"""Pictures of sound: spectrograms, real beside synthetic."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from datakiln.plots.style import new_figure, save, shorten, styled

WINDOW = 256  # samples of a column of the picture
FLOOR = -80.0  # decibels below the loudest that are drawn
LEAST = 1e-12
Sounds = Sequence[tuple[str, np.ndarray]]


@styled
def spectrograms(real: Sounds, made: Sounds, rate: int, path: Path) -> Path:
    """Loudness by time and frequency: held-out sounds on the left, drawn ones on the right.

    Arguments:
        real: Titles and samples in [-1, 1].
        made: The same of drawn sounds.
        rate: Samples a second.
        path: Where the picture goes.
    """
    rows = max(len(real), len(made), 1)
    figure = new_figure(7.5, 1.5 * rows + 0.5)
    grid = figure.subplots(rows, 2, sharey=True, squeeze=False)
    for side, sounds in enumerate((real, made)):
        for i in range(rows):
            axes = grid[i, side]
            if i >= len(sounds):
                axes.set_axis_off()
                continue
            title, samples = sounds[i]
            power = _power(samples)
            decibels = 10.0 * np.log10(power / max(float(power.max()), LEAST) + LEAST)
            extent = (0.0, len(samples) / rate, 0.0, rate / 2000.0)
            axes.imshow(decibels, origin="lower", aspect="auto", extent=extent, vmin=FLOOR, vmax=0.0, cmap="magma")
            axes.set_title(f"{'real' if side == 0 else 'synthetic'}: {shorten(title, 24)}")
            axes.grid(False)
            if side == 0:
                axes.set_ylabel("kHz")
            if i == rows - 1:
                axes.set_xlabel("seconds")
    return save(figure, path, "Spectrograms, held-out sounds on the left and synthetic ones on the right.")


def _power(samples: np.ndarray) -> np.ndarray:
    """Squared magnitudes of overlapping windows, (frequencies, times)."""
    padded = np.pad(samples, (0, max(WINDOW - len(samples), 0)))
    begins = np.arange(0, len(padded) - WINDOW + 1, WINDOW // 4)
    pieces = padded[begins[:, None] + np.arange(WINDOW)] * np.hanning(WINDOW)
    return (np.abs(np.fft.rfft(pieces, axis=1)) ** 2).T
