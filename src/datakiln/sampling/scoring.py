"""What a trained model itself says of real examples, one by one: who holds the model can attack with more than samples.

Each score is higher for what the model knows better. A model with a likelihood is asked for that, any other for its
loss, and a GAN for what its critic makes of the example (Hayes et al., 2019, LOGAN, https://arxiv.org/abs/1705.07663).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from datakiln.codecs.tables.table import TableCodec
from datakiln.models.gan.adversarial import AdversarialModel
from datakiln.sampling.synthesizer import Synthesizer
from datakiln.spec import Batch

Scorer = Callable[[Any], NDArray[np.float64]]
PIECE = 4096
ASKED, REPEATS = 400, 16  # examples whose loss is worked out, each alone, and draws of its noise


def scorers_of(synthesizer: Synthesizer, name: str = "model") -> Mapping[str, Scorer]:
    """Scores by the name of the attack; functions from examples in user units to scores of shape (n,).

    NaN stands for an example that was not asked: the loss is worked out one example at a time, for 400 of them at most.

    Arguments:
        synthesizer: The model and its codec.
        name: What the attacks call it.
    """
    model = synthesizer.model
    found: dict[str, Scorer] = {}
    if model.likelihood != "none" and isinstance(synthesizer.codec, TableCodec):
        found[f"likelihood of the {name}"] = functools.partial(_likelihood, synthesizer)
    elif isinstance(model, AdversarialModel):
        found[f"critic of the {name}"] = functools.partial(_critic, synthesizer)
    elif any(parameter.requires_grad for parameter in model.parameters()):
        found[f"loss of the {name}"] = functools.partial(_loss, synthesizer)
    return found


def _likelihood(synthesizer: Synthesizer, examples: pd.DataFrame) -> NDArray[np.float64]:
    """Log-probability in nats; an example that the model cannot read is as unlikely as the least likely one."""
    parts = [synthesizer.log_prob(examples.iloc[at : at + PIECE]).to_numpy() for at in range(0, len(examples), PIECE)]
    scores = np.concatenate(parts).astype(np.float64)
    known = scores[np.isfinite(scores)]
    return np.where(np.isfinite(scores), scores, known.min() if len(known) else np.nan)


@torch.no_grad()
def _critic(synthesizer: Synthesizer, examples: Any) -> NDArray[np.float64]:  # noqa: ANN401 (a frame or pictures)
    model = synthesizer.model
    assert isinstance(model, AdversarialModel)
    batch = _encoded(synthesizer, examples)
    with _quiet(synthesizer):
        parts = [model.judgement(batch.rows(slice(at, at + PIECE))) for at in range(0, len(batch.x), PIECE)]
    return torch.cat(parts).double().cpu().numpy()


@torch.no_grad()
def _loss(synthesizer: Synthesizer, examples: Any) -> NDArray[np.float64]:  # noqa: ANN401 (a frame or pictures)
    batch = _encoded(synthesizer, examples)
    scores = np.full(len(batch.x), np.nan)
    rows = np.random.default_rng(len(scores)).permutation(len(scores))[:ASKED]
    losses: list[Tensor] = []
    for i in rows.tolist():
        alone = batch.rows(slice(i, i + 1)).each(lambda part: part.expand(REPEATS, *part.shape[1:]))
        with _quiet(synthesizer):  # the same noise for every example
            losses.append(synthesizer.model.losses(alone)["loss"])
    scores[rows] = -torch.stack(losses).double().cpu().numpy()
    return scores


class _quiet:  # noqa: N801 (a context manager reads as a verb)
    """The model in eval mode, and torch's generators at a fixed seed; the caller's own afterwards."""

    def __init__(self, synthesizer: Synthesizer) -> None:
        self.model = synthesizer.model
        cuda = [self.model.device] if self.model.device.type == "cuda" else []
        self.fork = torch.random.fork_rng(devices=cuda)

    def __enter__(self) -> None:
        self.was_training = self.model.training
        self.model.eval()
        self.fork.__enter__()
        torch.manual_seed(0)

    def __exit__(self, *error: Any) -> None:  # noqa: ANN401
        self.fork.__exit__(*error)
        self.model.train(self.was_training)


def _encoded(synthesizer: Synthesizer, examples: Any) -> Batch:  # noqa: ANN401
    if isinstance(examples, Batch):  # pictures come encoded, with their labels
        return examples.to(synthesizer.model.device)
    codec: Any = synthesizer.codec
    x, y = codec.encode(examples), codec.labels(examples)
    return Batch(x, y).to(synthesizer.model.device)
