"""The official per-site phenotypic files of ADHD-200, from the consortium's open-data bucket to a cache.

Every site has a CSV file in the competition's coding, at the top of `RawDataBIDS/` or in the older `RawData/`; for
Peking_2 and Peking_3 the bucket holds only the BIDS `participants.tsv`, whose words are turned back into the codes of
the consortium's phenotypic key. A file counts only with the number of persons that the consortium published.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path

import pandas as pd

from datakiln.storage import cache_dir

ADDRESS = "https://fcp-indi.s3.amazonaws.com/data/Projects/ADHD200"
SITES = {
    "KKI": 83,
    "NYU": 222,
    "NeuroIMAGE": 48,
    "OHSU": 79,
    "Peking_1": 85,
    "Peking_2": 67,
    "Peking_3": 42,
    "Pittsburgh": 89,
    "WashU": 61,
}
SITE_CODES = {"Peking": "1", "KKI": "3", "NeuroIMAGE": "4", "NYU": "5", "OHSU": "6", "Pittsburgh": "7", "WashU": "8"}
PLACES = (
    "RawDataBIDS/{site}_phenotypic.csv",
    "RawData/{site}_phenotypic.csv",
    "RawData/{site}/{site}_phenotypic.csv",
    "RawDataBIDS/{site}/participants.tsv",
)
ANSWER_SECONDS = 5.0  # without an answer by then there is no network
FILE_SECONDS = 30.0
# the consortium's phenotypic key, from words to codes; the first pattern found in a cell decides
KEY: dict[str, tuple[tuple[str, str], ...]] = {
    "gender": (("^female", "0"), ("^male", "1")),
    "handedness": (("^l", "0"), ("^r", "1"), ("^ambi", "2")),
    "dx": (("^typ", "0"), ("combined", "1"), ("hyperactive", "2"), ("inattentive", "3")),
    "adhd_measure": (("rating scale iv", "1"), ("revised", "2"), ("3rd", "3")),
    "iq_measure": (("wisc-iv", "1"), ("abbreviated", "2"), ("wiscc", "3"), ("subtest wasi", "4"), ("block", "5")),
    "med_status": (("^not", "2"), ("^medication", "1")),
    "qc": (("^pass", "1"), ("^questionable", "0")),
}


class DownloadFailed(Exception):
    """Why the files could not be had, in a few words."""


def fetch_sites(address: str, parse: Callable[[bytes, str], pd.DataFrame]) -> tuple[list[pd.DataFrame], str]:
    """The sites' tables in the order of `SITES`, and the SHA-256 of their files' bytes.

    Arguments:
        address: What `PLACES` are appended to.
        parse: Text cells of a CSV file, with the official column names; raises ValueError for anything else.

    Raises:
        DownloadFailed: Without network, or if a site has no file with the right number of persons.
    """
    from datakiln.console import Console

    folder = cache_dir() / "adhd200"
    digest = hashlib.sha256()
    tables: list[pd.DataFrame] = []
    console = Console(stderr=True)
    with console.work("reading ADHD-200's phenotypic files", len(SITES)) as work:
        answered = False
        for site in SITES:
            work.step(site)
            found = _cached(folder, site, parse)
            if found is None:
                if not answered:
                    _await_answer(f"{address}/{PLACES[0].format(site=site)}")
                    answered = True
                found = _fetched(address, folder, site, parse)
            raw, table = found
            digest.update(raw)
            tables.append(table)
    return tables, digest.hexdigest()


def _cached(folder: Path, site: str, parse: Callable[[bytes, str], pd.DataFrame]) -> tuple[bytes, pd.DataFrame] | None:
    for path in (folder / f"{site}_phenotypic.csv", folder / f"{site}_participants.tsv"):
        if path.is_file():
            raw = path.read_bytes()
            try:
                return raw, _table(raw, path.name, site, parse)
            except ValueError:  # cut off or edited: it is fetched anew
                continue
    return None


def _fetched(
    address: str, folder: Path, site: str, parse: Callable[[bytes, str], pd.DataFrame]
) -> tuple[bytes, pd.DataFrame]:
    faults = []
    for place in PLACES:
        name = place.format(site=site)
        raw = _get(f"{address}/{name}")
        if raw is None:
            faults.append(f"{name}: not there")
            continue
        try:
            table = _table(raw, name, site, parse)
        except ValueError as error:
            faults.append(f"{name}: {error}")
            continue
        _write(folder / (f"{site}_participants.tsv" if name.endswith("tsv") else f"{site}_phenotypic.csv"), raw)
        return raw, table
    raise DownloadFailed("; ".join(faults))


def _table(raw: bytes, name: str, site: str, parse: Callable[[bytes, str], pd.DataFrame]) -> pd.DataFrame:
    table = from_participants(raw, site) if name.endswith(".tsv") else parse(raw, name)
    if len(table) != SITES[site]:
        raise ValueError(f"{len(table)} persons instead of {SITES[site]}")
    return table


def from_participants(raw: bytes, site: str) -> pd.DataFrame:
    """A BIDS `participants.tsv` in the coding of the CSV files; raises ValueError for a word that the key lacks."""
    from io import BytesIO

    table = pd.read_csv(BytesIO(raw), sep="\t", dtype=str, keep_default_na=False, encoding="latin-1")
    table.columns = [re.sub(r"[^a-z0-9]+", "_", str(column).lower()).strip("_") for column in table.columns]
    missing = {"participant_id", "dx", "age", "gender"} - set(table.columns)
    if missing:
        raise ValueError(f"no column {sorted(missing)[0]}")
    for column in table.columns:
        key = KEY.get("qc" if column.startswith("qc_") else column)
        if key is not None:
            codes = {word: _code(word, column, key) for word in table[column].unique()}
            table[column] = table[column].map(codes)
    table["participant_id"] = table["participant_id"].str.removeprefix("sub-").str.lstrip("0")
    table["site"] = SITE_CODES[site.split("_")[0]]
    return table.drop_duplicates(ignore_index=True)


def _code(word: str, column: str, key: tuple[tuple[str, str], ...]) -> str:
    if not word.strip() or word == "n/a" or re.fullmatch(r"-?[\d.]+", word):
        return word
    for pattern, code in key:
        if re.search(pattern, word.strip().lower()):
            return code
    raise ValueError(f"{column} has the unknown value {word[:30]!r}")


def _await_answer(url: str) -> None:
    """Raises `DownloadFailed` unless somebody answers in time, whatever name lookup and many addresses may take."""
    outcome: list[str] = []

    def ask() -> None:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=ANSWER_SECONDS):
                outcome.append("")
        except urllib.error.HTTPError:
            outcome.append("")  # an answer, if not a kind one
        except (OSError, HTTPException, ValueError) as error:
            outcome.append(str(getattr(error, "reason", error)))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(ANSWER_SECONDS)
    fault = outcome[0] if outcome else f"no answer within {ANSWER_SECONDS:g} s"
    if fault:
        raise DownloadFailed(f"no connection to {url.split('/')[2]} ({fault})")


def _get(url: str) -> bytes | None:
    try:
        with urllib.request.urlopen(url, timeout=FILE_SECONDS) as answer:
            return answer.read()
    except urllib.error.HTTPError as error:
        if error.code in (403, 404):  # the bucket says 403 for what is not there
            return None
        raise DownloadFailed(f"{url}: {error}") from None
    except (OSError, HTTPException) as error:
        raise DownloadFailed(f"{url}: {getattr(error, 'reason', error)}") from None


def _write(path: Path, raw: bytes) -> None:
    """Atomically: under its name there is the whole file or none."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(raw)
        os.replace(part, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()  # if it came to be at all
        raise DownloadFailed(f"{path} cannot be written ({error.strerror}); set DATAKILN_CACHE to a folder") from None
