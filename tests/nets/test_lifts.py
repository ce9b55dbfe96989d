"""Lifts: what a category says of another column, counted and shrunk."""

import torch

from datakiln.nets import lifts


def rare_class(n: int = 1500) -> torch.Tensor:
    """Column 1 has code 7 in the rows of class 1, of which there are ten, and nowhere else; column 2 is by chance."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.stack([torch.zeros(n), torch.randint(7, (n,), generator=generator).float()], dim=1)
    rows = torch.cat([rows, torch.randint(3, (n, 1), generator=generator).float()], dim=1).long()
    rows[:10, 0], rows[:10, 1] = 1, 7
    return rows


def test_a_class_of_ten_rows_takes_what_goes_with_it() -> None:
    rows = rare_class()
    source, found = lifts.fit(rows, [2, 8, 3], [0, 8, 0], [0, 2, 1])
    assert source == [-1, 0, -1]  # chance is no source
    shares = torch.bincount(rows[:, 1], minlength=8) / len(rows)
    told = (shares.log() + found[1][1]).softmax(dim=0)
    assert float(told[7]) > 0.8
    assert not found[1][0].any()  # of the other class there are enough rows to learn from


def test_a_class_that_nothing_goes_with_keeps_the_shares() -> None:
    rows = rare_class()
    rows[:10, 1] = torch.arange(10) % 7
    source, found = lifts.fit(rows, [2, 8, 3], [0, 8, 0], [0, 2, 1])
    assert source == [-1, -1, -1] and not found


def test_numbers_and_large_categories_are_no_sources() -> None:
    rows = rare_class()
    assert lifts.fit(rows, [2, 8, 3], [2, 8, 0], [0, 2, 1])[0] == [-1, -1, -1]
    assert lifts.rows_of([2, 8, 3, 65], [0, 8, 0, 0]) == 4


def rare_code(n: int = 20_000) -> torch.Tensor:
    """Column 1 has code 5 in ten rows, all of class 1, which has a thousand others and tells nothing else."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.stack([torch.zeros(n), torch.randint(5, (n,), generator=generator).float()], dim=1).long()
    rows[:1000, 0], rows[:10, 1] = 1, 5
    return rows


def test_a_code_of_ten_rows_is_found_in_the_class_that_all_of_them_have() -> None:
    source, found = lifts.fit(rare_code(), [2, 6], [0, 0], [0, 1])
    assert source == [-1, 0]
    assert not found[1][:, :5].any()  # of what is frequent there are enough rows to learn from
    assert float(found[1][1, 5] - found[1][0, 5]) > 2.0


def test_a_rare_bin_of_a_number_is_learnt_with_its_neighbours() -> None:
    assert lifts.fit(rare_code(), [2, 6], [0, 6], [0, 1])[0] == [-1, -1]
