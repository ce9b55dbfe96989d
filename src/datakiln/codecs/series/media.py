"""Sound and text as series of one code of 256: mu-law samples and bytes."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd

Medium = Literal["rows", "text", "sound"]
CODES = 256
COLUMN = {"text": "byte", "sound": "sample"}
FILE, CLASS = "file", "class"  # columns of a sound: its name, and the folder it lies in
RATE = 8000  # samples a second of all sound
MU = 255.0


def mu_law(wave: np.ndarray) -> np.ndarray:
    """Samples in [-1, 1] to codes 0 to 255, evenly spaced in the logarithm of the loudness (ITU-T G.711, mu = 255)."""
    wave = np.clip(wave, -1.0, 1.0)
    pressed = np.sign(wave) * np.log1p(MU * np.abs(wave)) / np.log1p(MU)
    return np.floor((pressed + 1.0) / 2.0 * MU + 0.5).astype(np.uint8)


def from_mu_law(codes: np.ndarray) -> np.ndarray:
    """Inverse of `mu_law`."""
    pressed = 2.0 * np.asarray(codes, dtype=np.float64) / MU - 1.0
    return np.sign(pressed) * np.expm1(np.abs(pressed) * np.log1p(MU)) / MU


def every_code(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    """The rows with one more for each code, so that one which no training row has can be measured, too."""
    return pd.concat([frame, pd.DataFrame({column: np.arange(CODES)})], ignore_index=True)


def codes_of(frame: pd.DataFrame, medium: Medium) -> np.ndarray:
    """The codes of rows, (n,), dtype uint8."""
    return frame[COLUMN[medium]].to_numpy().astype(np.uint8)
