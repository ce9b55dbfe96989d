"""In what form two folders keep their pictures: format, size, colours, JPEG quality; distances measure these too."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Sequence

from datakiln.data.pictures.files import Head

SHARE = 0.1  # of the files: a form may be rarer in one folder than in the other by less than this
SIDE = 0.02  # of the usual sides
QUALITY = 3.0  # of JPEG, 1 to 100


def differences(real: Sequence[Head], made: Sequence[Head]) -> list[str]:
    """What differs between the files of two folders, each in a few words, real ones first; empty if nothing does.

    Arguments:
        real: Beginnings of the real files.
        made: Those of the synthetic ones.
    """
    if not real or not made:
        return []
    found = [
        _shares("formats", real, made, lambda head: head.format),
        _shares("colour modes", real, made, lambda head: head.form),
        _sizes(real, made),
        _qualities(real, made),
    ]
    return [told for told in found if told]


def _shares(what: str, real: Sequence[Head], made: Sequence[Head], of: Callable[[Head], str]) -> str:
    left, right = (Counter(map(of, heads)) for heads in (real, made))
    apart = sum(abs(left[name] / len(real) - right[name] / len(made)) for name in left.keys() | right.keys()) / 2
    return f"{what} differ ({_most(left)} and {_most(right)})" if apart >= SHARE else ""


def _most(counts: Counter[str]) -> str:
    """The kinds in order of their number; with their shares, if there are several."""
    total = counts.total()
    names = [f"{count / total:.0%} {name}" if len(counts) > 1 else name for name, count in counts.most_common(3)]
    return " ".join(names)


def _sizes(real: Sequence[Head], made: Sequence[Head]) -> str:
    usual = [tuple(statistics.median_low([head.size[i] for head in heads]) for i in (0, 1)) for heads in (real, made)]
    if all(abs(a - b) <= SIDE * max(a, b) for a, b in zip(*usual, strict=True)):
        return ""
    told = " and ".join(f"{short} x {long}" for short, long in usual)
    return f"sizes differ (usually {told} px, shorter side first)"


def _qualities(real: Sequence[Head], made: Sequence[Head]) -> str:
    found = [[head.quality for head in heads if head.quality is not None] for heads in (real, made)]
    if not all(found):
        return ""
    usual = [statistics.median(part) for part in found]
    return (
        f"JPEG qualities differ (about {usual[0]:.0f} and {usual[1]:.0f})"
        if abs(usual[0] - usual[1]) >= QUALITY
        else ""
    )
