"""DINOv2's small vision transformer (Oquab et al., 2023, https://arxiv.org/abs/2304.07193), of a person's own file.

A network that has seen no labels, which Stein et al. (2023, https://arxiv.org/abs/2306.04675) found nearer to human
eyes than Inception. Written from Dosovitskiy et al. (2021) with the scales of Touvron et al. (2021); parameters are
named as in the published file. Its weights are never downloaded.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from datakiln.errors import UserError
from datakiln.metrics.extractors.base import Backbone, hash_of
from datakiln.storage import cache_dir

SIDE, PATCH, DIM, HEADS, DEPTH = 224, 14, 384, 6, 12
TRAINED_SIDE = 37  # patches along a side of the pictures it was trained on last
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FILE = "dinov2_vits14_pretrain.pth"
CPU_BATCH, GPU_BATCH = 8, 64


class DINOv2Small(nn.Module):
    """ViT-S/14; the class token after the last normalisation is the feature."""

    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        """Builds the network with random weights."""
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, DIM))
        self.pos_embed = nn.Parameter(torch.zeros(1, TRAINED_SIDE**2 + 1, DIM))
        self.mask_token = nn.Parameter(torch.zeros(1, DIM))  # of training; kept, so that the published file fits
        self.patch_embed = _Patches()
        self.blocks = nn.Sequential(*(_Block() for _ in range(DEPTH)))
        self.norm = nn.LayerNorm(DIM, eps=1e-6)
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None], persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION)[:, None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Pictures (B, 3, 224, 224) in [0, 1] to features (B, 384)."""
        patches = self.patch_embed((x - self.mean) / self.deviation)
        tokens = torch.cat([self.cls_token.expand(len(x), -1, -1), patches], dim=1) + self._places()
        features: Tensor = self.norm(self.blocks(tokens)[:, 0])
        return features

    def _places(self) -> Tensor:
        """Where each token lies: those of 37 x 37 patches brought to 16 x 16, as the authors do it."""
        first, others = self.pos_embed[:, :1].float(), self.pos_embed[:, 1:].float()
        grid = others.transpose(1, 2).unflatten(2, (TRAINED_SIDE, TRAINED_SIDE))
        scale = (SIDE // PATCH + 0.1) / TRAINED_SIDE
        grid = F.interpolate(grid, scale_factor=(scale, scale), mode="bicubic")
        return torch.cat([first, grid.flatten(2).transpose(1, 2)], dim=1).to(self.pos_embed)


class _Patches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, DIM, PATCH, PATCH)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, patches, DIM)."""
        patches: Tensor = self.proj(x).flatten(2).transpose(1, 2)
        return patches


class _Block(nn.Module):
    """Attention and two layers for each token, both scaled by channel beside a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(DIM, eps=1e-6), nn.LayerNorm(DIM, eps=1e-6)
        self.attn, self.ls1, self.ls2 = _Attention(), _Scale(), _Scale()
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(DIM, 4 * DIM), "fc2": nn.Linear(4 * DIM, DIM)})

    def forward(self, x: Tensor) -> Tensor:
        """(B, tokens, DIM) to the same shape."""
        x = x + self.ls1(self.attn(self.norm1(x)))
        moved: Tensor = self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(x))))
        return x + self.ls2(moved)


class _Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(DIM, 3 * DIM), nn.Linear(DIM, DIM)

    def forward(self, x: Tensor) -> Tensor:
        """(B, tokens, DIM) to the same shape."""
        query, key, value = self.qkv(x).unflatten(-1, (3, HEADS, DIM // HEADS)).permute(2, 0, 3, 1, 4)
        mixed: Tensor = self.proj(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))
        return mixed


class _Scale(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(DIM))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


def find_dinov2(path: str | Path | None = None) -> Path:
    """The file of weights: the one given, or the one in the cache; raises `UserError` where there is none."""
    file = cache_dir() / "weights" / FILE if path is None else Path(path)
    if not file.is_file():
        told = "is missing" if path is None else "is no file"
        raise UserError(f"extractor=dinov2_small: {file} {told}; put the published {FILE} there, or give weights=FILE")
    return file


def dinov2_backbone(path: str | Path | None, device: torch.device) -> Backbone:
    """DINOv2-small with the weights of a file, whose own hash marks its figures.

    Raises:
        UserError: There is no file, or it holds other weights.
    """
    file = find_dinov2(path)
    net = DINOv2Small()
    try:
        net.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    except Exception as error:  # noqa: BLE001 (unpickling raises whatever the damage leads to)
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"weights={file}: not the state dict of DINOv2's ViT-S/14 ({reason})") from error
    return Backbone(
        name="dinov2_small",
        hash=hash_of(net),
        net=net,
        side=SIDE,
        dim=DIM,
        shift=0.0,
        scale=255.0,
        batch=CPU_BATCH if device.type == "cpu" else GPU_BATCH,
        trained_on="142 million photographs without labels, by its file's word",
    )
