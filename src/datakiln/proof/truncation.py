"""What truncation buys and costs: precision against recall (Brock et al., 2019, figure 16)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from datakiln.callbacks.fid import training_sets
from datakiln.data.pictures.pictures import ImageData
from datakiln.metrics.pictures.images import possible_figures
from datakiln.metrics.pictures.statistics import STORE, statistics_of
from datakiln.sampling.synthesizer import Synthesizer
from datakiln.spec import Sampling
from datakiln.storage import replacing


@dataclass(frozen=True)
class Point:
    """One truncation, precision and recall there, and by what they were measured."""

    truncation: float
    precision: float
    recall: float
    network: str
    n: int


def curve(synthesizer: Synthesizer, data: ImageData, truncations: Sequence[float], n: int, seed: int) -> list[Point]:
    """Precision and recall of n samples at each truncation, against as many training pictures.

    Raises:
        UserError: The model does not follow truncation.
    """
    synthesizer.check(Sampling(truncation=truncations[0]))
    sets = replace(training_sets(data, data.device, True), trained_with=synthesizer.model.networks)
    network = sets.judging("auto", "exact", "clean")
    real = sets.reference(network, n, STORE)
    found = []
    for truncation in sorted(truncations):
        made = synthesizer.sample(n, seed=seed, options=Sampling(truncation=truncation))
        judged = replace(sets, judged=torch.from_numpy(made))
        fake = statistics_of(network, judged.features(network, n), STORE, seed)
        values = {f.name.split("/")[0]: f.value for f in possible_figures(real, fake, ("manifold",), brief=True)}
        found.append(Point(truncation, values["precision"], values["recall"], network.tag, n))
    return found


def save_curve(points: Sequence[Point], path: Path) -> None:
    """Writes the curve as a picture, or as a table where the path ends in .csv."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() == ".csv":
        lines = ["truncation,precision,recall,network,n"]
        lines += [f"{p.truncation:g},{p.precision:.5f},{p.recall:.5f},{p.network},{p.n}" for p in points]
        with replacing(path) as partial:
            partial.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    axes.plot([p.recall for p in points], [p.precision for p in points], marker="o")
    for p in points:
        axes.annotate(f"{p.truncation:g}", (p.recall, p.precision), textcoords="offset points", xytext=(6, -10))
    axes.set_title(f"by truncation; {points[0].network}, n={points[0].n}", fontsize="small")
    with replacing(path) as partial:
        figure.savefig(partial, format="png", dpi=120)
