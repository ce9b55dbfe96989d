"""How well text is compressed, and how much of a training text stands in a drawn one."""

from __future__ import annotations

import gzip
import lzma
import math
from collections import defaultdict
from collections.abc import Callable

CODES = 256
ORDER = 5
GRAM = 20  # bytes that nobody writes twice by chance


def compressed_bits(compress: Callable[[bytes], bytes], train: bytes, test: bytes) -> float:
    """Bits a byte that a held-out text takes behind the training text: what a compressor has learnt of that counts."""
    return 8.0 * (len(compress(train + test)) - len(compress(train))) / len(test)


def gzip_bits(train: bytes, test: bytes) -> float:
    """By gzip, which looks 32,768 bytes back."""
    return compressed_bits(lambda content: gzip.compress(content, 9, mtime=0), train, test)


def xz_bits(train: bytes, test: bytes) -> float:
    """By xz, which looks all the way back."""
    return compressed_bits(lambda content: lzma.compress(content, preset=9 | lzma.PRESET_EXTREME), train, test)


def ngram_bits(train: bytes, test: bytes, order: int = ORDER) -> float:
    """By counts of what follows up to `order` bytes, mixed as by Witten and Bell (1991); the counts are of `train`.

    p(c | context) = (n(context, c) + t(context) p(c | shorter context)) / (n(context) + t(context)), with t the number
    of different bytes that follow; below the empty context all 256 are even.
    """
    counts: list[dict[bytes, dict[int, int]]] = [defaultdict(dict) for _ in range(order + 1)]
    for i, code in enumerate(train):
        for k in range(min(order, i) + 1):
            followed = counts[k][train[i - k : i]]
            followed[code] = followed.get(code, 0) + 1
    sums = [{context: sum(found.values()) for context, found in level.items()} for level in counts]
    total = 0.0
    for i, code in enumerate(test):
        share = 1.0 / CODES
        for k in range(min(order, i) + 1):
            found = counts[k].get(test[i - k : i])
            if found is None:
                break
            kinds = len(found)
            share = (found.get(code, 0) + kinds * share) / (sums[k][test[i - k : i]] + kinds)
        total -= math.log2(share)
    return total / len(test)


def remembered(train: bytes, made: bytes, size: int = GRAM) -> float:
    """Share of the runs of `size` bytes of a drawn text that stand in the training text."""
    known = {train[i : i + size] for i in range(len(train) - size + 1)}
    runs = [made[i : i + size] for i in range(len(made) - size + 1)]
    return sum(run in known for run in runs) / max(len(runs), 1)
