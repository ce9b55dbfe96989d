"""Every kind of column codec, by the name a checkpoint keeps."""

from __future__ import annotations

from src.codecs.choice import ChoiceColumn
from src.codecs.column import ColumnCodec
from src.codecs.generated import GeneratedColumn
from src.codecs.number import NumberColumn

COLUMN_KINDS: dict[str, type[ColumnCodec]] = {cls.kind: cls for cls in (NumberColumn, ChoiceColumn, GeneratedColumn)}
