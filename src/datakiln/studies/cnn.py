"""A small convolutional classifier that learns from one arm of a study alone; k-nearest on principal components."""

from __future__ import annotations

import lightning as L
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from datakiln.callbacks.quiet import quiet_lightning

MOST_STEPS, LEAST_STEPS, BATCH = 600, 300, 64
SHIFT, TURN = 0.1, 15.0  # of the side, and degrees: what leaves a digit the digit it is
COMPONENTS, NEIGHBOURS = 50, 5


class CNN(L.LightningModule):
    """Three convolutions with batch norm, a mean over places, a linear layer; pictures in [-1, 1], (B, C, H, W).

    Arguments:
        channels: Of the pictures.
        classes: Number of classes.
        is_moved: Whether training pictures are shifted and turned at random (classical augmentation).
    """

    def __init__(self, channels: int, classes: int, is_moved: bool = False) -> None:
        """See the class."""
        super().__init__()
        self.is_moved = is_moved
        layers: list[nn.Module] = []
        for wide, narrow in ((32, channels), (64, 32), (64, 64)):
            layers += [nn.Conv2d(narrow, wide, 3, padding=1), nn.BatchNorm2d(wide), nn.ReLU()]
            layers += [nn.MaxPool2d(2)] if wide == 32 or narrow == 32 else []
        self.features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.head = nn.Linear(256, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape (B, classes)."""
        out: Tensor = self.head(self.features(x))
        return out

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        """Cross-entropy of a batch."""
        x, y = batch
        return F.cross_entropy(self(moved(x) if self.is_moved else x), y)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.Adam(self.parameters(), lr=2e-3)


def moved(x: Tensor) -> Tensor:
    """Pictures shifted by up to a tenth of their side and turned by up to 15 degrees, each by its own; edges repeat."""
    angle = (2 * torch.rand(len(x), device=x.device) - 1) * TURN * torch.pi / 180
    shift = (2 * torch.rand(len(x), 2, 1, device=x.device) - 1) * 2 * SHIFT
    turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], dim=1).view(-1, 2, 2)
    grid = F.affine_grid(torch.cat([turn, shift], dim=2), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="border", align_corners=False)


def cnn_probabilities(
    x: Tensor, y: Tensor, test: Tensor, classes: int, seed: int, is_moved: bool = False, steps: int | None = None
) -> NDArray[np.float64]:
    """Class probabilities of test pictures by a CNN that learnt from x, y alone; the same number of steps for any arm.

    Arguments:
        x: Training pictures in [-1, 1], (n, C, H, W).
        y: Their classes, (n,).
        test: Pictures to tell.
        classes: Number of classes.
        seed: Of weights, order and movements.
        is_moved: See `CNN`.
        steps: Updates; None for some hundred, by the number of pictures.
    """
    quiet_lightning()
    L.seed_everything(seed, verbose=False)
    model = CNN(x.shape[1], classes, is_moved)
    loader = DataLoader(TensorDataset(x, y), min(BATCH, len(x)), shuffle=True, drop_last=True)
    steps = steps or min(MOST_STEPS, max(LEAST_STEPS, 5 * len(loader)))
    trainer = L.Trainer(
        max_steps=steps, accelerator="auto", devices=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(model, loader)
    model.eval()
    with torch.no_grad():
        said = torch.cat([model(part.to(model.device)).softmax(dim=1).cpu() for part in test.split(512)])
    return said.double().numpy()


def neighbour_probabilities(x: Tensor, y: Tensor, test: Tensor, classes: int, seed: int) -> NDArray[np.float64]:
    """Class probabilities by the five nearest training pictures in the arm's own first fifty principal components."""
    from sklearn.decomposition import PCA
    from sklearn.neighbors import KNeighborsClassifier

    flat, asked = x.flatten(1).numpy(), test.flatten(1).numpy()
    axes = PCA(min(COMPONENTS, *flat.shape), random_state=seed).fit(flat)
    model = KNeighborsClassifier(min(NEIGHBOURS, len(flat))).fit(axes.transform(flat), y.numpy())
    said = np.zeros((len(asked), classes))
    said[:, model.classes_] = model.predict_proba(axes.transform(asked))
    return said
