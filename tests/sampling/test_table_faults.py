"""Odd tables, conditions and constraints with every table model of conf/model: a right result, or one line."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import NamedTuple

import lightning as L
import numpy as np
import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig

from datakiln.cli import choices, signatures
from datakiln.cli.explain import explain
from datakiln.cli.run_folders import register_resolvers
from datakiln.data.tables.steps import split
from datakiln.data.tables.tables import TableData
from datakiln.data.tables.types import infer_schema
from datakiln.errors import UserError
from datakiln.sampling.synthesizer import Synthesizer
from datakiln.storage import CONF

ROWS, MADE = 80, 60
# whatever of these a model's yaml declares, as small as can be
SMALL = {
    "latent_dim": 4, "hidden": [16], "generator_hidden": [16], "critic_hidden": [16], "width": 16, "feedforward": 8,
    "transforms": 1, "bins": 4, "draws": 2, "classes": [4, 8], "min_updates": 0, "steps": 50, "sampling_steps": 3,
}  # fmt: skip
RANGE, BELOW = "datakiln.constraints.Range", "datakiln.constraints.Inequality"


def random() -> np.random.Generator:
    return np.random.default_rng(0)


def table(**columns: object) -> pd.DataFrame:
    rng = random()
    return pd.DataFrame({"x": rng.normal(size=ROWS).round(3), "g": rng.choice(["a", "b"], ROWS), **columns})


def mostly(value: object, other: object, seed: int = 1) -> np.ndarray:
    """Seven of ten cells are `value`, or from `value`, the others `other`."""
    return np.where(np.random.default_rng(seed).random(ROWS) < 0.7, value, other)


@functools.cache
def held_out() -> list[int]:
    """Rows of `table()` that are in no training split, whether it goes by the label g or by none."""
    frame = table(row=range(ROWS))
    found = []
    for label in (None, "g"):
        parts = split(frame, infer_schema(frame, label, {}), (0.7, 0.15, 0.15), 0)
        found.append({*parts["val"].row, *parts["test"].row})
    return sorted(found[0] & found[1])


def only_held_out(value: object, others: object) -> list[object]:
    """A column that has `value` in no training row."""
    return [value if row in held_out()[:3] else others for row in range(ROWS)]


class Odd(NamedTuple):
    """A table with what is asked of a model trained on it; `told`: the line that refuses the table."""

    frame: pd.DataFrame
    label: str | None = None
    constraints: tuple[dict[str, object], ...] = ()
    conditions: tuple[dict[str, object], ...] = ()
    refused: tuple[tuple[dict[str, object], str], ...] = ()  # conditions, and what is said of them
    balance: str | None = None
    told: str | None = None


NORMAL = np.random.default_rng(2).normal(size=ROWS)
WORD = mostly("x", "y")
TABLES = {
    "one number": Odd(table()[["x"]], conditions=({"x": ">0"},), refused=(({"x": ">1&<0"}, "cannot be met"),)),
    "one category": Odd(table()[["g"]], conditions=({"g": "a"},), balance="g"),
    "only a label": Odd(table()[["g"]], label="g", conditions=({"g": "a"},)),
    "only a numeric label": Odd(table()[["x"]], label="x", conditions=({"x": ">0"},)),
    "fifty columns, sixty rows": Odd(
        pd.DataFrame(random().normal(size=(60, 50)).round(2), columns=[f"c{i}" for i in range(50)]),
        conditions=({"c0": ">0"},),
    ),
    "ids only": Odd(pd.DataFrame({"id": range(1, ROWS + 1), "code": [f"C-{i:04d}" for i in range(ROWS)]}), told="id"),
    "constants only": Odd(pd.DataFrame({"k": [7] * ROWS, "word": ["same"] * ROWS}), told="constant"),
    "constant columns": Odd(
        table(k=7, word="same"), conditions=({"k": 7, "g": "a"},), refused=(({"k": 8}, "k=8"), ({"word": "x"}, "same"))
    ),
    "ids beside a column": Odd(
        table(id=np.arange(1, ROWS + 1), code=[f"C-{i:04d}" for i in range(ROWS)]),
        conditions=({"g": "b"},),
        refused=(({"id": 5}, "id is an id"),),
    ),
    "all-missing column": Odd(
        table(e=np.nan),
        conditions=({"e": "missing"}, {"e": None, "g": "a"}),
        refused=(({"e": 3}, "missing in every training row"), ({"e": "!=missing"}, "cannot be met")),
    ),
    "column of which only held-out rows have values": Odd(
        table(v=only_held_out(2.5, np.nan), w=only_held_out("here", None)),
        conditions=({"v": "missing"}, {"w": "missing", "g": "a"}),
        refused=(({"w": "here"}, "missing in every training row"), ({"v": 2.5}, "v=2.5.*missing")),
    ),
    "category of held-out rows alone": Odd(
        table(v=only_held_out(2, 1), w=only_held_out("here", "there")),
        conditions=({"w": "there"},),
        refused=(({"w": "here"}, r"w=here is not among .*\(there\)"), ({"v": 2}, "v=2")),
    ),
    "category never seen": Odd(
        table(),
        conditions=({"g": "a|b"},),
        refused=(({"g": "c"}, r"g=c is not among .*\(a, b\)"), ({"g": "missing"}, "never missing")),
    ),
    "class of one row": Odd(
        table(t=["rare"] + ["often"] * 40 + ["seldom"] * 39), label="t", conditions=({"t": "rare"},), balance="label"
    ),
    "two classes of one row": Odd(table(t=["one", "two"] + ["often"] * (ROWS - 2)), label="t", balance="t"),
    "classes of two rows": Odd(table(t=[f"v{i // 2}" for i in range(ROWS)]), label="t", told="leave no val rows"),
    "many classes": Odd(table(t=[f"v{i // 4}" for i in range(ROWS)]), label="t", balance="t"),
    "missing labels": Odd(
        table(t=mostly(WORD, None, 3)), label="t", conditions=({"t": "x"}, {"t": "missing"})
    ),
    "missing cells": Odd(
        table(m=mostly(NORMAL.round(2), np.nan), w=mostly(WORD, None, 4)),
        conditions=({"m": "missing"}, {"w": "missing"}, {"w": "x", "m": "!=missing"}),
    ),
    "all but one missing": Odd(table(m=[1.5] + [np.nan] * (ROWS - 1)), conditions=({"m": "missing"},)),
    "contradictory constraints": Odd(
        table(y=NORMAL),
        constraints=(
            {"_target_": BELOW, "low": "x", "high": "y", "strict": True},
            {"_target_": BELOW, "low": "y", "high": "x"},
        ),
        told="exclude one another",
    ),
    "a constraint that no row meets": Odd(
        table(), constraints=({"_target_": RANGE, "column": "x", "low": 100},), told="met by none"
    ),
    "a constraint against the condition": Odd(
        table(),
        constraints=({"_target_": RANGE, "column": "x", "low": -1, "high": 1},),
        conditions=({"x": ">0"},),
        refused=(({"x": ">1.5"}, "leaves no value for x"),),
    ),
    "spikes": Odd(table(gain=mostly(0, random().integers(1, 10_000, ROWS))), conditions=({"gain": 0},)),
    "dates and truths": Odd(
        table(day=pd.date_range("2020-01-01", periods=ROWS).strftime("%Y-%m-%d"), b=WORD == "x"),
        conditions=({"b": True}, {"day": ">=2020-01-20"}),
        refused=(({"day": ">2021-01-01"}, "day is between"),),
    ),
    "far and near numbers": Odd(table(far=NORMAL * 1e12, near=NORMAL * 1e-9)),
    "odd names": Odd(table(**{"a.b c": NORMAL.round(2), "größe 😀": WORD}), label="größe 😀"),
    "rows all alike but one": Odd(pd.DataFrame({"x": [1.0] * 79 + [2.0], "g": ["a"] * 79 + ["b"]})),
    "ten rows": Odd(table().head(10), conditions=({"g": "a"},)),
    "nine rows": Odd(table().head(9), told="too few"),
}  # fmt: skip
# of the models that are told the label, what they say to a table of nothing else; others have no trouble with it
LABEL_ONLY = "the label is the only column left to model"


@functools.cache
def config(model: str) -> DictConfig:
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        overrides = [f"model={model}", "data=csv", "data.path=unused", "output_dir=unused", "batch_size=20", "epochs=2"]
        cfg = compose("train", overrides=overrides)
    for key, value in SMALL.items():
        if key in cfg.model and isinstance(value, list) and not hasattr(cfg.model[key], "__len__"):
            cfg.model[key] = value[0]  # one width for all layers
        elif key in cfg.model:
            cfg.model[key] = value
    return cfg


def models() -> list[str]:
    targets = {
        name: str(choices.keys("model", name)["model._target_"]) for name in choices.names("model") if name != "auto"
    }
    return [name for name, target in targets.items() if "table" in signatures.attribute(target, "supports")]


def trained(model: str, odd: Odd, folder: Path) -> tuple[Synthesizer, TableData]:
    """What `src.train` does up to the first sample, without its files."""
    cfg = config(model).copy()
    cfg.data.path, cfg.data.target = str(folder / "t.csv"), odd.label
    cfg.data.constraints = list(odd.constraints)
    odd.frame.to_csv(folder / "t.csv", index=False)
    L.seed_everything(0, verbose=False)
    data: TableData = instantiate(cfg.data, _convert_="all")
    data.setup("fit")
    built = instantiate(cfg.model, _partial_=True, _convert_="all")(spec=data.spec)
    trainer = L.Trainer(
        max_epochs=cfg.epochs, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0, use_distributed_sampler=False,
    )  # fmt: skip
    trainer.fit(built, datamodule=data)
    return Synthesizer(built, data.codec, constraints=data.rules.state()), data


def assert_fits(made: pd.DataFrame, data: TableData) -> None:
    """The columns, types, categories, ranges and missing cells of the table; ids of its own."""
    real = data.frames["train"]
    assert list(made.columns) == list(real.columns) and (made.dtypes == real.dtypes).all()
    for field in data.schema.fields:
        ours, theirs = made[field.name], real[field.name]
        assert theirs.isna().any() or ours.notna().all(), field
        if field.type in ("id", "text"):
            assert ours.is_unique and not set(ours) & set(data.read().frame[field.name])
        elif field.is_numeric and field.type != "datetime":
            assert ours.dropna().between(theirs.min(), theirs.max()).all(), field
        else:
            assert set(ours.dropna()) <= set(theirs.dropna()) or field.type == "datetime", field
    for constraint in data.rules.constraints:
        assert constraint.holds(made, data.schema).all()


def assert_meets(made: pd.DataFrame, condition: dict[str, object]) -> None:
    """The few forms of conditions above, read in another way than the program does."""
    for name, wanted in condition.items():
        cells, text = made[name], str(wanted)
        if wanted is None or text == "missing":
            assert cells.isna().all()
        elif text == "!=missing":
            assert cells.notna().all()
        elif text.startswith(">="):
            assert (cells >= text[2:]).all()
        elif text.startswith(">"):
            assert (cells > float(text[1:])).all()
        else:
            assert cells.astype(str).isin([*text.split("|"), f"{text}.0"]).all()


def labelled(model: str, odd: Odd) -> Odd:
    """The table as it suits a model that is always told the label, and the line for one that is left without rows."""
    is_told = bool(config(model).model.get("conditional"))
    if model == "cvae" and odd.label is None and odd.told is None:
        odd = odd._replace(label="g") if "g" in odd.frame else odd._replace(told="needs a label with classes")
    if model == "cvae" and odd.label == "x":
        odd = odd._replace(told="the label 'x' is a number")
    is_alone = odd.label == "g" and len(odd.frame.columns) == 1
    return odd._replace(told=LABEL_ONLY) if is_told and is_alone else odd


def pairs() -> list[object]:
    """Every model with every table; `make test` has one family on all of them and each other model on a fifth."""
    found = []
    for i, model in enumerate(models()):
        for j, name in enumerate(TABLES):
            is_later = model != "tabar" and (i + j) % 5 > 0
            mark = pytest.mark.journey if model == "cvae" else pytest.mark.slow
            found.append(pytest.param(model, name, marks=[mark] if is_later else [], id=f"{model}-{name}"))
    return found


@pytest.mark.parametrize(("model", "name"), pairs())
def test_odd_tables(model, name, tmp_path):
    odd = labelled(model, TABLES[name])
    if odd.told is not None:
        with pytest.raises(UserError, match=odd.told) as caught:
            trained(model, odd, tmp_path)
        assert "\n" not in explain(caught.value)
        return
    synthesizer, data = trained(model, odd, tmp_path)
    made = synthesizer.sample(MADE, seed=1)
    assert len(made) == MADE
    assert_fits(made, data)
    for condition in odd.conditions:
        made = synthesizer.sample(20, condition, seed=2)
        assert len(made) == 20
        assert_fits(made, data)
        assert_meets(made, condition)
    for condition, told in odd.refused:
        with pytest.raises(UserError, match=told) as caught:
            synthesizer.sample(20, condition)
        assert "\n" not in explain(caught.value)
    if odd.balance is not None:
        column = odd.label if odd.balance == "label" else odd.balance
        counts = synthesizer.sample(40, balance=odd.balance)[column].value_counts()
        assert counts.sum() == 40 and counts.max() - counts.min() <= 1
        assert set(counts.index) == set(data.frames["train"][column])
    if synthesizer.model.conditioning == "columns":
        assert_reads_gaps(synthesizer, data)


def assert_reads_gaps(synthesizer: Synthesizer, data: TableData) -> None:
    """Held-out rows with cells taken away are filled, known cells left alone; every row has a likelihood."""
    rows = data.frames["test"].head(10)
    gaps = rows.assign(**{name: pd.Series([None] * len(rows)) for name in data.schema.numeric[:1]})
    filled = synthesizer.impute(gaps)
    for name in rows.columns.difference(data.schema.numeric[:1]):
        known = rows[name].notna()
        assert filled[name][known].equals(rows[name][known].astype(filled[name].dtype)), name
    assert np.isfinite(synthesizer.log_prob(rows)).all()


def test_every_table_model_is_meant():
    named = "vae cvae tvae ctgan tabar mixture tabddpm tabsyn nsf copula bootstrap"
    assert set(named.split()) <= set(models())
