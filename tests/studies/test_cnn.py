"""The CNN of studies learns from one arm alone; classical augmentation moves pictures and leaves them what they are."""

import numpy as np
import torch

from datakiln.studies.cnn import CNN, cnn_probabilities, moved, neighbour_probabilities
from datakiln.studies.pictures import CLASSICAL, rows_of


def bars(n, seed):
    """Pictures of a bright row or a bright column, with noise."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 2
    x = 0.3 * torch.randn(n, 1, 8, 8, generator=generator) - 0.5
    for i in range(n):
        at = int(torch.randint(2, 6, (1,), generator=generator))
        if y[i]:
            x[i, 0, at] += 1.5
        else:
            x[i, 0, :, at] += 1.5
    return x, y


def test_both_learners_tell_rows_from_columns(monkeypatch):
    monkeypatch.setattr("datakiln.studies.cnn.LEAST_STEPS", 60)
    monkeypatch.setattr("datakiln.studies.cnn.MOST_STEPS", 60)
    (x, y), (test, truth) = bars(200, 0), bars(100, 1)
    for said in (cnn_probabilities(x, y, test, 2, 0), neighbour_probabilities(x, y, test, 2, 0)):
        assert np.allclose(said.sum(axis=1), 1.0, atol=1e-5)
        assert (said.argmax(axis=1) == truth.numpy()).mean() > 0.85


def test_moved_pictures_are_shifted_a_little_and_no_two_alike():
    torch.manual_seed(0)
    x = torch.zeros(8, 1, 16, 16)
    x[:, :, 7:9, 7:9] = 1.0
    found = moved(x)
    mass = found.sum(dim=(1, 2, 3))
    assert torch.allclose(mass, torch.full((8,), 4.0), atol=0.6)
    places = torch.stack([(found * torch.arange(16.0)).sum((1, 2, 3)) / mass, found.sum((1, 3)).argmax(1)])
    assert (places[0] - 7.5).abs().max() < 0.1 * 16 + 0.8  # a tenth of the side either way, and the turn
    assert len(torch.unique(places[0])) == 8


def test_every_parameter_of_the_cnn_has_a_gradient():
    model = CNN(3, 4)
    loss = model.training_step((torch.randn(4, 3, 8, 8), torch.arange(4)), 0)
    loss.backward()
    assert all(p.grad is not None for p in model.parameters())


def test_arms_of_pictures_hold_the_total_or_grow():
    pairs = {"real": bars(40, 0), "synthetic": bars(40, 1)}
    sizes = {arm: len(rows_of(pairs, arm, 0)[0]) for arm in ("real", "synthetic", CLASSICAL, "fixed 25", "growing 25")}
    assert sizes == {"real": 40, "synthetic": 40, CLASSICAL: 40, "fixed 25": 40, "growing 25": 50}
