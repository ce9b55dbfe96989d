"""A release is what its budget allows: close with much, useless with next to none, and the same again from its file."""

import numpy as np
import pandas as pd
import pytest

from datakiln.data.tables import protected
from datakiln.data.tables.public import declared, read_public
from datakiln.privacy import marginals
from datakiln.privacy.accounting import zcdp_epsilon, zcdp_rho
from datakiln.privacy.budget import Privacy
from datakiln.privacy.marginals import ONE_WAY, Release, release

SAID = {"columns": {"a": ["x", "y", "z"], "n": "integer", "y": ["no", "yes"]}, "bounds": {"n": [0, 40]}}
PUBLIC = declared(read_public(SAID), ["a", "n", "y"], "y", "marginals")


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Fits that take no time: three columns are soon learnt."""
    for name, value in {"FITS": 1, "ROUNDS": 2, "BETWEEN": 10, "FIRST": 200, "LAST": 200}.items():
        monkeypatch.setattr(marginals, name, value)


def table(n=4000, seed=0):
    rng = np.random.default_rng(seed)
    a = rng.choice(["x", "y", "z"], n, p=[0.6, 0.3, 0.1])
    number = np.clip(rng.normal(np.where(a == "x", 10, 28), 4), 0, 40).round().astype(int)
    y = np.where(rng.random(n) < np.where(number > 20, 0.8, 0.1), "yes", "no")
    return PUBLIC.seen(pd.DataFrame({"a": a, "n": number, "y": y}))


def cells(frame):
    return np.stack([c.cells(frame[c.field.name]) for c in PUBLIC.columns], axis=1)


def off(made, frame):
    """Total variation of the three columns together."""
    drawn = protected.rows(made, PUBLIC, len(frame), seed=0)
    both = [f["a"] + f["y"] + (f["n"] > 20).astype(str) for f in (drawn, frame)]
    shares = [part.value_counts(normalize=True) for part in both]
    return float(shares[0].sub(shares[1], fill_value=0).abs().sum() / 2)


def test_a_release_is_as_good_as_its_budget():
    frame = table()
    found = [off(release(cells(frame), PUBLIC.columns, rho, "y", classes=16), frame) for rho in (50.0, 1e-3, 1e-9)]
    assert found[0] < 0.1 and max(found[:2]) < found[2] and found[2] > 0.2


@pytest.mark.journey
def test_no_more_is_measured_than_paid_for():
    rho = zcdp_rho(1.0, 1e-9)
    for label in ("y", None):
        for adaptive in (True, False):
            made = release(cells(table()), PUBLIC.columns, rho, label, adaptive, classes=4)
            spent = sum(1 / (2 * one.noise**2) for one in made.measured)
            assert spent <= rho and made.rho == rho
            singles = sum(1 / (2 * one.noise**2) for one in made.measured if len(one.columns) == 1)
            assert singles <= ONE_WAY * rho
            assert {len(one.columns) for one in made.measured} == ({1, 2} if label is None else {1, 3})
            assert len(made.measured) == (4 if label else 6 + adaptive * 2 * 3)
            assert abs(made.rows - 4000) < 1500


def test_a_release_comes_back_from_its_file(tmp_path):
    ledger, folder = str(tmp_path / "spent.jsonl"), str(tmp_path / "run")
    privacy = Privacy("marginals", 2.0, 1e-6, classes=8, ledger=ledger, folder=folder)
    first = protected.released(privacy, "t" * 64, PUBLIC, table())
    again = protected.released(Privacy("marginals", 2.0, 1e-6, classes=8, folder=folder), "t" * 64, PUBLIC, table())
    assert (first.theta == again.theta).all() and first.rows == again.rows and first.measured == again.measured
    assert protected.cost(again, privacy)[0] == pytest.approx(2.0)
    pd.testing.assert_frame_equal(protected.rows(first, PUBLIC, 50, 3), protected.rows(again, PUBLIC, 50, 3))


def test_noise_differs_from_run_to_run():
    frame = table(500)
    pair = [release(cells(frame), PUBLIC.columns, 0.01, "y", classes=4) for _ in range(2)]
    assert pair[0].rows != pair[1].rows and (pair[0].pi != pair[1].pi).any()


def test_a_release_keeps_its_state():
    made = release(cells(table(500)), PUBLIC.columns, 1.0, "y", classes=4)
    again = Release.from_state(made.state(), PUBLIC.modelled)
    assert (again.bins["n"].knots == made.bins["n"].knots).all() and again.rho == made.rho
    assert zcdp_epsilon(made.rho, 1e-6) > 1
