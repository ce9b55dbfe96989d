"""A whole training of a panel: 1,000 entities of 100 steps each, eight columns of all kinds, as it comes.

    python -m bench panel
    PANEL_MODELS=tsar,block_bootstrap PANEL_ENTITIES=1000 python -m bench panel

Each model is trained by the command that a person types, in a process of its own on one thread; the peer is the one
without a gradient, which is hardly fitted at all. CPU-seconds are those of the fit, and of everything from reading the
file to the last figure, of which the ratio is.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from bench._process import Row, row

MODELS, PEER = "tsar", "block_bootstrap"
ENTITIES, STEPS = "1000", 100


def run() -> list[Row]:
    """Every model beside the peer."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "panel.csv"
        entities = int(os.environ.get("PANEL_ENTITIES", ENTITIES))
        panel(entities).to_csv(path, index=False)
        peer = _trained(PEER, path)
        for model in os.environ.get("PANEL_MODELS", MODELS).split(","):
            ours = _trained(model, path)
            what = f"{model}, {entities:,} entities x {STEPS} steps x 8 columns, CPU-s of the fit (of all)"
            told, beside = (f"{part['fit']:,.0f} ({part['all']:,.0f})" for part in (ours, peer))
            rows.append(row(what, told, beside, ours["all"] / peer["all"], "600: five minutes of two cores"))
    return rows


def panel(entities: int) -> pd.DataFrame:
    """Patients whose sex decides means, with numbers that follow each other, categories, holes, uneven days."""
    rng = np.random.default_rng(0)
    n = entities * STEPS
    x = np.zeros((STEPS, entities, 3))
    sex = rng.random(entities) < 0.5
    for t in range(1, STEPS):
        x[t] = 0.9 * x[t - 1] + 0.05 * x[t - 1][:, [1, 2, 0]] + rng.normal(0.0, 0.3, (entities, 3))
    x = (x + sex[None, :, None]).transpose(1, 0, 2)
    blood, heart, sugar = x.reshape(n, 3).T
    steps = rng.integers(1, 5, (entities, STEPS))
    steps[:, 0] = rng.integers(0, 365, entities)
    days = steps.cumsum(axis=1).reshape(n)
    stage = np.digitize(blood, [-0.5, 0.5, 1.5])
    frame = pd.DataFrame(
        {
            "patient": np.repeat([f"p{i:05}" for i in range(entities)], STEPS),
            "day": pd.Timestamp("2020-01-01") + pd.to_timedelta(days, unit="D"),
            "sex": np.repeat(np.where(sex, "f", "m"), STEPS),
            "pressure": (120.0 + 10.0 * blood).round(),
            "pulse": (70.0 + 8.0 * heart).round(),
            "sugar": (5.0 + sugar).round(2),
            "dose": np.where(stage > 1, rng.choice([5, 10, 20], n), 0),
            "visits": rng.poisson(np.exp(0.5 * heart.clip(-4.0, 4.0))),
            "stage": np.array(["none", "mild", "severe", "critical"])[stage],
            "ward": rng.choice(["A", "B", "C"], n),
        }
    )
    frame.loc[rng.random(n) < 0.1, "sugar"] = np.nan
    return frame


def _trained(model: str, path: Path) -> dict[str, float]:
    into = path.with_name(model)
    command = ["src.train", f"model={model}", "data=csv", f"data.path={path}", "data.time=day", "data.entity=patient"]
    command = [sys.executable, "-m", *command, "plots=false", f"hydra.run.dir={into}"]
    done = subprocess.run(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{model}: {done.stderr[-2000:]}")
    result = json.loads((into / "result.json").read_text())
    return {"fit": result["fit_cpu_seconds"], "all": sum(result["cpu_seconds"].values())}
