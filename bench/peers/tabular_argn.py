"""TabularARGN (Tiwald et al., 2025) as it comes, on a split that ours is trained on too; in an environment of its own.

    python -m venv peer && peer/bin/pip install mostlyai-engine
    peer/bin/python bench/peers/tabular_argn.py TABLE.csv FOLDER 0
    python -m src.train model=tabar data=csv data.path=FOLDER/train.csv data.target=COLUMN
    python -m src.sample run=RUN n=ROWS out=FOLDER/ours.csv
    python -m src.evaluate real=FOLDER/train.csv synthetic=FOLDER/argn.csv holdout=FOLDER/test.csv target=COLUMN
    python -m src.evaluate real=FOLDER/train.csv synthetic=FOLDER/ours.csv holdout=FOLDER/test.csv target=COLUMN

Four rows of five are trained on, the others unseen; the seed decides which. It prints CPU-seconds of fit and sample.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path


def main(table: str, folder: str, seed: str) -> None:
    """Splits the table, trains on one part, and writes as many synthetic rows."""
    import pandas as pd
    import torch
    from mostlyai.engine import TabularARGN, set_random_state  # not of this project's environment

    torch.set_num_threads(1)
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    rows = pd.read_csv(table, low_memory=False).sample(frac=1.0, random_state=int(seed))
    train, test = rows.iloc[: len(rows) * 4 // 5], rows.iloc[len(rows) * 4 // 5 :]
    train.to_csv(place / "train.csv", index=False)
    test.to_csv(place / "test.csv", index=False)
    set_random_state(int(seed))
    start = time.process_time()
    model = TabularARGN(device="cpu", verbose=0)
    model.fit(train)
    fitted = time.process_time()
    made = model.sample(n_samples=len(train), device="cpu")
    made[list(train.columns)].to_csv(place / "argn.csv", index=False)
    print(f"fit {fitted - start:.1f} CPU-s, sample {time.process_time() - fitted:.1f} CPU-s, {len(train)} rows")


if __name__ == "__main__":
    main(*sys.argv[1:4])
