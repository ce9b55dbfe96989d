"""Image metrics on features: against closed forms, brute force and the libraries people know."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import linalg
from torch import Tensor, nn

from datakiln.metrics.base import MetricError
from datakiln.metrics.extractors.base import tag_of
from datakiln.metrics.pictures.frechet import factor, frechet_distance, frechet_infinity
from datakiln.metrics.pictures.images import image_figures, inception_score
from datakiln.metrics.pictures.moments import Gaussian, Moments, Reservoir, ScoreSums, pool_moments
from datakiln.metrics.pictures.neighbours import (
    CHUNK,
    cluster,
    curve_scores,
    kernel_distance,
    manifold_metrics,
    precision_recall_curve,
)
from datakiln.metrics.pictures.statistics import FeatureStatistics, feature_statistics, generated, to_uint8


def features(n: int, d: int, seed: int, shift: float = 0.0) -> Tensor:
    """Correlated rows away from the origin, float64."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(d, d, generator=torch.Generator().manual_seed(99), dtype=torch.float64) / d**0.5
    return torch.randn(n, d, generator=generator, dtype=torch.float64) @ mix + 3 + shift


def gaussian_of(x: Tensor) -> Gaussian:
    moments = Moments(x.shape[1], sync=False)
    moments.update(x)
    return moments.compute()


def fid(x: Tensor, y: Tensor, gram: bool = False) -> float:
    real, fake = gaussian_of(x), gaussian_of(y)
    if gram:
        return frechet_distance(real, fake, factor(real.cov, x), y)
    return frechet_distance(real, fake, factor(real.cov))


def scipy_fid(x: Tensor, y: Tensor) -> float:
    a, b = x.numpy(), y.numpy()
    c1, c2 = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = linalg.sqrtm(c1 @ c2).real
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(c1 + c2 - 2 * root))


class Rows(nn.Module):
    """Lets the metrics of torchmetrics take features as if they were images."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.num_features = d

    def forward(self, x: Tensor) -> Tensor:
        return x


class FakeExtractor:
    """A linear map of the pixels by small integers: exact in float32, so batches cannot change a bit of it."""

    name, hash, resize, side, precision = "fake", "00000000", "clean", 8, "exact"
    device = torch.device("cpu")

    def __init__(self, dim: int = 12, classes: int = 4) -> None:
        self.dim = dim
        generator = torch.Generator().manual_seed(5)
        self.weight = torch.randint(-3, 4, (3 * 64, dim), generator=generator).float()
        self.head = torch.randn(dim, classes, generator=generator)
        self.seen: list[int] = []

    @property
    def tag(self) -> str:
        return tag_of(self)

    def __call__(self, images: Tensor) -> Tensor:
        self.seen.append(len(images))
        return images.flatten(1).float() @ self.weight / 1024

    def probabilities(self, rows: Tensor) -> Tensor:
        return (rows @ self.head).softmax(1)


def pictures(n: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (n, 3, 8, 8), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def test_closed_form_of_two_gaussians() -> None:
    d = 6
    one, other = torch.linspace(0.5, 2, d, dtype=torch.float64), torch.linspace(3, 0.1, d, dtype=torch.float64)
    mean = torch.arange(d, dtype=torch.float64)
    real, fake = Gaussian(100, mean, one.square().diag()), Gaussian(100, mean + 1, other.square().diag())
    expected = d + float((one - other).square().sum())
    assert frechet_distance(real, fake, factor(real.cov)) == pytest.approx(expected, rel=1e-12)
    assert frechet_distance(real, real, factor(real.cov)) == pytest.approx(0, abs=1e-12)


def test_fid_equals_scipy_and_torchmetrics() -> None:
    from torchmetrics.image.fid import FrechetInceptionDistance

    x, y = features(300, 24, 0), features(200, 24, 1, shift=0.2) * 1.1
    theirs = FrechetInceptionDistance(feature=Rows(24)).set_dtype(torch.float64)
    theirs.update(x, real=True)
    theirs.update(y, real=False)
    assert fid(x, y) == pytest.approx(scipy_fid(x, y), rel=1e-6)
    assert fid(x, y) == pytest.approx(float(theirs.compute()), rel=1e-6)


@pytest.mark.parametrize(("n", "m"), [(50, 40), (50, 400), (400, 40)])
def test_rank_deficient_is_finite_and_right(n: int, m: int) -> None:
    d = 100
    x, y = features(n, d, 0), features(m, d, 1, shift=0.1)
    # The trace of the root is the nuclear norm of the product of any two factors: no root of a rounded zero is taken.
    a, b = ((rows - rows.mean(0)).numpy() / math.sqrt(len(rows) - 1) for rows in (x, y))
    root = linalg.svdvals(a @ b.T).sum()
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum().item() + (a**2).sum() + (b**2).sum() - 2 * root
    assert fid(x, y, gram=True) == pytest.approx(expected, rel=1e-9)
    assert fid(x, y, gram=False) == pytest.approx(expected, rel=1e-6)


def test_constant_features_give_a_finite_distance() -> None:
    x, y = torch.ones(10, 5), torch.full((12, 5), 3.0)
    assert fid(x, y) == pytest.approx(20.0)
    assert fid(x, y, gram=True) == pytest.approx(20.0)


@pytest.mark.parametrize("chunk", [1, 7, 64, 1000])
def test_chunks_change_nothing(chunk: int) -> None:
    x = features(500, 10, 0, shift=1e3)  # plain sums of squares would lose six digits here
    moments = Moments(10)
    for part in x.split(chunk):
        moments.update(part)
    n, mean, cov = moments.compute()
    assert n == 500
    torch.testing.assert_close(mean, x.mean(0), rtol=1e-12, atol=0)
    torch.testing.assert_close(cov, torch.from_numpy(np.cov(x.numpy(), rowvar=False)), rtol=1e-9, atol=1e-9)


def test_pooled_moments_are_those_of_the_union() -> None:
    x = features(90, 5, 0)
    parts = [x[:10], x[10:11], x[11:]]
    stacked = []
    for part in parts:
        moments = Moments(5)
        moments.update(part)
        stacked.append((moments.n, moments.mean, moments.scatter))
    n, mean, scatter = pool_moments(*(torch.stack(column) for column in zip(*stacked, strict=True)))
    whole = gaussian_of(x)
    torch.testing.assert_close(mean, whole.mean, rtol=1e-12, atol=0)
    torch.testing.assert_close(scatter / (n - 1), whole.cov, rtol=1e-10, atol=1e-12)


def test_reservoir_is_bounded_uniform_and_independent_of_chunks() -> None:
    n, capacity = 4000, 500
    x = torch.arange(n, dtype=torch.float32)[:, None]
    kept = []
    for chunk in (1000, 333, 4000):
        reservoir = Reservoir(1, capacity, seed=3)
        for part in torch.arange(n).split(chunk):
            reservoir.update(x[part], part)
            assert len(reservoir.rows[0]) <= capacity
        kept.append(reservoir.compute())
    assert torch.equal(kept[0], kept[1]) and torch.equal(kept[0], kept[2])
    assert len(kept[0].unique()) == capacity
    # Uniform: the mean of 500 of 0..3999 has a standard deviation of 1155 / sqrt(500) * sqrt(7/8) = 48; 4 of them.
    assert abs(float(kept[0].mean()) - (n - 1) / 2) < 4 * 48
    assert abs(float(kept[0][:100].mean()) - (n - 1) / 2) < 4 * 114  # so is any beginning of it
    other = Reservoir(1, capacity, seed=4)
    other.update(x, torch.arange(n))
    assert not torch.equal(other.compute(), kept[0])


def test_kid_equals_torchmetrics_and_the_formula() -> None:
    from torchmetrics.image.kid import KernelInceptionDistance

    n, d = 257, 16
    x, y = features(n, d, 0).float(), features(n, d, 1, shift=0.3).float()
    theirs = KernelInceptionDistance(feature=Rows(d), subsets=1, subset_size=n)
    theirs.update(x, real=True)
    theirs.update(y, real=False)
    a, b = x.double(), y.double()
    kxx, kyy, kxy = ((p @ q.T / d + 1) ** 3 for p, q in ((a, a), (b, b), (a, b)))
    pairs = n * (n - 1)
    expected = ((kxx.sum() - kxx.trace()) / pairs + (kyy.sum() - kyy.trace()) / pairs - 2 * kxy.mean()).item()
    for block in (50, 100, 1000):
        assert kernel_distance(x, y, block).value == pytest.approx(expected, rel=1e-5)
    assert kernel_distance(x, y).value == pytest.approx(float(theirs.compute()[0]), rel=1e-3)  # theirs is float32
    assert kernel_distance(x, y, 50).blocks == 5 and kernel_distance(x, y, 50).deviation > 0


def brute_force(x: np.ndarray, y: np.ndarray, k: int) -> tuple[float, float, float, float]:
    def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.sqrt(((a[:, None] - b[None]) ** 2).sum(-1))

    radius_x, radius_y = (np.sort(distances(a, a), 1)[:, k] for a in (x, y))
    cross = distances(x, y)
    precision = (cross < radius_x[:, None]).any(0).mean()
    recall = (cross < radius_y[None]).any(1).mean()
    density = (cross < radius_x[:, None]).sum(0).mean() / k
    return precision, recall, density, (cross.min(1) < radius_x).mean()


def test_manifold_metrics_equal_brute_force() -> None:
    x, y = features(CHUNK + 90, 6, 0).float(), features(CHUNK + 17, 6, 1, shift=0.4).float()
    found = manifold_metrics(x, y, k=3)
    # Equal but for pairs within float32 rounding of a radius: at most one image of six hundred.
    np.testing.assert_allclose(found, brute_force(x.double().numpy(), y.double().numpy(), 3), atol=1 / CHUNK)
    assert 0.1 < found.precision < 0.99 and found.recall != found.precision


def test_discrete_precision_recall_curve() -> None:
    real, fake = torch.tensor([0.5, 0.5, 0.0]), torch.tensor([0.5, 0.0, 0.5])
    precision, recall = precision_recall_curve(real, fake)
    assert precision.max() == pytest.approx(0.5) and recall.max() == pytest.approx(0.5)
    same = precision_recall_curve(real, real)
    assert torch.minimum(*same).max() == pytest.approx(1.0, abs=2e-3)  # the grid of angles contains 45 degrees


def test_curve_scores_tell_missing_modes_from_wrong_ones() -> None:
    centres = 20 * torch.eye(8)
    both = torch.randn(1600, 8, generator=torch.Generator().manual_seed(0))
    half, whole = centres[torch.arange(800) % 4], centres[torch.arange(800) % 8]
    f8, f_eighth, (precision, recall) = curve_scores(whole + both[:800], half + both[800:], clusters=8, runs=3)
    assert f_eighth > 0.9 > 0.6 > f8  # all right, half of them missing
    f8, f_eighth, _ = curve_scores(half + both[:800], whole + both[800:], clusters=8, runs=3)
    assert f8 > 0.9 > 0.6 > f_eighth  # nothing missing, half of them wrong
    assert precision.shape == recall.shape == (1001,)


def test_clusters_are_found() -> None:
    x = 30 * torch.eye(5)[torch.arange(200) % 5] + torch.randn(200, 5, generator=torch.Generator().manual_seed(0))
    labels = cluster(x.split(64), 5, torch.Generator().manual_seed(1))
    assert all(len(labels[i::5].unique()) == 1 for i in range(5)) and len(labels.unique()) == 5
    assert len(cluster([torch.ones(20, 3)], 4, torch.Generator().manual_seed(1))) == 20


def test_inception_score_equals_the_formula() -> None:
    p = torch.randn(1000, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64).mul(2).softmax(1)
    sums = ScoreSums(7, splits=4)
    for part in torch.arange(1000).split(130):
        sums.update(p[part], part)
    whole, mean, deviation = inception_score(sums.compute())

    def direct(q: Tensor) -> float:
        return float((q * (q / q.mean(0)).log()).sum(1).mean().exp())

    parts = torch.tensor([direct(p[i::4]) for i in range(4)])
    assert whole == pytest.approx(direct(p), rel=1e-12)
    assert mean == pytest.approx(float(parts.mean()), rel=1e-6)
    assert deviation == pytest.approx(float(parts.std(correction=0)), rel=1e-4)


def test_infinity_removes_most_of_the_bias() -> None:
    d = 32
    real = gaussian_of(features(20_000, d, 0))
    rows = features(1000, d, 1).float()  # same distribution, so the true distance is near 0
    value, at = frechet_infinity(real, rows, factor(real.cov))
    assert list(at) == [100 * i for i in range(1, 11)]
    assert at[100] > at[1000] > 3 * abs(value)


def test_infinity_is_offered_where_pictures_are_many_times_the_features() -> None:
    real, fake = (feature_statistics(FakeExtractor(), pictures(n, n).split(64), store=200) for n in (200, 119))
    assert "fid_infinity" not in {figure.name.split("/")[0] for figure in image_figures(real, fake)}
    with pytest.raises(MetricError, match="of 12 features is measured of at least 120 pictures, not 119"):
        image_figures(real, fake, ["fid_infinity"])


@pytest.mark.parametrize("chunk", [13, 100])
def test_streaming_keeps_everything_figures_need(chunk: int) -> None:
    extractor = FakeExtractor()
    images = pictures(300)
    rows = extractor(images)
    found = feature_statistics(extractor, images.split(chunk), store=1000)
    assert found.n == 300 and found.all_rows is not None
    torch.testing.assert_close(found.gaussian.cov, gaussian_of(rows).cov, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found.rows.sort(0).values, rows.sort(0).values, rtol=0, atol=0)
    assert max(extractor.seen[1:]) == chunk


def test_figures_are_named_directed_and_complete() -> None:
    extractor = FakeExtractor()
    real = feature_statistics(extractor, pictures(400, 0).split(64), store=200)
    fake = feature_statistics(extractor, (pictures(300, 1) // 2).split(64), store=200)
    figures = {figure.name.split("/")[0]: figure for figure in image_figures(real, fake)}
    assert set(figures) == {
        *("fid", "fid_infinity", "kid", "inception_score", "precision", "recall", "density", "coverage"),
        *("prd_f8", "prd_f1_8"),
    }
    assert figures["fid"].name == "fid/fake@00000000-clean-exact/n300" and figures["fid"].n == 300
    assert figures["kid"].name == "kid/fake@00000000-clean-exact/n200"
    better = {name for name, figure in figures.items() if figure.better == "lower"}
    assert better == {"fid", "fid_infinity", "kid"}
    points = [name for name in figures["prd_f8"].detail or {} if "point" in name]
    assert points[0] == "precision at point 1" and points[-1] == f"recall at point {len(points) // 2}"
    same = {figure.name.split("/")[0]: figure.value for figure in image_figures(real, real)}
    assert same["fid"] == pytest.approx(0, abs=1e-9) and same["precision"] > figures["precision"].value
    assert [figure.name.split("/")[0] for figure in image_figures(real, fake, ["kid"])] == ["kid"]


def test_figures_of_two_extractors_are_refused() -> None:
    extractor, other = FakeExtractor(), FakeExtractor()
    other.precision = "fast"
    real, fake = (feature_statistics(e, [pictures(20)]) for e in (extractor, other))
    with pytest.raises(MetricError, match=r"fake@00000000-clean-exact.*fake@00000000-clean-fast"):
        image_figures(real, fake)
    with pytest.raises(MetricError, match="at least 2 images"):
        feature_statistics(extractor, [pictures(1)])
    with pytest.raises(MetricError, match="known are"):
        image_figures(real, real, ["fidd"])
    with pytest.raises(MetricError, match="has classes|with classes"):
        image_figures(FeatureStatistics(real.tag, real.gaussian, real.rows), real, ["inception_score"])


def test_fakes_are_made_batch_by_batch_and_survive_out_of_memory(caplog: pytest.LogCaptureFixture) -> None:
    asked: list[int] = []

    def draw(n: int) -> Tensor:
        asked.append(n)
        if n > 10:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return pictures(n)

    stream = generated(draw, 25, 32)
    assert len(next(stream)) == 6 and asked == [25, 12, 6]  # nothing beyond the first batch is made yet
    assert sum(len(batch) for batch in stream) == 19
    assert "the batch is now 6 images" in caplog.text
    with pytest.raises(RuntimeError, match="something else"):
        list(generated(lambda n: (_ for _ in ()).throw(RuntimeError("something else")), 4, 2))


def test_grey_levels_are_rounded() -> None:
    assert to_uint8(torch.tensor([-1.0, -0.999, 0.0, 0.5, 1.0, 2.0])).tolist() == [0, 0, 128, 191, 255, 255]
    assert to_uint8(torch.tensor([0.0, 0.5, 1.0]), low=0.0).tolist() == [0, 128, 255]
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(levels.float() / 127.5 - 1), levels)


def _both_sets(rank: int, world: int) -> tuple[FeatureStatistics, FeatureStatistics]:
    images, fakes = pictures(301)[rank::world], (pictures(200, 1) // 2)[rank::world]  # 151 and 150: of unlike length
    extractor = FakeExtractor()
    real = feature_statistics(extractor, images.split(40), store=100)
    return real, feature_statistics(extractor, fakes.split(40), store=1000)


def _in_process(rank: int, world: int, folder: str) -> None:
    from datetime import timedelta

    torch.distributed.init_process_group(
        "gloo", f"file://{folder}/meet", timedelta(seconds=100), rank=rank + 1, world_size=world
    )
    real, fake = _both_sets(rank + 1, world)
    values = {figure.name: figure.value for figure in image_figures(real, fake)}
    if rank == 0:
        torch.save({"values": values, "cov": real.gaussian.cov, "rows": real.rows}, f"{folder}/result.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_change_nothing(tmp_path: object) -> None:
    other = torch.multiprocessing.spawn(_in_process, args=(2, str(tmp_path)), nprocs=1, join=False)  # rank 1
    _in_process(-1, 2, str(tmp_path))  # rank 0 is this process: one start of an interpreter is slow enough
    other.join()
    shared = torch.load(f"{tmp_path}/result.pt", weights_only=True)
    real, fake = _both_sets(0, 1)
    alone = {figure.name: figure.value for figure in image_figures(real, fake)}
    torch.testing.assert_close(shared["cov"], real.gaussian.cov, rtol=1e-9, atol=1e-12)
    assert torch.equal(shared["rows"], real.rows)
    assert shared["values"] == pytest.approx(alone, rel=1e-9, abs=1e-9)
