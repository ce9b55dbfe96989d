"""New ids look like the old ones and are none of them."""

from __future__ import annotations

import random
import re
import uuid

import numpy as np
import pandas as pd
import pytest

from datakiln.codecs.tables.generated import GeneratedColumn
from datakiln.codecs.tables.generators import ADDRESS, check_generator, parsed
from datakiln.errors import UserError
from datakiln.schema import Field

N = 300
RANDOM = random.Random(0)
KEYS = {
    "customer": ([f"CUST-{RANDOM.randrange(10**6):06d}" for _ in range(N)], r"CUST-\d{6}"),
    "uid": ([str(uuid.UUID(int=RANDOM.getrandbits(128), version=4)) for _ in range(N)], r"[0-9a-f-]{14}4[0-9a-f-]{21}"),
    "number": ([f"{RANDOM.randrange(10**9):09d}" for _ in range(N)], r"\d{9}"),
    "mail": ([f"p{k}@mail{k % 9}.com" for k in range(N)], r"[^@]+@[^@]+\.[a-z]+"),
    "phone": (
        [f"+49 17{RANDOM.randrange(10)} {RANDOM.randrange(10**6, 10**7)}" for _ in range(N)],
        r"\+49 \d{3} \d{7}",
    ),
    "mobile": ([f"+4930{RANDOM.randrange(10**7):07d}" for _ in range(N)], r"\+4930\d{7}"),
    "order": ([f"2024{RANDOM.randrange(10**6):06d}/A" for _ in range(N)], r"2024\d{6}/A"),
    "two kinds": ([f"{'AB' if k % 2 else 'CD'}{RANDOM.randrange(10**7):07d}" for k in range(N)], r"(AB|CD)\d{7}"),
    "two shapes": ([f"INV-{k:08d}" if k % 3 else f"CN{k:07d}/X" for k in range(N)], r"INV-\d{8}|CN\d{7}/X"),
    "binary": ([f"{RANDOM.getrandbits(24):024b}" for _ in range(N)], r"[01]{24}"),
    "server": ([".".join(str(RANDOM.randrange(256)) for _ in range(4)) for _ in range(N)], ADDRESS.pattern),
}


def test_each_of_several_patterns_keeps_its_share() -> None:
    series = pd.Series([f"INV-{k:05d}" if k % 5 else f"CN{k:04d}/X" for k in range(500)], dtype="str")
    made = drawn(GeneratedColumn.fit(Field("key", "id", "str"), series), 0, n=1000)
    assert abs(made.str.startswith("CN").mean() - 0.2) < 0.05  # 4 standard errors


def drawn(column: GeneratedColumn, seed: int, n: int = N, pieces: int = 2) -> pd.Series:
    size = n // pieces
    parts = [column.decode(np.zeros((size, 0)), np.random.default_rng([seed, 0, k]), k * size) for k in range(pieces)]
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize("name", KEYS)
def test_keys_keep_their_pattern_and_are_new(name: str) -> None:
    cells, pattern = KEYS[name]
    series = pd.Series(cells, dtype="str", name=name)
    fitted = GeneratedColumn.fit(Field(name, "id", "str"), series)
    column = GeneratedColumn.from_state(fitted.field, fitted.state())
    one, other = drawn(column, 1), drawn(column, 2)
    assert one.str.fullmatch(pattern).all()
    assert one.is_unique
    assert not one.isin(series).any()
    assert not one.isin(other).any()
    assert one.equals(drawn(column, 1))


def test_more_rows_than_a_pattern_has_cells_are_longer() -> None:
    series = pd.Series([f"A{k:02d}" for k in range(90)], dtype="str")
    made = drawn(GeneratedColumn.fit(Field("key", "id", "str"), series), 0, n=1000)
    assert made.is_unique
    assert not made.isin(series).any()
    assert made.str.fullmatch(r"A\d+").all()


def test_a_checkpoint_holds_no_training_key() -> None:
    cells, _ = KEYS["customer"]
    state = str(GeneratedColumn.fit(Field("customer", "id", "str"), pd.Series(cells, dtype="str")).state())
    assert not any(cell in state for cell in cells)


def test_a_regular_expression_gives_all_its_words() -> None:
    pattern = parsed(r"(ab|c)-[x-z]\d?", "type")
    words = {pattern.cell(i) for i in range(pattern.count)}
    assert pattern.count == len(words) == 2 * 3 * 11
    assert all(re.fullmatch(r"(ab|c)-[x-z]\d?", word) for word in words)


@pytest.mark.parametrize(
    ("generator", "locale", "message"),
    [
        ("regex([A-Z)", "", "cannot|unterminated|missing"),
        ("regex((?=a)b)", "", "cannot be made up"),
        ("regex([A-Z]{3}", "", "closing bracket"),
        ("faker.nmae", "", "did you mean 'name'"),
        ("faker.name", "xx_XX", "no such locale"),
    ],
)
def test_a_generator_that_is_none_is_refused(generator: str, locale: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_generator(generator, locale, "data.types.x")


def test_names_of_a_locale() -> None:
    field = Field("who", "text", "str", generator="faker.name", locale="de_DE")
    column = GeneratedColumn.fit(field, pd.Series(["Anna Maier", "Bo Li"], dtype="str"))
    assert drawn(column, 1, n=4).equals(drawn(column, 1, n=4))


def test_whole_numbers_that_are_drawn_and_not_counted_keep_their_digits() -> None:
    drawn = np.random.default_rng(0).choice(np.arange(100_000, 999_999), 300, replace=False)
    column = GeneratedColumn.fit(Field("customer_no", "id", "int64"), pd.Series(drawn[:200]))
    column.avoid(pd.Series(drawn), 300)
    ours, others = (column.decode(np.zeros((150, 0)), np.random.default_rng([seed, 0]), 0) for seed in (1, 2))
    assert ours.dtype == np.int64 and ours.between(100_000, 999_999).all() and ours.is_unique
    assert not set(ours) & {*drawn.tolist(), *others}
    counted = GeneratedColumn.fit(Field("id", "id", "int64"), pd.Series(np.arange(1, 100)))
    assert counted.decode(np.zeros((2, 0)), np.random.default_rng([0, 0]), 0).tolist() == [100, 101]


@pytest.mark.parametrize(
    ("first", "dtype", "made"),
    [
        (2**63, "uint64", "uint64"),
        (2**63 - 1300, "uint64", "uint64"),
        (2**63 - 1300, "int64", "uint64"),
        (0, "int16", "int16"),
        (0, "int16[pyarrow]", "int16[pyarrow]"),
        (2**63, "uint64[pyarrow]", "uint64[pyarrow]"),
    ],
)
def test_keys_go_on_beyond_the_largest_number_of_a_kind(first: int, dtype: str, made: str) -> None:
    keys = pd.Series([first + 4 * k for k in range(300)], dtype=dtype)
    column = GeneratedColumn.fit(Field("k", "id", dtype), keys)
    column = GeneratedColumn.from_state(column.field, column.state())
    found = column.decode(np.zeros((200, 0)), np.random.default_rng(0), 100)
    assert found.dtype == made
    assert found.tolist() == list(range(int(keys.max()) + 101, int(keys.max()) + 301))


def test_ids_of_few_bits_do_not_begin_anew() -> None:
    column = GeneratedColumn.fit(Field("k", "id", "int8"), pd.Series(np.arange(120, dtype="int8")))
    assert column.decode(np.zeros((20, 0)), np.random.default_rng(0), 0).tolist() == list(range(120, 140))


def test_ids_that_no_number_is_left_for_are_refused() -> None:
    keys = pd.Series(np.array([2**64 - 1 - k for k in range(300)], dtype="uint64"))
    column = GeneratedColumn.fit(Field("k", "id", "uint64"), keys)
    with pytest.raises(UserError, match="column 'k' has ids up to 18446744073709551615"):
        column.decode(np.zeros((20, 0)), np.random.default_rng(0), 0)
