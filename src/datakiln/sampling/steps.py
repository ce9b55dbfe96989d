"""Constraints across the columns of a step of a series: asked of every step as it is drawn."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from datakiln.codecs.series.series import SeriesCodec
from datakiln.constraints import Rules


class StepRules:
    """Which steps meet all rules, for a model that draws the others again.

    Arguments:
        codec: Of the series.
        rules: Of its columns.
    """

    def __init__(self, codec: SeriesCodec, rules: Rules) -> None:
        """See the class."""
        self.codec, self.rules = codec, rules

    def __call__(self, x: Tensor) -> Tensor:
        """Encoded steps (n, D) to whether each meets them, (n,), dtype bool."""
        frame = self.codec.step_rows(x)
        met = np.ones(len(frame), dtype=bool)
        for constraint in self.rules.rowwise:
            met &= constraint.holds(frame, self.codec.schema)
        return torch.from_numpy(met).to(x.device)
