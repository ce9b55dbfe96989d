"""Every way a number can be encoded, by the name a checkpoint keeps."""

from __future__ import annotations

from src.codecs.bins import Bins
from src.codecs.dequantised import Dequantised
from src.codecs.modes import Modes
from src.codecs.scaling import MinMax, NumericEncoder, Quantile, Standard

ENCODERS: dict[str, type[NumericEncoder]] = {
    cls.__name__: cls for cls in (MinMax, Standard, Quantile, Dequantised, Modes, Bins)
}
