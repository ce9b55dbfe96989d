"""Groups of pictures: where their centres lie, of what is known, and how many there are."""

from __future__ import annotations

import pytest
import torch

from datakiln.nets.groups import FAR, LEAST, Groups


def corners(n: int, side: int = 16) -> torch.Tensor:
    """Pictures bright in the upper left, in the lower right, and nowhere, n of each."""
    x = torch.full((3 * n, 1, side, side), -1.0)
    x[:n, :, : side // 2, : side // 2] = 1.0
    x[n : 2 * n, :, side // 2 :, side // 2 :] = 1.0
    return x


def test_pictures_that_look_alike_are_a_group():
    groups, x = Groups((1, 16, 16), 3), corners(LEAST)
    assert not groups.are_found
    groups.find(x[torch.randperm(len(x))].split(7))
    found = groups.of(x)
    assert groups.are_found
    assert [len(found[i * LEAST : (i + 1) * LEAST].unique()) for i in range(3)] == [1, 1, 1]
    assert sorted(found[::LEAST].tolist()) == [0, 1, 2]
    assert groups.shares.tolist() == pytest.approx([1 / 3] * 3)
    assert torch.equal(groups.of(x.repeat_interleave(2, 2).repeat_interleave(2, 3)), found)


def test_few_pictures_are_few_groups():
    groups = Groups((1, 16, 16), 50)
    groups.find([corners(LEAST)[: 2 * LEAST]])
    assert int((groups.shares > 0).sum()) == 2
    assert (groups.centres == FAR).all(dim=1).sum() == 48
    assert set(groups.of(corners(4)).tolist()) <= {0, 1}


def test_a_picture_of_which_half_is_known_is_of_the_group_that_this_half_tells():
    groups, x = Groups((1, 16, 16), 3), corners(LEAST)
    groups.find([x])
    holes = x[[0, LEAST, 0]].clone()
    holes[0, :, 8:] = holes[1, :, :8] = holes[2] = torch.nan
    first, second = groups.of(x[[0, LEAST]]).tolist()
    assert groups.of(holes).tolist() == [first, second, -1]


@pytest.mark.parametrize("share", [-0.5, torch.nan])
def test_shares_that_nothing_can_be_drawn_by_are_refused(share):
    state = Groups((1, 16, 16), 3).state_dict()
    state["shares"][0] = share
    with pytest.raises(ValueError, match="shares must be finite and not below 0"):
        Groups((1, 16, 16), 3).load_state_dict(state)
