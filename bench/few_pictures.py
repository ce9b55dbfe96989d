"""A few pictures a class: what DAGAN adds to a classifier of classes it has never seen, beside plain augmentation.

    python -m bench.few_pictures data=digits out=5,6,7,8,9 budget=1m
    python -m bench.few_pictures data=mnist on=usps budget=3m train="batch_size=32 model.critic_steps=2"

DAGAN learns from the classes of `data` but `out=`; or from all, and the classifier's pictures are those of another set
(`on=`), at the side of the first. Arms: the real pictures alone, shifted and turned at random, mixed up (Zhang et al.,
2018, alpha 0.2, ten mixtures a picture), and with ten DAGAN pictures of each, where half of what is shown is real as
ever; the same net, the same number of steps. `train=` takes further words of `src.train` for DAGAN.
Each repeat draws other pictures, the same for every arm; the interval of a gain is that of Student's t of the paired
differences over repeats (95 %). Test pictures are those held out. Nothing is chosen by them.
"""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

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
    "data_dir": "", "train": "",
}  # fmt: skip
PER, MIXES, ALPHA, MOST = 10, 10, 0.2, 2000
STEPS = 300  # of every classifier, whatever it learns from


def run() -> list[Row]:
    """The digits 5 to 9 by a DAGAN of the digits 0 to 4, in half a CPU-minute."""
    found = measured(DEFAULTS)
    return [
        row(f"accuracy at {size} a class, {arm}", f"{values.mean():.3f}", "-", f"{half:.3f}", "")
        for size, arm, values, half in found.gains
    ]


class Measured(NamedTuple):
    """Size, arm, accuracies over repeats, half the interval of the gain over real pictures alone; and see `kept`."""

    gains: list[tuple[int, str, np.ndarray, float]]
    kept: float


def measured(asked: dict[str, str]) -> Measured:
    """Trains a DAGAN, and a classifier for each arm, size and repeat."""
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
    classes, found = len(data.spec.classes), list[tuple[int, str, np.ndarray, float]]()
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
    share = kept(test, truth, pictures, labels, classes, synthesizer)
    return Measured(found, share)


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
    often = real.repeat_interleave(PER, dim=0)  # as many as are made, so that what fails to look real does not rule
    both, told = torch.cat([often, to_model_space(made)]), y.repeat_interleave(PER).repeat(2)
    mixed, shares = mixtures(real, y, classes, seed)

    def said(x: Tensor, y: Tensor, is_moved: bool = False) -> np.ndarray:
        return cnn_probabilities(x, y, test, classes, seed, is_moved, STEPS)

    return {
        "real alone": said(real, y),
        "shifted and turned": said(real, y, is_moved=True),
        "mixup": said(mixed, shares),
        "dagan": said(both, told),
        "dagan, shifted and turned": said(both, told, is_moved=True),
    }


def kept(x: Tensor, y: Tensor, pictures: Tensor, labels: Tensor, classes: int, synthesizer: Any) -> float:  # noqa: ANN401
    """Share of DAGAN pictures of x that keep its class y in the eyes of a classifier of many real pictures."""
    from datakiln.codecs.pictures import to_model_space
    from datakiln.studies.cnn import cnn_probabilities

    made = to_model_space(torch.from_numpy(synthesizer.transform(x.numpy(), {}, 0)))
    said = cnn_probabilities(to_model_space(pictures), labels, made, classes, 0, is_moved=True, steps=STEPS)
    return float((said.argmax(axis=1) == y.numpy()).mean())


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
    found = measured(asked)
    for size, arm, values, half in found.gains:
        plain = values.mean() if arm == "real alone" else plain
        gain = ("", "") if arm == "real alone" else (f"{values.mean() - plain:+.3f}", f"{half:.3f}")
        table.add_row(str(size), arm, f"{values.mean():.3f}", *gain)
    console = Console()
    console.print(table)
    console.print(f"{found.kept:.3f} of DAGAN pictures of held-out ones look of their class to a classifier of many")


if __name__ == "__main__":
    main(sys.argv[1:])
