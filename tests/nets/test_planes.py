"""Planes in normal scores: what linear algebra says of them."""

import numpy as np
import torch

from datakiln.nets import planes


def gaussian(n: int = 3000) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Three numbers and a category: the third is twice the first less the second, and higher in code 5."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, 3, generator=generator, dtype=torch.float64)
    code = torch.where(torch.rand(n, generator=generator) < 0.3, 5, 4)
    x[:, 2] = 2 * x[:, 0] - x[:, 1] + 1.5 * (code == 5) + 0.5 * x[:, 2]
    return x, torch.ones(n, 3, dtype=torch.bool), torch.stack([x[:, 0], x[:, 1], x[:, 2], code.double()], dim=1).long()


ORDER, PLACE = [3, 1, 0, 2], {0: 0, 1: 1, 2: 2}


def test_slopes_are_those_of_least_squares():
    x, valued, codes = gaussian()
    codes[:, :3] = 0
    slopes, counted, lift, height, deviation, says = planes.fit(x, valued, codes, ORDER, PLACE)
    assert says.tolist() == [False, False, True]  # the first two go with nothing that comes before
    assert not slopes[:2].any() and not lift[:, :2].any()
    found = dict(zip(counted.tolist(), lift[:, 2].tolist(), strict=True))
    design = np.stack([x[:, 0], x[:, 1], (codes[:, 3] == 5), np.ones(len(x))], axis=1)
    wanted = np.linalg.lstsq(design, x[:, 2].numpy(), rcond=None)[0]
    assert np.allclose(slopes[2, :2], wanted[:2], atol=0.01)
    assert abs((found[5] - found[4]) - wanted[2]) < 0.02
    assert abs(float(height[2]) + found[4] - wanted[3]) < 0.02
    assert abs(float(deviation[2]) - 0.5) < 0.03


def test_missing_cells_neither_count_nor_flatten_the_others():
    x, valued, codes = gaussian()
    codes[:, :3] = 0
    valued[torch.rand(len(x), generator=torch.Generator().manual_seed(1)) < 0.5, 2] = False
    x[~valued] = 99.0
    slopes, *_, says = planes.fit(x, valued, codes, ORDER, PLACE)
    assert bool(says[2])
    assert np.allclose(slopes[2], [2.0, -1.0, 0.0], atol=0.1)


def test_few_rows_have_none():
    x, valued, codes = gaussian(planes.LEAST - 1)
    assert planes.fit(x, valued, codes, ORDER, PLACE) is None
