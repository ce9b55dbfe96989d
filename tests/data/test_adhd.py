"""The ADHD-200 table from every place it may come from; the persons in these tests are made up."""

import csv
import io
import json
import os
import socketserver
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from datakiln.data.sets import adhd_download
from datakiln.data.sets.adhd import (
    DIAGNOSES,
    FIGURES,
    FULL_COLUMNS,
    NUMBERS,
    PAPER_COLUMNS,
    AdhdTable,
    read_cells,
    to_values,
    write_figures,
)
from datakiln.data.sets.adhd_download import SITE_CODES, SITES, from_participants
from datakiln.data.sets.adhd_figures import MIN_PERSONS, compute_figures, simulate
from datakiln.data.tables.types import infer_schema
from datakiln.errors import UserError

HEADER = (
    "ScanDir ID,Site,Gender,Age,Handedness,DX,Secondary Dx ,ADHD Measure,ADHD Index,Inattentive,Hyper/Impulsive,"
    "IQ Measure,Verbal IQ,Performance IQ,Full2 IQ,Full4 IQ,Med Status,"
    "QC_Rest_1,QC_Rest_2,QC_Rest_3,QC_Rest_4,QC_Anatomical_1,QC_Anatomical_2"
).split(",")
REAL = os.environ.get("DATA_DIR")
needs_real = pytest.mark.skipif(
    REAL is None or not (Path(REAL) / "adhd200").is_dir(), reason="DATA_DIR has no adhd200: real table not checked"
)


def site_rows(site: str, n: int) -> list[list[str]]:
    """Made-up persons of a site, with every code for missing."""
    rng = np.random.default_rng(len(site))
    code = SITE_CODES[site.split("_")[0]]
    rows = []
    for i in range(n):
        score = str(rng.integers(40, 90))
        person = [
            str(1000 * int(code) + i),
            code,
            str(i % 2),
            f"{8 + i % 9}.5",
            "1",
            str(i % 4),
            ("", " ", "ODD")[i % 3],
        ]
        scales = ["2", (score, "N/A", "-999", "")[i % 4], score, score, "1", "pending" if i % 5 == 0 else "101", "99"]
        rows.append([*person, *scales, "N/A", "100", "1", "1", "N/A", "N/A", "N/A", "1", "N/A"])
    return rows


def as_csv(rows: list[list[str]], header: list[str] = HEADER) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows([header, *rows])
    return text.getvalue().encode()


WORDS = {
    "gender": {"0": "Female", "1": "Male"},
    "handedness": {"1": "Right"},
    "dx": dict(
        zip(
            "0123",
            ("Typically Developing Children", "ADHD-Combined", "ADHD-Hyperactive/Impulsive", "ADHD-Inattentive"),
            strict=True,
        )
    ),
    "adhd_measure": {"2": "Conners' Parent Rating Scale-Revised, Long version (CPRS-LV)"},
    "iq_measure": {"1": "Wechsler Intelligence Scale for Children, Fourth Edition (WISC-IV)"},
    "med_status": {"1": "Medication Na\xefve", "2": "Not Medication Naive"},
    "qc_rest_1": {"1": "Pass", "0": "Questionable"},
    "qc_anatomical_1": {"1": "Pass", "0": "Questionable"},
}


def as_participants(rows: list[list[str]]) -> bytes:
    """The same persons as BIDS has them: words, other names, empty columns left out, test rows twice."""
    names = [name.strip().lower().replace(" ", "_").replace("/", "_") for name in HEADER]
    names[0] = "participant_id"
    frame = pd.DataFrame(rows, columns=names).drop(columns=["site", "qc_rest_2", "qc_rest_3", "qc_rest_4"])
    frame = frame.replace({"N/A": "n/a", "": "n/a", "-999": "n/a", "pending": "n/a", " ": "n/a"})
    for column, words in WORDS.items():
        frame[column] = frame[column].map(lambda code, words=words: words.get(code, code))
    frame["participant_id"] = "sub-00" + frame["participant_id"]
    twice = pd.concat([frame, frame.head(3)])
    return twice.to_csv(sep="\t", index=False).encode("latin-1")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DATAKILN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def bucket() -> dict[str, bytes]:
    """A bucket laid out as the consortium's: two sites have no CSV file, one only in the older tree."""
    files = {}
    for site, n in SITES.items():
        rows = site_rows(site, n)
        if site in ("Peking_2", "Peking_3"):
            files[f"/base/RawDataBIDS/{site}/participants.tsv"] = as_participants(rows)
        else:
            tree = "RawData" if site == "WashU" else "RawDataBIDS"
            files[f"/base/{tree}/{site}_phenotypic.csv"] = as_csv(rows)
    return files


@pytest.fixture
def server() -> Iterator[tuple[str, dict[str, bytes], list[str]]]:
    files, asked = bucket(), []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # noqa: N802 (the name that http.server calls)
            asked.append(self.path)
            body = files.get(self.path)
            self.send_response(403 if body is None else 200)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body or b"")

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *args: object) -> None:
            """Quiet."""

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}/base", files, asked
    httpd.shutdown()
    httpd.server_close()
    thread.join()


def all_sites() -> pd.DataFrame:
    return to_values([read_cells(as_csv(site_rows(site, n))) for site, n in SITES.items()], "made up")


# --- files


def put_joint(folder: Path, rows: list[list[str]]) -> None:
    (folder / "adhd200").mkdir(parents=True)
    (folder / "adhd200" / "adhd200_training_phenotypic.csv").write_bytes(as_csv(rows))


def test_codes_for_missing_and_blanks_in_names(tmp_path: Path) -> None:
    put_joint(tmp_path, site_rows("NYU", 40))
    table = AdhdTable(columns=["Secondary Dx", "ADHD Index", "Verbal IQ", "ScanDir ID", "Full2 IQ"])(str(tmp_path))
    frame = table.frame
    assert list(frame.columns) == ["Secondary Dx", "ADHD Index", "Verbal IQ", "ScanDir ID", "Full2 IQ", "DX"]
    assert frame["ADHD Index"].isna().sum() == 30 and frame["ADHD Index"].dropna().between(40, 90).all()
    assert frame["Verbal IQ"].isna().sum() == 8 and frame["Full2 IQ"].isna().all()
    assert frame["Secondary Dx"].isna().sum() == 27 and set(frame["Secondary Dx"].dropna()) == {"ODD"}
    assert set(frame["DX"]) == {"0", "1", "2", "3"} and table.label == "DX"
    assert table.provenance.kind == "files" and "40 persons" in table.provenance.detail
    assert any("not the official training table" in note for note in table.notes)


def test_per_site_files_are_joined_and_counted(tmp_path: Path) -> None:
    folder = tmp_path / "adhd200" / "training"
    folder.mkdir(parents=True)
    washu = [name if name != "ScanDir ID" else "ScanDirID" for name in HEADER]
    (folder / "KKI_phenotypic.csv").write_bytes(as_csv(site_rows("KKI", 83)))
    (folder / "WashU_phenotypic.csv").write_bytes(as_csv(site_rows("WashU", 61), washu))
    table = AdhdTable(columns=["ScanDir ID", "Age"])(str(tmp_path))
    assert len(table.frame) == 144 and table.frame["ScanDir ID"].notna().all()
    assert "(2 of 9 site files)" in table.provenance.detail


def test_every_usable_column_with_known_types(tmp_path: Path) -> None:
    put_joint(tmp_path, [row for site, n in SITES.items() for row in site_rows(site, n)])
    table = AdhdTable()(str(tmp_path))
    assert tuple(table.frame.columns) == FULL_COLUMNS and len(table.frame) == 776
    schema = infer_schema(table.frame, table.label, table.types)
    assert {name: schema[name].type for name in ("Age", "Verbal IQ", "Site", "DX", "QC_Rest_1")} == {
        "Age": "numeric",
        "Verbal IQ": "integer",
        "Site": "category",
        "DX": "category",
        "QC_Rest_1": "category",
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,b\n1,2\n", "no column 'Age', so this is no ADHD-200 phenotypic file"),
        (as_csv([["1", "5", "1", "ten", *["1"] * 19]]), "column 'Age' has 'ten', which is no number"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    put_joint(tmp_path, [])
    (tmp_path / "adhd200" / "adhd200_training_phenotypic.csv").write_bytes(content)
    with pytest.raises(UserError, match=message):
        AdhdTable(source="files")(str(tmp_path))


def test_unknown_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="data.source.source=file must be one of .*did you mean 'files'"):
        AdhdTable(source="file")
    with pytest.raises(UserError, match="'Agee' is no column of .*did you mean 'Age'"):
        AdhdTable(columns=["Agee"], source="stand-in")(None)
    with pytest.raises(UserError, match="data.source.source=files: no .*adhd200_training_phenotypic.csv"):
        AdhdTable(source="files")(str(tmp_path))
    with pytest.raises(UserError, match="data.source.source=files: no data_dir"):
        AdhdTable(source="files")(None)


# --- download


def test_download_caches_and_equals_the_files(server: tuple, cache: Path) -> None:
    address, _, asked = server
    table = AdhdTable(address=address)(None)
    assert table.provenance.kind == "download" and address in table.provenance.detail
    expected = all_sites()[list(FULL_COLUMNS)]
    pd.testing.assert_frame_equal(table.frame, expected)
    names = sorted(path.name for path in (cache / "adhd200").iterdir())
    assert len(names) == 9 and "Peking_2_participants.tsv" in names and "WashU_phenotypic.csv" in names
    count = len(asked)
    again = AdhdTable(address=address)(None)
    assert len(asked) == count and again.provenance == table.provenance


def test_a_spoilt_cache_is_fetched_anew(server: tuple, cache: Path) -> None:
    address, _, asked = server
    first = AdhdTable(address=address)(None)
    path = cache / "adhd200" / "NYU_phenotypic.csv"
    path.write_bytes(path.read_bytes()[:5000])
    asked.clear()
    assert AdhdTable(address=address)(None).provenance.sha256 == first.provenance.sha256
    assert {name.rsplit("/", 1)[1] for name in asked} == {"NYU_phenotypic.csv"}


def test_a_file_with_the_wrong_number_of_persons_does_not_count(server: tuple, cache: Path) -> None:
    address, files, _ = server
    files["/base/RawDataBIDS/KKI_phenotypic.csv"] = as_csv(site_rows("KKI", 80))
    with pytest.raises(UserError, match="RawDataBIDS/KKI_phenotypic.csv: 80 persons instead of 83") as error:
        AdhdTable(source="download", address=address)(None)
    assert "\n" not in str(error.value) and not (cache / "adhd200" / "KKI_phenotypic.csv").exists()
    files["/base/RawData/KKI_phenotypic.csv"] = as_csv(site_rows("KKI", 83))
    assert len(AdhdTable(source="download", address=address)(None).frame) == 776


def test_without_network_the_stand_in_steps_in_quickly_and_says_so(cache: Path) -> None:
    start = time.perf_counter()
    table = AdhdTable(address="http://127.0.0.1:9/base")(None)
    assert time.perf_counter() - start < 5
    assert table.provenance.is_stand_in and len(table.frame) == 776
    assert table.notes[0].startswith("STAND-IN DATA") and "no connection to 127.0.0.1:9" in table.notes[0]
    with pytest.raises(UserError, match="data.source.source=download: no download: no connection to 127.0.0.1:9"):
        AdhdTable(source="download", address="http://127.0.0.1:9/base")(None)


def test_a_server_that_never_answers_is_not_waited_for(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adhd_download, "ANSWER_SECONDS", 0.3)
    done = threading.Event()

    class Silent(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            done.wait(10)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Silent) as silent:
        thread = threading.Thread(target=silent.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        start = time.perf_counter()
        table = AdhdTable(address=f"http://127.0.0.1:{silent.server_address[1]}/base")(None)
        assert time.perf_counter() - start < 5
        done.set()
        silent.shutdown()
        thread.join()
    assert table.provenance.is_stand_in


def test_a_cache_that_cannot_be_written_is_named(server: tuple, cache: Path) -> None:
    cache.write_text("a file where the folder should be")
    with pytest.raises(UserError, match="cannot be written .*set DATAKILN_CACHE"):
        AdhdTable(source="download", address=server[0])(None)


def test_words_of_the_bids_table_become_codes() -> None:
    rows = site_rows("Peking_2", 67)
    cells = to_values([from_participants(as_participants(rows), "Peking_2")], "made up")
    expected = to_values([read_cells(as_csv(rows))], "made up")
    columns = [*FULL_COLUMNS, "Secondary Dx", "ScanDir ID"]
    pd.testing.assert_frame_equal(cells[columns], expected[columns])
    with pytest.raises(ValueError, match="dx has the unknown value 'Something'"):
        from_participants(as_participants(rows).replace(b"ADHD-Combined", b"Something"), "Peking_2")


# --- stand-in


def stand_in() -> pd.DataFrame:
    return AdhdTable(source="stand-in")(None).frame


def test_stand_in_is_the_same_every_time_and_has_the_published_counts() -> None:
    table = AdhdTable(source="stand-in")(None)
    assert table.provenance == AdhdTable(source="stand-in")(None).provenance
    assert table.frame["DX"].value_counts().to_dict() == DIAGNOSES
    assert tuple(table.frame.columns) == FULL_COLUMNS
    assert not table.frame.duplicated().any()
    paper = AdhdTable(columns=list(PAPER_COLUMNS), source="stand-in")(None)
    assert tuple(paper.frame.columns) == (*PAPER_COLUMNS, "DX")
    assert 400 < len(paper.frame.dropna()) < 520  # 461 persons of the real table have all six


def test_stand_in_follows_its_figures() -> None:
    figures, frame = json.loads(FIGURES.read_text()), stand_in()
    checked = 0
    for name, stratum in figures["strata"].items():
        site, diagnosis = name.split("/")
        rows = frame[(frame["Site"] == site) & (frame["DX"] == diagnosis)]
        for column, figure in stratum.items():
            if len(rows) < 20:
                continue
            missing = rows[column].isna().mean()
            # four standard errors of a share
            assert abs(missing - figure.get("missing", 0)) < 4 * np.sqrt(0.25 / len(rows)) + 0.01
            present = rows[column].dropna()
            if "mean" in figure:
                # cutting off at the range moves the mean by up to a third of a deviation
                assert abs(present.mean() - figure["mean"]) < figure["sd"] * (0.33 + 4 / np.sqrt(len(present)))
                assert present.between(figure["low"] - 0.5, figure["high"] + 0.5).all()
            else:
                shares = present.astype(str).value_counts(normalize=True)
                for value, share in figure["shares"].items():
                    assert abs(shares.get(value, 0.0) - share) < 4 * np.sqrt(0.25 / len(present))
            checked += 1
    assert checked > 100


def test_stand_in_numbers_are_correlated_as_figured() -> None:
    figures = json.loads(FIGURES.read_text())
    frame = pd.concat([simulate(figures, FULL_COLUMNS, seed) for seed in range(3)])
    rows = frame[(frame["DX"] == "0") & (frame["Site"] == "5")]
    # verbal and full IQ 0.83, rating and inattention 0.85; three tables of about 99 rows, cut off at the ranges
    assert abs(rows["Verbal IQ"].astype(float).corr(rows["Full4 IQ"].astype(float)) - 0.83) < 0.08
    assert abs(rows["ADHD Index"].astype(float).corr(rows["Inattentive"].astype(float)) - 0.85) < 0.08


def test_figures_of_small_groups_are_merged_or_left_out() -> None:
    rng = np.random.default_rng(0)
    n = 400
    frame = pd.DataFrame({column: rng.normal(50, 9, n).round(1) for column in FULL_COLUMNS if column in NUMBERS})
    for column in FULL_COLUMNS:
        if column not in NUMBERS:
            frame[column] = "1"
    frame["Site"] = np.where(np.arange(n) < 200, "1", "5")
    frame.loc[frame["Site"] == "1", "Handedness"] = 1.0
    frame["DX"] = np.where(np.arange(n) % 40 == 7, "2", np.where(np.arange(n) % 3 == 0, "1", "0"))
    frame.loc[frame.index[:4], "Gender"] = "0"  # four persons
    frame.loc[frame.index[:197], "Full2 IQ"] = np.nan
    frame.loc[frame.index[200], "Age"] = 9999.0  # one person's extreme
    frame.loc[frame.index[201:205], "Handedness"] = np.nan
    figures = compute_figures(frame[list(FULL_COLUMNS)])
    assert set(figures["strata"]) == {"1/0", "1/1", "1/adhd", "5/0", "5/1", "5/adhd"}  # five of diagnosis 2 a site
    for name, stratum in figures["strata"].items():
        assert "0" not in stratum["Gender"]["shares"]
        assert name.startswith("5") == ("Full2 IQ" in stratum)
        assert "missing" not in stratum["Handedness"]
        assert stratum["Age"]["high"] != 9999.0
    assert "9999" not in json.dumps(figures)


def test_stored_figures_name_no_small_group() -> None:
    figures = json.loads(FIGURES.read_text())
    for stratum, columns in figures["strata"].items():
        site, diagnosis = stratum.split("/")
        total = sum(figures["diagnoses"].values()) if diagnosis == "adhd" else figures["diagnoses"][diagnosis]
        for figure in columns.values():
            smallest = min(figure.get("shares", {"": 1.0}).values())
            # a share of five persons of the whole diagnosis is the least that could stand here
            assert smallest == 0 or smallest * total >= MIN_PERSONS - 0.5
        assert site in SITE_CODES.values()
    assert FIGURES.stat().st_size < 50_000


# --- the real table


@needs_real
def test_real_table_has_the_documented_counts() -> None:
    table = AdhdTable(columns=[*FULL_COLUMNS, "Secondary Dx", "ScanDir ID"])(REAL)
    frame = table.frame
    assert table.provenance.kind == "files" and table.notes == () and len(frame) == 776
    assert frame["DX"].value_counts().to_dict() == DIAGNOSES
    documented = {"Gender": 1, "Handedness": 7, "Secondary Dx": 656, "ADHD Measure": 198, "ADHD Index": 306}
    documented |= {"Inattentive": 227, "Hyper/Impulsive": 227, "IQ Measure": 49, "Verbal IQ": 241}
    documented |= {"Performance IQ": 241, "Full2 IQ": 729, "Full4 IQ": 59, "Med Status": 272, "QC_Rest_1": 78}
    assert frame[list(documented)].isna().sum().to_dict() == documented
    assert frame["ScanDir ID"].is_unique and table.types["ScanDir ID"] == "id"


@needs_real
def test_real_site_files_equal_the_joint_file(tmp_path: Path) -> None:
    (tmp_path / "adhd200").mkdir()
    (tmp_path / "adhd200" / "training").symlink_to(Path(REAL or "").resolve() / "adhd200" / "training")
    by_site, joint = AdhdTable()(str(tmp_path)), AdhdTable()(REAL)
    assert "9 of 9 site files" in by_site.provenance.detail
    order = ["Site", "Age", "Full4 IQ", "Verbal IQ", "Inattentive"]
    pd.testing.assert_frame_equal(
        by_site.frame.sort_values(order, ignore_index=True), joint.frame.sort_values(order, ignore_index=True)
    )


@needs_real
def test_stored_figures_are_those_of_the_real_table(tmp_path: Path) -> None:
    write_figures(str(REAL), tmp_path / "figures.json")
    assert (tmp_path / "figures.json").read_text() == FIGURES.read_text()


@needs_real
def test_no_row_of_the_stand_in_is_a_person() -> None:
    # of rows with all tests: where a site measured only age and one IQ, two persons may agree by chance
    columns = [*(set(NUMBERS) - {"Full2 IQ"}), "DX", "Site", "Gender"]
    simulated, real = (
        table.frame[columns].dropna().astype(str).agg("|".join, axis=1)
        for table in (AdhdTable(source="stand-in")(None), AdhdTable()(REAL))
    )
    assert len(simulated) > 400 and len(real) > 400
    assert not set(simulated) & set(real)
