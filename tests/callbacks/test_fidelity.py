"""Fidelity while training: measured where the validation rows have anything to measure it by."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from datakiln.callbacks.fidelity import TableFidelity
from datakiln.schema import Field, Schema


def watched(frame: pd.DataFrame) -> TableFidelity:
    fields = [Field("x", "numeric", "float64"), Field("who", "id", "str")]
    data: Any = SimpleNamespace(codec=SimpleNamespace(schema=Schema(fields)), frames={"val": frame})
    return TableFidelity(data)


@pytest.mark.parametrize(("value", "is_measured"), [(None, False), (3.0, True)])
def test_without_a_value_nothing_is_measured(value: float | None, is_measured: bool) -> None:
    frame = pd.DataFrame({"x": pd.Series([None, value], dtype="float64"), "who": ["a", "b"]})
    assert bool(watched(frame).figures) == is_measured
