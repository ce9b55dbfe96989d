"""Noise from the system's secure source: exact discrete Gaussians for counts, and a choice among scores.

All that is added to counts is sampled exactly, with integers alone (Canonne, Kamath and Steinke, 2020,
https://arxiv.org/abs/2004.00010): the bits of a floating-point Gaussian give its count away (Mironov, 2012). Nothing
here takes a seed, and nothing keeps a state that a checkpoint could hold.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
SMALL = 4_000  # up to this scale every product below fits into 64 bits; beyond it Python's integers take over
PARTS = 1_000  # steps of a score that a choice tells apart
MOST = 2**62


def uniform_below(limit: int, n: int) -> NDArray[Any]:
    """Whole numbers from 0 to limit - 1, each as likely, shape (n,); int64, or Python's integers for a large limit."""
    if limit > MOST:
        size = (limit.bit_length() + 7) // 8
        mask = (1 << limit.bit_length()) - 1
        found: list[int] = []
        while len(found) < n:
            value = int.from_bytes(os.urandom(size), "little") & mask
            if value < limit:
                found.append(value)
        return np.array(found, dtype=object)
    top = 2**64 - 2**64 % limit
    out = np.empty(n, dtype=np.int64)
    todo = np.arange(n)
    while len(todo):
        words = np.frombuffer(os.urandom(8 * len(todo)), dtype=np.uint64)
        fits = words < np.uint64(top) if top < 2**64 else np.ones(len(todo), dtype=bool)
        out[todo[fits]] = (words[fits] % np.uint64(limit)).astype(np.int64)
        todo = todo[~fits]
    return out


def happens(numerator: NDArray[Any], denominator: int) -> NDArray[np.bool_]:
    """True with probability exp(-numerator / denominator), exactly (algorithm 1 of the paper), shape (n,).

    Arguments:
        numerator: Whole numbers from 0, shape (n,).
        denominator: A positive whole number.
    """
    whole = numerator // denominator
    alive = np.ones(len(numerator), dtype=bool)
    at = np.flatnonzero(whole > 0)
    left = whole[at].copy()
    one = np.ones(1, dtype=np.int64)
    while len(at):
        ok = _at_most_one(np.repeat(one, len(at)), 1)
        alive[at[~ok]] = False
        left = left[ok] - 1
        at = at[ok][left > 0]
        left = left[left > 0]
    at = np.flatnonzero(alive)
    alive[at] = _at_most_one((numerator - whole * denominator)[at], denominator)
    return alive


def _at_most_one(numerator: NDArray[Any], denominator: int) -> NDArray[np.bool_]:
    """See `happens`; for numerators up to the denominator."""
    out = np.zeros(len(numerator), dtype=bool)
    at, k = np.arange(len(numerator)), 1
    while len(at):
        goes_on = np.asarray(uniform_below(denominator * k, len(at)) < numerator[at], dtype=bool)
        out[at[~goes_on]] = k % 2 == 1
        at, k = at[goes_on], k + 1
    return out


def discrete_laplace(scale: int, n: int) -> Ints:
    """Whole numbers with probability proportional to exp(-|x| / scale), exactly (algorithm 2), shape (n,)."""
    return np.asarray(_laplace(scale, n), dtype=np.int64)


def _laplace(scale: int, n: int) -> NDArray[Any]:
    kind = np.int64 if scale <= SMALL else object
    out = np.zeros(n, dtype=kind)
    todo = np.arange(n)
    while len(todo):
        offset = uniform_below(scale, len(todo))
        kept = happens(offset, scale)
        at, offset = todo[kept], offset[kept].astype(kind)
        turns, going = np.zeros(len(at), dtype=kind), np.arange(len(at))
        while len(going):
            going = going[_at_most_one(np.ones(len(going), dtype=np.int64), 1)]
            turns[going] += 1
        size = offset + turns * scale
        negative = uniform_below(2, len(at)) == 1
        fine = ~(negative & (size == 0))
        out[at[fine]] = np.where(negative, -size, size)[fine]
        done = np.zeros(n, dtype=bool)
        done[at[fine]] = True
        todo = todo[~done[todo]]
    return out


def discrete_gaussian(variance: int, n: int) -> Ints:
    """Whole numbers with probability proportional to exp(-x^2 / (2 variance)), exactly (algorithm 3), shape (n,).

    Added to a count that one row changes by at most 1, it is rho-zCDP with rho = 1 / (2 variance) (theorem 4).

    Arguments:
        variance: Of the noise, a positive whole number.
        n: How many.
    """
    if variance < 1:
        raise ValueError(f"variance={variance} must be a positive whole number")
    scale = math.isqrt(variance) + 1
    kind = np.int64 if scale <= SMALL else object
    out = np.zeros(n, dtype=np.int64)
    todo = np.arange(n)
    while len(todo):
        y = _laplace(scale, len(todo))
        off = np.abs(y).astype(kind) * scale - variance
        kept = happens(off * off, 2 * scale * scale * variance)
        out[todo[kept]] = y[kept].astype(np.int64)
        todo = todo[~kept]
    return out


def variance_for(rho: float, squared: float = 1.0) -> int:
    """The smallest whole variance with which discrete Gaussian noise costs at most rho.

    Arguments:
        rho: What it may cost, in zCDP.
        squared: Largest sum of squares by which one row changes what is measured.
    """
    return max(math.ceil(squared / (2 * rho)), 1)


def choose(scores: Sequence[float], epsilon: float) -> int:
    """The exponential mechanism over scores that one row changes by at most 1 (McSherry and Talwar, 2007), exactly.

    Candidates are proposed evenly and kept with probability exp(epsilon (score - best) / (2 sensitivity)); rounding a
    score to 1/1000 adds 1/1000 to its sensitivity, which is counted. It is epsilon^2 / 8-zCDP.

    Arguments:
        scores: Higher is better.
        epsilon: Of the choice.
    """
    steps = np.array([round(score * PARTS) for score in scores], dtype=object)
    behind = max(steps) - steps
    rate = math.floor(epsilon * 2**20)  # rounded down: never dearer than was said
    if rate < 1:
        return int(uniform_below(len(scores), 1)[0])
    denominator = 2 * (PARTS + 1) * 2**20
    while True:
        proposed = int(uniform_below(len(scores), 1)[0])
        if happens(np.array([behind[proposed] * rate], dtype=object), denominator)[0]:
            return proposed
