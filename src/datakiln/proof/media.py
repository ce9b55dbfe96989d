"""What sound and text are judged by: bits a code beside compressors, runs learnt by heart, spectrograms."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from datakiln.codecs.series.media import CLASS, RATE, codes_of, from_mu_law
from datakiln.data.series.series import SeriesData
from datakiln.metrics.series.text import GRAM, ORDER, gzip_bits, ngram_bits, remembered, xz_bits
from datakiln.plots.sound import spectrograms
from datakiln.results import Score
from datakiln.sampling.media import write_media
from datakiln.sampling.synthesizer import Synthesizer

JUDGED = 100_000  # codes of the held-out part that are judged, the first ones
SOUNDS = 4  # drawn


def write_beside(frame: pd.DataFrame, data: SeriesData, folder: Path) -> None:
    """The drawn text as `synthetic.txt`, or the drawn sounds as WAV files in `synthetic/`."""
    out = folder / ("synthetic.txt" if data.codec.medium == "text" else "synthetic")
    if out.is_dir():  # of this very run, killed before
        for path in sorted(out.rglob("*.wav")):
            path.unlink()
        for path in sorted(out.glob("*/")):
            path.rmdir()
    write_media(out, iter([frame]), data.codec)


def media_scores(data: SeriesData, synthesizer: Synthesizer | None, synthetic: pd.DataFrame) -> list[Score]:
    """Bits a code of the held-out part; of text also by gzip, xz and counts, and what is learnt by heart."""
    medium = data.codec.medium
    unit = "bits_per_character" if medium == "text" else "bits_per_sample"
    found = []
    test = data.frames["test"].iloc[:JUDGED]
    bits = None
    if synthesizer is not None and synthesizer.model.likelihood != "none":
        bits = model_bits(data, synthesizer, len(test))
    if medium == "sound":
        shares = np.bincount(codes_of(data.frames["train"], medium), minlength=256) + 1.0
        own = -np.log2(shares / shares.sum())[codes_of(test, medium)].mean()
        if bits is not None:
            note = f"by the shares of its 256 codes alone {own:.3f}"
            found.append(Score(f"sound/{unit}", bits, "lower", low=0.0, high=8.0, n=len(test), note=note))
        return found
    train, held = (codes_of(part, medium).tobytes() for part in (data.frames["train"], test))
    others = {"gzip": gzip_bits(train, held), "xz": xz_bits(train, held), f"{ORDER}gram": ngram_bits(train, held)}
    if bits is not None:
        worse = [name for name, value in others.items() if bits > value]
        note = f"above {', '.join(worse)}: a compressor knows this text better" if worse else "below all compressors"
        found.append(Score(f"text/{unit}", bits, "lower", low=0.0, high=8.0, n=len(held), note=note))
    for name, value in others.items():
        found.append(
            Score(f"text/{unit}_{name}", value, "none", low=0.0, n=len(held), note="of the training text told")
        )
    made = codes_of(synthetic, medium).tobytes()
    if len(made) >= GRAM:
        share, real = remembered(train, made), remembered(train, held)
        note = f"of {GRAM} bytes each; of the held-out text {real:.1%} stand there"
        found.append(Score("text/remembered", share, "lower", 0.0, 1.0, ceiling=real, n=len(made), note=note))
    return found


@torch.no_grad()
def model_bits(data: SeriesData, synthesizer: Synthesizer, count: int) -> float:
    """Mean bits of the first codes of the held-out sequences, each given those before it in its sequence."""
    frame, group = data.frames["test"].iloc[:count], data.group["test"][:count]
    total = 0.0
    for i in np.unique(group):
        rows = frame[group == i].reset_index(drop=True)
        x = data.codec.encode_whole(rows).to(synthesizer.model.device)
        told = synthesizer.model.log_probs(x)  # type: ignore[operator]
        total -= float(told.double().sum())
    return total / count / math.log(2.0)


def media_plots(data: SeriesData, synthetic: pd.DataFrame, target: Path) -> list[Path]:
    """Spectrograms of held-out and drawn sounds; of text nothing is drawn."""
    if data.codec.medium != "sound":
        return []
    real, made = _sounds(data.frames["test"], data), _sounds(synthetic, data)
    return [spectrograms(real, made, RATE, target / "spectrograms.png")]


def _sounds(frame: pd.DataFrame, data: SeriesData) -> list[tuple[str, np.ndarray]]:
    found = []
    for name, rows in frame.groupby(data.roles.entity, sort=False):
        title = str(rows[CLASS].iloc[0]) if CLASS in rows else str(name)
        found.append((title, from_mu_law(codes_of(rows, "sound"))))
        if len(found) == SOUNDS:
            break
    return found
