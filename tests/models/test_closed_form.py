"""Models fitted by counting: independent columns, the Gaussian copula; and Adult with its official holdout."""

import functools
import io
import urllib.error

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import multivariate_normal, norm

from datakiln.callbacks.ema import Ema
from datakiln.codecs.tables.bins import Bins
from datakiln.codecs.tables.table import TableCodec
from datakiln.data.base import Provenance
from datakiln.data.sets import adult
from datakiln.data.sets.adult import COLUMNS, AdultTable
from datakiln.data.tables.sources import RawTable
from datakiln.data.tables.tables import TableData
from datakiln.errors import UserError
from datakiln.models.statistical.bootstrap import Bootstrap
from datakiln.models.statistical.copula import Copula
from datakiln.sampling.synthesizer import Synthesizer
from tests.code_tables import assert_resumes, cells, data_of, related, shares, train, variation

NAN = float("nan")


@functools.cache
def independent() -> tuple[Bootstrap, TableData]:
    data = data_of(related(), "kind")
    return train(Bootstrap(data.spec), data, 1), data


def test_bootstrap_has_the_columns_and_nothing_else():
    model, data = independent()
    train_rows = data.frames["train"]
    frame = Synthesizer(model, data.codec).sample(20_000, seed=1)
    for column in ("kind", "twin", "size"):
        ours, real = (f[column].value_counts(normalize=True).sort_index() for f in (frame, train_rows))
        assert np.abs(ours - real).max() < 0.015
    joint = pd.crosstab(frame["kind"], frame["twin"], normalize=True).to_numpy()
    product = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0)
    assert np.abs(joint - product).max() < 0.01


def test_bootstrap_loss_is_the_sum_of_the_entropies():
    model, data = independent()
    x = data.tensors["train"][0].long()
    entropy = 0.0
    for j in range(x.shape[1]):
        p = torch.bincount(x[:, j]) / len(x)
        entropy -= float((p[p > 0] * p[p > 0].log()).sum())
    assert model.fresh["train/loss"] == pytest.approx(entropy, abs=1e-3)
    assert -model.log_prob(data.tensors["train"][0]).mean().item() == pytest.approx(entropy, abs=1e-3)


def gaussian(rho: float, n: int = 6000, cut: bool = False) -> pd.DataFrame:
    z = np.random.default_rng(0).multivariate_normal([0, 0], [[1, rho], [rho, 1]], n)
    if cut:
        return pd.DataFrame({"a": np.where(z[:, 0] > 0.5, "y", "n"), "b": np.digitize(z[:, 1], [-0.5, 0.8])})
    return pd.DataFrame({"a": np.exp(z[:, 0]), "b": z[:, 1] ** 3}).round(4)


def copula(frame: pd.DataFrame, epochs: int = 12) -> tuple[Copula, TableData]:
    torch.manual_seed(0)
    data = data_of(frame, batch_size=1000)
    return train(Copula(data.spec), data, epochs), data


@pytest.mark.parametrize("rho", [-0.6, 0.0, 0.8])
def test_copula_recovers_a_correlation_behind_any_margins(rho):
    model, data = copula(gaussian(rho), epochs=6)
    # 4,200 rows: a standard error of at most 0.015
    assert model.correlation[0, 1].item() == pytest.approx(rho, abs=0.04)
    frame = Synthesizer(model, data.codec).sample(6000, seed=1)
    ours = norm.ppf((frame.rank() - 0.5) / len(frame))
    assert np.corrcoef(ours.T)[0, 1] == pytest.approx(rho, abs=0.06)


@functools.cache
def cut() -> tuple[Copula, TableData]:
    return copula(gaussian(0.7, cut=True), epochs=25)


def test_copula_recovers_a_correlation_behind_categories():
    # a yes/no and a three-way cut of 4,200 pairs: a standard error of about 0.02; EM has come to within 0.02
    assert cut()[0].correlation[0, 1].item() == pytest.approx(0.7, abs=0.07)


def test_copula_likelihood_is_the_normal_probability_of_the_cell():
    model, data = cut()
    rows = cells(data.spec)
    torch.manual_seed(0)
    model.draws = 4000
    ours = model.log_prob(rows).exp()
    model.draws = 8
    low, high = model.low.clamp(min=-9.0).numpy(), model.high.clamp(max=9.0).numpy()
    both = multivariate_normal([0, 0], model.correlation.double().numpy())
    for (a, b), p in zip(rows.int().tolist(), ours.tolist(), strict=True):
        corners = [low[a], low[2 + b]], [high[a], high[2 + b]]
        assert p == pytest.approx(both.cdf(corners[1], lower_limit=corners[0]), rel=0.05)
    assert ours.sum().item() == pytest.approx(1.0, abs=0.01)


def test_copula_delivers_conditions():
    model, data = cut()
    rows, torch_seed = cells(data.spec), torch.manual_seed(1)
    assert torch_seed is not None
    model.draws, condition = 16, torch.full((20_000, 2), NAN)
    condition[:, 0] = 1.0
    x = model.sample(20_000, condition)
    assert (x[:, 0] == 1).all()
    wanted = torch.where(rows[:, 0] == 1, model.log_prob(rows).exp(), 0.0)
    # a choice among 64 weighted draws: the bias is of the order of 1/64 of the spread of the weights
    assert variation(shares(x, data.spec), wanted / wanted.sum()) < 0.03
    model.draws = 8


@pytest.mark.parametrize("model", [Bootstrap, Copula])
def test_resumes_in_the_middle_of_an_epoch(tmp_path, model):
    data = data_of(related(600), "kind", batch_size=100)
    assert_resumes(lambda: model(data.spec), data, 3, 6, tmp_path)


def test_an_average_of_counts_is_refused():
    import lightning as L

    _, data = independent()
    with pytest.raises(UserError, match="ema=null"):
        L.Trainer(
            max_epochs=1, callbacks=[Ema(0.9)], accelerator="cpu", logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False,
        ).fit(Bootstrap(data.spec), datamodule=data)  # fmt: skip


def with_holdout(**options) -> TableData:
    rest, test = related(300), related(70, seed=9).assign(size=5)
    source = Provenance("generated", "test", "")
    table = RawTable(rest, "kind", source, holdout=test)
    data = TableData(lambda _: table, TableCodec(Bins, compact=True), split=(0.6, 0.2, 0.2), **options)
    data.setup("fit")
    return data


def test_official_test_rows_are_the_holdout():
    data = with_holdout()
    assert {name: len(frame) for name, frame in data.frames.items()} == {"train": 225, "val": 75, "test": 70}
    assert (data.frames["test"]["size"] == 5).all() and not (data.frames["train"]["size"] == 5).any()


def test_validation_rows_can_be_trained_on():
    data = with_holdout(validation="shared")
    assert [len(data.frames[name]) for name in ("train", "val", "test")] == [300, 75, 70]
    assert any(report.name == "validation" and report.rows == 75 for report in data.reports)
    assert data.spec.size == 300
    with pytest.raises(UserError, match="data.validation=some"):
        with_holdout(validation="some")


def adult_files(folder, rows=adult.FILES) -> None:
    values = [
        "39",
        "?",
        "77516",
        "Bachelors",
        "13",
        "Divorced",
        "Sales",
        "Husband",
        "White",
        "Male",
        "0",
        "0",
        "40",
        "?",
    ]
    folder.mkdir(parents=True)
    for name, count in rows.items():
        dot, first = (".", "|1x3 Cross validator\n") if name == "adult.test" else ("", "")
        line = ", ".join(values)
        text = first + "".join(f"{line}, {('<=50K', '>50K')[i % 2]}{dot}\n" for i in range(count))
        (folder / name).write_text(text + "\n")


def test_adult_is_read_as_published(tmp_path, monkeypatch):
    monkeypatch.setenv("DATAKILN_CACHE", str(tmp_path / "cache"))
    adult_files(tmp_path / "tabular" / "adult")
    raw = AdultTable()(str(tmp_path))
    assert (len(raw.frame), len(raw.holdout)) == (32_561, 16_281)
    assert list(raw.frame.columns) == list(COLUMNS) and raw.label == "income" and raw.provenance.kind == "files"
    assert set(raw.holdout["income"]) == {"<=50K", ">50K"} and (raw.frame["workclass"] == "?").all()
    assert raw.frame["age"].dtype == np.int64


def test_adult_is_downloaded_once_or_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("DATAKILN_CACHE", str(tmp_path / "cache"))

    def unreachable(address, timeout):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    with pytest.raises(UserError, match="put adult.data and adult.test into DATA_DIR/tabular/adult") as error:
        AdultTable()(str(tmp_path))
    assert "\n" not in str(error.value)
    adult_files(tmp_path / "site")
    asked = []

    def served(address, timeout):
        asked.append(address)
        return io.BytesIO((tmp_path / "site" / address.rsplit("/", 1)[1]).read_bytes())

    monkeypatch.setattr("urllib.request.urlopen", served)
    for _ in range(2):
        raw = AdultTable()(None)
        assert raw.provenance.kind == "download" and len(raw.frame) == 32_561
    assert len(asked) == 2
    (tmp_path / "site" / "adult.data").write_text("39, ?\n")
    with pytest.raises(UserError, match="not the official file of 32561 rows"):
        adult.parse((tmp_path / "site" / "adult.data").read_bytes(), "adult.data", 32_561)


def test_the_real_adult(data_dir):
    raw = AdultTable()(str(data_dir))
    counts = raw.frame["income"].value_counts(), raw.holdout["income"].value_counts()
    assert [count[">50K"] for count in counts] == [7_841, 3_846]
    assert (raw.frame["occupation"] == "?").sum() == 1_843
