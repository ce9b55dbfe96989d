"""Pictures under differential privacy: what is public, and their number, which is paid for unless it is declared."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from datakiln.data.base import Provenance
from datakiln.data.pictures.files import PictureFiles
from datakiln.data.pictures.sources import Pictures
from datakiln.errors import UserError
from datakiln.privacy.budget import Privacy
from datakiln.privacy.ledger import Ledger, reserve
from datakiln.privacy.noise import discrete_laplace
from datakiln.storage import replacing

SHARE = 0.05  # of epsilon, for the number of pictures
COUNTED = "released-count.txt"


def rows_of(privacy: Privacy) -> int | None:
    """The number of pictures, where it is declared; raises `UserError` for any other declaration."""
    public = privacy.public or {}
    if isinstance(public, str) or set(public) - {"rows", "columns", "bounds"} or public.get("columns"):
        raise UserError("privacy.public of pictures can declare their number alone: privacy.public={rows: 60000}")
    rows = public.get("rows")
    if rows is not None and (isinstance(rows, bool) or not isinstance(rows, int) or rows < 1):
        raise UserError(f"privacy.public.rows={rows} must be a whole number of at least 1")
    return rows


def counted(privacy: Privacy, provenance: Provenance, n: int) -> int:
    """About how many pictures there are: as declared, else with noise that is paid for once.

    One picture changes the number by 1, so that discrete Laplace noise of scale 1 / epsilon keeps epsilon (Ghosh,
    Roughgarden and Sundararajan, 2012).
    """
    path = Path(privacy.folder) / "checkpoints" / COUNTED
    if path.exists():
        try:
            return max(int(path.read_text(encoding="utf-8")), 1)
        except ValueError:
            raise UserError(f"{path} holds no number; begin a new run") from None
    if not privacy.ledger:
        raise UserError(f"{path} is not there, and to count again would cost privacy again")
    reserve(privacy, provenance.sha256, 0.0)
    declared = rows_of(privacy)
    noise = 0 if declared is not None else int(discrete_laplace(math.ceil(1.0 / (SHARE * privacy.budget)), 1)[0])
    found = max(n + noise, 1) if declared is None else declared
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        partial.write_text(f"{found}\n", encoding="utf-8")
    return found


def named(provenance: Provenance, privacy: Privacy) -> Provenance:
    """Where the pictures come from, without what their hash or their number would tell."""
    key = Ledger(privacy.ledger).table(provenance.sha256) if privacy.ledger else "0" * 64
    return Provenance(provenance.kind, "pictures under differential privacy, whose source is not told", key)


def apart(pictures: Pictures, share: float, seed: int) -> tuple[Pictures, Pictures]:
    """Pictures to train on and pictures to test, each by itself: one more or less moves no other."""
    is_test = torch.rand(len(pictures.x), generator=torch.Generator().manual_seed(seed)) < share
    return _taken(pictures, ~is_test), _taken(pictures, is_test)


def _taken(pictures: Pictures, chosen: Tensor) -> Pictures:
    rows = chosen.nonzero().squeeze(1)
    x: Any = pictures.x.subset(rows) if isinstance(pictures.x, PictureFiles) else pictures.x[rows]
    return Pictures(x, None if pictures.y is None else pictures.y[rows])
