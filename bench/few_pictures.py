"""A few pictures a class: what DAGAN adds to a classifier of classes it has never seen, beside plain augmentation.

    python -m bench.few_pictures data=digits out=5,6,7,8,9 budget=1m
    python -m bench.few_pictures data=mnist on=usps budget=3m

DAGAN learns from the classes of `data` but `out=`; or from all, and the classifier's pictures are those of another set
(`on=`), at the side of the first. Arms: the real pictures alone, shifted and turned at random, mixed up (Zhang et al.,
2018, alpha 0.2, ten mixtures a picture), and with ten DAGAN pictures of each; the same net, the same number of steps.
Each repeat draws other pictures, the same for every arm; the interval of a gain is that of Student's t of the paired
differences over repeats (95 %). Test pictures are those held out. Nothing is chosen by them.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import torch
from rich.table import Table
from scipy import stats
from torch import Tensor

from bench._pictures import options, trained
from bench._process import Row, row
from datakiln.console import Console

DEFAULTS = {
    "data": "digits", "out": "5,6,7,8,9", "on": "", "budget": "30s", "repeats": "5", "sizes": "5,10,25", "seed": "0",
    "data_dir": "",
}  # fmt: skip
PER, MIXES, ALPHA, MOST = 10, 10, 0.2, 2000


def run() -> list[Row]:
    """The digits 5 to 9 by a DAGAN of the digits 0 to 4, in half a CPU-minute."""
    found = measured(DEFAULTS)
    return [
        row(f"accuracy at {size} a class, {arm}", f"{values.mean():.3f}", "-", f"{half:.3f}", "")
        for size, arm, values, half in found
    ]


def measured(asked: dict[str, str]) -> list[tuple[int, str, np.ndarray, float]]:
    """Size, arm, accuracies over repeats, half the interval of the gain over real pictures alone."""
    from datakiln.codecs.pictures import to_model_space
    from datakiln.data.pictures.domains import source_of
    from datakiln.data.pictures.pictures import ImageData

    folder, seed = asked["data_dir"] or None, int(asked["seed"])
    synthesizer = trained("dagan", asked, None if asked["on"] else asked["out"])
    told: dict[str, Any] = {} if asked["on"] else {"classes": asked["out"].split(",")}
    side = synthesizer.codec.spec.shape[1]
    data = ImageData(source_of(asked["on"] or asked["data"], folder), folder, side=side, seed=seed, **told)
    data.setup("fit")
    pictures, labels = data.examples("train", MOST)
    test, truth = data.examples("test", MOST)
    assert labels is not None and truth is not None
    classes, found = len(data.spec.classes), []
    for size in map(int, asked["sizes"].split(",")):
        scores: dict[str, list[float]] = {}
        for repeat in range(int(asked["repeats"])):
            rows = few(labels, size, repeat)
            x, y = pictures[rows], labels[rows]
            for arm, said in arms(x, y, to_model_space(test), classes, synthesizer, repeat).items():
                scores.setdefault(arm, []).append(float((said.argmax(axis=1) == truth.numpy()).mean()))
        plain = np.array(scores["real alone"])
        for arm, values in scores.items():
            gains = np.array(values) - plain
            wide = float(stats.t.ppf(0.975, len(gains) - 1)) if len(gains) > 1 else float("nan")
            found.append((size, arm, np.array(values), wide * float(gains.std(ddof=1) / len(gains) ** 0.5)))
    return found


def few(labels: Tensor, size: int, seed: int) -> Tensor:
    """Rows of `size` pictures of each class."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    return torch.cat([order[labels[order] == k][:size] for k in labels.unique().tolist()])


def arms(
    x: Tensor, y: Tensor, test: Tensor, classes: int, synthesizer: Any, seed: int  # noqa: ANN401
) -> dict[str, np.ndarray]:  # fmt: skip
    """Class probabilities of the test pictures, (n, classes), by each arm."""
    from datakiln.codecs.pictures import to_model_space
    from datakiln.studies.cnn import cnn_probabilities

    real = to_model_space(x)
    made = torch.from_numpy(synthesizer.transform(x.repeat_interleave(PER, dim=0).numpy(), {}, seed))
    both, told = torch.cat([real, to_model_space(made)]), torch.cat([y, y.repeat_interleave(PER)])
    mixed, shares = mixtures(real, y, classes, seed)
    return {
        "real alone": cnn_probabilities(real, y, test, classes, seed),
        "shifted and turned": cnn_probabilities(real, y, test, classes, seed, is_moved=True),
        "mixup": cnn_probabilities(mixed, shares, test, classes, seed),
        "dagan": cnn_probabilities(both, told, test, classes, seed),
        "dagan, shifted and turned": cnn_probabilities(both, told, test, classes, seed, is_moved=True),
    }


def mixtures(x: Tensor, y: Tensor, classes: int, seed: int) -> tuple[Tensor, Tensor]:
    """Mixtures of two pictures each, and the shares of the classes in them."""
    rng = np.random.default_rng(seed)
    n = MIXES * len(x)
    one, two = (torch.from_numpy(rng.integers(0, len(x), n)) for _ in range(2))
    share = torch.from_numpy(rng.beta(ALPHA, ALPHA, n)).float()
    labels = torch.eye(classes)[y]
    wide = share.view(-1, 1, 1, 1)
    mixed = wide * x[one] + (1 - wide) * x[two]
    return mixed, share[:, None] * labels[one] + (1 - share[:, None]) * labels[two]


def main(words: list[str]) -> None:
    """Prints the table of one task."""
    asked = options(words, DEFAULTS)
    task = f"{asked['data']} to {asked['on']}" if asked["on"] else f"{asked['data']}, classes {asked['out']} held out"
    table = Table(title=f"Accuracy, {task}, DAGAN of {asked['budget']} of CPU, {asked['repeats']} repeats")
    for head in ("a class", "arm", "accuracy", "gain", "+-"):
        table.add_column(head)
    plain = 0.0
    for size, arm, values, half in measured(asked):
        plain = values.mean() if arm == "real alone" else plain
        gain = ("", "") if arm == "real alone" else (f"{values.mean() - plain:+.3f}", f"{half:.3f}")
        table.add_row(str(size), arm, f"{values.mean():.3f}", *gain)
    Console().print(table)


if __name__ == "__main__":
    main(sys.argv[1:])
