"""Models of tables on Adult: training and sampling beside plainly written loops, codec fit beside scikit-learn.

Everything is CPU-seconds on one thread, ours and the peer's epochs in turn. Where Adult is neither in DATA_DIR nor in
the cache, a generated table of its shape stands in, and the first line says so.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from bench._process import Row, alone, row

ROWS = 38_307  # of the generated table, of which 32,561 are left to train on, as in Adult
CATEGORIES = (9, 16, 7, 15, 6, 5, 2, 42, 2)  # of Adult's columns
HERE = "bench._tables"


def run() -> list[Row]:
    """Each measurement as a row."""
    with tempfile.TemporaryDirectory() as folder:
        source, named = _source(Path(folder))
        return [
            row(f"table: {named}", "", "", ""),
            *_ctgan(source), *_tvae(source), *_tabar(source), _codec(source), *_flat(source),
        ]  # fmt: skip


def _ctgan(source: list[str]) -> list[Row]:
    cost = alone(HERE, f"ctgan({source})")
    plain = f"{cost['plain']:.2f} plain loop, float32"
    sizes = "ctgan epoch, 256-256, batch 500, pac 10, CPU-s"
    half = cost["float32"]
    return [
        row(
            f"{sizes}: float32, penalty every step", f"{cost['ours']:.2f}", plain, cost["plain"] / cost["ours"], ">= 2"
        ),
        row(f"{sizes}: bfloat16, penalty every 8th", f"{cost['fast']:.2f}", plain, cost["plain"] / cost["fast"]),
        _rate("ctgan sampling, model space", cost["model"], f"{half:,.0f} in float32", cost["model"] / half, 150_000),
        _rate("ctgan sampling, decoded frame", cost["frame"], "", "", 150_000),
    ]


def _tvae(source: list[str]) -> list[Row]:
    cost = alone(HERE, f"tvae({source})")
    plain = f"{cost['plain']:.2f} plain loop, float32"
    wanted = ">= 1.64"  # 0.59 s against 0.36 s
    return [
        row("tvae epoch, CPU-s, as configured", f"{cost['ours']:.2f}", plain, cost["plain"] / cost["ours"], wanted),
        row("tvae epoch, CPU-s, float32", f"{cost['full']:.2f}", plain, cost["plain"] / cost["full"]),
    ]


def _tabar(source: list[str]) -> list[Row]:
    cost = alone(HERE, f"tabar({source})")
    return [
        _rate("tabar training", cost["rows"], "", ""),
        _rate("tabar sampling, model space", cost["model"], "", "", 100_000),
        _rate("tabar sampling, decoded frame", cost["frame"], "", "", 100_000),
    ]


def _codec(source: list[str]) -> Row:
    cost = alone(HERE, f"codec({source})")
    what = f"codec fit of {cost['columns']:.0f} numeric columns as modes, CPU-s"
    peer = f"{cost['peer']:.1f} BayesianGaussianMixture, 10 modes, all rows"
    return row(what, f"{cost['ours']:.2f}", peer, cost["peer"] / cost["ours"], ">= 10")


def _flat(source: list[str]) -> list[Row]:
    rows = []
    for flush in (True, False):
        cost = alone(HERE, f"flat({source}, {flush})")
        what = f"tvae, 1,000 rows, 300 epochs, denormals {'flushed' if flush else 'kept'}: last 20 against first 20, ms"
        found = f"{cost['denormal']:.0f} weights denormal at the end"
        text = f"{1e3 * cost['last']:.1f} ({found})", f"{1e3 * cost['first']:.1f}"
        rows.append(row(what, *text, cost["last"] / cost["first"], "about 1" if flush else ""))
        what = f"product of denormal matrices against normal ones here, denormals {'flushed' if flush else 'kept'}"
        rows.append(row(what, "", "", cost["product"]))
    return rows


def _rate(what: str, ours: float, peer: str, ratio: float | str, wanted: float = 0.0) -> Row:
    text = f">= {wanted:,.0f}" if wanted else ""
    return row(f"{what}, rows per CPU-second of one core", f"{ours:,.0f}", peer, ratio, text)


def _source(folder: Path) -> tuple[list[str], str]:
    """Options that name the table, and what it is."""
    from datakiln.data.sets.adult import FILES, FOLDERS
    from datakiln.storage import cache_dir

    where = os.environ.get("DATA_DIR")
    places = [*([Path(where) / name for name in FOLDERS] if where else []), cache_dir() / "adult"]
    if any(all((place / name).is_file() for name in FILES) for place in places):
        return ["data=adult"], "Adult, all 32,561 training rows"
    generated().to_parquet(folder / "generated.parquet")
    path = f"data.path={folder}/generated.parquet"
    return ["data=csv", path, "data.target=c8"], "generated, of Adult's rows, columns and categories"


def generated(n: int = ROWS) -> pd.DataFrame:
    """A table of Adult's columns and numbers of categories."""
    rng = np.random.default_rng(0)
    ages, weights = rng.integers(17, 91, n), rng.lognormal(12, 0.5, n).astype(int)
    spiked = [np.where(rng.random(n) < share, 0, rng.integers(1000, 9000, n)) for share in (0.92, 0.95)]
    numbers = [ages, weights, rng.integers(1, 17, n), *spiked, rng.integers(1, 100, n)]
    frame = {f"n{i}": values for i, values in enumerate(numbers)}
    for i, size in enumerate(CATEGORIES):
        shares = rng.dirichlet(np.full(size, 0.5))
        frame[f"c{i}"] = np.array([f"value {j}" for j in range(size)])[rng.choice(size, n, p=shares)]
    return pd.DataFrame(frame)
