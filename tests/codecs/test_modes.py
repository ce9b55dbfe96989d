"""Mode-specific normalisation and dequantisation: fit, codes, gates, state, speed."""

import numpy as np
import pandas as pd
import pytest

from datakiln.codecs.tables.dequantised import Dequantised
from datakiln.codecs.tables.modes import Modes, condense, fit_mixture
from datakiln.codecs.tables.table import TableCodec
from datakiln.schema import Field, Schema
from tests.later import later


def bimodal(n, rng):
    return np.where(rng.random(n) < 0.3, rng.normal(-5, 0.5, n), rng.normal(3, 2, n))


@pytest.mark.parametrize("name", ["atoms", *later("bimodal", "skewed")])
def test_the_mixture_explains_a_column_as_well_as_sklearns(name):
    from sklearn.mixture import BayesianGaussianMixture

    rng = np.random.default_rng(0)
    values = {
        "bimodal": bimodal(3000, rng),
        "skewed": rng.lognormal(0, 1, 3000),
        "atoms": rng.integers(0, 5, 3000) * 2.0,
    }[name]
    ours = fit_mixture(values, 10)
    theirs = BayesianGaussianMixture(n_components=10, weight_concentration_prior=1e-3, random_state=0, max_iter=300)
    theirs.fit(values[:, None])
    # 0.05 nats a row is under the spread of sklearn's own fits over seeds on these columns
    assert ours.log_density(values).mean() > theirs.score(values[:, None]) - 0.05
    assert ours.weights.sum() == pytest.approx(1.0)


def test_modes_that_are_not_needed_are_left_out():
    assert len(fit_mixture(np.random.default_rng(0).normal(size=2000), 10).means) <= 2
    mixture = fit_mixture(bimodal(5000, np.random.default_rng(1)), 10)
    low = mixture.means < -2
    assert mixture.weights[low].sum() == pytest.approx(0.3, abs=0.03)


def test_density_integrates_to_one():
    mixture = fit_mixture(bimodal(2000, np.random.default_rng(0)), 10)
    grid = np.linspace(-30, 30, 20_001)
    assert np.trapezoid(np.exp(mixture.log_density(grid)), grid) == pytest.approx(1.0, abs=1e-3)


def test_condensed_points_keep_count_mean_and_tails():
    values = np.random.default_rng(0).lognormal(0, 1.5, 50_000)
    points, counts = condense(values)
    assert len(points) < 1200 and counts.sum() == 50_000
    assert np.average(points, weights=counts) == pytest.approx(values.mean())
    assert points[0] == values.min() and points[-1] == values.max()


@pytest.mark.parametrize("encoder", [Modes, Dequantised])
def test_codes_give_values_back(encoder):
    rng = np.random.default_rng(0)
    for values in (bimodal(2000, rng), rng.integers(0, 9, 2000).astype(float), np.full(50, 3.0), np.zeros(0)):
        made = encoder()
        made.fit(values)
        x = made.encode(values)
        again = encoder.from_state(made.state())
        assert np.isfinite(x).all() and np.abs(x).max(initial=0) <= 4 / 3
        assert np.array_equal(x, again.encode(values)), "the same column always has the same code"
        spread = values.std() if len(values) else 0.0
        # what lies beyond 4 sigma of its mode, or in the outer 1e-4 ranks, is cut: under 1 % of these columns
        off = np.abs(again.decode(x, rng) - values) > 1e-4 * spread + 1e-5
        assert off.mean() < 0.01 if len(values) else True


def test_a_mode_is_drawn_by_its_probability():
    values = np.concatenate([np.random.default_rng(0).normal(-1, 1, 4000), np.random.default_rng(1).normal(1, 1, 4000)])
    encoder = Modes(2)
    encoder.fit(values)
    x = encoder.encode(values)
    joint = np.exp(encoder.mixture.joint(values))
    expected = (joint / joint.sum(axis=1, keepdims=True)).mean(axis=0)
    assert np.allclose(x[:, 1:].mean(axis=0), expected, atol=3 * 0.5 / np.sqrt(8000))
    assert len(np.unique(x[np.abs(values) < 0.1, 1:].argmax(axis=1))) == 2


def test_dequantised_columns_are_normal_and_independent_of_each_other():
    rng = np.random.default_rng(0)
    values = [rng.integers(0, 4, 20_000).astype(float), rng.poisson(3, 20_000).astype(float), rng.normal(size=20_000)]
    codes = []
    for column in values:
        encoder = Dequantised()
        encoder.fit(column)
        codes.append(3 * encoder.encode(column)[:, 0])
        # values in the outermost 1e-4 of the ranks come back as their neighbours
        assert np.mean(np.abs(encoder.decode(codes[-1][:, None] / 3, rng) - column) > 0.01) < 3e-4
    x = np.stack(codes)
    # standard errors at 20,000 rows: 0.007 for means and correlations, 0.005 for deviations
    assert np.allclose(x.mean(axis=1), 0, atol=0.03) and np.allclose(x.std(axis=1), 1, atol=0.02)
    assert np.allclose(np.corrcoef(x), np.eye(3), atol=0.03)


def table(n):
    rng = np.random.default_rng(0)
    amount = np.where(rng.random(n) < 0.6, 0.0, rng.lognormal(3, 1, n))
    amount[rng.random(n) < 0.1] = np.nan
    frame = pd.DataFrame({"amount": amount, "size": bimodal(n, rng)})
    return frame, Schema((Field("amount", "numeric", "float64"), Field("size", "numeric", "float64")))


def test_gated_modes_are_zero_where_the_value_is_missing_or_a_spike():
    frame, schema = table(3000)
    codec = TableCodec(numeric=Modes).fit(frame, schema)
    x = codec.encode(frame).numpy()
    closed = (frame["amount"].isna() | (frame["amount"] == 0)).to_numpy()
    gated = [block for block in codec.spec.blocks if block.gate is not None]
    assert [block.kind for block in gated] == ["value", "choice"]
    for block in gated:
        assert (x[closed, block.start : block.stop] == 0).all()
    choice = gated[1]
    assert (x[~closed, choice.start : choice.stop].sum(axis=1) == 1).all()
    back = TableCodec.from_state(codec.state()).decode(codec.encode(frame), np.random.default_rng(0))
    assert back["amount"].isna().equals(frame["amount"].isna())
    assert np.allclose(back["amount"].dropna(), frame["amount"].dropna(), rtol=1e-3, atol=1e-3)
