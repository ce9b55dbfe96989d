"""What codecs of columns are told, whether their rows stand alone or follow one another."""

from __future__ import annotations

from collections.abc import Callable

from datakiln.codecs.base import Codec
from datakiln.codecs.tables.scaling import MinMax, NumericEncoder


class ColumnsCodec(Codec):
    """A codec of rows whose columns have types of their own.

    Arguments:
        numeric: Makes one encoder per numeric column.
        clip: Whether decoded numbers stay inside the training range.
        spikes: Whether a value that holds a large share of a numeric column gets a state of its own.
        max_categories: Categories beyond this many share one position and are drawn back by frequency.
        compact: Whether a column of finitely many codes takes one position, its code, instead of one for each code.
        places: Whether a compact number also has a position for where it lies inside its code, and states for the
            columns that it often equals.
    """

    def __init__(
        self,
        numeric: Callable[[], NumericEncoder] = MinMax,
        clip: bool = True,
        spikes: bool = True,
        max_categories: int = 256,
        compact: bool = False,
        places: bool = False,
    ) -> None:
        """See the class."""
        if places and not compact:
            raise ValueError("places=true needs compact=true")
        self.numeric = numeric
        self.clip = clip
        self.spikes = spikes
        self.max_categories = max_categories
        self.compact = compact
        self.places = places
