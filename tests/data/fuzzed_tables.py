"""Random tables as people bring them: kinds of columns, missing cells, odd names, separators, quoting, encodings."""

from __future__ import annotations

import csv
import datetime
import gzip
import io
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

Rng = np.random.Generator
EPOCH = datetime.datetime(2020, 1, 1)
WORDS = ("red", "blue", "dark green", "Zürich", "a,b", 'say "hi"', "x;y", "tab\there", "bar|s", "o'clock", "[red]")
LINES = ("two\nlines", "old\rmac", "dos\r\nend", " led", "trailed ", "#N", "=1+1", "-", "é")
DATES = (
    "%Y-%m-%d", "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%Y/%m/%d", "%d %b %Y", "%B %d, %Y", "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%dT%H:%M:%SZ", "%d/%m/%Y %H:%M", "%m/%d/%Y %I:%M %p", "%Y%m%d", "%Y-%m-%dT%H:%M:%S+02:00", "%H:%M:%S",
)  # fmt: skip


def _whole(rng: Rng, n: int) -> list[str]:
    low = int(rng.choice([0, -50, 1000, 10**9]))
    return [str(low + int(k)) for k in rng.integers(0, int(rng.choice([3, 40, 10_000])), n)]


def _decimals(rng: Rng, n: int) -> list[str]:
    places = int(rng.integers(1, 6))
    return [f"{x:.{places}f}" for x in rng.normal(0, float(rng.choice([1, 1000])), n)]


def _floats(rng: Rng, n: int) -> list[str]:
    return [repr(float(x)) for x in rng.normal(0, 10.0 ** float(rng.integers(-12, 12)), n)]


def _rounded(rng: Rng, n: int) -> list[str]:
    return [f"{x:g}" for x in np.round(rng.lognormal(0, 2, n), 2)]


def _money(rng: Rng, n: int) -> list[str]:
    sign = str(rng.choice(["$", "€", "£", "USD "]))
    return [f"{'-' if x < 0 else ''}{sign}{abs(x):,.2f}" for x in rng.normal(800, 900, n)]


def _share(rng: Rng, n: int) -> list[str]:
    return [f"{x:.1f}{gap}%" for gap in [str(rng.choice(["", " "]))] for x in rng.uniform(0, 100, n)]


def _comma(rng: Rng, n: int) -> list[str]:
    return [f"{x:.2f}".replace(".", ",") for x in rng.normal(5, 30, n)]


def _grouped(rng: Rng, n: int) -> list[str]:
    gap = str(rng.choice([",", ".", " ", "'"]))
    return [f"{int(x):,}".replace(",", gap) for x in rng.integers(-50_000, 9_000_000, n)]


def _unit(rng: Rng, n: int) -> list[str]:
    unit = str(rng.choice(["kg", "°C", "km/h", "ms"]))
    return [f"{x:.1f} {unit}" for x in rng.normal(20, 9, n)]


def _accounts(rng: Rng, n: int) -> list[str]:
    return [f"({-x:.2f})" if x < 0 else f"{x:.2f}" for x in rng.normal(0, 99, n)]


def _dates(rng: Rng, n: int) -> list[str]:
    format = str(rng.choice(DATES))
    seconds = rng.integers(0, int(rng.choice([40, 4000])), n) * (86_400 if "%H" not in format else 3_599)
    return [(EPOCH + datetime.timedelta(seconds=int(s))).strftime(format) for s in seconds]


def _offsets(rng: Rng, n: int) -> list[str]:
    made = [EPOCH + datetime.timedelta(seconds=int(s)) for s in rng.integers(0, 10**8, n)]
    return [f"{moment.isoformat()}{rng.choice(['+00:00', '+05:30', '-08:00'])}" for moment in made]


def _far(rng: Rng, n: int) -> list[str]:
    first = int(rng.choice([1800, 2500]))
    return [f"{first + k}-0{month}-1{day}" for k, month, day in rng.integers(1, 9, (n, 3))]


def _forever(rng: Rng, n: int) -> list[str]:
    word = str(rng.choice(["9999-12-31", "0000-00-00", "unknown", "1900-01-01"]))
    days = [(EPOCH + datetime.timedelta(days=int(d))).strftime("%Y-%m-%d") for d in rng.integers(0, 900, n)]
    return [word if rng.random() < 0.2 else day for day in days]


def _lasting(rng: Rng, n: int) -> list[str]:
    return [f"{s // 3600}:{s // 60 % 60:02d}:{s % 60:02d}" for s in map(int, rng.integers(0, 200_000, n))]


def _phones(rng: Rng, n: int) -> list[str]:
    return [f"+4930{int(k):07d}" for k in rng.integers(0, 10**7, n)]


def _versions(rng: Rng, n: int) -> list[str]:
    return [f"{a}.{b}" for a, b in zip(rng.integers(1, 4, n), rng.integers(0, 13, n), strict=True)]


def _keys(rng: Rng, n: int) -> list[str]:
    form = str(rng.choice(["CUST-{:06d}", "{:05d}", "A{:03d}-X", "{:x}", "u{}@mail.org"]))
    return [form.format(int(k)) for k in rng.choice(900_000, n, replace=False)]


def _uuids(rng: Rng, n: int) -> list[str]:
    return [str(uuid.UUID(bytes=rng.bytes(16))) for _ in range(n)]


def _truths(rng: Rng, n: int) -> list[str]:
    pair = [("True", "False"), ("true", "false"), ("yes", "no"), ("0", "1"), ("Y", "N"), ("1.0", "0.0")]
    return [str(w) for w in rng.choice(pair[int(rng.integers(len(pair)))], n)]


def _words(rng: Rng, n: int) -> list[str]:
    return [str(w) for w in rng.choice(rng.choice(WORDS, 4, replace=False), n)]


def _lines(rng: Rng, n: int) -> list[str]:
    return [str(w) for w in rng.choice([*rng.choice(LINES, 3, replace=False), "plain"], n)]


def _meant(rng: Rng, n: int) -> list[str]:
    return [str(w) for w in rng.choice(["NA", "None", "DE", "FR", "n/a"], n)]


def _same(rng: Rng, n: int) -> list[str]:
    return [str(rng.choice(["7", "x", "2020-01-01", "$5.00", "1.50"]))] * n


def _prose(rng: Rng, n: int) -> list[str]:
    return [" ".join(map(str, rng.choice(WORDS, int(rng.integers(4, 12))))) for _ in range(n)]


def _huge(rng: Rng, n: int) -> list[str]:
    return [str(int(k) * 10**17 + 7) for k in rng.integers(1, 99, n)]


def _zeros(rng: Rng, n: int) -> list[str]:
    return [f"{int(k):05d}" for k in rng.integers(0, 20_000, n)]


def _mixed(rng: Rng, n: int) -> list[str]:
    return [str(rng.choice(["low", "<5"])) if rng.random() < 0.2 else f"{x:.1f}" for x in rng.normal(9, 3, n)]


def _names(rng: Rng, n: int) -> list[str]:
    first, last = ["Ada", "Bo", "Cem", "Dörte", "Eve"], ["Li", "O'Hara", "de Vries", "Müller-Lüdenscheidt"]
    return [f"{rng.choice(first)} {rng.choice(last)}" for _ in range(n)]


KINDS: dict[str, Callable[[Rng, int], list[str]]] = {
    "whole": _whole,
    "decimals": _decimals,
    "floats": _floats,
    "rounded": _rounded,
    "money": _money,
    "share": _share,
    "comma": _comma,
    "grouped": _grouped,
    "unit": _unit,
    "accounts": _accounts,
    "dates": _dates,
    "offsets": _offsets,
    "far": _far,
    "forever": _forever,
    "lasting": _lasting,
    "phones": _phones,
    "versions": _versions,
    "keys": _keys,
    "uuids": _uuids,
    "truths": _truths,
    "words": _words,
    "lines": _lines,
    "meant": _meant,
    "same": _same,
    "prose": _prose,
    "huge": _huge,
    "zeros": _zeros,
    "mixed": _mixed,
    "names": _names,
}
NAMES = (
    "x", "NA", "2020", "None", "a b", "x.y", "ünï", "one, two", 'the "id"', "[red]", "`tick`", "order_id", "name",
    "class", "select", "9lives", "a=b", "null", "col{1}", "price ($)", "E-Mail", "nan", "type", "index", "$x", "${y}",
    "a'b", "Ж",
)  # fmt: skip
GAPS = ("", "", "", "NA", "null", "NaN", "#N/A")
ENCODINGS = ("utf-8", "utf-8", "utf-8-sig", "utf-16", "cp1252", "latin-1")


@dataclass
class Odd:
    """A table on disk, what must be said to read it, and the cells that were written."""

    path: Path
    kinds: dict[str, str]
    cells: dict[str, list[str]]
    options: dict[str, Any] = field(default_factory=dict)


def written(folder: Path, seed: int) -> Odd:
    """A text file of its own for each seed."""
    rng = np.random.default_rng([seed, 1])
    rows, width = int(rng.choice([12, 40, 60, 130])), int(rng.integers(1, 5))
    names = [str(name) for name in rng.choice(NAMES, width, replace=False)]
    kinds = {name: str(rng.choice(list(KINDS))) for name in names}
    cells = {name: KINDS[kind](rng, rows) for name, kind in kinds.items()}
    for name in names:
        share = float(rng.choice([0, 0, 0, 0.1, 0.5, 0.95]))
        gap = str(rng.choice(GAPS))
        cells[name] = [gap if rng.random() < share else cell for cell in cells[name]]
    delimiter = str(rng.choice([",", ",", ";", "\t", "|"]))
    text = io.StringIO(newline="")
    is_quoted = rng.random() < 0.2 or "lines" in kinds.values()  # a carriage return needs them, and Python adds none
    quoting = csv.QUOTE_ALL if is_quoted else csv.QUOTE_MINIMAL
    lines = csv.writer(text, delimiter=delimiter, quoting=quoting, lineterminator=str(rng.choice(["\n", "\r\n"])))
    lines.writerow(names)
    lines.writerows(zip(*cells.values(), strict=True))
    options: dict[str, Any] = {}
    encoding = str(rng.choice(ENCODINGS))
    try:
        raw = text.getvalue().encode(encoding)
    except UnicodeEncodeError:
        encoding, raw = "utf-8", text.getvalue().encode()
    if encoding in ("cp1252", "latin-1"):
        options["encoding"] = encoding
    if rng.random() < 0.2:
        options["delimiter"] = delimiter
    is_packed = bool(rng.random() < 0.1)
    path = folder / f"{seed}.{'tsv' if delimiter == chr(9) else 'csv'}{'.gz' if is_packed else ''}"
    path.write_bytes(gzip.compress(raw, 1) if is_packed else raw)
    return Odd(path, kinds, cells, options)


TYPES = {
    str(kind): kind
    for kind in (
        pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint32(), pa.float32(), pa.float64(), pa.bool_(),
        pa.string(), pa.large_string(), pa.date32(), pa.decimal128(10, 2), pa.dictionary(pa.int8(), pa.string()),
        pa.time32("s"), pa.time64("us"), pa.timestamp("s"), pa.timestamp("ms"), pa.timestamp("us"), pa.timestamp("ns"),
        pa.timestamp("us", "Europe/Paris"), pa.duration("s"),
    )
}  # fmt: skip


def _values(kind: pa.DataType, rng: Rng, n: int) -> list[Any]:
    """Cells that a type can hold."""
    whole = [int(k) for k in rng.integers(0, 90, n)]
    if pa.types.is_floating(kind):
        return [float(np.float32(x)) for x in rng.normal(size=n)]
    if pa.types.is_boolean(kind):
        return [k > 40 for k in whole]
    if pa.types.is_large_string(kind):
        return _keys(rng, n)
    if pa.types.is_string(kind) or pa.types.is_dictionary(kind):
        return _words(rng, n)
    if pa.types.is_date(kind):
        return [EPOCH.date() + datetime.timedelta(days=k) for k in whole]
    if pa.types.is_decimal(kind):
        return [Decimal(k) / 100 for k in whole]
    if pa.types.is_time(kind):
        return [datetime.time(k % 24, 30) for k in whole]
    if pa.types.is_timestamp(kind):
        return [EPOCH + datetime.timedelta(hours=k * 37) for k in whole]
    return [datetime.timedelta(seconds=k * 100) for k in whole] if pa.types.is_duration(kind) else whole


def stored(folder: Path, seed: int) -> Odd:
    """A Parquet file of its own for each seed."""
    rng = np.random.default_rng([seed, 2])
    rows, width = int(rng.choice([12, 60, 130])), int(rng.integers(1, 5))
    names = [str(name) for name in rng.choice(NAMES, width, replace=False)]
    kinds = {name: str(rng.choice(list(TYPES))) for name in names}
    columns = {}
    for name, told in kinds.items():
        kind, share = TYPES[told], float(rng.choice([0, 0, 0.2]))
        cells = [None if rng.random() < share else cell for cell in _values(kind, rng, rows)]
        columns[name] = pa.array(cells, pa.string() if pa.types.is_dictionary(kind) else kind).cast(kind)
    path = folder / f"{seed}.parquet"
    parquet.write_table(pa.table(columns), path)
    return Odd(path, kinds, {})
