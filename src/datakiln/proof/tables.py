"""The proof for tables: synthetic.csv, fidelity, utility and privacy figures, plots of columns, pairs and latents."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from omegaconf import DictConfig

from datakiln.console import Console
from datakiln.data.tables.metadata import write_metadata
from datakiln.data.tables.tables import TableData
from datakiln.errors import UserError, near
from datakiln.loggers.about import Samples
from datakiln.metrics.base import Canaries, EvalData, Figure
from datakiln.metrics.evaluate import evaluate_table
from datakiln.models.vae.vae import ACTIVE_VARIANCE, VAE
from datakiln.plots.latent import kl_plot, latent_plot
from datakiln.plots.table import column_plots, correlation_plot, embedding_plot
from datakiln.plots.training import loss_curves
from datakiln.proof.base import Proof, scores
from datakiln.proof.latent import latent_scores
from datakiln.proof.readings import table_reading
from datakiln.proof.shadows import Shadows
from datakiln.results import Score
from datakiln.sampling.scoring import scorers_of
from datakiln.sampling.synthesizer import Synthesizer
from datakiln.sampling.writing import as_csv
from datakiln.spec import Batch
from datakiln.storage import replacing

PREVIEW_ROWS, SAMPLE_ROWS = 10, 100
Metric = Callable[[EvalData], list[Figure]]


class TableProof(Proof):
    """See `Proof`."""

    data: TableData

    @property
    def n_holdout(self) -> int:
        """Test rows."""
        return self.data.n_holdout

    def check(self, cfg: DictConfig) -> None:
        """The secret column is one of the table's."""
        names, secret = self.data.schema.numeric + self.data.schema.choices, cfg.get("secret")
        if secret is not None and secret not in names:
            raise UserError(f"secret={secret} is no column that is learnt{near(str(secret), names)}")

    def trained_as(self, config: Mapping[str, Any], epochs: int) -> None:
        """See `Proof`; a model that cannot be trained again has no shadows, and who asks for some is told so."""
        is_plain = self.data.fitted is None and self.data.public is None
        if is_plain and (config.get("model") or {}).get("first_stage") is None:
            self.shadows = Shadows(config, self.data, epochs)

    def write_synthetic(self, synthesizer: Synthesizer, n: int, seed: int, folder: Path) -> pd.DataFrame:
        """Writes `synthetic.csv`, and `metadata.json` that says what its columns are."""
        if synthesizer.model.can_draw:
            frame: pd.DataFrame = synthesizer.sample(n, seed=seed, options=self.sampling)
        else:
            frame = synthesizer.transform(self.data.frames["test"].head(n), seed=seed)
        with replacing(folder / "synthetic.csv") as partial:
            partial.write_bytes(as_csv(frame, self.data.schema))
        write_metadata(self.data.schema, frame, folder / "metadata.json")
        return frame

    def figures(self, synthetic: pd.DataFrame, metrics: Sequence[Metric], seed: int, console: Console) -> list[Score]:
        """Every metric of the config, with a line about progress on a terminal."""
        frames, is_unseen = self.data.real, self.data.validation == "apart" and "val" in self.data.real
        data = EvalData(
            self.data.schema, frames["train"], frames["test"], synthetic, seed,
            unscored=frames["val"] if is_unseen else None, retrain=self.shadows, secret=self.secret,
            scorers={} if self.synthesizer is None else scorers_of(self.synthesizer), canaries=_canaries(self.data),
        )  # fmt: skip
        with console.work("measuring", len(metrics)) as work:
            return scores(evaluate_table(data, metrics, progress=work.step))

    def latent(self, seed: int) -> list[Score]:
        """Probes of the numeric columns and of the label, and paths in standardised rows."""
        assert self.synthesizer is not None
        return latent_scores(self.synthesizer, partial(table_reading, self.data, self.synthesizer, seed), seed)

    def plots(self, synthesizer: Synthesizer, synthetic: pd.DataFrame, folder: Path) -> list[Path]:
        """Columns, correlations, embedding, curves; for a VAE its latent space and the KL of each dimension."""
        target = folder / "plots"
        target.mkdir(exist_ok=True)
        schema, train = self.data.schema, self.data.real["train"]
        drawn: list[Path | None] = [*column_plots(schema, train, synthetic, target)]
        drawn.append(correlation_plot(schema, train, synthetic, target / "correlations.png"))
        drawn.append(embedding_plot(schema, train, synthetic, target / "embedding.png"))
        history = self.history(folder / "metrics.csv")
        if history is not None and len(history):
            drawn.append(loss_curves(history, target / "curves.png"))
        if isinstance(synthesizer.model, VAE):
            drawn += self._latent_plots(synthesizer.model, target)
        return [path for path in drawn if path is not None]

    @torch.no_grad()
    def _latent_plots(self, model: VAE, target: Path) -> list[Path]:
        x, y = self.data.tensors["train"]
        rows = torch.arange(len(x))[:5000]
        batch = Batch(x[rows].to(model.device), None if y is None else y[rows].to(model.device))
        mean, log_var = model.encode(batch)
        kl = 0.5 * (mean.square() + log_var.exp() - 1.0 - log_var).mean(dim=0)
        labels = None if y is None else np.asarray(model.spec.classes)[y[rows].cpu().numpy()]
        active = (mean.var(dim=0) > ACTIVE_VARIANCE).cpu().numpy()
        return [
            latent_plot(mean.cpu().numpy(), labels, target / "latent.png", title=self.data.schema.label or ""),
            kl_plot(kl.cpu().numpy(), target / "kl_per_dimension.png", active=active),
        ]

    def samples(self, synthetic: pd.DataFrame) -> Samples:
        """More of the first rows."""
        return Samples(rows=synthetic.head(SAMPLE_ROWS))

    def preview(self, synthetic: pd.DataFrame) -> pd.DataFrame:
        """The first rows."""
        return synthetic.head(PREVIEW_ROWS)


def _canaries(data: TableData) -> Canaries | None:
    """What was planted among the training rows, as metrics take it."""
    made = data.planted
    return None if made is None else Canaries(made.rows, made.times, made.control)
