"""The proof for series: synthetic.csv, figures of windows, and pictures of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path

import numpy as np
import pandas as pd

from datakiln.codecs.series.series import Roles
from datakiln.codecs.tables.values import to_numbers
from datakiln.console import Console
from datakiln.data.series.series import SeriesData
from datakiln.metrics.series.fidelity import autocorrelations, spectra
from datakiln.metrics.series.rules import Holds, broken_rules
from datakiln.metrics.series.sets import (
    Floats,
    Metric,
    SeriesSets,
    choices_of,
    evaluate_series,
    matrix,
    names_of,
    origins,
    starts,
    windows,
)
from datakiln.plots.series import autocorrelation_plot, bands_plot, paths_plot, spectra_plot, windows_plot
from datakiln.plots.training import loss_curves
from datakiln.proof.base import Proof, scores
from datakiln.proof.latent import latent_scores, not_there
from datakiln.proof.media import media_plots, media_scores, write_beside
from datakiln.proof.readings import series_reading
from datakiln.results import Score
from datakiln.sampling.series import series_csv
from datakiln.sampling.synthesizer import Synthesizer
from datakiln.schema import Field, Schema
from datakiln.storage import replacing

PREVIEW_ROWS = 10
SHORT = 0.25  # quantile of the lengths of sequences that windows of panels have
LEAST_STEPS = 3


class SeriesProof(Proof):
    """See `Proof`."""

    data: SeriesData

    @property
    def n_holdout(self) -> int:
        """Test rows."""
        return len(self.data.frames["test"])

    def write_synthetic(self, synthesizer: Synthesizer, n: int, seed: int, folder: Path) -> pd.DataFrame:
        """Writes `synthetic.csv`."""
        frame: pd.DataFrame = synthesizer.sample(n, seed=seed, options=self.sampling)
        with replacing(folder / "synthetic.csv") as partial:
            partial.write_bytes(series_csv(frame, self.data.codec))
        if self.data.codec.medium != "rows":
            write_beside(frame, self.data, folder)
        return frame

    def sets(self, synthetic: pd.DataFrame, seed: int) -> SeriesSets:
        """Windows of the three parts."""
        data = self.data
        length = data.length
        if data.ends:
            length = int(np.quantile(np.bincount(data.group["train"]), SHORT))
        frames = {**data.frames, "synthetic": synthetic}
        groups = {**data.group, "synthetic": data.codec.groups(synthetic)}
        declared = {str(rule): partial(rule.holds, schema=data.schema) for rule in data.rules.constraints}
        sets = series_sets(data.schema, data.roles, frames, groups, max(length, LEAST_STEPS), seed, declared)
        return sets if data.window is None and data.entity is not None else dataclasses.replace(sets, lengths={})

    def figures(self, synthetic: pd.DataFrame, metrics: Sequence[Metric], seed: int, console: Console) -> list[Score]:
        """Every metric of the config, with a line about progress on a terminal; of sound and text their own."""
        if self.data.codec.medium != "rows":
            return media_scores(self.data, self.synthesizer, synthetic)
        with console.work("measuring", len(metrics)) as work:
            return scores(evaluate_series(self.sets(synthetic, seed), metrics, progress=work.step))

    def latent(self, seed: int) -> list[Score]:
        """Probes of level, trend and volatility, and paths in windows scaled to training ranges."""
        assert self.synthesizer is not None
        can_walk = self.synthesizer.model.can_walk
        if can_walk and self.data.codec.medium != "rows":
            return not_there("not computed: this measures rows of numbers, not sound or text")
        if can_walk and self.data.ends:
            return not_there("not computed: sequences end by themselves; set data.window= to measure windows")
        return latent_scores(self.synthesizer, partial(series_reading, self.data, self.synthesizer), seed)

    def plots(self, synthesizer: Synthesizer, synthetic: pd.DataFrame, folder: Path) -> list[Path]:
        """Paths, bands, autocorrelations, spectra, windows and curves."""
        target = folder / "plots"
        target.mkdir(exist_ok=True)
        if self.data.codec.medium != "rows":
            drawn = media_plots(self.data, synthetic, target)
        else:
            drawn = series_plots(self.sets(synthetic, 0), target)
        history = self.history(folder / "metrics.csv")
        if history is not None and len(history) and (curves := loss_curves(history, target / "curves.png")):
            drawn.append(curves)
        return drawn

    def preview(self, synthetic: pd.DataFrame) -> pd.DataFrame:
        """The first rows."""
        return synthetic.head(PREVIEW_ROWS)


def series_sets(
    schema: Schema,
    roles: Roles,
    frames: dict[str, pd.DataFrame],
    groups: dict[str, np.ndarray],
    length: int,
    seed: int,
    declared: Mapping[str, Holds] | None = None,
) -> SeriesSets:
    """Windows of "train", "test" and "synthetic" rows, those of one sequence together and in order.

    Arguments:
        schema: Of all columns.
        roles: What they are for.
        frames: Rows of each part, in user units.
        groups: Sequence of each row, (n,).
        length: Steps of a window.
        seed: Of every judge.
        declared: Constraints of the columns of a row, by name.
    """
    out = [roles.entity, roles.time]
    found, lengths, owners, begin, whole = {}, {}, {}, {}, None
    for name in ("train", "test", "synthetic"):
        values = matrix(frames[name], schema, out, frames["train"])
        found[name] = windows(values, groups[name], length)
        begin[name] = origins(groups[name], length)
        lengths[name] = np.bincount(groups[name])
        if name == "train":
            whole = values, starts(groups[name], length, len(values))
        if roles.entity is not None and name != "synthetic":
            owners[name] = begin[name][:, 0]
    within = Schema(tuple(field for field in schema.fields if field.name not in out))
    kept = {name: frames[name][within.names] for name in found}
    return SeriesSets(
        names_of(schema, out, frames["train"]),
        found["train"],
        found["test"],
        found["synthetic"],
        lengths,
        seed,
        owners,
        begin,
        choices=choices_of(schema, out, frames["train"]),
        static=roles.static,
        gaps={} if roles.time is None else time_gaps(schema[roles.time], frames, groups),
        rules=cache(partial(broken_rules, kept, within, declared or {}, seed)),
        whole=whole,
    )


def time_gaps(time: Field, frames: Mapping[str, pd.DataFrame], groups: Mapping[str, np.ndarray]) -> dict[str, Floats]:
    """Time between rows of a sequence that follow each other, seconds of dates, by part; {} where a part has none."""
    found = {}
    for name in ("train", "test", "synthetic"):
        values = to_numbers(frames[name][time.name], time)
        steps = np.diff(values)[groups[name][1:] == groups[name][:-1]]
        found[name] = steps[~np.isnan(steps)]
    return found if all(len(steps) for steps in found.values()) else {}


def series_plots(sets: SeriesSets, target: Path) -> list[Path]:
    """Paths, bands, autocorrelations, spectra and principal axes of training and synthetic windows.

    Static columns, which do not move, are left out where there are others.
    """
    if not len(sets.train) or not len(sets.synthetic):
        return []
    moving = [j for j, name in enumerate(sets.sources) if name not in sets.static] or list(range(len(sets.names)))
    names = tuple(sets.names[j] for j in moving)
    real, made = sets.train[..., moving], sets.synthetic[..., moving]
    return [
        paths_plot(names, real, made, target / "paths.png"),
        bands_plot(names, real, made, target / "bands.png"),
        autocorrelation_plot(names, autocorrelations(real), autocorrelations(made), target / "autocorrelations.png"),
        spectra_plot(names, spectra(real), spectra(made), real.shape[1], target / "spectra.png"),
        windows_plot(real, made, target / "windows.png"),
    ]
