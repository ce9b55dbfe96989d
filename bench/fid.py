"""Image metrics: feature extraction and distances beside torchmetrics, scipy and prdc.

    python -m bench fid

Each measurement runs in a process of its own on one thread. The network has random weights: its cost is the same.
"""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from bench._process import Cost, Row, alone, cost_of, row

if TYPE_CHECKING:
    from datakiln.metrics.extractors.inception_network import FIDInception
    from datakiln.metrics.pictures.statistics import FeatureStatistics

IMAGES, SIDE = 48, 64
DIM, ROWS, FEW = 2048, 4096, 1000


def run() -> list[Row]:
    """Each measurement as a row."""
    return [*extraction(), *distances(), *samples()]


def random_inception() -> FIDInception:
    """The network without its weights."""
    from datakiln.metrics.extractors.inception_network import FIDInception

    torch.manual_seed(0)
    net = FIDInception()
    net.eval()
    return net


def images(n: int = IMAGES) -> Tensor:
    """Noise, uint8."""
    return torch.randint(0, 256, (n, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def our_inception(precision: str) -> Cost:
    """Images a CPU-second, statistics included; `fell_back` tells that "fast" was refused here."""
    from datakiln.metrics.extractors.checks import checked_extractor
    from datakiln.metrics.extractors.inception import as_backbone
    from datakiln.metrics.pictures.statistics import feature_statistics

    cpu = torch.device("cpu")
    extractor = checked_extractor(as_backbone(random_inception(), "random", cpu), "clean", precision, cpu)
    batches = torch.split(images(), 16)
    cost = cost_of(lambda: feature_statistics(extractor, batches), lambda: extractor(batches[0]))
    return {**cost, "rate": IMAGES / cost["seconds"], "fell_back": float(extractor.precision != precision)}


def their_inception() -> Cost:
    """Images a CPU-second of torchmetrics' FrechetInceptionDistance as it comes, moments included."""
    from torchmetrics.image.fid import FrechetInceptionDistance

    with tempfile.NamedTemporaryFile(suffix=".pth") as file:
        torch.save(random_inception().state_dict(), file.name)
        metric = FrechetInceptionDistance(feature_extractor_weights_path=file.name)
    pictures = images()

    def update() -> None:
        for batch in torch.split(pictures, 16):
            metric.update(batch, real=True)

    cost = cost_of(update, lambda: metric.update(pictures[:16], real=True))
    return {**cost, "rate": IMAGES / cost["seconds"]}


def extraction() -> list[Row]:
    """Images a CPU-second, 64 to 299 pixels, through the Inception of the FID."""
    try:
        import torch_fidelity  # noqa: F401
    except ImportError:
        return [row("Inception features", "not measured", "torchmetrics needs torch-fidelity", "none")]
    peer = alone("bench.fid", "their_inception()")["rate"]
    rows = []
    for precision, wanted in (("exact", ""), ("fast", ">= 6"), ("bf16", "on request")):
        ours = alone("bench.fid", f"our_inception({precision!r})")
        note = ", refused here: exact instead" if ours["fell_back"] else ""
        what = f"Inception features 64 to 299 px, images a CPU-s, {precision}{note}"
        rows.append(row(what, f"{ours['rate']:.1f}", f"{peer:.1f} torchmetrics", ours["rate"] / peer, wanted))
    return rows


# Distances


def _rows(n: int, seed: int) -> Tensor:
    """Correlated features with about the mean and spread of pooled ReLU outputs."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(DIM, DIM, generator=torch.Generator().manual_seed(9)) / DIM**0.5
    rows: Tensor = torch.randn(n, DIM, generator=generator).add_(0.1 * seed) @ mix
    return rows * 0.3 + 0.4


def distance(form: str) -> Cost:
    """CPU-seconds of one Frechet distance by a form: "scipy", "eigvals", "cached" or "gram"."""
    n = FEW if form == "gram" else ROWS
    real, fake = _statistics(_rows(ROWS, 0)), _statistics(_rows(n, 1))
    forms = {"scipy": _by_scipy, "eigvals": _by_eigvals, "cached": _by_factor, "gram": _by_factor}
    return cost_of(lambda: forms[form](real, fake), warm_up=lambda: real.factor)


def _statistics(rows: Tensor) -> FeatureStatistics:
    from datakiln.metrics.pictures.moments import Moments
    from datakiln.metrics.pictures.statistics import FeatureStatistics

    moments = Moments(DIM, sync=False)
    moments.update(rows)
    return FeatureStatistics("bench", moments.compute(), rows)


def _by_scipy(real: FeatureStatistics, fake: FeatureStatistics) -> float:
    from scipy import linalg

    product = (real.gaussian.cov @ fake.gaussian.cov).numpy()
    step = (real.gaussian.mean - fake.gaussian.mean).square().sum()
    root = linalg.sqrtm(product).real.trace()
    return float(step + real.gaussian.cov.trace() + fake.gaussian.cov.trace() - 2 * root)


def _by_eigvals(real: FeatureStatistics, fake: FeatureStatistics) -> float:
    from torchmetrics.image.fid import _compute_fid

    return float(_compute_fid(real.gaussian.mean, real.gaussian.cov, fake.gaussian.mean, fake.gaussian.cov))


def _by_factor(real: FeatureStatistics, fake: FeatureStatistics) -> float:
    from datakiln.metrics.pictures.frechet import frechet_distance

    return frechet_distance(real.gaussian, fake.gaussian, real.factor, fake.all_rows)


def distances() -> list[Row]:
    """One Frechet distance at 2,048 features."""
    found = {form: alone("bench.fid", f"distance({form!r})") for form in ("scipy", "eigvals", "cached", "gram")}
    peers = {"scipy": "scipy sqrtm", "eigvals": "torchmetrics' eigvals"}
    rows = []
    for peer, label in peers.items():
        gap = abs(found[peer]["value"] / found["cached"]["value"] - 1)
        what = f"Frechet distance, d = {DIM}, CPU-s, real factor cached (relative difference {gap:.1e})"
        rows.append(_compare(what, found["cached"], found[peer], label))
    rows.append(_compare(f"the same with {FEW} fakes, Gram form", found["gram"], found["scipy"], "scipy sqrtm"))
    return rows


def _compare(what: str, ours: Cost, peer: Cost, label: str, memory: bool = False) -> Row:
    def text(cost: Cost) -> str:
        return f"{cost['seconds']:.2f}" + (f", {cost['megabytes']:.0f} MB" if memory else "")

    return row(what, text(ours), f"{text(peer)} {label}", peer["seconds"] / ours["seconds"])


# Bounded samples of features


def sample_metric(which: str) -> Cost:
    """CPU-seconds and memory of the kernel distance or the neighbour metrics, ours or a peer's."""
    real, fake = _rows(ROWS, 0), _rows(ROWS, 1)
    works = {"kid": _our_kid, "their_kid": _their_kid, "prdc": _our_manifold, "their_prdc": _their_manifold}
    return cost_of(lambda: works[which](real, fake), lambda: works[which](real[:64], fake[:64]))


def _our_kid(real: Tensor, fake: Tensor) -> float:
    from datakiln.metrics.pictures.neighbours import kernel_distance

    return kernel_distance(real, fake).value


class _Rows(nn.Identity):
    """Lets torchmetrics take features for images."""

    num_features = DIM


def _their_kid(real: Tensor, fake: Tensor) -> float:
    from torchmetrics.image.kid import KernelInceptionDistance

    metric = KernelInceptionDistance(feature=_Rows(), subset_size=min(1000, len(real)))
    metric.update(real, real=True)
    metric.update(fake, real=False)
    return float(metric.compute()[0])


def _our_manifold(real: Tensor, fake: Tensor) -> float:
    from datakiln.metrics.pictures.neighbours import manifold_metrics

    return sum(manifold_metrics(real, fake))


def _their_manifold(real: Tensor, fake: Tensor) -> float:
    from prdc import compute_prdc

    return float(sum(compute_prdc(real.numpy(), fake.numpy(), nearest_k=5).values()))


def samples() -> list[Row]:
    """Kernel distance and neighbours of 4,096 against 4,096 rows of 2,048 features."""
    size = f"n = {ROWS}, d = {DIM}, CPU-s and added memory"
    ours, theirs = (alone("bench.fid", f"sample_metric({which!r})") for which in ("kid", "their_kid"))
    rows = [_compare(f"KID, {size}", ours, theirs, "torchmetrics", memory=True)]
    ours = alone("bench.fid", "sample_metric('prdc')")
    try:
        import prdc  # noqa: F401
    except ImportError:
        return [*rows, row(f"neighbours, {size}", f"{ours['seconds']:.2f}", "prdc is not installed", "none")]
    theirs = alone("bench.fid", "sample_metric('their_prdc')")
    what = f"precision, recall, density, coverage, {size} (sum differs by {abs(ours['value'] - theirs['value']):.1e})"
    return [*rows, _compare(what, ours, theirs, "prdc", memory=True)]
