"""Rows that are asked for by a condition, of Adult: how many repeat, what they cost, how near real ones they are.

    python -m bench conditions
    CONDITIONS_MODELS=tabar,mixture,ctgan python -m bench conditions

"ours" is the mean distance (total variation, numbers in tenths) of 1,000 rows made to the real rows of the condition,
over the columns in which these differ from all rows by more than chance; "peer" is that of all real rows, as of a model
that has learnt no link; "wanted" is that of real rows drawn with replacement from those of the condition. Repeats leave
out the column `fnlwgt`, which is a number for nearly each row.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from bench._process import Cost, Row, alone

ROWS, FAR, TENTHS = 1000, 0.1, 10
CONDITIONS: tuple[dict[str, str], ...] = (
    {"native-country": "Honduras"},
    {"native-country": "Haiti"},
    {"native-country": "Philippines"},
    {"workclass": "Never-worked"},
    {"workclass": "Without-pay"},
    {"occupation": "Armed-Forces"},
    {"marital-status": "Married-AF-spouse"},
    {"education": "Preschool", "income": "<=50K"},
    {"education": "Doctorate", "sex": "Female", "age": ">60"},
    {"age": ">70", "hours-per-week": ">50", "income": ">50K"},
    {"capital-gain": ">50000"},
)


def run() -> list[Row]:
    """One row for each condition and model."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for model in os.environ.get("CONDITIONS_MODELS", "tabar,mixture").split(","):
            alone("bench.conditions", f"trained({model!r}, {folder!r})")
            for place, condition in enumerate(CONDITIONS):
                cost = alone("bench.conditions", f"asked({model!r}, {folder!r}, {place})")
                what = ", ".join(f"{name}{'' if value[0] in '<>' else '='}{value}" for name, value in condition.items())
                told = (
                    f"{model}, {what} ({cost['rows']:.0f} rows): {cost['repeats']:.1%} repeat, {cost['seconds']:.2f} s"
                )
                ours, peer, chance = (
                    f"{cost[name]:.3f}" if name in cost else "-" for name in ("made", "all", "chance")
                )
                ours = ours if cost["made_all"] else "gave up"
                rows.append({"what": told, "ours": ours, "peer": peer, "ratio": "", "wanted": chance})
    return rows


def trained(model: str, folder: str) -> Cost:
    """Trains the model with its defaults, without its proof."""
    from hydra import compose, initialize_config_dir

    from datakiln.cli.run_folders import register_resolvers
    from datakiln.console import Console
    from datakiln.jobs.run import Run
    from datakiln.storage import CONF

    register_resolvers()
    words = [f"model={model}", "data=adult", f"output_dir={folder}/{model}"]
    words += [f"data_dir={os.environ['DATA_DIR']}"] if "DATA_DIR" in os.environ else []
    with initialize_config_dir(str(CONF), version_base="1.3"):
        run = Run(compose("train", overrides=words), Console(quiet=True))
    run.check()
    run.load_data()
    run.fit()
    return {}


def asked(model: str, folder: str, place: int) -> Cost:
    """The figures of one condition."""
    from datakiln.data.sets.adult import AdultTable
    from datakiln.errors import UserError
    from datakiln.sampling.synthesizer import Synthesizer

    condition, synthesizer = CONDITIONS[place], Synthesizer.load(Path(folder) / model)
    real = AdultTable()(os.environ.get("DATA_DIR")).frame
    wanted = real[synthesizer.request(condition).conditions.holds(real)]
    start = time.process_time()
    try:
        made = synthesizer.sample(ROWS, condition, seed=1)
    except UserError:  # hardly any row meets it
        return {"rows": len(wanted), "repeats": 0.0, "seconds": time.process_time() - start, "made_all": 0.0}
    cost = {"rows": len(wanted), "seconds": time.process_time() - start, "made_all": 1.0}
    cost["repeats"] = float(made.drop(columns="fnlwgt").duplicated().mean())
    return cost | _distances(real, wanted, made, [str(name) for name in real if name not in condition])


def _distances(real: pd.DataFrame, wanted: pd.DataFrame, made: pd.DataFrame, names: list[str]) -> Cost:
    rows = []
    for name in names:
        ours, theirs, everything = (_cells(frame[name], real[name]) for frame in (made, wanted, real))
        again = [theirs.sample(frac=1.0, replace=True, random_state=seed) for seed in range(5)]
        chance, apart = float(np.mean([_distance(one, theirs) for one in again])), _distance(everything, theirs)
        if apart > FAR + chance:
            rows.append((_distance(ours, theirs), apart, chance))
    means = np.mean(rows, axis=0).tolist() if rows else [0.0] * 3
    return dict(zip(("made", "all", "chance"), means, strict=True))


def _cells(cells: pd.Series, real: pd.Series) -> pd.Series:
    if not pd.api.types.is_numeric_dtype(real.dtype):
        return cells.astype(str)
    edges = np.unique(np.quantile(real, np.linspace(0, 1, TENTHS + 1))[1:-1])
    return pd.Series(np.searchsorted(edges, cells, side="right"))


def _distance(one: pd.Series, two: pd.Series) -> float:
    shares = [cells.value_counts(normalize=True) for cells in (one, two)]
    return float(shares[0].sub(shares[1], fill_value=0.0).abs().sum() / 2)
