"""The Adult census table (Becker and Kohavi, 1996, https://doi.org/10.24432/C5XW20): income of 48,842 persons.

Its authors' split is kept: `adult.data` (32,561 rows) for training and validation, `adult.test` (16,281) as holdout.
`?` is a category of its own, as in the literature on synthetic tables.
"""

from __future__ import annotations

import hashlib
import io
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pandas as pd

from datakiln.data.base import Provenance
from datakiln.data.tables.sources import RawTable
from datakiln.errors import UserError, near
from datakiln.storage import cache_dir

ADDRESS = "https://archive.ics.uci.edu/ml/machine-learning-databases/adult"
FILES = {"adult.data": 32_561, "adult.test": 16_281}  # and how many rows each has
FOLDERS = ("tabular/adult", "adult", ".")  # under data_dir
SECONDS = 20.0
COLUMNS = {
    "age": "integer",
    "workclass": "category",
    "fnlwgt": "integer",
    "education": "category",
    "education-num": "integer",
    "marital-status": "category",
    "occupation": "category",
    "relationship": "category",
    "race": "category",
    "sex": "category",
    "capital-gain": "integer",
    "capital-loss": "integer",
    "hours-per-week": "integer",
    "native-country": "category",
    "income": "category",
}

CATEGORIES = {  # as adult.names lists them; ? for what is not known
    "workclass": "Private Self-emp-not-inc Self-emp-inc Federal-gov Local-gov State-gov Without-pay Never-worked ?",
    "education": "Bachelors Some-college 11th HS-grad Prof-school Assoc-acdm Assoc-voc 9th 7th-8th 12th Masters "
    "1st-4th 10th Doctorate 5th-6th Preschool",
    "marital-status": "Married-civ-spouse Divorced Never-married Separated Widowed Married-spouse-absent "
    "Married-AF-spouse",
    "occupation": "Tech-support Craft-repair Other-service Sales Exec-managerial Prof-specialty Handlers-cleaners "
    "Machine-op-inspct Adm-clerical Farming-fishing Transport-moving Priv-house-serv Protective-serv Armed-Forces ?",
    "relationship": "Wife Own-child Husband Not-in-family Other-relative Unmarried",
    "race": "White Asian-Pac-Islander Amer-Indian-Eskimo Other Black",
    "sex": "Female Male",
    "native-country": "United-States Cambodia England Puerto-Rico Canada Germany Outlying-US(Guam-USVI-etc) India "
    "Japan Greece South China Cuba Iran Honduras Philippines Italy Poland Jamaica Vietnam Mexico Portugal Ireland "
    "France Dominican-Republic Laos Ecuador Taiwan Haiti Columbia Hungary Guatemala Nicaragua Scotland Thailand "
    "Yugoslavia El-Salvador Trinadad&Tobago Peru Hong Holand-Netherlands ?",
    "income": "<=50K >50K",
}
BOUNDS = {  # wide round ones: what a census asks, not what these rows hold
    "age": (16, 99),
    "fnlwgt": (0, 1_500_000),
    "education-num": (1, 16),
    "capital-gain": (0, 99_999),
    "capital-loss": (0, 5_000),
    "hours-per-week": (1, 99),
}
PUBLIC: dict[str, dict[str, Any]] = {
    "columns": {name: kind if name in BOUNDS else CATEGORIES[name].split() for name, kind in COLUMNS.items()},
    "bounds": {name: list(bounds) for name, bounds in BOUNDS.items()},
}


class AdultTable:
    """Both official files, from `data_dir`, else from a cache, else downloaded.

    Arguments:
        address: Where the files are downloaded from.
        label: Column that classes are taken from, None for no label.
    """

    def __init__(self, address: str = ADDRESS, label: str | None = "income") -> None:
        """See the class; raises `UserError` for a label that is no column."""
        if label is not None and label not in COLUMNS:
            raise UserError(f"data.source.label={label} is no column of Adult{near(label, COLUMNS)}")
        self.address, self.label = address.rstrip("/"), label

    def __call__(self, data_dir: str | None = None) -> RawTable:
        """The table; raises `UserError` if the files cannot be had or are not whole."""
        folder = self._folder(data_dir)
        raw = {name: (folder / name).read_bytes() for name in FILES}
        frames = {name: parse(content, f"{folder / name}", FILES[name]) for name, content in raw.items()}
        digest = hashlib.sha256(b"".join(raw.values())).hexdigest()
        kind = "download" if folder == cache_dir() / "adult" else "files"
        source = Provenance(kind, f"Adult, adult.data and adult.test in {folder}", digest)
        train, test = (frames[name] for name in FILES)
        return RawTable(train, self.label, source, dict(COLUMNS), holdout=test, public=PUBLIC)

    def _folder(self, data_dir: str | None) -> Path:
        places = [] if data_dir is None else [Path(data_dir) / folder for folder in FOLDERS]
        for place in [*places, cache_dir() / "adult"]:
            if all((place / name).is_file() for name in FILES):
                return place
        return self._download(cache_dir() / "adult")

    def _download(self, folder: Path) -> Path:
        try:
            for name, rows in FILES.items():
                with urllib.request.urlopen(f"{self.address}/{name}", timeout=SECONDS) as answer:
                    content = answer.read()
                parse(content, f"{self.address}/{name}", rows)
                folder.mkdir(parents=True, exist_ok=True)
                partial = folder / f".{name}.partial"
                partial.write_bytes(content)
                partial.replace(folder / name)
        except (OSError, HTTPException) as error:
            raise UserError(
                f"data=adult: {self.address} could not be reached ({error}); put adult.data and adult.test into "
                "DATA_DIR/tabular/adult, or set data_dir="
            ) from None
        return folder


def parse(content: bytes, name: str, rows: int) -> pd.DataFrame:
    """One file as a frame; raises `UserError` if it has not the official number of rows and columns."""
    lines = [line for line in content.decode("latin-1").splitlines() if line.strip() and not line.startswith("|")]
    if len(lines) != rows or any(line.count(",") != len(COLUMNS) - 1 for line in lines):
        raise UserError(f"{name}: not the official file of {rows} rows and {len(COLUMNS)} columns; download it again")
    text = io.StringIO("\n".join(lines))
    frame = pd.read_csv(text, header=None, names=list(COLUMNS), skipinitialspace=True, keep_default_na=False)
    frame["income"] = frame["income"].str.rstrip(".")  # the test file ends each label with one
    return frame
